"""Offset ranges of one topic, read wherever they are worked on: how to read them travels, never what is read."""

from __future__ import annotations

import atexit
import functools
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kafkalab.cluster import Cluster
from kafkalab.errors import UnsupportedError
from kafkalab.fetch.arrow import ArrowFetcher
from kafkalab.model import Receipt
from kafkalab.pickling import Sealed
from kafkalab.plan import Plan
from kafkalab.rows import Names
from kafkalab.scan import Collected, Limits, Scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from kafkalab.fetch.base import Fetcher, Stop
    from kafkalab.model import OffsetRange

_MOST_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Part:
    """What an offset range held, and the fields that its rows had."""

    table: pa.Table
    receipt: Receipt
    names: Names


@dataclass(frozen=True, slots=True, repr=False)
class PartReader:
    """Reads offset ranges of one topic.

    It can be pickled where the topic is on a real cluster. In another process it connects anew; readers there that have
    the same connection share one.

    Parameters
    ----------
    scan : Scan
        How to read. Its plan's ranges are of no account, its time windows are.
    """

    scan: Scan
    _sealed: Sealed | None = field(default=None, compare=False)

    def read(
        self,
        part: OffsetRange,
        stop: Stop | None = None,
        columns: Sequence[str] | None = None,
        *,
        until: float | None = None,
        alone: bool = True,
    ) -> Part:
        """Return the rows of a range, until told to stop.

        Parameters
        ----------
        part : OffsetRange
            The range.
        stop : Stop, optional
            Ends the read early.
        columns : sequence of str, optional
            Those to keep of the columns that were asked for.
        until : float, optional
            When to stop, by the clock of `time.time`, which other processes have too.
        alone : bool
            Whether nobody else looks at the topic once all parts are read.
        """
        names = Names()
        options = self.scan.row_options
        if columns is not None:
            options = replace(options, columns=list(columns))
        plan = Plan(part.topic, (part,), self.scan.plan.windows)
        limits = self.scan.limits if until is None else Limits(seconds=max(0.0, until - time.time()))
        scan = replace(
            self.scan,
            plan=plan,
            row_options=options,
            names=names,
            limits=limits,
            show_progress=False,
            is_part=not alone,
        )
        collected = Collected(scan)
        collected.run(stop)
        return Part(collected.table(), scan.receipt or Receipt(()), names)

    def check_travels(self) -> None:
        """Refuse to be sent to another process where the topic cannot be read from there.

        Raises
        ------
        UnsupportedError
            The topic lives in this process.
        """
        if not isinstance(self.scan.metadata, Cluster):
            message = f"{self.scan.metadata!r} lives in this process: no other one can read it. Use executor='thread'"
            raise UnsupportedError(message, topic=self.scan.plan.topic)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self._sealed or self._seal(),)

    def _seal(self) -> Sealed:
        self.check_travels()
        scan = self.scan
        engine = scan.fetcher.recipe if isinstance(scan.fetcher, ArrowFetcher) else type(scan.fetcher)
        source = Sealed((scan.metadata, engine))
        plan = Plan(scan.plan.topic, (), scan.plan.windows)
        return Sealed((source, plan, scan.info, scan.fetch_options, scan.row_options, scan.limits))

    def __repr__(self) -> str:
        return f"<PartReader {self.scan.plan.topic}>"


@functools.lru_cache(_MOST_CONNECTIONS)
def _connected(source: Sealed) -> tuple[Cluster, Fetcher]:
    """Return this process's own connection to a cluster: its client is let go with the last use, or at exit."""
    cluster, engine = source.open()
    atexit.register(_connected.cache_clear)
    return cluster, engine(cluster.config, cluster)


@functools.lru_cache(_MOST_CONNECTIONS)
def _opened(sealed: Sealed) -> PartReader:
    """Return what was sent to this process, once for all the tasks that it comes with."""
    source, plan, info, fetch_options, row_options, limits = sealed.open()
    cluster, fetcher = _connected(source)
    atexit.register(_opened.cache_clear)
    return PartReader(Scan(plan, info, fetcher, cluster, fetch_options, row_options, limits), sealed)
