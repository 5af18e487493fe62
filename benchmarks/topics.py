"""Topics to measure on: orders as JSON, of about a given size, that compress as such data do."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_TIMEOUT_S = 120
_CHUNK = 10_000
_LINE_BYTES = 110
_STATES = ("new", "paid", "packed", "shipped", "delivered", "returned")
_FIRST = np.datetime64("2026-01-01T00:00:00")
_CITIES = ("Oslo", "Porto", "Kyiv", "Lyon", "Gdansk", "Graz", "Turku", "Bergamo", "Utrecht", "Leipzig", "Sevilla")


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of topic: about how long its values are, how they are compressed, how many there are, and where.

    Attributes
    ----------
    hot : int
        One record in so many is not in partition 0; 0 for the same share in each partition.
    """

    size: int
    codec: str
    records: int
    partitions: int = 4
    hot: int = 0

    @property
    def topic(self) -> str:
        """Its name."""
        hot = f"-hot{self.hot}" if self.hot else ""
        return f"orders-{self.size}-{self.codec}-{self.records}-in-{self.partitions}{hot}"

    def partitions_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the partitions of records by their number."""
        if not self.hot:
            return numbers % self.partitions
        others = 1 + numbers // self.hot % (self.partitions - 1)
        return np.where(numbers % self.hot, 0, others)


@dataclass(frozen=True, slots=True)
class Content:
    """What a topic holds, or a frame: tells any two apart where a record lacks, doubles, or has another's value."""

    records: int
    value_bytes: int
    checksum: int

    @classmethod
    def of(cls, partitions: NDArray[np.int64], offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> Content:
        """Sum up records, in any order."""
        checksum = ((partitions + 1) * (offsets + 1) * lengths).sum()
        return cls(len(lengths), int(lengths.sum()), int(checksum))


def fill(bootstrap_servers: str, case: Case) -> Content:
    """Make the topic of a case, write its records, and return what a reader has to find there."""
    common: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers,
        "allow.auto.create.topics": False,
        "logger": logging.getLogger(__name__),
        "log_level": 3,  # a broker that has just started is slow to give a producer its number, which is a warning
    }
    admin = AdminClient(common)
    admin.create_topics([NewTopic(case.topic, case.partitions)])[case.topic].result(_TIMEOUT_S)
    settings = {
        "enable.idempotence": True,  # each record once and in order, so that its offset is known beforehand
        "compression.type": case.codec,
        "batch.size": 400_000,
        "linger.ms": 500,
        "queue.buffering.max.messages": 1_000_000,
    }
    producer = Producer(common | settings)
    lengths = np.zeros(case.records, np.int64)
    partitions = case.partitions_of(np.arange(case.records))
    for number, (key, value) in enumerate(orders(case.records, case.size)):
        lengths[number] = len(value)
        _produce(producer, case.topic, int(partitions[number]), key, value)
    left = producer.flush(_TIMEOUT_S)
    assert not left, f"{left} records did not get into {case.topic} in {_TIMEOUT_S} s"
    offsets = np.zeros(case.records, np.int64)
    for partition in range(case.partitions):
        own = partitions == partition
        offsets[own] = np.arange(own.sum())
    return Content.of(partitions, offsets, lengths)


def _produce(producer: Producer, topic: str, partition: int, key: bytes, value: bytes) -> None:
    try:
        producer.produce(topic, value, key, partition)
    except BufferError:  # its queue is full
        producer.flush(_TIMEOUT_S)
        producer.produce(topic, value, key, partition)


def orders(count: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values, the same at each call; a long value is an order of many lines."""
    draw = np.random.default_rng(size)
    lines_each = max(1, size // _LINE_BYTES)
    for start in range(0, count, _CHUNK):
        chunk = min(_CHUNK, count - start)
        lines = iter(_lines(draw, chunk * lines_each))
        for user in draw.integers(0, 50_000, chunk).tolist():
            order = [next(lines) for _ in range(lines_each)]
            value = order[0] if lines_each == 1 else f'{{"lines":[{",".join(order)}]}}'
            yield f"u{user}".encode(), value.encode()


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
