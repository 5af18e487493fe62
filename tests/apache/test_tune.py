"""A tuning session and a sweep on a real broker."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.test_advise import FAST, fill
from tests.apache.test_measure import children
from tests.apache.truth import SECONDS, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def lab(kafka: ApacheKafka) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers) as lab:
        yield lab


@pytest.fixture(scope="module")
def topic(kafka: ApacheKafka) -> str:
    return fill(kafka.bootstrap_servers, [50_000] * 4)


def slow(lab: kl.Lab, topic: str, **how: Any) -> kl.TuningSession:
    return lab.tune(topic, FAST, process=kl.simulate(sleep_ms=2), **{"workers": 1, **how})


def ignores_interrupts(pid: str) -> bool:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) >> (signal.SIGINT - 1) & 1)


class TestSession:
    def test_more_workers_show_while_it_runs(self, lab: kl.Lab, topic: str) -> None:
        states: set[str] = set()
        session = slow(lab, topic)
        assert session.state == "idle"
        leave = session.subscribe(lambda: states.add(session.state))
        with session:
            wait_until(lambda: session.advice is not None)
            (child,) = children()
            session.set(workers=4)
            assert session.setup.workers == 4
            wait_until(lambda: session.history["against_first"].notna().tolist() == [True, True])
            assert children() == [child]
            assert "workers, ConsumerSettings(fetch_queue_backoff_ms=1)" in repr(session)
        leave()
        assert not children()
        history = session.history
        assert history["change"].tolist() == ["start", "workers 1 -> 4"]
        assert 2.5 < history["against_first"].iloc[1] < 5
        assert session.marks["restarted"].tolist() == [True, False]
        assert {"connecting", "warming up", "running", "settling", "stopping", "idle"} <= states
        assert len(session.series) > 4
        assert session.error is None
        assert session.figure._repr_png_().startswith(b"\x89PNG")

    def test_a_setting_restarts_the_consumer_once(self, lab: kl.Lab, topic: str) -> None:
        with slow(lab, topic, workers=2) as session:
            wait_until(lambda: session.state in ("warming up", "running"))
            (child,) = children()
            for size in range(1, 51):
                session.set(fetch_min_bytes=size)
            wait_until(lambda: len(session.history) == 2 and session.state in ("settling", "running"))
            assert session.settings == kl.ConsumerSettings(fetch_queue_backoff_ms=1, fetch_min_bytes=50)
            wait_until(lambda: bool(children()) and children() != [child])
            assert len(children()) == 1
        assert session.history["change"].iloc[1] == "fetch_min_bytes 1 B -> 50 B"

    def test_two_settings_in_turns(self, lab: kl.Lab, topic: str) -> None:
        session = slow(lab, topic)
        found = session.compare({}, {"workers": 4}, seconds=1, pairs=2)
        assert found.differs
        assert 2.5 < found.ratio.median < 5
        assert found.change == "workers 1 -> 4"
        assert (session.state, session.setup.workers, children()) == ("idle", 1, [])
        assert session.marks["label"].tolist() == list("ABBA")
        assert session.history.empty

    def test_a_comparison_beside_a_run_goes_back_to_it(self, lab: kl.Lab, topic: str) -> None:
        with slow(lab, topic, workers=2) as session:
            wait_until(lambda: session.state in ("warming up", "running"))
            session.start_comparison({}, {"workers": 4}, seconds=1, pairs=2)
            wait_until(lambda: session.state == "comparing")
            assert len(children()) <= 1
            assert session.progress.startswith("A|B: turn ")
            wait_until(lambda: session.comparison is not None)
            wait_until(lambda: session.history["change"].tolist() == ["start", "after comparing"])
            wait_until(lambda: len(children()) == 1)
            session.start_comparison({}, {"workers": 4})
            wait_until(lambda: session.state == "comparing")
            session.stop()
            assert (children(), session.comparison) == ([], None)

    def test_what_cannot_be_changes_nothing(self, lab: kl.Lab, topic: str) -> None:
        session = slow(lab, topic)
        for wrong in ({"fetch_min_bites": 1}, {"workers": 0}, {"max_partition_fetch_bytes": 1 << 40}):
            with pytest.raises((kl.ConfigError, kl.ArgumentError)):
                session.set(**wrong)
        assert session.setup.workers == 1

    def test_stops_within_a_second(self, lab: kl.Lab, topic: str) -> None:
        session = slow(lab, topic)
        session.start()
        session.start()
        wait_until(lambda: len(children()) == 1)
        began = time.monotonic()
        session.stop()
        assert time.monotonic() - began < 1.5
        assert (children(), session.state) == ([], "idle")

    def test_starts_again_once_it_has_stopped(self, lab: kl.Lab, topic: str) -> None:
        session = slow(lab, topic)
        session.start()
        wait_until(lambda: len(children()) == 1)
        (first,) = children()
        session.stop(wait=False)
        session.start()
        wait_until(lambda: bool(children()) and children() != [first])
        session.stop()
        assert (children(), session.state, session.running) == ([], "idle", False)

    def test_an_interrupt_ends_a_run_within_a_second(self, lab: kl.Lab, topic: str) -> None:
        session, seen = slow(lab, topic), []

        def interrupt() -> None:
            wait_until(lambda: session.state == "running")
            seen.append(time.monotonic())
            signal.raise_signal(signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            session.run(SECONDS)
        assert time.monotonic() - seen[0] < 1.5
        assert children() == []

    def test_an_interrupt_is_the_notebooks_to_handle(self, lab: kl.Lab, topic: str) -> None:
        with slow(lab, topic) as session:
            wait_until(lambda: len(children()) == 1 and ignores_interrupts(children()[0]))
            (child,) = children()
            assert session.state == "connecting"
            os.kill(int(child), signal.SIGINT)  # VS Code sends it to each process below the kernel
            wait_until(lambda: session.state == "running")
            os.kill(int(child), signal.SIGINT)
            seen = len(session.series)
            wait_until(lambda: len(session.series) > seen)
            assert children() == [child]

    def test_a_handler_that_fails(self, lab: kl.Lab, topic: str) -> None:
        session = lab.tune(topic, process=lambda record: record.nothing)
        with pytest.raises(kl.HandlerError, match="AttributeError"):
            session.run(SECONDS)
        assert session.state == "failed"
        assert "AttributeError" in repr(session)

    def test_two_at_once_and_a_lab_that_closes(self, kafka: ApacheKafka, topic: str) -> None:
        with kl.connect(kafka.bootstrap_servers) as own:
            sessions = [slow(own, topic) for _ in range(2)]
            for session in sessions:
                session.start()
            wait_until(lambda: len(children()) == 2)
        assert children() == []
        assert not any(session.running for session in sessions)

    def test_a_topic_that_is_read_to_its_end(self, lab: kl.Lab, topic: str, kafka: ApacheKafka) -> None:
        with lab.tune(topic, FAST, start="latest") as session:
            assert session.state == "connecting"
            from tests.apache.truth import producer

            writer = producer(kafka.bootstrap_servers)
            wait_until(lambda: bool(children()))

            def caught_up() -> bool:
                writer.produce(topic, b"x", partition=0)
                writer.flush(SECONDS)
                return session.state == "caught up"

            wait_until(caught_up)
            session.replay()
            wait_until(lambda: session.state in ("warming up", "settling") and bool(len(session.series)))
            assert session.setup.replay
            assert session.history["change"].iloc[-1] == "replay False -> True"


class TestSweep:
    SPACE: dict[str, list[Any]] = {"workers": [1, 4], "fetch_queue_backoff_ms": [1, 10]}  # noqa: RUF012 - read only
    HOW: dict[str, Any] = {"seconds": 1, "warm_up": 0.5, "repeats": 1, "progress": False}  # noqa: RUF012 - read only

    def test_finds_the_workers_that_help(self, lab: kl.Lab, topic: str, tmp_path: Path) -> None:
        path = tmp_path / "sweep.jsonl"
        process = kl.simulate(sleep_ms=2)
        found = lab.sweep(topic, self.SPACE, process=process, strategy="grid", resume=path, **self.HOW)
        assert found.best["workers"] == 4
        assert len(found.frame) == 4
        assert found.frame["bottleneck"].tolist() == ["application"] * 4
        assert len(path.read_text().splitlines()) == 4
        began = time.monotonic()
        again = lab.sweep(topic, self.SPACE, process=process, strategy="grid", resume=path, **self.HOW)
        assert time.monotonic() - began < 1
        assert again == found

    @pytest.mark.soak
    @pytest.mark.timeout(1200)
    def test_a_race_finds_what_a_grid_finds(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        topic = fill(kafka.bootstrap_servers, [200_000] * 4)
        space: dict[str, list[Any]] = {
            "workers": [1, 4, 16],
            "ordering": ["partition", "key"],
            "fetch_queue_backoff_ms": [1, 1000],
        }
        how: dict[str, Any] = {"process": kl.simulate(sleep_ms=1), "warm_up": 1, "progress": False}
        whole = lab.sweep(topic, space, strategy="grid", **how)
        race = lab.sweep(topic, space, **how)
        spent, whole_spent = (sum(trial.seconds for trial in each.trials) for each in (race, whole))
        assert spent <= 0.2 * whole_spent
        rates = {cell: found.median for cell, found in whole.estimates.items()}
        assert rates[tuple(race.best.items())] >= 0.95 * max(rates.values()), (whole, race)

    def test_says_what_cannot_be(self, lab: kl.Lab, topic: str) -> None:
        space = {"max_partition_fetch_bytes": [1 << 20, 60 << 20]}
        found = lab.sweep(topic, space, FAST, **self.HOW)
        assert found.best == {"max_partition_fetch_bytes": 1 << 20}
        assert "max_partition_fetch_bytes=62914560: " in found.skipped[0]
