import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.errors import (
    ArgumentError,
    DataLossError,
    DataLossWarning,
    KafkalabError,
    LimitWarning,
    PositionError,
    UnknownPartitionError,
    UnknownTopicError,
)
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from kafkalab.model import PartitionInfo, TopicInfo
from tests.oracle import NEW_YEAR_MS, TOPIC, World, lab_of, reads_each, rows_of, worlds

HOUR_MS = 3_600_000


@pytest.fixture
def cluster() -> MemoryCluster:
    """Two partitions: ten records an hour apart, of which the first two are deleted, and none."""
    cluster = MemoryCluster({TOPIC: 2, "payments": 1})
    for hour in range(10):
        record = MemoryRecord(b'{"n": %d}' % hour, b"k%d" % (hour % 3), NEW_YEAR_MS + hour * HOUR_MS)
        cluster.append(TOPIC, record)
    cluster.delete_records(TOPIC, 0, 2)
    return cluster


@pytest.fixture
def lab(cluster: MemoryCluster) -> kl.Lab:
    return kl.Lab(cluster, cluster)


def offsets(frame: pd.DataFrame) -> list[int]:
    return list(frame["offset"])


# What is there


class WithInternal(MemoryCluster):
    def topics(self) -> list[TopicInfo]:
        internal = TopicInfo("__consumer_offsets", (PartitionInfo(0, 1, (1, 2, 3)),), "id", is_internal=True)
        return [internal, *super().topics()]


def test_topics_are_listed_by_name_without_kafkas_own() -> None:
    cluster = WithInternal({"b": 2, "a": 1})
    lab = kl.Lab(cluster, cluster)
    assert lab.topics().to_dict("records") == [
        {"topic": "a", "partitions": 1, "replicas": 1, "is_internal": False, "topic_id": "memory-a"},
        {"topic": "b", "partitions": 2, "replicas": 1, "is_internal": False, "topic_id": "memory-b"},
    ]
    assert lab.topics(internal=True)["replicas"].tolist() == [3, 1, 1]
    empty = kl.Lab(MemoryCluster({}), cluster).topics()
    assert empty.columns.tolist() == ["topic", "partitions", "replicas", "is_internal", "topic_id"]


def test_a_topic_is_described_by_partition(cluster: MemoryCluster, lab: kl.Lab) -> None:
    cluster.append(TOPIC, b"undecided", producer_id=1, partition=1)
    cluster.commit("billing", TOPIC, {0: 4})
    frame = lab.describe(TOPIC, group_id="billing")
    assert frame.index.tolist() == [0, 1]
    marks = ["log_start_offset", "last_stable_offset", "high_watermark", "span"]
    assert frame[marks].to_numpy().tolist() == [[2, 10, 10, 8], [0, 0, 1, 1]]
    assert frame["first_timestamp"][0] == pd.Timestamp("2026-01-01T02:00Z")
    assert frame["last_timestamp"][0] == pd.Timestamp("2026-01-01T09:00Z")
    assert frame["committed_offset"].tolist() == [4, pd.NA]
    assert frame["committed_lag"].tolist() == [6, pd.NA]
    assert repr(frame)


def test_a_description_without_a_group_or_times_says_nothing_of_them() -> None:
    frame = lab_of().describe(TOPIC)
    assert "committed_lag" not in frame.columns
    assert frame["first_timestamp"].isna().all()


def test_a_description_with_times_that_no_one_can_show_is_shown() -> None:
    with pytest.warns(kl.KafkalabWarning, match="outside the years"):
        frame = lab_of(MemoryRecord(timestamp_ms=2**63 - 1)).describe(TOPIC)
    assert repr(frame)
    assert frame["last_timestamp"].isna().all()


def test_a_lab_says_what_it_is_on(lab: kl.Lab) -> None:
    assert repr(lab) == "<Lab on <MemoryCluster orders (2), payments (1)>, engine memory>"


def test_closing_undoes_what_was_done_last_first_and_once() -> None:
    done: list[str] = []
    with lab_of() as lab:
        lab.on_close(lambda: done.append("first"))
        lab.on_close(lambda: done.append("second"))
    lab.close()
    assert done == ["second", "first"]


