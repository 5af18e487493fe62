"""What map_partitions gains: by processes, by chunks of a hot partition, and what it costs to start."""

from __future__ import annotations

import argparse
import faulthandler
import json
import operator
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.report import interval
from benchmarks.topics import Case, Topics
from kafkalab.brokers import ApacheKafka

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import kafkalab as kl

_ROOT = Path(__file__).parent.parent
_LONGEST_S = 600
_CHUNK = 100_000
_PARTITIONS = 64
_SHARE = 10  # one record in so many is outside of the hot partition


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parallel", description=__doc__)
    parser.add_argument("--records", type=int, default=2_000_000, help="in each topic")
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each contender")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="the folder to write to; a new temporary one by default")
    return parser.parse_args(arguments)


def work(part: pd.DataFrame) -> int:
    """Do what keeps one core busy, as most functions on a column of texts do."""
    return int(part["value"].map(lambda value: len(json.loads(value)["city"])).sum())


def contenders(workers: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return by name the topic that each maps over, even or hot, and how."""
    both = {"executor": "process", "workers": workers}
    return {
        "1 process": ("even", {"executor": "process", "workers": 1}),
        f"{workers} processes": ("even", both),
        f"{workers} threads": ("even", {"executor": "thread", "workers": workers}),
        "hot, whole": ("hot", both),
        "hot, in chunks": ("hot", {**both, "chunk_records": _CHUNK}),
    }


def measure(bootstrap_servers: str, topic: str, how: dict[str, Any]) -> dict[str, float]:
    """Have a fresh process map over a topic, its workers warm, and return seconds and what came out."""
    command = [sys.executable, "-m", "benchmarks.parallel", "--child", bootstrap_servers, topic, json.dumps(how)]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def child(bootstrap_servers: str, topic: str, how: dict[str, Any]) -> dict[str, float]:
    """Map over a topic, once to start and warm the workers and once for the record."""
    from kafkalab.connect import connect

    with connect(bootstrap_servers) as lab:

        def run() -> int:
            return int(lab.map_partitions(topic, work, progress=False, reduce=operator.add, **how))

        found = run()
        seconds = _seconds(run)
    return {"seconds": seconds, "found": found}


def overhead(bootstrap_servers: str, topic: str, repeats: int) -> Iterable[dict[str, Any]]:
    """Yield by how much a map of a function that does nothing takes longer than its reads alone.

    These are done as the map does them, by as many threads, with the plan made and the workers started before.
    """
    from kafkalab.connect import connect
    from kafkalab.parts import PartReader

    def nothing(_: object) -> int:
        return 0

    with connect(bootstrap_servers) as lab, ThreadPoolExecutor(2) as pool:
        reader = PartReader(lab.scan(topic))
        ranges = lab.scan(topic).plan.ranges
        for executor in ("thread", "process"):
            run = _map(lab, topic, nothing, executor)
            run()
            for repeat in range(repeats):
                reads = _seconds(lambda: list(pool.map(reader.read, ranges)))
                mapped = _seconds(run)
                yield {
                    "executor": executor,
                    "repeat": repeat,
                    "reads": reads,
                    "map": mapped,
                    "overhead": mapped - reads,
                }


def _map(lab: kl.Lab, topic: str, func: Callable[[Any], Any], executor: Any) -> Callable[[], object]:
    return lambda: lab.map_partitions(topic, func, executor=executor, workers=2, frame="arrow", progress=False)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(bootstrap_servers: str, asked: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """Yield the measurements of a function that keeps a core busy, the contenders taking turns."""
    even = Case(110, "lz4", asked.records)
    hot = Case(110, "lz4", asked.records, hot=_SHARE)
    filled = Topics(bootstrap_servers)
    for case in (even, hot):
        filled.fill(case)
    topics = {"even": even.topic, "hot": hot.topic}
    found: dict[str, float] = {}
    for repeat in range(asked.repeats):
        for contender, (kind, how) in contenders(asked.workers).items():
            told = measure(bootstrap_servers, topics[kind], how)
            assert found.setdefault(kind, told["found"]) == told["found"], f"{contender} found something else"
            yield {"contender": contender, "repeat": repeat, "seconds": told["seconds"]}


def ratios(measured: pd.DataFrame, slow: str, fast: str) -> str:
    """Return how many times as fast one contender is as another, repeat by repeat, with the interval of the median."""
    seconds = measured.pivot_table("seconds", "repeat", "contender")
    times = (seconds[slow] / seconds[fast]).to_list()
    low, high = interval(times)
    return f"{fast} against {slow}: {np.median(times):.2f} times as fast ({low:.2f} to {high:.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on a broker of its own and tell the results."""
    asked = options(arguments)
    rows, costs = [], []
    with ApacheKafka() as broker:
        for row in compare(broker.bootstrap_servers, asked):
            rows.append(row)
            print(f"{row['contender']:16}{row['seconds']:8.2f} s", flush=True)
        small = Case(110, "lz4", 64 * 100, partitions=_PARTITIONS)
        Topics(broker.bootstrap_servers).fill(small)
        costs = list(overhead(broker.bootstrap_servers, small.topic, asked.repeats))
    measured, cost = pd.DataFrame(rows), pd.DataFrame(costs)
    several = f"{asked.workers} processes"
    print(f"\n{ratios(measured, '1 process', several)}\n{ratios(measured, 'hot, whole', 'hot, in chunks')}")
    for executor, times in cost.groupby("executor")["overhead"]:
        low, high = interval(times.to_list())
        print(f"{executor}: {times.median() * 1e3:.0f} ms beyond the reads ({low * 1e3:.0f} to {high * 1e3:.0f})")
    folder = asked.out or Path(tempfile.mkdtemp(prefix="kafkalab-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    measured.to_json(folder / "parallel.jsonl", orient="records", lines=True)
    cost.to_json(folder / "parallel-overhead.jsonl", orient="records", lines=True)
    print(f"written to {folder}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        faulthandler.dump_traceback_later(_LONGEST_S, exit=True)
        _bootstrap_servers, _topic, _how = sys.argv[2:]
        print(json.dumps(child(_bootstrap_servers, _topic, json.loads(_how))))
    else:
        main()
