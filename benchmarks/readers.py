"""What reads in Python: the loop that people write, kafkalab, and kafkarrow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.topics import Content

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.lab import Lab

    Result: TypeAlias = pd.DataFrame | pa.Table | Content
    Read: TypeAlias = Callable[[], Result]

SAMPLED = 1_000
CONSUMER = {"group.id": "benchmark", "allow.auto.create.topics": "false", "enable.auto.commit": "false"}
TUNED = {"fetch.queue.backoff.ms": "1", "queued.min.messages": "1000000"}
_COLUMNS = ["topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value"]
_SEED = 7


@dataclass(frozen=True, slots=True)
class Source:
    """A topic, how many records it has, and the options with which a librdkafka client gets to it."""

    config: dict[str, str]
    topic: str
    records: int


def readers() -> dict[str, Callable[[Source], Read]]:
    """Return by name what connects to a source, and returns what reads it."""
    return {
        "loop": partial(_loop, settings={}),
        "tuned-loop": partial(_loop, settings=TUNED),
        "arrow": partial(_frame, engine="arrow"),
        "arrow-1": _frame_over_one_connection,
        "arrow-table": _table,
        "arrow-count": _count,
        "librdkafka": partial(_frame, engine="librdkafka"),
        "kafkarrow": _kafkarrow,
        "sample": _sample,
    }


def _loop(source: Source, settings: dict[str, str]) -> Read:
    """Return the loop, made better than most: it joins no group, and knows when it is done."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

    consumer = Consumer({**source.config, **CONSUMER, **settings})
    partitions = consumer.list_topics(source.topic, timeout=10).topics[source.topic].partitions

    def read() -> pd.DataFrame:
        consumer.assign([TopicPartition(source.topic, partition, OFFSET_BEGINNING) for partition in partitions])
        rows: list[tuple[Any, ...]] = []
        while len(rows) < source.records:
            for message in consumer.consume(min(1_000, source.records - len(rows)), timeout=1):
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


def _connected(source: Source, engine: str) -> Lab:
    from kafkalab.connect import connect

    return connect(config=source.config, engine=engine)  # type: ignore[arg-type]  # it is one of the engine's names


def _whole(lab: Lab, source: Source) -> Read:
    return lambda: lab.read(source.topic, limit=None, max_bytes=None, progress=False)


def _frame(source: Source, engine: str) -> Read:
    return _whole(_connected(source, engine), source)


def _frame_over_one_connection(source: Source) -> Read:
    from kafkalab.cluster import Cluster
    from kafkalab.connection import ConnectionConfig
    from kafkalab.fetch.arrow import ArrowFetcher
    from kafkalab.lab import Lab

    config = ConnectionConfig.load(config=source.config)
    cluster = Cluster(config)
    cluster.connect()
    return _whole(Lab(cluster, ArrowFetcher(config, cluster, connections=1)), source)


def _table(source: Source) -> Read:
    lab = _connected(source, "arrow")
    return lambda: lab.scan(source.topic, progress=False).to_table()


def _count(source: Source) -> Read:
    lab = _connected(source, "arrow")

    def read() -> Content:
        return sum((content_of(rows) for rows in lab.scan(source.topic, progress=False)), Content())

    return read


def _sample(source: Source) -> Read:
    lab = _connected(source, "arrow")
    return lambda: lab.sample(source.topic, SAMPLED, seed=_SEED, value="bytes")


def content_of(rows: pa.Table | pa.RecordBatch) -> Content:
    """Sum up records."""
    partitions, offsets, lengths = (
        np.asarray(column).astype("int64", copy=False)
        for column in (rows["partition"], rows["offset"], pc.binary_length(rows["value"]))
    )
    return Content.of(partitions, offsets, lengths)


def _kafkarrow(source: Source) -> Read:
    """Return what polls until all is there, as kafkarrow knows no end; tuned, as it takes librdkafka's options."""
    from kafkarrow import ConsumerManager, SourceTopic

    topics = [SourceTopic.from_earliest(source.topic)]

    def read() -> pd.DataFrame:
        manager = ConsumerManager(config={**source.config, **TUNED}, topics=topics)
        polled, count = [], 0
        while count < source.records:
            polled.append(manager.poll(timeout_ms=1_000))
            count += polled[-1].num_rows
        frame: pd.DataFrame = pa.Table.from_batches(polled).to_pandas()
        return frame

    return read
