import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import decode, parallel, sample, targets
from benchmarks.__main__ import PARTS, TOPICS, options, save
from benchmarks.contenders import contenders
from benchmarks.read import cases
from benchmarks.readers import readers
from benchmarks.report import interval, into_page, kernel_table, sample_table, spread, table, with_rates
from benchmarks.targets import Results, Target
from benchmarks.topics import Case, Content, Written, orders


def measured(seconds: dict[str, list[float]], codec: str = "none", size: int = 110) -> pd.DataFrame:
    """Give measurements of 1,000 records as they come: the contenders in turn."""
    rows = [
        {
            "repeat": repeat,
            "contender": contender,
            "size": size,
            "codec": codec,
            "records": 1_000,
            "value_bytes": 110_000,
            "seconds": taken[repeat],
            "cpu_seconds": 0.002,
            "broker_cpu_seconds": 0.001,
            "start_seconds": 1.25,
            "peak_bytes": 300e6,
            "working_bytes": 40e6,
        }
        for repeat in range(len(next(iter(seconds.values()))))
        for contender, taken in seconds.items()
    ]
    return pd.DataFrame(rows)


class TestInterval:
    def test_of_equal_values_is_these(self) -> None:
        assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0)

    def test_holds_the_median_and_lies_within_the_values(self) -> None:
        values = [1.0, 2.0, 3.0, 4.0, 50.0]
        low, high = interval(values)
        assert min(values) <= low < np.median(values) < high <= max(values)

    def test_narrows_with_more_values(self) -> None:
        few, many = (np.random.default_rng(1).normal(3, 1, count).tolist() for count in (7, 200))
        assert np.diff(interval(many)) < np.diff(interval(few)) / 2

    def test_covers_the_true_median_about_as_often_as_it_says(self) -> None:
        draw = np.random.default_rng(2)
        intervals = [interval(draw.lognormal(0, 0.5, 25).tolist()) for _ in range(100)]
        assert 88 <= sum(low <= 1 <= high for low, high in intervals) <= 100

    def test_is_the_same_each_time(self) -> None:
        assert interval([1.0, 2.0, 4.0]) == interval([1.0, 2.0, 4.0])


class TestRatios:
    def test_compare_within_a_repeat(self) -> None:
        # In the second repeat the machine was three times as slow, for both.
        rates = with_rates(measured({"loop": [2.0, 6.0], "engine": [1.0, 3.0]}))
        assert rates.groupby("contender")["ratio"].apply(list).to_dict() == {"loop": [1, 1], "engine": [2, 2]}

    def test_compare_with_the_first_contender_of_the_same_topic(self) -> None:
        slow, fast = measured({"a": [4.0], "b": [2.0]}), measured({"a": [1.0], "b": [3.0]}, codec="zstd")
        rates = with_rates(pd.concat([slow, fast], ignore_index=True))
        assert rates["ratio"].tolist() == pytest.approx([1, 2, 1, 1 / 3])


def test_a_spread_is_a_median_with_its_interval() -> None:
    assert spread([1.0, 4.0, 2.0]) == "2.00 (1.00 to 4.00)"
    assert spread([0.5]) == "0.50"
    assert spread([]) == ""


