"""The names of an export's files: made of a topic and a range, and never taken from what a file says."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SUFFIX = "+manifest.json"
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,100}")
_FILE = re.compile(r"part-(?P<topic>[A-Za-z0-9._~-]+)\+\d+\+\d+-\d+(\+\d+)?\.(?P<format>[a-z]+)")
_CUT = 100


def of_topic(topic: str) -> str:
    """Return a topic's name where it is short and plain, else a piece of it and a hash.

    Examples
    --------
    >>> of_topic("orders")
    'orders'
    >>> of_topic("../orders")
    '.._orders~b20e674b4c5892f0'
    """
    if _PLAIN.fullmatch(topic):
        return topic
    kept = re.sub(r"[^A-Za-z0-9._-]", "_", topic)[:_CUT]
    return f"{kept}~{hashlib.sha256(topic.encode(errors='surrogatepass')).hexdigest()[:16]}"


def data_file(  # noqa: PLR0917 - in the order of the name
    topic: str, partition: int, start: int, end: int, file_format: str, version: int
) -> str:
    """Return the name of a file of rows; each time that an export writes a range anew, its files are a version on.

    Examples
    --------
    >>> data_file("orders", 3, 100, 250, "parquet", 0), data_file("orders", 3, 100, 250, "csv", 2)
    ('part-orders+3+100-250.parquet', 'part-orders+3+100-250+2.csv')
    """
    later = f"+{version}" if version else ""
    return f"part-{of_topic(topic)}+{partition}+{start}-{end}{later}.{file_format}"


def aside(topic: str, partition: int, start: int, file_format: str, version: int) -> str:
    """Return the name of a file while it is written, when its end is not known yet."""
    return f".part-{of_topic(topic)}+{partition}+{start}+{version}.{file_format}.partial"


def asides(topic: str, file_format: str, names: Iterable[str]) -> list[str]:
    """Return those of the names that files of a topic have while they are written."""
    start, end = f".part-{of_topic(topic)}+", f".{file_format}.partial"
    return [name for name in names if name.startswith(start) and name.endswith(end)]


def manifest(topic: str, file_format: str) -> str:
    """Return the name of the manifest of a topic's files of a format; what reads a folder as a table skips it."""
    return f"_{of_topic(topic)}+{file_format}{SUFFIX}"


def manifest_of(file: str) -> str | None:
    """Return the name of the manifest that has to list a file, None where the name is none of an export."""
    found = _FILE.fullmatch(file)
    return found and f"_{found['topic']}+{found['format']}{SUFFIX}"


def entry(manifest: str, save: int, number: int) -> str:
    """Return the name of what has changed since a manifest was saved, in the order in which it has."""
    return f"{_entries(manifest)}{save}-{number}.json"


def entries(manifest: str, names: Iterable[str]) -> list[str]:
    """Return those of the names that changes of a manifest have."""
    return [name for name in names if name.startswith(_entries(manifest))]


def lock(topic: str, file_format: str) -> str:
    """Return the name of what an export into a topic's files holds."""
    return f".{of_topic(topic)}+{file_format}.lock"


def _entries(manifest: str) -> str:
    return f"{manifest.removesuffix(SUFFIX)}+added+"
