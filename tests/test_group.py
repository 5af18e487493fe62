"""The pure parts of consumer groups, against models that are too simple to be wrong."""

import itertools
import pickle
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message
from confluent_kafka import TopicPartition as KafkaPlace
from hypothesis import given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.cluster import Cluster
from kafkalab.group.consumer_group import ConsumerGroup, not_let_in
from kafkalab.group.dispatch import Dispatcher, Ordering, Run
from kafkalab.group.handler import Hooks
from kafkalab.group.logs import Logs, go_on, tag, tagged
from kafkalab.group.member import Member
from kafkalab.group.offsets import group_offsets
from kafkalab.group.pool import Pool
from kafkalab.group.problems import Problems
from kafkalab.group.settings import Membership, checked
from kafkalab.group.stats import GroupStats, Meter
from kafkalab.group.tracker import Tracker
from kafkalab.group.verdict import Verdict, judge, told
from kafkalab.model import TopicInfo, TopicPartition, Watermarks
from tests.interrupts import ends, interrupted

CONFIG = kl.ConnectionConfig({"bootstrap.servers": "localhost:9092"})


def message(offset: int, partition: int = 0, key: bytes | None = None) -> Message:
    make: Any = Message
    made: Message = make(topic="orders", partition=partition, offset=offset, key=key, value=b"")
    return made


# Steps of a partition: records come with gaps before them, records are marked one by one or in stretches.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.lists(st.integers(1, 3), min_size=1, max_size=6)),
        st.tuples(st.just("deliver"), st.integers(1, 6).map(lambda count: [1] * count)),
        st.tuples(st.just("mark"), st.lists(st.integers(-5, 60), min_size=1, max_size=5, unique=True)),
        st.tuples(st.just("stretch"), st.tuples(st.integers(-5, 60), st.integers(1, 20))),
    ),
    max_size=40,
)


class TestTracker:
    @given(STEPS)
    def test_knows_what_a_set_of_offsets_knows(self, steps: list[Any]) -> None:
        tracker, delivered, open_, position = Tracker(), list[int](), set[int](), -1
        for what, value in steps:
            if what == "deliver":
                offsets = []
                for gap in value:
                    position += gap
                    offsets.append(position)
                whole = offsets[-1] - offsets[0] + 1 == len(offsets)
                tracker.deliver(range(offsets[0], offsets[-1] + 1) if whole else offsets)
                delivered += offsets
                open_ |= set(offsets)
            else:
                marked = sorted(value) if what == "mark" else range(value[0], value[0] + value[1])
                tracker.mark(marked)
                open_ -= set(marked)
            low = min(open_, default=position + 1) if delivered else -1
            assert tracker.low_water == low
            assert tracker.unsettled == sum(offset >= low for offset in delivered)
            assert tracker.next_offset == (position + 1 if delivered else -1)

    def test_forgets_what_is_done(self) -> None:
        tracker = Tracker()
        for start in range(0, 1_000_000, 1000):
            tracker.deliver(range(start, start + 1000))
            tracker.mark(range(start, start + 900))
            tracker.mark(range(max(start - 100, 0), start))
            assert start + 900 == tracker.low_water
        assert tracker.unsettled == 100
        assert sum(len(stretch.marks) for stretch in tracker._stretches) < 10_000


def run_all(dispatcher: Dispatcher, choose: Any, workers: int) -> list[tuple[str, Run, Message]]:
    """Let workers take and end runs in an order that hypothesis chooses; return when each record began and ended."""
    busy: list[Run] = []
    events: list[tuple[str, Run, Message]] = []
    while True:
        run = dispatcher.take() if len(busy) < workers else None
        if run is not None:
            busy.append(run)
            if choose(st.booleans()):
                continue
        if not busy:
            return events
        run = busy[choose(st.integers(0, len(busy) - 1))]
        record = next(run.rest, None)
        if record is None:
            busy.remove(run)
            dispatcher.finish(run, choose(st.sampled_from([0.0001, 0.01, 1.0])))
            run.mark(len(run.messages))
        else:
            events.append(("begin", run, record))


KEYS = st.sampled_from([b"a", b"b", b"c", b"d", None, b""])


