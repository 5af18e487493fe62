"""The front: a cluster with its verbs."""

from __future__ import annotations

import concurrent.futures
import time
import warnings
from collections import Counter
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab import export as files
from kafkalab.decode.joining import unify
from kafkalab.errors import ArgumentError, DataLossWarning, did_you_mean
from kafkalab.fetch.base import TIMESTAMP, FetchControl, FetchOptions, payload_bytes
from kafkalab.frame import ordered_by_time, printable, to_frame, warn_if_short
from kafkalab.model import OffsetRange, PartitionReceipt, Receipt
from kafkalab.parallel import combine, run_all
from kafkalab.plan import Plan, Request, choose_partitions, make_plan
from kafkalab.rows import Names, RowOptions, RowShaper
from kafkalab.sample import Sampler
from kafkalab.scan import Collected, Limits, Scan
from kafkalab.tail import Tail

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from kafkalab.cluster import Metadata
    from kafkalab.fetch.base import Fetched, Fetcher, Stop
    from kafkalab.frame import DtypeBackend
    from kafkalab.model import IsolationLevel, TopicInfo
    from kafkalab.parallel import Executor
    from kafkalab.plan import OnDataLoss
    from kafkalab.positions import Position
    from kafkalab.rows import FormatLike, OnError

_MOST_ROWS = 1_000_000
_MOST_BYTES = 1 << 30
_WINDOW_GROWTH = 4
_NO_END = 2**63 - 1


class Reading(TypedDict, total=False):
    """What every reading verb takes beside its own arguments; `Lab.read` says what each means."""

    partitions: Sequence[int] | int | None
    key: FormatLike
    value: FormatLike
    headers: bool
    columns: Sequence[str] | None
    where: pc.Expression | None
    errors: OnError
    isolation_level: IsolationLevel | str
    on_data_loss: OnDataLoss
    timeout: float | None
    progress: bool


_REQUEST = ("partitions", "isolation_level", "on_data_loss")
_ROWS = ("key", "value", "headers", "columns", "where", "errors")


