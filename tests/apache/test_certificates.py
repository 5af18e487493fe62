"""Every form in which certificates and keys come: read by the fast engine, or left to librdkafka with its reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

import kafkalab as kl
from kafkalab._native import StopFlag
from kafkalab.brokers import ApacheKafka
from kafkalab.net.wire import BrokerConnection
from tests.apache.test_engine import PASSWORD, check, left_to_librdkafka
from tests.apache.truth import QUICK, Log, new_topic, numbered

HOST = "127.0.0.1"
KEY_PASSWORD = b"battery-staple"


def filled(broker: ApacheKafka) -> Log:
    log = new_topic(broker.bootstrap_servers)
    log.write(0, *numbered(30))
    return log


# What clients show


@pytest.fixture(scope="module")
def strict() -> Iterator[ApacheKafka]:
    """Give a broker that wants a client's certificate on one listener, and speaks old TLS on the other."""
    properties = {
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.sasl_ssl.ssl.enabled.protocols": "TLSv1.2",
    }
    with ApacheKafka(properties, listeners=["SSL", "SASL_SSL"], users={"alice": PASSWORD}, jvm_options=QUICK) as broker:
        yield broker


@pytest.fixture(scope="module")
def log(strict: ApacheKafka) -> Log:
    return filled(strict)


@pytest.fixture
def mine(strict: ApacheKafka) -> dict[str, Any]:
    """Give the options of a client that shows its certificate from files."""
    own = {"ssl.certificate.location": str(strict.client_pem), "ssl.key.location": str(strict.client_key_pem)}
    return strict.client_config("SSL") | own


def test_a_client_s_certificate_from_files(mine: dict[str, Any], log: Log) -> None:
    check(mine, log, "arrow")


def test_certificates_and_key_as_text(mine: dict[str, Any], log: Log) -> None:
    for kind in ("ca", "certificate", "key"):
        mine[f"ssl.{kind}.pem"] = Path(mine.pop(f"ssl.{kind}.location")).read_text("ascii")
    check(mine, log, "arrow")


def test_no_certificate_is_an_error_that_says_so(strict: ApacheKafka) -> None:
    with pytest.raises(kl.TlsError, match=r"wants a client's certificate: give ssl\.certificate\.location"):
        kl.connect(config=strict.client_config("SSL"))


def test_an_encrypted_key(mine: dict[str, Any], log: Log, tmp_path: Path) -> None:
    locked = form.BestAvailableEncryption(KEY_PASSWORD)
    pem = client_key(mine).private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked)
    (tmp_path / "key.pem").write_bytes(pem)
    mine |= {"ssl.key.location": str(tmp_path / "key.pem"), "ssl.key.password": KEY_PASSWORD.decode()}
    left_to_librdkafka(mine, log, r"ssl\.key\.password")


def test_a_pkcs_12_store(mine: dict[str, Any], log: Log, tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(Path(mine.pop("ssl.certificate.location")).read_bytes())
    locked = form.BestAvailableEncryption(KEY_PASSWORD)
    store = pkcs12.serialize_key_and_certificates(b"client", client_key(mine), certificate, None, locked)
    (tmp_path / "client.p12").write_bytes(store)
    del mine["ssl.key.location"]
    mine |= {"ssl.keystore.location": str(tmp_path / "client.p12"), "ssl.keystore.password": KEY_PASSWORD.decode()}
    left_to_librdkafka(mine, log, r"ssl\.keystore\.location")


def client_key(mine: dict[str, Any]) -> Any:
    return form.load_pem_private_key(Path(mine["ssl.key.location"]).read_bytes(), None)


# What clients trust


def test_a_broker_that_speaks_tls_1_2_alone(strict: ApacheKafka, log: Log) -> None:
    check(strict.client_config("SASL_SSL", user="alice"), log, "arrow")


def test_the_system_s_authorities(mine: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The bundled librdkafka looks for the system's in fixed places, so this is about the fast engine alone.
    monkeypatch.setenv("SSL_CERT_FILE", mine.pop("ssl.ca.location"))
    host, port = mine["bootstrap.servers"].split(":")
    BrokerConnection(kl.ConnectionConfig(mine), host, int(port), StopFlag()).close()
    monkeypatch.setenv("SSL_CERT_FILE", Authority().write(tmp_path))
    with pytest.raises(kl.TlsError, match=r"no trusted authority.*set ssl\.ca\.location"):
        BrokerConnection(kl.ConnectionConfig(mine), host, int(port), StopFlag())


def test_no_check_at_all(mine: dict[str, Any], log: Log) -> None:
    del mine["ssl.ca.location"]
    unchecked = {"enable.ssl.certificate.verification": "false", "ssl.endpoint.identification.algorithm": "none"}
    check(mine | unchecked, log, "arrow")


def test_no_check_of_the_host_name(mine: dict[str, Any], log: Log) -> None:
    option = "ssl.endpoint.identification.algorithm"
    left_to_librdkafka(mine | {option: "none"}, log, option + "=none")


# What brokers show


class Signed(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def keystore(self, folder: Path, name: str) -> Path:
        """Write both as a broker reads them."""
        pem = self.key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        path = folder / name
        path.write_bytes(pem + self.certificate.public_bytes(form.Encoding.PEM))
        return path


@dataclass
class Authority:
    """Signs what no authority of the web would."""

    signed: Signed = field(init=False)

    def __post_init__(self) -> None:
        alone = x509.BasicConstraints(ca=True, path_length=None)
        self.signed = certificate("an authority", [alone, *host_names()], None)

    def write(self, folder: Path) -> str:
        """Write what clients are to trust."""
        path = folder / "ca.pem"
        path.write_bytes(self.signed.certificate.public_bytes(form.Encoding.PEM))
        return str(path)


def host_names() -> list[x509.ExtensionType]:
    return [x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(HOST)), x509.DNSName("localhost")])]


