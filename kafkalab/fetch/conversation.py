"""Fetches on one connection of the fast engine: what to ask next, and what the answers mean."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
from confluent_kafka import KafkaError

from kafkalab.errors import ReadTimeoutError
from kafkalab.fetch.base import Fetched
from kafkalab.fetch.loss import after_loss, made_anew
from kafkalab.fetch.parsing import parsed
from kafkalab.model import IsolationLevel, OffsetRange, StopReason
from kafkalab.net.requests import OUT_OF_RANGE, PartitionFetch
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kafkalab import _native
    from kafkalab.cluster import Metadata
    from kafkalab.fetch.base import FetchControl, FetchOptions
    from kafkalab.net.wire import BrokerConnection

_FIRST_PARTITION_BYTES = 256 << 10  # a read of a few records should not wait for megabytes
_MOST_PARTITION_BYTES = 4 << 20
_GROWTH = 4
_WAIT_MS = 100
_FOLLOW_WAIT_MS = 500
_STALLED_S = 60.0
# What new metadata mend: a leader that has moved, or is not there yet, or is a little behind.
MOVED = frozenset({-1, 3, 5, 6, 9, 56, 74, 75, 78, 100, 103})


class Patience:
    """Knows when a read last got on, over all its connections, and what went wrong since."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._error: BaseException | None = None

    def progress(self) -> None:
        """Note that records came, or that a broker said that there are none yet."""
        self._last = time.monotonic()
        self._error = None

    def failed(self, error: BaseException) -> None:
        """Note a failure that another attempt may mend."""
        self._error = error

    def check(self, topic: str, partition: int, position: int) -> None:
        """Give up after a time without progress.

        Raises
        ------
        ReadTimeoutError
            It says what went wrong last.
        """
        if time.monotonic() - self._last > _STALLED_S:
            why = f" ({self._error})" if self._error else ""
            message = f"no answer for {_STALLED_S:.0f} s{why}: look at the broker, or read the other partitions"
            raise ReadTimeoutError(message, topic=topic, partition=partition, offset=position) from self._error


@dataclass(frozen=True, slots=True)
class Job:
    """What all connections of one fetch share."""

    topic: str
    options: FetchOptions
    control: FetchControl
    metadata: Metadata
    response_bytes: int
    patience: Patience = field(default_factory=Patience)

    @property
    def read_committed(self) -> bool:
        """Whether records of open and aborted transactions are hidden."""
        return self.options.isolation_level == IsolationLevel.READ_COMMITTED


