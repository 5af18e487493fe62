"""How Go and sarama write values: durations, products and shifts, constants; and settings as lines of Go."""

from __future__ import annotations

import datetime as dt
import json
import re
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING

from kafkalab.errors import ConfigError
from kafkalab.settings.forms import Approximate, Form, Value, read_bool, read_text
from kafkalab.settings.forms import read_int as read_digits
from kafkalab.settings.strategies import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MS = 10**6
_NANOSECONDS = {"ns": 1, "us": 1000, "ms": _MS, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_UNITS = {"Nanosecond": "ns", "Microsecond": "us", "Millisecond": "ms", "Second": "s", "Minute": "m", "Hour": "h"}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|ms|s|m|h)"
_SHIFT = re.compile(r"(\d{1,12})\s*<<\s*(\d{1,2})")
_LINE = re.compile(r"(?:[a-z]\w*\.)*([A-Z][\w.]*)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|.+?)\s*;?\s*(?://.*)?")
_GLOBAL = "MaxResponseSize"
_STRINGS = {"RackID"}
_CONSTANTS = {"Consumer.Offsets.Initial", "Consumer.IsolationLevel", "Version"}


def parse(code: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each assignment in lines of Go such as ``config.Consumer.Fetch.Min = 128 * 1024``.

    Raises
    ------
    ConfigError
        A line is neither an assignment, nor a comment, nor empty, nor the call of ``NewConfig``.
    """
    for number, line in enumerate(code.splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("//") or re.match(r"\w+\s*:?=\s*\w+\.NewConfig\(\)", text):
            continue
        if (match := _LINE.fullmatch(text)) is None:
            # The line itself is not shown: it may hold a password.
            raise ConfigError(
                f"line {number} is no assignment such as config.Consumer.Fetch.Min = 131072: leave it out"
            )
        yield match[1], match[2]


def render(options: Mapping[str, object]) -> str:
    """Write settings as lines of Go."""
    where = {name: "sarama." if name == _GLOBAL else "config." for name in options}
    return "".join(f"{where[name]}{name} = {_code(name, value)}\n" for name, value in options.items())


def _code(name: str, value: object) -> str:
    if isinstance(value, list):
        made = ", ".join(f"sarama.NewBalanceStrategy{NAMES[part]}()" for part in value)
        return f"[]sarama.BalanceStrategy{{{made}}}"
    if name in _STRINGS or not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"sarama.{value}" if name in _CONSTANTS else _duration_code(value)


def _duration_code(span: str) -> str:
    number, symbol = re.findall(r"-?\d+|\D+$", span)
    unit = next(word for word, known in _UNITS.items() if known == symbol)
    return f"{number} * time.{unit}"


def read_int(raw: object) -> int:
    """Read a whole number, also as a product or a shift: 128 * 1024, 10 << 20."""
    return prod(_factor(part.strip()) for part in raw.split("*")) if isinstance(raw, str) else read_digits(raw)


def _factor(text: str) -> int:
    return int(shift[1]) << int(shift[2]) if (shift := _SHIFT.fullmatch(text)) else read_digits(text)


def _nanoseconds(raw: object) -> Fraction:
    if isinstance(raw, dt.timedelta):
        return Fraction(raw // dt.timedelta(microseconds=1)) * 1000
    text = re.sub("[µμ]", "u", raw.replace(" ", "")) if isinstance(raw, str) else ""
    if match := re.fullmatch(rf"([+-]?)((?:{_PART})+)", text):
        sign = -1 if match[1] == "-" else 1
        return sign * sum(
            (Fraction(size) * _NANOSECONDS[unit] for size, unit in re.findall(_PART, match[2])), Fraction()
        )
    if (match := re.fullmatch(r"(?:(.+)\*)?time\.(\w+)", text)) and match[2] in _UNITS:
        return Fraction(read_int(match[1] or "1") * _NANOSECONDS[_UNITS[match[2]]])
    return Fraction(_bare(raw))


def _bare(raw: object) -> int:
    try:
        number = read_int(raw)
    except ValueError:
        raise ValueError(f"{raw!r} is no duration of Go: write '250ms', '1s' or '2m'") from None
    if 0 < abs(number) < _MS:
        raise ValueError(f"{number} is nanoseconds in Go, less than 1 ms: write '{number}ms' if you mean milliseconds")
    return number


def _read_duration(raw: object) -> int | Approximate:
    exact = _nanoseconds(raw) / _MS
    whole = int(exact)
    return whole if whole == exact else Approximate(whole, "Kafka counts whole milliseconds; the rest is cut off")


def _write_duration(value: int) -> str:
    if value % 1000:
        return f"{value}ms"
    return f"{value // 60_000}m" if value and value % 60_000 == 0 else f"{value // 1000}s"


def _write_wait(value: int) -> str | Approximate:
    return _write_duration(value) if value else Approximate("1ms", "sarama refuses less than 1 ms")


def _write_commit_interval(value: int) -> str | Approximate:
    off = "0 is off: in sarama that is Consumer.Offsets.AutoCommit.Enable = false"
    return _write_duration(value) if value else Approximate(None, off)


def _read_refresh(raw: object) -> int | Approximate:
    return -1 if (period := _read_duration(raw)) == 0 else period


def _read_keepalive(raw: object) -> bool | Approximate:
    period = -1 if str(raw).strip() == "-1" else _nanoseconds(raw)
    return Approximate(value=True, why="the period is the operating system's here") if period > 0 else period == 0


def _read_constant(raw: object) -> str:
    return read_text(str(raw)).strip('"').removeprefix("sarama.")


def _read_initial(raw: object) -> str:
    place = _read_constant(raw).lower().removeprefix("offset")
    if place not in {"-1", "newest", "-2", "oldest"}:
        raise ValueError(f"{raw!r} is neither OffsetNewest (-1) nor OffsetOldest (-2)")
    return "latest" if place in {"-1", "newest"} else "earliest"


def _write_initial(value: str) -> str | Approximate:
    if value == "error":
        return Approximate(None, "sarama has no such start; Consumer.Group.ResetInvalidOffsets = false is the nearest")
    return "OffsetNewest" if value == "latest" else "OffsetOldest"


def _read_isolation(raw: object) -> str:
    level = _read_constant(raw).lower().replace("_", "")
    if level not in {"0", "readuncommitted", "1", "readcommitted"}:
        raise ValueError(f"{raw!r} is neither ReadUncommitted (0) nor ReadCommitted (1)")
    return "read_committed" if level in {"1", "readcommitted"} else "read_uncommitted"


def _write_isolation(value: str) -> str:
    return "ReadCommitted" if value == "read_committed" else "ReadUncommitted"


def _read_string(raw: object) -> Value:
    text = read_text(raw)
    return str(json.loads(text)) if re.fullmatch(r'"(?:[^"\\]|\\["\\])*"', text) else text


INT = Form(read_int)
STRING = Form(_read_string)
CONSTANT = Form(_read_constant)
INVERTED = Form(lambda raw: not read_bool(raw), lambda value: not value)
DURATION = Form(_read_duration, _write_duration)
WAIT = Form(_read_duration, _write_wait)
COMMIT_INTERVAL = Form(_read_duration, _write_commit_interval)
REFRESH = Form(_read_refresh, lambda value: _write_duration(max(value, 0)))
KEEPALIVE = Form(_read_keepalive, lambda value: "0s" if value else "-1s")
INITIAL = Form(_read_initial, _write_initial)
ISOLATION = Form(_read_isolation, _write_isolation)
