"""Where a connection's settings come from, what they become, and that no secret of them shows."""

import contextlib
import itertools
import logging
import os
import pickle
import re
import ssl
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient
from hypothesis import given
from hypothesis import strategies as st

from kafkalab import options
from kafkalab.cluster import Cluster
from kafkalab.connection import ConnectionConfig, Secret
from kafkalab.errors import ConfigError, KafkalabWarning
from kafkalab.properties import RENAMED, TRANSLATED, Setting, parse, to_librdkafka
from kafkalab.sources import Environment

SECRET = "correct-horse-battery"
LOGIN = {
    "bootstrap.servers": "broker",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "alice",
    "sasl.password": SECRET,
}


def load(bootstrap: Any = None, **kwargs: Any) -> ConnectionConfig:
    """Load without what the machine's own environment says."""
    return ConnectionConfig.load(bootstrap, **{"environ": {}, **kwargs})


def load_file(path: Path, text: str, name: str = "client.properties") -> ConnectionConfig:
    (path / name).write_text(text)
    (path / name).chmod(0o600)
    return load(config_file=path / name)


# Secret


@pytest.mark.parametrize("template", ["{}", "{!s}", "{!r}", "{:>40}", "{0:s}"])
def test_a_secret_does_not_show(template: str) -> None:
    shown = template.format(Secret(SECRET))
    assert SECRET not in shown
    assert "***" in shown


def test_a_secret_can_be_revealed_compared_and_sent() -> None:
    secret = Secret(SECRET)
    assert secret.reveal() == SECRET
    assert pickle.loads(pickle.dumps(secret)) == secret  # noqa: S301 # it was pickled here
    assert {secret, Secret(SECRET)} == {secret}
    assert secret != Secret(SECRET + "x")
    assert secret != SECRET
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("sasl.password", "x", True),
        ("ssl.key.password", "x", True),
        ("ssl.keystore.password", "x", True),
        ("ssl.truststore.password", "x", True),
        ("ssl.key.pem", "x", True),
        ("ssl_key", "x", True),
        ("ssl.keystore.key", "x", True),
        ("sasl.oauthbearer.client.secret", "x", True),
        ("sasl.oauthbearer.client.credentials.client.secret", "x", True),
        ("sasl.oauthbearer.config", "principal=x", True),
        ("sasl.oauthbearer.assertion.private.key.passphrase", "x", True),
        ("sasl.oauthbearer.assertion.private.key.pem", "x", True),
        ("sasl.jaas.config", "x", True),
        ("sasl.oauthbearer.token.endpoint.url", "https://alice:x@login/token", True),
        ("sasl.oauthbearer.token.endpoint.url", "https://login/token", False),
        ("sasl.username", "alice", False),
        ("ssl.key.location", "/etc/key.pem", False),
        ("ssl.ca.pem", "-----BEGIN CERTIFICATE-----", False),
        ("bootstrap.servers", "broker:9092", False),
    ],
)
def test_what_is_secret(name: str, value: str, secret: bool) -> None:  # noqa: FBT001 # a table's column
    assert options.is_secret(name, value) is secret
    shown = ConnectionConfig({"bootstrap.servers": "broker", name: value}).options[options.ALIASES.get(name, name)]
    assert (shown == Secret(value)) is secret


# Bootstrap servers


@pytest.mark.parametrize(
    ("given_servers", "servers"),
    [
        ("broker", "broker:9092"),
        ("broker:9093", "broker:9093"),
        (" a:1 ,b, a:1 ,", "a:1,b:9092"),
        (["a", "b:2"], "a:9092,b:2"),
        ("127.0.0.1", "127.0.0.1:9092"),
        ("[::1],[::1]:9093", "[::1]:9092,[::1]:9093"),
        ("PLAINTEXT://broker:1", "broker:1"),
    ],
)
def test_bootstrap_servers(given_servers: Any, servers: str) -> None:
    config = load(given_servers)
    assert config.options["bootstrap.servers"] == servers
    assert config.bootstrap_servers == tuple(servers.split(","))


def test_a_protocol_before_the_server_counts() -> None:
    assert load("SSL://broker").security_protocol == "SSL"
    with pytest.raises(ConfigError, match=r"security\.protocol is PLAINTEXT and SSL"):
        load("SSL://broker", config={"security.protocol": "plaintext"})


@pytest.mark.parametrize(
    "wrong", ["broker:0", "broker:65536", "broker:port", "a b", "http://broker:80", "broker/path", "::1", "x:1:2"]
)
def test_malformed_servers(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"host:port|must be one of"):
        load(wrong)


def test_a_password_among_the_servers_is_not_shown() -> None:
    for password in (SECRET, f"a/{SECRET}", f"a,{SECRET}", f"{SECRET}@b", f"a {SECRET}"):
        for wrong in (f"alice:{password}@broker:9092", f"a:1,SASL_SSL://alice:{password}@broker:9092"):
            with pytest.raises(ConfigError, match=r"passwords go into sasl\.password") as caught:
                load(wrong)
            assert SECRET not in str(caught.value)