class TestTable:
    def test_has_a_row_a_contender(self) -> None:
        lines = table(with_rates(measured({"loop": [0.5, 0.5], "engine": [0.1, 0.25]}))).splitlines()
        assert [line.count("|") for line in lines] == [12] * 4
        assert lines[0].endswith("| records/s, times the loop |")
        assert lines[2] == "| 110 | none | loop | 2,000 | 0 | 2.00 | 1.00 | 300 | 40 | 1.2 | 1.00 |"
        assert lines[3] == "| 110 | none | engine | 7,000 | 1 | 2.00 | 1.00 | 300 | 40 | 1.2 | 3.50 (2.00 to 5.00) |"

    def test_is_in_the_order_of_the_measurements(self) -> None:
        lines = table(with_rates(measured({"z": [1.0], "a": [0.5]}))).splitlines()
        assert [line.split(" | ")[2] for line in lines[2:]] == ["z", "a"]

    def test_leaves_out_what_a_contender_does_not_tell(self) -> None:
        rows = measured({"c-drain": [0.5]}).assign(peak_bytes=float("nan"), working_bytes=float("nan"))
        assert "| 2.00 | 1.00 |  |  | 1.2 |" in table(with_rates(rows))

    def test_of_samples_has_a_row_a_topic(self) -> None:
        assert sample_table(sampled([0.5, 0.5], [0.6, 0.6])).splitlines()[2:] == [
            "| 1,000,000 | 16,384 | 0.50 | 0.25 |",
            "| 10,000,000 | 16,384 | 0.60 | 0.25 |",
        ]

    def test_of_the_kernel_compares_within_a_repeat(self) -> None:
        rows = pd.concat([parsed("lz4", "kernel", [0.2, 0.8]), parsed("lz4", "floor", [0.1, 0.4])])
        assert kernel_table(rows).splitlines()[2] == ("| lz4 | 3.12 (1.25 to 5.00) | 6.25 (2.50 to 10.00) | 0.50 |")

    def test_of_the_kernel_does_without_a_floor(self) -> None:
        assert kernel_table(parsed("gzip", "kernel", [0.5])).splitlines()[2] == "| gzip | 2.00 |  |  |"


def sampled(*seconds: list[float]) -> pd.DataFrame:
    """Give samples of a small topic and of a large one."""
    rows = [
        {
            "records": records,
            "batch_bytes": sample.JAVA_BATCH_BYTES,
            "repeat": repeat,
            "seconds": s,
            "cpu_seconds": 0.25,
        }
        for records, taken in zip((sample.SMALL, sample.LARGE), seconds, strict=True)
        for repeat, s in enumerate(taken)
    ]
    return pd.DataFrame(rows)


def parsed(codec: str, what: str, seconds: list[float]) -> pd.DataFrame:
    """Give measurements of the kernel or the floor on a million records."""
    rows = [
        {"repeat": repeat, "codec": codec, "what": what, "records": 1_000_000, "cpu_seconds": s}
        for repeat, s in enumerate(seconds)
    ]
    return pd.DataFrame(rows)


class TestTargets:
    def test_are_told_as_not_measured_where_nothing_was(self) -> None:
        empty = Results.of({part: [] for part in PARTS})
        found = list(targets.targets(empty))
        assert len(found) == len({target.what for target in found}) > 20
        assert {target.cells[2] for target in found} == {"not measured"}

    @pytest.mark.parametrize(
        ("bounds", "reached"),
        [
            ({"at_least": 2.0}, "yes"),
            ({"at_least": 2.1}, "**no**"),
            ({"at_most": 2.0}, "yes"),
            ({"at_most": 1.9}, "**no**"),
        ],
    )
    def test_are_judged_by_the_median(self, bounds: dict[str, float], reached: str) -> None:
        assert Target("x", pd.Series([1.0, 2.0, 9.0]), **bounds).cells[2:] == ("2.00 (1.00 to 9.00)", reached)

    def test_take_their_figures_from_the_measurements(self) -> None:
        seconds = {
            "loop": [8.0, 8.0],
            "tuned-loop": [4.0, 4.0],
            "arrow": [0.2, 0.1],
            "c-drain": [0.4, 0.4],
            "java-drain": [0.2, 0.2],
            "tuned-loop-tls": [4.0, 4.0],
            "arrow-tls": [0.5, 0.5],
            "arrow-spinning": [0.4, 0.2],
            "arrow-tls-spinning": [2.0, 2.0],
            "arrow-table": [0.1, 0.1],
        }
        long = measured({"c-drain": [1.0, 1.0], "arrow": [0.5, 0.5]}, size=1_000).assign(working_bytes=1 << 27)
        results = Results(
            with_rates(pd.concat([measured(seconds), long], ignore_index=True)),
            sampled([0.5, 0.5], [0.55, 0.55]),
            parsed("none", "kernel", [0.05, 0.05]),
        )
        found = {target.what: target.cells[2] for target in targets.targets(results) if not target.measured.empty}
        assert found == {
            "records/s, times the loop: none": "60.00 (40.00 to 80.00)",
            "records/s, times the tuned-loop: none": "30.00 (20.00 to 40.00)",
            "records/s, times the c-drain: none": "3.00 (2.00 to 4.00)",
            "records/s, times the java-drain: none": "1.50 (1.00 to 2.00)",
            "CPU s, times the java-drain: none": "1.00",
            "CPU s per million, reading only: none": "2.00",
            "kernel, million records/s of a core: none": "20.00",
            "MB/s of 1 KB records, times the c-drain: none": "2.00",
            "arrow with a spinning thread, times without": "0.50",
            "arrow-tls with a spinning thread, times without": "0.25",
            "over TLS, records/s, times the tuned-loop over TLS": "8.00",
            "MiB above the result, on the topic with most": "128.00",
            "seconds for a sample of 1,000 from the large topic": "0.55",
            "the same, times that from the small topic": "1.10",
        }


