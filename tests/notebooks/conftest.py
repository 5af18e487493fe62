"""Notebooks, executed as a reader executes them: from top to bottom, in a kernel of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CELL_SECONDS = 120


@pytest.fixture(scope="session")
def executed() -> Callable[[str], Any]:
    """Execute a notebook once, and give it with its outputs; a cell that fails is an error."""
    done: dict[str, Any] = {}

    def execute(name: str) -> Any:
        if name not in done:
            notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
            client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3")
            done[name] = client.execute(cwd=str(NOTEBOOKS))
        return done[name]

    return execute
