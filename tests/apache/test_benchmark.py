"""The benchmark runs, and measures only contenders that read all there is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import __main__ as bench
from benchmarks import parallel
from benchmarks.contenders import Contender, contenders
from benchmarks.floor import floor
from benchmarks.kernel import parsing, responses
from benchmarks.measure import measure
from benchmarks.read import read
from benchmarks.targets import Results
from benchmarks.topics import Case, Topics
from kafkalab.brokers import ApacheKafka
from tests.apache.truth import QUICK


@pytest.fixture(scope="module")
def encrypted() -> Iterator[ApacheKafka]:
    with ApacheKafka(listeners=["SSL"], jvm_options=QUICK) as broker:
        yield broker


@pytest.fixture(scope="module")
def topics(encrypted: ApacheKafka) -> Topics:
    return Topics(encrypted.bootstrap_servers)


CASE = Case(110, "lz4", 3_000)  # kafkarrow cannot read zstd


@pytest.mark.parametrize("name", contenders())
def test_a_contender_reads_what_was_written(encrypted: ApacheKafka, topics: Topics, tmp_path: Path, name: str) -> None:
    content = topics.fill(CASE).content
    (row,) = read(encrypted, {CASE: content}, [contenders()[name]], tmp_path)
    assert (row["contender"], row["records"]) == (name, 3_000)
    assert min(row["seconds"], row["cpu_seconds"], row["start_seconds"]) > 0


def test_the_parts_take_turns_and_are_told(encrypted: ApacheKafka, tmp_path: Path) -> None:
    words = "--parts reads samples --contenders loop arrow --topics 110-zstd --records 2000 --repeats 1"
    asked = bench.options(words.split())
    rows: dict[str, list[bench.Row]] = {part: [] for part in bench.PARTS}
    for part, row in bench.run(encrypted, asked, tmp_path):
        rows[part].append(row)
        assert bench.told(part, row).endswith("/s" if part == "reads" else " s")
    assert [row["contender"] for row in rows["reads"]] == ["loop", "arrow"]
    assert [row["records"] for row in rows["samples"]] == [2_000, 20_000] * 2
    bench.save(Results.of(rows), (0, 0), tmp_path)
    assert "| 20,000 | 16,384 |" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_the_kernel_and_the_floor_take_the_same_records(encrypted: ApacheKafka, topics: Topics, codec: str) -> None:
    case = Case(110, codec, 5_001)
    topics.fill(case)
    frames = list(responses(encrypted, case))
    assert parsing(frames)() == floor(frames, codec)() == 5_001


def test_a_contender_that_reads_anything_else_is_not_measured(
    encrypted: ApacheKafka, topics: Topics, tmp_path: Path
) -> None:
    other = replace(topics.fill(CASE), lengths=topics.fill(CASE).lengths + 1).content
    with pytest.raises(
        AssertionError, match=r"arrow read Content\(.*\) of orders-110-lz4-3000-400000-in-4, not Content\("
    ):
        next(read(encrypted, {CASE: other}, [contenders()["arrow"]], tmp_path))


def test_a_contender_that_fails_is_an_error(encrypted: ApacheKafka, tmp_path: Path) -> None:
    command = Contender("x", "librdkafka").command(encrypted, Case(1, "none", 1), tmp_path)
    with pytest.raises(RuntimeError, match=r"a measurement ended with 1, see above: .*orders-1-none-1-"):
        measure(command)


def test_a_map_over_a_hot_topic_finds_all_of_it(encrypted: ApacheKafka, topics: Topics) -> None:
    hot = Case(110, "lz4", 3_000, hot=10)
    topics.fill(hot)
    ways = parallel.contenders(2)
    found = [
        parallel.measure(encrypted.bootstrap_servers, hot.topic, ways[name][1])
        for name in ("hot, in chunks", "2 threads")
    ]
    assert found[0]["found"] == found[1]["found"] > 3_000
    costs = pd.DataFrame(parallel.overhead(encrypted.bootstrap_servers, hot.topic, 1))
    assert costs["executor"].tolist() == ["thread", "process"]
    assert (costs[["reads", "map"]] > 0).all(axis=None)
