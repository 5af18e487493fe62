"""The file formats: what rows become in each, how they are written, and how they are read again."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from kafkalab.decode import text
from kafkalab.decode.base import JSON_TEXT
from kafkalab.decode.joining import as_text
from kafkalab.errors import ArgumentError, DecodeError, did_you_mean
from kafkalab.fetch.base import TIMESTAMP_TYPES
from kafkalab.temporal import is_outside, python_rows, python_values, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from io import RawIOBase

_Sink: TypeAlias = "BinaryIO | RawIOBase"
Format: TypeAlias = Literal["parquet", "csv", "jsonl", "feather"]

_RECEIPT = b"kafkalab"
_FORMULA = r"^[=+\-@\t\r\n\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"  # the last four are full-width signs
_LARGEST_BLOCK = 2**31 - 1


class Writer(Protocol):
    """Writes tables of one schema into an open file."""

    def write_table(self, table: pa.Table) -> None:
        """Write rows."""
        ...

    def close(self) -> None:
        """Write what ends a file; the file stays open."""
        ...


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format: how rows are prepared for it, written and read.

    Attributes
    ----------
    prepare : callable
        Takes rows, and gives them with types that the format has.
    write : callable
        Takes an open file and the schema of prepared rows, and gives what writes them.
    read : callable
        Takes an open file and the schema of the rows before they were prepared, and yields the rows, a part at a time
        where the format allows it.
    """

    prepare: Callable[[pa.Table], pa.Table]
    write: Callable[[_Sink, pa.Schema], Writer]
    read: Callable[[pa.NativeFile, pa.Schema], Iterator[pa.Table]]


def file_format(name: str, *, escape_formulas: bool = False) -> FileFormat:
    """Return the format of a name.

    Raises
    ------
    ArgumentError
        There is none, or it has no formulas.
    """
    if name not in _FORMATS:
        message = f"{name!r} is no file format: {did_you_mean(name, _FORMATS)}"
        raise ArgumentError(message)
    if not escape_formulas:
        return _FORMATS[name]
    if name != "csv":
        message = f"escape_formulas is for programs that open CSV, not for {name!r}: leave it out"
        raise ArgumentError(message)
    return FileFormat(lambda table: _escaped(_flat(table)), _Csv, _read_csv)


@contextmanager
def whole(writer: Writer, receipt: Callable[[], str]) -> Iterator[Writer]:
    """Write what ends a file, and its receipt, when all rows are written; nothing more when that has failed."""
    parquet: Any = writer if isinstance(writer, pyarrow.parquet.ParquetWriter) else None
    try:
        yield writer
        if parquet is not None:
            parquet.add_key_value_metadata({_RECEIPT: receipt()})
        writer.close()
    except BaseException:
        if parquet is not None:
            parquet.is_open = False  # or it would write the file's end when it is collected, and the file is closed
        raise


# What formats of text cannot hold


def _readable(table: pa.Table) -> pa.Table:
    """Return the rows with bytes as text, for formats of text."""
    for number, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(number, column.name, table[column.name].cast(pa.string()))
        elif column.name == "headers":
            headers = _readable_headers(table[column.name])
            table = table.set_column(number, column.name, headers)
        elif pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
            table = table.set_column(number, column.name, _text(table, column.name))
        elif pa.types.is_duration(column.type):
            table = table.set_column(number, column.name, table[column.name].cast(pa.int64()))
    return table


def _text(table: pa.Table, name: str) -> pa.Array:
    decoded = text.decode(table[name].cast(pa.binary()).combine_chunks())
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
            cells = [None if value is None else as_json(value) for value in python_values(table[column.name])]
            table = table.set_column(number, column.name, pa.array(cells, pa.string()))
        elif is_outside(table[column.name]) is not None:
            table = table.set_column(number, column.name, texts(table[column.name]))
    return table


def _escaped(table: pa.Table) -> pa.Table:
    """Return the rows with a quote before texts that spreadsheets would take for formulas, names of columns too."""
    for number, column in enumerate(table.schema):
        if _is_text(column.type):
            cells = table[column.name].cast(pa.large_string())
            quote, nothing = (pa.scalar(text, cells.type) for text in ("'", ""))
            quoted = pc.binary_join_element_wise(quote, cells, nothing)
            chosen = pc.if_else(pc.match_substring_regex(cells, _FORMULA), quoted, cells)
            table = table.set_column(number, column.name, chosen)
    names = pa.array(table.column_names, pa.string())
    starts = pc.match_substring_regex(names, _FORMULA).to_pylist()
    return table.rename_columns(
        [f"'{name}" if bad else name for name, bad in zip(table.column_names, starts, strict=True)]
    )


def _is_text(kind: pa.DataType) -> Any:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def as_json(value: object, *, ensure_ascii: bool = False) -> str:
    """Return JSON, which has no NaN and no infinity: these are null; times and bytes are text."""
    try:
        return json.dumps(value, ensure_ascii=ensure_ascii, allow_nan=False, default=_as_text)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=ensure_ascii, allow_nan=False, default=_as_text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)


# Writing


