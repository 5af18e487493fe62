import itertools
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.errors import DataLossError, UnknownTopicError
from kafkalab.fetch.base import FetchControl, FetchOptions
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from kafkalab.model import IsolationLevel, OffsetRange, StopReason, TimedOffset, TopicPartition, Watermarks
from tests.oracle import PARTITIONS, TOPIC, World, worlds

if TYPE_CHECKING:
    from kafkalab.fetch.base import Fetched

COMMITTED, UNCOMMITTED = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED


def fetch_all(cluster: MemoryCluster, ranges: list[OffsetRange], options: FetchOptions) -> "list[Fetched]":
    return list(cluster.fetch(ranges, options, FetchControl()))


@given(worlds())
def test_the_watermarks_are_the_ends_of_the_log(world: World) -> None:
    marks = world.cluster.watermarks(TOPIC, range(PARTITIONS))
    assert marks == {p: Watermarks(log.start, log.stable_end, log.end) for p, log in enumerate(world.logs)}


@given(st.data(), worlds(), st.sampled_from([COMMITTED, UNCOMMITTED]))
def test_a_fetch_yields_each_visible_record_once_and_ends_each_range(
    data: st.DataObject, world: World, level: IsolationLevel
) -> None:
    log = world.logs[0]
    cuts = sorted(data.draw(st.lists(st.integers(log.start, log.end), max_size=4)))
    bounds = [log.start, *cuts, log.end]
    ranges = list(dict.fromkeys(OffsetRange(TOPIC, 0, low, high) for low, high in itertools.pairwise(bounds)))
    steps = fetch_all(world.cluster, ranges, FetchOptions(isolation_level=level))
    found = [(o, v) for step in steps for o, v in zip(*step.arrow_batch.select(["offset", "value"]), strict=True)]
    expected = log.visible(committed=level == COMMITTED)
    assert sorted((o.as_py(), v.as_py()) for o, v in found) == [(o, r.value) for o, r in expected]
    ends = {step.offset_range: step.stop for step in steps if step.stop}
    limit = log.stable_end if level == COMMITTED else log.end
    assert ends == {
        part: StopReason.BLOCKED_BY_OPEN_TRANSACTION if part.span and part.end > limit else StopReason.REACHED
        for part in ranges
    }


@given(st.data(), worlds())
def test_a_probe_yields_the_visible_records_among_the_draws(data: st.DataObject, world: World) -> None:
    log = world.logs[1]
    chosen = data.draw(st.sets(st.integers(log.start, log.end - 1))) if log.end > log.start else set()
    draws = {1: np.array(sorted(chosen), dtype=np.int64)} if chosen else {}
    steps = world.cluster.probe(TOPIC, draws, FetchOptions(isolation_level=UNCOMMITTED), FetchControl())
    found = [offset for step in steps for offset in step.arrow_batch["offset"].to_pylist()]
    assert found == [offset for offset, _ in log.visible(committed=False) if offset in chosen]


def test_a_probe_asks_once_for_each_batch_that_holds_or_follows_a_draw() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    for _ in range(10):
        cluster.append(TOPIC, *[b"x"] * 10)
    draws = {0: np.array([5, 7, 35, 39, 90])}
    steps = list(cluster.probe(TOPIC, draws, FetchOptions(), FetchControl()))
    assert cluster.stats.requests == 3
    assert [step.next_offset for step in steps] == [10, 40, 100]
    assert steps[-1].stop is StopReason.REACHED


def test_an_emptied_log_goes_on_where_it_ended() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"a", b"b")
    cluster.delete_records(TOPIC, 0, before=2)
    cluster.append(TOPIC, b"c")
    assert cluster.watermarks(TOPIC, [0]) == {0: Watermarks(2, 3, 3)}


def test_ranges_take_turns() -> None:
    cluster = MemoryCluster({TOPIC: 2})
    for partition in (0, 1, 0, 1):
        cluster.append(TOPIC, b"x", partition=partition)
    ranges = [OffsetRange(TOPIC, 0, 0, 2), OffsetRange(TOPIC, 1, 0, 2)]
    order = [step.offset_range.partition for step in fetch_all(cluster, ranges, FetchOptions())]
    assert order == [0, 1, 0, 1]


def test_a_range_that_is_finished_is_dropped() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    for _ in range(5):
        cluster.append(TOPIC, b"x")
    control = FetchControl()
    part = OffsetRange(TOPIC, 0, 0, 5)
    steps = cluster.fetch([part], FetchOptions(), control)
    next(steps)
    control.finished.add(part)
    assert list(steps) == []


def test_a_stopped_fetch_ends() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"x")
    control = FetchControl()
    control.stop.set()
    assert list(cluster.fetch([OffsetRange(TOPIC, 0, 0, 1)], FetchOptions(), control)) == []