@pytest.mark.parametrize("password", [SECRET, f"a/{SECRET}", f"a@{SECRET}", f"a,{SECRET}"])
def test_a_password_in_a_url_is_not_shown(password: str) -> None:
    for name in ("schema.registry.url", "sasl.oauthbearer.token.endpoint.url"):
        config = load("broker", config={name: f"https://alice:{password}@host/path"})
        assert SECRET not in repr(config.options)


def test_a_short_secret_is_not_taken_out_of_words() -> None:
    config = load("broker", config={"sasl.username": "alice", "sasl.password": "th"})
    assert config.scrub("Unauthorized: th, that is 'th'") == "Unauthorized: ***, that is '***'"


@pytest.mark.parametrize("nothing", [{}, {"config": {}}, {"bootstrap": " , "}, {"config": {"client.id": "me"}}])
def test_nothing_given_says_what_can_be(nothing: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**nothing)
    for way in ("host:9092", "config=", "config_file=", "profile=", "KAFKALAB_BOOTSTRAP_SERVERS", "KAFKALAB_PROFILE"):
        assert way in str(caught.value)


# Precedence

SOURCES = ("bootstrap", "config", "file", "profile", "environment")


def from_sources(sources: tuple[str, ...], folder: Path) -> ConnectionConfig:
    (folder / "client.properties").write_text("bootstrap.servers=file:1\nclient.id=file\n")
    (folder / "profiles.toml").write_text('[prod]\nbootstrap.servers = "profile:1"\nclient.id = "profile"\n')
    environ = {"KAFKALAB_PROFILES": str(folder / "profiles.toml")}
    if "environment" in sources:
        environ |= {"KAFKALAB_BOOTSTRAP_SERVERS": "environment:1", "KAFKALAB_CLIENT_ID": "environment"}
    return ConnectionConfig.load(
        "bootstrap:1" if "bootstrap" in sources else None,
        config={"bootstrap.servers": "config:1", "client.id": "config"} if "config" in sources else None,
        config_file=folder / "client.properties" if "file" in sources else None,
        profile="prod" if "profile" in sources else None,
        environ=environ,
    )


@pytest.mark.parametrize(
    "sources", [chosen for size in range(1, 6) for chosen in itertools.combinations(SOURCES, size)], ids="-".join
)
def test_the_nearer_source_wins(sources: tuple[str, ...], tmp_path: Path) -> None:
    config = from_sources(sources, tmp_path)
    assert config.bootstrap_servers == (f"{sources[0]}:1",)
    others = [source for source in sources if source != "bootstrap"]
    assert config.get("client.id") == (others[0] if others else None)


def test_two_names_of_one_option_are_one_option() -> None:
    config = load(config=LOGIN, environ={"KAFKALAB_SASL_MECHANISMS": "SCRAM-SHA-256"})
    assert config.options["sasl.mechanism"] == "PLAIN"
    assert "sasl.mechanisms" not in config.options
    assert load(config={"metadata.broker.list": "broker"}).bootstrap_servers == ("broker:9092",)


# The environment


def test_the_environment_sets_any_option() -> None:
    environ = {
        "KAFKALAB_BOOTSTRAP_SERVERS": "broker",
        "KAFKALAB_SECURITY_PROTOCOL": "sasl_ssl",
        "KAFKALAB_SASL_MECHANISM": "PLAIN",
        "KAFKALAB_SASL_USERNAME": "alice",
        "KAFKALAB_SASL_PASSWORD": SECRET,
        "KAFKALAB_LOG_LEVEL": "7",
        "KAFKALAB_CLIENT_ID": "",
        "SASL_USERNAME": "bob",
    }
    config = load(environ=environ)
    assert config.summary == "broker:9092 SASL_SSL PLAIN as 'alice'"
    assert config.get("sasl.password") == SECRET
    assert config.get("log_level") == "7"
    assert "client.id" not in config.options


def test_a_variable_of_something_else_is_left_alone_but_a_slip_is_not() -> None:
    assert load("broker", environ={"KAFKALAB_COLOUR": "red"}).options.keys() == {
        "bootstrap.servers",
        "security.protocol",
    }
    with pytest.raises(ConfigError, match=r"KAFKALAB_SASL_PASWORD: .* did you mean sasl\.password"):
        load("broker", environ={"KAFKALAB_SASL_PASWORD": SECRET})


