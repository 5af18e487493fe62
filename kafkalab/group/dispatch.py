"""Which worker may take which records: lanes that keep an order, and runs of records taken from them. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from operator import length_hint
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from weakref import WeakValueDictionary

from confluent_kafka import Message

from kafkalab.group.tracker import Tracker
from kafkalab.model import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

Ordering: TypeAlias = Literal["partition", "key", "unordered"]

_offset: Callable[[Message], int] = Message.offset  # type: ignore[assignment]  # optional, for messages that are events
_WITHOUT_KEY = -1
_RUN_SECONDS = 0.005
_LONGEST_RUN = 1_000
_FIRST_RUN = 8  # as long as nobody knows how slow the handler is


class Lane:
    """Records of a partition that wait to be handled one after the other; those of a shared one at the same time."""

    __slots__ = ("offered", "part", "runs", "shared", "waiting")

    def __init__(self, part: Part, *, shared: bool) -> None:
        self.part = part
        self.shared = shared
        self.waiting: deque[Chunk] = deque()
        self.runs = 0
        self.offered = False


class Chunk(NamedTuple):
    """Records of one log that came in together, in order."""

    log: Log
    shift: int
    """What makes of their offsets numbers in which all of the member's records came in."""
    messages: list[Message]


class Run:
    """Records that a worker has taken: in order, all of one lane and one log."""

    __slots__ = ("_marked", "lane", "log", "messages", "rest", "shift")

    def __init__(self, lane: Lane, chunk: Chunk) -> None:
        self.lane = lane
        self.log, self.shift, messages = chunk
        self.messages = messages
        self.rest = iter(messages)
        self._marked = 0

    def done(self, *, running: bool) -> int:
        """Return how many are behind the worker; one that is running is still with the last that it took."""
        taken = len(self.messages) - length_hint(self.rest)
        return max(taken - running, 0)

    def recall(self) -> list[Message]:
        """Take back what the worker has not begun; it ends after the record at hand."""
        rest = list(self.rest)
        if rest:
            del self.messages[-len(rest) :]
        return rest

    def mark(self, upto: int) -> None:
        """Mark the first records of the run."""
        fresh = self.messages[self._marked : upto]
        if not fresh:
            return
        self._marked = upto
        first, last = _offset(fresh[0]), _offset(fresh[-1])
        whole = last - first + 1 == len(fresh)
        self.log.tracker.mark(range(first, last + 1) if whole else list(map(_offset, fresh)))


class Log:
    """One log of a partition as this member reads it: from an offset on, until it is given up, or another comes.

    Offsets say nothing beyond their log: a topic that is made anew has the same ones again.

    Attributes
    ----------
    number : int
        Tells it from all others that the member has had.
    tracker : Tracker
        What of it is done.
    """

    __slots__ = ("__weakref__", "number", "tracker")

    def __init__(self, number: int, start: int) -> None:
        self.number = number
        self.tracker = Tracker(start)


class Part:
    """One partition that this member has: what waits, what runs, what is done."""

    __slots__ = ("before", "gone", "held", "lanes", "log", "older", "paused", "place", "runs", "waiting")

    def __init__(self, place: TopicPartition, log: Log, before: Part | None, *, held: bool) -> None:
        self.place = place
        self.before = before
        """The same partition when this member had it last, as long as a worker is not done with it."""
        self.log = log
        self.older: list[Log] = []
        """The logs before this one of which records are not done."""
        self.held = held
        """Whether nothing of it may be handed out, because where it begins is not committed yet."""
        self.lanes: dict[int, Lane] = {}
        self.runs: set[Run] = set()
        self.waiting = 0
        self.paused = False
        self.gone = False

    @property
    def tracker(self) -> Tracker:
        """What of its log is done."""
        return self.log.tracker

    @property
    def load(self) -> int:
        """How many records have been taken in and cannot be committed yet: they wait, run, or are done out of order."""
        if self.older:
            self.older = [log for log in self.older if _unsettled(log.tracker)]
        return _unsettled(self.tracker) + sum(log.tracker.unsettled for log in self.older)

    @property
    def blocked(self) -> bool:
        """Whether records of it may not be handed out, lest one be handled beside itself, or lost in a crash."""
        if self.before is not None and not self.before.blocked and not self.before.runs:
            self.before = None
        return self.held or self.before is not None


