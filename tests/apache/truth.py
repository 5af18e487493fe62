"""Topics with awkward logs, and what is in them: told by who wrote it and by Kafka's own tools, never by kafkalab."""

import functools
import itertools
import logging
import random
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from confluent_kafka import IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from kafkalab.brokers import ApacheKafka

LOGGER = logging.getLogger("kafka.client")
SECONDS = 30
LEVELS = ("read_committed", "read_uncommitted")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
QUICK = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
ANY_TIME = {"message.timestamp.after.max.ms": 2**63 - 1}

Headers = Sequence[tuple[str | bytes, bytes | None]]


class Record(NamedTuple):
    """What is handed to a producer."""

    key: bytes | None
    value: bytes | None
    timestamp: int | None = None
    headers: Headers = ()


class Row(NamedTuple):
    """What a reader must find."""

    partition: int
    offset: int
    timestamp: int | None
    timestamp_type: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str | bytes, bytes | None], ...] | None


def rows(found: pa.Table | pd.DataFrame) -> list[Row]:
    """Return what kafkalab found, read with ``headers=True``, in the order it came."""
    table = pa.Table.from_pandas(found, preserve_index=False) if isinstance(found, pd.DataFrame) else found
    table = table.set_column(3, "timestamp", table["timestamp"].cast(pa.int64()))
    names = ("partition", "offset", "timestamp", "timestamp_type", "key", "value")
    columns = [table[name].to_pylist() for name in names]
    headers = [
        None if row is None else tuple((h["key"], h["value"]) for h in row) for row in table["headers"].to_pylist()
    ]
    return [Row(*values) for values in zip(*columns, headers, strict=True)]


@dataclass
class Log:
    """A topic with what was written to it: all records that are there, and which of them only some readers may see."""

    bootstrap: str
    topic: str
    all: dict[tuple[int, int], Row] = field(default_factory=dict)
    hidden: set[tuple[int, int]] = field(default_factory=set)
    """Of transactions that were aborted, or are not decided."""

    @functools.cached_property
    def admin(self) -> AdminClient:
        return admin_of(self.bootstrap)

    @functools.cached_property
    def plain(self) -> Producer:
        return producer(self.bootstrap)

    def write(self, partition: int, *records: Record, by: Producer | None = None, hidden: bool = False) -> None:
        """Write one raw batch."""
        writer = by or self.plain
        for record in records:
            options: dict[str, Any] = {} if record.timestamp is None else {"timestamp": record.timestamp}
            done = functools.partial(self._delivered, record, hidden)
            headers = list(record.headers)
            while True:
                try:
                    writer.produce(
                        self.topic,
                        record.value,
                        record.key,
                        partition,
                        on_delivery=done,
                        headers=headers,  # type: ignore[arg-type]  # a list of pairs, whose values may be None
                        **options,
                    )
                except BufferError:
                    writer.poll(0.1)
                else:
                    break
        assert writer.flush(SECONDS) == 0

    def _delivered(self, record: Record, hidden: bool, error: object, message: Any) -> None:  # noqa: FBT001 - partial
        assert error is None, error
        kind, at = message.timestamp()
        self._keep(message.partition(), message.offset(), at, ("none", "create_time", "log_append_time")[kind], record)
        if hidden:
            self.hidden.add((message.partition(), message.offset()))

    def write_raw(
        self, partition: int, *records: Record, codec: int = 0, squeeze: Callable[[bytes], bytes] = bytes
    ) -> None:
        """Write one raw batch past every client: these refuse some of what a broker takes."""
        first = send_raw(self.bootstrap, self.topic, partition, raw_batch(records, codec, squeeze))
        for offset, record in enumerate(records, first):
            at = None if record.timestamp == -1 else record.timestamp
            self._keep(partition, offset, at, "create_time", record)

    def _keep(self, partition: int, offset: int, at: int | None, kind: str, record: Record) -> None:
        row = Row(partition, offset, at, kind, record.key, record.value, tuple(record.headers))
        assert (partition, offset) not in self.all
        self.all[partition, offset] = row

    def forget(self, gone: Callable[[Row], bool]) -> None:
        """Drop what the log holds no more."""
        self.all = {place: row for place, row in self.all.items() if not gone(row)}

    def visible(self, level: str, partition: int | None = None, start: int = 0, end: int | None = None) -> list[Row]:
        """Return what a reader of an isolation level must find, by partition and offset."""
        ends = self.ends(level)
        return [
            row
            for place, row in sorted(self.all.items())
            if partition in (None, row.partition)
            and start <= row.offset < min(ends[row.partition], end or ends[row.partition])
            and not (level == "read_committed" and place in self.hidden)
        ]

    @property
    def partitions(self) -> int:
        # Asking makes the client look again at who leads them.
        return len(self.admin.list_topics(self.topic, timeout=SECONDS).topics[self.topic].partitions)

    def ends(self, level: str) -> dict[int, int]:
        """Ask for the last stable offsets, or the high watermarks."""
        committed = level == "read_committed"
        return self._offsets(OffsetSpec.latest(), IsolationLevel[level.upper()] if committed else None)

    def starts(self) -> dict[int, int]:
        """Ask for the log start offsets."""
        return self._offsets(OffsetSpec.earliest(), None)

    def _offsets(self, spec: OffsetSpec, level: IsolationLevel | None) -> dict[int, int]:
        asked = {TopicPartition(self.topic, partition): spec for partition in range(self.partitions)}
        options: dict[str, Any] = {} if level is None else {"isolation_level": level}
        answers = self.admin.list_offsets(asked, request_timeout=SECONDS, **options)
        return {part.partition: answer.result(SECONDS).offset for part, answer in answers.items()}

    def settle(self, open_from: dict[int, int] | None = None) -> None:
        """Wait until every decision is in the log: it is acknowledged before."""
        wanted = open_from or {}
        wait_until(lambda: self.ends("read_committed") == self.ends("read_uncommitted") | wanted)

    def delete_before(self, partition: int, offset: int) -> None:
        """Have the broker delete the records below an offset; -1 is the end."""
        place = TopicPartition(self.topic, partition, offset)
        low = self.admin.delete_records([place])[place].result(SECONDS).low_watermark
        self.forget(lambda row: row.partition == partition and row.offset < low)


