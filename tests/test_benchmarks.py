import json
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from benchmarks import decode
from benchmarks.contenders import LOOPS, names
from benchmarks.read import options, save
from benchmarks.report import interval, into_page, medians, table, with_rates
from benchmarks.topics import Case, Content, orders
from kafkalab.connect import Engine


def measured(seconds: dict[str, list[float]], codec: str = "none") -> pd.DataFrame:
    """Give measurements of 1,000 records as they come: the contenders in turn."""
    rows = [
        {
            "repeat": repeat,
            "contender": contender,
            "size": 110,
            "codec": codec,
            "records": 1_000,
            "value_bytes": 110_000,
            "seconds": taken[repeat],
            "cpu_seconds": 0.002,
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

    def test_give_medians_in_the_order_of_the_measurements(self) -> None:
        found = medians(with_rates(measured({"z": [1.0, 1.0, 1.0], "a": [0.5, 0.25, 0.1]})))
        assert found["contender"].tolist() == ["z", "a"]
        assert found["records_rate"].tolist() == [1_000, 4_000]
        assert found["ratio"].tolist() == [1, 4]
        assert (found["low"].iloc[1], found["high"].iloc[1]) == pytest.approx((2, 10))


def test_the_table_has_a_row_a_contender() -> None:
    lines = table(with_rates(measured({"loop": [0.5, 0.5], "engine": [0.1, 0.25]}))).splitlines()
    assert [line.count("|") for line in lines] == [11] * 4
    assert lines[0].endswith("| records/s, times the loop |")
    assert lines[2] == "| 110 | none | loop | 2,000 | 0 | 2.00 | 300 | 40 | 1.2 | 1.00 |"
    assert lines[3] == "| 110 | none | engine | 7,000 | 1 | 2.00 | 300 | 40 | 1.2 | 3.50 (2.00 to 5.00) |"


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
    rows = measured({"loop": [0.5, 0.4], "engine": [0.1, 0.2]})
    save(rows, (0.5, 1.5), tmp_path)
    lines = (tmp_path / "read.jsonl").read_text().splitlines()
    assert [json.loads(line)["seconds"] for line in lines] == [0.5, 0.1, 0.4, 0.2]
    assert "2 repeats" in (tmp_path / "read.md").read_text()
    assert (tmp_path / "images" / "read.png").read_bytes().startswith(b"\x89PNG")


def test_every_engine_takes_part_after_the_loops() -> None:
    engines = [engine for engine in get_args(Engine) if engine != "auto"]
    assert engines
    assert options([]).contenders == names() == [*LOOPS, *engines]


class TestTopics:
    @pytest.mark.parametrize("size", [110, 1_000])
    def test_have_json_of_about_the_size(self, size: int) -> None:
        values = [value for _, value in orders(2_000, size)]
        assert sum(map(len, values)) / len(values) == pytest.approx(size, rel=0.05)
        assert all(isinstance(json.loads(value), dict) for value in values)

    def test_are_the_same_each_time(self) -> None:
        assert list(orders(100, 110)) == list(orders(100, 110))

    def test_have_as_many_records_as_asked_for(self) -> None:
        assert len(list(orders(10_001, 110))) == 10_001

    def test_have_names_of_their_own(self) -> None:
        cases = [Case(size, codec, records) for size in (1, 2) for codec in ("none", "lz4") for records in (3, 4)]
        assert len({case.topic for case in cases}) == len(cases)


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
    def test_every_contender_reads_the_same_rows(self, capsys: pytest.CaptureFixture[str]) -> None:
        decode.main(["--records", "500", "--repeats", "2"])
        told = capsys.readouterr().out
        assert all(f"| {name} |" in told for name in decode.WITHOUT_KAFKA)
        assert "| orjson.loads | " in told
        assert "500 values" in told
