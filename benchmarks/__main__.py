"""How fast records are read from a real Apache Kafka: by the loop that people write, by kafkalab, and by others."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confluent_kafka

from benchmarks import report, targets
from benchmarks.contenders import Contender, contenders
from benchmarks.kernel import kernel
from benchmarks.read import cases, read
from benchmarks.sample import cases as sample_cases
from benchmarks.sample import sample
from benchmarks.targets import Results
from benchmarks.topics import Topics
from kafkalab.brokers import ApacheKafka
from kafkalab.brokers.jars import KAFKA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Row = dict[str, Any]

_DOCS = Path(__file__).parent.parent / "docs"
_PLOT = "read.png"
PARTS = ("reads", "samples", "kernels")
TOPICS = ("110-none", "110-lz4", "110-zstd", "1000-none")
_QUICK = {"repeats": 3, "topics": TOPICS[:1], "parts": PARTS[:1]}


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for on the command line."""
    names = list(contenders())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure; all by default")
    parser.add_argument("--contenders", nargs="+", choices=names, default=names, help="compared with the first")
    parser.add_argument("--topics", nargs="+", default=TOPICS, metavar="BYTES-CODEC", help=f"of {' '.join(TOPICS)}")
    parser.add_argument("--records", type=int, help="in each topic; by default 1,000,000")
    parser.add_argument("--repeats", type=int, default=11, help="measurements of each")
    parser.add_argument("--quick", action="store_true", help="three repeats on one topic, to see that all is well")
    parser.add_argument("--out", type=Path, help="the folder to write to; a new temporary one by default")
    parser.add_argument("--update-docs", action="store_true", help="also write the results into docs/")
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**_QUICK)
    return parser.parse_args(arguments)


def run(broker: ApacheKafka, asked: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Row]]:
    """Yield the measurements with the name of their part, all taking turns: what else the machine does meets all."""
    topics = Topics(broker.bootstrap_servers)
    chosen = [contenders()[name] for name in asked.contenders]
    read_from = {
        case: topics.fill(case).content for case in cases(asked.topics, asked.records) if "reads" in asked.parts
    }
    sampled = {case: topics.fill(case) for case in sample_cases(asked.records) if "samples" in asked.parts}
    # A broker's virtual machine compiles what it does often.
    for _ in read(broker, read_from, [Contender("warm-up", "arrow", everywhere=True)], folder):
        pass
    for repeat in range(asked.repeats):
        turns = {"reads": read(broker, read_from, chosen, folder), "samples": sample(broker, sampled, folder)}
        yield from ((part, {"repeat": repeat, **row}) for part, rows in turns.items() for row in rows)
    if "kernels" in asked.parts:
        yield from (("kernels", row) for row in kernel(broker, topics, asked.repeats, asked.records))


def section(results: Results, loads: Sequence[float]) -> str:
    """Return the results as a part of a page."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("confluent-kafka", "pandas", "pyarrow"))
    repeats = max(its["repeat"].nunique() for its in results.parts.values() if len(its))
    text = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}: {_processor()}, {os.cpu_count()} cores, broker and reader on the "
        f"same machine; Apache Kafka {KAFKA_VERSION}, Python {platform.python_version()}, {versions}, "
        f"librdkafka {confluent_kafka.libversion()[0]}; {repeats} repeats of each. "
        f"The load of the machine was {loads[0]:.1f} before and {loads[1]:.1f} at the end.\n\n"
        f"### Targets\n\n{targets.table(results)}"
    )
    if len(results.reads):
        picture = f"![Records a second by contender](images/{_PLOT})"
        text += f"\n### Reading a topic\n\n{report.table(results.reads)}\n{picture}\n"
    if len(results.samples):
        text += f"\n### Sampling\n\n{report.sample_table(results.samples)}"
    if len(results.kernels):
        text += f"\n### The kernel alone\n\n{report.kernel_table(results.kernels)}"
    return text


def _processor() -> str:
    """Return the processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def save(results: Results, loads: Sequence[float], folder: Path, *, update_docs: bool = False) -> None:
    """Write every measurement, the tables and the plot into a folder, and the last two into the documentation."""
    text = section(results, loads)
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for part, measured in results.parts.items():
        measured.to_json(folder / f"{part}.jsonl", orient="records", lines=True)
    (folder / "results.md").write_text(text)
    if len(results.reads):
        report.plot(results.reads, images / _PLOT)
    if update_docs:
        page = _DOCS / "performance.md"
        page.write_text(report.into_page(page.read_text(), text))
    if update_docs and len(results.reads):
        shutil.copy(images / _PLOT, _DOCS / "images" / _PLOT)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on a broker of its own, tell each measurement as it comes, and write the results."""
    asked = options(arguments)
    before = os.getloadavg()[0]
    rows: dict[str, list[Row]] = {part: [] for part in PARTS}
    with ApacheKafka(listeners=["SSL"]) as broker, tempfile.TemporaryDirectory() as built:
        for part, row in run(broker, asked, Path(built)):
            rows[part].append(row)
            print(told(part, row), flush=True)
    folder = asked.out or Path(tempfile.mkdtemp(prefix="kafkalab-bench-"))
    results = Results.of(rows)
    save(results, (before, os.getloadavg()[0]), folder, update_docs=asked.update_docs)
    print(f"\n{(folder / 'results.md').read_text()}\nwritten to {folder}")


def told(part: str, row: Row) -> str:
    """Return a measurement as a line."""
    if part == "reads":
        rate = row["records"] / row["seconds"]
        return f"{row['size']:>6} B  {row['codec']:7}{row['contender']:20}{rate:>12,.0f} records/s"
    if part == "samples":
        return f"sample of {row['records']:>12,} in batches of {row['batch_bytes']:>9,} B {row['seconds']:>8.2f} s"
    return f"{row['what']:8} {row['codec']:7}{row['records'] / row['cpu_seconds']:>31,.0f} records/s"


if __name__ == "__main__":
    main()
