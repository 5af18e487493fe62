"""What a cluster says of itself on librdkafka's mock, and what the failures of its connections mean."""

import logging
import pickle
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, Producer
from confluent_kafka.admin import OffsetSpec

from kafkalab import errors
from kafkalab.brokers import MockBroker
from kafkalab.cluster import Cluster, Metadata, native, portable
from kafkalab.cluster.portable import PortableCluster
from kafkalab.connection import ConnectionConfig
from kafkalab.diagnosis import Report, Reports, explain
from kafkalab.model import PartitionInfo, TopicInfo, Watermarks
from kafkalab.net.requests import API_VERSIONS, Request
from kafkalab.net.wire import BrokerConnection
from kafkalab.translation import translate

METADATA, LIST_OFFSETS = 3, 2

# What librdkafka says


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._ALL_BROKERS_DOWN, errors.BrokerUnreachableError),
        (KafkaError._TRANSPORT, errors.BrokerUnreachableError),
        (KafkaError._RESOLVE, errors.BrokerUnreachableError),
        (KafkaError._AUTHENTICATION, errors.AuthenticationError),
        (KafkaError.SASL_AUTHENTICATION_FAILED, errors.AuthenticationError),
        (KafkaError._SSL, errors.TlsError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, errors.AuthorizationError),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, errors.AuthorizationError),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, errors.AuthorizationError),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, errors.UnknownTopicError),
        (KafkaError._UNKNOWN_PARTITION, errors.UnknownPartitionError),
        (KafkaError.OFFSET_OUT_OF_RANGE, errors.DataLossError),
        (KafkaError._AUTO_OFFSET_RESET, errors.DataLossError),
        (KafkaError.INVALID_MSG, errors.CorruptDataError),
        (KafkaError._TIMED_OUT, errors.ReadTimeoutError),
        (KafkaError.REQUEST_TIMED_OUT, errors.ReadTimeoutError),
        (KafkaError._UNSUPPORTED_FEATURE, errors.UnsupportedError),
        (KafkaError._INVALID_ARG, errors.ConfigError),
        (KafkaError._STATE, errors.KafkalabError),
    ],
)
def test_every_error_has_its_kind_place_and_advice(code: int, kind: type[errors.KafkalabError]) -> None:
    for foreign in (KafkaError(code), KafkaException(KafkaError(code))):
        told = translate(foreign, topic="orders", partition=3, offset=42)
        assert type(told) is kind
        assert (told.topic, told.partition, told.offset) == ("orders", 3, 42)
        assert str(told).startswith("orders[3]@42: ")
        assert ": " in told.args[0], "no advice"


def test_what_librdkafka_says_of_itself_is_left_out() -> None:
    assert str(translate(KafkaError(KafkaError._TIMED_OUT))) == "Timed out: try again, or give a longer timeout"
    made = KafkaError(KafkaError._INVALID_ARG, "Failed to create admin client: Unsupported SASL mechanism: MAGIC")
    assert type(translate(made)) is errors.AuthenticationError
    assert str(translate(made)).startswith("Unsupported SASL mechanism: MAGIC: set sasl.mechanism")


def test_kerberos_that_is_not_built_in_says_where_to_get_it() -> None:
    text = "No provider for SASL mechanism GSSAPI: recompile librdkafka with libsasl2 or openssl support"
    told = translate(KafkaError(KafkaError._INVALID_ARG, text))
    assert type(told) is errors.AuthenticationError
    assert "confluent-kafka from PyPI has no Kerberos" in str(told)
    assert "--no-binary" in str(told)


# Why a client does not get in

CONNECT, UP, HANDSHAKE, VERSIONS = "CONNECT", "UP", "SSL_HANDSHAKE", "APIVERSION_QUERY"
PLAIN = {"bootstrap.servers": "broker:9092"}
TLS = PLAIN | {"security.protocol": "SSL"}
LOGIN = PLAIN | {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "alice",
    "sasl.password": "correct-horse",
}


