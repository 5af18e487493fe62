"""Positions and watermarks made into offset ranges, and the arithmetic on those: pure."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import index
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

import numpy as np

from kafkalab.errors import ArgumentError, PositionError, UnknownPartitionError
from kafkalab.model import IsolationLevel, OffsetRange
from kafkalab.positions import AtTime, Resolver, parse_by_partition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kafkalab.model import TimedOffset, TopicInfo, Watermarks
    from kafkalab.positions import OffsetLookup, ParsedPosition, Position

_SKEW_MS = 3_600_000  # clocks are wrong by minutes everywhere
OnDataLoss: TypeAlias = Literal["raise", "warn"]


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Half-open bounds on record timestamps, in epoch milliseconds; None leaves a side open."""

    start_ms: int | None = None
    end_ms: int | None = None

    def __bool__(self) -> bool:
        return self.start_ms is not None or self.end_ms is not None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read: offset ranges in the order of their partitions, and the time bounds that rows must still meet.

    A time is looked up in the log's index and then checked row by row, because a producer's timestamps need not rise.
    """

    topic: str
    ranges: tuple[OffsetRange, ...]
    windows: Mapping[int, TimeWindow] = field(default_factory=dict)
    lost: tuple[OffsetRange, ...] = ()
    offline: tuple[int, ...] = ()
    """Partitions that are left out, as they have no leader."""
    notes: tuple[str, ...] = ()
    """What the receipt of a read has to say of it."""

    def with_ranges(self, ranges: Iterable[OffsetRange]) -> Plan:
        """Return the same plan over other ranges of the same topic."""
        return replace(self, ranges=tuple(ranges))

    @property
    def span(self) -> int:
        """Number of offsets in all the ranges: an upper bound for the records."""
        return sum(offset_range.span for offset_range in self.ranges)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked of a topic, before the cluster is looked at."""

    start: Position = "earliest"
    end: Position = "latest"
    partitions: Sequence[int] | int | None = None
    isolation_level: IsolationLevel = IsolationLevel.READ_COMMITTED
    on_data_loss: OnDataLoss = "raise"

    def __post_init__(self) -> None:
        if self.on_data_loss not in ("raise", "warn"):
            message = f"on_data_loss is 'raise' or 'warn', not {self.on_data_loss!r}"
            raise ArgumentError(message)
        try:
            object.__setattr__(self, "isolation_level", IsolationLevel(self.isolation_level))
        except ValueError as error:
            message = f"isolation_level is 'read_committed' or 'read_uncommitted', not {self.isolation_level!r}"
            raise ArgumentError(message) from error


def choose_partitions(info: TopicInfo, request: Request) -> tuple[int, ...]:
    """Return the partitions that a request reads, in order.

    Raises
    ------
    UnknownPartitionError
        One of them does not exist.
    """
    known = {part.partition for part in info.partitions}
    asked = known if request.partitions is None else _numbers(request.partitions)
    by_position = [_numbers(side) for side in (request.start, request.end) if isinstance(side, Mapping)]
    for partition in sorted(asked.union(*by_position)):
        if partition not in known:
            have = f"0 to {max(known)}" if known else "none"
            message = f"there is no such partition: the topic has {have}"
            raise UnknownPartitionError(message, topic=info.name, partition=partition)
    return tuple(sorted(asked.intersection(*by_position)))


def _numbers(partitions: Iterable[int] | int) -> set[int]:
    """Return partition numbers as Python's: numpy's do not go into a receipt."""
    try:
        return set(map(index, partitions if isinstance(partitions, Iterable) else [partitions]))
    except TypeError as error:
        message = f"partitions are whole numbers, not {partitions!r}"
        raise ArgumentError(message) from error


def make_plan(
    request: Request,
    topic: str,
    watermarks: Mapping[int, Watermarks],
    lookup: OffsetLookup,
    now_ms: int,
) -> Plan:
    """Return the offset ranges that a request means.

    Parameters
    ----------
    watermarks : mapping of int to Watermarks
        Of each partition to read; taken once, so that "latest" is one moment.
    lookup : OffsetLookup
        Where times and commits are looked up.
    now_ms : int
        The present, in epoch milliseconds.

    Raises
    ------
    PositionError
        A position lies outside the log, or a start after its end.
    DataLossError
        A start lies before the log's start, and ``on_data_loss`` is "raise".
    """
    partitions = sorted(watermarks)
    starts = parse_by_partition(request.start, partitions, now_ms)
    ends = parse_by_partition(request.end, partitions, now_ms)
    resolver = Resolver(topic, watermarks, request.isolation_level, lookup, may_be_gone=request.on_data_loss == "warn")
    start_offsets = resolver.resolve(starts)
    resolver.timed.clear()
    end_offsets = resolver.resolve(ends)
    ranges, windows, lost = [], {}, []
    for partition in partitions:
        window = _window(topic, partition, starts[partition], ends[partition])
        if window:
            windows[partition] = window
        asked = _range(topic, partition, start_offsets[partition], end_offsets[partition], bool(window))
        gone, kept = _cut_at(asked, watermarks[partition].log_start_offset)
        ranges.append(kept)
        if gone.span:
            lost.append(gone)
    notes = (
        _far_note(topic, partition, timed, watermarks[partition].high_watermark)
        for partition, timed in sorted(resolver.timed.items())
        if timed.timestamp_ms > now_ms + _SKEW_MS
    )
    return Plan(topic, tuple(ranges), windows, tuple(lost), notes=tuple(notes))


