"""Topics to measure on: orders as JSON, of about a given size, that compress as such data do."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Messages = list[dict[str, Any]]

_OFFSET_BITS = 40
_TIMEOUT_S = 120
_CHUNK = 10_000
_MOST_QUEUED = 500_000
_LINE_BYTES = 110
_STATES = ("new", "paid", "packed", "shipped", "delivered", "returned")
_FIRST = np.datetime64("2026-01-01T00:00:00")
_CITIES = ("Oslo", "Porto", "Kyiv", "Lyon", "Gdansk", "Graz", "Turku", "Bergamo", "Utrecht", "Leipzig", "Sevilla")


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of topic.

    Attributes
    ----------
    size : int
        About how many bytes its values have.
    codec : str
        How its batches are compressed.
    records : int
        How many there are.
    batch_bytes : int
        About how many bytes of records make a batch.
    partitions : int
        Among how many they are divided.
    hot : int
        One record in so many is not in partition 0; 0 for the same share in each partition.
    """

    size: int
    codec: str
    records: int
    batch_bytes: int = 400_000
    partitions: int = 4
    hot: int = 0

    @property
    def topic(self) -> str:
        """Its name."""
        hot = f"-hot{self.hot}" if self.hot else ""
        return f"orders-{self.size}-{self.codec}-{self.records}-{self.batch_bytes}-in-{self.partitions}{hot}"

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the partitions and offsets of the records, in the order of writing."""
        numbers = np.arange(self.records)
        partitions = numbers % self.partitions
        if self.hot:
            partitions = np.where(numbers % self.hot, 0, 1 + numbers // self.hot % (self.partitions - 1))
        offsets = np.zeros(self.records, np.int64)
        for partition in range(self.partitions):
            own = partitions == partition
            offsets[own] = np.arange(own.sum())
        return partitions, offsets


@dataclass(frozen=True, slots=True)
class Content:
    """What a topic holds, or a frame: tells any two apart where a record lacks, doubles, or has another's value."""

    records: int = 0
    value_bytes: int = 0
    checksum: int = 0

    def __add__(self, other: Content) -> Content:
        """Sum up both."""
        return Content(
            self.records + other.records, self.value_bytes + other.value_bytes, self.checksum + other.checksum
        )

    @classmethod
    def of(cls, partitions: NDArray[np.int64], offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> Content:
        """Sum up records, in any order."""
        checksum = ((partitions + 1) * (offsets + 1) * lengths).sum()
        return cls(len(lengths), int(lengths.sum()), int(checksum))


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the partition, the offset and the length of the value of each record."""

    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def content(self) -> Content:
        """What a reader of all of it has to find."""
        return Content.of(self.partitions, self.offsets, self.lengths)

    def content_at(self, places: Iterable[tuple[int, int]]) -> Content:
        """Sum up the records at some partitions and offsets, each taken once however often it is named."""
        asked = np.array(sorted(set(places)), np.int64).reshape(-1, 2)
        chosen = np.isin(self.partitions << _OFFSET_BITS | self.offsets, asked[:, 0] << _OFFSET_BITS | asked[:, 1])
        return Content.of(self.partitions[chosen], self.offsets[chosen], self.lengths[chosen])


class Topics:
    """Makes topics on a broker, each once.

    Parameters
    ----------
    bootstrap_servers : str
        Where the broker is, without TLS.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._common: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "allow.auto.create.topics": False,
            "logger": logging.getLogger(__name__),
            "log_level": 3,  # a broker that has just started is slow to give a producer its number: a warning
        }
        self._written: dict[Case, Written] = {}

    def fill(self, case: Case) -> Written:
        """Make the topic of a case, if there is none yet, and return what it holds."""
        if case not in self._written:
            admin = AdminClient(self._common)
            admin.create_topics([NewTopic(case.topic, case.partitions)])[case.topic].result(_TIMEOUT_S)
            self._written[case] = self._write(case)
        return self._written[case]

    def _write(self, case: Case) -> Written:
        settings = {
            "enable.idempotence": True,  # each record once and in order, so that its offset is known beforehand
            "compression.type": case.codec,
            "batch.size": case.batch_bytes,
            "linger.ms": 500,
            "queue.buffering.max.messages": 2 * _MOST_QUEUED,
        }
        producer = Producer(self._common | settings)
        partitions, offsets = case.places()
        lengths = np.zeros(case.records, np.int64)
        done = 0
        for chunk in orders(case.records, case.size):
            lengths[done : done + len(chunk)] = [len(value) for _, value in chunk]
            own = partitions[done : done + len(chunk)]
            done += len(chunk)
            for partition in range(case.partitions):
                messages: Messages = [
                    {"key": chunk[number][0], "value": chunk[number][1]} for number in np.flatnonzero(own == partition)
                ]
                queued = producer.produce_batch(case.topic, messages, partition)
                assert queued == len(messages), f"{len(messages) - queued} records were not taken for {case.topic}"
            while len(producer) > _MOST_QUEUED:
                producer.poll(0.1)
        left = producer.flush(_TIMEOUT_S)
        assert not left, f"{left} records did not get into {case.topic} in {_TIMEOUT_S} s"
        return Written(partitions, offsets, lengths)


def orders(total: int, size: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield keys and values in lists, the same at each call; a long value is an order of many lines."""
    draw = np.random.default_rng(size)
    lines_each = max(1, size // _LINE_BYTES)
    for start in range(0, total, _CHUNK):
        chunk = min(_CHUNK, total - start)
        lines = _lines(draw, chunk * lines_each)
        if lines_each > 1:
            grouped = (",".join(lines[first : first + lines_each]) for first in range(0, len(lines), lines_each))
            lines = [f'{{"lines":[{order}]}}' for order in grouped]
        users = draw.integers(0, 50_000, chunk).tolist()
        yield [(f"u{user}".encode(), line.encode()) for user, line in zip(users, lines, strict=True)]


def _lines(draw: np.random.Generator, count: int) -> list[str]:
    articles = draw.zipf(1.4, count) % 5_000
    cents = np.exp(draw.normal(7.5, 1, count)).astype(int)
    times = np.datetime_as_string(_FIRST + draw.integers(0, 30 * 86_400, count))
    cities, states = draw.integers(0, len(_CITIES), count), draw.integers(0, len(_STATES), count)
    numbers = draw.integers(1_000_000, 9_999_999, count)
    columns = (column.tolist() for column in (numbers, articles, cents, times, cities, states))
    return [
        f'{{"order":{number},"article":"A{article:04d}","price":{cent / 100:.2f},"city":"{_CITIES[city]}",'
        f'"state":"{_STATES[state]}","at":"{time}Z"}}'
        for number, article, cent, time, city, state in zip(*columns, strict=True)
    ]
