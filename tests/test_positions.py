from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.errors import DataLossError, PositionError
from kafkalab.model import IsolationLevel, TimedOffset, Watermarks
from kafkalab.positions import (
    AtOffset,
    AtTime,
    Committed,
    Earliest,
    FromEnd,
    Latest,
    ParsedPosition,
    Resolver,
    parse,
    parse_by_partition,
)

NOW_MS = 1_767_268_800_000  # 2026-01-01 12:00 UTC
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
COMMITTED, UNCOMMITTED = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED


class Lookup:
    """Answers from two tables."""

    def __init__(
        self, times: dict[int, int | None] | None = None, commits: dict[str, dict[int, int | None]] | None = None
    ) -> None:
        self.times = times or {}
        self.commits = commits or {}
        self.asked: list[object] = []

    def offsets_for_times(self, topic: str, times_ms: Any) -> dict[int, TimedOffset | None]:
        self.asked.append((topic, dict(times_ms)))
        found = {partition: self.times.get(partition) for partition in times_ms}
        return {p: None if offset is None else TimedOffset(offset, times_ms[p]) for p, offset in found.items()}

    def committed_offsets(self, group_id: str, topic: str) -> dict[int, int | None]:
        self.asked.append((group_id, topic))
        return self.commits[group_id]


