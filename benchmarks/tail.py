"""How soon a written record is in `tail.df`, and what a tail takes while records pour in.

``python -m benchmarks.tail latency`` writes 1,000 records a second, and looks at the frame all the time.
``python -m benchmarks.tail flood`` writes 100,000 a second, with the table that a notebook shows on top.
Both check that all that was written is seen, and is shown or counted as dropped.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from kafkalab.widgets.tail_table import TailTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TOPIC, PARTITIONS = "tailed", 4
TRIALS = {"latency": 1_000, "flood": 100_000}
_TICK_S = 0.005
_WARM_UP_S = 10

_MIB = 1 << 20


def write(bootstrap_servers: str, rate: int, seconds: int) -> None:
    """Write records of some 100 bytes evenly; each says when it was written."""
    options = {"bootstrap.servers": bootstrap_servers, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000}
    producer = Producer({**options, "allow.auto.create.topics": False})
    padding = "x" * 50
    began, written, total = time.monotonic(), 0, rate * seconds
    while written < total:
        due = min(int((time.monotonic() - began) * rate), total)
        for number in range(written, due):
            value = f'{{"n": {number}, "sent_ns": {time.time_ns()}, "note": "{padding}"}}'
            producer.produce(TOPIC, value, partition=number % PARTITIONS)
        written = due
        producer.poll(_TICK_S)
    assert producer.flush(60) == 0
    print(written, time.monotonic() - began)


@contextmanager
def writing(bootstrap_servers: str, rate: int, seconds: int) -> Iterator[subprocess.Popen[str]]:
    """Have another process write: this one's interpreter is the tail's."""
    command = [sys.executable, "-m", "benchmarks.tail", "write", bootstrap_servers, str(rate), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def latency(lab: kl.Lab, bootstrap_servers: str, rate: int, seconds: int) -> str:
    """Return how long records took from the call that writes them to a look that finds them in the frame."""
    found: list[NDArray[np.float64]] = []
    seen, looks = 0, 0
    with lab.tail(TOPIC, rows=5 * rate, value="json") as tail, writing(bootstrap_servers, rate, seconds):
        while seen < rate * seconds:
            assert tail.wait_for(seen + 1, 60)
            frame = tail.df
            now, new = time.time_ns(), kl.receipt(frame).rows - seen
            found.append((now - frame["sent_ns"].to_numpy()[-new:]) / 1e6)
            seen += new
            looks += 1
    assert sum(map(len, found)) == rate * seconds
    # A producer connects at its first record, and a broker that has just begun compiles its code.
    times = np.concatenate(found)[_WARM_UP_S * rate :]
    rank = {f"p{q:g}": np.percentile(times, q) for q in (50, 90, 99, 99.9)}
    told = " · ".join(f"{name} {value:.1f} ms" for name, value in {**rank, "most": times.max()}.items())
    return f"{len(times):,} records at {rate:,}/s, {looks:,} looks at a frame of up to {5 * rate:,} rows: {told}"


def flood(lab: kl.Lab, bootstrap_servers: str, rate: int, seconds: int) -> str:
    """Return what a tail with its table takes while records pour in."""
    memory: list[float] = []
    cpu_before = cpu_seconds()
    with lab.tail(TOPIC, value="json") as tail, writing(bootstrap_servers, rate, seconds) as writer:
        table = TailTable(tail)
        began = time.monotonic()
        most_lag = 0
        while writer.poll() is None or tail.seen < rate * seconds:
            assert tail.running
            assert time.monotonic() - began < 3 * seconds + 60, f"only {tail.seen:,} were seen"
            tail.wait_for(tail.seen + rate, 1)
            memory.append(resident_bytes() / _MIB)
            most_lag = max(most_lag, tail.lag)
        took = time.monotonic() - began
        assert writer.stdout is not None
        written, write_seconds = writer.stdout.read().split()
        assert int(written) == tail.seen == len(tail.df) + tail.dropped
        table.close()
    status = tail.status
    assert f"dropped {tail.dropped:,}" in status
    settled = memory[_WARM_UP_S:] or memory
    return (
        f"{tail.seen:,} records written in {float(write_seconds):.1f} s, seen in {took:.1f} s: {status}; "
        f"{settled[0]:.0f} MiB resident after {_WARM_UP_S} s, {max(settled):.0f} at most, {settled[-1]:.0f} at last; "
        f"most lag {most_lag:,}; {(cpu_seconds() - cpu_before) / took:.2f} cores"
    )


def resident_bytes() -> int:
    """Return what this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds() -> float:
    """Return what this process has used, all threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run a trial against a broker of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tail", description=__doc__)
    parser.add_argument("trial", choices=TRIALS)
    parser.add_argument("--rate", type=int, help="records a second")
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    rate = given.rate or TRIALS[given.trial]
    with ApacheKafka() as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(30)
        with kl.connect(broker.bootstrap_servers) as lab:
            print((latency if given.trial == "latency" else flood)(lab, broker.bootstrap_servers, rate, given.seconds))


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