def _far_note(topic: str, partition: int, timed: TimedOffset, high_watermark: int) -> str:
    """Say that a range ends where a producer's clock was wrong: earlier records may well lie behind."""
    return (
        f"{topic}[{partition}] is read up to offset {timed.offset} of {high_watermark} only: the record there is of "
        f"the future (@{timed.timestamp_ms}), so the broker's index has it as the first one after the end; "
        "to look at the rest too, read without end and filter: where=kl.field('timestamp') < ..."
    )


def _cut_at(asked: OffsetRange, offset: int) -> tuple[OffsetRange, OffsetRange]:
    """Return what of a range lies before an offset, and what at or after it."""
    before = replace(asked, start=min(asked.start, offset), end=min(asked.end, offset))
    return before, replace(asked, start=max(asked.start, offset), end=max(asked.end, offset))


def _window(topic: str, partition: int, start: ParsedPosition, end: ParsedPosition) -> TimeWindow:
    window = TimeWindow(
        start.timestamp_ms if isinstance(start, AtTime) else None,
        end.timestamp_ms if isinstance(end, AtTime) else None,
    )
    if window.start_ms is not None and window.end_ms is not None and window.start_ms > window.end_ms:
        message = f"the start ({window.start_ms} ms) is later than the end ({window.end_ms} ms)"
        raise PositionError(message, topic=topic, partition=partition)
    return window


def _range(topic: str, partition: int, start: int, end: int, by_time: bool) -> OffsetRange:  # noqa: FBT001 - private
    if start > end and by_time:
        # Asking for an offset and a time at once can meet nowhere: that is an empty answer, not a mistake.
        start = end
    if start > end:
        message = f"the start {start} lies after the end {end}"
        raise PositionError(message, topic=topic, partition=partition)
    return OffsetRange(topic, partition, start, end)


@dataclass(frozen=True, slots=True)
class Pieces(Sequence[OffsetRange]):
    """Ranges cut into pieces of at most ``max_span`` offsets, in order, each made when it is asked for.

    A range without offsets is one piece, so that no partition goes unseen.

    Examples
    --------
    >>> pieces = Pieces((OffsetRange("orders", 0, 5, 12), OffsetRange("orders", 1, 0, 0)), 3)
    >>> print(*pieces)
    orders[0]@5-8 orders[0]@8-11 orders[0]@11-12 orders[1]@0-0
    >>> len(pieces)
    4
    """

    ranges: tuple[OffsetRange, ...]
    max_span: int
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        counts = (max(1, -(-offset_range.span // self.max_span)) for offset_range in self.ranges)
        object.__setattr__(self, "_ends", tuple(itertools.accumulate(counts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, key: int) -> OffsetRange: ...

    @overload
    def __getitem__(self, key: slice) -> list[OffsetRange]: ...

    def __getitem__(self, key: int | slice) -> OffsetRange | list[OffsetRange]:
        if isinstance(key, slice):
            return [self[number] for number in range(*key.indices(len(self)))]
        number = range(len(self))[key]
        place = bisect_right(self._ends, number)
        whole = self.ranges[place]
        start = whole.start + (number - (self._ends[place - 1] if place else 0)) * self.max_span
        return OffsetRange(whole.topic, whole.partition, start, min(start + self.max_span, whole.end))

    def __iter__(self) -> Iterator[OffsetRange]:
        return map(self.__getitem__, range(len(self)))


def draw_fresh(rng: np.random.Generator, total: int, drawn: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Draw ``count`` of the numbers ``0 <= x < total`` that are not in the sorted ``drawn``: uniform, sorted.

    The r-th number that is free is found by rank: it is r plus the drawn ones at or below it.
    """
    ranks = _distinct(rng, total - len(drawn), count)
    taken_below = drawn - np.arange(len(drawn))
    return ranks + np.searchsorted(taken_below, ranks, side="right")


def _distinct(rng: np.random.Generator, total: int, count: int) -> NDArray[np.int64]:
    """Draw ``count`` different numbers ``0 <= x < total``: uniform, sorted, in memory for some times ``count``."""
    if 2 * count > total:
        return np.sort(rng.choice(total, count, replace=False, shuffle=False).astype(np.int64))
    # numpy's choice would lay out all numbers. No number is preferred here, so neither is any set of them.
    numbers = np.empty(0, dtype=np.int64)
    while len(numbers) < count:
        numbers = np.union1d(numbers, rng.integers(total, size=count - len(numbers)))
    return numbers


def locate(ranges: Sequence[OffsetRange], numbers: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Return the offsets that sorted numbers stand for when all offsets of ``ranges`` are counted through."""
    ends = np.cumsum([offset_range.span for offset_range in ranges])
    cuts = np.searchsorted(numbers, ends)
    places = {}
    for offset_range, end, low, high in zip(ranges, ends, [0, *cuts], cuts, strict=False):
        if high > low:
            places[offset_range.partition] = numbers[low:high] - (end - offset_range.end)
    return places
