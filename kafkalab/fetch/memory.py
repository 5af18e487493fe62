"""A cluster in memory: topics, metadata and an engine, for tests (yours too) and documentation."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa

from kafkalab.errors import DataLossError, UnknownTopicError
from kafkalab.fetch.base import Fetched, record_schema
from kafkalab.model import (
    FetchStats,
    IsolationLevel,
    OffsetRange,
    PartitionInfo,
    StopReason,
    TimedOffset,
    TopicInfo,
    TopicPartition,
    Watermarks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from kafkalab.fetch.base import FetchControl, FetchOptions
    from kafkalab.net.client import Stops

Headers: TypeAlias = "Sequence[tuple[str, bytes | None]]"


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A record as a test writes it; its offset is the log's business."""

    value: bytes | None = None
    key: bytes | None = None
    timestamp_ms: int | None = 0
    headers: Headers = ()
    log_append_time: bool = False


@dataclass(frozen=True, slots=True)
class RawBatch:
    """One batch of the log: its offsets, which may have gaps, and the transaction it belongs to."""

    base_offset: int
    last_offset: int
    records: tuple[tuple[int, MemoryRecord], ...] = ()
    producer_id: int | None = None
    aborted: bool = False


@dataclass(slots=True)
class _Log:
    raw_batches: list[RawBatch] = field(default_factory=list)
    log_start_offset: int = 0

    @property
    def end(self) -> int:
        return self.raw_batches[-1].last_offset + 1 if self.raw_batches else self.log_start_offset

    def visible_end(self, level: IsolationLevel, open_transactions: set[int]) -> int:
        undecided = (b.base_offset for b in self.raw_batches if b.producer_id in open_transactions)
        if level != IsolationLevel.READ_COMMITTED:
            return self.end
        return max(next(undecided, self.end), self.log_start_offset)

    def holding_or_after(self, offset: int) -> RawBatch | None:
        return next((b for b in self.raw_batches if b.last_offset >= offset), None)