@pytest.mark.parametrize(
    ("options", "text", "state", "kind", "words"),
    [
        (PLAIN, "Connect to ipv4#1.2.3.4:9092 failed: Connection refused", CONNECT, errors.BrokerUnreachableError,
         "nothing listens at broker:9092"),
        (PLAIN, "Failed to resolve 'broker:9092': Name or service not known", CONNECT, errors.BrokerUnreachableError,
         "the host name in broker:9092 cannot be resolved"),
        (PLAIN, "Connect to ipv4#1.2.3.4:9092 failed: No route to host", CONNECT, errors.BrokerUnreachableError,
         "No route to host"),
        (PLAIN, "Connection setup timed out in state CONNECT", CONNECT, errors.BrokerUnreachableError, "firewall"),
        (PLAIN, "Connection setup timed out in state APIVERSION_QUERY", VERSIONS, errors.BrokerUnreachableError,
         "does not answer as a Kafka broker"),
        (PLAIN, "Receive failed: Invalid response size 1213486160 (0..100000000)", VERSIONS,
         errors.BrokerUnreachableError, "answers in HTTP: it is no Kafka broker"),
        (PLAIN, "Receive failed: Invalid response size -1 (0..100000000)", VERSIONS, errors.BrokerUnreachableError,
         r"answers with b'\xff\xff\xff\xff'"),
        (PLAIN, "Receive failed: Invalid response size 352518912 (0..100000000)", VERSIONS, errors.TlsError,
         "speaks TLS: set security.protocol=SSL or SASL_SSL"),
        (PLAIN, "Disconnected: connection closed by peer: receive 0 after POLLIN", VERSIONS, errors.TlsError,
         "Set security.protocol=SSL"),
        (LOGIN, "Disconnected: connection closed by peer: receive 0 after POLLIN", VERSIONS, errors.TlsError,
         "Set security.protocol=SASL_SSL"),
        (PLAIN, "Disconnected: connection closed by peer", UP, errors.AuthenticationError,
         "it wants a login. Set security.protocol=SASL_PLAINTEXT"),
        (TLS, "Disconnected: SSL connection closed by peer", UP, errors.AuthenticationError, "protocol=SASL_SSL"),
        (LOGIN, "Disconnected: connection closed by peer", UP, errors.BrokerUnreachableError, "see the broker's log"),
        (TLS, ("SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker"
         " listener?"), HANDSHAKE, errors.TlsError, "does not speak TLS: set security.protocol=PLAINTEXT"),
        (TLS, "Disconnected: SSL connection closed by peer", HANDSHAKE, errors.TlsError, "does not speak TLS"),
        (TLS, "SSL handshake failed: error:0A00010B:SSL routines::wrong version number", HANDSHAKE, errors.TlsError,
         "does not speak TLS"),
        (TLS, "Connection setup timed out in state SSL_HANDSHAKE", HANDSHAKE, errors.TlsError, "does not speak TLS"),
        (TLS, "SSL handshake failed: error:0A000458:SSL routines::tlsv1 unrecognized name", HANDSHAKE, errors.TlsError,
         "unrecognized name"),
        (TLS, "error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116", VERSIONS,
         errors.TlsError, "give ssl.certificate.location and ssl.key.location"),
        (LOGIN, "SASL authentication error: Authentication failed: Invalid username or password", "AUTH_REQ",
         errors.AuthenticationError, "refused the login of 'alice' with PLAIN: Authentication failed: Invalid"),
        (LOGIN, ("SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported"
         " mechanisms: SCRAM-SHA-256,SCRAM-SHA-512"), "AUTH_HANDSHAKE", errors.AuthenticationError,
         "does not take sasl.mechanism=PLAIN: set it to one of SCRAM-SHA-256,SCRAM-SHA-512"),
        (LOGIN, ("SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state: broker's"
         " supported mechanisms: "), "AUTH_HANDSHAKE", errors.AuthenticationError,
         "takes no login: set security.protocol=PLAINTEXT"),
    ],
    ids=range(22),
)  # fmt: skip
def test_the_cause_of_a_failure(
    options: dict[str, Any], text: str, state: str, kind: type[errors.KafkalabError], words: str
) -> None:
    told = explain(Report("broker:9092", "bootstrap", text, state), ConnectionConfig(options))
    assert type(told) is kind
    assert words in str(told)
    assert "advertise" not in str(told)


