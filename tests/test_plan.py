from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.errors import ArgumentError, DataLossError, PositionError, UnknownPartitionError
from kafkalab.model import OffsetRange, PartitionInfo, TimedOffset, TopicInfo, Watermarks
from kafkalab.plan import Pieces, Plan, Request, TimeWindow, choose_partitions, draw_fresh, locate, make_plan
from kafkalab.positions import Committed
from tests.statistics import chi_square_is_plausible

INFO = TopicInfo("orders", tuple(PartitionInfo(p, 0) for p in range(4)))
MARKS = {0: Watermarks(10, 90, 100), 1: Watermarks(0, 0, 0)}
NOW_MS = 1_767_225_600_000


class Lookup:
    """Finds every time at the offset that it says, and one group."""

    def __init__(self, **offsets: int | None) -> None:
        self.offsets = offsets

    def offsets_for_times(self, _: str, times_ms: Any) -> dict[int, TimedOffset | None]:
        found = {partition: (self.offsets.get(f"at_{ms}"), ms) for partition, ms in times_ms.items()}
        return {p: None if offset is None else TimedOffset(offset, ms) for p, (offset, ms) in found.items()}

    def committed_offsets(self, _: str, __: str) -> dict[int, int | None]:
        return {0: 3, 1: 0}


def plan_of(lookup: Lookup | None = None, **request: Any) -> Plan:
    return make_plan(Request(**request), "orders", MARKS, lookup or Lookup(), NOW_MS)


def texts(ranges: Any) -> list[str]:
    return [str(part) for part in ranges]


@pytest.mark.parametrize(
    ("request_", "chosen"),
    [
        ({}, (0, 1, 2, 3)),
        ({"partitions": 2}, (2,)),
        ({"partitions": np.int64(2)}, (2,)),
        ({"partitions": [3, 1, 3]}, (1, 3)),
        ({"partitions": np.array([3, 1])}, (1, 3)),
        ({"partitions": []}, ()),
        ({"start": {1: 0, 2: 0}}, (1, 2)),
        ({"start": {1: 0, 2: 0}, "end": {2: 5, 3: 5}}, (2,)),
        ({"start": {np.int64(1): 0}, "partitions": [0, 1]}, (1,)),
    ],
    ids=str,
)
def test_partitions_are_those_that_every_argument_names(request_: Any, chosen: tuple[int, ...]) -> None:
    found = choose_partitions(INFO, Request(**request_))
    assert found == chosen
    assert all(type(partition) is int for partition in found)


@pytest.mark.parametrize(
    ("request_", "partition"),
    [({"partitions": 4}, 4), ({"partitions": [0, -1]}, -1), ({"start": {9: 0}}, 9), ({"end": {7: 0}}, 7)],
    ids=str,
)
def test_an_unknown_partition_is_refused_with_those_there_are(request_: Any, partition: int) -> None:
    with pytest.raises(UnknownPartitionError, match=rf"orders\[{partition}\]: .* the topic has 0 to 3") as caught:
        choose_partitions(INFO, Request(**request_))
    assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("wrong", [{"partitions": "0"}, {"partitions": 1.5}, {"start": {"0": 5}}], ids=str)
def test_partitions_that_are_no_numbers_are_refused(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="partitions are whole numbers, not"):
        choose_partitions(INFO, Request(**wrong))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"isolation_level": "commited"}, "'read_committed' or 'read_uncommitted', not 'commited'"),
        ({"on_data_loss": "ignore"}, "'raise' or 'warn', not 'ignore'"),
    ],
    ids=str,
)
def test_a_word_that_is_none_is_refused(wrong: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        Request(**wrong)


@pytest.mark.parametrize(
    ("request_", "ranges"),
    [
        ({}, ["orders[0]@10-90", "orders[1]@0-0"]),
        ({"isolation_level": "read_uncommitted"}, ["orders[0]@10-100", "orders[1]@0-0"]),
        ({"start": {0: -5}}, ["orders[0]@85-90", "orders[1]@0-0"]),
        ({"start": {0: 20}, "end": {0: 20}}, ["orders[0]@20-20", "orders[1]@0-0"]),
        ({"start": {0: 20}, "end": {0: 95}}, ["orders[0]@20-95", "orders[1]@0-0"]),
    ],
    ids=str,
)
def test_a_plan_has_the_range_of_each_partition(request_: Any, ranges: list[str]) -> None:
    marks = {p: MARKS[p] for p in request_["start"]} if "start" in request_ else MARKS
    plan = make_plan(Request(**request_), "orders", marks, Lookup(), NOW_MS)
    assert texts(plan.ranges) == ranges[: len(marks)]
    assert plan.span == sum(part.span for part in plan.ranges)
    assert not plan.windows


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (50, 40, r"orders\[0\]: the start 50 lies after the end 40"),
        ("latest", -10, "the start 90 lies after the end 80"),
        ("2026-01-02", "2026-01-01", r"the start \(\d+ ms\) is later than the end \(\d+ ms\)"),
    ],
)
def test_a_start_after_its_end_is_refused(start: Any, end: Any, says: str) -> None:
    with pytest.raises(PositionError, match=says):
        make_plan(Request(start, end), "orders", {0: MARKS[0]}, Lookup(), NOW_MS)


