"""The cell of a notebook that runs, and that it is run again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def kernel_shell() -> Any:
    """Return the shell of a notebook's kernel, or None outside of one."""
    found = sys.modules.get("IPython")
    shell = found.get_ipython() if found is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


def when_run_again(action: Callable[[], object], shell: Any = None) -> None:
    """Have something done once, as soon as the cell that runs now is run again; outside of a notebook, never.

    A cell is known by its id, or by its text where the front-end does not tell the id.
    """
    shell = shell if shell is not None else kernel_shell()
    if shell is None:
        return
    request = shell.get_parent() or {}
    number, text = request.get("metadata", {}).get("cellId"), request.get("content", {}).get("code")

    def before(info: Any) -> None:
        now = getattr(info, "cell_id", None)
        if (now == number) if number and now else (info.raw_cell == text):
            shell.events.unregister("pre_run_cell", before)
            action()

    shell.events.register("pre_run_cell", before)
