"""Exports in processes that kill themselves at their n-th touch of the disk."""

from __future__ import annotations

import itertools
import json
import os
import signal
import warnings
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs

import kafkalab as kl
from kafkalab.export import journal, write
from kafkalab.export.folder import Folder, Summed
from kafkalab.fetch.memory import MemoryCluster
from tests.oracle import TOPIC

if TYPE_CHECKING:
    from pathlib import Path

# The files of the first run, by partition and offset; a field comes later, and one changes its type.
FIRST = {
    0: ['{"n": 1}', '{"n": 2}', '{"n": 3}', '{"n": 4, "late": "x"}'],
    1: ['{"n": 5}', '{"n": 6}', '{"n": "seven"}', '{"n": 8}'],
}
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.exporter"])


def cluster(more: int = 0) -> MemoryCluster:
    """Return a topic, with so many records more."""
    made = MemoryCluster({TOPIC: len(FIRST)})
    for partition, values in FIRST.items():
        later = [json.dumps({"n": 100 + n, "other": n}) for n in range(more)]
        made.append(TOPIC, *(value.encode() for value in [*values, *later]), partition=partition)
    return made


def truth(more: int = 0) -> list[tuple[int, int, Any]]:
    """Return partition, offset and field of each record."""
    values = [(p, [json.loads(text)["n"] for text in texts]) for p, texts in FIRST.items()]
    return [(p, o, n) for p, known in values for o, n in enumerate([*known, *range(100, 100 + more)])]


def filesystem(kind: str, folder: Path) -> tuple[str, pa.fs.FileSystem | None]:
    """Return a path and what has it: this machine, or something that is not known to be."""
    if kind == "local":
        return str(folder), None
    from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]  # it ships no types

    return str(folder), pa.fs.PyFileSystem(pa.fs.FSSpecHandler(LocalFileSystem()))


def export(where: tuple[str, pa.fs.FileSystem | None], more: int, **options: Any) -> None:
    """Export the topic with small files."""
    write._GROUP_ROWS = 2
    journal._FEW = 3  # a few additions, then all anew
    made = cluster(more)
    path, store = where
    options = {"max_file_bytes": 1, "value": "json", "progress": False, "filesystem": store, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kl.KafkalabWarning)
        kl.Lab(made, made).export(TOPIC, path, **options)


def _killed_at(  # noqa: PLR0917 - it goes to a process
    at: int,
    fine: bool,  # noqa: FBT001 - as above
    kind: str,
    folder: Path,
    more: int,
    options: dict[str, Any],
) -> None:
    touches = itertools.count()

    def killing(verb: Any, counts: Any = lambda *_: True) -> Any:
        def call(*arguments: Any) -> Any:
            if counts(*arguments) and next(touches) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return verb(*arguments)

        return call

    # Between two of these the disk is as it is before the second.
    Summed.write = killing(Summed.write, lambda file, _: fine or not file.bytes)  # type: ignore[method-assign]  # as a kill would come
    Folder.rename = killing(Folder.rename)  # type: ignore[method-assign]  # as a kill would come
    Folder.delete = killing(Folder.delete)  # type: ignore[method-assign]  # as a kill would come
    export(filesystem(kind, folder), more, **options)


def run(target: Any, *arguments: Any) -> int | None:
    """Run a function in a new process and return how that ended."""
    process = _CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def export_killed(at: int, kind: str, folder: Path, more: int, *, fine: bool, **options: Any) -> bool:
    """Export in a process that is killed at that touch (of a file's writes the first only, unless fine is asked for).

    Return whether it had so many.
    """
    ended = run(_killed_at, at, fine, kind, folder, more, options)
    if ended not in (0, -signal.SIGKILL):
        message = f"the export ended with {ended}"
        raise AssertionError(message)
    return ended != 0
