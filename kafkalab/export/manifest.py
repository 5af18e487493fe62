"""What an export has written, and what it still has to: a JSON file beside the others, replaced whole."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from kafkalab.errors import ExportError
from kafkalab.model import OffsetRange
from kafkalab.plan import TimeWindow

if TYPE_CHECKING:
    from kafkalab.export.folder import Folder

SUFFIX = "+manifest.json"
_VERSION = 1


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
    """A whole file: its range, its rows' schema before the format, and the receipt of its reading."""

    part: Part
    file_format: str
    rows: int
    bytes: int
    receipt: str
    schema: pa.Schema

    @property
    def name(self) -> str:
        """Its name.

        Examples
        --------
        >>> WrittenFile(Part("orders", 3, 100, 250), "parquet", 9, 99, "", pa.schema([])).name
        'orders+3+100-250.parquet'
        """
        part = self.part
        return f"{part.topic}+{part.partition}+{part.start}-{part.end}.{self.file_format}"

    @property
    def aside(self) -> str:
        """Its name until it is in the manifest: that of any file that begins there."""
        return aside(self.part, self.file_format)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        schema = base64.b64encode(self.schema.serialize().to_pybytes()).decode()
        return {
            "name": self.name,
            **asdict(self.part),
            "file_format": self.file_format,
            "rows": self.rows,
            "bytes": self.bytes,
            "receipt": json.loads(self.receipt),
            "schema": schema,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return what `to_dict` made JSON of."""
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(data["schema"])))
        receipt = json.dumps(data["receipt"], separators=(",", ":"))
        return cls(_part(data), data["file_format"], data["rows"], data["bytes"], receipt, schema)


def manifest_name(topic: str, file_format: str) -> str:
    """Return the name of the manifest of a topic's files of a format; what reads a folder as a table skips it."""
    return f"_{topic}+{file_format}{SUFFIX}"


def aside(part: Part, file_format: str) -> str:
    """Return the name of a file while it is written, when its end is not known yet."""
    return f".{part.topic}+{part.partition}+{part.start}.{file_format}.partial"


def _part(data: dict[str, Any]) -> Part:
    return Part(data["topic"], data["partition"], data["start"], data["end"], TimeWindow(**data["window"]))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a topic in a folder.

    A file is listed before it gets its name, when it is on the disk under another one. So a file that has its name is
    listed, and one that is listed is there, under one name or the other.

    Attributes
    ----------
    reading : dict of str to str
        How its records became rows.
    written : tuple of WrittenFile
        The files.
    pending : tuple of Part
        What an export that is under way, or was cut off, still has to write.
    superseded : tuple of str
        Files that the export replaces, to be deleted when it is done.
    earlier : int
        How many of the files were there before it began.
    """

    topic: str
    topic_id: str | None
    reading: dict[str, str]
    written: tuple[WrittenFile, ...] = ()
    pending: tuple[Part, ...] = ()
    superseded: tuple[str, ...] = ()
    earlier: int = 0

    @property
    def own(self) -> tuple[WrittenFile, ...]:
        """The files of the export that is under way, or was the last."""
        return self.written[self.earlier :]

    @property
    def file_name(self) -> str:
        """Its own name."""
        return manifest_name(self.topic, self.reading["format"])

    def with_file(self, file: WrittenFile) -> Manifest:
        """Return it with one more file, and less to do."""
        left = (_after(part, file.part) for part in self.pending)
        return replace(
            self, written=(*self.written, file), pending=tuple(part for part in left if part.start < part.end)
        )

    def save(self, folder: Folder) -> None:
        """Write it, in place of the one before."""
        data = {
            "kafkalab": _VERSION,
            "topic": self.topic,
            "topic_id": self.topic_id,
            "reading": self.reading,
            "files": [file.to_dict() for file in self.written],
            "pending": [asdict(part) for part in self.pending],
            "superseded": list(self.superseded),
            "earlier": self.earlier,
        }
        temporary = f".{self.file_name}.partial"
        with folder.writing(temporary) as file:
            file.write(json.dumps(data, indent=1).encode())
        folder.rename(temporary, self.file_name)

    @classmethod
    def load(cls, folder: Folder, name: str) -> Self | None:
        """Return the manifest of that name, None where there is none.

        Raises
        ------
        ExportError
            The file is none, or a later kafkalab has written it.
        """
        if folder.size(name) is None:
            return None
        with folder.open(name) as file:
            text = file.read()
        try:
            data = json.loads(text)
            version = data["kafkalab"]
            if version == _VERSION:
                return cls(
                    data["topic"],
                    data["topic_id"],
                    data["reading"],
                    tuple(map(WrittenFile.from_dict, data["files"])),
                    tuple(map(_part, data["pending"])),
                    tuple(data["superseded"]),
                    data["earlier"],
                )
        except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
            message = f"{folder.to(name)} is no manifest of an export: {error!r}; take another folder"
            raise ExportError(message) from error
        message = f"{folder.to(name)} is of version {version!r}, which this kafkalab does not know: use a later one"
        raise ExportError(message)

    def settle(self, folder: Folder) -> None:
        """Give files their names, where an export was cut off before it could."""
        for file in self.written:
            if folder.size(file.aside) is not None:
                folder.rename(file.aside, file.name)


def _after(part: Part, done: Part) -> Part:
    return replace(part, start=done.end) if (part.partition, part.start) == (done.partition, done.start) else part
