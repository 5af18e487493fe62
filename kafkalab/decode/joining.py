"""Columns whose types were found apart, joined: widened where that loses nothing, else made JSON text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kafkalab.decode.base import JSON_TEXT, Decoded
from kafkalab.temporal import python_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROWS_AT_ONCE = 1_000


def as_text(values: Sequence[Any]) -> pa.Array:
    """Return each value's JSON text, without white space."""
    written = [
        None if v is None else json.dumps(v, ensure_ascii=False, separators=(",", ":"), default=str) for v in values
    ]
    return pa.array(written, pa.string())


def unify(tables: Sequence[pa.Table]) -> pa.Table:
    """Join tables whose fields were typed apart: types are widened where that loses nothing, else made JSON text.

    Decimals among floats are such texts: neither has all values of the other.

    Examples
    --------
    >>> unify([pa.table({"n": [1]}), pa.table({"n": ["x"], "m": [2]})]).to_pylist()
    [{'n': '1', 'm': None}, {'n': '"x"', 'm': 2}]
    """
    texts, columns = set[str](), dict[str, list[pa.Table]]()
    for table in tables:
        for column, values in zip(table.schema, table.columns, strict=True):
            columns.setdefault(column.name, []).append(pa.table([values], schema=pa.schema([column])))
            if column.metadata == JSON_TEXT:
                texts.add(column.name)
    for name, parts in columns.items():
        kinds = list(dict.fromkeys(part.schema.field(0).type for part in parts))
        if name in texts or len(kinds) == 1:
            continue
        common = _common(parts, kinds)
        if common is None:
            texts.add(name)
        elif pa.types.is_temporal(common):
            tables = [_with_type(table, name, common) for table in tables]
    return storable(pa.concat_tables([with_text(table, texts) for table in tables], promote_options="permissive"))


def _common(parts: Sequence[pa.Table], kinds: Sequence[pa.DataType]) -> pa.DataType | None:
    """Return a type that holds what columns of other types hold, if there is one that changes none of it."""
    try:
        common = pa.concat_tables(parts, promote_options="permissive").schema.field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # A finer unit may not reach as far as a coarser, and that be fine enough.
        return _coarser(parts, kinds)
    return None if any(_blurs(kind, common) for kind in kinds) else common


def _coarser(parts: Sequence[pa.Table], kinds: Sequence[pa.DataType]) -> pa.DataType | None:
    if not all(pa.types.is_timestamp(kind) for kind in kinds) and not all(map(pa.types.is_duration, kinds)):
        return None
    for kind in kinds:
        try:
            for part in parts:
                part.column(0).cast(kind)
        except pa.ArrowInvalid:
            continue
        return kind
    return None


def _with_type(table: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    number = table.schema.get_field_index(name)
    if number < 0 or table.schema.field(number).type == kind:
        return table
    return table.set_column(number, table.schema.field(number).with_type(kind), table.column(number).cast(kind))


def _blurs(kind: pa.DataType, common: pa.DataType) -> bool:
    """Tell whether decimals, at any depth, would become floats, which do not have all their digits."""
    if pa.types.is_decimal(kind):
        return bool(pa.types.is_floating(common))
    if pa.types.is_struct(kind):
        return any(_blurs(part.type, common.field(part.name).type) for part in kind.fields)
    inner = range(kind.num_fields) if pa.types.is_nested(kind) else ()
    return any(_blurs(kind.field(number).type, common.field(number).type) for number in inner)


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


def with_text(table: pa.Table, names: set[str]) -> pa.Table:
    """Return a table, or batch, with the named columns as JSON texts; those that are already stay as they are."""
    for number, column in enumerate(table.schema):
        if column.name in names and column.metadata != JSON_TEXT:
            field = pa.field(column.name, pa.string(), metadata=JSON_TEXT)
            table = table.set_column(number, field, _texts_of(table.column(number)))
    return table


def _texts_of(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the JSON texts of a column, of a part at a time: Python's objects take much more room."""
    parts = [
        as_text(python_values(column.slice(start, _ROWS_AT_ONCE))) for start in range(0, len(column), _ROWS_AT_ONCE)
    ]
    if isinstance(column, pa.Array):
        return pa.concat_arrays(parts) if parts else pa.array([], pa.string())
    return pa.chunked_array(parts, pa.string())
