"""Brokers that refuse a login, break it off, or answer it with anything: one kind of error, and no secret in it."""

import contextlib
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

import kafkalab as kl
from kafkalab._native import StopFlag
from kafkalab.fetch.arrow import ArrowFetcher
from kafkalab.net.connections import Connections
from kafkalab.net.requests import API_VERSIONS, FETCH, SASL_AUTHENTICATE, SASL_HANDSHAKE
from kafkalab.net.wire import BrokerConnection

SECRET = "hunter2-is-secret"
PATIENCE_S = 8.0
VERSIONS = MappingProxyType({FETCH: (4, 11), SASL_HANDSHAKE: (0, 1), API_VERSIONS: (0, 3), SASL_AUTHENTICATE: (0, 2)})
MECHANISMS = ("PLAIN", "OAUTHBEARER", "SCRAM-SHA-256", "SCRAM-SHA-512")
ACCEPTED = struct.pack(">hhi", 0, -1, 0) + struct.pack(">q", 0)


def told(versions: Mapping[int, tuple[int, int]]) -> bytes:
    entries = b"".join(struct.pack(">hhh", key, *span) for key, span in versions.items())
    return struct.pack(">hi", 0, len(versions)) + entries


def refusal(reason: bytes, code: int = 58, message: bytes = b"", *, v0: bool = False) -> bytes:
    lifetime = b"" if v0 else struct.pack(">q", 0)
    return struct.pack(">hh", code, len(reason)) + reason + struct.pack(">i", len(message)) + message + lifetime


Answer = Callable[[bytes], bytes | None]
"""Takes what was sent, and gives the answer's body; None closes the connection."""


class LoginBroker:
    """Answers on loopback what a test says, by the key of the request, or of its place where it has no header."""

    def __init__(self, answers: Mapping[int, Answer], versions: Mapping[int, tuple[int, int]]) -> None:
        self._answers = {API_VERSIONS: lambda _: told(versions), SASL_HANDSHAKE: lambda _: b"\0\0\0\0\0\0", **answers}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked: list[tuple[int, int]] = []
        self.raw: list[bytes] = []

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, struct.error):
            client.settimeout(PATIENCE_S)
            while True:
                key, number, sent = self._request(client)
                body = self._answers[key](sent)
                if body is None:
                    return
                client.sendall(struct.pack(">i", len(number + body)) + number + body)

    def _request(self, client: socket.socket) -> tuple[int, bytes, bytes]:
        """Return the key, the correlation id, and the body; after a handshake of version 0 there is only a body."""
        frame = _exactly(client, struct.unpack(">i", _exactly(client, 4))[0])
        if self.asked[-1:] == [(SASL_HANDSHAKE, 0)]:
            self.raw.append(frame)
            return SASL_AUTHENTICATE, b"", frame
        key, version, _, name = struct.unpack_from(">hhih", frame)
        self.asked.append((key, version))
        return key, frame[4:8], frame[10 + name :]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := client.recv(count - len(data))):
        data += more
    return data


@contextlib.contextmanager
def broker(answers: Mapping[int, Answer], versions: Mapping[int, tuple[int, int]] = VERSIONS) -> Iterator[LoginBroker]:
    server = LoginBroker(answers, versions)
    threading.Thread(target=server.accept, daemon=True).start()
    try:
        yield server
    finally:
        server.close()


def config_of(mechanism: str) -> kl.ConnectionConfig:
    options: dict[str, Any] = {
        "bootstrap.servers": "a",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "socket.timeout.ms": "5000",
    }
    if mechanism == "OAUTHBEARER":
        options["oauth_cb"] = lambda _: (SECRET, time.time() + 100)
    else:
        options |= {"sasl.username": "alice", "sasl.password": SECRET}
    return kl.ConnectionConfig(options)


def opened(server: LoginBroker, mechanism: str) -> BrokerConnection:
    return BrokerConnection(config_of(mechanism), "127.0.0.1", server.port, StopFlag())


def frames_of(error: BaseException | None) -> Iterator[str]:
    """Yield what a traceback that shows variables shows: of the error, and of all that it came from."""
    while error is not None:
        yield repr(error)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "kafkalab" in frame.f_globals.get("__name__", ""):
                yield from (f"{frame.f_code.co_name}.{name} = {value!r}" for name, value in frame.f_locals.items())
        error = error.__cause__ or error.__context__


