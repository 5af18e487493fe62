"""Reading a real broker is exact: every visible record once, whatever the log looks like."""

import gzip
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from kafkalab.fetch.librdkafka import LibrdkafkaFetcher
from tests.apache.truth import (
    ANY_TIME,
    LEVELS,
    Log,
    Place,
    Record,
    Row,
    append_times,
    gaps,
    large,
    new_topic,
    numbered,
    producer,
    rows,
    zoo,
)

# So small that a few hundred records take many fetches.
TINY_FETCHES = {"queued.min.messages": 1, "fetch.message.max.bytes": 500}


@pytest.fixture(scope="module", params=["arrow", "librdkafka"])
def lab(kafka: ApacheKafka, request: pytest.FixtureRequest) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers, engine=request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def librdkafka_lab(kafka: ApacheKafka) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers, engine="librdkafka") as lab:
        yield lab


@pytest.fixture(scope="module")
def arrow_lab(kafka: ApacheKafka) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers, engine="arrow") as lab:
        yield lab


@pytest.fixture(scope="module")
def slow_lab(kafka: ApacheKafka) -> Iterator[kl.Lab]:
    """Give a lab that gets a batch or two at a time."""
    config = kl.ConnectionConfig.load(kafka.bootstrap_servers)
    with kl.connect(kafka.bootstrap_servers) as lab:
        yield kl.Lab(lab.metadata, LibrdkafkaFetcher(config, lab.metadata, TINY_FETCHES))


@pytest.fixture(scope="module")
def plain(kafka: ApacheKafka) -> Log:
    """Give a topic of 3,000 records in many raw batches, on two partitions."""
    log = new_topic(kafka.bootstrap_servers, 2)
    writer = producer(kafka.bootstrap_servers, batch_num_messages=20, linger_ms=5)
    for partition in (0, 1):
        log.write(partition, *numbered(1500), by=writer)
    return log


TOPICS: dict[str, Callable[[ApacheKafka], Log]] = {
    "zoo": lambda kafka: zoo(kafka.bootstrap_servers),
    "compacted": gaps,
    "log append time": lambda kafka: append_times(kafka.bootstrap_servers),
    "15 MB": lambda kafka: large(kafka.bootstrap_servers),
}


@pytest.fixture(params=TOPICS)
def log(request: pytest.FixtureRequest, kafka: ApacheKafka) -> Log:
    return TOPICS[request.param](kafka)


def by_range(scan: kl.Scan) -> dict[kl.OffsetRange, list[Row]]:
    found: dict[kl.OffsetRange, list[Row]] = defaultdict(list)
    for part, arrow_batch in scan.steps():
        found[part.offset_range] += rows(arrow_batch)
    return found


def over(scan: kl.Scan, ranges: list[kl.OffsetRange]) -> kl.Scan:
    return replace(scan, plan=scan.plan.with_ranges(ranges))


def check_ranges(scan: kl.Scan, log: Log, level: str, ranges: list[kl.OffsetRange]) -> None:
    found = by_range(scan)
    truth = log.visible(level)
    for part in ranges:
        wanted = [row for row in truth if row.partition == part.partition and part.start <= row.offset < part.end]
        assert found.get(part, []) == wanted, part
    assert scan.receipt is not None
    assert scan.receipt.complete
    assert all(part.next_offset == part.end for part in scan.receipt.partitions)


@pytest.mark.parametrize("level", LEVELS)
class TestEveryVisibleRecordOnce:
    @pytest.mark.filterwarnings("ignore:.*outside the years 1 to 9999:kafkalab.KafkalabWarning")
    def test_of_a_whole_topic(self, lab: kl.Lab, log: Log, level: str) -> None:
        frame = lab.read(log.topic, headers=True, isolation_level=level, dtype_backend="pyarrow")
        truth = log.visible(level)
        assert rows(frame) == truth
        receipt = kl.receipt(frame)
        assert (receipt.complete, receipt.rows, receipt.records) == (True, len(truth), len(truth))
        starts, ends = log.starts(), log.ends(level)
        told = {part.partition: (part.start, part.next_offset, part.end) for part in receipt.partitions}
        assert told == {p: (starts[p], ends[p], ends[p]) for p in starts}

    def test_of_every_prefix_and_every_suffix(self, lab: kl.Lab, log: Log, level: str) -> None:
        if log.topic == large(log.bootstrap).topic:
            pytest.skip("a record of 15 MB for every prefix")
        scan = lab.scan(log.topic, headers=True, isolation_level=level)
        places = [(part, at) for part in scan.plan.ranges for at in range(part.start, part.end + 1)]
        ranges = [replace(part, end=at) for part, at in places] + [replace(part, start=at) for part, at in places]
        check_ranges(over(scan, sorted(set(ranges))), log, level, ranges)

    def test_of_any_ranges_in_any_order(self, lab: kl.Lab, kafka: ApacheKafka, level: str) -> None:
        log, draw = zoo(kafka.bootstrap_servers), random.Random(7)
        scan = lab.scan(log.topic, headers=True, isolation_level=level)
        ranges = list(
            {
                replace(part, start=start, end=end)
                for part in scan.plan.ranges
                for _ in range(10)
                for start, end in [sorted(draw.choices(range(part.start, part.end + 1), k=2))]
            }
        )
        draw.shuffle(ranges)
        check_ranges(over(scan, ranges), log, level, ranges)

    def test_of_a_log_that_ends_in_a_gap(self, lab: kl.Lab, kafka: ApacheKafka, level: str) -> None:
        log = gaps(kafka)
        last = log.visible(level, 0)[-1].offset
        assert last + 3 < log.ends(level)[0]
        assert log.visible(level, 0)[0].offset > log.starts()[0] == 0
        frame = lab.read(log.topic, start={0: last + 1}, isolation_level=level)
        assert (len(frame), kl.receipt(frame).complete) == (0, True)