def test_a_broker_that_lets_go_of_a_client_that_was_in_wants_no_login() -> None:
    report = Report("broker:9092", "1", "Disconnected: connection closed by peer", UP)
    told = explain(report, ConnectionConfig(PLAIN), was_in=True)
    assert type(told) is errors.BrokerUnreachableError
    assert "it went down, or starts again" in str(told)


def test_an_address_that_a_broker_advertises_is_told_so() -> None:
    report = Report("kafka:29092", "3", "Failed to resolve 'kafka:29092': Name or service not known", CONNECT)
    assert "the address that broker 3 advertises (advertised.listeners)" in str(
        explain(report, ConnectionConfig(PLAIN))
    )


def test_a_cause_holds_no_secret() -> None:
    report = Report("broker:9092", "bootstrap", "SASL authentication error: not correct-horse", "AUTH_REQ")
    assert "with PLAIN: not ***." in str(explain(report, ConnectionConfig(LOGIN)))


def line(address: str, text: str, state: str = CONNECT, suffix: str = "") -> tuple[Any, ...]:
    message = f"[thrd:{address}/bootstrap]: {address}/bootstrap: {text} (after 3ms in state {state}{suffix})"
    return 40, "%s [%s] %s", "FAIL", "kafkalab#producer-1", message


def refusal(address: str) -> KafkaError:
    return KafkaError(
        KafkaError._TRANSPORT,
        f"{address}/bootstrap: Connect to ipv4#{address} failed: Connection refused (after 0ms in state CONNECT)",
    )


def test_a_failure_is_certain_when_it_comes_again_at_every_broker() -> None:
    reports, group = Reports(), ["a:1/bootstrap", "b:2/bootstrap"]
    assert reports.certain(group, []) is None
    for address in ("a:1", "a:1", "b:2"):
        reports.log(*line(address, "Connect to ipv4#1.2.3.4:1 failed: Connection refused"))
        assert reports.certain(group, []) is None
    # The same line with another duration is the same failure.
    reports.log(*line("b:2", "Connect to ipv4#1.2.3.4:1 failed: Connection refused", suffix=", 1 identical error(s)"))
    found = reports.certain(group, [])
    assert found is not None
    assert found.state == CONNECT
    reports.clear()
    assert reports.certain(group, []) is None
    assert reports.last() is None


def test_every_address_of_a_host_has_its_turn() -> None:
    reports = Reports()
    reports.log(*line("localhost:9092", "Connect to ipv6#[::1]:9092 failed: Connection refused"))
    reports.log(*line("localhost:9092", "Connect to ipv4#127.0.0.1:9092 failed: Connection refused"))
    assert reports.certain(["localhost:9092/bootstrap"]) is None
    reports.log(*line("localhost:9092", "Connect to ipv6#[::1]:9092 failed: Connection refused"))
    assert reports.certain(["localhost:9092/bootstrap"]) is not None


def test_a_line_and_its_event_are_one_failure() -> None:
    reports = Reports()
    reports.log(*line("a:1", "Connect to ipv4#a:1 failed: Connection refused"))
    reports.error(refusal("a:1"))
    assert reports.certain(["a:1/bootstrap"]) is None
    reports.error(refusal("a:1"))
    assert reports.certain(["a:1/bootstrap"]) is not None


def test_a_refused_login_is_certain_at_once() -> None:
    reports = Reports()
    reports.log(*line("sasl_ssl://a:1", "SASL authentication error: no", "AUTH_REQ"))
    found = reports.certain(["a:1/bootstrap", "b:2/bootstrap"])
    assert found == Report("a:1", "bootstrap", "SASL authentication error: no", "AUTH_REQ")
    reports.clear()
    reports.error(KafkaError(KafkaError._AUTHENTICATION, "Failed to acquire SASL OAUTHBEARER token: no"))
    found = reports.certain(["a:1/bootstrap"])
    assert found is not None
    assert "check the options that begin with sasl.oauthbearer." in str(explain(found, ConnectionConfig(LOGIN)))


