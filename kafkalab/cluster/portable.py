# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""A cluster that is asked by librdkafka, for connections that only librdkafka can make."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import OFFSET_INVALID, Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import OffsetSpec

from kafkalab.admin import COORDINATOR_MOVES, NO_ANSWER, Admin
from kafkalab.cluster.metadata import (
    GRACE_S,
    LAST_TIME_MS,
    OFFSETS_TOPIC,
    check_partitions,
    offline,
    unknown_topic,
)
from kafkalab.errors import ArgumentError, KafkalabError, UnsupportedError
from kafkalab.model import PartitionInfo, TimedOffset, TopicInfo, TopicPartition, Watermarks
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from confluent_kafka.admin import (
        AdminClient,
        ClusterMetadata,
        ConsumerGroupListing,
        ListOffsetsResultInfo,
        TopicDescription,
        TopicMetadata,
    )

    from kafkalab.connection import ConnectionConfig
    from kafkalab.net.client import Stops

_T = TypeVar("_T")
_TIMED_OUT = KafkaError(KafkaError._TIMED_OUT)
_URL_SAFE = str.maketrans("+/", "-_")  # as Kafka writes ids; librdkafka does not
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


class PortableCluster:
    """A cluster, asked through one admin client of librdkafka's that is made on first use.

    Parameters
    ----------
    config : ConnectionConfig
        Where it is and how to get in.
    timeout : float
        For how many seconds to wait for an answer. What can be known to fail fails before.
    """

    def __init__(self, config: ConnectionConfig, timeout: float) -> None:
        self._config = config
        self._timeout = timeout
        self._admin = Admin(config, timeout)

    @property
    def count(self) -> int:
        """How many brokers are known."""
        return len(self._admin.brokers)

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
            if error.code() in _UNKNOWN_TOPIC and time.monotonic() > start + GRACE_S:
                raise self._unknown(name)
            if error.code() not in _NOT_YET:
                break
        raise self._admin.translated(error, topic=name)

    def overview(self, name: str) -> tuple[TopicInfo, dict[int, Watermarks]]:
        """Return one topic, and the watermarks of its partitions but those without a leader."""
        info = self.topic(name)
        return info, self.watermarks(name, [part.partition for part in info.partitions if part.leader is not None])

    def watermarks(self, topic: str, partitions: Sequence[int], *, stop: Stops | None = None) -> dict[int, Watermarks]:
        """Return where the logs of partitions begin and end.

        Raises
        ------
        UnknownTopicError, UnknownPartitionError, OfflinePartitionError
            There is no such topic or partition, or a partition has no leader.
        """
        latest = dict.fromkeys(partitions, OffsetSpec.latest())
        self._check(topic, partitions)
        start = self._list_offsets(topic, dict.fromkeys(partitions, OffsetSpec.earliest()), stop=stop)
        stable = self._list_offsets(topic, latest, IsolationLevel.READ_COMMITTED, stop=stop)
        high = self._list_offsets(topic, latest, stop=stop)
        return {p: Watermarks(start[p].offset, stable[p].offset, high[p].offset) for p in latest}

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
        self._check(topic, times_ms)
        specs = {p: OffsetSpec.for_timestamp(min(max(0, ms), LAST_TIME_MS)) for p, ms in times_ms.items()}
        found = self._list_offsets(topic, specs)
        offsets = {
            p: TimedOffset(info.offset, info.timestamp) if info.offset >= 0 else None for p, info in found.items()
        }
        # A broker without a controller is librdkafka's mock, which has -1 for every time.
        if None in offsets.values() and not self._admin.has_controller:
            raise UnsupportedError("this broker keeps no times: give offsets, or use Apache Kafka", topic=topic)
        return offsets

    def timestamp_span(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
        """Return the first record's and the greatest timestamp in ms; None for what is unknown or not there."""
        led = {part.partition for part in self.topic(topic).partitions if part.leader is not None}
        live = [partition for partition in partitions if partition in led]
        self._check(topic, set(partitions) & led or partitions)
        try:
            first = self._list_offsets(topic, dict.fromkeys(live, OffsetSpec.for_timestamp(0)))
            last = self._list_offsets(topic, dict.fromkeys(live, OffsetSpec.max_timestamp()))
        except UnsupportedError:
            return dict.fromkeys(partitions, (None, None))
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            # The newest record is not told while it is on its way to the replicas.
            hidden = [p for p in live if first[p].timestamp >= 0 > last[p].timestamp]
            if not hidden:
                break
            last |= self._list_offsets(topic, dict.fromkeys(hidden, OffsetSpec.max_timestamp()))
        for partition in self._later(topic, first, last):
            last.pop(partition)
        return {p: (_time(first.get(p)), _time(last.get(p))) for p in partitions}

    def _later(
        self, topic: str, first: Mapping[int, ListOffsetsResultInfo], last: Mapping[int, ListOffsetsResultInfo]
    ) -> list[int]:
        """Return the partitions that have a record later than their greatest: a broker before 3.0 knows none."""
        same = {
            p: found.timestamp for p, found in first.items() if found.offset == last[p].offset and found.offset >= 0
        }
        later = self._list_offsets(topic, {p: OffsetSpec.for_timestamp(at + 1) for p, at in same.items()})
        return [partition for partition, found in later.items() if found.offset >= 0]

    def committed_offsets(self, group_id: str, topic: str) -> dict[int, int | None]:
        """Return a group's committed offset in every partition of a topic; None where it has none."""
        places = [TopicPartition(topic, partition.partition) for partition in self.topic(topic).partitions]
        found = self.commits(group_id, places)
        return {place.partition: found.get(place) for place in places}

    def commits(self, group_id: str, places: Sequence[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """Return a group's committed offsets in some partitions, or in all of the cluster, where it has any."""
        if not group_id:
            raise ArgumentError("group_id is empty: name a consumer group, see group_ids()")
        if not self._has_commits(group_id):
            return {}
        if places is None:
            known = self._admin.metadata().topics
            places = [TopicPartition(name, partition) for name in known for partition in known[name].partitions]
        asked = [KafkaTopicPartition(place.topic, place.partition) for place in places]
        answer = self._of_group(group_id, lambda seconds: self._committed(group_id, asked, seconds))
        _check_each(answer)
        return {TopicPartition(part.topic, part.partition): part.offset for part in answer if part.offset >= 0}

    def members(self, group_id: str) -> tuple[str, list[str]]:
        """Return a group's state; its members are not named.

        The call that names them goes to the coordinator, and ends the process where that moves meanwhile. This one goes
        to all brokers.
        """
        self.connect()

        def listed(seconds: float) -> list[ConsumerGroupListing]:
            answer = self._admin.client.list_consumer_groups(request_timeout=max(seconds, 1)).result()
            found = [group for group in answer.valid if group.group_id == group_id]
            if answer.errors and not found:
                raise answer.errors[0]
            return found

        groups = self._of_group(group_id, listed)
        return (groups[0].state.name if groups else "DEAD"), []

    def commit(self, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Set a group's committed offsets; the broker refuses that while it has members."""
        asked = [KafkaTopicPartition(place.topic, place.partition, offset) for place, offset in offsets.items()]
        self.connect()

        def commit(_: float) -> list[KafkaTopicPartition]:
            consumer = Consumer(self._config.consumer_options(group_id))
            try:
                return consumer.commit(offsets=asked, asynchronous=False) or []
            finally:
                consumer.close()

        _check_each(self._of_group(group_id, commit))

    def brokers(self) -> dict[int, tuple[str, int]]:
        """Return the host and port of each broker by id, as they advertise them."""
        return _addresses(self._admin.metadata())

    def api_versions(self) -> dict[int, tuple[int, int]]:
        """Return nothing: librdkafka does not tell what the brokers understand."""
        return {}

    def leaders(self, topic: str, *, stop: Stops | None = None) -> dict[int, tuple[str, int]]:
        """Return the host and port of each partition's leader, as the brokers advertise them; asked anew each time.

        Raises
        ------
        UnknownTopicError
            There is no such topic.
        """
        found = self._admin.metadata(topic, stop=stop)
        error = found.topics[topic].error
        if error is not None and error.code() in _UNKNOWN_TOPIC:
            raise self._unknown(topic)
        partitions = found.topics[topic].partitions.values()
        brokers = _addresses(found)
        return {part.id: brokers[part.leader] for part in partitions if part.leader in brokers}

    def group_ids(self) -> list[str]:
        """Return the ids of all consumer groups that this client may see, sorted."""
        self.connect()
        answer = self._admin.result(lambda client: client.list_consumer_groups(request_timeout=self._timeout))
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
        asked = TopicCollection(list(names))
        described = self._admin.settled(lambda client: client.describe_topics(asked, request_timeout=seconds))
        found = {name: _described(one) for name, one in described.items()}
        if any(isinstance(one, KafkaError) and one.code() in NO_ANSWER for one in found.values()):
            self._admin.metadata()  # the controller, whom the client asks, may be another one since
        return found

    def _unknown(self, name: str) -> KafkalabError:
        return unknown_topic(name, self._admin.metadata().topics)

    def _list_offsets(
        self,
        topic: str,
        specs: Mapping[int, OffsetSpec],
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        *,
        stop: Stops | None = None,
    ) -> dict[int, ListOffsetsResultInfo]:
        found: dict[int, ListOffsetsResultInfo] = {}
        failed: dict[int, KafkaError] = {}
        for seconds in self._admin.attempts() if specs else ():
            asked = {KafkaTopicPartition(topic, p): spec for p, spec in specs.items() if p not in found}
            settled = self._admin.settled(_listing(asked, isolation, seconds), stop=stop)
            answers = {part.partition: _offset(answer) for part, answer in settled.items()}
            found |= {p: answer for p, answer in answers.items() if not isinstance(answer, KafkaError)}
            failed = {p: answer for p, answer in answers.items() if isinstance(answer, KafkaError)}
            if not failed or not {error.code() for error in failed.values()}.issubset(_NOT_YET):
                break
            # The client answers from what it remembers of the topic, until it is made to look again.
            self._admin.metadata(topic, stop=stop)
            self._check(topic, failed)
        if failed:
            partition, error = max(failed.items(), key=lambda item: item[1].code() not in _NOT_YET)
            raise self._admin.translated(error, topic=topic, partition=partition)
        return {partition: found[partition] for partition in specs}

    def _check(self, topic: str, partitions: Iterable[int]) -> None:
        """See that partitions exist and have leaders: librdkafka may end the process where it looks for one in vain."""
        info, asked = self.topic(topic), set(partitions)
        check_partitions(info, asked)
        for part in info.partitions:
            if part.partition in asked and part.leader is None:
                raise offline(topic, part)

    def _has_commits(self, group_id: str) -> bool:
        # To ask for a group's coordinator would create the topic of commits.
        found = self._find(OFFSETS_TOPIC, self._timeout) if self._admin.has_controller else None
        if isinstance(found, KafkaError) and found.code() in _UNKNOWN_TOPIC:
            return group_id in self.group_ids()  # a server may keep commits elsewhere
        return True

    def _of_group(self, group_id: str, call: Callable[[float], _T]) -> _T:
        return self._admin.ask(call, retried=(*NO_ANSWER, *COORDINATOR_MOVES), group_id=group_id)

    def _committed(self, group_id: str, asked: list[KafkaTopicPartition], seconds: float) -> list[KafkaTopicPartition]:
        # The admin client has a call for it, which ends the process where the group's coordinator has moved.
        consumer = Consumer(self._config.consumer_options(**{"group.id": group_id}))
        try:
            return consumer.committed(asked, timeout=seconds)
        except KafkaException:
            # Why there is no coordinator to ask is told as a message.
            if (message := consumer.poll(0)) is not None and (error := message.error()) is not None:
                raise KafkaException(error) from None
            raise
        finally:
            consumer.close()


def _addresses(metadata: ClusterMetadata) -> dict[int, tuple[str, int]]:
    return {broker.id: (str(broker.host), broker.port) for broker in metadata.brokers.values()}


def _check_each(answers: Iterable[KafkaTopicPartition]) -> None:
    for part in answers:
        if part.error is not None:
            raise translate(part.error, topic=part.topic, partition=part.partition)


def _listing(
    asked: dict[KafkaTopicPartition, OffsetSpec], isolation: IsolationLevel, seconds: float
) -> Callable[[AdminClient], Mapping[KafkaTopicPartition, Future[ListOffsetsResultInfo]]]:
    return lambda client: client.list_offsets(asked, isolation_level=isolation, request_timeout=seconds)


def _offset(answer: ListOffsetsResultInfo | KafkaException) -> ListOffsetsResultInfo | KafkaError:
    if isinstance(answer, KafkaException):
        cause: KafkaError = answer.args[0]
        return cause
    # Where a broker did not answer in time there is no error, but no offset either.
    return answer if answer.offset != OFFSET_INVALID else _TIMED_OUT


def _time(found: ListOffsetsResultInfo | None) -> int | None:
    return found.timestamp if found is not None and found.timestamp >= 0 else None


def _described(answer: TopicDescription | KafkaException) -> TopicInfo | KafkaError:
    if isinstance(answer, KafkaException):
        cause: KafkaError = answer.args[0]
        return cause
    return _from_description(answer)


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
        str(topic.topic_id).translate(_URL_SAFE),
        topic.is_internal,
    )
