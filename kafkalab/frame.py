"""Arrow rows as the pandas frame that people expect, with the receipt of how they were read."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.errors import ArgumentError, IncompleteWarning, KafkalabWarning, LimitWarning
from kafkalab.model import Receipt, StopReason
from kafkalab.taking import take
from kafkalab.temporal import has_outside, is_outside, leaves, python_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pandas.api.extensions import ExtensionDtype

    from kafkalab.model import PartitionReceipt

DtypeBackend: TypeAlias = Literal["numpy_nullable", "pyarrow"]

_ATTRIBUTE = "kafkalab"
_LEAST = -(2**63)
_NULLABLE: dict[pa.DataType, ExtensionDtype] = {
    pa.string(): pd.StringDtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
}
_ARROWS_OWN = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_nested,
)


def to_frame(table: pa.Table, receipt: Receipt, dtype_backend: DtypeBackend | None = None) -> pd.DataFrame:
    """Return rows as a pandas frame that carries its receipt.

    Parameters
    ----------
    table : pyarrow.Table
        The rows.
    receipt : Receipt
        What they are.
    dtype_backend : {"numpy_nullable", "pyarrow"}, optional
        As in pandas' readers. By default numbers are numpy's, ``topic`` and ``timestamp_type`` categorical,
        ``timestamp`` is ``datetime64[ms, UTC]``, and bytes, text and nested columns are Arrow's own, without a copy.
        Whole numbers beside nulls become floats, as pandas has it, unless that would change one: then they are Arrow's,
        and those in nested columns Python's.

    Returns
    -------
    pandas.DataFrame
        With a range index. Dates and timestamps outside the years 1 to 9999 are NaT, with a warning; times of day that
        no day has are spans of time. In nested columns, whose values are Python's then, such times are text.
    """
    frame: pd.DataFrame
    if dtype_backend == "pyarrow":
        frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    elif dtype_backend in (None, "numpy_nullable"):
        mapper = _arrow_where_better if dtype_backend is None else _nullable
        frame = printable(table).to_pandas(types_mapper=mapper)
        for name in _unlike_in_python(table):
            frame[name] = pd.Series(python_values(table[name]), dtype=object)
        if dtype_backend is None:
            for name in _inexact_as_floats(table):
                frame[name] = pd.arrays.ArrowExtensionArray(table[name])
    else:
        message = f"dtype_backend is 'numpy_nullable', 'pyarrow' or None, not {dtype_backend!r}"
        raise ArgumentError(message)
    return with_receipt(frame, receipt)


@overload
def with_receipt(frame: pd.DataFrame, receipt: Receipt) -> pd.DataFrame: ...


@overload
def with_receipt(frame: pa.Table, receipt: Receipt) -> pa.Table: ...


def with_receipt(frame: Any, receipt: Receipt) -> Any:
    """Return a frame, or an Arrow table, with a receipt in its attributes, or its schema's metadata."""
    if isinstance(frame, pd.DataFrame):
        frame.attrs[_ATTRIBUTE] = receipt.to_json()
        return frame
    return frame.replace_schema_metadata({**(frame.schema.metadata or {}), _ATTRIBUTE: receipt.to_json()})


def _arrow_where_better(kind: pa.DataType) -> pd.ArrowDtype | None:
    return pd.ArrowDtype(kind) if any(is_such(kind) for is_such in _ARROWS_OWN) else None


def _nullable(kind: pa.DataType) -> ExtensionDtype | None:
    return _NULLABLE.get(kind) or _arrow_where_better(kind)


def _inexact_as_floats(table: pa.Table) -> Iterator[str]:
    for column in table.schema:
        if _is_inexact(table[column.name]):
            yield column.name


def _is_inexact(values: pa.Array | pa.ChunkedArray) -> bool:
    """Tell whether these are whole numbers beside nulls of which one would be another as a float."""
    if not pa.types.is_integer(values.type) or not values.null_count:
        return False
    try:
        values.cast(pa.float64())
    except pa.ArrowInvalid:
        return True
    return False


def _unlike_in_python(table: pa.Table) -> Iterator[str]:
    """Yield the nested columns of which pandas shows something else than they hold, or cannot show all."""
    for column in table.schema:
        values = table[column.name]
        if pa.types.is_nested(column.type) and (has_outside(values) or any(map(_is_inexact, leaves(values)))):
            yield column.name


