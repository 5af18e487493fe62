# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""A member of a group: one client and the thread that polls it, through rebalances, commits and back-pressure."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPlace

from kafkalab.errors import DataLossError, GroupError
from kafkalab.group.heap import set_aside
from kafkalab.group.session import Session
from kafkalab.model import TopicPartition
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kafkalab.group.handler import Hooks
    from kafkalab.group.pool import Pool

_LOG = logging.getLogger("kafkalab.group")
_SLICE_S = 0.1  # how long the client waits for a record, or, while all is paused, for a rebalance
_PATIENCE_S = 0.25  # pausing throws away what was fetched ahead, so it has to be worth it
_MOST_MESSAGES = 10_000
_CLOSING_S = 5.0  # workers have had drain_timeout already
_COMMIT_S = 10.0
_RETRY_S = 0.05

# What a commit can meet in the midst of a rebalance, or while a broker is away.
_PASSING = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
)
# What ends the group: nothing will come any more until someone acts.
_FINAL = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._AUTHENTICATION,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.UNRELEASED_INSTANCE_ID,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
)


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
    pin : callable, optional
        Given partitions without a commit, returns the offsets to commit for them before anything is read.
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
        pin: Callable[[list[TopicPartition]], dict[TopicPartition, int]] | None,
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
        self._pin = pin
        self._stop = stop
        self._tell = tell
        self._failure: Exception | None = None
        self._warned = False
        self._next_commit = time.monotonic() + commit_interval
        self._pause = threading.Event()  # never set: to wait a moment
        self.committed: dict[TopicPartition, int] = {}
        self.end_offsets: dict[TopicPartition, int] = {}
        self.rebalances = 0
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
        finally:
            self._leave()
        if self._failure is not None:
            raise self._failure

    def _turn(self) -> None:
        self._take_in(self._messages(self._room()))
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
        if any(map(Message.error, messages)):
            for event in filter(Message.error, messages):
                self._on_event(event)
            messages = [message for message in messages if message.error() is None]
        if messages:
            parts = itertools.groupby(messages, self._place_of)
            self._pool.add(list(batch) for _, batch in parts)

    def _on_event(self, event: Message) -> None:
        error = event.error()
        assert error is not None  # noqa: S101 - that is what makes it an event
        where = {"topic": event.topic(), "partition": event.partition()} if event.topic() else {}
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            text = f"{error.str()}; group {self._group_id!r} was told start='error': seek it, or start elsewhere"
            self._failure = DataLossError(text, **where)  # type: ignore[arg-type]  # names of its arguments
        elif error.fatal() or error.code() in _FINAL:
            self._failure = translate(error, **where)
        else:
            self._tell(translate(error, **where))

    # Rebalances

    def _on_assign(self, client: Consumer, assigned: list[KafkaPlace]) -> None:
        self.rebalances += 1
        places = _places(assigned)
        if self._pin is not None and places:
            self._pin_starts(client, assigned, self._pin)
        if self._hooks.stops_the_world:
            self._end_session()
        self._pool.expect_replay()
        self._pool.assign(places)
        self._begin_session()

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
            self._commit_now(self._pool.low_waters(parts))
        self._pool.forget(parts)
        self._pool.expect_replay()
        for part in parts:
            self.committed.pop(part.place, None)
            self.end_offsets.pop(part.place, None)

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

    def _pin_starts(
        self,
        client: Consumer,
        assigned: list[KafkaPlace],
        pin: Callable[[list[TopicPartition]], dict[TopicPartition, int]],
    ) -> None:
        """Commit where reading begins, so that whoever has the partition next does not begin later."""
        try:
            found = client.committed(assigned, timeout=self._drain_timeout)
            missing = _places([part for part in found if part.offset < 0])
            if missing:
                self._commit_now(pin(missing))
        except Exception as error:  # noqa: BLE001 - whatever it is, the group cannot know where to begin
            self._failure = translate(error) if isinstance(error, KafkaException) else error

    # Commits

    def _commit_soon(self) -> None:
        """Have the client commit what is done; whether that has come through is told later."""
        if due := self._due(self._pool.low_waters()):
            try:
                self._client.commit(offsets=due, asynchronous=True)
            except KafkaException as error:
                self._note_failure(error.args[0])

    def _commit_now(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit, and see it through: in the midst of a rebalance the broker may not take it at first."""
        deadline = time.monotonic() + _COMMIT_S
        while due := self._due(offsets):
            try:
                errors = self._note_commits(self._client.commit(offsets=due, asynchronous=False) or [])
            except KafkaException as error:
                errors = [error.args[0]]
            if time.monotonic() > deadline or any(found.code() not in _PASSING for found in errors):
                for found in errors:
                    self._tell(translate(found))
                return
            if errors:
                self._pause.wait(_RETRY_S)

    def _due(self, offsets: Mapping[TopicPartition, int]) -> list[KafkaPlace]:
        due = {place: offset for place, offset in offsets.items() if self.committed.get(place) != offset}
        return [KafkaPlace(place.topic, place.partition, offset) for place, offset in due.items()]

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
        if error.code() in _PASSING:
            _LOG.debug("group %s: a commit did not come through: %s", self._group_id, error)
        else:
            self._tell(translate(error))

    def _look_at_ends(self) -> None:
        for place in self._pool.places:
            marks = self._client.get_watermark_offsets(KafkaPlace(place.topic, place.partition), cached=True)
            if marks[1] >= 0:
                self.end_offsets[place] = marks[1]


def _topic_and_partition(message: Message) -> Any:
    return message.topic(), message.partition()


def _places(parts: Iterable[KafkaPlace]) -> list[TopicPartition]:
    return [TopicPartition(part.topic, part.partition) for part in parts]


def _kafka(places: Iterable[TopicPartition]) -> list[KafkaPlace]:
    return [KafkaPlace(place.topic, place.partition) for place in places]
