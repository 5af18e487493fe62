"""A cluster that answers what no good one does: each is a declared error, in time, and never a crash."""

import struct
from collections.abc import Iterator

import pytest

from kafkalab import errors
from kafkalab.cluster import Cluster
from kafkalab.connection import ConnectionConfig
from kafkalab.model import Watermarks
from tests.hostile.scripted_broker import LIST_OFFSETS, METADATA, Log, ScriptedBroker, plain

TOPIC = "orders"
NOT_OFFERED, NOT_ALLOWED = 78, 29


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    with ScriptedBroker({TOPIC: [Log([plain(0, 10)]), Log([plain(0, 20)])]}) as one:
        yield one


@pytest.fixture
def cluster(broker: ScriptedBroker) -> Iterator[Cluster]:
    with Cluster(ConnectionConfig({"bootstrap.servers": broker.bootstrap}), timeout=1) as one:
        yield one


def test_an_honest_broker_is_believed(cluster: Cluster) -> None:
    info, marks = cluster.overview(TOPIC)
    assert [part.leader for part in info.partitions] == [1, 1]
    assert marks == {0: Watermarks(0, 10, 10), 1: Watermarks(0, 20, 20)}


def test_a_broker_before_3_0_does_not_know_the_greatest_time(cluster: Cluster) -> None:
    # It takes the time -3 of ListOffsets for one before all records, and would give the first one's.
    assert {last for _, last in cluster.timestamp_span(TOPIC, [0, 1]).values()} == {None}


@pytest.mark.parametrize("host", [b"\xff\xfe\xfd", b"x" * 9])
@pytest.mark.parametrize("port", [70_000, -1])
def test_a_broker_at_an_impossible_address(broker: ScriptedBroker, cluster: Cluster, host: bytes, port: int) -> None:
    known = b"127.0.0.1" + struct.pack(">i", broker.port)

    def moved(_: int, body: bytes) -> bytes:
        assert known in body
        return body.replace(struct.pack(">h", 9) + known, struct.pack(">h", len(host)) + host + struct.pack(">i", port))

    broker.overrides[METADATA] = moved
    kind = errors.CorruptDataError if host[0] == 0xFF else errors.BrokerUnreachableError
    with pytest.raises(kind):
        cluster.topics()


def test_a_topic_s_name_that_is_no_text(broker: ScriptedBroker, cluster: Cluster) -> None:
    broker.overrides[METADATA] = lambda _, body: body.replace(b"orders", b"order\xff")
    with pytest.raises(errors.CorruptDataError, match="not UTF-8"):
        cluster.topics()


@pytest.mark.parametrize("key", [METADATA, LIST_OFFSETS])
def test_answers_that_are_cut_or_announce_too_much(broker: ScriptedBroker, cluster: Cluster, key: int) -> None:
    cluster.connect()
    for lie in (lambda body: body[: len(body) // 2], lambda body: body[:4] + b"\x7f\xff\xff\xff" + body[8:]):
        broker.overrides[key] = lambda _, body, lie=lie: lie(body)  # type: ignore[misc]  # bound now
        with pytest.raises(errors.CorruptDataError, match="malformed"):
            cluster.watermarks(TOPIC, [0])


def test_offsets_of_partitions_that_nobody_asked_for(broker: ScriptedBroker, cluster: Cluster) -> None:
    cluster.connect()
    right, wrong = struct.pack(">ihq", 0, 0, -1), struct.pack(">ihq", 99, 0, -1)
    broker.overrides[LIST_OFFSETS] = lambda _, body: body.replace(right, wrong)
    with pytest.raises(errors.ReadTimeoutError):
        cluster.watermarks(TOPIC, [0])


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (NOT_OFFERED, errors.ReadTimeoutError, "wait until replicas are back"),
        (NOT_ALLOWED, errors.AuthorizationError, "ask for Read and Describe on the topic"),
    ],
)
def test_errors_of_a_partition_name_it(
    broker: ScriptedBroker, cluster: Cluster, code: int, kind: type[errors.KafkalabError], words: str
) -> None:
    cluster.connect()
    right, wrong = struct.pack(">ihq", 1, 0, -1), struct.pack(">ihq", 1, code, -1)
    broker.overrides[LIST_OFFSETS] = lambda _, body: body.replace(right, wrong)
    with pytest.raises(kind, match=words) as caught:
        cluster.watermarks(TOPIC, [1])
    assert (caught.value.topic, caught.value.partition) == (TOPIC, 1)


def test_a_cluster_that_goes_away_is_told(broker: ScriptedBroker, cluster: Cluster) -> None:
    cluster.connect()
    broker.stop()
    with pytest.raises(errors.BrokerUnreachableError, match="nothing listens"):
        cluster.watermarks(TOPIC, [0])


LIST_GROUPS, OFFSET_FETCH, FIND_COORDINATOR = 16, 9, 10


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


@pytest.fixture
def keeper() -> Iterator[ScriptedBroker]:
    """Give a server that shows no topic of commits, and has some of group g."""
    broker = ScriptedBroker({TOPIC: [Log(), Log()]}, versions={LIST_GROUPS: (0, 0), OFFSET_FETCH: (2, 2)})
    place = struct.pack(">iq", 1, 42) + string("") + struct.pack(">h", 0)
    broker.answers[LIST_GROUPS] = lambda *_: struct.pack(">hi", 0, 1) + string("g") + string("consumer")
    broker.answers[OFFSET_FETCH] = lambda *_: (
        struct.pack(">i", 1) + string(TOPIC) + struct.pack(">i", 1) + place + struct.pack(">h", 0)
    )
    with broker:
        yield broker


def test_commits_of_a_server_without_a_topic_of_commits(keeper: ScriptedBroker) -> None:
    with Cluster(ConnectionConfig({"bootstrap.servers": keeper.bootstrap}), timeout=1) as cluster:
        assert cluster.committed_offsets("g", TOPIC) == {0: None, 1: 42}
        assert cluster.committed_offsets("nobody", TOPIC) == {0: None, 1: None}
        assert cluster.group_ids() == ["g"]
    # Where it is not shown, asking for a coordinator would create it.
    assert keeper.counts[FIND_COORDINATOR] == 0
