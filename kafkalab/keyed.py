"""Records by key: those of one key, and the newest of each. Chosen by their bytes, before anything is decoded."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab import partitioner
from kafkalab.decode.joining import unify
from kafkalab.errors import ArgumentError, did_you_mean
from kafkalab.fetch.base import FetchControl, Fetched, record_schema
from kafkalab.model import Receipt
from kafkalab.rows import RowOptions, RowShaper
from kafkalab.sample import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from kafkalab.fetch.base import Stop
    from kafkalab.model import OffsetRange
    from kafkalab.partitioner import Partitioner
    from kafkalab.scan import Scan

Tombstones: TypeAlias = Literal["apply", "keep"]

_MERGED_AT = 256 * 1024
_SAMPLED = 200
_FRAME_BYTES = 5  # a zero, and the id
_INTEGERS = {"int8": 1, "int16": 2, "int32": 4, "int64": 8}


def as_stored(key: object, key_format: str | None) -> bytes | None:
    r"""Return a key as its serializer stores it.

    Parameters
    ----------
    key : str, bytes, int or None
        Text is UTF-8.
    key_format : str, optional
        For an int, how it is stored, big-endian: ``"int32"`` by Java's ``IntegerSerializer``, ``"int64"`` by its
        ``LongSerializer``.

    Raises
    ------
    ArgumentError
        It is none of these, or does not fit its format.

    Examples
    --------
    >>> as_stored("u42", None), as_stored(42, "int32")
    (b'u42', b'\x00\x00\x00*')
    """
    if key is None or isinstance(key, bytes):
        return key
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bool) or not isinstance(key, int | np.integer):
        message = f"a key is a str, bytes, an int or None, not {key!r}"
        raise ArgumentError(message)
    if key_format not in _INTEGERS:
        named = f"{key_format!r} is none of them" if key_format else "say which"
        message = (
            f"the key {key} can be stored in several ways, {named}: key_format='int32' or 'int64', or give '{key}'"
        )
        raise ArgumentError(message)
    try:
        return int(key).to_bytes(_INTEGERS[key_format], "big", signed=True)
    except OverflowError as error:
        message = f"the key {key} does not fit in {key_format}"
        raise ArgumentError(message) from error


class Chooser(Protocol):
    """Keeps some of the rows of one partition, which pass by in the order of their offsets."""

    def add(self, rows: pa.RecordBatch) -> None:
        """Look at the next rows."""
        ...

    def kept(self) -> list[pa.RecordBatch]:
        """Return what is kept by now."""
        ...


@dataclass(slots=True)
class OfKey:
    """Keeps the rows of one key."""

    key: bytes | None
    _kept: list[pa.RecordBatch] = field(default_factory=list)

    def add(self, rows: pa.RecordBatch) -> None:
        """Keep those of the key."""
        keys = rows["key"]
        found = rows.filter(pc.is_null(keys) if self.key is None else pc.equal(keys, pa.scalar(self.key, pa.binary())))
        if found.num_rows:
            self._kept.append(found)

    def kept(self) -> list[pa.RecordBatch]:
        """Return the rows of the key."""
        return list(self._kept)


@dataclass(slots=True)
class NewestOfEach:
    """Keeps the newest row of each key; holds these, and as many rows again that it has not looked through yet.

    With tombstones applied, a key whose newest value is null is forgotten: what came before it has been looked at.
    """

    tombstones: Tombstones = "apply"
    without_key: int = 0
    _kept: list[pa.RecordBatch] = field(default_factory=list)
    _waiting: list[pa.RecordBatch] = field(default_factory=list)
    _kept_rows: int = 0
    _waiting_rows: int = 0

    def __post_init__(self) -> None:
        if self.tombstones not in ("apply", "keep"):
            message = f"tombstones={self.tombstones!r}: {did_you_mean(str(self.tombstones), ('apply', 'keep'))}"
            raise ArgumentError(message)

    def add(self, rows: pa.RecordBatch) -> None:
        """Look at more rows, in heaps as large as what is kept, so that each row is looked at a few times only."""
        self.without_key += rows["key"].null_count
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        if self._waiting_rows > max(self._kept_rows, _MERGED_AT):
            self._merge()

    def _merge(self) -> None:
        batches, self._waiting, self._waiting_rows = [*self._kept, *self._waiting], [], 0
        newest = _last_of_each(pa.chunked_array([rows["key"] for rows in batches], pa.binary()))
        if self.tombstones == "apply":
            newest &= pa.chunked_array([rows["value"].is_valid() for rows in batches], pa.bool_()).to_numpy()
        self._kept, self._kept_rows = _filtered(batches, newest), int(newest.sum())

    def kept(self) -> list[pa.RecordBatch]:
        """Return the newest row of each key."""
        if self._waiting:
            self._merge()
        return list(self._kept)


def notes(choosers: Iterable[NewestOfEach]) -> Iterator[str]:
    """Yield what the receipt should say of the newest rows of partitions."""
    parts = list(choosers)
    without = sum(part.without_key for part in parts)
    if without:
        yield f"left out {without} records without a key"
    keys = pa.chunked_array([rows["key"] for part in parts for rows in part.kept()], pa.binary())
    shared = len(keys) - pc.count_distinct(keys).as_py()
    if shared:
        yield f"{shared} rows have a key that another partition has too: a partition is compacted by itself"


def homes(scan: Scan, key: bytes | None, name: Partitioner | None) -> tuple[tuple[OffsetRange, ...], str]:
    """Return those of a scan's ranges that a key can be in, and a sentence on why.

    ``"auto"`` looks at a sample: the key is where a partitioner puts it that has put every sampled key where it lies.
    """
    partitioner.check(name)
    ranges, count = scan.plan.ranges, len(scan.info.partitions)
    if name is None or count == 1:
        return ranges, "read all partitions"
    names = partitioner.fitting(_sampled_keys(scan), count) if name == "auto" else [name]
    places = {partitioner.partition_of(key, count, name) for name in names}
    if not names:
        return ranges, "read all partitions: no partitioner known here has put a sample of the keys where they are"
    if None in places:
        return ranges, "read all partitions: producers put such a key anywhere"
    where = " and ".join(f"partition {place}" for place in sorted(place for place in places if place is not None))
    found = "; found by a sample of the keys" if name == "auto" else ""
    note = f"read {where} only, where partitioner={' or '.join(map(repr, names))} puts the key{found}"
    return tuple(part for part in ranges if part.partition in places), f"{note}; partitioner=None reads all"


def are_framed(scan: Scan) -> bool:
    """Whether a sample of the keys begin with the id of a schema: what is shown of them is not what is stored."""
    keys = [key for key, _ in _sampled_keys(scan) if key is not None]
    return bool(keys) and all(len(key) > _FRAME_BYTES and key[0] == 0 for key in keys)


def _sampled_keys(scan: Scan) -> Iterator[tuple[bytes | None, int]]:
    sampler = Sampler(scan.plan, scan.fetcher, scan.fetch_options, FetchControl(), np.random.default_rng(0))
    for step in sampler.take(_SAMPLED).steps:
        for key in step.arrow_batch["key"].to_pylist():
            yield key, step.offset_range.partition


def _last_of_each(keys: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return which of the keys, null ones aside, do not come again."""
    encoded = keys.dictionary_encode()
    codes = np.concatenate([pc.fill_null(chunk.indices, -1).to_numpy() for chunk in encoded.chunks])
    last = np.full(len(encoded.chunk(0).dictionary) + 1 if encoded.num_chunks else 1, -1)
    # Of values assigned to one place, numpy keeps the last; code -1, of null, has the place at the end.
    last[codes] = np.arange(len(codes))
    newest = np.zeros(len(codes), dtype=bool)
    newest[last[:-1][last[:-1] >= 0]] = True
    return newest


