"""Exported files as a frame again, with the receipt of how they were read; no cluster is asked."""

from __future__ import annotations

import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa

from kafkalab.decode.joining import unify
from kafkalab.errors import ArgumentError, KafkalabWarning
from kafkalab.export.folder import Folder, MissingFileError
from kafkalab.export.manifest import Manifest, WrittenFile
from kafkalab.export.names import SUFFIX, manifest_of
from kafkalab.export.stored import stored
from kafkalab.frame import to_frame
from kafkalab.model import Receipt

if TYPE_CHECKING:
    import os

    import pandas as pd

    from kafkalab.frame import DtypeBackend

_SHOWN = 10


def load(
    path: str | os.PathLike[str],
    *,
    filesystem: pa.fs.FileSystem | None = None,
    dtype_backend: DtypeBackend | None = None,
) -> pd.DataFrame:
    """Return what `Lab.export` has written, as the frame that `Lab.read` would have given, with its receipt.

    Parameters
    ----------
    path : path or URL
        A folder, or one of the files in it.
    filesystem : pyarrow.fs.FileSystem, optional
        What has it, where a URL does not say.
    dtype_backend : {"numpy_nullable", "pyarrow"}, optional
        As in `pandas.read_csv`.

    Returns
    -------
    pandas.DataFrame
        Ordered by topic, partition and offset. Text stays text that was made of bytes for CSV and JSON lines, and
        JSON text in CSV that was made of nested values.

    Raises
    ------
    ArgumentError
        There is no export.
    ExportError
        A file of it is not there, or is damaged.

    Warns
    -----
    KafkalabWarning
        The export was cut off, or is under way: the frame has what it had written, or what it is to replace.

    Examples
    --------
    >>> import kafkalab as kl, tempfile
    >>> cluster = kl.MemoryCluster({"orders": 1})
    >>> cluster.append("orders", b'{"amount": 5}', b'{"amount": 7}')
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = kl.Lab(cluster, cluster).export("orders", folder, value="json")
    ...     frame = kl.load(folder)
    >>> frame["amount"].tolist(), kl.receipt(frame).complete
    ([5, 7], True)
    """
    folder = Folder.at(path, filesystem)
    found = _found(folder)
    while True:
        try:
            return _frame(found, dtype_backend)
        except MissingFileError:
            before, found = found, _found(folder)
            if found == before:  # else an export has replaced it meanwhile
                raise


def _found(path: Folder) -> tuple[Folder, list[WrittenFile]]:
    names = path.files()
    return (path, _listed(path, names)) if names else _single(path)


def _frame(found: tuple[Folder, list[WrittenFile]], dtype_backend: DtypeBackend | None) -> pd.DataFrame:
    folder, files = found
    ordered = sorted(files, key=lambda file: (file.part.topic, file.part.partition, file.part.start))
    tables = [_table(folder, file) for file in ordered]
    receipt = Receipt.merge(Receipt.from_json(file.receipt) for file in ordered)
    return to_frame(unify(tables).unify_dictionaries(), receipt, dtype_backend)


def _listed(folder: Folder, names: list[str]) -> list[WrittenFile]:
    manifests = [
        manifest
        for name in names
        if name.endswith(SUFFIX) and (manifest := Manifest.load(folder, name, names)) is not None
    ]
    if len({manifest.topic for manifest in manifests}) < len(manifests):
        message = (
            f"{folder.name} has a topic in several formats: export each to its own folder, or load one of the files"
        )
        raise ArgumentError(message)
    for manifest in manifests:
        _warn_if_cut_off(folder, manifest)
    if not any(manifest.counting for manifest in manifests):
        message = f"{folder.name} has no export: there is no file whose name ends in {SUFFIX}"
        raise ArgumentError(message)
    return [file for manifest in manifests for file in manifest.counting]


def _warn_if_cut_off(folder: Folder, manifest: Manifest) -> None:
    if not manifest.pending:
        return
    shown = [str(part.offset_range) for part in manifest.pending[:_SHOWN]]
    more = f" and {len(manifest.pending) - _SHOWN} more" if len(manifest.pending) > _SHOWN else ""
    what = "the frame has what it is to replace" if manifest.is_replacing else "the frame has what it has written"
    message = (
        f"the export in {folder.name} is not finished, before {', '.join(shown)}{more}: {what}; "
        "should it have been cut off, resume=True goes on with it"
    )
    warnings.warn(message, KafkalabWarning, stacklevel=5)


def _single(path: Folder) -> tuple[Folder, list[WrittenFile]]:
    """Return a file's folder, and what its manifest has of it."""
    where = PurePosixPath(path.path)
    folder = Folder(path.filesystem, str(where.parent), str(PurePosixPath(path.name).parent))
    name = manifest_of(where.name)
    manifest = Manifest.load(folder, name, folder.files()) if name else None
    files = [file for file in manifest.counting if file.name == where.name] if manifest else []
    if not files:
        message = f"{path.name} is no folder with an export, and no file that the manifest of one lists"
        raise ArgumentError(message)
    return folder, files


def _table(folder: Folder, file: WrittenFile) -> pa.Table:
    tables = list(stored(folder, file))
    return pa.concat_tables(tables) if tables else file.schema.empty_table().replace_schema_metadata(None)
