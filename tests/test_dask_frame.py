import pickle
from collections.abc import Iterator
from typing import Any

import dask
import pandas as pd
import pyarrow as pa
import pytest
from dask.dataframe.dask_expr.io import FromMap

import kafkalab as kl
from kafkalab.cluster import Cluster
from kafkalab.connection import ConnectionConfig
from kafkalab.dask_frame import PartitionReader
from kafkalab.errors import ArgumentError
from kafkalab.fetch.arrow import ArrowFetcher
from kafkalab.fetch.base import FetchOptions
from kafkalab.fetch.memory import MemoryCluster
from kafkalab.model import TopicInfo
from kafkalab.parts import PartReader
from kafkalab.plan import Plan
from kafkalab.rows import RowOptions
from kafkalab.scan import Scan
from tests.oracle import TOPIC

pytestmark = pytest.mark.timeout(60)  # importing dask takes a while


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    with dask.config.set(scheduler="sync"):
        yield


@pytest.fixture
def cluster() -> MemoryCluster:
    """Three partitions with 7, 2 and 0 records."""
    cluster = MemoryCluster({TOPIC: 3})
    for number in range(7):
        cluster.append(TOPIC, b'{"u": "a", "n": %d, "x": %d.5}' % (number, number))
    cluster.append(TOPIC, b'{"u": "b", "n": null}', b'{"u": "b", "n": 9}', partition=1)
    return cluster


def framed(cluster: MemoryCluster, **options: Any) -> Any:
    return kl.Lab(cluster, cluster).to_dask(TOPIC, **options)


def test_a_partition_is_an_offset_range(cluster: MemoryCluster) -> None:
    frame = framed(cluster, chunk_records=3, value="json")
    assert frame.npartitions == 5
    sizes = [len(part.compute()) for part in frame.partitions]
    assert sizes == [3, 3, 1, 2, 0]


@pytest.mark.parametrize("value", ["bytes", "text", "json"])
@pytest.mark.parametrize("dtype_backend", [None, "pyarrow"])
def test_it_holds_what_a_read_gives(cluster: MemoryCluster, value: str, dtype_backend: Any) -> None:
    read = kl.Lab(cluster, cluster).read(TOPIC, value=value, dtype_backend="pyarrow")
    frame = framed(cluster, chunk_records=2, value=value, dtype_backend=dtype_backend).compute()
    same = frame.reset_index(drop=True).astype(read.dtypes.to_dict())
    pd.testing.assert_frame_equal(same, read, check_column_type=False)


def test_every_partition_is_as_the_meta_says(cluster: MemoryCluster) -> None:
    frame = framed(cluster, chunk_records=2, value="json", headers=True)
    for part in (part.compute() for part in frame.partitions):
        assert part.dtypes.to_dict() == frame.dtypes.to_dict()
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert (kinds["partition"], kinds["offset"], kinds["n"], kinds["x"]) == ("int32", "int64", "Int64", "float64")


def test_columns_and_filters_are_the_workers_business(cluster: MemoryCluster) -> None:
    frame = framed(cluster, chunk_records=2, value="json", where=kl.field("n") > 3, columns=["offset", "u"])
    assert frame.columns.tolist() == ["offset", "u"]
    assert frame.compute().to_dict("list") == {"offset": [4, 5, 6, 1], "u": ["a", "a", "a", "b"]}


def test_only_the_columns_that_are_used_are_read(cluster: MemoryCluster) -> None:
    used = framed(cluster, value="json")["n"].sum().optimize()
    text = used.expr.tree_repr()
    assert "columns=['n']" in text or "columns='n'" in text
    assert int(used.compute()) == 30


def test_a_field_that_the_sample_has_not_shown_is_an_error_unless_it_is_not_wanted(cluster: MemoryCluster) -> None:
    (partition,) = framed(cluster, value="json").partitions[0].expr.find_operations(FromMap)
    reader = partition.operand("func")
    cluster.append(TOPIC, b'{"u": "z", "late": 1}')
    where = kl.OffsetRange(TOPIC, 0, 6, 8)
    with pytest.raises(kl.DecodeError, match=r"orders\[0\]@6: the schema has no field 'late': a Dask frame has one"):
        reader(where)
    assert reader(where, columns=["u"])["u"].tolist() == ["a", "z"]


