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

from kafkalab.group.heap import set_aside
from kafkalab.group.member import Member
from kafkalab.group.pool import Pool
from kafkalab.model import TopicPartition
from kafkalab.settings.table import KNOBS
from kafkalab.tuning.meter import Counts, read_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kafkalab.group.dispatch import Run
    from kafkalab.group.handler import Hooks

STATISTICS_MS = 500
_STALL_S = 0.05
_SHORT_WAIT_S = 0.002
_PROBE_S = 0.01
_LATE_S = 0.00025
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
        self.last_at = 0.0
        self.full_s = 0.0
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
                self.last_at = time.monotonic()
                self._spent += self.last_at - self._begun.pop(worker)
                self.by_partition[run.lane.part.place.partition] += len(run.messages)

    def wait_for_room(self, load: int, timeout: float) -> int:
        """Wait as any pool does; count it where there was no room: getting hold of the lock is no wait for workers."""
        began = time.monotonic()
        with self._lock:
            full = self._dispatcher.most_load > load
        found = super().wait_for_room(load, timeout)
        self.full_s += (time.monotonic() - began) * full
        return found

    @property
    def is_pausing(self) -> bool:
        """Whether a partition is paused, as too many of its records wait."""
        with self._lock:
            return any(part.paused for part in self._dispatcher.parts.values())

    def next_offsets(self) -> dict[int, int]:
        """Return what each partition is to go on with; -1 before its first record."""
        with self._lock:
            return {place.partition: part.tracker.next_offset for place, part in self._dispatcher.parts.items()}

    def busy_s(self) -> float:
        """Return the time that workers were in the handler, all together."""
        with self._time_lock:
            now = time.monotonic()
            return self._spent + sum(now - began for began in self._begun.values())


