"""What an export has written, and what it still has to: the state of a topic's files in a folder, and its JSON."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pyarrow as pa

from kafkalab.errors import ExportError
from kafkalab.export import names
from kafkalab.model import OffsetRange, Receipt
from kafkalab.plan import TimeWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.export.folder import Folder

_VERSION = 2
_CHECKSUM = "crc32"
_LARGEST = 2**63
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Part:
    """A range of offsets, and the times that its rows must meet besides."""

    topic: str
    partition: int
    start: int
    end: int
    window: TimeWindow = field(default_factory=TimeWindow)

    @property
    def offset_range(self) -> OffsetRange:
        """The offsets."""
        return OffsetRange(self.topic, self.partition, self.start, self.end)

    def overlaps(self, other: Part) -> bool:
        """Whether an offset is in both."""
        return self.partition == other.partition and max(self.start, other.start) < min(self.end, other.end)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A whole file: its range, its rows' schema before the format, the receipt of its reading, and its checksum."""

    part: Part
    file_format: str
    rows: int
    bytes: int
    crc32: int
    receipt: str
    schema: pa.Schema
    version: int = 0

    @property
    def name(self) -> str:
        """Its name.

        Examples
        --------
        >>> WrittenFile(Part("orders", 3, 100, 250), "parquet", 9, 99, 0, "", pa.schema([])).name
        'part-orders+3+100-250.parquet'
        """
        part = self.part
        return names.data_file(part.topic, part.partition, part.start, part.end, self.file_format, self.version)

    @property
    def aside(self) -> str:
        """Its name until it is in the manifest."""
        return names.aside(self.part.topic, self.part.partition, self.part.start, self.file_format, self.version)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; the name is for people."""
        schema = base64.b64encode(self.schema.serialize().to_pybytes()).decode()
        return {
            "name": self.name,
            **asdict(self.part),
            "file_format": self.file_format,
            "version": self.version,
            "rows": self.rows,
            "bytes": self.bytes,
            _CHECKSUM: self.crc32,
            "receipt": json.loads(self.receipt),
            "schema": schema,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return what `to_dict` made JSON of."""
        part = _part(data)
        receipt = json.dumps(data["receipt"], separators=(",", ":"))
        _check_receipt(Receipt.from_json(receipt), part, data["rows"])
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(data["schema"], validate=True)))
        if any(_is_foreign(column.type) for column in schema):
            raise ValueError("a column has a type that no export writes")
        rows, size, crc32, version = (_number(data[name]) for name in ("rows", "bytes", _CHECKSUM, "version"))
        file = cls(part, _text(data["file_format"]), rows, size, crc32, receipt, schema, version)
        if data["name"] != file.name:
            raise ValueError(f"the file {data['name']!r} has to be {file.name!r}")
        return file


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a topic in a folder.

    A file is listed before it gets its name, when it is on the disk under another one, and no two files ever have the
    same name. So a file that has its name is whole, and one that is listed is there, under one name or the other.

    Attributes
    ----------
    reading : dict of str to str
        How its records became rows.
    written : tuple of WrittenFile
        The files.
    pending : tuple of Part
        What an export that is under way, or was cut off, still has to write, in that order.
    superseded : tuple of WrittenFile
        Files that the export replaces: they count, and its own do not, until nothing is pending.
    discarded : tuple of WrittenFile
        Files that count no more, and may still be there.
    earlier : int
        How many of the files were there before it began.
    version : int
        That of the names of the files that it writes.
    save : int
        How often the manifest was saved whole.
    """

    topic: str
    topic_id: str | None
    reading: dict[str, str]
    written: tuple[WrittenFile, ...] = ()
    pending: tuple[Part, ...] = ()
    superseded: tuple[WrittenFile, ...] = ()
    discarded: tuple[WrittenFile, ...] = ()
    earlier: int = 0
    version: int = 0
    save: int = 0

    @property
    def own(self) -> tuple[WrittenFile, ...]:
        """The files of the export that is under way, or was the last."""
        return self.written[self.earlier :]

    @property
    def is_replacing(self) -> bool:
        """Whether an export has yet to replace what is there."""
        return bool(self.superseded and self.pending)

    @property
    def counting(self) -> tuple[WrittenFile, ...]:
        """The files that hold what the folder holds: the old ones until those that replace them are all there."""
        return (*self.written[: self.earlier], *self.superseded) if self.is_replacing else self.written

    @property
    def file_name(self) -> str:
        """Its own name."""
        return names.manifest(self.topic, self.reading["format"])

    @property
    def next_version(self) -> int:
        """A version that no file has, whether it counts or not."""
        files = (*self.written, *self.superseded, *self.discarded)
        return 1 + max((file.version for file in files), default=-1)

    def with_file(self, file: WrittenFile) -> Manifest:
        """Return it with one more file, the first of what was pending, and less to do."""
        part, *_ = self.pending
        if (part.partition, part.start) != (file.part.partition, file.part.start) or file.part.end > part.end:
            raise ValueError(f"{file.name} is not what comes next")
        left = (replace(part, start=file.part.end),) if file.part.end < part.end else ()
        return replace(self, written=(*self.written, file), pending=(*left, *self.pending[1:]))

    def with_replaced(self, number: int, file: WrittenFile) -> Manifest:
        """Return it with another version of a file, which counts no more."""
        written, old = list(self.written), self.written[number]
        if old.part != file.part or old.version >= file.version:
            raise ValueError(f"{file.name} is no later version of {old.name}")
        written[number] = file
        return replace(self, written=tuple(written), discarded=(*self.discarded, old))

    def settled(self) -> Manifest:
        """Return it without what has been replaced, where all that replaces it is there."""
        if self.pending:
            return self
        return replace(self, superseded=(), discarded=(*self.discarded, *self.superseded))

    def abandoned(self) -> Manifest:
        """Return it without the export that was cut off; what that has written counts, unless it was to replace."""
        there = self.settled()
        if there.superseded:
            discarded = (*there.discarded, *there.own)
            version = there.next_version
            there = replace(there, written=there.counting, superseded=(), discarded=discarded, version=version)
        return replace(there, pending=(), earlier=len(there.written))

    def to_json(self) -> bytes:
        """Return it as text that people can read."""
        return _signed(
            {
                "topic": self.topic,
                "topic_id": self.topic_id,
                "reading": self.reading,
                "files": [file.to_dict() for file in self.written],
                "pending": [asdict(part) for part in self.pending],
                "superseded": [file.to_dict() for file in self.superseded],
                "discarded": [file.to_dict() for file in self.discarded],
                "earlier": self.earlier,
                "version": self.version,
                "save": self.save,
            }
        )

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> Self:
        topic = _text(data["topic"])
        reading = {_text(name): _text(value) for name, value in data["reading"].items()}

        def files(name: str) -> tuple[WrittenFile, ...]:
            found = tuple(map(WrittenFile.from_dict, data[name]))
            if any(file.part.topic != topic or file.file_format != reading["format"] for file in found):
                raise ValueError(f"{name} has files of another topic, or of another format")
            return found

        pending = tuple(map(_part, data["pending"]))
        if any(part.topic != topic for part in pending):
            raise ValueError("another topic is pending")
        topic_id = None if data["topic_id"] is None else _text(data["topic_id"])
        lists = files("files"), pending, files("superseded"), files("discarded")
        made = cls(topic, topic_id, reading, *lists, *(_number(data[n]) for n in ("earlier", "version", "save")))
        if made.earlier > len(made.written):
            raise ValueError("more files were there than there are")
        return made

    @classmethod
    def load(cls, folder: Folder, name: str, listed: list[str]) -> Manifest | None:
        """Return the manifest of that name, with all that was added since it was saved; None where there is none.

        Raises
        ------
        ExportError
            A file is none, or is damaged, or another kafkalab has written it.
        """
        if folder.size(name) is None:
            return None
        found: Manifest = _loaded(folder, name, cls._from_dict)
        if name != found.file_name:
            message = f"{folder.to(name)} is the manifest of {found.topic!r}, whose name is {found.file_name!r}"
            raise ExportError(message, topic=found.topic)
        there, number = set(listed), 0
        while (entry := names.entry(name, found.save, number)) in there:
            found = _loaded(folder, entry, found.with_entry)
            number += 1
        return found

    def with_entry(self, data: dict[str, Any]) -> Manifest:
        """Return it with what `entry_json` made JSON of."""
        file, number = WrittenFile.from_dict(data["file"]), data["in_place_of"]
        if file.part.topic != self.topic or file.file_format != self.reading["format"]:
            raise ValueError("it is of another topic, or of another format")
        return self.with_file(file) if number is None else self.with_replaced(_number(number), file)


def entry_json(file: WrittenFile, in_place_of: int | None) -> bytes:
    """Return one file more, or a later version of one, as text that people can read."""
    return _signed({"file": file.to_dict(), "in_place_of": in_place_of})


def _signed(data: dict[str, Any]) -> bytes:
    whole = {"kafkalab": _VERSION, **data}
    return json.dumps({**whole, _CHECKSUM: _checksum(whole)}, indent=1).encode()


def _check_sum(data: dict[str, Any]) -> None:
    if data.pop(_CHECKSUM) != _checksum(data):
        raise ValueError("its checksum is another")


def _checksum(data: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True, separators=(",", ":")).encode())


def _loaded(folder: Folder, name: str, made: Callable[[dict[str, Any]], _T]) -> _T:
    text = folder.read(name)
    try:
        data = json.loads(text.to_pybytes())
        version = data["kafkalab"]
        if version == _VERSION:
            _check_sum(data)
            return made(data)
    except Exception as error:  # whatever the text of a stranger makes of this
        message = f"{folder.to(name)} is no manifest of an export, or is damaged: {error!r}; take another folder"
        raise ExportError(message) from error
    message = f"{folder.to(name)} is of version {version!r}, not {_VERSION}: read it with the kafkalab that wrote it"
    raise ExportError(message)


def _part(data: dict[str, Any]) -> Part:
    partition, start, end = (_number(data[name]) for name in ("partition", "start", "end"))
    window = TimeWindow(**data["window"])
    for bound in (window.start_ms, window.end_ms):
        if bound is not None:
            _number(abs(bound))
    if start >= end:
        raise ValueError(f"{start} to {end} are no offsets")
    return Part(_text(data["topic"]), partition, start, end, window)


def _check_receipt(receipt: Receipt, part: Part, rows: int) -> None:
    (read,) = receipt.partitions
    numbers = (read.partition, read.start, read.end, read.next_offset, read.records, read.rows, read.bytes)
    for number in numbers:
        _number(number)
    for text in (receipt.engine, *receipt.notes):
        _text(text)
    if read.offset_range != part.offset_range or read.rows != rows or receipt.live is not None:
        raise ValueError(f"the receipt is not that of {part.offset_range}")


def _is_foreign(kind: pa.DataType) -> bool:
    """Whether a type stands for something that code outside of Arrow makes of it, at any depth."""
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    if pa.types.is_dictionary(kind):
        inner.append(kind.value_type)
    return isinstance(kind, pa.BaseExtensionType) or any(map(_is_foreign, inner))


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise ValueError(f"{value!r} is no number from 0 on")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
