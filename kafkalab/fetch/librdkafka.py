"""The portable engine, over confluent-kafka's consumer: slower, and right wherever librdkafka gets in."""

from __future__ import annotations

import time
import warnings
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Assignment

from kafkalab import _native
from kafkalab.errors import ArgumentError, KafkalabError, KafkalabWarning, ReadTimeoutError
from kafkalab.fetch.base import HEADERS, TIMESTAMP, Fetched, record_schema
from kafkalab.fetch.loss import after_retention, deleted, made_anew
from kafkalab.fetch.patience import Clock, Patience, Pauses, is_passing, pause
from kafkalab.model import FetchStats, OffsetRange, StopReason
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from kafkalab.cluster import Metadata
    from kafkalab.connection import ConnectionConfig
    from kafkalab.fetch.base import FetchControl, FetchOptions
    from kafkalab.model import Watermarks

# confluent_kafka.Message, whose every accessor is typed as optional though a consumed message has them all.
Message: TypeAlias = Any

_SLICE_S = 0.2  # consume() holds off Ctrl-C, so it waits no longer than this
_MOST_MESSAGES = 10_000
_LOOK_AFTER_S = 5.0
_STALLED_S = 60.0
_WORTH_A_SEEK = 1_000  # offsets; reading on through fewer is cheaper than a round trip
_MOST_QUEUED = 100_000  # with the back-off below, more only takes memory
_LIKELY_BYTES = 256  # of a record
_LEAST_FETCH_BYTES, _MOST_FETCH_BYTES = 64 << 10, 4 << 20
_READING = {
    "enable.partition.eof": True,
    "check.crcs": True,
    "fetch.max.bytes": _MOST_FETCH_BYTES,  # librdkafka decompresses a response whole, of all its partitions
    "fetch.queue.backoff.ms": 1,
    "fetch.wait.max.ms": 10,  # so long the end of a log is waited for
    "receive.message.max.bytes": 1 << 30,  # a broker gives a whole batch, however little is asked for
}
# The consumer has to have a group, which it neither joins nor commits to: whether it may is of no account.
_OF_GROUPS = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)
_COORDINATOR = "FindCoordinator"
# On a name that is no UTF-8, message.headers() returns a list with a hole in it, and an error on the side. Only calls
# from C look there and raise SystemError; once Python has specialised a call, it touches the hole and crashes.
_HEADERS_OF = methodcaller("headers")
# One whole batch a fetch: the broker returns at least that whatever the limit.
_PROBING = _READING | {"queued.min.messages": 1, "fetch.message.max.bytes": 1}


@dataclass(frozen=True, slots=True)
class _Pulled:
    """Messages of one partition in offset order; everything visible below ``position`` is among these or earlier ones.

    ``at_end`` says that the visible log ended there; ``lost`` that retention had removed what lay below.
    """

    partition: int
    messages: list[Message]
    position: int
    at_end: bool = False
    lost: OffsetRange | None = None


@dataclass(slots=True)
class _Lane:
    """One partition being read: the range at hand, where it is, and the ranges that wait behind it."""

    waiting: deque[OffsetRange]
    position: int = field(init=False)

    def __post_init__(self) -> None:
        self.position = self.waiting[0].start

    def advance(self, pulled: _Pulled, options: FetchOptions) -> Iterator[Fetched]:
        """Yield the steps that newly pulled messages allow; ranges that are done leave the lane."""
        arrow_batch = _to_arrow(pulled.messages, options)
        offsets = arrow_batch["offset"].to_numpy()
        self.position = pulled.position
        while self.waiting:
            current = self.waiting[0]
            low, high = np.searchsorted(offsets, (current.start, current.end))
            rows = arrow_batch.slice(low, high - low)
            next_offset = min(max(pulled.position, current.start), current.end)
            stop = self._stop(current, pulled, options)
            lost = _overlap(pulled.lost, current)
            if rows.num_rows or stop is not None or lost:
                yield Fetched(current, rows, next_offset, stop, lost)
            if stop is None:
                return
            self._go_on_after(current)
            if self.position != pulled.position:
                return

    @staticmethod
    def _stop(current: OffsetRange, pulled: _Pulled, options: FetchOptions) -> StopReason | None:
        if pulled.position >= current.end:
            return StopReason.RETENTION_PASSED if pulled.lost else StopReason.REACHED
        if pulled.at_end and not options.follow:
            return StopReason.BLOCKED_BY_OPEN_TRANSACTION
        return None

    def drop(self, finished: set[OffsetRange]) -> None:
        """Take ranges out that nobody wants more of."""
        while self.waiting and self.waiting[0] in finished:
            self._go_on_after(self.waiting[0])

    def _go_on_after(self, done: OffsetRange) -> None:
        self.waiting.popleft()
        # The next range may start behind what has been pulled already; its messages are then among these.
        if self.waiting and not done.end <= self.waiting[0].start <= self.position:
            self.position = self.waiting[0].start


