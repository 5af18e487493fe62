"""The bytes that are measured are those that the broker counts."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from kafkalab.brokers.ports import free_ports
from kafkalab.tuning.children import Children
from kafkalab.tuning.measure import Bench, Window
from kafkalab.tuning.measurement import Measurement
from tests.apache.test_advise import FAST, fill
from tests.apache.truth import QUICK, SECONDS, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

_JMX = "com.sun.management.jmxremote"
_WINDOW_S = 4.0
# Small answers: one that is under way as the window begins or ends has left the broker, and has not come.
_SMALL = {**FAST, "max_partition_fetch_bytes": 1 << 15}


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def broker(port: int) -> Iterator[ApacheKafka]:
    """Give a broker whose metrics can be asked for, from this machine."""
    metrics = {"port": port, "rmi.port": port, "host": "127.0.0.1", "authenticate": "false", "ssl": "false"}
    options = [f"-D{_JMX}.{name}={value}" for name, value in metrics.items()]
    with ApacheKafka(jvm_options=(*QUICK, "-Djava.rmi.server.hostname=127.0.0.1", *options)) as broker:
        yield broker


@contextmanager
def bytes_out(broker: ApacheKafka, port: int, topic: str) -> Iterator[list[tuple[float, int]]]:
    """Give what the broker has sent of a topic, ten times a second, by this machine's monotonic clock."""
    seen: list[tuple[float, int]] = []
    ahead = time.monotonic() - time.time()
    command = broker.java_command(
        "org.apache.kafka.tools.JmxTool",
        *("--jmx-url", f"service:jmx:rmi:///jndi/rmi://127.0.0.1:{port}/jmxrmi", "--reporting-interval", "100"),
        *("--object-name", f"kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec,topic={topic}"),
        *("--attributes", "Count", "--wait"),
    )
    tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def listen() -> None:
        assert tool.stdout is not None
        with tool.stdout as lines:
            for line in lines:
                if line[:1].isdigit():
                    at, count = line.split(",")
                    seen.append((int(at) / 1000 + ahead, int(float(count))))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield seen
    finally:
        tool.terminate()
        tool.wait(SECONDS)
        listener.join(SECONDS)


def watched(bench: Bench) -> tuple[Measurement, float, float]:
    """Measure as `measure` does; return the result, and from when to when on the monotonic clock."""
    window = Window(_WINDOW_S, 1.0)
    with Children(bench.jobs(2 * SECONDS)) as children:
        for counts in children.counts(2 * SECONDS):
            if counts is not None and window.add(counts):
                children.stop()
    return Measurement.of(bench.setup, window.kept, 0), window.kept[0].at, window.kept[-1].at


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_bytes_are_those_that_the_broker_has_sent(broker: ApacheKafka, port: int, codec: str) -> None:
    topic = fill(broker.bootstrap_servers, [200_000] * 4, compression_type=codec, batch_size=1 << 15)
    with kl.connect(broker.bootstrap_servers) as lab, bytes_out(broker, port, topic) as seen:
        found, began, ended = watched(lab.tune(topic, _SMALL)._bench)
        wait_until(lambda: bool(seen) and seen[-1][0] >= ended)
    times, counts = zip(*seen, strict=True)
    assert times[0] <= began
    sent = np.interp(ended, times, counts) - np.interp(began, times, counts)
    came = sum(each.wire_bytes_rate * each.seconds for each in found.samples)
    assert came == pytest.approx(sent, rel=0.05)
    # What is fetched ahead has come, and is not handled yet.
    decompressed = found.average("bytes_rate") / found.average("wire_bytes_rate")
    assert 0.5 < decompressed < 1 if codec == "none" else decompressed > 5
