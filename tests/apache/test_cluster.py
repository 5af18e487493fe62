"""What the cluster says of itself, on real Apache Kafka."""

import logging
import pickle
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from kafkalab.brokers import ApacheKafka
from kafkalab.cluster import Cluster, Metadata
from kafkalab.connection import ConnectionConfig
from kafkalab.errors import (
    ArgumentError,
    AuthorizationError,
    UnknownPartitionError,
    UnknownTopicError,
)
from kafkalab.model import TimedOffset, Watermarks
from tests.apache.truth import QUICK

SECONDS = 30
LOGGER = logging.getLogger("kafka.client")


class MakeTopic(Protocol):
    def __call__(self, partitions: int = 1, **config: object) -> str: ...


@pytest.fixture(scope="module")
def cluster(kafka: ApacheKafka) -> Iterator[Cluster]:
    with Cluster(ConnectionConfig({"bootstrap.servers": kafka.bootstrap_servers})) as one:
        yield one


@pytest.fixture
def produce(kafka: ApacheKafka) -> Callable[..., None]:
    """Write records: ``produce(topic, partition, *timestamps)``."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 0}, logger=LOGGER)

    def write(topic: str, partition: int, *timestamps: int) -> None:
        for timestamp in timestamps:
            producer.produce(topic, b"value", partition=partition, timestamp=timestamp)
        assert producer.flush(SECONDS) == 0

    return write


def transaction(kafka: ApacheKafka, topic: str, records: int) -> Producer:
    """Begin a transaction and write in it."""
    config = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": f"{topic}-writer"}
    producer = Producer({**config}, logger=LOGGER)
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    for _ in range(records):
        producer.produce(topic, b"value", partition=0)
    assert producer.flush(SECONDS) == 0
    return producer


def until(holds: Callable[[], bool]) -> None:
    """Ask the cluster until something holds that it has promised."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline


def test_a_cluster_is_metadata(cluster: Cluster) -> None:
    metadata: Metadata = cluster
    assert metadata is cluster


def test_topics_have_ids_and_leaders(cluster: Cluster, topic: MakeTopic, admin: AdminClient) -> None:
    name = topic(3)
    info = cluster.topic(name)
    assert [partition.partition for partition in info.partitions] == [0, 1, 2]
    assert {(part.leader, part.replicas, part.in_sync_replicas) for part in info.partitions} == {(1, (1,), (1,))}
    assert not info.is_internal
    assert info in cluster.topics()
    assert [one.name for one in cluster.topics()] == sorted(one.name for one in cluster.topics())
    admin.delete_topics([name])[name].result(SECONDS)
    until(lambda: name not in admin.list_topics(timeout=SECONDS).topics)
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(SECONDS)
    again = cluster.topic(name)
    assert info.topic_id is not None
    assert again.topic_id not in {None, info.topic_id}


def test_a_topic_is_usable_as_soon_as_it_is_made(cluster: Cluster, admin: AdminClient) -> None:
    names = [f"fresh-{number}" for number in range(10)]
    try:
        for name in names:
            admin.create_topics([NewTopic(name, 4, 1)])[name].result(SECONDS)
            assert cluster.watermarks(name, range(4)) == dict.fromkeys(range(4), Watermarks(0, 0, 0))
            assert len(cluster.topic(name).partitions) == 4
    finally:
        for deleted in admin.delete_topics(names).values():
            deleted.result(SECONDS)


def test_an_unknown_topic_names_those_like_it(cluster: Cluster, topic: MakeTopic) -> None:
    name = topic()
    with pytest.raises(UnknownTopicError, match=f"no such topic; did you mean.*'{name}'") as caught:
        cluster.topic(name + "x")
    assert caught.value.topic == name + "x"
    for odd in ("", "a/b", "#", "x" * 250, ".."):
        with pytest.raises(UnknownTopicError):
            cluster.topic(odd)


