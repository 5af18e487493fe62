"""Every wait for a broker ends when it is stopped or interrupted, long before its timeout."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from kafkalab.cluster import Cluster
from kafkalab.fetch.arrow import ArrowFetcher
from kafkalab.fetch.base import Stop
from kafkalab.net.client import Stops
from tests.apache.test_safety import COUNT, many
from tests.apache.truth import QUICK, Log, Row, rows
from tests.test_native import black_hole

Steps: TypeAlias = Callable[[Stop], Generator[Any]]

# A wait looks up every 100 ms; its timeout is 10 s and more. A machine under load may take a while in between.
AT_ONCE_S = 2.0


@pytest.fixture(scope="module")
def own() -> Iterator[ApacheKafka]:
    """Give a broker that these tests may pause."""
    with ApacheKafka(jvm_options=QUICK) as broker:
        yield broker


@pytest.fixture(scope="module")
def log(own: ApacheKafka) -> Log:
    return many(own.bootstrap_servers, 2)


class Elsewhere(Cluster):
    """A cluster whose leaders are said to be at another address."""

    def __init__(self, config: kl.ConnectionConfig, port: int) -> None:
        super().__init__(config)
        self._port = port

    def leaders(self, topic: str, *, stop: Stops | None = None) -> dict[int, tuple[str, int]]:
        return dict.fromkeys(super().leaders(topic, stop=stop), ("127.0.0.1", self._port))


@pytest.fixture(params=["for a connection", "for an answer"])
def steps_of(request: pytest.FixtureRequest, own: ApacheKafka, log: Log) -> Iterator[Steps]:
    """Begin a read, and bring it to where its next step does not come."""
    config, broker = kl.ConnectionConfig.load(own.bootstrap_servers), own.brokers[1]

    def nobody_there(stop: Stop) -> Generator[Any]:
        return kl.Lab(elsewhere, ArrowFetcher(config, elsewhere)).scan(log.topic).steps(stop)

    def no_answer(stop: Stop) -> Generator[Any]:
        # So little ahead that most of it is still with the broker.
        lab = kl.Lab(cluster, ArrowFetcher(config, cluster, 1, response_bytes=50_000))
        steps = replace(lab.scan(log.topic), read_ahead_bytes=1).steps(stop)
        next(steps)
        broker.pause()
        return steps

    with black_hole() as port, Elsewhere(config, port) as elsewhere, Cluster(config) as cluster:
        try:
            yield nobody_there if request.param == "for a connection" else no_answer
        finally:
            broker.resume()


@contextmanager
def ended_by(act: Callable[[], object]) -> Iterator[None]:
    """Do something in a moment, from another thread, and expect the block to end by it."""
    timer = threading.Timer(0.3, act)
    began = time.monotonic()
    timer.start()
    yield
    assert 0.3 <= time.monotonic() - began < 0.3 + AT_ONCE_S
    timer.join()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_ends_it(steps_of: Steps) -> None:
    stop = Stop()
    steps = steps_of(stop)
    with ended_by(stop.set):
        assert sum(rows.num_rows for _, rows in steps) < COUNT


def test_ctrl_c_ends_it(steps_of: Steps) -> None:
    steps = steps_of(Stop())
    with ended_by(interrupt), pytest.raises(KeyboardInterrupt):
        sum(rows.num_rows for _, rows in steps)


def test_ctrl_c_ends_a_sample_and_a_timeout_a_read_of_a_broker_that_is_not_there(own: ApacheKafka, log: Log) -> None:
    config = kl.ConnectionConfig.load(own.bootstrap_servers)
    with black_hole() as port, Elsewhere(config, port) as cluster:
        lab = kl.Lab(cluster, ArrowFetcher(config, cluster))
        with ended_by(interrupt), pytest.raises(KeyboardInterrupt):
            lab.sample(log.topic, 10)
        began = time.monotonic()
        with pytest.warns(kl.LimitWarning, match="timeout"):
            assert lab.read(log.topic, timeout=0.5).empty
        assert time.monotonic() - began < AT_ONCE_S


def test_a_broker_that_goes_on_is_read_to_the_end(own: ApacheKafka, log: Log) -> None:
    broker, config = own.brokers[1], kl.ConnectionConfig.load(own.bootstrap_servers)
    with Cluster(config) as cluster:
        lab = kl.Lab(cluster, ArrowFetcher(config, cluster, 1, response_bytes=50_000))
        found: list[Row] = []
        for arrow_batch in replace(lab.scan(log.topic, headers=True), read_ahead_bytes=1):
            if not found:
                broker.pause()
                threading.Timer(0.3, broker.resume).start()
            found += rows(arrow_batch)
    assert sorted(found) == log.visible("read_committed")
