"""The one place that redraws: a thread that is there only as long as there is something to show."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LISTEN_S = 0.5


class Pulse:
    """Calls a function some time after it was asked to, however often that was, and never twice within an interval.

    Clicks do not reach Python while a cell runs, but what a thread sends does reach the notebook: so it is a thread.

    Parameters
    ----------
    beat : callable
        What to call.
    is_live : callable
        Whether more is to be expected; if not, the thread ends.
    interval : float
        Seconds.
    """

    def __init__(self, beat: Callable[[], object], is_live: Callable[[], bool], interval: float = 0.4) -> None:
        self._beat = beat
        self._is_live = is_live
        self._interval = interval
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def poke(self) -> None:
        """Ask for a call; this never waits."""
        with self._lock:
            self._due.set()
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="kafkalab-panel", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Call no more."""
        self._closed.set()
        self._due.set()

    def _run(self) -> None:
        while not self._is_over():
            if self._due.wait(_LISTEN_S) and not self._closed.is_set():
                self._due.clear()
                self._beat()
                self._closed.wait(self._interval)

    def _is_over(self) -> bool:
        with self._lock:
            over = self._closed.is_set() or not (self._due.is_set() or self._is_live())
            if over:
                self._thread = None
            return over
