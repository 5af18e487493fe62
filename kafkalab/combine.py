"""What a function returned for each part of a topic, put together: frames, columns, numbers, or a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from kafkalab.decode.joining import unify
from kafkalab.frame import joined, with_receipt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafkalab.model import OffsetRange, Receipt


def combine(values: Sequence[Any], parts: Sequence[OffsetRange], receipt: Receipt, *, in_pieces: bool) -> Any:
    """Return values as one.

    Parameters
    ----------
    values : sequence
        What the function returned.
    parts : sequence of OffsetRange
        For which part each.
    receipt : Receipt
        What was read for all of them.
    in_pieces : bool
        Whether there may be several parts of a partition: then a row's index tells its offsets, too.

    Returns
    -------
    pandas.DataFrame, pyarrow.Table or list
        Frames and tables one after the other; of Series and scalars, a row a part; anything else in a list. All but a
        list carry the receipt.
    """
    if not values:
        return []
    if all(isinstance(value, pd.DataFrame) for value in values):
        return with_receipt(joined(values), receipt)
    if all(isinstance(value, pa.Table) for value in values):
        plain = [table.replace_schema_metadata() for table in values]
        return with_receipt(unify(plain).unify_dictionaries(), receipt)
    rows = [_row(value) for value in values]
    if all(row is not None for row in rows):
        return with_receipt(pd.DataFrame(rows, index=_index(parts, in_pieces=in_pieces)), receipt)
    return list(values)


def _row(value: object) -> dict[Any, Any] | None:
    if isinstance(value, pd.Series):
        return value.to_dict()
    if isinstance(value, pa.Scalar):
        return {"result": value.as_py()}
    return {"result": value} if pd.api.types.is_scalar(value) else None


def _index(parts: Sequence[OffsetRange], *, in_pieces: bool) -> pd.Index:
    if not in_pieces:
        return pd.Index([part.partition for part in parts], name="partition")
    places = [(part.partition, part.start, part.end) for part in parts]
    return pd.MultiIndex.from_tuples(places, names=["partition", "start", "end"])
