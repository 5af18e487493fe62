"""The public names, and how people write with them: mypy checks every line of this file."""

import datetime as dt
import inspect
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto

import kafkalab as kl


def test_the_public_names_are_sorted_there_and_explained() -> None:
    assert list(kl.__all__) == sorted(kl.__all__)
    assert len(set(kl.__all__)) == len(kl.__all__)
    for name in kl.__all__:
        assert inspect.getdoc(getattr(kl, name)), name


def test_nothing_public_is_left_out() -> None:
    own = {name: value for name, value in vars(kl).items() if not name.startswith("_") and not inspect.ismodule(value)}
    public = {name for name, value in own.items() if getattr(value, "__module__", "") != "typing"}
    assert public == set(kl.__all__)


def test_every_error_is_public() -> None:
    from kafkalab import errors

    kinds = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert kinds <= set(kl.__all__)


@pytest.mark.parametrize("name", ["KafkalabErrors", "lab2"])
def test_a_name_that_is_not_there_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'kafkalab' has no attribute '{name}'"):
        getattr(kl, name)


@pytest.mark.parametrize("verb", [name for name, _ in inspect.getmembers(kl.Lab, inspect.isfunction) if name[0] != "_"])
def test_every_verb_is_explained(verb: str) -> None:
    doc = inspect.getdoc(getattr(kl.Lab, verb)) or ""
    signature = inspect.signature(getattr(kl.Lab, verb))
    explained = [name for name in signature.parameters if name not in ("self", "internal", "reading")]
    assert doc
    assert [name for name in explained if "Parameters" in doc and name not in doc] == []


@pytest.fixture
def lab() -> Iterator[kl.Lab]:
    cluster = kl.MemoryCluster({"orders": 2})
    record = kl.MemoryRecord(b'{"amount": 5}', key=b"u1", timestamp_ms=1_767_225_600_000, headers=[("h", None)])
    cluster.append("orders", record, b'{"amount": 7}', partition=0)
    with kl.Lab(cluster, cluster) as lab:
        yield lab


def test_reading_is_typed(lab: kl.Lab) -> None:
    frame: pd.DataFrame = lab.read(
        "orders",
        "earliest",
        "latest",
        partitions=[0, 1],
        key="text",
        value="json",
        headers=True,
        columns=["offset", "amount"],
        where=kl.field("amount") > 5,
        errors="column",
        isolation_level=kl.IsolationLevel.READ_COMMITTED,
        on_data_loss="warn",
        limit=None,
        max_bytes=None,
        timeout=60,
        dtype_backend="pyarrow",
        progress=False,
    )
    assert frame["amount"].tolist() == [7]


def test_schemas_are_typed(lab: kl.Lab) -> None:
    registry: kl.Registry = kl.Registry("https://localhost:8081", config={"basic.auth.user.info": kl.Secret("a:b")})
    fields = [{"name": "amount", "type": "long"}]
    reader = kl.Avro(reader_schema={"type": "record", "name": "Order", "fields": fields}, registry=registry)
    scans = [
        lab.scan("orders", value=reader, errors="skip"),
        lab.scan("orders", value=kl.Avro('"string"'), key=kl.Avro("bytes")),
        lab.scan("orders", value=kl.Protobuf(DescriptorProto, framed=True), columns=["name"]),
        lab.scan("orders", value=kl.Json(framed=True, schema={"amount": "int64"})),
    ]
    assert [len(scan.schema.names) for scan in scans[:3]] == [7, 7, 1]


def test_every_form_of_a_position_is_typed(lab: kl.Lab) -> None:
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    by_partition: Mapping[int, int | str] = {0: 0, 1: "earliest"}
    frames: list[pd.DataFrame] = [
        lab.read("orders", 0, progress=False),
        lab.read("orders", {0: -1}, {0: "latest"}, progress=False),
        lab.read("orders", by_partition, progress=False),
        lab.read("orders", moment, dt.date(2026, 1, 2), progress=False),
        lab.read("orders", np.datetime64("2026-01-01"), progress=False),
        lab.read("orders", dt.timedelta(days=-1), progress=False),
    ]
    assert [len(frame) for frame in frames] == [2, 1, 2, 1, 1, 0]


def test_receipts_are_typed(lab: kl.Lab) -> None:
    receipt: kl.Receipt = kl.receipt(lab.read("orders", isolation_level="read_uncommitted", progress=False))
    part: kl.PartitionReceipt = receipt.partitions[0]
    stop: kl.StopReason = part.stop
    assert (stop, part.rows, receipt.complete) == (kl.StopReason.REACHED, 2, True)
    both: pd.DataFrame = kl.concat([lab.read("orders", partitions=p, progress=False) for p in (0, 1)])
    assert len(both) == 2


