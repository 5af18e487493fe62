"""What an engine fetched, made into the rows that were asked for: placed, in time, decoded, filtered, projected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.decode import formats
from kafkalab.decode.base import JSON_TEXT
from kafkalab.errors import ArgumentError, DecodeError, did_you_mean
from kafkalab.fetch.base import HEADERS, TIMESTAMP, TIMESTAMP_TYPES
from kafkalab.filtering import Filter
from kafkalab.matching import Findings
from kafkalab.typed_columns import is_own, own_name, without_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kafkalab.decode.base import Decoded, Decoder, Format
    from kafkalab.decode.registry import Registry
    from kafkalab.fetch.base import Fetched
    from kafkalab.model import OffsetRange
    from kafkalab.plan import TimeWindow

OnError: TypeAlias = Literal["raise", "column", "skip"]
FormatLike: TypeAlias = "str | Format | Callable[[pa.Array], pa.Array]"

RECORD_COLUMNS = ("topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers")
ERROR_COLUMNS = ("_error", "_raw", "_raw_key")
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
    "_raw_key": pa.binary(),
}
_TIMESTAMP_TYPES = pa.array(TIMESTAMP_TYPES)
_SOURCES = ("key", "value")
_TOGETHER_BYTES = 64 << 20
_MOST_PLACES = 16  # of some 100 KB each
_MOST_UNASKED = 1000


@dataclass(frozen=True, slots=True)
class RowOptions:
    """How fetched records become rows.

    Attributes
    ----------
    key, value : str, Format or callable
        Their formats: ``"bytes"``, ``"text"``, ``"json"``, ``"avro"``, ``"int32"`` and the like, ``"auto"``, a format
        such as `Json`, or a function of a binary array to an array as long. Objects become a column for each field; one
        whose name a record's own column has, or that begins with ``key.`` or ``value.``, gets ``value.`` in front, and
        those of keys always get ``key.``.
    headers : bool
        Whether there is a ``headers`` column: lists of structs of ``key`` and ``value``.
    columns : sequence of str, optional
        The columns to keep, in this order.
    where : pyarrow.compute.Expression, optional
        Rows to keep.
    errors : {"raise", "column", "skip"}
        What becomes of a key or value that is not in its format: an error that names its offset; null, with the reason
        in ``_error`` and the bytes in ``_raw`` (those of a key in ``_raw_key``); or no row, counted in the receipt.
    registry : Registry, optional
        Where formats that were not given one find schemas.
    keeps_types : bool
        Whether rows keep, for conditions to come, the values that have become JSON text since schemas disagree: in
        columns that `typed_columns.without_own` takes away.

    Raises
    ------
    ArgumentError
        A format, a column or a way to treat errors does not exist.
    """

    key: FormatLike = "bytes"
    value: FormatLike = "bytes"
    headers: bool = False
    columns: Sequence[str] | None = None
    where: pc.Expression | None = None
    errors: OnError = "raise"
    registry: Registry | None = None
    keeps_types: bool = False

    def __post_init__(self) -> None:
        formats.check(self.key, auto=True)
        formats.check(self.value, auto=True)
        if self.errors not in ("raise", "column", "skip"):
            message = f"errors is 'raise', 'column' or 'skip', not {self.errors!r}"
            raise ArgumentError(message)
        if self.where is not None and not isinstance(self.where, pc.Expression):
            message = f"where is a pyarrow expression such as kl.field('partition') == 3, not {self.where!r}"
            raise ArgumentError(message)
        for source in _SOURCES:
            self.format(source)
        if isinstance(self.columns, str):
            message = f"columns is a list of names: give [{self.columns!r}]"
            raise ArgumentError(message)
        if not self.has_fields:
            fields = [field_name(source, name) for source in _SOURCES for name in self.format(source).known or ()]
            self.check_columns(fields)

    def format(self, source: str) -> Format:
        """Return the format of a source; of one that is found by looking, that of text."""
        asked = getattr(self, source)
        return formats.get("text" if self.is_auto(source) else asked, self.registry)

    @property
    def has_fields(self) -> bool:
        """Whether decoding may give columns that are not known before."""
        return any(self.is_auto(source) or self.format(source).known is None for source in _SOURCES)

    def is_auto(self, source: str) -> bool:
        """Whether a format is found by looking."""
        asked = getattr(self, source)
        return isinstance(asked, str) and asked == formats.AUTO

    @property
    def wants_headers(self) -> bool:
        """Whether the engine has to build headers."""
        return self.headers or "headers" in (self.columns or ())

    @property
    def record_columns(self) -> list[str]:
        """The columns that there are whatever the records hold."""
        names = [name for name in RECORD_COLUMNS if name != "headers" or self.wants_headers]
        return [*names, *self.error_columns]

    @property
    def error_columns(self) -> tuple[str, ...]:
        """The columns for what is not in its format; bytes, as which keys are read by default, always are."""
        if self.errors != "column":
            return ()
        return ERROR_COLUMNS[:2] if self.key == "bytes" else ERROR_COLUMNS

    def check_columns(self, fields: Sequence[str]) -> None:
        """Refuse asked columns that are neither the record's own nor among the fields seen."""
        known = [*self.record_columns, *fields]
        for name in self.columns or ():
            if name not in known:
                message = f"there is no column {name!r}: {did_you_mean(name, known)}"
                raise ArgumentError(message)

    def wanted(self, source: str, used: frozenset[str] | None) -> set[str] | None:
        """Return the fields of a source that are asked for, given the names that the filter uses; None for all."""
        if self.columns is None or used is None:
            return None
        asked = {*self.columns, *used}
        prefixed = {name.removeprefix(f"{source}.") for name in asked if name.startswith(f"{source}.")}
        return prefixed if source == "key" else prefixed | asked

    def needs(self, source: str, used: frozenset[str] | None) -> bool:
        """Whether anything that was asked for depends on the decoded key or value."""
        if self.columns is None or used is None or self.errors == "skip":
            return True
        asked = {*self.columns, *used}
        return source in asked or not asked <= set(RECORD_COLUMNS)


