"""A plan read as a stream of Arrow: fetched ahead by a thread, shaped, limited, and accounted for."""

from __future__ import annotations

import itertools
import time
import warnings
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from kafkalab import units
from kafkalab.decode.base import JSON_TEXT
from kafkalab.decode.joining import unify, with_text
from kafkalab.errors import (
    ArgumentError,
    BrokerUnreachableError,
    DataLossError,
    DataLossWarning,
    DecodeError,
    KafkalabError,
    ReadTimeoutError,
    UnknownTopicError,
)
from kafkalab.fetch.base import FetchControl, Stop, payload_bytes
from kafkalab.fetch.loss import deleted
from kafkalab.fetch.readahead import ReadAhead
from kafkalab.model import PartitionReceipt, Receipt, StopReason
from kafkalab.progress import progress
from kafkalab.rows import Names, RowOptions, RowShaper
from kafkalab.timeslice import short_turns

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from kafkalab.cluster import Metadata
    from kafkalab.fetch.base import Fetched, Fetcher, FetchOptions
    from kafkalab.model import OffsetRange, TopicInfo
    from kafkalab.plan import Plan

_Kept: TypeAlias = "tuple[PartitionReceipt, pa.RecordBatch]"

LOST = "lost to retention: "
"""How a receipt's note begins that names offsets which were gone."""
_STREAM = (
    "a stream keeps the columns that its first rows made: give a schema (value=kl.Json(schema), "
    "kl.Avro(reader_schema=schema)), or use read()"
)
_LOOK_S = 0.1
# How far a stream looks before it settles on its columns.
_FIRST_ROWS = 100_000
_FIRST_BYTES = 32 << 20
_PLACE = ("topic", "partition", "offset")


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a scan stops before the end of its plan; None is no limit.

    Attributes
    ----------
    rows, bytes : int, optional
        Of all that is returned; bytes in Arrow's memory.
    seconds : float, optional
        Since the scan began.
    """

    rows: int | None = None
    bytes: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if name == "seconds":
                _ = value is None or units.seconds(value)
            elif value is not None and not (isinstance(value, (int, np.integer)) and value >= 0):
                message = f"a limit in {name} is a whole number from 0 on, or None for no limit, not {value!r}"
                raise ArgumentError(message)


def _unread(part: OffsetRange) -> PartitionReceipt:
    return PartitionReceipt(part.topic, part.partition, part.start, part.end, part.start, stop=StopReason.INTERRUPTED)


class _Tally:
    """Counts, by offset range, what has been read and why it stopped."""

    def __init__(self, plan: Plan) -> None:
        self.parts = {offset_range: _unread(offset_range) for offset_range in plan.ranges}
        self.open = set(self.parts)

    def add(self, fetched: Fetched, rows: int) -> int:
        """Count a step; return by how many offsets it moved on."""
        part = self.parts[fetched.offset_range]
        batch = fetched.arrow_batch
        moved = min(fetched.next_offset, part.end) - min(part.next_offset, part.end)
        self.parts[fetched.offset_range] = replace(
            part,
            next_offset=fetched.next_offset,
            records=part.records + batch.num_rows,
            rows=part.rows + rows,
            bytes=part.bytes + payload_bytes(batch),
        )
        if fetched.stop is not None:
            self.end(fetched.offset_range, fetched.stop)
        return moved

    def end(self, offset_range: OffsetRange, stop: StopReason) -> None:
        if offset_range in self.open:
            self.open.discard(offset_range)
            self.parts[offset_range] = replace(self.parts[offset_range], stop=stop)

    def end_all(self, stop: StopReason) -> None:
        for offset_range in tuple(self.open):
            self.end(offset_range, stop)


@dataclass(slots=True)
class Scan:
    """A plan, and how to read it: a stream of Arrow record batches, each of one partition.

    Each iteration reads anew what the plan says, so that the same scan gives the same records while the log keeps them.
    polars, duckdb and pyarrow take it as it is, through the Arrow C stream interface.

    Examples
    --------
    >>> import kafkalab as kl, pyarrow as pa
    >>> cluster = kl.MemoryCluster({"orders": 1})
    >>> cluster.append("orders", b"a", b"b")
    >>> scan = kl.Lab(cluster, cluster).scan("orders", columns=["offset", "value"], value="text")
    >>> pa.table(scan).to_pydict()
    {'offset': [0, 1], 'value': ['a', 'b']}
    >>> scan.receipt.complete
    True
    """

    plan: Plan
    info: TopicInfo
    fetcher: Fetcher
    metadata: Metadata
    fetch_options: FetchOptions
    row_options: RowOptions = field(default_factory=RowOptions)
    limits: Limits = field(default_factory=Limits)
    read_ahead_bytes: int = 8 << 20
    show_progress: bool = False
    names: Names | None = None
    """Shared by scans that are parts of one read; who shares it checks it at the end."""
    is_part: bool = False
    """Whether it is one of many of a read; who reads them all looks at the topic once, at the end."""
    receipt: Receipt | None = field(default=None, init=False)
    """What the last iteration read; None before the first."""

    def __repr__(self) -> str:
        count = len(self.plan.ranges)
        what = f"{count} range{'' if count == 1 else 's'}, {self.plan.span:,} offsets"
        return f"<Scan {self.plan.topic}: {what}, engine {self.fetcher.name}>"

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return (rows for _, rows in self.steps() if rows.num_rows)

    def steps(
        self, stop: Stop | None = None, ends: dict[OffsetRange, int] | None = None
    ) -> Generator[tuple[PartitionReceipt, pa.RecordBatch]]:
        """Yield the rows of each step, with how far they bring the receipt of their range, until told to stop.

        What is given as ``ends`` learns up to where each range could be read by now.
        """
        asked = stop or Stop()
        # The fetch has a stop of its own: when that is set, the reader need not have asked for it.
        with asked.below() as own:
            run = _Run(self, asked, FetchControl(own, ends={} if ends is None else ends))
            try:
                yield from run
            finally:
                self.receipt = run.close()

    def to_table(self) -> pa.Table:
        """Return everything as one table, in the order of the plan's ranges.

        Returns
        -------
        pyarrow.Table
            Its ``receipt`` is this scan's.
        """
        collected = Collected(self)
        collected.run()
        return collected.table()

    def look_at_topic(self) -> list[str]:
        """Return what the receipt has to say of the topic, which has to be the one that was planned for.

        Raises
        ------
        DataLossError
            It is not.
        """
        before = self.info
        try:
            after = self.metadata.topic(before.name)
        except UnknownTopicError as error:
            raise deleted(before.name) from error
        except (BrokerUnreachableError, ReadTimeoutError) as error:
            return [f"whether the topic was made anew during the read is not known: {error}"]
        if after.topic_id != before.topic_id:
            message = "the topic was deleted and made anew during the read: what was read mixes both; read it again"
            raise DataLossError(message, topic=before.name)
        added = len(after.partitions) - len(before.partitions)
        return [f"{added} partitions were added during the read, and not read"] if added else []

    @property
    def schema(self) -> pa.Schema:
        """The columns: of the first rows, where decoding has to see some to know them."""
        if not self.row_options.has_fields:
            return RowShaper(self.row_options).empty().schema
        return self.reader().schema

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """Give the stream to whoever speaks Arrow."""
        return self.reader().__arrow_c_stream__(requested_schema)

    def reader(self) -> pa.RecordBatchReader:
        """Return the stream as pyarrow's reader, every batch of one schema.

        Raises
        ------
        DecodeError
            While it is read: rows do not fit the columns that the first rows made.

        Notes
        -----
        The columns are those of the first 100,000 rows, or 32 MiB; one that holds only nulls there becomes JSON text.
        """
        batches = iter(self)
        if not self.row_options.has_fields:
            return pa.RecordBatchReader.from_batches(self.schema, _conforming(self.schema, batches))
        first = _first(batches) or [RowShaper(self.row_options).empty()]
        schema = _settled(unify([pa.Table.from_batches([rows]) for rows in first]).schema)
        return pa.RecordBatchReader.from_batches(schema, _conforming(schema, itertools.chain(first, batches)))


class Collected:
    """The rows of a scan as they come, kept by offset range, so that an interrupted read loses nothing.

    Rows and how far they bring the receipt are kept in one stroke: Ctrl-C may come between any two.
    """

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self._by_range: dict[OffsetRange, list[_Kept]] = {part: [] for part in scan.plan.ranges}

    def run(self, stop: Stop | None = None) -> None:
        """Read to the end, or until told to stop."""
        with closing(self.scan.steps(stop)) as steps:
            for part, rows in steps:
                kept = self._by_range[part.offset_range]
                if rows.num_rows or not kept:
                    kept.append((part, rows))
                else:
                    # A filter that passes little gives many steps without rows.
                    kept[-1] = (part, kept[-1][1])

    def table(self) -> pa.Table:
        """Return what there is by now as one table."""
        batches = [rows for kept in self._by_range.values() for _, rows in kept]
        with_rows = [rows for rows in batches if rows.num_rows]
        chosen = with_rows or batches[:1] or [RowShaper(self.scan.row_options).empty()]
        return unify([pa.Table.from_batches([rows]) for rows in chosen]).unify_dictionaries()

    def receipt(self) -> Receipt:
        """Return the receipt of the rows that there are, which an interrupt may have cut off from those last read."""
        read = self.scan.receipt or Receipt(())
        return replace(read, partitions=tuple(self._held(part) for part in read.partitions))

    def _held(self, read: PartitionReceipt) -> PartitionReceipt:
        kept = self._by_range[read.offset_range]
        held = kept[-1][0] if kept else _unread(read.offset_range)
        return read if held.next_offset == read.next_offset else replace(held, stop=StopReason.INTERRUPTED)


class _Run:
    """One pass over a scan's plan."""

    def __init__(self, scan: Scan, stop: Stop, control: FetchControl) -> None:
        self.scan = scan
        self.stop = stop
        self.shaper = RowShaper(scan.row_options, scan.plan.windows, scan.names or Names())
        self.control = control
        self.tally = _Tally(scan.plan)
        self.notes: list[str] = list(scan.plan.notes)
        self.rows = 0
        self.bytes = 0
        for lost in scan.plan.lost:
            self._note_loss(lost)

    def __iter__(self) -> Iterator[tuple[PartitionReceipt, pa.RecordBatch]]:
        try:
            turns = nullcontext() if self.scan.fetch_options.follow else short_turns()
            shown = progress(self.scan.plan.span, self.scan.plan.topic, shown=self.scan.show_progress)
            with turns, shown as advance:
                yield from self._steps(advance)
            if self.scan.names is None:
                self.shaper.names.check(self.scan.row_options)
            self._check_topic()
        except GeneratorExit:
            raise
        except KeyboardInterrupt:
            self.tally.end_all(StopReason.INTERRUPTED)
            raise
        except BaseException:
            self.tally.end_all(StopReason.ERROR)
            raise

    def _steps(self, advance: Any) -> Iterator[tuple[PartitionReceipt, pa.RecordBatch]]:
        scan = self.scan
        source = scan.fetcher.fetch(scan.plan.ranges, scan.fetch_options, self.control)
        limits = scan.limits
        deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
        ahead = ReadAhead([source], self.control, scan.read_ahead_bytes)
        try:
            ahead.start()
            while self.tally.open and not self.stop.is_set():
                if self._full():
                    self.tally.end_all(StopReason.LIMIT)
                    break
                if deadline is not None and time.monotonic() >= deadline:
                    self.tally.end_all(StopReason.TIMEOUT)
                    break
                fetched = ahead.get(_LOOK_S if deadline is None else min(_LOOK_S, deadline - time.monotonic()))
                if fetched is None and ahead.ended:
                    self._check_stopped()
                    break
                if fetched is not None and fetched.offset_range in self.tally.open:
                    yield self._take(fetched, advance)
        finally:
            ahead.close()

    def _check_stopped(self) -> None:
        """Let no range be left half read where nobody asked for that, whatever an engine does."""
        if not self.stop.is_set():
            part = next(self.tally.parts[each] for each in self.scan.plan.ranges if each in self.tally.open)
            message = (
                f"the {self.scan.fetcher.name} engine ended before the range did, without an error; please report it"
            )
            raise KafkalabError(message, topic=part.topic, partition=part.partition, offset=part.next_offset)

    def _take(self, fetched: Fetched, advance: Any) -> tuple[PartitionReceipt, pa.RecordBatch]:
        if fetched.lost is not None:
            self._note_loss(fetched.lost)
        rows = self.shaper.shape(fetched)
        room = self._room()
        if room is not None and rows.num_rows >= room:
            fetched, rows = self._cut(fetched, rows, room)
        advance(self.tally.add(fetched, rows.num_rows))
        projected = self.shaper.project(rows)
        self.rows += projected.num_rows
        self.bytes += projected.nbytes
        return self.tally.parts[fetched.offset_range], projected

    def _room(self) -> int | None:
        """Return how many more rows the limit allows."""
        limit = self.scan.limits.rows
        return None if limit is None else limit - self.rows

    def _cut(self, fetched: Fetched, rows: pa.RecordBatch, room: int) -> tuple[Fetched, pa.RecordBatch]:
        """Keep the rows that there is room for, and the records up to the last of these."""
        if rows.num_rows == room and fetched.stop is not None:
            return fetched, rows
        rows = rows.slice(0, room)
        next_offset = rows["offset"][room - 1].as_py() + 1 if room else fetched.offset_range.start
        offsets = fetched.arrow_batch["offset"].to_numpy()
        seen = fetched.arrow_batch.slice(0, int(np.searchsorted(offsets, next_offset)))
        self.control.finished.add(fetched.offset_range)
        return replace(fetched, arrow_batch=seen, next_offset=next_offset, stop=StopReason.LIMIT), rows

    def _full(self) -> bool:
        limits = self.scan.limits
        return (limits.rows is not None and self.rows >= limits.rows) or (
            limits.bytes is not None and self.bytes >= limits.bytes
        )

    def _note_loss(self, lost: OffsetRange) -> None:
        self.notes.append(f"{LOST}{lost}")
        warnings.warn(f"retention has removed {lost}; the read goes on after it", DataLossWarning, stacklevel=2)

    def _check_topic(self) -> None:
        """See whether the topic is still the one that was planned for."""
        if self.scan.is_part:
            return
        if self.tally.open:
            return  # stopped by its reader, who does not want to wait
        if any(part.stop == StopReason.TIMEOUT for part in self.tally.parts.values()):
            self.notes.append("whether the topic was made anew during the read is not known: its time was over")
            return
        self.notes.extend(self.scan.look_at_topic())

    def close(self) -> Receipt:
        """Return the receipt of what was read until now."""
        notes = [*self.notes, *self.shaper.notes(self.scan.plan.topic)]
        level = self.scan.fetch_options.isolation_level
        return Receipt(tuple(self.tally.parts.values()), level, self.scan.fetcher.name, None, tuple(notes))


