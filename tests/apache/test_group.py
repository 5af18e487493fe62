"""Consumer groups on a real broker: nothing missed, nothing out of order, nothing committed that is not done."""

import contextlib
import gc
import json
import random
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from kafkalab.group import consumer_group
from tests.apache.truth import (
    LOGGER,
    QUICK,
    SECONDS,
    Log,
    Record,
    new_topic,
    numbered,
    producer,
    transactional,
    wait_until,
)

ROOT = Path(__file__).parents[2]
IMPATIENT = {
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 500,
    "group.consumer.heartbeat.interval.ms": 300,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.session.timeout.ms": 3000,
    "group.consumer.min.session.timeout.ms": 500,
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
}
SHORT = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 300}
NEVER = 3600.0
MEMBERSHIPS: dict[str, dict[str, Any]] = {
    "cooperative": {"settings": SHORT},
    "range": {"assignor": "range", "settings": SHORT},
    "roundrobin": {"assignor": "roundrobin", "settings": SHORT},
    "kip-848": {"group_protocol": "consumer"},
    "kip-848-range": {"group_protocol": "consumer", "assignor": "range"},
}

Place = tuple[int, int]


@pytest.fixture(scope="module")
def own() -> Iterator[ApacheKafka]:
    """Give a broker whose groups do not wait, and that these tests may stop."""
    with ApacheKafka(IMPATIENT, jvm_options=QUICK) as broker:
        yield broker


@pytest.fixture
def lab(own: ApacheKafka) -> Iterator[kl.Lab]:
    with kl.connect(own.bootstrap_servers) as lab:
        yield lab


def filled(own: ApacheKafka, partitions: int, each: int, keys: int = 50) -> Log:
    log = new_topic(own.bootstrap_servers, partitions)
    for partition in range(partitions):
        log.write(partition, *(Record(b"%d-%d" % (partition, n * 7 % keys), b"%d" % n) for n in range(each)))
    return log


def committed(log: Log, group_id: str) -> dict[int, int]:
    """Ask the broker, without kafkalab."""
    return {part.partition: part.offset for part in commits_of(log, group_id)}


def commits_of(log: Log, group_id: str) -> list[TopicPartition]:
    asked = [ConsumerGroupTopicPartitions(group_id)]
    answer = log.admin.list_consumer_group_offsets(asked, request_timeout=SECONDS)[group_id].result(SECONDS)
    return [part for part in answer.topic_partitions if part.topic == log.topic]


def committed_meanwhile(log: Log, group_id: str, partitions: int) -> dict[int, int]:
    """Ask as a member would, though the coordinator be away: the admin's call would end this process."""
    options = {"bootstrap.servers": log.bootstrap, "group.id": group_id, "allow.auto.create.topics": False}
    consumer = Consumer(options, logger=LOGGER)
    found: list[TopicPartition] = []
    with contextlib.suppress(KafkaException), contextlib.closing(consumer):
        found = consumer.committed([TopicPartition(log.topic, number) for number in range(partitions)], timeout=SECONDS)
    return {part.partition: part.offset for part in found if part.error is None and part.offset >= 0}


@dataclass
class Ledger:
    """A handler that takes a random while and notes when it began and ended with each record, and where."""

    slowest: float = 0.004
    lock: threading.Lock = field(default_factory=threading.Lock)
    pause: threading.Event = field(default_factory=threading.Event)
    events: list[tuple[Place, bytes | None, str]] = field(default_factory=list)

    def __call__(self, record: kl.Record) -> None:
        place = (record.partition, record.offset)
        with self.lock:
            self.events.append((place, record.key, "begin"))
        self.pause.wait(random.random() * self.slowest)
        with self.lock:
            self.events.append((place, record.key, "end"))

    @property
    def done(self) -> Counter[Place]:
        with self.lock:
            return Counter(place for place, _, what in self.events if what == "end")

    def check_order(self, by: Callable[[Place, bytes | None], object]) -> None:
        """Check that no two records of a lane overlapped, and that each began when all before it were done."""
        lanes: dict[object, list[int]] = defaultdict(list)
        for place, key in sorted({(place, key) for place, key, _ in self.events}):
            lanes[by(place, key)].append(place[1])
        running: set[object] = set()
        done: Counter[object] = Counter()
        for place, key, what in self.events:
            lane = by(place, key)
            number = lanes[lane].index(place[1])
            if what == "begin":
                assert lane not in running, f"{place} began while another record of {lane!r} was handled"
                assert number <= done[lane], f"{place} began before one that comes before it was done"
                running.add(lane)
            else:
                running.discard(lane)
                done[lane] = max(done[lane], number + 1)


