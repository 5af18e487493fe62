"""Which records of a partition are done: the low-water mark that a commit may not pass."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class _Stretch:
    """Records that came together: their offsets, rising, and for each a byte that says whether it is marked."""

    offsets: Sequence[int]
    marks: bytearray
    clear: int = 0
    """Records at its beginning that are known to be marked."""

    @property
    def last(self) -> int:
        return self.offsets[-1]


class Tracker:
    """The marks of one partition, from its delivery to this member until it is given up.

    Examples
    --------
    >>> tracker = Tracker()
    >>> tracker.deliver(range(10, 14))
    >>> tracker.mark(10, 10), tracker.mark(12, 12), tracker.low_water
    (1, 1, 11)
    >>> tracker.mark(11, 13), tracker.low_water
    (2, 14)
    """

    __slots__ = ("_stretches", "next_offset")

    def __init__(self) -> None:
        self._stretches: list[_Stretch] = []
        self.next_offset = -1
        """Behind the last record that was delivered; -1 before the first."""

    def deliver(self, offsets: Sequence[int]) -> None:
        """Note records that were handed out, in order; their offsets may have gaps and lie above all earlier ones."""
        last = self._stretches[-1] if self._stretches else None
        if last and isinstance(offsets, range) and isinstance(last.offsets, range) and last.offsets.stop == offsets[0]:
            last.offsets = range(last.offsets.start, offsets.stop)
            last.marks.extend(bytes(len(offsets)))
        else:
            self._stretches.append(_Stretch(offsets, bytearray(len(offsets))))
        self.next_offset = offsets[-1] + 1

    def mark(self, first: int, last: int) -> int:
        """Mark every delivered record with ``first <= offset <= last``; return how many were not marked before."""
        fresh = 0
        for index in range(bisect_left(self._stretches, first, key=_last_of), len(self._stretches)):
            stretch = self._stretches[index]
            low = bisect_left(stretch.offsets, first)
            high = bisect_right(stretch.offsets, last)
            if low >= high:
                break
            fresh += stretch.marks.count(0, low, high)
            stretch.marks[low:high] = b"\1" * (high - low)
        return fresh

    @property
    def low_water(self) -> int:
        """The offset to commit: of the first record that is not marked, or behind all; -1 before the first delivery."""
        while self._stretches:
            first = self._stretches[0]
            first.clear = first.marks.find(0, first.clear)
            if first.clear >= 0:
                self._trim(first)
                return first.offsets[first.clear]
            del self._stretches[0]
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


def _last_of(stretch: _Stretch) -> int:
    return stretch.last
