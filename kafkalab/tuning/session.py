"""A consumer that runs beside the notebook while its settings change: what the panel shows, without the panel."""

from __future__ import annotations

import functools
import importlib
import threading
import time
from _thread import start_new_thread
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import pandas as pd

from kafkalab.errors import ArgumentError
from kafkalab.tuning.children import Children
from kafkalab.tuning.compare import Comparison, check_pairs, compare
from kafkalab.tuning.measure import Bench, check_seconds, checked, settings_of
from kafkalab.tuning.measurement import Setup
from kafkalab.tuning.meter import between, short
from kafkalab.tuning.phases import Phase, difference, history, is_live, is_sure, queue_share
from kafkalab.tuning.recent import Mark, Recent, recent
from kafkalab.tuning.search import OTHER_KNOBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.settings import ConsumerSettings
    from kafkalab.tuning.advise import Advice
    from kafkalab.tuning.measurement import Measurement
    from kafkalab.tuning.meter import Counts, Sample

State: TypeAlias = Literal[
    "idle", "connecting", "warming up", "running", "settling", "comparing", "caught up", "stopping", "failed"
]
Changes: TypeAlias = "Mapping[str, Any] | ConsumerSettings | Setup | str"
"""Settings to change, by name as in `TuningSession.set`; or all of them, or a preset's name; or workers too."""

