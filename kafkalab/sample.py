"""A uniform sample of the visible records, without reading the topic."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from kafkalab.fetch.base import Fetched, record_schema
from kafkalab.model import LiveEstimate, OffsetRange, StopReason
from kafkalab.plan import draw_fresh, locate
from kafkalab.rows import in_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from kafkalab.fetch.base import FetchControl, Fetcher, FetchOptions
    from kafkalab.plan import Plan

_MARGIN = 1.2
_GROWTH = 10
_MOST_DRAWS = 5_000_000  # beyond it reading everything costs less than probing, and the draws would fill memory
_SPARE_ROWS = 100_000
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Sampled:
    """Records taken, one step a partition in offset order, and how many live ones they speak for."""

    steps: tuple[Fetched, ...]
    live: LiveEstimate
    lost: tuple[OffsetRange, ...] = ()
    """What retention has removed since the plan was made."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Takes a uniform sample of the visible records of a plan.

    Offsets are drawn uniformly without replacement, and a visible record is taken only if its own offset was drawn.
    Rounds of draws go on until enough are found; a round is settled whole before it is judged, so that no partition is
    favoured for being read first. How many offsets a round draws depends on how many were found but never on which, so
    every visible record is equally likely to be taken, whatever the gaps.
    """

    plan: Plan
    fetcher: Fetcher
    options: FetchOptions
    control: FetchControl
    rng: np.random.Generator

    def take(self, count: int) -> Sampled:
        """Return ``count`` visible records, or all where there are no more."""
        total = self.plan.span
        drawn = np.empty(0, dtype=np.int64)
        found: list[Fetched] = []
        while (rows := _rows(found)) < count:
            size = _next_size(count, len(drawn), rows)
            if len(drawn) + size > min(total / 2, _MOST_DRAWS):
                return self._read_all(count)
            fresh = draw_fresh(self.rng, total, drawn, size)
            draws = locate(self.plan.ranges, fresh)
            found.extend(map(self._timely, self.fetcher.probe(self.plan.topic, draws, self.options, self.control)))
            drawn = np.union1d(drawn, fresh)
        kept = np.zeros(rows, dtype=bool)
        kept[self.rng.choice(rows, count, replace=False)] = True
        # In order first: which partition answers first is chance that a seed does not rule.
        steps = self._all_partitions(_split(self._by_partition(found), kept))
        live = estimate_live(total, len(drawn), rows)
        return Sampled(steps, live, tuple(step.lost for step in found if step.lost))

    def _read_all(self, count: int) -> Sampled:
        """Give each visible record a random number and keep the smallest: uniform, in one pass and bounded memory."""
        held: list[Fetched] = []
        lost: list[OffsetRange] = []
        numbers: list[NDArray[np.float64]] = []
        rows = 0
        rngs = dict(zip(self.plan.ranges, self.rng.spawn(len(self.plan.ranges)), strict=True))
        live = 0
        for step in map(self._timely, self.fetcher.fetch(self.plan.ranges, self.options, self.control)):
            live += step.arrow_batch.num_rows
            if step.lost:
                lost.append(step.lost)
            held.append(step)
            numbers.append(rngs[step.offset_range].random(step.arrow_batch.num_rows))
            rows += step.arrow_batch.num_rows
            if rows > 2 * count + _SPARE_ROWS:
                held, kept = _smallest(held, np.concatenate(numbers), count)
                numbers, rows = [kept], len(kept)
        held, _ = _smallest(held, np.concatenate([*numbers, np.empty(0)]), count)
        return Sampled(self._by_partition(held), LiveEstimate(live, live, live), tuple(lost))

    def _timely(self, step: Fetched) -> Fetched:
        """Leave out records that the plan's times do not want, before any is counted."""
        window = self.plan.windows.get(step.offset_range.partition)
        return replace(step, arrow_batch=in_window(step.arrow_batch, window)) if window else step

    def _by_partition(self, steps: Iterable[Fetched]) -> tuple[Fetched, ...]:
        batches: dict[int, list[pa.RecordBatch]] = {part.partition: [] for part in self.plan.ranges}
        for step in steps:
            batches[step.offset_range.partition].append(step.arrow_batch)
        return self._all_partitions(
            _joined(part, batches[part.partition]) for part in self.plan.ranges if batches[part.partition]
        )

    def _all_partitions(self, steps: Iterable[Fetched]) -> tuple[Fetched, ...]:
        """Return a step for each range, one without rows where there is none."""
        known = {step.offset_range: step for step in steps}
        empty = pa.RecordBatch.from_pylist([], record_schema(headers=self.options.headers))
        return tuple(known.get(part) or Fetched(part, empty, part.end, StopReason.REACHED) for part in self.plan.ranges)


