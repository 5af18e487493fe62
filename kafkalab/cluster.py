# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""What the cluster holds: topics, partitions, leaders, watermarks, offsets for times, group commits."""

from __future__ import annotations

import difflib
import time
from typing import TYPE_CHECKING, Protocol, Self

from confluent_kafka import OFFSET_INVALID, Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import OffsetSpec

from kafkalab.admin import NO_ANSWER, Admin
from kafkalab.errors import ArgumentError, KafkalabError, UnknownPartitionError, UnknownTopicError, UnsupportedError
from kafkalab.model import PartitionInfo, TopicInfo, TopicPartition, Watermarks
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Future
    from threading import Event

    from confluent_kafka.admin import ClusterMetadata, ListOffsetsResultInfo, TopicDescription, TopicMetadata

    from kafkalab.connection import ConnectionConfig

__all__ = ["Cluster", "Metadata", "translate"]

# For how many seconds a topic that nobody knows may be one that was made just before.
_GRACE = 1.0
_LAST_TIME = 2**63 - 1
_SHOWN_TOPICS = 10
_TIMED_OUT = KafkaError(KafkaError._TIMED_OUT)
_OFFSETS_TOPIC = "__consumer_offsets"
_UNKNOWN_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
# Among them what librdkafka's cache says of a topic or partition that is new.
_UNKNOWN = (*_UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError._NOENT)
_NOT_YET = (
    *NO_ANSWER,
    *_UNKNOWN,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
)


class Metadata(Protocol):
    """What plans, verbs and tests need of a cluster."""

    def topics(self) -> list[TopicInfo]:
        """Return all topics, by name."""

    def topic(self, name: str) -> TopicInfo:
        """Return one topic.

        Raises
        ------
        UnknownTopicError
            There is none of that name; it says which are like it.
        """

    def watermarks(self, topic: str, partitions: Sequence[int], *, stop: Event | None = None) -> dict[int, Watermarks]:
        """Return where the logs of partitions begin and end.

        Raises
        ------
        UnknownPartitionError
            The topic has no such partition.
        StoppedError
            The stop was set while this waited.
        """

    def offsets_for_times(self, topic: str, times_ms: Mapping[int, int]) -> dict[int, int | None]:
        """Return the first offset whose timestamp is at least the partition's time; None where no record's is.

        Raises
        ------
        UnsupportedError
            The broker cannot look times up.
        """

    def timestamp_span(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int] | None]:
        """Return the first record's and the greatest timestamp in ms; None where that is unknown or none is there."""

    def committed_offsets(self, group_id: str, topic: str) -> dict[int, int | None]:
        """Return a group's committed offset in every partition; None where it has none."""

    def group_ids(self) -> list[str]:
        """Return the ids of all consumer groups, sorted."""


