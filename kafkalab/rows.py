"""What an engine fetched, made into the rows that were asked for: placed, in time, decoded, filtered, projected."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.decode import formats
from kafkalab.decode.base import WHOLE
from kafkalab.errors import ArgumentError, DecodeError, did_you_mean
from kafkalab.fetch.base import HEADERS, TIMESTAMP, TIMESTAMP_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kafkalab.fetch.base import Fetched
    from kafkalab.plan import TimeWindow

OnError: TypeAlias = Literal["raise", "column", "skip"]

RECORD_COLUMNS = ("topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers")
_ERROR_COLUMNS = ("_error", "_raw")
_CATEGORY = pa.dictionary(pa.int8(), pa.string())
_TYPES = {
    "topic": _CATEGORY,
    "partition": pa.int32(),
    "offset": pa.int64(),
    "timestamp": TIMESTAMP,
    "timestamp_type": _CATEGORY,
    "key": pa.binary(),
    "value": pa.binary(),
    "headers": HEADERS,
    "_error": pa.string(),
    "_raw": pa.binary(),
}
_MISSING_FIELD = re.compile(r"No match for FieldRef\.Name\((.*?)\) in ")


@dataclass(frozen=True, slots=True)
class RowOptions:
    """How fetched records become rows.

    Attributes
    ----------
    key, value : {"bytes", "text", "json", "auto"}
        Their formats. JSON objects become a column for each field; one whose name a record's own column has, or that
        begins with ``key.`` or ``value.``, gets ``value.`` in front, and those of keys always get ``key.``.
    headers : bool
        Whether there is a ``headers`` column: lists of structs of ``key`` and ``value``.
    columns : sequence of str, optional
        The columns to keep, in this order.
    where : pyarrow.compute.Expression, optional
        Rows to keep.
    errors : {"raise", "column", "skip"}
        What becomes of a key or value that is not in its format: an error that names its offset; null, with the reason
        in ``_error`` and the bytes in ``_raw``; or no row, counted in the receipt.

    Raises
    ------
    ArgumentError
        A format, a column or a way to treat errors does not exist.
    """

    key: str = "bytes"
    value: str = "bytes"
    headers: bool = False
    columns: Sequence[str] | None = None
    where: pc.Expression | None = None
    errors: OnError = "raise"

    def __post_init__(self) -> None:
        formats.check(self.key, auto=True)
        formats.check(self.value, auto=True)
        if self.errors not in ("raise", "column", "skip"):
            message = f"errors is 'raise', 'column' or 'skip', not {self.errors!r}"
            raise ArgumentError(message)
        if self.where is not None and not isinstance(self.where, pc.Expression):
            message = f"where is a pyarrow expression such as kl.field('partition') == 3, not {self.where!r}"
            raise ArgumentError(message)
        if isinstance(self.columns, str):
            message = f"columns is a list of names: give [{self.columns!r}]"
            raise ArgumentError(message)
        if not self.has_fields:
            self.check_columns(())

    @property
    def has_fields(self) -> bool:
        """Whether decoding may give columns that are not known before."""
        return not {"json", "auto"}.isdisjoint((self.key, self.value))

    @property
    def wants_headers(self) -> bool:
        """Whether the engine has to build headers."""
        return self.headers or "headers" in (self.columns or ())

    @property
    def record_columns(self) -> list[str]:
        """The columns that there are whatever the records hold."""
        names = [name for name in RECORD_COLUMNS if name != "headers" or self.wants_headers]
        return [*names, *(_ERROR_COLUMNS if self.errors == "column" else ())]

    def check_columns(self, fields: Sequence[str]) -> None:
        """Refuse asked columns that are neither the record's own nor among the fields seen."""
        known = [*self.record_columns, *fields]
        for name in self.columns or ():
            if name not in known:
                message = f"there is no column {name!r}: {did_you_mean(name, known)}"
                raise ArgumentError(message)

    def needs(self, source: str) -> bool:
        """Whether anything that was asked for depends on the decoded key or value."""
        if self.columns is None or self.where is not None or self.errors == "skip":
            return True
        return source in self.columns or not set(self.columns) <= set(RECORD_COLUMNS)


@dataclass(slots=True)
class Names:
    """The fields that rows were seen to have, and those that a filter missed: of one scan, or of all parts of a read.

    A part may well lack a field that others have, so that names can only be refused when everything is read.
    """

    fields: dict[str, None] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    rows: int = 0

    def check(self, options: RowOptions) -> None:
        """Refuse, once everything is read, names that no row has had.

        Raises
        ------
        ArgumentError
            A column or a field of the filter does not exist.
        """
        if self.rows:
            options.check_columns(list(self.fields))
            known = [*options.record_columns, *self.fields]
            for name in sorted(self.missing - self.fields.keys()):
                message = f"no record has a field {name!r}: {did_you_mean(name, known)}"
                raise ArgumentError(message)