# Reading


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("earliest", "latest", range(2, 10)),
        (4, 7, range(4, 7)),
        (-3, "latest", range(7, 10)),
        ({0: -3}, {0: -1}, range(7, 9)),
        ({0: 8}, "latest", range(8, 10)),
        ("2026-01-01T05:00", "2026-01-01T07:00", range(5, 7)),
        ("2026-01-01T05:00:00.001", "latest", range(6, 10)),
        (datetime(2026, 1, 1, 8, tzinfo=UTC), "latest", range(8, 10)),
        (f"@{NEW_YEAR_MS + 9 * HOUR_MS}", "latest", range(9, 10)),
        ("2027-01-01", "latest", []),
        ("earliest", "2025-01-01", []),
        (kl.Committed("billing"), "latest", range(5, 10)),
        (4, 4, []),
        (10, 10, []),
    ],
    ids=str,
)
def test_a_read_is_of_the_range_that_was_asked_for(
    cluster: MemoryCluster, lab: kl.Lab, start: Any, end: Any, expected: Any
) -> None:
    cluster.commit("billing", TOPIC, {0: 5, 1: 0})
    frame = lab.read(TOPIC, start, end, partitions=0, progress=False)
    assert offsets(frame) == list(expected)


def test_a_time_ago_is_counted_from_the_moment_of_the_read() -> None:
    now = datetime.now(tz=UTC)
    times = [now - timedelta(hours=2), now - timedelta(minutes=30), now]
    lab = lab_of(*[MemoryRecord(timestamp_ms=int(time.timestamp() * 1000)) for time in times])
    assert offsets(lab.read(TOPIC, "-1h", progress=False)) == [1, 2]
    assert offsets(lab.read(TOPIC, end=timedelta(hours=-1), progress=False)) == [0]


def test_times_that_do_not_rise_are_checked_by_row() -> None:
    times = [10, 50, 20, 60, 30]
    lab = lab_of(*[MemoryRecord(timestamp_ms=NEW_YEAR_MS + ms) for ms in times])
    assert offsets(lab.read(TOPIC, f"@{NEW_YEAR_MS + 25}", progress=False)) == [1, 3, 4]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limit": 3}, r"stopped at limit=3, .* orders\[0\] at offset 5 of 10"),
        ({"limit": 0}, "stopped at limit=0, before"),
        ({"limit": None, "max_bytes": 1}, "stopped at max_bytes=1, before"),
        ({"timeout": 0}, "stopped at its timeout"),
    ],
    ids=str,
)
def test_a_guard_that_stops_a_read_is_named_in_a_warning(lab: kl.Lab, options: Any, says: str) -> None:
    with pytest.warns(LimitWarning, match=says) as caught:
        frame = lab.read(TOPIC, partitions=0, progress=False, **options)
    assert len(frame) < 8
    assert caught[0].filename == __file__
    assert not kl.receipt(frame).complete


def test_a_read_that_is_whole_warns_of_nothing(lab: kl.Lab) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(lab.read(TOPIC, limit=8, progress=True)) == 8


def test_an_open_transaction_that_hides_what_was_asked_for_is_told_of(cluster: MemoryCluster, lab: kl.Lab) -> None:
    cluster.append(TOPIC, b"undecided", producer_id=1)
    assert len(lab.read(TOPIC, progress=False)) == 8
    with pytest.warns(
        kl.KafkalabWarning, match=r"an open transaction hides the rest .* orders\[0\] at offset 10 of 11"
    ):
        lab.read(TOPIC, end={0: 11}, progress=False)


def test_what_retention_took_is_named_when_asked_to_go_on(lab: kl.Lab) -> None:
    with pytest.warns(DataLossWarning, match=r"retention has removed orders\[0\]@0-2"):
        frame = lab.read(TOPIC, {0: 0}, on_data_loss="warn", progress=False)
    assert offsets(frame) == list(range(2, 10))
    assert kl.receipt(frame).notes == ("lost to retention: orders[0]@0-2",)


@reads_each
@given(worlds(), st.integers(0, 10))
def test_head_and_last_are_the_first_and_last_by_time(world: World, n: int) -> None:
    def by_time(row: Any) -> tuple[int, int, int]:
        partition, offset, record = row
        time = -(2**63) if record.timestamp_ms is None else record.timestamp_ms
        return time, partition, offset

    logs = [[(p, o, r) for o, r in log.visible(committed=True)] for p, log in enumerate(world.logs)]
    firsts = sorted((row for rows in logs for row in rows[:n]), key=by_time)
    lasts = [row for rows in logs for row in rows[max(len(rows) - n, 0) :]]
    keys = {row[:2]: by_time(row) for rows in logs for row in rows}
    plain: Any = {"key": "bytes", "value": "bytes"}
    head, last = world.lab.head(TOPIC, n, **plain), world.lab.last(TOPIC, n, **plain)
    assert [row[:2] for row in rows_of(head)] == [row[:2] for row in firsts[:n]]
    shown = [keys[row[:2]] for row in rows_of(last)]
    assert shown == sorted(shown)
    assert len(shown) == min(n, len(keys))
    # Looking further back may find rows that are newer than some of the last by offset, never older ones.
    assert all(by_time(row) in shown or not shown or by_time(row) < shown[0] for row in lasts)
    assert kl.receipt(head).rows == len(head)
    assert kl.receipt(last).rows == len(last)


