"""Measuring on a real broker: the numbers are true, nothing is changed, nothing is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from kafkalab.tuning.children import Children
from tests.apache.test_advise import BRIEFLY, FAST, fill
from tests.apache.truth import wait_until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

COUNT = 20_000
SHORT: dict[str, Any] = {"seconds": 1, "warm_up": 0.5}


@pytest.fixture(scope="module")
def lab(kafka: ApacheKafka) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers) as lab:
        yield lab


@pytest.fixture(scope="module")
def topic(kafka: ApacheKafka) -> str:
    return fill(kafka.bootstrap_servers, [COUNT // 4] * 4)


def children(pid: int | str = "self") -> list[str]:
    """Name the processes that a process has started and that measure."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [child for task in tasks for child in task.read_text().split()]
    return [child for child in found if b"kafkalab.tuning.child" in command_of(child)]


def command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def tally(path: Path) -> Callable[[Any], None]:
    """Return a handler that writes a byte for each record that it has had."""
    name = str(path)

    def process(record: Any) -> None:
        import os

        file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b"." if record.value else b"?")
        os.close(file)

    process.__module__ = "__main__"  # so that it is sent by value
    return process


class TestTruth:
    @pytest.mark.parametrize(
        "how",
        [
            {"workers": 1},
            {"workers": 6, "ordering": "key"},
            {"workers": 3, "ordering": "unordered"},
            {"workers": 3, "worker_kind": "process"},
        ],
        ids=str,
    )
    def test_what_counts_is_what_process_has_had(
        self, lab: kl.Lab, topic: str, tmp_path: Path, how: dict[str, Any]
    ) -> None:
        found = lab.measure(topic, FAST, process=tally(tmp_path / "tally"), **how, **SHORT)
        assert found.records == (tmp_path / "tally").stat().st_size
        assert 0 < sum(each.records for each in found.samples) <= found.records
        assert found.records_rate.median > 0

    def test_a_short_topic_is_read_again(self, lab: kl.Lab, topic: str) -> None:
        found = lab.measure(topic, FAST, **SHORT)
        assert found.records > COUNT
        assert found.passes > 1
        assert any("begun anew" in note for note in found.notes)
        assert found.partition_share == pytest.approx(dict.fromkeys(range(4), 0.25), abs=0.05)

    @pytest.mark.parametrize(
        "settings",
        [
            {"auto_offset_reset": "earliest", "enable_auto_commit": False},
            "article",
            kl.ConsumerSettings.from_java({"auto.offset.reset": "earliest", "enable.auto.commit": "true"}),
        ],
        ids=("ours", "a preset", "Java's"),
    )
    def test_any_settings_can_be_measured(self, lab: kl.Lab, topic: str, settings: Any) -> None:
        assert lab.measure(topic, settings, **SHORT).records > 0

    def test_an_empty_topic_says_so(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        found = lab.measure(fill(kafka.bootstrap_servers, [0]), **SHORT)
        assert (found.records, found.advice.bottleneck) == (0, "quiet topic")

    def test_bytes_are_those_of_keys_and_values(self, lab: kl.Lab, topic: str) -> None:
        found = lab.measure(topic, FAST, **BRIEFLY)
        size = found.average("bytes_rate") / found.average("records_rate")
        assert 100 < size < 130  # of 104 in all, with what librdkafka adds


class TestSafety:
    def test_nothing_is_committed_or_joined(self, lab: kl.Lab, topic: str) -> None:
        before = lab.metadata.group_ids()
        lab.measure(topic, FAST, **SHORT)
        assert lab.metadata.group_ids() == before

    def test_a_handler_that_fails_tells_where(self, lab: kl.Lab, topic: str) -> None:
        def process(record: Any) -> None:
            if record.offset == 77:
                raise KeyError("amount")

        process.__module__ = "__main__"
        with pytest.raises(kl.HandlerError, match=rf"{topic}\[\d\]@77: process failed with KeyError: 'amount'") as told:
            lab.measure(topic, FAST, process=process, **SHORT)
        assert "Traceback" in "".join(told.value.__notes__)
        assert not children()

    def test_a_handler_that_prints_disturbs_nothing(self, lab: kl.Lab, topic: str) -> None:
        found = lab.measure(topic, FAST, process=lambda record: print(record.offset), **SHORT)  # noqa: T201 - on purpose
        assert found.records > 0

    def test_a_handler_that_ends_its_process(self, lab: kl.Lab, topic: str) -> None:
        process = eval("lambda record: __import__('os')._exit(7)", {})  # noqa: S307 - of no module
        with pytest.raises(kl.KafkalabError, match="code 7"):
            lab.measure(topic, FAST, process=process, **SHORT)

    def test_what_cannot_be_sent(self, lab: kl.Lab, topic: str) -> None:
        import threading

        lock = threading.Lock()
        with pytest.raises(kl.ArgumentError, match="cannot go to another process: it uses 'lock', a lock"):
            lab.measure(topic, process=lambda _: lock.locked())
        assert not children()

    @pytest.mark.parametrize(
        "wrong",
        [{"workers": 0}, {"workers": 1.5}, {"seconds": 0}, {"warm_up": -1}, {"ordering": "any"}, {"process": 5}],
        ids=str,
    )
    def test_arguments_that_make_no_sense(self, lab: kl.Lab, topic: str, wrong: dict[str, Any]) -> None:
        with pytest.raises(kl.ArgumentError, match=next(iter(wrong))):
            lab.measure(topic, **wrong)
        assert not children()


def test_the_child_keeps_its_deadline_by_itself(lab: kl.Lab, topic: str) -> None:
    session = lab.tune(topic, FAST, process=kl.simulate(sleep_ms=1))
    with Children(session._bench.jobs(1.0)):  # whom nobody listens to
        wait_until(lambda: bool(children()))
        wait_until(lambda: not children())


PARENT = """
import sys, kafkalab as kl
lab = kl.connect(sys.argv[1])
print("begin", flush=True)
lab.measure(sys.argv[2], process=kl.simulate(sleep_ms=1), seconds=60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_child_ends_with_its_parent(kafka: ApacheKafka, topic: str, how: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, kafka.bootstrap_servers, topic]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: bool(children(parent.pid)))
        (child,) = children(parent.pid)
        os.kill(parent.pid, how)
        wait_until(lambda: b"kafkalab.tuning.child" not in command_of(child), 5)
        assert parent.wait(5) != 0
    finally:
        parent.kill()
        parent.wait()
