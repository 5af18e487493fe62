"""A way to a broker that is longer than the loopback's, that can be silent, or break."""

import contextlib
import queue
import socket
import threading
import time
from typing import Self

CHUNK = 1 << 18


class Proxy:
    """Forwards connections to a port, each direction late by the same time; the order and the rate stay.

    Connections that come before the port is known wait for it. ``turns`` counts the round trips that came one after
    the other: what is asked, on any connection, after an answer has been given begins another.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.turns = 0
        self._answered = True
        self._target = 0
        self._known = threading.Event()
        self._flowing = threading.Event()
        self._flowing.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def lead_to(self, port: int) -> None:
        """Say where connections go."""
        self._target = port
        self._known.set()

    def hold(self) -> None:
        """Forward nothing more, in either direction; connections stay open, and new ones are accepted."""
        self._flowing.clear()

    def release(self) -> None:
        """Forward again, first what was held back."""
        self._flowing.set()

    def cut(self) -> None:
        """End every connection that is open."""
        opened, self._open = self._open, []
        for each in opened:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _start(self, *call: object) -> None:
        target, *args = call
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]  # a method
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                self._open.append(near)
                self._known.wait()
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:  # nothing listens there now
            near.close()
            return
        self._open.append(far)
        for source, sink in ((near, far), (far, near)):
            late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
            asks = source is near
            self._start(self._take, source, late, asks)
            self._start(self._give, late, sink, not asks)

    def _take(self, source: socket.socket, late: "queue.SimpleQueue[tuple[float, bytes]]", asks: bool) -> None:  # noqa: FBT001 - by position
        data = b"begin"
        with contextlib.suppress(OSError):
            while data:
                data = source.recv(CHUNK)
                if asks and data and self._answered:
                    self._answered = False
                    self.turns += 1
                late.put((time.monotonic() + self.delay_s, data))
        late.put((0, b""))

    def _give(self, late: "queue.SimpleQueue[tuple[float, bytes]]", sink: socket.socket, answers: bool) -> None:  # noqa: FBT001 - by position
        pause = threading.Event()
        with contextlib.suppress(OSError):
            while True:
                at, data = late.get()
                pause.wait(max(at - time.monotonic(), 0))
                self._flowing.wait()
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                self._answered |= answers
                sink.sendall(data)

    def close(self) -> None:
        """End all connections."""
        self._known.set()
        self._flowing.set()
        for each in (self._server, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for each in (self._server, *self._open):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
