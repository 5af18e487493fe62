"""A function mapped over the parts of a topic: each is read where it is worked on, and handed out as there is room."""

from __future__ import annotations

import itertools
import time
import warnings
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from kafkalab.cluster.metadata import offline_among
from kafkalab.combine import combine
from kafkalab.errors import ArgumentError, DataLossError, DataLossWarning, KafkalabWarning, MapError
from kafkalab.fetch.base import Stop
from kafkalab.frame import warn_if_short
from kafkalab.model import OffsetRange, PartitionReceipt, Receipt, StopReason
from kafkalab.parts import PartReader
from kafkalab.pickling import Sealed, check_travels
from kafkalab.plan import Pieces
from kafkalab.progress import progress
from kafkalab.rows import Names
from kafkalab.scan import LOST
from kafkalab.task import FrameKind, Outcome, Task, elsewhere
from kafkalab.workers import ExecutorName, Processes, Workers, check_count, goes_elsewhere, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Executor, Future

    from kafkalab.scan import Scan

Ordering: TypeAlias = Literal["partition", "unordered"]
OnFailure: TypeAlias = Literal["raise", "skip", "collect"]
Reduce: TypeAlias = "Callable[[Any, Any], Any]"

_MOST_AHEAD = 4  # times what is handed out at once: results that wait for an earlier one, to be folded in order


@dataclass(frozen=True, slots=True)
class MapOptions:
    """How to map a function over a topic; `kafkalab.lab.Lab.map_partitions` says what each means."""

    workers: int | None = None
    executor: ExecutorName | Executor = "thread"
    chunk_records: int | None = None
    ordering: Ordering = "partition"
    frame: FrameKind = "pandas"
    on_error: OnFailure = "raise"
    reduce: Reduce | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        _check_one_of("ordering", self.ordering, get_args(Ordering))
        _check_one_of("frame", self.frame, get_args(FrameKind))
        _check_one_of("on_error", self.on_error, get_args(OnFailure))
        check_count("workers", self.workers)
        check_count("chunk_records", self.chunk_records)


def _check_one_of(name: str, given: object, known: Sequence[str]) -> None:
    if given not in known:
        raise ArgumentError(f"{name} is {' or '.join(map(repr, known))}, not {given!r}")


def map_parts(scan: Scan, func: Callable[[Any], Any], options: MapOptions, processes: Processes) -> Any:
    """Call a function with each part of a scan's plan, and return what it returned, put together.

    Raises
    ------
    MapError
        A part failed, and failures are to be raised, or the executor broke.
    ArgumentError, UnsupportedError
        The function or the topic cannot go to another process.
    """
    ranges = scan.plan.ranges
    parts = ranges if options.chunk_records is None else Pieces(ranges, int(options.chunk_records))
    for lost in scan.plan.lost:
        warnings.warn(f"retention has removed {lost}; the map is of the rest", DataLossWarning, stacklevel=3)
    task = Task(PartReader(scan), func, options.frame)
    # Whatever cannot travel is refused before a process is started for it.
    seconds = scan.limits.seconds
    until = None if seconds is None else time.time() + seconds
    run = _Run(task, options, _sealed(task) if goes_elsewhere(options.executor) else None, until)
    run.leave_out(scan, len(parts))
    with (
        opened(options.executor, options.workers, processes) as workers,
        progress(scan.plan.span, scan.plan.topic, shown=options.progress) as advance,
    ):
        run.through(parts, workers, advance)
        if run.broken:
            raise run.failed()
    if run.failures and options.on_error == "raise":
        raise run.failed()
    run.look_at_topic()
    return _told(run, scan, options)


def _sealed(task: Task) -> Sealed:
    task.reader.check_travels()
    check_travels(task.func)
    return Sealed(task)