def _next_size(count: int, drawn: int, found: int) -> int:
    """Return how many offsets to draw next, by the density seen."""
    if not drawn:
        return count
    if not found:
        return drawn * _GROWTH
    return math.ceil((count - found) * drawn / found * _MARGIN)


def _rows(steps: Iterable[Fetched]) -> int:
    return sum(step.arrow_batch.num_rows for step in steps)


def _split(steps: Sequence[Fetched], kept: NDArray[np.bool_]) -> list[Fetched]:
    """Return the steps with only the rows that are kept, of all their rows counted through."""
    ends = np.cumsum([step.arrow_batch.num_rows for step in steps])
    masks = np.split(kept, ends)[:-1]
    pairs = zip(steps, masks, strict=True)
    return [
        Fetched(step.offset_range, step.arrow_batch.filter(pa.array(mask)), step.next_offset, step.stop)
        for step, mask in pairs
        if mask.any()
    ]


def _smallest(
    steps: list[Fetched], numbers: NDArray[np.float64], count: int
) -> tuple[list[Fetched], NDArray[np.float64]]:
    if len(numbers) <= count:
        return steps, numbers
    kept = np.zeros(len(numbers), dtype=bool)
    kept[np.argpartition(numbers, count)[:count]] = True
    return _split(steps, kept), numbers[kept]


def _joined(offset_range: OffsetRange, batches: list[pa.RecordBatch]) -> Fetched:
    rows = pa.concat_batches(batches) if len(batches) > 1 else batches[0]
    if rows.num_rows > 1:
        rows = rows.take(pa.array(np.argsort(rows["offset"].to_numpy(), kind="stable")))
    return Fetched(offset_range, rows, offset_range.end, StopReason.REACHED)


def estimate_live(total: int, drawn: int, found: int) -> LiveEstimate:
    """Return how many of ``total`` offsets hold a visible record, when ``found`` of ``drawn`` random ones do.

    The interval holds the truth 95 times in 100 or more: it has the counts for which neither so few nor so many found
    is an event of less than 2.5%, by the hypergeometric distribution (Clopper and Pearson's interval, for draws without
    replacement).

    Examples
    --------
    >>> estimate_live(total=10, drawn=10, found=7)
    LiveEstimate(records=7, low=7, high=7)
    >>> estimate_live(total=1_000_000, drawn=1000, found=500)
    LiveEstimate(records=500000, low=468565, high=531435)
    """
    if not drawn or drawn >= total:
        return LiveEstimate(found, found, total if not drawn else found)
    most = total - drawn + found
    low = _first(found, most, lambda live: 1 - _at_most(found - 1, live, total, drawn) >= _TAIL)
    high = _first(found, most + 1, lambda live: live > most or _at_most(found, live, total, drawn) < _TAIL) - 1
    return LiveEstimate(min(max(round(found * total / drawn), low), high), low, high)


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the least number from ``low`` to ``high`` for which a monotonic condition holds; it holds at ``high``."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _at_most(found: int, live: int, total: int, drawn: int) -> float:
    """Return the probability that at most ``found`` of ``drawn`` draws are among the ``live`` ones of ``total``."""
    least = max(0, drawn + live - total)
    if found < least:
        return 0.0
    if found >= min(live, drawn):
        return 1.0
    count = np.arange(least, found, dtype=np.float64)
    with np.errstate(divide="ignore"):
        ratios = (
            np.log(live - count) + np.log(drawn - count) - np.log(count + 1) - np.log(total - live - drawn + count + 1)
        )
    logs = _log_probability(least, live, total, drawn) + np.concatenate([[0.0], np.cumsum(ratios)])
    return float(min(np.exp(logs).sum(), 1.0))


def _log_probability(found: int, live: int, total: int, drawn: int) -> float:
    return _log_choose(live, found) + _log_choose(total - live, drawn - found) - _log_choose(total, drawn)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