@dataclass(slots=True)
class RowShaper:
    """Shapes the steps of one scan; remembers the formats found on the way."""

    options: RowOptions
    windows: Mapping[int, TimeWindow] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    found: dict[str, str] = field(default_factory=dict)
    skipped: int = 0

    def shape(self, fetched: Fetched) -> pa.RecordBatch:
        """Return the rows of one step that pass, with all their columns.

        Raises
        ------
        DecodeError
            A key or value is not in its format, and errors are to be raised.
        """
        rows = in_window(_placed(fetched), self.windows.get(fetched.offset_range.partition))
        rows = self._decoded(rows)
        self.names.rows += rows.num_rows
        return rows if self.options.where is None else self._filtered(rows, self.options.where)

    def project(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return the asked columns of shaped rows; a field that none of them has is null."""
        names = self.options.columns
        if names is None:
            return rows
        for name in names:
            if name not in rows.schema.names:
                rows = self._with_nulls(rows, name)
        return rows.select(list(names))

    def empty(self) -> pa.RecordBatch:
        """Return no rows, with the columns that are known so far."""
        names = [name for name in self.options.record_columns if self._format(name) != "json"]
        types = {name: pa.string() if self._format(name) == "text" else _TYPES[name] for name in names}
        return self.project(pa.RecordBatch.from_pylist([], pa.schema(list(types.items()))))

    def notes(self, topic: str) -> Iterator[str]:
        """Yield what the receipt should say of the shaping."""
        if self.skipped:
            yield f"skipped {self.skipped} rows that are not in their format"
        if self.found:
            found = ", ".join(f"{source}={name!r}" for source, name in self.found.items())
            yield f"formats found: read({topic!r}, {found}) gives the same columns"

    def _format(self, source: str) -> str | None:
        asked = {"key": self.options.key, "value": self.options.value}.get(source)
        name = self.found.get(source, "text") if asked == "auto" else asked
        return "text" if name == "str" else name

    def _decoded(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        errors: dict[int, str] = {}
        raw: dict[int, bytes] = {}
        arrays, fields = [], []
        for column in rows.schema:
            if column.name not in ("key", "value") or not self.options.needs(column.name):
                arrays.append(rows[column.name])
                fields.append(column)
                continue
            decoded = self._decoder(column.name, rows[column.name])(rows[column.name])
            for row, error in decoded.errors.items():
                errors[row] = f"{column.name}: {error}"
                raw[row] = rows[column.name][row].as_py()
            for name, array in decoded.columns.items():
                arrays.append(array)
                fields.append(decoded.field_of(name, self._name(column.name, name)))
        shaped = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        return self._with_errors(shaped, rows, errors, raw)

    def _decoder(self, source: str, values: pa.Array) -> formats.Decoder:
        asked = self.options.key if source == "key" else self.options.value
        if asked == "auto" and source not in self.found and values.null_count < len(values):
            self.found[source] = formats.detect(values)
        return formats.decoder(self._format(source) or "bytes")

    def _name(self, source: str, name: str) -> str:
        """Return the column name of a decoded field: its own, or with its source in front where that is taken."""
        if name == WHOLE:
            return source
        if source == "key" or name in _TYPES or name.startswith(("key.", "value.")):
            name = f"{source}.{name}"
        self.names.fields[name] = None
        return name

    def _with_errors(
        self, shaped: pa.RecordBatch, rows: pa.RecordBatch, errors: dict[int, str], raw: dict[int, bytes]
    ) -> pa.RecordBatch:
        numbers = range(shaped.num_rows)
        if self.options.errors == "column":
            for name, values in (("_error", errors), ("_raw", raw)):
                column = pa.array([values.get(number) for number in numbers] if values else [None] * len(numbers))
                shaped = shaped.append_column(name, column.cast(_TYPES[name]))
        elif errors and self.options.errors == "skip":
            self.skipped += len(errors)
            return shaped.filter(pa.array([number not in errors for number in numbers]))
        elif errors:
            row = min(errors)
            message = f"{errors[row]}; errors='column' keeps such rows with their bytes, errors='skip' drops them"
            place = {name: rows[name][row].as_py() for name in ("topic", "partition", "offset")}
            raise DecodeError(message, **place)
        return shaped

    def _filtered(self, rows: pa.RecordBatch, where: pc.Expression) -> pa.RecordBatch:
        missing: set[str] = set()
        while True:
            try:
                kept = rows.filter(where)
            except pa.ArrowInvalid as error:
                match = _MISSING_FIELD.match(str(error))
                if match is None or match[1] in missing:
                    raise ArgumentError(f"where cannot be applied to the rows: {error}") from error
                self._refuse_unless_field(match[1], error)
                missing.add(match[1])
                rows = self._with_nulls(rows, match[1])
            except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                message = f"where does not fit the types of the columns: {error}"
                raise ArgumentError(message) from error
            else:
                return kept.drop_columns(sorted(missing))

    def _refuse_unless_field(self, name: str, error: Exception) -> None:
        if not self.options.has_fields:
            message = f"where names no column: {name!r}; {did_you_mean(name, self.options.record_columns)}"
            raise ArgumentError(message) from error
        self.names.missing.add(name)

    @staticmethod
    def _with_nulls(rows: pa.RecordBatch, name: str) -> pa.RecordBatch:
        return rows.append_column(name, pa.nulls(rows.num_rows, _TYPES.get(name, pa.null())))


def in_window(rows: pa.RecordBatch, window: TimeWindow | None) -> pa.RecordBatch:
    """Return the rows whose time lies in a window; a record without a time lies in none."""
    if not window:
        return rows
    times = rows["timestamp"].cast(pa.int64())
    keep = pa.array(np.ones(rows.num_rows, dtype=bool))
    if window.start_ms is not None:
        keep = pc.and_(keep, pc.greater_equal(times, window.start_ms))
    if window.end_ms is not None:
        keep = pc.and_(keep, pc.less(times, window.end_ms))
    return rows.filter(keep)


def _placed(fetched: Fetched) -> pa.RecordBatch:
    offset, timestamp, timestamp_type, *others = fetched.arrow_batch.columns
    names = fetched.arrow_batch.schema.names
    count = len(offset)
    columns = [
        pa.DictionaryArray.from_arrays(np.zeros(count, dtype=np.int8), [fetched.offset_range.topic]),
        pa.array(np.full(count, fetched.offset_range.partition, dtype=np.int32)),
        offset,
        timestamp,
        pa.DictionaryArray.from_arrays(timestamp_type, TIMESTAMP_TYPES),
        *others,
    ]
    return pa.RecordBatch.from_arrays(columns, ["topic", "partition", *names])
