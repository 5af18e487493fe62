"""What JSON rows hold, by Python's own parser, a row at a time: what the decoder is held to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Row: TypeAlias = "dict[str | None, Any]"


def rows_of(values: Sequence[bytes | None]) -> tuple[list[Row], set[int]]:
    """Return the fields of each row, a value that is no object under None, and the rows that are no JSON."""
    rows: list[Row] = []
    bad: set[int] = set()
    for number, value in enumerate(values):
        try:
            read = None if value is None else _loads(value)
        except ValueError:
            bad.add(number)
            read = None
        rows.append(read if isinstance(read, dict) else {None: read})
    return rows, bad


def _loads(value: bytes) -> Any:
    read = json.loads(value.decode().removeprefix("\ufeff"))
    json.dumps(read, ensure_ascii=False).encode()  # no half of a surrogate pair
    if isinstance(read, dict) and "\0" in "".join(read):
        raise ValueError("the name of a column cannot hold a NUL character")
    return read