def _filtered(batches: list[pa.RecordBatch], mask: NDArray[np.bool_]) -> list[pa.RecordBatch]:
    ends = np.cumsum([rows.num_rows for rows in batches])
    parts = [rows.filter(pa.array(part)) for rows, part in zip(batches, np.split(mask, ends)[:-1], strict=True)]
    kept = [part for part in parts if part.num_rows]
    # One batch of what many have left: small ones would cost more than what is in them.
    return pa.Table.from_batches(kept).unify_dictionaries().combine_chunks().to_batches() if kept else []


class Chosen:
    """A scan of records as they are stored, of which choosers keep some; only these are shaped into rows.

    Parameters
    ----------
    scan : Scan
        Of bytes, all columns.
    options : RowOptions
        How the kept records become rows.
    choosers : mapping of OffsetRange to Chooser
        One for each range of the scan.
    """

    def __init__(self, scan: Scan, options: RowOptions, choosers: Mapping[OffsetRange, Chooser]) -> None:
        raw = RowOptions(headers=options.wants_headers)
        self.scan = replace(scan, row_options=raw)
        self._shaper = RowShaper(options, scan.plan.windows)
        self._choosers = choosers

    def run(self, stop: Stop | None = None) -> None:
        """Read to the end, or until told to stop."""
        with closing(self.scan.steps(stop)) as steps:
            for part, rows in steps:
                if rows.num_rows:
                    self._choosers[part.offset_range].add(rows)

    def table(self) -> pa.Table:
        """Return the kept records as rows."""
        shaped = self._shaper.shape_all(
            _fetched(part, rows) for part, chooser in self._choosers.items() for rows in chooser.kept()
        )
        tables = [pa.Table.from_batches([rows]) for rows in shaped if rows.num_rows]
        return unify(tables or [pa.Table.from_batches([self._shaper.empty()])]).unify_dictionaries()

    def receipt(self) -> Receipt:
        """Return what was read; how many rows that gave is counted by who has them."""
        read = self.scan.receipt or Receipt(())
        return replace(read, notes=(*read.notes, *self._shaper.notes(self.scan.plan.topic)))


def _fetched(part: OffsetRange, rows: pa.RecordBatch) -> Fetched:
    """Return placed rows of bytes as the engine gave them."""
    schema = record_schema(headers="headers" in rows.schema.names)
    columns = [rows[name].indices if name == "timestamp_type" else rows[name] for name in schema.names]
    return Fetched(part, pa.RecordBatch.from_arrays(columns, schema=schema), part.end)
