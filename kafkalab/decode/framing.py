"""Values with a schema registry's id in front: each read by its own schema, and their columns joined."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab import _native
from kafkalab.decode.base import Decoded
from kafkalab.decode.joining import unify
from kafkalab.decode.unfit import MOST_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from kafkalab.decode.base import Decoder, Own

    _Piece: TypeAlias = tuple[NDArray[np.int64] | None, pa.Table]
    """Rows, and which of the values they are of: None for all, in their order."""

    Choose: TypeAlias = Callable[[int, bytes], Decoder | str]
    """Takes a schema id and what else stands before a value, and gives its decoder, or why there is none."""

ID_BYTES = 5
NO_REGISTRY = (
    "value='{name}' needs a schema registry: name it to connect, config={{'schema.registry.url': ...}}, or give it to "
    "the format, {call}(registry='https://host:8081')"
)
_MOST_SCHEMAS = 1000
_WHOLE = ""
"""What stands, within a table, for the column of the value as a whole: no field of a schema has this name."""
_FREE_BYTES, _PER_BYTE = 64 << 20, 32
_CROWDED = (
    "its schema has columns for which there is no room beside those of the other schemas that came with it: name the "
    "columns to read by columns=[...]"
)


class Framed:
    """Decodes each value by the schema that its front names, which is looked up once.

    Parameters
    ----------
    choose : callable
        Gives the decoder for a front, which is given values with it and makes null of others.
    has_indexes : bool
        Whether the indexes of a message stand behind the id, as they do before Protobuf.
    """

    def __init__(self, choose: Choose, *, has_indexes: bool = False) -> None:
        self._choose = choose
        self._has_indexes = has_indexes
        self._decoders: dict[bytes, Decoder | str] = {}
        self._found = pa.schema([])

    def __call__(self, values: pa.Array) -> Decoded:
        """Return the columns of all schemas that there are and were, each with nulls where it is not a value's own."""
        fronts, split = _native.split_framing(values, indexes=self._has_indexes)
        errors = dict(split.errors)
        decoders = [self._decoder(front) for front in fronts]
        numbers = pa.record_batch(split).column(0).fill_null(-1).to_numpy()
        refused = {number: why for number, why in enumerate(decoders) if isinstance(why, str)}
        if refused:
            errors |= {row: refused[number] for row, number in enumerate(numbers.tolist()) if number in refused}
        room = _Room(values)
        able = [decoder for decoder in decoders if callable(decoder)]
        pieces: list[_Piece]
        left_out: Sequence[str]
        if len(able) == 1:
            decoded = able[0](values)  # what has another front, or none, is null
            table, left_out = _table(decoded), decoded.left_out
            errors |= decoded.errors
            if table.schema.equals(self._found, check_metadata=True):
                return Decoded(decoded.columns, _sorted(errors), left_out)
            pieces = [(None, table)]
            room.has(table.schema)
        else:
            pieces, left_out = _pieces(decoders, numbers, values, errors, room)
        # What was only found before may be left out where there is no room for its nulls.
        found = self._found if room.has(self._found) else pa.schema([])
        made = _joined(found, pieces, len(values))
        self._found = pa.schema([column for column, _ in made])
        columns = [(_name(column.name), column, array) for column, array in made]
        return Decoded(columns, _sorted(errors), left_out, _own(pieces, self._found, len(values)))

    def _decoder(self, front: bytes) -> Decoder | str:
        if front not in self._decoders:
            if len(self._decoders) >= _MOST_SCHEMAS:
                return f"one of more than {_MOST_SCHEMAS} different schema ids, which are not looked up"
            self._decoders[front] = self._choose(int.from_bytes(front[1:ID_BYTES], "big"), front)
        return self._decoders[front]


def _own(pieces: Sequence[_Piece], joined: pa.Schema, count: int) -> Own:
    """Return the values of the columns that have become another type, by the schemas that they are of."""
    changed = {
        column.name
        for _, table in pieces
        for column in table.schema
        if not column.equals(joined.field(column.name), check_metadata=True)
    }
    return {_name(name): partial(_apart, pieces, name, count) for name in changed}


def _apart(pieces: Sequence[_Piece], name: str, count: int) -> list[tuple[pa.Field, pa.Array]]:
    found = []
    for rows, table in pieces:
        if name in table.column_names:
            values = table[name].combine_chunks()
            found.append((table.schema.field(name), values if rows is None else values.take(_places(rows, count))))
    return found