def field_name(source: str, name: str | None) -> str:
    """Return the column name of a decoded field: its own, or with its source in front where that is taken."""
    if name is None:
        return source
    taken = source == "key" or name in _TYPES or name.startswith(("key.", "value."))
    return f"{source}.{name}" if taken else name


@dataclass(slots=True)
class Names:
    """The fields that rows were seen to have, and what a filter has met: of one scan, or of all parts of a read.

    A part may well lack a field that others have, so that names can only be refused when everything is read.
    """

    fields: dict[str, None] = field(default_factory=dict)
    where: Findings = field(default_factory=Findings)
    rows: int = 0

    def see(self, name: str, *, asked: bool) -> None:
        """Remember a field; of those that nobody asked for only so many, which are there to be proposed."""
        if asked or len(self.fields) < _MOST_UNASKED:
            self.fields[name] = None

    def add(self, other: Names) -> None:
        """Count what another part of the read has seen."""
        self.fields |= other.fields
        self.where.add(other.where)
        self.rows += other.rows

    def check(self, options: RowOptions) -> None:
        """Refuse, once everything is read, names that no row has had.

        Raises
        ------
        ArgumentError
            A column or a field of the filter does not exist, or the filter fits no row.
        """
        if self.rows:
            options.check_columns(list(self.fields))
            known = [*options.record_columns, *self.fields]
            for name in sorted(self.where.missing - self.where.found - self.fields.keys()):
                message = f"no record has a field {name!r}: {did_you_mean(name, known)}"
                raise ArgumentError(message)
            if self.where.problem is not None:
                raise ArgumentError(self.where.problem)


