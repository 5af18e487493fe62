"""Reads a Java ``client.properties`` file, and says the same in librdkafka's names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kafkalab.errors import ConfigError
from kafkalab.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

RENAMED = {
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "max.request.size": "message.max.bytes",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    "ssl.keystore.key": "ssl.key.pem",
    "ssl.truststore.certificates": "ssl.ca.pem",
}
"""Options that only have another name in Java."""

TRANSLATED = (
    "sasl.client.callback.handler.class",
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "ssl.keystore.type",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
)
"""Options of Java that become others of librdkafka."""

_WITHOUT_EFFECT = re.compile(
    r"(key|value)\.(de)?serializer|metrics?\..*|interceptor\.classes|auto\.include\.jmx\.reporter"
    r"|sasl\.login\.(refresh|connect|read|retry)\..*|sasl\.kerberos\.ticket\..*|security\.providers"
    r"|ssl\.(protocol|enabled\.protocols|provider|(key|trust)manager\.algorithm|secure\.random\.implementation)"
    r"|(auto\.register|use\.latest|latest\.compatibility|normalize|(key|value)\.subject\.name)\..*"
    r"|specific\.(avro|protobuf)\..*|exclude\.internal\.topics|default\.api\.timeout\.ms|buffer\.memory|max\.block\.ms"
    r"|socket\.connection\.setup\.timeout\.max\.ms|metadata\.max\.idle\.ms"
)
_LOGIN_MODULES = {
    "PlainLoginModule": {"username": "sasl.username", "password": "sasl.password"},
    "ScramLoginModule": {"username": "sasl.username", "password": "sasl.password"},
    "Krb5LoginModule": {
        "keyTab": "sasl.kerberos.keytab",
        "principal": "sasl.kerberos.principal",
        "serviceName": "sasl.kerberos.service.name",
    },
    "OAuthBearerLoginModule": {
        "clientId": "sasl.oauthbearer.client.id",
        "clientSecret": "sasl.oauthbearer.client.secret",
        "scope": "sasl.oauthbearer.scope",
    },
}
_OAUTH_HANDLER = "OAuthBearerLoginCallbackHandler"

_ENTRY = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[^u])")
_CONTROL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_STORE_MAGIC = {b"\xfe\xed\xfe\xed": "JKS", b"\xce\xce\xce\xce": "JCEKS"}
_JAAS_HEAD = re.compile(r"\s*([\w.$]+)\s+(?:required|requisite|sufficient|optional)(?!\w)", re.IGNORECASE)
_JAAS_OPTION = re.compile(
    r"""\s*([\w.\-]+)\s*=\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s;"']+)""",
    re.DOTALL,
)
_JAAS_END = re.compile(r"\s*;?\s*")
_PEM_OPTIONS = ("ssl.ca.pem", "ssl.certificate.pem", "ssl.key.pem")
_PEM_BLOCK = re.compile(r"(-----BEGIN [^-\n]+-----)([A-Za-z0-9+/=\s\\]*)(-----END [^-\n]+-----)")
_PEM_LINE = 64


class Setting(NamedTuple):
    """An option's value, a `Secret` unless it is no text, and where it was given."""

    value: Any
    origin: str

    @property
    def text(self) -> str:
        """The value, shown."""
        return self.value.reveal() if isinstance(self.value, Secret) else str(self.value)


def parse(text: str) -> Iterator[tuple[str, Secret | None, int]]:
    r"""Yield name, value and first line number of a ``.properties`` file's entries, as Java reads them.

    The value is None where an escape is broken: what holds the text must not raise, as a traceback may show it.

    Examples
    --------
    >>> [(name, value.reveal(), line) for name, value, line in parse("# who\nuser : al\\\n  ice\nsaid=a\\u0021")]
    [('user', 'alice', 2), ('said', 'a!', 4)]
    """
    lines = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    for number, first in lines:
        line = first.lstrip(" \t\f")
        if line in {"", "\\"} or line[0] in "#!":
            continue
        while (len(line) - len(line.rstrip("\\"))) % 2:
            line = line[:-1] + next(lines, (0, ""))[1].lstrip(" \t\f")
        name, value = _ENTRY.fullmatch(line).groups()  # type: ignore[union-attr] # every line matches
        whole = "\\" not in _ESCAPE.sub("", f"{name} {value}")
        yield _unescape(name), Secret(_unescape(value)) if whole else None, number


