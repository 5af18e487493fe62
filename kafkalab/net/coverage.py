"""What becomes of a connection's options in the fast engine: honoured, without effect, or a reason for librdkafka."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kafkalab import options

if TYPE_CHECKING:
    from kafkalab.connection import ConnectionConfig

HONOURED = frozenset(
    {
        "bootstrap.servers",
        "broker.address.family",
        "client.id",
        "enable.ssl.certificate.verification",
        "oauth_cb",
        "sasl.mechanism",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.method",
        "sasl.password",
        "sasl.username",
        "security.protocol",
        "socket.connection.setup.timeout.ms",
        "socket.timeout.ms",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.endpoint.identification.algorithm",
        "ssl.key.location",
        "ssl.key.pem",
    }
)
"""Options that a native connection is opened with, where their values can be had."""

_OF_READING = frozenset(
    {
        "check.crcs",
        "enable.partition.eof",
        "fetch.error.backoff.ms",
        "fetch.max.bytes",
        "fetch.message.max.bytes",
        "fetch.min.bytes",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "isolation.level",
        "max.in.flight.requests.per.connection",
        "queued.max.messages.kbytes",
        "queued.min.messages",
        "receive.message.max.bytes",
        "retry.backoff.max.ms",
        "retry.backoff.ms",
    }
)
"""Each read says itself what is visible; the engine bounds its requests, waits and retries, and checks every CRC."""

_OF_SOCKETS = frozenset(
    {
        "broker.address.ttl",
        "client.dns.lookup",
        "connections.max.idle.ms",
        "message.copy.max.bytes",
        "reconnect.backoff.jitter.ms",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "socket.blocking.max.ms",
        "socket.keepalive.enable",
        "socket.max.fails",
        "socket.nagle.disable",
        "socket.receive.buffer.bytes",
        "socket.send.buffer.bytes",
    }
)
"""A connection lives as long as a read, is never silent, tries every address, and leaves its buffers to the system."""

_OF_METADATA = frozenset(
    {
        "api.version.fallback.ms",
        "api.version.request",
        "api.version.request.timeout.ms",
        "broker.version.fallback",
        "metadata.max.age.ms",
        "metadata.recovery.rebootstrap.trigger.ms",
        "metadata.recovery.strategy",
        "topic.blacklist",
        "topic.metadata.propagation.max.ms",
        "topic.metadata.refresh.fast.cnt",
        "topic.metadata.refresh.fast.interval.ms",
        "topic.metadata.refresh.interval.ms",
        "topic.metadata.refresh.sparse",
    }
)
"""librdkafka gives the metadata to both engines; the broker says itself which versions it speaks."""

_OF_WATCHING = frozenset(
    {
        "builtin.features",
        "debug",
        "enable.metrics.push",
        "enable.random.seed",
        "enabled_events",
        "error_cb",
        "internal.termination.signal",
        "log.connection.close",
        "log.queue",
        "log.thread.name",
        "log_level",
        "logger",
        "statistics.interval.ms",
        "stats_cb",
        "throttle_cb",
    }
)
"""They watch librdkafka at work, which goes on for metadata."""

_OF_TOKENS = frozenset({"https.ca.location", "https.ca.pem"})
"""They serve librdkafka's own ways to a token; the engine asks ``oauth_cb``, or leaves reading to librdkafka."""

_OF_GROUPS = frozenset(
    {
        "consume.callback.max.messages",
        "coordinator.query.interval.ms",
        "max.poll.records",
        "offset.store.method",
        "offset.store.path",
        "offset.store.sync.interval.ms",
        "share.acknowledgement.mode",
    }
)
"""As `options.MEMBERSHIP` and `options.UNSAFE`: reading needs no group, and commits nothing."""

