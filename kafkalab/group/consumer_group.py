"""A consumer group as people use it: started, watched, gone through, stopped."""

from __future__ import annotations

import contextlib
import html
import logging
import re
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import pandas as pd

from kafkalab import units
from kafkalab.errors import ArgumentError, ConfigError, GroupError, HandlerError, KafkalabError, UnsupportedError
from kafkalab.group.dispatch import Ordering
from kafkalab.group.handler import Hooks
from kafkalab.group.logs import Logs
from kafkalab.group.member import Member
from kafkalab.group.offsets import cluster_of, group_offsets, seek_group
from kafkalab.group.pool import Pool
from kafkalab.group.problems import Problems
from kafkalab.group.stats import GroupStats
from kafkalab.model import TopicPartition
from kafkalab.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kafkalab.cluster import Cluster, Metadata
    from kafkalab.group.handler import HandlerLike
    from kafkalab.group.record import Record
    from kafkalab.group.settings import Membership
    from kafkalab.positions import Position
    from kafkalab.settings import ConsumerSettings

OnError: TypeAlias = "Literal['raise', 'skip'] | Callable[[HandlerError], object]"

_LOG = logging.getLogger("kafkalab.group")
_MOST_ERRORS = 1_000
_MOST_BYTES = 64 << 20  # of records, in errors that nobody has gone through
_NOTICE_S = 0.5
_LOOK_S = 0.1  # for errors, which nobody is woken for
_WATCH_S = 5.0
_JOIN_S = 20.0
_DRAIN_S = 30.0
_MAX_POLL_MS = 300_000
_CONSUMER_GROUP_HEARTBEAT = 68  # the request that KIP-848 lives by


