"""A client that does not get in says at once which of the reasons it was, and shows no password."""

import contextlib
import logging
import pickle
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import trustme

from kafkalab.brokers import ApacheKafka
from kafkalab.cluster import Cluster
from kafkalab.connection import ConnectionConfig
from kafkalab.errors import AuthenticationError, BrokerUnreachableError, ConfigError, KafkalabError, TlsError
from tests.apache.truth import QUICK

PASSWORD = "correct-horse-battery"
WRONG = "wrong-horse-battery"
SECONDS = 10


@pytest.fixture(scope="module")
def secured() -> Iterator[ApacheKafka]:
    with ApacheKafka(
        listeners=["SSL", "SASL_PLAINTEXT", "SASL_SSL"], users={"alice": PASSWORD}, jvm_options=QUICK
    ) as broker:
        yield broker


class Server:
    """A port that is no Kafka broker's: each connection is handed to a function, and closed when the test ends."""

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._handle = handle
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            with contextlib.suppress(OSError):
                self._handle(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # which ends the accept
        self._thread.join()
        for one in (self._socket, *self._connections):
            one.close()


def answer_with(answer: bytes) -> Server:
    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)

    return Server(handle)


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def refused(
    kind: type[KafkalabError], options: dict[str, Any], caplog: pytest.LogCaptureFixture, timeout: float = SECONDS
) -> str:
    """Connect, and return the error's text once it is of this kind, came in time and kept every secret."""
    caplog.set_level(logging.DEBUG)
    cluster = Cluster(ConnectionConfig(options), timeout=timeout)
    start = time.monotonic()
    with pytest.raises(KafkalabError) as caught:
        cluster.connect()
    assert time.monotonic() - start <= SECONDS + 2  # it is a busy machine that takes longer than asked for
    assert type(caught.value) is kind, str(caught.value)
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = "\n".join(
        (
            *(text for text in trace.format() if "pytest" not in text),
            *(f"{record.getMessage()} {record.args}" for record in caplog.records),
            repr(cluster),
            repr(pickle.loads(pickle.dumps(caught.value))),  # noqa: S301 # it was pickled here
        )
    )
    # The frame of this test has the options in plain text; those of kafkalab must not.
    inside = shown.replace(repr(options), "")
    assert WRONG not in inside
    assert PASSWORD not in inside
    return str(caught.value)


def test_every_right_way_in(secured: ApacheKafka) -> None:
    ways = [
        secured.client_config("PLAINTEXT"),
        secured.client_config("SSL"),
        *(
            secured.client_config(protocol, user="alice", mechanism=mechanism)
            for protocol in ("SASL_PLAINTEXT", "SASL_SSL")
            for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
        ),
    ]
    for way in ways:
        with Cluster(ConnectionConfig(way)) as cluster:
            assert cluster.topics() == []
            assert "1 broker" in repr(cluster)
            assert PASSWORD not in repr(cluster)