@pytest.mark.parametrize("method", ["watermarks", "timestamp_span", "offsets_for_times"])
def test_unknown_topics_and_partitions(cluster: Cluster, topic: MakeTopic, method: str) -> None:
    name = topic(2)
    ask = getattr(cluster, method)
    with pytest.raises(UnknownTopicError):
        ask(name + "x", {0: 0})
    for partition in (2, 2**31 - 1, -1):
        with pytest.raises(UnknownPartitionError, match="its partitions are 0 to 1") as caught:
            ask(name, {0: 0, partition: 0})
        assert (caught.value.topic, caught.value.partition) == (name, partition)
    assert ask(name, {}) == {}


def test_looking_never_creates_a_topic() -> None:
    with ApacheKafka({"auto.create.topics.enable": True}, jvm_options=QUICK) as broker:
        config = ConnectionConfig({"bootstrap.servers": broker.bootstrap_servers, "allow.auto.create.topics": True})
        cluster = Cluster(config, timeout=5)
        admin = AdminClient(
            {"bootstrap.servers": broker.bootstrap_servers, "allow.auto.create.topics": False}, logger=LOGGER
        )
        admin.create_topics([NewTopic("there", 1, 1)])["there"].result(SECONDS)
        for look in (
            lambda: cluster.topic("typo"),
            lambda: cluster.watermarks("typo", [0]),
            lambda: cluster.offsets_for_times("typo", {0: 0}),
            lambda: cluster.timestamp_span("typo", [0]),
            lambda: cluster.committed_offsets("group", "typo"),
        ):
            with pytest.raises(UnknownTopicError):
                look()
        # Asking for the commits of a group would create the topic that keeps them.
        assert cluster.committed_offsets("group", "there") == {0: None}
        assert cluster.group_ids() == []
        assert set(admin.list_topics(timeout=SECONDS).topics) == {"there"}
        # The broker would have done it: this client may.
        careless = AdminClient(
            {"bootstrap.servers": broker.bootstrap_servers, "allow.auto.create.topics": True}, logger=LOGGER
        )
        until(lambda: "typo" in careless.list_topics("typo", timeout=SECONDS).topics)
        until(lambda: set(admin.list_topics(timeout=SECONDS).topics) == {"there", "typo"})


def test_watermarks_of_an_open_transaction(cluster: Cluster, kafka: ApacheKafka, topic: MakeTopic) -> None:
    name = topic(2)
    open_one = transaction(kafka, name, 5)
    assert cluster.watermarks(name, [0, 1]) == {0: Watermarks(0, 0, 5), 1: Watermarks(0, 0, 0)}
    open_one.commit_transaction(SECONDS)
    until(lambda: cluster.watermarks(name, [0]) == {0: Watermarks(0, 6, 6)})  # the marker has an offset of its own


def test_watermarks_after_records_were_deleted(
    cluster: Cluster, topic: MakeTopic, produce: Callable[..., None], admin: AdminClient
) -> None:
    name = topic()
    produce(name, 0, *range(10))
    for deleted in admin.delete_records([TopicPartition(name, 0, 4)]).values():
        deleted.result(SECONDS)
    assert cluster.watermarks(name, [0]) == {0: Watermarks(4, 10, 10)}


def test_many_partitions_at_once(cluster: Cluster, topic: MakeTopic, produce: Callable[..., None]) -> None:
    name = topic(100)
    for partition in range(0, 100, 7):
        produce(name, partition, 5)
    marks = cluster.watermarks(name, range(99, -1, -1))
    assert list(marks) == list(range(99, -1, -1))
    written = {p for p, mark in marks.items() if mark.high_watermark == 1}
    assert written == set(range(0, 100, 7))
    offsets = cluster.offsets_for_times(name, dict.fromkeys(range(100), 5))
    assert offsets == {p: TimedOffset(0, 5) if p in written else None for p in range(100)}
    assert cluster.timestamp_span(name, range(100)) == {p: (5, 5) if p in written else (None, None) for p in range(100)}


