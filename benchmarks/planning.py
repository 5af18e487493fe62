"""What it costs to plan a read of 100,000 offset ranges, without a broker: nothing is read."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from kafkalab.cluster import Cluster
from kafkalab.connection import ConnectionConfig
from kafkalab.dask_frame import to_dask
from kafkalab.fetch.arrow import ArrowFetcher
from kafkalab.fetch.base import FetchOptions
from kafkalab.model import OffsetRange, TopicInfo
from kafkalab.plan import Pieces, Plan
from kafkalab.rows import RowOptions, RowShaper
from kafkalab.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PARTITIONS = 1_000
_CHUNK = 100_000


def scan(ranges: int) -> Scan:
    """Return a scan of so many chunks, in a thousand partitions, of a cluster that is not there."""
    cluster = Cluster(ConnectionConfig({"bootstrap.servers": "localhost:9092"}))
    parts = tuple(OffsetRange("orders", p, 0, ranges * _CHUNK // _PARTITIONS) for p in range(_PARTITIONS))
    info, options = TopicInfo("orders", (), "id"), FetchOptions()
    return Scan(Plan("orders", parts), info, ArrowFetcher(cluster.config, cluster), cluster, options)


def timed(what: str, call: Callable[[], Any]) -> Any:
    """Do something, print a row of a table that tells how long it took, and return what it gave."""
    began, before = time.perf_counter(), time.process_time()
    result = call()
    wall, cpu = time.perf_counter() - began, time.process_time() - before
    print(f"| {what} | {wall:.3g} s ({cpu:.3g} s of CPU) |", flush=True)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what each step takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--ranges", type=int, default=100_000)
    asked = parser.parse_args(arguments)
    import cloudpickle
    import dask.dataframe  # noqa: F401 - its import is not part of the plan

    whole = scan(asked.ranges)
    timed(
        "going through the ranges, as `map_partitions` does", lambda: sum(1 for _ in Pieces(whole.plan.ranges, _CHUNK))
    )
    schema = RowShaper(RowOptions()).empty().schema
    frame = timed("`to_dask`", lambda: to_dask(whole, schema, _CHUNK, None))
    assert frame.npartitions == asked.ranges
    plan = timed("pickling the frame", lambda: cloudpickle.dumps(frame))
    total = frame["offset"].sum()
    timed("`optimize` of a sum", total.optimize)
    graph = timed("Dask's graph of that", lambda: total.optimize().__dask_graph__())
    pickled = timed("pickling the graph", lambda: cloudpickle.dumps(graph))
    print(f"\nthe frame takes {len(plan):,} bytes, the graph of {len(graph):,} tasks {len(pickled):,}")


if __name__ == "__main__":
    main()