class TestDispatcher:
    @pytest.mark.parametrize("ordering", ["partition", "key", "unordered"])
    @given(data=st.data())
    def test_hands_out_everything_once_and_in_order(self, ordering: Ordering, data: st.DataObject) -> None:
        dispatcher = Dispatcher(ordering, lanes=3)
        dispatcher.assign({TopicPartition("orders", p): -1 for p in range(2)})
        for partition in range(2):
            offset = 0
            for keys in data.draw(st.lists(st.lists(KEYS, min_size=1, max_size=8), max_size=4)):
                dispatcher.add([message(offset + n, partition, key) for n, key in enumerate(keys)])
                offset += len(keys)
        wanted = sum(part.waiting for part in dispatcher.parts.values())
        events = run_all(dispatcher, data.draw, workers=3)
        lanes: dict[Any, list[int]] = defaultdict(list)
        for _, run, record in events:
            key = None if ordering == "partition" else record.key()
            assert run.lane.part.place.partition == record.partition()
            if ordering == "partition" or (ordering == "key" and key is not None):
                lanes[record.partition(), key].append(record.offset() or 0)
        assert len({(record.partition(), record.offset()) for _, _, record in events}) == len(events) == wanted
        assert all(offsets == sorted(offsets) for offsets in lanes.values())
        for part in dispatcher.parts.values():
            assert part.tracker.low_water == part.tracker.next_offset
            assert (part.waiting, part.runs) == (0, set())

    @given(data=st.data())
    def test_never_hands_a_lane_to_two(self, data: st.DataObject) -> None:
        dispatcher = Dispatcher("key", lanes=4)
        dispatcher.assign({TopicPartition("orders", 0): -1})
        offset, busy = 0, list[Run]()
        for step in data.draw(st.lists(st.sampled_from(["add", "take", "finish", "recall"]), max_size=60)):
            if step == "add":
                keys = data.draw(st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=20))
                dispatcher.add([message(offset + n, 0, key) for n, key in enumerate(keys)])
                offset += len(keys)
            elif step == "take" and (run := dispatcher.take()) is not None:
                busy.append(run)
            elif step == "finish" and busy:
                run = busy.pop(data.draw(st.integers(0, len(busy) - 1)))
                list(run.rest)
                dispatcher.finish(run, 0.01)
            elif step == "recall":
                for run in busy:
                    next(run.rest, None)
                dispatcher.recall()
            lanes = [id(run.lane) for run in busy]
            assert len(lanes) == len(set(lanes))

    def test_takes_back_what_was_not_begun_and_hands_it_out_again_first(self) -> None:
        dispatcher = Dispatcher("partition", 1)
        dispatcher.assign({TopicPartition("orders", 0): -1})
        dispatcher.add([message(n) for n in range(8)])
        run = dispatcher.take()
        assert run is not None
        next(run.rest)
        next(run.rest)
        dispatcher.held = True
        dispatcher.recall()
        assert next(run.rest, None) is None
        assert dispatcher.take() is None
        run.mark(run.done(running=False))
        assert dispatcher.finish(run, 0.01) == 2
        dispatcher.held = False
        again = dispatcher.take()
        assert again is not None
        assert again.messages[0].offset() == 2
        assert dispatcher.parts[TopicPartition("orders", 0)].tracker.low_water == 2

    def test_of_a_partition_given_up_and_got_back_waits_for_the_worker_that_is_still_at_it(self) -> None:
        place = TopicPartition("orders", 0)
        dispatcher = Dispatcher("partition", 1)
        dispatcher.assign({place: -1})
        dispatcher.add([message(0), message(1)])
        straggler = dispatcher.take()
        assert straggler is not None
        next(straggler.rest)
        dispatcher.forget(dispatcher.retire([place]))
        dispatcher.assign({place: -1})
        dispatcher.add([message(0), message(1)])
        assert dispatcher.take() is None
        dispatcher.finish(straggler, 1)
        again = dispatcher.take()
        assert again is not None
        straggler.mark(1)
        assert dispatcher.parts[place].tracker.low_water == 0

    def test_drops_what_comes_again_after_a_rebalance(self) -> None:
        place = TopicPartition("orders", 0)
        dispatcher = Dispatcher("partition", 1)
        dispatcher.assign({place: 10})
        dispatcher.add([message(n) for n in range(8, 20)])
        part = dispatcher.parts[place]
        dispatcher.add([message(n) for n in range(15, 25)])
        dispatcher.add([message(n) for n in range(5)])
        assert (part.waiting, part.tracker.next_offset) == (15, 25)
        assert dispatcher.add([message(0, partition=7)]) == 0

    @pytest.mark.parametrize("ordering", ["partition", "key", "unordered"])
    @given(data=st.data())
    def test_marks_of_one_log_say_nothing_of_the_next(self, ordering: Ordering, data: st.DataObject) -> None:
        place = TopicPartition("orders", 0)
        dispatcher = Dispatcher(ordering, lanes=2)
        dispatcher.assign({place: 0})
        logs: list[list[Message]] = [[]]
        done: set[int] = set()  # by identity: the same offsets come again
        at, busy, begun = 0, list[Run](), list[Message]()
        steps = st.sampled_from(["add", "add", "take", "go", "go", "finish", "recall", "renew"])
        chosen = data.draw(st.lists(steps, max_size=30))
        while chosen or not dispatcher.is_idle:
            step = chosen.pop() if chosen else "finish" if busy else "take"
            if step == "add":
                keys = data.draw(st.lists(st.sampled_from([b"a", b"b", None]), min_size=1, max_size=4))
                fresh = [message(at + n, 0, key) for n, key in enumerate(keys)]
                dispatcher.add(list(fresh))
                logs[-1] += fresh
                at += len(fresh)
            elif step == "renew":
                at = data.draw(st.integers(0, at))
                dispatcher.renew({place: at})
                logs.append([])
            elif step == "take" and (run := dispatcher.take()) is not None:
                busy.append(run)
            elif step == "go" and busy:
                begun += itertools.islice(busy[-1].rest, 1)
            elif step == "finish" and busy:
                run = busy.pop()
                begun += run.rest
                run.mark(len(run.messages))
                done |= set(map(id, run.messages))
                dispatcher.finish(run, 0.01)
            elif step == "recall":
                dispatcher.recall()
            part = dispatcher.parts[place]
            open_ = [found.offset() or 0 for found in logs[-1] if id(found) not in done]
            assert part.tracker.low_water == min(open_, default=at)
            assert part.load >= sum(id(found) not in done for log in logs for found in log)
        assert sorted(map(id, begun)) == sorted(id(found) for log in logs for found in log)

    def test_holds_a_partition_back_until_where_it_begins_is_committed(self) -> None:
        place = TopicPartition("orders", 0)
        dispatcher = Dispatcher("partition", 1)
        dispatcher.assign({place: 7}, held=[place])
        dispatcher.add([message(7)])
        assert dispatcher.take() is None
        assert dispatcher.parts[place].tracker.low_water == 7
        dispatcher.release([place])
        assert dispatcher.take() is not None


