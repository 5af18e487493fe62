"""What a trial writes down while it runs: one JSON object a line, complete even if the writer is killed."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class History:
    """A file to which one process appends events, each in one write.

    Parameters
    ----------
    path : Path
        The file; it is made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, kind: str, **facts: Any) -> None:
        """Append an event with its time."""
        line = json.dumps({"kind": kind, "at": time.time(), **facts}) + "\n"
        os.write(self._file, line.encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def events(path: Path) -> Iterator[Event]:
    """Yield the events of a file; a last line that a kill has cut is left out."""
    if path.exists():
        with path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)
