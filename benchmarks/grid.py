"""Record a sweep's whole grid on real Kafka, for `tests/test_sweep_replay.py` to search through again and again."""

from __future__ import annotations

import argparse
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kafkalab as kl
from benchmarks.topics import Case, Topics
from kafkalab.brokers import ApacheKafka

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FOLDER = Path(__file__).parent.parent / "tests" / "data"
SPACE: dict[str, list[Any]] = {
    "workers": [1, 2, 4, 8, 16],
    "ordering": ["partition", "key"],
    "fetch_queue_backoff_ms": [1, 1000],
    "queued_min_messages": [100, 10_000],
}


@dataclass(frozen=True, slots=True)
class Recording:
    """A topic to record on, and the handler of its records."""

    case: Case
    process: Callable[[Any], object]


# Handlers that wait, as for a store: their rates differ by less than 5% from time to time, so that 5% mean something.
RECORDINGS = {
    "small": Recording(Case(110, "none", 200_000), kl.simulate(sleep_ms=1)),
    "1kb": Recording(Case(1_000, "none", 100_000), kl.simulate(sleep_ms=2)),
    "zstd": Recording(Case(110, "zstd", 200_000), kl.simulate(sleep_ms=1, cpu_us=20)),
}


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grid", description=__doc__)
    parser.add_argument("topics", nargs="*", default=list(RECORDINGS), metavar="TOPIC", help=", ".join(RECORDINGS))
    parser.add_argument("--seconds", type=float, default=3.0, help="each measurement")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds of each that do not count")
    parser.add_argument("--repeats", type=int, default=2, help="measurements of each configuration, in turns")
    parser.add_argument("--folder", type=Path, default=_FOLDER)
    return parser.parse_args(arguments)


def recorded(found: kl.SweepResult, how: dict[str, Any]) -> dict[str, Any]:
    """Return what a grid has found, short: of each configuration, the rates in stretches of each repeat."""
    rates = [
        {"cell": dict(cell), "rates": [[round(rate) for rate in trial.rates] for trial in trials]}
        for cell, trials in found.by_cell.items()
    ]
    return {**how, "process": found.setup.process, "cells": rates}


def main(arguments: Sequence[str] | None = None) -> None:
    """Record the grids that were asked for."""
    asked = options(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    how = {"seconds": asked.seconds, "warm_up": asked.warm_up, "repeats": asked.repeats}
    for name in asked.topics:
        each = RECORDINGS[name]
        with ApacheKafka() as broker, kl.connect(broker.bootstrap_servers) as lab:
            Topics(broker.bootstrap_servers).fill(each.case)
            lab.measure(each.case.topic, process=each.process, seconds=3)  # warms the broker up
            found = lab.sweep(each.case.topic, SPACE, process=each.process, strategy="grid", **how)
        path = asked.folder / f"grid-{name}.json"
        lines = recorded(found, {"cores": os.cpu_count(), "records": each.case.records, **how})
        cells = ",\n".join(map(json.dumps, lines.pop("cells")))
        path.write_text(f'{json.dumps(lines)[:-1]}, "cells": [\n{cells}\n]}}\n', "utf-8")
        print(f"{path.name}: {len(list(itertools.product(*SPACE.values())))} configurations\n{found.frame.to_string()}")


if __name__ == "__main__":
    main()
