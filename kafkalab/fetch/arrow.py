"""The fast engine: Kafka's own bytes into Arrow, over connections of its own to the leaders of the partitions."""

from __future__ import annotations

import functools
import threading
import time
import warnings
from collections import deque
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from kafkalab import _native
from kafkalab.errors import BrokerUnreachableError, KafkalabError, KafkalabWarning
from kafkalab.fetch.answers import Job, leaders_of
from kafkalab.fetch.base import FetchControl, Fetched
from kafkalab.fetch.conversation import Conversation, Lane
from kafkalab.fetch.patience import Patience, Pauses, Round, Track, rest
from kafkalab.fetch.probing import Probe, Walk, walks_over
from kafkalab.fetch.readahead import ReadAhead
from kafkalab.model import FetchStats, StopReason

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from kafkalab.cluster import Cluster
    from kafkalab.connection import ConnectionConfig
    from kafkalab.fetch.base import Fetcher, FetchOptions
    from kafkalab.model import OffsetRange
    from kafkalab.net.wire import BrokerConnection

_LOOK_S = 0.1
_LEADERS_FOR_S = 5.0
_OLD_FORMAT = (
    "{topic}: librdkafka reads on from the first message of format v0 or v1, slower than the arrow engine. "
    "engine='librdkafka' does so without this warning"
)
_Track = TypeVar("_Track", bound=Track)


@dataclass(frozen=True, slots=True)
class _Drive(Generic[_Track]):
    """What reads some tracks to where they cannot be read on: this engine over one connection, or the portable one."""

    conversation: Callable[[Job, BrokerConnection, list[_Track]], Conversation | Probe]
    portable: Callable[[Job, Fetcher, list[_Track]], Iterator[Fetched]]


