"""Columns whose types were found apart, joined: widened where that loses nothing, else made JSON text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kafkalab.decode.base import JSON_TEXT, Decoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def as_text(values: Sequence[Any]) -> pa.Array:
    """Return each value's JSON text, without white space."""
    written = [
        None if v is None else json.dumps(v, ensure_ascii=False, separators=(",", ":"), default=str) for v in values
    ]
    return pa.array(written, pa.string())


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
    """Return a table, or batch, whose objects that never had a field are JSON texts: Parquet has no such structs."""
    return with_text(table, {column.name for column in table.schema if _has_empty_struct(column.type)})


def of_schema(rows: pa.RecordBatch, errors: Mapping[int, str], left_out: Sequence[str]) -> Decoded:
    """Return the columns that a schema makes; one without a name stands for the whole."""
    # Records without fields become text, and are known to be that before anything is read.
    plain = storable(rows)
    columns = [(f.name or None, f.remove_metadata(), plain.column(number)) for number, f in enumerate(plain.schema)]
    return Decoded(columns, errors, left_out)


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
