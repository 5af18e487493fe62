"""Which engine reads: the fast one wherever it gets in, librdkafka where only that does, and it says why."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import kafkalab as kl
from kafkalab._native import StopFlag
from kafkalab.brokers import ApacheKafka
from kafkalab.net.wire import BrokerConnection
from tests.apache.truth import QUICK, Log, new_topic, numbered, rows

PASSWORD = "correct-horse-battery"
ODD_PASSWORD = "pä\u00adss\u2168,=\u0627a"  # SASLprep would change or refuse it


@pytest.fixture(scope="module")
def secured() -> Iterator[ApacheKafka]:
    with ApacheKafka(
        listeners=["SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        users={"alice": PASSWORD, "zoe": ODD_PASSWORD},
        jvm_options=QUICK,
    ) as broker:
        yield broker


@pytest.fixture(scope="module")
def log(secured: ApacheKafka) -> Log:
    log = new_topic(secured.bootstrap_servers, 2)
    log.write(0, *numbered(100))
    log.write(1, *numbered(50))
    return log


def check(config: dict[str, Any], log: Log, engine: str) -> None:
    with kl.connect(config=config) as lab:
        assert lab.fetcher.name == engine
        assert rows(lab.read(log.topic, headers=True)) == log.visible("read_committed")
        assert len(lab.sample(log.topic, 20, seed=1)) == 20


def left_to_librdkafka(config: dict[str, Any], log: Log, reason: str) -> None:
    """Check that librdkafka reads, that one warning says why, and that the fast engine is not to be had."""
    with pytest.warns(kl.KafkalabWarning, match=f"librdkafka reads.*{reason}") as told:
        check(config, log, "librdkafka")
    assert len(told) == 1
    with pytest.raises(kl.UnsupportedError, match=f"{reason}.*engine='librdkafka'"):
        kl.connect(config=config, engine="arrow")


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_the_fast_engine_reads_without_a_login(secured: ApacheKafka, log: Log, protocol: str) -> None:
    check(secured.client_config(protocol), log, "arrow")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_the_fast_engine_logs_in(secured: ApacheKafka, log: Log, protocol: str, mechanism: str) -> None:
    check(secured.client_config(protocol, user="alice", mechanism=mechanism), log, "arrow")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_is_taken_as_it_is(secured: ApacheKafka, log: Log, mechanism: str) -> None:
    config = secured.client_config("SASL_SSL", user="zoe", mechanism=mechanism)
    check(config, log, "arrow")
    with kl.connect(config=config, engine="librdkafka") as lab:
        assert len(lab.read(log.topic)) == 150


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_wrong_password_is_an_error_at_login(secured: ApacheKafka, mechanism: str) -> None:
    config = secured.client_config("SASL_PLAINTEXT", user="alice", mechanism=mechanism)
    host, port = secured.bootstrap("SASL_PLAINTEXT").split(":")
    wrong = kl.ConnectionConfig(config | {"sasl.password": "hunter2"})
    with pytest.raises(kl.AuthenticationError, match="refused the login"):
        BrokerConnection(wrong, host, int(port), StopFlag())


def test_a_login_serves_the_reads_that_follow(secured: ApacheKafka, log: Log, logins: list[BrokerConnection]) -> None:
    with kl.connect(config=secured.client_config("SASL_SSL", user="alice", mechanism="SCRAM-SHA-256")) as lab:
        for _ in range(3):
            assert len(lab.read(log.topic)) == 150
    assert len(logins) == 2  # a connection for each partition, of which connect has made one


def token_until(end: float) -> tuple[str, float]:
    """Make an unsecured token that began ten minutes before it ends, or before now."""
    parts = ({"alg": "none"}, {"sub": "alice", "iat": int(min(end, time.time())) - 600, "exp": end})
    texts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*texts, "")), end


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_the_fast_engine_asks_for_a_token(secured: ApacheKafka, log: Log, protocol: str) -> None:
    asked = []

    def token(config: str) -> tuple[str, float]:
        asked.append(config)
        return token_until(time.time() + 3600)

    config = secured.client_config(protocol, user="alice", mechanism="OAUTHBEARER")
    del config["enable.sasl.oauthbearer.unsecure.jwt"]
    check(config | {"oauth_cb": token, "sasl.oauthbearer.config": "scope=read"}, log, "arrow")
    assert asked.count("scope=read") == len(asked) > 1


def test_a_token_that_is_refused_is_an_error_at_login(secured: ApacheKafka) -> None:
    config = secured.client_config("SASL_PLAINTEXT", user="alice", mechanism="OAUTHBEARER")
    del config["enable.sasl.oauthbearer.unsecure.jwt"]
    host, port = secured.bootstrap("SASL_PLAINTEXT").split(":")
    wrong = kl.ConnectionConfig(config | {"oauth_cb": lambda _: token_until(time.time() - 100)})
    with pytest.raises(kl.AuthenticationError, match=r"refused the token: .*invalid"):
        BrokerConnection(wrong, host, int(port), StopFlag())


@pytest.mark.parametrize(
    ("extra", "named"), [({"client.rack": "a"}, r"client\.rack"), ({"plugin.library.paths": ""}, None)]
)
def test_an_option_that_only_librdkafka_has_is_named(
    secured: ApacheKafka, log: Log, extra: dict[str, str], named: str | None
) -> None:
    config = secured.client_config() | extra
    if named:
        left_to_librdkafka(config, log, named)
    else:
        check(config, log, "arrow")


def test_a_token_of_librdkafka_s_own_making_is_named(secured: ApacheKafka, log: Log) -> None:
    config = secured.client_config("SASL_PLAINTEXT", user="alice", mechanism="OAUTHBEARER")
    left_to_librdkafka(config, log, r"enable\.sasl\.oauthbearer\.unsecure\.jwt")


def test_kerberos_that_the_broker_has_not_is_named(secured: ApacheKafka) -> None:
    config = secured.client_config("SASL_PLAINTEXT", user="alice") | {"sasl.mechanism": "GSSAPI"}
    with pytest.raises(kl.AuthenticationError, match="GSSAPI"):
        kl.connect(config=config)


def test_options_of_a_whole_application_keep_the_fast_engine(secured: ApacheKafka, log: Log) -> None:
    everything: dict[str, Any] = {
        "broker.address.family": "v4",
        "check.crcs": "true",
        "client.id": "application",
        "enable.auto.commit": "true",
        "fetch.max.bytes": "1000",
        "group.id": "application",
        "isolation.level": "read_uncommitted",
        "receive.message.max.bytes": "2000",
        "socket.connection.setup.timeout.ms": "5000",
        "socket.keepalive.enable": "true",
        "socket.timeout.ms": "5000",
        "statistics.interval.ms": "1000",
        "stats_cb": len,
    }
    check(secured.client_config("SASL_SSL", user="alice") | everything, log, "arrow")


def test_no_address_of_the_family_is_an_error(secured: ApacheKafka) -> None:
    host, port = secured.bootstrap_servers.split(":")
    config = kl.ConnectionConfig(secured.client_config() | {"broker.address.family": "v6"})
    with pytest.raises(kl.BrokerUnreachableError, match="no address of the family V6"):
        BrokerConnection(config, host, int(port), StopFlag())