class LibrdkafkaFetcher:
    """Reads through `confluent_kafka.Consumer`, assigned by hand: no group is joined and nothing is committed.

    Parameters
    ----------
    config : ConnectionConfig
        How to get in.
    metadata : Metadata
        Asked for watermarks when the log has moved under a read.
    settings : mapping, optional
        librdkafka options that replace this engine's own, such as those that tuning has found.
    """

    name = "librdkafka"

    def __init__(self, config: ConnectionConfig, metadata: Metadata, settings: Mapping[str, Any] | None = None) -> None:
        self._config = config
        self._metadata = metadata
        self._settings = dict(settings or {})
        self._stats = FetchStats()

    def __repr__(self) -> str:
        return f"<LibrdkafkaFetcher {self._config!r}>"

    @property
    def stats(self) -> FetchStats:
        """What it has fetched; librdkafka does not say in how many requests."""
        return self._stats

    def fetch(self, ranges: Sequence[OffsetRange], options: FetchOptions, control: FetchControl) -> Generator[Fetched]:
        """Yield the visible records of the ranges as they come."""
        lanes: dict[int, _Lane] = {}
        nothing = _to_arrow((), options)
        for offset_range in ranges:
            if not offset_range.span:
                yield Fetched(offset_range, nothing, offset_range.start, StopReason.REACHED)
            elif offset_range.partition in lanes:
                lanes[offset_range.partition].waiting.append(offset_range)
            else:
                lanes[offset_range.partition] = _Lane(deque([offset_range]))
        if lanes:
            with suppress(_native.StoppedError):
                yield from self._read(_only_topic(ranges), lanes, options, control)

    def _read(
        self, topic: str, lanes: dict[int, _Lane], options: FetchOptions, control: FetchControl
    ) -> Generator[Fetched]:
        positions = {partition: lane.position for partition, lane in lanes.items()}
        settings = _reading(offset_range for lane in lanes.values() for offset_range in lane.waiting)
        with _Stream(self, topic, settings, positions, options) as stream:
            for pulled in stream.pull(control):
                lane = lanes[pulled.partition]
                ends = pulled.at_end and not options.follow
                if ends and self._goes_on(lane.waiting[0], pulled.position, options, control):
                    continue
                if options.follow:
                    control.ends[lane.waiting[0]] = stream.end(pulled.partition)
                for step in lane.advance(pulled, options):
                    self._count(step)
                    yield step
                lane.drop(control.finished)
                if not lane.waiting:
                    stream.leave(pulled.partition)
                else:
                    stream.move(pulled.partition, lane.position)

    def _goes_on(self, offset_range: OffsetRange, position: int, options: FetchOptions, control: FetchControl) -> bool:
        """Tell an end that a broker just behind has shown from one that an open transaction makes."""
        if position >= offset_range.end:
            return False
        topic, partition = offset_range.topic, offset_range.partition
        marks = _watermarks(self._metadata, topic, partition, position, control)
        if marks.high_watermark < offset_range.end:
            raise made_anew(marks, topic, partition, position)
        return marks.end_offset(options.isolation_level) > position

    def probe(
        self, topic: str, draws: Mapping[int, NDArray[np.int64]], options: FetchOptions, control: FetchControl
    ) -> Generator[Fetched]:
        """Yield the visible records among the drawn offsets: seek to a draw, or read on where the next is near."""
        with suppress(_native.StoppedError):
            yield from self._look_up(topic, draws, options, control)

    def _look_up(
        self, topic: str, draws: Mapping[int, NDArray[np.int64]], options: FetchOptions, control: FetchControl
    ) -> Generator[Fetched]:
        sparse = any(np.diff(offsets).max(initial=0) > _WORTH_A_SEEK for offsets in draws.values())
        ranges = {p: OffsetRange(topic, p, int(offsets[0]), int(offsets[-1]) + 1) for p, offsets in draws.items()}
        wanted = {partition: set(offsets.tolist()) for partition, offsets in draws.items()}
        starts = {partition: offset_range.start for partition, offset_range in ranges.items()}
        settings = _PROBING if sparse else _reading(ranges.values())
        with _Stream(self, topic, settings, starts, options) as stream:
            for pulled in stream.pull(control):
                partition, offsets = pulled.partition, draws[pulled.partition]
                if pulled.at_end and self._goes_on(ranges[partition], pulled.position, options, control):
                    continue
                hits = [message for message in pulled.messages if message.offset() in wanted[partition]]
                following = np.searchsorted(offsets, pulled.position)
                settled = pulled.at_end or following == len(offsets)
                position = ranges[partition].end if settled else int(offsets[following])
                stop = StopReason.REACHED if settled else None
                step = Fetched(ranges[partition], _to_arrow(hits, options), position, stop, pulled.lost)
                self._count(step)
                yield step
                if settled:
                    stream.leave(partition)
                else:
                    stream.move(partition, position)

    def _count(self, step: Fetched) -> None:
        before, batch = self._stats, step.arrow_batch
        size = sum(batch[name].nbytes for name in ("key", "value"))
        self._stats = FetchStats(0, before.records + batch.num_rows, before.bytes + size)


