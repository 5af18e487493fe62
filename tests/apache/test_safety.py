"""Reading changes nothing on the cluster, and comes through, or says so, when the cluster changes under it."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from kafkalab.cluster import Cluster
from kafkalab.fetch.arrow import ArrowFetcher
from kafkalab.fetch.librdkafka import LibrdkafkaFetcher
from tests.apache.test_read import in_two_members
from tests.apache.truth import (
    LOGGER,
    QUICK,
    SECONDS,
    Log,
    Record,
    Row,
    admin_of,
    big,
    clients_alive,
    new_topic,
    numbered,
    producer,
    rows,
    wait_until,
)

# As short as it goes: a broker that comes back has to wait until its old session is over.
SHORT_SESSIONS = {"broker.session.timeout.ms": 3000, "broker.heartbeat.interval.ms": 500}
# So little ahead that most of a topic is still with the broker when its first rows are here.
LITTLE_AHEAD = {"queued.min.messages": 100, "queued.max.messages.kbytes": 64, "fetch.message.max.bytes": 50_000}
COUNT = 4000
READY_TO_MAKE: dict[str, object] = {"auto.create.topics.enable": True}


@pytest.fixture(scope="module")
def own() -> Iterator[ApacheKafka]:
    """Give a broker that makes topics for whoever names one, and that these tests may stop."""
    with ApacheKafka(READY_TO_MAKE | SHORT_SESSIONS, jvm_options=QUICK) as broker:
        yield broker


@pytest.fixture(params=["arrow", "librdkafka"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def lab(own: ApacheKafka, engine: Any) -> Iterator[kl.Lab]:
    with connect(own, engine) as lab:
        yield lab


def connect(broker: ApacheKafka, engine: str, **options: Any) -> kl.Lab:
    """Connect with an engine that fetches little ahead."""
    lab = kl.connect(broker.bootstrap_servers, **options)
    config = kl.ConnectionConfig.load(broker.bootstrap_servers)
    cluster = lab.metadata
    assert isinstance(cluster, Cluster)
    little_ahead: dict[str, ArrowFetcher | LibrdkafkaFetcher] = {
        "arrow": ArrowFetcher(config, cluster, connections=1, response_bytes=50_000),
        "librdkafka": LibrdkafkaFetcher(config, cluster, LITTLE_AHEAD),
    }
    small = kl.Lab(cluster, little_ahead[engine])
    small.on_close(lab.close)
    return small


def many(bootstrap: str, partitions: int = 1, replicas: int = 1) -> Log:
    """Make a topic of 4 MB, in raw batches of 50 records."""
    log = new_topic(bootstrap, partitions, replicas)
    fill(log, COUNT)
    return log


def fill(log: Log, count: int) -> None:
    writer = producer(log.bootstrap, batch_num_messages=50, linger_ms=5)
    for partition in range(log.partitions):
        log.write(partition, *(Record(b"%d" % n, b"x" * 1000) for n in range(count)), by=writer)


def read_with(lab: kl.Lab, topic: str, meanwhile: Callable[[], object], **asked: Any) -> tuple[list[Row], kl.Scan]:
    """Read a topic; do something else once its first rows are here and most of the others are not."""
    scan = replace(lab.scan(topic, headers=True, **asked), read_ahead_bytes=1)
    found: list[Row] = []
    read_before = lab.fetcher.stats.records
    for arrow_batch in scan:
        if not found:
            assert lab.fetcher.stats.records - read_before < COUNT / 2
            meanwhile()
        found += rows(arrow_batch)
    return sorted(found), scan


class TestNothingChanges:
    @pytest.fixture
    def unchanged(self, own: ApacheKafka) -> Iterator[None]:
        before = self.state(own)
        yield
        assert self.state(own) == before

    @staticmethod
    def state(own: ApacheKafka) -> tuple[set[str], set[str], dict[str, int]]:
        admin = admin_of(own.bootstrap_servers)
        topics = set(admin.list_topics(timeout=SECONDS).topics) - {"__consumer_offsets"}
        groups = {group.group_id for group in admin.list_consumer_groups(request_timeout=SECONDS).result(SECONDS).valid}
        commits: dict[str, int] = {}
        for group in groups:
            asked = [ConsumerGroupTopicPartitions(group)]
            answer = admin.list_consumer_group_offsets(asked, request_timeout=SECONDS)[group].result(SECONDS)
            commits |= {f"{group} {part.topic}[{part.partition}]": part.offset for part in answer.topic_partitions}
        return topics, groups, commits

    @pytest.fixture(scope="class")
    @staticmethod
    def log(own: ApacheKafka) -> Log:
        log = new_topic(own.bootstrap_servers, 2)
        log.write(0, *numbered(20))
        consumer = Consumer({"bootstrap.servers": own.bootstrap_servers, "group.id": "mine"}, logger=LOGGER)
        consumer.commit(offsets=[TopicPartition(log.topic, 0, 3)], asynchronous=False)
        consumer.close()
        return log

    def test_the_broker_makes_topics_for_whoever_is_careless(self, own: ApacheKafka) -> None:
        writer = producer(own.bootstrap_servers)
        writer.produce("made-by-asking", b"x")
        assert writer.flush(SECONDS) == 0
        assert "made-by-asking" in self.state(own)[0]

    @pytest.mark.usefixtures("unchanged")
    def test_by_any_verb(self, log: Log, own: ApacheKafka, engine: Any, tmp_path: Path) -> None:
        before = clients_alive()
        with kl.connect(own.bootstrap_servers, engine=engine) as lab:
            assert len(lab.read(log.topic)) == 20
            assert len(lab.read(log.topic, start={0: kl.Committed("mine")})) == 17
            assert sum(arrow_batch.num_rows for arrow_batch in lab.scan(log.topic)) == 20
            assert len(lab.head(log.topic)) == len(lab.last(log.topic)) == len(lab.sample(log.topic, 5)) == 5
            assert len(lab.sample(log.topic, 100)) == 20
            with lab.tail(log.topic, start="earliest") as tail:
                assert tail.wait_for(20, SECONDS)
            assert len(lab.map_partitions(log.topic, len)) == 2
            assert lab.export(log.topic, tmp_path)["rows"].sum() == 20
            assert lab.describe(log.topic, group_id="mine")["committed_offset"].tolist()[0] == 3
            assert lab.describe(log.topic, group_id="nobody")["committed_offset"].isna().all()
            assert log.topic in set(lab.topics()["topic"])
        wait_until(lambda: clients_alive() <= before)  # some of an earlier test may have been on their way out

    @pytest.mark.usefixtures("unchanged")
    def test_by_a_slip_of_the_pen(self, log: Log, own: ApacheKafka) -> None:
        def ask(question: Callable[[kl.Lab, str], object]) -> str:
            with kl.connect(own.bootstrap_servers) as lab, pytest.raises(kl.UnknownTopicError) as refused:
                question(lab, f"{log.topic}x")
            return str(refused.value)

        with ThreadPoolExecutor(len(QUESTIONS)) as pool:
            for answer in pool.map(ask, QUESTIONS):
                assert re.match(rf"{log.topic}x(\[0\])?: .*did you mean '{log.topic}'", answer)


QUESTIONS: list[Callable[[kl.Lab, str], object]] = [
    lambda lab, name: lab.read(name),
    lambda lab, name: lab.scan(name),
    lambda lab, name: lab.head(name),
    lambda lab, name: lab.last(name),
    lambda lab, name: lab.sample(name),
    lambda lab, name: lab.tail(name),
    lambda lab, name: lab.map_partitions(name, len),
    lambda lab, name: lab.export(name, "never-made"),
    lambda lab, name: lab.describe(name),
    lambda lab, name: lab.describe(name, group_id="mine"),
    lambda lab, name: lab.metadata.topic(name),
    lambda lab, name: lab.metadata.watermarks(name, [0]),
    lambda lab, name: lab.metadata.offsets_for_times(name, {0: 0}),
    lambda lab, name: lab.metadata.timestamp_span(name, [0]),
    lambda lab, name: lab.metadata.committed_offsets("mine", name),
]


class TestTheBrokerGoesAway:
    def test_and_comes_back(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log, broker = many(own.bootstrap_servers, 2), own.brokers[1]
        truth = log.visible("read_committed")

        def restart() -> None:
            broker.stop()
            broker.start()

        found, scan = read_with(lab, log.topic, restart)
        assert found == truth
        assert scan.receipt is not None
        assert scan.receipt.complete

    def test_for_longer_than_the_timeout(self, own: ApacheKafka, engine: str) -> None:
        log, broker = many(own.bootstrap_servers), own.brokers[1]
        truth, began = log.visible("read_committed"), time.monotonic()
        try:
            with connect(own, engine, timeout=3) as lab:
                found, scan = read_with(lab, log.topic, broker.kill, timeout=2)
                assert time.monotonic() - began < SECONDS
                assert scan.receipt is not None
                (part,) = scan.receipt.partitions
                assert (part.stop, part.next_offset, found) == (kl.StopReason.TIMEOUT, len(found), truth[: len(found)])
                assert any("whether the topic was made anew" in note for note in scan.receipt.notes)
                with pytest.raises(kl.BrokerUnreachableError, match=r"127\.0\.0\.1:\d+"):
                    lab.read(log.topic)
        finally:
            broker.start()

    @pytest.mark.timeout(300)  # four nodes start, and one of them twice
    def test_one_of_three_and_its_partitions_move(self, engine: str) -> None:
        with ApacheKafka(SHORT_SESSIONS, brokers=3, jvm_options=("-Xmx256m", *QUICK[1:])) as cluster:
            log = many(cluster.bootstrap_servers, 3, 3)
            truth = log.visible("read_committed")
            with connect(cluster, engine) as lab:
                leader = lab.describe(log.topic)["leader"][0]
                found, scan = read_with(lab, log.topic, cluster.brokers[leader].kill)
                assert found == truth
                assert scan.receipt is not None
                assert scan.receipt.complete
                assert lab.describe(log.topic)["leader"][0] != leader
                # Back to one that is alive, which the other then refuses to be asked for.
                cluster.brokers[leader].start()
                wait_until(lambda: in_sync(log) == {1, 2, 3})

                def move_back() -> None:
                    elect = "org.apache.kafka.tools.LeaderElectionCommand", "--all-topic-partitions"
                    options = ("--election-type", "preferred", "--bootstrap-server", cluster.bootstrap_servers)
                    subprocess.run(cluster.java_command(*elect, *options), check=True, capture_output=True)
                    wait_until(lambda: lab.describe(log.topic)["leader"][0] == leader)

                found, scan = read_with(lab, log.topic, move_back)
                assert found == truth
                assert scan.receipt is not None
                assert scan.receipt.complete


def in_sync(log: Log) -> set[int]:
    """Return the brokers that could lead each of a topic's partitions."""
    parts = log.admin.list_topics(log.topic, timeout=SECONDS).topics[log.topic].partitions.values()
    return set.intersection(*(set(part.isrs) for part in parts))