def test_a_ratio_of_two_contenders_is_taken_repeat_by_repeat() -> None:
    taken = pd.DataFrame(
        {"contender": ["a", "b"] * 2, "repeat": [0, 0, 1, 1], "seconds": [2.0, 1.0, 9.0, 3.0]},
    )
    assert parallel.ratios(taken, "a", "b") == "b against a: 2.50 times as fast (2.00 to 3.00)"


def test_a_hot_topic_has_nine_tenths_in_one_partition() -> None:
    partitions, offsets = Case(110, "lz4", 1_000, hot=10).places()
    found = np.bincount(partitions)
    assert found[0] == 900
    assert found.sum() == 1_000
    assert len(found) == 4
    assert sorted(offsets[partitions == 0]) == list(range(900))
    assert np.bincount(Case(110, "lz4", 1_000).places()[0]).tolist() == [250] * 4


class TestPage:
    def test_takes_the_results_between_its_marks(self) -> None:
        page = "a\n<!-- measured -->\nold\n<!-- end -->\nb\n"
        assert into_page(page, r"new \1" + "\n") == "a\n<!-- measured -->\nnew \\1\n<!-- end -->\nb\n"

    @pytest.mark.parametrize("page", ["no marks", "<!-- measured -->\nx\n<!-- end -->\n" * 2])
    def test_without_one_pair_of_marks_is_refused(self, page: str) -> None:
        with pytest.raises(AssertionError, match="marks"):
            into_page(page, "new\n")

    def test_of_the_documentation_has_the_marks(self) -> None:
        page = Path(__file__).parent.parent / "docs" / "performance.md"
        assert "new\n" in into_page(page.read_text(), "new\n")


def test_results_are_written_with_every_measurement(tmp_path: Path) -> None:
    reads = with_rates(measured({"loop": [0.5, 0.4], "engine": [0.1, 0.2]}))
    save(Results(reads, sampled([0.5], [0.6]), parsed("none", "kernel", [0.1])), (0.5, 1.5), tmp_path)
    lines = (tmp_path / "reads.jsonl").read_text().splitlines()
    assert [json.loads(line)["seconds"] for line in lines] == [0.5, 0.1, 0.4, 0.2]
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 2
    text = (tmp_path / "results.md").read_text()
    assert "2 repeats" in text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["### Targets", "### Reading a topic", "### Sampling", "### The kernel alone"]
    assert (tmp_path / "images" / "read.png").read_bytes().startswith(b"\x89PNG")


def test_one_part_alone_is_written_too(tmp_path: Path) -> None:
    save(Results(pd.DataFrame(), pd.DataFrame(), parsed("none", "kernel", [0.1])), (0, 0), tmp_path)
    assert "### Sampling" not in (tmp_path / "results.md").read_text()