class Probe:
    """A thread that asks for the interpreter a hundred times a second, and counts when it is made to wait.

    A thread that needs the interpreter while another runs Python gets it within the switch interval (5 ms), or later.
    To wait for a core takes as long, and is not counted: the system tells how long that was, to within 0.1 ms or so.
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
        queued = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        limit = _LATE_S if queued.exists() else sys.getswitchinterval() / 2
        queued_before = _queued_s(queued)
        while True:
            began = time.perf_counter()
            if self._stop.wait(_PROBE_S):
                return
            late = time.perf_counter() - began - _PROBE_S
            queued_now = _queued_s(queued)
            late -= queued_now - queued_before
            queued_before = queued_now
            self.probes += 1
            self.contended += late > limit


def _seconds(options: Mapping[str, Any], name: str) -> float:
    knob = KNOBS[name]
    return float(options.get(knob.librdkafka.name, knob.default)) / 1000


def _core_wait_s() -> float:
    """Return for how long the threads of this process have waited for a core, all together."""
    return sum(map(_queued_s, Path("/proc/self/task").glob("*/schedstat")))


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
        self._looks_through = False
        self._fed_in_pass = 0
        self._passes = 1
        self._throttled_ms = self._throttle_left_ms = 0.0
        self._throttle_seen = time.monotonic()
        self._nearest_ms = float("inf")
        self._dry_s = self._broker_s = self._paused_s = self._stalled_s = self._between_passes_s = 0.0
        self._stalls = self._burst = self._burst_records = 0
        self._fed = 0
        self._pass_wait_s = 0.0
        self._longest_pass_wait_s = _seconds(options, "fetch_max_wait_ms") + _SHORT_WAIT_S
        self._stall_s = max(_seconds(options, "fetch_queue_backoff_ms") / 4, _STALL_S)
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
            logs=None,
            stop=stop,
            tell=tell,
        )

    def run(self) -> None:
        """Read until told to stop; then let workers end the record at hand."""
        topic = self._topics[0]
        self._probe.start()
        try:
            self._measured.assign({TopicPartition(topic, number): start for number, start in self._starts.items()})
            self._client.assign([KafkaPlace(topic, partition, start) for partition, start in self._starts.items()])
            with set_aside():
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
            application_s=pool.full_s + self._paused_s,
            between_passes_s=self._between_passes_s,
            stalls=self._stalls,
            stalled_s=self._stalled_s,
            burst_records=self._burst_records,
            passes=self._passes,
            cpu_s=time.process_time(),
            memory_bytes=_resident_bytes(),
            probes=self._probe.probes,
            contended=self._probe.contended,
            throttled_ms=self._throttled_ms,
            core_wait_s=_core_wait_s(),
            waiting=self._fed - pool.handled,
            **seen,
        )

    def _turn(self) -> None:
        self._take_in(self._wait_for(self._room()))
        if self._failure is not None:
            self._stop.set()
        elif self._looks_through and self._replay and self._fed_in_pass and self._is_through():
            self._begin_again()

    def _wait_for(self, room: int) -> list[Message]:
        began, cpu = time.monotonic(), time.thread_time()
        messages = self._messages(room)
        self._looks_through = False
        if len(messages) == room:  # there was enough, and nothing was waited for
            return messages
        waited = max(time.monotonic() - began - (time.thread_time() - cpu), 0.0)
        self._looks_through = waited >= _SHORT_WAIT_S
        if self._measured.is_pausing:  # nothing comes because nothing was asked for
            self._paused_s += waited
        else:
            before_more = self._before_next_pass(began, waited)
            self._between_passes_s += before_more
            self._broker_s += waited - before_more
            self._dry_s += waited - before_more
        return messages

    def _before_next_pass(self, began: float, waited: float) -> float:
        """Return how much of a wait was for nothing but the topic to be read again.

        A broker takes `fetch_max_wait_ms` to say that there is no more, while the workers are done.
        """
        left = self._pass_wait_s + self._longest_pass_wait_s - self._between_passes_s
        if not self._replay or not self._looks_through or left <= 0 or self._measured.handled < self._fed:
            return 0.0
        if not (self._is_through() if self._fed_in_pass else self._passes > 1):
            return 0.0
        return max(min(waited, left, time.monotonic() - max(began, self._measured.last_at)), 0.0)

    def _is_through(self) -> bool:
        """Whether all partitions are read to their ends; the client tells of that only when the broker answers."""
        topic = self._topics[0]
        places = {number: KafkaPlace(topic, number) for number in self._starts.keys() - self._ended}
        ends = {number: self._client.get_watermark_offsets(place, cached=True) for number, place in places.items()}
        nexts = self._measured.next_offsets()
        return all(0 <= end <= max(nexts[number], self._starts[number]) for number, (_, end) in ends.items())

    def _take_in(self, messages: list[Message]) -> None:
        events = sum(message.error() is not None for message in messages)
        records = len(messages) - events
        if records:
            self._note_stall()
        if records and self._ended:
            self._ended -= {message.partition() for message in messages if message.error() is None}
        self._fed += records
        self._fed_in_pass += records
        self._burst += records
        super()._take_in(messages)

    def _note_stall(self) -> None:
        if self._dry_s > self._stall_s:
            self._stalls += 1
            self._stalled_s += self._dry_s
            self._burst_records += self._burst
            self._burst = 0
        self._dry_s = 0.0

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
        self._pass_wait_s = self._between_passes_s
        self._measured.renew({TopicPartition(self._topics[0], number): start for number, start in self._starts.items()})
        for partition, start in self._starts.items():
            self._client.seek(KafkaPlace(self._topics[0], partition, start))

    def _on_statistics(self, text: str) -> None:
        seen = read_statistics(json.loads(text), self._topics[0])
        # These two are of the time since the last ones, and the rest is since ever.
        self._note_throttle(seen.pop("throttled_ms"))
        self._nearest_ms = min(self._nearest_ms, seen["nearest_ms"] or self._nearest_ms)
        seen["nearest_ms"] = self._nearest_ms if self._nearest_ms < float("inf") else 0.0
        handled = self._measured.by_partition
        parts = {number: replace(part, records=handled[number]) for number, part in seen.pop("partitions").items()}
        self._report(self.counts(partitions=parts, **seen))

    def _note_throttle(self, told_ms: float) -> None:
        """Count a wait as it passes: it is told of when it begins, and can be longer than a measurement."""
        now = time.monotonic()
        self._throttle_left_ms += told_ms
        passed = min((now - self._throttle_seen) * 1000, self._throttle_left_ms)
        self._throttle_seen = now
        self._throttled_ms += passed
        self._throttle_left_ms -= passed


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        import resource  # the most there ever was: no other system tells what there is

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    import os

    return pages * os.sysconf("SC_PAGE_SIZE")
