# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""A member of a group: one client and the thread that polls it, through rebalances, commits and back-pressure."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPlace

from kafkalab.errors import (
    BrokerUnreachableError,
    DataLossError,
    GroupError,
    KafkalabError,
    OfflinePartitionError,
    ReadTimeoutError,
)
from kafkalab.group.heap import set_aside
from kafkalab.group.logs import go_on, tag, tagged
from kafkalab.group.session import Session
from kafkalab.group.verdict import Verdict, judge, told
from kafkalab.model import TopicPartition
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kafkalab.group.handler import Hooks
    from kafkalab.group.logs import Logs
    from kafkalab.group.pool import Pool

_T = TypeVar("_T")
_LOG = logging.getLogger("kafkalab.group")
_SLICE_S = 0.1  # how long the client waits for a record, or, while all is paused, for a rebalance
_PATIENCE_S = 0.25  # pausing throws away what was fetched ahead, so it has to be worth it
_MOST_MESSAGES = 10_000
_CLOSING_S = 5.0  # workers have had drain_timeout already
_COMMIT_S = 10.0
_BEGIN_S = 60.0
_RETRY_S = 0.05
_AGAIN_S = 0.5
_MAX_POLL_MS = 300_000


class Member:
    """Polls one client until told to stop; everything that touches the client happens in that thread.

    Parameters
    ----------
    options : mapping
        Of the client.
    topics : sequence of str
        What to subscribe to.
    pool : Pool
        Who handles the records.
    hooks : Hooks
        The handler's other parts.
    buffer_depth, drain_timeout, commit_interval
        As in `ConsumerGroup`.
    logs : Logs, optional
        Where to begin, and to go on where a log is not what it was; without it, that is an error.
    stop : threading.Event
        Ends it.
    tell : callable
        Given each error that it lives with.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        topics: Sequence[str],
        pool: Pool,
        hooks: Hooks,
        *,
        buffer_depth: int | None,
        drain_timeout: float,
        commit_interval: float,
        logs: Logs | None,
        stop: threading.Event,
        tell: Callable[[Exception], None],
    ) -> None:
        self._pool = pool
        self._hooks = hooks
        self._topics = list(topics)
        one_topic = len(self._topics) == 1 and not self._topics[0].startswith("^")
        self._place_of: Callable[[Message], Any] = Message.partition if one_topic else _topic_and_partition
        self._group_id = str(options["group.id"])
        self._buffer_depth = buffer_depth
        self._drain_timeout = drain_timeout
        self._commit_interval = commit_interval
        self._logs = logs
        self._stop = stop
        self._tell = tell
        self._failure: Exception | None = None
        self._warned = False
        newer = options.get("group.protocol") == "consumer"
        self._incremental = newer or options.get("partition.assignment.strategy") == "cooperative-sticky"
        most_away = int(options.get("max.poll.interval.ms", _MAX_POLL_MS)) / 1000
        self._commit_patience = min(_COMMIT_S, most_away / 4)
        self._begin_patience = min(_BEGIN_S, most_away / 4)
        self._ids: dict[TopicPartition, str] = {}
        self._astray: set[TopicPartition] = set()
        """Partitions whose logs do not hold what comes next; the client reads none of them until it is told where."""
        self._pins: dict[TopicPartition, int] = {}
        """Where partitions begin that are held back until that is committed."""
        self._tagging = True
        self._next_try = 0.0
        self._followed = 0
        self._last_trouble = ""
        self._next_commit = time.monotonic() + commit_interval
        self._pause = threading.Event()  # never set: to wait a moment
        self.committed: dict[TopicPartition, int] = {}
        self.end_offsets: dict[TopicPartition, int] = {}
        self.rebalances = 0
        self.member_id = ""
        self.has_joined = False
        try:
            self._client = Consumer({**options, "on_commit": self._on_commit})
        except KafkaException as error:
            # The client's frames hold the passwords in plain text.
            raise translate(error) from error.with_traceback(None)

    def run(self) -> None:
        """Take part until told to stop, then finish what is in flight, commit, and leave."""
        callbacks = {"on_assign": self._on_assign, "on_revoke": self._on_revoke, "on_lost": self._on_lost}
        try:
            self._client.subscribe(self._topics, **callbacks)
            with set_aside():
                while not self._stop.is_set():
                    self._turn()
        except KafkaException as error:
            self._meet(error.args[0])
            self._failure = self._failure or told(error.args[0], self._group_id)
        finally:
            self._leave()
        if self._failure is not None:
            raise self._failure

    def _turn(self) -> None:
        self._take_in(self._messages(self._room()))
        self._pool.meter.note(self._pool.handled)
        if not self.has_joined:
            self.member_id = self._client.memberid() or ""
        self._follow()
        if self._failure is not None:
            self._stop.set()
        elif time.monotonic() > self._next_commit:
            self._commit_soon()
            self._look_at_ends()
            self._next_commit = time.monotonic() + self._commit_interval

    def _leave(self) -> None:
        try:
            self._give_up(self._pool.places)
        finally:
            self._client.close()
            self._pool.close(_CLOSING_S)

    # Records

    def _messages(self, room: int) -> list[Message]:
        # consume() waits until it has all it was asked for, so it is only asked for what is there.
        first = self._client.poll(_SLICE_S)
        if first is None or room < 2:  # noqa: PLR2004 - the first one fills it
            return [] if first is None else [first]
        return [first, *self._client.consume(room - 1, 0)]

    def _room(self) -> int:
        """Return how many records any partition that is not paused can take; pause those that are full."""
        depth = self.depth
        if resumed := self._pool.resume(depth // 4):
            self._client.resume(_kafka(resumed))
        most = self._pool.wait_for_room(depth // 2, _PATIENCE_S)
        if most > depth // 2:
            self._client.pause(_kafka(self._pool.pause(depth // 2)))
            most = depth // 2
        elif not self._warned and self._pool.waits_for_marks:
            self._warned = True
            text = (
                f"all records are handed out, and too few are marked to go on: mark them, or raise buffer_depth={depth}"
            )
            self._tell(GroupError(text))
        return max(min(depth - most, _MOST_MESSAGES), 1)

    @property
    def depth(self) -> int:
        """How many records of a partition may wait."""
        return self._buffer_depth or max(1_000, 20_000 // max(len(self._pool.places), 1))

    def _take_in(self, messages: list[Message]) -> None:
        events = []
        if any(map(Message.error, messages)):
            events = [message for message in messages if message.error() is not None]
            messages = [message for message in messages if message.error() is None]
        if messages:
            parts = itertools.groupby(messages, self._place_of)
            self._pool.add(list(batch) for _, batch in parts)
        for event in events:  # what comes after one of its partition does not depend on it
            self._on_event(event)

    def _on_event(self, event: Message) -> None:
        error = event.error()
        assert error is not None  # noqa: S101 - that is what makes it an event
        place = TopicPartition(event.topic() or "", event.partition() or 0)
        if error.code() == KafkaError._PARTITION_EOF:
            self._pool.advance(place, event.offset() or 0)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET and self._logs is not None:
            self._astray.add(place)
        else:
            where = {"topic": event.topic(), "partition": event.partition()} if event.topic() else {}
            self._meet(error, where, nothing_reads=error.code() == KafkaError._AUTO_OFFSET_RESET)

    def _meet(
        self, error: KafkaError, where: Mapping[str, object] | None = None, *, nothing_reads: bool = False
    ) -> None:
        """Live with an error, wherever it has come from, or end with it."""
        verdict = judge(error, in_group=self._logs is not None)
        if verdict is Verdict.ENDS or nothing_reads:
            self._failure = self._failure or told(error, self._group_id, where)
        elif verdict is not Verdict.IGNORED:
            self._tell(told(error, self._group_id, where))

    # Rebalances

    def _on_assign(self, client: Consumer, assigned: list[KafkaPlace]) -> None:
        self.rebalances += 1
        self.has_joined = True
        if self._hooks.stops_the_world:
            self._end_session()
        if assigned and self._logs is not None:
            try:
                self._begin(client, assigned, self._logs)
            except Exception as error:  # noqa: BLE001 - whatever it is, the group cannot know where to begin
                self._fail(error)
        self._begin_session()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, KafkaException):
            error = told(error.args[0], self._group_id)
        if not self._stop.is_set():
            self._failure = self._failure or error

    def _begin(self, client: Consumer, assigned: list[KafkaPlace], logs: Logs) -> None:
        """Find out where to begin, have that committed where a crash would lose it, and begin."""
        ids = self._persist(lambda: logs.look(part.topic for part in assigned))
        commits = self._persist(lambda: self._committed(client, assigned))
        self._ids |= {place: ids[place.topic] for place in commits if place.topic in ids}
        starts = {place: part.offset for place, part in commits.items() if part.offset >= 0}
        former = {place: tagged(commits[place].metadata) for place in starts}
        others = {
            place: (known, self._ids[place])
            for place, known in former.items()
            if known is not None and self._ids.get(place, known) != known
        }
        self.committed |= {place: offset for place, offset in starts.items() if place not in others}
        pins: dict[TopicPartition, int] = {}
        errors: list[DataLossError] = []
        if others:
            positions = {place: starts[place] for place in others}
            pins, errors = self._persist(lambda: self._targets(logs, positions, others))
        if missing := [place for place in commits if place not in starts]:
            pins |= self._persist(lambda: logs.beginnings(missing))
        starts |= pins
        self._pins |= {place: offset for place, offset in pins.items() if offset >= 0}
        self._pool.assign(starts, held=self._pins)
        self._commit_pins(self._commit_patience)
        (client.incremental_assign if self._incremental else client.assign)(_kafka(starts, starts))
        for error in errors:
            self._tell(error)

    def _committed(self, client: Consumer, assigned: list[KafkaPlace]) -> dict[TopicPartition, KafkaPlace]:
        found = client.committed(assigned, timeout=self._begin_patience)
        for part in found:
            if part.error is not None:
                raise KafkaException(part.error)
        return dict(zip(_places(found), found, strict=True))

    def _persist(self, call: Callable[[], _T]) -> _T:
        """Make a call again as long as it may still come through."""
        deadline = time.monotonic() + self._begin_patience
        while True:
            try:
                return call()
            except (KafkaException, BrokerUnreachableError, ReadTimeoutError, OfflinePartitionError) as error:
                lasts = isinstance(error, KafkaException) and judge(error.args[0]) is not Verdict.PASSES
                if lasts or self._stop.is_set() or time.monotonic() > deadline:
                    raise
                _LOG.debug("group %s: where to begin is not known yet: %s", self._group_id, error)
            self._pause.wait(_RETRY_S)

    # Logs that are not what they were

    def _follow(self) -> None:
        """Go on where a log does not hold what comes next, or is another one; and commit where that is."""
        logs = self._logs
        if logs is None or time.monotonic() < self._next_try:
            return
        astray = set(self._astray)
        if logs.version != self._followed:
            self._followed = logs.version
            astray |= {place for place, known in self._ids.items() if logs.other(place.topic, known) is not None}
        try:
            for topic in sorted({place.topic for place in astray}):
                self._go_on(logs, topic, {place for place in astray if place.topic == topic})
        except (KafkalabError, KafkaException) as error:
            self._astray |= astray
            self._next_try = time.monotonic() + _AGAIN_S
            self._note_trouble(error)
        else:
            self._commit_pins(0)

    def _go_on(self, logs: Logs, topic: str, astray: set[TopicPartition]) -> None:
        logs.look([topic])
        known = {place: self._ids.get(place) for place in self._pool.places if place.topic == topic}
        now = {place: logs.other(topic, topic_id) for place, topic_id in known.items()}
        others = {place: (str(known[place]), topic_id) for place, topic_id in now.items() if topic_id is not None}
        positions = {place: self._position(place) for place in known if place in astray or place in others}
        targets, errors = self._targets(logs, positions, others)
        self._move(targets)
        for place in targets:
            self.committed.pop(place, None)
        self._pool.renew(targets, held=True)
        self._pins |= targets
        self._ids |= {place: topic_id for place, (_, topic_id) in others.items()}
        for former, _ in others.values():
            logs.leave(former)
        self._astray -= astray
        for error in errors:
            self._tell(error)

    def _move(self, targets: Mapping[TopicPartition, int]) -> None:
        """Have the client go on elsewhere; it seeks in no partition that it has given up to read."""
        if self._incremental:
            parts = _kafka(targets)
            self._client.incremental_unassign(parts)
            self._client.incremental_assign(_kafka(targets, targets))
        else:
            offsets = {place: self._pool.position(place) for place in self._pool.places} | dict(targets)
            self._client.assign(_kafka(offsets, offsets))

    def _position(self, place: TopicPartition) -> int:
        found = self._pool.position(place)
        return self.committed.get(place, 0) if found < 0 else found

    def _targets(
        self,
        logs: Logs,
        positions: Mapping[TopicPartition, int],
        others: Mapping[TopicPartition, tuple[str, str]],
    ) -> tuple[dict[TopicPartition, int], list[DataLossError]]:
        """Return where to go on, and what is lost by that."""
        bounds: dict[TopicPartition, tuple[int, int]] = {}
        for topic in {place.topic for place in positions}:
            found = logs.bounds(topic, [place.partition for place in positions if place.topic == topic])
            bounds |= {TopicPartition(topic, number): pair for number, pair in found.items()}
        targets: dict[TopicPartition, int] = {}
        errors: list[DataLossError] = []
        for place, position in positions.items():
            target, error = go_on(place, position, bounds[place], logs.start, others.get(place))
            if target is None:
                raise error
            targets[place] = target
            errors.append(error)
        return targets, errors

    def _note_trouble(self, error: KafkalabError | KafkaException) -> None:
        if isinstance(error, KafkaException):
            error = told(error.args[0], self._group_id)
        if isinstance(error, DataLossError):  # as it was told to
            self._failure = self._failure or error
        elif str(error) != self._last_trouble:
            self._last_trouble = str(error)
            self._tell(error)

    def _commit_pins(self, patience: float) -> None:
        """Have partitions handed out whose beginnings are committed; the others are tried again soon."""
        if not self._pins:
            return
        self._commit_now(self._pins, patience)
        done = [place for place, offset in self._pins.items() if self.committed.get(place) == offset]
        for place in done:
            del self._pins[place]
        self._pool.release(done)
        if self._pins:
            self._next_try = time.monotonic() + _AGAIN_S

    def _on_revoke(self, _client: Consumer, revoked: list[KafkaPlace]) -> None:
        self._give_up(_places(revoked))
        self._begin_session()

    def _on_lost(self, _client: Consumer, lost: list[KafkaPlace]) -> None:
        _LOG.warning("group %s: lost %d partitions without a word; others have them", self._group_id, len(lost))
        self._give_up(_places(lost), commit=False)
        self._begin_session()

    def _give_up(self, places: Iterable[TopicPartition], *, commit: bool = True) -> None:
        """Let workers end what they are at in some partitions, commit what is done, and let go."""
        parts = self._pool.retire(places)
        if paused := [part.place for part in parts if part.paused]:
            self._client.resume(_kafka(paused))  # or they would still be paused when they come back
        if self._hooks.stops_the_world:
            self._end_session()
        elif commit and not self._pool.wait_idle(self._drain_timeout, parts):
            self._warn_of_stragglers()
        if commit and parts:
            self._commit_now(self._pool.low_waters(parts), self._commit_patience)
        self._pool.forget(parts)
        for part in parts:
            self._astray.discard(part.place)
            for known in (self.committed, self.end_offsets, self._ids, self._pins):
                known.pop(part.place, None)

    def _end_session(self) -> None:
        self._pool.stop()
        if self._pool.session is None:
            return
        if not self._pool.wait_idle(self._drain_timeout):
            self._warn_of_stragglers()
        session, self._pool.session = self._pool.session, None
        self._call(self._hooks.cleanup, session)

    def _begin_session(self) -> None:
        places = self._pool.places
        if self._failure is not None or self._stop.is_set() or not places:
            return
        session = Session(self._group_id, self._client.memberid() or "", places, self._pool.mark)
        self._call(self._hooks.setup, session)
        if self._failure is None:
            self._pool.session = session
            self._pool.go_on()

    def _call(self, hook: Callable[[Session], object] | None, session: Session) -> None:
        try:
            if hook is not None:
                hook(session)
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            self._failure = self._failure or error

    def _warn_of_stragglers(self) -> None:
        _LOG.warning(
            "group %s: a handler was not done within drain_timeout=%s s; its records will be handled again",
            self._group_id,
            self._drain_timeout,
        )

    # Commits

    def _commit_soon(self) -> None:
        """Have the client commit what is done; whether that has come through is told later."""
        if due := self._due(self._pool.low_waters()):
            try:
                self._client.commit(offsets=due, asynchronous=True)
            except KafkaException as error:
                self._note_failure(error.args[0])

    def _commit_now(self, offsets: Mapping[TopicPartition, int], patience: float) -> None:
        """Commit, and see it through: in the midst of a rebalance the broker may not take it at first."""
        deadline = time.monotonic() + patience
        while due := self._due(offsets):
            try:
                errors = self._note_commits(self._client.commit(offsets=due, asynchronous=False) or [])
            except KafkaException as error:
                errors = [error.args[0]]
            if time.monotonic() > deadline or any(not self._will_pass(error) for error in errors):
                for found in errors:
                    self._note_failure(found)
                return
            if errors:
                self._pause.wait(_RETRY_S)

    def _due(self, offsets: Mapping[TopicPartition, int]) -> list[KafkaPlace]:
        due = {place: offset for place, offset in offsets.items() if self.committed.get(place) != offset}
        return [self._tagged(place, offset) for place, offset in due.items()]

    def _tagged(self, place: TopicPartition, offset: int) -> KafkaPlace:
        text = tag(self._ids.get(place)) if self._tagging else None
        return KafkaPlace(place.topic, place.partition, offset, *(() if text is None else (text,)))

    def _will_pass(self, error: KafkaError) -> bool:
        if error.code() == KafkaError.OFFSET_METADATA_TOO_LARGE and self._tagging:
            self._tagging = False
            _LOG.warning("group %s: its broker takes no topic's id with a commit, so they go without", self._group_id)
            return True
        return judge(error) is Verdict.PASSES

    def _on_commit(self, error: KafkaError | None, done: list[KafkaPlace]) -> None:
        for found in [error] if error is not None else self._note_commits(done):
            self._note_failure(found)

    def _note_commits(self, done: Iterable[KafkaPlace]) -> list[KafkaError]:
        for part in done:
            if part.error is None:
                self.committed[TopicPartition(part.topic, part.partition)] = part.offset
        return [part.error for part in done if part.error is not None]

    def _note_failure(self, error: KafkaError) -> None:
        # What passes is tried again with the next commit.
        if self._will_pass(error):
            _LOG.debug("group %s: a commit did not come through: %s", self._group_id, error)
        else:
            self._meet(error)

    def _look_at_ends(self) -> None:
        for place in self._pool.places:
            marks = self._client.get_watermark_offsets(KafkaPlace(place.topic, place.partition), cached=True)
            if marks[1] >= 0:
                self.end_offsets[place] = marks[1]


def _topic_and_partition(message: Message) -> Any:
    return message.topic(), message.partition()


def _places(parts: Iterable[KafkaPlace]) -> list[TopicPartition]:
    return [TopicPartition(part.topic, part.partition) for part in parts]


def _kafka(places: Iterable[TopicPartition], offsets: Mapping[TopicPartition, int] | None = None) -> list[KafkaPlace]:
    """Return partitions as the client takes them; -1 stands for wherever the log begins."""
    if offsets is None:
        return [KafkaPlace(place.topic, place.partition) for place in places]
    at = {place: OFFSET_BEGINNING if offset < 0 else offset for place, offset in offsets.items()}
    return [KafkaPlace(place.topic, place.partition, at[place]) for place in places]
