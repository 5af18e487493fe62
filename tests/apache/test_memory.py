"""Memory while reading is bounded, whatever the topic."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from kafkalab.brokers import ApacheKafka
from tests.apache.truth import SECONDS, Log, big, new_topic, producer

MIB = 1 << 20
# What the engine holds, what the allocators keep, and the libraries' own.
ARROW = 128 * MIB
# What librdkafka and the engine may fetch ahead, one slice of messages, and the same besides.
LIBRDKAFKA = (64 + 8 + 160) * MIB

READER = """
import hashlib, json, sys, threading
from pathlib import Path
import kafkalab as kl

def resident(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))

def wait_until_the_queue_is_full():
    seen = -1
    while seen < lab.fetcher.stats.bytes:
        seen = lab.fetcher.stats.bytes
        pause.wait(0.5)

pause = threading.Event()
lab = kl.connect(sys.argv[1], engine=sys.argv[3])
scan = lab.scan(sys.argv[2])
before, rows, digest = resident("VmRSS"), 0, hashlib.sha256()
for number, arrow_batch in enumerate(scan):
    if number % 50 == 0:
        wait_until_the_queue_is_full()
    rows += arrow_batch.num_rows
    for value in arrow_batch["value"]:
        digest.update(value.as_buffer())
print(json.dumps({
    "rows": rows,
    "complete": scan.receipt.complete,
    "bytes": scan.receipt.bytes,
    "grown": resident("VmHWM") - before,
}))
"""


def reader(bootstrap: str, topic: str, engine: str) -> dict[str, Any]:
    """Read a topic slowly in a process of its own; return what it tells of itself."""
    command = [sys.executable, "-c", READER, bootstrap, topic, engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * SECONDS, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def compressible(bootstrap: str) -> Log:
    """Make a topic whose batches of some KB hold 30 MB each, 600 MB on four partitions."""
    log = new_topic(bootstrap, 4, max_message_bytes=40_000_000)
    writer = producer(
        bootstrap, linger_ms=5_000, compression_type="zstd", batch_size=32_000_000, message_max_bytes=40_000_000
    )
    for number in range(20):
        for _ in range(30):
            writer.produce(log.topic, bytes(1_000_000), b"k", number % 4)
        assert writer.flush(SECONDS) == 0
    return log


def small_records(bootstrap: str) -> Log:
    """Make a topic of a million short records, 110 MB in zstd's batches on four partitions."""
    log = new_topic(bootstrap, 4)
    noise = random.Random(2).randbytes(5_000).hex().encode()
    writer = producer(
        bootstrap, linger_ms=50, batch_size=500_000, compression_type="zstd", queue_buffering_max_messages=2_000_000
    )
    for number in range(1_000_000):
        writer.produce(log.topic, noise[number % 9_000 :][:100], b"%d" % number, number % 4)
        if number % 10_000 == 0:
            writer.poll(0)
    assert writer.flush(SECONDS) == 0
    return log


def large_batches(bootstrap: str) -> Log:
    """Make a topic of batches of 8 MB that no codec makes smaller, 320 MB on four partitions."""
    log = new_topic(bootstrap, 4, max_message_bytes=16_000_000)
    noise = random.Random(3).randbytes(2_000_000)
    writer = producer(bootstrap, linger_ms=5_000, batch_size=8_000_000, message_max_bytes=16_000_000)
    for number in range(40):
        for at in range(8):
            writer.produce(log.topic, noise[number * 1_000 + at :][:1_000_000], b"k", number % 4)
        assert writer.flush(SECONDS) == 0
    return log


@pytest.mark.parametrize(
    ("make", "engine", "rows", "bound"),
    [
        (big, "arrow", 400_000, ARROW),
        (big, "librdkafka", 400_000, LIBRDKAFKA),
        (compressible, "arrow", 600, ARROW),
        (small_records, "arrow", 1_000_000, ARROW),
        (large_batches, "arrow", 320, ARROW),
    ],
)
def test_a_slow_reader_of_a_large_topic_holds_little_of_it(
    kafka: ApacheKafka, make: Callable[[str], Log], engine: str, rows: int, bound: int
) -> None:
    told = reader(kafka.bootstrap_servers, make(kafka.bootstrap_servers).topic, engine)
    assert (told["rows"], told["complete"]) == (rows, True)
    assert told["grown"] < bound
