"""Threads that handle records, around one dispatcher and its lock."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from kafkalab.group.dispatch import Dispatcher
from kafkalab.group.record import Record
from kafkalab.group.stats import PartitionStats
from kafkalab.model import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping

    from confluent_kafka import Message

    from kafkalab.group.dispatch import Ordering, Part, Run
    from kafkalab.group.handler import Hooks
    from kafkalab.group.session import Session


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
        self._readers: set[object] = set()  # who goes through records, where there are no threads
        self._closed = False
        self.session: Session | None = None
        self.handled = 0

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
            self._work.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def records(self) -> Generator[Record]:
        """Yield records in the caller's thread: each is done when the next is asked for."""
        reader = object()
        try:
            self._readers.add(reader)
            while (run := self._take()) is not None:
                began, upto = time.perf_counter(), 0
                try:
                    for upto, message in enumerate(run.rest):  # noqa: B007 - it counts those done, wherever the caller leaves
                        yield Record((message,))
                    upto = len(run.messages)
                finally:
                    self._give_back(run, upto, began)
        finally:
            self._readers.discard(reader)
            if not self._readers:
                self._forget_runs()

    def _forget_runs(self) -> None:
        """Let nobody wait for what Ctrl-C has kept readers from giving back: it is not done, and handled again."""
        with self._lock:
            for run in list(self._dispatcher.runs):
                self._dispatcher.finish(run, 1.0)
            self._progress.notify_all()

    def _loop(self) -> None:
        while (run := self._take()) is not None:
            began = time.perf_counter()
            self._give_back(run, self._handle(run), began)

    def _handle(self, run: Run) -> int:
        """Call the handler with each record of a run; return how many of them are done."""
        call = self._call()
        for record in map(Record, zip(run.rest)):
            try:
                call(record)
            except BaseException as error:  # noqa: BLE001 - the user's handler may raise anything, SystemExit too
                if not self._failed(record, error):
                    self.stop()
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

    def _give_back(self, run: Run, upto: int, began: float) -> None:
        with self._lock:
            if self._hooks.automatic:
                run.mark(upto)
            self.handled += self._dispatcher.finish(run, time.perf_counter() - began)
            if run.lane.part.gone:
                self._work.notify_all()
            if 0 <= self._enough_room >= run.lane.part.load:
                self._room.notify()
            self._progress.notify_all()

    # Records in, and marks

    def add(self, batches: Iterable[list[Message]]) -> None:
        """Take records in; each batch is of one partition, in order."""
        with self._lock:
            lanes = sum(self._dispatcher.add(batch) for batch in batches)
            # Beside a handler that is done at once, more workers would only fight for the interpreter.
            self._work.notify(1 if self._dispatcher.is_fast else lanes)

    def mark(self, record: Record) -> None:
        """Mark a record, if its partition is still here."""
        message = record[0]
        place, offset = TopicPartition(str(message.topic()), message.partition() or 0), message.offset() or 0
        with self._lock:
            if (part := self._dispatcher.parts.get(place)) is not None:
                part.tracker.mark((offset,))
                if self._enough_room >= 0:
                    self._room.notify()

    def low_waters(self, parts: Collection[Part] | None = None) -> dict[TopicPartition, int]:
        """Return the offsets that may be committed, of all partitions or some; those with none are left out."""
        with self._lock:
            if self._hooks.automatic:
                for run in self._dispatcher.runs:
                    run.mark(run.done(running=True))
            wanted = self._dispatcher.parts.values() if parts is None else parts
            return {part.place: part.tracker.low_water for part in wanted if part.tracker.low_water >= 0}

    def wait_handled(self, records: int, timeout: float) -> bool:
        """Wait until so many records were handled; return whether they were."""
        with self._lock:
            self._progress.wait_for(lambda: self.handled >= records or self._closed, timeout)
            return self.handled >= records

    def is_worker(self) -> bool:
        """Whether this is called by a handler."""
        return threading.current_thread() in self._threads

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
                    uncommitted=part.tracker.unsettled,
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

    def assign(self, places: Iterable[TopicPartition]) -> None:
        """Take partitions on."""
        with self._lock:
            self._dispatcher.assign(places)

    def retire(self, places: Iterable[TopicPartition]) -> list[Part]:
        """Hand out no more of partitions."""
        with self._lock:
            return self._dispatcher.retire(places)

    def forget(self, parts: Iterable[Part]) -> None:
        """Let go of retired partitions."""
        with self._lock:
            self._dispatcher.forget(parts)

    def expect_replay(self) -> None:
        """After a rebalance, be ready for records that have come before."""
        with self._lock:
            for part in self._dispatcher.parts.values():
                part.replayed = True

    def stop(self) -> None:
        """Hand out nothing until :meth:`go_on`; workers end with the record they are at."""
        with self._lock:
            self._dispatcher.held = True
            self._dispatcher.recall()

    def go_on(self) -> None:
        """Hand out records again."""
        with self._lock:
            self._dispatcher.held = False
            self._work.notify_all()

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
