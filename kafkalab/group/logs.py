"""Which log a group's offsets are of, and where to go on when that is gone, cut, or another one of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkalab.errors import DataLossError, UnknownTopicError
from kafkalab.model import IsolationLevel, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kafkalab.cluster import Cluster
    from kafkalab.group.settings import Start

_TAG = "kafkalab:"


def tag(topic_id: str | None) -> str | None:
    """Return what is committed with an offset, to tell later which log it is of."""
    return None if topic_id is None else _TAG + topic_id


def tagged(metadata: str | None) -> str | None:
    """Return the topic's id that was committed with an offset, if it was by this package."""
    return metadata.removeprefix(_TAG) if metadata and metadata.startswith(_TAG) else None


class Logs:
    """The ids of topics as they are now, and where a group goes on in logs that are not what they were.

    Parameters
    ----------
    cluster : Cluster
        Whom to ask.
    start : {"earliest", "latest", "error"}
        As in `Membership`.
    isolation_level : str
        Up to where the group reads.
    """

    def __init__(self, cluster: Cluster, start: Start, isolation_level: str) -> None:
        self._cluster = cluster
        self._level = IsolationLevel(isolation_level)
        self._now: dict[str, str] = {}
        self._former: set[str] = set()
        self.start = start
        self.version = 0
        """Rises whenever a topic has another id."""

    def look(self, topics: Iterable[str]) -> dict[str, str]:
        """Ask for the ids of topics; those that are gone, and brokers that know no ids, are left out."""
        found: dict[str, str] = {}
        for topic in set(topics):
            try:
                topic_id = self._cluster.topic(topic).topic_id
            except UnknownTopicError:  # on its way out, or in
                continue
            if topic_id is not None and topic_id not in self._former:  # a broker that is behind tells of the former one
                found[topic] = topic_id
        changed = any(self._now.get(topic, topic_id) != topic_id for topic, topic_id in found.items())
        self._now |= found
        self.version += changed  # last, so that whoever looks at it finds the ids
        return found

    def other(self, topic: str, topic_id: str | None) -> str | None:
        """Return the id that a topic has now, if that is another one than it was."""
        now = self._now.get(topic)
        if topic_id is None or now is None or now == topic_id or now in self._former:
            return None
        return now

    def leave(self, topic_id: str) -> None:
        """Note that a topic was followed to its next id, and is not to be believed to have gone back to this one."""
        self._former.add(topic_id)

    def bounds(self, topic: str, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Return where logs begin and end, as the group may read them."""
        marks = self._cluster.watermarks(topic, sorted(partitions))
        return {number: (mark.log_start_offset, mark.end_offset(self._level)) for number, mark in marks.items()}

    def beginnings(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where to begin in partitions of which nothing is committed: -1 for wherever they begin.

        Raises
        ------
        DataLossError
            The group was told not to begin anywhere.
        """
        places = list(places)
        if self.start == "earliest":
            return dict.fromkeys(places, -1)
        if self.start == "error":
            text = "nothing is committed, and the group was told start='error': seek it, or start elsewhere"
            raise DataLossError(text, topic=places[0].topic, partition=places[0].partition)
        found: dict[TopicPartition, int] = {}
        for topic in {place.topic for place in places}:
            bounds = self.bounds(topic, [place.partition for place in places if place.topic == topic])
            found |= {TopicPartition(topic, number): end for number, (_, end) in bounds.items()}
        return found


def go_on(
    place: TopicPartition, position: int, bounds: tuple[int, int], start: Start, ids: tuple[str, str] | None = None
) -> tuple[int | None, DataLossError]:
    """Say where to go on with a log that does not hold what comes next, and what is lost by that.

    Parameters
    ----------
    place : TopicPartition
        Which.
    position : int
        With which offset the group was to go on.
    bounds : tuple of int
        Where the log begins and ends.
    start : {"earliest", "latest", "error"}
        As in `Membership`.
    ids : tuple of str, optional
        The topic's id as it was and as it is, where these are not the same.

    Returns
    -------
    tuple
        The offset, or None where the group was told to end; and the error to tell.

    Examples
    --------
    >>> target, error = go_on(TopicPartition("orders", 0), 5, (8, 20), "earliest")
    >>> target
    8
    >>> print(error)
    orders[0]@5: offsets 5 to 7 are gone: retention, or somebody, has deleted them; the group goes on at 8
    """
    first, end = bounds
    target = end if start == "latest" else first
    holds = f"offsets {first} to {end - 1}" if first < end else "nothing"
    if ids is not None:
        passed = f", and passes over what comes before, as start={start!r} says" if first < target else ""
        text = (
            f"the topic was deleted and made anew (its id was {ids[0]} and is {ids[1]}): the group was to go on at "
            f"{position} of the old one, and the new one holds {holds}"
        )
    elif position < first:
        passed = f", and passes over {first} to {target - 1}, as start={start!r} says" if first < target else ""
        text = f"offsets {position} to {first - 1} are gone: retention, or somebody, has deleted them"
    else:
        # Not to the end: what was written since the log was cut lies before it.
        target, passed = first, ", as nobody knows what was written since"
        lost = f"; offsets {end} to {position - 1} are lost" if position > end else ""
        text = f"the log was cut: it holds {holds}, and {position} came next{lost}"
    if start == "error":
        goes, found = "the group was told start='error': seek it, or start elsewhere", None
    else:
        goes, found = f"the group goes on at {target}{passed}", target
    return found, DataLossError(f"{text}; {goes}", topic=place.topic, partition=place.partition, offset=position)