class RowShaper:
    """Shapes the steps of one scan; remembers the formats and types found on the way."""

    def __init__(
        self, options: RowOptions, windows: Mapping[int, TimeWindow] | None = None, names: Names | None = None
    ) -> None:
        self.options = options
        self.names = Names() if names is None else names
        self.found: dict[str, str] = {}
        self.skipped = 0
        self._windows = windows or {}
        self._asked = frozenset(options.columns or ())
        self._filter = None if options.where is None else Filter.of(options.where)
        self._decoders: dict[str, Decoder] = {}
        self._places = _Places()

    def shape(self, fetched: Fetched) -> pa.RecordBatch:
        """Return the rows of one step that pass, with all their columns.

        Raises
        ------
        DecodeError
            A key or value is not in its format, and errors are to be raised.
        """
        return self._shaped(self._timely(fetched))

    def shape_all(self, steps: Iterable[Fetched]) -> list[pa.RecordBatch]:
        """Return the rows of many steps, of all partitions together as far as one array may hold them.

        Raises
        ------
        DecodeError
            As above.
        """
        return [self._shaped(pa.concat_batches(heap)) for heap in _heaps(map(self._timely, steps))]

    def _timely(self, fetched: Fetched) -> pa.RecordBatch:
        return in_window(self._placed(fetched), self._windows.get(fetched.offset_range.partition))

    def _shaped(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        count = rows.num_rows
        for name in self.options.error_columns:
            rows = self._with_nulls(rows, name)
        for place, source in enumerate(_SOURCES):
            if self.options.needs(source, self._used):
                if self._filter is not None:
                    rows = self._filter.possible(rows, [*_SOURCES[place:], *ERROR_COLUMNS], self.names.where)
                rows = self._decoded(rows, source)
        self.names.rows += count
        return rows if self._filter is None else self._filtered(rows, self._filter)

    def _placed(self, fetched: Fetched) -> pa.RecordBatch:
        """Return all columns of records as they are stored."""
        offset, timestamp, timestamp_type, *others = fetched.arrow_batch.columns
        types = pa.DictionaryArray.from_arrays(timestamp_type, _TIMESTAMP_TYPES, safe=False)
        columns = [*self._places.of(fetched.offset_range, len(offset)), offset, timestamp, types, *others]
        return pa.RecordBatch.from_arrays(columns, ["topic", "partition", *fetched.arrow_batch.schema.names])

    @property
    def _used(self) -> frozenset[str] | None:
        """The names that the filter uses, if they are known."""
        return frozenset() if self._filter is None else self._filter.names

    def project(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return the asked columns of shaped rows; a field that none of them has is null."""
        names = self.options.columns
        if names is None:
            return rows
        for name in names:
            if name not in rows.schema.names:
                rows = self._with_nulls(rows, name)
        return rows.select([*names, *filter(is_own, rows.schema.names)])

    def empty(self) -> pa.RecordBatch:
        """Return no rows, with the columns that are known so far."""
        fields: list[tuple[str, pa.DataType]] = []
        for name in self.options.record_columns:
            if name in _SOURCES:
                known = self._format(name).known or {}
                fields += [(field_name(name, part), kind) for part, kind in known.items()]
            else:
                fields.append((name, _TYPES[name]))
        return self.project(pa.RecordBatch.from_pylist([], pa.schema(fields)))

    def notes(self, topic: str) -> Iterator[str]:
        """Yield what the receipt should say of the shaping."""
        if self.skipped:
            yield f"skipped {self.skipped} rows that are not in their format"
        if self.found:
            found = ", ".join(f"{source}={name!r}" for source, name in self.found.items())
            yield f"formats found: read({topic!r}, {found}) gives the same columns"

    def _format(self, source: str) -> Format:
        if source in self.found:
            return formats.get(self.found[source], self.options.registry)
        return self.options.format(source)

    def _decoder(self, source: str, values: pa.Array) -> Decoder:
        if self.options.is_auto(source) and source not in self.found:
            if values.null_count == len(values):
                return self._format(source).decoder()
            self.found[source] = formats.detect(values, self.options.registry)
        if source not in self._decoders:
            self._decoders[source] = self._format(source).decoder(self.options.wanted(source, self._used))
        return self._decoders[source]

    def _decoded(self, rows: pa.RecordBatch, source: str) -> pa.RecordBatch:
        decoded = self._decoder(source, rows[source])(rows[source])
        for name in decoded.left_out:
            self.names.see(field_name(source, name), asked=False)
        arrays, fields = [], []
        for column in rows.schema:
            if column.name == source:
                for part, made, array in decoded:
                    arrays.append(array)
                    fields.append(made.with_name(field_name(source, part)))
                    if part is not None:
                        self.names.see(fields[-1].name, asked=fields[-1].name in self._asked)
            else:
                arrays.append(rows[column.name])
                fields.append(column)
        for made, array in self._own(source, decoded):
            arrays.append(array)
            fields.append(made)
        shaped = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        return self._without_errors(shaped, rows, source, decoded) if decoded.errors else shaped

    def _own(self, source: str, decoded: Decoded) -> Iterator[tuple[pa.Field, pa.Array]]:
        """Yield, for the filter, the values that it would else see as another type."""
        texts = {part for part, made, _ in decoded if made.metadata == JSON_TEXT}
        used, as_written = self._used or frozenset(), frozenset() if self._filter is None else self._filter.as_written
        for part, values in decoded.own.items():
            name = field_name(source, part)
            if (self.options.keeps_types or name in used) if part in texts else name in as_written:
                for number, (made, array) in enumerate(values()):
                    yield made.with_name(own_name(name, number)), array

    def _without_errors(
        self, shaped: pa.RecordBatch, rows: pa.RecordBatch, source: str, decoded: Decoded
    ) -> pa.RecordBatch:
        numbers = list(decoded.errors)
        if self.options.errors == "raise":
            row = min(numbers)
            way_out = "errors='column' keeps such rows with their bytes, errors='skip' drops them"
            place = {name: rows[name][row].as_py() for name in ("topic", "partition", "offset")}
            raise DecodeError(f"{source}: {decoded.errors[row]}; {way_out}", **place)
        wrong = np.zeros(rows.num_rows, dtype=bool)
        wrong[numbers] = True
        if self.options.errors == "skip":
            self.skipped += len(numbers)
            return shaped.filter(pa.array(~wrong))
        before = rows["_error"].filter(pa.array(wrong))
        reasons = pa.array([f"{source}: {decoded.errors[row]}" for row in sorted(numbers)], pa.string())
        reasons = pc.coalesce(pc.binary_join_element_wise(before, reasons, "; "), reasons)
        raw = "_raw_key" if source == "key" else "_raw"
        for name, values in (("_error", reasons), (raw, rows[source].filter(pa.array(wrong)))):
            number = shaped.schema.get_field_index(name)
            column = pc.replace_with_mask(shaped.column(number), pa.array(wrong), values)
            shaped = shaped.set_column(number, shaped.schema.field(number), column)
        return shaped

    def _filtered(self, rows: pa.RecordBatch, where: Filter) -> pa.RecordBatch:
        findings = self.names.where
        kept = where.apply(rows, findings)
        if not self.options.has_fields:
            for name in sorted((where.names or frozenset()).difference(rows.schema.names) | findings.missing):
                raise ArgumentError(f"where names no column: {name!r}; {did_you_mean(name, rows.schema.names)}")
            if findings.problem is not None:
                raise ArgumentError(findings.problem)
        return kept if self.options.keeps_types else without_own(kept)

    @staticmethod
    def _with_nulls(rows: pa.RecordBatch, name: str) -> pa.RecordBatch:
        return rows.append_column(name, pa.nulls(rows.num_rows, _TYPES.get(name, pa.null())))


def _heaps(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Yield batches by as many as one array may hold, one at least."""
    heap: list[pa.RecordBatch] = []
    size = 0
    for rows in batches:
        if heap and size + rows.nbytes > _TOGETHER_BYTES:
            yield heap
            heap, size = [], 0
        heap.append(rows)
        size += rows.nbytes
    if heap:
        yield heap


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


class _Places:
    """The columns that are the same for all records of a partition, made once and cut to length.

    To make a column lets go of the interpreter a few times, and where another thread keeps it busy, it takes up to
    5 ms each time to get it back.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], tuple[pa.Array, pa.Array]] = {}

    def of(self, offset_range: OffsetRange, count: int) -> list[pa.Array]:
        """Return topic and partition of so many records."""
        key = (offset_range.topic, offset_range.partition)
        if key not in self._made or len(self._made[key][1]) < count:
            if len(self._made) >= _MOST_PLACES:
                self._made.clear()
            topics = pa.DictionaryArray.from_arrays(np.zeros(count, dtype=np.int8), [offset_range.topic])
            self._made[key] = (topics, pa.array(np.full(count, offset_range.partition, dtype=np.int32)))
        return [column.slice(0, count) for column in self._made[key]]
