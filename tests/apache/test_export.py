"""Exports of a real topic that are killed on their way, at any moment, and gone on with."""

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.truth import SECONDS, Log, new_topic, producer

COUNT = 90_000
PARTITIONS = 3
KILLS = 4
MOST_RENAMES = 40

EXPORTER = """
import itertools, os, signal, sys, threading
import kafkalab as kl
from kafkalab.export import write
from kafkalab.export.folder import Folder
from kafkalab.fetch import conversation

address, topic, folder, file_format, renames, seconds = sys.argv[1:]
conversation._MOST_PARTITION_BYTES = 1  # answers stay as small as the first
write._GROUP_ROWS = 500
killer = threading.Timer(float(seconds), os.kill, (os.getpid(), signal.SIGKILL))
number, rename = itertools.count(1), Folder.rename

def renaming(*args):
    rename(*args)
    if next(number) == int(renames):
        killer.start()

Folder.rename = renaming
lab = kl.connect(address)
lab.export(topic, folder, format=file_format, value="text", resume=True, max_file_bytes=1, progress=False)
"""


def value_of(number: int) -> str:
    return f'{{"n": {number}}}'.ljust(400)


@pytest.fixture(scope="module")
def log(kafka: ApacheKafka) -> Log:
    log = new_topic(kafka.bootstrap_servers, PARTITIONS)
    writer = producer(
        kafka.bootstrap_servers, linger_ms=50, batch_num_messages=500, queue_buffering_max_messages=COUNT + 1
    )
    for number in range(COUNT):
        writer.produce(log.topic, value_of(number).encode(), b"%d" % number, number % PARTITIONS)
    assert writer.flush(SECONDS) == 0
    return log


def export(kafka: ApacheKafka, log: Log, folder: Path, file_format: str, *kill: float) -> int:
    """Export in a process, which may kill itself so long after so many files got their names; return its exit code."""
    arguments = (kafka.bootstrap_servers, log.topic, folder, file_format, *(kill or (0, 0)))
    done = subprocess.run([sys.executable, "-c", EXPORTER, *map(str, arguments)], check=False, timeout=SECONDS)
    return done.returncode


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))])
def test_killed_exports_lose_and_double_nothing(
    kafka: ApacheKafka, log: Log, tmp_path: Path, file_format: str, seed: int
) -> None:
    draw = random.Random(f"{file_format} {seed}")
    for _ in range(KILLS):
        renames, seconds = draw.randint(1, MOST_RENAMES), draw.uniform(0, 0.02)
        assert export(kafka, log, tmp_path, file_format, renames, seconds) == -signal.SIGKILL
    assert export(kafka, log, tmp_path, file_format) == 0
    loaded = kl.load(tmp_path)
    found = Counter(zip(loaded["partition"], loaded["offset"], strict=True))
    assert set(found.values()) == {1}
    assert found.keys() == {(partition, offset) for partition in range(PARTITIONS) for offset in range(COUNT // 3)}
    assert (
        loaded["value"] == [value_of(o * 3 + p) for p, o in zip(loaded["partition"], loaded["offset"], strict=True)]
    ).all()
    assert kl.receipt(loaded).records == COUNT
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
