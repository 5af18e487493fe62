"""Stand-ins for a handler: work of a known cost."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from kafkalab.errors import ArgumentError

_LONGEST_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Simulated:
    """A handler that costs so much for each record; `simulate` makes it."""

    cpu_us: float = 0.0
    sleep_ms: float = 0.0

    def __post_init__(self) -> None:
        given: tuple[tuple[str, Any, int], ...] = (("cpu_us", self.cpu_us, 1), ("sleep_ms", self.sleep_ms, 1000))
        for name, value, unit in given:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ArgumentError(f"{name} is a number, not {value!r}")
            if not 0 <= value * unit <= _LONGEST_US:
                raise ArgumentError(f"{name} is from 0 to an hour, not {value!r}")

    def __call__(self, record: Any) -> None:  # noqa: ARG002 - as handlers are called
        """Spend it."""
        if self.sleep_ms:
            time.sleep(self.sleep_ms / 1000)  # noqa: TID251 - it stands for a call that blocks that long
        if self.cpu_us:
            end = time.thread_time_ns() + int(self.cpu_us * 1000)
            while time.thread_time_ns() < end:
                pass

    def __str__(self) -> str:
        parts = [f"{name}={value:g}" for name in ("cpu_us", "sleep_ms") if (value := getattr(self, name))]
        return f"simulate({', '.join(parts)})"


def simulate(cpu_us: float = 0.0, sleep_ms: float = 0.0) -> Simulated:
    """Return a handler that costs a known time a record, to see what a consumer could do.

    Parameters
    ----------
    cpu_us : float
        Microseconds of CPU, spent in Python: threads share one interpreter, so they do not add up.
    sleep_ms : float
        Milliseconds of waiting, as for a database: threads wait side by side.

    Returns
    -------
    callable
        For ``process=`` of `Lab.measure` and `Lab.sweep`.

    Examples
    --------
    >>> print(simulate(cpu_us=50))
    simulate(cpu_us=50)
    """
    return Simulated(cpu_us, sleep_ms)


def nothing(record: Any) -> None:
    """Handle a record by doing nothing."""