def test_a_client_properties_file_of_java_gets_in(secured: ApacheKafka, tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.touch(0o600)
    file.write_text(
        f"bootstrap.servers={secured.bootstrap('SASL_SSL')}\n"
        "security.protocol=SASL_SSL\n"
        "sasl.mechanism=SCRAM-SHA-512\n"
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n"
        f'    username="alice" password="{PASSWORD}";\n'
        "ssl.truststore.type=PEM\n"
        f"ssl.truststore.location={secured.ca_pem}\n"
        "key.deserializer=org.apache.kafka.common.serialization.StringDeserializer\n"
    )
    with Cluster(ConnectionConfig.load(config_file=file, environ={})) as cluster:
        assert cluster.topics() == []


def test_nothing_listens(caplog: pytest.LogCaptureFixture) -> None:
    address = free_address()
    text = refused(BrokerUnreachableError, {"bootstrap.servers": address}, caplog)
    assert text.startswith(f"nothing listens at {address} (connection refused)")


def test_a_name_that_does_not_resolve(caplog: pytest.LogCaptureFixture) -> None:
    text = refused(BrokerUnreachableError, {"bootstrap.servers": "no-such-host.invalid"}, caplog)
    assert "the host name in no-such-host.invalid:9092 cannot be resolved" in text


def test_one_of_several_down_is_no_failure(secured: ApacheKafka) -> None:
    servers = f"{free_address()},{secured.bootstrap_servers},{free_address()}"
    with Cluster(ConnectionConfig({"bootstrap.servers": servers})) as cluster:
        cluster.connect()


@pytest.mark.parametrize(
    ("protocol", "answer", "kind", "words"),
    [
        ("PLAINTEXT", b"HTTP/1.1 400 Bad Request\r\n\r\n", BrokerUnreachableError, "answers in HTTP: it is no Kafka"),
        ("PLAINTEXT", b"SSH-2.0-OpenSSH_9.9\r\n", BrokerUnreachableError, "answers in SSH: it is no Kafka broker"),
        ("PLAINTEXT", b"\x15\x03\x03\x00\x02\x02\x46", TlsError, "TLS. Set security.protocol=SSL"),
        ("SSL", b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsError, "does not speak TLS: set security.protocol=PLAINTEXT"),
    ],
)
def test_another_server_s_port(
    caplog: pytest.LogCaptureFixture,
    protocol: str,
    answer: bytes,
    kind: type[KafkalabError],
    words: str,
) -> None:
    with answer_with(answer) as server:
        options = {"bootstrap.servers": server.address, "security.protocol": protocol}
        assert words in refused(kind, options, caplog)


def test_a_port_that_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with Server(lambda _: None) as server:
        text = refused(BrokerUnreachableError, {"bootstrap.servers": server.address}, caplog, timeout=3)
    assert "takes the connection but does not answer as a Kafka broker" in text


def test_plain_text_on_a_tls_port(secured: ApacheKafka, caplog: pytest.LogCaptureFixture) -> None:
    text = refused(TlsError, {"bootstrap.servers": secured.bootstrap("SSL")}, caplog)
    assert text.endswith("it most likely speaks TLS. Set security.protocol=SSL")
    login = secured.client_config("SASL_PLAINTEXT", user="alice") | {"bootstrap.servers": secured.bootstrap("SASL_SSL")}
    assert refused(TlsError, login, caplog).endswith("Set security.protocol=SASL_SSL")


def test_tls_on_a_plain_text_port(secured: ApacheKafka, caplog: pytest.LogCaptureFixture) -> None:
    options = secured.client_config("SSL") | {"bootstrap.servers": secured.bootstrap_servers}
    assert "does not speak TLS: set security.protocol=PLAINTEXT" in refused(TlsError, options, caplog)
    login = secured.client_config("SASL_SSL", user="alice")
    login["bootstrap.servers"] = secured.bootstrap("SASL_PLAINTEXT")
    assert "set security.protocol=SASL_PLAINTEXT" in refused(TlsError, login, caplog)


def test_an_authority_that_is_not_trusted(
    secured: ApacheKafka, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    options = secured.client_config("SASL_SSL", user="alice") | {"ssl.ca.location": str(tmp_path / "other.pem")}
    text = refused(TlsError, options, caplog)
    assert "from no authority that is trusted here" in text
    assert "ssl.ca.location" in text


def test_a_certificate_for_another_host(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "server.pem").write_bytes(authority.issue_cert("broker.example").private_key_and_cert_chain_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")

    def shake_hands(connection: socket.socket) -> None:
        context.wrap_socket(connection.dup(), server_side=True).close()
        connection.shutdown(socket.SHUT_RDWR)

    with Server(shake_hands) as server:
        options = {
            "bootstrap.servers": server.address,
            "security.protocol": "ssl",
            "ssl.ca.location": str(tmp_path / "ca.pem"),
        }
        text = refused(TlsError, options, caplog)
        assert "is for another host" in text
        assert "'127.0.0.1'" in text
        # The name was what was wrong: without its check this is a server, if none of Kafka's.
        options["ssl.endpoint.identification.algorithm"] = "none"
        assert "another host" not in refused(BrokerUnreachableError, options, caplog)


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_wrong_password(
    secured: ApacheKafka, caplog: pytest.LogCaptureFixture, protocol: str, mechanism: str
) -> None:
    options = secured.client_config(protocol, user="alice", mechanism=mechanism) | {"sasl.password": WRONG}
    text = refused(AuthenticationError, options | {"debug": "all"}, caplog)
    assert f"refused the login of 'alice' with {mechanism}" in text
    assert text.endswith("Check sasl.username and sasl.password")


def test_an_unknown_mechanism(secured: ApacheKafka, caplog: pytest.LogCaptureFixture) -> None:
    options = secured.client_config("SASL_PLAINTEXT", user="alice") | {"sasl.mechanism": "MAGIC"}
    assert "MAGIC" in refused(AuthenticationError, options, caplog)


def test_a_login_that_is_missing_or_too_much(secured: ApacheKafka, caplog: pytest.LogCaptureFixture) -> None:
    text = refused(AuthenticationError, {"bootstrap.servers": secured.bootstrap("SASL_PLAINTEXT")}, caplog)
    assert "it wants a login. Set security.protocol=SASL_PLAINTEXT" in text
    tls = secured.client_config("SSL") | {"bootstrap.servers": secured.bootstrap("SASL_SSL")}
    assert "Set security.protocol=SASL_SSL" in refused(AuthenticationError, tls, caplog)
    login = secured.client_config("SASL_PLAINTEXT", user="alice") | {"bootstrap.servers": secured.bootstrap_servers}
    assert "takes no login: set security.protocol=PLAINTEXT" in refused(AuthenticationError, login, caplog)


def test_tokens_that_do_not_come(secured: ApacheKafka, caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: str) -> tuple[str, float]:
        raise OSError(f"the token service does not know {PASSWORD}")

    oauth = {
        "bootstrap.servers": secured.bootstrap("SASL_PLAINTEXT"),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
    }
    with pytest.raises(AuthenticationError, match=r"oauth_cb gave no token .* OSError: the token service does not"):
        Cluster(ConnectionConfig(oauth | {"oauth_cb": fails})).connect()
    oidc = {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": "kafkalab",
        "sasl.oauthbearer.client.secret": WRONG,
        "sasl.oauthbearer.token.endpoint.url": f"http://kafkalab:{PASSWORD}@{free_address()}/token",
    }
    text = refused(AuthenticationError, oauth | oidc, caplog)
    assert "Failed to acquire SASL OAUTHBEARER token" in text


def test_a_token_that_a_callback_gives(secured: ApacheKafka) -> None:
    given: list[str] = []

    def token(settings: str) -> tuple[str, float]:
        given.append(settings)
        # {"alg":"none"} . {"sub":"carol","iat":0,"exp":4102444800}
        return "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYXJvbCIsImlhdCI6MCwiZXhwIjo0MTAyNDQ0ODAwfQ.", time.time() + 3600

    oauth = {
        "bootstrap.servers": secured.bootstrap("SASL_PLAINTEXT"),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "oauth_cb": token,
    }
    with Cluster(ConnectionConfig(oauth)) as cluster:
        assert cluster.topics() == []
    assert given == [""]


def test_what_a_strict_broker_wants(caplog: pytest.LogCaptureFixture) -> None:
    strict = {"ssl.client.auth": "required", "sasl.enabled.mechanisms": "PLAIN"}
    with ApacheKafka(
        strict, listeners=["SSL", "SASL_PLAINTEXT"], users={"alice": PASSWORD}, jvm_options=QUICK
    ) as broker:
        without = broker.client_config("SSL")
        own = {"ssl.certificate.location": str(broker.client_pem), "ssl.key.location": str(broker.client_key_pem)}
        with Cluster(ConnectionConfig(without | own)) as cluster:
            cluster.connect()
        assert "wants a client's certificate: give ssl.certificate.location" in refused(TlsError, without, caplog)
        scram = broker.client_config("SASL_PLAINTEXT", user="alice", mechanism="SCRAM-SHA-512")
        text = refused(AuthenticationError, scram, caplog)
        assert text.endswith("does not take sasl.mechanism=SCRAM-SHA-512: set it to one of PLAIN")


def test_an_address_that_only_the_broker_knows() -> None:
    advertised = {"advertised.listeners": "PLAINTEXT://kafka.invalid:9092"}
    with ApacheKafka(advertised, jvm_options=QUICK) as broker:
        cluster = Cluster(ConnectionConfig({"bootstrap.servers": broker.bootstrap_servers}))
        with pytest.raises(BrokerUnreachableError, match=r"kafka.invalid:9092 cannot be resolved.*broker 1 advertises"):
            cluster.watermarks("orders", [0])


def test_a_certificate_file_that_is_none(secured: ApacheKafka, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ssl\.ca\.location failed"):
        Cluster(ConnectionConfig(secured.client_config("SSL") | {"ssl.ca.location": str(file)})).connect()


@pytest.mark.timeout(300)  # three starts
def test_a_broker_that_goes_and_comes() -> None:
    quick_fencing = {"broker.session.timeout.ms": 3000, "broker.heartbeat.interval.ms": 500}
    with ApacheKafka(quick_fencing, jvm_options=QUICK) as broker:
        cluster = Cluster(ConnectionConfig({"bootstrap.servers": broker.bootstrap_servers}), timeout=120)
        node = broker.brokers[1]
        node.kill()
        # One that was never there is not waited for; the next call tries anew.
        with pytest.raises(BrokerUnreachableError, match="nothing listens"):
            cluster.connect()
        node.start()
        assert cluster.topics() == []
        assert cluster.group_ids() == []
        # One that has answered may be restarting.
        node.kill()
        restart = threading.Thread(target=node.start)
        restart.start()
        try:
            assert cluster.group_ids() == []
        finally:
            restart.join()
