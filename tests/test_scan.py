import gc
import itertools
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.errors import ArgumentError, DataLossError, DataLossWarning, DecodeError
from kafkalab.fetch.base import FetchControl, Fetched, FetchOptions, Stop, record_schema
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from kafkalab.model import FetchStats, IsolationLevel, OffsetRange, PartitionInfo, StopReason, TopicInfo
from kafkalab.plan import Pieces
from kafkalab.scan import Collected, Limits, Scan
from tests.oracle import PARTITIONS, TOPIC, World, lab_of, reads_each, rows_of, sub_ranges, worlds

LEVELS = [IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED]
MIB = 1 << 20


class Watched:
    """An engine that shows what is asked of another."""

    name = "watched"

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.control = FetchControl()
        self.pulled = 0
        self.ended = threading.Event()
        self.after_pull: Callable[[], object] = int

    @property
    def stats(self) -> FetchStats:
        stats: FetchStats = self._inner.stats
        return stats

    def fetch(self, ranges: Sequence[OffsetRange], options: FetchOptions, control: FetchControl) -> Generator[Fetched]:
        self.control = control
        self.ended.clear()
        try:
            for step in self._inner.fetch(ranges, options, control):
                self.pulled += 1
                self.after_pull()
                yield step
        finally:
            self.ended.set()

    def probe(self, *arguments: Any) -> Generator[Fetched]:
        steps: Generator[Fetched] = self._inner.probe(*arguments)
        return steps


class Endless:
    """An engine that makes big steps on the way, so that nothing is in memory before it is fetched."""

    name = "endless"
    stats = FetchStats()

    def __init__(self, step_bytes: int = MIB) -> None:
        self._step_bytes = step_bytes

    def fetch(self, ranges: Sequence[OffsetRange], _: FetchOptions, control: FetchControl) -> Generator[Fetched]:
        (part,) = ranges
        for offset in range(part.start, part.end):
            if control.stop.is_set():
                return
            columns = {
                "offset": [offset],
                "timestamp": [0],
                "timestamp_type": [1],
                "key": [None],
                "value": [bytes(self._step_bytes)],
            }
            batch = pa.RecordBatch.from_pydict(columns, record_schema(headers=False))
            yield Fetched(part, batch, offset + 1, StopReason.REACHED if offset + 1 == part.end else None)

    def probe(self, *_: Any) -> Generator[Fetched]:
        raise NotImplementedError


def fetch_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kafkalab")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    if fetch_threads():
        gc.collect()  # an error's frames may hold a scan
    assert fetch_threads() == []


def steps_of(count: int, partitions: int = 1) -> MemoryCluster:
    """Return a cluster with so many batches of one record, in turn to each partition."""
    cluster = MemoryCluster({TOPIC: partitions})
    for number in range(count):
        cluster.append(TOPIC, b"%d" % number, partition=number % partitions)
    return cluster


def scan_of(fetcher: Any, count: int, **changes: Any) -> Scan:
    """Return a scan over offsets 0 to count that does not ask whether they are there."""
    metadata = MemoryCluster({TOPIC: 1})
    scan = kl.Lab(metadata, fetcher).scan(TOPIC)
    return replace(scan, plan=scan.plan.with_ranges([OffsetRange(TOPIC, 0, 0, count)]), **changes)


# Exact


@reads_each
@given(worlds(), st.sampled_from(LEVELS))
def test_a_read_returns_every_visible_record_once_in_order(world: World, level: IsolationLevel) -> None:
    frame = world.lab.read(TOPIC, isolation_level=level, progress=False)
    assert rows_of(frame) == world.rows(committed=level == IsolationLevel.READ_COMMITTED)
    assert kl.receipt(frame).complete


