"""The fast engine: Kafka's own bytes into Arrow, over connections of its own to the leaders of the partitions."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kafkalab import _native
from kafkalab.errors import BrokerUnreachableError, KafkalabError, UnknownTopicError
from kafkalab.fetch.base import Fetched
from kafkalab.fetch.connections import Connections
from kafkalab.fetch.conversation import MOVED, Conversation, Job, Lane
from kafkalab.fetch.loss import deleted
from kafkalab.fetch.probing import IN_FLIGHT, Walk, walks_over
from kafkalab.fetch.readahead import ReadAhead
from kafkalab.model import FetchStats, StopReason

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from kafkalab.cluster import Cluster
    from kafkalab.connection import ConnectionConfig
    from kafkalab.fetch.base import FetchControl, FetchOptions
    from kafkalab.fetch.wire import BrokerConnection
    from kafkalab.model import OffsetRange

_BACK_OFF_S = 0.1
_LOOK_S = 0.1


class ArrowFetcher:
    """Reads Kafka's own bytes into Arrow.

    Parameters
    ----------
    config : ConnectionConfig
        How to get in.
    cluster : Cluster
        Asked for leaders, and for watermarks when the log has moved under a read.
    connections : int
        Most connections to one leader.
    response_bytes : int
        About the most that one answer may hold, compressed; a single larger batch still comes whole. Each connection
        keeps two answers in memory: the one being parsed, and the next.
    """

    name = "arrow"

    def __init__(
        self, config: ConnectionConfig, cluster: Cluster, connections: int = 2, response_bytes: int = 4 << 20
    ) -> None:
        self._config = config
        self._cluster = cluster
        self._open = Connections(config)
        self._connections = connections
        self._response_bytes = response_bytes
        self._stats = FetchStats()
        self._counting = threading.Lock()

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
        lanes: dict[int, Lane] = {}
        for offset_range in ranges:
            if not offset_range.span:
                yield Fetched.without_rows(offset_range, offset_range.start, options, StopReason.REACHED)
            elif offset_range.partition in lanes:
                lanes[offset_range.partition].waiting.append(offset_range)
            else:
                lanes[offset_range.partition] = Lane(deque([offset_range]))
        if lanes:
            job = Job(ranges[0].topic, options, control, self._cluster, self._response_bytes)
            yield from self._until_done(job, lanes)

    def _until_done(self, job: Job, lanes: dict[int, Lane]) -> Generator[Fetched]:
        """Read from whoever leads, again and again, as long as that gets somewhere."""
        while True:
            positions = {partition: lane.position for partition, lane in lanes.items()}
            drives = [
                self._drive(job, address, {partition: lanes[partition] for partition in partitions})
                for address, partitions in self._led(job.topic, positions, self._connections)
            ]
            yield from _merged(drives, job)
            lanes = {partition: lane for partition, lane in lanes.items() if lane.waiting}
            if not lanes or job.control.stop.is_set():
                return
            partition, lane = next(iter(lanes.items()))
            job.patience.check(job.topic, partition, lane.position)
            job.control.stop.wait(_BACK_OFF_S)

    def _led(
        self, topic: str, positions: Mapping[int, int], connections: int
    ) -> Iterator[tuple[tuple[str, int], list[int]]]:
        """Yield addresses of leaders with the partitions to ask of them on one connection."""
        try:
            leaders = self._cluster.leaders(topic)
        except UnknownTopicError as error:
            raise deleted(topic, *next(iter(positions.items()))) from error
        by_leader: dict[tuple[str, int], list[int]] = {}
        for partition in positions:
            if partition in leaders:
                by_leader.setdefault(leaders[partition], []).append(partition)
        for address, led in by_leader.items():
            count = min(connections, len(led))
            yield from ((address, led[number::count]) for number in range(count))

    def _drive(self, job: Job, address: tuple[str, int], lanes: dict[int, Lane]) -> Generator[Fetched]:
        """Read lanes over one connection until they are done, or its broker is no more the one to ask."""
        with self._connected(job, address) as connection:
            if connection is not None:
                for response, steps in Conversation(job, connection, lanes).responses():
                    yield from self._counted(response, steps)

    def probe(
        self, topic: str, draws: Mapping[int, NDArray[np.int64]], options: FetchOptions, control: FetchControl
    ) -> Generator[Fetched]:
        """Yield the visible records among the drawn offsets: a batch a request, many requests under way."""
        job = Job(topic, options, control, self._cluster, self._response_bytes)
        walks = walks_over(topic, draws)
        while walks:
            positions = {walk.offset_range.partition: walk.position for walk in walks}
            drives = [
                self._probe(job, address, [walk for walk in walks if walk.offset_range.partition in partitions])
                for address, partitions in self._led(topic, positions, self._connections)
            ]
            yield from _merged(drives, job)
            walks = [walk for walk in walks if not walk.settled]
            if control.stop.is_set():
                return
            if walks:
                job.patience.check(topic, walks[0].offset_range.partition, walks[0].position)
                control.stop.wait(_BACK_OFF_S)

    def _probe(self, job: Job, address: tuple[str, int], walks: list[Walk]) -> Generator[Fetched]:
        with self._connected(job, address) as connection:
            if connection is None:
                return
            waiting = deque(walks)
            under_way: deque[tuple[int, Walk]] = deque()
            while (waiting or under_way) and not job.control.stop.is_set():
                due = connection.login_is_due
                if due and not under_way:
                    connection.login()
                    due = False
                while waiting and len(under_way) < IN_FLIGHT and not due:
                    walk = waiting.popleft()
                    under_way.append((walk.ask(connection, job), walk))
                correlation_id, walk = under_way.popleft()
                response = connection.receive_fetch(correlation_id)
                job.control.stop.wait(response.throttle_ms / 1000)
                if response.partitions and response.partitions[0].error_code in MOVED:
                    return
                yield from self._counted(response, walk.take(response, job))
                if not walk.settled:
                    waiting.append(walk)

    @contextmanager
    def _connected(self, job: Job, address: tuple[str, int]) -> Iterator[BrokerConnection | None]:
        """Lend a connection; None where that failed in a way that another attempt may mend.

        Whatever breaks the connection later ends the block without an error too: who uses it sees what is left to do.
        """
        try:
            connection = self._open.take(address, job.control.stop.flag)
        except (BrokerUnreachableError, _native.StoppedError) as error:
            job.patience.failed(error)
            yield None
            return
        try:
            yield connection
        except _native.StoppedError:
            pass
        except KafkalabError:
            raise  # some of these are OSErrors too
        except OSError as error:
            job.patience.failed(error)
        finally:
            self._open.give_back(address, connection)

    def _counted(self, response: _native.FetchResponse, steps: Iterator[Fetched]) -> Iterator[Fetched]:
        self._count(1, 0, response.wire_bytes)
        for step in steps:
            self._count(0, step.arrow_batch.num_rows, 0)
            yield step

    def _count(self, requests: int, records: int, wire_bytes: int) -> None:
        with self._counting:
            before = self._stats
            self._stats = FetchStats(before.requests + requests, before.records + records, before.bytes + wire_bytes)


def _merged(drives: list[Generator[Fetched]], job: Job) -> Iterator[Fetched]:
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