def test_the_environment_names_a_file_or_a_profile_unless_an_argument_does(tmp_path: Path) -> None:
    (tmp_path / "client.properties").write_text("bootstrap.servers=file")
    (tmp_path / "profiles.toml").write_text('[prod]\nbootstrap.servers="prod"\n[dev]\nbootstrap.servers="dev"')
    profiles = {"KAFKALAB_PROFILES": str(tmp_path / "profiles.toml")}
    in_file = {"KAFKALAB_CONFIG_FILE": str(tmp_path / "client.properties")}
    assert load(environ=in_file).bootstrap_servers == ("file:9092",)
    assert load(environ=profiles | {"KAFKALAB_PROFILE": "prod"}).bootstrap_servers == ("prod:9092",)
    both = profiles | in_file | {"KAFKALAB_PROFILE": "prod"}
    assert load(profile="dev", environ=both).bootstrap_servers == ("dev:9092",)


def test_the_process_s_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKALAB_BOOTSTRAP_SERVERS", "from-the-process")
    monkeypatch.delenv("KAFKALAB_PROFILE", raising=False)
    monkeypatch.delenv("KAFKALAB_CONFIG_FILE", raising=False)
    assert ConnectionConfig.load().bootstrap_servers == ("from-the-process:9092",)


# Profiles


def test_a_profile_s_names_may_be_dotted_or_quoted(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(
        '[prod]\nbootstrap.servers = ["a", "b:1"]\n"client.id" = "me"\nfetch.min.bytes = 5\n'
        "[prod.socket]\nkeepalive.enable = true\n"
    )
    config = load(profile="prod", environ={"KAFKALAB_PROFILES": str(file)})
    assert config.bootstrap_servers == ("a:9092", "b:1")
    assert [config.get(name) for name in ("client.id", "fetch.min.bytes", "socket.keepalive.enable")] == [
        "me",
        "5",
        "true",
    ]


def test_where_profiles_are() -> None:
    assert Environment.of({"XDG_CONFIG_HOME": "/x"}).profiles == Path("/x/kafkalab/profiles.toml")
    assert Environment.of({}).profiles == Path.home() / ".config/kafkalab/profiles.toml"
    assert Environment.of({"KAFKALAB_PROFILES": "~/p.toml"}).profiles == Path.home() / "p.toml"


def test_a_missing_profile_names_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    environ = {"KAFKALAB_PROFILES": str(file)}
    with pytest.raises(ConfigError, match=r"cannot read the profiles in .*profiles\.toml.*\[prod\]"):
        load(profile="prod", environ=environ)
    file.write_text("[prod]\n[dev]\n")
    with pytest.raises(ConfigError, match=r"no profile 'prd' in .*: it has 'prod', 'dev'; did you mean 'prod'\?"):
        load(profile="prd", environ=environ)
    file.write_text("")
    with pytest.raises(ConfigError, match="it has none"):
        load(profile="prod", environ=environ)
    file.write_text(f'[prod]\nsasl.password = "{SECRET}\n')
    with pytest.raises(ConfigError, match=r"is not TOML: .*line 2") as caught:
        load(profile="prod", environ=environ)
    assert SECRET not in str(caught.value)


def test_a_profile_with_a_password_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(f'[prod]\nbootstrap.servers="b"\nsasl.password="{SECRET}"\n[open]\nbootstrap.servers="b"')
    environ = {"KAFKALAB_PROFILES": str(file)}
    file.chmod(0o644)
    load(profile="open", environ=environ)
    with pytest.warns(KafkalabWarning, match="chmod 600") as caught:
        load(profile="prod", environ=environ)
    assert SECRET not in str(caught[0].message)
    file.chmod(0o600)
    load(profile="prod", environ=environ)


def test_a_properties_file_with_a_password_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    for text, secret in (("", False), (f"sasl.password={SECRET}\n", True), (f"sasl.jaas.config={PLAIN}", True)):
        file.write_text(f"bootstrap.servers=b\n{text}")
        file.chmod(0o640)
        if secret:
            with pytest.warns(KafkalabWarning, match="chmod 600"), contextlib.suppress(ConfigError):
                load(config_file=file)
        else:
            load(config_file=file)
        file.chmod(0o600)
        with contextlib.suppress(ConfigError):
            load(config_file=file)


# .properties files


@pytest.fixture(autouse=True)
def _files_for_their_owner_alone() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


JAVA_SPACE = " \t\f"


def java(text: str, special: str) -> str:
    """Write a text as Java's Properties.store does."""
    named = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f", "\\": "\\\\"}
    return "".join(named.get(c, f"\\{c}" if c in special else c if " " <= c <= "~" else _units(c)) for c in text)


def _units(character: str) -> str:
    data = character.encode("utf-16-be")
    return "".join(f"\\u{data[i]:02x}{data[i + 1]:02x}" for i in range(0, len(data), 2))


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
BLANK = st.text(JAVA_SPACE, max_size=3)


@given(
    st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=4),
    st.sampled_from(["\n", "\r\n", "\r"]),
    BLANK,
    st.sampled_from("=: "),
)
def test_properties_round_trip(entries: dict[str, str], end: str, blank: str, separator: str) -> None:
    lines = ["# a comment \\", "  ! another", "", blank]
    for name, value in entries.items():
        # Java trims before a value, not after it.
        first_blank = value[: len(value) - len(value.lstrip(JAVA_SPACE))]
        written = "".join(f"\\{c}" if c == " " else java(c, "") for c in first_blank)
        written += java(value[len(first_blank) :], "=:#!")
        lines.append(f"{blank}{java(name, ' =:#!')}{blank}{separator if name else '='}{blank}{written}")
    read = {name: value and value.reveal() for name, value, _ in parse(end.join(lines))}
    assert read == entries