class Lab:
    """A cluster to look into. Reading never changes it: nothing is committed, joined or created.

    Parameters
    ----------
    metadata : Metadata
        What knows the topics; `kafkalab.connect` gives that of a real cluster.
    fetcher : Fetcher
        The engine.

    Examples
    --------
    >>> import kafkalab as kl
    >>> cluster = kl.MemoryCluster({"orders": 1})
    >>> cluster.append("orders", b'{"amount": 5}', b'{"amount": 7}')
    >>> lab = kl.Lab(cluster, cluster)
    >>> lab.read("orders", value="json", columns=["offset", "amount"])
       offset  amount
    0       0       5
    1       1       7
    """

    def __init__(self, metadata: Metadata, fetcher: Fetcher) -> None:
        self.metadata = metadata
        self.fetcher = fetcher
        self._partial: Collected | None = None
        self._on_close: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<Lab on {self.metadata!r}, engine {self.fetcher.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_close(self, action: Callable[[], object]) -> None:
        """Have something done when this lab is closed."""
        self._on_close.append(action)

    def close(self) -> None:
        """Let go of the cluster, and end what was started for this lab."""
        while self._on_close:
            self._on_close.pop()()

    # What is there

    def topics(self, *, internal: bool = False) -> pd.DataFrame:
        """Return the topics.

        Parameters
        ----------
        internal : bool
            Whether Kafka's own topics are listed too.

        Returns
        -------
        pandas.DataFrame
            A row a topic, by name: ``topic``, ``partitions``, ``replicas`` (of each partition), ``is_internal``,
            ``topic_id``.
        """
        rows = [
            (
                info.name,
                len(info.partitions),
                max((len(part.replicas) for part in info.partitions), default=0),
                info.is_internal,
                info.topic_id,
            )
            for info in self.metadata.topics()
            if internal or not info.is_internal
        ]
        return pd.DataFrame(rows, columns=["topic", "partitions", "replicas", "is_internal", "topic_id"])

    def describe(self, topic: str, *, group_id: str | None = None) -> pd.DataFrame:
        """Return the partitions of a topic.

        Parameters
        ----------
        topic : str
            Its name.
        group_id : str, optional
            A consumer group whose commits to show.

        Returns
        -------
        pandas.DataFrame
            A row a partition: ``leader``, ``replicas``, ``in_sync_replicas``, ``log_start_offset``,
            ``last_stable_offset``, ``high_watermark``, ``span`` (offsets from start to end, not a count of records),
            ``first_timestamp`` and ``last_timestamp`` (of the first record, and the greatest; NaT where the broker has
            no time index), and for a group ``committed_offset`` and ``committed_lag``.
        """
        info = self.metadata.topic(topic)
        partitions = [part.partition for part in info.partitions]
        marks = self.metadata.watermarks(topic, partitions)
        times = self.metadata.timestamp_span(topic, partitions)
        frame = pd.DataFrame(
            {
                "partition": partitions,
                "leader": pd.array([part.leader for part in info.partitions], dtype="Int32"),
                "replicas": [list(part.replicas) for part in info.partitions],
                "in_sync_replicas": [list(part.in_sync_replicas) for part in info.partitions],
                "log_start_offset": [marks[p].log_start_offset for p in partitions],
                "last_stable_offset": [marks[p].last_stable_offset for p in partitions],
                "high_watermark": [marks[p].high_watermark for p in partitions],
            }
        )
        frame["span"] = frame["high_watermark"] - frame["log_start_offset"]
        for number, name in enumerate(("first_timestamp", "last_timestamp")):
            found = [(times[p] or (None, None))[number] for p in partitions]
            times_of = pa.table({name: pa.array(found, TIMESTAMP)})
            frame[name] = printable(times_of)[name].to_pandas()
        if group_id is not None:
            committed = self.metadata.committed_offsets(group_id, topic)
            frame["committed_offset"] = pd.array([committed.get(p) for p in partitions], dtype="Int64")
            frame["committed_lag"] = frame["last_stable_offset"] - frame["committed_offset"]
        return frame.set_index("partition")

    # Reading

    def read(
        self,
        topic: str,
        start: Position = "earliest",
        end: Position = "latest",
        *,
        partitions: Sequence[int] | int | None = None,
        key: FormatLike = "bytes",
        value: FormatLike = "bytes",
        headers: bool = False,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
        errors: OnError = "raise",
        isolation_level: IsolationLevel | str = "read_committed",
        on_data_loss: OnDataLoss = "raise",
        limit: int | None = _MOST_ROWS,
        max_bytes: int | None = _MOST_BYTES,
        timeout: float | None = None,
        dtype_backend: DtypeBackend | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Read a range of a topic into a frame: every visible record exactly once, or a word on why not.

        Parameters
        ----------
        topic : str
            Its name.
        start, end : str, int, datetime, timedelta, Committed or dict
            Half-open. ``"earliest"``, ``"latest"`` (taken once, when the read begins), an offset, a negative number
            counted back from the end, ``"-15m"``, a date or time (naive ones are UTC), ``"@<epoch milliseconds>"``,
            ``kl.Committed("group")``, or a dict of these by partition; partitions that a dict leaves out are not read.
            A time is looked up in the broker's index, then checked row by row. Where producers' times do not rise, a
            record that is older than ``end`` but was stored after the first newer one is not found.
        partitions : int or sequence of int, optional
            Which to read; all by default.
        key, value : {"bytes", "text", "json", "int32", "int64", "float64", "uuid", "auto"}, Json or callable
            Their formats. JSON objects become a column for each field; `kafkalab.Json` takes a schema. Numbers are
            big-endian, as Kafka's serializers write them, of any of numpy's integer and float types. A function takes
            a binary array of pyarrow, and returns an array as long; the fields of structs become columns.
        headers : bool
            Whether to have them: a list of structs of ``key`` and ``value``.
        columns : sequence of str, optional
            Those to keep, in this order.
        where : pyarrow.compute.Expression, optional
            Rows to keep, such as ``kl.field("amount") > 100``; checked as they come, so that only these take memory.
        errors : {"raise", "column", "skip"}
            What becomes of a record that is not in its format: an error that names its offset, nulls with the reason in
            ``_error`` and the bytes in ``_raw``, or no row and a note in the receipt.
        isolation_level : {"read_committed", "read_uncommitted"}
            Which records of transactions are visible.
        on_data_loss : {"raise", "warn"}
            What to do where retention has removed a part of the range.
        limit : int, optional
            Most rows, a guard against topics larger than memory. None for no limit.
        max_bytes : int, optional
            Stop when the rows take that much memory. None for no limit.
        timeout : float, optional
            Stop after so many seconds.
        dtype_backend : {"numpy_nullable", "pyarrow"}, optional
            As in `pandas.read_csv`.
        progress : bool
            Whether a bar shows what takes over a second.

        Returns
        -------
        pandas.DataFrame
            Columns ``topic``, ``partition``, ``offset``, ``timestamp``, ``timestamp_type``, ``key``, ``value`` and
            ``headers``, ordered by partition and offset. `kafkalab.receipt` tells what was read and why it stopped.

        Raises
        ------
        UnknownTopicError, UnknownPartitionError, PositionError, ArgumentError
            What was asked for does not exist or makes no sense.
        DataLossError, DecodeError, CorruptDataError, ReadTimeoutError
            The range cannot be read whole. What was read until then is in `partial`.

        Warns
        -----
        LimitWarning
            The read stopped at ``limit``, ``max_bytes`` or ``timeout``.
        """
        scan = self._scan(
            topic,
            start,
            end,
            Limits(rows=limit, bytes=max_bytes, seconds=timeout),
            {
                "partitions": partitions,
                "key": key,
                "value": value,
                "headers": headers,
                "columns": columns,
                "where": where,
                "errors": errors,
                "isolation_level": isolation_level,
                "on_data_loss": on_data_loss,
                "progress": progress,
            },
        )
        table, receipt = self._collect(scan)
        stopped_by_limit = limit is not None and receipt.rows >= limit
        warn_if_short(receipt, f"limit={limit:,}" if stopped_by_limit else f"max_bytes={max_bytes or 0:,}")
        return to_frame(table, receipt, dtype_backend)

    def scan(
        self,
        topic: str,
        start: Position = "earliest",
        end: Position = "latest",
        *,
        limit: int | None = None,
        **reading: Unpack[Reading],
    ) -> Scan:
        """Return a range of a topic as a stream of Arrow record batches, to go through or to hand to polars or duckdb.

        Parameters
        ----------
        topic, start, end, limit, **reading
            As in `read`; there is no limit by default.

        Returns
        -------
        Scan
            Nothing is read until it is iterated.
        """
        reading.setdefault("progress", False)
        return self._scan(topic, start, end, Limits(rows=limit, seconds=reading.pop("timeout", None)), reading)

    def head(self, topic: str, n: int = 5, *, start: Position = "earliest", **reading: Unpack[Reading]) -> pd.DataFrame:
        """Return the first ``n`` records of a topic by timestamp.

        Parameters
        ----------
        topic : str
            Its name.
        n : int
            How many.
        start : Position
            From where, as in `read`.
        **reading
            As in `read`; formats are found by looking, and the receipt's notes name the `read` that gives the same.
        """
        table, receipt = self._outer(self._few(topic, start, n, reading), int(n))
        warn_if_short(receipt, "")
        return self._chosen(ordered_by_time(table).slice(0, n), receipt, reading)

    def last(self, topic: str, n: int = 5, *, start: Position = "earliest", **reading: Unpack[Reading]) -> pd.DataFrame:
        """Return the last ``n`` records of a topic by timestamp, topic-wide.

        Parameters
        ----------
        topic, n, start, **reading
            As in `head`; nothing before ``start`` is looked at. Each partition's last ``n`` by offset are compared:
            where producers' times do not rise, a newer record that was stored further back is not found.
        """
        table, receipt = self._outer(self._few(topic, start, n, reading), int(n), at_end=True)
        warn_if_short(receipt, "")
        ordered = ordered_by_time(table)
        return self._chosen(ordered.slice(max(ordered.num_rows - n, 0)), receipt, reading)

    def sample(
        self,
        topic: str,
        n: int = 1000,
        *,
        seed: int | None = None,
        start: Position = "earliest",
        end: Position = "latest",
        **reading: Unpack[Reading],
    ) -> pd.DataFrame:
        """Return a uniform sample of the visible records, without reading the topic.

        Parameters
        ----------
        topic : str
            Its name.
        n : int
            How many; all where there are no more.
        seed : int, optional
            Makes the draw repeatable while the log stays as it is.
        start, end : Position
            As in `read`.
        **reading
            As in `read`, without ``where`` and ``timeout``; formats are found by looking.

        Returns
        -------
        pandas.DataFrame
            Ordered by partition and offset. ``receipt(frame).live`` estimates how many visible records there are, with
            its 95% interval.
        """
        for name in {"where", "timeout"} & reading.keys():
            message = f"sample takes no {name}: a sample of n records is drawn from all that are visible"
            raise ArgumentError(message)
        scan = self._few(topic, start, n, reading, end=end)
        plan = scan.plan
        sampler = Sampler(plan, self.fetcher, scan.fetch_options, FetchControl(), np.random.default_rng(seed))
        sampled = sampler.take(n)
        lost = (*plan.lost, *sampled.lost)
        for part in lost:
            warnings.warn(f"retention has removed {part}; the sample is of the rest", DataLossWarning, stacklevel=2)
        shaper = RowShaper(scan.row_options, plan.windows)
        batches = [shaper.shape(step) for step in sampled.steps if step.arrow_batch.num_rows] or [shaper.empty()]
        table = unify([pa.Table.from_batches([rows]) for rows in batches]).unify_dictionaries()
        receipt = Receipt(
            tuple(_sampled_part(step) for step in sampled.steps),
            scan.fetch_options.isolation_level,
            self.fetcher.name,
            sampled.live,
            (
                f"a sample of {table.num_rows} records",
                *(f"lost to retention: {part}" for part in lost),
                *shaper.notes(topic),
            ),
        )
        return self._chosen(table, receipt, reading)

    def tail(self, topic: str, rows: int = 1000, *, start: Position = "latest", **reading: Unpack[Reading]) -> Tail:
        """Follow a topic: keep its newest rows in a table that fills as records are written.

        Parameters
        ----------
        topic : str
            Its name.
        rows : int
            How many rows are kept.
        start : Position
            From where, as in `read`.
        **reading
            As in `read`; formats are found by looking.

        Returns
        -------
        Tail
            Running; ``tail.df``, ``tail.run(seconds)``, ``tail.stop()``, or a ``with`` statement.
        """
        _check_count(rows, "rows")
        readable: Reading = {"key": "auto", "value": "auto", "errors": "column", **reading, "progress": False}
        limits = Limits(seconds=readable.pop("timeout", None))
        scan = self._scan(topic, start, "latest", limits, readable, follow=True)
        return Tail(scan, rows, hide_no_errors="errors" not in reading)

    def map_partitions(
        self,
        topic: str,
        func: Callable[[pd.DataFrame], Any],
        start: Position = "earliest",
        end: Position = "latest",
        *,
        workers: int = 4,
        executor: Executor = "thread",
        **reading: Unpack[Reading],
    ) -> Any:
        """Call a function with each partition as a frame, several at a time; each worker reads its own.

        Parameters
        ----------
        topic, start, end, **reading
            As in `read`; there is no limit.
        func : callable
            Takes a frame. What it returns is put together: frames one after the other, Series and scalars as a frame by
            partition, anything else as a list.
        workers : int
            How many at a time: memory holds that many partitions.
        executor : {"thread", "sync"}
            Threads, or one after the other in this thread.

        Raises
        ------
        MapError
            A call failed. The error has the partition, and the finished parts in ``results``.
        """
        reading["progress"] = False
        scan = self._scan(topic, start, end, Limits(seconds=reading.pop("timeout", None)), reading)

        scan.names = Names()

        def task(part: OffsetRange, stop: Stop) -> Any:
            collected = Collected(replace(scan, plan=scan.plan.with_ranges([part])))
            collected.run(stop)
            receipt = collected.scan.receipt or Receipt(())
            if stop.is_set():
                raise concurrent.futures.CancelledError
            warn_if_short(receipt, "")
            return func(to_frame(collected.table(), receipt))

        results = run_all(task, list(scan.plan.ranges), workers, executor)
        scan.names.check(scan.row_options)
        return combine(results)

    def export(
        self,
        topic: str,
        folder: str | os.PathLike[str],
        start: Position = "earliest",
        end: Position = "latest",
        *,
        format: files.Format = "parquet",
        **reading: Unpack[Reading],
    ) -> pd.DataFrame:
        """Write a range of a topic to files, one for each partition, in bounded memory.

        Parameters
        ----------
        topic, start, end, **reading
            As in `read`; there is no limit.
        folder : path
            Where to; made if it is not there. A file's name tells its range: ``orders+3+100-250.parquet``.
        format : {"parquet", "csv", "jsonl", "feather"}
            CSV and JSON lines have no bytes: keys and values must be UTF-8 or decoded. CSV has no nested values either:
            these become JSON text.

        Returns
        -------
        pandas.DataFrame
            A row a file: ``path``, ``partition``, ``start``, ``end``, ``rows``, ``bytes``.

        Raises
        ------
        ExportError
            A file cannot be written; those written before are whole.
        """
        files.check_format(format)
        scan = self._scan(topic, start, end, Limits(seconds=reading.pop("timeout", None)), reading)
        scan.names = Names()
        parts = (replace(scan, plan=scan.plan.with_ranges([part])) for part in scan.plan.ranges if part.span)
        written = files.as_frame(list(files.export(parts, Path(folder), format)))
        scan.names.check(scan.row_options)
        return written

    @property
    def partial(self) -> pd.DataFrame:
        """What the last read that was interrupted, or failed, had read until then, with its receipt.

        Raises
        ------
        ArgumentError
            No read was interrupted.
        """
        if self._partial is None:
            message = "no read of this lab was interrupted"
            raise ArgumentError(message)
        return to_frame(self._partial.table(), self._partial.receipt())

    # How

    def _plan(self, topic: str, request: Request, *, follow: bool) -> tuple[TopicInfo, Plan]:
        info = self.metadata.topic(topic)
        partitions = choose_partitions(info, request)
        marks = self.metadata.watermarks(topic, partitions)
        plan = make_plan(request, topic, marks, self.metadata, time.time_ns() // 1_000_000)
        if follow:
            plan = plan.with_ranges(replace(part, end=_NO_END) for part in plan.ranges)
        return info, plan

    def _scan(
        self,
        topic: str,
        start: Position,
        end: Position,
        limits: Limits,
        reading: Reading,
        *,
        follow: bool = False,
    ) -> Scan:
        unknown = reading.keys() - Reading.__annotations__.keys()
        for name in sorted(unknown):
            message = f"there is no option {name!r}: {did_you_mean(name, Reading.__annotations__)}"
            raise TypeError(message)
        given: dict[str, Any] = {**reading}
        row_options = RowOptions(**{name: given[name] for name in _ROWS if name in given})
        request = Request(start, end, **{name: given[name] for name in _REQUEST if name in given})
        info, plan = self._plan(topic, request, follow=follow)
        options = FetchOptions(
            isolation_level=request.isolation_level,
            headers=row_options.wants_headers,
            on_data_loss=request.on_data_loss,
            follow=follow,
        )
        shown = reading.get("progress", True)
        return Scan(plan, info, self.fetcher, self.metadata, options, row_options, limits, show_progress=shown)

    def _few(self, topic: str, start: Position, n: int, reading: Reading, *, end: Position = "latest") -> Scan:
        """Return a scan for verbs that show a few records: formats found, all columns there to order by."""
        _check_count(n)
        readable: Reading = {"key": "auto", "value": "auto", "errors": "column", **reading}
        limits = Limits(seconds=readable.pop("timeout", None))
        scan = self._scan(topic, start, end, limits, readable)
        return replace(
            scan, row_options=replace(scan.row_options, headers=scan.row_options.wants_headers, columns=None)
        )

    def _outer(self, scan: Scan, n: int, *, at_end: bool = False) -> tuple[pa.Table, Receipt]:
        """Read the first or last n rows of each range, in ever larger windows until they are found."""
        left = [part for part in scan.plan.ranges if part.span]
        if not left:
            return self._collect(scan)
        scan.names = Names()
        tables, receipts, window = [], [], n
        while left:
            cuts = [_cut(part, window, at_end=at_end) for part in left]
            plan = scan.plan.with_ranges(piece for piece, _ in cuts)
            table, receipt = self._collect(replace(scan, plan=plan, limits=Limits(seconds=scan.limits.seconds)))
            tables.append(table)
            receipts.append(receipt)
            if not receipt.complete:
                break
            rows = _rows_by_partition(receipts)
            left = [rest for _, rest in cuts if rest.span and rows[rest.partition] < n]
            window *= _WINDOW_GROWTH
        scan.names.check(scan.row_options)
        # A window without visible records knows no fields: it would add a column for the whole value.
        table = unify([part for part in tables if part.num_rows] or tables[:1])
        return _outermost(table, n, at_end=at_end), Receipt.merge(receipts)

    def _collect(self, scan: Scan) -> tuple[pa.Table, Receipt]:
        collected = Collected(scan)
        try:
            collected.run()
        except BaseException:
            self._partial = collected
            raise
        return collected.table(), scan.receipt or Receipt(())

    @staticmethod
    def _chosen(table: pa.Table, receipt: Receipt, reading: Reading) -> pd.DataFrame:
        """Return the frame of a few rows, with the columns that were asked for."""
        receipt = replace(receipt, partitions=tuple(_with_rows(part, table) for part in receipt.partitions))
        if "errors" not in reading and table["_error"].null_count == table.num_rows:
            table = table.drop_columns(["_error", "_raw"])
        columns = reading.get("columns")
        if columns is not None:
            for name in columns:
                if name not in table.column_names and table.num_rows:
                    message = f"there is no column {name!r}: {did_you_mean(name, table.column_names)}"
                    raise ArgumentError(message)
            table = table.select([name for name in columns if name in table.column_names])
        return to_frame(table, receipt)


def _with_rows(part: PartitionReceipt, table: pa.Table) -> PartitionReceipt:
    """Return the receipt of a table that keeps only some of the rows that were read."""
    place = (pc.field("partition") == part.partition) & (pc.field("offset") >= part.start)
    return replace(part, rows=table.filter(place & (pc.field("offset") < part.end)).num_rows)


def _check_count(n: object, name: str = "n") -> None:
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 0:
        message = f"{name} is a whole number from 0 on, not {n!r}"
        raise ArgumentError(message)


def _cut(part: OffsetRange, window: int, *, at_end: bool) -> tuple[OffsetRange, OffsetRange]:
    """Return a range's first or last offsets, and the rest of it."""
    middle = max(part.end - window, part.start) if at_end else min(part.start + window, part.end)
    low, high = replace(part, end=middle), replace(part, start=middle)
    return (high, low) if at_end else (low, high)


def _outermost(table: pa.Table, n: int, *, at_end: bool) -> pa.Table:
    """Return n rows of each partition: those with the lowest offsets, or the highest."""
    partitions, offsets = (table[name].to_numpy() for name in ("partition", "offset"))
    order = np.lexsort((-offsets if at_end else offsets, partitions))
    rank = np.arange(len(order)) - np.searchsorted(partitions[order], partitions[order])
    return table.take(order[rank < n])


def _rows_by_partition(receipts: Iterable[Receipt]) -> Counter[int]:
    rows: Counter[int] = Counter()
    for receipt in receipts:
        for part in receipt.partitions:
            rows[part.partition] += part.rows
    return rows


def _sampled_part(step: Fetched) -> PartitionReceipt:
    part, rows = step.offset_range, step.arrow_batch.num_rows
    size = payload_bytes(step.arrow_batch)
    return PartitionReceipt(part.topic, part.partition, part.start, part.end, part.end, rows, rows, size)