class Cluster:
    """A cluster, asked through one admin client that is made on first use.

    Looking never changes it: no topic is created, no group joined. It can be pickled, by its configuration.

    Parameters
    ----------
    config : ConnectionConfig
        Where it is and how to get in.
    timeout : float, default 10
        For how many seconds to wait for an answer. What can be known to fail fails before.

    Examples
    --------
    >>> with Cluster(ConnectionConfig.load("broker:9092")) as cluster:  # doctest: +SKIP
    ...     cluster.watermarks("orders", [0, 1])
    """

    def __init__(self, config: ConnectionConfig, *, timeout: float = 10.0) -> None:
        if timeout <= 0:
            raise ArgumentError(f"timeout={timeout} has to be more than 0 seconds")
        self._admin = Admin(config, timeout)

    @property
    def config(self) -> ConnectionConfig:
        """Where the cluster is and how to get in."""
        return self._admin.config

    @property
    def timeout(self) -> float:
        """For how many seconds to wait for an answer."""
        return self._admin.timeout

    def connect(self) -> None:
        """Check that the cluster lets this client in; any other method does so when it is the first.

        Raises
        ------
        BrokerUnreachableError, TlsError, AuthenticationError
            Why it does not, as soon as that is certain.
        """
        if not self._admin.brokers:
            self._admin.metadata()

    def topics(self) -> list[TopicInfo]:
        """Return all topics that this client may see, by name."""
        metadata = self._admin.metadata()
        names = sorted(metadata.topics)
        if not self._admin.has_controller:
            return [_from_metadata(name, metadata.topics[name]) for name in names]
        error = _TIMED_OUT
        for seconds in self._admin.attempts():
            described = self._describe(names, seconds).values()
            failed = [one for one in described if isinstance(one, KafkaError) and one.code() not in _UNKNOWN_TOPIC]
            if not failed:
                return [info for info in described if isinstance(info, TopicInfo)]  # the others were deleted just now
            error = failed[0]
        raise self._admin.translated(error)

    def topic(self, name: str) -> TopicInfo:
        """Return one topic; a name that nobody knows is asked for again for a moment, as it may be new.

        Raises
        ------
        UnknownTopicError
            There is none of that name; it says which are like it.
        AuthorizationError
            This client may not see it.
        """
        self.connect()
        start, error = time.monotonic(), _TIMED_OUT
        for seconds in self._admin.attempts():
            found = self._find(name, seconds)
            if isinstance(found, TopicInfo):
                return found
            error = found
            if error.code() in _UNKNOWN_TOPIC and time.monotonic() > start + _GRACE:
                raise self._unknown(name)
            if error.code() not in _NOT_YET:
                break
        raise self._admin.translated(error, topic=name)

    def watermarks(self, topic: str, partitions: Sequence[int], *, stop: Event | None = None) -> dict[int, Watermarks]:
        """Return where the logs of partitions begin and end.

        Raises
        ------
        UnknownTopicError, UnknownPartitionError
            There is no such topic or partition.
        StoppedError
            The stop was set while this waited.
        """
        latest = dict.fromkeys(partitions, OffsetSpec.latest())
        start = self._list_offsets(topic, dict.fromkeys(partitions, OffsetSpec.earliest()), stop=stop)
        stable = self._list_offsets(topic, latest, IsolationLevel.READ_COMMITTED, stop=stop)
        high = self._list_offsets(topic, latest, stop=stop)
        return {p: Watermarks(start[p].offset, stable[p].offset, high[p].offset) for p in latest}

    def offsets_for_times(self, topic: str, times_ms: Mapping[int, int]) -> dict[int, int | None]:
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
        specs = {p: OffsetSpec.for_timestamp(min(max(0, ms), _LAST_TIME)) for p, ms in times_ms.items()}
        found = self._list_offsets(topic, specs)
        offsets = {p: info.offset if info.offset >= 0 else None for p, info in found.items()}
        # A broker without a controller is librdkafka's mock, which has -1 for every time.
        if None in offsets.values() and not self._admin.has_controller:
            raise UnsupportedError("this broker keeps no times: give offsets, or use Apache Kafka", topic=topic)
        return offsets

    def timestamp_span(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int] | None]:
        """Return the first record's and the greatest timestamp in ms; None where that is unknown or none is there."""
        try:
            first = self._list_offsets(topic, dict.fromkeys(partitions, OffsetSpec.for_timestamp(0)))
            last = self._list_offsets(topic, dict.fromkeys(partitions, OffsetSpec.max_timestamp()))
        except UnsupportedError:
            return dict.fromkeys(partitions)
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline:
            # The newest record is not told while it is on its way to the replicas.
            hidden = [p for p in first if first[p].timestamp >= 0 > last[p].timestamp]
            last |= self._list_offsets(topic, dict.fromkeys(hidden, OffsetSpec.max_timestamp()))
            if not hidden:
                break
        spans = {p: (first[p].timestamp, last[p].timestamp) for p in first}
        return {p: span if min(span) >= 0 else None for p, span in spans.items()}

    def committed_offsets(self, group_id: str, topic: str) -> dict[int, int | None]:
        """Return a group's committed offset in every partition of a topic; None where it has none."""
        if not group_id:
            raise ArgumentError("group_id is empty: name a consumer group, see group_ids()")
        places = [TopicPartition(topic, partition.partition) for partition in self.topic(topic).partitions]
        found = self.commits(group_id, places)
        return {place.partition: found.get(place) for place in places}

    def commits(self, group_id: str, places: Sequence[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """Return a group's committed offsets in some partitions, or in all of the cluster, where it has any."""
        if not self._has_commits():
            return {}
        if places is None:
            known = self._admin.metadata().topics
            places = [TopicPartition(name, partition) for name in known for partition in known[name].partitions]
        asked = [KafkaTopicPartition(place.topic, place.partition) for place in places]
        answer = self._admin.ask(lambda seconds: self._committed(group_id, asked, seconds))
        _check_each(answer)
        return {TopicPartition(part.topic, part.partition): part.offset for part in answer if part.offset >= 0}

    def members(self, group_id: str) -> tuple[str, list[str]]:
        """Return a group's state, and who is in it: client, member and host of each."""
        self.connect()
        futures = self._admin.client.describe_consumer_groups([group_id], request_timeout=self.timeout)
        try:
            found = self._admin.result(futures[group_id])
        except KafkalabError as error:
            cause = error.__cause__
            if isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return "DEAD", []
            raise
        return found.state.name, [
            f"{member.client_id} ({member.member_id}) on {member.host}" for member in found.members
        ]

    def commit(self, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Set a group's committed offsets; the broker refuses that while it has members."""
        asked = [KafkaTopicPartition(place.topic, place.partition, offset) for place, offset in offsets.items()]
        consumer = Consumer(self.config.consumer_options(group_id))
        try:
            done = consumer.commit(offsets=asked, asynchronous=False) or []
        except KafkaException as error:
            raise translate(error) from error
        finally:
            consumer.close()
        _check_each(done)

    def brokers(self) -> dict[int, tuple[str, int]]:
        """Return the host and port of each broker by id, as they advertise them."""
        return _addresses(self._admin.metadata())

    def leaders(self, topic: str, *, stop: Event | None = None) -> dict[int, tuple[str, int]]:
        """Return the host and port of each partition's leader, as the brokers advertise them; asked anew each time.

        Raises
        ------
        UnknownTopicError
            There is no such topic.
        StoppedError
            The stop was set while this waited.
        """
        found = self._admin.metadata(topic, stop)
        error = found.topics[topic].error
        if error is not None and error.code() in _UNKNOWN_TOPIC:
            raise self._unknown(topic)
        partitions = found.topics[topic].partitions.values()
        brokers = _addresses(found)
        return {part.id: brokers[part.leader] for part in partitions if part.leader in brokers}

    def group_ids(self) -> list[str]:
        """Return the ids of all consumer groups that this client may see, sorted."""
        self.connect()
        answer = self._admin.result(self._admin.client.list_consumer_groups(request_timeout=self.timeout))
        if answer.errors:
            raise translate(answer.errors[0])
        return sorted(group.group_id for group in answer.valid)

    def close(self) -> None:
        """Let go of the connection; the next call makes another."""
        self._admin.close()

    def _find(self, name: str, seconds: float) -> TopicInfo | KafkaError:
        if self._admin.has_controller and name:
            return self._describe([name], seconds)[name]
        found = self._admin.metadata().topics.get(name)
        return KafkaError(KafkaError._UNKNOWN_TOPIC) if found is None else _from_metadata(name, found)

    def _describe(self, names: Iterable[str], seconds: float) -> dict[str, TopicInfo | KafkaError]:
        futures = self._admin.client.describe_topics(TopicCollection(list(names)), request_timeout=seconds)
        self._admin.wait(futures.values())
        found = {name: _described(future) for name, future in futures.items()}
        if any(isinstance(one, KafkaError) and one.code() in NO_ANSWER for one in found.values()):
            self._admin.metadata()  # the controller, whom the client asks, may be another one since
        return found

    def _unknown(self, name: str) -> UnknownTopicError:
        names = sorted(other for other in self._admin.metadata().topics if not other.startswith("__"))
        like = difflib.get_close_matches(name, names, 3)
        rest = f" and {len(names) - _SHOWN_TOPICS} more" if len(names) > _SHOWN_TOPICS else ""
        there = ", ".join(names[:_SHOWN_TOPICS]) + rest or "no topics at all"
        hint = f"did you mean {' or '.join(map(repr, like))}?" if like else f"there are {there}"
        return UnknownTopicError(f"the cluster has no such topic; {hint}", topic=name)

    def _list_offsets(
        self,
        topic: str,
        specs: Mapping[int, OffsetSpec],
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        stop: Event | None = None,
    ) -> dict[int, ListOffsetsResultInfo]:
        self.connect()
        if not topic or any(partition < 0 for partition in specs):
            self._check(topic, specs)
        found: dict[int, ListOffsetsResultInfo] = {}
        failed: dict[int, KafkaException] = {}
        for seconds in self._admin.attempts():
            asked = {KafkaTopicPartition(topic, p): spec for p, spec in specs.items() if p not in found}
            futures = self._admin.client.list_offsets(asked, isolation_level=isolation, request_timeout=seconds)
            self._admin.wait(futures.values(), stop)
            answers = {part.partition: _offset(future) for part, future in futures.items()}
            found |= {p: answer for p, answer in answers.items() if not isinstance(answer, KafkaException)}
            failed = {p: answer for p, answer in answers.items() if isinstance(answer, KafkaException)}
            if not failed:
                return {partition: found[partition] for partition in specs}
            codes = {error.args[0].code() for error in failed.values()}
            if not codes.issubset(_NOT_YET):
                break
            if codes.intersection(_UNKNOWN):
                self._check(topic, failed)
            # The client answers from what it remembers of the topic, until it is made to look again.
            self._admin.ask(lambda seconds: self._admin.client.list_topics(topic, timeout=seconds), stop)
        partition, error = max(failed.items(), key=lambda item: item[1].args[0].code() not in _NOT_YET)
        raise self._admin.translated(error.args[0], topic=topic, partition=partition) from error

    def _check(self, topic: str, partitions: Iterable[int]) -> None:
        known = {info.partition for info in self.topic(topic).partitions}
        for partition in set(partitions) - known:
            has = f"0 to {max(known)}" if known else "none yet"
            raise UnknownPartitionError(f"its partitions are {has}", topic=topic, partition=partition)

    def _has_commits(self) -> bool:
        # To ask for a group's coordinator would create the topic of commits.
        found = self._find(_OFFSETS_TOPIC, self.timeout) if self._admin.has_controller else None
        return not (isinstance(found, KafkaError) and found.code() in _UNKNOWN_TOPIC)

    def _committed(self, group_id: str, asked: list[KafkaTopicPartition], seconds: float) -> list[KafkaTopicPartition]:
        # The admin client has a call for it, which ends the process where the group's coordinator has moved.
        consumer = Consumer(self.config.consumer_options(**{"group.id": group_id}))
        try:
            return consumer.committed(asked, timeout=seconds)
        except KafkaException:
            # Why there is no coordinator to ask is told as a message.
            if (message := consumer.poll(0)) is not None and (error := message.error()) is not None:
                raise KafkaException(error) from None
            raise
        finally:
            consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> tuple[ConnectionConfig, float]:
        return self.config, self.timeout

    def __setstate__(self, state: tuple[ConnectionConfig, float]) -> None:
        self._admin = Admin(*state)

    def __repr__(self) -> str:
        count = len(self._admin.brokers)
        state = f"{count} broker{'s' * (count > 1)}" if count else "not connected yet"
        return f"<Cluster {self.config.summary}, {state}>"


def _addresses(metadata: ClusterMetadata) -> dict[int, tuple[str, int]]:
    return {broker.id: (str(broker.host), broker.port) for broker in metadata.brokers.values()}


def _check_each(answers: Iterable[KafkaTopicPartition]) -> None:
    for part in answers:
        if part.error is not None:
            raise translate(part.error, topic=part.topic, partition=part.partition)


def _offset(future: Future[ListOffsetsResultInfo]) -> ListOffsetsResultInfo | KafkaException:
    error = future.exception()
    if isinstance(error, KafkaException):
        return error
    # Where a broker did not answer in time there is no error, but no offset either.
    return future.result() if future.result().offset != OFFSET_INVALID else KafkaException(_TIMED_OUT)


def _described(future: Future[TopicDescription]) -> TopicInfo | KafkaError:
    error = future.exception()
    if isinstance(error, KafkaException):
        cause: KafkaError = error.args[0]
        return cause
    return _from_description(future.result())


def _from_metadata(name: str, topic: TopicMetadata) -> TopicInfo:
    partitions = sorted(topic.partitions.values(), key=lambda part: part.id)
    return TopicInfo(
        name,
        tuple(
            PartitionInfo(part.id, part.leader if part.leader >= 0 else None, tuple(part.replicas), tuple(part.isrs))
            for part in partitions
        ),
        is_internal=name.startswith("__"),
    )


def _from_description(topic: TopicDescription) -> TopicInfo:
    return TopicInfo(
        topic.name,
        tuple(
            PartitionInfo(
                part.id,
                getattr(part.leader, "id", None),  # a partition can be without
                tuple(node.id for node in part.replicas),
                tuple(node.id for node in part.isr),
            )
            for part in sorted(topic.partitions, key=lambda part: part.id)
        ),
        str(topic.topic_id),
        topic.is_internal,
    )