class Dispatcher:
    """Hands runs of records to workers: one run of a lane at a time, in the order the records came in.

    Parameters
    ----------
    ordering : {"partition", "key", "unordered"}
        What a lane is: a partition; the keys of a partition that share a hash; or nothing that keeps an order. Records
        without a key have no order among keys.
    lanes : int
        Into how many the keys of a partition are parted: enough that all workers find one, few enough that each has
        many records at a time.
    """

    def __init__(self, ordering: Ordering, lanes: int) -> None:
        self._ordering = ordering
        self._lanes = lanes
        self._arrived = 0
        self._offers = itertools.count()
        self.ready: list[tuple[int, int, Lane]] = []
        """Lanes to take from: a heap by when their first record came in, so that little is done ahead of its turn."""
        self._leaving: dict[TopicPartition, Part] = {}
        self._numbers = itertools.count(1)
        self._logs: WeakValueDictionary[int, Log] = WeakValueDictionary()
        self._run_length = _FIRST_RUN
        self.parts: dict[TopicPartition, Part] = {}
        self.runs: set[Run] = set()
        self.held = False

    def assign(self, starts: Mapping[TopicPartition, int], held: Collection[TopicPartition] = ()) -> None:
        """Take partitions on, each from an offset, or from -1 where that is not known; hold some back."""
        for place, start in starts.items():
            before = self._leaving.pop(place, None)
            self.parts[place] = Part(place, self._new_log(start), before, held=place in held)

    def renew(self, starts: Mapping[TopicPartition, int], *, held: bool = False) -> None:
        """Go on in another log of some partitions, or elsewhere in theirs; what has come is handed out first."""
        for place, start in starts.items():
            part = self.parts[place]
            part.older.append(part.log)
            part.log = self._new_log(start)
            part.held = held

    def release(self, places: Iterable[TopicPartition]) -> None:
        """Hold partitions back no more."""
        for place in places:
            if (part := self.parts.get(place)) is not None:
                part.held = False

    def log(self, number: int) -> Log | None:
        """Return a log by its number, as long as something of it is here."""
        return self._logs.get(number)

    def _new_log(self, start: int) -> Log:
        log = Log(next(self._numbers), start)
        self._logs[log.number] = log
        return log

    def retire(self, places: Iterable[TopicPartition]) -> list[Part]:
        """Hand out no more of partitions: what waits is dropped, and what a worker has not begun taken back from it."""
        parts = [self.parts[place] for place in places if place in self.parts]
        for part in parts:
            part.gone = True
            part.waiting = 0
            for run in part.runs:
                run.recall()
            for lane in part.lanes.values():
                lane.waiting.clear()
        return parts

    def forget(self, parts: Iterable[Part]) -> None:
        """Let go of partitions that were retired; a worker that is still at one keeps its next stay waiting."""
        for part in parts:
            del self.parts[part.place]
            if part.runs or part.blocked:
                self._leaving[part.place] = part

    def recall(self) -> None:
        """Take back what workers have not begun, to be handed out again first."""
        for run in self.runs:
            self._put_back(run, run.recall())
            self._offer(run.lane)

    def leave(self, run: Run, done: int) -> None:
        """Take back what a reader has left behind in a run, but for what is marked; it is handed out again first."""
        rest = run.messages[done:]
        run.recall()
        del run.messages[done:]
        self._put_back(run, [message for message in rest if run.log.tracker.is_open(_offset(message))])

    def _put_back(self, run: Run, rest: list[Message]) -> None:
        if rest and not run.lane.part.gone:
            run.lane.part.waiting += len(rest)
            run.lane.waiting.appendleft(Chunk(run.log, run.shift, rest))

    def add(self, messages: list[Message]) -> int:
        """Take in records of one partition, in order; return in how many lanes.

        After a rebalance a client can hand out records of what the member does not have, and some again: these are
        dropped. Offsets that go back never mean another log here: of that `renew` tells.
        """
        place = TopicPartition(str(messages[0].topic()), messages[0].partition() or 0)
        part = self.parts.get(place)
        if part is None or part.gone:
            return 0
        offsets, messages = _unseen(messages, part.tracker.next_offset)
        if not messages:
            return 0
        part.tracker.deliver(offsets)
        part.waiting += len(messages)
        shift = self._arrived - offsets[0]
        self._arrived += len(messages)
        lanes = 0
        for number, group in self._split(messages):
            lane = part.lanes.get(number)
            if lane is None:
                lane = part.lanes[number] = Lane(part, shared=number == _WITHOUT_KEY)
            lane.waiting.append(Chunk(part.log, shift, group))
            self._offer(lane)
            lanes += 1
        return lanes

    def take(self) -> Run | None:
        """Return the next run, or None where nothing may be handed out."""
        found, blocked = None, []
        while found is None and self.ready and not self.held:
            _, _, lane = heapq.heappop(self.ready)
            lane.offered = False
            if lane.part.blocked:
                blocked.append(lane)
            elif lane.waiting:
                found = self._run(lane)
        for lane in blocked:
            self._offer(lane)
        return found

    def finish(self, run: Run, seconds: float) -> int:
        """Take a run back from its worker; return how many records it has handled."""
        lane, part = run.lane, run.lane.part
        count = len(run.messages)
        part.runs.discard(run)
        self.runs.discard(run)
        lane.runs -= 1
        if count:
            self._run_length = min(max(int(_RUN_SECONDS * count / max(seconds, 1e-9)), 1), _LONGEST_RUN)
        self._offer(lane)
        if part.gone and not part.runs and self._leaving.get(part.place) is part:
            del self._leaving[part.place]
        return count

    @property
    def is_fast(self) -> bool:
        """Whether the longest run takes no time worth a second worker."""
        return self._run_length == _LONGEST_RUN

    @property
    def most_load(self) -> int:
        """The load of the partition that has most, of those that are not paused."""
        return max((part.load for part in self.parts.values() if not part.paused), default=0)

    @property
    def is_idle(self) -> bool:
        """Whether there are partitions, and nothing of them waits or is with a worker."""
        return bool(self.parts) and not self.runs and not any(part.waiting for part in self.parts.values())

    def _offer(self, lane: Lane) -> None:
        if lane.waiting and not lane.offered and (lane.shared or not lane.runs):
            lane.offered = True
            _, shift, messages = lane.waiting[0]
            heapq.heappush(self.ready, (_offset(messages[0]) + shift, next(self._offers), lane))

    def _run(self, lane: Lane) -> Run:
        chunk = lane.waiting[0]
        if len(chunk.messages) <= self._run_length:
            lane.waiting.popleft()
        else:
            chunk = chunk._replace(messages=chunk.messages[: self._run_length])
            del lane.waiting[0].messages[: self._run_length]
        run = Run(lane, chunk)
        lane.runs += 1
        lane.part.waiting -= len(run.messages)
        lane.part.runs.add(run)
        self.runs.add(run)
        if lane.shared:
            self._offer(lane)
        return run

    def _split(self, messages: list[Message]) -> Iterator[tuple[int, list[Message]]]:
        if self._ordering != "key":
            yield 0 if self._ordering == "partition" else _WITHOUT_KEY, messages
            return
        lanes: defaultdict[int, list[Message]] = defaultdict(list)
        for key, message in zip(map(Message.key, messages), messages, strict=True):
            lanes[_WITHOUT_KEY if key is None else hash(key) % self._lanes].append(message)
        yield from lanes.items()


def _unsettled(tracker: Tracker) -> int:
    _ = tracker.low_water  # which finds out
    return tracker.unsettled


def _unseen(messages: list[Message], next_offset: int) -> tuple[Sequence[int], list[Message]]:
    """Return the messages at or above an offset, with their offsets."""
    first, last = _offset(messages[0]), _offset(messages[-1])
    if first >= next_offset and last - first + 1 == len(messages):
        return range(first, last + 1), messages
    fresh = [message for message in messages if _offset(message) >= next_offset]
    return list(map(_offset, fresh)), fresh
