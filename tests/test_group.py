"""The pure parts of consumer groups, against models that are too simple to be wrong."""

import itertools
import pickle
from collections import defaultdict
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.group.dispatch import Dispatcher, Ordering, Run
from kafkalab.group.handler import Hooks
from kafkalab.group.pool import Pool
from kafkalab.group.settings import Membership, checked
from kafkalab.group.stats import GroupStats
from kafkalab.group.tracker import Tracker
from kafkalab.model import TopicPartition
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
        dispatcher.assign([TopicPartition("orders", p) for p in range(2)])
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
        dispatcher.assign([TopicPartition("orders", 0)])
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
        dispatcher.assign([TopicPartition("orders", 0)])
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
        dispatcher.assign([place])
        dispatcher.add([message(0), message(1)])
        straggler = dispatcher.take()
        assert straggler is not None
        next(straggler.rest)
        dispatcher.forget(dispatcher.retire([place]))
        dispatcher.assign([place])
        dispatcher.add([message(0), message(1)])
        assert dispatcher.take() is None
        dispatcher.finish(straggler, 1)
        again = dispatcher.take()
        assert again is not None
        straggler.mark(1)
        assert dispatcher.parts[place].tracker.low_water == 0

    def test_drops_what_comes_again_after_a_rebalance_and_follows_a_log_that_went_back(self) -> None:
        place = TopicPartition("orders", 0)
        dispatcher = Dispatcher("partition", 1)
        dispatcher.assign([place])
        dispatcher.add([message(n) for n in range(10, 20)])
        part = dispatcher.parts[place]
        part.replayed = True
        dispatcher.add([message(n) for n in range(15, 25)])
        assert (part.waiting, part.tracker.next_offset) == (15, 25)
        dispatcher.add([message(n) for n in range(5)])
        assert (part.waiting, part.tracker.next_offset) == (20, 5)
        assert dispatcher.add([message(0, partition=7)]) == 0


class TestPool:
    def test_nobody_waits_for_a_reader_that_was_interrupted(self) -> None:
        at, more = 0, True
        while more:
            at += 1
            pool = Pool("partition", 1, Hooks.of(None), lambda *_: True)
            pool.assign([TopicPartition("orders", 0)])
            pool.add([[message(n) for n in range(3)], [message(n) for n in range(3, 6)]])
            records = pool.records()
            more = interrupted(at, list, itertools.islice(records, 5))
            records.close()
            assert ends(pool.low_waters)
            assert pool.wait_idle(0)
        assert at > 10

    def test_a_reader_that_leaves_takes_nothing_from_another(self) -> None:
        pool = Pool("partition", 2, Hooks.of(None), lambda *_: True)
        pool.assign([TopicPartition("orders", p) for p in range(2)])
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
        assert (classic["auto.offset.reset"], classic["fetch.min.bytes"]) == ("earliest", 10)
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
        from kafkalab.cluster import Cluster
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
        from kafkalab.cluster import Cluster
        from kafkalab.group.consumer_group import ConsumerGroup

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
