"""What a person calls a place in the log, made into offsets: pure, given a clock reading and a look-up."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from kafkalab.errors import DataLossError, PositionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafkalab.model import IsolationLevel, TimedOffset, Watermarks

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_NUMPY_UNITS_MS = {unit: Fraction(length) for unit, length in _UNITS_MS.items() if unit not in "dw"} | {
    "D": Fraction(86_400_000),
    "W": Fraction(604_800_000),
    **{unit: Fraction(1, 1000**power) for power, unit in enumerate(("us", "ns", "ps", "fs", "as"), 1)},
}
_NUMBER = r"\d{1,20}(?:\.\d{1,20})?"
_AGO = re.compile(rf"-(?:{_NUMBER}(?:ms|[smhdw]))+", re.ASCII)
_AGO_PART = re.compile(rf"({_NUMBER})(ms|[smhdw])", re.ASCII)
_EPOCH_MS = re.compile(r"@\d{1,20}", re.ASCII)
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_YEAR_MS = 365 * 86_400_000
# Year 10000: what lies beyond are microseconds or nanoseconds taken for milliseconds.
_FAR_FUTURE_MS = 253_402_300_800_000
_YEAR_ONE_MS = -62_135_596_800_000
_SHOWN = 100
_FORMS = (
    "give 'earliest', 'latest', an offset (42), a negative number counted from the end (-1000), a time ago ('-15m'), "
    "a date or time ('2026-01-01T12:00'), a datetime, epoch milliseconds ('@1767225600000'), "
    "kl.Committed('group') or a dict of these by partition"
)


@dataclass(frozen=True, slots=True)
class Committed:
    """The position that a consumer group has committed.

    Examples
    --------
    >>> Committed("billing")
    Committed(group_id='billing')
    """

    group_id: str


@dataclass(frozen=True, slots=True)
class Earliest:
    """The first offset that the log still holds."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The end of what the isolation level may see."""


@dataclass(frozen=True, slots=True)
class AtOffset:
    """An offset as the log numbers it."""

    offset: int


@dataclass(frozen=True, slots=True)
class FromEnd:
    """A number of offsets before the end; gaps count."""

    count: int


@dataclass(frozen=True, slots=True)
class AtTime:
    """The first record at or after a time, in epoch milliseconds."""

    timestamp_ms: int


PlainPosition: TypeAlias = str | int | np.integer | date | timedelta | np.datetime64 | np.timedelta64 | Committed
Position: TypeAlias = "PlainPosition | Mapping[int, PlainPosition]"
ParsedPosition: TypeAlias = Earliest | Latest | AtOffset | FromEnd | AtTime | Committed


class OffsetLookup(Protocol):
    """The two questions about offsets that only the cluster can answer."""

    def offsets_for_times(self, topic: str, times_ms: Mapping[int, int]) -> dict[int, TimedOffset | None]:
        """Return, by partition, the first offset at or after a time, and its own; None where there is none."""
        ...

    def committed_offsets(self, group_id: str, topic: str) -> dict[int, int | None]:
        """Return what a group has committed, by partition."""
        ...


def parse(position: PlainPosition, now_ms: int) -> ParsedPosition:
    """Return what a position means.

    Parameters
    ----------
    position : str, int, datetime, date, timedelta, numpy.datetime64 or Committed
        Naive times are UTC. A timedelta must be negative, like ``"-15m"``: it counts back from now.
    now_ms : int
        The present, in epoch milliseconds.

    Raises
    ------
    PositionError
        It is none of the forms, or a number in the wrong unit.

    Examples
    --------
    >>> parse("-15m", now_ms=1_767_225_600_000)
    AtTime(timestamp_ms=1767224700000)
    >>> parse("2026-01-01", now_ms=0)
    AtTime(timestamp_ms=1767225600000)
    >>> parse(-1000, now_ms=0)
    FromEnd(count=1000)
    """
    if isinstance(position, Committed):
        return position
    if isinstance(position, str):
        return _parse_text(position.strip(), now_ms)
    if isinstance(position, timedelta) or (isinstance(position, np.timedelta64) and not np.isnat(position)):
        return _ago(_back_ms(position), now_ms, position)
    if isinstance(position, (int, np.integer)) and not isinstance(position, (bool, np.timedelta64)):
        return AtOffset(int(position)) if position >= 0 else FromEnd(-int(position))
    if isinstance(position, (date, np.datetime64)):
        return _at_time(_epoch_ms(position), position)
    raise _none(position)


