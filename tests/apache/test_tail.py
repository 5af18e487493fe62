"""Following a topic of a real broker: what is written is seen, within bounds, and nothing is left behind."""

import threading
from collections import deque
from collections.abc import Iterator

import pandas as pd
import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.truth import (
    QUICK,
    SECONDS,
    Log,
    Record,
    clients_alive,
    new_topic,
    numbered,
    rows,
    transactional,
    wait_until,
)

PLAIN = {"key": "bytes", "value": "bytes", "headers": True, "errors": "raise"}


@pytest.fixture(scope="module", params=["arrow", "librdkafka"])
def lab(kafka: ApacheKafka, request: pytest.FixtureRequest) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers, engine=request.param) as lab:
        yield lab


@pytest.fixture
def log(kafka: ApacheKafka) -> Log:
    """Give a topic of three partitions that has had ten records on each."""
    log = new_topic(kafka.bootstrap_servers, 3)
    for partition in range(3):
        log.write(partition, *numbered(10))
    return log


def follow(lab: kl.Lab, log: Log, **asked: object) -> kl.Tail:
    return lab.tail(log.topic, **{**PLAIN, **asked})  # type: ignore[arg-type]  # the options of a TypedDict


class TestWhatIsSeen:
    def test_what_is_written_from_now_on_and_nothing_else(self, lab: kl.Lab, log: Log) -> None:
        old = log.visible("read_committed")
        with follow(lab, log) as tail:
            assert tail.running
            for start in (10, 13):
                for partition in range(3):
                    log.write(partition, *numbered(3, start))
            assert tail.wait_for(18, SECONDS)
            found = rows(tail.df)
        new = [row for row in log.visible("read_committed") if row not in old]
        assert sorted(found) == new
        assert all(
            [row for row in found if row.partition == p] == [row for row in new if row.partition == p] for p in range(3)
        )
        assert (tail.seen, tail.dropped) == (18, 0)

    def test_what_was_written_before_on_request(self, lab: kl.Lab, log: Log) -> None:
        with follow(lab, log, start={0: -2, 2: "earliest"}) as tail:
            log.write(0, *numbered(1, 10))
            log.write(1, *numbered(1, 10))
            assert tail.wait_for(13, SECONDS)
        assert sorted(rows(tail.df)) == log.visible("read_committed", 0, 8) + log.visible("read_committed", 2)

    def test_transactions_once_they_are_committed(self, lab: kl.Lab, log: Log) -> None:
        first, second = transactional(log.bootstrap), transactional(log.bootstrap)
        with follow(lab, log) as tail, follow(lab, log, isolation_level="read_uncommitted") as nosy:
            for writer, hidden in ((first, True), (second, False)):
                writer.begin_transaction()
                log.write(1, *numbered(4, 10), by=writer, hidden=hidden)
            log.write(2, *numbered(2, 10))
            assert nosy.wait_for(10, SECONDS)
            assert tail.wait_for(2, SECONDS)
            assert {row.partition for row in rows(tail.df)} == {2}
            first.abort_transaction(SECONDS)
            second.commit_transaction(SECONDS)
            assert tail.wait_for(6, SECONDS)
        committed, everything = (
            {row for row in log.visible(level) if row.offset >= 10} for level in ("read_committed", "read_uncommitted")
        )
        assert (set(rows(tail.df)), tail.seen) == (committed, 6)
        assert (set(rows(nosy.df)), nosy.seen) == (everything, 10)

    def test_the_rows_and_columns_that_are_asked_for(self, lab: kl.Lab, log: Log) -> None:
        big = kl.field("amount") >= 7
        with lab.tail(log.topic, value="json", where=big, columns=["partition", "amount"]) as tail:
            for partition in range(3):
                log.write(partition, *(Record(None, b'{"amount": %d}' % amount) for amount in range(10)))
            assert tail.wait_for(9, SECONDS)
        assert list(tail.df.columns) == ["partition", "amount"]
        assert sorted(tail.df["amount"]) == [7, 7, 7, 8, 8, 8, 9, 9, 9]


