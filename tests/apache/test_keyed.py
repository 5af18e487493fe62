"""Keys on a real broker, put where Java's producer and librdkafka's put them."""

import itertools
import subprocess
from collections.abc import Iterator

import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from kafkalab.partitioner import partition_of
from tests.apache.truth import LEVELS, SECONDS, Record, append_times, gaps, new_topic, producer, rows, zoo

PARTITIONS = 7
KEYS = [*(f"user-{number}" for number in range(150)), "caf\u00e9", "x", "\U0001f600" * 5]


@pytest.fixture(scope="module")
def lab(kafka: ApacheKafka) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers) as lab:
        yield lab


@pytest.fixture(scope="module")
def javas(kafka: ApacheKafka) -> str:
    """Give a topic that Java's producer has filled, with each key three times."""
    topic = new_topic(kafka.bootstrap_servers, PARTITIONS).topic
    arguments = ["--bootstrap-server", kafka.bootstrap_servers, "--topic", topic]
    properties = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=|"]
    lines = "".join(f"{key}|{turn}\n" for turn in range(3) for key in KEYS)
    command = kafka.java_command("org.apache.kafka.tools.ConsoleProducer", *arguments, *properties)
    command[1:1] = ["-Dstdin.encoding=UTF-8", "-Dfile.encoding=UTF-8"]
    subprocess.run(command, input=lines.encode(), check=True, timeout=SECONDS, capture_output=True)
    return topic


class TestFind:
    def test_java_puts_keys_where_murmur2_says(self, lab: kl.Lab, javas: str) -> None:
        frame = lab.read(javas, key="text")
        assert len(frame) == 3 * len(KEYS)
        found = set(zip(frame["key"], frame["partition"], strict=True))
        assert found == {(key, partition_of(key.encode(), PARTITIONS, "murmur2")) for key in KEYS}

    def test_one_partition_of_javas_is_read(self, lab: kl.Lab, javas: str) -> None:
        everything = lab.describe(javas)["span"]
        for key in KEYS[-4:]:
            frame = lab.find(javas, key)
            receipt = kl.receipt(frame)
            assert frame["value"].tolist() == ["0", "1", "2"]
            home = partition_of(key.encode(), PARTITIONS, "murmur2") or 0
            assert [(part.partition, part.records) for part in receipt.partitions] == [(home, everything[home])]
            assert "partitioner='murmur2'" in receipt.notes[-1]

    @pytest.mark.parametrize("setting", ["consistent_random", "murmur2_random", "fnv1a_random"])
    def test_librdkafkas_are_found_by_looking(self, lab: kl.Lab, kafka: ApacheKafka, setting: str) -> None:
        topic = new_topic(kafka.bootstrap_servers, PARTITIONS).topic
        writer = producer(kafka.bootstrap_servers, partitioner=setting, linger_ms=20)
        for number, key in itertools.product(range(40), KEYS):
            writer.produce(topic, b"%d" % number, key)
        assert writer.flush(SECONDS) == 0
        frame = lab.find(topic, KEYS[3])
        assert sorted(map(int, frame["value"])) == list(range(40))
        assert len(kl.receipt(frame).partitions) == 1
        assert repr(setting.removesuffix("_random")) in kl.receipt(frame).notes[-1]

    def test_partitions_that_came_later_are_seen(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = new_topic(kafka.bootstrap_servers, 3)
        for key in KEYS:
            log.write(partition_of(key.encode(), 2, "murmur2") or 0, Record(key.encode(), b"v"))
        frame = lab.find(log.topic, KEYS[0])
        assert len(frame) == 1
        assert "read all partitions: no partitioner" in kl.receipt(frame).notes[-1]


class TestCompacted:
    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("tombstones", ["apply", "keep"])
    def test_every_kind_of_log(self, lab: kl.Lab, kafka: ApacheKafka, level: str, tombstones: str) -> None:
        for log in (zoo(kafka.bootstrap_servers), gaps(kafka), append_times(kafka.bootstrap_servers)):
            newest = {(row.partition, row.key): row for row in log.visible(level) if row.key is not None}
            truth = [row for row in newest.values() if row.value is not None or tombstones == "keep"]
            found = lab.compacted(
                log.topic,
                tombstones=tombstones,  # type: ignore[arg-type]  # a table of words
                key="bytes",
                value="bytes",
                headers=True,
                isolation_level=level,
                columns=["partition", "offset", "key", "value"],
            )
            places = sorted((row.partition, row.offset) for row in truth)
            assert list(zip(found["partition"], found["offset"], strict=True)) == places

    def test_what_kafkas_cleaner_left_is_left_as_it_is(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = gaps(kafka)
        found = lab.compacted(log.topic, tombstones="keep", key="bytes", value="bytes", headers=True)
        assert rows(found) == log.visible("read_committed")
