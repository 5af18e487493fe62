"""What plans, verbs and tests need of a cluster, and the errors that all its forms tell alike."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Protocol

from kafkalab.errors import OfflinePartitionError, UnknownPartitionError, UnknownTopicError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from kafkalab.model import PartitionInfo, TimedOffset, TopicInfo, TopicPartition, Watermarks
    from kafkalab.net.client import Stops

GRACE_S = 1.0
"""For how many seconds a topic that nobody knows may be one that was made just before."""
LAST_TIME_MS = 2**63 - 1
OFFSETS_TOPIC = "__consumer_offsets"
_SHOWN_TOPICS = 10


class Metadata(Protocol):
    """What plans, verbs and tests need of a cluster."""

    def topics(self) -> list[TopicInfo]:
        """Return all topics, by name."""

    def topic(self, name: str) -> TopicInfo:
        """Return one topic.

        Raises
        ------
        UnknownTopicError
            There is none of that name; it says which are like it.
        """

    def overview(self, name: str) -> tuple[TopicInfo, dict[int, Watermarks]]:
        """Return one topic, and the watermarks of its partitions but those without a leader, as of one moment."""

    def watermarks(self, topic: str, partitions: Sequence[int], *, stop: Stops | None = None) -> dict[int, Watermarks]:
        """Return where the logs of partitions begin and end.

        Raises
        ------
        UnknownPartitionError
            The topic has no such partition.
        OfflinePartitionError
            A partition has no leader.
        """

    def offsets_for_times(self, topic: str, times_ms: Mapping[int, int]) -> dict[int, TimedOffset | None]:
        """Return the first offset whose timestamp is at least the partition's time; None where no record's is.

        Raises
        ------
        UnsupportedError
            The broker cannot look times up.
        """

    def timestamp_span(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
        """Return the first record's and the greatest timestamp in ms; None for what is unknown or not there."""

    def committed_offsets(self, group_id: str, topic: str) -> dict[int, int | None]:
        """Return a group's committed offset in every partition; None where it has none."""

    def group_ids(self) -> list[str]:
        """Return the ids of all consumer groups, sorted."""


class Asked(Metadata, Protocol):
    """A real cluster, asked by one client or the other."""

    @property
    def count(self) -> int:
        """How many brokers are known; 0 before the first answer."""

    def connect(self) -> None:
        """Check that the cluster lets this client in."""

    def brokers(self) -> dict[int, tuple[str, int]]:
        """Return the host and port of each broker by id, as they advertise them."""

    def leaders(self, topic: str, *, stop: Stops | None = None) -> dict[int, tuple[str, int]]:
        """Return the host and port of each partition's leader, as the brokers advertise them."""

    def api_versions(self) -> dict[int, tuple[int, int]]:
        """Return the least and the most version of each request that a broker takes; empty where that is unknown."""

    def commits(self, group_id: str, places: Sequence[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """Return a group's committed offsets in some partitions, or in all of the cluster, where it has any."""

    def members(self, group_id: str) -> tuple[str, list[str]]:
        """Return a group's state, and who is in it: client, member and host of each."""

    def commit(self, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Set a group's committed offsets; the broker refuses that while it has members."""

    def close(self) -> None:
        """Let go of the connections; the next call makes others."""


def unknown_topic(name: str, known: Iterable[str]) -> UnknownTopicError:
    """Return the error for a topic that is none of the known ones; it says which are like it."""
    names = sorted(other for other in known if not other.startswith("__"))
    like = difflib.get_close_matches(name, names, 3)
    rest = f" and {len(names) - _SHOWN_TOPICS} more" if len(names) > _SHOWN_TOPICS else ""
    there = ", ".join(names[:_SHOWN_TOPICS]) + rest or "no topics at all"
    hint = f"did you mean {' or '.join(map(repr, like))}?" if like else f"there are {there}"
    return UnknownTopicError(f"the cluster has no such topic; {hint}", topic=name)


def check_partitions(info: TopicInfo, partitions: Iterable[int]) -> None:
    """Raise an error where a topic has no such partition.

    Raises
    ------
    UnknownPartitionError
        It says which partitions there are.
    """
    known = {part.partition for part in info.partitions}
    for partition in sorted(set(partitions) - known):
        has = f"0 to {max(known)}" if known else "none yet"
        raise UnknownPartitionError(f"its partitions are {has}", topic=info.name, partition=partition)


def offline(topic: str, part: PartitionInfo) -> OfflinePartitionError:
    """Return the error for a partition without a leader; it names the brokers that are away."""
    away = part.offline_replicas or part.replicas
    brokers = f"broker{'s' * (len(away) > 1)} {', '.join(map(str, away))}" if away else "its brokers"
    verb = "are" if len(away) != 1 else "is"
    text = f"the partition has no leader, {brokers} {verb} away: try again when they are back, or leave it out"
    return OfflinePartitionError(text, topic=topic, partition=part.partition)


def offline_among(info: TopicInfo, partitions: Collection[int]) -> list[OfflinePartitionError]:
    """Return the errors for partitions of a topic that have no leader."""
    return [offline(info.name, part) for part in info.partitions if part.partition in partitions]
