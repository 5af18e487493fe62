"""How fast a consumer group is: beside a bare loop over `consume()`, and how much ten workers help a slow handler."""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import interval
from benchmarks.topics import Case, Topics
from kafkalab.brokers import ApacheKafka

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROOT = Path(__file__).parent.parent
_LONGEST_S = 300
_SLOW_S = 0.005
_ONE_POLL = 1_000
_SETTINGS: dict[str, Any] = {"fetch.queue.backoff.ms": 1, "partition.assignment.strategy": "cooperative-sticky"}
_DONE_S = 0.002

QUICK = ["bare", "partition", "unordered", "key", "iterator"]
SLOW = ["slow-1", "slow-10"]


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.group", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="for the handler that does nothing")
    parser.add_argument("--slow-records", type=int, default=4_000, help="for the handler that waits 5 ms")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each contender")
    parser.add_argument("--contenders", nargs="+", default=[*QUICK, *SLOW], choices=[*QUICK, *SLOW])
    return parser.parse_args(arguments)


def measure(contender: str, bootstrap_servers: str, topic: str, records: int) -> dict[str, float]:
    """Have a fresh process take so many records of a topic; return the seconds from the first to the last, and CPU."""
    command = [sys.executable, "-m", "benchmarks.group", "--child", contender, bootstrap_servers, topic, str(records)]
    told = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=_LONGEST_S)
    found: dict[str, float] = json.loads(told.stdout)
    assert found["records"] >= records, f"{contender} took {found['records']} records, not {records}"
    return found


def bare(bootstrap_servers: str, topic: str, records: int) -> dict[str, float]:
    """Take records with the loop that people write."""
    from confluent_kafka import Consumer, KafkaException

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": uuid.uuid4().hex,
            "allow.auto.create.topics": False,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **_SETTINGS,
        }
    )
    consumer.subscribe([topic])
    taken, began, cpu = 0, 0.0, 0.0
    while taken < records:
        messages = consumer.consume(_ONE_POLL, 0.2)
        if not taken:
            began, cpu = time.perf_counter(), time.process_time()
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
            taken += 1
    return _measured(taken, began, cpu, consumer.close)


def group(contender: str, bootstrap_servers: str, topic: str, records: int) -> dict[str, float]:
    """Take records with a group: a handler that does nothing under an ordering, or a slow one under that of keys."""
    from threading import Event

    import kafkalab as kl

    slow = contender.startswith("slow-")
    wait = Event().wait
    handler: Callable[[kl.Record], object] | None = (lambda _: wait(_SLOW_S)) if slow else (lambda _: None)
    lab = kl.connect(bootstrap_servers)
    ordering: Any = "key" if slow else contender
    if contender == "iterator":
        handler, ordering = None, "partition"
    workers = int(contender.removeprefix("slow-")) if slow else 10
    member = lab.consumer_group(uuid.uuid4().hex, topic, handler, workers=workers, ordering=ordering)
    member.start()
    if handler is None:
        began, cpu, taken = 0.0, 0.0, 0
        for taken, _ in enumerate(member, 1):
            if taken == 1:
                began, cpu = time.perf_counter(), time.process_time()
            if taken == records:
                break
        return _measured(taken, began, cpu, member.stop)
    member.wait_for(1, _LONGEST_S)
    began, cpu = time.perf_counter(), time.process_time()
    pause = Event()
    while member.stats().handled < records:  # to wait for that many would wake this thread after every run
        pause.wait(_DONE_S if slow else 10 * _DONE_S)
    return _measured(member.stats().handled, began, cpu, member.stop)


def _measured(taken: int, began: float, cpu: float, close: Callable[[], object]) -> dict[str, float]:
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    close()
    return {"records": taken, "seconds": seconds, "cpu": cpu, "rate": taken / seconds}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on a broker of its own: contenders in turn, ratios within a turn."""
    asked = options(arguments)
    rates: dict[str, list[float]] = {name: [] for name in asked.contenders}
    used: dict[str, list[float]] = {name: [] for name in asked.contenders}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with ApacheKafka() as broker:
        case = Case(110, "none", asked.records)
        Topics(broker.bootstrap_servers).fill(case)
        for turn in range(asked.repeats + 1):  # the first warms the broker up
            for name in asked.contenders:
                count = asked.slow_records // (10 if name == "slow-1" else 1) if name in SLOW else asked.records
                found = measure(name, broker.bootstrap_servers, case.topic, count)
                if turn:
                    rates[name].append(found["rate"])
                    used[name].append(found["cpu"] / found["records"] * 1e6)
    print(f"load {os.getloadavg()[0]:.1f}\n\n| contender | records/s | CPU s per million | ratio (95% interval) |")
    print("|---|---:|---:|---:|")
    for name, values in rates.items():
        against = "slow-1" if name in SLOW else "bare"
        ratio = ""
        if against in rates and name != against:
            ratios = [mine / its for mine, its in zip(values, rates[against], strict=True)]
            low, high = interval(ratios)
            ratio = f"{np.median(ratios):.2f} ({low:.2f} to {high:.2f}) of {against}"
        print(f"| {name} | {np.median(values):,.0f} | {np.median(used[name]):.2f} | {ratio} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        faulthandler.dump_traceback_later(_LONGEST_S, exit=True)
        _contender, _bootstrap, _topic, _records = sys.argv[2:]
        take = bare if _contender == "bare" else lambda *args: group(_contender, *args)
        print(json.dumps(take(_bootstrap, _topic, int(_records))))
    else:
        main()