@reads_each
@given(st.data(), worlds(), st.sampled_from(LEVELS))
def test_a_part_of_the_log_is_read_as_exactly(data: st.DataObject, world: World, level: IsolationLevel) -> None:
    committed = level == IsolationLevel.READ_COMMITTED
    ranges = data.draw(sub_ranges(world))
    ends = {p: min(end, world.logs[p].stable_end) if committed else end for p, (_, end) in ranges.items()}
    starts = {p: min(start, ends[p]) for p, (start, _) in ranges.items()}
    frame = world.lab.read(TOPIC, starts, ends, isolation_level=level, progress=False)
    chosen = {p: (starts[p], ends[p]) for p in ranges}
    assert rows_of(frame) == world.rows(committed=committed, ranges=chosen)
    for part in kl.receipt(frame).partitions:
        seen = world.logs[part.partition].visible(committed=committed, start=part.start, end=part.end)
        assert (part.start, part.end) == chosen[part.partition]
        assert part.next_offset >= part.end
        assert part.records == part.rows == len(seen)
        assert part.bytes == sum(len(record.key or b"") + len(record.value or b"") for _, record in seen)
        assert part.stop is StopReason.REACHED


@reads_each
@given(worlds())
def test_an_end_behind_an_open_transaction_is_told_of(world: World) -> None:
    ends = {p: log.end for p, log in enumerate(world.logs)}
    scan = world.lab.scan(TOPIC, end=ends) if all(log.start <= log.end for log in world.logs) else None
    assert scan is not None
    for _ in scan.steps():
        pass
    assert scan.receipt is not None
    for part in scan.receipt.partitions:
        log = world.logs[part.partition]
        if part.start < part.end and log.stable_end < part.end:
            assert part.stop is StopReason.BLOCKED_BY_OPEN_TRANSACTION
            assert part.next_offset == log.stable_end
        else:
            assert part.stop is StopReason.REACHED


@reads_each
@given(worlds(), st.integers(1, 5), st.sampled_from(LEVELS))
def test_chunks_together_are_the_whole(world: World, size: int, level: IsolationLevel) -> None:
    scan = world.lab.scan(TOPIC, isolation_level=level)
    table = replace(scan, plan=scan.plan.with_ranges(Pieces(scan.plan.ranges, size))).to_table()
    columns = (table[name].to_pylist() for name in ("partition", "offset", "key", "value"))
    expected = world.rows(committed=level == IsolationLevel.READ_COMMITTED)
    assert list(zip(*columns, strict=True)) == expected


@reads_each
@given(worlds(), st.integers(0, 8))
def test_a_limit_gives_a_prefix_and_where_to_go_on(world: World, limit: int) -> None:
    scan = world.lab.scan(TOPIC, limit=limit, isolation_level="read_uncommitted")
    first = rows_of_table(scan.to_table())
    assert scan.receipt is not None
    rest = {part.partition: part.next_offset for part in scan.receipt.partitions}
    ends = {p: log.end for p, log in enumerate(world.logs)}
    starts = {p: min(offset, ends[p]) for p, offset in rest.items()}
    second = rows_of_table(world.lab.scan(TOPIC, starts, isolation_level="read_uncommitted").to_table())
    assert len(first) == min(limit, len(world.rows(committed=False)))
    assert sorted(first + second, key=lambda row: row[:2]) == world.rows(committed=False)
    assert scan.receipt.rows == len(first)


def rows_of_table(table: pa.Table) -> list[Any]:
    return list(zip(*(table[name].to_pylist() for name in ("partition", "offset", "key", "value")), strict=True))


# A stream


def test_a_scan_reads_nothing_until_it_is_gone_through() -> None:
    cluster = steps_of(3)
    scan = kl.Lab(cluster, cluster).scan(TOPIC)
    assert (cluster.stats.requests, scan.receipt) == (0, None)
    assert repr(scan) == "<Scan orders: 1 range, 3 offsets, engine memory>"


def test_a_scan_can_be_gone_through_again() -> None:
    scan = lab_of(b"a", b"b").scan(TOPIC, value="text")
    assert (
        [rows["value"].to_pylist() for rows in scan] == [rows["value"].to_pylist() for rows in scan] == [["a"], ["b"]]
    )
    assert scan.receipt is not None
    assert scan.receipt.complete