def admin_of(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "allow.auto.create.topics": False}, logger=LOGGER)


def producer(bootstrap: str, **config: str | int) -> Producer:
    settings = {"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"}
    return Producer({**settings, **{name.replace("_", "."): value for name, value in config.items()}}, logger=LOGGER)


def transactional(bootstrap: str) -> Producer:
    """Make a producer of transactions; one that it leaves open stays so for longer than any test takes."""
    made = producer(bootstrap, transactional_id=f"writer-{next(_numbers)}", transaction_timeout_ms=900_000)
    made.init_transactions(SECONDS)
    return made


def new_topic(bootstrap: str, partitions: int = 1, replicas: int = 1, **config: object) -> Log:
    """Make a topic that stays as long as the broker."""
    name = f"truth-{next(_numbers)}"
    settings = {option.replace("_", "."): str(value) for option, value in config.items()}
    admin = admin_of(bootstrap)
    made = NewTopic(name, partitions, replicas, config=settings)
    admin.create_topics([made])[name].result(SECONDS)
    log = Log(bootstrap, name)
    wait_until(functools.partial(_answers, log))
    return log


def _answers(log: Log) -> bool:
    try:
        log.admin.list_topics(log.topic, timeout=SECONDS)
        return bool(log.ends("read_uncommitted"))
    except KafkaException:
        return False


