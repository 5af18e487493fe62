"""A broker in a thread that speaks Kafka's protocol over TCP, and lies wherever a test's script says so.

It is right by default. A script looks at a request and its right answer, and gives another one; see `ScriptedBroker`.
To speak another request, put its versions into `VERSIONS` and its answer into `ScriptedBroker.answers`.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeAlias

PRODUCE, FETCH, LIST_OFFSETS, METADATA, FIND_COORDINATOR, API_VERSIONS = 0, 1, 2, 3, 10, 18
VERSIONS = {
    PRODUCE: (0, 7),  # librdkafka reads format v2 only where it could be written
    FETCH: (4, 11),
    LIST_OFFSETS: (1, 5),
    METADATA: (1, 4),
    FIND_COORDINATOR: (0, 2),
    API_VERSIONS: (0, 0),
}
UNKNOWN_TOPIC, NOT_LEADER, OUT_OF_RANGE = 3, 6, 1
_NO_COORDINATOR, _UNSUPPORTED_VERSION = 15, 35
_EARLIEST, _COMMITTED = -2, 1
_TABLE = [0] * 256
for _number in range(256):
    _crc = _number
    for _ in range(8):
        _crc = _crc >> 1 ^ (0x82F63B78 if _crc & 1 else 0)
    _TABLE[_number] = _crc


def crc32c(data: bytes) -> int:
    """Return the checksum of a batch."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(value: int) -> bytes:
    """Return a zig-zag integer."""
    left = (value << 1) ^ (value >> 63)
    out = bytearray()
    while left >= 0x80:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def _sized(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def record(delta: int, value: bytes | None, key: bytes | None = None, names: Sequence[bytes] = ()) -> bytes:
    """Return a record of format v2 with headers of these names."""
    headers = varint(len(names)) + b"".join(_sized(name) + _sized(None) for name in names)
    body = b"\0" + varint(0) + varint(delta) + _sized(key) + _sized(value) + headers
    return varint(len(body)) + body


@dataclass(frozen=True, slots=True)
class Batch:
    """The bytes of a batch, and its offsets."""

    data: bytes
    base: int
    next: int


def batch(base: int, records: Iterable[bytes], *, codec: int = 0, producer: int = -1, control: bool = False) -> Batch:
    """Return a batch of format v2; with a producer it is part of a transaction."""
    made = list(records)
    payload = b"".join(made)
    payload = gzip.compress(payload, mtime=0) if codec == 1 else payload
    attributes = codec | (0x10 if producer >= 0 else 0) | (0x20 if control else 0)
    time_ms = 1_700_000_000_000
    head = struct.pack(">hiqqqhii", attributes, len(made) - 1, time_ms, time_ms, producer, 0, 0, len(made))
    checked = head + payload
    data = struct.pack(">qiibI", base, len(checked) + 9, 0, 2, crc32c(checked)) + checked
    return Batch(data, base, base + len(made))


def plain(base: int, count: int, *, codec: int = 0, producer: int = -1) -> Batch:
    """Return a batch whose values are the numbers of their offsets."""
    values = (record(delta, b"%d" % (base + delta)) for delta in range(count))
    return batch(base, values, codec=codec, producer=producer)


def marker(base: int, producer: int, *, commits: bool) -> Batch:
    """Return what ends a transaction."""
    key, value = struct.pack(">hh", 0, commits), struct.pack(">hi", 0, 0)
    return batch(base, [record(0, value, key)], producer=producer, control=True)


def old_message(offset: int, value: bytes, magic: int) -> Batch:
    """Return a message of format v0 or v1."""
    import zlib

    content = struct.pack(">bb", magic, 0) + (struct.pack(">q", 1_600_000_000_000) if magic else b"")
    content += struct.pack(">i", -1) + struct.pack(">i", len(value)) + value
    message = struct.pack(">I", zlib.crc32(content)) + content
    return Batch(struct.pack(">qi", offset, len(message)) + message, offset, offset + 1)


@dataclass(slots=True)
class Log:
    """The batches of one partition."""

    batches: list[Batch] = field(default_factory=list)
    start: int = 0
    last_stable: int | None = None
    aborted: list[tuple[int, int]] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The high watermark."""
        return self.batches[-1].next if self.batches else self.start

    @property
    def stable_end(self) -> int:
        """The last stable offset."""
        return self.end if self.last_stable is None else self.last_stable

    def read(self, offset: int, most: int) -> bytes:
        """Return whole batches from the one that holds an offset on: one, or as many as there is room for."""
        found = b""
        for each in self.batches:
            if each.next > offset:
                if found and len(found) + len(each.data) > most:
                    break
                found += each.data
        return found


@dataclass(slots=True)
class Part:
    """What an answer says of one partition."""

    topic: str
    partition: int
    error: int = 0
    high_watermark: int = -1
    last_stable: int = -1
    log_start: int = -1
    aborted: list[tuple[int, int]] = field(default_factory=list)
    records: bytes = b""

    def encode(self, version: int) -> bytes:
        """Return its bytes."""
        data = struct.pack(">ihqq", self.partition, self.error, self.high_watermark, self.last_stable)
        data += struct.pack(">q", self.log_start) if version >= 5 else b""
        data += struct.pack(">i", len(self.aborted)) + b"".join(struct.pack(">qq", *pair) for pair in self.aborted)
        data += struct.pack(">i", -1) if version >= 11 else b""
        return data + struct.pack(">i", len(self.records)) + self.records


@dataclass(slots=True)
class Answer:
    """An answer to a fetch, for a script to change."""

    version: int
    parts: list[Part]
    throttle_ms: int = 0
    error: int = 0

    def encode(self) -> bytes:
        """Return the bytes that follow the correlation id."""
        data = struct.pack(">i", self.throttle_ms)
        data += struct.pack(">hi", self.error, 0) if self.version >= 7 else b""
        topics: dict[str, list[Part]] = {}
        for part in self.parts:
            topics.setdefault(part.topic, []).append(part)
        data += struct.pack(">i", len(topics))
        for topic, parts in topics.items():
            data += _string(topic) + struct.pack(">i", len(parts)) + b"".join(p.encode(self.version) for p in parts)
        return data


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request for records; ``number`` counts those of this broker from 0 on."""

    number: int
    version: int
    max_wait_ms: int
    max_bytes: int
    committed: bool
    asked: tuple[tuple[str, int, int, int], ...]
    """Topic, partition, offset and bytes of each."""

    @property
    def partitions(self) -> list[int]:
        """The partitions, in the order of the request."""
        return [partition for _, partition, _, _ in self.asked]


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes in place of an answer, correlation id and length put before them: at once, or one now and then."""

    body: bytes
    seconds_a_byte: float = 0.0
    announced: int | None = None
    """The length to announce, where it is not that of the bytes."""
    damage: Callable[[bytes], bytes] | None = None
    """Changes the whole frame, length and correlation id too."""


Scripted: TypeAlias = Answer | Raw | None
"""An answer; None closes the connection."""
Script: TypeAlias = Callable[[Fetch, Answer], Scripted]
Override: TypeAlias = Callable[[int, bytes], bytes | None]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from(">" + form, self._data, self._at)
        self._at += struct.calcsize(">" + form)
        return found

    def one(self, form: str) -> int:
        (number,) = self.take(form)
        return number

    def string(self) -> str | None:
        length = self.one("h")
        if length < 0:
            return None
        self._at += length
        return self._data[self._at - length : self._at].decode()


def _string(text: str | None) -> bytes:
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


class ScriptedBroker:
    """A broker on a port of the loopback.

    Parameters
    ----------
    topics : dict of str to list of Log
        What it holds.
    script : callable, optional
        Given a fetch and its right answer, returns what is sent.
    versions : dict, optional
        Versions of requests by key, in place of `VERSIONS`'.
    most_bytes : int, optional
        The most that a partition of an answer has, whatever is asked for; a whole batch always comes.

    Attributes
    ----------
    counts : Counter
        How many requests of each key have come.
    fetches : list of Fetch
        Those for records.
    overrides : dict of int to callable
        By the key of a request: given version and right body, returns the body to send, or None to hang up.
    """

    def __init__(
        self,
        topics: dict[str, list[Log]],
        script: Script | None = None,
        versions: dict[int, tuple[int, int]] | None = None,
        most_bytes: int = 1 << 30,
    ) -> None:
        self.most_bytes = most_bytes
        self.topics = topics
        self.script: Script = script or (lambda _, answer: answer)
        self.overrides: dict[int, Override] = {}
        self.counts: Counter[int] = Counter()
        self.fetches: list[Fetch] = []
        self.versions = VERSIONS | (versions or {})
        self.answers: dict[int, Callable[[int, bytes], bytes]] = {
            API_VERSIONS: self._api_versions,
            METADATA: self._metadata,
            LIST_OFFSETS: self._list_offsets,
            FIND_COORDINATOR: self._find_coordinator,
        }
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen: again on the same port, after a stop."""
        if self._closing.is_set():
            self._closing = threading.Event()
            self._server = socket.create_server(("127.0.0.1", self.port))
        self._run(self._accept, self._server, self._closing)

    def stop(self) -> None:
        """Hang up on everybody, and listen no more."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()

    def hang_up(self) -> None:
        """Close the connections that there are."""
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _run(self, work: Callable[..., object], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket, closing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while not closing.is_set():
                client, _ = server.accept()
                with self._lock:
                    self._clients.append(client)
                self._run(self._serve, client, closing)

    def _serve(self, client: socket.socket, closing: threading.Event) -> None:
        with client, contextlib.suppress(OSError, struct.error):
            while not closing.is_set():
                (length,) = struct.unpack(">i", _exactly(client, 4))
                request = _exactly(client, length)
                key, version, correlation_id = struct.unpack_from(">hhi", request)
                name = struct.unpack_from(">h", request, 8)[0]
                body = request[10 + max(name, 0) :]
                answer = self._answer(key, version, body, closing)
                if answer is None:
                    return
                self._send(client, correlation_id, answer, closing)

    def _answer(self, key: int, version: int, body: bytes, closing: threading.Event) -> Raw | None:
        self.counts[key] += 1
        if key == FETCH:
            return self._fetched(version, body, closing)
        made = self.answers[key](version, body)
        given = self.overrides[key](version, made) if key in self.overrides else made
        return None if given is None else Raw(given)

    @staticmethod
    def _send(client: socket.socket, correlation_id: int, answer: Raw, closing: threading.Event) -> None:
        body = struct.pack(">i", correlation_id) + answer.body
        head = struct.pack(">i", len(body) if answer.announced is None else answer.announced)
        if not answer.seconds_a_byte:
            frame = head + body
            client.sendall(answer.damage(frame) if answer.damage else frame)
            return
        client.sendall(head)
        for byte in body:
            client.sendall(bytes([byte]))
            if closing.wait(answer.seconds_a_byte):
                return

    # Answers

    def _api_versions(self, version: int, _: bytes) -> bytes:
        error = 0 if version == 0 else _UNSUPPORTED_VERSION
        entries = b"".join(struct.pack(">hhh", key, *span) for key, span in self.versions.items())
        return struct.pack(">hi", error, len(self.versions)) + entries

    def _metadata(self, version: int, body: bytes) -> bytes:
        reader = _Reader(body)
        count = reader.one("i")
        names = list(self.topics) if count < 0 else [reader.string() or "" for _ in range(count)]
        data = struct.pack(">i", 0) if version >= 3 else b""
        data += struct.pack(">ii", 1, 1) + _string("127.0.0.1") + struct.pack(">i", self.port) + _string(None)
        data += _string("scripted") if version >= 2 else b""
        data += struct.pack(">ii", -1, len(names))  # no controller
        for name in names:
            logs = self.topics.get(name)
            data += struct.pack(">h", UNKNOWN_TOPIC if logs is None else 0) + _string(name) + b"\0"
            data += struct.pack(">i", len(logs or ()))
            for partition in range(len(logs or ())):
                data += struct.pack(">hiiiiii", 0, partition, 1, 1, 1, 1, 1)
        return data

    def _list_offsets(self, version: int, body: bytes) -> bytes:
        reader = _Reader(body)
        reader.one("i")
        committed = version >= 2 and reader.one("b") == _COMMITTED
        data = struct.pack(">i", 0) if version >= 2 else b""
        topics = reader.one("i")
        data += struct.pack(">i", topics)
        for _ in range(topics):
            name = reader.string() or ""
            partitions = reader.one("i")
            data += _string(name) + struct.pack(">i", partitions)
            for _ in range(partitions):
                partition = reader.one("i")
                if version >= 4:
                    reader.one("i")
                log = self.topics[name][partition]
                end = log.stable_end if committed else log.end
                offset = log.start if reader.one("q") == _EARLIEST else end
                data += struct.pack(">ihqq", partition, 0, -1, offset)
                data += struct.pack(">i", 0) if version >= 4 else b""
        return data

    def _find_coordinator(self, version: int, _: bytes) -> bytes:
        throttle = struct.pack(">i", 0) if version >= 1 else b""
        text = _string(None) if version >= 1 else b""
        return (
            throttle
            + struct.pack(">h", _NO_COORDINATOR)
            + text
            + struct.pack(">i", -1)
            + _string("")
            + struct.pack(">i", -1)
        )

    def _fetched(self, version: int, body: bytes, closing: threading.Event) -> Raw | None:
        reader = _Reader(body)
        _, max_wait_ms, _, max_bytes, isolation = reader.take("iiiib")
        if version >= 7:
            reader.take("ii")
        asked = []
        for _ in range(reader.one("i")):
            name = reader.string() or ""
            for _ in range(reader.one("i")):
                partition = reader.one("i")
                if version >= 9:
                    reader.one("i")
                offset = reader.one("q")
                if version >= 5:
                    reader.one("q")
                asked.append((name, partition, offset, reader.one("i")))
        with self._lock:
            fetch = Fetch(len(self.fetches), version, max_wait_ms, max_bytes, isolation == _COMMITTED, tuple(asked))
            self.fetches.append(fetch)
        right = Answer(version, [self._part(one, committed=fetch.committed) for one in fetch.asked])
        if not any(part.records or part.error for part in right.parts):
            closing.wait(max_wait_ms / 1000)  # as a broker does that has nothing to give
        given = self.script(fetch, right)
        return Raw(given.encode()) if isinstance(given, Answer) else given

    def _part(self, asked: tuple[str, int, int, int], *, committed: bool) -> Part:
        name, partition, offset, most = asked
        if name not in self.topics or partition >= len(self.topics[name]):
            return Part(name, partition, UNKNOWN_TOPIC)
        log = self.topics[name][partition]
        if not log.start <= offset <= log.end:
            return Part(name, partition, OUT_OF_RANGE)
        visible = log.stable_end if committed else log.end
        records = log.read(offset, min(most, self.most_bytes)) if offset < visible else b""
        aborted = log.aborted if committed else []
        return Part(name, partition, 0, log.end, log.stable_end, log.start, aborted, records)


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = client.recv(min(count - len(data), 1 << 20))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data


def until(holds: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait until something holds; return whether it does."""
    end = time.monotonic() + seconds
    event = threading.Event()
    while not holds() and time.monotonic() < end:
        event.wait(0.005)
    return holds()