def values_by_sql(scan: Scan) -> list[Any]:  # noqa: ARG001 - duckdb finds it by its name
    return [row[0] for row in duckdb.execute("select value from scan").fetchall()]


TAKERS: dict[str, Callable[[Scan], list[Any]]] = {
    "pyarrow": lambda scan: pa.table(scan)["value"].to_pylist(),
    "a pyarrow reader": lambda scan: pa.RecordBatchReader.from_stream(scan).read_all()["value"].to_pylist(),
    "polars": lambda scan: pl.DataFrame(scan)["value"].to_list(),
    "duckdb": values_by_sql,
}


@pytest.mark.parametrize("taker", TAKERS.values(), ids=TAKERS.keys())
@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([b"a", None, b""], {"value": "text"}, ["a", None, ""]),
        ([b"a", None, b""], {}, [b"a", None, b""]),
        ([b'"x"', b'"y"'], {"value": "json"}, ["x", "y"]),
        ([b"a"], {"value": "auto"}, ["a"]),
        ([], {"value": "text"}, []),
        ([], {"value": "auto"}, []),
    ],
    ids=str,
)
def test_whoever_speaks_arrow_takes_a_scan(
    taker: Callable[[Scan], list[Any]], values: list[bytes | None], options: Any, expected: list[Any]
) -> None:
    scan = lab_of(*values).scan(TOPIC, **options)
    assert taker(scan) == taker(scan) == expected


def test_duckdb_asks_a_scan_in_sql() -> None:
    scan = lab_of(b'{"n": 1}', b'{"n": 2}').scan(TOPIC, value="json")
    assert duckdb.execute("select sum(n) from scan").fetchall() == [(3,)]
    assert scan.receipt is not None


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        ({}, {"value": pa.binary()}),
        ({"value": "text", "headers": True}, {"value": pa.string()}),
        ({"value": "json"}, {"n": pa.int64()}),
        ({"value": "json", "columns": ["n", "offset"]}, {"n": pa.int64(), "offset": pa.int64()}),
    ],
    ids=str,
)
def test_the_schema_is_known_before_the_stream_is_read(options: Any, extra: dict[str, pa.DataType]) -> None:
    scan = lab_of(b'{"n": 1}').scan(TOPIC, **options)
    schema = scan.schema
    assert {name: schema.field(name).type for name in extra} == extra
    assert pa.table(scan).schema == schema