def read_properties(path: Path) -> dict[str, Setting]:
    """Return the entries of a ``.properties`` file; the last of two with one name counts, as in Java.

    Raises
    ------
    ConfigError
        The file cannot be read, or an escape in it is broken.
    """
    try:
        entries = list(parse(_decode(path.expanduser().read_bytes())))
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}") from error
    for _, value, number in entries:
        if value is None:
            raise ConfigError(f"{path}, line {number}: \\u needs four hexadecimal digits; a \\ itself is written \\\\")
    return {name: Setting(value, f"{path}, line {number}") for name, value, number in entries}


def is_known(name: str) -> bool:
    """Tell whether an option is Java's, and has another name here, becomes others, or has no effect."""
    return name in RENAMED or name in TRANSLATED or bool(_WITHOUT_EFFECT.fullmatch(name))


def to_librdkafka(settings: dict[str, Setting]) -> dict[str, Setting]:
    """Return the settings in librdkafka's names, without those that only Java has a use for.

    Raises
    ------
    ConfigError
        Something has no counterpart: a store in Java's own format, a login module or class that only Java can run.
    """
    kept = {RENAMED.get(name, name): value for name, value in settings.items() if not _WITHOUT_EFFECT.fullmatch(name)}
    for step in (_truststore, _keystore, _login, _handlers, _host_name_check, _pems):
        kept = step(kept)
    return _without(kept, TRANSLATED)


def _decode(data: bytes) -> str:
    # Java takes Latin-1; editors write UTF-8.
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _unescape(text: str) -> str:
    plain = _ESCAPE.sub(lambda found: _character(found[1]), text)
    # Java's characters are UTF-16 units: two escapes may be one character.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(escape: str) -> str:
    return chr(int(escape[1:], 16)) if len(escape) > 1 else _CONTROL.get(escape, escape)


def _without(settings: dict[str, Setting], names: tuple[str, ...]) -> dict[str, Setting]:
    return {name: setting for name, setting in settings.items() if name not in names}


def _truststore(settings: dict[str, Setting]) -> dict[str, Setting]:
    location = settings.get("ssl.truststore.location")
    if location is None:
        return settings
    kind = _kind(settings.get("ssl.truststore.type"), location)
    if kind == "PEM":
        return settings | {"ssl.ca.location": location}
    raise ConfigError(
        f"{location.origin}: {location.text} is a {kind} store, and here a truststore can only be PEM. Convert it with "
        f"`keytool -importkeystore -srckeystore {location.text} -destkeystore ca.p12 -deststoretype PKCS12` and "
        "`openssl pkcs12 -in ca.p12 -nokeys -out ca.pem`, then give ssl.ca.location=ca.pem instead"
    )


def _keystore(settings: dict[str, Setting]) -> dict[str, Setting]:
    location = settings.get("ssl.keystore.location")
    if location is None:
        return settings
    kind = _kind(settings.get("ssl.keystore.type"), location)
    if kind == "PKCS12":
        return settings
    if kind == "PEM":
        others = _without(settings, ("ssl.keystore.location", "ssl.keystore.password"))
        return others | {"ssl.certificate.location": location, "ssl.key.location": location}
    raise ConfigError(
        f"{location.origin}: {location.text} is a {kind} store, which only Java reads. Convert it with "
        f"`keytool -importkeystore -srckeystore {location.text} -destkeystore keystore.p12 -deststoretype PKCS12`, "
        "then give ssl.keystore.location=keystore.p12 and ssl.keystore.type=PKCS12"
    )


