"""Rows of a table in another order, also where their texts are more than Arrow counts in 31 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_BYTES = 2**31 - 1


def take(table: pa.Table, rows: pa.Array | NDArray[Any], *, most_bytes: int = _MOST_BYTES) -> pa.Table:
    """Return the rows of those numbers; a column of more bytes gets a type that counts in 63 bits.

    Examples
    --------
    >>> take(pa.table({"s": ["a", "b"]}), pa.array([1, 0]), most_bytes=1).column("s").type
    DataType(large_string)
    """
    for number, field in enumerate(table.schema):
        if table.column(number).nbytes > most_bytes:
            roomy = field.with_type(_roomy(field.type))
            table = table.set_column(number, roomy, table.column(number).cast(roomy.type))
    return table.take(rows)


def _roomy(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind):
        return pa.large_string()
    if pa.types.is_binary(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.large_list(kind.value_field.with_type(_roomy(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([part.with_type(_roomy(part.type)) for part in kind.fields])
    if pa.types.is_map(kind):
        return pa.map_(_roomy(kind.key_type), _roomy(kind.item_type))
    return kind
