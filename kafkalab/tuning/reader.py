# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""A group's member without the group: assigned by hand, it reads a topic over and over, and counts how that goes."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, Message
from confluent_kafka import TopicPartition as KafkaPlace

from kafkalab.group.member import Member
from kafkalab.group.pool import Pool
from kafkalab.model import TopicPartition
from kafkalab.tuning.meter import Counts, read_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kafkalab.group.dispatch import Run
    from kafkalab.group.handler import Hooks

STATISTICS_MS = 500
_STALL_S = 0.05
_PROBE_S = 0.01
_DRAIN_S = 5.0


class TimedPool(Pool):
    """A pool that knows how long its workers were in the handler, and with records of what, and that can be resized."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._spent = 0.0
        self._begun: dict[int, float] = {}
        self._time_lock = threading.Lock()
        self._numbers: set[int] = set()
        self.first_at: float | None = None
        self.by_partition: Counter[int] = Counter()

    def start(self) -> None:
        """Start the threads."""
        self.resize(self._workers)

    def resize(self, workers: int) -> None:
        """Have more threads, or fewer: those that are too many end with what they have."""
        with self._lock:
            self._workers = workers
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            missing = set(range(workers)) - self._numbers
            self._numbers |= missing
        for number in sorted(missing):
            thread = threading.Thread(
                target=self._work_as, args=(number,), name=f"kafkalab-worker-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _work_as(self, number: int) -> None:
        while self._is_wanted(number) and (run := self._take()) is not None:
            began = time.perf_counter()
            self._give_back(run, self._handle(run), began)

    def _is_wanted(self, number: int) -> bool:
        with self._lock:
            if number < self._workers:
                return True
            self._numbers.discard(number)
            return False

    def _handle(self, run: Run) -> int:
        worker, began = threading.get_ident(), time.monotonic()
        with self._time_lock:
            self._begun[worker] = began
            self.first_at = self.first_at or began
        try:
            return super()._handle(run)
        finally:
            with self._time_lock:
                self._spent += time.monotonic() - self._begun.pop(worker)
                self.by_partition[run.lane.part.place.partition] += len(run.messages)

    @property
    def is_pausing(self) -> bool:
        """Whether a partition is paused, as too many of its records wait."""
        with self._lock:
            return any(part.paused for part in self._dispatcher.parts.values())

    def busy_s(self) -> float:
        """Return the time that workers were in the handler, all together."""
        with self._time_lock:
            now = time.monotonic()
            return self._spent + sum(now - began for began in self._begun.values())


class Probe:
    """A thread that asks for the interpreter a hundred times a second, and counts when it is made to wait.

    A thread that needs the interpreter while another runs Python gets it after the switch interval (5 ms).
    """

    def __init__(self) -> None:
        self.probes = 0
        self.contended = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafkalab-probe", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        limit = sys.getswitchinterval() / 2
        queued = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        queued_before = _queued_s(queued)
        while True:
            began = time.perf_counter()
            if self._stop.wait(_PROBE_S):
                return
            late = time.perf_counter() - began - _PROBE_S
            # Waiting for a core is not waiting for the interpreter.
            queued_now = _queued_s(queued)
            late -= queued_now - queued_before
            queued_before = queued_now
            self.probes += 1
            self.contended += late > limit


def _queued_s(path: Path) -> float:
    try:
        return int(path.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # only Linux tells
        return 0.0


class Reader(Member):
    """Reads partitions from their starts, hands them to a pool as a group's member does, and tells its counters.

    Parameters
    ----------
    options : mapping
        Of the client; statistics are added.
    starts : mapping of int to int
        Where to begin in each partition.
    pool, hooks, buffer_depth, stop, tell
        As in `Member`.
    replay : bool
        Whether to begin again when all partitions are read.
    report : callable
        Given the counters, twice a second.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        topic: str,
        starts: Mapping[int, int],
        pool: TimedPool,
        hooks: Hooks,
        *,
        replay: bool,
        buffer_depth: int | None,
        stop: threading.Event,
        tell: Callable[[Exception], None],
        report: Callable[[Counts], None],
    ) -> None:
        self._measured = pool
        self._starts = dict(starts)
        self._replay = replay
        self._report = report
        self._ended: set[int] = set()
        self._fed_in_pass = 0
        self._passes = 1
        self._throttled_ms = 0.0
        self._dry_s = self._broker_s = self._application_s = self._stalled_s = 0.0
        self._stalls = self._burst = self._burst_records = 0
        self._fed = 0
        self._probe = Probe()
        own = {
            "enable.partition.eof": True,
            "statistics.interval.ms": STATISTICS_MS,
            "stats_cb": self._on_statistics,
        }
        super().__init__(
            {**options, **own},
            [topic],
            pool,
            hooks,
            buffer_depth=buffer_depth,
            drain_timeout=_DRAIN_S,
            commit_interval=float("inf"),
            pin=None,
            stop=stop,
            tell=tell,
        )

    def run(self) -> None:
        """Read until told to stop; then let workers end the record at hand."""
        topic = self._topics[0]
        self._probe.start()
        try:
            self._measured.assign(TopicPartition(topic, partition) for partition in self._starts)
            self._client.assign([KafkaPlace(topic, partition, start) for partition, start in self._starts.items()])
            while not self._stop.is_set():
                self._turn()
        finally:
            self._measured.stop()
            self._measured.wait_idle(_DRAIN_S)
            self._probe.stop()
            self._client.close()
            self._measured.close(_DRAIN_S)
        if self._failure is not None:
            raise self._failure

    def counts(self, **seen: Any) -> Counts:
        """Return the counters as they are."""
        pool = self._measured
        return Counts(
            at=time.monotonic(),
            first_at=pool.first_at,
            handled=pool.handled,
            busy_s=pool.busy_s(),
            broker_s=self._broker_s,
            application_s=self._application_s,
            stalls=self._stalls,
            stalled_s=self._stalled_s,
            burst_records=self._burst_records,
            passes=self._passes,
            cpu_s=time.process_time(),
            memory_bytes=_resident_bytes(),
            probes=self._probe.probes,
            contended=self._probe.contended,
            throttled_ms=self._throttled_ms,
            waiting=self._fed - pool.handled,
            **seen,
        )

    def _turn(self) -> None:
        began = time.monotonic()
        room = self._room()
        self._application_s += time.monotonic() - began
        messages = self._wait_for(room)
        self._take_in(messages)
        if self._failure is not None:
            self._stop.set()
        elif self._replay and self._fed_in_pass and len(self._ended) == len(self._starts):
            self._begin_again()

    def _wait_for(self, room: int) -> list[Message]:
        began, cpu = time.monotonic(), time.thread_time()
        messages = self._messages(room)
        if len(messages) < room:  # or nothing was waited for: there was enough
            waited = max(time.monotonic() - began - (time.thread_time() - cpu), 0.0)
            if self._measured.is_pausing:  # nothing comes because nothing was asked for
                self._application_s += waited
            else:
                self._broker_s += waited
                self._dry_s += waited
        if messages:
            if self._dry_s > _STALL_S:
                self._stalls += 1
                self._stalled_s += self._dry_s
                self._burst_records += self._burst
                self._burst = 0
            self._dry_s = 0.0
        return messages

    def _take_in(self, messages: list[Message]) -> None:
        events = sum(message.error() is not None for message in messages)
        records = len(messages) - events
        if records and self._ended:
            self._ended -= {message.partition() for message in messages if message.error() is None}
        self._fed += records
        self._fed_in_pass += records
        self._burst += records
        super()._take_in(messages)

    def _on_event(self, event: Message) -> None:
        error = event.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            self._ended.add(event.partition() or 0)
        else:
            super()._on_event(event)

    def _begin_again(self) -> None:
        self._ended.clear()
        self._fed_in_pass = 0
        self._passes += 1
        for partition, start in self._starts.items():
            self._client.seek(KafkaPlace(self._topics[0], partition, start))

    def _on_statistics(self, text: str) -> None:
        seen = read_statistics(json.loads(text), self._topics[0])
        self._throttled_ms += seen.pop("throttled_ms")  # of the time since the last ones, and the rest is since ever
        handled = self._measured.by_partition
        parts = {number: replace(part, records=handled[number]) for number, part in seen.pop("partitions").items()}
        self._report(self.counts(partitions=parts, **seen))


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        import resource  # the most there ever was: no other system tells what there is

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    import os

    return pages * os.sysconf("SC_PAGE_SIZE")
