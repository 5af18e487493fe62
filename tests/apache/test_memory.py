"""Memory while reading is bounded by the queues, whatever the size of the topic."""

import json
import subprocess
import sys
from typing import Any

import pytest

from kafkalab.brokers import ApacheKafka
from tests.apache.truth import SECONDS, big

MIB = 1 << 20
# What librdkafka may fetch ahead of the engine, and the engine ahead of the reader.
QUEUE, READ_AHEAD = 64 * MIB, 64 * MIB
# One slice as messages and as Arrow, what the allocators keep, and the libraries' own.
CONSTANT = 160 * MIB

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
    if number % 20 == 0:
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


@pytest.mark.parametrize("engine", ["arrow", "librdkafka"])
def test_a_slow_reader_of_a_large_topic_holds_little_of_it(kafka: ApacheKafka, engine: str) -> None:
    told = reader(kafka.bootstrap_servers, big(kafka.bootstrap_servers).topic, engine)
    assert (told["rows"], told["complete"]) == (400_000, True)
    assert told["bytes"] > 400_000_000 > QUEUE + READ_AHEAD + CONSTANT
    assert told["grown"] < QUEUE + READ_AHEAD + CONSTANT
