"""Times that Python's datetime does not know: in what is shown and written they are text, never other times."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator

_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY_S, _MINUTE_S = 86_400, 60
_FIRST_DAY, _END_DAY = -719_162, 2_932_897  # from 1970-01-01 to the years 1 and 10000
_CYCLE_DAYS, _CYCLE_YEARS = 146_097, 400  # after which the calendar begins anew
_LAST_YEAR = 9999


def is_outside(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray | None:
    """Return which dates, times of day or timestamps Python's datetime cannot hold; None where all can be held.

    Examples
    --------
    >>> is_outside(pa.array([0, -1], pa.time64("us"))).to_pylist()
    [False, True]
    >>> is_outside(pa.array([0], pa.date32()))
    """
    bounds = _bounds(values.type)
    if bounds is None:
        return None
    numbers = values.cast(pa.int32() if values.type.bit_width <= 32 else pa.int64())  # noqa: PLR2004 - bits
    outside = pc.or_(pc.less(numbers, bounds[0]), pc.greater_equal(numbers, bounds[1]))
    return outside if pc.any(outside).as_py() else None


def _bounds(kind: pa.DataType) -> tuple[int, int] | None:
    """Return the first number that can be held, and the first after it that cannot."""
    if pa.types.is_time(kind):
        return 0, _DAY_S * _PER_S[kind.unit]
    if pa.types.is_date32(kind):
        return _FIRST_DAY, _END_DAY
    if pa.types.is_date64(kind):
        return _FIRST_DAY * _DAY_S * 1_000, _END_DAY * _DAY_S * 1_000
    if pa.types.is_timestamp(kind):
        per_day = _DAY_S * _PER_S[kind.unit]
        margin = 0 if kind.tz in (None, "UTC") else per_day  # for the difference from UTC
        if kind.unit == "ns":  # they do not reach so far
            return (margin - 2**63, 2**63 - margin) if margin else None
        return _FIRST_DAY * per_day + margin, _END_DAY * per_day - margin
    return None


def has_outside(values: pa.Array | pa.ChunkedArray) -> bool:
    """Tell whether there are such times among values, at any depth.

    Examples
    --------
    >>> has_outside(pa.array([[{"at": 0}], [{"at": -1}]], pa.list_(pa.struct([("at", pa.time64("us"))]))))
    True
    """
    return _has_times(values.type) and any(is_outside(leaf) is not None for leaf in leaves(values))


def _has_times(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_times(kind.field(number).type) for number in range(kind.num_fields))
    return _bounds(kind) is not None


def leaves(values: pa.Array | pa.ChunkedArray) -> Iterator[pa.Array]:
    """Yield the columns that nested ones are made of; what is in a null is null."""
    if isinstance(values, pa.ChunkedArray):
        for chunk in values.chunks:
            yield from leaves(chunk)
    elif pa.types.is_struct(values.type):
        for part in values.flatten():
            yield from leaves(part)
    elif pa.types.is_map(values.type):
        yield from leaves(values.keys)
        yield from leaves(values.items)
    elif pa.types.is_nested(values.type):
        yield from leaves(values.flatten())
    else:
        yield values


def python_values(values: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return values as Python's, with text for times that it cannot hold, at any depth.

    Examples
    --------
    >>> python_values(pa.array([0, 2_932_897, None], pa.date32()))
    [datetime.date(1970, 1, 1), '+10000-01-01', None]
    >>> python_values(pa.array([{"t": -1_000_000}], pa.struct([("t", pa.time64("us"))])))
    [{'t': '-00:00:01'}]
    """
    if not has_outside(values):
        held: list[Any] = values.to_pylist()
        return held
    if isinstance(values, pa.ChunkedArray):
        return [value for chunk in values.chunks for value in python_values(chunk)]
    kind = values.type
    if pa.types.is_struct(kind):
        parts = zip(*(python_values(part) for part in values.flatten()), strict=True)
        names = [part.name for part in kind.fields]
        objects = (dict(zip(names, part, strict=True)) for part in parts)
        return [
            made if is_there else None for made, is_there in zip(objects, values.is_valid().to_pylist(), strict=True)
        ]
    if pa.types.is_map(kind):
        return [None if value.values is None else _pairs(value.values) for value in values]
    if pa.types.is_nested(kind):
        return [None if value.values is None else python_values(value.values) for value in values]
    outside = is_outside(values)
    return values.to_pylist() if outside is None else _of_leaf(values, outside)


def _pairs(entries: pa.StructArray) -> list[tuple[Any, Any]]:
    keys, items = entries.flatten()
    return list(zip(python_values(keys), python_values(items), strict=True))


def _of_leaf(values: pa.Array, outside: pa.Array) -> list[Any]:
    inside = pc.if_else(outside, pa.scalar(None, values.type), values).to_pylist()
    numbers = values.cast(pa.int32() if values.type.bit_width <= 32 else pa.int64()).to_pylist()  # noqa: PLR2004 - bits
    flags = outside.to_pylist()
    return [
        as_text(number, values.type) if flag else value
        for value, number, flag in zip(inside, numbers, flags, strict=True)
    ]


def python_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Return rows as Python's, with text for times that it cannot hold, at any depth."""
    if not any(has_outside(column) for column in table.columns):
        held: list[dict[str, Any]] = table.to_pylist()
        return held
    names = table.schema.names
    rows = zip(*(python_values(column) for column in table.columns), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def texts(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return dates and times as Arrow writes them, and those that it cannot as text like that.

    Examples
    --------
    >>> texts(pa.chunked_array([pa.array([0, 2_932_897], pa.date32())])).to_pylist()
    ['1970-01-01', '+10000-01-01']
    """
    outside = is_outside(column)
    if outside is None:
        return column.cast(pa.string())
    inside = pc.if_else(outside, pa.scalar(None, column.type), column).cast(pa.string())
    found = [value if isinstance(value, str) else None for value in python_values(column)]
    return pc.coalesce(inside, pa.array(found, pa.string()))


def as_text(number: int, kind: pa.DataType) -> str:
    """Return a date or time as ISO 8601 would have it: years of more digits have a sign, and hours go beyond 24.

    Examples
    --------
    >>> as_text(87_741_500, pa.time32("ms")), as_text(253_402_300_800, pa.timestamp("s", "UTC"))
    ('24:22:21.5', '+10000-01-01T00:00:00+00:00')
    """
    if pa.types.is_date32(kind):
        return _day(number)
    per_s = 1_000 if pa.types.is_date64(kind) else _PER_S[kind.unit]
    if pa.types.is_time(kind):
        return f"{'-' if number < 0 else ''}{_clock(abs(number), per_s)}"
    days, rest = divmod(number, _DAY_S * per_s)
    if pa.types.is_date64(kind):
        return _day(days)
    return f"{_day(days)}T{_clock(rest, per_s)}{'+00:00' if kind.tz else ''}"


def _day(days: int) -> str:
    cycles, rest = divmod(days - _FIRST_DAY, _CYCLE_DAYS)
    within = date.fromordinal(rest + 1)
    year = within.year + cycles * _CYCLE_YEARS
    shown = f"{year:+05d}" if year > _LAST_YEAR or year < 0 else f"{year:04d}"
    return f"{shown}-{within:%m-%d}"


def _clock(number: int, per_s: int) -> str:
    seconds, part = divmod(number, per_s)
    minutes, second = divmod(seconds, _MINUTE_S)
    hour, minute = divmod(minutes, _MINUTE_S)
    fraction = f".{part:0{len(str(per_s)) - 1}d}".rstrip("0") if part else ""
    return f"{hour:02d}:{minute:02d}:{second:02d}{fraction}"
