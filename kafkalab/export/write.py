"""An export under way: ranges read one after the other, into files of bounded size, in bounded memory."""

from __future__ import annotations

import time
import warnings
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from kafkalab.decode.joining import unify
from kafkalab.errors import DataLossError, ExportError, KafkalabWarning
from kafkalab.export.formats import whole
from kafkalab.export.manifest import WrittenFile
from kafkalab.export.names import aside
from kafkalab.export.stored import stored
from kafkalab.model import PartitionReceipt, Receipt, StopReason
from kafkalab.rows import Names, RowShaper
from kafkalab.scan import Limits

if TYPE_CHECKING:
    from collections.abc import Generator

    from kafkalab.export.folder import Folder
    from kafkalab.export.formats import FileFormat
    from kafkalab.export.journal import Journal
    from kafkalab.export.lock import Keep
    from kafkalab.export.manifest import Manifest, Part
    from kafkalab.scan import Scan

_GROUP_ROWS = 128 * 1024
_GROUP_BYTES = 32 << 20
_READ_AHEAD = 32 << 20
_WITH_TYPES = ("parquet", "feather")


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows to write at once, how far they bring the receipt of their range, and the notes of the last ones' scan."""

    table: pa.Table
    read: PartitionReceipt
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Export:
    """A scan's records on their way into files.

    A file ends where its range does, where it is large enough, or where rows begin to have fields or types that it
    cannot take: the next file can, and so can all that follow. In the end those before get the columns of the last,
    where their format has types, so that all can be read as one.
    """

    scan: Scan
    folder: Folder
    file_format: FileFormat
    max_file_bytes: int
    journal: Journal
    keep_lock: Keep
    _deadline: float | None = None
    _known: int = 0
    _schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    _group: _Group | None = None

    def run(self) -> None:
        """Write what is pending.

        Raises
        ------
        ExportError
            A file cannot be written, or a range not be read to its end.
        """
        seconds = self.scan.limits.seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._schema = _joined([file.schema for file in self.manifest.written])
        self._known = len(self.manifest.written)
        while self.manifest.pending:
            self._write_range(self.manifest.pending[0])
            # The look costs what the topic has of partitions: as often as files double, it costs no more than they do.
            if len(self.manifest.written) - self._known >= max(1, self._known - self.manifest.earlier):
                self._look_at_topic()
        for note in self._look_at_topic():
            warnings.warn(note, KafkalabWarning, stacklevel=3)
        if self.manifest.superseded or self.manifest.discarded:
            self.journal.save(self.manifest.settled())
            self.journal.settle()
        if self._format_name in _WITH_TYPES:
            self._widen()
        if self.manifest.discarded or self.journal.entries:
            self.journal.save(replace(self.manifest, discarded=()))

    @property
    def manifest(self) -> Manifest:
        """What there is by now."""
        return self.journal.manifest

    @property
    def _format_name(self) -> str:
        return self.manifest.reading["format"]

    def frame(self) -> pd.DataFrame:
        """Return what was written as a frame, a row a file, in the order of partitions and offsets."""
        rows = [
            (self.folder.to(file.name), file.part.partition, file.part.start, file.part.end, file.rows, file.bytes)
            for file in sorted(self.manifest.own, key=lambda file: (file.part.partition, file.part.start))
        ]
        return pd.DataFrame(rows, columns=["path", "partition", "start", "end", "rows", "bytes"])

    def _look_at_topic(self) -> list[str]:
        """See whether the topic is still the one that was planned for; forget files that may be of another."""
        try:
            notes = self.scan.look_at_topic()
        except DataLossError:
            manifest, known = self.manifest, self._known
            if forgotten := manifest.written[known:]:
                self.journal.save(
                    replace(
                        manifest,
                        written=manifest.written[:known],
                        pending=(*(file.part for file in forgotten), *manifest.pending),
                        discarded=(*manifest.discarded, *forgotten),
                    )
                )
                self.journal.settle()
            raise
        self._known = len(self.manifest.written)
        return notes

    def _write_range(self, part: Part) -> None:
        windows = {part.partition: part.window} if part.window else {}
        plan = replace(self.scan.plan, ranges=(part.offset_range,), windows=windows)
        read = PartitionReceipt(part.topic, part.partition, part.start, part.end, part.start)
        limits = self.scan.limits if self._deadline is None else Limits(seconds=self._left())
        scan = replace(self.scan, plan=plan, limits=limits, read_ahead_bytes=_READ_AHEAD, is_part=True)
        with closing(self._groups(scan)) as groups:
            self._group = next(groups)
            while self._group is not None:
                read = self._write_file(part, read, groups)

    def _left(self) -> float:
        """Return the seconds that are left of a timeout, which is of all ranges together."""
        return 0.0 if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _groups(self, scan: Scan) -> Generator[_Group]:
        """Yield the rows of a scan of one range; the last, which may be none, once it is known to be read whole."""
        held: list[pa.RecordBatch] = []
        with closing(scan.steps()) as steps:
            for read, rows in steps:
                self.keep_lock()
                if rows.num_rows:
                    held.append(rows)
                if sum(b.num_rows for b in held) >= _GROUP_ROWS or sum(b.nbytes for b in held) >= _GROUP_BYTES:
                    yield _Group(self._fitted(held), read)
                    held = []
        receipt = scan.receipt or Receipt(())
        _check_whole(receipt)
        empty = RowShaper(scan.row_options, names=Names()).empty()
        yield _Group(self._fitted(held or [empty]), receipt.partitions[0], receipt.notes)

    def _fitted(self, batches: list[pa.RecordBatch]) -> pa.Table:
        """Return rows with all the columns that there have been; those that come later will have theirs too."""
        tables = [pa.Table.from_batches([rows]) for rows in batches]
        table = unify([self._schema.empty_table(), *tables]).unify_dictionaries()
        self._schema = table.schema
        return table

    def _write_file(self, part: Part, begun: PartitionReceipt, groups: Generator[_Group]) -> PartitionReceipt:
        """Write one file; return how far it has come. The group that the next begins with waits."""
        own = replace(part, start=begun.next_offset)
        schema, read, rows, size = self._schema, begun, 0, 0
        notes: tuple[str, ...] = ()
        name = aside(own.topic, own.partition, own.start, self._format_name, self.manifest.version)
        with self.folder.writing(name) as stream:
            prepared = self.file_format.prepare(schema.empty_table()).schema
            opened = self.file_format.write(stream, prepared)
            with whole(opened, lambda: self._receipt(begun, read, rows, notes)) as writer:
                while self._goes_in(schema, size) and (group := self._group) is not None:
                    writer.write_table(self.file_format.prepare(group.table))
                    rows, size = rows + group.table.num_rows, size + group.table.nbytes
                    read, notes = group.read, group.notes
                    # It is written: the next is made without it.
                    self._group = group = None
                    self._group = next(groups, None)
        own = replace(own, end=min(read.next_offset, part.end))
        receipt, version = self._receipt(begun, read, rows, notes), self.manifest.version
        file = WrittenFile(own, self._format_name, rows, stream.bytes, stream.crc32, receipt, schema, version)
        self.journal.add(file)
        if not self._is_replacing:
            self.folder.rename(file.aside, file.name)
        return read

    def _goes_in(self, schema: pa.Schema, size: int) -> bool:
        """Whether the waiting group can be written to a file of that schema and size."""
        group = self._group
        fits = group is not None and group.table.schema.equals(schema, check_metadata=True)
        return group is not None and fits and (size < self.max_file_bytes or not group.table.num_rows)

    def _receipt(self, begun: PartitionReceipt, read: PartitionReceipt, rows: int, notes: tuple[str, ...]) -> str:
        """Return the receipt of a file: what was read up to its end, less what had been before its start."""
        own = replace(
            read,
            start=begun.next_offset,
            end=min(read.next_offset, read.end),
            records=read.records - begun.records,
            rows=rows,
            bytes=read.bytes - begun.bytes,
            # A step that is not its range's last has not stopped yet.
            stop=StopReason.REACHED if read.stop == StopReason.INTERRUPTED else read.stop,
        )
        level, engine = self.scan.fetch_options.isolation_level, self.scan.fetcher.name
        return Receipt((own,), level, engine, None, notes).to_json()

    @property
    def _is_replacing(self) -> bool:
        """Whether files stay hidden until all are there."""
        return bool(self.manifest.superseded)

    def _widen(self) -> None:
        """Give all files of the folder the same columns, so that other programs can read it as one table."""
        schema = _joined([file.schema for file in self.manifest.written])
        for number, file in enumerate(self.manifest.written):
            if not file.schema.equals(schema, check_metadata=True):
                self.keep_lock()
                wide = self._widened(file, schema)
                self.journal.replace(number, wide)
                self.folder.rename(wide.aside, wide.name)
                self.folder.delete(file.name)

    def _widened(self, file: WrittenFile, schema: pa.Schema) -> WrittenFile:
        """Write a file anew, with columns that it had no rows for; it counts until the other one does."""
        wide = replace(file, schema=schema, version=file.version + 1)
        with (
            self.folder.writing(wide.aside) as stream,
            whole(self.file_format.write(stream, schema), lambda: file.receipt) as writer,
        ):
            for table in stored(self.folder, file):
                writer.write_table(unify([schema.empty_table(), table]).cast(schema).unify_dictionaries())
        return replace(wide, bytes=stream.bytes, crc32=stream.crc32)


def _joined(schemas: list[pa.Schema]) -> pa.Schema:
    different = {schema.serialize().to_pybytes(): schema for schema in schemas}
    return unify([schema.empty_table() for schema in different.values()]).schema if different else pa.schema([])


def _check_whole(receipt: Receipt) -> None:
    for part in receipt.partitions:
        if part.stop not in (StopReason.REACHED, StopReason.RETENTION_PASSED):
            message = (
                f"the export is not finished: the read stopped before {part.end} ({part.stop}); "
                "the files that are there are whole, and resume=True goes on after them"
            )
            raise ExportError(message, topic=part.topic, partition=part.partition, offset=part.next_offset)
