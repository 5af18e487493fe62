"""Exports of a real topic that are killed at any moment, and gone on with."""

import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.truth import SECONDS, Log, new_topic, producer

COUNT = 300_000
PARTITIONS = 3

EXPORTER = """
import sys
import kafkalab as kl
from kafkalab.export import write

write._GROUP_ROWS = 2_000
lab = kl.connect(sys.argv[1])
print("begun", flush=True)
lab.export(sys.argv[2], sys.argv[3], format=sys.argv[4], value="text", resume=True, max_file_bytes=1, progress=False)
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def log(kafka: ApacheKafka) -> Log:
    log = new_topic(kafka.bootstrap_servers, PARTITIONS)
    writer = producer(kafka.bootstrap_servers, linger_ms=50, queue_buffering_max_messages=COUNT + 1)
    for number in range(COUNT):
        writer.produce(log.topic, b'{"n": %d}' % number, b"%d" % number, number % PARTITIONS)
    assert writer.flush(SECONDS) == 0
    return log


def export(kafka: ApacheKafka, log: Log, folder: Path, file_format: str, kill_after_s: float | None) -> bool:
    """Export in a process, which is killed some time after it has begun; return whether it came to its end."""
    command = [sys.executable, "-c", EXPORTER, kafka.bootstrap_servers, log.topic, str(folder), file_format]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        killer = threading.Timer(kill_after_s if kill_after_s is not None else SECONDS, process.kill)
        killer.start()
        ended = process.stdout.readline() == "done\n"
        killer.cancel()
    return ended


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
@pytest.mark.parametrize("seed", range(3))
def test_killed_exports_lose_and_double_nothing(
    kafka: ApacheKafka, log: Log, tmp_path: Path, file_format: str, seed: int
) -> None:
    draw = random.Random(seed)
    kills = 0
    while kills < 3 and not export(kafka, log, tmp_path, file_format, draw.uniform(0.05, 0.6)):
        kills += 1
    assert kills
    assert export(kafka, log, tmp_path, file_format, None)
    loaded = kl.load(tmp_path)
    found = Counter(zip(loaded["partition"], loaded["offset"], strict=True))
    assert set(found.values()) == {1}
    assert found.keys() == {(partition, offset) for partition in range(PARTITIONS) for offset in range(COUNT // 3)}
    assert (
        loaded["value"] == [f'{{"n": {o * 3 + p}}}' for p, o in zip(loaded["partition"], loaded["offset"], strict=True)]
    ).all()
    assert kl.receipt(loaded).records == COUNT
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