PLACE = TopicPartition("orders", 0)


def pool_of(offsets: range) -> Pool:
    pool = Pool("partition", 1, Hooks.of(None), lambda *_: True)
    pool.assign({PLACE: -1})
    pool.add([[message(n) for n in offsets]] if offsets else [])
    return pool


class TestPool:
    def test_nobody_waits_for_a_reader_that_was_interrupted(self) -> None:
        at, more = 0, True
        while more:
            at += 1
            pool = Pool("partition", 1, Hooks.of(None), lambda *_: True)
            pool.assign({TopicPartition("orders", 0): -1})
            pool.add([[message(n) for n in range(3)], [message(n) for n in range(3, 6)]])
            records = pool.records()
            more = interrupted(at, list, itertools.islice(records, 5))
            records.close()
            assert ends(pool.low_waters)
            assert pool.wait_idle(0)
        assert at > 10

    def test_what_a_reader_leaves_is_handed_out_again(self) -> None:
        pool = pool_of(range(10))
        seen: list[int] = []
        records = pool.records()
        for record in records:
            seen.append(record.offset)
            if len(seen) == 3:
                break
        records.close()
        assert pool.low_waters() == {PLACE: 2}
        assert (pool.handled, pool.stats({}, {})[PLACE].waiting) == (2, 8)
        assert [record.offset for record in itertools.islice(pool.records(), 8)] == list(range(2, 10))
        assert (pool.low_waters(), pool.handled) == ({PLACE: 9}, 9)

    def test_what_a_reader_has_marked_is_not_handed_out_again(self) -> None:
        pool = pool_of(range(4))
        records = pool.records()
        pool.mark(next(records))
        records.close()
        assert next(pool.records()).offset == 1

    def test_marks_of_an_earlier_log_count_nothing(self) -> None:
        pool = pool_of(range(4))
        old = next(pool.records())
        pool.renew({PLACE: 0})
        pool.add([[message(n) for n in range(4)]])
        pool.mark(pickle.loads(pickle.dumps(old)))  # noqa: S301 - made in this line
        assert pool.low_waters() == {PLACE: 0}

    def test_nobody_waits_for_one_that_is_closed(self) -> None:
        pool = pool_of(range(4))
        waits = threading.Thread(target=pool.wait_handled, args=(100, 60))
        reads = threading.Thread(target=list, args=(pool.records(),))
        for thread in (waits, reads):
            thread.start()
        pool.close(0)
        assert ends(waits.join)
        assert ends(reads.join)
        assert not pool.wait_handled(100, 60)

    def test_waits_for_records_to_be_handled(self) -> None:
        pool = pool_of(range(4))
        found: list[bool] = []
        waits = threading.Thread(target=lambda: found.append(pool.wait_handled(4, 60)))
        waits.start()
        assert len(list(itertools.islice(pool.records(), 4))) == 4
        next(pool.records(), None) if pool.handled == 4 else pool.close(0)
        waits.join(10)
        assert found

    def test_hands_out_nothing_after_a_failure_whatever_is_told_later(self) -> None:
        seen: list[int] = []

        def process(record: kl.Record) -> None:
            seen.append(record.offset)
            raise ValueError

        pool = Pool("partition", 1, Hooks.of(process), lambda *_: False)
        pool.start()
        pool.assign({PLACE: -1})
        pool.add([[message(n) for n in range(4)]])
        assert pool.wait_handled(0, 0)
        while not seen:
            pool.wait_handled(1, 0.01)
        pool.wait_idle(10)
        pool.go_on()
        pool.close(10)
        assert seen == [0]
        assert pool.low_waters() == {PLACE: 0}

    def test_every_reader_is_known(self) -> None:
        pool = pool_of(range(4))
        one, other = pool.records(), pool.records()
        next(one)
        next(other, None) if pool.stats({}, {})[PLACE].waiting else None
        other.close()
        assert pool.is_busy_here()
        one.close()
        assert not pool.is_busy_here()

    def test_nobody_waits_for_one_that_was_interrupted_as_it_waited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kafkalab.group.pool._WAIT_S", 0.0001)
        for at in range(1, 60):
            pool = pool_of(range(0))
            records = pool.records()
            assert interrupted(at, next, records)
            records.close()
            assert ends(pool.low_waters)
            pool.add([[message(0)]])
            assert next(pool.records()).offset == 0

    def test_nobody_waits_for_who_waited_for_records(self) -> None:
        at, more = 0, True
        while more:
            at += 1
            pool = pool_of(range(3))
            more = interrupted(at, pool.wait_handled, 100, 0)
            assert ends(pool.low_waters)
            assert len(list(itertools.islice(pool.records(), 3))) == 3
        assert at > 3

    def test_a_reader_that_leaves_takes_nothing_from_another(self) -> None:
        pool = Pool("partition", 2, Hooks.of(None), lambda *_: True)
        pool.assign({TopicPartition("orders", p): -1 for p in range(2)})
        pool.add([[message(n, p) for n in range(2)] for p in range(2)])
        one, other = pool.records(), pool.records()
        next(one)
        next(other)
        one.close()
        assert not pool.wait_idle(0)
        other.close()
        assert pool.wait_idle(0)


