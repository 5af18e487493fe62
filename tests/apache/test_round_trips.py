"""How many round trips, one after the other, a verb takes: what a reader far from the cluster waits for."""

from collections.abc import Callable, Iterator

import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.proxy import Proxy
from tests.apache.truth import QUICK, Log, new_topic, numbered

RECORDS = 1000
DELAY_S = 0.025
MANY = 10_000


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with Proxy() as one:
        yield one


@pytest.fixture(scope="module")
def log(proxy: Proxy) -> Iterator[Log]:
    """Give a topic of a broker that is 50 ms away."""
    properties = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{proxy.port}"}
    with ApacheKafka(properties, jvm_options=QUICK) as broker:
        proxy.lead_to(int(broker.bootstrap_servers.rsplit(":", 1)[1]))
        log = new_topic(broker.bootstrap_servers, 1)
        log.write(0, *numbered(RECORDS))
        yield log


@pytest.fixture
def far(proxy: Proxy, log: Log) -> Iterator[kl.Lab]:
    """Give a lab whose connections are open, and which knows the topic."""
    proxy.delay_s = 0
    with kl.connect(f"127.0.0.1:{proxy.port}") as lab:
        assert len(lab.read(log.topic)) == RECORDS
        proxy.delay_s = DELAY_S
        yield lab
    proxy.delay_s = 0


VERBS: dict[str, tuple[Callable[[kl.Lab, str], object], int]] = {
    "topics": (lambda lab, _: lab.topics(), 1),
    "describe": (lambda lab, topic: lab.describe(topic), 2),
    "read": (lambda lab, topic: lab.read(topic), 3),
    "head": (lambda lab, topic: lab.head(topic), 4),
    "last": (lambda lab, topic: lab.last(topic), 4),
    "sample": (lambda lab, topic: lab.sample(topic, 1000, seed=1), 8),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_takes_a_few_round_trips(far: kl.Lab, proxy: Proxy, log: Log, verb: str) -> None:
    work, most = VERBS[verb]
    before = proxy.turns
    work(far, log.topic)
    assert 0 < proxy.turns - before <= most


def test_a_plan_takes_two_round_trips_for_a_topic_that_was_not_seen_before(far: kl.Lab, proxy: Proxy, log: Log) -> None:
    fresh = new_topic(log.bootstrap, 1)
    before = proxy.turns
    far.metadata.overview(fresh.topic)
    assert proxy.turns - before == 2
    far.metadata.overview(fresh.topic)
    assert proxy.turns - before == 3
