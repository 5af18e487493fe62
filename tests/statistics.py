"""Whether counts of draws look uniform."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_Z_999 = 3.0902  # the normal distribution's 99.9% quantile


def chi_square_critical(degrees: int, z: float = _Z_999) -> float:
    """Return the value that chi-square passes once in a thousand: Wilson and Hilferty, 1931, PNAS 17, 684.

    It is within 1% of the tables from 10 degrees of freedom on: for 10, 30 and 100 they have 29.59, 59.70 and 149.45.
    """
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + z * math.sqrt(spread)) ** 3


def chi_square(counts: Sequence[int], draws: int, trials: int) -> float:
    """Return the statistic for how often each of N things was among the draws, without replacement, of each trial.

    A count has the variance ``trials * p * (1 - p)`` with ``p = draws / N``, and the counts sum to a constant; divided
    by ``trials * p * (N - draws) / (N - 1)`` the squares sum to chi-square with N - 1 degrees of freedom.
    """
    things = len(counts)
    expected = trials * draws / things
    return sum((count - expected) ** 2 for count in counts) / (expected * (things - draws) / (things - 1))


def chi_square_is_plausible(counts: Sequence[int], draws: int, trials: int) -> bool:
    """Return whether the counts are as uniform draws would make them, 999 times in 1000."""
    assert sum(counts) == draws * trials
    return chi_square(counts, draws, trials) < chi_square_critical(len(counts) - 1)
