"""What the tuning panel costs: CPU of the kernel's process, the measured rate, and how soon a cell runs beside it.

    python -m benchmarks.panel cpu          # CPU seconds a second of the kernel, with the panel and without
    python -m benchmarks.panel rate 11      # the measured rate with and without, in so many pairs of turns
    python -m benchmarks.panel cell         # how long a cell takes while a session runs

A real kernel, a real broker and a real consumer; the panel sends what it would send to a browser.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import start_new_kernel

from benchmarks.topics import Case, Topics
from kafkalab.brokers import ApacheKafka
from kafkalab.tuning.compare import Comparison
from kafkalab.tuning.meter import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT_S = 120
_CASE = Case(110, "lz4", 4_000_000)  # more than a turn reads
_BEGIN = """
import json, os, time, resource
import kafkalab as kl
lab = kl.connect({servers!r})
def turn(shown, seconds, wait=3.0):
    session = lab.tune({topic!r}, {{"fetch_queue_backoff_ms": 1}}, workers=4)
    if shown:
        display(session)
    session.start()
    while session.state != "running":
        time.sleep(0.05)
    cpu, began = time.process_time(), time.monotonic()
    time.sleep(seconds)
    cpu = (time.process_time() - cpu) / (time.monotonic() - began)
    rate = session.measurement.average("records_rate")
    session.view.close()
    return {{"cpu": cpu, "rate": rate}}
"""
_WATCHED = """
session = lab.tune({topic!r}, {{"fetch_queue_backoff_ms": 1}}, workers=4)
display(session)
session.start()
while session.state != "running":
    time.sleep(0.05)
"""


class Cells:
    """A kernel that runs cells one after the other."""

    def __init__(self, servers: str) -> None:
        self._manager, self._client = start_new_kernel()
        self.run(_BEGIN.format(servers=servers, topic=_CASE.topic))

    def run(self, code: str) -> Any:
        """Run a cell; return what it printed as JSON."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                said.append(message["content"]["text"])

        reply = self._client.execute_interactive(code, output_hook=hear, timeout=_TIMEOUT_S)
        assert reply["content"]["status"] == "ok", reply["content"]
        return json.loads("".join(said)) if said else None

    def turn(self, seconds: float, *, shown: bool) -> dict[str, float]:
        """Run a session for so long, with its panel or without."""
        found: dict[str, float] = self.run(f"print(json.dumps(turn({shown}, {seconds})))")
        return found

    def close(self) -> None:
        """End it."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


def _turns(pairs: int) -> Iterator[bool]:
    for number in range(pairs):
        yield from (False, True) if number % 2 == 0 else (True, False)


def cpu(cells: Cells, pairs: int, seconds: float) -> str:
    """Tell the CPU of the kernel's process."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for shown in _turns(pairs):
        found[shown].append(cells.turn(seconds, shown=shown)["cpu"] * 1000)
    texts = [f"{statistics.median(each):.0f} ms ({min(each):.0f}-{max(each):.0f})" for each in found.values()]
    return f"CPU of the kernel a second, {pairs} turns of {seconds:g} s: {texts[1]} with the panel, {texts[0]} without"


def rate(cells: Cells, pairs: int, seconds: float) -> str:
    """Tell what the panel takes of the measured rate."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for shown in _turns(pairs):
        found[shown].append(cells.turn(seconds, shown=shown)["rate"])
    ratios = [b / a for a, b in zip(found[False], found[True], strict=True)]
    order, mean = Estimate.of(ratios), math.exp(statistics.fmean(map(math.log, ratios)))
    setup: Any = None
    student = Comparison(setup, setup, tuple(zip(found[False], found[True], strict=True))).ratio
    return (
        f"rate with the panel, as a part of that without, {pairs} pairs of {seconds:g} s: median {order.median:.3f} "
        f"({order.low:.3f}-{order.high:.3f}); mean {mean:.3f} ({student.low:.3f}-{student.high:.3f}); "
        f"{statistics.median(found[False]):,.0f} records/s"
    )


def cell(cells: Cells, count: int) -> str:
    """Tell how long an empty cell takes while a session runs and its panel moves."""
    cells.run(_WATCHED.format(topic=_CASE.topic))
    took = []
    for _ in range(count):
        began = time.perf_counter()
        cells.run("1 + 1")
        took.append((time.perf_counter() - began) * 1000)
    cells.run("session.view.close()")
    last = sorted(took)[math.ceil(count * 0.99) - 1]
    times = f"median {statistics.median(took):.0f} ms, p99 {last:.0f} ms, most {max(took):.0f} ms"
    return f"a cell beside a run, {count} times: {times}"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["cpu", "rate", "cell"])
    parser.add_argument("pairs", type=int, nargs="?", default=5)
    parser.add_argument("seconds", type=float, nargs="?", default=6.0)
    asked = parser.parse_args()
    with ApacheKafka() as broker:
        Topics(broker.bootstrap_servers).fill(_CASE)
        cells = Cells(broker.bootstrap_servers)
        try:
            if asked.what == "cell":
                print(cell(cells, 200))
            else:
                print((cpu if asked.what == "cpu" else rate)(cells, asked.pairs, asked.seconds))
        finally:
            cells.close()


if __name__ == "__main__":
    main()