class TestSettings:
    def test_of_the_two_protocols(self) -> None:
        classic = Membership("g").client_options(CONFIG, {"fetch.min.bytes": 10})
        assert classic["partition.assignment.strategy"] == "cooperative-sticky"
        assert (classic["enable.auto.commit"], classic["allow.auto.create.topics"]) == (False, False)
        assert (classic["auto.offset.reset"], classic["fetch.min.bytes"]) == ("error", 10)
        new = Membership("g", group_protocol="consumer", assignor="range", instance_id="i")
        options = new.client_options(CONFIG, {})
        assert (options["group.remote.assignor"], options["group.instance.id"]) == ("range", "i")
        assert "partition.assignment.strategy" not in options
        with pytest.raises(kl.ConfigError, match=r"the broker sets session\.timeout\.ms"):
            new.client_options(CONFIG, {"session.timeout.ms": 1000})

    def test_given_with_the_connection_do_not_reach_the_new_protocol(self) -> None:
        config = kl.ConnectionConfig({"bootstrap.servers": "localhost:9092", "session.timeout.ms": 9000})
        assert Membership("g").client_options(config, {})["session.timeout.ms"] == "9000"
        assert "session.timeout.ms" not in Membership("g", group_protocol="consumer").client_options(config, {})

    @pytest.mark.parametrize("name", ["enable.auto.commit", "group.id", "auto.offset.reset", "group.instance.id"])
    def test_that_are_the_groups_own_are_refused(self, name: str) -> None:
        with pytest.raises(kl.ConfigError, match=name.replace(".", r"\.")):
            checked({name: "x"})

    def test_can_come_from_an_object(self) -> None:
        class Tuned:
            def to_librdkafka(self) -> dict[str, Any]:
                return {"queued.min.messages": 5}

        assert checked(Tuned()) == {"queued.min.messages": 5}

    @pytest.mark.parametrize(
        "settings",
        [
            kl.ConsumerSettings.preset("article"),
            kl.ConsumerSettings.from_java({}),
            kl.ConsumerSettings.from_sarama({}),
            {"isolation.level": "read_uncommitted"},
        ],
        ids=["article", "java", "sarama", "mapping"],
    )
    @pytest.mark.parametrize("protocol", ["classic", "consumer"])
    def test_of_other_clients_are_taken_as_a_whole(self, settings: Any, protocol: Any) -> None:
        membership, given = Membership("g", group_protocol=protocol).agreed(settings)
        options = membership.client_options(CONFIG, given)
        assert options["isolation.level"] == membership.level == "read_uncommitted"
        assert options["enable.auto.commit"] is False
        ConsumerGroup(Cluster(CONFIG), Membership("g", group_protocol=protocol), "orders", settings=settings)
        with pytest.raises(kl.ConfigError, match="isolation_level='read_committed', and settings have"):
            Membership("g", isolation_level="read_committed").agreed(settings)

    def test_that_were_chosen_count_though_they_are_a_default(self) -> None:
        membership, given = Membership("g").agreed(kl.ConsumerSettings(fetch_queue_backoff_ms=1000))
        assert membership.client_options(CONFIG, given)["fetch.queue.backoff.ms"] == 1000
        assert Membership("g").client_options(CONFIG, {})["fetch.queue.backoff.ms"] == 1

    def test_of_others_say_who_assigns(self) -> None:
        assert Membership("g").agreed(kl.ConsumerSettings.preset("article"))[0].assignor == "roundrobin"
        with pytest.raises(kl.ConfigError, match=r"start='earliest', and settings have auto\.offset\.reset='error'"):
            Membership("g").agreed(kl.ConsumerSettings(auto_offset_reset="error"))

    def test_a_handler_may_take_no_longer_than_the_group_waits(self) -> None:
        short = {"max.poll.interval.ms": 20_000}
        made = ConsumerGroup(Cluster(CONFIG), Membership("g"), "orders", settings=short)
        assert made._timing["drain_timeout"] == 10
        with pytest.raises(kl.ConfigError, match=r"drain_timeout=16 s is too long .* at most 15 s"):
            ConsumerGroup(Cluster(CONFIG), Membership("g"), "orders", settings=short, drain_timeout=16)
        of_connection = kl.ConnectionConfig({"bootstrap.servers": "localhost:9092", **short})
        with pytest.raises(kl.ConfigError, match="drain_timeout=16 s"):
            ConsumerGroup(Cluster(of_connection), Membership("g"), "orders", drain_timeout=16)

    def test_that_are_unknown_are_refused(self) -> None:
        with pytest.raises(kl.ConfigError, match=r"no option 'queued\.min\.massages'"):
            checked({"queued.min.massages": 5})


