"""How verbs fare on a topic of many partitions, beside one of four that holds as much.

``python -m benchmarks.wide [partitions] [records]``
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

import kafkalab as kl
from kafkalab.brokers import ApacheKafka

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = 4
RUNS = 3


def fill(address: str, topic: str, partitions: int, records: int) -> None:
    """Make a topic with so many records in all."""
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, partitions, 1)], request_timeout=120)[topic].result(120)
    producer = Producer({"bootstrap.servers": address, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000})
    for number in range(records):
        producer.produce(topic, b'{"amount": %d}' % number, b"%d" % number, number % partitions)
        producer.poll(0)
    assert producer.flush(300) == 0


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Return how long a call takes, and of that how long it has a core: medians."""
    taken = []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    return statistics.median(wall for wall, _ in taken), statistics.median(cpu for _, cpu in taken)


def main(partitions: int = 1_000, records: int = 200_000) -> None:
    """Print a table."""
    with ApacheKafka() as broker, kl.connect(broker.bootstrap_servers) as lab:
        for topic, count in (("few", FEW), ("wide", partitions)):
            fill(broker.bootstrap_servers, topic, count, records)
        verbs: dict[str, Callable[[str], object]] = {
            "read": lambda topic: lab.read(topic, progress=False),
            "sample(1000)": lambda topic: lab.sample(topic, 1000, progress=False),
            "map_partitions(len)": lambda topic: lab.map_partitions(topic, len, progress=False),
            "compacted": lambda topic: lab.compacted(topic, progress=False),
            "find": lambda topic: lab.find(topic, "7", progress=False),
            "head": lambda topic: lab.head(topic, progress=False),
        }
        print(f"{records:,} records; seconds, CPU seconds: in {FEW} partitions, in {partitions:,}")
        for name, verb in verbs.items():
            few, wide = (seconds(lambda verb=verb, topic=topic: verb(topic)) for topic in ("few", "wide"))  # type: ignore[misc]  # bound at once
            print(f"{name:22} {few[0]:6.2f} {few[1]:6.2f}   {wide[0]:6.2f} {wide[1]:6.2f}   x{wide[0] / few[0]:.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