class ArrowFetcher:
    """Reads Kafka's own bytes into Arrow.

    Parameters
    ----------
    config : ConnectionConfig
        How to get in.
    cluster : Cluster
        Asked for leaders, and for watermarks when the log has moved under a read; its connections are used too.
    connections : int
        Most connections to one leader.
    response_bytes : int
        About the most that one answer may hold, compressed; a single larger batch still comes whole. Each connection
        keeps two answers in memory: the one being parsed, and the next.
    portable : Fetcher, optional
        Reads messages of format v0 and v1, which this engine does not.
    """

    name = "arrow"

    def __init__(
        self,
        config: ConnectionConfig,
        cluster: Cluster,
        connections: int = 2,
        response_bytes: int = 4 << 20,
        portable: Fetcher | None = None,
    ) -> None:
        self._config = config
        self._cluster = cluster
        self._open = cluster.connections
        self._connections = connections
        self._response_bytes = response_bytes
        self._portable = portable
        self._stats = FetchStats()
        self._counting = threading.Lock()
        self._leaders: dict[str, tuple[float, dict[int, tuple[str, int]]]] = {}

    @property
    def recipe(self) -> Callable[[ConnectionConfig, Cluster], ArrowFetcher]:
        """Return what makes such an engine in another process."""
        return functools.partial(_made, None if self._portable is None else type(self._portable))

    def __repr__(self) -> str:
        return f"<ArrowFetcher {self._config!r}>"

    @property
    def stats(self) -> FetchStats:
        """What it has fetched; bytes are those on the wire."""
        return self._stats

    def close(self) -> None:
        """Close the connections that no fetch uses; the next one makes others."""
        self._open.close()

    def refusal(self) -> str | None:
        """Return why this engine cannot read here though librdkafka may; None where a broker lets it in.

        rustls refuses certificates that OpenSSL accepts: of X.509 v1, with the name in CN only, or a server that is its
        own authority. One broker that is away says nothing; if none lets it in, the reason is of this engine.
        """
        failed: KafkalabError | None = None
        for address in self._cluster.brokers().values():
            try:
                self._open.give_back(address, self._open.take(address, _native.StopFlag()))
            except BrokerUnreachableError as error:
                failed = error
            except KafkalabError as error:
                return str(error)
            else:
                return None
        return None if failed is None else str(failed)

    def fetch(self, ranges: Sequence[OffsetRange], options: FetchOptions, control: FetchControl) -> Generator[Fetched]:
        """Yield the visible records of the ranges, in steps as large as they come."""
        waiting: dict[int, deque[OffsetRange]] = {}
        for offset_range in ranges:
            if not offset_range.span:
                yield Fetched.without_rows(offset_range, offset_range.start, options, StopReason.REACHED)
            else:
                waiting.setdefault(offset_range.partition, deque()).append(offset_range)
        if waiting:
            with self._job(ranges[0].topic, options, control) as job:
                lanes = [Lane(parts, Patience(job.clock)) for parts in waiting.values()]
                yield from self._until_done(job, lanes, _Drive(Conversation, _fetch_portably))

    def probe(
        self, topic: str, draws: Mapping[int, NDArray[np.int64]], options: FetchOptions, control: FetchControl
    ) -> Generator[Fetched]:
        """Yield the visible records among the drawn offsets: a batch a request, many requests under way."""
        with self._job(topic, options, control) as job:
            yield from self._until_done(job, walks_over(job, draws), _Drive(Probe, _probe_portably))

    @contextmanager
    def _job(self, topic: str, options: FetchOptions, control: FetchControl) -> Iterator[Job]:
        # An error of one connection stops the others, and must not look as if the reader had asked for that.
        with control.stop.below() as stop:
            own = replace(control, stop=stop)
            yield Job(topic, options, own, self._cluster, self._response_bytes, self._portable is not None)

    def _until_done(self, job: Job, tracks: Sequence[_Track], drive: _Drive[_Track]) -> Generator[Fetched]:
        """Read from whoever leads, again and again, until all is done or the patience for one is over."""
        pauses = Pauses()
        for attempt in count():
            before = [track.position for track in tracks]
            leaders = self._known_leaders(job, tracks, anew=attempt > 0)
            turn = replace(job, round=Round())
            with closing(_merged(list(self._drives(turn, tracks, leaders, drive)), job)) as steps:
                for fetched in steps:
                    begun = time.monotonic()
                    yield fetched
                    job.clock.rested(time.monotonic() - begun)
            if [track.position for track in tracks] != before:
                pauses.reset()
            tracks = [track for track in tracks if not track.settled]
            if not tracks or job.control.stop.is_set():
                return
            rest(pauses.next(), job.topic, tracks, job.control.stop)

    def _known_leaders(self, job: Job, tracks: Sequence[_Track], *, anew: bool) -> dict[int, tuple[str, int]]:
        """Return who leads, by an answer of some seconds ago: many small reads of a topic need not ask for each.

        An answer that has become wrong costs an attempt.
        """
        asked, leaders = self._leaders.get(job.topic, (0.0, {}))
        fresh = time.monotonic() - asked < _LEADERS_FOR_S and all(track.partition in leaders for track in tracks)
        if anew or not fresh:
            leaders = leaders_of(job, [track for track in tracks if not track.is_old])
            self._leaders[job.topic] = time.monotonic(), leaders
        return leaders

    def _drives(
        self,
        job: Job,
        tracks: Sequence[_Track],
        leaders: Mapping[int, tuple[str, int]],
        drive: _Drive[_Track],
    ) -> Iterator[Generator[Fetched]]:
        old = [track for track in tracks if track.is_old]
        if old and self._portable is not None:
            warnings.warn(_OLD_FORMAT.format(topic=job.topic), KafkalabWarning, stacklevel=2)
            yield self._counted_steps(drive.portable(job, self._portable, old))
        for address, led in self._led(job, [track for track in tracks if not track.is_old], leaders):
            yield self._drive(job, address, led, drive)

    def _led(
        self, job: Job, tracks: Sequence[_Track], leaders: Mapping[int, tuple[str, int]]
    ) -> Iterator[tuple[tuple[str, int], list[_Track]]]:
        """Yield addresses of leaders with what to ask of them on one connection."""
        by_leader: dict[tuple[str, int], dict[int, list[_Track]]] = {}
        for track in tracks:
            if track.partition not in leaders:
                job.round.cut()
            else:
                by_leader.setdefault(leaders[track.partition], {}).setdefault(track.partition, []).append(track)
        for address, led in by_leader.items():
            most, groups = min(self._connections, len(led)), list(led.values())
            yield from ((address, list(chain(*groups[number::most]))) for number in range(most))

    def _drive(
        self, job: Job, address: tuple[str, int], tracks: list[_Track], drive: _Drive[_Track]
    ) -> Generator[Fetched]:
        """Read over one connection until all is done, or its broker is no more the one to ask."""
        with self._connected(job, address, tracks) as connection:
            if connection is not None:
                for response, steps in drive.conversation(job, connection, tracks).responses():
                    self._count(1, 0, response.wire_bytes)
                    yield from self._counted_steps(steps)
        if not all(track.settled for track in tracks):
            job.round.cut()

    @contextmanager
    def _connected(
        self, job: Job, address: tuple[str, int], tracks: Sequence[Track]
    ) -> Iterator[BrokerConnection | None]:
        """Lend a connection; None where that failed in a way that another attempt may mend.

        Whatever breaks the connection later ends the block without an error too: who uses it sees what is left to do.
        """
        try:
            connection = self._open.take(address, job.control.stop.flag)
        except (BrokerUnreachableError, _native.StoppedError) as error:
            _failed(tracks, error)
            yield None
            return
        try:
            yield connection
        except _native.StoppedError:
            pass
        except KafkalabError:
            raise  # some of these are OSErrors too
        except OSError as error:
            _failed(tracks, error)
        finally:
            self._open.give_back(address, connection)

    def _counted_steps(self, steps: Iterator[Fetched]) -> Generator[Fetched]:
        for step in steps:
            self._count(0, step.arrow_batch.num_rows, 0)
            yield step

    def _count(self, requests: int, records: int, wire_bytes: int) -> None:
        with self._counting:
            before = self._stats
            self._stats = FetchStats(before.requests + requests, before.records + records, before.bytes + wire_bytes)


