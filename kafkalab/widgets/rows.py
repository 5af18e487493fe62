"""Rows as an HTML table in which everything is text, whoever has written it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.export.formats import as_json
from kafkalab.temporal import python_values
from kafkalab.temporal import texts as as_texts
from kafkalab.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_COLUMNS = 14
_CELL_CHARACTERS = 160
_NARROW = 8  # fits in any column
_HOVER_CHARACTERS = 2_000
_DAY_MS = 86_400_000
_LEFT_OUT = ("topic", "timestamp_type")
_WIDTHS = {"timestamp": "9em", "partition": "6.6em", "offset": "7em"}
_TITLES = {"timestamp": "time (UTC)"}

STYLE = """<style>
.kafkalab-rows {
  height: 340px; overflow-y: auto; border: 1px solid var(--jp-border-color2, #8884);
  font-family: var(--jp-code-font-family, monospace); font-size: 12px; color: var(--jp-ui-font-color1, inherit);
}
.kafkalab-rows table { table-layout: fixed; width: 100%; border-collapse: collapse; font-size: inherit; margin: 0; }
.kafkalab-rows th, .kafkalab-rows td {
  overflow: hidden; text-overflow: ellipsis; white-space: pre; text-align: left; unicode-bidi: isolate;
  height: 19px; line-height: 19px; max-height: 19px; padding: 0 6px;
}
.kafkalab-rows th {
  position: sticky; top: 0;
  background: var(--jp-layout-color2, #eee); border-bottom: 1px solid var(--jp-border-color1, #888);
}
.kafkalab-rows tbody tr:nth-child(even) { background: var(--jp-rendermime-table-row-background, #8881); }
.kafkalab-rows .number { text-align: right; }
.kafkalab-rows .none { color: var(--jp-ui-font-color2, #888); font-style: italic; }
.kafkalab-status { font-variant-numeric: tabular-nums; white-space: nowrap; color: var(--jp-ui-font-color1, inherit); }
.kafkalab-topic { color: var(--jp-ui-font-color1, inherit); font-weight: 600; }
.kafkalab-line { line-height: 18px; min-height: 18px; }
.kafkalab-message { color: var(--jp-error-color1, #b71c1c); }
.kafkalab-note { color: var(--jp-ui-font-color2, #666); }
</style>"""


def table_html(rows: pa.Table, *, all_columns: bool = False, older: int = 0) -> str:
    """Return a table, the newest row on top.

    Parameters
    ----------
    rows : pyarrow.Table
        Oldest first.
    all_columns : bool
        Whether the columns that say little are shown too: somebody has asked for them.
    older : int
        How many more rows there are, which the table only mentions.
    """
    names = rows.column_names
    if not all_columns:
        names = sorted((name for name in names if name not in _LEFT_OUT), key=lambda name: name != "timestamp")
    names, more = names[:_MOST_COLUMNS], names[_MOST_COLUMNS:]
    columns = [list(_cells(rows[name].combine_chunks(), name)) for name in names]
    kinds = [_kind(rows.schema.field(name).type, name) for name in names]
    heads = "".join(_head(name, kind) for name, kind in zip(names, kinds, strict=True))
    if more:
        title = _cut(", ".join(map(safe, more)), _HOVER_CHARACTERS)
        heads += f'<th title="{escape(title)}">{len(more)} more</th>'
    lines = [f"<tr>{''.join(cells)}</tr>" for cells in zip(*(reversed(column) for column in columns), strict=True)]
    if older:
        text = f"{older:,} older rows: pause to see them"
        lines.append(f'<tr><td class="none" colspan="{len(names) + bool(more)}">{text}</td></tr>')
    widths = "".join(f'<col style="width:{_WIDTHS.get(name, "auto")}">' for name in names)
    body = f"<colgroup>{widths}</colgroup><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="kafkalab-rows"><table>{body}</table></div>'


def message_html(text: str, *, wrong: bool) -> str:
    """Return a line for a person, the text of an error or a note."""
    kind, role = ("message", "alert") if wrong else ("note", "status")
    return f'<div class="kafkalab-line kafkalab-{kind}" role="{role}">{escape(safe(text))}</div>'


def _head(name: str, kind: str) -> str:
    text = safe(name)
    whole, short = _cut(text, _HOVER_CHARACTERS), _TITLES.get(name, _short(text))
    return f'<th class="{kind}" title="{escape(whole)}">{escape(short)}</th>'


def _kind(kind: pa.DataType, name: str) -> str:
    return "number" if name not in _TITLES and (pa.types.is_integer(kind) or pa.types.is_floating(kind)) else ""


def _cells(values: pa.Array, name: str) -> Iterator[str]:
    kind = _kind(values.type, name)
    texts = _times(values) if name == "timestamp" else _texts(values)
    for short, whole in texts:
        if whole is None:
            yield '<td class="none">null</td>'
        else:
            title = f' title="{escape(whole)}"' if len(whole) > _NARROW else ""
            yield f'<td class="{kind}"{title}>{escape(short)}</td>'


def _times(values: pa.Array) -> Iterator[tuple[str, str | None]]:
    whole = as_texts(values.cast(pa.timestamp("ms"))).to_pylist()
    for text, stamp in zip(whole, values.cast(pa.int64()).to_pylist(), strict=True):
        if stamp is None:
            yield "", None
        else:
            seconds, milliseconds = divmod(stamp % _DAY_MS, 1000)
            yield f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}", f"{text} UTC"


def _texts(values: pa.Array) -> Iterator[tuple[str, str | None]]:
    """Yield what a cell says, and what it says on hover."""
    sizes: Sequence[int | None] = ()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_temporal(values.type):
        values = as_texts(values)
    # Of a long value only the beginning leaves Arrow.
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        sizes = pc.utf8_length(values).to_pylist()
        values = pc.utf8_slice_codeunits(values, 0, _HOVER_CHARACTERS)
    elif pa.types.is_binary(values.type):
        sizes = pc.binary_length(values).to_pylist()
        values = pc.binary_slice(values, 0, _HOVER_CHARACTERS)
    for number, value in enumerate(python_values(values)):
        if value is None:
            yield "", None
        else:
            text = safe(_text(value))
            size = max(len(text), (sizes[number] or 0) if sizes else 0)
            rest = f"… {size:,} in all: tail.df has the rest" if size > _HOVER_CHARACTERS else ""
            yield _short(text), text[:_HOVER_CHARACTERS] + rest


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return as_json(value)[1:-1]
    return as_json(value) if isinstance(value, dict | list) else str(value)


def _short(text: str) -> str:
    return _cut(text, _CELL_CHARACTERS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