class TestArguments:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"workers": 0},
            {"workers": 2.5},
            {"ordering": "keys"},
            {"on_error": "ignore"},
            {"topics": []},
            {"group_id": ""},
            {"start": "beginning"},
            {"group_protocol": "new"},
            {"assignor": "uniform"},
            {"buffer_depth": 0},
            {"drain_timeout": -1},
            {"handler": 5},
            {"handler": dict},
            {"isolation_level": "none"},
        ],
        ids=str,
    )
    def test_that_make_no_sense_are_refused(self, wrong: dict[str, Any]) -> None:
        from kafkalab.fetch.librdkafka import LibrdkafkaFetcher

        cluster = Cluster(CONFIG)
        lab = kl.Lab(cluster, LibrdkafkaFetcher(CONFIG, cluster))
        with pytest.raises(kl.ArgumentError):
            lab.consumer_group(**{"group_id": "g", "topics": "orders", "handler": print, **wrong})

    def test_topics_in_memory_have_no_groups(self) -> None:
        cluster = kl.MemoryCluster({"orders": 1})
        lab = kl.Lab(cluster, cluster)
        for call in (
            lambda: lab.consumer_group("g", "orders"),
            lambda: lab.group_offsets("g"),
            lambda: lab.seek_group("g", "orders", "earliest"),
        ):
            with pytest.raises(kl.UnsupportedError, match=r"kl\.demo"):
                call()

    def test_a_group_that_was_not_started_says_so(self) -> None:
        group = ConsumerGroup(Cluster(CONFIG), Membership("g"), "orders", print)
        assert "not started" in repr(group)
        assert "orders" in group._repr_html_()
        assert group.stats().records_lag == 0
        group.stop()
        with pytest.raises(kl.ArgumentError, match="with statement"):
            group.wait_for(1, 0)
        with pytest.raises(kl.ArgumentError, match="handler"):
            next(iter(group))
        with pytest.raises(kl.ArgumentError, match="for record in group"):
            ConsumerGroup(Cluster(CONFIG), Membership("g"), "orders").run(1)


