"""Which values a slider stops at. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafkalab.settings.table import KNOBS
from kafkalab.units import format_quantity, parse_quantity

if TYPE_CHECKING:
    from kafkalab.settings.knob import Knob

_BINARY = ("bytes", "KiB")


@dataclass(frozen=True, slots=True)
class Dial:
    """A number that can be set: its name, what a person calls it, its unit and bounds, and what it does."""

    name: str
    title: str
    unit: str
    minimum: int
    maximum: int
    tooltip: str

    @classmethod
    def of(cls, name: str, title: str) -> Dial:
        """Return that of a setting, with its real bounds."""
        knob: Knob = KNOBS[name]
        assert knob.minimum is not None  # noqa: S101 - it is a number
        assert knob.maximum is not None  # noqa: S101 - as above
        known = f"{knob.described('librdkafka')}\n{knob.effect}"
        return cls(name, title, knob.unit, knob.minimum, knob.maximum, known)

    @property
    def stops(self) -> tuple[int, ...]:
        """The values a slider has, by about equal ratios: powers of two of bytes, else 1, 2, 5, 10.

        Examples
        --------
        >>> Dial("workers", "workers", "", 1, 30, "").stops
        (1, 2, 5, 10, 20, 30)
        >>> Dial.of("fetch_queue_backoff_ms", "back-off").stops[:4]
        (0, 1, 2, 5)
        """
        if self.unit in _BINARY:
            inner = {1 << power for power in range(self.maximum.bit_length())}
        else:
            inner = {step * 10**power for power in range(len(str(self.maximum))) for step in (1, 2, 5)}
        kept = {value for value in inner if self.minimum < value < self.maximum}
        return tuple(sorted({self.minimum, *kept, self.maximum}))

    def nearest(self, value: int) -> int:
        """Return the stop nearest to a value, by ratio."""
        return min(self.stops, key=lambda stop: abs(math.log((stop or 0.5) / (value or 0.5))))

    def shown(self, value: int) -> str:
        """Write a value with its unit."""
        return format_quantity(value, self.unit)

    def read(self, text: str) -> int:
        """Read what was typed.

        Raises
        ------
        ArgumentError
            It is no such number.
        """
        return parse_quantity(text, self.unit)
