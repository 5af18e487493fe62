"""A consumer that runs beside the notebook while its settings change: what the panel shows, without the panel."""

from __future__ import annotations

import importlib
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import pandas as pd

from kafkalab.errors import ArgumentError
from kafkalab.tuning.children import Children
from kafkalab.tuning.measure import Bench, check_seconds
from kafkalab.tuning.measurement import Measurement
from kafkalab.tuning.meter import between, short
from kafkalab.tuning.search import OTHER_KNOBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.settings import ConsumerSettings
    from kafkalab.tuning.advise import Advice
    from kafkalab.tuning.measurement import Setup
    from kafkalab.tuning.meter import Counts, Sample

State: TypeAlias = Literal["idle", "connecting", "warming up", "running", "settling", "caught up", "stopping", "failed"]

_SETTLE_S = 3.0
_TOGETHER_S = 0.3  # changes that come faster than that make one restart
_SLICE_S = 0.2  # so that Ctrl-C comes through
_MOST_COUNTS = 240  # two minutes, of which a row of the history is made
_MOST_SAMPLES = 7_200  # an hour
_MOST_PHASES = 1_000
_CONNECT_S = 30.0
_CAUGHT_UP_SHARE = 0.5
_CAUGHT_UP_S = 0.5


@dataclass(slots=True)
class Phase:
    """A time without a change: what was set, and the counters since it has settled."""

    setup: Setup
    change: str
    began: float
    restarted: bool
    counts: deque[Counts] = field(default_factory=lambda: deque(maxlen=_MOST_COUNTS))
    result: Measurement | None = None
    """Set when it is over, in place of the counters."""

    def measurement(self) -> Measurement:
        """Return what it has come to."""
        if self.result is not None:
            return self.result
        counts = list(self.counts)
        return Measurement.of(self.setup, counts, counts[-1].handled if counts else 0)

    def close(self) -> None:
        """Keep the result, and let the counters go."""
        self.result = self.measurement()
        self.counts.clear()