def _told(run: _Run, scan: Scan, options: MapOptions) -> Any:
    """Return what a map gives, and warn of what it does not hold."""
    run.names.check(scan.row_options)
    numbers = run.finished()
    receipt = run.receipt()
    if options.reduce is None:
        values, parts = [run.values[number] for number in numbers], [run.parts[number] for number in numbers]
        value = combine(values, parts, receipt, in_pieces=options.chunk_records is not None)
    else:
        value = run.folded
    read = tuple(part for part in receipt.partitions if part.stop != StopReason.ERROR)
    warn_if_short(replace(receipt, partitions=read), "")
    if options.on_error == "collect":
        return value, [run.failures[number] for number in sorted(run.failures)]
    if run.failures:
        warnings.warn(f"{len(run.failures)} left out: {run.failed()}", KafkalabWarning, stacklevel=4)
    return value


@dataclass(slots=True)
class _Run:
    """One map under way: what has come back, by the number of its part, and what is folded."""

    task: Task
    options: MapOptions
    sealed: Sealed | None
    until: float | None = None
    parts: dict[int, OffsetRange] = field(default_factory=dict)
    values: dict[int, Any] = field(default_factory=dict)
    receipts: dict[int, Receipt] = field(default_factory=dict)
    failures: dict[int, MapError] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    notes: list[str] = field(default_factory=list)
    folded: Any = None
    broken: bool = False
    fold_next: int = 0
    any_folded: bool = False

    def leave_out(self, scan: Scan, first: int) -> None:
        """Count partitions without a leader among those that failed, by numbers behind the others."""
        for number, error in enumerate(offline_among(scan.info, scan.plan.offline), first):
            self.parts[number] = OffsetRange(scan.plan.topic, error.partition or 0, 0, 0)
            self._fail(number, Outcome(error=error, doing="reading"))

    def through(self, parts: Iterable[OffsetRange], workers: Workers, advance: Callable[[int], object]) -> None:
        """Hand out parts, as many at a time as there is room for, and take what comes back."""
        stop = Stop()
        submit = self._submitter(workers.executor, stop)
        left = enumerate(parts)
        out: dict[Future[Any], int] = {}
        # Ctrl-C comes through where this waits; `concurrent.futures.wait` could keep a lock then that a worker needs.
        done: SimpleQueue[Future[Any]] = SimpleQueue()
        try:
            while True:
                for number, part in itertools.islice(left, self._room(workers.depth, len(out))):
                    self.parts[number] = part
                    self._submit(submit, number, out, done)
                if not out:
                    break
                future = done.get()
                if future in out:  # and not taken back
                    number = out.pop(future)
                    self._take(number, future)
                    advance(self.parts[number].span)
                if self._over:
                    _cancel(out)
        except BaseException:
            stop.set()
            _cancel(out)
            raise
        if self._late:
            for number, part in left:
                self.receipts[number] = self._unread(part, StopReason.TIMEOUT)

    def _submitter(self, executor: Executor, stop: Stop) -> Callable[[OffsetRange], Future[Any]]:
        sealed = self.sealed
        if sealed is None:
            return lambda part: executor.submit(self.task, part, stop, self.until)
        return lambda part: executor.submit(elsewhere, sealed, part, self.until)

    def _submit(
        self,
        submit: Callable[[OffsetRange], Future[Any]],
        number: int,
        out: dict[Future[Any], int],
        done: SimpleQueue[Future[Any]],
    ) -> None:
        if self.broken:
            return
        try:
            future = submit(self.parts[number])
            out[future] = number
            future.add_done_callback(done.put)
        except BrokenExecutor as error:
            self._fail(number, Outcome(error=error, doing="the executor"))

    @property
    def _late(self) -> bool:
        return self.until is not None and time.time() >= self.until

    @property
    def _over(self) -> bool:
        return self.broken or (bool(self.failures) and self.options.on_error == "raise")

    @property
    def _in_order(self) -> bool:
        return self.options.ordering == "partition"

    def _room(self, depth: int, out: int) -> int:
        """Return how many more parts may be handed out: results that wait to be folded take room, too."""
        if self._over or self._late:
            return 0
        waiting = len(self.values) if self.options.reduce else 0
        return max(0, min(depth - out, _MOST_AHEAD * depth - out - waiting))

    def _take(self, number: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            self._fail(number, Outcome(error=error, doing="the executor"))
            return
        outcome: Outcome = future.result().open() if self.sealed else future.result()
        self.names.add(outcome.names)
        if self.sealed:  # its warnings were shown, if at all, by the other process
            for note in outcome.receipt.notes:
                if note.startswith(LOST):
                    warnings.warn(note, DataLossWarning, stacklevel=5)
        if outcome.error is not None:
            self._fail(number, outcome)
            return
        self.values[number] = outcome.value
        self.receipts[number] = outcome.receipt
        self._fold()

    def _fail(self, number: int, outcome: Outcome) -> None:
        part, error = self.parts[number], outcome.error
        message = f"{outcome.doing} failed on offsets {part.start} to {part.end}: {error!r}"
        failure = MapError(message, topic=part.topic, partition=part.partition, offset=part.start)
        failure.__cause__ = error
        failure.results, failure.finished, failure.failed = [], [], [part]
        failure.errors = [] if error is None else [error]
        self.failures[number] = failure
        self.receipts[number] = self._unread(part, StopReason.ERROR)
        self.broken = self.broken or isinstance(error, BrokenExecutor)
        self._fold()

    def _unread(self, part: OffsetRange, stop: StopReason) -> Receipt:
        scan = self.task.reader.scan
        unread = PartitionReceipt(part.topic, part.partition, part.start, part.end, part.start, stop=stop)
        return Receipt((unread,), scan.fetch_options.isolation_level, scan.fetcher.name)

    def _fold(self) -> None:
        """Fold what has come, in order as far as nothing before it is missing."""
        reduce = self.options.reduce
        while reduce is not None and (self.values or self.fold_next in self.failures):
            number = self.fold_next if self._in_order else next(iter(self.values), -1)
            if number in self.values:
                value = self.values.pop(number)
                self.folded = reduce(self.folded, value) if self.any_folded else value
                self.any_folded = True
            elif number not in self.failures:
                return
            self.fold_next += 1

    def finished(self) -> list[int]:
        """Return the numbers of the parts whose results are here, in the order that was asked for."""
        return sorted(self.values) if self._in_order else list(self.values)

    def receipt(self) -> Receipt:
        """Return what was read, and what was not."""
        merged = Receipt.merge(self.receipts[number] for number in sorted(self.receipts)).coalesced()
        lost = (f"{LOST}{part}" for part in self.task.reader.scan.plan.lost)
        planned = self.task.reader.scan.plan.notes
        return replace(merged, notes=(*lost, *planned, *merged.notes, *self.notes))

    def look_at_topic(self) -> None:
        """See, once for all parts, whether the topic is still the one that was planned for.

        Raises
        ------
        MapError
            It is not; the results that there are may mix both.
        """
        try:
            self.notes.extend(self.task.reader.scan.look_at_topic())
        except DataLossError as error:
            raise self._with_results(MapError(str(error))) from error

    def failed(self) -> MapError:
        """Return all failures as one error, that of the first part, with the results that there are."""
        failures = [self.failures[number] for number in sorted(self.failures)]
        first, more = failures[0], len(failures) - 1
        also = f", and {more} more failed" if more else ""
        message = f"{first.args[0]}{also}; finished parts are in the error's results"
        error = MapError(message, topic=first.topic, partition=first.partition, offset=first.offset)
        error.__cause__ = first.__cause__
        return self._with_results(error)

    def _with_results(self, error: MapError) -> MapError:
        failures = [self.failures[number] for number in sorted(self.failures)]
        error.results = [self.folded] * self.any_folded + [self.values[number] for number in self.finished()]
        error.finished = [part for number, part in sorted(self.parts.items()) if self._is_done(number)]
        error.errors = [one for failure in failures for one in failure.errors]
        error.failed = [part for failure in failures for part in failure.failed]
        return error

    def _is_done(self, number: int) -> bool:
        return number in self.receipts and number not in self.failures


def _cancel(out: dict[Future[Any], int]) -> None:
    """Take back what has not begun; nobody waits for it any more."""
    for future in list(out):
        if future.cancel():
            del out[future]
