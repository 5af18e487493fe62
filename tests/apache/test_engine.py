"""Which engine reads: the fast one wherever it gets in, librdkafka where only that does, and it says why."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import kafkalab as kl
from kafkalab._native import StopFlag
from kafkalab.brokers import ApacheKafka
from kafkalab.fetch.wire import BrokerConnection
from tests.apache.truth import Log, new_topic, numbered, rows

PASSWORD = "correct-horse-battery"


@pytest.fixture(scope="module")
def secured() -> Iterator[ApacheKafka]:
    with ApacheKafka(listeners=["SSL", "SASL_PLAINTEXT", "SASL_SSL"], users={"alice": PASSWORD}) as broker:
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


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_the_fast_engine_reads_without_a_login(secured: ApacheKafka, log: Log, protocol: str) -> None:
    check(secured.client_config(protocol), log, "arrow")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_the_fast_engine_logs_in(secured: ApacheKafka, log: Log, protocol: str, mechanism: str) -> None:
    check(secured.client_config(protocol, user="alice", mechanism=mechanism), log, "arrow")


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


def test_the_fast_engine_shows_a_client_certificate(secured: ApacheKafka, log: Log) -> None:
    mine = {"ssl.certificate.location": str(secured.client_pem), "ssl.key.location": str(secured.client_key_pem)}
    check(secured.client_config("SSL") | mine, log, "arrow")


def test_the_fast_engine_takes_certificates_as_text(secured: ApacheKafka, log: Log) -> None:
    config = secured.client_config("SSL")
    pem = Path(config.pop("ssl.ca.location")).read_text("ascii")
    check(config | {"ssl.ca.pem": pem}, log, "arrow")


def test_an_option_that_only_librdkafka_has_is_named(secured: ApacheKafka, log: Log) -> None:
    config = secured.client_config("SSL") | {"ssl.endpoint.identification.algorithm": "none"}
    with pytest.warns(kl.KafkalabWarning, match=r"librdkafka reads.*ssl\.endpoint\.identification\.algorithm=none"):
        check(config, log, "librdkafka")
    with pytest.raises(kl.UnsupportedError, match=r"ssl\.endpoint\.identification\.algorithm=none"):
        kl.connect(config=config, engine="arrow")


def test_a_certificate_that_only_openssl_accepts_is_named(tmp_path: Path) -> None:
    certificate, key = own_authority()
    (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "server.pem").write_bytes(key + certificate)
    with ApacheKafka({"ssl.keystore.location": tmp_path / "server.pem"}, listeners=["SSL"]) as broker:
        log = new_topic(broker.bootstrap_servers)
        log.write(0, *numbered(30))
        config = broker.client_config("SSL") | {"ssl.ca.location": str(tmp_path / "ca.pem")}
        with pytest.warns(kl.KafkalabWarning, match="librdkafka reads.*certificate"):
            check(config, log, "librdkafka")


def own_authority() -> tuple[bytes, bytes]:
    """Make a server's certificate that is its own authority, as PEM with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private