def test_looking_is_typed(lab: kl.Lab) -> None:
    looks: list[pd.DataFrame] = [
        lab.topics(),
        lab.describe("orders", group_id="g"),
        lab.head("orders", 5, value="text"),
        lab.last("orders", n=5, start="earliest"),
        lab.sample("orders", n=1000, seed=7, columns=["amount"]),
    ]
    assert all(len(frame) for frame in looks)
    live: kl.LiveEstimate | None = kl.receipt(looks[-1]).live
    assert live == kl.LiveEstimate(2, 2, 2)


def test_streams_are_typed(lab: kl.Lab) -> None:
    scan: kl.Scan = lab.scan("orders", limit=10, value="json")
    table: pa.Table = pa.table(scan)
    receipt: kl.Receipt | None = scan.receipt
    assert receipt is not None
    assert table.num_rows == receipt.rows == 2


def test_tails_are_typed(lab: kl.Lab) -> None:
    with lab.tail("orders", rows=10, start="earliest") as tail:
        seen: bool = tail.wait_for(2, timeout=5)
        frame: pd.DataFrame = tail.run(0)
    assert seen
    assert len(frame) == 2


def test_mapping_and_exporting_are_typed(lab: kl.Lab, tmp_path: Path) -> None:
    def amount(frame: pd.DataFrame) -> int:
        return int(frame["amount"].sum()) if len(frame) else 0

    sums: pd.DataFrame = lab.map_partitions("orders", amount, value="json", workers=2, executor="thread")
    assert sums["result"].tolist() == [12, 0]
    written: pd.DataFrame = lab.export("orders", tmp_path, format="csv", value="text", progress=False)
    assert written["rows"].tolist() == [2]
    lab.export("orders", tmp_path / "more", resume=True, overwrite=False, max_file_bytes=1 << 20, progress=False)
    loaded: pd.DataFrame = kl.load(tmp_path, dtype_backend="pyarrow")
    assert len(loaded) == 2


def test_keys_are_typed(lab: kl.Lab) -> None:
    frames: list[pd.DataFrame] = [
        lab.find("orders", "u1", partitioner=None),
        lab.find("orders", b"u1", 0, "latest", partitioner="auto", value="json"),
        lab.compacted("orders", "2027-01-01", tombstones="keep", key="text"),
    ]
    assert [len(frame) for frame in frames] == [1, 1, 1]


def test_settings_are_typed(tmp_path: Path) -> None:
    settings: kl.ConsumerSettings = kl.ConsumerSettings(fetch_min_bytes=131_072, isolation_level="read_committed")
    near: tuple[int, str | None] = settings.nearest("fetch_max_bytes", 2_000_000_000)
    assert near[0] == 100_000_000 - 512
    (tmp_path / "consumer.properties").write_text(settings.to_java().text)
    known: list[kl.ConsumerSettings] = [
        settings.replace(client_rack="a"),
        kl.ConsumerSettings.preset("article"),
        kl.ConsumerSettings.from_java(tmp_path / "consumer.properties"),
        kl.ConsumerSettings.from_sarama({"Consumer": {"MaxWaitTime": "1s"}}),
        kl.ConsumerSettings.from_librdkafka(settings.to_librdkafka()),
    ]
    config: dict[str, object] = settings.to_librdkafka()
    notes: list[str] = [str(note) for each in known for note in each.notes]
    table: pd.DataFrame = kl.ConsumerSettings.knobs()
    assert config == {"fetch.min.bytes": 131_072, "isolation.level": "read_committed"}
    assert notes
    assert len(table) == len(settings.values())


def test_working_in_parallel_is_typed(lab: kl.Lab) -> None:
    total: int = lab.map_partitions(
        "orders",
        lambda table: table.num_rows,
        "earliest",
        end="latest",
        executor="sync",
        chunk_records=1,
        ordering="unordered",
        frame="arrow",
        on_error="raise",
        reduce=lambda one, other: one + other,
        progress=False,
    )
    assert total == 2
    with ThreadPoolExecutor(1) as pool:
        _, errors = lab.map_partitions("orders", len, executor=pool, on_error="collect")
    assert errors == []
    frame = lab.to_dask("orders", value="json", chunk_records=1, dtype_backend="pyarrow", columns=["amount"])
    assert frame.npartitions == 3
    with pytest.raises(kl.MapError) as caught:
        lab.map_partitions("orders", lambda part: part["absent"], executor="sync")
    failed: list[kl.OffsetRange] = caught.value.failed
    assert failed == [kl.OffsetRange("orders", 0, 0, 2)]


def test_errors_are_caught_by_their_kind_or_the_built_in(lab: kl.Lab) -> None:
    with pytest.raises(kl.KafkalabError) as caught:
        lab.read("order")
    topic: str | None = caught.value.topic
    partition: int | None = caught.value.partition
    offset: int | None = caught.value.offset
    assert (topic, partition, offset) == ("order", None, None)
    with pytest.raises(LookupError):
        lab.read("order")
