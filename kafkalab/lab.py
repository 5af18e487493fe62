"""The front: a cluster with its verbs."""

from __future__ import annotations

import time
import warnings
import weakref
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.cells import when_run_again
from kafkalab.cluster.metadata import offline_among
from kafkalab.dask_frame import to_dask
from kafkalab.decode.joining import unify
from kafkalab.errors import ArgumentError, DataLossWarning, KafkalabWarning, did_you_mean
from kafkalab.export.begin import begin
from kafkalab.export.folder import Folder
from kafkalab.export.formats import file_format
from kafkalab.export.lock import locked
from kafkalab.export.names import lock
from kafkalab.export.write import Export
from kafkalab.fetch.base import TIMESTAMP, FetchControl, FetchOptions, payload_bytes
from kafkalab.frame import ordered_by_time, printable, to_frame, warn_if_short
from kafkalab.group.consumer_group import ConsumerGroup
from kafkalab.group.offsets import cluster_of, group_offsets, seek_group
from kafkalab.group.settings import Membership
from kafkalab.keyed import Chosen, NewestOfEach, OfKey, are_framed, as_stored, homes
from kafkalab.keyed import notes as newest_notes
from kafkalab.model import IsolationLevel, OffsetRange, PartitionReceipt, Receipt
from kafkalab.parallel import MapOptions, map_parts
from kafkalab.plan import Plan, Request, choose_partitions, make_plan
from kafkalab.rows import ERROR_COLUMNS, Names, RowOptions, RowShaper
from kafkalab.sample import Sampler
from kafkalab.scan import Collected, Limits, Scan
from kafkalab.shown import ShownSession
from kafkalab.tail import Tail
from kafkalab.taking import take
from kafkalab.timeslice import short_turns
from kafkalab.tuning import measure as measuring
from kafkalab.tuning.measurement import Measurement, Setup
from kafkalab.tuning.session import TuningSession
from kafkalab.tuning.sweep import SweepResult, sweep
from kafkalab.workers import Processes, check_count

if TYPE_CHECKING:
    import concurrent.futures
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import dask.dataframe as dd

    from kafkalab.cluster import Metadata
    from kafkalab.decode.registry import Registry
    from kafkalab.export.formats import Format
    from kafkalab.fetch.base import Fetched, Fetcher
    from kafkalab.frame import DtypeBackend
    from kafkalab.group.consumer_group import OnError as GroupOnError
    from kafkalab.group.dispatch import Ordering as GroupOrdering
    from kafkalab.group.handler import HandlerLike
    from kafkalab.keyed import Chooser, Tombstones
    from kafkalab.model import TopicInfo, Watermarks
    from kafkalab.parallel import OnFailure, Ordering
    from kafkalab.partitioner import Partitioner
    from kafkalab.plan import OnDataLoss
    from kafkalab.positions import Position
    from kafkalab.rows import FormatLike, OnError
    from kafkalab.settings import ConsumerSettings
    from kafkalab.task import FrameKind
    from kafkalab.tuning.measure import Process, SettingsLike
    from kafkalab.tuning.measurement import WorkerKind
    from kafkalab.tuning.search import Strategy
    from kafkalab.workers import ExecutorName

_MOST_ROWS = 1_000_000
_MOST_BYTES = 1 << 30
_WINDOW_GROWTH = 4
_NO_END = 2**63 - 1
_SAMPLED = 1000
_FILE_BYTES = 512 << 20


class Found(TypedDict, total=False):
    """What every reading verb takes beside its own arguments; `Lab.read` says what each means."""

    partitions: Sequence[int] | int | None
    value: FormatLike
    headers: bool
    columns: Sequence[str] | None
    where: pc.Expression | None
    errors: OnError
    isolation_level: IsolationLevel | str
    on_data_loss: OnDataLoss
    timeout: float | None
    progress: bool


class Reading(Found, total=False):
    """The same, for verbs to which a key is a column like another."""

    key: FormatLike


_REQUEST = ("partitions", "isolation_level", "on_data_loss")
_ROWS = ("key", "value", "headers", "columns", "where", "errors")