@given(st.text())
def test_any_text_is_properties_or_has_a_broken_escape(text: str) -> None:
    for name, value, line in parse(text):
        assert value is not None or "\\u" in text
        assert 1 <= line <= 1 + text.count("\n") + text.count("\r")
        assert isinstance(name, str)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a=b", {"a": "b"}),
        ("a = b ", {"a": "b "}),
        ("a:b=c", {"a": "b=c"}),
        ("a  b c", {"a": "b c"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a==b", {"a": "=b"}),
        ("#a=b\n!c=d\n  # e=f", {}),
        ("a=b#c", {"a": "b#c"}),
        ("a=b\\\n   c\\\n\td", {"a": "bcd"}),
        ("a=b\\\\\nc=d", {"a": "b\\", "c": "d"}),
        ("a=b\\", {"a": "b"}),
        ("# comment \\\na=b", {"a": "b"}),
        ("a\\ b\\=c\\:d=e", {"a b=c:d": "e"}),
        ("a=\\u0041\\t\\q\\\\", {"a": "A\tq\\"}),
        ("a=\\ud83d\\ude00", {"a": "\N{GRINNING FACE}"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=1\r\nb=2\rc=3", {"a": "1", "b": "2", "c": "3"}),
        ("a=x\x0by\x85z\u2028", {"a": "x\x0by\x85z\u2028"}),
        ("=b", {"": "b"}),
        ("\\\n#a\n\\\n\\\nb=\\\n#c", {"b": "#c"}),
    ],
)
def test_properties_as_java_reads_them(text: str, entries: dict[str, str]) -> None:
    assert {name: value and value.reveal() for name, value, _ in parse(text)} == entries


def test_a_file_of_either_names(tmp_path: Path) -> None:
    config = load_file(
        tmp_path,
        "bootstrap.servers: broker\nsecurity.protocol=sasl_ssl\nsasl.mechanism=PLAIN\n"
        f"sasl.username=alice\nsasl.password={SECRET}\nfetch.max.wait.ms=7\nisolation.level=read_committed\n",
    )
    assert config.summary == "broker:9092 SASL_SSL PLAIN as 'alice'"
    assert config.get("sasl.password") == SECRET
    assert config.get("fetch.wait.max.ms") == "7"


def test_a_file_in_latin_1_and_one_in_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    for encoding in ("latin-1", "utf-8", "utf-8-sig"):
        file.write_text("bootstrap.servers=broker\nclient.id=B\u00e4r", encoding)
        assert load(config_file=file).get("client.id") == "B\u00e4r"


def test_an_error_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"client\.properties, line 3: there is no option 'sasl\.pasword'"):
        load_file(tmp_path, f"bootstrap.servers=b\n# comment\nsasl.pasword={SECRET}")
    with pytest.raises(ConfigError, match=r"client\.properties, line 2: .*four hexadecimal digits"):
        load_file(tmp_path, f"bootstrap.servers=b\nsasl.password={SECRET}\\u12")
    with pytest.raises(ConfigError, match=r"cannot read the config file nothing\.properties: No such file"):
        load(config_file="nothing.properties")


# Java's names

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"


def translated(**settings: str) -> dict[str, str]:
    """Translate settings whose names are written with ``_`` for ``.``."""
    given_here = {name.replace("_", "."): Setting(Secret(value), "here") for name, value in settings.items()}
    return {name: setting.text for name, setting in to_librdkafka(given_here).items()}


@pytest.mark.parametrize(
    ("jaas", "expected"),
    [
        (f'{PLAIN} required username="alice" password="a\\"b;c=d";', ("alice", 'a"b;c=d')),
        (f"{SCRAM}  REQUIRED\n  username='al\\'ice'\n password = x9 ;", ("al'ice", "x9")),
        (f'{SCRAM} sufficient username="alice" password="back\\\\slash" tokenauth="true"', ("alice", "back\\slash")),
        (f'{PLAIN} required password="p" username="u" ;  ', ("u", "p")),
        (f'{PLAIN} required username="" password="";', ("", "")),
    ],
)
def test_jaas_logins(jaas: str, expected: tuple[str, str]) -> None:
    assert translated(sasl_jaas_config=jaas) == {"sasl.username": expected[0], "sasl.password": expected[1]}


@pytest.mark.parametrize("pairs", [40, 20_000])
def test_a_broken_jaas_line_takes_no_longer_than_a_whole_one(pairs: int) -> None:
    # Counted, not timed: the values are read once each, however they could be cut otherwise.
    with pytest.raises(ConfigError, match="not of the form"):
        translated(sasl_jaas_config=f"{PLAIN} required {'a=b=c ' * pairs}'")
    assert translated(sasl_jaas_config=f"{PLAIN} required {'a=b=c ' * pairs}password=a=b;") == {"sasl.password": "a=b"}


def test_jaas_for_kerberos() -> None:
    module = "com.sun.security.auth.module.Krb5LoginModule"
    line = f'{module} required useKeyTab=true keyTab="/etc/a.keytab" principal="a@B" serviceName=kafka;'
    assert translated(sasl_jaas_config=line) == {
        "sasl.kerberos.keytab": "/etc/a.keytab",
        "sasl.kerberos.principal": "a@B",
        "sasl.kerberos.service.name": "kafka",
    }


def pem_of(kind: str, data: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(data).replace("CERTIFICATE", kind)


@pytest.mark.parametrize("blank", ["\n", " ", "", "\\n", " \t "])
def test_pem_may_stand_on_one_line(blank: str) -> None:
    kinds = {"CERTIFICATE": bytes(200), "TRUSTED CERTIFICATE": bytes(48), "EC PRIVATE KEY": b"k"}
    wanted = [pem_of(kind, data).strip() for kind, data in kinds.items()]
    given_text = "\n".join(wanted).replace("\n", blank)
    pem = translated(ssl_keystore_key=given_text)["ssl.key.pem"]
    assert re.findall("^-----BEGIN.*?^-----END.*?-----$", pem, re.DOTALL | re.MULTILINE) == wanted


def test_pem_with_headers_and_text_stays() -> None:
    old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----"
    assert translated(ssl_keystore_key=old)["ssl.key.pem"] == old


def test_jaas_for_tokens() -> None:
    assert translated(
        sasl_jaas_config=f'{OAUTH} required clientId="me" clientSecret="s" scope="kafka";',
        sasl_login_callback_handler_class="org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
        sasl_oauthbearer_token_endpoint_url="https://login/token",
    ) == {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": "me",
        "sasl.oauthbearer.client.secret": "s",
        "sasl.oauthbearer.scope": "kafka",
        "sasl.oauthbearer.token.endpoint.url": "https://login/token",
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sasl_jaas_config": f'{PLAIN} required username="alice" password="{SECRET}'}, "not of the form"),
        ({"sasl_jaas_config": f"{PLAIN} password={SECRET};"}, "not of the form"),
        ({"sasl_jaas_config": f'{PLAIN} required password="{SECRET}" junk;'}, "not of the form"),
        (
            {"sasl_jaas_config": f'com.example.MyLoginModule required password="{SECRET}";'},
            "com.example.MyLoginModule runs only in Java.*oauth_cb",
        ),
        ({"sasl_login_callback_handler_class": "com.example.Handler"}, "only Java can run; give an oauth_cb"),
    ],
)
def test_what_only_java_can_do(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^here: .*{words}") as caught:
        translated(**settings)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ssl_endpoint_identification_algorithm": ""}, {"ssl.endpoint.identification.algorithm": "none"}),
        ({"ssl_endpoint_identification_algorithm": "HTTPS"}, {"ssl.endpoint.identification.algorithm": "HTTPS"}),
        ({"ssl_truststore_type": "PEM", "ssl_truststore_certificates": "CA"}, {"ssl.ca.pem": "CA"}),
        (
            {"ssl_keystore_type": "PEM", "ssl_keystore_key": "KEY", "ssl_keystore_certificate_chain": "CERT"},
            {"ssl.key.pem": "KEY", "ssl.certificate.pem": "CERT"},
        ),
        ({"ssl_truststore_type": "pem", "ssl_truststore_location": "ca"}, {"ssl.ca.location": "ca"}),
        (
            {"ssl_keystore_type": "PEM", "ssl_keystore_location": "k", "ssl_key_password": "x"},
            {"ssl.certificate.location": "k", "ssl.key.location": "k", "ssl.key.password": "x"},
        ),
        (
            {"ssl_keystore_type": "PKCS12", "ssl_keystore_location": "k", "ssl_keystore_password": "x"},
            {"ssl.keystore.location": "k", "ssl.keystore.password": "x"},
        ),
        (
            {"key_deserializer": "x", "value_deserializer": "y", "metric_reporters": "", "ssl_enabled_protocols": "z"},
            {},
        ),
        ({"fetch_max_wait_ms": "5", "client_id": "me"}, {"fetch.wait.max.ms": "5", "client.id": "me"}),
    ],
)
def test_java_s_names(settings: dict[str, str], expected: dict[str, str]) -> None:
    assert translated(**settings) == expected