class MemoryCluster:
    """Topics that live in this process, readable like a real cluster's.

    Parameters
    ----------
    topics : mapping of str to int
        Number of partitions of each topic.

    Examples
    --------
    >>> import kafkalab as kl
    >>> cluster = kl.MemoryCluster({"orders": 2})
    >>> cluster.append("orders", b"apples", b"pears", partition=1)
    >>> kl.Lab(cluster, cluster).read("orders", value="text")["value"].tolist()
    ['apples', 'pears']
    """

    name = "memory"

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._logs = {name: [_Log() for _ in range(count)] for name, count in topics.items()}
        self._open: set[int] = set()
        self._groups: dict[str, dict[TopicPartition, int]] = {}
        self._changed = threading.Condition(threading.RLock())
        self._stats = FetchStats()
        self.before_step: Callable[[TopicPartition, int], None] | None = None
        """Called before each step of a fetch with the partition and its position: may wait, raise, or change logs."""

    def __repr__(self) -> str:
        return f"<MemoryCluster {', '.join(f'{name} ({len(logs)})' for name, logs in self._logs.items())}>"

    def append(
        self,
        topic: str,
        *records: bytes | MemoryRecord | None,
        partition: int = 0,
        producer_id: int | None = None,
        gap: int = 0,
    ) -> None:
        """Append one batch.

        Parameters
        ----------
        *records : bytes, MemoryRecord or None
            Bytes and None are values.
        producer_id : int, optional
            The transaction they belong to, undecided until `end_transaction`.
        gap : int
            Offsets that the batch spans after its last record without holding any.
        """
        with self._changed:
            log = self._logs[topic][partition]
            made = [r if isinstance(r, MemoryRecord) else MemoryRecord(r) for r in records]
            numbered = tuple(enumerate(made, log.end))
            last = log.end + len(made) + gap - 1
            if last >= log.end:
                log.raw_batches.append(RawBatch(log.end, last, numbered, producer_id))
            if producer_id is not None:
                self._open.add(producer_id)
            self._changed.notify_all()

    def end_transaction(self, producer_id: int, *, commit: bool) -> None:
        """Decide a transaction: write its marker to each partition it wrote to."""
        with self._changed:
            for log in (log for logs in self._logs.values() for log in logs):
                mine = [b for b in log.raw_batches if b.producer_id == producer_id]
                if mine:
                    log.raw_batches = [
                        replace(b, producer_id=None, aborted=not commit) if b in mine else b for b in log.raw_batches
                    ]
                    log.raw_batches.append(RawBatch(log.end, log.end))
            self._open.discard(producer_id)
            self._changed.notify_all()

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Remove what lies before an offset, as retention does."""
        with self._changed:
            log = self._logs[topic][partition]
            log.raw_batches = [b for b in log.raw_batches if b.last_offset >= before]
            log.log_start_offset = before

    def compact(self, topic: str, partition: int, keep: Callable[[int, MemoryRecord], bool]) -> None:
        """Remove records and keep their offsets unused, as compaction does."""
        with self._changed:
            log = self._logs[topic][partition]
            log.raw_batches = [
                replace(b, records=tuple((o, r) for o, r in b.records if keep(o, r))) for b in log.raw_batches
            ]

    def commit(self, group_id: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Set the committed offsets of a group."""
        made = {TopicPartition(topic, partition): offset for partition, offset in offsets.items()}
        self._groups.setdefault(group_id, {}).update(made)

    # Metadata

    def topics(self) -> list[TopicInfo]:
        """Return all topics by name."""
        return [self.topic(name) for name in sorted(self._logs)]

    def topic(self, name: str) -> TopicInfo:
        """Return one topic."""
        if name not in self._logs:
            raise UnknownTopicError.among(name, self._logs)
        partitions = tuple(PartitionInfo(p, 0, (0,), (0,)) for p in range(len(self._logs[name])))
        return TopicInfo(name, partitions, topic_id=f"memory-{name}")

    def overview(self, name: str) -> tuple[TopicInfo, dict[int, Watermarks]]:
        """Return one topic and its watermarks."""
        info = self.topic(name)
        return info, self.watermarks(name, [part.partition for part in info.partitions])

    def watermarks(self, topic: str, partitions: Sequence[int], *, stop: Stops | None = None) -> dict[int, Watermarks]:
        """Return where each log begins and ends."""
        del stop  # nothing is waited for
        logs = {partition: self._logs[topic][partition] for partition in partitions}
        committed = IsolationLevel.READ_COMMITTED
        return {
            p: Watermarks(log.log_start_offset, log.visible_end(committed, self._open), log.end)
            for p, log in logs.items()
        }

    def offsets_for_times(self, topic: str, times_ms: Mapping[int, int]) -> dict[int, TimedOffset | None]:
        """Return the first offset whose record has a time at or after the one given."""
        return {
            p: next((TimedOffset(o, t) for o, t in self._times(topic, p) if t >= timestamp_ms), None)
            for p, timestamp_ms in times_ms.items()
        }

    def timestamp_span(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
        """Return the first and the greatest time of each partition."""
        times = {p: [t for _, t in self._times(topic, p)] for p in partitions}
        return {p: (found[0], max(found)) if found else (None, None) for p, found in times.items()}

    def _times(self, topic: str, partition: int) -> list[tuple[int, int]]:
        records = (pair for raw_batch in self._logs[topic][partition].raw_batches for pair in raw_batch.records)
        return [(offset, record.timestamp_ms) for offset, record in records if record.timestamp_ms is not None]

    def committed_offsets(self, group_id: str, topic: str) -> dict[int, int | None]:
        """Return what a group has committed."""
        known = self._groups.get(group_id, {})
        return {p: known.get(TopicPartition(topic, p)) for p in range(len(self._logs[topic]))}

    def group_ids(self) -> list[str]:
        """Return the groups that have committed."""
        return sorted(self._groups)

    # Fetcher

    @property
    def stats(self) -> FetchStats:
        """One request is one batch."""
        return self._stats

    def fetch(self, ranges: Sequence[OffsetRange], options: FetchOptions, control: FetchControl) -> Generator[Fetched]:
        """Yield the visible records of the ranges, a batch a step, the ranges in turn."""
        waiting = deque((offset_range, offset_range.start) for offset_range in ranges)
        idle = 0
        while waiting and not control.stop.is_set():
            if idle >= len(waiting):
                idle = 0
                with self._changed:
                    self._changed.wait(0.05)
            offset_range, position = waiting.popleft()
            if offset_range in control.finished:
                continue
            step = self._step(offset_range, position, options)
            control.ends[offset_range] = self._logs[offset_range.topic][offset_range.partition].visible_end(
                options.isolation_level, self._open
            )
            if step is None:
                idle += 1
                waiting.append((offset_range, position))
                continue
            idle = 0
            if step.stop is None:
                waiting.append((offset_range, step.next_offset))
            yield step

    def probe(
        self, topic: str, draws: Mapping[int, NDArray[np.int64]], options: FetchOptions, control: FetchControl
    ) -> Generator[Fetched]:
        """Yield the visible records among the drawn offsets, one batch a request."""
        for partition, offsets in draws.items():
            offset_range = OffsetRange(topic, partition, int(offsets[0]), int(offsets[-1]) + 1)
            position = offset_range.start
            while not control.stop.is_set():
                step = self._step(offset_range, position, options)
                if step is None:
                    break
                hits = np.isin(step.arrow_batch["offset"].to_numpy(), offsets)
                following = np.searchsorted(offsets, step.next_offset)
                yield replace(step, arrow_batch=step.arrow_batch.filter(pa.array(hits)))
                if step.stop is not None:
                    break
                position = int(offsets[following])

    def _step(self, offset_range: OffsetRange, position: int, options: FetchOptions) -> Fetched | None:
        """Return the next step from a position, None where there is nothing to do but wait."""
        where = TopicPartition(offset_range.topic, offset_range.partition)
        if self.before_step:
            self.before_step(where, position)
        with self._changed:
            log = self._logs[where.topic][where.partition]
            if position < log.log_start_offset and position < offset_range.end:
                return self._after_loss(offset_range, position, log.log_start_offset, options)
            end = min(offset_range.end, log.visible_end(options.isolation_level, self._open))
            raw_batch = log.holding_or_after(position) if position < end else None
            if raw_batch is None and position < offset_range.end:
                blocked = StopReason.BLOCKED_BY_OPEN_TRANSACTION
                return None if options.follow else Fetched(offset_range, _table([], options), position, blocked)
            return self._records(offset_range, position, end, raw_batch, options)

    def _records(
        self, offset_range: OffsetRange, position: int, end: int, raw_batch: RawBatch | None, options: FetchOptions
    ) -> Fetched:
        records: list[tuple[int, MemoryRecord]] = []
        next_offset = position
        if raw_batch is not None:
            next_offset = raw_batch.last_offset + 1
            if not (raw_batch.aborted and options.isolation_level == IsolationLevel.READ_COMMITTED):
                records = [(o, r) for o, r in raw_batch.records if position <= o < end]
        size = sum(len(r.key or b"") + len(r.value or b"") for _, r in records)
        before = self._stats
        self._stats = FetchStats(before.requests + 1, before.records + len(records), before.bytes + size)
        stop = StopReason.REACHED if next_offset >= offset_range.end else None
        return Fetched(offset_range, _table(records, options), next_offset, stop)

    @staticmethod
    def _after_loss(offset_range: OffsetRange, position: int, log_start: int, options: FetchOptions) -> Fetched:
        if options.on_data_loss == "raise":
            message = f"retention has passed this read: the log starts at {log_start} by now"
            raise DataLossError(message, topic=offset_range.topic, partition=offset_range.partition, offset=position)
        start = min(log_start, offset_range.end)
        lost = OffsetRange(offset_range.topic, offset_range.partition, position, start)
        stop = StopReason.RETENTION_PASSED if start == offset_range.end else None
        return Fetched(offset_range, _table([], options), start, stop, lost)


def _table(records: list[tuple[int, MemoryRecord]], options: FetchOptions) -> pa.RecordBatch:
    schema = record_schema(headers=options.headers)
    columns: dict[str, list[object]] = {
        "offset": [offset for offset, _ in records],
        "timestamp": [record.timestamp_ms for _, record in records],
        "timestamp_type": [_timestamp_type(record) for _, record in records],
        "key": [record.key for _, record in records],
        "value": [record.value for _, record in records],
    }
    if options.headers:
        columns["headers"] = [[{"key": key, "value": value} for key, value in record.headers] for _, record in records]
    return pa.RecordBatch.from_pydict(columns, schema)


def _timestamp_type(record: MemoryRecord) -> int:
    if record.timestamp_ms is None:
        return 0
    return 2 if record.log_append_time else 1
