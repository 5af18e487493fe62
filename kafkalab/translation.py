# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""librdkafka's errors, told as kafkalab's."""

import re
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from kafkalab import errors

# It says that it is in a module "cimpl", which none can import; and errors travel with their causes where Dask is.
KafkaException.__module__ = "confluent_kafka"

_PREFIX = re.compile(r"Failed to create \w+( client)?: |Broker: |Local: ")
_KERBEROS = (
    "confluent-kafka from PyPI has no Kerberos. One that is built where librdkafka has libsasl2 does: "
    "pip install --no-binary confluent-kafka confluent-kafka"
)
_MEANING: dict[int, tuple[type[errors.KafkalabError], str]] = {
    KafkaError._TRANSPORT: (errors.BrokerUnreachableError, "check the bootstrap servers and the network"),
    KafkaError._ALL_BROKERS_DOWN: (errors.BrokerUnreachableError, "check the bootstrap servers and the network"),
    KafkaError._RESOLVE: (errors.BrokerUnreachableError, "check the host name"),
    KafkaError._AUTHENTICATION: (errors.AuthenticationError, "check sasl.username and sasl.password"),
    KafkaError.SASL_AUTHENTICATION_FAILED: (errors.AuthenticationError, "check sasl.username and sasl.password"),
    KafkaError.UNSUPPORTED_SASL_MECHANISM: (errors.AuthenticationError, "set another sasl.mechanism"),
    KafkaError.ILLEGAL_SASL_STATE: (errors.AuthenticationError, "check security.protocol"),
    KafkaError._SSL: (errors.TlsError, "check the options that begin with ssl."),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (errors.AuthorizationError, "ask for Read and Describe on the topic"),
    KafkaError.GROUP_AUTHORIZATION_FAILED: (errors.AuthorizationError, "ask for Read and Describe on the group"),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (errors.AuthorizationError, "ask for Describe on the cluster"),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (errors.AuthorizationError, "ask for Write on the id"),
    KafkaError.UNKNOWN_TOPIC_OR_PART: (errors.UnknownTopicError, "see topics() for those there are"),
    KafkaError.UNKNOWN_TOPIC_ID: (errors.UnknownTopicError, "it was deleted or made anew"),
    KafkaError._UNKNOWN_TOPIC: (errors.UnknownTopicError, "see topics() for those there are"),
    KafkaError.TOPIC_EXCEPTION: (errors.UnknownTopicError, "no topic can have this name"),
    KafkaError._UNKNOWN_PARTITION: (errors.UnknownPartitionError, "see topics() for those there are"),
    KafkaError.OFFSET_OUT_OF_RANGE: (errors.DataLossError, "retention has passed it, or the topic was made anew"),
    KafkaError._AUTO_OFFSET_RESET: (errors.DataLossError, "retention has passed it, or the topic was made anew"),
    KafkaError._LOG_TRUNCATION: (errors.DataLossError, "an unclean leader election has cut the log"),
    KafkaError.INVALID_MSG: (errors.CorruptDataError, "read past it, or restore the log from a replica"),
    KafkaError._BAD_MSG: (
        errors.CorruptDataError,
        "an answer is damaged, or larger than receive.message.max.bytes; engine='arrow' tells which",
    ),
    KafkaError._BAD_COMPRESSION: (
        errors.CorruptDataError,
        "the batch is damaged, or beyond what librdkafka decompresses; engine='arrow' tells which",
    ),
    KafkaError._TIMED_OUT: (errors.ReadTimeoutError, "try again, or give a longer timeout"),
    KafkaError._TIMED_OUT_QUEUE: (errors.ReadTimeoutError, "try again, or give a longer timeout"),
    KafkaError._MSG_TIMED_OUT: (errors.ReadTimeoutError, "try again, or give a longer timeout"),
    KafkaError.REQUEST_TIMED_OUT: (errors.ReadTimeoutError, "try again, or give a longer timeout"),
    KafkaError.OFFSET_NOT_AVAILABLE: (errors.ReadTimeoutError, "wait until replicas are back, and try again"),
    KafkaError.LEADER_NOT_AVAILABLE: (errors.BrokerUnreachableError, "wait until the partition has a leader"),
    KafkaError.NOT_LEADER_FOR_PARTITION: (errors.BrokerUnreachableError, "its leader moves: try again"),
    KafkaError.NOT_COORDINATOR: (errors.BrokerUnreachableError, "the group's coordinator moves: try again"),
    KafkaError.COORDINATOR_NOT_AVAILABLE: (errors.BrokerUnreachableError, "the group's coordinator is away: try again"),
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS: (errors.ReadTimeoutError, "the group's coordinator starts: try again"),
    KafkaError._UNSUPPORTED_FEATURE: (errors.UnsupportedError, "a newer broker can do it"),
    KafkaError.UNSUPPORTED_VERSION: (errors.UnsupportedError, "a newer broker can do it"),
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT: (errors.UnsupportedError, "the topic's message format has no times"),
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE: (errors.UnsupportedError, "a newer client can do it"),
    KafkaError._INVALID_ARG: (errors.ConfigError, "check the configuration"),
    KafkaError._CONFLICT: (errors.ConfigError, "check the configuration"),
}


def translate(error: KafkaError | KafkaException, **where: Any) -> errors.KafkalabError:
    """Return kafkalab's error for one of librdkafka's.

    Parameters
    ----------
    error : KafkaError or KafkaException
        What confluent-kafka reported or raised, or a broker's error code as such an error.
    **where
        The ``topic``, ``partition`` and ``offset``, or the ``group_id``, that were being worked on, as far as known.

    Returns
    -------
    KafkalabError
        To be raised ``from error``.

    Examples
    --------
    >>> translate(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), topic="orders")
    AuthorizationError('Topic authorization failed: ask for Read and Describe on the topic')
    """
    cause = error.args[0] if isinstance(error, KafkaException) else error
    text = _PREFIX.sub("", cause.str())
    kind, advice = _MEANING.get(cause.code(), (errors.KafkalabError, f"librdkafka's error {cause.name()}"))
    if "GSSAPI" in text and kind is errors.ConfigError:
        kind, advice = errors.AuthenticationError, _KERBEROS
    elif "SASL mechanism" in text and kind is errors.ConfigError:
        kind, advice = errors.AuthenticationError, "set sasl.mechanism to PLAIN, SCRAM-SHA-256 or -512, or OAUTHBEARER"
    group_id = where.pop("group_id", None)
    group = "" if group_id is None else f"group {group_id!r}: "
    return kind(f"{group}{text}: {advice}", **where)
