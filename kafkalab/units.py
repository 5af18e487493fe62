"""Sizes, times and counts as people write them: 128 KiB, 1.5 s, 100 k."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np

from kafkalab.errors import ArgumentError

# Largest first; binary sizes before decimal ones, since fetch sizes are mostly powers of two.
_SCALES: dict[str, dict[str, int]] = {
    "bytes": {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "GB": 10**9, "MB": 10**6, "kB": 1000, "B": 1},
    "KiB": {"GiB": 1 << 20, "MiB": 1 << 10, "KiB": 1},
    "ms": {"h": 3_600_000, "min": 60_000, "s": 1000, "ms": 1},
    "messages": {"M": 10**6, "k": 1000, "": 1},
}
# What people also write; k, M and G of bytes are binary, as in most tools.
_ALSO: dict[str, dict[str, int]] = {
    "bytes": {"G": 1 << 30, "M": 1 << 20, "k": 1 << 10, "K": 1 << 10},
    "KiB": {"G": 1 << 20, "M": 1 << 10, "k": 1, "K": 1},
    "ms": {"m": 60_000, "sec": 1000},
    "messages": {"m": 10**6, "K": 1000},
}
_NUMBER = re.compile(r"([+-]?(?:\d[\d,_]{0,99}(?:\.\d{0,99})?|\.\d{1,99}))\s*([a-zA-Z]*)", re.ASCII)


_MOST_SECONDS = 10 * 365 * 86_400


def seconds(value: Any, name: str = "timeout", *, least: float = 0) -> float:
    """Return a time to wait, which has to be one that clocks and locks take: no NaN, and not for ever.

    Raises
    ------
    ArgumentError
        It is none.

    Examples
    --------
    >>> seconds(2.5)
    2.5
    >>> seconds(float("inf"))
    Traceback (most recent call last):
    kafkalab.errors.ArgumentError: timeout must be a number of seconds from 0 to 315,360,000, got inf
    """
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not is_number or not least <= value <= _MOST_SECONDS:
        text = f"{name} must be a number of seconds from {least:g} to {_MOST_SECONDS:,}, got {value!r}"
        raise ArgumentError(text)
    return float(value)


def format_quantity(value: int, unit: str) -> str:
    """Write a number exactly, in the unit that makes it shortest, with no more than two decimals.

    Parameters
    ----------
    value : int
        The number, counted in ``unit``.
    unit : str
        ``"bytes"``, ``"KiB"``, ``"ms"`` or ``"messages"``; any other is a plain count.

    Examples
    --------
    >>> format_quantity(131_072, "bytes"), format_quantity(1500, "ms"), format_quantity(100_000, "messages")
    ('128 KiB', '1.5 s', '100 k')
    >>> format_quantity(123_457, "bytes"), format_quantity(65_536, "KiB")
    ('123,457 B', '64 MiB')
    """
    scales = _SCALES.get(unit, {"": 1})
    fitting = {symbol: size for symbol, size in scales.items() if abs(value) >= size and value * 100 % size == 0}
    numbers = {symbol: _decimal(Fraction(value, size)) for symbol, size in fitting.items()}
    shortest = min(numbers, key=lambda symbol: len(numbers[symbol]), default=list(scales)[-1])
    return f"{numbers.get(shortest, value)} {shortest}".rstrip()


def format_named(name: str, value: object) -> str:
    """Write a value of a setting with the unit that the setting's name ends with.

    Examples
    --------
    >>> format_named("fetch_max_bytes", 1 << 20), format_named("fetch_max_wait_ms", 500), format_named("workers", 4)
    ('1 MiB', '500 ms', '4')
    """
    unit = {"bytes": "bytes", "ms": "ms", "kbytes": "KiB"}.get(name.rsplit("_", 1)[-1])
    return format_quantity(value, unit) if unit and isinstance(value, int) else str(value)


def parse_quantity(text: str, unit: str) -> int:
    """Read a number with or without its unit; the inverse of `format_quantity`.

    Parameters
    ----------
    text : str
        Such as ``"128 KiB"``, ``"128k"``, ``"1.5s"``, ``"100 k"`` or ``"1,000"``. A bare number counts in ``unit``;
        ``k``, ``M`` and ``G`` of bytes are KiB, MiB and GiB, while ``kB``, ``MB`` and ``GB`` are decimal.
    unit : str
        What the result counts, as in `format_quantity`. A fraction of it is rounded.

    Raises
    ------
    ArgumentError
        The text is no number, or has a unit of something else; it names those that fit.

    Examples
    --------
    >>> parse_quantity("128 KiB", "bytes"), parse_quantity("1.5s", "ms"), parse_quantity("2 M", "messages")
    (131072, 1500, 2000000)
    """
    scales = _SCALES.get(unit, {"": 1})
    match = _NUMBER.fullmatch(text.strip())
    if match is None or (size := {"": 1, **scales, **_ALSO.get(unit, {})}.get(match[2])) is None:
        fitting = ", ".join(filter(None, scales))
        raise ArgumentError(f"{text!r} is no number{f' of {fitting}' if fitting else ''}")
    return round(Fraction(re.sub("[,_]", "", match[1])) * size)


def _decimal(number: Fraction) -> str:
    whole, hundredths = divmod(abs(number) * 100, 100)
    return f"{'-' if number < 0 else ''}{whole:,}.{int(hundredths):02}".rstrip("0").rstrip(".")