class TestManyRangesOfOnePartition:
    """In fetches so small that none of them holds two of the ranges."""

    def check(self, slow_lab: kl.Lab, log: Log, ranges: list[tuple[int, int, int]]) -> None:
        scan = slow_lab.scan(log.topic, headers=True)
        parts = [kl.OffsetRange(log.topic, *numbers) for numbers in ranges]
        check_ranges(over(scan, parts), log, "read_committed", parts)

    def test_adjacent(self, slow_lab: kl.Lab, plain: Log) -> None:
        self.check(slow_lab, plain, [(p, start, end) for p in (0, 1) for start, end in pairwise(range(0, 1501, 60))])

    def test_from_the_last_to_the_first(self, slow_lab: kl.Lab, plain: Log) -> None:
        self.check(slow_lab, plain, [(p, at, at + 30) for at in range(1470, -1, -70) for p in (0, 1)])

    def test_overlapping_and_far_apart(self, slow_lab: kl.Lab, plain: Log) -> None:
        self.check(slow_lab, plain, [(0, 0, 50), (0, 1400, 1500), (0, 20, 70), (0, 60, 61), (0, 55, 1430), (1, 7, 7)])

    def test_any(self, slow_lab: kl.Lab, plain: Log) -> None:
        draw = random.Random(3)
        starts = draw.sample(range(1500), 40)
        self.check(slow_lab, plain, [(at % 2, at, min(1500, at + draw.choice((1, 10, 200)))) for at in starts])


