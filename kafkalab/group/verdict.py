# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""What an error means to a member: that it has ended, that it will pass, or that it is none of its business. Pure."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from kafkalab.errors import GroupError, KafkalabError
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Mapping

# What comes in the midst of a rebalance, or while a broker is away.
_PASSING = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._WAIT_COORD,
    }
)
# After these nothing will come any more until someone acts; those of the first kind are about the group alone.
_FENCED = frozenset({KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID})
_GROUP = _FENCED | {
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.INVALID_SESSION_TIMEOUT,
    KafkaError.GROUP_MAX_SIZE_REACHED,
    KafkaError.UNSUPPORTED_ASSIGNOR,
}
_FINAL = {
    KafkaError._FATAL,
    KafkaError._AUTHENTICATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,
}
_COORDINATOR = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError._WAIT_COORD,
    }
)


_ABOUT_INSTANCE = re.compile("fence|instance ?id", re.IGNORECASE)


class Verdict(Enum):
    """What an error means to who has met it."""

    ENDS = "nothing will come any more until someone acts"
    PASSES = "it is tried again"
    TOLD = "it is told, and lived with"
    IGNORED = "it is about a group, and this client is in none"


def judge(error: KafkaError, *, in_group: bool = True) -> Verdict:
    """Say what an error means, wherever it has come from: an event, a commit, or an exception.

    Parameters
    ----------
    error : KafkaError
        What librdkafka has told.
    in_group : bool
        Whether the client has joined a group; else it has no use for a coordinator.
    """
    code = error.code()
    if not in_group and code in _GROUP | _COORDINATOR:
        return Verdict.IGNORED
    if error.fatal() or code in _GROUP or code in _FINAL:
        return Verdict.ENDS
    return Verdict.PASSES if code in _PASSING else Verdict.TOLD


def told(error: KafkaError, group_id: str, where: Mapping[str, object] | None = None) -> KafkalabError:
    """Return kafkalab's error for one that a member has met; it names the group where it is about that."""
    fatal = error.fatal() or error.code() == KafkaError._FATAL  # the latter wraps one, and says that it is not
    if error.code() in _FENCED or (fatal and _ABOUT_INSTANCE.search(error.str())):
        advice = "another member has the same instance_id: give each its own, or stop that one"
        return GroupError(f"group {group_id!r} has this member no more: {error.str()}: {advice}")
    if fatal:
        return GroupError(f"group {group_id!r} has this member no more: {error.str()}: start it anew")
    about = {"group_id": group_id} if error.code() in _GROUP else {}
    return translate(error, **about, **(where or {}))