class ConsumerGroup:
    """One member of a consumer group: `Lab.consumer_group` says what it takes.

    It joins when it is started (by ``with``, `start`, `run` or by going through it) and leaves when it is stopped.
    """

    def __init__(
        self,
        metadata: Metadata,
        membership: Membership,
        topics: Sequence[str] | str,
        handler: HandlerLike = None,
        *,
        workers: int = 10,
        ordering: Ordering = "partition",
        on_error: OnError = "raise",
        settings: Mapping[str, Any] | ConsumerSettings | None = None,
        buffer_depth: int | None = None,
        drain_timeout: float | None = None,
        commit_interval: float = 1.0,
    ) -> None:
        self._cluster = cluster_of(metadata)
        _check(workers=workers, buffer_depth=buffer_depth, drain_timeout=drain_timeout, commit_interval=commit_interval)
        if ordering not in get_args(Ordering):
            text = f"ordering is 'partition', 'key' or 'unordered', not {ordering!r}"
            raise ArgumentError(text)
        if on_error not in ("raise", "skip") and not callable(on_error):
            text = f"on_error is 'raise', 'skip' or a function of a HandlerError, not {on_error!r}"
            raise ArgumentError(text)
        self.topics = (topics,) if isinstance(topics, str) else tuple(topics)
        if not self.topics:
            raise ArgumentError("topics is empty: name at least one")
        self._membership, self._settings = membership.agreed(settings or {})
        self._hooks = Hooks.of(handler)
        self._workers = workers
        self._ordering: Ordering = ordering
        self._on_error = on_error
        self._timing: dict[str, Any] = {
            "buffer_depth": buffer_depth,
            "drain_timeout": _drain_timeout(drain_timeout, self._settings, self._cluster.config.options),
            "commit_interval": commit_interval,
        }
        self._lock = threading.Lock()
        self._stay: _Stay | None = None

    # Its life

    def start(self) -> None:
        """Join; does nothing while it runs. One that was stopped joins anew, and goes on where it had committed.

        Raises
        ------
        UnknownTopicError
            There is no such topic.
        UnsupportedError
            The broker does not know the group's protocol.
        ConfigError
            A setting cannot work.
        """
        with self._lock:
            if self._stay is not None and self._stay.running:
                return
            if self._membership.group_protocol == "consumer":
                _check_protocol(self._cluster)
            for topic in self.topics:
                if not topic.startswith("^"):
                    self._cluster.topic(topic)
            self._stay = _Stay(self)

    def stop(self) -> None:
        """Leave: end what is in flight, commit what is done; a handler or hook that calls this does not wait for that.

        It does nothing where the group was not started, or has ended.
        """
        if self._stay is not None:
            self._stay.end()

    def run(self, seconds: float | None = None) -> GroupStats:
        """Take part for so long, or until stopped; then stop. Ctrl-C ends it early, with everything committed.

        Raises
        ------
        HandlerError
            The handler failed at a record, and ``on_error`` is "raise".
        """
        if self._hooks.process is None:
            raise ArgumentError("there is no handler: go through the group with `for record in group`, or give one")
        self.start()
        stay = self._last()
        end = None if seconds is None else time.monotonic() + seconds
        try:
            while not stay.is_over(_NOTICE_S if end is None else min(max(end - time.monotonic(), 0), _NOTICE_S)):
                if end is not None and time.monotonic() >= end:
                    break
        finally:
            self.stop()
        stay.check()
        return self.stats()

    def wait_for(self, records: int, timeout: float) -> bool:
        """Wait until so many records were handled since the start; return whether they were."""
        return self._last().pool.wait_handled(records, units.seconds(timeout))

    @property
    def running(self) -> bool:
        """Whether it takes part."""
        return self._stay is not None and self._stay.running

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is None and self._stay is not None:
            self._stay.check()

    def __iter__(self) -> Iterator[Record]:
        """Go through records until the group is stopped: each is done when the next is asked for."""
        if self._hooks.process is not None:
            raise ArgumentError("its handler gets the records: make a group without one to go through them")
        started_here = not self.running
        self.start()
        stay = self._last()
        try:
            yield from stay.pool.records()
        finally:
            if started_here:
                self.stop()
        stay.check()

    def mark(self, record: Record) -> None:
        """Say that a record is done before the next is asked for, or that one of a handler's is."""
        self._last().pool.mark(record)

    # What it is doing

    @property
    def errors(self) -> Iterator[KafkalabError]:
        """Errors as they come, of the handler and of the client, until the group is stopped.

        Nobody has to go through them: the newest thousand are kept, or fewer where their records take over 64 MiB.
        """
        return self._last().problems()

    @property
    def partitions(self) -> tuple[TopicPartition, ...]:
        """What it has just now."""
        return self._stay.pool.places if self._stay is not None else ()

    def stats(self) -> GroupStats:
        """Tell how it is doing, without asking the brokers."""
        return _NOT_STARTED if self._stay is None else self._stay.stats()

    def lag(self) -> pd.DataFrame:
        """Ask the brokers how far the group is behind.

        Returns
        -------
        pandas.DataFrame
            As `Lab.group_offsets`, over all partitions of its topics, and ``position`` and ``uncommitted`` (records
            from the low-water mark on) of those that this member has.
        """
        membership = self._membership
        topics = self._topics_of_group()
        frame = group_offsets(
            self._cluster, membership.group_id, topics, committed_only=False, isolation_level=membership.level
        )
        mine = self.stats().partitions
        rows = [mine.get(TopicPartition(t, p)) for t, p in zip(frame["topic"], frame["partition"], strict=True)]
        frame["position"] = pd.array([None if row is None else row.position for row in rows], dtype="Int64")
        frame["uncommitted"] = pd.array([None if row is None else row.uncommitted for row in rows], dtype="Int64")
        return frame

    def seek(self, to: Position, *, topics: Sequence[str] | str | None = None, dry_run: bool = True) -> pd.DataFrame:
        """Move what the group has committed, as `Lab.seek_group` does; it must be stopped.

        A static member stays in its group for ``session.timeout.ms`` after it was stopped, so that it gets its
        partitions back; until then nothing can be moved.

        Parameters
        ----------
        to : Position
            Where to, as in `Lab.read`.
        topics : str or sequence of str, optional
            In which topics; in all of the group's by default.
        dry_run : bool
            Whether only to tell what would change.
        """
        return seek_group(
            self._cluster, self._membership.group_id, topics or self._topics_of_group(), to, dry_run=dry_run
        )

    def _topics_of_group(self) -> list[str]:
        named = [topic for topic in self.topics if not topic.startswith("^")]
        patterns = [re.compile(topic) for topic in self.topics if topic.startswith("^")]
        known = [info.name for info in self._cluster.topics()] if patterns else []
        return [*named, *(name for name in known if any(pattern.search(name) for pattern in patterns))]

    def _last(self) -> _Stay:
        if self._stay is None:
            raise ArgumentError("the group was not started: use it in a with statement, or call start()")
        return self._stay

    def __repr__(self) -> str:
        stats = self.stats()
        lag = "unknown" if stats.records_lag is None else f"{stats.records_lag:,}"
        return (
            f"<ConsumerGroup {self._membership.group_id!r} of {', '.join(self.topics)} {stats.state}: "
            f"{stats.records_handled_rate:,.0f} records/s · {stats.handled:,} handled · {stats.skipped:,} skipped · "
            f"{stats.in_flight:,} in flight · {stats.waiting:,} waiting · lag {lag}>"
        )

    def _repr_html_(self) -> str:
        names = ("partition", "position", "committed_offset", "end_offset", "records_lag", "waiting", "in_flight")
        head = "".join(f"<th>{name}</th>" for name in names)
        rows = "".join(
            f"<tr><td>{html.escape(str(place))}</td>"
            + "".join(f"<td>{_cell(getattr(part, name))}</td>" for name in names[1:])
            + "</tr>"
            for place, part in sorted(self.stats().partitions.items())
        )
        return f"<p>{html.escape(repr(self))}</p><table><tr>{head}</tr>{rows}</table>"


