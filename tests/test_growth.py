"""What verbs cost as a topic gets more partitions, and a read more pieces: counted, not timed."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer

import kafkalab as kl
from kafkalab.brokers import MockBroker
from kafkalab.cluster import Cluster
from kafkalab.fetch.memory import MemoryCluster
from kafkalab.lab import _with_rows
from kafkalab.model import PartitionReceipt, Receipt
from kafkalab.rows import RowShaper
from tests.oracle import TOPIC

pytestmark = pytest.mark.timeout(60)  # thousands of partitions


class Counting(MemoryCluster):
    """Counts what is asked of the cluster."""

    def __init__(self, partitions: int, records: int) -> None:
        super().__init__({TOPIC: partitions})
        self.calls: Counter[str] = Counter()
        for partition in range(partitions):
            self.append(TOPIC, *[b"%d" % number for number in range(records)], partition=partition)

    def topic(self, name: str) -> Any:
        self.calls["topic"] += 1
        return super().topic(name)

    def watermarks(self, *arguments: Any, **options: Any) -> Any:
        self.calls["watermarks"] += 1
        return super().watermarks(*arguments, **options)


def asked(cluster: Counting) -> dict[str, int]:
    found, cluster.calls = dict(cluster.calls), Counter()
    return found


@pytest.mark.parametrize("partitions", [10, 100, 1_000])
def test_a_map_asks_the_cluster_as_often_as_a_read(partitions: int) -> None:
    cluster = Counting(partitions, 2)
    lab = kl.Lab(cluster, cluster)
    lab.read(TOPIC, progress=False)
    read = asked(cluster)
    assert lab.map_partitions(TOPIC, len, progress=False)["result"].sum() == 2 * partitions
    assert asked(cluster) == read == {"topic": 2, "watermarks": 1}


@pytest.mark.parametrize("chunks", [100, 1_000, 4_000])
def test_a_map_in_pieces_asks_the_cluster_no_more(chunks: int) -> None:
    cluster = Counting(1, chunks)
    lab = kl.Lab(cluster, cluster)
    total = lab.map_partitions(TOPIC, len, chunk_records=1, reduce=int.__add__, executor="sync", progress=False)
    assert total == chunks
    assert asked(cluster) == {"topic": 2, "watermarks": 1}


@pytest.mark.parametrize(("partitions", "looks"), [(10, 6), (40, 8), (160, 10)])
def test_an_export_looks_at_the_topic_as_files_double(
    partitions: int, looks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    cluster = Counting(partitions, 1)
    kl.Lab(cluster, cluster).export(TOPIC, tmp_path, progress=False)
    assert asked(cluster) == {"topic": looks, "watermarks": 1}


@pytest.mark.parametrize("partitions", [10, 100, 1_000, 4_000])
def test_rows_are_counted_in_one_pass(partitions: int) -> None:
    columns: list[str] = []

    class Looked:
        def __init__(self, table: pa.Table) -> None:
            self.table = table

        def __getitem__(self, name: str) -> Any:
            columns.append(name)
            return self.table[name]

    numbers = [partition for partition in range(partitions) for _ in range(3)]
    table = pa.table({"partition": numbers[::-1], "offset": [5, 1, 3] * partitions})
    parts = [
        PartitionReceipt(TOPIC, partition, start, end, end)
        for partition in range(partitions)
        for start, end in ((0, 3), (3, 6))
    ]
    receipt = _with_rows(Receipt(tuple(parts)), Looked(table))
    assert sorted(columns) == ["offset", "partition"]
    assert [part.rows for part in receipt.partitions] == [1, 2] * partitions


@pytest.mark.parametrize("partitions", [10, 100, 1_000])
def test_a_sample_is_shaped_at_once(partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shaped, shape = [], RowShaper._shaped

    def counting(shaper: RowShaper, rows: pa.RecordBatch) -> Any:
        shaped.append(rows.num_rows)
        return shape(shaper, rows)

    monkeypatch.setattr(RowShaper, "_shaped", counting)
    cluster = Counting(partitions, 20)
    assert len(kl.Lab(cluster, cluster).sample(TOPIC, 20, seed=1)) == 20
    assert shaped == [20]
    assert asked(cluster) == {"topic": 1, "watermarks": 1}


@pytest.mark.parametrize("verb", ["find", "compacted"])
def test_verbs_that_keep_a_few_ask_once(verb: str) -> None:
    for partitions in (10, 100, 1_000):
        cluster = Counting(partitions, 1)
        lab = kl.Lab(cluster, cluster)
        arguments = (b"nobody",) if verb == "find" else ()
        getattr(lab, verb)(TOPIC, *arguments, progress=False, **({"partitioner": None} if arguments else {}))
        assert asked(cluster) == {"topic": 2, "watermarks": 1}


def test_the_fast_engine_asks_for_leaders_once_for_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, leaders = [], Cluster.leaders

    def counting(cluster: Cluster, *arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        return leaders(cluster, *arguments, **options)

    monkeypatch.setattr(Cluster, "leaders", counting)
    with MockBroker({TOPIC: 20}) as broker, kl.connect(broker.bootstrap_servers, engine="arrow") as lab:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        for partition in range(20):
            producer.produce(TOPIC, b"v", partition=partition)
        assert producer.flush(30) == 0
        assert lab.map_partitions(TOPIC, len, progress=False)["result"].sum() == 20
    assert len(asked) <= 2
