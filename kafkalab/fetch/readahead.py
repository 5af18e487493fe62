"""Iterators run in threads of their own, ahead of their reader by a bounded number of bytes."""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from kafkalab.fetch.base import FetchControl, Fetched

    # A step and its size, or the end of a source and what ended it.
    _Item: TypeAlias = tuple[Fetched, int] | BaseException | None

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
        # Ctrl-C comes through in the reader, inside of `threading.Condition` too, which is Python; that then keeps its
        # lock for good. So what the reader shares with the threads are queues, which are not made of Python.
        self._ready: SimpleQueue[_Item] = SimpleQueue()
        self._taken: SimpleQueue[int] = SimpleQueue()
        self._bytes = 0  # of what is ready, and of what is taken and not yet counted; for one thread at a time
        self._counting = threading.Lock()
        self._error: BaseException | None = None
        self._running = len(sources)
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
        self._ready.put(error)

    def _put(self, fetched: Fetched) -> bool:
        size, stop = fetched.arrow_batch.nbytes, self._control.stop
        with self._counting:
            while self._bytes and self._bytes + size > self._most_bytes and not stop.is_set():
                with suppress(Empty):
                    self._bytes -= self._taken.get(timeout=_LOOK_S)
            self._bytes += size
        self._ready.put((fetched, size))
        return not stop.is_set()

    def get(self, seconds: float) -> Fetched | None:
        """Return what is next, or None after waiting that long, or where all sources have ended.

        Raises
        ------
        BaseException
            What ended a source, once all that came before it has been read.
        """
        while True:
            try:
                item = self._ready.get(block=not self.ended, timeout=max(0.0, seconds))
            except Empty:
                if self._error is not None:
                    raise self._error from None
                return None
            if isinstance(item, tuple):
                fetched, size = item
                if size:
                    self._taken.put(size)
                return fetched
            self._running -= 1
            self._error = self._error or item

    @property
    def ended(self) -> bool:
        """Whether nothing more can come."""
        return self._ready.empty() and (not self._running or self._error is not None)

    def close(self) -> None:
        """Stop the threads and wait until they have ended."""
        self._control.stop.set()
        self._taken.put(0)  # for one that waits
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
