"""Tells a value that is shown from one that was picked: an observer is called for both."""

from __future__ import annotations

import threading
from typing import Self


class Quiet:
    """Within ``with quiet:``, ``quiet.here`` is true in that thread and in no other: no click is lost meanwhile."""

    def __init__(self) -> None:
        self._threads: set[int] = set()

    @property
    def here(self) -> bool:
        """Whether this thread is only showing something."""
        return threading.get_ident() in self._threads

    def __enter__(self) -> Self:
        self._threads.add(threading.get_ident())
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.discard(threading.get_ident())
