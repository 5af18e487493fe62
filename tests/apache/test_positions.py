"""Starts and ends on a real broker: the rows that the documentation promises, told by going through all of them."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.truth import LOGGER, Log, Place, Record, Row, new_topic, numbered, rows, zoo

Commit = Callable[[str, str, dict[int, int]], None]

T0 = 1_700_000_000_000
# Up, down, twice the same, far ahead and far back: the clocks of several producers.
TIMES = (0, 10, 10, 5, 30, 20, 1_000, 25, 40, 40, 15, 60, 2_000, 50, 70, -500, 80)


@pytest.fixture(scope="module", params=["arrow", "librdkafka"])
def lab(kafka: ApacheKafka, request: pytest.FixtureRequest) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers, engine=request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def times(kafka: ApacheKafka) -> Log:
    """Give a topic whose times rise on one partition, jump about on the next, and are not there on the last."""
    log = new_topic(kafka.bootstrap_servers, 3)
    for number, jump in enumerate(TIMES):
        log.write(0, Record(b"", b"", T0 + 10 * number))
        log.write(1, Record(b"", b"", T0 + jump))
    log.write(1, *(Record(b"in one raw batch", b"", T0 + jump) for jump in reversed(TIMES)))
    return log


def promised(log: Log, start: int | None, end: int | None) -> list[Row]:
    """From the first record at or after the start to before the first at or after the end, and of these the timely."""
    found = []
    for partition in range(log.partitions):
        truth = log.visible("read_committed", partition)
        low, high = (0 if start is None else first_at(truth, start)), first_at(truth, end)
        timely = [row for row in truth[low:high] if (start or 0) <= (row.timestamp or 0) < (end or 2**63)]
        found += timely
    return found


def first_at(truth: list[Row], at: int | None) -> int:
    if at is None:
        return len(truth)
    return next((number for number, row in enumerate(truth) if (row.timestamp or 0) >= at), len(truth))


def utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


class TestTimes:
    @pytest.mark.parametrize("start", [None, -501, -500, -499, 0, 5, 6, 10, 15, 31, 79, 80, 81, 1_500, 2_000, 2_001])
    @pytest.mark.parametrize("end", [None, -500, 1, 10, 11, 41, 81, 2_000, 2_001])
    def test_a_window_gives_what_is_promised(self, lab: kl.Lab, times: Log, start: int | None, end: int | None) -> None:
        if None not in (start, end) and start > end:  # type: ignore[operator]  # both are numbers here
            with pytest.raises(kl.PositionError, match="later than the end"):
                lab.read(times.topic, utc(T0 + start), utc(T0 + end))  # type: ignore[operator]  # as above
            return
        low, high = (None if side is None else T0 + side for side in (start, end))
        asked = ("earliest" if low is None else utc(low), "latest" if high is None else f"@{high}")
        frame = lab.read(times.topic, *asked, headers=True)
        assert rows(frame) == promised(times, low, high)
        assert kl.receipt(frame).complete

    def test_the_windows_are_not_trivial(self, times: Log) -> None:
        found = promised(times, T0 + 10, T0 + 41)
        jumping = [row for row in found if row.partition == 1]
        span = [
            row for row in times.visible("read_committed", 1) if jumping[0].offset <= row.offset <= jumping[-1].offset
        ]
        assert 0 < len(jumping) < len(span)

    @pytest.mark.parametrize("ago", ["-30m", timedelta(minutes=-30)])
    def test_a_time_ago_counts_from_now(self, lab: kl.Lab, kafka: ApacheKafka, ago: Any) -> None:
        log, now = new_topic(kafka.bootstrap_servers), time.time_ns() // 1_000_000
        for minutes in (60, 31, 29, 1):
            log.write(0, Record(None, b"%d" % minutes, now - minutes * 60_000))
        assert lab.read(log.topic, start=ago)["value"].tolist() == [b"29", b"1"]
        assert lab.read(log.topic, end=ago)["value"].tolist() == [b"60", b"31"]

    @pytest.mark.parametrize("n", [1, 4, 1000])
    def test_a_sample_of_a_window_has_all_it_can(self, lab: kl.Lab, times: Log, n: int) -> None:
        truth = promised(times, T0 + 10, T0 + 41)
        start, end = utc(T0 + 10), utc(T0 + 41)
        frame = lab.sample(times.topic, n, seed=1, start=start, end=end, key="bytes", value="bytes", headers=True)
        found = rows(frame)
        assert len(found) == len(set(found)) == min(n, len(truth))
        assert set(found) <= set(truth)
        live = kl.receipt(frame).live
        assert live is not None
        assert live.low <= len(truth) <= live.high

    def test_a_time_and_an_offset_meet(self, lab: kl.Lab, times: Log) -> None:
        frame = lab.read(times.topic, start=f"@{T0 + 40}", end={0: 7, 1: 3}, headers=True)
        assert rows(frame) == times.visible("read_committed", 0, 4, 7)

    def test_records_without_a_time_are_in_no_window(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = zoo(kafka.bootstrap_servers)
        with pytest.warns(kl.KafkalabWarning, match="the record there is of the future"):
            frame = lab.read(
                log.topic, start="1970-01-01", partitions=int(Place.TIMES), columns=["offset"], end="@2000000000000"
            )
        assert "of the future (@" in kl.receipt(frame).notes[0]
        truth = log.visible("read_committed", Place.TIMES)
        first = first_at(truth, 2_000_000_000_000)
        assert first < len(truth)
        timely = [row.offset for row in truth[:first] if row.timestamp is not None and row.timestamp >= 0]
        assert frame["offset"].tolist() == timely


class TestOffsets:
    def test_a_dict_reads_its_partitions_and_no_others(self, lab: kl.Lab, times: Log) -> None:
        frame = lab.read(times.topic, start={0: 3, 1: "earliest"}, end={0: 5, 1: 2}, headers=True)
        assert rows(frame) == times.visible("read_committed", 0, 3, 5) + times.visible("read_committed", 1, 0, 2)

    @pytest.mark.parametrize(("start", "end"), [(-5, "latest"), (-9, -2), ({0: -1, 1: -3}, "latest"), (0, -1)])
    def test_negative_numbers_count_from_the_end(self, lab: kl.Lab, times: Log, start: Any, end: Any) -> None:
        frame = lab.read(times.topic, start, end, partitions=[0, 1], headers=True)
        truth = []
        for partition in (0, 1):
            everything = times.visible("read_committed", partition)
            low = start[partition] if isinstance(start, dict) else start
            truth += everything[slice(low, None if end == "latest" else end)]
        assert rows(frame) == truth

    def test_negative_numbers_count_from_the_last_stable_offset(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log, where = zoo(kafka.bootstrap_servers), int(Place.OPEN)
        end = log.ends("read_committed")[where]
        assert rows(lab.read(log.topic, {where: -2}, headers=True)) == log.visible("read_committed", where, end - 2)

    @pytest.mark.parametrize(
        ("asked", "error"),
        [
            ({"start": 18, "partitions": 0}, "not there yet.*offsets 0 to 17"),
            ({"start": -18, "partitions": 0}, "before the log's start"),
            ({"start": {0: 5}, "end": {0: 4}}, "start 5 lies after the end 4"),
            ({"start": 1_700_000_000}, "give '@1700000000000'"),
        ],
    )
    def test_what_is_no_place_in_the_log_is_told(
        self, lab: kl.Lab, times: Log, asked: dict[str, Any], error: str
    ) -> None:
        with pytest.raises(kl.PositionError, match=rf"{times.topic}\[0\].*{error}"):
            lab.read(times.topic, **asked)

    def test_what_retention_has_taken_is_told_or_left_out(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log, where = zoo(kafka.bootstrap_servers), int(Place.HEAD_DELETED)
        with pytest.raises(
            kl.DataLossError, match=rf"\[{where}\]@1: this offset is gone, the log holds offsets 4 to 11"
        ):
            lab.read(log.topic, {where: 1})
        with pytest.warns(kl.DataLossWarning, match=rf"\[{where}\]@1-4"):
            frame = lab.read(log.topic, {where: 1}, on_data_loss="warn", headers=True)
        assert rows(frame) == log.visible("read_committed", where)
        assert kl.receipt(frame).notes == (f"lost to retention: {log.topic}[{where}]@1-4",)

    def test_unknown_partitions_are_told(self, lab: kl.Lab, times: Log) -> None:
        asked: dict[str, Any]
        for asked in ({"partitions": 3}, {"start": {7: 0}}):
            with pytest.raises(kl.UnknownPartitionError, match=r"\[(3|7)\]: there is no such partition: .* 0 to 2"):
                lab.read(times.topic, **asked)


@pytest.fixture
def commit(kafka: ApacheKafka) -> Commit:
    def commit(group: str, topic: str, offsets: dict[int, int]) -> None:
        consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group}, logger=LOGGER)
        places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()

    return commit


class TestCommits:
    def test_are_starts_and_ends(self, lab: kl.Lab, times: Log, commit: Commit) -> None:
        commit("reader", times.topic, {0: 4, 1: 11})
        behind = lab.read(times.topic, start=kl.Committed("reader"), partitions=[0, 1], headers=True)
        before = lab.read(times.topic, end=kl.Committed("reader"), partitions=[0, 1], headers=True)
        assert sorted(rows(before) + rows(behind)) == times.visible("read_committed")
        assert [(part.partition, part.start) for part in kl.receipt(behind).partitions] == [(0, 4), (1, 11)]
        described = lab.describe(times.topic, group_id="reader")
        assert described["committed_offset"].tolist()[:2] == [4, 11]
        assert described["committed_lag"].tolist()[:2] == [13, 23]

    def test_that_are_missing_are_told(self, lab: kl.Lab, times: Log, commit: Commit) -> None:
        commit("half", times.topic, {0: 4})
        with pytest.raises(kl.PositionError, match=rf"{times.topic}\[1\]: group 'half' has committed nothing here"):
            lab.read(times.topic, start=kl.Committed("half"))
        mixed = lab.read(times.topic, start={0: kl.Committed("half"), 1: "earliest"}, headers=True)
        assert rows(mixed) == times.visible("read_committed", 0, 4) + times.visible("read_committed", 1)

    def test_that_retention_has_passed_are_told(self, lab: kl.Lab, kafka: ApacheKafka, commit: Commit) -> None:
        log = new_topic(kafka.bootstrap_servers)
        log.write(0, *numbered(10))
        commit("slow", log.topic, {0: 3})
        log.delete_before(0, 6)
        with pytest.raises(kl.DataLossError, match=rf"{log.topic}\[0\]@3: this offset is gone"):
            lab.read(log.topic, start=kl.Committed("slow"))
        with pytest.warns(kl.DataLossWarning, match="@3-6"):
            frame = lab.read(log.topic, start=kl.Committed("slow"), on_data_loss="warn", headers=True)
        assert rows(frame) == log.visible("read_committed")