def certificate(name: str, extensions: Sequence[x509.ExtensionType], issuer: Signed | None) -> Signed:
    """Make a certificate, its own issuer where there is no other."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    day, now = timedelta(days=1), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(subject_name=subject, public_key=key.public_key())
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return Signed(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def of_version_1(signed: Signed, issuer: Signed) -> Signed:
    """Return a certificate without extensions as X.509 v1 has it, which no library makes any more."""
    version_3, ecdsa_with_sha256 = bytes.fromhex("a003020102"), bytes.fromhex("300a06082a8648ce3d040302")
    content = signed.certificate.tbs_certificate_bytes
    body = sequence(content[content.index(version_3) + len(version_3) :])
    signature = b"\0" + issuer.key.sign(body, ec.ECDSA(hashes.SHA256()))
    whole = sequence(body + ecdsa_with_sha256 + b"\x03" + length(signature) + signature)
    return Signed(x509.load_der_x509_certificate(whole), signed.key)


def sequence(content: bytes) -> bytes:
    return b"\x30" + length(content) + content


def length(content: bytes) -> bytes:
    size = len(content)
    return bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big") if size > 255 else bytes([0x81, size])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def odd(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """Give a broker with one odd certificate a listener."""
    folder, issuer = tmp_path_factory.mktemp("odd"), authority.signed
    plain = certificate("localhost", [], issuer)
    named = certificate("localhost", [x509.BasicConstraints(ca=False, path_length=None)], issuer)
    properties = {
        "listener.name.ssl.ssl.keystore.location": of_version_1(plain, issuer).keystore(folder, "v1.pem"),
        "listener.name.sasl_ssl.ssl.keystore.location": named.keystore(folder, "cn.pem"),
    }
    # An address would have to be among a certificate's other names.
    users = {"alice": PASSWORD}
    with ApacheKafka(
        properties, listeners=["SSL", "SASL_SSL"], users=users, host="localhost", jvm_options=QUICK
    ) as broker:
        yield broker


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"], ids=["X.509 v1", "a name in CN alone"])
def test_a_certificate_that_only_openssl_accepts(
    odd: ApacheKafka, authority: Authority, protocol: str, tmp_path: Path
) -> None:
    user = {"user": "alice"} if protocol == "SASL_SSL" else {}
    config = odd.client_config(protocol, **user) | {"ssl.ca.location": authority.write(tmp_path)}
    left_to_librdkafka(config, filled(odd), "certificate")


def test_a_broker_that_is_its_own_authority(authority: Authority, tmp_path: Path) -> None:
    keystore = authority.signed.keystore(tmp_path, "server.pem")
    with ApacheKafka({"ssl.keystore.location": keystore}, listeners=["SSL"], jvm_options=QUICK) as broker:
        config = broker.client_config("SSL") | {"ssl.ca.location": authority.write(tmp_path)}
        left_to_librdkafka(config, filled(broker), "certificate")
