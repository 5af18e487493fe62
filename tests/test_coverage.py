"""No option of librdkafka is forgotten: the fast engine honours it, has no use for it, or is not used."""

import ctypes
import re
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import cimpl

from kafkalab import options
from kafkalab.connection import ConnectionConfig
from kafkalab.net.coverage import HONOURED, WITHOUT_EFFECT, unsupported_option

# What makes librdkafka read, where it is given and has a say.
NAMED = {
    "client.rack",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "plugin.library.paths",
    "ssl.ca.certificate.stores",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.engine.id",
    "ssl.engine.location",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.providers",
    "ssl.sigalgs.list",
}
# The mechanism, or the method that gives tokens, is named before these.
OF_ONE_LOGIN = re.compile(r"sasl\.(kerberos|oauthbearer)\..*")
# Pointers of C, which no configuration of Python can hold.
POINTERS = re.compile(
    r".*_cb|opaque|interceptors|default_topic_conf|msg_order_cmp|ssl_(ca|certificate|key)|ssl_engine.*"
)

SASL = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "p"}
TOKENS = {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "oauth_cb": len}


def config(given: dict[str, Any]) -> ConnectionConfig:
    return ConnectionConfig({"bootstrap.servers": "broker", **given})


@pytest.fixture(scope="module")
def every_option(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Give the names in the table that the bundled librdkafka prints of its own options."""
    path = tmp_path_factory.mktemp("librdkafka") / "options.md"
    librdkafka, libc = ctypes.CDLL(cimpl.__file__), ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(libc.fopen(str(path).encode(), b"w"))
    librdkafka.rd_kafka_conf_properties_show(file)
    libc.fclose(file)
    return set(re.findall(r"^([a-z]\S+) +\| +[*CP] +\|", path.read_text(), re.MULTILINE))


def test_every_option_of_librdkafka_has_its_place(every_option: set[str]) -> None:
    assert len(every_option) > 150
    names = {options.ALIASES.get(name, name) for name in every_option}
    left = {name for name in names - HONOURED - WITHOUT_EFFECT - NAMED if not OF_ONE_LOGIN.fullmatch(name)}
    assert {name for name in left if not POINTERS.fullmatch(name)} == set()


def test_no_option_has_two_places_and_none_is_made_up(every_option: set[str]) -> None:
    assert not HONOURED & WITHOUT_EFFECT
    assert not NAMED & (HONOURED | WITHOUT_EFFECT)
    assert {name for name in HONOURED | WITHOUT_EFFECT | NAMED if not options.exists(name)} == set()
    mine = HONOURED | WITHOUT_EFFECT | NAMED
    assert mine - every_option - options.CALLBACKS - options.UNSAFE == set()


@pytest.mark.parametrize("name", sorted(NAMED))
def test_what_only_librdkafka_can_honour_is_named(name: str) -> None:
    way = TOKENS if "oauthbearer" in name else SASL
    assert unsupported_option(config(way)) is None
    assert unsupported_option(config(way | {name: "true"})) == name
    assert unsupported_option(config(way | {name: ""})) is None


@pytest.mark.parametrize("name", sorted(NAMED - {"client.rack", "plugin.library.paths"}))
def test_options_of_tls_and_of_logins_have_no_say_without_these(name: str) -> None:
    assert unsupported_option(config({name: "true"})) is None


def test_an_option_that_nobody_knows_is_named() -> None:
    for name in ("sasl.new", "ssl.new", "new"):
        assert unsupported_option(config(SASL | {name: "x"})) == name


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_what_has_no_effect_keeps_the_fast_engine(name: str) -> None:
    assert unsupported_option(config(SASL | {name: "1"})) is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (SASL | {"sasl.mechanism": "GSSAPI"}, "sasl.mechanism=GSSAPI"),
        (SASL | {"sasl.kerberos.principal": "p"}, None),
        (TOKENS | {"sasl.oauthbearer.method": "default"}, None),
        (TOKENS | {"sasl.oauthbearer.method": "OIDC"}, "sasl.oauthbearer.method=oidc"),
        (TOKENS | {"oauth_cb": None, "sasl.oauthbearer.method": "oidc"}, "sasl.oauthbearer.method=oidc"),
        (TOKENS | {"enable.sasl.oauthbearer.unsecure.jwt": "false"}, None),
        (SASL | {"enable.sasl.oauthbearer.unsecure.jwt": "true"}, None),
        (SASL | {"ssl.endpoint.identification.algorithm": "NONE"}, "ssl.endpoint.identification.algorithm=none"),
        (SASL | {"ssl.endpoint.identification.algorithm": "https"}, None),
        (
            SASL | {"ssl.endpoint.identification.algorithm": "none", "enable.ssl.certificate.verification": "False"},
            None,
        ),
        (SASL | {"ssl.key.location": "key.pem"}, "ssl.key.location without its other half"),
        (SASL | {"ssl.certificate.pem": "x"}, "ssl.certificate.pem without its other half"),
        (SASL | {"ssl.certificate.pem": "x", "ssl.key.location": "key.pem"}, None),
        (SASL | {"ssl.ca.location": "probe"}, None),
    ],
)
def test_values_that_decide(given: dict[str, Any], named: str | None) -> None:
    assert unsupported_option(config(given)) == named


def test_a_folder_of_authorities_is_named(tmp_path: Path) -> None:
    found = unsupported_option(config(SASL | {"ssl.ca.location": str(tmp_path)}))
    assert found == f"ssl.ca.location={tmp_path}, a folder"
