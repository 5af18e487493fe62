"""Fetches on one connection of the fast engine: what to ask next, and what to do with the answers."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from kafkalab import _native
from kafkalab.errors import CorruptDataError
from kafkalab.fetch.answers import GROWTH, Verdict, continued, grown, heads_of, is_end, judge, nothing, throttled_s
from kafkalab.fetch.base import Fetched
from kafkalab.fetch.parsing import parsed
from kafkalab.fetch.patience import Pauses, rest
from kafkalab.model import OffsetRange, StopReason
from kafkalab.net.requests import PartitionFetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kafkalab.fetch.answers import Job
    from kafkalab.fetch.patience import Patience
    from kafkalab.net.wire import BrokerConnection

_FIRST_PARTITION_BYTES = 256 << 10  # a read of a few records should not wait for megabytes
_MOST_PARTITION_BYTES = 4 << 20
# For records to come. A broker with tiered storage takes this long to look for those that are elsewhere; one of Kafka
# 3.6 spoils its index of them when it is given less.
WAIT_MS = 500
# After these the next request is made at once. A batch that is cut is asked for in ever larger pieces, so not for long.
_GOOD = frozenset({Verdict.RECORDS, Verdict.CUT, Verdict.OLD, Verdict.MOVED})
# Those that bring no records are read too: why there are none may be a fault of a batch.
_READABLE = frozenset({Verdict.RECORDS, Verdict.CUT, Verdict.NOTHING})


@dataclass(slots=True)
class Lane:
    """One partition being read: the range at hand, the next offset to ask for, and the ranges that wait behind it."""

    waiting: deque[OffsetRange]
    patience: Patience
    partition: int = field(init=False)
    position: int = field(init=False)
    max_bytes: int = _FIRST_PARTITION_BYTES
    transactions: _native.Transactions = field(default_factory=_native.Transactions)
    """Those under way at the position, by the records that have come."""
    is_old: bool = False
    """Whether the messages that follow have a format that only the other engine reads."""

    def __post_init__(self) -> None:
        self.partition = self.waiting[0].partition
        self.position = self.waiting[0].start

    @property
    def settled(self) -> bool:
        """Whether nothing of it is left to read."""
        return not self.waiting

    @property
    def left(self) -> list[OffsetRange]:
        """What is left to read of the ranges."""
        first, *others = self.waiting
        return [replace(first, start=self.position), *others]

    def go_on(self) -> None:
        """Leave the range at hand for the next."""
        self.waiting.popleft()
        if self.waiting and self.waiting[0].start != self.position:
            self.jump(self.waiting[0].start)

    def jump(self, position: int) -> None:
        """Go on somewhere else."""
        self.position, self.transactions = position, _native.Transactions()

    def drop(self, finished: set[OffsetRange]) -> None:
        """Take ranges out that nobody wants more of."""
        while self.waiting and self.waiting[0] in finished:
            self.go_on()

    def advance(self, next_offset: int) -> None:
        """Go on behind whole batches that have come, and ask for more at once."""
        self.patience.progress()
        self.position = max(next_offset, self.position)
        self.max_bytes = min(self.max_bytes * GROWTH, max(_MOST_PARTITION_BYTES, self.max_bytes))
        if self.position >= self.waiting[0].end:
            self.go_on()


@dataclass(frozen=True, slots=True)
class _Part:
    """A lane as it was when it was asked for."""

    lane: Lane
    offset_range: OffsetRange
    position: int
    transactions: _native.Transactions

    @classmethod
    def of(cls, lane: Lane) -> Self:
        return cls(lane, lane.waiting[0], lane.position, lane.transactions)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A fetch under way: its number, since when, and what is asked for, by partition."""

    correlation_id: int
    since: float
    parts: Mapping[int, _Part]

    @property
    def tracks(self) -> list[Lane]:
        """The lanes, in the order in which the broker was asked for them."""
        return [part.lane for part in self.parts.values()]