def _fetch_portably(job: Job, portable: Fetcher, lanes: list[Lane]) -> Iterator[Fetched]:
    """Read the rest of lanes by the other engine; it is told of parts of their ranges, the reader of the ranges."""
    ranges = {left: whole for lane in lanes for left, whole in zip(lane.left, lane.waiting, strict=True)}
    control = FetchControl(job.control.stop)
    for step in portable.fetch(list(ranges), job.options, control):
        whole = ranges[step.offset_range]
        if whole in job.control.finished:
            control.finished.add(step.offset_range)
        job.control.ends[whole] = control.ends.get(step.offset_range, step.next_offset)
        yield replace(step, offset_range=whole)
    for lane in lanes:
        lane.waiting.clear()


def _probe_portably(job: Job, portable: Fetcher, walks: list[Walk]) -> Iterator[Fetched]:
    """Look up the draws that are left by the other engine."""
    left: dict[int, list[NDArray[np.int64]]] = {}
    for walk in walks:
        left.setdefault(walk.partition, []).append(walk.left)
    draws = {partition: np.sort(np.concatenate(parts)) for partition, parts in left.items()}
    yield from portable.probe(job.topic, draws, job.options, job.control)
    for walk in walks:
        walk.settle(walk.offset_range.end)


def _made(
    portable: Callable[[ConnectionConfig, Cluster], Fetcher] | None, config: ConnectionConfig, cluster: Cluster
) -> ArrowFetcher:
    return ArrowFetcher(config, cluster, portable=portable and portable(config, cluster))


def _failed(tracks: Sequence[Track], error: BaseException) -> None:
    for track in tracks:
        track.patience.failed(error)


def _merged(drives: list[Generator[Fetched]], job: Job) -> Generator[Fetched]:
    """Yield the steps of several connections as they come, each read by a thread of its own."""
    if len(drives) == 1:
        yield from drives[0]
        return
    ahead = ReadAhead(drives, job.control, job.response_bytes)  # no more: whoever reads this reads ahead
    ahead.start()
    try:
        while (fetched := ahead.get(_LOOK_S)) is not None or not ahead.ended:
            if fetched is not None:
                yield fetched
    except BaseException:
        ahead.close()
        raise