def test_what_got_further_tells_more() -> None:
    reports = Reports()
    reports.log(*line("a:1", "Connect to ipv4#1.2.3.4:1 failed: Connection refused"))
    reports.log(*line("b:2", "Disconnected: connection closed by peer", UP))
    reports.log(*line("c:3", "Connect to ipv4#1.2.3.4:3 failed: Connection refused"))
    found = reports.last()
    assert found is not None
    assert found.name == "b:2/bootstrap"


def test_other_lines_say_nothing() -> None:
    reports = Reports()
    for other in (
        (40, "%s [%s] %s", "CONFWARN", "c", "[thrd:app]: something"),
        (40, "%s [%s] %s", "FAIL", "c", "[thrd:app]: without an address"),
        (40, "%s [%s] %s", "FAIL", "c", "[thrd:x]: GroupCoordinator: a:1: Disconnected (after 1ms in state UP)"),
    ):
        reports.log(*other)
    reports.error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert reports.last() is None


# A cluster


@pytest.fixture
def mock() -> Iterator[MockBroker]:
    with MockBroker(topics={"orders": 3, "payments": 1}) as broker:
        yield broker


@pytest.fixture(params=["native", "portable"])
def cluster(mock: MockBroker, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    for module in (native, portable):
        monkeypatch.setattr(module, "GRACE_S", 0.05)
    config = ConnectionConfig({"bootstrap.servers": mock.bootstrap_servers})
    with Cluster(config, timeout=5, portable=request.param == "portable") as one:
        yield one


def test_a_cluster_is_metadata(cluster: Cluster) -> None:
    metadata: Metadata = cluster
    assert metadata is cluster


def test_topics(cluster: Cluster) -> None:
    parts = tuple(PartitionInfo(number, 1, (1,), (1,)) for number in range(3))
    found = [replace(info, topic_id=None) for info in cluster.topics()]
    assert found == [TopicInfo("orders", parts), TopicInfo("payments", parts[:1])]
    assert replace(cluster.topic("orders"), topic_id=None) == TopicInfo("orders", parts)


def test_an_unknown_topic_names_those_like_it(cluster: Cluster) -> None:
    with pytest.raises(errors.UnknownTopicError, match=r"^order: .* did you mean 'orders'\?"):
        cluster.topic("order")
    with pytest.raises(errors.UnknownTopicError, match=r"^xyz: .* there are orders, payments$"):
        cluster.topic("xyz")
    with pytest.raises(errors.UnknownTopicError):
        cluster.topic("")
    assert [info.name for info in cluster.topics()] == ["orders", "payments"]


def test_of_many_topics_a_few_are_named(mock: MockBroker, cluster: Cluster) -> None:
    for number in range(20):
        mock.create_topic(f"t{number:02}", 1)
    with pytest.raises(errors.UnknownTopicError, match=r"there are orders, payments, t00, .*, t07 and 12 more$"):
        cluster.topic("#")


def test_watermarks(mock: MockBroker, cluster: Cluster) -> None:
    producer = Producer({"bootstrap.servers": mock.bootstrap_servers}, logger=logging.getLogger("producer"))
    for _ in range(4):
        producer.produce("orders", b"value", partition=1)
    assert producer.flush(5) == 0
    assert cluster.watermarks("orders", [2, 1]) == {2: Watermarks(0, 0, 0), 1: Watermarks(0, 4, 4)}
    assert cluster.watermarks("orders", []) == {}


def test_unknown_partitions(cluster: Cluster) -> None:
    for partition in (3, -1):
        with pytest.raises(errors.UnknownPartitionError, match=r"its partitions are 0 to 2") as caught:
            cluster.watermarks("orders", [0, partition])
        assert (caught.value.topic, caught.value.partition) == ("orders", partition)


def test_times_that_the_mock_cannot_look_up_are_no_empty_answer(cluster: Cluster) -> None:
    with pytest.raises(errors.UnsupportedError, match=r"^orders: this broker keeps no times"):
        cluster.offsets_for_times("orders", {0: 0})
    assert cluster.offsets_for_times("orders", {}) == {}
    assert cluster.timestamp_span("orders", [0, 1]) == {0: (None, None), 1: (None, None)}


def test_groups(cluster: Cluster) -> None:
    assert cluster.committed_offsets("readers", "orders") == {0: None, 1: None, 2: None}
    with pytest.raises(errors.ArgumentError, match="group_id is empty"):
        cluster.committed_offsets("", "orders")
    with pytest.raises(errors.UnsupportedError):
        cluster.group_ids()


def test_a_cluster_can_be_sent(mock: MockBroker, cluster: Cluster) -> None:
    cluster.connect()
    copy = pickle.loads(pickle.dumps(cluster))  # noqa: S301 # it was pickled here
    assert repr(copy) == f"<Cluster {mock.bootstrap_servers} PLAINTEXT, not connected yet>"
    assert (copy.config, copy.timeout) == (cluster.config, 5)
    assert copy.topics() == cluster.topics()
    assert repr(copy) == f"<Cluster {mock.bootstrap_servers} PLAINTEXT, 1 broker>"


def test_several_brokers() -> None:
    with MockBroker(topics={"orders": 6}, brokers=3) as broker:
        cluster = Cluster(ConnectionConfig({"bootstrap.servers": broker.bootstrap_servers}))
        assert {part.leader for part in cluster.topic("orders").partitions} <= {1, 2, 3}
        assert repr(cluster).endswith("3 brokers>")


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_is_some_time(timeout: float) -> None:
    with pytest.raises(errors.ArgumentError, match="has to be more than 0"):
        Cluster(ConnectionConfig(PLAIN), timeout=timeout)


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(errors.BrokerUnreachableError, match=f"^nothing listens at {address}"):
        Cluster(ConnectionConfig({"bootstrap.servers": address})).topics()


def test_an_interrupt_ends_the_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = Cluster(ConnectionConfig({"bootstrap.servers": f"127.0.0.1:{silent.getsockname()[1]}"}), timeout=60)

        def interrupt() -> None:
            with silent.accept()[0]:  # the client is trying, and its user has had enough
                signal.raise_signal(signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            cluster.topics()
        thread.join()


def test_an_answer_without_an_offset_is_none(mock: MockBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    # As librdkafka gives it where a broker did not answer in time, without an error.
    cluster = PortableCluster(ConnectionConfig({"bootstrap.servers": mock.bootstrap_servers}), 5)
    cluster.connect()
    client = cluster._admin.client
    asked: list[list[int]] = []

    class Silent:
        def list_offsets(self, request: dict[Any, Any], **kwargs: Any) -> dict[Any, Future[Any]]:
            asked.append([part.partition for part in request])
            futures = client.list_offsets(request, **kwargs)
            if len(asked) == 1:
                silent: Future[Any] = Future()
                silent.set_result(SimpleNamespace(offset=OFFSET_INVALID, timestamp=-1))
                return futures | {next(iter(futures)): silent}
            return futures

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

    monkeypatch.setattr(cluster._admin, "_made", Silent())
    found = cluster._list_offsets("orders", dict.fromkeys(range(3), OffsetSpec.latest()))
    assert {partition: info.offset for partition, info in found.items()} == {0: 0, 1: 0, 2: 0}
    assert asked == [[0, 1, 2], [0]]


def test_many_partitions_take_one_request_a_broker_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = BrokerConnection.send

    def noting(connection: BrokerConnection, request: Request[object]) -> tuple[int, int]:
        sent.append(request.key)
        return send(connection, request)

    with MockBroker(topics={"orders": 600}, brokers=3) as broker:
        cluster = Cluster(ConnectionConfig({"bootstrap.servers": broker.bootstrap_servers}))
        cluster.connect()
        monkeypatch.setattr(BrokerConnection, "send", noting)
        for _ in range(2):
            sent.clear()
            info, marks = cluster.overview("orders")
            assert marks.keys() == {part.partition for part in info.partitions} == set(range(600))
            assert Counter(key for key in sent if key in {METADATA, LIST_OFFSETS}) == {METADATA: 1, LIST_OFFSETS: 9}
        assert API_VERSIONS not in sent  # the connections are kept
        cluster.close()
