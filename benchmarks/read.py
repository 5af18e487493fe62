"""How fast a topic of a real Apache Kafka becomes a frame: the loop that people write, and kafkalab's engines."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pandas as pd

from benchmarks.contenders import names
from benchmarks.measure import measure
from benchmarks.report import into_page, plot, table, with_rates
from benchmarks.topics import Case, fill
from kafkalab.brokers import ApacheKafka
from kafkalab.brokers.jars import KAFKA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DOCS = Path(__file__).parent.parent / "docs"
_PLOT = "read.png"
_SMALL = 500


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read", description=__doc__)
    parser.add_argument("--records", type=int, help="in each topic; by default 1,000,000, or 200,000 long ones")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each contender on each topic")
    parser.add_argument("--sizes", type=int, nargs="+", default=[110, 1_000], metavar="BYTES", help="of the values")
    parser.add_argument("--codecs", nargs="+", default=["none", "lz4", "zstd"])
    parser.add_argument("--contenders", nargs="+", choices=names(), default=names(), help="compared with the first")
    parser.add_argument("--out", type=Path, help="the folder to write to; a new temporary one by default")
    parser.add_argument("--update-docs", action="store_true", help="also write the results into docs/")
    return parser.parse_args(arguments)


def compare(bootstrap_servers: str, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the measurements, the contenders taking turns: whatever else the machine does meets all of them."""
    cases = [
        Case(size, codec, asked.records or (1_000_000 if size < _SMALL else 200_000))
        for size in asked.sizes
        for codec in asked.codecs
    ]
    contents = {case: fill(bootstrap_servers, case) for case in cases}
    for case in cases:  # a broker's virtual machine compiles what it does often
        measure(asked.contenders[-1], bootstrap_servers, case.topic, case.records)
    for repeat in range(asked.repeats):
        for case, content in contents.items():
            for contender in asked.contenders:
                found = measure(contender, bootstrap_servers, case.topic, case.records)
                assert found.content == content, f"{contender} read {found.content} of {case.topic}, not {content}"
                took = {name: value for name, value in asdict(found).items() if name != "content"}
                yield {"repeat": repeat, "contender": contender, **asdict(case), **asdict(content), **took}


def section(rates: pd.DataFrame, loads: Sequence[float]) -> str:
    """Return the results as a part of a page."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("confluent-kafka", "pandas", "pyarrow"))
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}: {os.cpu_count()} cores, broker and reader on the same machine; "
        f"Apache Kafka {KAFKA_VERSION}, Python {platform.python_version()}, {versions}, "
        f"librdkafka {confluent_kafka.libversion()[0]}; {rates['repeat'].nunique()} repeats of each. "
        f"The load of the machine was {loads[0]:.1f} before and {loads[1]:.1f} at the end.\n\n"
        f"{table(rates)}\n![Records a second by contender](images/{_PLOT})\n"
    )


def save(measured: pd.DataFrame, loads: Sequence[float], folder: Path, *, update_docs: bool = False) -> None:
    """Write every measurement, the table and the plot into a folder, and the last two into the documentation."""
    rates = with_rates(measured)
    text = section(rates, loads)
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    measured.to_json(folder / "read.jsonl", orient="records", lines=True)
    (folder / "read.md").write_text(text)
    plot(rates, images / _PLOT)
    if update_docs:
        page = _DOCS / "performance.md"
        page.write_text(into_page(page.read_text(), text))
        shutil.copy(images / _PLOT, _DOCS / "images" / _PLOT)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on a broker of its own, tell each measurement as it comes, and write the results."""
    asked = options(arguments)
    before, rows = os.getloadavg()[0], []
    with ApacheKafka() as broker:
        for row in compare(broker.bootstrap_servers, asked):
            rows.append(row)
            rate = row["records"] / row["seconds"]
            print(f"{row['size']:>6} B  {row['codec']:6}{row['contender']:12}{rate:>12,.0f} records/s", flush=True)
    folder = asked.out or Path(tempfile.mkdtemp(prefix="kafkalab-bench-"))
    save(pd.DataFrame(rows), (before, os.getloadavg()[0]), folder, update_docs=asked.update_docs)
    print(f"\n{(folder / 'read.md').read_text()}\nwritten to {folder}")


if __name__ == "__main__":
    main()