class TestItNeverHangs:
    def test_an_open_transaction_below_the_end_is_told(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = zoo(kafka.bootstrap_servers)
        end = log.ends("read_uncommitted")[Place.OPEN]
        with pytest.warns(kl.KafkalabWarning, match=rf"open transaction.*\[{Place.OPEN}\] at offset 5 of {end}"):
            frame = lab.read(log.topic, end={int(Place.OPEN): end}, headers=True)
        assert rows(frame) == log.visible("read_committed", Place.OPEN)
        (part,) = kl.receipt(frame).partitions
        assert (part.stop, part.next_offset) == (kl.StopReason.BLOCKED_BY_OPEN_TRANSACTION, 5)

    def test_an_open_transaction_hides_nothing_from_other_partitions(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = zoo(kafka.bootstrap_servers)
        with pytest.warns(kl.KafkalabWarning, match="open transaction"):
            frame = lab.read(log.topic, end=log.ends("read_uncommitted"), headers=True, dtype_backend="pyarrow")
        assert rows(frame) == log.visible("read_committed")
        stops = {part.partition: part.stop for part in kl.receipt(frame).partitions}
        assert {p for p, stop in stops.items() if stop != kl.StopReason.REACHED} == {Place.OPEN}

    def test_what_librdkafka_cannot_read_ends_at_the_timeout(
        self, librdkafka_lab: kl.Lab, arrow_lab: kl.Lab, kafka: ApacheKafka
    ) -> None:
        log = new_topic(kafka.bootstrap_servers)
        log.write_raw(0, *(Record(b"k", b"%d" % n, 1) for n in range(100)), codec=1, squeeze=in_two_members)
        assert rows(arrow_lab.read(log.topic, headers=True)) == log.visible("read_committed")
        with pytest.warns(kl.LimitWarning, match="timeout"):
            frame = librdkafka_lab.read(log.topic, headers=True, timeout=1)
        assert rows(frame) == log.visible("read_committed")[: len(frame)]
        assert kl.receipt(frame).stop_reasons == (kl.StopReason.TIMEOUT,)
        assert kl.receipt(frame).partitions[0].next_offset == len(frame) < 100

    def test_a_limit_stops_it_and_the_rest_is_read_from_there(self, lab: kl.Lab, plain: Log) -> None:
        with pytest.warns(kl.LimitWarning, match="limit=1,700"):
            frame = lab.read(plain.topic, headers=True, limit=1700)
        stops = {part.partition: part.next_offset for part in kl.receipt(frame).partitions}
        rest = lab.read(plain.topic, start=stops, headers=True)
        assert len(frame) == 1700
        assert sorted(rows(frame) + rows(rest)) == plain.visible("read_committed")


def in_two_members(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half]) + gzip.compress(content[half:])


class TestHeaders:
    def test_a_name_that_is_no_utf_8_is_escaped_or_costs_the_headers_and_never_the_record(
        self, librdkafka_lab: kl.Lab, arrow_lab: kl.Lab, kafka: ApacheKafka
    ) -> None:
        log = new_topic(kafka.bootstrap_servers)
        bad: list[tuple[str | bytes, bytes | None]] = [(b"fine", b"1"), (b"\xff\xfe", b"2")]
        # Python calls a method in another way once it has been called often.
        log.write_raw(0, *[Record(b"a", b"1", 5, bad), Record(b"b", b"2", 5, [("ok", None)])] * 500)
        with pytest.warns(kl.KafkalabWarning, match=rf"{log.topic}\[0\].*UTF-8"):
            frame = librdkafka_lab.read(log.topic, headers=True)
        assert rows(frame) == [
            row if row.key == b"b" else row._replace(headers=None) for row in log.visible("read_committed")
        ]
        assert len(librdkafka_lab.read(log.topic)) == 1000
        escaped = (("fine", b"1"), (r"\xff\xfe", b"2"))
        assert rows(arrow_lab.read(log.topic, headers=True)) == [
            row if row.key == b"b" else row._replace(headers=escaped) for row in log.visible("read_committed")
        ]


class TestTimes:
    def test_what_pandas_cannot_print_is_told_and_kept_by_arrow(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = zoo(kafka.bootstrap_servers)
        with pytest.warns(kl.KafkalabWarning, match="2 times outside the years 1 to 9999"):
            frame = lab.read(log.topic, partitions=int(Place.TIMES))
        truth = [row.timestamp for row in log.visible("read_committed", Place.TIMES)]
        kept = [at if at is not None and at < 253_402_300_800_000 else None for at in truth]
        assert pa.array(frame["timestamp"]).cast(pa.int64()).to_pylist() == kept
        assert "9999-12-31" in repr(frame[["timestamp"]])


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>&lt;b&gt;",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "nul\0inside",
    '=HYPERLINK("http://example.invalid","x")',
    "+1+cmd|' /C calc'!A0",
    'line\r\nbreak\u2028\u2029,"quote"\ttab',
    "\u202eright to left\u202c\ufeff",
    "\U0010ffff\U0001f468\u200d\U0001f469",
    "",
)


@pytest.fixture(scope="module")
def hostile(kafka: ApacheKafka) -> Log:
    log = new_topic(kafka.bootstrap_servers, 1, **ANY_TIME_CONFIG)
    log.write(
        0, *(Record(text.encode(), text.encode(), None, [(text.replace("\0", ""), text.encode())]) for text in HOSTILE)
    )
    return log


ANY_TIME_CONFIG = {name.replace(".", "_"): value for name, value in ANY_TIME.items()}


class TestHostileText:
    def test_is_read_as_it_is(self, lab: kl.Lab, hostile: Log) -> None:
        frame = lab.read(hostile.topic, key="text", value="text", headers=True)
        assert frame["key"].tolist() == frame["value"].tolist() == list(HOSTILE)
        assert rows(lab.read(hostile.topic, headers=True)) == hostile.visible("read_committed")

    def test_shows_as_text_and_not_as_markup(self, lab: kl.Lab, hostile: Log) -> None:
        frame = lab.read(hostile.topic, value="text", columns=["offset", "value"])
        assert "<script>" in repr(frame)
        shown: Any = frame
        markup = shown._repr_html_()
        assert "<script>" not in markup
        assert "<img" not in markup
        assert "&lt;script&gt;" in markup
        assert repr(kl.receipt(frame)).startswith(f"<Receipt {hostile.topic}")

    def test_half_a_character_is_an_error_with_its_place_or_stays_bytes(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log, half = new_topic(kafka.bootstrap_servers), "\ud83d".encode("utf-8", "surrogatepass")
        log.write(0, Record(None, b"fine"), Record(half, half), Record(None, b'{"a": "\\ud83d"}'))
        with pytest.raises(kl.DecodeError, match=rf"{log.topic}\[0\]@1: value: byte 0 is no UTF-8"):
            lab.read(log.topic, value="text")
        assert lab.read(log.topic)["value"].tolist()[1] == half
        frame = lab.read(log.topic, value="json", errors="column")
        assert frame["_raw"].tolist() == [b"fine", half, b'{"a": "\\ud83d"}']


def test_ranges_of_the_truth_are_not_trivial(kafka: ApacheKafka) -> None:
    """The logs are as awkward as they are meant to be."""
    log = zoo(kafka.bootstrap_servers)
    committed, everything = ({row[:2] for row in log.visible(level)} for level in LEVELS)
    assert committed < everything
    assert log.starts()[Place.HEAD_DELETED] == 4
    assert log.starts()[Place.ALL_DELETED] == log.ends("read_committed")[Place.ALL_DELETED] == 5
    assert log.ends("read_committed")[Place.ONLY_MARKERS] == 4
    assert not [place for place in committed if place[0] == Place.ONLY_MARKERS]
    assert log.ends("read_committed")[Place.OPEN] == 5 < log.ends("read_uncommitted")[Place.OPEN]
