"""Partitions whose brokers are away, and coordinators that move: the others go on, and each error says which."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pandas as pd
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

import kafkalab as kl
from kafkalab import _native
from kafkalab.brokers import ApacheKafka
from kafkalab.cluster import Cluster
from kafkalab.fetch.base import Stop
from tests.apache.truth import LOGGER, QUICK, SECONDS, Log, new_topic, numbered, wait_until

AWAY = 2
QUICK_FENCING = {
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
    "offsets.topic.replication.factor": 3,
    "offsets.topic.num.partitions": 3,
}
SMALL = ("-Xmx320m", *QUICK[1:])


@pytest.fixture(scope="module")
def three() -> Iterator[ApacheKafka]:
    with ApacheKafka(QUICK_FENCING, brokers=3, jvm_options=SMALL) as brokers:
        yield brokers


def commit(log: Log, group_id: str) -> None:
    """Commit offset 4 of each partition."""
    partitions = len(log.admin.list_topics(log.topic, timeout=SECONDS).topics[log.topic].partitions)
    consumer = Consumer({"bootstrap.servers": log.bootstrap, "group.id": group_id}, logger=LOGGER)
    places = [TopicPartition(log.topic, partition, 4) for partition in range(partitions)]

    def committed() -> bool:
        with contextlib.suppress(KafkaException):  # the coordinator starts
            consumer.commit(offsets=places, asynchronous=False)
            return [part.offset for part in consumer.committed(places)] == [4] * partitions
        return False

    wait_until(committed)
    consumer.close()


@pytest.fixture(scope="module")
def log(three: ApacheKafka) -> Log:
    """Give a topic of six partitions, each on one broker, one of which has gone since."""
    log = new_topic(three.bootstrap_servers, 6)
    for partition in range(6):
        log.write(partition, *numbered(10))
    commit(log, "g")
    return log


@pytest.fixture(scope="module")
def away(three: ApacheKafka, log: Log) -> Iterator[set[int]]:
    """Stop a broker, and give the partitions that were on it."""
    with Cluster(kl.ConnectionConfig.load(three.bootstrap_servers)) as cluster:
        gone = {part.partition for part in cluster.topic(log.topic).partitions if part.leader == AWAY}
        three.brokers[AWAY].kill()
        wait_until(lambda: gone == {p.partition for p in cluster.topic(log.topic).partitions if p.leader is None})
    yield gone
    three.brokers[AWAY].start()


@pytest.fixture(params=["auto", "librdkafka"])
def lab(request: pytest.FixtureRequest, three: ApacheKafka, away: set[int]) -> Iterator[kl.Lab]:
    assert away
    with kl.connect(three.bootstrap_servers, engine=request.param, timeout=20) as one:
        yield one


def test_a_partition_without_a_leader_is_described(lab: kl.Lab, log: Log, away: set[int]) -> None:
    # A new coordinator says that nothing is committed until the replicas have confirmed it.
    wait_until(lambda: set(lab.describe(log.topic, group_id="g")["committed_offset"].dropna()) == {4})
    found = lab.describe(log.topic, group_id="g")
    for name in ("leader", "log_start_offset", "last_stable_offset", "high_watermark", "span", "committed_lag"):
        assert set(found.index[found[name].isna()]) == away, name
    assert set(found.index[found["last_timestamp"].isna()]) == away
    assert set(found["high_watermark"].dropna()) == {10}
    assert set(found["committed_offset"]) == {4}


def test_its_records_cannot_be_read_and_the_error_says_why(lab: kl.Lab, log: Log, away: set[int]) -> None:
    first = min(away)
    for read in (lab.read, lab.head, lab.last):
        with pytest.raises(kl.OfflinePartitionError, match=f"no leader, broker {AWAY} is away: try again") as caught:
            read(log.topic)
        assert (caught.value.topic, caught.value.partition) == (log.topic, first)
    live = sorted(set(range(6)) - away)
    assert len(lab.read(log.topic, partitions=live)) == 10 * len(live)


def test_a_sample_and_a_map_do_the_others(lab: kl.Lab, log: Log, away: set[int]) -> None:
    live = sorted(set(range(6)) - away)
    with pytest.warns(kl.KafkalabWarning, match=f"the sample is of the rest.* broker {AWAY} is away"):
        sampled = lab.sample(log.topic, 1000)
    assert len(sampled) == 10 * len(live)
    assert any("has no leader" in note for note in kl.receipt(sampled).notes)
    with pytest.warns(kl.KafkalabWarning, match=f"{len(away)} left out: .* broker {AWAY} is away"):
        counts = lab.map_partitions(log.topic, len, on_error="skip")
    assert isinstance(counts, pd.DataFrame)
    assert list(counts.index) == live
    found, failures = lab.map_partitions(log.topic, len, on_error="collect")
    assert list(found.index) == live
    assert [failure.partition for failure in failures] == sorted(away)
    with pytest.raises(kl.OfflinePartitionError):
        lab.map_partitions(log.topic, len)


@pytest.mark.timeout(300)
def test_coordinators_may_move_under_a_lab(three: ApacheKafka) -> None:
    log = new_topic(three.bootstrap_servers, 2, replicas=3)
    commit(log, "moving")
    with (
        kl.connect(three.bootstrap_servers, timeout=30) as lab,
        kl.connect(three.bootstrap_servers, timeout=30, engine="librdkafka") as portable,
    ):
        for node in three.brokers.values():
            node.kill()
            restart = threading.Thread(target=node.start)
            restart.start()
            while restart.is_alive():
                for one in (lab, portable):
                    assert one.group_offsets("moving")["committed_offset"].tolist() == [4, 4]
                    assert one.seek_group("moving", log.topic, to="earliest")["committed_offset"].tolist() == [4, 4]
            restart.join()


def test_a_stop_ends_a_look(three: ApacheKafka, log: Log) -> None:
    with Cluster(kl.ConnectionConfig.load(three.bootstrap_servers), timeout=60) as cluster:
        cluster.connect()
        for node in three.brokers.values():
            node.pause()
        try:
            for look in (cluster.leaders, lambda topic, stop: cluster.watermarks(topic, [0], stop=stop)):
                stop = Stop()
                timer = threading.Timer(0.3, stop.set)
                timer.start()
                began = time.monotonic()
                with pytest.raises(_native.StoppedError):
                    look(log.topic, stop=stop)
                assert time.monotonic() - began < 5
                timer.join()
        finally:
            for node in three.brokers.values():
                node.resume()
