"""The values everything else passes around: frozen, picklable, validated when made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from kafkalab.errors import PositionError

if TYPE_CHECKING:
    from collections.abc import Iterable


class IsolationLevel(StrEnum):
    """Which records of transactions are visible."""

    READ_COMMITTED = "read_committed"
    READ_UNCOMMITTED = "read_uncommitted"


class StopReason(StrEnum):
    """Why reading a partition stopped."""

    REACHED = "reached"
    LIMIT = "limit"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    BLOCKED_BY_OPEN_TRANSACTION = "blocked_by_open_transaction"
    RETENTION_PASSED = "retention_passed"
    ERROR = "error"


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    """One partition of one topic.

    Examples
    --------
    >>> print(TopicPartition("orders", 3))
    orders[3]
    """

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """The offsets ``start <= offset < end`` of one partition: the unit of all work.

    Its span is not a count of records: compaction, aborted transactions and control records leave gaps.

    Raises
    ------
    PositionError
        The start is negative or lies after the end.

    Examples
    --------
    >>> print(OffsetRange("orders", 3, 100, 250))
    orders[3]@100-250
    """

    topic: str
    partition: int
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            message = f"start {self.start} and end {self.end} are no half-open range of offsets"
            raise PositionError(message, topic=self.topic, partition=self.partition)

    @property
    def span(self) -> int:
        """Number of offsets from start to end, each of which may or may not hold a record."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.start}-{self.end}"


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Where a partition's log begins and ends.

    Attributes
    ----------
    log_start_offset : int
        The first offset that retention and record deletion have left.
    last_stable_offset : int
        Transactions below it are decided: the end for ``read_committed``.
    high_watermark : int
        Records below it are on every in-sync replica: the end for ``read_uncommitted``.
    """

    log_start_offset: int
    last_stable_offset: int
    high_watermark: int

    def end_offset(self, isolation_level: IsolationLevel) -> int:
        """Return the offset one past what ``isolation_level`` may see."""
        return self.last_stable_offset if isolation_level == IsolationLevel.READ_COMMITTED else self.high_watermark


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """A partition and the brokers that keep it; ``leader`` is None while it has none."""

    partition: int
    leader: int | None
    replicas: tuple[int, ...] = ()
    in_sync_replicas: tuple[int, ...] = ()
    offline_replicas: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic and its partitions; ``topic_id`` tells it from an earlier topic of the same name, where known."""

    name: str
    partitions: tuple[PartitionInfo, ...]
    topic_id: str | None = None
    is_internal: bool = False


@dataclass(frozen=True, slots=True)
class FetchStats:
    """What a fetch has cost so far: requests answered (where the engine knows), records seen and bytes taken."""

    requests: int = 0
    records: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class TimedOffset:
    """An offset that was looked up by time, and the time that its record has, in epoch milliseconds."""

    offset: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class PartitionReceipt:
    """What was read of one offset range, and why reading it stopped.

    Attributes
    ----------
    start, end : int
        The range that was asked for, half-open.
    next_offset : int
        Where reading would go on; ``end`` or more when the range was read whole.
    records : int
        Visible records that were read.
    rows : int
        Rows that passed the filters and were returned.
    bytes : int
        Bytes of keys and values that were read.
    stop : StopReason
        Why it stopped.
    """

    topic: str
    partition: int
    start: int
    end: int
    next_offset: int
    records: int = 0
    rows: int = 0
    bytes: int = 0
    stop: StopReason = StopReason.REACHED

    @property
    def offset_range(self) -> OffsetRange:
        """What was asked for."""
        return OffsetRange(self.topic, self.partition, self.start, self.end)

    def goes_on_with(self, other: PartitionReceipt) -> bool:
        """Return whether another range begins where this one, read whole, ends."""
        same = (self.topic, self.partition, self.end) == (other.topic, other.partition, other.start)
        return same and self.stop == StopReason.REACHED

    def joined(self, other: PartitionReceipt) -> PartitionReceipt:
        """Return the receipt of this range and the one that it goes on with."""
        return replace(
            other,
            start=self.start,
            records=self.records + other.records,
            rows=self.rows + other.rows,
            bytes=self.bytes + other.bytes,
        )


