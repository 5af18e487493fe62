"""How a client writes a value, and how one that it cannot write is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Value: TypeAlias = bool | int | str

_BOOLS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_RESETS = {"smallest": "earliest", "beginning": "earliest", "largest": "latest", "end": "latest"}


@dataclass(frozen=True, slots=True)
class Approximate:
    """The nearest value, where there is none that means the same; None is best left unset."""

    value: Any
    why: str


@dataclass(frozen=True, slots=True)
class Form:
    """Reads a value as a client has it, raising ValueError with what is wrong, and writes it."""

    read: Callable[[Any], Value | Approximate]
    write: Callable[[Any], Any] = lambda value: value


def read_int(raw: object) -> int:
    """Read a whole number, or its digits."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"[+-]?\d{1,30}", raw.strip()):
        return int(raw)
    raise ValueError(f"{raw!r} is no whole number")


def read_bool(raw: object) -> bool:
    """Read a bool, or its name."""
    found = raw if isinstance(raw, bool) else _BOOLS.get(str(raw).strip().lower())
    if found is None:
        raise ValueError(f"{raw!r} is neither true nor false")
    return found


def read_text(raw: object) -> str:
    """Read text."""
    if isinstance(raw, str):
        return raw.strip()
    raise ValueError(f"{raw!r} is no text")


def _read_never(raw: object) -> bool | Approximate:
    why = "always false here: asking for a mistyped name would create the topic"
    return Approximate(value=False, why=why) if read_bool(raw) else False


def _read_reset(raw: object) -> str:
    text = read_text(raw).lower()
    return _RESETS.get(text, text)


def _read_list(raw: object) -> str:
    parts = raw if isinstance(raw, list | tuple) else read_text(raw).split(",")
    return ",".join(str(part).strip() for part in parts)


INT = Form(read_int)
BOOL = Form(read_bool)
TEXT = Form(read_text)
LIST = Form(_read_list)
NEVER = Form(_read_never)
OFFSET_RESET = Form(_read_reset)
LOWERCASE = Form(lambda raw: read_text(raw).lower())