def wait_until(holds: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Look again and again until a condition holds; fail when it never does."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "this never came true"
        pause.wait(0.02)


def clients_alive() -> int:
    """Count this process's librdkafka clients by their main threads."""
    names = (task / "comm" for task in Path("/proc/self/task").iterdir())
    return sum(name.read_text() == "rdk:main\n" for name in names if name.exists())


# What no client writes


def raw_batch(records: Sequence[Record], codec: int, squeeze: Callable[[bytes], bytes]) -> bytes:
    """Return the bytes of a batch of format 2, its records squeezed by whoever knows the codec."""
    first = records[0].timestamp or 0
    body = squeeze(b"".join(_raw_record(number, record, first) for number, record in enumerate(records)))
    latest = max(record.timestamp or 0 for record in records) if len(records) > 1 else first
    summary = struct.pack(">hiqqqhii", codec, len(records) - 1, first, latest, -1, -1, -1, len(records)) + body
    return struct.pack(">qiibI", 0, len(summary) + 9, -1, 2, _crc32c(summary)) + summary


def _raw_record(number: int, record: Record, first: int) -> bytes:
    headers = [(name if isinstance(name, bytes) else name.encode(), value) for name, value in record.headers]
    body = (
        b"\0" + _varint((record.timestamp or 0) - first) + _varint(number) + _sized(record.key) + _sized(record.value)
    )
    body += _varint(len(headers)) + b"".join(_sized(name) + _sized(value) for name, value in headers)
    return _sized(body)


def _sized(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    left = (number << 1 ^ number >> 63) & (1 << 64) - 1
    digits = bytearray()
    while left > 127:
        digits.append(left & 127 | 128)
        left >>= 7
    return bytes([*digits, left])


def _crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def send_raw(bootstrap: str, topic: str, partition: int, batch: bytes) -> int:
    """Send a Produce request of version 7; return the offset that its batch was given."""
    name = struct.pack(">h", len(topic)) + topic.encode()
    request = struct.pack(">hhih", 0, 7, 1, -1) + struct.pack(">hhii", -1, -1, SECONDS * 1000, 1) + name
    request += struct.pack(">iii", 1, partition, len(batch)) + batch
    host, port = bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), SECONDS) as connection, connection.makefile("rb") as answers:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = answers.read(*struct.unpack(">i", answers.read(4)))
    _, error, offset = struct.unpack_from(">ihq", answer, 4 + 4 + len(name) + 4)
    assert error == 0, error
    return int(offset)


# What a log becomes by itself


def kept_offsets(kafka: ApacheKafka, topic: str, partition: int) -> set[int]:
    """Return the offsets of the records, decisions apart, that Kafka's own tool finds in a partition's files."""
    files = sorted((kafka.data_dir / f"{topic}-{partition}").glob("*.log"))
    command = kafka.java_command(
        "org.apache.kafka.tools.DumpLogSegments", "--print-data-log", "--files", ",".join(map(str, files))
    )
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if dumped.returncode:  # the cleaner has just put other files in their place
        return set()
    lines = [line for line in dumped.stdout.splitlines() if line.startswith("| ") and "endTxnMarker" not in line]
    return {int(found[1]) for line in lines if (found := re.match(r"\| offset: (\d+) ", line))}


def compacted(kafka: ApacheKafka, log: Log, partition: int) -> None:
    """Wait until the cleaner has left the newest decided record of each key, and forget the others."""
    newest = {
        row.key: offset
        for (where, offset), row in sorted(log.all.items())
        if where == partition and (where, offset) not in log.hidden
    }
    kept = set(newest.values())
    wait_until(lambda: kept_offsets(kafka, log.topic, partition) == kept, 60)
    log.forget(lambda row: row.partition == partition and row.offset not in kept)


