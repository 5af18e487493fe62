"""How fast values become typed columns: by the loops that people write, other readers, and kafkalab."""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import platform
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow.json

from benchmarks.encoded import (
    AVRO,
    BYTES,
    PROTOBUF,
    Input,
    as_avro,
    as_json,
    as_protobuf,
    decoded,
    sum_of_orders,
)
from benchmarks.readers import Source, readers
from benchmarks.report import interval, into_page
from benchmarks.topics import Case, Topics, orders
from kafkalab.brokers import ApacheKafka
from kafkalab.connect import connect
from kafkalab.decode.json import Json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_COMPARED = ("fastavro", "orjson", "pandas", "polars", "protobuf", "pyarrow")
_PAGE = Path(__file__).parent.parent / "docs" / "decoding.md"


WITHOUT_KAFKA: dict[str, Callable[[Input], Any]] = {
    "orjson.loads": lambda given: pd.DataFrame.from_records([orjson.loads(value) for value in given.texts]),
    "json.loads": lambda given: pd.DataFrame.from_records([json.loads(value) for value in given.texts]),
    "pyarrow.json": lambda given: pyarrow.json.read_json(io.BytesIO(b"\n".join(given.texts))),
    "polars": lambda given: pl.read_ndjson(b"\n".join(given.texts)),
    "kafkalab": lambda given: decoded(Json().decoder(), given.steps),
    "kafkalab, 1% bad": lambda given: decoded(Json().decoder(), given.bad_steps),
}


def _loop(bootstrap_servers: str, case: Case) -> Callable[[], pd.DataFrame]:
    read = readers()["loop"](Source({"bootstrap.servers": bootstrap_servers}, case.topic, case.records))

    def decode() -> pd.DataFrame:
        frame = read()
        assert isinstance(frame, pd.DataFrame)
        return frame.join(pd.DataFrame.from_records([json.loads(value) for value in frame.pop("value")]))

    return decode


def _read(bootstrap_servers: str, case: Case) -> Callable[[], pd.DataFrame]:
    lab = connect(bootstrap_servers)
    return lambda: lab.read(case.topic, value="json", limit=None, max_bytes=None, progress=False)


FORMATS = {"json": (as_json, WITHOUT_KAFKA), "avro": (as_avro, AVRO), "protobuf": (as_protobuf, PROTOBUF)}
WITH_KAFKA = {"consume() and json.loads": _loop, 'read(value="json")': _read}


def timed(job: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what a job gives, and its seconds: of the clock, and of the processor in all threads."""
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    made = job()
    return made, time.perf_counter() - began, time.process_time() - cpu


def compare(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the measurements, the contenders taking turns."""
    total = sum(orjson.loads(value)["order"] for chunk in orders(asked.records, BYTES) for _, value in chunk)
    for kind in asked.formats:
        make, contenders = FORMATS[kind]
        given = make(asked.records)
        for repeat in range(asked.repeats):
            for name, decode in contenders.items():
                made, seconds, cpu = timed(partial(decode, given))
                count, found = sum_of_orders(made)
                assert count == asked.records - (len(range(0, asked.records, 100)) if "bad" in name else 0), name
                assert "bad" in name or found == total, name
                yield {"what": kind, "repeat": repeat, "contender": name, "seconds": seconds, "cpu_seconds": cpu}
    case = Case(BYTES, "none", asked.records)
    if asked.broker:
        with ApacheKafka() as broker:
            Topics(broker.bootstrap_servers).fill(case)
            for repeat in range(asked.repeats):
                for name, start in WITH_KAFKA.items():
                    made, seconds, cpu = timed(start(broker.bootstrap_servers, case))
                    assert (len(made), int(made["order"].sum())) == (asked.records, total), name
                    yield {"what": "kafka", "repeat": repeat, "contender": name, "seconds": seconds, "cpu_seconds": cpu}


def table(measured: pd.DataFrame, records: int) -> str:
    """Return medians as a table in Markdown, each contender compared with the first in the same repeat."""
    first = measured["contender"].iloc[0]
    wide = measured.pivot_table(index="repeat", columns="contender", values=["seconds", "cpu_seconds"])
    lines = [
        f"| | rows/s | CPU s per million | rows/s, times {first} | by CPU |\n| --- | ---: | ---: | ---: | ---: |\n"
    ]
    for name in measured["contender"].unique():
        seconds, cpu = wide["seconds"][name].median(), wide["cpu_seconds"][name].median()
        cells = [f"{records / seconds:,.0f}", f"{cpu / records * 1e6:.2f}"]
        for kind in ("seconds", "cpu_seconds"):
            ratios = (wide[kind][first] / wide[kind][name]).to_list()
            low, high = interval(ratios)
            cells.append(f"{np.median(ratios):.1f}" + (f" ({low:.1f} to {high:.1f})" if low < high else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |\n")
    return "".join(lines)


def section(measured: pd.DataFrame, records: int) -> str:
    """Return the results as a part of a page."""
    versions = ", ".join(f"{name} {version(name)}" for name in _COMPARED)
    about = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}: {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{versions}; {records:,} values, as JSON of {BYTES} bytes, {measured['repeat'].nunique()} repeats of each.\n"
    )
    return "\n".join([about, *(table(rows, records) for _, rows in measured.groupby("what", sort=False))])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and tell the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each contender")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="what to measure (all)")
    parser.add_argument("--broker", action="store_true", help="also read from a broker that is started for it")
    parser.add_argument("--update-docs", action="store_true", help="also write the results into docs/")
    asked = parser.parse_args(arguments)
    text = section(pd.DataFrame(list(compare(asked))), asked.records)
    print(text)
    if asked.update_docs:
        _PAGE.write_text(into_page(_PAGE.read_text(), text))


if __name__ == "__main__":
    main()
