"""The options of a librdkafka client: which exist, which are secret, which a reader goes without."""

import ctypes
import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import cimpl

ALIASES = {
    "log.level": "log_level",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes": "fetch.message.max.bytes",
    "metadata.broker.list": "bootstrap.servers",
    "sasl.mechanisms": "sasl.mechanism",
    "sasl.oauthbearer.client.credentials.client.id": "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.credentials.client.secret": "sasl.oauthbearer.client.secret",
}
"""Second names of an option, so that one source's ``sasl.mechanisms`` gives way to another's ``sasl.mechanism``."""

CALLBACKS = frozenset({"error_cb", "logger", "oauth_cb", "stats_cb", "throttle_cb"})
"""What confluent-kafka takes beside librdkafka's options, where a reader has a use for it."""

MEMBERSHIP = frozenset(
    {
        "auto.offset.reset",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.protocol.type",
        "group.remote.assignor",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "partition.assignment.strategy",
        "session.timeout.ms",
    }
)
"""What only a member of a consumer group needs."""

UNSAFE = frozenset(
    {
        "allow.auto.create.topics",
        "auto.commit.enable",
        "auto.commit.interval.ms",
        "default.topic.config",
        "dr_cb",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "on_commit",
        "on_delivery",
        "partitioner_cb",
        "transactional.id",
    }
)
"""What commits, creates or writes, or belongs to a client that does; an existing client's settings may hold it."""

_SECRET_NAME = re.compile(
    r"passw(or)?d|passphrase|secret|jaas|key\.pem|ssl_key|keystore\.key|oauthbearer\.config|credential|user\.info|auth\.token"
)
# A password may hold any character, the separators of a URL too: what stands before an @ may be one.
_SECRET_VALUE = re.compile(r":.*@", re.DOTALL)
_UNKNOWN = -2
_OF_REGISTRY = re.compile(r"schema\.registry\.(.+)|((?:basic|bearer)\.auth\..+)")

# librdkafka lists only the options that have a value; these have none at first.
_WITHOUT_DEFAULT = (
    "bootstrap.servers",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
)


def is_secret(name: str, value: str) -> bool:
    """Tell whether an option's value must never be shown: a password, a private key, a URL with a password in it.

    Examples
    --------
    >>> is_secret("sasl.password", "x"), is_secret("ssl.key.location", "/etc/key.pem")
    (True, False)
    >>> is_secret("schema.registry.url", "http://ann:hun/ter2@host")
    True
    """
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def is_of_registry(name: str) -> bool:
    """Tell whether an option is a schema registry's, which no Kafka client knows.

    Examples
    --------
    >>> is_of_registry("schema.registry.url"), is_of_registry("basic.auth.user.info"), is_of_registry("client.id")
    (True, True, False)
    """
    return bool(_OF_REGISTRY.fullmatch(name))


def of_registry(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a schema registry, by the names that its client has."""
    matches = ((_OF_REGISTRY.fullmatch(name), value) for name, value in options.items())
    return {match[1] or match[2]: value for match, value in matches if match}


def exists(name: str) -> bool:
    """Tell whether librdkafka or confluent-kafka has an option; True where that cannot be asked."""
    return name in CALLBACKS | MEMBERSHIP | UNSAFE or ("\0" not in name and _try(name, "")[0] != _UNKNOWN)


def complaint(name: str, value: str) -> str:
    """Return what librdkafka says against an option's value, or nothing where it takes it, or cannot be asked."""
    # A reader goes without these; Java's values for them differ.
    if name in CALLBACKS | MEMBERSHIP | UNSAFE:
        return ""
    code, text = _try(name, value)
    return "" if not code else text.replace(value, "***") if value and is_secret(name, value) else text


def _try(name: str, value: str) -> tuple[int, str]:
    if (library := _librdkafka()) is None:
        return 0, ""
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    message = ctypes.create_string_buffer(512)
    texts = (text.encode(errors="replace") for text in (name, value))
    try:
        code = library.rd_kafka_conf_set(conf, *texts, message, ctypes.c_size_t(512))
    finally:
        library.rd_kafka_conf_destroy(conf)
    return code, message.value.decode(errors="replace")


def closest(name: str, also: Iterable[str] = ()) -> list[str]:
    """Return the options whose names are most like ``name``."""
    known = {*_defaults(), *_WITHOUT_DEFAULT, *ALIASES, *CALLBACKS, *MEMBERSHIP, *UNSAFE, *also}
    return difflib.get_close_matches(name, sorted(known), 3, 0.75)


@functools.cache
def _librdkafka() -> ctypes.CDLL | None:
    # Where the bundled library keeps its symbols to itself (Windows), a client says what is wrong when it is made.
    try:
        library = ctypes.CDLL(cimpl.__file__)
        library.rd_kafka_conf_new.restype = ctypes.c_void_p
        library.rd_kafka_topic_conf_new.restype = ctypes.c_void_p
        library.rd_kafka_conf_dump.restype = ctypes.POINTER(ctypes.c_char_p)
        library.rd_kafka_topic_conf_dump.restype = ctypes.POINTER(ctypes.c_char_p)
    except (AttributeError, OSError):
        return None
    return library


@functools.cache
def _defaults() -> tuple[str, ...]:
    library = _librdkafka()
    return () if library is None else (*_names(library, "rd_kafka_conf"), *_names(library, "rd_kafka_topic_conf"))


def _names(library: ctypes.CDLL, kind: str) -> list[str]:
    conf = ctypes.c_void_p(getattr(library, f"{kind}_new")())
    count = ctypes.c_size_t()
    dump = getattr(library, f"{kind}_dump")(conf, ctypes.byref(count))
    names = [dump[index].decode() for index in range(0, count.value, 2)]
    library.rd_kafka_conf_dump_free(dump, count)
    getattr(library, f"{kind}_destroy")(conf)
    return names
