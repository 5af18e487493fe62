"""The rows of a file that an export wrote: all of them as they were, or an error."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from kafkalab.errors import ExportError
from kafkalab.export.folder import MissingFileError
from kafkalab.export.formats import file_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafkalab.export.folder import Folder
    from kafkalab.export.manifest import WrittenFile


def stored(folder: Folder, file: WrittenFile) -> Iterator[pa.Table]:
    """Yield the rows of a file, a part at a time where its format allows it.

    Raises
    ------
    ExportError
        It is not there, or is not as it was written.
    """
    data = _bytes(folder, file)
    if (data.size, zlib.crc32(data)) != (file.bytes, file.crc32):
        raise _damaged(folder, file, "it is not as it was written")
    rows = 0
    try:
        for table in file_format(file.file_format).read(pa.BufferReader(data), file.schema):
            table.validate(full=True)
            rows += table.num_rows
            yield table.replace_schema_metadata(None)
    except Exception as error:
        raise _damaged(folder, file, repr(error)) from error
    if rows != file.rows:
        raise _damaged(folder, file, f"it has {rows} rows, not {file.rows}")


def _bytes(folder: Folder, file: WrittenFile) -> pa.Buffer:
    # Listed, but not named yet: the export was cut off in between, or is just about to.
    for name in (file.name, file.aside, file.name):
        with suppress(MissingFileError):
            return folder.read(name)
    part = file.part
    message = f"{folder.to(file.name)} is not there, though the manifest lists it: export it again"
    raise MissingFileError(message, topic=part.topic, partition=part.partition, offset=part.start)


def _damaged(folder: Folder, file: WrittenFile, why: str) -> ExportError:
    part = file.part
    message = f"{folder.to(file.name)} is damaged: {why}; export it again with overwrite=True"
    return ExportError(message, topic=part.topic, partition=part.partition, offset=part.start)