class _Stay:
    """One time that a group takes part, from joining to leaving."""

    def __init__(self, group: ConsumerGroup) -> None:
        self._group = group  # a lab that is closed looks for it, as long as it runs
        self._on_error = group._on_error  # noqa: SLF001 - the two are one
        self._errors = Problems(_MOST_ERRORS, _MOST_BYTES)
        self._lock = threading.Lock()
        self._over: SimpleQueue[None] = SimpleQueue()
        self._failure: BaseException | None = None
        self._skipped = 0
        self._ended = False
        self.stop = threading.Event()
        hooks, membership, cluster = group._hooks, group._membership, group._cluster  # noqa: SLF001 - as above
        self._membership = membership
        self._cluster = cluster
        self._logs = Logs(cluster, membership.start, membership.level)
        self.pool = Pool(group._ordering, group._workers, hooks, self._failed)  # noqa: SLF001 - as above
        self._member = Member(
            membership.client_options(cluster.config, group._settings),  # noqa: SLF001 - as above
            group.topics,
            self.pool,
            hooks,
            logs=self._logs,
            stop=self.stop,
            tell=self._tell,
            **group._timing,  # noqa: SLF001 - as above
        )
        self._thread = threading.Thread(target=self._run, name="kafkalab-group", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="kafkalab-group-watch", daemon=True)
        try:
            self._thread.start()
            self._watcher.start()
        except BaseException:  # Ctrl-C, while it waits for the thread to run
            self.stop.set()
            raise

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def is_over(self, seconds: float) -> bool:
        """Wait for its end, where Ctrl-C comes through: without a lock that it could leave locked."""
        if not self._ended:
            with contextlib.suppress(Empty):
                self._over.get(timeout=seconds)
                self._over.put(None)  # for whoever else waits
        return self._ended

    def end(self) -> None:
        """Have it end, and wait for that, but not in a thread that it waits for."""
        self.stop.set()
        if threading.current_thread() is not self._thread and not self.pool.is_busy_here():
            while self.running:
                self.is_over(_NOTICE_S)

    def check(self) -> None:
        """Raise what ended it, should it have failed."""
        if self._failure is not None:
            raise self._failure

    def problems(self) -> Iterator[KafkalabError]:
        while True:
            over = self.is_over(0 if self._errors else _LOOK_S)
            while (error := self._errors.take()) is not None:
                yield error
            if over:
                return

    def stats(self) -> GroupStats:
        state = "failed" if self._failure else "running" if self.running else "stopped"
        handled = self.pool.handled
        member = self._member
        return GroupStats(
            state,
            handled,
            self._skipped,
            self.pool.meter.rate(handled),
            member.rebalances,
            self.pool.stats(member.committed, member.end_offsets),
        )

    def _run(self) -> None:
        try:
            self.pool.start()
            self._member.run()
        except BaseException as error:  # noqa: BLE001 - whoever looks at the group gets it
            self._fail(error)
        finally:
            self.stop.set()
            self._ended = True
            self._over.put(None)

    def _watch(self) -> None:
        """Look now and then whether topics are what they were, and once whether the group has let this member in."""
        due = time.monotonic() + _JOIN_S
        while not self.stop.wait(_WATCH_S):
            try:
                self._logs.look({place.topic for place in self.pool.places})
                if time.monotonic() > due and not self._member.has_joined:
                    due = float("inf")
                    self._check_joined()
            except KafkalabError as error:  # the member meets it, too, if it matters
                _LOG.debug("group %s: %s", self._membership.group_id, error)

    def _check_joined(self) -> None:
        state, members = self._cluster.members(self._membership.group_id)
        if not any(self._member.member_id in member for member in members):
            self._tell(not_let_in(self._membership, state))

    def _failed(self, record: Record, error: BaseException) -> bool:
        """Judge a record that its handler has failed at; return whether to go on."""
        place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        told = HandlerError(f"the handler failed with {type(error).__name__}: {error}", **place)  # type: ignore[arg-type]  # names of its arguments
        told.record = record
        told.__cause__ = error
        self._tell(told)
        if self._on_error == "raise":
            self._fail(told)
            return False
        if callable(self._on_error):
            try:
                self._on_error(told)
            except Exception as verdict:  # noqa: BLE001 - the user's code may raise anything
                self._fail(verdict)
                return False
        with self._lock:
            self._skipped += 1
        return True

    def _tell(self, error: Exception) -> None:
        if isinstance(error, KafkalabError):
            self._errors.add(error)
        _LOG.warning("%s", safe(str(error)))

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = self._failure or error
        self.stop.set()


