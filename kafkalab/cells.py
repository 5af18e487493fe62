"""Notebook cells: which one is running, and what an earlier run of it has left."""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass
from typing import Any, Protocol


class Closable(Protocol):
    """What a cell starts and another run of it replaces."""

    def close(self) -> object:
        """End it, with all that it has started."""


@dataclass(frozen=True, slots=True)
class CellRun:
    """One run of one cell."""

    cell: str
    run: str


def kernel_shell() -> Any | None:
    """Return IPython's shell if it is a notebook's; None in a terminal, in a script, and anywhere else."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if hasattr(shell, "kernel") else None


def adopt(thing: Closable) -> None:
    """Close what an earlier run of this cell has started, and have a later run close this."""
    shell = kernel_shell()
    run = None if shell is None else _current(shell)
    if run is None:
        return
    # It is the kernel that has cells, so what they have started is kept with it.
    started: list[tuple[CellRun, weakref.ref[Closable]]] = shell.__dict__.setdefault("_kafkalab_started", [])
    replaced = [entry for entry in started if entry[0].cell == run.cell and entry[0] != run]
    started[:] = [entry for entry in started if entry not in replaced and entry[1]() is not None]
    started.append((run, weakref.ref(thing)))
    for _, reference in replaced:
        earlier = reference()
        if earlier is not None:
            earlier.close()


def _current(shell: Any) -> CellRun | None:
    parent = shell.get_parent() or {}
    header = parent.get("header", {})
    if header.get("msg_type") != "execute_request":
        return None
    # A front-end that does not number its cells is known to run the same one again by what it says.
    cell = parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code", "")
    return CellRun(cell, header["msg_id"])
