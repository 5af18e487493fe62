"""The manifest on the disk: saved whole now and then, and between by what was added, so that no file costs them all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kafkalab.export import names
from kafkalab.export.manifest import entry_json

if TYPE_CHECKING:
    from kafkalab.export.folder import Folder
    from kafkalab.export.manifest import Manifest, WrittenFile

_FEW = 64
"""So many additions are written one by one at least, before they and the manifest become one file."""


@dataclass(slots=True)
class Journal:
    """A manifest that changes, each change on the disk before the next.

    Parameters
    ----------
    manifest : Manifest
        As it is on the disk, or is to be.
    entries : list of str
        Additions that the next whole one makes void.
    """

    folder: Folder
    manifest: Manifest
    entries: list[str] = field(default_factory=list)
    _added: int | None = None
    _files: int = 0

    def add(self, file: WrittenFile) -> None:
        """List a file that is whole, under its other name."""
        self._change(self.manifest.with_file(file), file, None)

    def replace(self, number: int, file: WrittenFile) -> None:
        """List a later version of a file in its place."""
        self._change(self.manifest.with_replaced(number, file), file, number)

    def save(self, manifest: Manifest) -> None:
        """Write a manifest whole."""
        manifest = replace(manifest, save=manifest.save + 1)
        self._write(manifest.file_name, manifest.to_json())
        self.manifest, self._added, self._files = manifest, 0, len(manifest.written)
        while self.entries:
            self.folder.delete(self.entries.pop())

    def settle(self) -> None:
        """Give files their names, and delete those that count no more, where an export was cut off before it did."""
        manifest, listed = self.manifest, self.folder.files()
        there = set(listed)
        # Files that are to replace others stay hidden until they do.
        hidden = {file.aside for file in manifest.own} if manifest.is_replacing else set()
        for file in manifest.written:
            if file.aside in there and file.aside not in hidden:
                self.folder.rename(file.aside, file.name)
        gone = {name for file in manifest.discarded for name in (file.name, file.aside)}
        cut_off = {*names.asides(manifest.topic, manifest.reading["format"], listed), _temporary(manifest.file_name)}
        kept = hidden | {name for file in manifest.written for name in (file.name, file.aside)}
        for name in sorted(((gone | cut_off) & there) - kept):
            self.folder.delete(name)

    def _change(self, changed: Manifest, file: WrittenFile, in_place_of: int | None) -> None:
        if self._added is None or self._added >= max(_FEW, self._files):
            self.save(changed)
            return
        name = names.entry(changed.file_name, changed.save, self._added)
        self._write(name, entry_json(file, in_place_of))
        self.entries.append(name)
        self.manifest, self._added = changed, self._added + 1

    def _write(self, name: str, text: bytes) -> None:
        temporary = _temporary(self.manifest.file_name)
        with self.folder.writing(temporary) as file:
            file.write(text)
        self.folder.rename(temporary, name)


def _temporary(manifest: str) -> str:
    return f".{manifest}.partial"