def test_offsets_for_times(cluster: Cluster, topic: MakeTopic, produce: Callable[..., None]) -> None:
    name = topic(2)
    produce(name, 0, 1000, 3000, 2000, 4000)
    first, second, last = TimedOffset(0, 1000), TimedOffset(1, 3000), TimedOffset(3, 4000)
    for time_ms, timed in (
        (-5, first),
        (0, first),
        (1000, first),
        (1001, second),
        (3000, second),
        (3001, last),
        (4000, last),
    ):
        assert cluster.offsets_for_times(name, {0: time_ms, 1: time_ms}) == {0: timed, 1: None}
    assert cluster.offsets_for_times(name, {0: 4001}) == {0: None}
    assert cluster.offsets_for_times(name, {0: 2**62}) == {0: None}
    assert cluster.offsets_for_times(name, {1: 0, 0: 3000}) == {1: None, 0: second}


def test_timestamp_span(cluster: Cluster, kafka: ApacheKafka, topic: MakeTopic, produce: Callable[..., None]) -> None:
    name = topic(3)
    produce(name, 0, 5000, 9000, 2000)
    assert cluster.timestamp_span(name, [0, 1]) == {0: (5000, 9000), 1: (None, None)}
    start = time.time() * 1000
    open_one = transaction(kafka, name, 1)
    open_one.abort_transaction(SECONDS)
    first, last = cluster.timestamp_span(name, [0])[0]
    assert first == 5000
    assert last is not None
    assert start - 1000 <= last <= time.time() * 1000 + 1000


def commit(kafka: ApacheKafka, group_id: str, *offsets: TopicPartition) -> None:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group_id}, logger=LOGGER)
    consumer.commit(offsets=list(offsets), asynchronous=False)
    consumer.close()


def test_committed_offsets(cluster: Cluster, kafka: ApacheKafka, topic: MakeTopic) -> None:
    name, other = topic(3), topic()
    group_id = f"{name}-readers"
    commit(kafka, group_id, TopicPartition(name, 0, 7), TopicPartition(name, 2, 0), TopicPartition(other, 0, 1))
    assert cluster.committed_offsets(group_id, name) == {0: 7, 1: None, 2: 0}
    assert cluster.committed_offsets(group_id, other) == {0: 1}
    assert cluster.committed_offsets(f"{group_id}-of-nobody", name) == {0: None, 1: None, 2: None}
    assert group_id in cluster.group_ids()
    assert f"{group_id}-of-nobody" not in cluster.group_ids()  # asking has not made it
    with pytest.raises(ArgumentError, match="group_id is empty"):
        cluster.committed_offsets("", name)


def test_asking_leaves_a_group_s_members_alone(cluster: Cluster, kafka: ApacheKafka, topic: MakeTopic) -> None:
    name = topic()
    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": f"{name}-members"}
    revoked = threading.Event()
    member = Consumer({**config, "auto.offset.reset": "earliest"}, logger=LOGGER)
    assigned = threading.Event()
    member.subscribe([name], on_assign=lambda *_: assigned.set(), on_revoke=lambda *_: revoked.set())
    until(lambda: member.poll(0.05) is not None or assigned.is_set())
    for _ in range(3):
        cluster.committed_offsets(f"{name}-members", name)
    member.poll(0.5)
    assert not revoked.is_set()
    member.close()


def test_what_a_user_may_not_do() -> None:
    rules = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:root",
    }
    users = {"root": "root-password", "bob": "bob-password"}
    with ApacheKafka(rules, listeners=["SASL_PLAINTEXT"], users=users, jvm_options=QUICK) as broker:
        admin = AdminClient({**broker.client_config()}, logger=LOGGER)
        for name in ("open", "closed"):
            admin.create_topics([NewTopic(name, 1, 1)])[name].result(SECONDS)
        allow = AclBinding(
            ResourceType.TOPIC,
            "open",
            ResourcePatternType.LITERAL,
            "User:bob",
            "*",
            AclOperation.DESCRIBE,
            AclPermissionType.ALLOW,
        )
        for created in admin.create_acls([allow]).values():
            created.result(SECONDS)
        bob = Cluster(ConnectionConfig(broker.client_config("SASL_PLAINTEXT", user="bob")))
        until(lambda: [info.name for info in bob.topics()] == ["open"])
        assert bob.watermarks("open", [0]) == {0: Watermarks(0, 0, 0)}
        for look in (
            lambda: bob.topic("closed"),
            lambda: bob.watermarks("closed", [0]),
            lambda: bob.offsets_for_times("closed", {0: 0}),
        ):
            with pytest.raises(AuthorizationError, match="ask for Read and Describe on the topic") as caught:
                look()
            assert caught.value.topic == "closed"
        with pytest.raises(AuthorizationError, match="ask for Read and Describe on the group"):
            bob.committed_offsets("group", "open")
        assert bob.group_ids() == []