class TestBounds:
    def test_the_newest_rows_are_kept_and_the_others_counted(self, lab: kl.Lab, log: Log) -> None:
        kept: deque[int] = deque(maxlen=25)
        with follow(lab, log, rows=25) as tail:
            for number in range(13):
                log.write(0, *numbered(10, number * 10))
                kept.extend(range(10 + number * 10, 20 + number * 10))
                assert tail.wait_for((number + 1) * 10, SECONDS)
                assert len(tail.df) == min(25, (number + 1) * 10)
        assert [row.offset for row in rows(tail.df)] == list(kept)
        assert (tail.seen, tail.dropped) == (130, 105)
        assert "shown 25 of 130 · dropped 105" in repr(tail)

    def test_a_flood_is_counted_and_bounded(self, lab: kl.Lab, log: Log) -> None:
        count, size = 60_000, 30
        with follow(lab, log, rows=1000) as tail:
            for number in range(10, 10 + count, size * 1000):
                log.write(2, *numbered(size * 1000, number))
            assert tail.wait_for(count, SECONDS)
            assert (len(tail.df), tail.seen, tail.dropped) == (1000, count, count - 1000)
            assert tail.lag == 0
            assert sum(batch.nbytes for batch in tail._now.shown.batches) < 1_000_000

    def test_a_pause_and_a_filter_lose_nothing(self, lab: kl.Lab, log: Log) -> None:
        with follow(lab, log) as tail:
            log.write(0, *numbered(10, 10))
            assert tail.wait_for(10, SECONDS)
            tail.filter("offset >= 15 and partition == 0")
            tail.pause()
            log.write(0, *numbered(10, 20))
            assert tail.wait_for(20, SECONDS)
            assert ([row.offset for row in rows(tail.df)], tail.behind) == (list(range(15, 20)), 10)
            tail.resume()
            assert [row.offset for row in rows(tail.df)] == list(range(15, 30))
            tail.filter(None)
            assert sorted(rows(tail.df)) == log.visible("read_committed", 0, 10)

    def test_more_at_once_than_there_is_room_for(self, lab: kl.Lab, log: Log) -> None:
        log.write(1, *numbered(5000))
        with follow(lab, log, rows=7, start={1: "earliest"}) as tail:
            assert tail.wait_for(5010, SECONDS)
        assert rows(tail.df) == log.visible("read_committed", 1, 5003)
        assert (tail.seen, tail.dropped) == (5010, 5003)


class TestTheEnd:
    def test_leaves_no_thread_and_no_client_behind(self, lab: kl.Lab, log: Log) -> None:
        clients, threads = clients_alive(), set(threading.enumerate())
        tails = [follow(lab, log) for _ in range(3)]
        log.write(0, *numbered(1))
        assert all(tail.wait_for(1, SECONDS) for tail in tails)
        assert lab.fetcher.name == "arrow" or clients_alive() >= clients + 3
        for tail in tails:
            tail.stop()
            assert not tail.running
            assert len(tail.df) == 1
            tail.stop()
        assert set(threading.enumerate()) <= threads
        wait_until(lambda: clients_alive() <= clients)
        assert all("stopped" in repr(tail) for tail in tails)

    def test_in_time_by_itself(self, lab: kl.Lab, log: Log) -> None:
        tail = follow(lab, log, start="earliest")
        frame = tail.run(0.5)
        assert len(frame) == 30
        assert not tail.running

    def test_a_receipt_tells_what_was_seen(self, lab: kl.Lab, log: Log) -> None:
        with follow(lab, log, start="earliest") as tail:
            assert tail.wait_for(30, SECONDS)
        receipt = kl.receipt(tail.df)
        assert (receipt.rows, receipt.stop_reasons) == (30, (kl.StopReason.INTERRUPTED,))
        assert [part.next_offset for part in receipt.partitions] == [10, 10, 10]

    def test_the_topic_is_deleted(self, lab: kl.Lab, log: Log) -> None:
        with follow(lab, log) as tail:
            log.write(0, *numbered(2))
            assert tail.wait_for(2, SECONDS)
            log.admin.delete_topics([log.topic])[log.topic].result(SECONDS)
            wait_until(lambda: not tail.running)
        assert "failed" in repr(tail)
        with pytest.raises(kl.DataLossError, match=f"{log.topic}.*deleted"):
            _ = tail.df

    def test_a_record_is_not_in_its_format(self, lab: kl.Lab, log: Log) -> None:
        with lab.tail(log.topic, value="json", errors="raise") as tail:
            log.write(0, Record(None, b"{"))
            wait_until(lambda: not tail.running)
        with pytest.raises(kl.DecodeError, match=rf"{log.topic}\[0\]@10"):
            _ = tail.df
        with lab.tail(log.topic, value="json") as tolerant:
            log.write(0, Record(None, b"{"))
            assert tolerant.wait_for(1, SECONDS)
        assert tolerant.df["_raw"].tolist() == [b"{"]


def test_the_broker_is_restarted() -> None:
    with ApacheKafka({"broker.session.timeout.ms": 3000}, jvm_options=QUICK) as own:
        log = new_topic(own.bootstrap_servers, 2)
        with kl.connect(own.bootstrap_servers) as lab, follow(lab, log) as tail:
            log.write(0, *numbered(5))
            assert tail.wait_for(5, SECONDS)
            own.brokers[1].stop()
            assert tail.running
            assert len(tail.df) == 5
            own.brokers[1].start()
            for partition in (0, 1):
                log.write(partition, *numbered(5))
            assert tail.wait_for(15, SECONDS)
            truth = log.visible("read_committed")
            own.brokers[1].kill()
            tail.stop()
            assert isinstance(tail.df, pd.DataFrame)
            assert sorted(rows(tail.df)) == truth
