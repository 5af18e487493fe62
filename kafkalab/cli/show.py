"""What a terminal gets to see. Everything a topic holds is somebody's text, so none of it gets there as it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kafkalab.export.formats import as_json
from kafkalab.rows import ERROR_COLUMNS
from kafkalab.temporal import python_rows
from kafkalab.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pandas as pd

_PLACE = ("topic", "partition", "offset", "timestamp", "timestamp_type", "key")
_WIDEST = 60


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows, its index among them if it has a name."""
    if frame.index.name is not None:
        frame = frame.reset_index()
    return python_rows(pa.Table.from_pandas(frame, preserve_index=False))


def show(rows: Iterable[Mapping[str, Any]], *, as_lines: bool) -> None:
    """Print rows: as a table to a person, with tabs to a program, or as JSON, one row a line."""
    if as_lines:
        for row in rows:
            print(json_line(row))
        return
    held = list(rows)
    names = list(dict.fromkeys(name for row in held for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in held]
    if sys.stdout.isatty():
        _table([safe(name) for name in names], cells)
        return
    for line in ([safe(name) for name in names], *cells) if names else ():
        print("\t".join(line))


def _table(names: list[str], cells: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(Text(name), overflow="fold", max_width=_WIDEST)
    for row in cells:
        table.add_row(*map(Text, row))
    Console(highlight=False, markup=False, emoji=False).print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, dict | list | bytes):
        text = as_json(value)
        return safe(text[1:-1] if isinstance(value, bytes) else text)
    return safe(str(value))


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON, all of it ASCII that can be printed."""
    return as_json(dict(row), ensure_ascii=True).replace("\x7f", "\\u007f")


def plain_line(row: Mapping[str, Any]) -> str:
    """Return a record as one line for people: where, when, key, and then what it holds.

    Examples
    --------
    >>> plain_line({"topic": "orders", "partition": 3, "offset": 42, "key": "u1", "value": "text", "_error": None})
    'orders[3]@42  u1  text'
    """
    place = "".join(_parts(row))
    rest = {name: value for name, value in row.items() if name not in _PLACE and value is not None}
    _, raw, raw_key = (rest.pop(name, None) for name in ERROR_COLUMNS)
    # The bytes stand for what could not be read.
    rest = rest if raw is None else {"value": raw}
    key = row.get("key") if raw_key is None else raw_key
    values = [_cell(value) if name == "value" else f"{safe(name)}={_cell(value)}" for name, value in rest.items()]
    shown = [place, _cell(row.get("timestamp")), _cell(key), " ".join(values)]
    return "  ".join(text for text in shown if text)


def _parts(row: Mapping[str, Any]) -> Iterator[str]:
    for name, form in (("topic", "{}"), ("partition", "[{}]"), ("offset", "@{}")):
        if name in row:
            yield form.format(safe(str(row[name])))