_SETTLE_S = 3.0
_TOGETHER_S = 0.3  # changes that come faster than that make one restart
_SLICE_S = 0.2  # so that Ctrl-C comes through
_MOST_SAMPLES = 7_200  # an hour
_MOST_PHASES = 1_000
_CONNECT_S = 30.0
_CAUGHT_UP_SHARE = 0.5
_CAUGHT_UP_S = 0.5
_LIVE_S = 60.0
_TURN_WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A comparison that is to be made."""

    a: Bench
    b: Bench
    seconds: float
    pairs: int


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
    comparison : Comparison or None
        What the last comparison has found.
    progress : str
        What a comparison is at.
    view : callable or None
        Returns what a notebook shows in place of the text, as a bundle of MIME types; `Lab.tune` sets it.
    """

    def __init__(self, bench: Bench, *, warm_up: float = 2.0, deadline: float = 3600.0) -> None:
        self._bench = self._first = bench
        self._wanted: Bench | None = None
        self._wanted_at = 0.0
        self._warm_up = warm_up
        self._deadline = deadline
        self._lock = threading.RLock()
        self._stopping = False
        self._worker = 0  # the thread of the newest run
        self._state: State = "idle"
        self._phases: deque[Phase] = deque(maxlen=_MOST_PHASES)
        self._samples: deque[Sample] = deque(maxlen=_MOST_SAMPLES)
        self._marks: deque[Mark] = deque(maxlen=_MOST_PHASES)
        self._begun = 0
        self._working = False
        self._next: Callable[[], str] | None = None  # says what is new, once this run has ended
        self._last: Counts | None = None
        self._zero: float | None = None
        self._settles_in = 0.0
        self._asked: _Asked | None = None
        self._watchers: list[Callable[[], object]] = []
        self.blocking = False
        self.error: Exception | None = None
        self.comparison: Comparison | None = None
        self.progress = ""
        self.view: Callable[[], Mapping[str, Any]] | None = None

    # Its life

    def start(self) -> None:
        """Begin, in the background, or as soon as it has stopped; does nothing while it runs."""
        with self._lock:
            if not self._working:
                self._work_from(self._news())
            elif self._stopping:
                self._next = self._news

    def _news(self) -> str:
        """Say what is new since the last run."""
        setup = (self._wanted or self._bench).setup
        last = self._phases[-1].setup if self._phases else setup
        return "start" if last == setup else difference(last, setup)

    def _work_from(self, change: str) -> None:
        self._stopping, self._next, self.error = False, None, None
        self._bench, self._wanted = self._wanted or self._bench, None
        self._working = True
        try:
            # `Thread.start` waits with a lock, which it keeps for good where Ctrl-C comes in the midst of it.
            self._worker = start_new_thread(self._work, (change,))
        except RuntimeError:  # there are too many threads
            self._working = False
            raise
        self._turn_to("connecting")

    def stop(self, *, wait: bool = True) -> None:
        """End the consumer and its process, and by default wait for that."""
        with self._lock:
            self._stopping, self._next, self._asked = True, None, None
            if self._working:
                self._turn_to("stopping")
        if wait and self._worker != threading.get_ident():
            self._wait(lambda: not self._stopping)

    def _wait(self, is_over: Callable[[], bool]) -> None:
        """Wait while it runs, where Ctrl-C comes through: without a lock that it could leave locked."""
        told: SimpleQueue[None] = SimpleQueue()

        def watcher() -> None:
            told.put(None)

        try:
            self._watchers.append(watcher)
            while self.running and not is_over():
                with suppress(Empty):
                    told.get(timeout=_SLICE_S)
        finally:
            self._watchers.remove(watcher)

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
        end = time.monotonic() + seconds
        self._run_here(self.start, lambda: time.monotonic() > end)
        return self.history

    def _run_here(self, start: Callable[[], object], is_over: Callable[[], bool]) -> None:
        """Begin, wait in this cell, and stop, wherever Ctrl-C comes: also in the midst of stopping."""
        try:
            try:
                self.blocking = True
                start()
                self._wait(is_over)
            finally:
                self.stop()
        finally:
            self.stop()
            self.blocking = False
        if self.error is not None:
            raise self.error

    def set(self, **changes: Any) -> None:
        """Change settings by their names in `ConsumerSettings`, or ``workers``, ``worker_kind``, ``ordering``.

        Raises
        ------
        ConfigError, ArgumentError
            A setting cannot be, or contradicts another; nothing is changed.
        """
        with self._lock:
            self._want(_with(self._wanted or self._bench, changes))

    def use(self, settings: ConsumerSettings) -> None:
        """Take other settings as a whole, such as a preset."""
        with self._lock:
            self._want(_with(self._wanted or self._bench, settings))

    def reset(self) -> None:
        """Take the settings that it had in the beginning."""
        with self._lock:
            bench = self._wanted or self._bench
            self._want(replace(bench, setup=replace(self._first.setup, replay=bench.setup.replay)))

    def replay(self) -> None:
        """Read the topic over and over from its first record, whatever it was begun with."""
        with self._lock:
            bench = self._wanted or self._bench
            self._want(replace(bench, setup=replace(bench.setup, replay=True), starts=None))

    def _want(self, bench: Bench) -> None:
        self._wanted, self._wanted_at = bench, time.monotonic()
        if not self._working:
            self._bench, self._wanted = bench, None
        self._tell()

    def compare(self, a: Changes, b: Changes, *, seconds: float = 2.0, pairs: int = 6) -> Comparison:
        """Measure two settings in turns on the same records, each from where this session began to read.

        A turn is a consumer of its own, which takes a few seconds besides. What ran before is stopped.

        Parameters
        ----------
        a, b : mapping, ConsumerSettings, str or Setup
            What to change of what is set, as in `set`; or all settings, or a preset's name; or all that is `setup`.
        seconds : float
            How much of each turn counts, after a second that does not.
        pairs : int
            How many turns each has.

        Returns
        -------
        Comparison
            ``"B is 1.31x A (1.27-1.36)"``, or ``"no difference beyond noise"``.

        Raises
        ------
        ConfigError, ArgumentError
            A setting cannot be.
        KafkalabError
            What ended it.
        """
        self.stop()
        begin = functools.partial(self.start_comparison, a, b, seconds=seconds, pairs=pairs)
        self._run_here(begin, lambda: False)
        if self.comparison is None:
            raise ArgumentError("the comparison was stopped before it came to a result")
        return self.comparison

    def start_comparison(self, a: Changes, b: Changes, *, seconds: float = 2.0, pairs: int = 6) -> None:
        """Compare in the background, as `compare` does; ``comparison`` has the result.

        A consumer that runs goes on afterwards.
        """
        check_seconds(seconds=seconds)
        check_pairs(pairs)
        with self._lock:
            bench = self._wanted or self._bench
            self._asked = _Asked(_with(bench, a), _with(bench, b), seconds, pairs)
            self.comparison = None
            if not self._working:
                self._work_from("")
            elif self._stopping:
                self._next = self._next or (lambda: "")

    def subscribe(self, watcher: Callable[[], object]) -> Callable[[], None]:
        """Have a function called when there is something new, in the thread that it comes from; return what ends that.

        It must not wait, and must not raise.
        """
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What it shows

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._working

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._state

    @property
    def setup(self) -> Setup:
        """What is set, or about to be."""
        return (self._wanted or self._bench).setup

    @property
    def previous(self) -> Setup | None:
        """What was set before the last change; None where nothing was changed."""
        with self._lock:
            setups = [self._first.setup, *(phase.setup for phase in self._phases)]
        now = self.setup
        return next((each for each in reversed(setups) if replace(each, replay=now.replay) != now), None)

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
        with self._lock:
            if not self._phases:
                raise ArgumentError("nothing was measured: call start() or run(seconds)")
            return self._phases[-1].measurement()

    @property
    def advice(self) -> Advice | None:
        """What holds the consumer back, or None as long as that is not known."""
        with self._lock:
            found = self._phases[-1].measurement() if self._phases else None
        return found.advice if found is not None and is_sure(found) else None

    @property
    def history(self) -> pd.DataFrame:
        """A row for each time without a change, oldest first.

        Returns
        -------
        pandas.DataFrame
            ``change``, ``records_rate`` (the median of up to two minutes), ``low`` and ``high`` (its interval),
            ``bytes_rate``, ``cpu``, ``queue_share``, ``seconds`` measured, ``bottleneck``, and ``against_first`` (times
            as fast). Rates are missing where three seconds were not measured.
        """
        return history(self._rows())

    def _rows(self) -> list[tuple[Any, ...]]:
        with self._lock:
            return [phase.row() for phase in self._phases]

    @property
    def series(self) -> pd.DataFrame:
        """The samples of the last hour, for a plot, by seconds since the first start; the last one is the newest."""
        with self._lock:
            samples, setup = list(self._samples), self.setup
        names = ("at", "records_rate", "bytes_rate", "queued", "queued_bytes", "waiting", "lag", "broker_share")
        frame = pd.DataFrame([[getattr(each, name) for name in names] for each in samples], columns=list(names))
        frame = frame.astype("float64")
        frame["queue_share"] = [queue_share(each, setup.settings) for each in samples]
        frame["queue_share"] = frame["queue_share"].astype("float64")
        return frame.set_index("at")

    @property
    def marks(self) -> pd.DataFrame:
        """Where something was changed, for a plot.

        Returns
        -------
        pandas.DataFrame
            ``at`` (as in `series`), ``label`` (the number in `history`, or the letter of a comparison's turn),
            ``change``, ``restarted``.
        """
        with self._lock:
            zero, marks = self._zero or 0.0, list(self._marks)
        rows = [(mark.at - zero, mark.label, mark.change, mark.restarted) for mark in marks]
        return pd.DataFrame(rows, columns=["at", "label", "change", "restarted"])

    @property
    def settles_in(self) -> float:
        """Seconds until what is measured counts, after a start or a change."""
        return self._settles_in

    def recent(self, seconds: float = _LIVE_S) -> Recent:
        """Return what a plot shows of the last seconds."""
        with self._lock:
            zero = self._zero or 0.0
            last = self._samples[-1].at if self._samples else 0.0
            now = max(last, time.monotonic() - zero) if self.running and self._zero else last
            samples = [each for each in self._samples if each.at >= now - seconds]
            marks = [replace(mark, at=mark.at - zero) for mark in self._marks if mark.at - zero >= now - seconds]
            settings = self.setup.settings
        best = max((row[1] for row in self._rows() if row[1] == row[1]), default=float("nan"))
        return recent(samples, marks, settings, now=now, best=best)

    @property
    def figure(self) -> Any:
        """The last minute as a figure; `recent`, `series` and `marks` have its numbers."""
        # By name, since the layer of figures is above this one.
        return importlib.import_module("kafkalab.plot").throughput(self)

    def __repr__(self) -> str:
        setup, rate = self.setup, ""
        with self._lock:
            found = self._phases[-1].measurement() if self._phases else None
        if found is not None and is_sure(found):
            rate = f" · {found.records_rate} records/s"
        failed = f": {self.error}" if self.error is not None else ""
        lag = short(self._samples[-1].lag) if self._samples else "unknown"
        workers = f"{setup.workers} worker{'s' * (setup.workers > 1)}"
        where = f"{setup.topic} · {setup.partitions} partitions · lag {lag} · process {setup.process}"
        return f"{where} · {self.state}{failed}\n{workers}, {setup.settings!r}{rate}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Mapping[str, Any]:  # noqa: ARG002 - Jupyter's
        return {"text/plain": repr(self), **(self.view() if self.view is not None else {})}

    # Its thread

    def _work(self, change: str) -> None:
        try:
            while not self._stopping and (change or self._asked is not None):
                if self._asked is not None:
                    self._compare(self._asked)
                else:
                    change = self._run_once(change)
        except Exception as error:  # noqa: BLE001 - whoever looks at the session gets it
            self.error = error
        with self._lock:
            if self._phases:
                self._phases[-1].close()
            self._last, self.progress, self._settles_in = None, "", 0.0
            self._working = False
            self._turn_to("failed" if self.error is not None else "idle")
            if self._next is not None:
                self._work_from(self._next())
            else:
                self._asked = None

    def _run_once(self, change: str) -> str:
        """Run one consumer, until it is stopped, has ended, or has to be another; return what that changes."""
        self._bench, self._last = self._bench.placed(), None
        limit = self._deadline
        self._begin(change, restarted=True)
        self._turn_to("connecting")
        with Children(self._bench.jobs(limit)) as children:
            for counts in children.counts(limit + _CONNECT_S):
                if self._stopping:
                    return ""
                if self._asked is not None:
                    return "after comparing"
                if counts is not None:
                    self._note(counts)
                if (wanted := self._due()) is None:
                    continue
                change = difference(self._bench.setup, wanted.setup)
                live = is_live(self._bench.setup, wanted.setup)
                self._bench = wanted
                if not live:
                    return change
                children.set_workers(wanted.setup.workers)
                self._begin(change, restarted=False)
        return ""

    def _compare(self, asked: _Asked) -> None:
        self._end_phase()

        def begin(name: str, number: int) -> None:
            self._last = None
            self.progress = f"A|B: turn {number} of {2 * asked.pairs}"
            self._mark(Mark(time.monotonic(), name, f"A|B: {name}", restarted=True))
            self._turn_to("comparing")

        def note(counts: Counts) -> None:
            with self._lock:
                self._sample(counts)
                self._turn_to("stopping" if self._stopping else "comparing")

        self.comparison = compare(
            asked.a.placed(),
            asked.b.placed(),
            seconds=asked.seconds,
            pairs=asked.pairs,
            warm_up=_TURN_WARM_UP_S,
            begin=begin,
            note=note,
            stopped=lambda: self._stopping or self._asked is not asked,
        )
        with self._lock:
            self._asked, self.progress = None if self._asked is asked else self._asked, ""
            self._bench, self._wanted = self._wanted or self._bench, None

    def _due(self) -> Bench | None:
        """Take what is wanted, once it has been so for a moment."""
        with self._lock:
            if self._wanted is None or time.monotonic() < self._wanted_at + _TOGETHER_S:
                return None
            wanted, self._wanted = self._wanted, None
            return wanted if wanted.setup != self._bench.setup else None

    def _begin(self, change: str, *, restarted: bool) -> None:
        with self._lock:
            self._end_phase()
            now = time.monotonic()
            self._phases.append(Phase(self._bench.setup, change, now, restarted))
            self._begun += 1
            self._mark(Mark(now, str(self._begun), change, restarted))

    def _end_phase(self) -> None:
        with self._lock:
            if self._phases:
                self._phases[-1].close()

    def _mark(self, mark: Mark) -> None:
        with self._lock:
            self._marks.append(mark)

    def _note(self, counts: Counts) -> None:
        with self._lock:
            if counts.first_at is None:
                empty = counts.partitions and not any(part.lag for part in counts.partitions.values())
                self._turn_to("stopping" if self._stopping else "caught up" if empty else "connecting")
                return
            found, phase = self._sample(counts), self._phases[-1]
            since = max(phase.began, counts.first_at)
            self._settles_in = max(since + (self._warm_up if phase.restarted else _SETTLE_S) - counts.at, 0.0)
            if not self._settles_in:
                phase.counts.append(counts)
            self._turn_to(self._state_of(phase, found))

    def _sample(self, counts: Counts) -> Sample | None:
        """Keep what has been since the last counters, and return it."""
        if counts.first_at is None:
            return None
        self._zero = self._zero or counts.first_at
        found = between(self._last, counts) if self._last is not None else None
        self._last = counts
        if found is not None:
            self._samples.append(replace(found, at=counts.at - self._zero))
        return found

    def _state_of(self, phase: Phase, found: Sample | None) -> State:
        if self._stopping:
            return "stopping"
        if self._settles_in:
            return "warming up" if phase.change == "start" else "settling"
        if found is None or phase.setup.replay or found.broker_share < _CAUGHT_UP_SHARE:
            return "running"
        return "caught up" if found.lag <= found.records_rate * _CAUGHT_UP_S else "running"

    def _turn_to(self, state: State) -> None:
        with self._lock:
            self._state = state
            self._tell()

    def _tell(self) -> None:
        for watcher in list(self._watchers):
            watcher()


def _with(bench: Bench, changes: Changes) -> Bench:
    if isinstance(changes, Setup):
        return replace(bench, setup=checked(replace(changes, replay=bench.setup.replay)))
    if not isinstance(changes, Mapping):
        return replace(bench, setup=replace(bench.setup, settings=settings_of(changes)))
    others = {name: value for name, value in changes.items() if name in OTHER_KNOBS}
    settings = {name: value for name, value in changes.items() if name not in OTHER_KNOBS}
    return bench.with_(settings, **others)