def test_a_schema_can_be_given(cluster: MemoryCluster) -> None:
    schema = pa.schema([("offset", pa.int64()), ("n", pa.float64()), ("late", pa.string())])
    frame = framed(cluster, value="json", schema=schema)
    assert frame.dtypes.astype(str).to_dict() == {"offset": "int64", "n": "float64", "late": "string"}
    assert frame["n"].sum().compute() == 30
    assert frame["late"].compute().isna().all()


def test_what_does_not_fit_the_schema_is_an_error_with_its_place(cluster: MemoryCluster) -> None:
    frame = framed(cluster, value="json", schema=pa.schema([("partition", pa.int32()), ("u", pa.int64())]))
    with pytest.raises(
        kl.DecodeError,
        match=r"orders\[\d\]@0: .*Field u has incompatible types: int64 vs string: a Dask frame",
    ):
        frame.compute()


def test_an_open_transaction_is_an_error(cluster: MemoryCluster) -> None:
    cluster.append(TOPIC, b"{}", producer_id=1, partition=2)
    frame = framed(cluster, end={2: 1}, isolation_level="read_uncommitted")
    assert len(frame) == 1
    blocked = kl.Lab(cluster, cluster).scan(TOPIC, isolation_level="read_committed", partitions=2)
    reader = PartitionReader(PartReader(blocked), blocked.schema, None)
    with pytest.raises(kl.PositionError, match=r"orders\[2\]@0: .*blocked_by_open_transaction"):
        reader(kl.OffsetRange(TOPIC, 2, 0, 1))


def test_nothing_to_read_is_an_empty_frame(cluster: MemoryCluster) -> None:
    assert len(framed(cluster, partitions=[])) == 0
    assert len(framed(cluster, partitions=2, value="json")) == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"chunk_records": 0}, "chunk_records is a number from 1 on, not 0"),
        ({"timeout": 3}, "to_dask takes no timeout"),
        ({"dtype_backend": "numpy"}, "dtype_backend is 'pyarrow' or None, not 'numpy'"),
        ({"value": "json", "columns": ["m"]}, "there is no column 'm'"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(cluster: MemoryCluster, wrong: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        framed(cluster, **wrong)


class TestSecrets:
    @pytest.fixture
    @staticmethod
    def reader() -> PartitionReader:
        options = {
            "bootstrap.servers": "localhost:1",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "reader",
            "sasl.password": "hunter2",
        }
        cluster = Cluster(ConnectionConfig(options))
        fetcher = ArrowFetcher(cluster.config, cluster)
        options_of_rows = RowOptions(where=kl.field("offset") > 3)
        scan = Scan(Plan(TOPIC, ()), TopicInfo(TOPIC, (), "id"), fetcher, cluster, FetchOptions(), options_of_rows)
        return PartitionReader(PartReader(scan), pa.schema([("offset", pa.int64())]), None)

    def test_travel_but_are_not_shown(self, reader: PartitionReader) -> None:
        there = sent(reader)
        scan = there.reader.scan
        assert scan.metadata.config.get("sasl.password") == "hunter2"
        assert (type(scan.fetcher), scan.plan.topic) == (ArrowFetcher, TOPIC)
        assert "hunter2" not in f"{reader!r} {there.reader!r} {there.__dask_tokenize__()}"

    def test_one_process_has_one_connection(self, reader: PartitionReader) -> None:
        one, other = (sent(reader).reader.scan for _ in range(2))
        assert one.metadata is other.metadata
        assert one.metadata is not reader.reader.scan.metadata

    def test_tokens_tell_what_is_read(self, reader: PartitionReader) -> None:
        token = dask.base.tokenize(reader)
        assert dask.base.tokenize(sent(reader)) == token
        other = PartitionReader(reader.reader, pa.schema([("offset", pa.int32())]), None)
        assert dask.base.tokenize(other) != token


def sent(reader: PartitionReader) -> Any:
    """Give what another process would have."""
    return pickle.loads(pickle.dumps(reader))  # noqa: S301 - its own