class TestOptions:
    def test_measure_everything_by_default(self) -> None:
        asked = options([])
        assert (asked.parts, asked.topics, asked.repeats) == (PARTS, TOPICS, 11)
        assert asked.contenders == list(contenders())

    def test_that_are_quick_can_be_overruled(self) -> None:
        asked = options(["--quick", "--repeats", "2"])
        assert (list(asked.parts), list(asked.topics), asked.repeats) == (["reads"], ["110-none"], 2)

    def test_name_topics(self) -> None:
        assert cases(["110-lz4", "1000-none"], None) == [Case(110, "lz4", 1_000_000), Case(1_000, "none", 1_000_000)]
        assert cases(["110-lz4"], 5) == [Case(110, "lz4", 5)]


def test_every_contender_has_a_reader() -> None:
    known = {*readers(), "c-drain", "java-drain"}
    assert {contender.reader for contender in contenders().values()} == known - {"sample"}


class TestTopics:
    @pytest.mark.parametrize("size", [110, 1_000])
    def test_have_json_of_about_the_size(self, size: int) -> None:
        values = [value for chunk in orders(2_000, size) for _, value in chunk]
        assert sum(map(len, values)) / len(values) == pytest.approx(size, rel=0.05)
        assert all(isinstance(json.loads(value), dict) for value in values)

    def test_are_the_same_each_time(self) -> None:
        assert list(orders(100, 110)) == list(orders(100, 110))

    def test_have_as_many_records_as_asked_for(self) -> None:
        assert [len(chunk) for chunk in orders(10_001, 110)] == [10_000, 1]

    def test_have_names_of_their_own(self) -> None:
        ways = itertools.product((1, 2), ("none", "lz4"), (3, 4), (5, 6), (7, 8), (0, 9))
        assert len({Case(*way).topic for way in ways}) == 64

    def test_are_known_by_what_was_written(self) -> None:
        written = Written(*Case(1, "none", 5).places(), np.array([5, 7, 9, 11, 13]))  # to the partitions 0 1 2 3 0
        assert written.content == Content(5, 45, 5 + 2 * 7 + 3 * 9 + 4 * 11 + 2 * 13)
        assert written.content_at([(0, 1), (2, 0)]) == Content(2, 22, 2 * 13 + 3 * 9)

    def test_of_a_place_named_twice_have_one_record_there(self) -> None:
        written = Written(*Case(1, "none", 4).places(), np.array([5] * 4))
        assert written.content_at([(1, 0), (1, 0)]) == Content(1, 5, 10)


class TestContent:
    partitions, offsets, lengths = np.array([0, 1, 0]), np.array([0, 0, 1]), np.array([5, 7, 9])

    def test_is_the_same_in_any_order(self) -> None:
        order = [2, 0, 1]
        known = Content.of(self.partitions, self.offsets, self.lengths)
        assert Content.of(self.partitions[order], self.offsets[order], self.lengths[order]) == known

    @pytest.mark.parametrize("rows", [[0, 1], [0, 1, 1], [0, 0, 2], []])
    def test_differs_where_a_record_lacks_or_doubles(self, rows: list[int]) -> None:
        known = Content.of(self.partitions, self.offsets, self.lengths)
        assert Content.of(self.partitions[rows], self.offsets[rows], self.lengths[rows]) != known

    def test_differs_where_values_are_mixed_up(self) -> None:
        known = Content.of(self.partitions, self.offsets, self.lengths)
        assert Content.of(self.partitions, self.offsets, self.lengths[[2, 1, 0]]) != known


class TestDecode:
    @pytest.mark.timeout(60)  # it imports all that is compared
    def test_every_contender_reads_the_same_rows(self, capsys: pytest.CaptureFixture[str]) -> None:
        decode.main(["--records", "500", "--repeats", "2"])
        told = capsys.readouterr().out
        assert all(f"| {name} |" in told for _, contenders in decode.FORMATS.values() for name in contenders)
        assert "| orjson.loads | " in told
        assert "500 values" in told