class TestOrder:
    def test_of_keys_while_members_come_and_go(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 8, 800), Ledger(slowest=0.06)
        options: dict[str, Any] = {
            "ordering": "key",
            "commit_interval": 0.2,
            "buffer_depth": 200,
            "settings": SHORT,
        }
        members = [lab.consumer_group("order-of-keys", log.topic, ledger, **options) for _ in range(3)]
        with members[0]:
            for member in members[1:]:
                member.start()
                assert member.wait_for(100, SECONDS)
            members[0].stop()
            wait_until(lambda: len(members[1].partitions) + len(members[2].partitions) == 8)
            members[1].stop()
            members[0].start()
            assert members[0].wait_for(50, SECONDS)
            ledger.slowest = 0.004
            wait_until(lambda: len(ledger.done) == 6400)
            members[2].stop()
        assert sum(ledger.done.values()) - 6400 <= 5 * 8 * 200
        ledger.check_order(lambda _, key: key)
        assert committed(log, "order-of-keys") == dict.fromkeys(range(8), 800)
        assert all(member.stats().state == "stopped" for member in members)

    @pytest.mark.parametrize("ordering", ["partition", "key", "unordered"])
    def test_is_as_asked_for(self, own: ApacheKafka, lab: kl.Lab, ordering: Any) -> None:
        log, ledger = filled(own, 2, 500), Ledger(slowest=0.002)
        with lab.consumer_group(f"ordering-{ordering}", log.topic, ledger, ordering=ordering) as group:
            assert group.wait_for(1000, SECONDS)
        assert len(ledger.done) == 1000
        running: Counter[int] = Counter()
        most = 0
        for place, _, what in ledger.events:
            running[place[0]] += 1 if what == "begin" else -1
            most = max(most, running[place[0]])
        assert (most == 1) == (ordering == "partition")
        if ordering != "unordered":
            ledger.check_order(lambda place, key: place[0] if ordering == "partition" else key)


class TestRebalance:
    @pytest.mark.parametrize("kind", MEMBERSHIPS)
    def test_hands_over_all_that_is_done_and_no_more(self, own: ApacheKafka, lab: kl.Lab, kind: str) -> None:
        # Nothing is committed but when partitions are given up: what the other has again was not committed then.
        log, ledger = filled(own, 4, 1000), Ledger(slowest=0.01)
        options: dict[str, Any] = {"commit_interval": NEVER, **MEMBERSHIPS[kind]}
        first, second = (lab.consumer_group(f"hand-over-{kind}", log.topic, ledger, **options) for _ in range(2))
        with first:
            assert first.wait_for(200, SECONDS)
            assert committed(log, f"hand-over-{kind}") == {}
            with second:
                wait_until(lambda: len(first.partitions) == len(second.partitions) == 2)
                assert second.wait_for(100, SECONDS)
                ledger.slowest = 0.002
            wait_until(lambda: len(first.partitions) == 4)
            wait_until(lambda: len(ledger.done) == 4000)
        assert set(ledger.done.values()) == {1}
        ledger.check_order(lambda place, _: place[0])
        assert committed(log, f"hand-over-{kind}") == dict.fromkeys(range(4), 1000)

    def test_of_a_static_member_is_not_needed(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 2, 600), Ledger()
        options: dict[str, Any] = {"settings": SHORT | {"session.timeout.ms": 10_000}}
        stays = lab.consumer_group("static", log.topic, ledger, instance_id="a", **options)
        comes_back = lab.consumer_group("static", log.topic, ledger, instance_id="b", **options)
        with stays, comes_back:
            wait_until(lambda: len(stays.partitions) == len(comes_back.partitions) == 1)
            had, rebalances = comes_back.partitions, stays.stats().rebalances
            comes_back.stop()
            comes_back.start()
            wait_until(lambda: comes_back.partitions == had)
            wait_until(lambda: len(ledger.done) == 1200)
            assert stays.stats().rebalances == rebalances
        assert set(ledger.done.values()) == {1}

    def test_waits_no_longer_for_a_handler_than_told(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 2, 5)
        stuck, begun = threading.Event(), threading.Event()

        def hang(_: kl.Record) -> None:
            begun.set()
            stuck.wait(SECONDS)

        ledger = Ledger()
        first = lab.consumer_group("stuck", log.topic, hang, drain_timeout=0.5, settings=SHORT)
        second = lab.consumer_group("stuck", log.topic, ledger, settings=SHORT)
        with first, contextlib.ExitStack() as later:
            assert begun.wait(SECONDS)
            later.enter_context(second)  # not before, or it might have all partitions first, and be done with them
            wait_until(lambda: len(second.partitions) == 1)
            wait_until(lambda: len(ledger.done) == 5)
            first_had = first.partitions[0].partition
            first.stop()
            wait_until(lambda: len(ledger.done) == 10)
            assert (first_had, 0) in ledger.done
            stuck.set()

    def test_calls_setup_and_cleanup_around_everything(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 4, 400)

        class Careful:
            def __init__(self) -> None:
                self.open = False
                self.sessions: list[int] = []
                self.wrong: list[str] = []
                self.done = 0
                self.lock = threading.Lock()

            def setup(self, session: kl.Session) -> None:
                if self.open:
                    self.wrong.append("setup twice")
                self.open = True
                self.sessions.append(len(session.partitions))

            def process(self, record: kl.Record, session: kl.Session) -> None:
                threading.Event().wait(0.001)
                if not self.open:
                    self.wrong.append(f"{record} outside")
                with self.lock:
                    self.done += 1
                session.mark(record)

            def cleanup(self, _: kl.Session) -> None:
                if not self.open:
                    self.wrong.append("cleanup twice")
                self.open = False

        handlers = Careful(), Careful()
        first, second = (lab.consumer_group("hooks", log.topic, one, settings=SHORT) for one in handlers)
        with first:
            assert first.wait_for(50, SECONDS)
            with second:
                wait_until(lambda: len(first.partitions) == len(second.partitions) == 2)
                assert second.wait_for(50, SECONDS)
            wait_until(lambda: sum(one.done for one in handlers) == 1600)
        for one in handlers:
            assert one.wrong == []
            assert not one.open
        assert 4 in handlers[0].sessions
        assert 2 in handlers[0].sessions
        assert committed(log, "hooks") == dict.fromkeys(range(4), 400)