def _kind(declared: Setting | None, location: Setting) -> str:
    # Java opens a PKCS12 store that is declared as JKS, its default.
    if declared is not None and (kind := declared.text.strip().upper()) != "JKS":
        return kind
    try:
        with Path(location.text).expanduser().open("rb") as store:
            start = store.read(4)
    except OSError as error:
        raise ConfigError(f"{location.origin}: cannot read {location.text}: {error.strerror}") from error
    return _STORE_MAGIC.get(start) or ("PKCS12" if start[:1] == b"0" else "PEM")


def _login(settings: dict[str, Setting]) -> dict[str, Setting]:
    given = settings.get("sasl.jaas.config")
    if given is None:
        return settings
    read = _module(given)
    if read is None:
        raise ConfigError(
            f"{given.origin}: sasl.jaas.config is not of the form "
            'org.apache.kafka.common.security.plain.PlainLoginModule required username="..." password="...";'
        )
    module, options = read
    if (names := _LOGIN_MODULES.get(module.rpartition(".")[2])) is None:
        raise ConfigError(
            f"{given.origin}: the login module {module} runs only in Java. Known here are {', '.join(_LOGIN_MODULES)}; "
            "for another token service use sasl.mechanism=OAUTHBEARER with an oauth_cb in config={...}"
        )
    return settings | {names[name]: setting for name, setting in options.items() if name in names}


def _module(given: Setting) -> tuple[str, dict[str, Setting]] | None:
    """Return the login module of a JAAS line with its options, or None where the line is broken.

    What holds the text must not raise, as a traceback may show it.
    """
    text, options = given.text, dict[str, Setting]()
    head = _JAAS_HEAD.match(text)
    if head is None:
        return None
    place = head.end()
    while option := _JAAS_OPTION.match(text, place):
        options[option[1]] = Setting(Secret(_unquote(option[2])), given.origin)
        place = option.end()
    return (head[1], options) if _JAAS_END.fullmatch(text, place) else None


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text[0] in "\"'" else text


def _handlers(settings: dict[str, Setting]) -> dict[str, Setting]:
    for name in ("sasl.login.callback.handler.class", "sasl.client.callback.handler.class"):
        if (handler := settings.get(name)) is None:
            continue
        if not handler.text.endswith(_OAUTH_HANDLER):
            raise ConfigError(
                f"{handler.origin}: {name} names a class that only Java can run; "
                "give an oauth_cb in config={...} that returns a token and when it expires, in seconds since 1970"
            )
        settings = settings | {"sasl.oauthbearer.method": Setting(Secret("oidc"), handler.origin)}
    return settings


def _host_name_check(settings: dict[str, Setting]) -> dict[str, Setting]:
    name = "ssl.endpoint.identification.algorithm"
    given = settings.get(name)
    # Java's way to switch it off is to leave it empty.
    return settings if given is None or given.text.strip() else settings | {name: Setting(Secret("none"), given.origin)}


def _pems(settings: dict[str, Setting]) -> dict[str, Setting]:
    given = {name: settings[name] for name in _PEM_OPTIONS if name in settings}
    return settings | {name: Setting(Secret(_lines_of(pem.text)), pem.origin) for name, pem in given.items()}


def _lines_of(pem: str) -> str:
    """Return PEM in lines: Java takes it on one, with blanks or nothing where a line would end (KIP-651)."""
    return _PEM_BLOCK.sub(_in_lines, pem)


def _in_lines(block: re.Match[str]) -> str:
    if "\n" in block[2]:
        return block[0]
    data = re.sub(r"\\n|\s", "", block[2])
    lines = (data[place : place + _PEM_LINE] for place in range(0, len(data), _PEM_LINE))
    return "\n".join(("", block[1], *lines, block[3], ""))
