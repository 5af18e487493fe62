"""A field of rows by the types that its values have alone, whatever type the rows that come with them made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.decode.apart import apart, at_path
from kafkalab.decode.base import JSON_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from kafkalab.condition import Path

    Typed: TypeAlias = "tuple[NDArray[np.int64] | None, pa.Array]"
    """The numbers of the rows that have values of one type, and these; None for a column of all rows, with nulls."""
    Column: TypeAlias = "list[Typed]"
    """The values of a field; rows that are in no type are null."""

_BEYOND = float(1 << 63)


def own_name(name: str, number: int) -> str:
    """Return the name of a column that holds, beside the column of that name, its values of one type."""
    return f"\0{number}\0{name}"


def is_own(name: str) -> bool:
    """Whether a column is there for conditions only."""
    return name.startswith("\0")


def without_own(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows without the columns that are there for conditions only."""
    names = rows.schema.names
    shown = [name for name in names if not is_own(name)]
    return rows if len(shown) == len(names) else rows.select(shown)


def values_at(rows: pa.RecordBatch, path: Path) -> Column | None:
    """Return the values at a path, each with the type that it has alone; None where the rows have no such field.

    Examples
    --------
    >>> values_at(pa.record_batch({"n": [1, None]}), ("n",))[0][1].to_pylist()
    [1, None]
    """
    found = [_values(part, rows.column(number), path[1:]) for number, part in _sources(rows.schema, path[0])]
    there = [column for column in found if column is not None]
    if len(there) <= 1:
        return there[0] if there else None
    return [_without_nulls(typed) for column in there for typed in column]


def _sources(schema: pa.Schema, name: str) -> Iterator[tuple[int, pa.Field]]:
    number, own = 0, schema.get_field_index(own_name(name, 0))
    if own < 0:
        own = schema.get_field_index(name)
        if own >= 0:
            yield own, schema.field(own)
        return
    while own >= 0:
        yield own, schema.field(own)
        number += 1
        own = schema.get_field_index(own_name(name, number))


def _values(part: pa.Field, values: pa.Array, path: Path) -> Column | None:
    if part.metadata == JSON_TEXT:
        column: Column = list(apart(at_path(values, path)))
        return column if column or not path else None
    for name in path:
        number = values.type.get_field_index(name) if pa.types.is_struct(values.type) else -1
        if number < 0:
            return None
        values = pc.struct_field(values, [number])
    return [] if pa.types.is_null(values.type) else [(None, values)]


def _without_nulls(typed: Typed) -> tuple[NDArray[np.int64], pa.Array]:
    rows, values = typed
    return (rows, values) if rows is not None else (np.flatnonzero(_valid(values)), values.drop_null())


def _valid(values: pa.Array) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = values.is_valid().to_numpy(zero_copy_only=False)
    return valid


def as_floats(values: pa.Array) -> pa.Array:
    """Return integers of 64 bits as the nearest floats, and other values as they are."""
    return values.cast(pa.float64(), safe=False) if values.type == pa.int64() else values


def with_whole_floats_as_integers(column: Column) -> Column:
    """Return a column whose floats without a fraction are integers: these are compared without rounding either."""
    return [each for typed in column for each in _split(typed)]


def _split(typed: Typed) -> Iterator[Typed]:
    if not pa.types.is_floating(typed[1].type):
        yield typed
        return
    rows, values = _without_nulls(typed)
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
    whole = (np.abs(numbers) < _BEYOND) & (np.floor(numbers) == numbers)
    yield rows[whole], pa.array(numbers[whole].astype(np.int64))
    yield rows[~whole], pa.array(numbers[~whole])


def groups(columns: Sequence[Column], count: int) -> Iterator[tuple[NDArray[np.int64], list[pa.Array | None]]]:
    """Yield the rows whose values have the same types, and these values; None for a field that is null in them.

    Examples
    --------
    >>> numbers = [(None, pa.array([5, None, 7]))]
    >>> [(rows.tolist(), arrays[0] and arrays[0].to_pylist()) for rows, arrays in groups([numbers], 3)]
    [([1], None), ([0, 2], [5, 7])]
    """
    apart = [[_without_nulls(typed) for typed in column] for column in columns]
    codes, places = np.zeros((len(columns), count), np.int64), np.zeros((len(columns), count), np.int64)
    group = np.zeros(count, np.int64)
    for number, column in enumerate(apart):
        for code, (rows, values) in enumerate(column, 1):
            codes[number, rows] = code
            places[number, rows] = np.arange(len(values))
        group = np.unique(group * (len(column) + 1) + codes[number], return_inverse=True)[1]
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        yield (
            rows,
            [
                column[code - 1][1].take(pa.array(place[rows])) if (code := code_of[rows[0]]) else None
                for column, code_of, place in zip(apart, codes, places, strict=True)
            ],
        )
