"""JSON texts taken apart by type: the values of each type as a column, typed as if each had been read alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab import _native
from kafkalab.decode.base import JSON_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Rows: TypeAlias = NDArray[np.int64]
    Typed: TypeAlias = tuple[Rows, pa.Array]
    """The numbers of some rows, and the values of these."""

_NO_TYPE = pa.struct([])
"""The type of lists and objects that only JSON text holds: no function takes it."""


def at_path(texts: pa.Array, path: tuple[str, ...]) -> pa.Array:
    """Return, as JSON texts, what objects hold at a path; null for those that hold nothing there.

    Examples
    --------
    >>> at_path(pa.array(['{"city": {"zip": 1}}', '"Bern"']), ("city", "zip")).to_pylist()
    ['1', None]
    """
    for name in path:
        if "\0" in name:
            return pa.nulls(len(texts), pa.string())
        schema = pa.schema([pa.field(name, pa.string(), metadata=JSON_TEXT)])
        decoded = _native.decode_json(texts.cast(pa.binary()), schema, closed=True)
        texts = pa.record_batch(decoded).column(0)
    return texts


def apart(texts: pa.Array) -> list[Typed]:
    """Return the values of JSON texts, those of each type apart; nulls are left out.

    Integers beyond 64 bits, and numbers beyond the largest float, are the nearest float.

    Examples
    --------
    >>> [values.to_pylist() for _, values in apart(pa.array(['"x"', "1", None, "2.5", "true", "[1]"]))]
    [['x'], [1], [2.5], [True], [[1]]]
    """
    return [typed for typed in _apart(texts) if len(typed[0])]


def _apart(texts: pa.Array) -> Iterator[Typed]:
    first = pc.utf8_slice_codeunits(texts, 0, 1)
    strings, objects, lists = (_rows(pc.equal(first, mark)) for mark in '"{[')
    truths = _rows(pc.is_in(first, pa.array(["t", "f"])))
    integers = _rows(pc.match_substring_regex(texts, "^-?[0-9]+$"))
    others = np.setdiff1d(_rows(texts.is_valid()), np.concatenate([strings, objects, lists, truths, integers]))
    yield from _nested(strings, texts)
    yield from _integers(integers, texts.take(pa.array(integers)).to_pylist())
    yield others, pa.array([float(text) for text in texts.take(pa.array(others)).to_pylist()], pa.float64())
    yield truths, pc.equal(texts.take(pa.array(truths)), "true")
    yield from _nested(objects, texts)
    yield from _nested(lists, texts)


def _rows(chosen: pa.BooleanArray) -> Rows:
    return np.flatnonzero(chosen.fill_null(False).to_numpy(zero_copy_only=False))  # noqa: FBT003 - a value


def _integers(rows: Rows, texts: list[str]) -> Iterator[Typed]:
    fits = np.array([len(text) < _DIGITS or -(1 << 63) <= int(text) < 1 << 63 for text in texts], dtype=bool)
    values = pa.array(texts, pa.string())
    yield rows[fits], values.filter(pa.array(fits)).cast(pa.int64())
    yield rows[~fits], pa.array([float(text) for text in values.filter(pa.array(~fits)).to_pylist()], pa.float64())


_DIGITS = 19


def _nested(rows: Rows, texts: pa.Array) -> Iterator[Typed]:
    """Yield values that one type holds together; where none does, those of the same shape by themselves."""
    if not len(rows):
        return
    texts = texts.take(pa.array(rows))
    values, is_own = _decoded(texts)
    if is_own:
        yield rows, values
        return
    shapes: dict[Any, list[int]] = {}
    for number, text in enumerate(texts.to_pylist()):
        shapes.setdefault(_shape(json.loads(text)), []).append(number)
    for numbers in shapes.values():
        values, _ = _decoded(texts.take(pa.array(numbers)))
        is_text = pa.types.is_string(values.type)
        yield rows[numbers], pa.array([{}] * len(numbers), _NO_TYPE) if is_text else values


def _decoded(texts: pa.Array) -> tuple[pa.Array, bool]:
    """Return the values of texts, and whether each has the type that it has alone."""
    rows = pc.binary_join_element_wise('{"v":', texts, "}", "").cast(pa.binary())
    decoded = _native.decode_json(rows, pa.schema([]))
    column = pa.record_batch(decoded)
    return column.column(0), column.schema.field(0).metadata != JSON_TEXT and not decoded.widened


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((name, _shape(inner)) for name, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return frozenset(_shape(inner) for inner in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int, -(1 << 63) <= value < 1 << 63
    return type(value)