def test_times_are_both_looked_up_and_left_to_be_checked_by_row() -> None:
    plan = plan_of(Lookup(at_1767225600000=30, at_1767312000000=60), start="2026-01-01", end="2026-01-02")
    assert plan.windows == {p: TimeWindow(1_767_225_600_000, 1_767_312_000_000) for p in (0, 1)}
    assert texts(plan.ranges)[0] == "orders[0]@30-60"


def test_a_time_and_an_offset_that_meet_nowhere_are_an_empty_range() -> None:
    lookup = Lookup(at_1767225600000=80)
    plan = make_plan(Request("2026-01-01", 50), "orders", {0: MARKS[0]}, lookup, NOW_MS)
    assert texts(plan.ranges) == ["orders[0]@50-50"]


@pytest.mark.parametrize(
    ("start", "end", "lost", "kept"),
    [
        (3, 50, ["orders[0]@3-10"], "orders[0]@10-50"),
        (3, 7, ["orders[0]@3-7"], "orders[0]@10-10"),
        ("earliest", 50, [], "orders[0]@10-50"),
        (Committed("g"), 50, ["orders[0]@3-10"], "orders[0]@10-50"),
        (5, 5, [], "orders[0]@10-10"),
    ],
)
def test_what_is_gone_is_named_when_asked_to_go_on(start: Any, end: int, lost: list[str], kept: str) -> None:
    plan = make_plan(Request(start, end, on_data_loss="warn"), "orders", {0: MARKS[0]}, Lookup(), NOW_MS)
    assert texts(plan.lost) == lost
    assert texts(plan.ranges) == [kept]


def test_what_is_gone_is_an_error_otherwise() -> None:
    with pytest.raises(DataLossError, match=r"orders\[0\]@3: .* on_data_loss='warn' to go on"):
        make_plan(Request(3), "orders", {0: MARKS[0]}, Lookup(), NOW_MS)


@given(st.data(), st.tuples(*[st.integers(0, 100)] * 3).map(sorted))
def test_a_plan_is_half_open_and_inside_the_log(data: st.DataObject, log: list[int]) -> None:
    low, stable, high = log
    marks = {0: Watermarks(low, stable, high)}
    start, end = sorted(data.draw(st.tuples(st.integers(low, high), st.integers(low, high))))

    def range_of(*bounds: Any) -> OffsetRange:
        (part,) = make_plan(Request(*bounds), "orders", marks, Lookup(), NOW_MS).ranges
        return part

    assert range_of(start, end) == OffsetRange("orders", 0, start, end)
    assert range_of() == OffsetRange("orders", 0, low, stable)
    if stable > low:
        assert range_of(low - stable) == range_of()
        assert range_of("earliest", -1).end == stable - 1


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100)), max_size=5), st.integers(1, 30))
def test_pieces_cover_their_ranges_exactly(bounds: list[tuple[int, int]], most: int) -> None:
    ranges = tuple(OffsetRange("orders", p, start, start + span) for p, (start, span) in enumerate(bounds))
    pieces = Pieces(ranges, most)
    found = list(pieces)
    covered = [(part.partition, offset) for part in found for offset in range(part.start, part.end)]
    assert covered == [(part.partition, offset) for part in ranges for offset in range(part.start, part.end)]
    assert {part.partition for part in found} == set(range(len(ranges)))
    assert all(part.span <= most for part in found)
    assert all(part.span or not ranges[part.partition].span for part in found)
    assert len(pieces) == len(found)
    assert [pieces[number] for number in range(-len(found), 0)] == pieces[:] == found


@given(st.data(), st.integers(0, 60), st.integers(0, 2**32))
def test_draws_are_fresh_sorted_and_inside(data: st.DataObject, total: int, seed: int) -> None:
    drawn = np.array(sorted(data.draw(st.sets(st.integers(0, total - 1)))) if total else [], dtype=np.int64)
    count = data.draw(st.integers(0, total - len(drawn)))
    fresh = draw_fresh(np.random.default_rng(seed), total, drawn, count)
    assert len(set(fresh.tolist())) == count
    assert fresh.tolist() == sorted(fresh.tolist())
    assert not set(fresh.tolist()) & set(drawn.tolist())
    assert all(0 <= number < total for number in fresh)


def test_the_last_draws_are_all_that_is_left() -> None:
    drawn = np.array([0, 1, 2, 5, 9])
    assert draw_fresh(np.random.default_rng(0), 10, drawn, 5).tolist() == [3, 4, 6, 7, 8]


def test_draws_are_uniform_over_what_is_left() -> None:
    drawn = np.array([0, 1, 2, 7, 19])
    seeds = 2_000
    counts: Counter[int] = Counter()
    for seed in range(seeds):
        counts.update(draw_fresh(np.random.default_rng(seed), 20, drawn, 4).tolist())
    assert chi_square_is_plausible([counts[n] for n in range(20) if n not in drawn], draws=4, trials=seeds)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=5), st.data())
def test_a_number_is_located_at_the_offset_it_counts(spans: list[tuple[int, int]], data: st.DataObject) -> None:
    ranges = [OffsetRange("orders", p, start, start + span) for p, (start, span) in enumerate(spans)]
    every = [(part.partition, offset) for part in ranges for offset in range(part.start, part.end)]
    numbers = sorted(data.draw(st.sets(st.integers(0, len(every) - 1)))) if every else []
    places = locate(ranges, np.array(numbers, dtype=np.int64))
    found = [(partition, offset) for partition, offsets in places.items() for offset in offsets.tolist()]
    assert found == [every[number] for number in numbers]
    assert all(len(offsets) for offsets in places.values())
