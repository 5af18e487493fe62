"""HTTP questions to a server that is not trusted: bounded in size and time, and no failure holds a password."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
import zlib
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, IncompleteRead
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from kafkalab.secret import Secret, revealed

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

MOST_BYTES = 4 << 20
"""The largest answer that is read. Registries take schemas of at most 1 MB by default."""
_GZIP = 31  # zlib's number for it
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Request:
    """One question, without a user or password in its URL; with a body it is a POST."""

    url: str
    headers: Mapping[str, str | Secret]
    body: Secret | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that came whole; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the content, or None if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def ask(
    request: Request, deadline: float, *, trust: Callable[[], ssl.SSLContext], proxy: Secret | None = None
) -> Answer | str:
    """Return the answer to a question, or why it did not come before the deadline of the monotonic clock.

    Parameters
    ----------
    request : Request
        The question.
    deadline : float
        The connection is closed then, whatever the server does.
    trust : callable
        Return the TLS context; called only for https.
    proxy : Secret, optional
        The URL of a proxy, in place of the environment's.

    Notes
    -----
    A failure is text, not an exception, whose frames would hold the headers.
    """
    seconds = max(deadline - time.monotonic(), 0.0)
    line: _Line | None = None
    try:
        line = _Line(urlsplit(request.url), proxy, seconds)
        answer = line.exchange(request, trust)
    except (OSError, HTTPException, ValueError, zlib.error) as error:
        failure = f"{type(error).__name__}: {error}"
    else:
        return answer
    finally:
        if line is not None:
            line.close()
    return f"no whole answer came within {seconds:.3g} s" if line is not None and line.is_late else failure


def basic(user: str, password: str) -> Secret:
    """Return the value of an Authorization header with a user and a password."""
    return Secret("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


class _Line(HTTPConnection):
    """A connection for one exchange, which is cut when its time is over: a server may send a byte a second."""

    def __init__(self, url: SplitResult, proxy: Secret | None, seconds: float) -> None:
        via = _proxy(url, proxy)
        first = via or url
        # A host with two addresses, of which one is silent, needs time for both.
        super().__init__(first.hostname or "", first.port or _PORTS[first.scheme], timeout=max(seconds / 2, 0.001))
        self.is_late = False
        self._url, self._seconds = url, seconds
        self._is_forwarded = via is not None and url.scheme == "http"
        self._login: dict[str, str | Secret] = {}
        if via is not None and via.username is not None:
            self._login = {"Proxy-Authorization": basic(unquote(via.username), unquote(via.password or ""))}
        if via is not None and not self._is_forwarded:
            self.set_tunnel(url.hostname or "", url.port or _PORTS[url.scheme], _plain(self._login))

    def exchange(self, request: Request, trust: Callable[[], ssl.SSLContext]) -> Answer:
        """Send a request, and read the whole answer."""
        timer = threading.Timer(self._seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            self._open(trust)
            return self._exchanged(request)
        finally:
            timer.cancel()

    def _open(self, trust: Callable[[], ssl.SSLContext]) -> None:
        self.connect()
        if self._url.scheme == "https":
            # The handshake comes last, so that `_cut` finds the socket that it waits on.
            self.sock = trust().wrap_socket(
                self.sock, server_hostname=self._url.hostname, do_handshake_on_connect=False
            )
            self.sock.do_handshake()
        if self.is_late:
            raise TimeoutError

    def _exchanged(self, request: Request) -> Answer:
        target = self._url._replace(fragment="")
        if not self._is_forwarded:
            target = target._replace(scheme="", netloc="", path=target.path or "/")
        headers = {**request.headers, "Host": self._url.netloc, "Connection": "close"}
        headers |= self._login if self._is_forwarded else {}
        method, sent = ("GET", None) if request.body is None else ("POST", request.body.reveal())
        self.request(method, target.geturl(), body=sent, headers=_plain(headers))
        with self.getresponse() as response:
            body = response.read(MOST_BYTES + 1)
            if response.length and len(body) <= MOST_BYTES:
                raise IncompleteRead(body, response.length)
            found = {name.lower(): value for name, value in response.headers.items()}
        if "gzip" in found.get("content-encoding", ""):  # nobody asked for it
            body = zlib.decompressobj(_GZIP).decompress(body, MOST_BYTES + 1)
        if self.is_late:
            raise TimeoutError
        if len(body) > MOST_BYTES:
            raise ValueError(f"the answer is larger than {MOST_BYTES >> 20} MiB")
        return Answer(response.status, found, body)

    def _cut(self) -> None:
        self.is_late = True
        if self.sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def _plain(headers: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name: revealed(value) for name, value in headers.items()}


def _proxy(url: SplitResult, given: Secret | None) -> SplitResult | None:
    environment = {} if proxy_bypass(url.netloc) else getproxies()
    found = given.reveal() if given is not None else environment.get(url.scheme) or environment.get("all")
    if not found:
        return None
    proxy = urlsplit(found if "://" in found else f"http://{found}")
    if proxy.scheme != "http":
        raise ValueError(f"the proxy speaks {proxy.scheme}; only http:// proxies are supported")
    return proxy