_OF_PRODUCERS = frozenset(
    {
        "acks",
        "batch.num.messages",
        "batch.size",
        "compression.codec",
        "compression.level",
        "compression.type",
        "delivery.report.only.error",
        "delivery.timeout.ms",
        "linger.ms",
        "message.max.bytes",
        "message.send.max.retries",
        "message.timeout.ms",
        "partitioner",
        "produce.offset.report",
        "queue.buffering.backpressure.threshold",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.messages",
        "queue.buffering.max.ms",
        "queuing.strategy",
        "request.required.acks",
        "request.timeout.ms",
        "retries",
        "sticky.partitioning.linger.ms",
        "transaction.timeout.ms",
    }
)
"""Nothing is written."""

WITHOUT_EFFECT = frozenset.union(
    _OF_READING,
    _OF_SOCKETS,
    _OF_METADATA,
    _OF_WATCHING,
    _OF_TOKENS,
    _OF_GROUPS,
    _OF_PRODUCERS,
    options.MEMBERSHIP,
    options.UNSAFE,
)
"""Options that change nothing of what this engine reads."""

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_OF_SASL = ("sasl.", "enable.sasl.")
_OF_ONE_LOGIN = ("sasl.kerberos.", "sasl.oauthbearer.", "enable.sasl.oauthbearer.")
_NO = ("false", "f", "0")
_IDENTITY = (
    ("ssl.certificate.location", "ssl.certificate.pem"),
    ("ssl.key.location", "ssl.key.pem"),
)


def unsupported_option(config: ConnectionConfig) -> str | None:
    """Return the option, as it would be written, that only librdkafka can honour; None where there is none.

    Examples
    --------
    >>> from kafkalab.connection import ConnectionConfig
    >>> unsupported_option(ConnectionConfig({"bootstrap.servers": "broker", "client.rack": "a"}))
    'client.rack'
    """
    for name in sorted(config.options.keys() - HONOURED - WITHOUT_EFFECT):
        if config.get(name) != "" and not options.is_of_registry(name) and _counts(config, name):
            return name
    login = _unsupported_login(config) if config.security_protocol.startswith("SASL") else None
    return login or (_unsupported_tls(config) if config.security_protocol.endswith("SSL") else None)


def verifies(config: ConnectionConfig) -> bool:
    """Tell whether the broker's certificate is checked at all."""
    return str(config.get("enable.ssl.certificate.verification", "true")).lower() not in _NO


def _counts(config: ConnectionConfig, name: str) -> bool:
    """Tell whether an option has a say on a connection of this protocol and login."""
    if name.startswith("ssl"):
        return config.security_protocol.endswith("SSL")
    if name.startswith(_OF_SASL):
        # What belongs to one login alone is judged with it.
        return config.security_protocol.startswith("SASL") and not name.startswith(_OF_ONE_LOGIN)
    return True


def _unsupported_login(config: ConnectionConfig) -> str | None:
    mechanism = config.get("sasl.mechanism")
    if mechanism not in _MECHANISMS:
        return f"sasl.mechanism={mechanism}"
    if mechanism != "OAUTHBEARER":
        return None
    unsecured = "enable.sasl.oauthbearer.unsecure.jwt"
    if str(config.get(unsecured) or "false").lower() not in _NO:
        return unsecured
    method = str(config.get("sasl.oauthbearer.method", "default")).lower()
    return f"sasl.oauthbearer.method={method}" if method != "default" or "oauth_cb" not in config.options else None


def _unsupported_tls(config: ConnectionConfig) -> str | None:
    check = "ssl.endpoint.identification.algorithm"
    if verifies(config) and str(config.get(check, "https")).lower() == "none":
        return f"{check}=none"
    location = config.get("ssl.ca.location")
    if location and Path(location).is_dir():
        return f"ssl.ca.location={location}, a folder"
    given = [next((name for name in names if config.get(name)), None) for names in _IDENTITY]
    if (lone := [name for name in given if name]) and None in given:
        return f"{lone[0]} without its other half"
    return None