@pytest.mark.parametrize(
    ("given_", "meant"),
    [
        ("earliest", Earliest()),
        (" latest ", Latest()),
        (0, AtOffset(0)),
        (42, AtOffset(42)),
        (np.int64(42), AtOffset(42)),
        (-1, FromEnd(1)),
        (np.int32(-1000), FromEnd(1000)),
        ("-15m", AtTime(NOW_MS - 900_000)),
        ("-1h30m", AtTime(NOW_MS - 5_400_000)),
        ("-1.5h", AtTime(NOW_MS - 5_400_000)),
        ("-250ms", AtTime(NOW_MS - 250)),
        ("-2s", AtTime(NOW_MS - 2_000)),
        ("-1d", AtTime(NOW_MS - 86_400_000)),
        ("-1w", AtTime(NOW_MS - 604_800_000)),
        ("@1767225600000", AtTime(1_767_225_600_000)),
        ("2026-01-01T12:00", AtTime(NOW_MS)),
        ("2026-01-01 13:00+01:00", AtTime(NOW_MS)),
        ("2026-01-01T12:00:00Z", AtTime(NOW_MS)),
        ("2026-01-01", AtTime(NOW_MS - 43_200_000)),
        (date(2026, 1, 1), AtTime(NOW_MS - 43_200_000)),
        (NOON, AtTime(NOW_MS)),
        (NOON.replace(tzinfo=None), AtTime(NOW_MS)),
        (NOON.astimezone(timezone(timedelta(hours=-5))), AtTime(NOW_MS)),
        (NOON + timedelta(microseconds=1_999), AtTime(NOW_MS + 2)),
        (NOON + timedelta(microseconds=1), AtTime(NOW_MS + 1)),
        (NOON + timedelta(microseconds=1_000), AtTime(NOW_MS + 1)),
        (datetime(1969, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC), AtTime(0)),
        (pd.Timestamp("2026-01-01T12:00:00.000000001"), AtTime(NOW_MS + 1)),
        (timedelta(microseconds=-500), AtTime(NOW_MS)),
        (timedelta(microseconds=-1_500), AtTime(NOW_MS - 1)),
        ("-0.5ms", AtTime(NOW_MS)),
        ("-1.5ms", AtTime(NOW_MS - 1)),
        ("-0.1s", AtTime(NOW_MS - 100)),
        (np.timedelta64(-1_500, "us"), AtTime(NOW_MS - 1)),
        (np.datetime64("2026-01-01"), AtTime(NOW_MS - 43_200_000)),
        (pd.Timestamp("2026-01-01T12:00"), AtTime(NOW_MS)),
        (pd.Timestamp("2026-01-01T13:00", tz="Europe/Berlin"), AtTime(NOW_MS)),
        (np.datetime64("2026-01-01T12:00"), AtTime(NOW_MS)),
        (np.datetime64("2026-01-01T12:00:00.000999999", "ns"), AtTime(NOW_MS + 1)),
        (np.datetime64("2026-01-01T12:00:00.001", "ns"), AtTime(NOW_MS + 1)),
        (timedelta(minutes=-15), AtTime(NOW_MS - 900_000)),
        (pd.Timedelta("-15m"), AtTime(NOW_MS - 900_000)),
        (np.timedelta64(-15, "m"), AtTime(NOW_MS - 900_000)),
        (timedelta(0), AtTime(NOW_MS)),
        (Committed("billing"), Committed("billing")),
    ],
    ids=repr,
)
def test_what_people_say_is_understood(given_: Any, meant: ParsedPosition) -> None:
    assert parse(given_, NOW_MS) == meant


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ("yesterday", "'yesterday' is no position: give 'earliest'"),
        ("", "is no position"),
        ("42", "an offset \\(42\\)"),
        ("15m", "a time ago \\('-15m'\\)"),
        ("-15", "is no position"),
        ("-1y", "is no position"),
        ("2026-13-01", "is no position"),
        (1.5, "1.5 is no position"),
        (True, "True is no position"),
        (None, "None is no position"),
        (b"earliest", "is no position"),
        ([0, 1], "is no position"),
        ("@1767225600", "seconds were given where milliseconds are meant"),
        (pd.Timestamp(1_767_225_600, unit="ms"), "seconds were given where milliseconds are meant"),
        ("@1767225600000000", "beyond the year 9999: epoch milliseconds"),
        (timedelta(minutes=15), "counts back from now and so is negative"),
        (np.timedelta64(15, "m"), "counts back from now and so is negative"),
        ("-999999999999999999999d", "is no position"),
        ("-99999999999999999999d", "lies before the year 1"),
        ("-" + "9" * 400 + "d", r"'-9+\.\.\. is no position"),
        ("@" + "9" * 5_000, r"'@9+\.\.\. is no position"),
        ("@" + "9" * 20, "beyond the year 9999"),
        (timedelta.min, "lies before the year 1"),
        (np.timedelta64(-(2**62), "D"), "lies before the year 1"),
        (np.timedelta64(-1, "M"), "is no position"),
        (np.datetime64(2**62, "Y"), "is no position"),
        (np.datetime64("-5000-01-01"), "is no position"),
        (pd.NaT, "NaT is no position"),
        (np.datetime64("NaT", "ms"), "NaT is no position"),
        (np.timedelta64("NaT", "ms"), "is no position"),
    ],
    ids=repr,
)
def test_what_makes_no_sense_is_refused_with_what_would(given_: Any, says: str) -> None:
    with pytest.raises(PositionError, match=says) as caught:
        parse(given_, NOW_MS)
    assert isinstance(caught.value, ValueError)


@given(st.integers(-(2**40), 2**40))
def test_a_whole_number_is_an_offset_or_counts_from_the_end(number: int) -> None:
    assert parse(number, NOW_MS) == (AtOffset(number) if number >= 0 else FromEnd(-number))


