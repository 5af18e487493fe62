"""A topic followed as it is written: a bounded table that a thread keeps filling."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from kafkalab.decode.joining import unify
from kafkalab.fetch.base import Stop
from kafkalab.frame import to_frame
from kafkalab.model import Receipt
from kafkalab.rows import RowShaper

if TYPE_CHECKING:
    import pandas as pd

    from kafkalab.model import PartitionReceipt
    from kafkalab.scan import Scan

_RATE_OVER_S = 5.0


class Tail:
    """The newest rows of a topic, by arrival, until stopped.

    Parameters
    ----------
    scan : Scan
        What to follow; its ranges have no end.
    rows : int
        How many of the newest rows are kept; older ones are dropped and counted.
    hide_no_errors : bool
        Whether the columns for what is not in its format are left out as long as they are empty.

    Attributes
    ----------
    seen, dropped : int
        Rows that have arrived, and those of them that are kept no more.

    Examples
    --------
    >>> import kafkalab as kl
    >>> cluster = kl.MemoryCluster({"orders": 1})
    >>> with kl.Lab(cluster, cluster).tail("orders", start="earliest") as tail:
    ...     cluster.append("orders", b"a", b"b")
    ...     tail.wait_for(2, timeout=5)
    ...     tail.df["value"].tolist()
    True
    ['a', 'b']
    """

    def __init__(self, scan: Scan, rows: int, *, hide_no_errors: bool = False) -> None:
        self._scan = scan
        self._hide_no_errors = hide_no_errors
        self._most_rows = rows
        self._steps: deque[pa.RecordBatch] = deque()
        self._arrivals: deque[tuple[float, int]] = deque()
        self._parts: dict[int, PartitionReceipt] = {}
        self._error: BaseException | None = None
        self._done = False
        self._changed = threading.Condition()
        self._stop = Stop()
        self.seen = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._follow, name="kafkalab-tail", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        steps = self._scan.steps(self._stop)
        try:
            for part, rows in steps:
                self._add(part, rows)
        except BaseException as error:  # noqa: BLE001 - whoever looks at the tail gets it
            self._error = error
        finally:
            steps.close()
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _add(self, part: PartitionReceipt, rows: pa.RecordBatch) -> None:
        with self._changed:
            self._parts[part.partition] = part
            if not rows.num_rows:
                return
            self._steps.append(rows)
            self.seen += rows.num_rows
            self._arrivals.append((time.monotonic(), rows.num_rows))
            self._forget_arrivals()
            self._drop(self.seen - self.dropped - self._most_rows)
            self._changed.notify_all()

    def _drop(self, surplus: int) -> None:
        while surplus > 0:
            oldest = self._steps.popleft()
            dropped = min(surplus, oldest.num_rows)
            if dropped < oldest.num_rows:
                # A copy of the rest: a slice would keep all of it in memory.
                self._steps.appendleft(oldest.take(pa.array(np.arange(dropped, oldest.num_rows))))
            self.dropped += dropped
            surplus -= dropped

    def _forget_arrivals(self) -> None:
        since = time.monotonic() - _RATE_OVER_S
        while self._arrivals and self._arrivals[0][0] < since:
            self._arrivals.popleft()

    @property
    def running(self) -> bool:
        """Whether it still follows."""
        return self._thread.is_alive()

    @property
    def rate(self) -> float:
        """Rows a second over the last five seconds."""
        with self._changed:
            self._forget_arrivals()
            return sum(count for _, count in self._arrivals) / _RATE_OVER_S

    @property
    def df(self) -> pd.DataFrame:
        """The kept rows as a frame, oldest first.

        Raises
        ------
        KafkalabError
            What ended the tail, should it have failed.
        """
        if self._error is not None:
            raise self._error
        with self._changed:
            steps = list(self._steps) or [RowShaper(self._scan.row_options).empty()]
            seen = Receipt(
                tuple(self._parts.values()), self._scan.fetch_options.isolation_level, self._scan.fetcher.name
            )
        table = unify([pa.Table.from_batches([rows]) for rows in steps]).unify_dictionaries()
        if self._hide_no_errors:
            names = [name for name in ("_error", "_raw") if name in table.column_names]
            if all(table[name].null_count == table.num_rows for name in names):
                table = table.drop_columns(names)
        return to_frame(table, self._scan.receipt or seen)

    def wait_for(self, rows: int, timeout: float) -> bool:
        """Wait until that many rows have been seen; return whether they have."""
        with self._changed:
            self._changed.wait_for(lambda: self.seen >= rows or self._done, timeout)
            return self.seen >= rows

    def run(self, seconds: float) -> pd.DataFrame:
        """Follow for that long in this cell, stop, and return the frame; Ctrl-C ends it early."""
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._done, seconds)
        finally:
            self.stop()
        return self.df

    def stop(self) -> None:
        """Stop following; the rows stay."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "failed" if self._error else "following" if self.running else "stopped"
        shown = self.seen - self.dropped
        counts = f"{self.rate:,.0f} records/s · shown {shown:,} of {self.seen:,} · dropped {self.dropped:,}"
        return f"<Tail {self._scan.plan.topic} {state}: {counts}>"