class _Stream:
    """A consumer with its partitions: messages grouped by partition, ends seen, errors translated."""

    def __init__(
        self,
        engine: LibrdkafkaFetcher,
        topic: str,
        settings: Mapping[str, Any],
        positions: Mapping[int, int],
        options: FetchOptions,
    ) -> None:
        self._topic = topic
        self._positions = dict(positions)
        self._options = options
        self._metadata = engine._metadata  # noqa: SLF001 - the two are one
        chosen = {"isolation.level": str(options.isolation_level), **settings, **engine._settings}  # noqa: SLF001 - the two are one
        self._consumer = Consumer(engine._config.consumer_options(**chosen))  # noqa: SLF001 - the two are one
        self._moved: set[int] = set()
        self._was_unknown = False
        self._last_answer = self._last_look = time.monotonic()

    def __enter__(self) -> Self:
        self._consumer.assign([Assignment(self._topic, p, offset) for p, offset in self._positions.items()])
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def move(self, partition: int, position: int) -> None:
        """Go on at a position: by a seek where it lies behind, or far enough ahead."""
        if not 0 <= position - self._positions[partition] <= _WORTH_A_SEEK:
            self._consumer.seek(Assignment(self._topic, partition, position))
            self._positions[partition] = position
            self._moved.add(partition)

    def leave(self, partition: int) -> None:
        """Read no more of a partition."""
        del self._positions[partition]
        self._consumer.incremental_unassign([Assignment(self._topic, partition)])

    def end(self, partition: int) -> int:
        """Return where a partition's log ended when its broker last answered, without asking anew."""
        _, end = self._consumer.get_watermark_offsets(Assignment(self._topic, partition), cached=True)
        return end

    def pull(self, control: FetchControl) -> Iterator[_Pulled]:
        """Yield what comes, until no partition is left or the reader says stop."""
        while self._positions and not control.stop.is_set():
            self._moved.clear()
            slice_of = self._slice(control)
            for pulled in slice_of:
                # What was pulled with it before a partition was left, or moved, says nothing of where it is now.
                if pulled.partition in self._positions and pulled.partition not in self._moved:
                    self._positions[pulled.partition] = pulled.position
                    yield pulled
            # A reader may be slow: its time does not count.
            now = time.monotonic()
            if slice_of:
                self._last_answer = self._last_look = now
            elif now - self._last_look > _LOOK_AFTER_S:
                self._last_look = now
                self._look(now - self._last_answer)

    def _slice(self, control: FetchControl) -> list[_Pulled]:
        groups: dict[int, list[Message]] = {}
        events: list[tuple[KafkaError, int, int]] = []
        for message in self._next_messages():
            partition = message.partition()
            error = message.error()
            if error is not None:
                if partition in self._positions and not _is_of_group(message):
                    events.append((error, partition, message.offset()))
            elif partition in groups:
                groups[partition].append(message)
            else:
                groups[partition] = [message]
        pulled = [_Pulled(p, messages, messages[-1].offset() + 1) for p, messages in groups.items()]
        # An end or an error of a partition comes after its messages, and is about the position behind them.
        behind = self._positions | {part.partition: part.position for part in pulled}
        return pulled + [self._event(error, p, offset, behind[p], control) for error, p, offset in events]

    def _next_messages(self) -> list[Message]:
        # consume() waits until it has all it was asked for, so it is only asked for what is there.
        first = self._consumer.poll(_SLICE_S)
        return [] if first is None else [first, *self._consumer.consume(_MOST_MESSAGES - 1, 0)]

    def _event(self, error: KafkaError, partition: int, offset: int, position: int, control: FetchControl) -> _Pulled:
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - so it is documented
            return _Pulled(partition, [], offset, at_end=True)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - so it is documented
            return self._out_of_range(partition, position, control)
        raise translate(error, topic=self._topic, partition=partition, offset=position)

    def _out_of_range(self, partition: int, position: int, control: FetchControl) -> _Pulled:
        marks = _watermarks(self._metadata, self._topic, partition, position, control)
        if marks.log_start_offset <= position:
            raise made_anew(marks, self._topic, partition, position)
        start = after_retention(marks, self._topic, partition, position, self._options.on_data_loss)
        # A seek is refused here: the client has given the partition up.
        self._consumer.incremental_unassign([Assignment(self._topic, partition)])
        self._consumer.incremental_assign([Assignment(self._topic, partition, start)])
        return _Pulled(partition, [], start, lost=OffsetRange(self._topic, partition, position, start))

    def _look(self, silent_s: float) -> None:
        """See, while nothing comes, whether there is still something to wait for."""
        partition, position = next(iter(self._positions.items()))
        if silent_s > _STALLED_S and not self._options.follow:
            message = f"no answer for {_STALLED_S:.0f} s: look at the broker's log, or read the other partitions"
            raise ReadTimeoutError(message, topic=self._topic, partition=partition, offset=position)
        try:
            error = self._consumer.list_topics(self._topic, timeout=_SLICE_S).topics[self._topic].error
        except KafkaException:
            return  # a broker that is away may come back
        # librdkafka waits for a topic that is gone as for one that is not there yet.
        unknown = error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        if unknown and self._was_unknown:
            raise deleted(self._topic, partition, position)
        self._was_unknown = unknown  # by a broker that has just come up, perhaps