def _first(batches: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
    first: list[pa.RecordBatch] = []
    rows = size = 0
    while rows < _FIRST_ROWS and size < _FIRST_BYTES and (batch := next(batches, None)) is not None:
        first.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
    return first


def _settled(schema: pa.Schema) -> pa.Schema:
    """Return a schema without columns that are null only: whatever comes later has a JSON text."""
    for number, column in enumerate(schema):
        if column.type == pa.null():
            schema = schema.set(number, pa.field(column.name, pa.string(), metadata=JSON_TEXT))
    return schema


def _conforming(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches of one schema: a stream cannot change its columns."""
    for rows in batches:
        same = rows.schema.equals(schema, check_metadata=True)
        yield rows if same else conform(rows, schema, _STREAM)


def conform(rows: pa.RecordBatch | pa.Table, schema: pa.Schema, hint: str) -> pa.RecordBatch | pa.Table:
    """Return rows as the schema has them, where that loses nothing.

    Raises
    ------
    DecodeError
        It would lose something; the hint says what to do.
    """
    try:
        rows = with_text(rows, {column.name for column in schema if column.metadata == JSON_TEXT})
        _check_fits(rows.schema, schema)
        for name in schema.names:
            if name not in rows.schema.names:
                rows = rows.append_column(name, pa.nulls(rows.num_rows, schema.field(name).type))
        return rows.select(schema.names).cast(schema)
    except pa.ArrowException as error:
        place = {name: rows[name][0].as_py() for name in _PLACE if name in rows.schema.names}
        message = f"{error}: {hint}"
        raise DecodeError(message, **place) from error


def _check_fits(found: pa.Schema, schema: pa.Schema) -> None:
    """Refuse columns that a cast would lose, or make a part of, or read as something else."""
    joined = pa.unify_schemas([schema, found], promote_options="permissive")
    for column in found:
        if column.name not in schema.names:
            message = f"the schema has no field {column.name!r}"
            raise pa.ArrowInvalid(message)
        kept = schema.field(column.name)
        texts = column.metadata != kept.metadata and column.type != pa.null()
        if texts or joined.field(column.name).type != kept.type:
            kind = "values of several types" if column.metadata else column.type
            message = f"field {column.name!r} holds {kind}, and {kept.type} in the schema"
            raise pa.ArrowInvalid(message)
