"""Which configuration to measure next, and which to choose in the end. Pure, given a function that measures."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kafkalab.errors import ArgumentError, did_you_mean
from kafkalab.tuning.meter import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Strategy: TypeAlias = Literal["racing", "grid"]
Cell: TypeAlias = "tuple[tuple[str, Any], ...]"
"""One configuration: names of knobs with their values, in the order of the space."""

OTHER_KNOBS = ("workers", "worker_kind", "ordering", "buffer_depth")
MOST_WORKERS = 1_000
LEAST_S = 1.0
"""The shortest measurement that says anything."""
RACING_SHARE = 0.2
"""What a race may take of the time of the whole grid."""

_KEPT = 3  # one of so many goes on to the next round, and so many run the last
_WITHIN = 0.95


@dataclass(frozen=True, slots=True)
class Trial:
    """One measurement of one configuration.

    Attributes
    ----------
    cell : tuple of pairs
        The configuration.
    turn : int
        Which round of a race, or repeat of a grid, it was made in.
    seconds : float
        For how long it was asked to measure.
    rates : tuple of float
        Records a second in stretches of it.
    bytes_rate, cpu, memory_bytes : float
        As in `Measurement`.
    bottleneck : str
        What held it back.
    """

    cell: Cell
    turn: int
    seconds: float
    rates: tuple[float, ...]
    bytes_rate: float = 0.0
    cpu: float = 0.0
    memory_bytes: int = 0
    bottleneck: str = ""


def cells(space: Mapping[str, Any], known: Sequence[str]) -> list[Cell]:
    """Return all combinations of a space's values.

    Raises
    ------
    ArgumentError
        A knob is unknown, or has no values.

    Examples
    --------
    >>> cells({"workers": [1, 2], "fetch_min_bytes": [1]}, ["fetch_min_bytes"])
    [(('workers', 1), ('fetch_min_bytes', 1)), (('workers', 2), ('fetch_min_bytes', 1))]
    """
    if not space:
        raise ArgumentError("space is empty: give knobs and their values, such as {'workers': [1, 2, 4]}")
    for name, values in space.items():
        if name not in (*OTHER_KNOBS, *known):
            raise ArgumentError(f"there is no knob {name!r}: {did_you_mean(name, [*OTHER_KNOBS, *known])}")
        if isinstance(values, str) or not hasattr(values, "__iter__") or not list(values):
            raise ArgumentError(f"space[{name!r}] is a list of values to try, not {values!r}")
    distinct = [list(dict.fromkeys(map(plain, values))) for values in space.values()]
    return [tuple(zip(space, values, strict=True)) for values in product(*distinct)]


def plain(value: Any) -> Any:
    """Return a value as Python has it, where numpy has one of its own."""
    return value.item() if hasattr(value, "item") else value


def in_order(values: Iterable[Any]) -> list[Any]:
    """Return the different values of a knob, smallest first; None, which is no limit, last."""
    return sorted(dict.fromkeys(values), key=lambda value: (value is None, value))


def grid(given: Sequence[Cell], seconds: float, repeats: int) -> list[tuple[int, Cell, float]]:
    """Return turns of a grid: all cells, then all again the other way round, so that a drift favours none."""
    orders = [list(given), list(reversed(given))]
    return [(turn, cell, seconds) for turn in range(repeats) for cell in orders[turn % 2]]


def rounds(count: int) -> list[int]:
    """Return how many cells each round of a race has.

    Examples
    --------
    >>> rounds(60)
    [60, 20, 7, 3]
    """
    sizes = [count]
    while sizes[-1] > _KEPT:
        sizes.append(max(math.ceil(sizes[-1] / _KEPT), _KEPT))
    return sizes


def race_seconds(count: int, seconds: float, repeats: int, budget: float | None) -> float:
    """Return for how long a race measures: its budget, or a share of the grid's time that is enough for its last round.

    Every cell gets a least time in any case.
    """
    if budget is not None:
        return max(budget, count * LEAST_S)
    return max(RACING_SHARE * count * seconds * repeats, (count + min(count, _KEPT) * repeats) * LEAST_S)


def race(
    given: Sequence[Cell],
    measure: Callable[[int, Cell, float], Trial],
    *,
    seconds: float,
    repeats: int,
    budget: float | None = None,
) -> Iterator[Trial]:
    """Measure by successive halving: all for a moment, the best third for longer, and so on; the rest is dropped.

    After Karnin, Koren and Somekh, Almost Optimal Exploration in Multi-Armed Bandits (2013): each round but the first,
    in which each cell gets the least time, has an equal share of the budget. Within a round turns are interleaved.

    Yields
    ------
    Trial
        As they are made.
    """
    sizes, left = rounds(len(given)), list(given)
    budget = race_seconds(len(given), seconds, repeats, budget)
    trials: dict[Cell, list[Trial]] = {cell: [] for cell in given}
    for number, size in enumerate(sizes):
        left = sorted(left, key=lambda cell: -late_rate(trials[cell]).median)[:size] if number else left
        each = budget / (len(sizes) - number) / size if number or len(sizes) == 1 else LEAST_S
        if each < LEAST_S:
            continue  # which leaves more for the rounds to come
        budget -= each * size
        turns = max(math.ceil(each / seconds), min(repeats, int(each / LEAST_S)), 1)
        for turn in range(turns):
            for cell in left if turn % 2 == 0 else reversed(left):
                trial = measure(number, cell, each / turns)
                trials[cell].append(trial)
                yield trial


def rate(trials: Sequence[Trial]) -> Estimate:
    """Return what trials of one cell say together, a value each: its stretches differ less than runs do."""
    return Estimate.over_runs([statistics.median(trial.rates) for trial in trials])


def late_rate(trials: Sequence[Trial]) -> Estimate:
    """Return what a race says of one cell: its last round, where that has enough stretches.

    By the ones before it was chosen, so they flatter it.
    """
    last = max((trial.turn for trial in trials), default=0)
    late = [trial for trial in trials if trial.turn == last]
    return rate(late if sum(len(trial.rates) for trial in late) >= _KEPT else trials)


def within_noise(estimates: Mapping[Cell, Estimate]) -> list[Cell]:
    """Return the fastest cell, first, and those that cannot be told from it: intervals meet, medians are within 5%.

    A cell that ran once has no interval: how much a second run would differ is not known.
    """
    if not estimates:
        return []
    top = max(estimates, key=lambda cell: estimates[cell].median)
    best = estimates[top]
    near = [
        cell
        for cell, found in estimates.items()
        if cell != top and found.high >= best.low and found.median >= _WITHIN * best.median
    ]
    return [top, *near]