class TestCommits:
    def test_never_pass_a_record_that_is_not_marked(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 3, 300)
        held_back: list[tuple[kl.Record, kl.Session]] = []
        late = {100, 200}

        class Holder:
            def process(self, record: kl.Record, session: kl.Session) -> None:
                if record.offset in late:
                    held_back.append((record, session))
                else:
                    session.mark(record)

        with lab.consumer_group("holes", log.topic, Holder(), ordering="unordered", commit_interval=0.01) as group:
            assert group.wait_for(900, SECONDS)
            wait_until(lambda: committed(log, "holes") == dict.fromkeys(range(3), 100))
            assert group.stats().uncommitted == 600
            for offset in (200, 100):  # the later one first
                for record, session in held_back:
                    if record.offset == offset:
                        session.mark(record)
                if offset == 200:
                    again = threading.Event()
                    again.wait(0.1)  # for some commits to come, were they wrong
                    assert committed(log, "holes") == dict.fromkeys(range(3), 100)
            wait_until(lambda: committed(log, "holes") == dict.fromkeys(range(3), 300))

    def test_are_of_records_that_are_done_at_any_moment(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 4, 500), Ledger(slowest=0.006)
        looks = 0
        with lab.consumer_group("watched", log.topic, ledger, ordering="key", commit_interval=0.01) as group:
            while len(ledger.done) < 2000:
                for partition, offset in committed(log, "watched").items():
                    done = ledger.done
                    assert all((partition, before) in done for before in range(offset))
                    looks += 1
                assert group.running
        assert looks > 20

    def test_come_by_themselves_while_records_flow(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 1, 400), Ledger(slowest=0.02)
        with lab.consumer_group("flow", log.topic, ledger, commit_interval=0.3) as group:
            wait_until(lambda: 0 < committed(log, "flow").get(0, 0) < 400)
            assert group.running
            ledger.slowest = 0
            wait_until(lambda: committed(log, "flow") == {0: 400})
            assert group.running

    def test_are_pinned_where_a_group_begins_at_the_end(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 2, 10), Ledger()
        with lab.consumer_group("from-now", log.topic, ledger, start="latest", settings=SHORT) as group:
            wait_until(lambda: len(group.partitions) == 2)
        assert committed(log, "from-now") == {0: 10, 1: 10}
        log.write(0, *numbered(3, 10))
        with lab.consumer_group("from-now", log.topic, ledger, start="latest", settings=SHORT) as group:
            assert group.wait_for(3, SECONDS)
        assert sorted(ledger.done) == [(0, 10), (0, 11), (0, 12)]

    def test_of_nothing_is_an_error_when_asked_for(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 1, 3)
        group = lab.consumer_group("strict", log.topic, Ledger(), start="error")
        with pytest.raises(kl.DataLossError, match=rf"{log.topic}\[0\].*start='error'"):
            group.run(SECONDS)
        assert group.stats().state == "failed"