class TestTheTopicChanges:
    @pytest.mark.parametrize("count", [0, 10, COUNT + 10])
    def test_it_is_deleted_and_made_anew(self, own: ApacheKafka, lab: kl.Lab, count: int) -> None:
        log = many(own.bootstrap_servers)

        def make_anew() -> None:
            log.admin.delete_topics([log.topic])[log.topic].result(SECONDS)
            wait_until(made)
            fill(Log(log.bootstrap, log.topic), count)

        def made() -> bool:
            try:
                log.admin.create_topics([NewTopic(log.topic, 1)])[log.topic].result(SECONDS)
            except KafkaException:  # the old one is still going
                return False
            return True

        with pytest.raises(kl.DataLossError, match=f"{log.topic}.* made anew .*read it again"):
            read_with(lab, log.topic, make_anew)

    def test_it_is_deleted(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = many(own.bootstrap_servers)
        with pytest.raises(kl.DataLossError, match=rf"{log.topic}\[0\]@\d+: the topic was deleted"):
            read_with(lab, log.topic, lambda: log.admin.delete_topics([log.topic])[log.topic].result(SECONDS))
        # Looking for it has not made it anew.
        assert log.topic not in admin_of(log.bootstrap).list_topics(timeout=SECONDS).topics

    def test_retention_passes_a_slow_reader(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = many(own.bootstrap_servers)
        everything = log.visible("read_committed")
        with pytest.raises(
            kl.DataLossError, match=rf"{log.topic}\[0\]@\d+: retention has passed this read: .* 3000 to"
        ):
            read_with(lab, log.topic, lambda: log.delete_before(0, 3000))
        log = many(own.bootstrap_servers)
        with pytest.warns(kl.DataLossWarning, match=rf"{log.topic}\[0\]@\d+-3000"):
            found, scan = read_with(lab, log.topic, lambda: log.delete_before(0, 3000), on_data_loss="warn")
        before = [row for row in found if row.offset < 3000]
        assert [row.offset for row in before] == list(range(len(before)))
        assert found[len(before) :] == log.visible("read_committed")
        assert len(everything) > len(found)
        assert scan.receipt is not None
        assert scan.receipt.notes == (f"lost to retention: {log.topic}[0]@{len(before)}-3000",)

    def test_retention_takes_all_the_rest(self, own: ApacheKafka, lab: kl.Lab) -> None:
        log = many(own.bootstrap_servers)
        with pytest.warns(kl.DataLossWarning):
            found, scan = read_with(lab, log.topic, lambda: log.delete_before(0, -1), on_data_loss="warn")
        assert scan.receipt is not None
        (part,) = scan.receipt.partitions
        assert (part.stop, part.next_offset, part.rows) == (kl.StopReason.RETENTION_PASSED, COUNT, len(found))
        assert not scan.receipt.complete

    def test_partitions_are_added(self, own: ApacheKafka, lab: kl.Lab) -> None:
        from confluent_kafka.admin import NewPartitions

        log = many(own.bootstrap_servers)
        add = NewPartitions(log.topic, 3)
        found, scan = read_with(lab, log.topic, lambda: log.admin.create_partitions([add])[log.topic].result(SECONDS))
        assert found == log.visible("read_committed")
        assert scan.receipt is not None
        assert scan.receipt.notes == ("2 partitions were added during the read, and not read",)


INTERRUPTED = """
import json, sys, threading, time
from pathlib import Path
import kafkalab as kl
from kafkalab.fetch.arrow import ArrowFetcher

def say_when_it_reads():
    while not lab.fetcher.stats.records:
        pause.wait(0.005)
    print("reading", flush=True)

pause = threading.Event()
lab = kl.connect(sys.argv[1], engine=sys.argv[3])
if lab.fetcher.name == "arrow":
    # So little at a time that the read is not over before it is interrupted.
    lab.fetcher = ArrowFetcher(lab.metadata.config, lab.metadata, 1, response_bytes=20_000)
teller = threading.Thread(target=say_when_it_reads)
teller.start()
try:
    lab.read(sys.argv[2], limit=None, progress=False)
    caught = None
except KeyboardInterrupt:
    caught = time.monotonic()
teller.join()
part = kl.receipt(lab.partial)
lab.close()
names = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]
print(json.dumps({
    "caught": caught,
    "stops": part.stop_reasons,
    "rows": len(lab.partial),
    "told": part.rows,
    "threads": [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()],
    "clients": names.count("rdk:main"),
}))
"""


class TestCtrlC:
    @pytest.mark.parametrize(("engine", "endless"), [("arrow", False), ("librdkafka", False), ("librdkafka", True)])
    def test_ends_a_read_at_once(
        self,
        kafka: ApacheKafka,
        engine: str,
        endless: bool,  # noqa: FBT001 - a parameter
    ) -> None:
        log = self.never_done(kafka) if endless else big(kafka.bootstrap_servers)
        command = [sys.executable, "-c", INTERRUPTED, kafka.bootstrap_servers, log.topic, engine]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            try:
                assert child.stdout.readline() == "reading\n"
                sent = time.monotonic()
                child.send_signal(signal.SIGINT)
                told = json.loads(child.stdout.readline())
                assert child.wait(SECONDS) == 0
            finally:
                child.kill()
        assert told["caught"] - sent < 1
        assert "interrupted" in told["stops"]
        assert told["rows"] == told["told"]
        assert (told["threads"], told["clients"]) == ([], 0)

    @staticmethod
    def never_done(kafka: ApacheKafka) -> Log:
        """Make a topic that librdkafka fetches for ever."""
        log = new_topic(kafka.bootstrap_servers)
        log.write_raw(0, *(Record(b"k", b"%d" % n, 1) for n in range(100)), codec=1, squeeze=in_two_members)
        return log