@pytest.mark.parametrize(
    ("start", "truststore", "keystore"),
    [
        (b"\xfe\xed\xfe\xed\x00\x00", "JKS", "JKS"),
        (b"\xce\xce\xce\xce\x00\x00", "JCEKS", "JCEKS"),
        (b"\x30\x82\x0a\x10", "PKCS12", None),
        (b"-----BEGIN CERTIFICATE-----", None, None),
    ],
)
def test_stores_of_java(tmp_path: Path, start: bytes, truststore: str | None, keystore: str | None) -> None:
    store = tmp_path / "store"
    store.write_bytes(start)
    for name, kind in (("truststore", truststore), ("keystore", keystore)):
        text = f"bootstrap.servers=b\nssl.{name}.location={store}\nssl.{name}.password={SECRET}"
        if kind is None:
            assert str(store) in load_file(tmp_path, text).options.values()
            continue
        with pytest.raises(ConfigError, match=f"line 2: .*store is a {kind} store.*`keytool -importkeystore") as caught:
            load_file(tmp_path, text)
        assert SECRET not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for name in ("ssl.truststore.location", "ssl.keystore.location", "ssl.ca.location", "ssl.key.location"):
        with pytest.raises(ConfigError, match=r"line 2: .*missing"):
            load_file(tmp_path, f"bootstrap.servers=b\n{name}={missing}")
    assert load("b", config={"ssl.ca.location": "probe"}).get("ssl.ca.location") == "probe"


