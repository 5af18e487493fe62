"""Iterators run in threads of their own, ahead of their reader by a bounded number of bytes."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from kafkalab.fetch.base import FetchControl, Fetched

_LOOK_S = 0.1


class ReadAhead:
    """Steps of several fetches, in the order they come, each fetch's own in its order.

    Parameters
    ----------
    sources : sequence of generator
        Each is run, and closed, by a thread of its own.
    control : FetchControl
        Its ``stop`` ends the threads.
    most_bytes : int
        How much may wait to be read; a single step may be larger.
    """

    def __init__(self, sources: Sequence[Generator[Fetched]], control: FetchControl, most_bytes: int) -> None:
        self._control = control
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[Fetched, int]] = deque()
        self._bytes = 0
        self._error: BaseException | None = None
        self._running = len(sources)
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(source,), name="kafkalab-fetch", daemon=True) for source in sources
        ]

    def start(self) -> None:
        """Begin: a step of its own, so that whoever is interrupted in it can still close."""
        for thread in self._threads:
            thread.start()

    def _run(self, source: Generator[Fetched]) -> None:
        error = None
        try:
            with closing(source):
                for fetched in source:
                    if not self._put(fetched):
                        break
        except BaseException as caught:  # noqa: BLE001 - the reader raises it
            error = caught
        finally:
            with self._changed:
                self._running -= 1
                self._error = self._error or error
                self._changed.notify_all()

    def _put(self, fetched: Fetched) -> bool:
        size = fetched.arrow_batch.nbytes
        with self._changed:
            while self._bytes and self._bytes + size > self._most_bytes and not self._control.stop.is_set():
                self._changed.wait(_LOOK_S)
            self._waiting.append((fetched, size))
            self._bytes += size
            self._changed.notify_all()
        return not self._control.stop.is_set()

    def get(self, seconds: float) -> Fetched | None:
        """Return what is next, or None after waiting that long, or where all sources have ended.

        Raises
        ------
        BaseException
            What ended a source, once all that came before it has been read.
        """
        with self._changed:
            if not self._waiting and not self.ended:
                self._changed.wait(seconds)
            if self._waiting:
                fetched, size = self._waiting.popleft()
                self._bytes -= size
                self._changed.notify_all()
                return fetched
            if self._error is not None:
                raise self._error
            return None

    @property
    def ended(self) -> bool:
        """Whether nothing more can come."""
        return not self._waiting and (not self._running or self._error is not None)

    def close(self) -> None:
        """Stop the threads and wait until they have ended."""
        self._control.stop.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