class TestErrors:
    def test_stop_the_group_and_the_record_is_read_again(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 1, 100), Ledger(slowest=0)
        poison = True

        def fussy(record: kl.Record) -> None:
            if record.offset == 42 and poison:
                raise ValueError("<b>no</b>")
            ledger(record)

        group = lab.consumer_group("raise", log.topic, fussy)
        for _ in range(2):
            with pytest.raises(kl.HandlerError, match=rf"{log.topic}\[0\]@42: the handler failed.*no") as caught:
                group.run(SECONDS)
            assert isinstance(caught.value.__cause__, ValueError)
            assert getattr(caught.value, "record").offset == 42  # noqa: B009 - typed as an object
            assert committed(log, "raise") == {0: 42}
        poison = False
        with group:
            assert group.wait_for(58, SECONDS)
        assert ledger.done == Counter((0, offset) for offset in range(100))

    def test_reach_the_log_without_what_moves_a_cursor(
        self, own: ApacheKafka, lab: kl.Lab, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = new_topic(own.bootstrap_servers)
        log.write(0, Record(None, b"\x1b[2J"))

        def fails(record: kl.Record) -> None:
            raise ValueError((record.value or b"").decode())

        with lab.consumer_group("raw", log.topic, fails, on_error="skip") as group:
            assert group.wait_for(1, SECONDS)
        assert "\x1b" not in caplog.text
        assert r"\x1b[2J" in caplog.text

    def test_skip_a_record_and_tell(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 2, 50), Ledger(slowest=0)
        dead_letters: list[kl.HandlerError] = []

        def fussy(record: kl.Record) -> None:
            if record.offset % 10 == 3:
                raise ValueError(record.offset)
            ledger(record)

        for number, on_error in enumerate(("skip", dead_letters.append)):
            group_id = f"skip-{number}"
            with lab.consumer_group(group_id, log.topic, fussy, on_error=on_error, ordering="key") as group:  # type: ignore[arg-type]  # mypy joins them to object
                assert group.wait_for(100, SECONDS)
            assert group.stats().skipped == 10
            assert sorted(error.offset or -1 for error in group.errors) == sorted([3, 13, 23, 33, 43] * 2)
            assert committed(log, group_id) == {0: 50, 1: 50}
        assert len(dead_letters) == 10
        assert set(ledger.done.values()) == {2}
        assert len(ledger.done) == 90

    def test_of_a_function_that_judges_them_stop_the_group(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 1, 5)

        def judge(error: kl.HandlerError) -> None:
            raise LookupError("no room for dead letters") from error

        with pytest.raises(LookupError, match="dead letters"):
            lab.consumer_group("judge", log.topic, lambda _: 1 / 0, on_error=judge).run(SECONDS)
        assert committed(log, "judge") in ({}, {0: 0})

    def test_of_hooks_stop_the_group(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 1, 5)

        class Unprepared:
            def setup(self, _: kl.Session) -> None:
                raise ConnectionError("no database")

            def process(self, record: kl.Record, session: kl.Session) -> None:
                session.mark(record)

        with pytest.raises(ConnectionError, match="no database"):
            lab.consumer_group("hook-fails", log.topic, Unprepared()).run(SECONDS)
        assert committed(log, "hook-fails") in ({}, {0: 0})


class TestSlowHandlers:
    def test_keep_their_place_past_every_time_limit(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 2, 4)
        pause = threading.Event()
        seen: list[Place] = []

        def slow(record: kl.Record) -> None:
            pause.wait(2.5 if record.offset == 0 else 0)
            seen.append((record.partition, record.offset))

        limits = {"session.timeout.ms": 1000, "heartbeat.interval.ms": 200, "max.poll.interval.ms": 1000}
        with lab.consumer_group("slow", log.topic, slow, settings=limits) as group:
            assert group.wait_for(8, SECONDS)
            assert group.stats().rebalances == 1
        assert sorted(seen) == [(partition, offset) for partition in range(2) for offset in range(4)]
        assert list(group.errors) == []

    def test_hold_no_more_than_the_buffer(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 3, 2000)
        gate = threading.Event()
        seen: Counter[int] = Counter()

        def stuck_in_one(record: kl.Record) -> None:
            if record.partition == 0:
                gate.wait(SECONDS)
            seen[record.partition] += 1

        with lab.consumer_group("buffer", log.topic, stuck_in_one, workers=3, buffer_depth=100) as group:
            most = 0

            def others_done() -> bool:
                nonlocal most
                most = max(most, *(part.uncommitted for part in group.stats().partitions.values()), 0)
                return seen[1] == seen[2] == 2000

            wait_until(others_done)
            wait_until(lambda: group.stats().partitions[kl.TopicPartition(log.topic, 0)].paused)
            assert 0 < most <= 100
            gate.set()
            assert group.wait_for(6000, SECONDS)
        assert committed(log, "buffer") == dict.fromkeys(range(3), 2000)


class TestEnd:
    def test_of_a_fenced_member_is_told(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 1, 10), Ledger(slowest=0)
        first, second = (
            lab.consumer_group("fenced", log.topic, ledger, instance_id="a", settings=SHORT) for _ in range(2)
        )
        with contextlib.ExitStack() as stack:
            first.start()
            stack.callback(first.stop)
            assert first.wait_for(10, SECONDS)
            stack.enter_context(second)
            assert not first.wait_for(11, SECONDS)  # which it does not wait out
            wait_until(lambda: not first.running)
            assert first.stats().state == "failed"
            assert second.running
            with pytest.raises(kl.GroupError, match=r"group 'fenced'.*instance_id"):
                first._last().check()

    def test_of_a_member_that_is_not_let_in_is_told(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 1, 10), Ledger(slowest=0)
        options: dict[str, Any] = {"instance_id": "a", "group_protocol": "consumer"}
        first, second = (lab.consumer_group("not-in", log.topic, ledger, **options) for _ in range(2))
        with first:
            assert first.wait_for(10, SECONDS)
            with pytest.raises(kl.GroupError, match=r"group 'not-in'.*same instance_id"):
                second.run(SECONDS)
            assert first.running

    @pytest.mark.parametrize("hook", ["setup", "cleanup", "process"])
    def test_can_come_from_anywhere(self, own: ApacheKafka, lab: kl.Lab, hook: str) -> None:
        log = filled(own, 1, 10)

        class Stops:
            def setup(self, _: kl.Session) -> None:
                self.at("setup")

            def process(self, record: kl.Record, session: kl.Session) -> None:
                session.mark(record)
                self.at("process")

            def cleanup(self, _: kl.Session) -> None:
                self.at("cleanup")

            def at(self, where: str) -> None:
                if where == hook:
                    group.stop()

        group = lab.consumer_group(f"stops-in-{hook}", log.topic, Stops())
        with group:
            if hook == "cleanup":
                assert group.wait_for(10, SECONDS)
            else:
                wait_until(lambda: not group.running)
        group.stop()
        assert group.stats().state == "stopped"

    def test_comes_with_the_lab_though_nobody_holds_the_group(self, own: ApacheKafka) -> None:
        log, ledger = filled(own, 1, 10), Ledger(slowest=0)
        with kl.connect(own.bootstrap_servers) as lab:
            lab.consumer_group("forgotten", log.topic, ledger).start()
            wait_until(lambda: len(ledger.done) == 10)
            gc.collect()
        assert committed(log, "forgotten") == {0: 10}
        assert "kafkalab-group" not in {thread.name for thread in threading.enumerate()}

    def test_comes_at_once_in_any_of_several_loops(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 2, 10)
        seen: Counter[int] = Counter()
        group = lab.consumer_group("loops", log.topic, drain_timeout=2 * SECONDS)
        with group:
            for record in group:
                seen[record.partition] += 1
                if seen.total() == 3:
                    other = iter(group)
                    next(other)
                    other.close()  # type: ignore[attr-defined]  # it is a generator
                    group.stop()
            assert not group.running
        assert committed(log, "loops") == seen


class TestIteration:
    def test_goes_on_with_what_a_break_has_left(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 1, 3000)
        seen: list[int] = []
        with lab.consumer_group("break", log.topic, buffer_depth=100) as group:
            while len(seen) < 3000:
                for record in group:
                    seen.append(record.offset)
                    if record.offset % 7 == 6:
                        group.mark(record)
                        break
                    if record.offset == 2999:
                        group.mark(record)
                        group.stop()
        assert seen == list(range(3000))
        assert committed(log, "break") == {0: 3000}

    def test_marks_a_record_when_the_next_is_asked_for(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 1, 20)
        seen = []
        group = lab.consumer_group("iterator", log.topic)
        for record in group:
            seen.append(record.offset)
            if len(seen) == 5:
                break
        assert not group.running
        assert committed(log, "iterator") == {0: 4}
        with group:
            for record in group:
                seen.append(record.offset)
                if record.offset == 19:
                    group.mark(record)
                    group.stop()
        assert seen == [*range(5), *range(4, 20)]
        assert committed(log, "iterator") == {0: 20}

    def test_gives_records_as_they_are(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = new_topic(own.bootstrap_servers)
        log.write(
            0,
            Record(b"k", b"<b>\x1b[31m" + b"x" * 100, 1_767_225_600_000, [("h", None), ("h", b"2")]),
            Record(None, None),
        )
        first, second = (record for _, record in zip(range(2), lab.consumer_group("as-is", log.topic), strict=False))
        assert (first.key, first.value, first.headers) == (
            b"k",
            b"<b>\x1b[31m" + b"x" * 100,
            (("h", None), ("h", b"2")),
        )
        assert (first.timestamp_ms, first.timestamp_type) == (1_767_225_600_000, "create_time")
        assert f"{first.timestamp:%F}" == "2026-01-01"
        assert (second.key, second.value, second.headers, second.offset) == (None, None, (), 1)
        assert "\x1b" not in repr(first)
        assert len(repr(first)) < 150


def made_anew(log: Log, records: int, partitions: int = 1) -> None:
    """Delete a topic, and make another of its name, with so many records in each partition."""
    log.admin.delete_topics([log.topic])[log.topic].result(SECONDS)

    def make() -> bool:
        try:
            log.admin.create_topics([NewTopic(log.topic, partitions)])[log.topic].result(SECONDS)
        except KafkaException:  # the other is not gone yet
            return False
        return True

    wait_until(make)
    by = producer(log.bootstrap)  # it has not known the other
    log.all.clear()
    for partition in range(partitions):
        log.write(partition, *numbered(records), by=by)


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_group, "_WATCH_S", 0.2)


class Seen:
    """Values of records, in the order they came."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def __call__(self, record: kl.Record) -> None:
        self.offsets.append(record.offset)


@pytest.mark.usefixtures("watchful")
class TestLogs:
    @pytest.mark.parametrize("protocol", ["classic", "consumer"])
    @pytest.mark.parametrize("records", [30, 100, 250], ids=["fewer", "equal", "more"])
    def test_of_a_topic_that_is_made_anew_are_read_whole(
        self, own: ApacheKafka, lab: kl.Lab, records: int, protocol: Any
    ) -> None:
        log, seen = filled(own, 1, 100), Seen()
        group_id = f"anew-{records}-{protocol}"
        options: dict[str, Any] = {"group_protocol": protocol, "commit_interval": 0.05}
        with lab.consumer_group(group_id, log.topic, seen, **options) as group:
            assert group.wait_for(100, SECONDS)
            wait_until(lambda: committed(log, group_id) == {0: 100})
            made_anew(log, records)
            wait_until(lambda: set(range(records)) <= set(seen.offsets[100:]))
            wait_until(lambda: committed(log, group_id) == {0: records})
            assert group.running
        told = [error for error in group.errors if isinstance(error, kl.DataLossError)]
        # Nothing is lost to tell of where the deletion came to the member as a rebalance.
        assert ["made anew" in str(error) for error in told] in ([True], [])
        assert seen.offsets[:100] == list(range(100))

    def test_of_a_topic_made_anew_after_a_rebalance_are_read_whole(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, seen = filled(own, 2, 100), Seen()
        kept, comes = (lab.consumer_group("kept", log.topic, seen, settings=SHORT) for _ in range(2))
        with kept:
            assert kept.wait_for(200, SECONDS)
            with comes:
                wait_until(lambda: len(kept.partitions) == len(comes.partitions) == 1)
            wait_until(lambda: len(kept.partitions) == 2)
            made_anew(log, 50, 2)
            wait_until(lambda: len(seen.offsets) >= 300)
            wait_until(lambda: committed(log, "kept") == {0: 50, 1: 50})
        assert Counter(seen.offsets[200:]) == Counter(dict.fromkeys(range(50), 2))

    @pytest.mark.parametrize("ordering", ["partition", "key"])
    def test_of_a_topic_made_anew_amidst_its_records_lose_none(
        self, own: ApacheKafka, lab: kl.Lab, ordering: Any
    ) -> None:
        log, gate = filled(own, 1, 400), threading.Event()
        values: list[bytes | None] = []

        def slow(record: kl.Record) -> None:
            if record.offset == 5 and not gate.is_set():
                gate.wait(SECONDS)
            values.append(record.value)

        group_id = f"amidst-{ordering}"
        with lab.consumer_group(group_id, log.topic, slow, ordering=ordering, commit_interval=0.05) as group:
            wait_until(lambda: any(part.position == 400 for part in group.stats().partitions.values()))
            made_anew(log, 600)
            wait_until(lambda: any(part.position == 600 for part in group.stats().partitions.values()))
            assert committed(log, group_id).get(0, 0) <= 5
            gate.set()
            wait_until(lambda: committed(log, group_id) == {0: 600})
        assert {b"value %d" % number for number in range(600)} <= set(values)

    def test_of_a_topic_made_anew_while_nobody_was_there(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, seen = filled(own, 1, 100), Seen()
        with lab.consumer_group("away", log.topic, seen) as group:
            assert group.wait_for(100, SECONDS)
        (commit,) = commits_of(log, "away")
        made_anew(log, 250)
        consumer = Consumer({"bootstrap.servers": log.bootstrap, "group.id": "away"}, logger=LOGGER)
        with contextlib.closing(consumer):  # as a member would that has not noticed
            consumer.commit(offsets=[commit], asynchronous=False)
        with lab.consumer_group("away", log.topic, seen) as group:
            assert group.wait_for(250, SECONDS)
            wait_until(lambda: committed(log, "away") == {0: 250})
        assert seen.offsets[100:] == list(range(250))
        (error,) = group.errors
        assert isinstance(error, kl.DataLossError)
        assert "made anew" in str(error)

    @pytest.mark.parametrize("assignor", ["cooperative-sticky", "range"])
    def test_that_were_cut_are_told_and_read_again(self, own: ApacheKafka, lab: kl.Lab, assignor: str) -> None:
        log, seen = filled(own, 2, 50), Seen()
        for number, start in enumerate(("earliest", "latest", "error")):
            group_id = f"cut-{start}-{assignor}"
            consumer = Consumer({"bootstrap.servers": log.bootstrap, "group.id": group_id}, logger=LOGGER)
            with contextlib.closing(consumer):
                ends = [TopicPartition(log.topic, 0, 80), TopicPartition(log.topic, 1, 50)]
                consumer.commit(offsets=ends, asynchronous=False)
            how: dict[str, Any] = {"start": start, "assignor": assignor}
            group = lab.consumer_group(group_id, log.topic, seen, **how)
            if start == "error":
                with pytest.raises(kl.DataLossError, match=r"50 to 79 are lost.*start='error'"):
                    group.run(SECONDS)
                continue
            with group:
                assert group.wait_for(50, SECONDS)
                wait_until(lambda group_id=group_id: committed(log, group_id) == {0: 50, 1: 50})  # type: ignore[misc]  # bound at once
            assert seen.offsets == list(range(50)) * (number + 1)
            (error,) = group.errors
            assert "offsets 50 to 79 are lost" in str(error)

    @pytest.mark.parametrize("start", ["earliest", "latest"])
    def test_that_retention_has_shortened_tell_what_is_lost(self, own: ApacheKafka, lab: kl.Lab, start: Any) -> None:
        log, seen = filled(own, 1, 50), Seen()
        group_id = f"retention-{start}"
        with lab.consumer_group(group_id, log.topic, start="earliest") as group:
            for record in group:
                if record.offset == 10:
                    break
        assert committed(log, group_id) == {0: 10}
        log.admin.delete_records([TopicPartition(log.topic, 0, 30)])[TopicPartition(log.topic, 0, 30)].result(SECONDS)
        with lab.consumer_group(group_id, log.topic, seen, start=start) as group:
            error = next(group.errors)
            log.write(0, *numbered(5, 50))
            wait_until(lambda: committed(log, group_id) == {0: 55})
        assert isinstance(error, kl.DataLossError)
        assert "offsets 10 to 29 are gone" in str(error)
        assert list(group.errors) == []
        assert seen.offsets == list(range(30 if start == "earliest" else 50, 55))

    def test_of_transactions_end_behind_the_last_marker(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, seen = new_topic(own.bootstrap_servers), Seen()
        writer = transactional(own.bootstrap_servers)
        for abort in (False, True, False):
            writer.begin_transaction()
            log.write(0, *numbered(3), by=writer, hidden=abort)
            (writer.abort_transaction if abort else writer.commit_transaction)(SECONDS)
        with lab.consumer_group("markers", log.topic, seen, commit_interval=0.05) as group:
            assert group.wait_for(6, SECONDS)
            wait_until(lambda: group.lag()["committed_lag"].tolist() == [0])
            assert group.stats().records_lag == 0
        assert seen.offsets == [0, 1, 2, 8, 9, 10]


class TestOffsets:
    def test_are_shown_and_moved_while_nobody_is_there(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, ledger = filled(own, 2, 30), Ledger(slowest=0)
        for protocol in ("classic", "consumer"):
            group_id = f"moved-{protocol}"
            group = lab.consumer_group(group_id, log.topic, ledger, group_protocol=protocol)
            with group:
                assert group.wait_for(60, SECONDS)
                with pytest.raises(kl.GroupError, match=rf"{group_id}.*kafkalab"):
                    group.seek("earliest", dry_run=False)
                lag = group.lag()
                assert lag["position"].tolist() == [30, 30]
            frame = lab.group_offsets(group_id)
            assert frame.to_numpy().tolist() == [[log.topic, p, 30, 30, 0] for p in range(2)]
            plan = group.seek({0: 10, 1: "earliest"})
            assert plan["change"].tolist() == [-20, -30]
            assert committed(log, group_id) == {0: 30, 1: 30}
            group.seek({0: 10}, dry_run=False)
            assert committed(log, group_id) == {0: 10, 1: 30}
            lab.seek_group(group_id, log.topic, -5, dry_run=False)
            assert committed(log, group_id) == {0: 25, 1: 25}
            with group:
                assert group.wait_for(10, SECONDS)

    def test_of_a_group_that_nobody_knows_are_none(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = filled(own, 1, 3)
        assert len(lab.group_offsets("nobody")) == 0
        assert lab.seek_group("nobody", log.topic, "latest")["committed_offset"].isna().all()


def test_a_topic_that_is_not_there_is_told_at_once(lab: kl.Lab) -> None:
    with pytest.raises(kl.UnknownTopicError, match="no-such-topic"):
        lab.consumer_group("nothing", "no-such-topic", print).start()


def test_topics_by_pattern(own: ApacheKafka, lab: kl.Lab) -> None:
    logs, ledger = [filled(own, 1, 10) for _ in range(2)], Ledger(slowest=0)
    seen: Counter[str] = Counter()

    def note(record: kl.Record) -> None:
        ledger(record)
        seen[record.topic] += 1

    pattern = f"^({logs[0].topic}|{logs[1].topic})$"
    with lab.consumer_group("pattern", pattern, note) as group:
        assert group.wait_for(20, SECONDS)
        assert group.lag()["topic"].tolist() == sorted(log.topic for log in logs)
    assert seen == Counter({log.topic: 10 for log in logs})


@pytest.mark.timeout(240)  # two starts
def test_the_broker_is_restarted(own: ApacheKafka, lab: kl.Lab) -> None:
    log, ledger = filled(own, 4, 800), Ledger(slowest=0.02)
    options: dict[str, Any] = {"ordering": "key", "commit_interval": 0.1, "settings": SHORT}
    with lab.consumer_group("restart", log.topic, ledger, **options) as group:
        for _ in range(2):
            assert group.wait_for(group.stats().handled + 500, SECONDS)
            own.brokers[1].kill()
            own.brokers[1].start()
        wait_until(lambda: len(ledger.done) == 3200, 2 * SECONDS)
        wait_until(lambda: committed_meanwhile(log, "restart", 4) == dict.fromkeys(range(4), 800), 2 * SECONDS)
        assert group.running
    assert max(ledger.done.values()) <= 3  # once more for each restart


# Members that end as they like


@dataclass
class Child:
    """A member in a process of its own, and what it says is done."""

    bootstrap: str
    path: Path
    options: dict[str, Any]
    slowest: float = 0.004
    process: subprocess.Popen[bytes] | None = None
    _notes: list[Any] = field(default_factory=list)
    _done: Counter[Place] = field(default_factory=Counter)
    _at: int = 0

    def start(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("group_member.py"))]
        command += [self.bootstrap, str(self.path), str(self.slowest), json.dumps(self.options)]
        self.process = subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})

    def end(self, how: signal.Signals, seconds: float = SECONDS) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(seconds)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS)

    def notes(self) -> list[Any]:
        with self.path.open("rb") as file:  # on from where it was read to: it gets long
            file.seek(self._at)
            lines = [line for line in file if line.endswith(b"\n")]  # the last may be half there
        self._at += sum(map(len, lines))
        new = [json.loads(line) for line in lines]
        self._notes += new
        self._done.update((note[0], note[1]) for note in new if isinstance(note, list))
        return self._notes

    def done(self) -> Counter[Place]:
        self.notes()
        return self._done


@pytest.fixture
def child(own: ApacheKafka, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    with ExitStack() as stack:

        def make(**options: Any) -> Child:
            made = Child(own.bootstrap_servers, tmp_path / f"{len(list(tmp_path.iterdir()))}.log", options)
            made.path.touch()
            stack.callback(made.stop)
            return made

        yield make


def kill_and_look(
    own: ApacheKafka, child: Callable[..., Child], group_id: str, rounds: int, **how: Any
) -> tuple[int, int]:
    """Kill members at random moments; return how many records were done twice, and how many might have been."""
    each = 600 * rounds  # more than the members do before the last
    log = filled(own, 4, each)
    options = {"group_id": group_id, "topics": log.topic, "commit_interval": 0.1, "buffer_depth": 500, **how}
    member = child(**options)
    might_be = 0
    for _ in range(rounds):
        member.start()
        goal = sum(member.done().values()) + random.randrange(1, 1500)
        wait_until(lambda goal=goal: sum(member.done().values()) >= goal)  # type: ignore[misc]  # bound at once
        member.end(signal.SIGKILL)
        done, offsets = member.done(), committed(log, group_id)
        for partition, offset in offsets.items():
            assert all((partition, before) in done for before in range(offset)), f"{offset} was committed too early"
        might_be += sum(offset >= offsets.get(partition, 0) for partition, offset in done)
    member.start()
    wait_until(lambda: len(member.done()) == 4 * each, 60 + 4 * rounds)
    member.end(signal.SIGINT)
    assert committed(log, group_id) == dict.fromkeys(range(4), each)
    return sum(member.done().values()) - 4 * each, might_be


@pytest.mark.parametrize(
    "how",
    [{"ordering": "key", "settings": SHORT}, {"ordering": "partition", "group_protocol": "consumer"}],
    ids=["classic", "kip-848"],
)
def test_a_member_is_killed_at_random_moments(
    own: ApacheKafka,
    child: Callable[..., Child],
    how: dict[str, Any],
) -> None:
    protocol = how.get("group_protocol", "classic")
    twice, might_be = kill_and_look(own, child, f"killed-{protocol}", 3, **how)
    LOGGER.info("%s: %d were handled twice, of %d that could be", how, twice, might_be)
    assert twice <= might_be


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ordering", ["partition", "key", "unordered"])
def test_members_are_killed_for_long(own: ApacheKafka, child: Callable[..., Child], ordering: str) -> None:
    twice, might_be = kill_and_look(own, child, f"killed-long-{ordering}", 50, ordering=ordering, settings=SHORT)
    LOGGER.info("%s: %d were handled twice, of %d that could be", ordering, twice, might_be)
    assert twice <= might_be


def test_ctrl_c_commits_all_that_is_done(own: ApacheKafka, child: Callable[..., Child]) -> None:
    log = filled(own, 2, 2000)
    member = child(group_id="ctrl-c", topics=log.topic, commit_interval=NEVER, ordering="key")
    member.start()
    wait_until(lambda: len(member.done()) > 200)
    assert member.end(signal.SIGINT) == -signal.SIGINT
    done = member.done()
    offsets = committed(log, "ctrl-c")
    assert all((p, before) in done for p, offset in offsets.items() for before in range(offset))
    later = sum(offset >= offsets[partition] for partition, offset in done)
    assert later <= 2 * 10 * 20  # out of order by what runs of other keys are behind
    assert sum(offsets.values()) > 0


def test_a_member_that_lost_its_partitions_commits_nothing(
    own: ApacheKafka, lab: kl.Lab, child: Callable[..., Child]
) -> None:
    log, ledger = filled(own, 2, 3000), Ledger(slowest=0)
    options: dict[str, Any] = {"group_id": "lost", "topics": log.topic, "settings": SHORT}
    sleeper = child(**options, commit_interval=NEVER)
    sleeper.start()
    wait_until(lambda: len(sleeper.done()) > 100)
    assert sleeper.process is not None
    sleeper.process.send_signal(signal.SIGSTOP)
    assert committed(log, "lost") == {}
    with lab.consumer_group("lost", log.topic, ledger, commit_interval=0.05, settings=SHORT) as group:
        assert group.wait_for(6000, SECONDS)
        wait_until(lambda: committed(log, "lost") == {0: 3000, 1: 3000})
        sleeper.process.send_signal(signal.SIGCONT)
        wait_until(lambda: sum("has" in note for note in sleeper.notes() if isinstance(note, dict)) == 2)
        assert committed(log, "lost") == {0: 3000, 1: 3000}
        assert sleeper.end(signal.SIGINT) == -signal.SIGINT
    assert committed(log, "lost") == {0: 3000, 1: 3000}
    assert set(ledger.done.values()) == {1}
