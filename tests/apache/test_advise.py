"""The advice names what was made slow on purpose, on a real broker."""

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.proxy import Proxy
from tests.apache.truth import QUICK, SECONDS, new_topic, producer

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]

RECORD = b"x" * 100
LARGE = b"y" * 1000
FAST = {"fetch_queue_backoff_ms": 1}
BRIEFLY: dict[str, Any] = {"seconds": 3, "warm_up": 1}
QUOTA_CLIENT = "held-back"


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the consumer run as a user's does: traced for coverage, its own Python is what holds it back."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


def fill(bootstrap: str, counts: Sequence[int], value: bytes = RECORD, **config: Any) -> str:
    """Make a topic with so many records in each partition."""
    log = new_topic(bootstrap, len(counts))
    writer = producer(bootstrap, linger_ms=20, queue_buffering_max_messages=1_000_000, acks=1, **config)
    for partition, count in enumerate(counts):
        for number in range(count):
            while True:
                try:
                    writer.produce(log.topic, value, b"%d" % number, partition)
                except BufferError:
                    writer.poll(0.1)
                else:
                    break
    assert writer.flush(SECONDS) == 0
    return log.topic


@pytest.fixture(scope="module")
def even(kafka: ApacheKafka) -> str:
    return fill(kafka.bootstrap_servers, [200_000] * 4)


@pytest.fixture(scope="module")
def small_batches(kafka: ApacheKafka) -> str:
    """Give a topic whose raw batches are small: the first of an answer always comes whole."""
    return fill(kafka.bootstrap_servers, [30_000] * 4, batch_size=500)


@pytest.fixture(scope="module")
def single(kafka: ApacheKafka) -> str:
    return fill(kafka.bootstrap_servers, [50_000])


@pytest.fixture(scope="module")
def hot(kafka: ApacheKafka) -> str:
    return fill(kafka.bootstrap_servers, [30_000, 300, 300, 300])


@pytest.fixture(scope="module")
def lab(kafka: ApacheKafka) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers) as lab:
        yield lab


@pytest.fixture(scope="module")
def quota(kafka: ApacheKafka) -> Iterator[kl.Lab]:
    """Give a client that gets a megabyte a second."""
    command = kafka.java_command(
        "kafka.admin.ConfigCommand",
        *("--bootstrap-server", kafka.bootstrap_servers, "--alter", "--entity-type", "clients"),
        *("--entity-name", QUOTA_CLIENT, "--add-config", "consumer_byte_rate=1000000"),
    )
    subprocess.run(command, check=True, capture_output=True, timeout=2 * SECONDS)
    config = {"bootstrap.servers": kafka.bootstrap_servers, "client.id": QUOTA_CLIENT}
    with kl.connect(config=config) as lab:
        yield lab


@pytest.fixture(scope="module")
def far() -> Iterator[tuple[kl.Lab, str]]:
    """Give a broker that is 20 ms away, with a topic of large records."""
    small = ("-Xmx384m", *QUICK[1:])
    with Proxy() as proxy:
        properties = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{proxy.port}"}
        with ApacheKafka(properties, jvm_options=small) as broker:
            proxy.lead_to(int(broker.bootstrap_servers.rsplit(":", 1)[1]))
            topic = fill(broker.bootstrap_servers, [60_000], LARGE)
            proxy.delay_s = 0.010
            with kl.connect(broker.bootstrap_servers) as lab:
                yield lab, topic


def no_handler(lab: kl.Lab, even: str) -> kl.Measurement:
    return lab.measure(even, FAST, **BRIEFLY)


def slow_handler(lab: kl.Lab, even: str) -> kl.Measurement:
    return lab.measure(even, FAST, workers=2, process=kl.simulate(sleep_ms=2), **BRIEFLY)


def tiny_fetches(lab: kl.Lab, small_batches: str) -> kl.Measurement:
    return lab.measure(small_batches, {**FAST, "max_partition_fetch_bytes": 2048}, **BRIEFLY)


def hot_partition(lab: kl.Lab, hot: str) -> kl.Measurement:
    return lab.measure(hot, FAST, workers=4, process=kl.simulate(sleep_ms=1), **BRIEFLY)


def one_partition_for_ten_workers(lab: kl.Lab, single: str) -> kl.Measurement:
    return lab.measure(single, FAST, workers=10, process=kl.simulate(sleep_ms=1), **BRIEFLY)


def sawtooth(lab: kl.Lab, even: str) -> kl.Measurement:
    return lab.measure(even, **BRIEFLY)


def pure_python(lab: kl.Lab, even: str) -> kl.Measurement:
    return lab.measure(even, FAST, workers=4, process=kl.simulate(cpu_us=100), **BRIEFLY)


def held_back(quota: kl.Lab, even: str) -> kl.Measurement:
    return quota.measure(even, FAST, **BRIEFLY)


def queue_memory(lab: kl.Lab, even: str) -> kl.Measurement:
    return lab.measure(even, {"queued_max_messages_kbytes": 4096, "fetch_max_bytes": 1 << 20}, **BRIEFLY)


def quiet(lab: kl.Lab, even: str) -> kl.Measurement:
    return lab.measure(even, start="latest", **BRIEFLY)


def latency(far: tuple[kl.Lab, str]) -> kl.Measurement:
    lab, topic = far
    return lab.measure(topic, FAST, **BRIEFLY)


_TRIES = 3  # whatever else the machine does is measured too
SCENARIOS: dict[Callable[..., kl.Measurement], str] = {
    slow_handler: "application",
    no_handler: "reader",
    tiny_fetches: "fetch size",
    hot_partition: "hot partition",
    one_partition_for_ten_workers: "too few partitions",
    sawtooth: "back-off sawtooth",
    pure_python: "interpreter",
    held_back: "broker quota",
    queue_memory: "queue memory",
    quiet: "quiet topic",
    latency: "network latency",
}


def found_in(scenario: Callable[..., kl.Measurement], request: pytest.FixtureRequest) -> kl.Measurement:
    names = scenario.__code__.co_varnames[: scenario.__code__.co_argcount]
    return scenario(*(request.getfixturevalue(name) for name in names))


@pytest.mark.parametrize(("scenario", "bottleneck"), SCENARIOS.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_names_the_bottleneck(
    scenario: Callable[..., kl.Measurement], bottleneck: str, request: pytest.FixtureRequest
) -> None:
    found = [found_in(scenario, request)]
    while found[-1].advice.bottleneck != bottleneck and len(found) < _TRIES:
        found.append(found_in(scenario, request))
    assert found[-1].advice.bottleneck == bottleneck, found


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("scenario", "bottleneck"), SCENARIOS.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_names_the_bottleneck_each_time(
    scenario: Callable[..., kl.Measurement], bottleneck: str, request: pytest.FixtureRequest
) -> None:
    found = [found_in(scenario, request) for _ in range(20)]
    assert [each.advice.bottleneck for each in found] == [bottleneck] * 20, found


def test_a_topic_that_is_written_to_slowly_is_quiet_too(lab: kl.Lab, kafka: ApacheKafka) -> None:
    log = new_topic(kafka.bootstrap_servers, 2)
    writer, stop = producer(kafka.bootstrap_servers), threading.Event()

    def write() -> None:
        while not stop.wait(0.05):
            writer.produce(log.topic, RECORD)
            writer.poll(0)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        found = lab.measure(log.topic, start="latest", **BRIEFLY)
    finally:
        stop.set()
        thread.join()
        writer.flush(SECONDS)
    assert found.records > 10
    assert found.advice.bottleneck == "quiet topic", found
