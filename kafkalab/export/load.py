"""Exported files as a frame again, with the receipt of how they were read; no cluster is asked."""

from __future__ import annotations

import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa

from kafkalab.decode.joining import unify
from kafkalab.errors import ArgumentError, ExportError, KafkalabWarning
from kafkalab.export.folder import Folder
from kafkalab.export.formats import file_format
from kafkalab.export.manifest import SUFFIX, Manifest, WrittenFile, manifest_name
from kafkalab.frame import to_frame
from kafkalab.model import Receipt

if TYPE_CHECKING:
    import os

    import pandas as pd

    from kafkalab.frame import DtypeBackend


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
        A file of it is not there.

    Warns
    -----
    KafkalabWarning
        The export was cut off: the frame has what it had written.

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
    names = folder.files()
    if names:
        files = _listed(folder, [name for name in names if name.endswith(SUFFIX)])
    else:
        folder, files = _single(folder)
    read = [
        _read(folder, file)
        for file in sorted(files, key=lambda file: (file.part.topic, file.part.partition, file.part.start))
    ]
    return to_frame(
        unify([table for table, _ in read]).unify_dictionaries(),
        Receipt.merge(receipt for _, receipt in read),
        dtype_backend,
    )


def _listed(folder: Folder, names: list[str]) -> list[WrittenFile]:
    manifests = [manifest for name in names if (manifest := Manifest.load(folder, name)) is not None]
    if len({manifest.topic for manifest in manifests}) < len(manifests):
        message = (
            f"{folder.name} has a topic in several formats: export each to its own folder, or load one of the files"
        )
        raise ArgumentError(message)
    for manifest in manifests:
        if manifest.pending:
            left = ", ".join(str(part.offset_range) for part in manifest.pending)
            message = f"the export in {folder.name} was cut off before {left}: export with resume=True goes on with it"
            warnings.warn(message, KafkalabWarning, stacklevel=3)
    if not any(manifest.written for manifest in manifests):
        message = f"{folder.name} has no export: there is no file whose name ends in {SUFFIX}"
        raise ArgumentError(message)
    return [file for manifest in manifests for file in manifest.written]


def _single(path: Folder) -> tuple[Folder, list[WrittenFile]]:
    """Return a file's folder, and what its manifest has of it."""
    where = PurePosixPath(path.path)
    folder = Folder(path.filesystem, str(where.parent), str(PurePosixPath(path.name).parent))
    topic, file_format = where.name.split("+")[0], where.suffix[1:]
    manifest = Manifest.load(folder, manifest_name(topic, file_format))
    files = [file for file in manifest.written if file.name == where.name] if manifest else []
    if not files:
        message = f"{path.name} is no folder with an export, and no file that the manifest of one lists"
        raise ArgumentError(message)
    return folder, files


def _read(folder: Folder, file: WrittenFile) -> tuple[pa.Table, Receipt]:
    # Listed, but not named yet: the export was cut off in between.
    name = file.aside if folder.size(file.aside) is not None else file.name
    if folder.size(name) is None:
        message = f"{folder.to(file.name)} is not there, though the manifest lists it: export it again"
        raise ExportError(message, topic=file.part.topic, partition=file.part.partition, offset=file.part.start)
    with folder.open(name) as stream:
        tables = list(file_format(file.file_format).read(stream, file.schema))
    table = pa.concat_tables(tables) if tables else file.schema.empty_table()
    return table.replace_schema_metadata(None), Receipt.from_json(file.receipt)
