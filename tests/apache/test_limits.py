"""Answers that come late, cut, larger than every limit or squeezed a thousandfold: complete, in bounded memory."""

import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

import kafkalab as kl
from kafkalab import _native
from kafkalab.brokers import ApacheKafka
from kafkalab.fetch.arrow import ArrowFetcher
from kafkalab.fetch.base import Stop
from kafkalab.net.wire import BrokerConnection
from tests.apache.test_memory import ARROW, MIB, reader
from tests.apache.test_waits import ended_by, interrupt
from tests.apache.truth import QUICK, SECONDS, Log, Record, new_topic, numbered, producer, rows

RECORD_BYTES = 20_000_000
# One sample window of a second each, so that a quota acts at once.
SHORT_WINDOW = {"quota.window.num": 2, "fetch.max.bytes": 1024}


@pytest.fixture(scope="module")
def small() -> Iterator[ApacheKafka]:
    """Give a broker that sends no more than it must."""
    with ApacheKafka(SHORT_WINDOW, jvm_options=QUICK) as broker:
        yield broker


@dataclass
class Conversations:
    """What was received and when the next request was made, on every connection."""

    answers: list[tuple[float, _native.FetchResponse]] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    throttled: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Conversations:
    heard = Conversations()
    send, receive = BrokerConnection.send_fetch, BrokerConnection.receive_fetch

    def sending(*args: object, **asked: object) -> int:
        heard.requests.append(time.monotonic())
        return send(*args, **asked)  # type: ignore[arg-type]  # as it was called

    def receiving(connection: BrokerConnection, correlation_id: int) -> _native.FetchResponse:
        response = receive(connection, correlation_id)
        heard.answers.append((time.monotonic(), response))
        if response.throttle_ms:
            heard.throttled.set()
        return response

    monkeypatch.setattr(BrokerConnection, "send_fetch", sending)
    monkeypatch.setattr(BrokerConnection, "receive_fetch", receiving)
    return heard


class TestSizes:
    def test_a_record_larger_than_every_limit(self, small: ApacheKafka, heard: Conversations) -> None:
        log = new_topic(small.bootstrap_servers, 2, max_message_bytes=RECORD_BYTES + MIB)
        writer = producer(small.bootstrap_servers, message_max_bytes=RECORD_BYTES + MIB)
        pattern = bytes(range(251))
        for partition in (0, 1):
            large = Record(b"large", pattern * (RECORD_BYTES // len(pattern)))
            log.write(partition, *numbered(3), large, *numbered(3), by=writer)
        with kl.connect(small.bootstrap_servers, engine="arrow") as lab:
            assert rows(lab.read(log.topic, headers=True)) == log.visible("read_committed")
        assert max(response.wire_bytes for _, response in heard.answers) > RECORD_BYTES

    def test_batches_that_come_cut(self, kafka: ApacheKafka, heard: Conversations) -> None:
        log = new_topic(kafka.bootstrap_servers, 2)
        for partition in (0, 1):
            for number in range(30):
                log.write(partition, Record(b"%d" % number, bytes([number]) * 100_000))
        with kl.connect(kafka.bootstrap_servers, engine="arrow") as lab:
            assert isinstance(lab.fetcher, ArrowFetcher)
            assert rows(lab.read(log.topic, headers=True)) == log.visible("read_committed")
        heads = [head for _, response in heard.answers for head in response.partitions]
        assert [head for head in heads if head.cut_batch_bytes]

    def test_a_few_kilobytes_that_hold_hundreds_of_megabytes(self, kafka: ApacheKafka) -> None:
        log, held, count = new_topic(kafka.bootstrap_servers), 32 * MIB, 20
        writer = producer(kafka.bootstrap_servers, compression_type="zstd", message_max_bytes=held + MIB)
        for _ in range(count):
            writer.produce(log.topic, bytes(held), partition=0)
            assert writer.flush(SECONDS) == 0
        files = (kafka.data_dir / f"{log.topic}-0").glob("*.log")
        assert sum(path.stat().st_size for path in files) < MIB
        told = reader(kafka.bootstrap_servers, log.topic, "arrow")
        assert (told["rows"], told["complete"]) == (count, True)
        # Above the bound, since a batch is larger than a step: one, the next one, and the buffer that it comes from.
        assert told["grown"] < ARROW + 3 * held < count * held


class TestThrottling:
    CLIENT, STUCK = "throttled", "stuck"

    @pytest.fixture(scope="class")
    @staticmethod
    def quotas(small: ApacheKafka) -> None:
        for name, rate in ((TestThrottling.CLIENT, 400_000), (TestThrottling.STUCK, 500)):
            command = small.java_command(
                "kafka.admin.ConfigCommand",
                *("--bootstrap-server", small.bootstrap_servers, "--alter", "--entity-type", "clients"),
                *("--entity-name", name, "--add-config", f"consumer_byte_rate={rate}"),
            )
            subprocess.run(command, check=True, capture_output=True, timeout=2 * SECONDS)

    @pytest.fixture(scope="class")
    @staticmethod
    def log(small: ApacheKafka) -> Log:
        log = new_topic(small.bootstrap_servers)
        for number in range(10):
            log.write(0, Record(b"%d" % number, bytes([number]) * 100_000))
        return log

    @staticmethod
    def connect(broker: ApacheKafka, client: str) -> kl.Lab:
        config = {"bootstrap.servers": broker.bootstrap_servers, "client.id": client}
        return kl.connect(config=config, engine="arrow")

    @pytest.mark.usefixtures("quotas")
    def test_a_read_waits_as_it_is_told_and_is_complete(
        self, small: ApacheKafka, log: Log, heard: Conversations
    ) -> None:
        with self.connect(small, self.CLIENT) as lab:
            assert rows(lab.read(log.topic, headers=True)) == log.visible("read_committed")
        waits = [(at, response.throttle_ms / 1000) for at, response in heard.answers if response.throttle_ms]
        assert waits
        for at, seconds in waits:
            assert not [asked for asked in heard.requests if at < asked < at + seconds]

    @pytest.mark.usefixtures("quotas")
    def test_a_sample_waits_too(self, small: ApacheKafka, log: Log, heard: Conversations) -> None:
        with self.connect(small, self.CLIENT) as lab:
            while not heard.throttled.is_set():
                assert len(lab.sample(log.topic, 5)) == 5
        assert not [response for _, response in heard.answers if response.throttle_ms and response.partitions]

    @pytest.mark.usefixtures("quotas")
    @pytest.mark.parametrize("how", ["stop", "Ctrl-C", "timeout"])
    def test_a_wait_for_minutes_ends_at_once(
        self, small: ApacheKafka, log: Log, heard: Conversations, how: str
    ) -> None:
        stop = Stop()
        with self.connect(small, self.STUCK) as lab:
            if how == "stop":
                with ended_by(stop.set):
                    assert sum(step.num_rows for _, step in lab.scan(log.topic).steps(stop)) == 0
            elif how == "Ctrl-C":
                with ended_by(interrupt), pytest.raises(KeyboardInterrupt):
                    lab.read(log.topic)
            else:
                with ended_by(lambda: None), pytest.warns(kl.LimitWarning, match="timeout"):
                    assert lab.read(log.topic, timeout=0.5).empty
        assert max(response.throttle_ms for _, response in heard.answers) > 10_000