def refused(answer: Answer, mechanism: str) -> kl.KafkalabError:
    with broker({SASL_AUTHENTICATE: answer}) as server, pytest.raises(kl.KafkalabError) as caught:
        opened(server, mechanism)
    shown = list(frames_of(caught.value))
    assert len(shown) > 10
    assert [line for line in shown if SECRET in line] == []
    return caught.value


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize(
    "answer",
    [
        refusal(b"no"),
        refusal(b"", 1),
        refusal(b"no", message=SECRET.encode()),
        b"",
        b"\0",
        b"\0\0\0\0",
        b"\0\0\xff\xff\x7f\xff\xff\xff",
        refusal(b"\xff\xfe"),
        None,
    ],
)
def test_no_refused_login_shows_its_secret(mechanism: str, answer: bytes | None) -> None:
    error = refused(lambda _: answer, mechanism)
    assert isinstance(error, kl.AuthenticationError | kl.BrokerUnreachableError)


@pytest.mark.parametrize("mechanism", MECHANISMS[1:])
@pytest.mark.parametrize("message", [b"\xff\xfe", b"text", b"r=x,s=x,i=1"])
def test_a_message_that_no_login_ends_with_is_refused(mechanism: str, message: bytes) -> None:
    assert isinstance(refused(lambda _: refusal(SECRET.encode(), 0, message), mechanism), kl.AuthenticationError)


@pytest.mark.parametrize("mechanism", ["PLAIN", "OAUTHBEARER"])
def test_what_a_broker_repeats_of_a_login_is_not_shown(mechanism: str) -> None:
    error = refused(lambda body: refusal(b"you sent " + body[4:] + b" and \x1b[31m" + SECRET.encode()), mechanism)
    assert "refused the login: you sent ***" in str(error)
    assert "and \\x1b[31m***" in str(error)


def test_a_token_that_a_challenge_repeats_is_not_shown() -> None:
    error = refused(lambda _: refusal(b"", 0, b'{"status": "no ' + SECRET.encode() + b'"}'), "OAUTHBEARER")
    assert 'refused the token: {"status": "no ***"}' in str(error)


