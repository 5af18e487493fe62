"""Threads that handle records, around one dispatcher and its lock."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from kafkalab.group.dispatch import Dispatcher
from kafkalab.group.record import Record
from kafkalab.group.stats import Meter, PartitionStats

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping

    from confluent_kafka import Message

    from kafkalab.group.dispatch import Ordering, Part, Run
    from kafkalab.group.handler import Hooks
    from kafkalab.group.session import Session
    from kafkalab.model import TopicPartition


class _Reader:
    """Somebody who goes through records, in a thread of their own; what they wait with keeps no lock on Ctrl-C."""

    __slots__ = ("began", "done", "run", "thread", "waits", "wake")

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.run: Run | None = None
        self.done = 0
        """How many records of the run are behind them."""
        self.began = 0.0
        self.waits = False
        self.wake: SimpleQueue[None] = SimpleQueue()

    def wait(self) -> None:
        with contextlib.suppress(Empty):
            self.wake.get(timeout=_WAIT_S)


class Pool:
    """Workers that take runs of records, and what is known of them.

    Parameters
    ----------
    ordering : {"partition", "key", "unordered"}
        As in `Dispatcher`.
    workers : int
        How many threads; without a handler there are none, and :meth:`records` is for the caller's.
    hooks : Hooks
        The handler.
    failed : callable
        Told of each record whose handler failed; returns whether to go on, the record being done.
    """

    def __init__(
        self, ordering: Ordering, workers: int, hooks: Hooks, failed: Callable[[Record, BaseException], bool]
    ) -> None:
        self._dispatcher = Dispatcher(ordering, 2 * workers)
        self._workers = workers if hooks.process is not None else 0
        self._hooks = hooks
        self._failed = failed
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._enough_room = -1
        self._progress = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._readers: set[_Reader] = set()  # where there are no threads
        self._waiters: dict[SimpleQueue[None], int] = {}  # who waits until how many records are handled
        self._closed = False
        self._ended = False
        self.session: Session | None = None
        self.handled = 0
        self.meter = Meter()

    # Workers

    def start(self) -> None:
        """Start the threads."""
        self._threads = [
            threading.Thread(target=self._loop, name=f"kafkalab-worker-{number}", daemon=True)
            for number in range(self._workers)
        ]
        for thread in self._threads:
            thread.start()

    def close(self, timeout: float) -> None:
        """Let the threads end; one that hangs in a handler is left behind."""
        with self._lock:
            self._closed = True
            self._wake()
            self._room.notify_all()
            self._progressed()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def records(self) -> Generator[Record]:
        """Yield records in the caller's thread: each is done when the next is asked for."""
        reader = _Reader()
        try:
            self._readers.add(reader)
            # A generator of its own: an interrupt at the end of a loop can leave one without its `finally`.
            yield from self._read(reader)
        finally:
            self._leave(reader)

    def _read(self, reader: _Reader) -> Generator[Record]:
        while (run := self._take_for(reader)) is not None:
            for reader.done, record in enumerate(map(Record, zip(run.rest, itertools.repeat(run.log.number)))):
                yield record
            reader.done = len(run.messages)
            self._give_back(run, reader.done, reader.began, reader)

    def _leave(self, reader: _Reader) -> None:
        """Take back the record at hand and what comes after it; and what Ctrl-C has kept others from giving back."""
        with self._lock:
            self._readers.discard(reader)
            kept = {other.run for other in self._readers}
            for run in self._dispatcher.runs - kept:
                done = reader.done if run is reader.run else 0
                if self._hooks.automatic:
                    run.mark(done)
                self._dispatcher.leave(run, done)
                self.handled += self._dispatcher.finish(run, time.perf_counter() - reader.began)
            self._wake()
            self._progressed()

    def _take_for(self, reader: _Reader) -> Run | None:
        while True:
            with self._lock:
                if self._closed:
                    return None
                reader.done, reader.began = 0, time.perf_counter()
                reader.run = self._dispatcher.take()
                reader.waits = reader.run is None
                if reader.run is not None:
                    return reader.run
            reader.wait()

    def _loop(self) -> None:
        while (run := self._take()) is not None:
            began = time.perf_counter()
            self._give_back(run, self._handle(run), began)

    def _handle(self, run: Run) -> int:
        """Call the handler with each record of a run; return how many of them are done."""
        call = self._call()
        for record in map(Record, zip(run.rest, itertools.repeat(run.log.number))):
            try:
                call(record)
            except BaseException as error:  # noqa: BLE001 - the user's handler may raise anything, SystemExit too
                if not self._failed(record, error):
                    self.end()
                    return len(run.messages) - 1
                if not self._hooks.automatic:
                    self.mark(record)
        return len(run.messages)

    def _call(self) -> Callable[[Record], Any]:
        process, session = self._hooks.process, self.session
        assert process is not None  # noqa: S101 - there are no workers without a handler
        return process if self._hooks.automatic else lambda record: process(record, session)

    def _take(self) -> Run | None:
        """Wait for a run; None when there will be none."""
        with self._lock:
            while not self._closed:
                if (run := self._dispatcher.take()) is not None:
                    if self._dispatcher.ready and not self._dispatcher.is_fast:
                        self._work.notify()
                    return run
                self._work.wait(_WAIT_S)
            return None

    def _give_back(self, run: Run, upto: int, began: float, reader: _Reader | None = None) -> None:
        with self._lock:
            if reader is not None:
                reader.run = None
            if self._hooks.automatic:
                run.mark(upto)
            self.handled += self._dispatcher.finish(run, time.perf_counter() - began)
            if run.lane.part.gone:
                self._wake()
            if 0 <= self._enough_room >= run.lane.part.load:
                self._room.notify()
            self._progressed()

    def _wake(self, workers: int | None = None) -> None:
        """Have workers look for records, and readers that wait for some."""
        if workers is None:
            self._work.notify_all()
        else:
            self._work.notify(workers)
        for reader in self._readers:
            if reader.waits:
                reader.waits = False
                reader.wake.put(None)

    def _progressed(self) -> None:
        """Tell those who wait for records to be handled."""
        self._progress.notify_all()
        for waiter, records in list(self._waiters.items()):
            if self._closed or self.handled >= records:
                del self._waiters[waiter]
                waiter.put(None)

    # Records in, and marks

    def add(self, batches: Iterable[list[Message]]) -> None:
        """Take records in; each batch is of one partition, in order."""
        with self._lock:
            lanes = sum(self._dispatcher.add(batch) for batch in batches)
            # Beside a handler that is done at once, more workers would only fight for the interpreter.
            self._wake(1 if self._dispatcher.is_fast else lanes)

    def mark(self, record: Record) -> None:
        """Mark a record, if the log that it is of is still here."""
        message, number = record
        with self._lock:
            if (log := self._dispatcher.log(number)) is not None:
                log.tracker.mark((message.offset() or 0,))
                if self._enough_room >= 0:
                    self._room.notify()

    def advance(self, place: TopicPartition, offset: int) -> None:
        """Note that the log of a partition holds no more records below an offset than have come in."""
        with self._lock:
            if (part := self._dispatcher.parts.get(place)) is not None and not part.gone:
                part.tracker.advance(offset)

    def low_waters(self, parts: Collection[Part] | None = None) -> dict[TopicPartition, int]:
        """Return the offsets that may be committed, of all partitions or some; those with none are left out."""
        with self._lock:
            if self._hooks.automatic:
                for run in self._dispatcher.runs:
                    run.mark(run.done(running=True))
            wanted = self._dispatcher.parts.values() if parts is None else parts
            return {part.place: part.tracker.low_water for part in wanted if part.tracker.low_water >= 0}

    def position(self, place: TopicPartition) -> int:
        """Return the offset that comes next in a partition, or -1."""
        with self._lock:
            part = self._dispatcher.parts.get(place)
            return -1 if part is None else part.tracker.next_offset

    def wait_handled(self, records: int, timeout: float) -> bool:
        """Wait until so many records were handled; return whether they were."""
        waiter: SimpleQueue[None] = SimpleQueue()  # Ctrl-C comes here, and leaves the lock of a condition locked
        with self._lock:
            if self._closed or self.handled >= records:
                return self.handled >= records
            self._waiters[waiter] = records
        try:
            with contextlib.suppress(Empty):
                waiter.get(timeout=max(timeout, 0))
        finally:
            self._waiters.pop(waiter, None)
        return self.handled >= records

    def is_busy_here(self) -> bool:
        """Whether this is called by a handler, or by somebody who goes through records."""
        thread = threading.current_thread()
        return thread in self._threads or any(reader.thread is thread for reader in list(self._readers))

    def stats(
        self, committed: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, PartitionStats]:
        """Tell how each partition is doing."""
        lows = self.low_waters()
        with self._lock:
            return {
                place: PartitionStats(
                    position=None if part.tracker.next_offset < 0 else part.tracker.next_offset,
                    low_water=lows.get(place),
                    committed_offset=committed.get(place),
                    end_offset=ends.get(place),
                    waiting=part.waiting,
                    in_flight=sum(len(run.messages) - run.done(running=True) for run in part.runs),
                    uncommitted=part.load,
                    paused=part.paused,
                )
                for place, part in self._dispatcher.parts.items()
            }

    # Partitions

    @property
    def places(self) -> tuple[TopicPartition, ...]:
        """The partitions that this member has."""
        with self._lock:
            return tuple(self._dispatcher.parts)

    def assign(self, starts: Mapping[TopicPartition, int], held: Collection[TopicPartition] = ()) -> None:
        """Take partitions on, each from an offset, or from -1 where that is not known; hold some back."""
        with self._lock:
            self._dispatcher.assign(starts, held)

    def renew(self, starts: Mapping[TopicPartition, int], *, held: bool = False) -> None:
        """Go on elsewhere in partitions, as in another log; hold them back if so told."""
        with self._lock:
            self._dispatcher.renew(starts, held=held)
            self._wake()

    def release(self, places: Iterable[TopicPartition]) -> None:
        """Hold partitions back no more."""
        with self._lock:
            self._dispatcher.release(places)
            self._wake()

    def retire(self, places: Iterable[TopicPartition]) -> list[Part]:
        """Hand out no more of partitions."""
        with self._lock:
            return self._dispatcher.retire(places)

    def forget(self, parts: Iterable[Part]) -> None:
        """Let go of retired partitions."""
        with self._lock:
            self._dispatcher.forget(parts)

    def stop(self) -> None:
        """Hand out nothing until :meth:`go_on`; workers end with the record they are at."""
        with self._lock:
            self._dispatcher.held = True
            self._dispatcher.recall()

    def end(self) -> None:
        """Hand out nothing any more, whatever is told later."""
        self._ended = True  # before the lock: whoever goes on meanwhile sees it
        self.stop()

    def go_on(self) -> None:
        """Hand out records again, unless that has ended."""
        with self._lock:
            if not self._ended:
                self._dispatcher.held = False
                self._wake()

    def wait_idle(self, timeout: float, parts: Collection[Part] | None = None) -> bool:
        """Wait until no worker is at any of these partitions, or at any at all; return whether that is so."""
        runs = [part.runs for part in parts] if parts is not None else [self._dispatcher.runs]
        with self._lock:
            return self._progress.wait_for(lambda: not any(runs), timeout)

    # Back-pressure

    def wait_for_room(self, load: int, timeout: float) -> int:
        """Wait until no partition but paused ones has a greater load than that; return the greatest."""
        with self._lock:
            self._enough_room = load
            self._room.wait_for(lambda: self._closed or self._dispatcher.most_load <= load, timeout)
            self._enough_room = -1
            return self._dispatcher.most_load

    def pause(self, load: int) -> list[TopicPartition]:
        """Note partitions as paused that have a greater load than that; return them."""
        return self._turn(True, lambda part: part.load > load)  # noqa: FBT003 - on, or off

    def resume(self, load: int) -> list[TopicPartition]:
        """Note partitions as not paused that have no greater load than that; return them."""
        return self._turn(False, lambda part: part.load <= load)  # noqa: FBT003 - on, or off

    @property
    def waits_for_marks(self) -> bool:
        """Whether all is handed out, and partitions are paused because their records are not marked."""
        with self._lock:
            return self._dispatcher.is_idle and any(part.paused for part in self._dispatcher.parts.values())

    def _turn(self, paused: bool, which: Callable[[Part], bool]) -> list[TopicPartition]:  # noqa: FBT001 - private
        with self._lock:
            parts = [part for part in self._dispatcher.parts.values() if part.paused != paused and which(part)]
            for part in parts:
                part.paused = paused
            return [part.place for part in parts]


_WAIT_S = 0.2  # so that Ctrl-C reaches whoever goes through records
