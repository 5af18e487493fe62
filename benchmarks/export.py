"""How fast a topic becomes Parquet, beside pyarrow's own writing of the same rows, and how much memory that takes.

``python -m benchmarks.export [RECORDS]`` starts a broker, fills a topic, and prints a table. Each measurement is made
in a process of its own, one after the other, in turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.child import most_bytes
from benchmarks.topics import Case, Topics

_RECORDS = 10_000_000
_TABLE_ROWS = 2_000_000
_ROUNDS = 3
_ROOT = Path(__file__).parent.parent
_MIB = 1 << 20


def main(records: int = _RECORDS) -> None:
    """Measure, and print what was found."""
    from kafkalab.brokers import ApacheKafka

    case = Case(110, "zstd", records)
    with ApacheKafka() as broker:
        Topics(broker.bootstrap_servers).fill(case)
        found: dict[str, list[dict[str, float]]] = {"export": [], "pyarrow": []}
        for _ in range(_ROUNDS):
            for name, told in found.items():
                told.append(_measured(name, broker.bootstrap_servers, case.topic))
    print("| | records | million/s | peak memory MiB |\n|---|---|---|---|")
    for name, told in found.items():
        rate = statistics.median(one["rows"] / one["seconds"] / 1e6 for one in told)
        peak = max(one["peak_bytes"] for one in told) / _MIB
        print(f"| {name} | {told[0]['rows']:,.0f} | {rate:.2f} | {peak:.0f} |")


def _measured(name: str, bootstrap_servers: str, topic: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.export", name, bootstrap_servers, topic, folder]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr}")
        told: dict[str, float] = json.loads(done.stdout)
    return told


def _child(name: str, bootstrap_servers: str, topic: str, folder: str) -> dict[str, Any]:
    import pyarrow.parquet

    import kafkalab as kl

    lab = kl.connect(bootstrap_servers)
    if name == "export":
        began = time.perf_counter()
        rows = int(lab.export(topic, folder, progress=False)["rows"].sum())
        seconds = time.perf_counter() - began
        assert rows == lab.describe(topic)["span"].sum()
    else:
        table = lab.scan(topic, limit=_TABLE_ROWS).to_table()
        rows = table.num_rows
        began = time.perf_counter()
        pyarrow.parquet.write_table(table, f"{folder}/table.parquet", compression="zstd")
        seconds = time.perf_counter() - began
    return {"rows": rows, "seconds": seconds, "peak_bytes": most_bytes()}


if __name__ == "__main__":
    if len(sys.argv) > 2:  # noqa: PLR2004 - the words that _measured gives
        print(json.dumps(_child(*sys.argv[1:])))
    else:
        main(*map(int, sys.argv[1:]))
