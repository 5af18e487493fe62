"""Topics to try things on: a small web shop's last days."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafkalab.errors import BrokerStartError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Rng: TypeAlias = np.random.Generator

Headers: TypeAlias = "dict[str, str | bytes | None]"

SMALL_TOPICS = {"clicks": 3, "customers": 1, "orders": 4, "sensors": 2}
TOPICS = {**SMALL_TOPICS, "payments": 2}
GROUP_ID = "billing"

_DAYS = 7
_DAY_MS = 86_400_000
_MINUTES_A_DAY = 1440
_BUSIEST_MINUTE = 19 * 60
_ORDERS, _SMALL_ORDERS = 100_000, 30_000
_CUSTOMERS = 3000
_TRANSACTIONS, _TRANSACTION_RECORDS, _ABORTED_EVERY = 40, 50, 5
_ROOMS = ("bakery", "cellar", "office", "store")
_PRICES = {"bread": 3.2, "coffee": 8.9, "honey": 6.5, "kettle": 49.0, "mug": 12.0, "tea": 5.4}
_COUNTRIES = {"AT": 0.1, "CH": 0.12, "DE": 0.46, "FR": 0.2, "NL": 0.12}
_COUPON_SHARE, _KNOWN_SHARE = 0.08, 0.4
_TIMEOUT_S = 30.0
_SLICE_S = 0.2
_LATER = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
_LOGGER = logging.getLogger("kafkalab.librdkafka")


class Record(NamedTuple):
    """A record to write; its key chooses the partition, where it has one."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    partition: int = -1


def fill(bootstrap_servers: str, *, small: bool = False, seed: int = 7, now_ms: int | None = None) -> None:
    """Make the sample topics on a fresh broker and write their records.

    Parameters
    ----------
    bootstrap_servers : str
        Of Apache Kafka, or of a mock broker that has the topics.
    small : bool
        Fewer records, no transactions and no group, for librdkafka's mock: it keeps 5 MiB a partition, shows aborted
        records, and its topics are made with it (``MockBroker(SMALL_TOPICS)``).
    seed : int
        Which records. The same seed and time give the same ones.
    now_ms : int, optional
        When the records end, as epoch milliseconds; they begin seven days before. The clock's time by default.

    Raises
    ------
    BrokerStartError
        The broker does not take the topics or the records.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    written = records(np.random.default_rng(seed), now_ms, _SMALL_ORDERS if small else _ORDERS)
    paid = payments(np.random.default_rng(seed), now_ms)
    try:
        if small:
            _write(bootstrap_servers, written)
            return
        _create(bootstrap_servers)
        # A broker takes a second or two to make its own topics for the first transaction.
        with ThreadPoolExecutor(1, thread_name_prefix="kafkalab-samples") as beside:
            paying = beside.submit(_pay, bootstrap_servers, paid)
            _write(bootstrap_servers, written)
            _commit(bootstrap_servers)
            paying.result()
    except KafkaException as error:
        message = f"the sample topics cannot be written: {error.args[0].str()}"
        raise BrokerStartError(message) from error


def records(rng: Rng, now_ms: int, order_count: int) -> dict[str, Iterable[Record]]:
    """Return what each topic gets outside of transactions, in the order of its timestamps."""
    return {
        "orders": orders(rng, now_ms, order_count),
        "clicks": clicks(rng, now_ms, order_count // 2),
        "sensors": sensors(rng, now_ms),
        "customers": customers(rng, now_ms),
    }


def orders(rng: Rng, now_ms: int, count: int) -> Iterator[Record]:
    """Return orders as JSON, by customer, with a header; some customers buy more, and few have a coupon."""
    products = rng.integers(len(_PRICES), size=count)
    quantities = 1 + rng.poisson(0.8, count)
    frame = pd.DataFrame(
        {
            "order_id": np.arange(1, count + 1),
            "customer": _customers(rng, count),
            "country": rng.choice(list(_COUNTRIES), count, p=list(_COUNTRIES.values())),
            "product": np.array(list(_PRICES))[products],
            "quantity": quantities,
            "amount": np.array(list(_PRICES.values()))[products] * quantities,
            "coupon": pd.Series("SPRING", range(count)).where(rng.random(count) < _COUPON_SHARE),
        }
    )
    headers: Iterable[Headers] = ({"source": source} for source in rng.choice(["app", "web"], count).tolist())
    return _as_json(_times(rng, now_ms, count), "customer", frame, headers)


def clicks(rng: Rng, now_ms: int, count: int) -> Iterator[Record]:
    """Return page views as JSON with an object in it; a visitor who has not logged in has no customer."""
    visitors = _customers(rng, count)
    paths = rng.choice(["/", "/cart", *(f"/product/{name}" for name in _PRICES)], count).tolist()
    load_ms = rng.lognormal(4.5, 0.6, count).tolist()
    frame = pd.DataFrame(
        {
            "visitor": visitors,
            "customer": pd.Series(visitors).where(rng.random(count) < _KNOWN_SHARE),
            "page": [{"path": path, "load_ms": ms} for path, ms in zip(paths, load_ms, strict=True)],
        }
    )
    return _as_json(_times(rng, now_ms, count), "visitor", frame)


def sensors(rng: Rng, now_ms: int) -> Iterator[Record]:
    """Yield temperatures as text, one a room every five minutes; the cellar's sensor was off for a while."""
    count = _DAYS * _MINUTES_A_DAY // 5
    first = now_ms - _DAYS * _DAY_MS
    degrees = 21 + np.cumsum(rng.normal(0, 0.05, (count, len(_ROOMS))), axis=0)
    for step, row in enumerate(degrees.tolist()):
        for number, (room, degree) in enumerate(zip(_ROOMS, row, strict=True)):
            if room != "cellar" or not count // 2 < step < count // 2 + 100:
                yield Record(first + step * 300_000, room.encode(), f"{degree:.2f}".encode(), partition=number % 2)