@pytest.mark.parametrize(
    ("first", "later", "fits"),
    [
        (b'{"n": 1.5}', b'{"n": 2}', [1.5, 2.0]),
        (b'{"n": 1}', b"{}", [1, None]),
        (b'{"n": 1}', b'{"n": null}', [1, None]),
        (b'{"n": {"a": 1, "b": 2}}', b'{"n": {"b": 3}}', [{"a": 1, "b": 2}, {"a": None, "b": 3}]),
        (b'{"n": [1]}', b'{"n": []}', [[1], []]),
    ],
    ids=str,
)
def test_later_rows_that_lose_nothing_fit_a_stream(
    first: bytes, later: bytes, fits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafkalab.scan._FIRST_ROWS", 1)
    assert lab_of(first, later).scan(TOPIC, value="json").reader().read_all()["n"].to_pylist() == fits


def test_a_stream_of_json_texts_takes_everything() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b'{"n": 1}', b'{"n": "x"}')
    cluster.append(TOPIC, b'{"n": "y"}')
    cluster.append(TOPIC, b'{"n": [2]}')
    cluster.append(TOPIC, b'{"n": null}')
    scan = kl.Lab(cluster, cluster).scan(TOPIC, value="json", columns=["n"])
    assert scan.reader().read_all()["n"].to_pylist() == ["1", '"x"', '"y"', "[2]", None]


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (b'{"n": 1}', b'{"n": 2.5}'),
        (b'{"n": 1}', b'{"n": "5"}'),
        (b'{"n": "x"}', b'{"n": 5}'),
        (b'{"n": 1}', b'{"n": true}'),
        (b'{"n": 1.5}', b'{"n": 9007199254740993}'),
        (b'{"n": 1}', b'{"n": 1, "m": 2}'),
        (b'{"n": {"a": 1}}', b'{"n": {"b": 2}}'),
        (b'{"n": {"a": 1}}', b'{"n": {"a": 1, "b": 2}}'),
        (b'{"n": {"a": 1}}', b'{"n": 3}'),
        (b'{"n": [1]}', b'{"n": 3}'),
    ],
    ids=str,
)
def test_later_rows_that_do_not_fit_a_stream_are_an_error_with_its_place(
    first: bytes, later: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafkalab.scan._FIRST_ROWS", 1)
    reader = lab_of(first, later).scan(TOPIC, value="json").reader()
    says = r"orders\[0\]@1: .*keeps the columns that its first rows made: give a schema \(value=kl.Json\(schema\), "
    with pytest.raises(DecodeError, match=says):
        reader.read_all()


@pytest.mark.parametrize(("later", "text"), [(b'{"n": 1}', "1"), (b'{"n": "x"}', '"x"'), (b'{"n": [1]}', "[1]")])
def test_a_field_that_is_null_in_the_first_rows_takes_everything(
    later: bytes, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafkalab.scan._FIRST_ROWS", 1)
    scan = lab_of(b'{"n": null}', later).scan(TOPIC, value="json")
    assert scan.reader().read_all()["n"].to_pylist() == [None, text]


def test_a_stream_settles_its_columns_by_many_rows() -> None:
    scan = lab_of(b'{"n": null}', b'{"n": 1}', b'{"n": 0.5, "m": "x"}').scan(TOPIC, value="json", columns=["n", "m"])
    assert pa.table(scan).to_pydict() == {"n": [None, 1.0, 0.5], "m": [None, None, "x"]}


def test_a_stream_of_a_given_schema_needs_no_look() -> None:
    scan = lab_of(b"{}", b'{"n": 1}').scan(TOPIC, value=kl.Json(pa.schema([("n", pa.int32())])), columns=["n"])
    assert scan.schema == pa.schema([("n", pa.int32())])
    assert pa.table(scan)["n"].to_pylist() == [None, 1]


# Ahead, and no further


def test_read_ahead_stops_at_its_bound_while_the_reader_stalls() -> None:
    fetcher = Watched(Endless())
    scan = scan_of(fetcher, 50, read_ahead_bytes=4 * MIB)
    steps = scan.steps()
    next(steps)
    # One is with the reader, three and a bit wait, one is in the fetching thread's hand.
    most = 1 + 4 + 1
    filled = threading.Event()
    fetcher.after_pull = lambda: filled.set() if fetcher.pulled == most - 1 else None
    assert fetcher.pulled >= most - 1 or filled.wait(5)
    assert not fetcher.ended.wait(0.2)
    assert fetcher.pulled <= most
    assert sum(rows.num_rows for _, rows in steps) == 49


def test_one_step_may_be_larger_than_the_bound() -> None:
    scan = scan_of(Endless(2 * MIB), 5, read_ahead_bytes=MIB)
    assert scan.to_table().num_rows == 5


@pytest.mark.parametrize(
    "options", [{"where": kl.field("offset") < 0}, {"columns": ["offset"]}], ids=["where", "columns"]
)
def test_memory_holds_only_what_passes(options: Any) -> None:
    count, ahead = 200, 4 * MIB
    scan = scan_of(Endless(), count, read_ahead_bytes=ahead)
    scan = replace(scan, row_options=replace(scan.row_options, **options))
    before, most = pa.total_allocated_bytes(), 0
    collected = Collected(scan)

    def look() -> None:
        nonlocal most
        most = max(most, pa.total_allocated_bytes() - before)

    scan.fetcher = watched = Watched(Endless())
    watched.after_pull = look
    collected.run()
    assert watched.pulled == count
    assert MIB < most < ahead + 4 * MIB
    assert pa.total_allocated_bytes() - before < MIB
    assert collected.table().num_rows == (0 if "where" in options else count)


# Where it stops


@pytest.mark.parametrize(
    ("limits", "rows", "stops"),
    [
        (Limits(rows=3), 3, ["limit", "limit"]),
        (Limits(rows=0), 0, ["limit", "limit"]),
        (Limits(rows=6), 6, ["reached", "reached"]),
        (Limits(rows=7), 6, ["reached", "reached"]),
        (Limits(seconds=0), 0, ["timeout", "timeout"]),
        (Limits(seconds=60), 6, ["reached", "reached"]),
    ],
    ids=str,
)
def test_limits_stop_a_scan_and_its_receipt_says_so(limits: Limits, rows: int, stops: list[str]) -> None:
    cluster = steps_of(6, partitions=2)
    scan = replace(kl.Lab(cluster, cluster).scan(TOPIC), limits=limits)
    assert scan.to_table().num_rows == rows
    assert scan.receipt is not None
    assert [part.stop.value for part in scan.receipt.partitions] == stops
    assert scan.receipt.rows == rows


def test_a_limit_inside_a_batch_goes_on_at_the_next_record() -> None:
    scan = replace(lab_of(*[b"v"] * 10, size=10).scan(TOPIC), limits=Limits(rows=4))
    assert scan.to_table()["offset"].to_pylist() == [0, 1, 2, 3]
    assert scan.receipt is not None
    (part,) = scan.receipt.partitions
    assert (part.next_offset, part.records, part.bytes) == (4, 4, 4)


def test_a_limit_counts_what_passes_the_filter_and_the_receipt_what_was_read() -> None:
    lab = lab_of(*[b"%d" % n for n in range(10)], size=5)
    scan = replace(lab.scan(TOPIC, where=kl.field("offset") >= 6), limits=Limits(rows=2))
    assert scan.to_table()["offset"].to_pylist() == [6, 7]
    assert scan.receipt is not None
    (part,) = scan.receipt.partitions
    assert (part.next_offset, part.records, part.rows, part.stop) == (8, 8, 2, StopReason.LIMIT)


def test_bytes_are_limited_by_what_is_kept_of_the_rows() -> None:
    values = [b"x" * 1000] * 10
    whole = replace(lab_of(*values).scan(TOPIC), limits=Limits(bytes=2500))
    narrow = replace(lab_of(*values).scan(TOPIC, columns=["offset"]), limits=Limits(bytes=2500))
    assert (whole.to_table().num_rows, narrow.to_table().num_rows) == (3, 10)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rows": -1}, "a limit in rows is a whole number from 0 on, or None for no limit, not -1"),
        ({"rows": 1e6}, "not 1000000.0"),
        ({"bytes": "1 GiB"}, "a limit in bytes is a whole number from 0 on"),
        ({"seconds": -0.1}, "timeout must be a number of seconds from 0 to"),
        ({"seconds": float("inf")}, "timeout must be"),
        ({"seconds": float("nan")}, "timeout must be"),
        ({"seconds": "5s"}, "timeout must be"),
    ],
    ids=str,
)
def test_limits_that_make_no_sense_are_refused(wrong: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Limits(**wrong)
    assert says in str(caught.value)


def test_numpy_numbers_are_limits_too() -> None:
    scan = replace(lab_of(*[b"v"] * 5).scan(TOPIC), limits=Limits(rows=np.int64(2), seconds=np.float64(60)))  # type: ignore[arg-type]  # what a notebook computes
    assert scan.to_table().num_rows == 2


def stalled(count: int, at: int) -> tuple[Watched, kl.Lab]:
    """Return an engine that waits at a position until it is told to stop, as one does that gets no answer."""
    cluster = steps_of(count)
    fetcher = Watched(cluster)
    cluster.before_step = lambda _, position: position == at and fetcher.control.stop.wait()  # type: ignore[assignment]  # waits, and gives nothing
    return fetcher, kl.Lab(cluster, fetcher)


def test_a_stall_ends_at_the_timeout_with_what_was_read() -> None:
    fetcher, lab = stalled(5, at=3)
    scan = lab.scan(TOPIC, timeout=0.05)
    assert scan.to_table()["offset"].to_pylist() == [0, 1, 2]
    assert scan.receipt is not None
    (part,) = scan.receipt.partitions
    assert (part.next_offset, part.stop) == (3, StopReason.TIMEOUT)
    assert fetcher.ended.is_set()


def test_a_reader_that_leaves_ends_the_fetch() -> None:
    cluster = steps_of(100)
    fetcher = Watched(cluster)
    scan = kl.Lab(cluster, fetcher).scan(TOPIC)
    for rows in scan:
        assert rows.num_rows == 1
        break
    gc.collect()
    assert fetcher.ended.wait(5)
    assert fetch_threads() == []
    assert scan.receipt is not None
    assert (scan.receipt.rows, scan.receipt.stop_reasons) == (1, (StopReason.INTERRUPTED,))


def test_an_arrow_reader_that_is_dropped_ends_the_fetch() -> None:
    fetcher = Watched(Endless())
    reader = scan_of(fetcher, 1000).reader()
    reader.read_next_batch()
    reader.close()
    del reader
    gc.collect()
    assert fetcher.ended.wait(5)
    assert fetcher.pulled < 1000


def test_looking_at_the_schema_leaves_no_fetch_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafkalab.scan._FIRST_ROWS", 10)
    fetcher = Watched(Endless(1000))
    scan = scan_of(fetcher, 1000)
    scan = replace(scan, row_options=replace(scan.row_options, value="auto"))
    assert "value" in scan.schema.names
    gc.collect()
    assert fetcher.ended.wait(5)
    assert fetcher.pulled < 1000


def test_a_stop_event_ends_a_scan() -> None:
    cluster = steps_of(100)
    scan = kl.Lab(cluster, cluster).scan(TOPIC)
    stop = Stop()
    seen = []
    for part, _ in scan.steps(stop):
        seen.append(part.next_offset)
        stop.set()
    assert scan.receipt is not None
    (part,) = scan.receipt.partitions
    assert part.stop is StopReason.INTERRUPTED
    assert part.next_offset == seen[-1]


# What goes wrong on the way


def test_an_engine_that_fails_raises_where_it_is_read_and_what_was_read_is_kept() -> None:
    cluster = steps_of(5)

    def fail(_: object, position: int) -> None:
        if position == 3:
            message = "the network is gone"
            raise kl.BrokerUnreachableError(message, topic=TOPIC, partition=0, offset=position)

    cluster.before_step = fail
    lab = kl.Lab(cluster, cluster)
    with pytest.raises(kl.BrokerUnreachableError, match=r"orders\[0\]@3: the network is gone"):
        lab.read(TOPIC, progress=False)
    assert lab.partial["offset"].tolist() == [0, 1, 2]
    (part,) = kl.receipt(lab.partial).partitions
    assert (part.next_offset, part.rows, part.stop) == (3, 3, StopReason.ERROR)


def test_an_engine_that_ends_too_early_is_an_error() -> None:
    class Short(Endless):
        def fetch(self, ranges: Sequence[OffsetRange], *how: Any) -> Generator[Fetched]:
            yield from itertools.islice(super().fetch(ranges, *how), 3)

    scan = scan_of(Short(1), 5)
    with pytest.raises(kl.KafkalabError, match=r"orders\[0\]@3: the endless engine ended before the range did"):
        list(scan)
    assert scan.receipt is not None
    assert (scan.receipt.rows, scan.receipt.stop_reasons) == (3, ("error",))


def test_a_row_that_cannot_be_decoded_keeps_what_came_before() -> None:
    lab = lab_of(b'{"n": 1}', b"{", b'{"n": 2}')
    with pytest.raises(DecodeError, match=r"orders\[0\]@1"):
        lab.read(TOPIC, value="json", progress=False)
    assert lab.partial["n"].tolist() == [1]
    assert kl.receipt(lab.partial).partitions[0].next_offset == 1


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_during_a_stall_raises_and_keeps_what_was_read() -> None:
    cluster = steps_of(10)
    fetcher = Watched(cluster)

    def stall(_: object, position: int) -> None:
        if position == 4:
            interrupt()
            fetcher.control.stop.wait()

    cluster.before_step = stall
    lab = kl.Lab(cluster, fetcher)
    with pytest.raises(KeyboardInterrupt):
        lab.read(TOPIC, progress=False)
    assert fetch_threads() == []
    (part,) = kl.receipt(lab.partial).partitions
    assert part.stop is StopReason.INTERRUPTED
    assert lab.partial["offset"].tolist() == list(range(part.next_offset))
    assert part.rows == part.next_offset <= 4


@pytest.mark.parametrize("where", ["shape", "project"])
def test_an_interrupt_between_any_two_lines_leaves_rows_and_receipt_agreed(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kafkalab.rows import RowShaper

    real = getattr(RowShaper, where)
    calls = itertools.count(1)

    def interrupted(self: RowShaper, rows: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(self, rows)

    monkeypatch.setattr(RowShaper, where, interrupted)
    cluster = steps_of(10)
    lab = kl.Lab(cluster, cluster)
    with pytest.raises(KeyboardInterrupt):
        lab.read(TOPIC, progress=False)
    monkeypatch.undo()
    (part,) = kl.receipt(lab.partial).partitions
    assert lab.partial["offset"].tolist() == [0, 1]
    assert (part.next_offset, part.records, part.rows, part.stop) == (2, 2, 2, StopReason.INTERRUPTED)


def test_a_lab_without_an_interrupted_read_has_no_partial() -> None:
    with pytest.raises(ArgumentError, match="no read of this lab was interrupted"):
        _ = lab_of(b"v").partial


def test_retention_that_passes_a_read_is_an_error_with_its_place() -> None:
    cluster = steps_of(10)
    cluster.before_step = lambda _, position: cluster.delete_records(TOPIC, 0, 7) if position == 3 else None
    lab = kl.Lab(cluster, cluster)
    with pytest.raises(DataLossError, match=r"orders\[0\]@3: .*the log starts at 7") as caught:
        lab.read(TOPIC, progress=False)
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == (TOPIC, 0, 3)
    assert len(lab.partial) == 3


def test_retention_that_passes_a_read_is_noted_when_asked_to_go_on() -> None:
    cluster = steps_of(10)
    cluster.before_step = lambda _, position: cluster.delete_records(TOPIC, 0, 7) if position == 3 else None
    with pytest.warns(DataLossWarning, match=r"retention has removed orders\[0\]@3-7"):
        frame = kl.Lab(cluster, cluster).read(TOPIC, on_data_loss="warn", progress=False)
    assert frame["offset"].tolist() == [0, 1, 2, 7, 8, 9]
    assert kl.receipt(frame).notes == ("lost to retention: orders[0]@3-7",)


def test_retention_that_takes_the_rest_of_a_range_stops_it() -> None:
    cluster = steps_of(10)
    cluster.before_step = lambda _, position: cluster.delete_records(TOPIC, 0, 9) if position == 3 else None
    with pytest.warns(kl.KafkalabWarning, match="retention"):
        frame = kl.Lab(cluster, cluster).read(TOPIC, end=5, on_data_loss="warn", progress=False)
    (part,) = kl.receipt(frame).partitions
    assert (part.next_offset, part.stop) == (5, StopReason.RETENTION_PASSED)


class Changing(MemoryCluster):
    """A cluster whose topic is another one after the read began."""

    after: TopicInfo | None = None
    error: Exception | None = None

    def topic(self, name: str) -> TopicInfo:
        info = super().topic(name)
        if self.stats.requests and self.error:
            raise self.error
        return self.after if self.stats.requests and self.after else info


@pytest.mark.parametrize("limit", [None, 3])
def test_a_topic_made_anew_during_a_read_is_an_error(limit: int | None) -> None:
    cluster = Changing({TOPIC: 1})
    for _ in range(5):
        cluster.append(TOPIC, b"v")
    cluster.after = replace(cluster.topic(TOPIC), topic_id="another")
    with pytest.raises(DataLossError, match="orders: the topic was deleted and made anew during the read"):
        kl.Lab(cluster, cluster).read(TOPIC, limit=limit, progress=False)


def test_a_topic_deleted_during_a_read_is_an_error() -> None:
    cluster = Changing({TOPIC: 1})
    cluster.append(TOPIC, b"v")
    cluster.error = kl.UnknownTopicError.among(TOPIC, [])
    with pytest.raises(DataLossError, match="orders: the topic was deleted during the read"):
        kl.Lab(cluster, cluster).read(TOPIC, progress=False)


def test_what_could_not_be_asked_after_a_read_is_noted() -> None:
    cluster = Changing({TOPIC: 1})
    cluster.append(TOPIC, b"v")
    cluster.error = kl.BrokerUnreachableError("no broker answers")
    frame = kl.Lab(cluster, cluster).read(TOPIC, progress=False)
    (note,) = kl.receipt(frame).notes
    assert note == "whether the topic was made anew during the read is not known: no broker answers"
    assert len(frame) == 1


def test_a_read_that_ended_at_its_time_asks_the_cluster_no_more() -> None:
    class Counting(MemoryCluster):
        asked = 0

        def topic(self, name: str) -> TopicInfo:
            self.asked += 1
            return super().topic(name)

    cluster = Counting({TOPIC: 1})
    cluster.append(TOPIC, b"a")
    scan = kl.Lab(cluster, Endless()).scan(TOPIC)
    scan.limits = Limits(seconds=0.0)
    before = cluster.asked
    scan.to_table()
    assert cluster.asked == before
    assert scan.receipt is not None
    assert any("made anew during the read is not known" in note for note in scan.receipt.notes)


def test_partitions_added_during_a_read_are_noted() -> None:
    cluster = Changing({TOPIC: 1})
    cluster.append(TOPIC, b"v")
    more = tuple(PartitionInfo(p, 0) for p in range(PARTITIONS))
    cluster.after = replace(cluster.topic(TOPIC), partitions=more)
    frame = kl.Lab(cluster, cluster).read(TOPIC, progress=False)
    assert kl.receipt(frame).notes == ("2 partitions were added during the read, and not read",)


def test_one_partition_that_is_slow_does_not_hold_up_the_order_of_rows() -> None:
    cluster = MemoryCluster({TOPIC: 2})
    for partition in (1, 1, 1, 0):
        cluster.append(TOPIC, MemoryRecord(b"v"), partition=partition)
    table = kl.Lab(cluster, cluster).scan(TOPIC).to_table()
    assert table["partition"].to_pylist() == [0, 1, 1, 1]


def test_a_stream_keeps_its_types_where_a_step_has_others() -> None:
    pytest.importorskip("google.protobuf")
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
    from google.protobuf.timestamp_pb2 import DESCRIPTOR, Timestamp

    shipped = FileDescriptorProto()
    DESCRIPTOR.CopyToProto(shipped)
    made = FileDescriptorProto(name="m.proto", package="m", syntax="proto3", dependency=[DESCRIPTOR.name])
    at = FieldDescriptorProto(name="at", number=1, type=11, label=1, type_name=".google.protobuf.Timestamp")
    made.message_type.add(name="M").field.append(at)
    value = kl.Protobuf("m.M", FileDescriptorSet(file=[shipped, made]).SerializeToString())
    near, far = (Timestamp(seconds=seconds).SerializeToString() for seconds in (1, 253_402_214_400))
    lab = lab_of(*(b"\x0a" + bytes([len(time)]) + time for time in (near, far)), size=1)
    assert lab.read(TOPIC, value=value, progress=False)["at"].dt.year.tolist() == [1970, 9999]
    reader = lab.scan(TOPIC, value=value).reader()
    assert reader.read_next_batch()["at"].type == pa.timestamp("ns", "UTC")
    with pytest.raises(kl.DecodeError, match="out of bounds"):
        reader.read_all()