class TestVerdict:
    @pytest.mark.parametrize(
        "error",
        [
            KafkaError(KafkaError._FATAL, "Fatal error: Broker: Static consumer fenced by other consumer"),
            KafkaError(KafkaError.FENCED_INSTANCE_ID),
            KafkaError(KafkaError.UNRELEASED_INSTANCE_ID),
            KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED),
            KafkaError(KafkaError.ILLEGAL_GENERATION, "gone", fatal=True),
        ],
        ids=str,
    )
    def test_of_what_ends_a_member_names_the_group(self, error: KafkaError) -> None:
        assert judge(error) is Verdict.ENDS
        assert "group 'billing'" in str(told(error, "billing"))

    def test_of_what_passes(self) -> None:
        assert judge(KafkaError(KafkaError.NOT_COORDINATOR)) is Verdict.PASSES
        assert judge(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)) is Verdict.TOLD

    @pytest.mark.parametrize(
        "code", [KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.NOT_COORDINATOR, KafkaError._WAIT_COORD]
    )
    def test_of_a_client_without_a_group_ignores_those_about_it(self, code: int) -> None:
        assert judge(KafkaError(code), in_group=False) is Verdict.IGNORED
        assert judge(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), in_group=False) is Verdict.ENDS


class TestLogs:
    @given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.sampled_from(["earliest", "latest"]))
    def test_never_goes_on_past_the_end_or_before_the_beginning(
        self, position: int, first: int, size: int, start: Any
    ) -> None:
        target, error = go_on(PLACE, position, (first, first + size), start)
        assert target is not None
        assert first <= target <= first + size
        assert start == "latest" or target == first
        if position >= first:  # cut: at the end there may be what was written since
            assert target == first
        assert (error.topic, error.partition, error.offset) == ("orders", 0, position)
        assert go_on(PLACE, position, (first, first + size), "error")[0] is None

    def test_tells_first_and_last_lost_offset(self) -> None:
        assert "offsets 5 to 7 are gone" in str(go_on(PLACE, 5, (8, 20), "earliest")[1])
        assert "offsets 5 to 7 are gone" in (text := str(go_on(PLACE, 5, (8, 20), "latest")[1]))
        assert "goes on at 20, and passes over 8 to 19" in text
        assert "offsets 20 to 29 are lost" in str(go_on(PLACE, 30, (8, 20), "latest")[1])
        assert "made anew (its id was a and is b)" in str(go_on(PLACE, 30, (0, 20), "earliest", ("a", "b"))[1])

    def test_follows_a_topic_to_its_next_id_and_never_back(self) -> None:
        ids = iter(["a", "a", "b", "a", "c"])

        class Told(Cluster):
            def topic(self, name: str) -> TopicInfo:
                return TopicInfo(name, (), topic_id=next(ids))

        logs = Logs(Told(CONFIG), "earliest", "read_committed")
        others = []
        known = "a"
        for _ in range(5):
            logs.look(["orders"])
            if (now := logs.other("orders", known)) is not None:
                others.append(now)
                logs.leave(known)
                known = now
        assert others == ["b", "c"]
        assert logs.version == 2

    def test_know_their_own_commits(self) -> None:
        assert tagged(tag("abc")) == "abc"
        assert tag(None) is None
        assert tagged("somebody else's") is None
        assert tagged(None) is None


