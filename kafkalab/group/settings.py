"""What a member's client is configured with: what was asked for, the group's own, and what may not be mixed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kafkalab.errors import ArgumentError, ConfigError, did_you_mean
from kafkalab.model import IsolationLevel
from kafkalab.options import exists

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafkalab.connection import ConnectionConfig

_LOG = logging.getLogger("kafkalab.group")

Start: TypeAlias = Literal["earliest", "latest", "error"]
GroupProtocol: TypeAlias = Literal["classic", "consumer"]

_ASSIGNORS = {"classic": ("cooperative-sticky", "range", "roundrobin"), "consumer": ("uniform", "range")}
# With KIP-848 these are the broker's.
_CLASSIC_ONLY = ("partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms", "group.protocol.type")
_OURS = {
    "allow.auto.create.topics": "a reader makes no topics",
    "auto.commit.interval.ms": "use commit_interval",
    "auto.offset.reset": "use start",
    "enable.auto.commit": "the group commits what is marked",
    "enable.auto.offset.store": "the group commits what is marked",
    "enable.partition.eof": "a group has no end",
    "group.id": "it is the first argument",
    "group.instance.id": "use instance_id",
    "group.protocol": "use group_protocol",
    "group.remote.assignor": "use assignor",
    "on_commit": "the group commits what is marked",
    "partition.assignment.strategy": "use assignor",
}
# Of settings that come as a whole: what the group does in its own way, and what is an argument of its own.
_UNUSED = ("allow.auto.create.topics", "auto.commit.interval.ms", "enable.auto.commit")
_TAKEN = ("auto.offset.reset", "partition.assignment.strategy")
_STARTS = {"smallest": "earliest", "beginning": "earliest", "largest": "latest", "end": "latest", "none": "error"}


@dataclass(frozen=True, slots=True)
class Membership:
    """How a member joins.

    Attributes
    ----------
    group_id : str
        The group.
    start : {"earliest", "latest", "error"}
        Where to begin in a partition of which the group has committed nothing, or of whose commit the records are gone.
        The latter is told.
    group_protocol : {"classic", "consumer"}
        Who assigns partitions: a member, or the broker (KIP-848).
    assignor : str, optional
        How: ``"cooperative-sticky"`` unless told otherwise, ``"range"`` or ``"roundrobin"``; with
        ``group_protocol="consumer"`` the broker's ``"uniform"`` or ``"range"``.
    instance_id : str, optional
        Makes the member a static one, which keeps its partitions over a restart.
    isolation_level : {"read_committed", "read_uncommitted"}, optional
        Which records of transactions are visible; what the settings say, or else those that are committed.

    Raises
    ------
    ArgumentError
        One of them is not what it can be.
    """

    group_id: str
    start: Start = "earliest"
    group_protocol: str = "classic"
    assignor: str | None = None
    instance_id: str | None = None
    isolation_level: str | None = None

    def __post_init__(self) -> None:
        if not self.group_id or not isinstance(self.group_id, str):
            text = f"group_id is a name that is not empty, not {self.group_id!r}"
            raise ArgumentError(text)
        _among("start", self.start, ("earliest", "latest", "error"))
        _among("group_protocol", self.group_protocol, tuple(_ASSIGNORS))
        if self.isolation_level is not None:
            _among("isolation_level", self.isolation_level, tuple(map(str, IsolationLevel)))
        if self.assignor is not None:
            where = f"assignor, with group_protocol={self.group_protocol!r},"
            _among(where, self.assignor, _ASSIGNORS[self.group_protocol])

    @property
    def level(self) -> str:
        """Which records of transactions are visible."""
        return self.isolation_level or str(IsolationLevel.READ_COMMITTED)

    def agreed(self, settings: Any) -> tuple[Membership, dict[str, Any]]:
        """Take from settings what is the group's own, where it was not told otherwise; return it, and the rest.

        Raises
        ------
        ConfigError
            It was, or a setting cannot be.
        """
        found, given = self, checked(settings)
        if (level := given.pop("isolation.level", None)) is not None:
            found = _taken(found, "isolation_level", found.isolation_level, str(level), "isolation.level")
        if (
            assignor := given.pop("partition.assignment.strategy", None)
        ) is not None and self.group_protocol == "classic":
            found = _taken(found, "assignor", found.assignor, str(assignor), "partition.assignment.strategy")
        if (reset := given.pop("auto.offset.reset", None)) is not None:
            found = _taken(found, "start", found.start, _STARTS.get(str(reset), str(reset)), "auto.offset.reset")
        if self.group_protocol == "consumer" and hasattr(settings, "to_librdkafka"):
            for name in _CLASSIC_ONLY:
                if given.pop(name, None) is not None:
                    _LOG.info("group %s: the broker sets %s", self.group_id, name)
        return found, given

    def client_options(self, config: ConnectionConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the member's client; secrets are in plain text, so hand them on at once."""
        given = dict(settings)
        own: dict[str, Any] = {
            # Whatever else it is, the client passes over records that are there, and does not tell.
            "auto.offset.reset": "error",
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,  # which tells of what has no records behind the last one
            "group.protocol": self.group_protocol,
            "isolation.level": self.level,
        }
        if self.instance_id is not None:
            own["group.instance.id"] = self.instance_id
        if self.group_protocol == "classic":
            own["partition.assignment.strategy"] = self.assignor or _ASSIGNORS["classic"][0]
        elif self.assignor is not None:
            own["group.remote.assignor"] = self.assignor
        # By default a queue that is full is left alone for a second, and empty for most of it.
        options = config.consumer_options(self.group_id, **{"fetch.queue.backoff.ms": 1, **given, **own})
        if self.group_protocol == "consumer":
            if refused := [name for name in _CLASSIC_ONLY if name in given]:
                text = (
                    f"with group_protocol='consumer' the broker sets {' and '.join(refused)}: leave it out of settings"
                )
                raise ConfigError(text)
            options = {name: value for name, value in options.items() if name not in _CLASSIC_ONLY}
        return options


def _taken(membership: Membership, name: str, own: str | None, other: str, option: str) -> Membership:
    if own is not None and own != other:
        text = f"{name}={own!r}, and settings have {option}={other!r}: say the same, or leave one out"
        raise ConfigError(text)
    return replace(membership, **{name: other})  # type: ignore[arg-type]  # checked where it is made


def checked(settings: Any) -> dict[str, Any]:
    """Return settings as a dict of librdkafka's options.

    Settings that come as a whole, as another client's do, hold some that the group has no use for: these are left out.

    Raises
    ------
    ConfigError
        One is unknown, or is the group's own.
    """
    if hasattr(settings, "to_librdkafka"):
        given = {name: value for name, value in settings.to_librdkafka().items() if name not in _UNUSED}
        own = {name: given.pop(name) for name in _TAKEN if name in given}
        return checked(given) | own
    given = dict(settings)
    for name in given:
        if name in _OURS:
            text = f"settings cannot hold {name}: {_OURS[name]}"
            raise ConfigError(text)
        if not exists(name):
            text = f"librdkafka has no option {name!r}"
            raise ConfigError(text)
    return given


def _among(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        text = f"{name} is not {value!r}: {did_you_mean(str(value), known)}"
        raise ArgumentError(text)
