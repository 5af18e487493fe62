"""Which records of a partition are done: the low-water mark that a commit may not pass."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class _Stretch:
    """Records that came together: their offsets, rising, and for each a byte that says whether it is marked."""

    offsets: Sequence[int]
    marks: bytearray
    clear: int = 0
    """Records at its beginning that are known to be marked."""


class Tracker:
    """The marks of one partition's log, from when this member gets it until it is given up.

    Parameters
    ----------
    start : int, optional
        The offset from which the member reads, where it knows one.

    Examples
    --------
    >>> tracker = Tracker()
    >>> tracker.deliver(range(10, 14))
    >>> tracker.mark([10, 12])
    >>> tracker.low_water
    11
    >>> tracker.mark(range(11, 14))
    >>> tracker.low_water
    14
    """

    __slots__ = ("_lasts", "_stretches", "next_offset")

    def __init__(self, start: int = -1) -> None:
        self._stretches: list[_Stretch] = []
        self._lasts: list[int] = []  # the last offset of each, to find one by
        self.next_offset = start
        """The first offset of which nothing is known yet; -1 where that is any."""

    def deliver(self, offsets: Sequence[int]) -> None:
        """Note records that are handed out; their offsets rise, may have gaps, and lie above all earlier ones."""
        last = self._stretches[-1] if self._stretches else None
        if last and isinstance(offsets, range) and isinstance(last.offsets, range) and last.offsets.stop == offsets[0]:
            last.offsets = range(last.offsets.start, offsets.stop)
            last.marks.extend(bytes(len(offsets)))
            self._lasts[-1] = offsets[-1]
        else:
            self._stretches.append(_Stretch(offsets, bytearray(len(offsets))))
            self._lasts.append(offsets[-1])
        self.next_offset = offsets[-1] + 1

    def advance(self, offset: int) -> None:
        """Note that nothing lies below an offset but what was delivered: markers of transactions, or gaps."""
        self.next_offset = max(self.next_offset, offset)

    def is_open(self, offset: int) -> bool:
        """Whether a record was delivered and is not marked."""
        index = bisect_left(self._lasts, offset)
        if index == len(self._lasts):
            return False
        stretch = self._stretches[index]
        place = bisect_left(stretch.offsets, offset)
        return stretch.offsets[place] == offset and not stretch.marks[place]

    def mark(self, offsets: Sequence[int]) -> None:
        """Mark records; offsets rise, and those that were not delivered, or are marked already, change nothing."""
        at = 0
        while at < len(offsets):
            index = bisect_left(self._lasts, offsets[at])
            if index == len(self._lasts):
                return
            upto = bisect_right(offsets, self._lasts[index], at)
            _mark(self._stretches[index], offsets[at:upto])
            at = upto

    @property
    def low_water(self) -> int:
        """The offset to commit: of the first record that is not marked, or behind all; -1 where nothing is known."""
        while self._stretches:
            first = self._stretches[0]
            clear = first.marks.find(0, first.clear)
            if clear >= 0:
                first.clear = clear
                self._trim(first)
                return first.offsets[first.clear]
            del self._stretches[0], self._lasts[0]
        return self.next_offset

    @property
    def unsettled(self) -> int:
        """How many records lie at or above the low-water mark, marked or not: what a crash would have read again."""
        return sum(len(stretch.marks) - stretch.clear for stretch in self._stretches)

    @staticmethod
    def _trim(stretch: _Stretch) -> None:
        # Only when half of it is done with, so that each byte is moved at most once or twice.
        if 2 * stretch.clear > len(stretch.marks):
            stretch.offsets = stretch.offsets[stretch.clear :]
            del stretch.marks[: stretch.clear]
            stretch.clear = 0


def _mark(stretch: _Stretch, offsets: Sequence[int]) -> None:
    """Mark records of one stretch; its last offset is no less than any of these."""
    known, marks = stretch.offsets, stretch.marks
    if isinstance(offsets, range):
        low, high = bisect_left(known, offsets[0]), bisect_right(known, offsets[-1])
        marks[low:high] = b"\1" * (high - low)
    elif isinstance(known, range):
        first = known.start
        for offset in offsets:
            if offset >= first:
                marks[offset - first] = 1
    else:
        for offset in offsets:
            place = bisect_left(known, offset)
            if known[place] == offset:
                marks[place] = 1
