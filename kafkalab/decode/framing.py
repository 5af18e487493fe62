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

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kafkalab.decode.base import Decoder, Own

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
_ROW = "\0row"


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
        able = [decoder for decoder in decoders if callable(decoder)]
        if len(able) == 1:
            decoded = able[0](values)  # what has another front, or none, is null
            places, pieces, left_out = None, [_table(decoded)], decoded.left_out
            errors |= decoded.errors
            if pieces[0].schema.equals(self._found, check_metadata=True):
                return Decoded(decoded.columns, _sorted(errors), left_out)
        else:
            pieces, left_out = _pieces(decoders, numbers, values, errors)
            places = _places(np.concatenate([piece[_ROW].to_numpy() for piece in pieces]), len(values))
        joined = unify([self._found.empty_table(), *pieces])
        if places is not None:
            joined = joined.drop_columns([_ROW])
        self._found = joined.schema
        arrays = [column.combine_chunks() for column in joined.columns]
        columns = [
            (_name(column.name), column, array if places is None else array.take(places))
            for column, array in zip(joined.schema, arrays, strict=True)
        ]
        return Decoded(columns, _sorted(errors), left_out, _own(pieces, joined.schema, len(values)))

    def _decoder(self, front: bytes) -> Decoder | str:
        if front not in self._decoders:
            if len(self._decoders) >= _MOST_SCHEMAS:
                return f"one of more than {_MOST_SCHEMAS} different schema ids, which are not looked up"
            self._decoders[front] = self._choose(int.from_bytes(front[1:ID_BYTES], "big"), front)
        return self._decoders[front]


def _own(pieces: list[pa.Table], joined: pa.Schema, count: int) -> Own:
    """Return the values of the columns that have become another type, by the schemas that they are of."""
    changed = {
        column.name
        for piece in pieces
        for column in piece.schema
        if column.name != _ROW and not column.equals(joined.field(column.name), check_metadata=True)
    }
    return {_name(name): partial(_apart, pieces, name, count) for name in changed}


def _apart(pieces: list[pa.Table], name: str, count: int) -> list[tuple[pa.Field, pa.Array]]:
    found = []
    for piece in pieces:
        if name in piece.column_names:
            values = piece[name].combine_chunks()
            if _ROW in piece.column_names:
                values = values.take(_places(piece[_ROW].to_numpy(), count))
            found.append((piece.schema.field(name), values))
    return found


def _name(column: str) -> str | None:
    return None if column == _WHOLE else column


def _sorted(errors: dict[int, str]) -> dict[int, str]:
    return dict(sorted(errors.items()))


def _pieces(
    decoders: list[Decoder | str], numbers: NDArray[np.int32], values: pa.Array, errors: dict[int, str]
) -> tuple[list[pa.Table], list[str]]:
    """Return the rows of one front after the other, and which of the values each is of; add their errors."""
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(len(decoders) + 1))
    tables, left_out = [pa.table({_ROW: pa.array([], pa.int64())})], dict[str, None]()
    for decoder, start, end in zip(decoders, bounds, bounds[1:], strict=False):
        if isinstance(decoder, str):
            continue
        rows = order[start:end]
        decoded = decoder(values.take(pa.array(rows)))
        tables.append(_table(decoded).append_column(_ROW, [pa.array(rows)]))
        errors |= {int(rows[row]): error for row, error in decoded.errors.items()}
        left_out |= dict.fromkeys(decoded.left_out)
    return tables, list(left_out)


def _places(rows: NDArray[np.int64], count: int) -> pa.Array:
    """Return where in a table the row of each value is; null for those that have none."""
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
