"""JSON: the fields of objects as columns, typed by what the rows hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kafkalab.decode.base import JSON_TEXT, WHOLE, Decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_FIELDS = 10_000


def decode(values: pa.Array) -> Decoded:
    """Return a column for each field that an object has, and one for rows that hold anything else.

    A field whose values have no common type, or do not fit one exactly, becomes its JSON text.

    Examples
    --------
    >>> decoded = decode(pa.array([b'{"n": 1}', b'{"n": 2, "s": "x"}', b"{", None]))
    >>> {name: column.to_pylist() for name, column in decoded.columns.items()}
    {'n': [1, 2, None, None], 's': [None, 'x', None, None]}
    >>> list(decoded.errors)
    [2]
    """
    rows, errors = _parse(values)
    fields: dict[str, list[Any]] = {}
    for number, row in enumerate(rows):
        if row is not None:
            own = row if isinstance(row, dict) else {WHOLE: row}
            if len(fields) + len(own) > _MOST_FIELDS and len(fields.keys() | own.keys()) > _MOST_FIELDS:
                errors[number] = f"there are more than {_MOST_FIELDS} different fields: read it as text"
                continue
            for name, value in own.items():
                if name not in fields:
                    fields[name] = [None] * len(rows)
                fields[name][number] = value
    named = {_printable(name): column for name, column in fields.items()}
    columns = {name: _typed(column) for name, column in named.items()}
    mixed = {name: as_text(named[name]) for name, column in columns.items() if column is None}
    return Decoded(columns | mixed, errors, frozenset(mixed))


def _printable(name: str) -> str:
    """Return a name as UTF-8 can hold it: JSON may have halves of surrogate pairs."""
    return name.encode(errors="backslashreplace").decode()


def _parse(values: pa.Array) -> tuple[list[Any], dict[int, str]]:
    rows: list[Any] = []
    errors: dict[int, str] = {}
    for number, value in enumerate(values.to_pylist()):
        try:
            rows.append(None if value is None else json.loads(value))
        except (ValueError, RecursionError) as error:
            rows.append(None)
            errors[number] = f"no JSON: {error}"
    return rows, errors


def _typed(values: Sequence[Any]) -> pa.Array | None:
    """Return Python values as the Arrow type that holds them all exactly, None where there is none."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return None


def as_text(values: Sequence[Any]) -> pa.Array:
    """Return each value's JSON text."""
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        # Halves of surrogate pairs stand in JSON as escapes only.
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())


def unify(tables: Sequence[pa.Table]) -> pa.Table:
    """Join tables whose fields were typed apart: types are widened where that loses nothing, else made JSON text.

    Examples
    --------
    >>> unify([pa.table({"n": [1]}), pa.table({"n": ["x"], "m": [2]})]).to_pylist()
    [{'n': '1', 'm': None}, {'n': '"x"', 'm': 2}]
    """
    texts = {column.name for table in tables for column in table.schema if column.metadata == JSON_TEXT}
    if texts:
        tables = [with_text(table, texts) for table in tables]
    try:
        joined = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        names = list(dict.fromkeys(name for table in tables for name in table.column_names))
        mixed = {name for name in names if not _joins([t.select([name]) for t in tables if name in t.column_names])}
        joined = pa.concat_tables([with_text(table, mixed) for table in tables], promote_options="permissive")
    return storable(joined)


def storable(table: pa.Table) -> pa.Table:
    """Return a table whose objects that never had a field are JSON texts: Parquet has no such structs."""
    return with_text(table, {column.name for column in table.schema if _has_empty_struct(column.type)})


def _has_empty_struct(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _has_empty_struct(kind.value_type)
    return pa.types.is_struct(kind) and (not kind.num_fields or any(_has_empty_struct(f.type) for f in kind.fields))


def _joins(columns: Sequence[pa.Table]) -> bool:
    try:
        pa.concat_tables(columns, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


def with_text(table: pa.Table, names: set[str]) -> pa.Table:
    """Return a table, or batch, with the named columns as JSON texts; those that are already stay as they are."""
    for number, column in enumerate(table.schema):
        if column.name in names and column.metadata != JSON_TEXT:
            field = pa.field(column.name, pa.string(), metadata=JSON_TEXT)
            table = table.set_column(number, field, as_text(table[column.name].to_pylist()))
    return table
