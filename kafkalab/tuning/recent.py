"""The last minute of a session, as a plot shows it. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kafkalab.tuning.phases import queue_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kafkalab.settings import ConsumerSettings
    from kafkalab.tuning.meter import Sample

WINDOW = 5  # samples, half a second each, that a point of the line and its band stand for
_GAP_S = 1.2


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something was changed: when, its number or letter, what, and whether the consumer was restarted for it."""

    at: float
    label: str
    change: str
    restarted: bool


@dataclass(frozen=True, slots=True)
class Recent:
    """Numbers by seconds before now; where nothing ran there is a point without a rate.

    Attributes
    ----------
    ago : array
        Seconds, negative.
    rate, low, high : arrays
        Records a second over the last two and a half seconds without a change: median, least and most.
    bytes_rate, queue_share, lag : arrays
        At each point.
    marks : tuple of Mark
        Of the time that is shown.
    best : float
        The most records a second that any setting has reached, or NaN.
    now : float
        In seconds since the first record: the marks' times are such.
    """

    ago: NDArray[np.float64]
    rate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    bytes_rate: NDArray[np.float64]
    queue_share: NDArray[np.float64]
    lag: NDArray[np.float64]
    marks: tuple[Mark, ...] = ()
    best: float = float("nan")
    now: float = 0.0


def recent(
    samples: Sequence[Sample], marks: Sequence[Mark], settings: ConsumerSettings, *, now: float, best: float
) -> Recent:
    """Return what is to be drawn of some samples, oldest first."""
    rows: list[tuple[float, ...]] = []
    since, number, before = 0, 0, None
    for place, sample in enumerate(samples):
        while number < len(marks) and marks[number].at <= sample.at - sample.seconds / 2:
            since, number = place, number + 1
        if before is not None and sample.at - before > _GAP_S + sample.seconds:
            nan, since = float("nan"), place
            rows += [(before, nan, nan, nan, nan, nan, nan), (sample.at - sample.seconds, *(nan,) * 6)]
        rates = [each.records_rate for each in samples[max(since, place - WINDOW + 1) : place + 1]]
        spread = (statistics.median(rates), min(rates), max(rates))
        rows.append((sample.at, *spread, sample.bytes_rate, queue_share(sample, settings), sample.lag))
        before = sample.at
    at, rate, low, high, bytes_rate, queue, lag = np.array(rows, dtype=np.float64).reshape(-1, 7).T
    return Recent(at - now, rate, low, high, bytes_rate, queue, lag, tuple(marks), best, now)
