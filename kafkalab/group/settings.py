"""What a member's client is configured with: what was asked for, the group's own, and what may not be mixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kafkalab.errors import ArgumentError, ConfigError, did_you_mean
from kafkalab.model import IsolationLevel
from kafkalab.options import exists

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafkalab.connection import ConnectionConfig

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
    "isolation.level": "use isolation_level",
    "on_commit": "the group commits what is marked",
    "partition.assignment.strategy": "use assignor",
}


@dataclass(frozen=True, slots=True)
class Membership:
    """How a member joins.

    Attributes
    ----------
    group_id : str
        The group.
    start : {"earliest", "latest", "error"}
        Where to begin in a partition of which the group has committed nothing, or of whose commit the records are gone.
    group_protocol : {"classic", "consumer"}
        Who assigns partitions: a member, or the broker (KIP-848).
    assignor : str, optional
        How: ``"cooperative-sticky"`` unless told otherwise, ``"range"`` or ``"roundrobin"``; with
        ``group_protocol="consumer"`` the broker's ``"uniform"`` or ``"range"``.
    instance_id : str, optional
        Makes the member a static one, which keeps its partitions over a restart.
    isolation_level : {"read_committed", "read_uncommitted"}
        Which records of transactions are visible.

    Raises
    ------
    ArgumentError
        One of them is not what it can be.
    """

    group_id: str
    start: str = "earliest"
    group_protocol: str = "classic"
    assignor: str | None = None
    instance_id: str | None = None
    isolation_level: str = "read_committed"

    def __post_init__(self) -> None:
        if not self.group_id or not isinstance(self.group_id, str):
            text = f"group_id is a name that is not empty, not {self.group_id!r}"
            raise ArgumentError(text)
        _among("start", self.start, ("earliest", "latest", "error"))
        _among("group_protocol", self.group_protocol, tuple(_ASSIGNORS))
        _among("isolation_level", self.isolation_level, tuple(map(str, IsolationLevel)))
        if self.assignor is not None:
            where = f"assignor, with group_protocol={self.group_protocol!r},"
            _among(where, self.assignor, _ASSIGNORS[self.group_protocol])

    def client_options(self, config: ConnectionConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the member's client; secrets are in plain text, so hand them on at once."""
        given = checked(settings)
        own: dict[str, Any] = {
            "auto.offset.reset": self.start,
            "enable.auto.offset.store": False,
            "enable.partition.eof": False,
            "group.protocol": self.group_protocol,
            "isolation.level": str(self.isolation_level),
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


def checked(settings: Any) -> dict[str, Any]:
    """Return settings as a dict of librdkafka's options.

    Raises
    ------
    ConfigError
        One is unknown, or is the group's own.
    """
    given = dict(settings.to_librdkafka() if hasattr(settings, "to_librdkafka") else settings)
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