class TuningSession:
    """A consumer in a process of its own, whose settings can be changed while it runs: `Lab.tune` makes one.

    A change of ``workers`` is made as it runs, unless they are processes or keep order by key; any other restarts the
    consumer, and changes that come close together make one restart. Nothing is committed and no group joined.

    Parameters
    ----------
    bench : Bench
        What to measure.
    warm_up : float
        Seconds after a start that do not count.
    deadline : float
        Seconds after which a run ends by itself; its process keeps to that too.

    Attributes
    ----------
    error : Exception or None
        What ended the last run, should it have failed.
    """

    def __init__(self, bench: Bench, *, warm_up: float = 2.0, deadline: float = 3600.0) -> None:
        self._bench = bench
        self._wanted: Bench | None = None
        self._wanted_at = 0.0
        self._warm_up = warm_up
        self._deadline = deadline
        self._changed = threading.Condition(threading.RLock())
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: State = "idle"
        self._phases: deque[Phase] = deque(maxlen=_MOST_PHASES)
        self._samples: deque[Sample] = deque(maxlen=_MOST_SAMPLES)
        self._last: Counts | None = None
        self._zero: float | None = None
        self._watchers: list[Callable[[], object]] = []
        self.error: Exception | None = None

    # Its life

    def start(self) -> None:
        """Begin, in the background; does nothing while it runs."""
        with self._changed:
            if self.running:
                return
            self._stop = threading.Event()
            self.error = None
            self._bench, self._wanted = self._wanted or self._bench, None
            self._turn_to("connecting")
            self._thread = threading.Thread(target=self._work, name="kafkalab-tuning", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the consumer and its process, and wait for that."""
        with self._changed:
            thread = self._thread
            if thread is None or not thread.is_alive():
                return
            self._turn_to("stopping")
            self._stop.set()
        while thread.is_alive() and thread is not threading.current_thread():
            thread.join(_SLICE_S)

    def run(self, seconds: float) -> pd.DataFrame:
        """Run for that long in this cell, then stop; Ctrl-C, or the kernel's Interrupt, ends it early.

        Returns
        -------
        pandas.DataFrame
            The history.

        Raises
        ------
        KafkalabError
            What ended it, should it have failed.
        """
        check_seconds(seconds=seconds)
        self.start()
        end = time.monotonic() + seconds
        try:
            with self._changed:
                while self.running and (left := end - time.monotonic()) > 0:
                    self._changed.wait(min(left, _SLICE_S))
        finally:
            self.stop()
        if self.error is not None:
            raise self.error
        return self.history

    def set(self, **changes: Any) -> None:
        """Change settings by their names in `ConsumerSettings`, or ``workers``, ``worker_kind``, ``ordering``.

        Raises
        ------
        ConfigError, ArgumentError
            A setting cannot be, or contradicts another; nothing is changed.
        """
        others = {name: value for name, value in changes.items() if name in OTHER_KNOBS}
        settings = {name: value for name, value in changes.items() if name not in OTHER_KNOBS}
        with self._changed:
            self._want((self._wanted or self._bench).with_(settings, **others))

    def use(self, settings: ConsumerSettings) -> None:
        """Take other settings as a whole, such as a preset."""
        with self._changed:
            bench = self._wanted or self._bench
            self._want(replace(bench, setup=replace(bench.setup, settings=settings)))

    def _want(self, bench: Bench) -> None:
        self._wanted, self._wanted_at = bench, time.monotonic()
        if not self.running:
            self._bench, self._wanted = bench, None
        self._changed.notify_all()

    def subscribe(self, watcher: Callable[[], object]) -> Callable[[], None]:
        """Have a function called, in the session's thread, when there is something new; return what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What it shows

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._state

    @property
    def setup(self) -> Setup:
        """What is set, or about to be."""
        return (self._wanted or self._bench).setup

    @property
    def settings(self) -> ConsumerSettings:
        """The client's settings, for `ConsumerGroup`, or in another client's names."""
        return self.setup.settings

    @property
    def measurement(self) -> Measurement:
        """What has been measured since the last change.

        Raises
        ------
        ArgumentError
            It was never started.
        """
        with self._changed:
            if not self._phases:
                raise ArgumentError("nothing was measured: call start() or run(seconds)")
            return self._phases[-1].measurement()

    @property
    def advice(self) -> Advice | None:
        """What holds the consumer back, or None as long as that is not known."""
        with self._changed:
            found = self._phases[-1].measurement() if self._phases else None
        return found.advice if found is not None and found.samples else None

    @property
    def history(self) -> pd.DataFrame:
        """A row for each time without a change, oldest first.

        Returns
        -------
        pandas.DataFrame
            ``change``, ``records_rate`` (the median of up to two minutes), ``low`` and ``high`` (its interval),
            ``bytes_rate``, ``cpu``, ``queue_share``, ``seconds`` measured, ``bottleneck``, and ``against_first`` (times
            as fast).
        """
        with self._changed:
            found = [(phase.change, phase.measurement()) for phase in self._phases]
        rows = [_row(change, each) for change, each in found]
        frame = pd.DataFrame(rows, columns=_COLUMNS, index=pd.RangeIndex(1, len(rows) + 1, name="#"))
        first = frame["records_rate"].iloc[0] if len(frame) else 0.0
        frame["against_first"] = frame["records_rate"] / first if first else float("nan")
        return frame

    @property
    def series(self) -> pd.DataFrame:
        """The samples of the last hour, for a plot, by seconds since the first start; the last one is the newest."""
        with self._changed:
            samples, setup = list(self._samples), self.setup
        names = ("at", "records_rate", "bytes_rate", "queued", "queued_bytes", "waiting", "lag", "broker_share")
        frame = pd.DataFrame([[getattr(each, name) for name in names] for each in samples], columns=list(names))
        frame = frame.astype("float64")
        frame["queue_share"] = [_queue_share(each, setup.settings) for each in samples]
        frame["queue_share"] = frame["queue_share"].astype("float64")
        return frame.set_index("at")

    @property
    def marks(self) -> pd.DataFrame:
        """Where something was changed, for a plot: ``at`` (as in `series`), ``change``, ``restarted``."""
        with self._changed:
            zero = self._zero or 0.0
            rows = [(phase.began - zero, phase.change, phase.restarted) for phase in self._phases]
        return pd.DataFrame(rows, columns=["at", "change", "restarted"])

    @property
    def figure(self) -> Any:
        """The last minute as a figure; `series` and `marks` have its numbers."""
        # By name, since the layer of figures is above this one.
        return importlib.import_module("kafkalab.plot").throughput(self)

    def __repr__(self) -> str:
        setup, rate = self.setup, ""
        with self._changed:
            found = self._phases[-1].measurement() if self._phases else None
        if found is not None and found.samples:
            rate = f" · {found.records_rate} records/s"
        failed = f": {self.error}" if self.error is not None else ""
        lag = short(self._samples[-1].lag) if self._samples else "unknown"
        where = f"{setup.topic} · {setup.partitions} partitions · lag {lag} · process {setup.process}"
        return f"{where} · {self.state}{failed}\n{setup.workers} workers, {setup.settings!r}{rate}"

    # Its thread

    def _work(self) -> None:
        change = "start"
        try:
            while not self._stop.is_set() and change:
                change = self._run_once(change)
        except Exception as error:  # noqa: BLE001 - whoever looks at the session gets it
            self.error = error
        with self._changed:
            if self._phases:
                self._phases[-1].close()
            self._last = None
            self._turn_to("failed" if self.error is not None else "idle")

    def _run_once(self, change: str) -> str:
        """Run one consumer, until it is stopped, has ended, or has to be another; return what that changes."""
        bench, self._last = self._bench, None
        limit = self._deadline
        self._begin(change, restarted=True)
        self._turn_to("connecting")
        with Children(bench.jobs(limit)) as children:
            for counts in children.counts(limit + _CONNECT_S):
                if self._stop.is_set():
                    return ""
                if counts is not None:
                    self._note(counts)
                if (wanted := self._due()) is None:
                    continue
                change = _difference(self._bench.setup, wanted.setup)
                live = _is_live(self._bench.setup, wanted.setup)
                self._bench = wanted
                if not live:
                    return change
                children.set_workers(wanted.setup.workers)
                self._begin(change, restarted=False)
        return ""

    def _due(self) -> Bench | None:
        """Take what is wanted, once it has been so for a moment."""
        with self._changed:
            if self._wanted is None or time.monotonic() < self._wanted_at + _TOGETHER_S:
                return None
            wanted, self._wanted = self._wanted, None
            return wanted if wanted.setup != self._bench.setup else None

    def _begin(self, change: str, *, restarted: bool) -> None:
        with self._changed:
            if self._phases:
                self._phases[-1].close()
            self._phases.append(Phase(self._bench.setup, change, time.monotonic(), restarted))

    def _note(self, counts: Counts) -> None:
        with self._changed:
            if counts.first_at is None:
                empty = counts.partitions and not any(part.lag for part in counts.partitions.values())
                self._turn_to("stopping" if self._stop.is_set() else "caught up" if empty else "connecting")
            else:
                self._zero = self._zero or counts.first_at
                phase = self._phases[-1]
                found = between(self._last, counts) if self._last is not None else None
                self._last = counts
                if found is not None:
                    self._samples.append(replace(found, at=counts.at - self._zero))
                since = max(phase.began, counts.first_at)
                wait = self._warm_up if phase.restarted else _SETTLE_S
                if counts.at >= since + wait:
                    phase.counts.append(counts)
                self._turn_to(self._state_of(phase, found, early=counts.at < since + wait))

    def _state_of(self, phase: Phase, found: Sample | None, *, early: bool) -> State:
        if self._stop.is_set():
            return "stopping"
        if early:
            return "warming up" if phase.change == "start" else "settling"
        if found is None or phase.setup.replay or found.broker_share < _CAUGHT_UP_SHARE:
            return "running"
        return "caught up" if found.lag <= found.records_rate * _CAUGHT_UP_S else "running"

    def _turn_to(self, state: State) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher()


_COLUMNS = [
    "change",
    "records_rate",
    "low",
    "high",
    "bytes_rate",
    "cpu",
    "queue_share",
    "seconds",
    "bottleneck",
]


def _row(change: str, found: Measurement) -> tuple[Any, ...]:
    rate, settings = found.records_rate, found.setup.settings
    shares = [_queue_share(sample, settings) for sample in found.samples]
    return (
        change,
        rate.median if found.samples else float("nan"),
        rate.low if found.samples else float("nan"),
        rate.high if found.samples else float("nan"),
        found.average("bytes_rate"),
        found.cpu,
        sum(shares) / len(shares) if shares else 0.0,
        found.seconds,
        found.advice.bottleneck if found.samples else "",
    )


def _is_live(before: Setup, after: Setup) -> bool:
    """Return whether a consumer that runs can become another one: only threads come and go, and no key moves."""
    moves = after.worker_kind == "process" or after.ordering == "key"
    return not moves and replace(after, workers=before.workers) == before


def _queue_share(sample: Sample, settings: ConsumerSettings) -> float:
    """Return how full the client's queue is, by the limit that is nearer."""
    by_count = sample.queued / settings.queued_min_messages
    return min(max(by_count, sample.queued_bytes / (settings.queued_max_messages_kbytes * 1024)), 1.0)


def _difference(before: Setup, after: Setup) -> str:
    old, new = before.settings.values(), after.settings.values()
    pairs = [(name, old[name], new[name]) for name in new if old[name] != new[name]]
    pairs += [
        (name, getattr(before, name), getattr(after, name))
        for name in OTHER_KNOBS
        if getattr(before, name) != getattr(after, name)
    ]
    return ", ".join(f"{name} {was} -> {now}" for name, was, now in pairs)