def _name(column: str) -> str | None:
    return None if column == _WHOLE else column


def _sorted(errors: dict[int, str]) -> dict[int, str]:
    return dict(sorted(errors.items()))


class _Room:
    """How much memory there is for the columns of a step: a few bytes in front of values can name any columns."""

    def __init__(self, values: pa.Array) -> None:
        self._rows = len(values)
        self._left = _FREE_BYTES + _PER_BYTE * values.nbytes
        self._names = set[str]()

    def has(self, columns: pa.Schema) -> bool:
        """Take room for columns that were not there yet, if there is as much."""
        new = [column for column in columns if column.name not in self._names]
        taken = self._rows * sum(cell_bytes(column.type) for column in new)
        if taken > self._left or len(self._names) + len(new) > MOST_COLUMNS:
            return False
        self._left -= taken
        self._names.update(column.name for column in new)
        return True


def cell_bytes(kind: pa.DataType) -> int:
    """Return how many bytes each value of a type takes whatever it is.

    Examples
    --------
    >>> cell_bytes(pa.int64()), cell_bytes(pa.string()), cell_bytes(pa.struct([("a", pa.int32()), ("b", pa.int32())]))
    (8, 4, 9)
    """
    if pa.types.is_struct(kind):
        return 1 + sum(cell_bytes(part.type) for part in kind.fields)
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return 4


def _pieces(
    decoders: list[Decoder | str], numbers: NDArray[np.int32], values: pa.Array, errors: dict[int, str], room: _Room
) -> tuple[list[_Piece], list[str]]:
    """Return the rows of each front, and which of the values they are of; add their errors."""
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(len(decoders) + 1))
    pieces: list[_Piece] = []
    left_out: dict[str, None] = {}
    for decoder, start, end in zip(decoders, bounds, bounds[1:], strict=False):
        if isinstance(decoder, str):
            continue
        rows = order[start:end]
        decoded = decoder(values.take(pa.array(rows)))
        table = _table(decoded)
        if not room.has(table.schema):
            errors |= dict.fromkeys(rows.tolist(), _CROWDED)
            continue
        pieces.append((rows, table))
        errors |= {int(rows[row]): error for row, error in decoded.errors.items()}
        left_out |= dict.fromkeys(decoded.left_out)
    return pieces, list(left_out)


def _joined(found: pa.Schema, pieces: Sequence[_Piece], count: int) -> list[tuple[pa.Field, pa.Array]]:
    """Return all columns, also those that were only found before, each as long as there were values."""
    parts: dict[str, list[_Piece]] = {
        column.name: [(np.array([], np.int64), pa.schema([column]).empty_table())] for column in found
    }
    for rows, table in pieces:
        for column, array in zip(table.schema, table.columns, strict=True):
            parts.setdefault(column.name, []).append((rows, pa.table([array], schema=pa.schema([column]))))
    return [_column(of_name, count) for of_name in parts.values()]


def _column(pieces: Sequence[_Piece], count: int) -> tuple[pa.Field, pa.Array]:
    table = unify([table for _, table in pieces])
    array = table.column(0).combine_chunks()
    if not any(rows is None for rows, _ in pieces):
        rows = np.concatenate([rows for rows, _ in pieces if rows is not None])
        array = array.take(_places(rows, count))
    return table.schema.field(0), array


def _places(rows: NDArray[np.int64], count: int) -> pa.Array:
    """Return where in a column the row of each value is; null for those that have none."""
    places = np.full(count, -1, dtype=np.int64)
    places[rows] = np.arange(len(rows))
    return pa.array(places, mask=places < 0)


def _table(decoded: Decoded) -> pa.Table:
    fields = [field.with_name(_WHOLE if name is None else name) for name, field, _ in decoded]
    return pa.Table.from_arrays([array for _, _, array in decoded], schema=pa.schema(fields))


def fronts_of(values: pa.Array) -> tuple[list[bytes], dict[int, str]]:
    """Return the different schema ids in front of values, as bytes, and what is wrong with which row."""
    fronts, split = _native.split_framing(values, indexes=False)
    return fronts, dict(split.errors)


def only_framed(values: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """Return values of which those without an id in front are null, and what is wrong with these."""
    _, split = _native.split_framing(values, indexes=False)
    errors = dict(split.errors)
    if errors:
        values = pc.if_else(pa.record_batch(split).column(0).is_valid(), values, None)
    return values, errors
