"""Connections of the fast engine: reads share them, and none is used again that an answer, or an end, may come from."""

from collections.abc import Iterator

import pytest

import kafkalab as kl
from kafkalab._native import StopFlag
from kafkalab.brokers import ApacheKafka
from kafkalab.net import connections
from kafkalab.net.connections import Connections
from kafkalab.net.wire import BrokerConnection
from tests.apache.truth import QUICK, Log, new_topic, numbered, rows, wait_until

KEPT = 4


@pytest.fixture(scope="module")
def log(kafka: ApacheKafka) -> Log:
    return filled(kafka.bootstrap_servers)


def filled(bootstrap_servers: str) -> Log:
    log = new_topic(bootstrap_servers, 2)
    for partition in range(2):
        for _ in range(3):
            log.write(partition, *numbered(100))
    return log


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[BrokerConnection]:
    """List the connections as they are opened."""
    made: list[BrokerConnection] = []

    class Listed(BrokerConnection):
        def __init__(
            self, config: kl.ConnectionConfig, host: str, port: int, stop: StopFlag, timeout: float | None
        ) -> None:
            super().__init__(config, host, port, stop, timeout)
            made.append(self)

    monkeypatch.setattr(connections, "BrokerConnection", Listed)
    return made


def test_reads_share_connections(kafka: ApacheKafka, log: Log, opened: list[BrokerConnection]) -> None:
    with kl.connect(kafka.bootstrap_servers) as lab:
        for _ in range(3):
            assert rows(lab.read(log.topic, headers=True)) == log.visible("read_committed")
            assert len(lab.sample(log.topic, 50, seed=1)) == 50
            assert len(lab.last(log.topic)) == 5
    assert len(opened) == 2  # one that connect tried, and a second for the second partition
    assert not any(connection.is_reusable for connection in opened)


def test_a_read_that_ended_before_its_answers_leaves_none_to_the_next(
    kafka: ApacheKafka, log: Log, opened: list[BrokerConnection]
) -> None:
    with kl.connect(kafka.bootstrap_servers) as lab:
        for _ in range(10):
            with pytest.warns(kl.LimitWarning):
                assert len(lab.read(log.topic, limit=1)) == 1
            for rows_of_it in lab.scan(log.topic):
                assert rows_of_it.num_rows
                break
            assert rows(lab.read(log.topic, headers=True)) == log.visible("read_committed")
    assert opened


@pytest.fixture(scope="module")
def hasty() -> Iterator[ApacheKafka]:
    """Give a broker that hangs up where it has heard nothing for a moment."""
    with ApacheKafka({"connections.max.idle.ms": 300}, jvm_options=QUICK) as broker:
        yield broker


def test_a_broker_that_has_hung_up_is_called_again(hasty: ApacheKafka, opened: list[BrokerConnection]) -> None:
    log = filled(hasty.bootstrap_servers)
    with kl.connect(hasty.bootstrap_servers) as lab:
        for turn in range(1, 4):
            assert rows(lab.read(log.topic, headers=True)) == log.visible("read_committed")
            assert len(opened) >= 2 * turn
            wait_until(lambda: not any(connection.is_reusable for connection in opened))


def test_a_few_are_kept(kafka: ApacheKafka) -> None:
    config = kl.ConnectionConfig({"bootstrap.servers": kafka.bootstrap_servers})
    host, port = kafka.bootstrap_servers.split(":")
    address, held = (host, int(port)), Connections(config)
    taken = [held.take(address, StopFlag()) for _ in range(KEPT + 2)]
    for connection in taken:
        held.give_back(address, connection)
    assert [connection.is_reusable for connection in taken] == [False] * 2 + [True] * KEPT
    assert held.take(address, StopFlag()) is taken[-1]
    held.close()
    assert [connection.is_reusable for connection in taken] == [False] * (KEPT + 1) + [True]
    taken[-1].close()
