"""What a group member is doing, in numbers."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafkalab.model import TopicPartition

_RATE_OVER_S = 5.0
_SAMPLE_S = 0.25


@dataclass(frozen=True, slots=True)
class PartitionStats:
    """One partition that the member has.

    Attributes
    ----------
    position : int or None
        Behind the last record that was taken in.
    low_water : int or None
        The first record that is not done.
    committed_offset : int or None
        What this member has committed, as far as the broker has confirmed it.
    end_offset : int or None
        The log's end as the client saw it last.
    waiting, in_flight : int
        Records that wait for a worker, and those that workers are at.
    uncommitted : int
        Records from the low-water mark on, done or not: what would be read again after a crash, at the least.
    paused : bool
        Whether it is paused, as too many of its records wait.
    """

    position: int | None
    low_water: int | None
    committed_offset: int | None
    end_offset: int | None
    waiting: int
    in_flight: int
    uncommitted: int
    paused: bool

    @property
    def records_lag(self) -> int | None:
        """How far what is done lies behind the end."""
        if self.end_offset is None or self.low_water is None:
            return None
        return max(self.end_offset - self.low_water, 0)


@dataclass(frozen=True, slots=True)
class GroupStats:
    """A member at one moment.

    Attributes
    ----------
    state : str
        ``"running"``, ``"stopped"`` or ``"failed"``.
    handled, skipped : int
        Records that the handler has had since the start, and those of them that failed and were passed over.
    records_handled_rate : float
        Records a second over the last five seconds.
    rebalances : int
        How often partitions were assigned.
    partitions : mapping of TopicPartition to PartitionStats
        What the member has.
    """

    state: str
    handled: int
    skipped: int
    records_handled_rate: float
    rebalances: int
    partitions: Mapping[TopicPartition, PartitionStats]

    @property
    def in_flight(self) -> int:
        """Records that workers are at."""
        return sum(part.in_flight for part in self.partitions.values())

    @property
    def waiting(self) -> int:
        """Records that wait for a worker."""
        return sum(part.waiting for part in self.partitions.values())

    @property
    def uncommitted(self) -> int:
        """Records from the low-water marks on, done or not."""
        return sum(part.uncommitted for part in self.partitions.values())

    @property
    def records_lag(self) -> int | None:
        """How far what is done lies behind the ends, where all of them are known."""
        lags = [part.records_lag for part in self.partitions.values()]
        return None if None in lags else sum(lag for lag in lags if lag is not None)


class Meter:
    """A rate over the last seconds, of a count that only grows; one thread notes it.

    Examples
    --------
    >>> meter = Meter(at=0.0)
    >>> for second in range(1, 8):
    ...     meter.note(100 * second, at=float(second))
    >>> meter.rate(700, at=7.0)
    100.0
    """

    def __init__(self, at: float | None = None) -> None:
        self._seen: deque[tuple[float, int]] = deque(
            [(time.monotonic() if at is None else at, 0)], maxlen=round(_RATE_OVER_S / _SAMPLE_S) + 2
        )

    def note(self, count: int, at: float | None = None) -> None:
        """Note the count as it is, a few times a second."""
        now = time.monotonic() if at is None else at
        if now - self._seen[-1][0] >= _SAMPLE_S:
            self._seen.append((now, count))

    def rate(self, count: int, at: float | None = None) -> float:
        """Return how fast the count has grown to what it is."""
        now = time.monotonic() if at is None else at
        seen = list(self._seen)  # another thread notes
        # The newest of those that are too old tells what the count was when the time began.
        began, first = next((each for each in reversed(seen) if each[0] <= now - _RATE_OVER_S), seen[0])
        return (count - first) / (now - began) if now > began else 0.0
