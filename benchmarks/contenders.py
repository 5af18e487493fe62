"""What is compared: the loop that people write, the same with two settings, and each engine of kafkalab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import pandas as pd
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable

    Read: TypeAlias = Callable[[], pd.DataFrame]

LOOPS: dict[str, dict[str, str | int | float | bool]] = {
    "loop": {},
    "tuned-loop": {"fetch.queue.backoff.ms": 1, "queued.min.messages": 1_000_000},
}
_COLUMNS = ["topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value"]


def names() -> list[str]:
    """Return the contenders; the first is the one that the others are compared with."""
    from kafkalab.connect import Engine

    return [*LOOPS, *(engine for engine in get_args(Engine) if engine != "auto")]


def connect(contender: str, bootstrap_servers: str, topic: str, records: int) -> Read:
    """Connect, and return what reads the topic into a frame."""
    if contender in LOOPS:
        return _loop(bootstrap_servers, topic, records, LOOPS[contender])
    return _engine(contender, bootstrap_servers, topic)


def _loop(bootstrap_servers: str, topic: str, records: int, settings: dict[str, str | int | float | bool]) -> Read:
    """Return the loop, made better than most: it joins no group, and knows when it is done."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "benchmark",
            "allow.auto.create.topics": False,
            "enable.auto.commit": False,
            **settings,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions

    def read() -> pd.DataFrame:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        rows: list[tuple[Any, ...]] = []
        while len(rows) < records:
            for message in consumer.consume(min(1_000, records - len(rows)), timeout=1):
                if error := message.error():
                    raise KafkaException(error)
                timestamp_type, timestamp = message.timestamp()
                rows.append(
                    (
                        message.topic(),
                        message.partition(),
                        message.offset(),
                        timestamp,
                        timestamp_type,
                        message.key(),
                        message.value(),
                    )
                )
        consumer.close()
        frame = pd.DataFrame(rows, columns=_COLUMNS)
        frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="ms", utc=True)
        return frame

    return read


def _engine(name: str, bootstrap_servers: str, topic: str) -> Read:
    from kafkalab.connect import connect

    lab = connect(bootstrap_servers, engine=name)  # type: ignore[arg-type]  # it is one of the engine's names

    def read() -> pd.DataFrame:
        return lab.read(topic, limit=None, max_bytes=None, progress=False)

    return read
