"""The sample topics, written to a broker."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafkalab.brokers.live import LiveOrders
from kafkalab.brokers.shop import payments, records
from kafkalab.errors import BrokerStartError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kafkalab.brokers.shop import Record

SMALL_TOPICS = {"clicks": 3, "customers": 1, "orders": 4, "sensors": 2}
TOPICS = {**SMALL_TOPICS, "payments": 2}
GROUP_ID = "billing"

_ORDERS, _SMALL_ORDERS = 100_000, 30_000
_ABORTED_EVERY = 5
_TIMEOUT_S = 30.0
_SLICE_S = 0.2
_LATER = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
_LOGGER = logging.getLogger("kafkalab.librdkafka")


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


def go_on(bootstrap_servers: str, orders_per_s: float) -> LiveOrders:
    """Go on with orders, as time goes by, until what is returned is stopped."""
    # A record that is not taken is no matter: the next one comes.
    return LiveOrders(_producer(bootstrap_servers, []), orders_per_s, first=_ORDERS + 1)


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