def not_let_in(membership: Membership, state: str) -> GroupError:
    """Return what is told where a group goes on without a member that wants to join."""
    text = f"group {membership.group_id!r} is {state}, and has not let this member in for {_JOIN_S:.0f} s; no broker"
    text += " says why, and it is tried on"
    if membership.instance_id is not None:
        text += f": perhaps another member has instance_id={membership.instance_id!r}"
    elif membership.group_protocol == "consumer":
        text += ": perhaps the broker's group.version is 0, with which it does not know group_protocol='consumer'"
    return GroupError(text)


def _check_protocol(cluster: Cluster) -> None:
    known = cluster.api_versions()
    if known and _CONSUMER_GROUP_HEARTBEAT not in known:
        text = "this broker does not know group_protocol='consumer', as Apache Kafka does from 4.0 on: use 'classic'"
        raise UnsupportedError(text)


def _drain_timeout(given: float | None, *options: Mapping[str, Any]) -> float:
    """Return for how long to wait for handlers: the client has to be polled again before the group gives it up."""
    named = [each["max.poll.interval.ms"] for each in options if "max.poll.interval.ms" in each]
    most = int(named[0] if named else _MAX_POLL_MS) / 1000
    if given is None:
        return min(_DRAIN_S, most / 2)
    if given > most * 3 / 4:
        text = (
            f"drain_timeout={given:g} s is too long where max.poll.interval.ms is {most * 1000:.0f}: with the commit "
            f"that follows, the group would give the member up; give at most {most * 3 / 4:g} s, or a longer interval"
        )
        raise ConfigError(text)
    return given


def _cell(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _check(**numbers: float | None) -> None:
    for name, number in numbers.items():
        least = 1 if name in ("workers", "buffer_depth") else 0
        if number is None and name in ("buffer_depth", "drain_timeout"):
            continue
        if name in ("drain_timeout", "commit_interval") and number is not None:
            units.seconds(number, name)
            continue
        if not isinstance(number, (int, float)) or isinstance(number, bool) or number < least:
            text = f"{name} is a number from {least} on, not {number!r}"
            raise ArgumentError(text)
        if least and not isinstance(number, int):
            text = f"{name} is a whole number, not {number!r}"
            raise ArgumentError(text)


_NOT_STARTED = GroupStats("not started", 0, 0, 0.0, 0, {})
