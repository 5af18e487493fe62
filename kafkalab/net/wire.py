"""A native connection to one broker: opened as the options ask, its versions known, logged in."""

from __future__ import annotations

import itertools
import struct
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kafkalab import _native
from kafkalab.errors import (
    BrokerUnreachableError,
    ConfigError,
    CorruptDataError,
    KafkalabError,
    TlsError,
    UnsupportedError,
)
from kafkalab.net import requests
from kafkalab.net.coverage import verifies
from kafkalab.net.login import Login
from kafkalab.net.requests import (
    LARGEST_BATCH_BYTES,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kafkalab.connection import ConnectionConfig
    from kafkalab.net.requests import PartitionFetch, Request

_T = TypeVar("_T")
_PORTS = range(1, 2**16)
_TIMEOUT_S = 30.0
_CONNECT_S = 10.0
_LONGEST_WAIT_S = 1.0  # of a fetch, for records to come
_MOST_HEAD_BYTES = 16 << 20  # of an answer, beside its records
_RENEWED_AT = 0.8  # of a login's lifetime
_LEAST_LIFETIME_S = 1.1  # a broker takes no second login within a second, but one after the lifetime


def _tls(config: ConnectionConfig) -> _native.TlsOptions | None:
    if not config.security_protocol.endswith("SSL"):
        return None
    location = config.get("ssl.ca.location")
    return _native.TlsOptions(
        ca_pem=_pem(config, "ssl.ca.pem", None if location == "probe" else location),
        certificate_pem=_pem(config, "ssl.certificate.pem", config.get("ssl.certificate.location")),
        key_pem=_pem(config, "ssl.key.pem", config.get("ssl.key.location")),
        verify=verifies(config),
    )


def _pem(config: ConnectionConfig, name: str, location: str | None) -> bytes | None:
    given = config.get(name)
    if given is not None:
        return str(given).encode()
    try:
        return Path(location).read_bytes() if location else None
    except OSError as error:
        raise ConfigError(f"{location} cannot be read: {error.strerror}") from error


def _seconds(config: ConnectionConfig, name: str, default: float) -> float:
    return int(config.get(name, default * 1000)) / 1000


class BrokerConnection:
    """A connection to one broker, ready to fetch and to be asked.

    Parameters
    ----------
    config : ConnectionConfig
        How to get in.
    host, port
        Where the broker is.
    stop : StopFlag
        Ends every wait; whoever uses the connection next puts in another.
    timeout : float, optional
        Seconds that the broker has at most for each step of the way in; the options' own by default.

    Attributes
    ----------
    versions : dict of int to (int, int)
        The least and the most version of each request that the broker takes.

    Raises
    ------
    BrokerUnreachableError, TlsError, AuthenticationError
        It does not let us in.
    """

    def __init__(
        self, config: ConnectionConfig, host: str, port: int, stop: _native.StopFlag, timeout: float | None = None
    ) -> None:
        if port not in _PORTS:
            raise BrokerUnreachableError(f"{host}:{port} is the address of no broker: a port is 1 to 65535")
        self._config = config
        self._address = f"{host}:{port}"
        self.stop = stop
        self._unanswered = 0
        self._ids = itertools.count(1)
        self._bounds: dict[int, tuple[int, int]] = {}  # of the answers to come: partitions and bytes
        self._client_id = str(config.get("client.id", "kafkalab"))
        most = float("inf") if timeout is None else timeout
        usual = _seconds(config, "socket.timeout.ms", _TIMEOUT_S)
        self._timeout_s = min(usual, most)
        self._login_ends = float("inf")
        with self._explained():
            self._native = _native.Connection.open(
                host,
                port,
                connect_timeout=min(_seconds(config, "socket.connection.setup.timeout.ms", _CONNECT_S), most),
                address_family=str(config.get("broker.address.family", "any")),
                tls=_tls(config),
                stop=stop,
            )
            try:
                self.versions = self._agree()
                self.fetch_version = self._common(requests.FETCH, requests.FETCH_VERSIONS)
                self.login()
            except BaseException:
                self._native.close()
                raise
        self._timeout_s = usual

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Tell kafkalab's errors for what can go wrong while a connection is opened."""
        try:
            yield
        except _native.TlsError as error:
            raise TlsError(f"{self._address}: {error}") from error
        except (_native.MalformedResponseError, struct.error) as error:
            raise self._no_broker(error) from error
        except KafkalabError:
            raise  # some of these are OSErrors too
        except OSError as error:
            raise BrokerUnreachableError(self._why(error)) from error

    def _why(self, error: OSError) -> str:
        address = self._address
        if isinstance(error, ConnectionRefusedError):
            return f"nothing listens at {address} (connection refused): check host and port, and that the broker runs"
        if "failed to lookup address" in str(error):
            return (
                f"the host name in {address} cannot be resolved: check its spelling, or the network (VPN) that knows it"
            )
        if not isinstance(error, TimeoutError):
            return f"{address}: {error}"
        if hasattr(self, "_native"):
            return f"{address} takes the connection but does not answer as a Kafka broker: check host and port"
        return f"{address} does not answer: check host and port, and whether a firewall or VPN is in between"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise kafkalab's errors for what goes wrong later; what another connection may mend stays an OSError."""
        try:
            yield
        except _native.MalformedResponseError as error:
            raise CorruptDataError(f"{self._address}: {error}") from error
        except _native.TlsError as error:
            raise ConnectionResetError(f"{self._address}: {error}") from error

    def _no_broker(self, why: object) -> BrokerUnreachableError:
        return BrokerUnreachableError(f"{self._address} answers as no Kafka broker does: check host and port ({why})")

    def close(self) -> None:
        """Close it; a wait in another thread ends."""
        self._native.close()

    @property
    def is_reusable(self) -> bool:
        """Whether it can go to somebody else: no answer is to come, the login holds, and the broker has not hung up."""
        return not self._unanswered and not self.login_is_due and self._native.is_quiet()

    @property
    def login_is_due(self) -> bool:
        """Whether the login is to be renewed before the next request."""
        return time.monotonic() > self._login_ends

    def _agree(self) -> dict[int, tuple[int, int]]:
        code, apis = self.ask(requests.api_versions())
        if code:
            raise self._no_broker(f"error {code} instead of the versions that it speaks")
        return {key: (least, most) for key, least, most in apis}

    def _ask(self, key: int, version: int, body: bytes) -> bytes:
        correlation_id = next(self._ids)
        header = struct.pack(">hhi", key, version, correlation_id) + string(self._client_id.encode())
        self._send(header + body)
        answer = self._receive(self._timeout_s)
        if answer[:4] != struct.pack(">i", correlation_id):
            raise self._no_broker("another correlation id than the one sent")
        return answer[4:]

    def _send(self, frame: bytes) -> None:
        self._unanswered += 1
        self._native.send(frame, timeout=self._timeout_s, stop=self.stop)

    def _receive(self, timeout: float) -> bytes:
        answer = self._native.receive(timeout, stop=self.stop)
        self._unanswered -= 1
        return answer

    # Requests

    def version(self, request: Request[object]) -> int:
        """Return the latest version of a request that the broker and this side know.

        Raises
        ------
        UnsupportedError
            There is none.
        """
        return self._common(request.key, request.versions)

    def _common(self, key: int, versions: range) -> int:
        least, most = self.versions.get(key, (0, -1))
        common = [version for version in versions if least <= version <= most]
        if not common:
            here = f"{versions[0]} to {versions[-1]}"
            there = f"only versions {least} to {most}" if most >= least else "no version"
            text = f"{self._address} knows {there} of request {key}, and kafkalab {here}: use another broker"
            raise UnsupportedError(text)
        return common[-1]

    def send(self, request: Request[object]) -> tuple[int, int]:
        """Send a request; return the version and the number of its answer, which comes after those asked for before."""
        version = self.version(request) if request.key != requests.API_VERSIONS else 0
        correlation_id = next(self._ids)
        self._send(request.encode((version, correlation_id, self._client_id)))
        return version, correlation_id

    def receive(self, request: Request[_T], sent: tuple[int, int], timeout: float | None = None) -> _T:
        """Return the next answer, which must be of this request.

        Raises
        ------
        MalformedResponseError
            It is not.
        OSError
            The connection broke, or nothing came in time.
        """
        answer = self._receive(self._timeout_s if timeout is None else timeout)
        try:
            return request.decode(answer, *sent)
        except _native.MalformedResponseError:
            self.close()
            raise

    def ask(self, request: Request[_T]) -> _T:
        """Send a request and return its answer."""
        return self.receive(request, self.send(request))

    # Login

    def login(self) -> None:
        """Log in, or anew: nothing may be in flight."""
        if not self._config.security_protocol.startswith("SASL"):
            return
        self._login_ends = float("inf")  # until the broker says otherwise
        with self._translated():
            lifetime_ms = Login(self._config, self._address, self.versions, self._ask, self._ask_raw).run()
        if lifetime_ms > 0:
            self._login_ends = time.monotonic() + max(lifetime_ms / 1000 * _RENEWED_AT, _LEAST_LIFETIME_S)

    def _ask_raw(self, message: bytes) -> bytes:
        self._native.send(message, timeout=self._timeout_s, stop=self.stop)
        return self._native.receive(self._timeout_s, stop=self.stop)

    # Fetch

    def send_fetch(
        self,
        topic: str,
        parts: Sequence[PartitionFetch],
        *,
        read_committed: bool,
        max_wait_ms: int,
        max_bytes: int,
    ) -> int:
        """Ask for records without a session; return the correlation id of the answer."""
        request = requests.fetch(
            topic, parts, read_committed=read_committed, max_wait_ms=max_wait_ms, max_bytes=max_bytes
        )
        with self._translated():
            _, correlation_id = self.send(request)
        # A broker gives a whole batch, however little is asked for.
        self._bounds[correlation_id] = (len(parts), max_bytes + LARGEST_BATCH_BYTES + _MOST_HEAD_BYTES)
        return correlation_id

    def receive_fetch(self, correlation_id: int) -> _native.FetchResponse:
        """Return the answer to a fetch.

        Raises
        ------
        CorruptDataError
            It is no answer to this request, or much more than was asked for.
        OSError
            The connection broke: another one may do.
        """
        version, timeout = self.fetch_version, self._timeout_s + _LONGEST_WAIT_S
        partitions, max_bytes = self._bounds.pop(correlation_id)
        with self._translated():
            answer = self._native.receive_fetch(
                timeout,
                version=version,
                correlation_id=correlation_id,
                partitions=partitions,
                max_bytes=max_bytes,
                stop=self.stop,
            )
        self._unanswered -= 1
        return answer