def test_a_cluster_of_several_brokers_with_one_down() -> None:
    quick_fencing = {"broker.session.timeout.ms": 3000, "broker.heartbeat.interval.ms": 500}
    with ApacheKafka(quick_fencing, brokers=3, jvm_options=QUICK) as broker:
        admin = AdminClient({**broker.client_config()}, logger=LOGGER)
        admin.create_topics([NewTopic("orders", 6, 3)])["orders"].result(SECONDS)
        cluster = Cluster(ConnectionConfig(broker.client_config()), timeout=SECONDS)
        assert {part.leader for part in cluster.topic("orders").partitions} == {1, 2, 3}
        broker.brokers[2].kill()
        # Its partitions are led by another as soon as the controller has missed it.
        assert cluster.watermarks("orders", range(6)) == dict.fromkeys(range(6), Watermarks(0, 0, 0))
        until(lambda: {part.leader for part in cluster.topic("orders").partitions} == {1, 3})
        fresh = Cluster(ConnectionConfig(broker.client_config()))
        assert fresh.watermarks("orders", range(6)) == dict.fromkeys(range(6), Watermarks(0, 0, 0))


def test_a_pickled_cluster_works_elsewhere(cluster: Cluster, kafka: ApacheKafka, topic: MakeTopic) -> None:
    name = topic(2)
    copy: Cluster = pickle.loads(pickle.dumps(cluster))  # noqa: S301 # it was pickled here
    assert repr(copy) == f"<Cluster {kafka.bootstrap_servers} PLAINTEXT, not connected yet>"
    assert copy.topic(name) == cluster.topic(name)
    assert repr(copy) == f"<Cluster {kafka.bootstrap_servers} PLAINTEXT, 1 broker>"


def test_many_threads_may_ask(cluster: Cluster, topic: MakeTopic) -> None:
    name = topic(4)
    answers: list[object] = []
    threads = [threading.Thread(target=lambda: answers.append(cluster.watermarks(name, range(4)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [dict.fromkeys(range(4), Watermarks(0, 0, 0))] * 8


def test_closing_lets_go_and_the_next_call_connects_again(kafka: ApacheKafka) -> None:
    with Cluster(ConnectionConfig({"bootstrap.servers": kafka.bootstrap_servers})) as cluster:
        cluster.connect()
    assert "not connected yet" in repr(cluster)
    cluster.connect()
    assert "1 broker" in repr(cluster)


def test_kafka_itself_agrees(
    cluster: Cluster, kafka: ApacheKafka, topic: MakeTopic, produce: Callable[..., None]
) -> None:
    name = topic(2)
    produce(name, 0, 1000, 2000, 3000)
    marks = cluster.watermarks(name, [0, 1])
    times = cluster.offsets_for_times(name, {0: 2000, 1: 2000})
    kinds: list[tuple[str, dict[int, int | None]]] = [
        ("earliest", {p: mark.log_start_offset for p, mark in marks.items()}),
        ("latest", {p: mark.high_watermark for p, mark in marks.items()}),
        ("2000", {p: None if timed is None else timed.offset for p, timed in times.items()}),
    ]
    for kind, ours in kinds:
        tool = "org.apache.kafka.tools.GetOffsetShell"
        command = kafka.java_command(tool, "--bootstrap-server", kafka.bootstrap_servers, "--topic", name)
        run = subprocess.run([*command, "--time", kind], capture_output=True, text=True, check=True, timeout=60)
        rows = (row.split(":") for row in run.stdout.split())
        theirs = {int(partition): int(offset) for _, partition, offset in rows}
        assert {p: offset for p, offset in theirs.items() if offset >= 0} == {
            p: offset for p, offset in ours.items() if offset is not None
        }