class Conversation:
    """Reads lanes over one connection: the next fetch is asked for before the last is parsed.

    What an answer brings is known from the headers of its batches, so that parsing is not waited for.
    """

    def __init__(self, job: Job, connection: BrokerConnection, lanes: Sequence[Lane]) -> None:
        self._job = job
        self._connection = connection
        self._lanes = deque(lanes)
        self._moved = False
        self._pauses = Pauses()

    def responses(self) -> Iterator[tuple[_native.FetchResponse, Iterator[Fetched]]]:
        """Yield each answer with its steps, until the lanes are done or a leader has moved.

        Raises
        ------
        KafkalabError
            The broker refuses, its answer is no answer, or nothing has come for too long.
        """
        asked = self._ask()
        while asked is not None:
            response = self._receive(asked)
            readable, ends = self._heed(response, asked)
            following = None if self._connection.login_is_due else self._ask()
            yield response, self._steps(response, readable, ends)
            if following is None and self._connection.login_is_due:
                self._connection.login()
                following = self._ask()
            asked = following

    def _ask(self) -> _Asked | None:
        """Send the next request; None where there is nothing left to ask here."""
        # What a broker has in another store it gives of one partition at a time, and the last may find no room: so each
        # is to be the first in turn.
        self._lanes.rotate(-1)
        for lane in self._lanes:
            lane.drop(self._job.control.finished)
        lanes = {lane.partition: lane for lane in self._lanes if lane.waiting and not lane.is_old}
        if not lanes or self._moved or self._job.round.is_over or self._job.control.stop.is_set():
            return None
        correlation_id = self._connection.send_fetch(
            self._job.topic,
            [PartitionFetch(partition, lane.position, lane.max_bytes) for partition, lane in lanes.items()],
            read_committed=self._job.read_committed,
            max_wait_ms=WAIT_MS,
            max_bytes=self._job.response_bytes,
        )
        parts = {partition: _Part.of(lane) for partition, lane in lanes.items()}
        return _Asked(correlation_id, time.monotonic(), parts)

    def _receive(self, asked: _Asked) -> _native.FetchResponse:
        try:
            return self._connection.receive_fetch(asked.correlation_id)
        except CorruptDataError as error:
            first = asked.tracks[0]
            error.topic, error.partition, error.offset = self._job.topic, first.partition, first.position
            raise

    def _heed(self, response: _native.FetchResponse, asked: _Asked) -> tuple[dict[int, _Part], list[Fetched]]:
        """Move the lanes on by what an answer says, and wait where it brings nothing.

        Return of what its records are to be read, and steps without records.
        """
        steps: list[Fetched] = []
        verdicts: dict[int, Verdict] = {}
        throttled = throttled_s(response, self._connection.fetch_version, asked.tracks)
        for head in heads_of(response, self._job.topic, asked.tracks):
            part = asked.parts[head.partition]
            lane, verdict = part.lane, judge(self._job, head, part.lane, part.offset_range.end)
            if verdict is Verdict.CUT and not self._grow(head, lane):
                verdict = Verdict.NOTHING
            verdicts[head.partition] = verdict
            steps += self._act(verdict, head, lane, part.offset_range)
        got_on = bool(_GOOD.intersection(verdicts.values()))
        if not throttled and not response.error_code:
            self._note_silence(asked, verdicts, got_on=got_on)
        self._wait(asked, throttled, got_on=got_on)
        read = {p: asked.parts[p] for p, verdict in verdicts.items() if verdict in _READABLE}
        return read, steps

    def _grow(self, head: _native.PartitionHead, lane: Lane) -> bool:
        """Ask for more of a lane whose batch has come cut; return whether that is more than before."""
        before = lane.max_bytes
        lane.max_bytes = grown(self._job, head, lane, before)
        return lane.max_bytes > before

    def _act(
        self, verdict: Verdict, head: _native.PartitionHead, lane: Lane, offset_range: OffsetRange
    ) -> Sequence[Fetched]:
        """Do what an answer asks for of one lane; return a step without records where that is one."""
        if not head.error_code:
            self._job.control.ends[offset_range] = self._job.visible_end(head)
        match verdict:
            case Verdict.RECORDS:
                lane.advance(head.next_offset or 0)
            case Verdict.OLD:
                lane.is_old = True
            case Verdict.MOVED:
                self._moved = True
            case Verdict.OUTSIDE:
                return self._over_loss(lane, offset_range)
            case Verdict.END:
                return self._at_end(head, lane, offset_range)
        return ()

    def _over_loss(self, lane: Lane, offset_range: OffsetRange) -> Sequence[Fetched]:
        """Return the step over what retention has removed, if it has."""
        position, found = lane.position, continued(self._job, lane)
        if found is None:
            return ()
        start = min(found, offset_range.end)
        lane.jump(start)
        lane.advance(start)
        stop = StopReason.RETENTION_PASSED if start == offset_range.end else None
        lost = OffsetRange(self._job.topic, lane.partition, position, start)
        return (Fetched.without_rows(offset_range, start, self._job.options, stop, lost),)

    def _at_end(self, head: _native.PartitionHead, lane: Lane, offset_range: OffsetRange) -> Sequence[Fetched]:
        """Return the step that ends a range whose rest is not visible, if that is so; a tail waits instead."""
        if self._job.options.follow:
            lane.patience.progress()
        elif is_end(self._job, head, lane, offset_range):
            position = lane.position
            lane.go_on()
            blocked = StopReason.BLOCKED_BY_OPEN_TRANSACTION
            return (Fetched.without_rows(offset_range, position, self._job.options, blocked),)
        return ()

    def _note_silence(self, asked: _Asked, verdicts: Mapping[int, Verdict], *, got_on: bool) -> None:
        """Note what came without records that are there: those of others may have left no room, but for the first."""
        for number, lane in enumerate(asked.tracks):
            silent = verdicts.get(lane.partition, Verdict.NOTHING) is Verdict.NOTHING
            if silent and (number == 0 or not got_on):
                lane.patience.failed(nothing(self._job, lane))

    def _wait(self, asked: _Asked, throttled: float, *, got_on: bool) -> None:
        """Wait as the quota asks, and ever longer while nothing comes; for no longer than there is patience."""
        if got_on:
            self._pauses.reset()
            pause = 0.0
        else:
            pause = self._pauses.next() - (time.monotonic() - asked.since)
        waiting = (lane for lane in asked.tracks if lane.waiting)
        rest(max(throttled, pause), self._job.topic, waiting, self._job.control.stop)

    def _steps(
        self, response: _native.FetchResponse, parts: Mapping[int, _Part], ends: list[Fetched]
    ) -> Iterator[Fetched]:
        topic = self._job.topic
        wanted = {(topic, p): (part.position, part.offset_range.end, part.transactions) for p, part in parts.items()}
        for step in parsed(response, wanted, self._job.options):
            offset_range = parts[step.partition].offset_range
            stop = StopReason.REACHED if step.next_offset >= offset_range.end else None
            yield Fetched(offset_range, pa.record_batch(step), min(step.next_offset, offset_range.end), stop)
        yield from ends
