"""A topic as a Dask DataFrame: a partition for each offset range, read by whichever worker needs it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from kafkalab.errors import DecodeError, PositionError, UnsupportedError
from kafkalab.fetch.base import TIMESTAMP_TYPES
from kafkalab.frame import to_frame
from kafkalab.model import Receipt, StopReason
from kafkalab.parts import PartReader
from kafkalab.plan import Pieces
from kafkalab.scan import conform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafkalab.frame import DtypeBackend
    from kafkalab.model import OffsetRange
    from kafkalab.scan import Scan

_HINT = "a Dask frame has one schema, here that of a sample: schema= gives another, columns= leaves columns out"


@dataclass(frozen=True, slots=True, repr=False)
class PartitionReader:
    """Makes a partition of a Dask frame of an offset range; Dask tells it which columns it needs.

    Neither its repr nor its token has anything of the connection but the addresses of brokers.

    Parameters
    ----------
    reader : PartReader
        How to read.
    schema : pyarrow.Schema
        The columns of every partition.
    dtype_backend : {"pyarrow"}, optional
        As in pandas' readers. By default types are those of `Lab.read`, but for whole numbers and truth values of
        fields: these are pandas' nullable ones, as the type must not depend on whether a partition has nulls.
    """

    reader: PartReader
    schema: pa.Schema
    dtype_backend: DtypeBackend | None
    meta: pd.DataFrame = field(init=False, compare=False)

    def __post_init__(self) -> None:
        empty = self._framed(self.schema.empty_table(), Receipt(()))
        empty.attrs.clear()
        if self.dtype_backend is None:
            known = {"topic": [self.reader.scan.plan.topic], "timestamp_type": list(TIMESTAMP_TYPES)}
            kinds = {name: _plain(name, empty[name].dtype) for name in empty.columns if name not in known}
            categories = {name: pd.CategoricalDtype(known[name]) for name in known if name in empty.columns}
            empty = empty.astype({**kinds, **categories})
        object.__setattr__(self, "meta", empty)

    def __call__(self, part: OffsetRange, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows of an offset range.

        Raises
        ------
        DecodeError
            They do not fit the schema.
        PositionError
            A transaction that is not decided hides a part of them.
        """
        found = self.reader.read(part, columns=columns)
        for read in found.receipt.partitions:
            if read.stop not in (StopReason.REACHED, StopReason.RETENTION_PASSED):
                message = f"the read stopped before {read.end} ({read.stop}): end before it, or read again later"
                raise PositionError(message, topic=read.topic, partition=read.partition, offset=read.next_offset)
        names = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in names])
        try:
            frame = self._framed(conform(found.table, schema, _HINT), found.receipt)
        except DecodeError as error:
            offset = part.start if error.offset is None else error.offset
            raise DecodeError(error.args[0], topic=part.topic, partition=part.partition, offset=offset) from error
        kinds = {name: kind for name in names if frame[name].dtype != (kind := self.meta[name].dtype)}
        return frame.astype(kinds) if kinds else frame

    def _framed(self, table: pa.Table, receipt: Receipt) -> pd.DataFrame:
        return to_frame(table, receipt, self.dtype_backend or "numpy_nullable")

    def __dask_tokenize__(self) -> tuple[object, ...]:
        scan, options = self.reader.scan, self.reader.scan.row_options
        where = None if options.where is None else pickle.dumps(options.where)
        rows = (options.key, options.value, options.headers, options.columns, options.errors, where)
        brokers = getattr(getattr(scan.metadata, "config", None), "bootstrap_servers", repr(scan.metadata))
        windows = [(p, window.start_ms, window.end_ms) for p, window in sorted(scan.plan.windows.items())]
        level = str(scan.fetch_options.isolation_level)
        return (brokers, scan.info.topic_id, windows, level, rows, str(self.schema), self.dtype_backend)

    def __repr__(self) -> str:
        return f"<PartitionReader {self.reader.scan.plan.topic}>"


def _plain(name: str, kind: Any) -> Any:
    """Return numpy's type where no null can come, or NaN stands for it: Dask's quantiles know no other numbers."""
    numbers = name in ("partition", "offset") or isinstance(kind, (pd.Float32Dtype, pd.Float64Dtype))
    return kind.numpy_dtype if numbers else kind


def to_dask(scan: Scan, schema: pa.Schema, chunk_records: int, dtype_backend: DtypeBackend | None) -> Any:
    """Return a scan as a Dask DataFrame.

    Parameters
    ----------
    scan : Scan
        What to read, and how.
    schema : pyarrow.Schema
        The columns of every partition.
    chunk_records : int
        Most offsets in a partition.
    dtype_backend : {"pyarrow"}, optional
        As in pandas' readers.

    Raises
    ------
    UnsupportedError
        Dask is not installed.
    """
    try:
        import dask.dataframe as dd
    except ImportError as error:
        message = 'to_dask needs the package dask, which is not installed: pip install "kafkalab[dask]"'
        raise UnsupportedError(message) from error
    reader = PartitionReader(PartReader(scan), schema, dtype_backend)
    pieces = Pieces(scan.plan.ranges, chunk_records)
    if not pieces:
        return dd.from_pandas(reader.meta, npartitions=1)
    return dd.from_map(reader, pieces, meta=reader.meta, label=f"kafkalab-{scan.plan.topic}")