class TestProblems:
    @given(st.lists(st.integers(0, 40), max_size=40), st.data())
    def test_are_the_newest_in_bounded_memory(self, sizes: list[int], data: st.DataObject) -> None:
        problems, wanted = Problems(5, 100), list[int]()
        for number, size in enumerate(sizes):
            error = kl.HandlerError(str(number))
            error.record = kl.Record.of("orders", offset=number, value=bytes(size))
            problems.add(error)
            wanted.append(number)
            while len(wanted) > 5 or (sum(sizes[each] for each in wanted) > 100 and len(wanted) > 1):
                del wanted[0]
            if data.draw(st.booleans()):
                assert str(problems.take()) == str(wanted.pop(0))
            assert len(problems) == len(wanted)
        assert [str(problems.take()) for _ in wanted] == list(map(str, wanted))
        assert problems.take() is None


@dataclass
class Client:
    """A client of a group's member whose answers are given."""

    answers: list[Any]
    committed_there: list[Any] = field(default_factory=list)
    assigned: list[Any] = field(default_factory=list)

    def committed(self, _: Any, timeout: float) -> Any:
        assert timeout > 0
        answer = self.answers.pop(0)
        if isinstance(answer, KafkaError):
            return [SimpleNamespace(topic="orders", partition=0, offset=-1001, metadata=None, error=answer)]
        return [SimpleNamespace(topic="orders", partition=0, offset=answer, metadata=None, error=None)]

    def commit(self, offsets: Any, **_: Any) -> Any:
        self.committed_there += [part.offset for part in offsets]
        return [SimpleNamespace(topic="orders", partition=0, offset=part.offset, error=None) for part in offsets]

    def incremental_assign(self, parts: Any) -> None:
        self.assigned += [part.offset for part in parts]

    def memberid(self) -> str:
        return "me"


class Ended(Cluster):
    """A cluster of one topic, of which the log ends at 99."""

    def topic(self, name: str) -> TopicInfo:
        return TopicInfo(name, (), topic_id="id")

    def watermarks(self, topic: str, partitions: Sequence[int], **_: Any) -> dict[int, Watermarks]:
        assert topic == "orders"
        return dict.fromkeys(partitions, Watermarks(0, 99, 99))


