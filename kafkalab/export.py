"""A topic written to files: one for each offset range, each whole or not there, in bounded memory."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from kafkalab.decode import text
from kafkalab.decode.joining import storable
from kafkalab.errors import ArgumentError, DecodeError, ExportError, did_you_mean
from kafkalab.frame import printable
from kafkalab.model import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kafkalab.model import OffsetRange
    from kafkalab.scan import Scan

Format: TypeAlias = Literal["parquet", "csv", "jsonl", "feather"]

_GROUP_ROWS = 128 * 1024
_GROUP_BYTES = 64 << 20


class _Writer(Protocol):
    """Writes tables of one schema into an open file."""

    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class _JsonLines:
    """One JSON object a line."""

    def __init__(self, file: BinaryIO, _: pa.Schema) -> None:
        self._file = file

    def write_table(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            line = json.dumps(row, ensure_ascii=False, default=_as_json)
            self._file.write(line.encode() + b"\n")

    def close(self) -> None:
        """Write nothing: a line ends itself."""


def _as_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _readable(table: pa.Table) -> pa.Table:
    """Return the rows with bytes as text and times that can be written, for formats of text."""
    table = printable(table)
    for number, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(number, column.name, table[column.name].cast(pa.string()))
        elif column.name == "headers":
            headers = _readable_headers(table[column.name])
            table = table.set_column(number, column.name, headers)
        elif pa.types.is_binary(column.type):
            table = table.set_column(number, column.name, _text(table, column.name))
    return table


def _text(table: pa.Table, name: str) -> pa.Array:
    decoded = text.decode(table[name].combine_chunks())
    for row, error in decoded.errors.items():
        place = {
            part: table[part][row].as_py() for part in ("topic", "partition", "offset") if part in table.schema.names
        }
        message = (
            f"{name}: {error}, and this format has no bytes: export as 'parquet' or 'feather', or without {name!r}"
        )
        raise DecodeError(message, **place)
    ((_, _, texts),) = decoded
    return texts


def _readable_headers(headers: pa.ChunkedArray) -> pa.Array:
    kind = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
    made = [
        [(h["key"], None if h["value"] is None else h["value"].decode(errors="backslashreplace")) for h in row]
        for row in headers.to_pylist()
    ]
    return pa.array(made, kind)


def _flat(table: pa.Table) -> pa.Table:
    """Return the rows with nested values as JSON texts, for a format that has cells only."""
    table = _readable(table)
    for number, column in enumerate(table.schema):
        if pa.types.is_nested(column.type):
            cells = [
                None if value is None else json.dumps(value, ensure_ascii=False, default=_as_json)
                for value in table[column.name].to_pylist()
            ]
            table = table.set_column(number, column.name, pa.array(cells, pa.string()))
    return table


def _parquet(file: BinaryIO, schema: pa.Schema) -> _Writer:
    writer: _Writer = pyarrow.parquet.ParquetWriter(file, schema, compression="zstd")
    return writer


def _feather(file: BinaryIO, schema: pa.Schema) -> _Writer:
    options = pa.ipc.IpcWriteOptions(compression="zstd", unify_dictionaries=True)
    writer: _Writer = pa.ipc.new_file(file, schema, options=options)
    return writer


_FORMATS: dict[str, tuple[Callable[[BinaryIO, pa.Schema], _Writer], Callable[[pa.Table], pa.Table]]] = {
    "parquet": (_parquet, storable),
    "feather": (_feather, storable),
    "csv": (pyarrow.csv.CSVWriter, _flat),
    "jsonl": (_JsonLines, _readable),
}


def check_format(name: str) -> None:
    """Refuse a name that is no file format's."""
    if name not in _FORMATS:
        message = f"{name!r} is no file format: {did_you_mean(name, _FORMATS)}"
        raise ArgumentError(message)


def file_name(offset_range: OffsetRange, file_format: str) -> str:
    """Return the name of a range's file.

    Examples
    --------
    >>> from kafkalab.model import OffsetRange
    >>> file_name(OffsetRange("orders", 3, 100, 250), "parquet")
    'orders+3+100-250.parquet'
    """
    part = offset_range
    return f"{part.topic}+{part.partition}+{part.start}-{part.end}.{file_format}"


def export(scans: Iterator[Scan], folder: Path, file_format: str) -> Iterator[dict[str, Any]]:
    """Write each scan's one range to a file of its own; yield what was written.

    A file is written under another name, synced and then renamed, so one that has its name is whole.

    Raises
    ------
    ExportError
        The folder or a file cannot be written, or a range not be read to its end.
    """
    check_format(file_format)
    with _translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for scan in scans:
        (offset_range,) = scan.plan.ranges
        path = folder / file_name(offset_range, file_format)
        with _translated(path), _whole(path) as file:
            rows = _write(scan, file, file_format)
            _check_whole(scan, path)
        yield {
            "path": str(path),
            "partition": offset_range.partition,
            "start": offset_range.start,
            "end": offset_range.end,
            "rows": rows,
            "bytes": path.stat().st_size,
        }


def _check_whole(scan: Scan, path: Path) -> None:
    for part in scan.receipt.partitions if scan.receipt else ():
        if part.stop not in (StopReason.REACHED, StopReason.RETENTION_PASSED):
            message = f"{path.name} is not written: the read stopped before {part.end} ({part.stop}); others are whole"
            raise ExportError(message, topic=part.topic, partition=part.partition, offset=part.next_offset)


def _write(scan: Scan, file: BinaryIO, file_format: str) -> int:
    open_writer, convert = _FORMATS[file_format]
    writer: _Writer | None = None
    rows = 0
    for table in _groups(scan.reader()):
        converted = convert(table)
        if writer is None:
            writer = open_writer(file, converted.schema)
        writer.write_table(converted)
        rows += table.num_rows
    if writer is not None:
        if isinstance(writer, pyarrow.parquet.ParquetWriter) and scan.receipt is not None:
            writer.add_key_value_metadata({"kafkalab": scan.receipt.to_json()})
        writer.close()
    return rows


def _groups(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Yield tables of a good size to write at once; an empty one where there is nothing."""
    held: list[pa.RecordBatch] = []
    written = False
    for rows in reader:
        held.append(rows)
        if sum(b.num_rows for b in held) >= _GROUP_ROWS or sum(b.nbytes for b in held) >= _GROUP_BYTES:
            yield pa.Table.from_batches(held).unify_dictionaries()
            held, written = [], True
    if held or not written:
        yield pa.Table.from_batches(held, reader.schema).unify_dictionaries()


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name only once everything is in it and on the disk."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except ExportError:
        raise
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        message = f"cannot write {path}: {error.strerror or error}; files already there are whole"
        raise ExportError(message) from error


def as_frame(written: list[dict[str, Any]]) -> pd.DataFrame:
    """Return what was written as a frame, a row a file."""
    return pd.DataFrame(written, columns=["path", "partition", "start", "end", "rows", "bytes"])
