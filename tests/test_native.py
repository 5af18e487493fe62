"""The native half seen from Python: responses built here, read to pyarrow through the capsule."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import os
import signal
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import trustme

from kafkalab import _native
from kafkalab._native import Connection, FetchResponse, StopFlag, TlsOptions
from tests.apache.truth import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVERYTHING = {("orders", 0): (0, 2**63 - 1, _native.Transactions())}
HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
SCHEMA = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.timestamp("ms", "UTC")),
        pa.field("timestamp_type", pa.int8(), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", HEADERS),
    ]
)


def varint(value: int) -> bytes:
    left = (value << 1) ^ (value >> 63)
    out = bytearray()
    while left >= 0x80:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def nullable(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def record(
    delta: int, key: bytes | None, value: bytes | None, headers: tuple[tuple[bytes, bytes | None], ...] = ()
) -> bytes:
    body = b"\0" + varint(delta * 10) + varint(delta) + nullable(key) + nullable(value) + varint(len(headers))
    body += b"".join(nullable(name) + nullable(content) for name, content in headers)
    return varint(len(body)) + body


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def raw_batch(
    base_offset: int, records: list[bytes], *, codec: int = 0, base_timestamp: int = 1_700_000_000_000
) -> bytes:
    payload = b"".join(records)
    payload = gzip.compress(payload) if codec == 1 else payload
    head = struct.pack(">hiqqqhii", codec, len(records) - 1, base_timestamp, base_timestamp, -1, -1, -1, len(records))
    checked = head + payload
    return struct.pack(">qiibI", base_offset, len(checked) + 9, 0, 2, crc32c(checked)) + checked


def response(records: bytes, *, correlation_id: int = 1, error_code: int = 0) -> bytes:
    topic = struct.pack(">ih6si", 1, 6, b"orders", 1)
    partition = struct.pack(">ihqqqiii", 0, error_code, 100, 90, 3, -1, -1, len(records)) + records
    return struct.pack(">iihi", correlation_id, 4, 0, 0) + topic + partition


def read(frame: bytes, **options: Any) -> list[pa.RecordBatch]:
    fetched = FetchResponse.from_bytes(frame, 11)
    steps = iter(lambda: fetched.next_step(EVERYTHING, read_committed=True, **options), None)
    return [pa.record_batch(step) for step in steps]


def test_records_reach_pyarrow_with_the_seam_s_schema() -> None:
    records = [record(0, b"k", b"v", ((b"h", None), (b"h", b"\0"))), record(1, None, b""), record(2, b"", None)]
    (arrow_batch,) = read(response(raw_batch(40, records)), headers=True)
    arrow_batch.validate(full=True)
    assert arrow_batch.schema.equals(SCHEMA)
    assert arrow_batch["offset"].to_pylist() == [40, 41, 42]
    assert arrow_batch["timestamp"].cast(pa.int64()).to_pylist() == [1_700_000_000_000 + 10 * at for at in range(3)]
    assert arrow_batch["timestamp_type"].to_pylist() == [1, 1, 1]
    assert arrow_batch["key"].to_pylist() == [b"k", None, b""]
    assert arrow_batch["value"].to_pylist() == [b"v", b"", None]
    assert arrow_batch["headers"].to_pylist() == [[{"key": "h", "value": None}, {"key": "h", "value": b"\0"}], [], []]


def test_without_headers_there_is_no_such_column_and_no_time_is_null() -> None:
    (arrow_batch,) = read(response(raw_batch(0, [record(0, None, b"v")], base_timestamp=-1)))
    assert arrow_batch.schema.equals(pa.schema(list(SCHEMA)[:-1]))
    assert arrow_batch["timestamp"].to_pylist() == [None]


def test_arrow_outlives_the_response() -> None:
    batches = [
        raw_batch(at * 100, [record(delta, b"key", b"x" * 200) for delta in range(100)], codec=1) for at in range(5)
    ]
    table = pa.Table.from_batches(read(response(b"".join(batches)), max_step_bytes=0))
    assert table["offset"].to_pylist() == list(range(500))
    assert table["value"].to_pylist() == [b"x" * 200] * 500


def test_the_head_tells_what_to_fetch_next() -> None:
    whole, cut = raw_batch(7, [record(0, None, b"v")]), raw_batch(8, [record(0, None, b"w" * 50)])
    fetched = FetchResponse.from_bytes(response(whole + cut[:-1]), 11)
    (head,) = fetched.partitions
    assert (head.topic, head.partition, head.error_code) == ("orders", 0, 0)
    assert (head.high_watermark, head.last_stable_offset, head.log_start_offset) == (100, 90, 3)
    assert (head.preferred_read_replica, head.next_offset, head.cut_batch_bytes) == (-1, 8, len(cut))
    assert not head.old_format
    assert head.record_bytes == len(whole) + len(cut) - 1
    assert (fetched.throttle_ms, fetched.error_code) == (4, 0)
    assert fetched.wire_bytes == len(response(whole + cut[:-1]))


def test_only_the_wanted_offsets_of_the_wanted_partitions() -> None:
    frame = response(raw_batch(0, [record(delta, None, b"v") for delta in range(10)]))
    fetched = FetchResponse.from_bytes(frame, 11)
    step = fetched.next_step({("orders", 0): (3, 6, _native.Transactions())}, read_committed=False)
    assert step is not None
    assert (step.topic, step.partition, step.records, step.next_offset) == ("orders", 0, 3, 10)
    assert pa.record_batch(step)["offset"].to_pylist() == [3, 4, 5]
    assert repr(step) == "<Step orders[0] records=3 next_offset=10>"
    assert fetched.next_step(EVERYTHING, read_committed=False) is None
    assert (
        FetchResponse.from_bytes(frame, 11).next_step(
            {("orders", 1): (0, 9, _native.Transactions())}, read_committed=False
        )
        is None
    )


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda data: data[:-2] + b"?" + data[-1:], _native.CorruptBatchError),
        (lambda data: data[:16] + b"\3" + data[17:], _native.UnsupportedMagicError),
    ],
)
def test_a_broken_batch_is_named_after_the_whole_ones(damage: Callable[[bytes], bytes], error: type[Exception]) -> None:
    broken = damage(raw_batch(8, [record(0, None, b"w")]))
    fetched = FetchResponse.from_bytes(response(raw_batch(7, [record(0, None, b"v")]) + broken), 11)
    step = fetched.next_step(EVERYTHING, read_committed=True)
    assert step is not None
    assert (step.records, step.next_offset) == (1, 8)
    for _ in range(2):
        with pytest.raises(error) as caught:
            fetched.next_step(EVERYTHING, read_committed=True)
        assert (caught.value.topic, caught.value.partition, caught.value.base_offset) == ("orders", 0, 8)  # type: ignore[attr-defined] # set when it is raised


def test_messages_of_an_old_format_are_announced_and_left_out() -> None:
    old = bytearray(raw_batch(8, [record(0, None, b"w")]))
    old[16] = 1
    frame = response(raw_batch(7, [record(0, None, b"v")]) + bytes(old))
    (head,) = FetchResponse.from_bytes(frame, 11).partitions
    assert (head.next_offset, head.old_format) == (8, True)
    assert [rows["value"].to_pylist() for rows in read(frame)] == [[b"v"]]


def test_more_than_was_asked_for_is_malformed() -> None:
    frame = framed(response(raw_batch(0, [record(0, None, b"v")])))
    for partitions, most in ((0, len(frame)), (1, len(frame) - 5)):
        with served(lambda client: client.sendall(frame)) as port:
            connection = Connection.open("127.0.0.1", port, connect_timeout=5)
            with pytest.raises(_native.MalformedResponseError):
                connection.receive_fetch(5, version=11, correlation_id=1, partitions=partitions, max_bytes=most)


def test_a_batch_above_the_limit_is_refused() -> None:
    frame = response(raw_batch(5, [record(0, None, bytes(1 << 20))], codec=1))
    with pytest.raises(_native.BatchTooLargeError, match="limit of 65536 bytes") as caught:
        read(frame, max_batch_bytes=65_536)
    assert caught.value.base_offset == 5


def test_any_cut_response_is_malformed() -> None:
    frame = response(raw_batch(7, [record(0, None, b"v")]))
    for length in range(len(frame)):
        with pytest.raises(_native.MalformedResponseError):
            FetchResponse.from_bytes(frame[:length], 11)
    with pytest.raises(ValueError, match="version 12"):
        FetchResponse.from_bytes(frame, 12)


# Over sockets


@contextlib.contextmanager
def served(serve: Callable[[socket.socket], object], context: ssl.SSLContext | None = None) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    finish = threading.Event()

    def accept() -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):
            client.settimeout(8)
            wrapped = context.wrap_socket(client, server_side=True) if context else client
            with wrapped:
                serve(wrapped)
                finish.wait(8)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        finish.set()
        listener.close()
        thread.join(8)


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def test_frames_go_out_and_come_in() -> None:
    got = []

    def serve(client: socket.socket) -> None:
        got.append(client.recv(100))
        for byte in framed(b"answer"):
            client.send(bytes([byte]))

    with served(serve) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        connection.send(b"question")
        assert connection.receive(5) == b"answer"
        connection.close()
    assert got == [b"\0\0\0\x08question"]


def test_a_fetch_is_received_and_read_while_the_next_arrives() -> None:
    frames = [response(raw_batch(at, [record(0, None, b"v%d" % at)]), correlation_id=at) for at in range(20)]
    with served(lambda client: client.sendall(b"".join(map(framed, frames)))) as port:
        connection = Connection.open("localhost", port, connect_timeout=5)
        responses = [
            connection.receive_fetch(5, version=11, correlation_id=at, partitions=1, max_bytes=1 << 20)
            for at in range(20)
        ]
        values = [
            pa.record_batch(one.next_step(EVERYTHING, read_committed=True))["value"][0].as_py() for one in responses
        ]
        assert values == [b"v%d" % at for at in range(20)]
        connection.close()


def test_another_correlation_id_is_malformed_and_closes() -> None:
    with served(lambda client: client.sendall(framed(response(b"", correlation_id=2)))) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        with pytest.raises(_native.MalformedResponseError, match="another request"):
            connection.receive_fetch(5, version=11, correlation_id=1, partitions=1, max_bytes=1 << 20)
        with pytest.raises(OSError, match="closed"):
            connection.receive(5)


def test_a_closed_connection_is_a_connection_error() -> None:
    with served(lambda client: client.shutdown(socket.SHUT_RDWR)) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        with pytest.raises(ConnectionError, match="closed the connection"):
            connection.receive(5)


def test_no_listener_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        Connection.open("127.0.0.1", port, connect_timeout=5)


def test_an_unknown_host_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"."):
        Connection.open("no-such-host.invalid", 9092, connect_timeout=5)


def test_silence_times_out() -> None:
    with served(lambda _: None) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        with pytest.raises(TimeoutError, match=r"nothing for 0\.2 s"):
            connection.receive(0.2)


@pytest.mark.parametrize("begun", [b"", b"\0\0", framed(bytes(1000))[:500]], ids=["length", "half a length", "body"])
def test_an_answer_that_drips_times_out(begun: bytes) -> None:
    over = threading.Event()

    def drip(client: socket.socket) -> None:
        client.sendall(begun)
        while not over.wait(0.02):
            client.send(b"\x01")

    with served(drip) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        with pytest.raises(TimeoutError, match=r"the broker is too slow: \d+ bytes in"):
            connection.receive_fetch(0.5, version=11, correlation_id=1, partitions=1, max_bytes=1 << 30)
        over.set()


def test_the_stop_flag_ends_a_wait_of_another_thread() -> None:
    stop = StopFlag()
    ended = []
    with served(lambda _: None) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)

        def wait() -> None:
            with pytest.raises(_native.StoppedError):
                connection.receive_fetch(60, version=11, correlation_id=1, partitions=1, max_bytes=1 << 20, stop=stop)
            ended.append(True)

        thread = threading.Thread(target=wait)
        thread.start()
        assert not stop.is_set()
        stop.set()
        thread.join(5)
    assert ended
    assert stop.is_set()


def test_close_ends_a_wait_of_another_thread() -> None:
    ended = []
    with served(lambda _: None) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        waiting = threading.Event()

        def wait() -> None:
            waiting.set()
            with pytest.raises(OSError, match="closed"):
                connection.receive(60)
            ended.append(True)

        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait(5)
        connection.close()
        thread.join(5)
    assert ended


def test_a_connection_is_quiet_until_something_comes_or_it_is_closed() -> None:
    go_on = threading.Event()

    def serve(client: socket.socket) -> None:
        go_on.wait(5)
        client.sendall(framed(b"unasked"))

    with served(serve) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        assert connection.is_quiet()
        go_on.set()
        wait_until(lambda: not connection.is_quiet())
        assert connection.receive(5) == b"unasked"
        assert connection.is_quiet()
        connection.close()
        assert not connection.is_quiet()
    with served(lambda client: client.shutdown(socket.SHUT_RDWR)) as port:
        hung_up = Connection.open("127.0.0.1", port, connect_timeout=5)
        wait_until(lambda: not hung_up.is_quiet())


def test_an_interrupt_ends_a_wait_of_the_main_thread() -> None:
    with served(lambda _: None) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            connection.receive(60)
        timer.join()
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("sent", [b"", b"\0\0", framed(bytes(1000))[:500]], ids=["nothing", "half a length", "half"])
def test_a_wait_within_an_answer_ends_too(sent: bytes) -> None:
    stop, arrived = StopFlag(), threading.Event()

    def serve(client: socket.socket) -> None:
        client.sendall(sent)
        arrived.set()

    with served(serve) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        assert arrived.wait(5)
        threading.Timer(0.05, stop.set).start()
        begun = time.monotonic()
        with pytest.raises(_native.StoppedError):
            connection.receive_fetch(60, version=11, correlation_id=1, partitions=1, max_bytes=1 << 20, stop=stop)
        assert time.monotonic() - begun < 2
        with pytest.raises(OSError, match="closed"):
            connection.receive(5)


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Give a port whose queue is full: the system drops whoever else comes, and nobody tells them."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_connecting_to_nobody_ends_when_it_is_stopped() -> None:
    stop = StopFlag()
    with black_hole() as port:
        threading.Timer(0.05, stop.set).start()
        begun = time.monotonic()
        with pytest.raises(_native.StoppedError):
            Connection.open("127.0.0.1", port, connect_timeout=60, stop=stop)
        assert time.monotonic() - begun < 2


def test_connecting_to_nobody_ends_when_it_is_interrupted() -> None:
    with black_hole() as port:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            Connection.open("127.0.0.1", port, connect_timeout=60)
        timer.join()
        assert time.monotonic() - begun < 2


def test_connecting_to_nobody_times_out() -> None:
    with black_hole() as port, pytest.raises(TimeoutError):
        Connection.open("127.0.0.1", port, connect_timeout=0.2)


def test_the_family_of_addresses() -> None:
    with served(lambda _: None) as port:
        Connection.open("localhost", port, connect_timeout=5, address_family="v4").close()
    with pytest.raises(OSError, match="no address of the family V6"):
        Connection.open("127.0.0.1", port, connect_timeout=5, address_family="v6")
    with pytest.raises(ValueError, match="any, v4 or v6"):
        Connection.open("127.0.0.1", port, connect_timeout=5, address_family="v5")


def test_a_length_no_broker_sends_is_refused() -> None:
    with served(lambda client: client.sendall(b"HTTP/1.1 400 Bad Request")) as port:
        connection = Connection.open("127.0.0.1", port, connect_timeout=5)
        with pytest.raises(_native.MalformedResponseError, match="no Kafka listener"):
            connection.receive(5)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


def pem(authority: trustme.CA) -> bytes:
    return authority.cert_pem.bytes()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_tls_carries_frames(authority: trustme.CA, host: str) -> None:
    body = os.urandom(300_000)
    with served(lambda client: client.sendall(framed(body)), server_context(authority, host)) as port:
        connection = Connection.open(host, port, connect_timeout=5, tls=TlsOptions(ca_pem=pem(authority)))
        assert connection.receive(5) == body
        connection.send(b"request")
        connection.close()


def test_a_client_certificate_is_shown(authority: trustme.CA) -> None:
    context = server_context(authority, "localhost")
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = authority.issue_cert("me@example.org")
    chain, key = mine.cert_chain_pems[0].bytes(), mine.private_key_pem.bytes()
    seen = []

    def serve(client: socket.socket) -> None:
        seen.append(client.getpeercert())  # type: ignore[attr-defined] # it is a TLS socket
        client.sendall(framed(b"hello"))

    with served(serve, context) as port:
        tls = TlsOptions(ca_pem=pem(authority), certificate_pem=chain, key_pem=key)
        assert Connection.open("localhost", port, connect_timeout=5, tls=tls).receive(5) == b"hello"
    assert seen[0]["subjectAltName"] == (("email", "me@example.org"),)
    with served(serve, context) as port, pytest.raises(_native.TlsError) as caught:
        Connection.open("localhost", port, connect_timeout=5, tls=TlsOptions(ca_pem=pem(authority))).receive(5)
    assert caught.value.reason == "client_certificate"


@pytest.mark.parametrize(
    ("reason", "name", "trusted"),
    [("unknown_issuer", "localhost", False), ("name_mismatch", "elsewhere.example", True)],
)
def test_a_certificate_that_does_not_fit_is_told(
    authority: trustme.CA, reason: str, name: str, *, trusted: bool
) -> None:
    ca = pem(authority if trusted else trustme.CA())
    context = server_context(authority, name)
    with served(lambda _: None, context) as port, pytest.raises(_native.TlsError) as caught:
        Connection.open("localhost", port, connect_timeout=5, tls=TlsOptions(ca_pem=ca))
    assert caught.value.reason == reason
    with served(lambda client: client.sendall(framed(b"hi")), context) as port:
        tls = TlsOptions(verify=False)
        assert Connection.open("localhost", port, connect_timeout=5, tls=tls).receive(5) == b"hi"


def test_an_expired_certificate_is_told(authority: trustme.CA) -> None:
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    context = server_context(authority, "localhost", not_before=past, not_after=past + dt.timedelta(days=1))
    with served(lambda _: None, context) as port, pytest.raises(_native.TlsError) as caught:
        Connection.open("localhost", port, connect_timeout=5, tls=TlsOptions(ca_pem=pem(authority)))
    assert caught.value.reason == "expired"


def test_a_server_name_of_one_s_own(authority: trustme.CA) -> None:
    context = server_context(authority, "kafka.example")
    with served(lambda client: client.sendall(framed(b"hi")), context) as port:
        tls = TlsOptions(ca_pem=pem(authority), server_name="kafka.example")
        assert Connection.open("127.0.0.1", port, connect_timeout=5, tls=tls).receive(5) == b"hi"


def test_plain_text_on_either_side_is_told(authority: trustme.CA) -> None:
    with served(lambda client: client.sendall(b"\0\0\0\4ping")) as port, pytest.raises(_native.TlsError) as caught:
        Connection.open("localhost", port, connect_timeout=5, tls=TlsOptions(ca_pem=pem(authority)))
    assert caught.value.reason == "not_tls"
    with served(lambda _: None, server_context(authority, "localhost")) as port:
        connection = Connection.open("localhost", port, connect_timeout=5)
        connection.send(b"\0\x12\0\0\0\0\0\1\xff\xff")
        with pytest.raises((_native.TlsError, ConnectionError)) as caught_plain:
            connection.receive(5)
    assert getattr(caught_plain.value, "reason", "not_tls") == "not_tls"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ca_pem": b"nonsense"}, "the CA holds no PEM certificate"),
        ({"certificate_pem": b"nonsense", "key_pem": b""}, "client certificate holds no PEM"),
    ],
)
def test_a_bad_configuration_is_told(authority: trustme.CA, options: dict[str, Any], says: str) -> None:
    tls = TlsOptions(**{"ca_pem": pem(authority), **options})
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(_native.TlsError, match=says) as caught:
        Connection.open("localhost", listener.getsockname()[1], connect_timeout=5, tls=tls)
    assert caught.value.reason == "configuration"


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs its key"):
        TlsOptions(certificate_pem=b"x")