def test_last_looks_at_the_end_only() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    for number in range(1_000):
        cluster.append(TOPIC, b"%d" % number)
    assert kl.Lab(cluster, cluster).last(TOPIC, 3)["value"].tolist() == ["997", "998", "999"]
    assert cluster.stats.requests < 10


def test_head_looks_at_the_start_only() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    for number in range(1_000):
        cluster.append(TOPIC, bytes(1_000), gap=number % 2)
    lab = kl.Lab(cluster, cluster)
    assert len(lab.head(TOPIC, 3, value="bytes")) == 3


def test_last_goes_back_over_what_is_not_visible(cluster: MemoryCluster, lab: kl.Lab) -> None:
    for number in range(30):
        cluster.append(TOPIC, b"aborted", producer_id=number)
        cluster.end_transaction(number, commit=False)
    frame = lab.last(TOPIC, 2)
    assert offsets(frame) == [8, 9]
    assert frame.columns.tolist()[-1] == "n"


def test_last_finds_rows_with_a_field_that_the_newest_lack(cluster: MemoryCluster, lab: kl.Lab) -> None:
    cluster.append(TOPIC, MemoryRecord(b'{"note": "x"}', timestamp_ms=NEW_YEAR_MS))
    for _ in range(20):
        cluster.append(TOPIC, MemoryRecord(b'{"n": 0}', timestamp_ms=NEW_YEAR_MS))
    assert lab.last(TOPIC, 1, where=kl.field("note") == "x")["note"].tolist() == ["x"]
    with pytest.raises(ArgumentError, match="no record has a field 'notes'"):
        lab.last(TOPIC, 1, where=kl.field("notes") == "x")


@pytest.mark.parametrize("verb", ["head", "last", "sample"])
def test_a_look_shows_readable_columns_and_the_read_that_gives_the_same(lab: kl.Lab, verb: str) -> None:
    frame = getattr(lab, verb)(TOPIC, 3)
    assert frame.columns.tolist() == ["topic", "partition", "offset", "timestamp", "timestamp_type", "key", "n"]
    assert frame["key"].str.startswith("k").all()
    note = "formats found: read('orders', key='text', value='json') gives the same columns"
    assert note in kl.receipt(frame).notes
    assert lab.read(TOPIC, key="text", value="json", progress=False).columns.tolist() == frame.columns.tolist()


@pytest.mark.parametrize("verb", ["head", "last", "sample"])
def test_a_look_shows_what_cannot_be_read_beside_it(cluster: MemoryCluster, lab: kl.Lab, verb: str) -> None:
    cluster.append(TOPIC, b"{")
    frame = getattr(lab, verb)(TOPIC, 9, value="json")
    assert frame["_error"].notna().sum() == 1
    assert frame["_raw"].dropna().tolist() == [b"{"]


@pytest.mark.parametrize("verb", ["head", "last", "sample"])
@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({"columns": ["value", "offset"], "value": "text"}, ["value", "offset"]),
        ({"columns": ["n"]}, ["n"]),
        ({"value": "bytes", "headers": True}, None),
    ],
    ids=str,
)
def test_a_look_takes_the_options_of_a_read(lab: kl.Lab, verb: str, options: Any, columns: list[str] | None) -> None:
    frame = getattr(lab, verb)(TOPIC, 2, **options)
    assert len(frame) == 2
    if columns:
        assert frame.columns.tolist() == columns
    else:
        assert frame["value"].dtype == "binary[pyarrow]"
        assert "headers" in frame


@pytest.mark.parametrize("verb", ["head", "last", "sample"])
@pytest.mark.parametrize("n", [0, 5])
def test_a_look_at_an_empty_topic_is_an_empty_frame(lab: kl.Lab, verb: str, n: int) -> None:
    frame = getattr(lab, verb)("payments", n)
    assert frame.empty
    assert {"topic", "partition", "offset", "timestamp", "key", "value"} <= set(frame.columns)