def test_a_home_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.pem").touch()
    assert load("b", config={"ssl.ca.location": "~/ca.pem"}).get("ssl.ca.location") == str(tmp_path / "ca.pem")


# Options


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("bootstrap.server", "b", r"no option 'bootstrap\.server'; did you mean bootstrap\.servers"),
        ("sasl.user", "b", r"did you mean .*sasl\.username"),
        ("ssl.truststore.locaton", "b", r"did you mean ssl\.truststore\.location"),
        ("enable.autocommit", "b", r"did you mean enable\.auto\.commit"),
        ("zzz", "b", "neither in librdkafka nor in Java's clients"),
        ("security.protocol", "SSLv3", "SSLv3"),
        ("fetch.min.bytes", "many", r"fetch\.min\.bytes"),
        ("fetch.min.bytes", [], r"fetch\.min\.bytes"),
        ("fetch.min.bytes", len, r"fetch\.min\.bytes has to be text, a number or a bool"),
        ("socket.keepalive.enable", "perhaps", r"socket\.keepalive\.enable"),
        ("client.id", "a\0b", r"client\.id holds bytes that are no text"),
        ("sasl.password", "a\udc80b", r"sasl\.password holds bytes that are no text"),
        ("client.id\0", "b", r"there is no option"),
    ],
)
def test_options_that_cannot_be(name: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^config: .*{words}"):
        load("broker", config={name: value})


def test_a_plugin_may_bring_options_of_its_own() -> None:
    config = load("broker", config={"plugin.library.paths": "monitor", "monitor.topic": "x"})
    assert config.get("monitor.topic") == "x"


def test_values_are_text_as_librdkafka_has_them() -> None:
    config = load("broker", config={"socket.keepalive.enable": True, "fetch.min.bytes": 5, "client.id": None})
    assert config.get("socket.keepalive.enable") == "true"
    assert config.get("fetch.min.bytes") == "5"
    assert "client.id" not in config.options
    assert config.get("client.id", "mine") == "mine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sasl.mechanism": None}, "needs sasl.mechanism: PLAIN, SCRAM-SHA-256"),
        ({"sasl.password": None}, "PLAIN needs sasl.password"),
        ({"sasl.username": None, "sasl.password": None}, "PLAIN needs sasl.username and sasl.password"),
        ({"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": None}, "SCRAM-SHA-512 needs sasl.username"),
        ({"sasl.mechanism": "OAUTHBEARER"}, "OAUTHBEARER needs where tokens come from: oauth_cb"),
    ],
)
def test_a_login_that_is_not_whole(changes: dict[str, str | None], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(config=LOGIN | changes)


# Client options

EXISTING_CONSUMER = LOGIN | {
    "group.id": "billing",
    "group.instance.id": "billing-1",
    "enable.auto.commit": True,
    "auto.commit.interval.ms": 1000,
    "auto.offset.reset": "earliest",
    "session.timeout.ms": 6000,
    "max.poll.interval.ms": 7000,
    "heartbeat.interval.ms": 500,
    "partition.assignment.strategy": "cooperative-sticky",
    "enable.auto.offset.store": False,
    "allow.auto.create.topics": True,
    "on_commit": print,
    "fetch.min.bytes": 10,
    "isolation.level": "read_uncommitted",
    "key.deserializer": len,
}
EXISTING_PRODUCER = LOGIN | {
    "transactional.id": "billing",
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "compression.type": "zstd",
    "on_delivery": print,
}


@pytest.mark.parametrize(
    "existing", [LOGIN, EXISTING_CONSUMER, EXISTING_PRODUCER], ids=["login", "consumer", "producer"]
)
def test_the_settings_of_an_existing_client_will_do(existing: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    config = load(config=existing)
    caplog.set_level(logging.INFO)
    admin = AdminClient(config.client_options())
    admin.poll(0.01)
    consumer = Consumer(config.consumer_options())
    consumer.poll(0.01)
    consumer.close()
    assert [record.getMessage() for record in caplog.records if "CONFWARN" in record.getMessage()] == []


def test_a_reader_neither_commits_nor_joins_nor_creates() -> None:
    config = load(config=EXISTING_CONSUMER | EXISTING_PRODUCER)
    reader = config.consumer_options()
    assert reader["enable.auto.commit"] is False
    assert reader["auto.offset.reset"] == "error"
    assert reader["group.id"].startswith("kafkalab-")
    assert reader["group.id"] != config.consumer_options()["group.id"]
    assert reader["fetch.min.bytes"] == "10"
    assert reader["isolation.level"] == "read_uncommitted"
    gone = {"group.instance.id", "transactional.id", "enable.idempotence", "session.timeout.ms", "on_commit"}
    for made in (reader, config.client_options(), config.consumer_options(None, **{"allow.auto.create.topics": True})):
        assert made["allow.auto.create.topics"] is False
        assert not gone & made.keys()


def test_a_member_of_a_group_keeps_its_group_s_settings() -> None:
    member = load(config=EXISTING_CONSUMER).consumer_options("readers", **{"fetch.min.bytes": 99})
    assert member["group.id"] == "readers"
    assert member["enable.auto.commit"] is False
    assert member["auto.offset.reset"] == "earliest"
    assert member["session.timeout.ms"] == "6000"
    assert member["fetch.min.bytes"] == 99
    Consumer(member).close()


def test_what_is_left_out_is_told_once_and_quietly(caplog: pytest.LogCaptureFixture) -> None:
    config = load(config=EXISTING_CONSUMER)
    caplog.set_level(logging.DEBUG)
    config.consumer_options()
    assert [(record.levelname, record.name) for record in caplog.records] == [("DEBUG", "kafkalab")]
    assert "enable.auto.commit" in caplog.text
    assert SECRET not in caplog.text


def test_names_of_the_client() -> None:
    assert load("broker").client_options()["client.id"] == "kafkalab"
    assert load("broker", config={"client.id": "me"}).client_options()["client.id"] == "me"


def test_callbacks_of_both_sides_are_called() -> None:
    calls: list[tuple[str, Any]] = []

    def note(who: str) -> Callable[[Any], None]:
        return lambda event: calls.append((who, event))

    config = load("broker", config={"error_cb": note("theirs"), "stats_cb": note("theirs")})
    made = config.client_options(error_cb=note("ours"), throttle_cb=note("ours"))
    for name in ("error_cb", "stats_cb", "throttle_cb"):
        made[name](name)
    assert calls == [
        ("theirs", "error_cb"),
        ("ours", "error_cb"),
        ("theirs", "stats_cb"),
        ("ours", "throttle_cb"),
    ]


def test_log_lines_go_to_every_logger_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    url = f"https://alice:{SECRET}@login/token"
    theirs = logging.getLogger("theirs")
    config = load(config=LOGIN | {"logger": theirs, "sasl.oauthbearer.token.endpoint.url": url})
    caplog.set_level(logging.DEBUG)
    ours = logging.getLogger("ours")
    config.client_options(logger=ours)["logger"].log(logging.INFO, "%s [%s] %s", "SASL", "client", f"{SECRET} at {url}")
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        (name, "SASL [client] *** at ***") for name in ("kafkalab.librdkafka", "theirs", "ours")
    ]


def test_librdkafka_s_own_lines_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # Plain text: a client of TLS would read the machine's certificates.
    config = load(
        config=LOGIN | {"security.protocol": "SASL_PLAINTEXT", "debug": "all", "bootstrap.servers": "[::1]:1"}
    )
    admin = AdminClient(config.client_options())
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.05)
    admin.poll(0)
    assert "kafkalab.librdkafka" in {record.name for record in caplog.records}
    assert SECRET not in caplog.text