def customers(rng: Rng, now_ms: int) -> Iterator[Record]:
    """Yield each customer's entry, some changes, and a null for those who left: a topic that is compacted."""
    numbers = np.arange(_CUSTOMERS)
    frame = pd.DataFrame({"customer": [f"c{n:04}" for n in numbers], "tier": "basic", "newsletter": numbers % 3 == 0})
    first = now_ms - _DAYS * _DAY_MS
    yield from _as_json(range(first, first + _CUSTOMERS), "customer", frame)
    changed = frame.iloc[rng.choice(_CUSTOMERS, _CUSTOMERS // 5, replace=False)].assign(tier="gold")
    for number, record in enumerate(_as_json(_times(rng, now_ms, len(changed)), "customer", changed)):
        yield record if number % 4 else record._replace(value=None)


def payments(rng: Rng, now_ms: int) -> Iterator[list[Record]]:
    """Yield payments as JSON, a list for each transaction, of the last hours."""
    count = _TRANSACTIONS * _TRANSACTION_RECORDS
    numbers = np.arange(count)
    frame = pd.DataFrame(
        {
            "payment_id": [f"p{n:05}" for n in numbers],
            "amount": rng.gamma(2, 15, count),
            "method": np.where(numbers % 3, "card", "bank"),
        }
    )
    paid = list(_as_json(range(now_ms - 5000 * count, now_ms, 5000), "payment_id", frame))
    for first in range(0, count, _TRANSACTION_RECORDS):
        yield paid[first : first + _TRANSACTION_RECORDS]


def _times(rng: Rng, now_ms: int, count: int) -> list[int]:
    """Return rising times of the last days: few by night, most in the evening."""
    minutes = now_ms // 60_000 - np.arange(_DAYS * _MINUTES_A_DAY, 0, -1)
    weights = 1.1 + np.cos(2 * np.pi * (minutes - _BUSIEST_MINUTE) / _MINUTES_A_DAY)
    drawn: NDArray[np.int64] = rng.choice(minutes, count, p=weights / weights.sum()) * 60_000
    return [int(ms) for ms in np.sort(drawn + rng.integers(60_000, size=count))]


def _customers(rng: Rng, count: int) -> list[str]:
    return [f"c{number:04}" for number in (rng.random(count) ** 2 * _CUSTOMERS).astype(int).tolist()]


def _as_json(
    times: Iterable[int], key: str, frame: pd.DataFrame, headers: Iterable[Headers | None] = repeat(None)
) -> Iterator[Record]:
    """Yield each row as a record with a JSON value: pandas writes many far faster than json writes each."""
    lines = frame.to_json(orient="records", lines=True, double_precision=2).replace("\\/", "/").encode().splitlines()
    keys = [name.encode() for name in frame[key].tolist()]
    for timestamp, name, line, its_headers in zip(times, keys, lines, headers, strict=False):
        yield Record(timestamp, name, line, its_headers)


def _create(bootstrap_servers: str) -> None:
    admin = AdminClient(_client(bootstrap_servers, {"allow.auto.create.topics": False}), logger=_LOGGER)
    settings = {name: {"retention.ms": "-1"} for name in TOPICS}
    settings["customers"]["cleanup.policy"] = "compact"
    topics = [NewTopic(name, count, config=settings[name]) for name, count in TOPICS.items()]
    for created in admin.create_topics(topics).values():
        created.result(_TIMEOUT_S)


def _write(bootstrap_servers: str, topics: Mapping[str, Iterable[Record]]) -> None:
    failures: list[KafkaError] = []
    producer = _producer(bootstrap_servers, failures)
    for topic, its_records in topics.items():
        _produce(producer, topic, its_records)
    _flush(producer, failures)


def _pay(bootstrap_servers: str, transactions: Iterable[Sequence[Record]]) -> None:
    failures: list[KafkaError] = []
    producer = _producer(bootstrap_servers, failures, {"transactional.id": "kafkalab-samples"})
    producer.init_transactions(_TIMEOUT_S)
    for number, payment_records in enumerate(transactions, start=1):
        producer.begin_transaction()
        _produce(producer, "payments", payment_records)
        # What is not sent yet when a transaction is aborted is never sent.
        _flush(producer, failures)
        if number % _ABORTED_EVERY:
            producer.commit_transaction(_TIMEOUT_S)
        else:
            producer.abort_transaction(_TIMEOUT_S)


def _commit(bootstrap_servers: str) -> None:
    """Commit offsets for a group, as if it had worked until lately."""
    options = {"group.id": GROUP_ID, "enable.auto.commit": False, "allow.auto.create.topics": False}
    consumer = Consumer(_client(bootstrap_servers, options), logger=_LOGGER)
    try:
        parts = [TopicPartition("orders", partition) for partition in range(TOPICS["orders"])]
        for part in parts:
            _, high_watermark = consumer.get_watermark_offsets(part, timeout=_TIMEOUT_S)
            part.offset = high_watermark - 100 * (part.partition + 1)
        deadline = time.monotonic() + _TIMEOUT_S
        while not _committed(consumer, parts, deadline):
            consumer.poll(_SLICE_S)
    finally:
        consumer.close()


def _committed(consumer: Consumer, parts: list[TopicPartition], deadline: float) -> bool:
    """Commit, and return whether that worked, or may work later: the first group of a broker has to wait for it."""
    try:
        consumer.commit(offsets=parts, asynchronous=False)
    except KafkaException as error:
        if error.args[0].code() not in _LATER or time.monotonic() > deadline:
            raise
        return False
    return True


def _client(bootstrap_servers: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"bootstrap.servers": bootstrap_servers, **options}


def _producer(bootstrap_servers: str, failures: list[KafkaError], options: Mapping[str, Any] | None = None) -> Producer:
    settings = {
        "allow.auto.create.topics": False,
        "enable.idempotence": True,
        "partitioner": "murmur2_random",  # the one that Java's clients have
        "compression.type": "zstd",
        "linger.ms": 20,
        "queue.buffering.max.messages": 1_000_000,
        "delivery.report.only.error": True,
        "on_delivery": lambda error, _: failures.append(error),
        **(options or {}),
    }
    return Producer(_client(bootstrap_servers, settings), logger=_LOGGER)


def _produce(producer: Producer, topic: str, its_records: Iterable[Record]) -> None:
    for record in its_records:
        producer.produce(
            topic,
            record.value,
            record.key,
            record.partition,
            timestamp=record.timestamp,
            headers=record.headers,
        )


def _flush(producer: Producer, failures: list[KafkaError]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while left := producer.flush(_SLICE_S):  # Ctrl-C waits for it to return
        if time.monotonic() > deadline:
            message = f"{left} records of the sample topics were not taken within {_TIMEOUT_S:g} s"
            raise BrokerStartError(message)
    if failures:
        raise KafkaException(failures[0])
