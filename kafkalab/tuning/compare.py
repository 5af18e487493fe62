"""Two settings, in turns on the same records: which is faster, if any."""

from __future__ import annotations

import html
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafkalab.errors import ArgumentError
from kafkalab.tuning.children import Children
from kafkalab.tuning.measure import Window
from kafkalab.tuning.measurement import Measurement
from kafkalab.tuning.meter import CONFIDENCE, Estimate, short, student
from kafkalab.tuning.phases import difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kafkalab.tuning.measure import Bench
    from kafkalab.tuning.measurement import Setup
    from kafkalab.tuning.meter import Counts

_CONNECT_S = 30.0


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Two settings, measured in turns.

    Attributes
    ----------
    a, b : Setup
        What was compared.
    pairs : tuple of pairs of float
        Records a second of A and of B, in turns next to each other.
    """

    a: Setup
    b: Setup
    pairs: tuple[tuple[float, float], ...]

    @property
    def ratio(self) -> Estimate:
        """How many times as fast as A B is, with Student's interval of 95%.

        It is the geometric mean over pairs. A turn that stood still has no logarithm: where there is one, it is the
        mean difference, as a share of A's mean.
        """
        pairs = [pair for pair in self.pairs if max(pair) > 0]
        if not pairs:
            return Estimate(0.0, 0.0, 0.0, 0.0)
        known = CONFIDENCE if len(pairs) > 1 else 0.0
        if min(map(min, pairs)) > 0:
            middle, wide = student([math.log(b / a) for a, b in pairs])
            return Estimate(math.exp(middle), math.exp(middle - wide), math.exp(middle + wide), known)
        middle, wide = student([b - a for a, b in pairs])
        if not (first := statistics.fmean(a for a, _ in pairs)):
            return Estimate(math.inf, math.inf if middle > wide else 0.0, math.inf, known)
        return Estimate(1 + middle / first, max(1 + (middle - wide) / first, 0.0), 1 + (middle + wide) / first, known)

    @property
    def change(self) -> str:
        """What B has that A has not, as the history tells it."""
        return difference(self.a, self.b)

    @property
    def differs(self) -> bool:
        """Whether the interval leaves 1 out."""
        ratio = self.ratio
        return ratio.confidence > 0 and not ratio.low <= 1 <= ratio.high

    @property
    def text(self) -> str:
        """The result in a sentence.

        Examples
        --------
        >>> Comparison(None, None, ((100.0, 131.0), (101.0, 130.0), (99.0, 133.0))).text
        'B is 1.31x A (1.24-1.39)'
        >>> Comparison(None, None, ((100.0, 101.0), (100.0, 98.0))).text
        'no difference beyond noise: B is 0.995x A (0.821-1.2)'
        >>> Comparison(None, None, ((0.0, 101.0), (0.0, 98.0))).text
        'only B had records; A stood still in 2 of 2 turns'
        """
        rates = dict(zip("AB", zip(*self.pairs, strict=True), strict=True)) if self.pairs else {}
        had = [name for name, found in rates.items() if any(found)]
        if not had:
            return "nothing to compare: no records came"
        ratio = self.ratio
        said = f"B is {_times(ratio.median)}x A ({_times(ratio.low)}-{_times(ratio.high)})"
        if len(had) == 1:
            said = f"only {had[0]} had records"
        elif not self.differs:
            said = f"no difference beyond noise: {said}"
        still = {name: found.count(0) for name, found in rates.items()}
        stood = [f"{name} stood still in {count} of {len(self.pairs)} turns" for name, count in still.items() if count]
        return "; ".join([said, *stood])

    def __repr__(self) -> str:
        return f"{self.text} ({self.change})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>"


def _times(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio < 100 else short(ratio)  # noqa: PLR2004 - three digits fit


def check_pairs(pairs: Any) -> None:
    """Refuse what is no number of turns.

    Raises
    ------
    ArgumentError
        It has the number.
    """
    if not isinstance(pairs, int) or isinstance(pairs, bool) or pairs < 2:  # noqa: PLR2004 - of one nothing is known about noise
        raise ArgumentError(f"pairs is a whole number from 2 on, not {pairs!r}")


def order(pairs: int) -> Iterator[str]:
    """Yield whose turn it is: each pair the other way round than the one before, so that a drift favours neither.

    Examples
    --------
    >>> "".join(order(3))
    'ABBAAB'
    """
    for number in range(pairs):
        yield from "AB" if number % 2 == 0 else "BA"


def compare(
    a: Bench,
    b: Bench,
    *,
    seconds: float,
    pairs: int,
    warm_up: float,
    begin: Callable[[str, int], object],
    note: Callable[[Counts], object],
    stopped: Callable[[], bool],
) -> Comparison | None:
    """Measure two benches in turns, each from its start.

    Parameters
    ----------
    a, b : Bench
        What to measure, on the same records.
    seconds, warm_up : float
        Of each turn: how much counts, and how much before that does not.
    pairs : int
        How often.
    begin : callable
        Given whose turn begins, and which it is from 1 on.
    note : callable
        Given the counters as they come.
    stopped : callable
        Whether to give up; then there is no result.
    """
    rates: dict[str, list[float]] = {"A": [], "B": []}
    for number, name in enumerate(order(pairs), start=1):
        begin(name, number)
        found = _turn(a if name == "A" else b, seconds, warm_up, note, stopped)
        if found is None:
            return None
        rates[name].append(found)
    return Comparison(a.setup, b.setup, tuple(zip(rates["A"], rates["B"], strict=True)))


def _turn(
    bench: Bench, seconds: float, warm_up: float, note: Callable[[Counts], object], stopped: Callable[[], bool]
) -> float | None:
    """Return the records a second of one turn."""
    window, limit = Window(seconds, warm_up), _CONNECT_S + warm_up + seconds
    with Children(bench.jobs(limit)) as children:
        for counts in children.counts(limit + _CONNECT_S):
            if stopped():
                return None
            if counts is None:
                continue
            note(counts)
            if window.add(counts):
                break
    return Measurement.of(bench.setup, window.kept, 0).average("records_rate")