# A configuration


def test_a_configuration_is_a_value() -> None:
    config = load(config=LOGIN)
    copy = pickle.loads(pickle.dumps(config))  # noqa: S301 # it was pickled here
    assert copy == config
    assert hash(copy) == hash(config)
    assert copy.get("sasl.password") == SECRET
    assert config != load(config=LOGIN | {"sasl.password": "other"})
    with pytest.raises(TypeError):
        config.options["client.id"] = "me"  # type: ignore[index] # that is the point
    with pytest.raises(AttributeError):
        config.options = {}  # type: ignore[misc] # that is the point


def test_a_configuration_shows_no_secret() -> None:
    config = load(config=LOGIN | {"ssl.key.pem": f"-----BEGIN PRIVATE KEY-----\n{SECRET}"})
    for shown in (repr(config), str(config), f"{config}", repr(dict(config.options)), repr(Cluster(config))):
        assert SECRET not in shown
    assert repr(config) == "<ConnectionConfig broker:9092 SASL_SSL PLAIN as 'alice'>"
    assert repr(load("a,b")) == "<ConnectionConfig a:9092,b:9092 PLAINTEXT>"
    assert config.scrub(f"it is {SECRET}!") == "it is ***!"


def file_with(text: str) -> Callable[[Path], dict[str, Any]]:
    def arguments(folder: Path) -> dict[str, Any]:
        (folder / "client.properties").write_text(text)
        (folder / "client.properties").chmod(0o600)
        return {"config_file": folder / "client.properties"}

    return arguments


