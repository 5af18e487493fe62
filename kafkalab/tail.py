"""A topic followed as it is written: a bounded table that a thread keeps filling."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from kafkalab import units
from kafkalab.cells import kernel_shell
from kafkalab.decode.joining import unify
from kafkalab.fetch.base import Stop
from kafkalab.filtering import Filter
from kafkalab.frame import to_frame
from kafkalab.kept import View
from kafkalab.model import Receipt
from kafkalab.predicate import parse
from kafkalab.rows import ERROR_COLUMNS, RowShaper
from kafkalab.typed_columns import without_own

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import pandas as pd
    import pyarrow.compute as pc

    from kafkalab.model import OffsetRange, PartitionReceipt
    from kafkalab.scan import Scan

_RATE_OVER_S = 5.0


class Tail:
    """The newest rows of a topic, by arrival, until stopped.

    A notebook shows it as a live table, everything else as a line of text.

    Parameters
    ----------
    scan : Scan
        What to follow; its ranges have no end.
    rows : int
        How many of the newest rows are kept; older ones are dropped and counted.
    hide_no_errors : bool
        Whether the columns for what is not in its format are left out as long as they are empty.
    show : callable, optional
        Makes the table, a widget, for a tail.

    Examples
    --------
    >>> import kafkalab as kl
    >>> cluster = kl.MemoryCluster({"orders": 1})
    >>> with kl.Lab(cluster, cluster).tail("orders", start="earliest") as tail:
    ...     cluster.append("orders", b"a", b"b")
    ...     tail.wait_for(2, timeout=5)
    ...     tail.df["value"].tolist()
    ...     tail.filter("value == 'b'")
    ...     tail.df["value"].tolist()
    True
    ['a', 'b']
    ['b']
    """

    def __init__(
        self,
        scan: Scan,
        rows: int,
        *,
        hide_no_errors: bool = False,
        show: Callable[[Tail], Any] | None = None,
    ) -> None:
        self._scan = replace(scan, row_options=replace(scan.row_options, keeps_types=True))
        self._hide_no_errors = hide_no_errors
        self._show = show
        self._table: Any = None
        self._now = self._shown = View(rows)
        self._arrivals: deque[tuple[float, int]] = deque()
        self._parts: dict[int, PartitionReceipt] = {}
        self._ends: dict[OffsetRange, int] = {}
        self._listeners: dict[object, Callable[[], object]] = {}
        self._error: BaseException | None = None
        self._done = False
        self._lock = threading.RLock()
        self._stop = Stop()
        # What is dropped unstopped stops: neither its thread nor what it reads keeps a tail.
        ended = weakref.finalize(self, self._stop.set)
        ended.atexit = False
        follow = (weakref.ref(self), self._scan.steps(self._stop, self._ends))
        self._thread = threading.Thread(target=_follow, args=follow, name="kafkalab-tail", daemon=True)
        try:
            self._thread.start()
        except BaseException:  # Ctrl-C, while it waits for the thread to run
            self._stop.set()
            raise

    def _ended(self, error: BaseException | None) -> None:
        self._error = error
        self._done = True
        self._tell()

    def _add(self, part: PartitionReceipt, rows: pa.RecordBatch) -> None:
        with self._lock:
            self._parts[part.partition] = part
            if not rows.num_rows:
                return
            self._now.add(rows)
            self._arrivals.append((time.monotonic(), rows.num_rows))
            self._forget_arrivals()
        self._tell()

    def subscribe(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Have a function called whenever something has changed, in whatever thread that is; return what ends that.

        It is for setting an event: what it does, the tail waits for.
        """
        token = object()
        self._listeners[token] = listener

        def unsubscribe() -> None:
            self._listeners.pop(token, None)

        return unsubscribe

    def _tell(self) -> None:
        for listener in tuple(self._listeners.values()):
            listener()

    def _forget_arrivals(self) -> None:
        since = time.monotonic() - _RATE_OVER_S
        while self._arrivals and self._arrivals[0][0] < since:
            self._arrivals.popleft()

    @property
    def topic(self) -> str:
        """What is followed."""
        return self._scan.plan.topic

    @property
    def running(self) -> bool:
        """Whether it still follows."""
        return not self._done

    @property
    def error(self) -> BaseException | None:
        """What has ended it, if it failed."""
        return self._error

    @property
    def rate(self) -> float:
        """Rows a second over the last five seconds."""
        with self._lock:
            self._forget_arrivals()
            return sum(count for _, count in self._arrivals) / _RATE_OVER_S

    @property
    def seen(self) -> int:
        """How many rows have arrived."""
        return self._now.seen

    @property
    def shown(self) -> int:
        """How many rows `df` has."""
        return self._shown.shown.rows

    @property
    def columns_asked(self) -> bool:
        """Whether somebody has said which columns there are to be."""
        return self._scan.row_options.columns is not None

    @property
    def dropped(self) -> int:
        """How many of them are kept no more, since newer ones came."""
        return self._shown.shown.dropped

    @property
    def lag(self) -> int:
        """How many offsets it is behind what could be read when the brokers last answered."""
        positions = {part.offset_range: part.next_offset for part in tuple(self._parts.values())}
        ends = tuple(self._ends.items())
        return sum(max(end - positions.get(where, where.start), 0) for where, end in ends)

    @property
    def behind(self) -> int:
        """How many rows have arrived since it was paused."""
        return self._now.seen - self._shown.seen

    @property
    def paused(self) -> bool:
        """Whether what is shown stays as it is."""
        return self._shown is not self._now

    def pause(self) -> None:
        """Let what is shown stay as it is; what arrives meanwhile is counted, and its newest rows are kept as well."""
        with self._lock:
            self._shown = self._now.copy()
        self._tell()

    def resume(self) -> None:
        """Show the newest rows again."""
        with self._lock:
            self._shown = self._now
        self._tell()

    def filter(self, where: str | pc.Expression | None) -> None:
        """Show only the newest rows that pass, of those kept and of those to come.

        Parameters
        ----------
        where : str or pyarrow.compute.Expression, optional
            Such as ``"amount > 40 and country == 'DE'"``, or an expression as `Lab.read` takes it; None for all rows.
            Text is never run: columns, values, comparisons, ``in``, ``is None``, ``and``, ``or`` and ``not`` is all it
            may hold. The other rows are not lost: the next filter finds the newest of all again.

        Raises
        ------
        ArgumentError
            It is not understood, or does not fit the rows; the filter before it stays.
        """
        expression = parse(where) if isinstance(where, str) else where
        chosen = None if expression is None else Filter.of(expression)
        with self._lock:
            for view in dict.fromkeys((self._now, self._shown)):
                view.choose(chosen)
        self._tell()

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
        table, receipt = self.snapshot()
        return to_frame(table, receipt)

    def snapshot(self, count: int | None = None) -> tuple[pa.Table, Receipt]:
        """Return the rows that are shown, or the newest of them, as Arrow has them, oldest first, and their receipt."""
        with self._lock:
            steps = self._shown.shown.last(count) or [RowShaper(self._scan.row_options).empty()]
            seen = Receipt(
                tuple(self._parts.values()), self._scan.fetch_options.isolation_level, self._scan.fetcher.name
            )
        table = unify([pa.Table.from_batches([without_own(rows)]) for rows in steps]).unify_dictionaries()
        if self._hide_no_errors:
            names = [name for name in ERROR_COLUMNS if name in table.column_names]
            if all(table[name].null_count == table.num_rows for name in names):
                table = table.drop_columns(names)
        return table, self._scan.receipt or seen

    def wait_for(self, rows: int, timeout: float) -> bool:
        """Wait until that many rows have been seen; return whether they have."""
        self._wait(lambda: self.seen >= rows, timeout)
        return self.seen >= rows

    def run(self, seconds: float) -> pd.DataFrame:
        """Follow for that long in this cell, stop, and return the frame; Ctrl-C ends it early."""
        try:
            self._wait(lambda: False, seconds)
        finally:
            self.stop()
        return self.df

    def _wait(self, is_so: Callable[[], bool], seconds: float) -> None:
        """Wait until something is so, where Ctrl-C comes through: without a lock that it could leave locked."""
        end = time.monotonic() + units.seconds(seconds)
        told: SimpleQueue[None] = SimpleQueue()
        leave = self.subscribe(lambda: told.put(None))
        try:
            while self.running and not is_so() and (left := end - time.monotonic()) > 0:
                with suppress(Empty):
                    told.get(timeout=left)
        finally:
            leave()

    def stop(self) -> None:
        """Stop following; the rows stay."""
        self._stop.set()
        self._thread.join()

    def close(self) -> None:
        """Stop following, and close the table that a notebook shows."""
        self.stop()
        if self._table is not None:
            self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def status(self) -> str:
        """What goes on, in a line."""
        with self._lock:
            view, behind = self._shown, self.behind
            shown, seen, dropped, hidden = view.shown.rows, view.seen, view.shown.dropped, view.hidden
        parts = [f"{self.rate:,.0f} records/s", f"lag {self.lag:,}"] if self.running else []
        parts += [f"shown {shown:,} of {seen:,}", f"dropped {dropped:,}"]
        if hidden:
            parts.append(f"filtered out {hidden:,}")
        if self.paused:
            parts.append(f"paused, {behind:,} behind")
        return " · ".join(parts)

    def __repr__(self) -> str:
        state = "failed" if self._error else "following" if self.running else "stopped"
        return f"<Tail {self.topic} {state}: {self.status}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        text = {"text/plain": repr(self)}
        if self._show is None or kernel_shell() is None:
            return text
        if self._table is None:
            self._table = self._show(self)
        return {**self._table._repr_mimebundle_(), **text}


def _follow(tail: weakref.ref[Tail], steps: Generator[tuple[PartitionReceipt, pa.RecordBatch]]) -> None:
    """Give a tail what it follows, as long as somebody has it."""
    failed: BaseException | None = None
    try:
        for part, rows in steps:
            if (found := tail()) is None:
                break
            found._add(part, rows)  # noqa: SLF001 - its other half
            del found  # or this would keep it until the next step
    except BaseException as error:  # noqa: BLE001 - whoever looks at the tail gets it
        failed = error
    finally:
        steps.close()
        if (found := tail()) is not None:
            found._ended(failed)  # noqa: SLF001 - its other half