def test_a_sample_names_what_retention_took(lab: kl.Lab) -> None:
    with pytest.warns(DataLossWarning, match=r"retention has removed orders\[0\]@0-2; the sample is of the rest"):
        frame = lab.sample(TOPIC, 3, start={0: 0}, on_data_loss="warn")
    assert "lost to retention: orders[0]@0-2" in kl.receipt(frame).notes


@pytest.mark.parametrize("option", ["where", "timeout"])
def test_a_sample_takes_no_filter(lab: kl.Lab, option: str) -> None:
    wrong: Any = {option: kl.field("offset") > 1 if option == "where" else 1}
    with pytest.raises(ArgumentError, match=f"sample takes no {option}"):
        lab.sample(TOPIC, 3, **wrong)


def test_reading_changes_nothing(cluster: MemoryCluster, lab: kl.Lab) -> None:
    before = (lab.topics().to_dict(), cluster.watermarks(TOPIC, [0, 1]), cluster.group_ids())
    lab.read(TOPIC, progress=False)
    lab.head(TOPIC)
    lab.last(TOPIC)
    lab.sample(TOPIC)
    lab.tail(TOPIC).stop()
    with pytest.raises(UnknownTopicError):
        lab.read("order")
    assert before == (lab.topics().to_dict(), cluster.watermarks(TOPIC, [0, 1]), cluster.group_ids())


# What makes no sense


@pytest.mark.parametrize(
    ("call", "kinds", "says"),
    [
        (lambda lab: lab.read("order"), (UnknownTopicError, LookupError), r"^order: .* did you mean 'orders'\?"),
        (lambda lab: lab.describe("xyz"), (UnknownTopicError,), "^xyz: .* there are 'orders', 'payments'"),
        (lambda lab: lab.head("Orders "), (UnknownTopicError,), "did you mean 'orders'"),
        (lambda lab: lab.tail("order"), (UnknownTopicError,), "did you mean"),
        (lambda lab: lab.sample("order"), (UnknownTopicError,), "did you mean"),
        (lambda lab: lab.map_partitions("order", len), (UnknownTopicError,), "did you mean"),
        (lambda lab: lab.read(TOPIC, partitions=7), (UnknownPartitionError, LookupError), r"^orders\[7\]: .* 0 to 1$"),
        (lambda lab: lab.read(TOPIC, start={7: 0}), (UnknownPartitionError,), r"^orders\[7\]: .* 0 to 1$"),
        (lambda lab: lab.read(TOPIC, partitions=["0"]), (ArgumentError,), "partitions are whole numbers"),
        (lambda lab: lab.read(TOPIC, 7, 3, partitions=0), (PositionError, ValueError), r"^orders\[0\]: .* 7 .* end 3"),
        (lambda lab: lab.read(TOPIC, 11, partitions=0), (PositionError,), r"orders\[0\]@11: .* 2 to 10; use 'latest'"),
        (
            lambda lab: lab.read(TOPIC, 1, partitions=0),
            (DataLossError, LookupError),
            r"orders\[0\]@1: .* on_data_loss=",
        ),
        (lambda lab: lab.read(TOPIC, -9, partitions=0), (PositionError,), r"orders\[0\]: -9 .* 8 of them; use 'earl"),
        (lambda lab: lab.read(TOPIC, "@1767225600"), (PositionError,), "seconds were given where milliseconds"),
        (lambda lab: lab.read(TOPIC, 1_767_225_600, partitions=0), (PositionError,), "give '@1767225600000'"),
        (lambda lab: lab.read(TOPIC, NEW_YEAR_MS, partitions=0), (PositionError,), f"give '@{NEW_YEAR_MS}'"),
        (lambda lab: lab.read(TOPIC, "yesterday"), (PositionError,), "'yesterday' is no position: give 'earliest'"),
        (lambda lab: lab.read(TOPIC, kl.Committed("g")), (PositionError,), "'g' has committed nothing here"),
        (lambda lab: lab.read(TOPIC, columns=["ofset"]), (ArgumentError, ValueError), "did you mean 'offset'"),
        (lambda lab: lab.read(TOPIC, columns=["m"], value="json"), (ArgumentError,), "no column 'm': there are"),
        (lambda lab: lab.read(TOPIC, where=kl.field("m") > 1), (ArgumentError,), "where names no column: 'm'"),
        (lambda lab: lab.head(TOPIC, columns=["m"]), (ArgumentError,), "there is no column 'm'"),
        (lambda lab: lab.sample(TOPIC, columns=["m"]), (ArgumentError,), "there is no column 'm'"),
        (lambda lab: lab.read(TOPIC, value="jsno"), (ArgumentError,), "'jsno' is no format: did you mean 'json'"),
        (lambda lab: lab.read(TOPIC, errors="ignore"), (ArgumentError,), "errors is 'raise', 'column' or 'skip'"),
        (lambda lab: lab.read(TOPIC, isolation_level="commited"), (ArgumentError,), "isolation_level is"),
        (lambda lab: lab.read(TOPIC, on_data_loss="ignore"), (ArgumentError,), "on_data_loss is 'raise' or 'warn'"),
        (lambda lab: lab.read(TOPIC, limit=-1), (ArgumentError,), "whole number from 0 on, or None"),
        (lambda lab: lab.read(TOPIC, limit="all"), (ArgumentError,), "whole number from 0 on, or None"),
        (lambda lab: lab.read(TOPIC, timeout=-1), (ArgumentError,), "number of seconds from 0 to"),
        (lambda lab: lab.read(TOPIC, dtype_backend="x"), (ArgumentError,), "dtype_backend is"),
        (lambda lab: lab.head(TOPIC, -1), (ArgumentError,), "n is a whole number from 0 on, not -1"),
        (lambda lab: lab.last(TOPIC, 2.5), (ArgumentError,), "n is a whole number from 0 on, not 2.5"),
        (lambda lab: lab.sample(TOPIC, "10"), (ArgumentError,), "n is a whole number from 0 on, not '10'"),
        (lambda lab: lab.sample(TOPIC, True), (ArgumentError,), "n is a whole number from 0 on, not True"),  # noqa: FBT003 - a mistake
        (lambda lab: lab.export(TOPIC, "nowhere", format="cvs"), (ArgumentError,), "did you mean 'csv'"),
    ],
)
def test_bad_input_is_refused_with_its_place_and_a_way_out(
    lab: kl.Lab, call: Any, kinds: tuple[type[Exception], ...], says: str
) -> None:
    with pytest.raises(kinds[0], match=says) as caught:
        call(lab)
    assert all(isinstance(caught.value, kind) for kind in (*kinds, KafkalabError))


