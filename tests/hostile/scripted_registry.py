"""A schema registry that sends what a test scripts, byte by byte, and whatever no good server would."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

PATIENCE_S = 8.0
"""Only a test that fails waits so long."""


def http(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """Return a whole answer; underscores in the names of headers stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def content(value: Any, status: int = 200, **headers: str) -> bytes:
    return http(status, json.dumps(value).encode(), **headers)


def schema(text: str, kind: str = "AVRO", *references: tuple[str, str, int]) -> bytes:
    named = [{"name": name, "subject": subject, "version": version} for name, subject, version in references]
    return content({"schema": text, "schemaType": kind, "references": named})


class ScriptedRegistry:
    """Answers each request with what a script yields for its path; a script that ends closes the connection.

    Parameters
    ----------
    script : callable
        Takes the path with its query, and returns bytes, or an iterable of bytes, which may never end.
    """

    def __init__(self, script: Callable[[str], bytes | Iterable[bytes]]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.asked: list[str] = []
        self.headers: list[str] = []
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(PATIENCE_S)
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.headers.append(head.decode())
            path = head.split()[1].decode()
            self.asked.append(path)
            answer = self._script(path)
            for piece in (answer,) if isinstance(answer, bytes) else answer:
                client.sendall(piece)

    def pause(self, seconds: float) -> bool:
        """Wait within a script; False once the test is over."""
        return not self.ended.wait(seconds)

    def close(self) -> None:
        self.ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # or `accept` would take one more
        self._listener.close()


@contextmanager
def scripted(script: Callable[[str], bytes | Iterable[bytes]]) -> Iterator[ScriptedRegistry]:
    registry = ScriptedRegistry(script)
    threading.Thread(target=registry.accept, daemon=True).start()
    try:
        yield registry
    finally:
        registry.close()