class TestMember:
    def begin(self, *answers: Any) -> tuple[Member, Client]:
        membership = Membership("billing", start="latest")
        client, pool = Client(list(answers)), Pool("partition", 0, Hooks.of(None), lambda *_: True)
        member = Member(
            membership.client_options(CONFIG, {}),
            ["orders"],
            pool,
            Hooks.of(None),
            buffer_depth=None,
            drain_timeout=1,
            commit_interval=1,
            logs=Logs(Ended(CONFIG), "latest", "read_committed"),
            stop=threading.Event(),
            tell=lambda _: None,
        )
        member._client = client  # type: ignore[assignment]  # of which it has what is called here
        member._on_assign(client, [KafkaPlace("orders", 0)])  # type: ignore[arg-type]  # as above
        return member, client

    def test_begins_at_the_end_where_nothing_is_committed(self) -> None:
        member, client = self.begin(-1001)
        assert (client.committed_there, client.assigned, member.committed) == ([99], [99], {PLACE: 99})

    def test_takes_no_failure_for_nothing_committed(self) -> None:
        _, client = self.begin(KafkaError(KafkaError.NOT_COORDINATOR), KafkaError(KafkaError._TIMED_OUT), 42)
        assert (client.committed_there, client.assigned) == ([], [42])

    def test_ends_where_it_may_not_know_what_is_committed(self) -> None:
        member, client = self.begin(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
        assert (client.committed_there, client.assigned) == ([], [])
        assert isinstance(member._failure, kl.AuthorizationError)
        assert "group 'billing'" in str(member._failure)


@pytest.mark.parametrize(
    ("level", "committed", "end"),
    [(None, 5, 8), (None, 9, 10), ("read_committed", 9, 8), ("read_uncommitted", 5, 10)],
)
def test_the_end_is_what_the_group_may_read(level: str | None, committed: int, end: int) -> None:
    class Open(Cluster):
        def commits(self, *_: Any) -> Any:
            return {PLACE: committed}

        def overview(self, name: str) -> tuple[TopicInfo, dict[int, Watermarks]]:
            return TopicInfo(name, ()), {0: Watermarks(0, 8, 10)}

    frame = group_offsets(Open(CONFIG), "billing", isolation_level=level)
    assert frame["end_offset"].tolist() == [end]
    assert frame["committed_lag"].tolist() == [end - committed]


def test_a_protocol_that_the_broker_does_not_know_is_refused_at_once() -> None:
    class Old(Cluster):
        def api_versions(self) -> dict[int, tuple[int, int]]:
            return {11: (0, 5)}

    group = ConsumerGroup(Old(CONFIG), Membership("g", group_protocol="consumer"), "orders", print)
    with pytest.raises(kl.UnsupportedError, match=r"group_protocol='consumer'.*4\.0"):
        group.start()
    assert not group.running


@pytest.mark.parametrize("how", [{"instance_id": "a"}, {"group_protocol": "consumer"}], ids=str)
def test_a_member_that_is_not_let_in_is_told_why_it_may_be(how: dict[str, Any]) -> None:
    (value,) = how.values()
    text = str(not_let_in(Membership("billing", **how), "STABLE"))
    assert f"{value!r}" in text
    assert text.startswith("group 'billing' is STABLE")


class TestMeter:
    @pytest.mark.parametrize("seldom", [0.5, 5.5, 60.0])
    def test_tells_the_rate_however_seldom_it_is_asked(self, seldom: float) -> None:
        meter, asked = Meter(0.0), seldom
        for tick in range(1, 1300):
            now = tick / 10
            meter.note(90 * tick, now)
            if now >= asked:
                assert meter.rate(90 * tick, now) == pytest.approx(900)
                asked += seldom
        assert meter.rate(90 * 1299, 200.0) == 0


class TestRecord:
    def test_is_what_was_stored_and_cannot_be_changed(self) -> None:
        record = kl.Record.of("orders", 3, 42, key=b"", value=None, headers=[("h", None)], timestamp_ms=0)
        assert (record.topic, record.partition, record.offset) == ("orders", 3, 42)
        assert (record.key, record.value, record.headers) == (b"", None, (("h", None),))
        assert (record.timestamp_ms, record.timestamp_type, f"{record.timestamp}") == (
            0,
            "create_time",
            "1970-01-01 00:00:00+00:00",
        )
        with pytest.raises(AttributeError):
            record.key = b"x"  # type: ignore[misc]  # that is what is tried

    @pytest.mark.parametrize(("ms", "shown"), [(None, None), (-1, None), (2**62, None)])
    def test_has_no_time_where_there_is_none(self, ms: int | None, shown: None) -> None:
        assert kl.Record.of("orders", timestamp_ms=ms).timestamp is shown

    def test_is_shown_short_and_harmless(self) -> None:
        text = repr(kl.Record.of("orders", value=b"\x1b[31m<script>" * 100))
        assert len(text) < 140
        assert "\x1b" not in text
        assert "1,300 bytes" in text


def test_hooks_are_those_there_are() -> None:
    class Marks:
        def process(self, record: kl.Record, session: kl.Session) -> None:
            session.mark(record)

    assert Hooks.of(Marks()).setup is None
    assert not Hooks.of(Marks()).automatic
    assert Hooks.of(print).automatic
    assert Hooks.of(None).process is None


def test_errors_can_be_sent_home() -> None:
    error = kl.HandlerError("no", topic="orders", partition=1, offset=2)
    assert str(pickle.loads(pickle.dumps(error))) == "orders[1]@2: no"  # noqa: S301 - made a line above


def test_a_lag_is_told_only_where_it_is_known() -> None:
    assert GroupStats("running", 0, 0, 0.0, 0, {}).records_lag == 0
