"""A real cluster, asked natively where that can be, or else by librdkafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from kafkalab.cluster.native import NativeCluster
from kafkalab.cluster.portable import PortableCluster
from kafkalab.errors import (
    ArgumentError,
    AuthenticationError,
    BrokerUnreachableError,
    KafkalabError,
    TlsError,
    UnsupportedError,
)
from kafkalab.net.coverage import unsupported_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kafkalab.cluster.metadata import Asked
    from kafkalab.connection import ConnectionConfig
    from kafkalab.model import TimedOffset, TopicInfo, TopicPartition, Watermarks
    from kafkalab.net.client import Stops
    from kafkalab.net.connections import Connections


class Cluster:
    """A cluster, asked over native connections, or by librdkafka where only that gets in.

    Looking never changes it: no topic is created, no group joined. It can be pickled, by its configuration.

    Parameters
    ----------
    config : ConnectionConfig
        Where it is and how to get in.
    timeout : float, default 10
        For how many seconds to wait for an answer. What can be known to fail fails before.
    portable : bool, default False
        Whether librdkafka asks in any case.

    Examples
    --------
    >>> with Cluster(ConnectionConfig.load("broker:9092")) as cluster:  # doctest: +SKIP
    ...     cluster.watermarks("orders", [0, 1])
    """

    def __init__(self, config: ConnectionConfig, *, timeout: float = 10.0, portable: bool = False) -> None:
        if timeout <= 0:
            raise ArgumentError(f"timeout={timeout} has to be more than 0 seconds")
        self.config = config
        self.timeout = timeout
        self._is_portable = portable
        self._begin()

    def _begin(self) -> None:
        self._native = NativeCluster(self.config, self.timeout)
        self._asked: Asked | None = None

    @property
    def connections(self) -> Connections:
        """The native connections, which fetches share."""
        return self._native.client.connections

    def connect(self) -> None:
        """Check that the cluster lets this client in; any other method does so when it is the first.

        Raises
        ------
        BrokerUnreachableError, TlsError, AuthenticationError
            Why it does not, as soon as that is certain.
        """
        self._reached().connect()

    def topics(self) -> list[TopicInfo]:
        """Return all topics that this client may see, by name."""
        return self._reached().topics()

    def topic(self, name: str) -> TopicInfo:
        """Return one topic; a name that nobody knows is asked for again for a moment, as it may be new.

        Raises
        ------
        UnknownTopicError
            There is none of that name; it says which are like it.
        AuthorizationError
            This client may not see it.
        """
        return self._reached().topic(name)

    def overview(self, name: str) -> tuple[TopicInfo, dict[int, Watermarks]]:
        """Return one topic, and the watermarks of its partitions but those without a leader, as of one moment."""
        return self._reached().overview(name)

    def watermarks(self, topic: str, partitions: Sequence[int], *, stop: Stops | None = None) -> dict[int, Watermarks]:
        """Return where the logs of partitions begin and end.

        Parameters
        ----------
        topic : str
            The topic.
        partitions : sequence of int
            Its partitions.
        stop : Stops, optional
            Ends the wait within 200 ms, with `StoppedError`.

        Raises
        ------
        UnknownTopicError, UnknownPartitionError
            There is no such topic or partition.
        OfflinePartitionError
            A partition has no leader.
        """
        return self._reached().watermarks(topic, partitions, stop=stop)

    def offsets_for_times(self, topic: str, times_ms: Mapping[int, int]) -> dict[int, TimedOffset | None]:
        """Return the first offset whose timestamp is at least the partition's time; None where no record's is.

        Parameters
        ----------
        topic : str
            The topic.
        times_ms : mapping of int to int
            A time by partition, in ms since 1970; an earlier one counts as 1970.

        Raises
        ------
        UnsupportedError
            The broker cannot look times up.
        """
        return self._reached().offsets_for_times(topic, times_ms)

    def timestamp_span(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
        """Return the first record's and the greatest timestamp in ms; None for what is unknown or not there."""
        return self._reached().timestamp_span(topic, partitions)

    def committed_offsets(self, group_id: str, topic: str) -> dict[int, int | None]:
        """Return a group's committed offset in every partition of a topic; None where it has none."""
        return self._reached().committed_offsets(group_id, topic)

    def commits(self, group_id: str, places: Sequence[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """Return a group's committed offsets in some partitions, or in all of the cluster, where it has any."""
        return self._reached().commits(group_id, places)

    def members(self, group_id: str) -> tuple[str, list[str]]:
        """Return a group's state, and who is in it: client, member and host of each."""
        return self._reached().members(group_id)

    def commit(self, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Set a group's committed offsets; the broker refuses that while it has members."""
        self._reached().commit(group_id, offsets)

    def brokers(self) -> dict[int, tuple[str, int]]:
        """Return the host and port of each broker by id, as they advertise them."""
        return self._reached().brokers()

    def leaders(self, topic: str, *, stop: Stops | None = None) -> dict[int, tuple[str, int]]:
        """Return the host and port of each partition's leader; partitions without one are left out.

        What was seen a moment ago, as when a read was planned, counts once; after that they are asked for anew.

        Raises
        ------
        UnknownTopicError
            There is no such topic.
        StoppedError
            The stop was set, at most 200 ms before.
        """
        return self._reached().leaders(topic, stop=stop)

    def api_versions(self) -> dict[int, tuple[int, int]]:
        """Return the least and the most version of each request that a broker takes; empty where that is unknown.

        A request that is not there is one that the broker does not know, such as 68 (KIP-848's heartbeat) before 4.0.
        """
        return self._reached().api_versions()

    def group_ids(self) -> list[str]:
        """Return the ids of all consumer groups that this client may see, sorted."""
        return self._reached().group_ids()

    def close(self) -> None:
        """Let go of the connections; the next call makes others."""
        asked, self._asked = self._asked, None
        self._native.close()
        if asked is not None:
            asked.close()

    def _reached(self) -> Asked:
        """Return who asks: found out with the first call that gets in."""
        asked = self._asked
        if asked is None:
            asked = self._asked = self._chosen()
        return asked

    def _chosen(self) -> Asked:
        portable = PortableCluster(self.config, self.timeout)
        if self._is_portable or unsupported_option(self.config) is not None:
            return portable
        failure = self._refusal()
        if failure is None:
            return self._native
        if self._native.was_in or isinstance(failure.__cause__, TimeoutError):
            raise failure
        # librdkafka knows why, or gets in: OpenSSL accepts certificates that rustls refuses.
        portable.connect()
        return portable

    def _refusal(self) -> KafkalabError | None:
        """Return why there is no way in for native connections; without the frames, which may hold passwords."""
        try:
            self._native.connect()
        except (BrokerUnreachableError, TlsError, AuthenticationError, UnsupportedError) as error:
            return error.with_traceback(None)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> tuple[ConnectionConfig, float, bool]:
        return self.config, self.timeout, self._is_portable

    def __setstate__(self, state: tuple[ConnectionConfig, float, bool]) -> None:
        self.config, self.timeout, self._is_portable = state
        self._begin()

    def __repr__(self) -> str:
        count = 0 if self._asked is None else self._asked.count
        state = f"{count} broker{'s' * (count > 1)}" if count else "not connected yet"
        return f"<Cluster {self.config.summary}, {state}>"