def test_a_following_fetch_waits_for_what_is_not_written_yet() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    waits = threading.Event()

    def at_the_end(_: TopicPartition, position: int) -> None:
        if position == 0 and not waits.is_set():
            waits.set()
            writer.start()

    writer = threading.Thread(target=lambda: cluster.append(TOPIC, b"late"))
    cluster.before_step = at_the_end
    steps = cluster.fetch([OffsetRange(TOPIC, 0, 0, 2**62)], FetchOptions(follow=True), FetchControl())
    assert next(steps).arrow_batch["value"].to_pylist() == [b"late"]
    writer.join()


@pytest.mark.parametrize("committed", [True, False])
def test_an_open_transaction_hides_what_follows_from_committed_readers_alone(*, committed: bool) -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"before")
    cluster.append(TOPIC, b"inside", producer_id=7)
    cluster.append(TOPIC, b"after")
    level = COMMITTED if committed else UNCOMMITTED
    steps = fetch_all(cluster, [OffsetRange(TOPIC, 0, 0, 3)], FetchOptions(isolation_level=level))
    values = [value for step in steps for value in step.arrow_batch["value"].to_pylist()]
    assert values == ([b"before"] if committed else [b"before", b"inside", b"after"])


def test_deleted_records_are_an_error_that_says_where() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"a")
    cluster.append(TOPIC, b"b")
    cluster.delete_records(TOPIC, 0, before=1)
    with pytest.raises(DataLossError, match=r"orders\[0\]@0: .*the log starts at 1") as caught:
        fetch_all(cluster, [OffsetRange(TOPIC, 0, 0, 2)], FetchOptions())
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == (TOPIC, 0, 0)


def test_deleted_records_are_told_of_when_asked_to_go_on() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"a")
    cluster.append(TOPIC, b"b")
    cluster.delete_records(TOPIC, 0, before=1)
    steps = fetch_all(cluster, [OffsetRange(TOPIC, 0, 0, 2)], FetchOptions(on_data_loss="warn"))
    assert [step.lost for step in steps] == [OffsetRange(TOPIC, 0, 0, 1), None]
    assert steps[-1].stop is StopReason.REACHED


def test_a_range_that_is_gone_whole_ends_as_passed_by_retention() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"a", b"b")
    cluster.append(TOPIC, b"c")
    cluster.delete_records(TOPIC, 0, before=2)
    (step,) = fetch_all(cluster, [OffsetRange(TOPIC, 0, 0, 1)], FetchOptions(on_data_loss="warn"))
    assert (step.stop, step.lost) == (StopReason.RETENTION_PASSED, OffsetRange(TOPIC, 0, 0, 1))


def test_headers_and_times_come_as_the_schema_has_them() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    headers = (("h", b"1"), ("h", None))
    cluster.append(
        TOPIC,
        MemoryRecord(b"v", b"k", timestamp_ms=5, headers=headers),
        MemoryRecord(timestamp_ms=6, log_append_time=True),
        MemoryRecord(timestamp_ms=None),
    )
    (step,) = fetch_all(cluster, [OffsetRange(TOPIC, 0, 0, 3)], FetchOptions(headers=True))
    rows = step.arrow_batch
    assert rows["headers"].to_pylist() == [[{"key": "h", "value": b"1"}, {"key": "h", "value": None}], [], []]
    assert rows["timestamp_type"].to_pylist() == [1, 2, 0]
    assert [value.value for value in rows["timestamp"]] == [5, 6, None]


def test_metadata_is_that_of_a_cluster() -> None:
    cluster = MemoryCluster({"b": 1, "a": 2})
    cluster.append("a", MemoryRecord(timestamp_ms=10), MemoryRecord(timestamp_ms=30), MemoryRecord(timestamp_ms=20))
    cluster.commit("g", "a", {0: 2})
    assert [info.name for info in cluster.topics()] == ["a", "b"]
    assert [part.partition for part in cluster.topic("a").partitions] == [0, 1]
    assert cluster.offsets_for_times("a", {0: 11, 1: 0}) == {0: TimedOffset(1, 30), 1: None}
    assert cluster.offsets_for_times("a", {0: 31}) == {0: None}
    assert cluster.timestamp_span("a", [0, 1]) == {0: (10, 30), 1: (None, None)}
    assert cluster.committed_offsets("g", "a") == {0: 2, 1: None}
    assert cluster.committed_offsets("other", "a") == {0: None, 1: None}
    assert cluster.group_ids() == ["g"]
    assert repr(cluster) == "<MemoryCluster b (1), a (2)>"


def test_an_unknown_topic_names_those_like_it() -> None:
    with pytest.raises(UnknownTopicError, match="did you mean 'orders'"):
        MemoryCluster({"orders": 1}).topic("order")