class _JsonLines:
    """One JSON object a line."""

    def __init__(self, file: _Sink, schema: pa.Schema) -> None:
        self._file = file
        self._texts = _json_texts(schema)

    def write_table(self, table: pa.Table) -> None:
        for rows in table.to_batches(max_chunksize=10_000):
            self._file.write("".join(f"{as_json(self._as_values(row))}\n" for row in python_rows(rows)).encode())

    def _as_values(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row with the values that JSON texts stand for."""
        return row | {name: json.loads(row[name]) for name in self._texts if row[name] is not None}

    def close(self) -> None:
        """Write nothing: a line ends itself."""


def _parquet(file: _Sink, schema: pa.Schema) -> Writer:
    writer: Writer = pyarrow.parquet.ParquetWriter(file, schema, compression="zstd")
    return writer


def _feather(file: _Sink, schema: pa.Schema) -> Writer:
    options = pa.ipc.IpcWriteOptions(compression="zstd", unify_dictionaries=True)
    writer: Writer = pa.ipc.new_file(file, schema, options=options)
    return writer


class _Csv:
    """A line of names, and one a row."""

    def __init__(self, file: _Sink, schema: pa.Schema) -> None:
        self._file = file
        self._schema = schema
        self._writer = pyarrow.csv.CSVWriter(file, schema)

    def write_table(self, table: pa.Table) -> None:
        if table.schema.equals(self._schema):
            self._writer.write_table(table)
        else:
            # Some of its times are text, since they can be nothing else.
            pyarrow.csv.write_csv(table, self._file, pyarrow.csv.WriteOptions(include_header=False))

    def close(self) -> None:
        self._writer.close()


# Reading


def _read_parquet(file: pa.NativeFile, schema: pa.Schema) -> Iterator[pa.Table]:
    parquet = pyarrow.parquet.ParquetFile(file)
    for number in range(parquet.num_row_groups):
        table = parquet.read_row_group(number)
        # A cast looks at what it is given.
        table.validate(full=True)
        yield table.cast(schema)


def _read_feather(file: pa.NativeFile, schema: pa.Schema) -> Iterator[pa.Table]:
    reader = pa.ipc.open_file(file)
    if reader.schema != schema:
        message = "its columns are not those that the manifest lists"
        raise pa.ArrowInvalid(message)
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        batch.validate(full=True)
        yield pa.Table.from_batches([batch])


def _read_csv(file: pa.NativeFile, schema: pa.Schema) -> Iterator[pa.Table]:
    written = _flat(schema.empty_table()).schema
    table = pyarrow.csv.read_csv(
        file,
        # A row has to fit in a block.
        pyarrow.csv.ReadOptions(
            column_names=written.names,
            skip_rows_after_names=1,
            block_size=min(max(file.size(), 1 << 20), _LARGEST_BLOCK),
        ),
        # An empty line is a row of one null.
        pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(written.names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    yield _as_before({column.name: _cast(table[column.name], column.type) for column in written}, schema)


def _read_jsonl(file: pa.NativeFile, schema: pa.Schema) -> Iterator[pa.Table]:
    rows = [json.loads(line) for line in file.read().split(b"\n") if line]
    written, texts = _readable(schema.empty_table()).schema, _json_texts(schema)
    columns = {
        column.name: (as_text if column.name in texts else partial(_typed, kind=column.type))(
            [row.get(column.name) for row in rows]
        )
        for column in written
    }
    yield _as_before(columns, schema)


def _json_texts(schema: pa.Schema) -> list[str]:
    """Return the columns of texts that stand for values of several types."""
    return [column.name for column in schema if column.metadata == JSON_TEXT]


def _typed(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return values of JSON as the type that they were before; as what they look like, where JSON lost it."""
    for read in (partial(_restored, kind=kind), pa.array):
        try:
            return read(values)
        except (pa.ArrowException, TypeError, ValueError):
            continue
    return as_text(values)


def _restored(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(pa.timestamp("us", kind.tz)).cast(kind)
    if pa.types.is_time(kind):
        return _times(values, kind)
    if pa.types.is_map(kind):
        return pa.array([None if value is None else list(map(tuple, value)) for value in values], kind)
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)


def _times(values: Iterable[str | None], kind: pa.DataType) -> pa.Array:
    return pa.array([None if value is None else time.fromisoformat(value) for value in values], kind)


def _cast(cells: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(cells))
    try:
        return _times(cells.to_pylist(), kind) if pa.types.is_time(kind) else cells.cast(kind).combine_chunks()
    except ValueError:
        if not pa.types.is_temporal(kind):
            raise
        return cells.combine_chunks()  # there are such as no column of times can be made of


def _as_before(columns: Mapping[str, pa.Array], schema: pa.Schema) -> pa.Table:
    """Return columns of text with the categories that they were made of, and marked as JSON where they are."""
    arrays, kinds = [], []
    for column in schema:
        array, metadata = columns[column.name], column.metadata
        if column.name == "timestamp_type":
            known = pa.array(TIMESTAMP_TYPES)
            array = pa.DictionaryArray.from_arrays(pc.index_in(array, known).cast(pa.int8()), known)
        elif pa.types.is_duration(column.type):
            array = array.cast(column.type)
        elif pa.types.is_dictionary(column.type):
            array = array.dictionary_encode().cast(column.type)
        elif pa.types.is_nested(column.type) and not pa.types.is_nested(array.type):
            metadata = JSON_TEXT
        arrays.append(array)
        kinds.append(pa.field(column.name, array.type, metadata=metadata))
    return pa.Table.from_arrays(arrays, schema=pa.schema(kinds))


def _as_it_is(table: pa.Table) -> pa.Table:
    return table


_FORMATS = {
    "parquet": FileFormat(_as_it_is, _parquet, _read_parquet),
    "feather": FileFormat(_as_it_is, _feather, _read_feather),
    "csv": FileFormat(_flat, _Csv, _read_csv),
    "jsonl": FileFormat(_readable, _JsonLines, _read_jsonl),
}