class Clock:
    """Lets the millisecond end in which something was written: segments of a compacted topic end with it."""

    def __init__(self) -> None:
        self._last = 0

    def tick(self) -> None:
        wait_until(lambda: time.time_ns() // 1_000_000 > self._last + 3)

    def tock(self) -> None:
        self._last = time.time_ns() // 1_000_000


# The topics that many tests share


class Place(IntEnum):
    """The partitions of the zoo, by what lives there."""

    INTERLEAVED = 0
    ENDS_IN_ABORT = 1
    ONLY_MARKERS = 2
    EMPTY = 3
    HEAD_DELETED = 4
    ALL_DELETED = 5
    OPEN = 6
    FORMATS = 7
    TIMES = 8


def numbered(count: int, start: int = 0) -> Iterator[Record]:
    return (Record(b"k%d" % number, b"value %d" % number) for number in range(start, start + count))


@functools.cache
def zoo(bootstrap: str) -> Log:
    """Make a topic whose partitions end, begin and go on in every awkward way."""
    log = new_topic(bootstrap, len(Place), **{name.replace(".", "_"): value for name, value in ANY_TIME.items()})
    first, second, third = (transactional(bootstrap) for _ in range(3))
    _interleave(log, Place.INTERLEAVED, first, second, third)
    _decide(log, Place.ENDS_IN_ABORT, first)
    _nothing_but_markers(log, Place.ONLY_MARKERS, first)
    _deleted_head(log, Place.HEAD_DELETED, second)
    log.write(Place.ALL_DELETED, *numbered(5))
    log.settle()
    log.delete_before(Place.HEAD_DELETED, 4)
    log.delete_before(Place.ALL_DELETED, -1)
    _formats(log, Place.FORMATS)
    _times(log, Place.TIMES)
    _leave_open(log, Place.OPEN, second, third)
    return log


def _interleave(log: Log, partition: int, first: Producer, second: Producer, third: Producer) -> None:
    """Three transactions and a plain producer by turns: two are committed, the middle one is aborted."""
    for writer in (first, second, third):
        writer.begin_transaction()
    for turn in range(4):
        for writer in (first, second, third):
            log.write(partition, *numbered(2, turn), by=writer, hidden=writer is second)
        log.write(partition, *numbered(1, turn))
    first.commit_transaction(SECONDS)
    log.write(partition, *numbered(2), by=third)
    second.abort_transaction(SECONDS)
    log.write(partition, *numbered(2), by=third)
    third.commit_transaction(SECONDS)


def _decide(log: Log, partition: int, writer: Producer) -> None:
    """Transactions of one producer, one after the other; the last is aborted."""
    log.write(partition, *numbered(3))
    for hidden in (True, False, True):
        writer.begin_transaction()
        log.write(partition, *numbered(3), by=writer, hidden=hidden)
        (writer.abort_transaction if hidden else writer.commit_transaction)(SECONDS)


def _nothing_but_markers(log: Log, partition: int, writer: Producer) -> None:
    for _ in range(2):
        writer.begin_transaction()
        log.write(partition, *numbered(1), by=writer, hidden=True)
        writer.abort_transaction(SECONDS)
    log.settle()
    log.delete_before(partition, 1)
    log.forget(lambda row: row.partition == partition and row.offset < 1)


def _deleted_head(log: Log, partition: int, writer: Producer) -> None:
    """Raw batches of five records, of which one will begin below the start of the log."""
    log.write(partition, *numbered(5))
    writer.begin_transaction()
    log.write(partition, *numbered(5), by=writer)
    writer.commit_transaction(SECONDS)


def _leave_open(log: Log, partition: int, decided: Producer, undecided: Producer) -> None:
    """What is written behind an open transaction waits for it too."""
    decided.begin_transaction()
    log.write(partition, *numbered(4), by=decided)
    decided.commit_transaction(SECONDS)
    log.settle()
    start = log.ends("read_uncommitted")[partition]
    undecided.begin_transaction()
    log.write(partition, *numbered(3), by=undecided, hidden=True)
    log.write(partition, *numbered(3))
    decided.begin_transaction()
    log.write(partition, *numbered(2), by=decided)
    decided.abort_transaction(SECONDS)
    end = start + 3 + 3 + 2 + 1
    wait_until(lambda: log.ends("read_uncommitted")[partition] == end)
    log.settle({int(partition): start})


def _formats(log: Log, partition: int) -> None:
    """Every codec, and every way for a key, a value or a header not to be there."""
    nothing = (None, b"", b"\0", "\u00e9\U0001f600".encode(), b"\xff\xfe")
    pairs = [Record(key, value) for key in nothing for value in nothing]
    repeated: Headers = [("a", b"1"), ("a", b"2"), ("a", None), ("", b""), ("\u00e9", b"\xff")]
    for codec in CODECS:
        writer = producer(log.bootstrap, compression_type=codec, linger_ms=50)
        log.write(partition, *pairs, Record(b"h", b"x" * 2000, None, repeated), Record(None, None, 1, ()), by=writer)


def _times(log: Log, partition: int) -> None:
    """Times of every size, which no producer's clock gave."""
    end_of_days = 253_402_300_799_999
    for at in (-1, 0, 1, -5, end_of_days, end_of_days + 1, 2**63 - 1, 1_700_000_000_000):
        log.write_raw(partition, Record(b"t", b"%d" % at, at))
    log.write_raw(partition, *(Record(None, None, at) for at in (5, 3, 10**12, 4)))


@functools.cache
def gaps(kafka: ApacheKafka) -> Log:
    """Make a topic that the cleaner has compacted; its first partition has lost its first and its last record."""
    settings: dict[str, Any] = {"segment_ms": 1, "min_cleanable_dirty_ratio": 0.0, "max_compaction_lag_ms": 1}
    log = new_topic(kafka.bootstrap_servers, 3, cleanup_policy="compact", **settings)
    writer, clock = transactional(kafka.bootstrap_servers), Clock()
    for partition in range(3):
        for turn in range(6):
            clock.tick()
            log.write(partition, *(Record(b"k%d" % (turn % number), b"%d" % turn) for number in (1, 2, 3, 7)))
            clock.tock()
        _decided_keys(log, partition, writer, clock)
    clock.tick()
    log.write(2, Record(b"in the active segment", None))
    log.settle()
    for partition in range(3):
        compacted(kafka, log, partition)
    return log


def _decided_keys(log: Log, partition: int, writer: Producer, clock: Clock) -> None:
    for hidden in (True,) if partition == 1 else (False, True):
        clock.tick()
        writer.begin_transaction()
        log.write(partition, *(Record(b"k%d" % number, None) for number in (1, 5, 9)), by=writer, hidden=hidden)
        clock.tock()
        clock.tick()  # the decision gets a segment of its own
        (writer.abort_transaction if hidden else writer.commit_transaction)(SECONDS)
        clock.tock()


@functools.cache
def append_times(bootstrap: str) -> Log:
    """Make a topic where the broker's clock counts, in raw batches of several records."""
    log = new_topic(bootstrap, 1, message_timestamp_type="LogAppendTime")
    clock, writer = Clock(), transactional(bootstrap)
    for number in range(3):
        clock.tick()
        log.write(0, *(replace_time(record, 1_600_000_000_000 + number) for record in numbered(3)))
        clock.tock()
    writer.begin_transaction()
    log.write(0, *numbered(3), by=writer)
    writer.commit_transaction(SECONDS)
    log.settle()
    return log


def replace_time(record: Record, at: int) -> Record:
    return record._replace(timestamp=at)


@functools.cache
def big(bootstrap: str) -> Log:
    """Make a topic of 400 MB on four partitions, which no codec makes smaller."""
    log = new_topic(bootstrap, 4)
    noise = random.Random(1).randbytes(2000)
    writer = producer(bootstrap, linger_ms=20, batch_size=500_000, queue_buffering_max_kbytes=64 << 10)
    for number in range(400_000):
        while True:
            try:
                writer.produce(log.topic, noise[number % 1000 :][:1000], b"%d" % number, number % 4)
            except BufferError:
                writer.poll(0.1)
            else:
                break
    assert writer.flush(SECONDS) == 0
    return log


@functools.cache
def large(bootstrap: str) -> Log:
    """Make a topic with a record of 15 MB among small ones."""
    log = new_topic(bootstrap, 1, max_message_bytes=16_000_000)
    writer = producer(bootstrap, message_max_bytes=16_000_000)
    pattern = bytes(range(251))
    log.write(0, *numbered(3), Record(b"large", pattern * (15_000_000 // len(pattern))), *numbered(3), by=writer)
    return log


_numbers = itertools.count(1)