@given(st.datetimes(datetime(1971, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_every_way_to_write_a_time_means_the_same(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    forms = {parse(form, NOW_MS) for form in (moment, aware, moment.isoformat(), np.datetime64(moment, "us"))}
    (meant,) = forms
    assert isinstance(meant, AtTime)
    assert parse(f"@{meant.timestamp_ms}", 0) == meant


@pytest.mark.parametrize("wrap", [dict, MappingProxyType])
def test_a_mapping_gives_each_partition_its_own_and_leaves_the_others_out(wrap: Any) -> None:
    found = parse_by_partition(wrap({0: "earliest", 2: -5, 9: 1}), [0, 1, 2], NOW_MS)
    assert found == {0: Earliest(), 2: FromEnd(5)}


def test_one_position_is_that_of_every_partition() -> None:
    assert parse_by_partition(7, [0, 3], NOW_MS) == {0: AtOffset(7), 3: AtOffset(7)}


def resolve(
    position: ParsedPosition,
    lookup: Lookup | None = None,
    level: IsolationLevel = COMMITTED,
    *,
    may_be_gone: bool = False,
) -> int:
    marks = {0: Watermarks(log_start_offset=10, last_stable_offset=90, high_watermark=100)}
    return Resolver("orders", marks, level, lookup or Lookup(), may_be_gone).resolve({0: position})[0]


@pytest.mark.parametrize(
    ("position", "committed", "uncommitted"),
    [
        (Earliest(), 10, 10),
        (Latest(), 90, 100),
        (FromEnd(0), 90, 100),
        (FromEnd(80), 10, 20),
        (AtOffset(10), 10, 10),
        (AtOffset(100), 100, 100),
    ],
    ids=repr,
)
def test_positions_are_offsets_of_what_the_level_shows(
    position: ParsedPosition, committed: int, uncommitted: int
) -> None:
    assert resolve(position) == committed
    assert resolve(position, level=UNCOMMITTED) == uncommitted


@pytest.mark.parametrize(
    ("found", "offset"), [(50, 50), (None, 90), (95, 90), (3, 10)], ids=["inside", "after all", "hidden", "deleted"]
)
def test_a_time_is_looked_up_and_kept_inside_the_log(found: int | None, offset: int) -> None:
    lookup = Lookup({0: found})
    assert resolve(AtTime(NOW_MS), lookup) == offset
    assert lookup.asked == [("orders", {0: NOW_MS})]


def test_nothing_is_looked_up_that_is_not_asked_for() -> None:
    lookup = Lookup()
    resolve(Earliest(), lookup)
    assert lookup.asked == []


def test_a_commit_is_looked_up() -> None:
    assert resolve(Committed("g"), Lookup(commits={"g": {0: 42}})) == 42


@pytest.mark.parametrize(
    ("position", "kind", "says"),
    [
        (FromEnd(81), PositionError, r"orders\[0\]: -81 reaches before .* offsets are 10 to 90, 80 of them; use 'earl"),
        (AtOffset(9), DataLossError, r"orders\[0\]@9: .* gone, the log holds offsets 10 to 100; use 'earliest'"),
        (AtOffset(101), PositionError, r"orders\[0\]@101: .* not there yet, .* 10 to 100; use 'latest'$"),
        (AtOffset(1_767_225_600), PositionError, r"a time in seconds, 2026-01-01 00:00:00, give '@1767225600000'"),
        (AtOffset(1_767_225_600_000), PositionError, r"time in milliseconds, 2026-01-01 .* give '@1767225600000'"),
        (Committed("none"), PositionError, r"orders\[0\]: group 'none' has committed nothing here: give a dict"),
        (Committed("old"), DataLossError, r"orders\[0\]@3: this offset is gone"),
    ],
    ids=repr,
)
def test_a_place_outside_the_log_is_refused_with_the_place_and_a_way_out(
    position: ParsedPosition, kind: type[Exception], says: str
) -> None:
    lookup = Lookup(commits={"none": {0: None}, "old": {0: 3}})
    with pytest.raises(kind, match=says):
        resolve(position, lookup)


@pytest.mark.parametrize("position", [AtOffset(3), Committed("old")], ids=repr)
def test_an_offset_that_is_gone_is_an_answer_where_that_is_allowed(position: ParsedPosition) -> None:
    assert resolve(position, Lookup(commits={"old": {0: 3}}), may_be_gone=True) == 3


def test_nothing_committed_where_nothing_is_is_the_end() -> None:
    lookup = Lookup(commits={"g": {0: None}})
    for start, end, high in ((0, 0, 0), (7, 7, 7)):
        resolver = Resolver("orders", {0: Watermarks(start, end, high)}, COMMITTED, lookup)
        assert resolver.resolve({0: Committed("g")}) == {0: end}