@dataclass(slots=True)
class Lane:
    """One partition being read: the range at hand, the next offset to ask for, and the ranges that wait behind it."""

    waiting: deque[OffsetRange]
    position: int = field(init=False)
    max_bytes: int = _FIRST_PARTITION_BYTES

    def __post_init__(self) -> None:
        self.position = self.waiting[0].start

    def go_on(self) -> None:
        """Leave the range at hand for the next."""
        self.waiting.popleft()
        if self.waiting:
            self.position = self.waiting[0].start

    def drop(self, finished: set[OffsetRange]) -> None:
        """Take ranges out that nobody wants more of."""
        while self.waiting and self.waiting[0] in finished:
            self.go_on()

    def advance(self, next_offset: int) -> None:
        """Go on behind whole batches that have come, and ask for more at once."""
        self.position = max(next_offset, self.position)
        self.max_bytes = min(self.max_bytes * _GROWTH, max(_MOST_PARTITION_BYTES, self.max_bytes))
        if self.position >= self.waiting[0].end:
            self.go_on()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A fetch under way: its number, and by partition the range it is for and from where."""

    correlation_id: int
    ranges: Mapping[int, tuple[OffsetRange, int]]


class Conversation:
    """Reads lanes over one connection: the next fetch is asked for before the last is parsed.

    What an answer brings is known from the headers of its batches, so that parsing is not waited for.
    """

    def __init__(self, job: Job, connection: BrokerConnection, lanes: Mapping[int, Lane]) -> None:
        self._job = job
        self._connection = connection
        self._lanes = lanes
        self._order = deque(lanes)
        self._moved = False

    def responses(self) -> Iterator[tuple[_native.FetchResponse, Iterator[Fetched]]]:
        """Yield each answer with its steps, until the lanes are done or a leader has moved."""
        asked = self._ask()
        while asked is not None:
            response = self._connection.receive_fetch(asked.correlation_id)
            if response.throttle_ms:  # there is nothing else in it
                self._job.patience.progress()
                self._job.control.stop.wait(response.throttle_ms / 1000)
            ends = [end for head in response.partitions for end in self._heed(head, asked)]
            following = None if self._connection.login_is_due else self._ask()
            yield response, self._steps(response, asked, ends)
            if following is None and self._connection.login_is_due:
                self._connection.login()
                following = self._ask()
            asked = following

    def _ask(self) -> _Asked | None:
        """Send the next request; None where there is nothing left to ask here."""
        self._order.rotate(-1)  # the last of a request may come back empty, so each is to be the first
        lanes = {partition: self._lanes[partition] for partition in self._order}
        for lane in lanes.values():
            lane.drop(self._job.control.finished)
        ranges = {partition: (lane.waiting[0], lane.position) for partition, lane in lanes.items() if lane.waiting}
        if not ranges or self._moved or self._job.control.stop.is_set():
            return None
        correlation_id = self._connection.send_fetch(
            self._job.topic,
            [PartitionFetch(p, position, lanes[p].max_bytes) for p, (_, position) in ranges.items()],
            read_committed=self._job.read_committed,
            max_wait_ms=_FOLLOW_WAIT_MS if self._job.options.follow else _WAIT_MS,
            max_bytes=self._job.response_bytes,
        )
        return _Asked(correlation_id, ranges)

    def _heed(self, head: _native.PartitionHead, asked: _Asked) -> Iterator[Fetched]:
        """Move a lane on by what the answer says of its partition; yield the steps that hold no records."""
        offset_range, position = asked.ranges[head.partition]
        lane = self._lanes[head.partition]
        if not head.error_code:
            self._job.control.ends[offset_range] = self._visible_end(head)
        if head.error_code == OUT_OF_RANGE:
            yield self._over_loss(offset_range, position)
        elif head.error_code in MOVED:
            self._moved = True
        elif head.error_code:
            raise translate(KafkaError(head.error_code), topic=head.topic, partition=head.partition, offset=position)
        elif head.next_offset is not None:
            self._job.patience.progress()
            lane.advance(head.next_offset)
        elif head.cut_batch_bytes is not None:
            lane.max_bytes = max(lane.max_bytes, head.cut_batch_bytes)
        elif head.record_bytes:
            lane.max_bytes *= _GROWTH  # not even the size of the batch has come
        else:
            yield from self._at_end(head, offset_range, position)

    def _over_loss(self, offset_range: OffsetRange, position: int) -> Fetched:
        """Return the step over what retention has removed."""
        topic, partition, options = offset_range.topic, offset_range.partition, self._job.options
        found = after_loss(self._job.metadata, topic, partition, position, options.on_data_loss)
        start = min(found, offset_range.end)
        self._lanes[partition].advance(start)
        stop = StopReason.RETENTION_PASSED if start == offset_range.end else None
        return Fetched.without_rows(offset_range, start, options, stop, OffsetRange(topic, partition, position, start))

    def _at_end(self, head: _native.PartitionHead, offset_range: OffsetRange, position: int) -> Iterator[Fetched]:
        """Tell the end of what is visible from an answer that had no room left."""
        if position < self._visible_end(head):
            return
        self._job.patience.progress()
        if not self._job.options.follow:
            if head.high_watermark < offset_range.end:
                log = (head.log_start_offset, head.high_watermark)
                raise made_anew(offset_range.topic, offset_range.partition, position, *log)
            self._lanes[head.partition].go_on()
            blocked = StopReason.BLOCKED_BY_OPEN_TRANSACTION
            yield Fetched.without_rows(offset_range, position, self._job.options, blocked)

    def _visible_end(self, head: _native.PartitionHead) -> int:
        return head.last_stable_offset if self._job.read_committed else head.high_watermark

    def _steps(self, response: _native.FetchResponse, asked: _Asked, ends: list[Fetched]) -> Iterator[Fetched]:
        wanted = {(self._job.topic, p): (position, part.end) for p, (part, position) in asked.ranges.items()}
        for step in parsed(response, wanted, self._job.options):
            offset_range, _ = asked.ranges[step.partition]
            stop = StopReason.REACHED if step.next_offset >= offset_range.end else None
            yield Fetched(offset_range, pa.record_batch(step), min(step.next_offset, offset_range.end), stop)
        yield from ends
