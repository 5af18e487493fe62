"""Where files go: a folder of this machine, or one of an object store; a file gets its name once it is whole."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.fs

from kafkalab.errors import ArgumentError, ExportError, KafkalabError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        with self._translated(""):
            self.filesystem.create_dir(self.path, recursive=True)

    def files(self) -> list[str]:
        """Return the names of the files in it, sorted; none where it is no folder."""
        if self.filesystem.get_file_info(self.path).type == pa.fs.FileType.File:
            return []
        found = self.filesystem.get_file_info(pa.fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == pa.fs.FileType.File)

    def size(self, file: str) -> int | None:
        """Return a file's size, None where there is none."""
        info = self.filesystem.get_file_info(self._path(file))
        return info.size if info.type == pa.fs.FileType.File else None

    def open(self, file: str) -> pa.NativeFile:
        """Open a file to read it."""
        return self.filesystem.open_input_file(self._path(file))

    @contextmanager
    def writing(self, file: str) -> Iterator[BinaryIO]:
        """Open a file to write it; it is on the disk when this ends, and gone when it fails."""
        with self._translated(file):
            try:
                with self._create(file) as stream:
                    yield stream
                    if self.is_local:
                        stream.flush()
                        os.fsync(stream.fileno())
            except BaseException:
                self.delete(file)
                raise

    def _create(self, file: str) -> BinaryIO:
        path = self._path(file)
        stream: BinaryIO = open(path, "wb") if self.is_local else self.filesystem.open_output_stream(path)  # noqa: PTH123, SIM115 - closed by the caller
        return stream

    def rename(self, file: str, to: str) -> None:
        """Give a file another name, whatever had that name before."""
        with self._translated(to):
            self.filesystem.move(self._path(file), self._path(to))
            if self.is_local:
                folder = os.open(self.path, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)

    def delete(self, file: str) -> None:
        """Delete a file, if it is there."""
        if self.size(file) is not None:
            with self._translated(file):
                self.filesystem.delete_file(self._path(file))

    def _path(self, file: str) -> str:
        return f"{self.path.rstrip('/')}/{file}"

    @contextmanager
    def _translated(self, file: str) -> Iterator[None]:
        try:
            yield
        except KafkalabError:
            raise
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else error
            message = f"cannot write {self.to(file)}: {why}; files that have their names are whole"
            raise ExportError(message) from error