def _is_of_group(message: Message) -> bool:
    error = message.error()
    return message.topic() is None and (error.code() in _OF_GROUPS or _COORDINATOR in error.str())


def _watermarks(metadata: Metadata, topic: str, partition: int, position: int, control: FetchControl) -> Watermarks:
    """Ask the cluster where a log begins and ends, for a minute if need be.

    Raises
    ------
    ReadTimeoutError
        It has not answered.
    StoppedError
        The reader wants no more.
    """
    patience, pauses = Patience(Clock()), Pauses()
    while True:
        try:
            return metadata.watermarks(topic, [partition], stop=control.stop)[partition]
        except KafkalabError as error:
            if not is_passing(error):
                raise
            patience.failed(error)
        pause(pauses.next(), control.stop)
        patience.check(topic, partition, position)
        if control.stop.is_set():
            raise _native.StoppedError


def _overlap(lost: OffsetRange | None, offset_range: OffsetRange) -> OffsetRange | None:
    if lost is None or lost.end <= offset_range.start or offset_range.end <= lost.start:
        return None
    return replace(lost, start=max(lost.start, offset_range.start), end=min(lost.end, offset_range.end))


def _only_topic(ranges: Iterable[OffsetRange]) -> str:
    topics = {offset_range.topic for offset_range in ranges}
    if len(topics) != 1:
        message = f"one fetch reads one topic, not {sorted(topics)}"
        raise ArgumentError(message)
    return topics.pop()


def _reading(ranges: Iterable[OffsetRange]) -> dict[str, Any]:
    """Return settings that fetch a few records without the many behind them."""
    span = sum(offset_range.span for offset_range in ranges)
    sizes = {
        "queued.min.messages": min(span, _MOST_QUEUED),
        "fetch.message.max.bytes": min(max(span * _LIKELY_BYTES, _LEAST_FETCH_BYTES), _MOST_FETCH_BYTES),
    }
    return _READING | sizes


def _to_arrow(messages: Sequence[Message], options: FetchOptions) -> pa.RecordBatch:
    count = len(messages)
    numbers = chain.from_iterable(message.timestamp() for message in messages)
    kinds, times = np.fromiter(numbers, np.int64, 2 * count).reshape(count, 2).T
    columns = [
        pa.array(np.fromiter((message.offset() for message in messages), np.int64, count)),
        pa.array(times, TIMESTAMP, mask=(kinds == 0) | (times == -1)),
        pa.array(kinds.astype(np.int8)),
        _binary([message.key() for message in messages]),
        _binary([message.value() for message in messages]),
    ]
    if options.headers:
        columns.append(pa.array([_headers(message) for message in messages], HEADERS))
    return pa.RecordBatch.from_arrays(columns, schema=record_schema(headers=options.headers))


def _binary(values: list[bytes]) -> pa.Array:
    # The buffer of pa.array(values, pa.binary()) grows, and to touch new memory costs more than all else here.
    try:
        lengths = np.fromiter(map(len, values), np.int64, len(values))
    except TypeError:  # a null has no length
        return pa.array(values, pa.binary())
    ends = np.concatenate(([0], lengths.cumsum()))
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.large_binary(), len(values), buffers).cast(pa.binary())


def _headers(message: Message) -> list[dict[str, Any]] | None:
    try:
        headers = _HEADERS_OF(message) or ()
    except SystemError:
        where = f"{message.topic()}[{message.partition()}]"
        text = f"{where}: this engine reads no header names that are not UTF-8; the headers of such records are null"
        warnings.warn(text, KafkalabWarning, stacklevel=2)
        return None
    return [{"key": key, "value": value} for key, value in headers]
