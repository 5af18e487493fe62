import logging
import random
from collections import defaultdict
from typing import Any

import pytest
from confluent_kafka import Producer

from kafkalab.brokers import MockBroker
from kafkalab.errors import ArgumentError
from kafkalab.partitioner import check, fitting, partition_of

PARTITIONS = 12
KEYS = [
    b"a",
    b"ab",
    b"abc",
    b"abcd",
    b"abcde",
    "caf\u00e9".encode(),
    b"\x00",
    b"\xff" * 33,
    *(random.Random(n).randbytes(n % 40 + 1) for n in range(400)),
]

# From Kafka's own test of its hash, UtilsTest.testMurmur2: signed 32-bit numbers.
KAFKAS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "hashed"), KAFKAS.items())
def test_murmur2_is_kafkas(key: bytes, hashed: int) -> None:
    positive = hashed & 0x7FFFFFFF
    assert [partition_of(key, count, "murmur2") for count in (1, 7, 100, 2**31)] == [
        positive % count for count in (1, 7, 100, 2**31)
    ]


@pytest.fixture(scope="module")
def broker() -> Any:
    with MockBroker({"keys": PARTITIONS}) as broker:
        yield broker


def placed(broker: MockBroker, partitioner: str, keys: list[bytes | None]) -> dict[bytes | None, set[int]]:
    """Return where librdkafka's producer puts keys."""
    found: dict[bytes | None, set[int]] = defaultdict(set)
    failures = []
    settings: dict[str, Any] = {
        "bootstrap.servers": broker.bootstrap_servers,
        "partitioner": partitioner,
        "allow.auto.create.topics": False,
    }
    producer = Producer(settings, logger=logging.getLogger("kafka.client"))

    def delivered(error: object, message: Any) -> None:
        failures.append(error)
        found[message.key()].add(message.partition())

    for key in keys:
        producer.produce("keys", b"", key, on_delivery=delivered)
    assert producer.flush(9) == 0
    assert set(failures) == {None}
    return found


@pytest.mark.parametrize(
    ("partitioner", "name"),
    [
        ("murmur2", "murmur2"),
        ("murmur2_random", "murmur2"),
        ("consistent", "consistent"),
        ("consistent_random", "consistent"),
        ("fnv1a", "fnv1a"),
        ("fnv1a_random", "fnv1a"),
    ],
)
def test_librdkafka_puts_keys_where_we_say(broker: MockBroker, partitioner: str, name: str) -> None:
    found = placed(broker, partitioner, list(KEYS))
    assert found == {key: {partition_of(key, PARTITIONS, name)} for key in KEYS}
    assert set().union(*found.values()) == set(range(PARTITIONS))


@pytest.mark.parametrize("name", ["murmur2", "consistent", "fnv1a"])
def test_a_null_key_is_anywhere_and_an_empty_one_where_its_producer_has_it(broker: MockBroker, name: str) -> None:
    assert partition_of(None, PARTITIONS, name) is None
    empty = placed(broker, f"{name}_random", [b""])[b""]
    assert partition_of(b"", PARTITIONS, name) in (None, *empty)
    assert (partition_of(b"", PARTITIONS, name) is None) == (name == "consistent")


@pytest.mark.parametrize("name", ["murmur2", "consistent", "fnv1a"])
def test_the_partitioner_is_told_by_what_it_did(name: str) -> None:
    keys = [(key, partition_of(key, PARTITIONS, name) or 0) for key in KEYS[:20]]
    assert fitting([*keys, (None, 3), (b"", 4)], PARTITIONS) == [name]
    (key, at), *rest = keys
    assert fitting([(key, at + 1), *rest], PARTITIONS) == []


def test_keys_that_tell_nothing_fit_nothing() -> None:
    assert fitting([], 3) == fitting([(None, 0), (b"", 1)], 3) == []


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'murmur' is no partitioner: did you mean 'murmur2'"):
        check("murmur")
