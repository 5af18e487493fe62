"""A session that the broker ends after seconds goes on: the fast engine logs in anew on the same connection."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from kafkalab.cluster import Cluster
from kafkalab.fetch.arrow import ArrowFetcher
from kafkalab.fetch.base import FetchControl, FetchOptions
from kafkalab.net.wire import BrokerConnection
from tests.apache.test_engine import PASSWORD, token_until
from tests.apache.test_safety import fill
from tests.apache.truth import QUICK, SECONDS, Log, Record, new_topic, wait_until

LIFETIME_S = 2.0
ENOUGH = 3
COUNT = 4000
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")


@pytest.fixture(scope="module")
def forgetful() -> Iterator[ApacheKafka]:
    properties = {"connections.max.reauth.ms": int(LIFETIME_S * 1000)}
    with ApacheKafka(properties, listeners=["SASL_PLAINTEXT"], users={"alice": PASSWORD}, jvm_options=QUICK) as broker:
        yield broker


@pytest.fixture(scope="module")
def log(forgetful: ApacheKafka) -> Log:
    log = new_topic(forgetful.bootstrap_servers)
    fill(log, COUNT)
    return log


def config_of(broker: ApacheKafka, mechanism: str) -> dict[str, Any]:
    config: dict[str, Any] = broker.client_config("SASL_PLAINTEXT", user="alice", mechanism=mechanism)
    if mechanism == "OAUTHBEARER":
        del config["enable.sasl.oauthbearer.unsecure.jwt"]
        config["oauth_cb"] = lambda _: token_until(time.time() + 3600)
    return config


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_tail_outlives_its_sessions_on_one_connection(
    forgetful: ApacheKafka, logins: list[BrokerConnection], mechanism: str
) -> None:
    log = new_topic(forgetful.bootstrap_servers)
    with kl.connect(config=config_of(forgetful, mechanism)) as lab:
        logins.clear()
        with lab.tail(log.topic, rows=1_000_000, start="earliest") as tail:
            while len(logins) < ENOUGH:
                log.write(0, Record(None, b"%d" % len(log.all)))
                assert tail.wait_for(len(log.all), SECONDS)
            assert [row.offset for row in log.visible("read_committed")] == tail.df["offset"].tolist()
    assert len(set(logins)) == 1


@pytest.mark.parametrize("verb", ["fetch", "probe"])
def test_a_reader_that_comes_back_after_the_session_has_ended(
    forgetful: ApacheKafka, log: Log, logins: list[BrokerConnection], verb: str
) -> None:
    config = kl.ConnectionConfig(config_of(forgetful, "SCRAM-SHA-256"))
    with Cluster(config) as cluster:
        fetcher, options = ArrowFetcher(config, cluster, 1, response_bytes=50_000), FetchOptions()
        if verb == "fetch":
            steps = fetcher.fetch([kl.OffsetRange(log.topic, 0, 0, COUNT)], options, FetchControl())
        else:
            steps = fetcher.probe(log.topic, {0: np.arange(COUNT)}, options, FetchControl())
        logins.clear()
        found = next(steps).arrow_batch["offset"].to_pylist()
        assert len(logins) == 1
        outlive()
        for fetched in steps:
            found += fetched.arrow_batch["offset"].to_pylist()
    assert sorted(found) == list(range(COUNT))
    # The one answer that a fetch was ahead had come; of a probe's many, the broker may have had some yet to make.
    assert len(logins) == 2
    assert len(set(logins)) == 1 or verb == "probe"


def outlive() -> None:
    """Wait until a session that has begun is over."""
    end = time.monotonic() + LIFETIME_S
    wait_until(lambda: time.monotonic() > end)