@pytest.mark.parametrize("mechanism", ["PLAIN", "OAUTHBEARER"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [(refusal(b"no"), kl.AuthenticationError), (b"\0", kl.AuthenticationError), (None, ConnectionResetError)],
)
def test_a_login_that_is_renewed_shows_no_secret_either(
    mechanism: str, answer: bytes | None, kind: type[Exception]
) -> None:
    answers = iter([ACCEPTED, answer])
    with broker({SASL_AUTHENTICATE: lambda _: next(answers)}) as server:
        connection = opened(server, mechanism)
        with pytest.raises(kind) as caught:
            connection.login()
        connection.close()
    assert [line for line in frames_of(caught.value) if SECRET in line] == []


@pytest.mark.parametrize("handshake", [b"", b"\0", b"\0\x21\0\0\0\0", None])
def test_a_handshake_that_is_refused_or_cut(handshake: bytes | None) -> None:
    with broker({SASL_HANDSHAKE: lambda _: handshake}) as server, pytest.raises(kl.KafkalabError) as caught:
        opened(server, "PLAIN")
    expected = kl.BrokerUnreachableError if handshake is None else kl.AuthenticationError
    assert isinstance(caught.value, expected)


@pytest.mark.parametrize(
    ("versions", "spoken"),
    [
        ({SASL_HANDSHAKE: (0, 1), SASL_AUTHENTICATE: (0, 0)}, [(SASL_HANDSHAKE, 1), (SASL_AUTHENTICATE, 0)]),
        ({SASL_HANDSHAKE: (0, 1), SASL_AUTHENTICATE: (0, 2)}, [(SASL_HANDSHAKE, 1), (SASL_AUTHENTICATE, 1)]),
        ({SASL_HANDSHAKE: (0, 0)}, [(SASL_HANDSHAKE, 0)]),
    ],
)
def test_the_versions_that_a_broker_speaks_are_spoken(
    versions: dict[int, tuple[int, int]], spoken: list[tuple[int, int]]
) -> None:
    v0 = versions.get(SASL_AUTHENTICATE) == (0, 0)
    answer = b"" if SASL_AUTHENTICATE not in versions else ACCEPTED[:8] if v0 else ACCEPTED
    with broker({SASL_AUTHENTICATE: lambda _: answer}, {FETCH: (4, 11), **versions}) as server:
        connection = opened(server, "PLAIN")
        assert server.asked == [(API_VERSIONS, 0), *spoken]
        assert server.raw == ([] if SASL_AUTHENTICATE in versions else [f"\0alice\0{SECRET}".encode()])
        connection.close()


def test_a_broker_of_an_old_form_that_refuses_hangs_up() -> None:
    versions = {FETCH: (4, 11), SASL_HANDSHAKE: (0, 0)}
    with broker({SASL_AUTHENTICATE: lambda _: None}, versions) as server:
        with pytest.raises(kl.AuthenticationError, match="refused the login, without a reason") as caught:
            opened(server, "PLAIN")
        assert [line for line in frames_of(caught.value) if SECRET in line] == []


@pytest.mark.parametrize(
    "versions", [{}, {SASL_HANDSHAKE: (2, 3)}, {SASL_HANDSHAKE: (1, 1), SASL_AUTHENTICATE: (3, 4)}]
)
def test_versions_that_nobody_speaks_are_told(versions: dict[int, tuple[int, int]]) -> None:
    with (
        broker({SASL_AUTHENTICATE: lambda _: ACCEPTED}, {FETCH: (4, 11), **versions}) as server,
        pytest.raises(kl.UnsupportedError, match="takes no login that this engine knows"),
    ):
        opened(server, "PLAIN")


@pytest.mark.parametrize("given", [None, "token", (), (1, 2), (None,), 7])
def test_a_callback_that_gives_no_token_is_told(given: Any) -> None:
    config = kl.ConnectionConfig({**config_of("OAUTHBEARER").options, "oauth_cb": lambda _: given})
    with broker({}) as server, pytest.raises(kl.AuthenticationError, match="oauth_cb must return a token"):
        BrokerConnection(config, "127.0.0.1", server.port, StopFlag())


def test_a_callback_that_fails_is_named() -> None:
    def fail(_: str) -> None:
        raise LookupError("no ticket")

    config = kl.ConnectionConfig({**config_of("OAUTHBEARER").options, "oauth_cb": fail})
    with broker({}) as server, pytest.raises(kl.AuthenticationError, match="oauth_cb failed: LookupError: no ticket"):
        BrokerConnection(config, "127.0.0.1", server.port, StopFlag())


@pytest.mark.parametrize("port", [0, -1, 65536, 70000, 2**40])
def test_a_port_that_is_none_is_told(port: int) -> None:
    with pytest.raises(kl.BrokerUnreachableError, match=f"127.0.0.1:{port} is the address of no broker"):
        BrokerConnection(config_of("PLAIN"), "127.0.0.1", port, StopFlag())


@pytest.mark.parametrize("host", ["", "a\0b", "no such host", "x" * 300, "[::1", "é\u202e"])
def test_a_host_that_is_none_is_told(host: str) -> None:
    with pytest.raises(kl.BrokerUnreachableError) as caught:
        BrokerConnection(config_of("PLAIN"), host, 9, StopFlag())
    assert str(caught.value).isprintable()


class Brokers:
    """What an engine asks a cluster for before it reads."""

    def __init__(self, mechanism: str, *ports: int) -> None:
        self.config = config_of(mechanism)
        self.connections = Connections(self.config)
        self._ports = ports

    def brokers(self) -> dict[int, tuple[str, int]]:
        return {number: ("127.0.0.1", port) for number, port in enumerate(self._ports)}


def engine_of(*ports: int) -> ArrowFetcher:
    brokers: Any = Brokers("PLAIN", *ports)
    return ArrowFetcher(brokers.config, brokers)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_an_engine_that_no_broker_lets_in_says_why() -> None:
    away = closed_port()
    fetcher = engine_of(away, away)
    assert f"127.0.0.1:{away}" in str(fetcher.refusal())
    with broker({SASL_AUTHENTICATE: lambda _: ACCEPTED}) as server:
        fetcher = engine_of(away, server.port)
        assert fetcher.refusal() is None
    with broker({SASL_AUTHENTICATE: lambda _: refusal(b"no")}) as server:
        fetcher = engine_of(away, server.port, away)
        assert "refused the login: no" in str(fetcher.refusal())
