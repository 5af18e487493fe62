import logging
import socket

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from kafkalab.brokers import MockBroker
from kafkalab.errors import BrokerStartError, ConfigError

LOGGER = logging.getLogger("kafka.client")


def admin_of(broker: MockBroker) -> AdminClient:
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": broker.bootstrap_servers,
        "allow.auto.create.topics": False,
    }
    return AdminClient(config, logger=LOGGER)


def partitions_of(broker: MockBroker) -> dict[str, int]:
    admin = admin_of(broker)
    return {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=5).topics.items()}


def test_has_the_topics_with_their_partitions() -> None:
    with MockBroker(topics={"orders": 3, "payments": 1}) as broker:
        assert partitions_of(broker) == {"orders": 3, "payments": 1}


def test_has_no_topics_by_default() -> None:
    with MockBroker() as broker:
        assert partitions_of(broker) == {}


def test_a_topic_can_be_added() -> None:
    with MockBroker(topics={"orders": 3}) as broker:
        broker.create_topic("late", partitions=5)
        assert partitions_of(broker) == broker.topics == {"orders": 3, "late": 5}


def test_keeps_what_is_produced() -> None:
    with MockBroker(topics={"orders": 2}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers}, logger=LOGGER)
        producer.produce("orders", b"first", key=b"k", partition=1)
        assert producer.flush(5) == 0
        config = {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "none",
            "allow.auto.create.topics": False,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        }
        consumer = Consumer(config, logger=LOGGER)
        consumer.assign([TopicPartition("orders", 1, 0)])
        record = consumer.poll(5)
        consumer.close()
        assert record is not None
        assert (record.key(), record.value(), record.offset()) == (b"k", b"first", 0)


def test_has_as_many_brokers_as_asked() -> None:
    with MockBroker(topics={"orders": 6}, brokers=3) as broker:
        assert broker.bootstrap_servers.count(":") == 3
        admin = admin_of(broker)
        metadata = admin.list_topics(timeout=5)
        assert len(metadata.brokers) == 3
        assert {len(partition.replicas) for partition in metadata.topics["orders"].partitions.values()} == {3}


def test_two_at_once_do_not_share_topics() -> None:
    with MockBroker(topics={"a": 1}) as first, MockBroker(topics={"b": 1}) as second:
        assert partitions_of(first) == {"a": 1}
        assert partitions_of(second) == {"b": 1}


def test_stop_closes_its_port_and_can_be_repeated() -> None:
    broker = MockBroker().start()
    host, port = broker.bootstrap_servers.split(":")
    broker.stop()
    broker.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_start_does_nothing_when_it_runs_and_begins_anew_after_stop() -> None:
    broker = MockBroker(topics={"orders": 3}).start()
    address = broker.bootstrap_servers
    broker.create_topic("late")
    assert broker.start().bootstrap_servers == address
    broker.stop()
    with broker:
        assert partitions_of(broker) == {"orders": 3, "late": 1}


def test_a_stopped_broker_tells_how_to_start_it() -> None:
    broker = MockBroker(topics={"orders": 1})
    assert repr(broker) == "<MockBroker stopped, topics={'orders': 1}>"
    with pytest.raises(BrokerStartError, match=r"start\(\)"):
        _ = broker.bootstrap_servers
    with pytest.raises(BrokerStartError, match=r"start\(\)"):
        broker.create_topic("orders")


def test_shows_its_address() -> None:
    with MockBroker() as broker:
        assert broker.bootstrap_servers in repr(broker)


def test_refuses_a_topic_twice() -> None:
    with MockBroker(topics={"orders": 1}) as broker, pytest.raises(BrokerStartError, match="orders"):
        broker.create_topic("orders", partitions=2)


@pytest.mark.parametrize(("topics", "brokers"), [({"orders": 0}, 1), ({"orders": -2}, 1), ({}, 0)])
def test_refuses_counts_that_make_no_sense(topics: dict[str, int], brokers: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        MockBroker(topics=topics, brokers=brokers)


def test_a_failed_start_leaves_nothing_running() -> None:
    broker = MockBroker(topics={"orders": 1, "orders\0ends in C": 1})
    with pytest.raises(BrokerStartError, match="already exists"):
        broker.start()
    assert "stopped" in repr(broker)


def test_writes_nothing_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with MockBroker(topics={"orders": 1}) as broker:
        admin = admin_of(broker)
        admin.list_topics(timeout=5)
    assert capfd.readouterr() == ("", "")
