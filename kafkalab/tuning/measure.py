"""One measurement, from its arguments to its result."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from kafkalab.errors import ArgumentError
from kafkalab.group.dispatch import Ordering
from kafkalab.group.offsets import cluster_of
from kafkalab.settings import ConsumerSettings
from kafkalab.tuning.children import Children, split
from kafkalab.tuning.load import Simulated, nothing
from kafkalab.tuning.measurement import Measurement, Setup, WorkerKind
from kafkalab.tuning.pipe import Job
from kafkalab.tuning.search import MOST_WORKERS

if TYPE_CHECKING:
    from kafkalab.cluster import Metadata
    from kafkalab.tuning.meter import Counts

Process: TypeAlias = Callable[[Any], object]
SettingsLike: TypeAlias = "ConsumerSettings | Mapping[str, Any] | str | None"

_CONNECT_S = 30.0
_QUIET_S = 3.0
_WARM_UP_S = 2.0
_SHORT_OF_CORES = 0.3
_WANTS_CORES = 0.5  # what seldom runs loses little by waiting


@dataclass(frozen=True, slots=True)
class Bench:
    """What a measurement needs beside its setup: the cluster, where to begin, and what to call.

    Attributes
    ----------
    metadata : Metadata
        A real cluster's.
    setup : Setup
        What to measure.
    starts : mapping of int to int, or None
        Where to begin in each partition; None for the first record there is, which `placed` looks up.
    process : callable
        The handler.
    """

    metadata: Metadata
    setup: Setup
    starts: Mapping[int, int] | None
    process: Process

    def placed(self) -> Bench:
        """Return the same with its starts known; this may ask the cluster."""
        if self.starts is not None:
            return self
        topic = self.setup.topic
        parts = [each.partition for each in self.metadata.topic(topic).partitions]
        marks = self.metadata.watermarks(topic, parts)
        return replace(self, starts={number: each.log_start_offset for number, each in marks.items()})

    def job(self, seconds: float) -> Job:
        """Return what a child is to do, and for how long at most."""
        setup = self.setup
        return Job(
            cluster_of(self.metadata).config,
            dict(setup.settings.to_librdkafka()),
            setup.topic,
            dict(self.placed().starts or {}),
            self.process,
            setup.workers,
            setup.ordering,
            setup.buffer_depth,
            setup.replay,
            seconds,
        )

    def jobs(self, seconds: float) -> list[Job]:
        """Return a job for each process."""
        job = self.job(seconds)
        return [job] if self.setup.worker_kind == "thread" else split(job, self.setup.workers)

    def with_(self, settings: Mapping[str, Any], **changes: Any) -> Bench:
        """Return the same with other settings, workers, worker_kind or ordering."""
        changed = self.setup.settings.replace(**settings)
        return replace(self, setup=checked(replace(self.setup, settings=changed, **changes)))


def settings_of(given: SettingsLike) -> ConsumerSettings:
    """Return settings as such: by their names here or librdkafka's, or a preset's name.

    Raises
    ------
    ConfigError, ArgumentError
        They cannot be.
    """
    if given is None:
        return ConsumerSettings()
    if isinstance(given, ConsumerSettings):
        return given
    if isinstance(given, str):
        return ConsumerSettings.preset(given)
    if not isinstance(given, Mapping):
        raise ArgumentError(f"settings is a ConsumerSettings, a mapping or a preset's name, not {given!r}")
    if any("." in str(name) for name in given):
        return ConsumerSettings.from_librdkafka(given)
    return ConsumerSettings().replace(**given)


def handler_of(process: Any) -> tuple[Process, str]:
    """Return the handler, and its name.

    Raises
    ------
    ArgumentError
        It cannot be called.
    """
    if process is None:
        return nothing, "nothing"
    if not callable(process) or isinstance(process, type):
        raise ArgumentError(f"process is a function of a record, or kl.simulate(...), not {process!r}")
    return process, str(process) if isinstance(process, Simulated) else _name_of(process)


def _name_of(process: Any) -> str:
    plain = process.func if isinstance(process, functools.partial) else process
    return str(getattr(plain, "__name__", type(plain).__qualname__))


def checked(setup: Setup) -> Setup:
    """Return a setup that can be measured.

    Raises
    ------
    ArgumentError
        It cannot.
    """
    workers: Any = setup.workers
    whole = isinstance(workers, int) and not isinstance(workers, bool)
    if not whole or not 1 <= workers <= MOST_WORKERS:
        raise ArgumentError(f"workers is a whole number from 1 to {MOST_WORKERS:,}, not {setup.workers!r}")
    depth: Any = setup.buffer_depth
    if depth is not None and (not isinstance(depth, int) or isinstance(depth, bool) or depth < 1):
        raise ArgumentError(f"buffer_depth is a whole number from 1 on, or None, not {depth!r}")
    for name, kinds in (("ordering", Ordering), ("worker_kind", WorkerKind)):
        if getattr(setup, name) not in get_args(kinds):
            known = " or ".join(map(repr, get_args(kinds)))
            raise ArgumentError(f"{name} is {known}, not {getattr(setup, name)!r}")
    return setup


def check_seconds(**numbers: Any) -> None:
    """Refuse what is no length of time.

    Raises
    ------
    ArgumentError
        It names which.
    """
    for name, value in numbers.items():
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not good or value < 0 or (name == "seconds" and value < 1):
            least = "1" if name == "seconds" else "0"
            raise ArgumentError(f"{name} is a number of seconds from {least} on, not {value!r}")


def run(bench: Bench, seconds: float, warm_up: float = _WARM_UP_S) -> Measurement:
    """Measure, in processes that end with it.

    Raises
    ------
    HandlerError
        The handler failed at a record.
    KafkalabError
        The consumer could not go on.
    """
    limit = _CONNECT_S + warm_up + seconds + _QUIET_S
    window = Window(seconds, warm_up)
    with Children(bench.jobs(limit)) as children:
        for counts in children.counts(limit + _CONNECT_S):
            if counts is not None and window.add(counts):
                children.stop()
        final = children.final
        notes = tuple(dict.fromkeys(str(warning) for warning in children.warnings))
    handled = final.handled if final is not None else 0
    found = Measurement.of(bench.setup, window.kept, handled, (*notes, *_notes(bench.setup, window.kept)))
    return replace(found, notes=(*found.notes, *_machine_notes(found)))


class Window:
    """Chooses which counters a measurement is made of: the time from the end of the warm-up on. Pure.

    Parameters
    ----------
    seconds, warm_up : float
        For how long to measure, and how much of the beginning not to.
    """

    def __init__(self, seconds: float, warm_up: float) -> None:
        self._seconds = seconds
        self._warm_up = warm_up
        self._opened: float | None = None
        self.kept: list[Counts] = []
        self.complete = False

    def add(self, counts: Counts) -> bool:
        """Take counters in; return whether these were the last to be wanted."""
        if self.complete:
            return False
        self._opened = counts.at if self._opened is None else self._opened
        if counts.first_at is None:  # nothing has come yet
            self.kept.append(counts)
            self.complete = counts.at - self._opened >= max(self._seconds, _QUIET_S)
        elif counts.at >= counts.first_at + self._warm_up:
            self.kept = [*(each for each in self.kept if each.first_at is not None), counts]
            self.complete = self.kept[-1].at - self.kept[0].at >= self._seconds
        return self.complete


def _notes(setup: Setup, counts: list[Counts]) -> list[str]:
    notes = []
    if setup.worker_kind == "process" and setup.workers > setup.partitions:
        notes.append(f"only {setup.partitions} of {setup.workers} processes have a partition to read")
    passes = counts[-1].passes - counts[0].passes if counts else 0
    if passes:
        notes.append(f"the topic is short: it was begun anew {passes} times, and what that takes does not count")
    return notes


def _machine_notes(found: Measurement) -> list[str]:
    share = found.core_wait_share
    if share < _SHORT_OF_CORES or found.cpu + found.average("core_wait") < _WANTS_CORES:
        return []
    return [f"the machine was busy: its threads had no core for {share:.0%} of the time they wanted one"]