@dataclass(frozen=True, slots=True)
class LiveEstimate:
    """How many visible records the sampled ranges hold: an estimate with its 95% interval, exact when they agree."""

    records: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a frame holds: ranges asked for, ranges read, counts, and why reading stopped.

    Examples
    --------
    >>> receipt = Receipt((PartitionReceipt("orders", 0, 0, 10, 10, records=9, rows=9),))
    >>> receipt
    <Receipt orders: 9 rows of 9 records, 1 partition, reached>
    >>> Receipt.from_json(receipt.to_json()) == receipt
    True
    """

    partitions: tuple[PartitionReceipt, ...]
    isolation_level: IsolationLevel = IsolationLevel.READ_COMMITTED
    engine: str = ""
    live: LiveEstimate | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def rows(self) -> int:
        """Rows returned, over all partitions."""
        return sum(part.rows for part in self.partitions)

    @property
    def records(self) -> int:
        """Visible records read, over all partitions."""
        return sum(part.records for part in self.partitions)

    @property
    def bytes(self) -> int:
        """Bytes of keys and values read, over all partitions."""
        return sum(part.bytes for part in self.partitions)

    @property
    def complete(self) -> bool:
        """Whether every range was read to its end."""
        return all(part.stop == StopReason.REACHED for part in self.partitions)

    @property
    def stop_reasons(self) -> tuple[StopReason, ...]:
        """The distinct reasons, in the order of the enumeration."""
        found = {part.stop for part in self.partitions}
        return tuple(reason for reason in StopReason if reason in found)

    @classmethod
    def merge(cls, receipts: Iterable[Receipt]) -> Self:
        """Return one receipt over all the ranges of several; estimates are dropped, as they do not add up."""
        all_of_them = list(receipts)
        levels = {receipt.isolation_level for receipt in all_of_them}
        return cls(
            tuple(part for receipt in all_of_them for part in receipt.partitions),
            # Mixed levels have seen what the weaker one shows.
            IsolationLevel.READ_UNCOMMITTED if len(levels) > 1 else next(iter(levels), IsolationLevel.READ_COMMITTED),
            "+".join(sorted({receipt.engine for receipt in all_of_them if receipt.engine})),
            None,
            tuple(dict.fromkeys(note for receipt in all_of_them for note in receipt.notes)),
        )

    def coalesced(self) -> Self:
        """Return the same receipt with ranges that follow on each other, and were read whole, told as one.

        Examples
        --------
        >>> pieces = [PartitionReceipt("orders", 0, n, n + 5, n + 5, records=5, rows=5) for n in (0, 5, 10)]
        >>> Receipt(tuple(pieces)).coalesced().partitions[0].offset_range
        OffsetRange(topic='orders', partition=0, start=0, end=15)
        """
        told: list[PartitionReceipt] = []
        for part in self.partitions:
            if told and told[-1].goes_on_with(part):
                part = told.pop().joined(part)  # noqa: PLW2901 - it is the next one's neighbour
            told.append(part)
        return replace(self, partitions=tuple(told))

    def to_json(self) -> str:
        """Return the receipt as one short string."""
        # Field by field: asdict copies each value deeply, and there can be thousands of partitions.
        data = {
            "partitions": [
                {name: getattr(part, name) for name in PartitionReceipt.__slots__} for part in self.partitions
            ],
            "isolation_level": self.isolation_level,
            "engine": self.engine,
            "live": asdict(self.live) if self.live else None,
            "notes": self.notes,
        }
        return json.dumps(data, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the receipt that :meth:`to_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        parts = (PartitionReceipt(**{**part, "stop": StopReason(part["stop"])}) for part in data["partitions"])
        return cls(
            tuple(parts),
            IsolationLevel(data["isolation_level"]),
            data["engine"],
            LiveEstimate(**data["live"]) if data["live"] else None,
            tuple(data["notes"]),
        )

    def with_live(self, live: LiveEstimate) -> Self:
        """Return a copy that carries an estimate of the live records."""
        return replace(self, live=live)

    def __repr__(self) -> str:
        topics = ", ".join(sorted({part.topic for part in self.partitions})) or "nothing"
        count = len({(part.topic, part.partition) for part in self.partitions})
        stops = ", ".join(self.stop_reasons) or "reached"
        plural = "" if count == 1 else "s"
        return f"<Receipt {topics}: {self.rows:,} rows of {self.records:,} records, {count} partition{plural}, {stops}>"
