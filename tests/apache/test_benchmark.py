"""The benchmark runs, and measures only contenders that read all there is."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import contenders, parallel, read
from benchmarks.measure import measure
from benchmarks.topics import Case, Content, fill
from kafkalab.brokers import ApacheKafka


def test_every_contender_reads_the_same_and_is_measured(kafka: ApacheKafka, tmp_path: Path) -> None:
    asked = read.options(["--records", "3000", "--repeats", "1", "--sizes", "110", "--codecs", "zstd"])
    rows = pd.DataFrame(read.compare(kafka.bootstrap_servers, asked))
    assert rows["contender"].tolist() == contenders.names()
    assert set(rows["records"]) == {3_000}
    measured = ["seconds", "cpu_seconds", "start_seconds", "start_cpu_seconds", "peak_bytes"]
    assert (rows[measured] > 0).all(axis=None)
    read.save(rows, (0, 0), tmp_path)
    assert (tmp_path / "read.md").read_text().count("| zstd |") == len(rows)


def test_a_contender_that_reads_anything_else_is_not_measured(
    kafka: ApacheKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_and_miscount(bootstrap_servers: str, case: Case) -> Content:
        content = fill(bootstrap_servers, case)
        return replace(content, checksum=content.checksum + 1)

    monkeypatch.setattr(read, "fill", fill_and_miscount)
    asked = read.options(["--records", "1000", "--sizes", "110", "--codecs", "lz4"])
    with pytest.raises(AssertionError, match=r"loop read Content\(.*\) of orders-110-lz4-1000-in-4, not Content\("):
        next(read.compare(kafka.bootstrap_servers, asked))


def test_a_contender_that_fails_is_an_error(kafka: ApacheKafka) -> None:
    with pytest.raises(RuntimeError, match="librdkafka failed on no-such-topic"):
        measure("librdkafka", kafka.bootstrap_servers, "no-such-topic", 1)


def test_a_map_over_a_hot_topic_finds_all_of_it(kafka: ApacheKafka) -> None:
    hot = Case(110, "lz4", 3_000, hot=10)
    fill(kafka.bootstrap_servers, hot)
    ways = parallel.contenders(2)
    found = [
        parallel.measure(kafka.bootstrap_servers, hot.topic, ways[name][1]) for name in ("hot, in chunks", "2 threads")
    ]
    assert found[0]["found"] == found[1]["found"] > 3_000
    costs = pd.DataFrame(parallel.overhead(kafka.bootstrap_servers, hot.topic, 1))
    assert costs["executor"].tolist() == ["thread", "process"]
    assert (costs[["reads", "map"]] > 0).all(axis=None)