class Lab:
    """A cluster to look into. Reading never changes it: nothing is committed, joined or created.

    Only `consumer_group` joins a group and commits, and `seek_group` commits when told to.

    Parameters
    ----------
    metadata : Metadata
        What knows the topics; `kafkalab.connect` gives that of a real cluster.
    fetcher : Fetcher
        The engine.
    registry : Registry, optional
        Where schemas are, for formats that were not given a registry.

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

    def __init__(self, metadata: Metadata, fetcher: Fetcher, *, registry: Registry | None = None) -> None:
        self.metadata = metadata
        self.fetcher = fetcher
        self.registry = registry
        self._partial: Collected | Chosen | None = None
        self._processes = Processes()
        self._started: weakref.WeakSet[Tail | TuningSession | ConsumerGroup] = weakref.WeakSet()
        self._on_close = ExitStack()
        self._on_close.callback(self._processes.close)
        self._on_close.callback(self._stop_started)

    def __repr__(self) -> str:
        return f"<Lab on {self.metadata!r}, engine {self.fetcher.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_close(self, action: Callable[[], object]) -> None:
        """Have something done when this lab is closed."""
        self._on_close.callback(action)

    def close(self) -> None:
        """Let go of the cluster, and end what was started for this lab."""
        self._on_close.pop_all().close()  # all of it, should some fail

    def _stop_started(self) -> None:
        with ExitStack() as stops:
            for each in list(self._started):
                stops.callback(each.stop)

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
            ``first_timestamp`` and ``last_timestamp`` (of the first record, and the greatest, as the broker's index has
            them: with records of aborted transactions and the markers of all; NaT where it has no index), and for a
            group ``committed_offset`` and ``committed_lag``.
        """
        info, marks = self.metadata.overview(topic)
        partitions = [part.partition for part in info.partitions]
        times = self.metadata.timestamp_span(topic, partitions)
        frame = pd.DataFrame(
            {
                "partition": partitions,
                "leader": pd.array([part.leader for part in info.partitions], dtype="Int32"),
                "replicas": [list(part.replicas) for part in info.partitions],
                "in_sync_replicas": [list(part.in_sync_replicas) for part in info.partitions],
                "log_start_offset": _offsets(marks, partitions, "log_start_offset"),
                "last_stable_offset": _offsets(marks, partitions, "last_stable_offset"),
                "high_watermark": _offsets(marks, partitions, "high_watermark"),
            }
        )
        frame["span"] = frame["high_watermark"] - frame["log_start_offset"]
        for number, name in enumerate(("first_timestamp", "last_timestamp")):
            found = [times[p][number] for p in partitions]
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
            record that is older than ``end`` but was stored after the first newer one is not found; where that one is
            of the future, a warning and the receipt say so.
        partitions : int or sequence of int, optional
            Which to read; all by default.
        key, value : {"bytes", "text", "json", "avro", "protobuf", "int32", "uuid", "auto"}, Json, Avro or callable
            Their formats. JSON objects become a column for each field; `kafkalab.Json` takes a schema. Avro, Protobuf
            and ``"json-schema"`` begin with the id of a schema in the registry that the connection names;
            `kafkalab.Avro` and `kafkalab.Protobuf` take schemas too. Numbers are big-endian, as Kafka's serializers
            write them, of any of numpy's integer and float types. A function takes a binary array of pyarrow, and
            returns an array as long; the fields of structs become columns.
        headers : bool
            Whether to have them: a list of structs of ``key`` and ``value``.
        columns : sequence of str, optional
            Those to keep, in this order.
        where : pyarrow.compute.Expression, optional
            Rows to keep, such as ``kl.field("amount") > 100``; checked as they come, so that only these take memory.
        errors : {"raise", "column", "skip"}
            What becomes of a record that is not in its format: an error that names its offset, nulls with the reason in
            ``_error`` and the bytes in ``_raw`` (a key's in ``_raw_key``), or no row and a note in the receipt.
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
        with short_turns():
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
            frame = to_frame(table, receipt, dtype_backend)
        stopped_by_limit = limit is not None and receipt.rows >= limit
        warn_if_short(receipt, f"limit={limit:,}" if stopped_by_limit else f"max_bytes={max_bytes or 0:,}")
        return frame

    def scan(
        self,
        topic: str,
        start: Position = "earliest",
        end: Position = "latest",
        *,
        limit: int | None = None,
        follow: bool = False,
        **reading: Unpack[Reading],
    ) -> Scan:
        """Return a range of a topic as a stream of Arrow record batches, to go through or to hand to polars or duckdb.

        Parameters
        ----------
        topic, start, end, limit, **reading
            As in `read`; there is no limit by default.
        follow : bool
            Whether to go on with what is written later, for ever, whatever ``end`` is.

        Returns
        -------
        Scan
            Nothing is read until it is iterated.
        """
        reading.setdefault("progress", False)
        limits = Limits(rows=limit, seconds=reading.pop("timeout", None))
        return self._scan(topic, start, end, limits, reading, follow=follow, own=("limit", "follow"))

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
            How many; all where there are no more. Partitions without a leader are left out, with a warning.
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
        scan = self._few(topic, start, n, reading, end=end, skip_offline=True)
        shaper = RowShaper(scan.row_options, scan.plan.windows)
        table, receipt = self._sampled(scan, n, seed, shaper)
        return self._chosen(table, receipt, reading)

    def find(
        self,
        topic: str,
        key: str | bytes | int | None,
        start: Position = "earliest",
        end: Position = "latest",
        *,
        key_format: str | None = None,
        partitioner: Partitioner | None = "auto",
        **reading: Unpack[Found],
    ) -> pd.DataFrame:
        """Return the records of one key, reading only the partition that producers put it in.

        Parameters
        ----------
        topic, start, end, **reading
            As in `read`, without ``key``; there is no limit, and formats are found by looking.
        key : str, bytes, int or None
            Compared byte by byte with what is stored; text is UTF-8. None finds records without a key.
        key_format : {"int8", "int16", "int32", "int64"}, optional
            How an int is stored, big-endian: ``"int32"`` by Java's ``IntegerSerializer``, ``"int64"`` by its
            ``LongSerializer``.
        partitioner : {"auto", "murmur2", "consistent", "fnv1a"}, optional
            Java's default (``murmur2_random`` to librdkafka), librdkafka's own (``consistent_random``), or sarama's. By
            default the one that has put a sample of the keys where they lie, or all partitions where none has. None
            reads all: for topics that had fewer partitions once, or producers that choose by themselves.

        Returns
        -------
        pandas.DataFrame
            As from `read`. The receipt's notes tell which partitions were read, and why.

        Warns
        -----
        KafkalabWarning
            Nothing was found, and not all partitions were read, or keys begin with the id of a schema: then the text of
            a key is not what is stored.

        Examples
        --------
        >>> import kafkalab as kl
        >>> cluster = kl.MemoryCluster({"orders": 1})
        >>> cluster.append("orders", kl.MemoryRecord(b"paid", key=b"u42"), kl.MemoryRecord(b"new", key=b"u7"))
        >>> kl.Lab(cluster, cluster).find("orders", "u42", columns=["offset", "key", "value"])
           offset  key value
        0       0  u42  paid
        """
        stored = as_stored(key, key_format)
        scan = self._few(topic, start, 0, {"key": "auto", **reading}, end=end)
        ranges, note = homes(scan, stored, partitioner)
        plan = scan.plan.with_ranges(ranges)
        frame = self._choose(
            replace(scan, plan=plan), {part: OfKey(stored) for part in ranges}, reading, lambda: [note]
        )
        framed = frame.empty and isinstance(key, str) and are_framed(scan)
        if framed:
            note = f"keys begin with the id of a schema here: what is shown is not the key, so give bytes; {note}"
        if framed or (frame.empty and len(ranges) < len(scan.plan.ranges)):
            warnings.warn(f"no record of the range has the key {key!r}: {note}", KafkalabWarning, stacklevel=2)
        return frame

    def compacted(
        self, topic: str, as_of: Position = "latest", *, tombstones: Tombstones = "apply", **reading: Unpack[Reading]
    ) -> pd.DataFrame:
        """Return the newest record of each key, as compaction would leave it, whether the topic is compacted or not.

        Memory holds the newest record of each key, and at most as many again.

        Parameters
        ----------
        topic, **reading
            As in `read`; there is no limit, and formats are found by looking. ``where`` filters what is left.
        as_of : Position
            As it was then: a time, an offset by partition, whatever `read` takes for its end.
        tombstones : {"apply", "keep"}
            A key whose newest value is null has no row, or is kept with the null.

        Returns
        -------
        pandas.DataFrame
            As from `read`. A partition is compacted by itself, by offsets; should partitions share keys, the receipt's
            notes say so. Records without a key are left out, and counted there.

        Examples
        --------
        >>> import kafkalab as kl
        >>> cluster = kl.MemoryCluster({"users": 1})
        >>> pairs = [(b"ann", b"Oslo"), (b"bob", b"Graz"), (b"ann", b"Lyon"), (b"bob", None)]
        >>> cluster.append("users", *(kl.MemoryRecord(value, key=key) for key, value in pairs))
        >>> kl.Lab(cluster, cluster).compacted("users", columns=["offset", "key", "value"])
           offset  key value
        0       2  ann  Lyon
        """
        scan = self._few(topic, "earliest", 0, reading, end=as_of)
        newest = {part: NewestOfEach(tombstones) for part in scan.plan.ranges}
        return self._choose(scan, newest, reading, lambda: newest_notes(newest.values()))

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
            Running; ``tail.df``, ``tail.run(seconds)``, ``tail.stop()``, or a ``with`` statement. A notebook shows it
            as a live table. Running its cell again ends it.
        """
        _check_count(rows, "rows")
        readable: Reading = {"key": "auto", "value": "auto", "errors": "column", **reading, "progress": False}
        limits = Limits(seconds=readable.pop("timeout", None))
        scan = self._scan(topic, start, "latest", limits, readable, follow=True)
        tail = Tail(scan, rows, hide_no_errors="errors" not in reading, show=_tail_table)
        self._started.add(tail)
        when_run_again(_closing(weakref.ref(tail)))
        return tail

    def map_partitions(
        self,
        topic: str,
        func: Callable[[Any], Any],
        start: Position = "earliest",
        end: Position = "latest",
        *,
        workers: int | None = None,
        executor: ExecutorName | concurrent.futures.Executor = "thread",
        chunk_records: int | None = None,
        ordering: Ordering = "partition",
        frame: FrameKind = "pandas",
        on_error: OnFailure = "raise",
        reduce: Callable[[Any, Any], Any] | None = None,
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
        workers : int, optional
            How many at a time: memory holds that many partitions, or chunks. By default as many as there are cores; of
            an executor of your own, twice as many as it says that it has.
        executor : {"thread", "process", "sync"} or concurrent.futures.Executor
            Threads, which share one core while they run Python; processes, which do not, and which functions and
            results have to be pickled for (``pip install "kafkalab[process]"``); one after the other in this thread; or
            an executor of your own, such as Dask's ``client.get_executor()``.
        chunk_records : int, optional
            Call the function with pieces of at most so many offsets instead of whole partitions, so that all workers
            share a partition that is larger than the others.
        ordering : {"partition", "unordered"}
            Whether results come by partition and offset, or as they are done.
        frame : {"pandas", "arrow"}
            What the function gets: a `pandas.DataFrame`, or a `pyarrow.Table`.
        on_error : {"raise", "skip", "collect"}
            What becomes of a part that fails: an error, once the parts that have begun are done; a warning; or return
            two things, what there is, and a list of the errors. A partition without a leader is such a part.
        reduce : callable, optional
            Takes what there is and the next result and returns what there is then. It is called here, as results come,
            and what it returned last is returned, so that memory need not hold all of them.

        Raises
        ------
        MapError
            A part failed. The error tells partition and offsets, and has the finished parts in ``results``.
        ArgumentError
            The function holds on to something that cannot go to another process; it says what.

        Examples
        --------
        >>> import kafkalab as kl
        >>> cluster = kl.MemoryCluster({"orders": 2})
        >>> cluster.append("orders", b"a", b"b", b"c")
        >>> lab = kl.Lab(cluster, cluster)
        >>> lab.map_partitions("orders", len)
                   result
        partition
        0               3
        1               0
        >>> lab.map_partitions("orders", len, chunk_records=2, reduce=max)
        2
        """
        options = MapOptions(
            workers, executor, chunk_records, ordering, frame, on_error, reduce, reading.pop("progress", True)
        )
        limits = Limits(seconds=reading.pop("timeout", None))
        scan = self._scan(topic, start, end, limits, reading, skip_offline=on_error != "raise")
        return map_parts(scan, func, options, self._processes)

    def to_dask(
        self,
        topic: str,
        start: Position = "earliest",
        end: Position = "latest",
        *,
        chunk_records: int = 100_000,
        schema: pa.Schema | None = None,
        dtype_backend: Literal["pyarrow"] | None = None,
        **reading: Unpack[Reading],
    ) -> dd.DataFrame:
        """Return a range of a topic as a Dask DataFrame, whose partitions are read by whichever worker needs them.

        Parameters
        ----------
        topic, start, end, **reading
            As in `read`, without ``timeout``; there is no limit. The end is fixed at once. ``where``, ``columns``
            and the columns that Dask finds it needs are the workers' business.
        chunk_records : int
            Most offsets in a partition.
        schema : pyarrow.Schema, optional
            The columns of every partition. By default those of the record, and the fields that a sample of a thousand
            records has; a record with others is an error when it is read.
        dtype_backend : {"pyarrow"}, optional
            As in `pandas.read_csv`. By default types are those of `read`, but for whole numbers and truth values of
            fields: these are pandas' nullable ones, as a type must not depend on whether a partition has nulls.

        Returns
        -------
        dask.dataframe.DataFrame
            Nothing but the sample is read yet. Needs ``pip install "kafkalab[dask]"``, and kafkalab on the workers. A
            partition that cannot be read whole is an error.

        Examples
        --------
        >>> import kafkalab as kl
        >>> cluster = kl.MemoryCluster({"orders": 2})
        >>> cluster.append("orders", b'{"amount": 5}', b'{"amount": 7}', b'{"amount": 1}')
        >>> frame = kl.Lab(cluster, cluster).to_dask("orders", value="json", chunk_records=2)
        >>> frame.npartitions
        3
        >>> int(frame["amount"].sum().compute(scheduler="sync"))
        13
        """
        check_count("chunk_records", chunk_records)
        if dtype_backend not in (None, "pyarrow"):
            message = f"dtype_backend is 'pyarrow' or None, not {dtype_backend!r}"
            raise ArgumentError(message)
        if "timeout" in reading:
            message = "to_dask takes no timeout: a partition is read whole, or is an error"
            raise ArgumentError(message)
        scan = self._scan(topic, start, end, Limits(), reading)
        for lost in scan.plan.lost:
            warnings.warn(f"retention has removed {lost}; the frame is of the rest", DataLossWarning, stacklevel=2)
        scan, found = self._typed(scan, schema)
        return to_dask(scan, found, int(chunk_records), dtype_backend)

    def export(
        self,
        topic: str,
        folder: str | os.PathLike[str],
        start: Position = "earliest",
        end: Position = "latest",
        *,
        format: Format = "parquet",
        resume: bool = False,
        overwrite: bool = False,
        max_file_bytes: int = _FILE_BYTES,
        escape_formulas: bool = False,
        filesystem: pa.fs.FileSystem | None = None,
        **reading: Unpack[Reading],
    ) -> pd.DataFrame:
        """Write a range of a topic to files, one or more for each partition, in bounded memory.

        A file is written under another name, synced and then renamed, so one that has its name is whole. The files are
        listed in ``_<topic>+<format>+manifest.json``, with their receipts; `kafkalab.load` reads them again. One export
        at a time writes them.

        Parameters
        ----------
        topic, start, end, **reading
            As in `read`; there is no limit.
        folder : path or URL
            Where to; made if it is not there. URLs are pyarrow's: ``s3://bucket/out``, ``gs://``, ``file://``. A file's
            name tells its range: ``part-orders+3+100-250.parquet``.
        format : {"parquet", "csv", "jsonl", "feather"}
            CSV and JSON lines have no bytes: keys and values must be UTF-8 or decoded. CSV has no nested values either:
            these become JSON text. NaN is null in JSON.
        resume : bool
            Go on with an export into this folder that was cut off, however it was, to the end that it was to reach.
            Where none was, write only offsets that are not there yet.
        overwrite : bool
            Replace files that have some of the same offsets, once all the new ones are whole.
        max_file_bytes : int
            Begin another file when one holds that much, in Arrow's memory.
        escape_formulas : bool
            For CSV: put a ``'`` before text that spreadsheets would run. All of a folder's files have it, or none.
        filesystem : pyarrow.fs.FileSystem, optional
            What has the folder, where a URL does not say.

        Returns
        -------
        pandas.DataFrame
            A row a file: ``path``, ``partition``, ``start``, ``end``, ``rows``, ``bytes``.

        Raises
        ------
        ExportError
            A file cannot be written, the folder has some of the offsets already, or another export writes to it. Files
            that are there are whole.
        ArgumentError
            The folder has files whose rows were made otherwise.
        """
        made = file_format(format, escape_formulas=escape_formulas)
        if max_file_bytes < 1:
            message = f"max_file_bytes is a number from 1 on, not {max_file_bytes!r}"
            raise ArgumentError(message)
        own = ("resume", "overwrite", "max_file_bytes", "escape_formulas", "filesystem", "format")
        limits = Limits(seconds=reading.pop("timeout", None))
        scan = self._scan(topic, start, end, limits, reading, own=own)
        where = Folder.at(folder, filesystem)
        where.make()
        with locked(where, lock(topic, format)) as keep:
            options = {"escape_formulas": escape_formulas, "resume": resume, "overwrite": overwrite}
            journal = begin(scan, where, format_name=format, **options)
            scan.names = Names({name: None for file in journal.manifest.own for name in file.schema.names})
            export = Export(scan, where, made, max_file_bytes, journal, keep)
            export.run()
        scan.names.check(scan.row_options)
        return export.frame()

    # Consumer groups: the one thing here that changes a cluster

    def consumer_group(
        self,
        group_id: str,
        topics: Sequence[str] | str,
        handler: HandlerLike = None,
        *,
        workers: int = 10,
        ordering: GroupOrdering = "partition",
        start: Literal["earliest", "latest", "error"] = "earliest",
        on_error: GroupOnError = "raise",
        isolation_level: IsolationLevel | str | None = None,
        group_protocol: Literal["classic", "consumer"] = "classic",
        assignor: str | None = None,
        instance_id: str | None = None,
        buffer_depth: int | None = None,
        drain_timeout: float | None = None,
        commit_interval: float = 1.0,
        settings: Mapping[str, Any] | ConsumerSettings | None = None,
    ) -> ConsumerGroup:
        """Return a member of a consumer group, which joins when it is started, and commits what is done.

        Parameters
        ----------
        group_id : str
            The group.
        topics : str or sequence of str
            What to subscribe to; a name that begins with ``^`` is a regular expression.
        handler : object or callable, optional
            An object with ``process(record, session)``, which calls ``session.mark(record)`` when a record is done, and
            if it likes with ``setup(session)`` and ``cleanup(session)``; or a function of a record, which is done when
            that returns. Without one, go through the group: a record is done when the next is asked for.
        workers : int
            Threads that call the handler.
        ordering : {"partition", "key", "unordered"}
            What is handled in order, by one worker at a time: a partition; a key; or nothing. Records without a key
            have no order among keys.
        start : {"earliest", "latest", "error"}
            Where to begin in a partition of which the group has committed nothing, or of whose commit the records are
            gone: retention has passed them, or the topic was deleted and made anew. The latter is told in ``errors``. A
            log that was cut is read from its beginning, whatever this is, but for "error".
        on_error : {"raise", "skip"} or callable
            What becomes of a record whose handler fails: the group stops, and reads it again when it is started next;
            or it is passed over, counted, and told in ``errors``. A function is called with the `HandlerError`: if it
            returns, the record is passed over; if it raises, the group stops with that.
        isolation_level : {"read_committed", "read_uncommitted"}, optional
            Which records of transactions are visible; by default what ``settings`` say, or else those that are
            committed.
        group_protocol : {"classic", "consumer"}
            Who assigns partitions: a member, or the broker (KIP-848, Kafka 4).
        assignor : str, optional
            How: ``"cooperative-sticky"`` unless told otherwise, ``"range"`` or ``"roundrobin"``; with
            ``group_protocol="consumer"`` the broker's ``"uniform"`` or ``"range"``.
        instance_id : str, optional
            Makes the member a static one, which keeps its partitions over a restart.
        buffer_depth : int, optional
            How many records of a partition may wait for a worker before it is paused; by default 20,000 shared by all
            partitions, and at least 1,000.
        drain_timeout : float, optional
            For how many seconds a partition that is to be given up waits for the handler to end; by default 30, or half
            of ``max.poll.interval.ms`` where that is less.
        commit_interval : float
            Seconds between commits.
        settings : mapping or ConsumerSettings, optional
            More of librdkafka's options for the client.

        Returns
        -------
        ConsumerGroup
            For a ``with`` statement, `ConsumerGroup.run`, or a ``for`` loop.

        Raises
        ------
        ArgumentError, ConfigError
            An argument or a setting cannot work.
        UnsupportedError
            This lab is on topics in memory.

        Examples
        --------
        >>> import kafkalab as kl
        >>> from kafkalab.brokers import MockBroker
        >>> with MockBroker({"orders": 1}) as broker, kl.connect(broker.bootstrap_servers) as lab:
        ...     lab.consumer_group("billing", "orders", print).run(seconds=0.1).handled
        0
        """
        level = None if isolation_level is None else str(isolation_level)
        membership = Membership(group_id, start, group_protocol, assignor, instance_id, level)
        group = ConsumerGroup(
            self.metadata,
            membership,
            topics,
            handler,
            workers=workers,
            ordering=ordering,
            on_error=on_error,
            settings=settings,
            buffer_depth=buffer_depth,
            drain_timeout=drain_timeout,
            commit_interval=commit_interval,
        )
        self._started.add(group)
        return group

    def group_offsets(self, group_id: str, topics: Sequence[str] | str | None = None) -> pd.DataFrame:
        """Return what a consumer group has committed.

        Parameters
        ----------
        group_id : str
            The group.
        topics : str or sequence of str, optional
            In which topics; in all by default.

        Returns
        -------
        pandas.DataFrame
            A row a partition with a commit: ``topic``, ``partition``, ``committed_offset``, ``end_offset`` (the last
            stable one) and ``committed_lag``.
        """
        return group_offsets(cluster_of(self.metadata), group_id, topics)

    def seek_group(
        self, group_id: str, topics: Sequence[str] | str, to: Position, *, dry_run: bool = True
    ) -> pd.DataFrame:
        """Move what a consumer group has committed; by default only tell what that would change.

        Parameters
        ----------
        group_id : str
            The group; it must have no members.
        topics : str or sequence of str
            In which topics.
        to : Position
            Where to, as ``start`` in `read`; partitions that a dict leaves out stay as they are.
        dry_run : bool
            Whether to change nothing. ``dry_run=False`` does it.

        Returns
        -------
        pandas.DataFrame
            A row a partition: ``topic``, ``partition``, ``committed_offset`` as it was before, ``to_offset``, and
            ``change``: below zero, records will be read again; above, they are passed over.

        Raises
        ------
        GroupError
            The group has members; it says who.
        """
        return seek_group(cluster_of(self.metadata), group_id, topics, to, dry_run=dry_run)

    # Tuning

    def measure(
        self,
        topic: str,
        settings: SettingsLike = None,
        *,
        workers: int = 10,
        process: Process | None = None,
        seconds: float = 10.0,
        warm_up: float = 2.0,
        start: Position = "earliest",
        ordering: GroupOrdering = "partition",
        worker_kind: WorkerKind = "thread",
        buffer_depth: int | None = None,
    ) -> Measurement:
        """Measure a consumer: how many records a second it handles, and what holds it back.

        The consumer runs in a process of its own, as a `consumer_group` would, but joins no group and commits nothing.
        A topic that is shorter than the measurement is read again from ``start``.

        Parameters
        ----------
        topic : str
            What to read.
        settings : ConsumerSettings, mapping or str, optional
            The client's: also as a mapping by the names here or librdkafka's, or a preset's name. librdkafka's defaults
            where none are given.
        workers : int
            How many handle records.
        process : callable, optional
            What handles a record, such as `kafkalab.simulate` gives; by default nothing is done with it. It is sent to
            the other process, and what it changes stays there.
        seconds, warm_up : float
            For how long to measure, at least a second, and how much before that not to, from the first record on.
        start : Position
            From where, as in `read`; ``"latest"`` for what comes in from now on.
        ordering : {"partition", "key", "unordered"}
            As in `consumer_group`.
        worker_kind : {"thread", "process"}
            Whether the workers are threads of one process, or each has a process and a consumer for some of the
            partitions.
        buffer_depth : int, optional
            As in `consumer_group`.

        Returns
        -------
        Measurement
            Its repr tells all; ``.series`` is a frame, ``.advice`` the bottleneck.

        Raises
        ------
        HandlerError
            ``process`` failed at a record.
        ArgumentError, ConfigError
            An argument or a setting cannot work.
        UnsupportedError
            This lab is on topics in memory.

        Examples
        --------
        >>> import kafkalab as kl
        >>> lab.measure("orders", "throughput", process=kl.simulate(cpu_us=20))  # doctest: +SKIP
        """
        measuring.check_seconds(seconds=seconds, warm_up=warm_up)
        bench = self._bench(
            topic,
            start,
            measuring.settings_of(settings),
            process,
            workers=workers,
            ordering=ordering,
            worker_kind=worker_kind,
            buffer_depth=buffer_depth,
        )
        return measuring.run(bench, seconds, warm_up)

    def sweep(
        self,
        topic: str,
        space: Mapping[str, Sequence[Any]],
        settings: SettingsLike = None,
        *,
        process: Process | None = None,
        strategy: Strategy = "racing",
        repeats: int = 3,
        seconds: float = 5.0,
        warm_up: float = 2.0,
        budget: float | None = None,
        start: Position = "earliest",
        workers: int = 10,
        ordering: GroupOrdering = "partition",
        worker_kind: WorkerKind = "thread",
        resume: SweepResult | str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> SweepResult:
        """Measure many settings against one another, and say which to take.

        Parameters
        ----------
        topic : str
            What to read.
        space : mapping of str to sequence
            Knobs and the values to try: fields of `ConsumerSettings`, ``workers``, ``worker_kind``, ``ordering`` or
            ``buffer_depth``. All combinations are tried; those that contradict themselves are skipped, and said so.
        settings, process, warm_up, start, workers, ordering, worker_kind
            As in `measure`, for what the space leaves open.
        strategy : {"racing", "grid"}
            Successive halving, which drops what is hopeless early; or everything, ``repeats`` times, in turns.
        repeats, seconds : int, float
            How often a grid measures each, and for how long; a race measures the last ones at least as often.
        budget : float, optional
            How many seconds a race may measure in all: a fifth of the grid's by default. Every configuration is
            measured for a second, at the least.
        resume : SweepResult or path, optional
            What to go on with. A path is a file of trials, to which each new one is added: after a Ctrl-C, the same
            call goes on where it was.
        progress : bool
            Whether a bar shows how far it is, and how long it will take.

        Returns
        -------
        SweepResult
            ``.frame``, ``.best``, ``.settings``, ``.explain()`` and ``.plot()``.

        Raises
        ------
        HandlerError
            ``process`` failed at a record.
        ArgumentError, ConfigError
            The space, an argument or a setting cannot work.

        Examples
        --------
        >>> import kafkalab as kl
        >>> space = {"fetch_queue_backoff_ms": [1, 1000], "workers": [1, 2, 4]}
        >>> lab.sweep("orders", space, process=kl.simulate(sleep_ms=1)).best  # doctest: +SKIP
        {'fetch_queue_backoff_ms': 1, 'workers': 4}
        """
        measuring.check_seconds(seconds=seconds, warm_up=warm_up)
        how = {"workers": workers, "ordering": ordering, "worker_kind": worker_kind}
        return sweep(
            self._bench(topic, start, measuring.settings_of(settings), process, **how),
            space,
            strategy=strategy,
            repeats=repeats,
            seconds=seconds,
            warm_up=warm_up,
            budget=budget,
            resume=resume,
            shown=progress,
        )

    def tune(
        self,
        topic: str,
        settings: SettingsLike = None,
        *,
        workers: int = 10,
        process: Process | None = None,
        start: Position = "earliest",
        ordering: GroupOrdering = "partition",
        worker_kind: WorkerKind = "thread",
        deadline: float = 3600.0,
    ) -> TuningSession:
        """Return a consumer that runs beside the notebook, to change its settings and see what that does.

        As the last line of a cell it shows the tuning panel, which has the same in sliders and buttons. Running that
        cell again ends it, and so does closing this lab.

        Parameters
        ----------
        topic, settings, workers, process, start, ordering, worker_kind
            As in `measure`.
        deadline : float
            Seconds after which a run ends by itself.

        Returns
        -------
        TuningSession
            Not started: ``session.start()``, or ``session.run(seconds)``; ``.set(workers=8)``, ``.advice``,
            ``.compare(a, b)``, ``.history``, ``.settings``, ``.figure``, ``.stop()``.

        Raises
        ------
        ArgumentError, ConfigError
            An argument or a setting cannot work.
        UnsupportedError
            This lab is on topics in memory.
        """
        measuring.check_seconds(deadline=deadline)
        how = {"workers": workers, "ordering": ordering, "worker_kind": worker_kind}
        bench = self._bench(topic, start, measuring.settings_of(settings), process, **how)
        session = TuningSession(bench, deadline=deadline)
        shown = session.view = ShownSession(session)
        self._started.add(session)
        when_run_again(shown.close)
        return session

    def _bench(
        self, topic: str, start: Position, settings: ConsumerSettings, process: Process | None, **how: Any
    ) -> measuring.Bench:
        cluster_of(self.metadata)
        request = Request(start, isolation_level=IsolationLevel(settings.isolation_level))
        _, plan = self._plan(topic, request, follow=False)
        handler, name = measuring.handler_of(process)
        partitions = len(plan.ranges)
        setup = Setup(topic=topic, partitions=partitions, settings=settings, process=name, replay=plan.span > 0, **how)
        starts = {part.partition: part.start for part in plan.ranges}
        return measuring.Bench(self.metadata, measuring.checked(setup), starts, handler)

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

    def _plan(
        self, topic: str, request: Request, *, follow: bool, skip_offline: bool = False
    ) -> tuple[TopicInfo, Plan]:
        info, known = self.metadata.overview(topic)
        partitions = choose_partitions(info, request)
        marks = {partition: known[partition] for partition in partitions if partition in known}
        offline = [partition for partition in partitions if partition not in marks]
        if offline and not (skip_offline and marks):
            marks |= self.metadata.watermarks(topic, offline)
            offline = []
        plan = make_plan(request, topic, marks, self.metadata, time.time_ns() // 1_000_000)
        plan = replace(plan, offline=tuple(offline))
        for note in plan.notes:
            warnings.warn(note, KafkalabWarning, stacklevel=4)
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
        skip_offline: bool = False,
        own: Iterable[str] = (),
    ) -> Scan:
        """Return the scan that a verb needs; ``own`` are options that the verb has beside those of all."""
        known = Reading.__annotations__.keys()
        for name in sorted(reading.keys() - known):
            message = f"there is no option {name!r}: {did_you_mean(name, known | set(own))}"
            raise TypeError(message)
        given: dict[str, Any] = {**reading}
        asked = {name: given[name] for name in _ROWS if name in given}
        row_options = RowOptions(**asked, registry=self.registry)
        request = Request(start, end, **{name: given[name] for name in _REQUEST if name in given})
        info, plan = self._plan(topic, request, follow=follow, skip_offline=skip_offline)
        options = FetchOptions(
            isolation_level=request.isolation_level,
            headers=row_options.wants_headers,
            on_data_loss=request.on_data_loss,
            follow=follow,
        )
        shown = reading.get("progress", True)
        return Scan(plan, info, self.fetcher, self.metadata, options, row_options, limits, show_progress=shown)

    def _few(
        self,
        topic: str,
        start: Position,
        n: int,
        reading: Reading,
        *,
        end: Position = "latest",
        skip_offline: bool = False,
    ) -> Scan:
        """Return a scan for verbs that show a few records: formats found, all columns there to order by."""
        _check_count(n)
        readable: Reading = {"key": "auto", "value": "auto", "errors": "column", **reading}
        limits = Limits(seconds=readable.pop("timeout", None))
        scan = self._scan(topic, start, end, limits, readable, skip_offline=skip_offline)
        return replace(
            scan, row_options=replace(scan.row_options, headers=scan.row_options.wants_headers, columns=None)
        )

    def _sampled(self, scan: Scan, n: int, seed: int | None, shaper: RowShaper) -> tuple[pa.Table, Receipt]:
        plan = scan.plan
        sampler = Sampler(plan, self.fetcher, scan.fetch_options, FetchControl(), np.random.default_rng(seed))
        sampled = sampler.take(n)
        lost = (*plan.lost, *sampled.lost)
        for part in lost:
            warnings.warn(f"retention has removed {part}; the sample is of the rest", DataLossWarning, stacklevel=3)
        left_out = [f"left out: {error}" for error in offline_among(scan.info, plan.offline)]
        for note in left_out:
            warnings.warn(f"the sample is of the rest; {note}", KafkalabWarning, stacklevel=3)
        batches = shaper.shape_all(step for step in sampled.steps if step.arrow_batch.num_rows) or [shaper.empty()]
        table = unify([pa.Table.from_batches([rows]) for rows in batches]).unify_dictionaries()
        receipt = Receipt(
            tuple(_sampled_part(step) for step in sampled.steps),
            scan.fetch_options.isolation_level,
            self.fetcher.name,
            sampled.live,
            (
                f"a sample of {table.num_rows} records",
                *(f"lost to retention: {part}" for part in lost),
                *left_out,
                *plan.notes,
                *shaper.notes(plan.topic),
            ),
        )
        return table, receipt

    def _typed(self, scan: Scan, schema: pa.Schema | None) -> tuple[Scan, pa.Schema]:
        """Return a scan all of whose parts have the same columns, and these: given, known, or seen in a sample."""
        options = scan.row_options
        if schema is not None:
            return replace(scan, row_options=replace(options, columns=schema.names)), schema
        if not options.has_fields:
            return scan, RowShaper(options).empty().schema
        shaper = RowShaper(replace(options, columns=None, where=None), scan.plan.windows)
        table, _ = self._sampled(scan, _SAMPLED, 0, shaper)
        if table.num_rows:
            options.check_columns(table.column_names)
        names = [name for name in options.columns or table.column_names if name in table.column_names]
        formats = {source: shaper.found.get(source, getattr(options, source)) for source in ("key", "value")}
        return replace(scan, row_options=replace(options, **formats)), table.select(names).schema

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

    def _choose(
        self,
        scan: Scan,
        choosers: Mapping[OffsetRange, Chooser],
        reading: Reading | Found,
        notes: Callable[[], Iterable[str]],
    ) -> pd.DataFrame:
        """Return the rows that choosers keep of a scan of a few records."""
        chosen = Chosen(scan, scan.row_options, choosers)
        try:
            chosen.run()
            table, receipt = chosen.table(), chosen.receipt()
        except BaseException:
            self._partial = chosen
            raise
        warn_if_short(receipt, "")
        return self._chosen(table, replace(receipt, notes=(*receipt.notes, *notes())), reading)

    @staticmethod
    def _chosen(table: pa.Table, receipt: Receipt, reading: Reading | Found) -> pd.DataFrame:
        """Return the frame of a few rows, with the columns that were asked for."""
        receipt = _with_rows(receipt, table)
        if "errors" not in reading and table["_error"].null_count == table.num_rows:
            table = table.drop_columns([name for name in ERROR_COLUMNS if name in table.column_names])
        columns = reading.get("columns")
        if columns is not None:
            for name in columns:
                if name not in table.column_names and table.num_rows:
                    message = f"there is no column {name!r}: {did_you_mean(name, table.column_names)}"
                    raise ArgumentError(message)
            table = table.select([name for name in columns if name in table.column_names])
        return to_frame(table, receipt)


def _offsets(marks: Mapping[int, Watermarks], partitions: Iterable[int], name: str) -> Any:
    """Return one of the watermarks by partition; null where a partition has no leader to tell it."""
    return pd.array([getattr(marks[p], name) if p in marks else None for p in partitions], dtype="Int64")


def _closing(tail: weakref.ref[Tail]) -> Callable[[], None]:
    """Return what closes a tail, without being what keeps it."""

    def close() -> None:
        left = tail()
        if left is not None:
            left.close()

    return close


def _tail_table(tail: Tail) -> Any:
    from kafkalab.widgets.tail_table import TailTable

    return TailTable(tail)


def _with_rows(receipt: Receipt, table: pa.Table) -> Receipt:
    """Return the receipt of a table that keeps only some of the rows that were read."""
    partitions, offsets = (table[name].to_numpy() for name in ("partition", "offset"))
    order = np.lexsort((offsets, partitions))
    partitions, offsets = partitions[order], offsets[order]
    numbers = [part.partition for part in receipt.partitions]
    lows, highs = (np.searchsorted(partitions, numbers, side) for side in ("left", "right"))
    counts = (
        np.diff(np.searchsorted(offsets[low:high], (part.start, part.end)))
        for part, low, high in zip(receipt.partitions, lows, highs, strict=True)
    )
    parts = zip(receipt.partitions, counts, strict=True)
    return replace(receipt, partitions=tuple(replace(part, rows=int(*count)) for part, count in parts))


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
    return take(table, order[rank < n])


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
