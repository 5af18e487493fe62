"""Types that were asked for: as a schema, as what a text format has in their place, and columns cast to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANY_STRING = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_ANY_BINARY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_FROM_STRING = (
    *_ANY_STRING,
    *_ANY_BINARY,
    pa.types.is_uint64,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_timestamp,
)
_SCALARS = (
    *((found, pa.string()) for found in _FROM_STRING),
    (pa.types.is_integer, pa.int64()),
    (pa.types.is_duration, pa.int64()),
    (pa.types.is_floating, pa.float64()),
    (pa.types.is_boolean, pa.bool_()),
    (pa.types.is_null, pa.null()),
)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def as_schema(given: pa.Schema | Mapping[str, Any]) -> pa.Schema:
    """Return Arrow types for fields whose types are given in any of the ways of Arrow, numpy and pandas.

    Examples
    --------
    >>> as_schema({"n": "int32", "s": str, "at": pa.date32(), "c": "category"})
    n: int32
    s: large_string
    at: date32[day]
    c: dictionary<values=string, indices=int32, ordered=0>
    """
    if isinstance(given, pa.Schema):
        return given
    return pa.schema([(name, _as_type(name, kind)) for name, kind in given.items()])


def _as_type(name: str, kind: Any) -> pa.DataType:
    import pandas as pd

    if isinstance(kind, pa.DataType):
        return kind
    if kind in ("category", "object", object):
        return pa.dictionary(pa.int32(), pa.string()) if kind == "category" else pa.string()
    try:
        return pa.Schema.from_pandas(pd.DataFrame({name: pd.Series(dtype=kind)}), preserve_index=False).field(0).type
    except (TypeError, ValueError, pa.ArrowException) as error:
        message = f"the type of {name!r} is one of Arrow, numpy or pandas, such as 'int64' or pa.string(), not {kind!r}"
        raise ArgumentError(message) from error


def natural(given: pa.Field) -> pa.Field:
    """Return a field as JSON can have it, from which a cast leads to the given type without a loss.

    Raises
    ------
    ArgumentError
        There is no such cast.
    """
    return pa.field(given.name, _natural(given.name, given.type))


def _natural(name: str, kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _natural(name, kind.value_type)
    for found, scalar in _SCALARS:
        if found(kind):
            return scalar
    if any(fits(kind) for fits in _LISTS):
        return pa.list_(_natural(name, kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([natural(inner) for inner in kind.fields])
    message = f"JSON cannot be read as {kind}, the type given for {name!r}: read it as text, and convert that"
    raise ArgumentError(message)


def fit(rows: pa.RecordBatch, types: Mapping[str, pa.DataType]) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Return rows with some columns cast, and what is wrong with the rows whose values do not fit: these are null."""
    errors: dict[int, str] = {}
    for number, column in enumerate(rows.schema):
        kind = types.get(column.name, column.type)
        if kind != column.type:
            fitted, misfits = _cast(rows.column(number), kind)
            rows = rows.set_column(number, column.name, fitted)
            errors |= {row: f"field {column.name!r}: {why}" for row, why in misfits.items()}
    return rows, errors


def _cast(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    """Cast an array, and halve it until the rows that fail are found."""
    try:
        return _cast_all(values, kind), {}
    except pa.ArrowInvalid as error:
        if len(values) == 1:
            return pa.nulls(1, kind), {0: f"{values[0].as_py()!r} is no {kind}: {error}"}
    middle = len(values) // 2
    first, first_errors = _cast(values.slice(0, middle), kind)
    second, second_errors = _cast(values.slice(middle), kind)
    return pa.concat_arrays([first, second]), first_errors | {row + middle: why for row, why in second_errors.items()}


def _cast_all(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_timestamp(kind) or not pa.types.is_string(values.type):
        return values.cast(kind)
    # A time is an ISO 8601 string, or a number that counts the units of the type.
    counted = pc.match_substring_regex(values, r"^-?\d+$")
    if not pc.any(counted).as_py():
        return values.cast(kind)
    counts = pc.if_else(counted, values, None).cast(pa.int64()).cast(kind)
    return pc.coalesce(counts, pc.if_else(counted, None, values).cast(kind))
