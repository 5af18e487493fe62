"""Where files go: a folder of this machine, or one of an object store; a file gets its name once it is whole."""

from __future__ import annotations

import io
import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.fs

from kafkalab.errors import ArgumentError, ExportError, KafkalabError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


class MissingFileError(ExportError):
    """A file is not there."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, and the filesystem it is on.

    Attributes
    ----------
    filesystem : pyarrow.fs.FileSystem
        What holds it.
    path : str
        Where, to that filesystem.
    name : str
        What a person calls it.
    """

    filesystem: pa.fs.FileSystem
    path: str
    name: str

    @classmethod
    def at(cls, where: str | os.PathLike[str], filesystem: pa.fs.FileSystem | None = None) -> Folder:
        """Return the folder of a path, or of a URL such as ``s3://bucket/out``.

        Raises
        ------
        ArgumentError
            No filesystem has such URLs.
        """
        name = os.fspath(where)
        try:
            if filesystem is None and "://" in name:
                filesystem, path = pa.fs.FileSystem.from_uri(name)
            elif filesystem is None:
                filesystem, path = pa.fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(name))  # noqa: PTH100, PTH111 - a URL's path is text too
            else:
                path = name
        except (pa.ArrowException, ValueError, OSError) as error:
            message = (
                f"{name!r} is no place to write to: {error}; give a path, a URL that pyarrow.fs knows, or filesystem="
            )
            raise ArgumentError(message) from error
        while isinstance(filesystem, pa.fs.SubTreeFileSystem):
            filesystem, path = filesystem.base_fs, f"{filesystem.base_path.rstrip('/')}/{path.lstrip('/')}"
        return cls(filesystem, path.rstrip("/") or "/", name)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, where a file has to be synced to be on the disk."""
        return isinstance(self.filesystem, pa.fs.LocalFileSystem)

    def to(self, file: str) -> str:
        """Return a file's path, for people."""
        return f"{self.name.rstrip('/')}/{file}" if file else self.name

    def make(self) -> None:
        """Make it, and those above it."""
        with self.changing(""):
            self.filesystem.create_dir(self.path, recursive=True)

    def files(self) -> list[str]:
        """Return the names of the files in it, sorted; none where it is no folder."""
        with self._reading(""):
            self._forget_listings()
            if self.filesystem.get_file_info(self.path).type == pa.fs.FileType.File:
                return []
            found = self.filesystem.get_file_info(pa.fs.FileSelector(self.path, allow_not_found=True))
            return sorted(info.base_name for info in found if info.type == pa.fs.FileType.File)

    def size(self, file: str) -> int | None:
        """Return a file's size, None where there is none."""
        info = self._info(file)
        return info.size if info.type == pa.fs.FileType.File else None

    def changed_ns(self, file: str) -> int | None:
        """Return when a file was last changed, by the clock of whoever keeps it; None where there is none."""
        time: int | None = self._info(file).mtime_ns
        return time

    def read(self, file: str) -> pa.Buffer:
        """Return a file's bytes.

        Raises
        ------
        ExportError
            It cannot be read, is not there, or is a link that leads out of the folder.
        """
        path = self._path(file)
        with self._reading(file):
            if self.is_local and os.path.dirname(os.path.realpath(path)) != os.path.realpath(self.path):  # noqa: PTH120 - beside realpath
                message = f"{self.to(file)} is a link that leads out of the folder: put the file itself there"
                raise ExportError(message)
            if self.size(file) is None:
                message = f"{self.to(file)} is not there"
                raise MissingFileError(message)
            try:
                with self.filesystem.open_input_file(path) as stream:
                    return stream.read_buffer()
            except FileNotFoundError as error:
                message = f"{self.to(file)} is not there any more"
                raise MissingFileError(message) from error

    @contextmanager
    def writing(self, file: str) -> Iterator[Summed]:
        """Open a file to write it; it is on the disk when this ends, and gone when it fails."""
        with self.changing(file):
            try:
                with self._create(file) as stream:
                    yield Summed(stream)
                    if self.is_local:
                        stream.flush()
                        os.fsync(stream.fileno())
            except BaseException:
                self.delete(file)
                raise

    def _create(self, file: str) -> BinaryIO:
        path = self._path(file)
        if self.is_local:
            # What is there is another file, and may be a link to one: it is not written through.
            self.delete(file)
            return open(path, "xb")  # noqa: PTH123 - closed by the caller
        stream: BinaryIO = self.filesystem.open_output_stream(path)
        return stream

    def rename(self, file: str, to: str) -> None:
        """Give a file another name, whatever had that name before."""
        with self.changing(to):
            self.filesystem.move(self._path(file), self._path(to))
            if self.is_local:
                folder = os.open(self.path, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)

    def delete(self, file: str) -> None:
        """Delete a file, if it is there."""
        with self.changing(file):
            if self.is_local:
                Path(self._path(file)).unlink(missing_ok=True)
            elif self.size(file) is not None:
                self.filesystem.delete_file(self._path(file))

    def _info(self, file: str) -> pa.fs.FileInfo:
        with self._reading(file):
            return self.filesystem.get_file_info(self._path(file))

    def _path(self, file: str) -> str:
        return f"{self.path.rstrip('/')}/{file}"

    def _forget_listings(self) -> None:
        """Let fsspec list anew: it keeps what it has listed once, and others write too."""
        fsspec = getattr(getattr(self.filesystem, "handler", None), "fs", None)
        if fsspec is not None:
            fsspec.invalidate_cache()

    def _reading(self, file: str) -> AbstractContextManager[None]:
        return _translated(f"cannot read {self.to(file)}", "")

    def changing(self, file: str) -> AbstractContextManager[None]:
        """Translate what goes wrong while a file is written, renamed or deleted."""
        return _translated(f"cannot write {self.to(file)}", "; files that have their names are whole")


class Summed(io.RawIOBase):
    """A file that is written from its start to its end: how much that is, and its checksum."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.bytes = 0
        self.crc32 = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return how much there is."""
        return self.bytes

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._stream.write(data)
        size = memoryview(data).nbytes
        self.crc32 = zlib.crc32(data, self.crc32)
        self.bytes += size
        return size


@contextmanager
def _translated(what: str, hint: str) -> Iterator[None]:
    try:
        yield
    except KafkalabError:
        raise
    except (OSError, pa.ArrowException, UnicodeError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise ExportError(f"{what}: {why}{hint}") from error
