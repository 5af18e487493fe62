"""One real Apache Kafka for all of these tests."""

import contextlib
import itertools
import logging
import re
import time
from collections.abc import Iterator
from typing import Protocol

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from kafkalab.brokers import ApacheKafka
from kafkalab.net.wire import BrokerConnection

# Housekeeping that a test can wait for.
BUSY_CLEANERS = {
    "log.cleaner.backoff.ms": 200,
    "log.initial.task.delay.ms": 200,
    "log.retention.check.interval.ms": 500,
    "log.segment.delete.delay.ms": 500,
}
TOPIC_SECONDS = 20


class MakeTopic(Protocol):
    """Makes a topic, waits until it can be used, and gives its name."""

    def __call__(self, partitions: int = 1, **config: object) -> str: ...


@pytest.fixture(scope="session")
def kafka() -> Iterator[ApacheKafka]:
    with ApacheKafka(BUSY_CLEANERS, jvm_options=("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")) as broker:
        yield broker


@pytest.fixture(scope="session")
def admin(kafka: ApacheKafka) -> AdminClient:
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "allow.auto.create.topics": False,
    }
    return AdminClient(config, logger=logging.getLogger("kafka.admin"))


@pytest.fixture
def topic(admin: AdminClient, request: pytest.FixtureRequest) -> Iterator[MakeTopic]:
    """Make topics that are deleted after the test: ``topic(3, cleanup_policy="compact")`` gives a name."""
    made: list[str] = []
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", request.node.name)[:100]

    def make(partitions: int = 1, **config: object) -> str:
        name = f"{prefix}-{next(_numbers)}"
        settings = {option.replace("_", "."): str(value) for option, value in config.items()}
        admin.create_topics([NewTopic(name, partitions, config=settings)])[name].result(TOPIC_SECONDS)
        made.append(name)
        wait_for_leaders(admin, name, partitions)
        return name

    yield make
    if made:
        for deleted in admin.delete_topics(made).values():
            with contextlib.suppress(KafkaException):  # the test itself has deleted it
                deleted.result(TOPIC_SECONDS)


def wait_for_leaders(admin: AdminClient, topic: str, partitions: int) -> None:
    """Wait until the leader of every partition answers; metadata can name one before it takes requests."""
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(partitions)}
    deadline = time.monotonic() + TOPIC_SECONDS
    while asked:
        # Without this, the client goes on believing that the topic is unknown when it was, once.
        admin.list_topics(topic, timeout=TOPIC_SECONDS)
        for partition, answer in admin.list_offsets(dict(asked), request_timeout=TOPIC_SECONDS).items():
            try:
                answer.result(TOPIC_SECONDS)
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
            else:
                del asked[partition]


_numbers = itertools.count(1)


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[BrokerConnection]:
    """Count the logins, by the connection that each was on."""
    counted: list[BrokerConnection] = []
    login = BrokerConnection.login

    def counting(connection: BrokerConnection) -> None:
        counted.append(connection)
        login(connection)

    monkeypatch.setattr(BrokerConnection, "login", counting)
    return counted
