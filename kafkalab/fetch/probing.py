"""Single offsets looked up by the fast engine: a request brings one batch, and many are under way at once."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from kafkalab import _native
from kafkalab.errors import CorruptDataError
from kafkalab.fetch.answers import Verdict, continued, grown, heads_of, is_end, judge, nothing, throttled_s
from kafkalab.fetch.base import Fetched
from kafkalab.fetch.conversation import WAIT_MS
from kafkalab.fetch.parsing import parsed
from kafkalab.fetch.patience import Patience, Pauses, rest
from kafkalab.model import OffsetRange, StopReason
from kafkalab.net.requests import PartitionFetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from kafkalab.fetch.answers import Job
    from kafkalab.net.wire import BrokerConnection

_IN_FLIGHT = 20


@dataclass(slots=True)
class Walk:
    """Draws of one partition, settled one after the other."""

    offset_range: OffsetRange
    draws: NDArray[np.int64]
    patience: Patience
    position: int = field(init=False)
    max_bytes: int = 1
    is_old: bool = False
    """Whether the messages that follow have a format that only the other engine reads."""

    def __post_init__(self) -> None:
        self.position = int(self.draws[0])

    @property
    def partition(self) -> int:
        """The partition."""
        return self.offset_range.partition

    @property
    def settled(self) -> bool:
        """Whether every draw is known to be a visible record or none."""
        return self.position >= self.offset_range.end

    @property
    def left(self) -> NDArray[np.int64]:
        """The draws that are not settled."""
        return self.draws[np.searchsorted(self.draws, self.position) :]

    def settle(self, behind: int) -> NDArray[np.int64]:
        """Take the draws below an offset for settled, and return them."""
        here = self.draws[slice(*np.searchsorted(self.draws, (self.position, behind)))]
        self.position = behind
        self.position = int(self.left[0]) if len(self.left) else max(behind, self.offset_range.end)
        self.patience.progress()
        return here


@dataclass(frozen=True, slots=True)
class _Asked:
    correlation_id: int
    since: float
    walk: Walk


class Probe:
    """Goes walks over one connection."""

    def __init__(self, job: Job, connection: BrokerConnection, walks: Iterable[Walk]) -> None:
        self._job = job
        self._connection = connection
        self._waiting = deque(walks)
        self._under_way: deque[_Asked] = deque()
        self._pauses = Pauses()
        self._moved = False

    def responses(self) -> Iterator[tuple[_native.FetchResponse, Iterator[Fetched]]]:
        """Yield each answer with its steps, until all is settled or a leader has moved.

        Raises
        ------
        KafkalabError
            The broker refuses, its answer is no answer, or nothing has come for too long.
        """
        while self._ask():
            asked = self._under_way.popleft()
            response = self._receive(asked)
            before = asked.walk.position
            yield response, self._take(response, asked.walk)
            self._wait(response, asked, got_on=asked.walk.position > before)
            if self._moved:
                return
            if not asked.walk.settled and not asked.walk.is_old:
                self._waiting.append(asked.walk)

    def _ask(self) -> bool:
        """Keep many requests under way; return whether one is."""
        if self._job.control.stop.is_set() or (self._job.round.is_over and not self._under_way):
            return False
        if self._connection.login_is_due and not self._under_way:
            self._connection.login()
        may_ask = not self._connection.login_is_due and not self._job.round.is_over
        while may_ask and self._waiting and len(self._under_way) < _IN_FLIGHT:
            walk = self._waiting.popleft()
            self._under_way.append(_Asked(self._request(walk), time.monotonic(), walk))
        return bool(self._under_way)

    def _request(self, walk: Walk) -> int:
        """Ask for the one batch that holds or follows the next draw; return the number of the request."""
        return self._connection.send_fetch(
            self._job.topic,
            [PartitionFetch(walk.partition, walk.position, walk.max_bytes)],
            read_committed=self._job.read_committed,
            max_wait_ms=WAIT_MS,
            max_bytes=walk.max_bytes,
        )

    def _receive(self, asked: _Asked) -> _native.FetchResponse:
        try:
            return self._connection.receive_fetch(asked.correlation_id)
        except CorruptDataError as error:
            walk = asked.walk
            error.topic, error.partition, error.offset = self._job.topic, walk.partition, walk.position
            raise

    def _wait(self, response: _native.FetchResponse, asked: _Asked, *, got_on: bool) -> None:
        walk = asked.walk
        throttled = throttled_s(response, self._connection.fetch_version, [walk])
        if got_on:
            self._pauses.reset()
        elif not walk.patience.is_strained:
            walk.patience.failed(nothing(self._job, walk))
        pause = 0.0 if got_on else self._pauses.next() - (time.monotonic() - asked.since)
        waiting = () if walk.settled else (walk,)
        rest(max(throttled, pause), self._job.topic, waiting, self._job.control.stop)

    def _take(self, response: _native.FetchResponse, walk: Walk) -> Iterator[Fetched]:
        """Yield the records of an answer that were drawn, and move the walk on."""
        for head in heads_of(response, self._job.topic, [walk]):
            yield from self._act(judge(self._job, head, walk, walk.offset_range.end), head, response, walk)
        if walk.settled:
            part = walk.offset_range
            yield Fetched.without_rows(part, part.end, self._job.options, StopReason.REACHED)

    def _act(
        self, verdict: Verdict, head: _native.PartitionHead, response: _native.FetchResponse, walk: Walk
    ) -> Iterator[Fetched]:
        match verdict:
            case Verdict.RECORDS:
                yield from self._hits(response, walk, head.next_offset or 0)
            case Verdict.OLD:
                walk.is_old = True
            case Verdict.MOVED:
                self._moved = True
            case Verdict.OUTSIDE:
                yield from self._over_loss(walk)
            case Verdict.END:
                if is_end(self._job, head, walk, walk.offset_range):
                    walk.settle(walk.offset_range.end)
            case Verdict.CUT | Verdict.NOTHING:
                if verdict is Verdict.CUT:
                    walk.max_bytes = grown(self._job, head, walk, walk.max_bytes)
                for _ in self._rows(response, walk.offset_range, walk.position, walk.position + 1):
                    pass  # there are none, and this raises what is wrong with a batch that could not be told
                walk.patience.failed(nothing(self._job, walk))

    def _hits(self, response: _native.FetchResponse, walk: Walk, behind: int) -> Iterator[Fetched]:
        part, position = walk.offset_range, walk.position
        here = walk.settle(behind)
        for rows in self._rows(response, part, position, int(here[-1]) + 1):
            hits = np.isin(rows["offset"].to_numpy(), here)
            if hits.any():
                yield Fetched(part, rows.filter(pa.array(hits)), walk.position)

    def _rows(
        self, response: _native.FetchResponse, part: OffsetRange, start: int, end: int
    ) -> Iterator[pa.RecordBatch]:
        wanted = {(part.topic, part.partition): (start, end, _native.Transactions())}
        return (pa.record_batch(step) for step in parsed(response, wanted, self._job.options))

    def _over_loss(self, walk: Walk) -> Iterator[Fetched]:
        """Yield the step over what retention has removed, if it has."""
        position, found = walk.position, continued(self._job, walk)
        if found is not None:
            walk.settle(found)
            lost = OffsetRange(self._job.topic, walk.partition, position, found)
            yield Fetched.without_rows(
                walk.offset_range, min(found, walk.offset_range.end), self._job.options, None, lost
            )


def walks_over(job: Job, draws: Mapping[int, NDArray[np.int64]]) -> list[Walk]:
    """Cut each partition's draws into stretches, so that requests under way do not ask for the same batch."""
    total = sum(len(offsets) for offsets in draws.values())
    stretches = [
        (partition, stretch)
        for partition, offsets in draws.items()
        for stretch in np.array_split(offsets, min(len(offsets), -(-_IN_FLIGHT * len(offsets) // total)))
    ]
    return [
        Walk(OffsetRange(job.topic, p, int(draw[0]), int(draw[-1]) + 1), draw, Patience(job.clock))
        for p, draw in stretches
    ]