def profile_with(text: str) -> Callable[[Path], dict[str, Any]]:
    def arguments(folder: Path) -> dict[str, Any]:
        (folder / "profiles.toml").write_text(text)
        (folder / "profiles.toml").chmod(0o600)
        return {"profile": "prod", "environ": {"KAFKALAB_PROFILES": str(folder / "profiles.toml")}}

    return arguments


FAILURES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "no servers": lambda _: {"config": LOGIN | {"bootstrap.servers": ""}},
    "bad value": lambda _: {"config": LOGIN | {"fetch.min.bytes": "many"}},
    "bad protocol": lambda _: {"config": LOGIN | {"security.protocol": "none"}},
    "no token": lambda _: {"config": LOGIN | {"sasl.mechanism": "OAUTHBEARER"}},
    "unknown option": lambda _: {"config": {"bootstrap.servers": "b", "sasl.pasword": SECRET}},
    "password in servers": lambda _: {"config": LOGIN, "bootstrap": f"alice:{SECRET}@broker"},
    "no profiles": lambda _: {"config": LOGIN, "profile": "prod", "environ": {"KAFKALAB_PROFILES": "/nowhere"}},
    "environment alone": lambda _: {"environ": {"KAFKALAB_SASL_PASSWORD": SECRET}},
    "unknown variable": lambda _: {"environ": {"KAFKALAB_SASL_PASWORD": SECRET, "KAFKALAB_SASL_JAAS_CONFIG": SECRET}},
    "file alone": file_with(f"sasl.password={SECRET}\n"),
    "unknown option in file": file_with(f"sasl.pasword={SECRET}\n"),
    "broken escape": file_with(f"sasl.password={SECRET}\\u1\n"),
    "broken JAAS": file_with(f"sasl.jaas.config={PLAIN} requird password={SECRET};\n"),
    "unknown login module": file_with(f'sasl.jaas.config=some.Module required password="{SECRET}";\n'),
    "missing store": file_with(f"ssl.truststore.password={SECRET}\nssl.truststore.location=/nowhere\n"),
    "profile alone": profile_with(f'[prod]\nsasl.password="{SECRET}"\n'),
    "broken TOML": profile_with(f'[prod]\nsasl.password="{SECRET}\n'),
    "unknown profile": profile_with(f'[dev]\nsasl.password="{SECRET}"\n'),
    "unknown option in profile": profile_with(f'[prod]\nsasl.pasword="{SECRET}"\n'),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_no_error_of_a_configuration_holds_a_secret(failure: str, tmp_path: Path) -> None:
    arguments = FAILURES[failure](tmp_path)
    with pytest.raises(ConfigError) as caught:
        ConnectionConfig.load(**{"environ": {}, **arguments})
    error: BaseException | None = caught.value
    while error is not None:
        frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
        assert SECRET not in "\n".join(line for frame in frames for line in _shown(frame))
        assert SECRET not in f"{error!r} {error} {error.__dict__}"
        error = error.__cause__ or error.__context__
    assert SECRET not in repr(pickle.loads(pickle.dumps(caught.value)))  # noqa: S301 # it was pickled here


def _shown(frame: traceback.FrameSummary) -> list[str]:
    # This test itself has given the secret.
    return [] if frame.filename == __file__ else [f"{name}={value}" for name, value in (frame.locals or {}).items()]


def test_the_frames_that_a_client_fails_in_hold_no_secret() -> None:
    config = load(config=LOGIN | {"sasl.mechanism": "MAGIC"})
    with pytest.raises(PermissionError) as caught:
        Cluster(config).connect()
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert SECRET not in "".join(line for line in trace.format() if __file__ not in line)


# Texts drawn are at times names that stand in the code.
@given(st.text().filter(lambda name: name not in (*RENAMED, *TRANSLATED)), st.text())
def test_any_option_is_taken_or_refused(name: str, value: str) -> None:
    with contextlib.suppress(ConfigError):
        config = load("broker", config={name: value})
        assert config.options.keys() <= {"bootstrap.servers", "security.protocol", options.ALIASES.get(name, name)}