@pytest.mark.parametrize(
    "call",
    [
        lambda lab, **options: lab.scan(TOPIC, **options),
        lambda lab, **options: lab.head(TOPIC, **options),
        lambda lab, **options: lab.last(TOPIC, **options),
        lambda lab, **options: lab.sample(TOPIC, **options),
        lambda lab, **options: lab.tail(TOPIC, **options),
        lambda lab, **options: lab.map_partitions(TOPIC, len, **options),
        lambda lab, **options: lab.export(TOPIC, "nowhere", **options),
    ],
    ids=["scan", "head", "last", "sample", "tail", "map_partitions", "export"],
)
def test_a_wrong_keyword_is_a_type_error_with_the_one_like_it(lab: kl.Lab, call: Any) -> None:
    with pytest.raises(TypeError, match="there is no option 'colums': did you mean 'columns'"):
        call(lab, colums=["offset"])


def test_a_wrong_keyword_may_be_like_one_that_only_some_verbs_have(lab: kl.Lab) -> None:
    wrong: Any = {"limt": 5}
    with pytest.raises(TypeError, match="there is no option 'limt': did you mean 'limit'"):
        lab.scan(TOPIC, **wrong)
    with pytest.raises(TypeError, match="there is no option 'limt': there are"):
        lab.head(TOPIC, **wrong)


def test_a_wrong_keyword_of_read_is_a_type_error(lab: kl.Lab) -> None:
    wrong: Any = {"colums": ["offset"]}
    with pytest.raises(TypeError, match="colums"):
        lab.read(TOPIC, **wrong)


def test_numpy_numbers_are_numbers(lab: kl.Lab) -> None:
    partitions: Any = np.array([0])
    n: Any = np.int64(2)
    assert offsets(lab.read(TOPIC, np.int64(4), np.int32(6), partitions=partitions, progress=False)) == [4, 5]
    assert len(lab.head(TOPIC, n)) == len(lab.sample(TOPIC, n)) == 2


@pytest.mark.parametrize("verb", ["head", "last"])
def test_a_few_records_that_time_cut_short_come_with_a_warning(verb: str) -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"a", b"b")
    with pytest.warns(kl.LimitWarning, match=rf"timeout.*{TOPIC}\[0\] at offset 0 of 2"):
        frame = getattr(kl.Lab(cluster, cluster), verb)(TOPIC, 2, timeout=0)
    assert frame.empty
