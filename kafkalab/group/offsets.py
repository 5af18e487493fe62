"""What a group has committed: shown, and moved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pandas as pd

from kafkalab.cluster import Cluster
from kafkalab.errors import GroupError, UnsupportedError
from kafkalab.model import IsolationLevel, TopicPartition, Watermarks
from kafkalab.plan import Request, choose_partitions, make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafkalab.cluster import Metadata
    from kafkalab.positions import Position

_SETTLED = ("EMPTY", "DEAD", "UNKNOWN")


def cluster_of(metadata: Metadata) -> Cluster:
    """Return what is known to be a real cluster.

    Raises
    ------
    UnsupportedError
        It is topics in memory.
    """
    if not isinstance(metadata, Cluster):
        text = f"{type(metadata).__name__} has no consumer groups: connect to a broker, such as that of kl.demo()"
        raise UnsupportedError(text)
    return metadata


def group_offsets(
    cluster: Cluster,
    group_id: str,
    topics: Sequence[str] | str | None = None,
    *,
    committed_only: bool = True,
    isolation_level: str | None = None,
) -> pd.DataFrame:
    """Return what a group has committed, a row a partition, with the log's end as the group may read it."""
    names = [topics] if isinstance(topics, str) else topics
    places = None if names is None else [place for name in names for place in _places(cluster, name)]
    commits = cluster.commits(group_id, places)
    shown = sorted(commits if committed_only or places is None else places)
    ends: dict[TopicPartition, int] = {}
    for topic in dict.fromkeys(place.topic for place in shown):
        _, marks = cluster.overview(topic)  # a partition without a leader has none
        ends |= {
            place: _end(mark, commits.get(place), isolation_level)
            for place, mark in ((TopicPartition(topic, partition), mark) for partition, mark in marks.items())
        }
    frame = pd.DataFrame(
        {
            "topic": pd.array([place.topic for place in shown], dtype="str"),
            "partition": pd.array([place.partition for place in shown], dtype="int64"),
            "committed_offset": pd.array([commits.get(place) for place in shown], dtype="Int64"),
            "end_offset": pd.array([ends.get(place) for place in shown], dtype="Int64"),
        }
    )
    frame["committed_lag"] = frame["end_offset"] - frame["committed_offset"]
    return frame


def seek_group(
    cluster: Cluster, group_id: str, topics: Sequence[str] | str, to: Position, *, dry_run: bool = True
) -> pd.DataFrame:
    """Move what a group has committed, or tell what that would change."""
    state, members = cluster.members(group_id)
    if state not in _SETTLED or members:
        who = "; ".join(members) or "members that it does not name"
        text = (
            f"group {group_id!r} is {state} and cannot be moved: stop {who}; a static member (instance_id) that was "
            "stopped counts until its session.timeout.ms is over"
        )
        raise GroupError(text)
    target: dict[TopicPartition, int] = {}
    for topic in [topics] if isinstance(topics, str) else topics:
        partitions = choose_partitions(cluster.topic(topic), Request(to))
        marks = cluster.watermarks(topic, partitions)
        plan = make_plan(Request(to), topic, marks, cluster, time.time_ns() // 1_000_000)
        target |= {TopicPartition(topic, part.partition): part.start for part in plan.ranges}
    commits = cluster.commits(group_id, list(target))
    if not dry_run:
        cluster.commit(group_id, target)
    frame = pd.DataFrame(
        {
            "topic": pd.array([place.topic for place in target], dtype="str"),
            "partition": pd.array([place.partition for place in target], dtype="int64"),
            "committed_offset": pd.array([commits.get(place) for place in target], dtype="Int64"),
            "to_offset": pd.array(list(target.values()), dtype="Int64"),
        }
    )
    frame["change"] = frame["to_offset"] - frame["committed_offset"]
    return frame


def _end(marks: Watermarks, committed: int | None, isolation_level: str | None) -> int:
    if isolation_level is not None:
        return marks.end_offset(IsolationLevel(isolation_level))
    # Only a group that reads what is not committed gets past the last stable offset.
    passed = committed is not None and committed > marks.last_stable_offset
    return marks.high_watermark if passed else marks.last_stable_offset


def _places(cluster: Cluster, topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, part.partition) for part in cluster.topic(topic).partitions]