def _none(given: object) -> PositionError:
    text = repr(given)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return PositionError(f"{shown} is no position: {_FORMS}")


def _parse_text(text: str, now_ms: int) -> ParsedPosition:
    if text in ("earliest", "latest"):
        return Earliest() if text == "earliest" else Latest()
    if _AGO.fullmatch(text):
        parts = (Fraction(number) * _UNITS_MS[unit] for number, unit in _AGO_PART.findall(text))
        return _ago(sum(parts, Fraction()), now_ms, text)
    if _EPOCH_MS.fullmatch(text):
        return _at_time(int(text[1:]), text)
    try:
        return _at_time(_epoch_ms(datetime.fromisoformat(text)), text)
    except ValueError as error:
        if isinstance(error, PositionError):
            raise
        raise _none(text) from error


def _ago(back_ms: Fraction, now_ms: int, given: object) -> AtTime:
    if back_ms < 0:
        message = f"a time span counts back from now and so is negative: give -{given!r}"
        raise PositionError(message)
    return _at_time(now_ms - math.floor(back_ms), given)


def _back_ms(delta: timedelta | np.timedelta64) -> Fraction:
    if isinstance(delta, timedelta):
        return Fraction(-delta // timedelta(microseconds=1), 1000)
    unit, step = np.datetime_data(delta.dtype)
    if unit not in _NUMPY_UNITS_MS:  # a month has no length
        raise _none(delta)
    return -int(delta.astype(np.int64)) * step * _NUMPY_UNITS_MS[unit]


def _epoch_ms(moment: date | np.datetime64) -> int:
    """Return the first millisecond that is not before a moment: a record's time has no parts of one."""
    if moment != moment:  # noqa: PLR0124 - so is NaT told, whoever made it
        message = "NaT is no position"
        raise PositionError(message)
    if isinstance(moment, np.datetime64):
        year = 1970 + int(moment.astype("datetime64[Y]").astype(np.int64))
        if not MINYEAR <= year <= MAXYEAR:  # numpy's milliseconds would not hold it, and it does not say so
            raise _none(moment)
        before = moment.astype("datetime64[ms]")
        return int(before.astype(np.int64)) + int(before < moment)
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return -int((_EPOCH - moment) // _MILLISECOND)


def _at_time(timestamp_ms: int, given: object) -> AtTime:
    if 0 < timestamp_ms < _YEAR_MS:
        message = f"{given} lies in 1970: seconds were given where milliseconds are meant (x 1000)"
        raise PositionError(message)
    if timestamp_ms < _YEAR_ONE_MS:
        message = f"{str(given)[:_SHOWN]} lies before the year 1"
        raise PositionError(message)
    if timestamp_ms >= _FAR_FUTURE_MS:
        message = f"{given} lies beyond the year 9999: epoch milliseconds are meant"
        raise PositionError(message)
    return AtTime(timestamp_ms)


def parse_by_partition(position: Position, partitions: Sequence[int], now_ms: int) -> dict[int, ParsedPosition]:
    """Return the parsed position of each partition; partitions that a dict leaves out are left out."""
    if isinstance(position, Mapping):
        return {partition: parse(position[partition], now_ms) for partition in partitions if partition in position}
    parsed = parse(position, now_ms)
    return dict.fromkeys(partitions, parsed)


@dataclass(frozen=True, slots=True)
class Resolver:
    """Turns parsed positions of one topic's partitions into offsets."""

    topic: str
    watermarks: Mapping[int, Watermarks]
    isolation_level: IsolationLevel
    lookup: OffsetLookup
    may_be_gone: bool = False
    """Whether an offset before the log's start is an answer too."""
    timed: dict[int, TimedOffset] = field(default_factory=dict)
    """What the last positions that are times were found at."""

    def resolve(self, positions: Mapping[int, ParsedPosition]) -> dict[int, int]:
        """Return the offset of each partition's position.

        Times past the last record give the end of what the isolation level shows.

        Raises
        ------
        PositionError
            A position lies outside the log.
        DataLossError
            It lies before the log's start: retention, or someone, has deleted what was there.
        """
        times = {p: at.timestamp_ms for p, at in positions.items() if isinstance(at, AtTime)}
        found = self.lookup.offsets_for_times(self.topic, times) if times else {}
        self.timed.update({partition: timed for partition, timed in found.items() if timed is not None})
        groups = {at.group_id for at in positions.values() if isinstance(at, Committed)}
        committed = {group: self.lookup.committed_offsets(group, self.topic) for group in sorted(groups)}
        return {p: self._offset(p, at, found, committed) for p, at in positions.items()}

    def _offset(
        self,
        partition: int,
        position: ParsedPosition,
        found: Mapping[int, TimedOffset | None],
        committed: Mapping[str, Mapping[int, int | None]],
    ) -> int:
        marks = self.watermarks[partition]
        end = marks.end_offset(self.isolation_level)
        match position:
            case Earliest():
                return marks.log_start_offset
            case Latest():
                return end
            case AtTime():
                timed = found.get(partition)
                return end if timed is None else min(max(timed.offset, marks.log_start_offset), end)
            case FromEnd(count):
                return self._from_end(partition, count, end)
            case Committed(group_id):
                return self._committed(partition, group_id, committed[group_id].get(partition))
            case AtOffset(offset):
                return self._inside(partition, offset)

    def _from_end(self, partition: int, count: int, end: int) -> int:
        start = self.watermarks[partition].log_start_offset
        if end - count < start:
            message = (
                f"-{count} reaches before the log's start: its offsets are {start} to {end}, {end - start} of them; "
                "use 'earliest', or a dict with a number for each partition"
            )
            raise PositionError(message, topic=self.topic, partition=partition)
        return end - count

    def _committed(self, partition: int, group_id: str, offset: int | None) -> int:
        marks = self.watermarks[partition]
        if offset is None and marks.log_start_offset == marks.high_watermark:
            return marks.high_watermark  # nothing is there to be committed
        if offset is None:
            message = f"group {group_id!r} has committed nothing here: give a dict with 'earliest' for this partition"
            raise PositionError(message, topic=self.topic, partition=partition)
        return self._inside(partition, offset)

    def _inside(self, partition: int, offset: int) -> int:
        marks = self.watermarks[partition]
        log = f"the log holds offsets {marks.log_start_offset} to {marks.high_watermark}"
        if offset < marks.log_start_offset and not self.may_be_gone:
            message = f"this offset is gone, {log}; use 'earliest', or on_data_loss='warn' to go on from there"
            raise DataLossError(message, topic=self.topic, partition=partition, offset=offset)
        if offset > marks.high_watermark:
            message = f"this offset is not there yet, {log}; use 'latest'{_epoch_hint(offset)}"
            raise PositionError(message, topic=self.topic, partition=partition, offset=offset)
        return offset


def _epoch_hint(offset: int) -> str:
    """Guess at an epoch time that was given as an offset."""
    for unit, factor in (("seconds", 1_000), ("milliseconds", 1)):
        timestamp_ms = offset * factor
        if _YEAR_MS * 30 < timestamp_ms < _YEAR_MS * 130:
            moment = datetime.fromtimestamp(timestamp_ms / 1000, tz=UTC)
            return f" (if it is a time in {unit}, {moment:%Y-%m-%d %H:%M:%S}, give '@{timestamp_ms}')"
    return ""
