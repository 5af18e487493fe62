"""Pipes that a forked child, as multiprocessing may make one, does not keep open."""

from __future__ import annotations

import functools
import os
import weakref
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess


def close_in_forked_children(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe to a process in each forked child: its end tells the process that its owner is gone."""
    if process.stdin is not None:
        _pipes().add(process.stdin)


@functools.cache
def _pipes() -> weakref.WeakSet[IO[bytes]]:
    pipes: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()

    def close() -> None:
        for pipe in list(pipes):
            getattr(pipe, "raw", pipe).close()  # what is still in a buffer is the owner's to write

    os.register_at_fork(after_in_child=close)
    return pipes
