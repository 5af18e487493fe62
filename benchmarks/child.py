"""The process of a reader in Python: connect, wait for the word, read, tell what it took."""

from __future__ import annotations

import faulthandler
import json
import resource
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from benchmarks.readers import SAMPLED, Source, content_of, readers
from benchmarks.topics import Content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.readers import Result

_LONGEST_S = 300


def main(reader: str, source: Source, *, spinning: bool) -> dict[str, Any]:
    """Return what a read took and gave, as JSON has it."""
    read = readers()[reader](source)
    before = most_bytes()
    print("connected", flush=True)
    if not sys.stdin.readline():
        sys.exit("nobody waits for this measurement")
    with _spinning() if spinning else nullcontext():
        began, cpu_before = time.perf_counter(), _cpu_seconds()
        result = read()
        seconds, cpu_seconds, peak = time.perf_counter() - began, _cpu_seconds() - cpu_before, most_bytes()
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak,
        "working_bytes": peak - before - _size(result),
        **_found(result),
    }


@contextmanager
def _spinning() -> Iterator[None]:
    """Have another thread run Python all the time, as a cell that works on what it has."""
    done = threading.Event()

    def spin() -> None:
        turns = 0
        while not done.is_set():
            turns += 1

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _size(result: Result) -> int:
    if isinstance(result, Content):
        return 0
    if isinstance(result, pa.Table):
        return int(result.get_total_buffer_size())
    return int(result.memory_usage(deep=True).sum())


def _found(result: Result) -> dict[str, Any]:
    """Sum up the records, and name each one's place where they are few."""
    if isinstance(result, Content):
        return {"content": asdict(result)}
    table = result if isinstance(result, pa.Table) else pa.Table.from_pandas(result, preserve_index=False)
    few = table.select(["partition", "offset"]).to_pylist() if len(table) <= SAMPLED else []
    places = [(row["partition"], row["offset"]) for row in few]
    return {"content": asdict(content_of(table)), "places": places}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def most_bytes() -> int:
    """Return the most memory that this process has had."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    # On Linux, a new process has inherited its parent's ru_maxrss.
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    faulthandler.dump_traceback_later(_LONGEST_S, exit=True)
    _task = json.loads(sys.argv[1])
    print(json.dumps(main(_task["reader"], Source(**_task["source"]), spinning=_task["spinning"])))