def printable(table: pa.Table) -> pa.Table:
    """Return a table without times that pandas cannot hold: dates are null, with a warning, times of day are spans."""
    for number, column in enumerate(table.schema):
        values = table.column(number)
        if (outside := is_outside(values)) is not None:
            if pa.types.is_time(column.type):
                spans = values.cast(pa.int32() if pa.types.is_time32(column.type) else pa.int64())
                span = pa.duration(column.type.unit)
                table = table.set_column(number, column.with_type(span), spans.cast(pa.int64()).cast(span))
                continue
            count = pc.sum(outside).as_py()
            message = f"{count} times outside the years 1 to 9999 are NaT; dtype_backend='pyarrow' keeps them"
            warnings.warn(message, KafkalabWarning, stacklevel=3)
            kept = pc.if_else(outside, pa.scalar(None, column.type), values)
            table = table.set_column(number, column, kept)
    return table


def receipt(frame: pd.DataFrame | pa.Table) -> Receipt:
    """Return what a frame holds and why its reading stopped.

    Parameters
    ----------
    frame : pandas.DataFrame or pyarrow.Table
        Made by kafkalab, or derived from such a frame by pandas, which hands attributes on.

    Raises
    ------
    ArgumentError
        The frame carries no receipt.

    Examples
    --------
    >>> import kafkalab as kl
    >>> cluster = kl.MemoryCluster({"orders": 1})
    >>> cluster.append("orders", b"a", b"b")
    >>> kl.receipt(kl.Lab(cluster, cluster).read("orders"))
    <Receipt orders: 2 rows of 2 records, 1 partition, reached>
    """
    attributes = frame.attrs if isinstance(frame, pd.DataFrame) else frame.schema.metadata or {}
    text = attributes.get(_ATTRIBUTE) or attributes.get(_ATTRIBUTE.encode())
    if text is None:
        message = "this frame carries no receipt: it was not made by kafkalab, or an operation dropped its attrs"
        raise ArgumentError(message)
    return Receipt.from_json(text)


def concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return frames one after the other, their receipts merged.

    `pandas.concat` keeps attributes only where all are the same.

    Examples
    --------
    >>> import kafkalab as kl
    >>> cluster = kl.MemoryCluster({"orders": 2})
    >>> cluster.append("orders", b"a")
    >>> cluster.append("orders", b"b", partition=1)
    >>> lab = kl.Lab(cluster, cluster)
    >>> kl.receipt(kl.concat(lab.read("orders", partitions=p) for p in (0, 1)))
    <Receipt orders: 2 rows of 2 records, 2 partitions, reached>
    """
    parts = list(frames)
    return with_receipt(joined(parts), Receipt.merge(receipt(part) for part in parts))


def joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames one after the other, numbered through unless their index means something."""
    # An index that somebody made, by groups or times, means something.
    counted = all(part.index.name is None and pd.api.types.is_integer_dtype(part.index.dtype) for part in parts)
    whole = pd.concat(parts, ignore_index=counted) if parts else pd.DataFrame()
    for name in whole.columns:
        # Frames of different topics have different categories, and pandas falls back to objects.
        if all(isinstance(part.get(name, pd.Series(dtype="category")).dtype, pd.CategoricalDtype) for part in parts):
            whole[name] = whole[name].astype("category")
    return whole


def warn_if_short(receipt: Receipt, limits: str) -> None:
    """Warn about every reason for which a read stopped before its end.

    Parameters
    ----------
    receipt : Receipt
        Of the read.
    limits : str
        Which limit it was, should it have been one.
    """
    short = [part for part in receipt.partitions if part.stop != StopReason.REACHED]
    for stop in dict.fromkeys(part.stop for part in short):
        first = next(part for part in short if part.stop == stop)
        kind = LimitWarning if stop in (StopReason.LIMIT, StopReason.TIMEOUT) else IncompleteWarning
        warnings.warn(f"{_why(stop, limits)}: {_where(first, short)}", kind, stacklevel=3)


def _why(stop: StopReason, limits: str) -> str:
    return {
        StopReason.LIMIT: f"the read stopped at {limits}, before the end of its range; None lifts that",
        StopReason.TIMEOUT: "the read stopped at its timeout, before the end of its range",
        StopReason.BLOCKED_BY_OPEN_TRANSACTION: "an open transaction hides the rest of the range",
    }.get(stop, f"the read stopped early ({stop})")


def _where(first: PartitionReceipt, short: list[PartitionReceipt]) -> str:
    more = f", and {len(short) - 1} more" if len(short) > 1 else ""
    return f"{first.topic}[{first.partition}] at offset {first.next_offset} of {first.end}{more}"


def ordered_by_time(table: pa.Table) -> pa.Table:
    """Return rows by timestamp; those without one come first, those of one time by partition and offset."""
    # A record without a time is rather old than new.
    times = pc.fill_null(table["timestamp"].cast(pa.int64()), _LEAST)
    keys = pa.table({"time": times, "partition": table["partition"], "offset": table["offset"]})
    return take(table, pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]))
