"""Rates from counters, and advice from measurements: all of it on numbers made here."""

from __future__ import annotations

import functools
import gc
import itertools
import logging
import pickle
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import pandas as pd
import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.connection import ConnectionConfig
from kafkalab.group.handler import Hooks
from kafkalab.tuning import measure, search
from kafkalab.tuning.advise import advise
from kafkalab.tuning.child import client_options
from kafkalab.tuning.children import Children
from kafkalab.tuning.identity import fingerprint, origin
from kafkalab.tuning.measure import Bench, Window, settings_of
from kafkalab.tuning.measurement import Measurement, Setup
from kafkalab.tuning.meter import (
    Counts,
    Estimate,
    PartitionCounts,
    Sample,
    between,
    blocks,
    read_statistics,
    samples,
    together,
)
from kafkalab.tuning.phases import is_live
from kafkalab.tuning.reader import Reader, TimedPool
from kafkalab.tuning.search import Cell, Trial
from kafkalab.tuning.sweep import Journal, SweepResult, _trial
from tests.interrupts import SECONDS, ends, interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from confluent_kafka import Message


def sample(**changed: Any) -> Sample:
    plain = dict.fromkeys(Sample.__dataclass_fields__, 0)
    usual = {"seconds": 0.5, "records_rate": 100_000, "bytes_rate": 10e6, "fetch_size_avg": 1e6, "lag": 10**7}
    return Sample(**{**plain, **usual, **changed})


def measured(setup: dict[str, Any] | None = None, samples: int = 20, **changed: Any) -> Measurement:
    own = {name: changed.pop(name) for name in list(changed) if name in Measurement.__dataclass_fields__}
    plain = {"topic": "orders", "partitions": 4, "settings": kl.ConsumerSettings(), "workers": 4}
    asked = Setup(**{**plain, **(setup or {})})
    return Measurement(asked, 10**6, (sample(**changed),) * samples, **own)


class TestEstimate:
    @given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40))
    def test_the_median_is_in_its_interval(self, values: list[float]) -> None:
        found = Estimate.of(values)
        assert found.low <= found.median <= found.high
        assert found.low in values
        assert found.high in values

    @pytest.mark.parametrize(("n", "confidence"), [(1, 0.0), (2, 0.5), (5, 0.9375), (8, 0.9296875)])
    def test_it_is_as_sure_as_order_statistics_are(self, n: int, confidence: float) -> None:
        assert Estimate.of(range(n)).confidence == confidence

    @given(st.integers(5, 60))
    def test_it_is_at_least_ninety_percent_sure_from_five_values_on(self, n: int) -> None:
        assert Estimate.of(range(n)).confidence >= 0.9


class TestRates:
    def test_between_two_moments(self) -> None:
        before = Counts(at=10.0, first_at=8.0, handled=1000, cpu_s=1.0, probes=100, contended=10, throttled_ms=100)
        parts = {0: PartitionCounts(5000, 30, 3000, 70)}
        after = replace(
            before,
            at=12.0,
            handled=5000,
            busy_s=3.0,
            broker_s=0.5,
            cpu_s=4.0,
            probes=300,
            contended=60,
            delivered=5000,
            delivered_bytes=500_000,
            fetches=4,
            wire_bytes=200_000,
            throttled_ms=600,
            partitions=parts,
        )
        found = between(before, after)
        assert (found.at, found.seconds, found.records, found.records_rate) == (4.0, 2.0, 4000, 2000.0)
        assert (found.bytes_rate, found.wire_bytes_rate, found.fetch_size_avg) == (200_000.0, 100_000.0, 50_000.0)
        assert (found.cpu, found.busy, found.broker_share, found.interpreter_share) == (1.5, 1.5, 0.25, 0.25)
        assert (found.queued, found.queued_bytes, found.lag, found.throttle_share) == (30, 3000, 70, 0.25)

    def test_waits_between_two_readings_of_a_topic_do_not_count(self) -> None:
        counts = [
            Counts(at=at / 2, first_at=0.0, handled=500 * at, between_passes_s=0.48 * (at > 4)) for at in range(8)
        ]
        found = samples(counts)
        assert [round(each.records_rate) for each in found] == [1000] * 4 + [1923] + [1000]
        assert sum(each.seconds for each in found) == pytest.approx(3.5 - 0.48)

    def test_consumers_of_several_processes_count_together(self) -> None:
        one = Counts(at=1.0, first_at=0.5, handled=3, broker_s=1.0, passes=2, partitions={0: PartitionCounts(*[1] * 4)})
        two = Counts(at=3.0, handled=4, broker_s=0.0, passes=1, partitions={1: PartitionCounts(*[2] * 4)})
        both = together([one, two])
        assert (both.at, both.first_at, both.handled, both.broker_s, both.passes) == (2.0, 0.5, 7, 0.5, 1)
        assert sorted(both.partitions) == [0, 1]

    def test_a_rate_that_swings_within_a_second_is_its_average(self) -> None:
        swinging = [sample(records_rate=rate) for rate in itertools.islice(itertools.cycle([0, 200]), 20)]
        found = Measurement(measured().setup, 0, tuple(swinging)).records_rate
        assert (found.median, found.low, found.high) == (100, 100, 100)

    @given(st.lists(st.floats(0.1, 2), min_size=1, max_size=50))
    def test_stretches_hold_all_samples_in_order(self, lengths: list[float]) -> None:
        given_samples = [sample(at=number, seconds=length) for number, length in enumerate(lengths)]
        found = blocks(given_samples)
        assert [each for part in found for each in part] == given_samples
        assert 1 <= len(found) <= 5

    def test_statistics_of_librdkafka(self) -> None:
        part = {"rxmsgs": 10, "rxbytes": 900, "fetchq_cnt": 4, "fetchq_size": 360, "fetch_state": "active"}
        part |= {"ls_offset": 100, "app_offset": 30, "next_offset": 34, "hi_offset": 120}
        idle = {**part, "fetch_state": "none"}
        fresh = {**part, "app_offset": -1001, "next_offset": 100, "fetchq_cnt": 0, "fetchq_size": 0}
        broker = {
            "nodeid": 1,
            "req": {"Fetch": 7},
            "rxbytes": 5000,
            "throttle": {"sum": 30},
            "rtt": {"p50": 2500, "min": 400},
        }
        logical = {**broker, "nodeid": -1, "rxbytes": 10**9}
        found = read_statistics(
            {
                "brokers": {"a": broker, "b": logical},
                "rxmsgs": 10,
                "rxmsg_bytes": 900,
                "topics": {"orders": {"partitions": {"0": part, "1": idle, "2": fresh, "-1": part}}},
            },
            "orders",
        )
        assert found["partitions"] == {0: PartitionCounts(0, 4, 360, 70), 2: PartitionCounts(0, 0, 0, 0)}
        assert (found["fetches"], found["wire_bytes"], found["rtt_ms"], found["nearest_ms"]) == (7, 5000, 2.5, 0.4)


class TestWindow:
    @staticmethod
    def run(window: Window, counts: list[Counts]) -> list[float]:
        for each in counts:
            if window.add(each):
                break
        return [each.at for each in window.kept]

    def test_begins_after_the_first_record_and_the_warm_up(self) -> None:
        counts = [Counts(at=at / 2, first_at=3.2 if at > 6 else None, handled=at) for at in range(40)]
        assert self.run(Window(5, 2), counts) == [5.5 + number / 2 for number in range(11)]

    def test_a_topic_without_records_is_not_waited_for_forever(self) -> None:
        window = Window(4, 2)
        assert self.run(window, [Counts(at=at / 2) for at in range(40)])[-1] == 4.0
        assert window.complete


SEPARATE: dict[str, Any] = {"broker_share": 0.0, "application_share": 0.9}
STARVED: dict[str, Any] = {"broker_share": 0.7, "rtt_ms": 0.5}
SAWTOOTH: dict[str, Any] = {"stalls": 9, "stall_s": 0.8}


class TestAdvice:
    @pytest.mark.parametrize(
        ("expected", "change", "measurement"),
        [
            ("quiet topic", None, measured(samples=0)),
            ("quiet topic", None, measured(records_rate=0)),
            ("quiet topic", None, measured({"replay": False}, broker_share=0.9, lag=20, records_rate=300)),
            ("broker quota", None, measured(throttle_share=0.6, **STARVED)),
            ("broker quota", None, measured(throttle_share=1.5, records_rate=0)),
            (
                "back-off sawtooth",
                "fetch_queue_backoff_ms 1 s -> 1 ms",
                measured(burst_records=110_000, **SAWTOOTH, **STARVED),
            ),
            (
                "queue memory",
                "queued_max_messages_kbytes 64 MiB -> 512 MiB",
                measured(burst_records=7000, bytes_rate=1e9, **SAWTOOTH, **STARVED),
            ),
            (
                "fetch size",
                "max_partition_fetch_bytes 4 KiB -> 1 MiB",
                measured(
                    {"settings": kl.ConsumerSettings(max_partition_fetch_bytes=4096)}, fetch_size_avg=9000, **STARVED
                ),
            ),
            (
                "network latency",
                "max_partition_fetch_bytes 1 MiB -> 8 MiB",
                measured(broker_share=0.8, rtt_ms=30.0, nearest_ms=22.0),
            ),
            ("fetch", "worker_kind thread -> process", measured(**STARVED)),
            ("interpreter", "worker_kind thread -> process", measured(interpreter_share=0.9, **SEPARATE)),
            (
                "too few partitions",
                "ordering partition -> key",
                measured({"partitions": 1, "workers": 10}, busy=0.98, **SEPARATE),
            ),
            (
                "hot partition",
                "ordering partition -> key",
                measured(busy=1.2, partition_share={0: 0.9, 1: 0.04, 2: 0.03, 3: 0.03}, **SEPARATE),
            ),
            ("reader", "worker_kind thread -> process", measured(busy=0.1, application_share=0.2)),
            ("reader", "worker_kind thread -> process", measured(busy=1.9, application_share=0.5)),
            (
                "reader",
                "worker_kind thread -> process",
                measured(busy=0.9, application_share=0.5, interpreter_share=0.6),
            ),
            (
                "interpreter",
                "worker_kind thread -> process",
                measured(busy=1.9, application_share=0.5, interpreter_share=0.6),
            ),
            ("reader", None, measured(busy=0.1, core_wait=1.5, cpu=0.2)),
            ("reader", None, measured({"partitions": 1}, busy=0.1, application_share=0.2)),
            ("application", "workers 2 -> 4", measured({"workers": 2}, busy=1.96, **SEPARATE)),
            ("application", "ordering partition -> key", measured({"workers": 4}, busy=3.9, **SEPARATE)),
            ("application", "workers 4 -> 8", measured({"ordering": "unordered"}, busy=3.9, **SEPARATE)),
            ("application", "ordering key -> unordered", measured({"ordering": "key"}, busy=1.1, **SEPARATE)),
            ("application", None, measured({"worker_kind": "process"}, busy=3.9, **SEPARATE)),
        ],
        ids=itertools.count(),
    )
    def test_names_what_the_numbers_say(self, expected: str, change: str | None, measurement: Measurement) -> None:
        found = measurement.advice
        assert found.bottleneck == expected, found
        assert (found.change and str(found.change)) == change
        assert found == advise(measurement)
        assert found.text.startswith("Bottleneck: ")
        assert found.evidence

    @pytest.mark.parametrize(
        ("settings", "change"),
        [
            (
                kl.ConsumerSettings(max_partition_fetch_bytes=65_536, fetch_max_bytes=65_536),
                "fetch_max_bytes 64 KiB -> 1 MiB",
            ),
            (
                kl.ConsumerSettings(max_partition_fetch_bytes=65_536, fetch_max_bytes=131_072),
                "max_partition_fetch_bytes 64 KiB -> 128 KiB",
            ),
        ],
    )
    def test_what_is_advised_changes_something(self, settings: kl.ConsumerSettings, change: str) -> None:
        found = measured({"settings": settings}, fetch_size_avg=9000, **STARVED).advice
        assert (found.bottleneck, str(found.change)) == ("fetch size", change)

    def test_what_is_at_its_most_is_not_raised(self) -> None:
        full = kl.ConsumerSettings(queued_max_messages_kbytes=2_097_151, queued_min_messages=10_000_000)
        found = measured({"settings": full}, burst_records=220_000, bytes_rate=1e9, **SAWTOOTH, **STARVED).advice
        assert (found.bottleneck, found.change) == ("queue memory", None)
        crowd: dict[str, Any] = {"ordering": "unordered", "workers": 1000}
        assert measured(crowd, busy=999, **SEPARATE).advice.change is None
        assert str(measured({**crowd, "workers": 600}, busy=599, **SEPARATE).advice.change) == "workers 600 -> 1000"

    def test_partitions_that_are_read_alike_are_not_hot(self) -> None:
        even = measured(busy=1.2, partition_share=dict.fromkeys(range(4), 0.25), **SEPARATE)
        assert even.advice.bottleneck == "application"

    def test_a_partition_is_not_hot_where_all_workers_are_busy(self) -> None:
        shares = {0: 0.5, 1: 0.5, 2: 0.0, 3: 0.0}
        found = measured({"workers": 2}, busy=1.98, partition_share=shares, **SEPARATE)
        assert found.advice.bottleneck == "application"

    def test_the_limit_that_is_reached_first_counts(self) -> None:
        settings = kl.ConsumerSettings(queued_max_messages_kbytes=4096)
        found = measured({"settings": settings}, burst_records=96_600, **SAWTOOTH, **STARVED)
        assert found.advice.bottleneck == "queue memory"

    def test_a_short_back_off_is_no_sawtooth(self) -> None:
        settings = kl.ConsumerSettings(fetch_queue_backoff_ms=1)
        found = measured({"settings": settings}, burst_records=110_000, **SAWTOOTH, **STARVED)
        assert found.advice.bottleneck == "fetch"

    def test_large_answers_that_take_long_are_not_far_away(self) -> None:
        assert measured(rtt_ms=30.0, nearest_ms=0.4, broker_share=0.8).advice.bottleneck == "fetch"

    def test_nobody_waits_for_the_broker_before_a_full_queue(self) -> None:
        settings = kl.ConsumerSettings(max_partition_fetch_bytes=4096)
        how: dict[str, Any] = {"fetch_size_avg": 9000, "broker_share": 0.4, "application_share": 0.1}
        assert measured({"settings": settings}, **how).advice.bottleneck == "fetch size"
        assert measured({"settings": settings}, queued=120_000, **how).advice.bottleneck == "reader"
        saw: dict[str, Any] = {"queued": 120_000, "burst_records": 110_000, "broker_share": 0.45, "stall_s": 0.5}
        assert measured(stalls=9, **saw).advice.bottleneck == "back-off sawtooth"

    def test_a_single_long_wait_is_no_sawtooth(self) -> None:
        how: dict[str, Any] = {"stalls": 1, "stall_s": 0.07, "bytes_rate": 1e8, "burst_records": 66_000}
        assert measured(nearest_ms=22.0, broker_share=0.9, **how).advice.bottleneck == "network latency"

    def test_a_lag_that_is_worked_off_is_not_quiet(self) -> None:
        assert measured({"replay": False}, **STARVED).advice.bottleneck == "fetch"


class TestMeasurement:
    def test_shows_its_numbers_as_text_and_as_html(self) -> None:
        found = measured({"topic": "<b>orders", "workers": 2}, busy=1.9, notes=("a & b",), **SEPARATE)
        assert "<b>orders: 100 k records/s over 10.0 s · 2 workers" in repr(found)
        assert "100 k (100 k-100 k)" in repr(found)
        assert "note: a & b" in repr(found)
        shown = found._repr_html_()
        assert "&lt;b&gt;orders" in shown
        assert "a &amp; b" in shown
        assert "<b>" not in shown

    def test_its_frames(self) -> None:
        found = measured(partition_share={0: 0.75, 1: 0.25})
        assert len(found.series) == 20
        assert found.series["records_rate"].mean() == 100_000
        assert found.partitions["records_rate"].tolist() == [75_000, 25_000]
        assert measured(samples=0).series.empty

    def test_survives_pickling(self) -> None:
        assert pickle.loads(pickle.dumps(measured())) == measured()  # noqa: S301 - its own


class TestSettings:
    def test_by_every_name(self) -> None:
        wanted = kl.ConsumerSettings(fetch_min_bytes=5)
        assert settings_of({"fetch.min.bytes": 5}) == settings_of({"fetch_min_bytes": 5}) == settings_of(wanted)
        assert settings_of("latency") == kl.ConsumerSettings.preset("latency")
        assert settings_of(None) == kl.ConsumerSettings()

    @pytest.mark.parametrize("wrong", [{"fetch_min_bites": 5}, {"fetch.min.bites": 5}, 5, "fast"])
    def test_or_not_at_all(self, wrong: Any) -> None:
        with pytest.raises((kl.ConfigError, kl.ArgumentError)):
            settings_of(wrong)

    @pytest.mark.parametrize(
        "settings",
        [
            kl.ConsumerSettings(auto_offset_reset="earliest", enable_auto_commit=False),
            kl.ConsumerSettings.from_java({"enable.auto.commit": "false", "auto.offset.reset": "earliest"}),
            kl.ConsumerSettings.preset("article"),
        ],
        ids=("ours", "Java's", "sarama's"),
    )
    def test_a_measured_client_commits_nothing_whatever_its_settings(self, settings: kl.ConsumerSettings) -> None:
        config = ConnectionConfig({"bootstrap.servers": "localhost:1"})
        found = client_options(config, settings.to_librdkafka())
        assert (found["auto.offset.reset"], found["enable.auto.commit"]) == ("error", False)
        assert found["enable.auto.offset.store"] is False


class FromNobodysGroup:
    """An event of a client, as librdkafka has it when a group's coordinator refuses."""

    def __init__(self, code: int, topic: str | None = None) -> None:
        self._code, self._topic = code, topic

    def error(self) -> KafkaError:
        return KafkaError(self._code)

    def topic(self) -> str | None:
        return self._topic

    def partition(self) -> int | None:
        return None if self._topic is None else 0


class TestEvents:
    @pytest.fixture
    def reader(self) -> Iterator[tuple[Reader, list[Exception]]]:
        told: list[Exception] = []
        hooks = Hooks(lambda _: None, automatic=True)
        pool = TimedPool("partition", 1, hooks, lambda *_: False)
        how: dict[str, Any] = {"replay": True, "buffer_depth": None, "stop": threading.Event(), "tell": told.append}
        options = {"bootstrap.servers": "localhost:1", "group.id": "none", "logger": logging.getLogger("quiet")}
        reader = Reader(options, "orders", {0: 0}, pool, hooks, report=lambda _: None, **how)
        yield reader, told
        reader._client.close()

    @pytest.mark.parametrize(
        "code",
        [KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE],
    )
    def test_a_measurement_needs_no_group(self, reader: tuple[Reader, list[Exception]], code: int) -> None:
        reader[0]._on_event(cast("Message", FromNobodysGroup(code)))
        assert (reader[0]._failure, reader[1]) == (None, [])

    def test_a_measurement_needs_the_topic(self, reader: tuple[Reader, list[Exception]]) -> None:
        event = FromNobodysGroup(KafkaError.TOPIC_AUTHORIZATION_FAILED, "orders")
        reader[0]._on_event(cast("Message", event))
        assert isinstance(reader[0]._failure, kl.AuthorizationError)


class TestSimulate:
    def test_spends_what_it_says(self) -> None:
        began, cpu = time.perf_counter(), time.thread_time()
        kl.simulate(cpu_us=2000, sleep_ms=3)(kl.Record.of("orders"))
        assert time.thread_time() - cpu >= 0.002
        assert time.perf_counter() - began >= 0.005

    @pytest.mark.parametrize("wrong", [{"cpu_us": -1}, {"sleep_ms": float("nan")}, {"cpu_us": True}, {"sleep_ms": 1e9}])
    def test_refuses_what_is_no_time(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(kl.ArgumentError, match=next(iter(wrong))):
            kl.simulate(**wrong)


class TestSessionAtRest:
    @staticmethod
    def session() -> kl.TuningSession:
        cluster = kl.MemoryCluster({"orders": 4})
        return kl.TuningSession(Bench(cluster, measured().setup, {0: 0}, kl.simulate()))

    def test_shows_that_nothing_was_measured(self) -> None:
        session = self.session()
        assert (session.state, session.advice, session.running) == ("idle", None, False)
        assert session.history.empty
        assert session.series.empty
        assert "orders · 4 partitions" in repr(session)
        assert session.figure._repr_png_().startswith(b"\x89PNG")
        session.stop()
        with pytest.raises(kl.ArgumentError, match="nothing was measured"):
            _ = session.measurement

    def test_takes_settings_for_later(self) -> None:
        session = self.session()
        session.set(workers=8, fetch_min_bytes=5)
        session.use(kl.ConsumerSettings.preset("latency"))
        assert session.setup.workers == 8
        assert session.settings == kl.ConsumerSettings.preset("latency")

    @pytest.mark.parametrize(
        ("changed", "live"),
        [
            ({"workers": 9}, True),
            ({"workers": 9, "ordering": "unordered"}, False),
            ({"settings": kl.ConsumerSettings(fetch_min_bytes=5)}, False),
        ],
    )
    def test_only_threads_come_and_go_as_it_runs(self, changed: dict[str, Any], live: bool) -> None:  # noqa: FBT001 - a case
        setup = measured().setup
        assert is_live(setup, replace(setup, **changed)) is live
        assert not is_live(replace(setup, ordering="key"), replace(setup, ordering="key", workers=9))


class Asleep:
    """Children that do nothing until they are ended."""

    alive = 0
    started = 0

    def __init__(self, jobs: object) -> None:
        assert jobs == []

    def counts(self, seconds: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield None
            threading.Event().wait(0.001)

    def __enter__(self) -> Self:
        Asleep.alive += 1
        Asleep.started += 1
        return self

    def __exit__(self, *_: object) -> None:
        Asleep.alive -= 1


class TestSessionThatRuns:
    @pytest.fixture
    def session(self, monkeypatch: pytest.MonkeyPatch) -> kl.TuningSession:
        monkeypatch.setattr("kafkalab.tuning.session.Children", Asleep)
        monkeypatch.setattr("kafkalab.tuning.compare.Children", Asleep)
        monkeypatch.setattr(Bench, "jobs", lambda *_: [])
        monkeypatch.setattr(Asleep, "started", 0)
        return TestSessionAtRest.session()

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("stopped_first", [False, True])
    def test_an_interrupt_ends_it_wherever_it_comes(
        self,
        session: kl.TuningSession,
        monkeypatch: pytest.MonkeyPatch,
        stopped_first: bool,  # noqa: FBT001 - pytest gives it
    ) -> None:
        monkeypatch.setattr("kafkalab.tuning.session._SLICE_S", 0.002)
        at, more = 0, True
        while more:
            at += 1
            session = TestSessionAtRest.session()
            if stopped_first:
                session.start()
                session.stop(wait=False)
            more = interrupted(at, session._run_here, session.start, iter([False, True]).__next__)
            assert ends(session.stop)
            assert (session.running, Asleep.alive) == (False, 0), at
        assert at > 20
        session.start()
        assert session.running
        assert ends(session.stop)

    def test_a_comparison_can_be_asked_for_while_it_stops(self, session: kl.TuningSession) -> None:
        session.start()
        session.stop(wait=False)
        session.start_comparison({}, {"workers": 8})
        wait_until(lambda: session.state == "comparing")
        assert session.progress == "A|B: turn 1 of 12"
        session.stop()
        assert (session.state, session.comparison, Asleep.alive) == ("idle", None, 0)

    def test_a_comparison_asked_for_before_it_stops_is_not_made(self, session: kl.TuningSession) -> None:
        session.start()
        wait_until(lambda: Asleep.started == 1)
        session.start_comparison({}, {"workers": 8})
        session.stop()
        session.start()
        wait_until(lambda: Asleep.alive == 1)
        assert session.state == "connecting"
        session.stop()


MAKE_JOB = """
from kafkalab.connection import ConnectionConfig
from kafkalab.tuning.load import nothing
from kafkalab.tuning.pipe import Job
config = ConnectionConfig({"bootstrap.servers": "localhost:1"})
job = Job(config, {}, "orders", {0: 0}, nothing, 1, "key", None, replay=True, seconds=60)
"""
FORKS = """
import os, signal
from kafkalab.tuning.children import Children
children = Children([job])
(process,) = children._processes
forked = os.fork()
if not forked:
    os.closerange(1, 3)
    signal.alarm(60)  # whatever happens to the test
    signal.pause()
try:
    os.close(process.stdin.fileno())  # as the end of this process would
    print(process.wait(30), flush=True)
finally:
    os.kill(forked, signal.SIGKILL)
    process.kill()
    os._exit(0)
"""


@pytest.mark.timeout(60)
class TestChildren:
    def test_those_that_nobody_can_reach_end(self) -> None:
        made: dict[str, Any] = {}
        exec(MAKE_JOB, made)  # noqa: S102 - what stands above
        children = Children([made["job"]])
        (process,) = children._processes
        del children
        gc.collect()
        assert process.poll() is not None

    def test_a_forked_child_does_not_keep_them(self) -> None:
        command = [sys.executable, "-c", MAKE_JOB + FORKS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("0\n", "")


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


def test_topics_in_memory_cannot_be_measured() -> None:
    cluster = kl.MemoryCluster({"orders": 1})
    with pytest.raises(kl.UnsupportedError):
        kl.Lab(cluster, cluster).measure("orders")


SPACE = {"fetch_queue_backoff_ms": [1, 10, 1000], "workers": [1, 2, 4, 8, 16]}


def swept(
    rates: Callable[[Cell], float],
    space: Mapping[str, list[Any]] | None = None,
    strategy: search.Strategy = "grid",
    noise: float = 0.0,
) -> SweepResult:
    """Sweep a space whose rates are known, with noise of a known size."""
    asked = dict(space or SPACE)
    draw = random.Random(5)
    given = search.cells(asked, list(kl.ConsumerSettings().values()))

    def measure(turn: int, cell: Cell, seconds: float) -> Trial:
        values = tuple(rates(cell) * draw.gauss(1, noise) for _ in range(max(int(seconds), 1)))
        return Trial(cell, turn, seconds, values, memory_bytes=1000, bottleneck="application")

    turns = search.grid(given, 5, 3)
    trials = (
        [measure(*turn) for turn in turns]
        if strategy == "grid"
        else list(search.race(given, measure, seconds=5, repeats=3))
    )
    return SweepResult(measured().setup, asked, strategy, tuple(trials))


def saturating(cell: Cell) -> float:
    """Grow with workers up to four, and halve with a long back-off."""
    knobs = dict(cell)
    return 100_000 * min(int(knobs["workers"]), 4) / (2 if knobs["fetch_queue_backoff_ms"] == 1000 else 1)


class TestSearch:
    def test_a_grid_takes_turns(self) -> None:
        given = search.cells({"workers": [1, 2, 3]}, [])
        turns = [dict(cell)["workers"] for _, cell, _ in search.grid(given, 5, 3)]
        assert turns == [1, 2, 3, 3, 2, 1, 1, 2, 3]

    @pytest.mark.parametrize("space", [{}, {"workers": []}, {"worker": [1]}, {"workers": 4}, {"ordering": "key"}])
    def test_a_space_that_makes_no_sense(self, space: dict[str, Any]) -> None:
        with pytest.raises(kl.ArgumentError):
            search.cells(space, ["fetch_min_bytes"])

    @given(st.integers(1, 80), st.integers(2, 6), st.integers(1, 5), st.integers(0, 1000))
    def test_a_race_ends_within_its_budget_with_few(self, count: int, seconds: int, repeats: int, seed: int) -> None:
        given_cells = search.cells({"workers": list(range(1, count + 1))}, [])
        draw = random.Random(seed)

        def measure(turn: int, cell: Cell, length: float) -> Trial:
            assert length >= search.LEAST_S - 1e-9
            return Trial(cell, turn, length, (draw.random(),))

        trials = list(search.race(given_cells, measure, seconds=seconds, repeats=repeats))
        total = search.race_seconds(count, seconds, repeats, None)
        assert sum(trial.seconds for trial in trials) <= total + 1e-6
        assert {trial.cell for trial in trials} == set(given_cells)
        assert len({trial.cell for trial in trials if trial.turn == trials[-1].turn}) <= max(3, count)

    def test_the_last_ones_of_a_small_race_are_measured_again(self) -> None:
        found = swept(saturating, {"fetch_queue_backoff_ms": [1], "workers": [1, 2, 4, 8, 16]}, "racing")
        assert [len(found.by_cell[cell]) for cell in found.finalists] == [4, 4, 4]

    @pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
    def test_a_race_finds_the_best_of_a_grid_in_a_fifth_of_its_time(self, noise: float) -> None:
        space = {**SPACE, "fetch_min_bytes": [1, 1024, 65536, 131072]}
        whole, race = swept(saturating, space), swept(saturating, space, "racing", noise)
        spent = [sum(trial.seconds for trial in each.trials) for each in (whole, race)]
        assert spent[1] <= 0.2 * spent[0]
        assert saturating(tuple(race.best.items())) >= 0.95 * whole.frame["records_rate"].max()


class TestSweepResult:
    def test_the_best_is_the_cheapest_of_the_fastest(self) -> None:
        found = swept(saturating)
        assert found.best == {"fetch_queue_backoff_ms": 1, "workers": 4}
        assert found.settings == kl.ConsumerSettings(fetch_queue_backoff_ms=1)
        assert found.knee == 4
        assert found.frame["is_best"].sum() == 1
        assert found.frame.loc[found.frame["is_best"], "workers"].item() == 4
        assert len(found.frame) == 15

    def test_it_explains_itself(self) -> None:
        text = swept(saturating).explain()
        assert "Best: fetch_queue_backoff_ms=1, workers=4 with 400 k" in text
        assert "fetch_queue_backoff_ms: 200 k at best with 1000, 400 k with 1." in text
        assert "More than 4 workers bring little." in text

    def test_what_still_rises_has_no_knee(self) -> None:
        found = swept(lambda cell: 1000.0 * dict(cell)["workers"], {"workers": [1, 2, 4]})
        assert found.knee is None
        assert "It still rose with 4 workers: try more." in found.explain()

    def test_all_repeats_of_a_grid_count(self) -> None:
        steady, late = (("workers", 1),), (("workers", 2),)
        trials = [
            Trial(cell, turn, 5, (100.0 if cell == steady else 90.0,) * 5) for turn in (0, 1) for cell in (steady, late)
        ]
        trials += [Trial(steady, 2, 5, (50.0,) * 5), Trial(late, 2, 5, (99.0,) * 5)]
        found = SweepResult(measured().setup, {"workers": [1, 2]}, "grid", tuple(trials))
        assert found.estimates[steady].median == 100
        assert found.best == {"workers": 1}

    def test_one_that_was_dropped_is_not_the_best(self) -> None:
        lucky, steady = (("workers", 1),), (("workers", 2),)
        trials = (Trial(lucky, 0, 1, (900.0,)), Trial(steady, 0, 1, (800.0,)), Trial(steady, 1, 5, (700.0,) * 5))
        assert SweepResult(measured().setup, {"workers": [1, 2]}, "racing", trials).best == {"workers": 2}

    def test_it_can_be_drawn(self) -> None:
        picture = swept(saturating, {**SPACE, "fetch_min_bytes": [1, 1000]}).plot()
        labels = {axes.get_xlabel() for axes in picture.axes}
        assert {"workers", "fetch_queue_backoff_ms", "fetch_min_bytes"} <= labels
        assert any(axes.get_title() == "knee at 4" for axes in picture.axes)
        assert picture._repr_png_().startswith(b"\x89PNG")
        assert swept(lambda _: 5.0, {"ordering": ["key"]}).plot()._repr_png_()

    def test_no_limit_is_a_value_too(self) -> None:
        space: dict[str, list[Any]] = {"buffer_depth": [None, 100, 50], "workers": [1, 2]}
        found = swept(lambda cell: dict(cell)["buffer_depth"] or 1000, space)
        assert found.by_value("buffer_depth").to_dict() == {50: 50, 100: 100, None: 1000}
        assert "buffer_depth: 50 at best with 50, 1 k with None." in found.explain()
        assert found.frame["buffer_depth"].tolist() == [None, None, 100, 100, 50, 50]
        ticks = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in found.plot().axes]
        assert ticks[:3] == [["50", "100", "None"], ["1", "2"], ["1", "2"]]

    @pytest.mark.parametrize("runs", [2, 3, 5])
    def test_an_interval_holds_the_rate_where_runs_differ_more_than_stretches(self, runs: int) -> None:
        draw, true, held = np.random.default_rng(7), 100_000.0, 0
        for _ in range(1000):
            means = draw.normal(true, 0.03 * true, runs)
            trials = [Trial((), turn, 5, tuple(draw.normal(mean, 0.01 * mean, 5))) for turn, mean in enumerate(means)]
            found = search.rate(trials)
            assert found.confidence == 0.95
            held += found.low <= true <= found.high
        assert held >= 0.9 * 1000

    def test_one_run_has_no_interval(self) -> None:
        trials = [Trial((("workers", number),), 0, 5, (100.0 * number,) * 5) for number in (1, 2)]
        found = SweepResult(measured().setup, {"workers": [1, 2]}, "grid", tuple(trials))
        assert found.frame[["low", "high"]].isna().all(axis=None)
        assert "with 200 records/s. It ran once" in found.explain()
        assert found.plot()._repr_png_().startswith(b"\x89PNG")

    def test_a_run_in_which_nothing_came_counts(self) -> None:
        still = _trial(0, (), 5.0, measured(samples=0))
        assert still.rates == (0.0,)
        found = search.rate([still, replace(still, rates=(100.0,)), replace(still, rates=(100.0,))])
        assert (found.median, found.low) == (100.0, 0.0)

    def test_runs_that_differ_are_within_noise(self) -> None:
        cheap, dear = (("workers", 1),), (("workers", 2),)
        rates = {cheap: (100.0, 92.0, 103.0), dear: (101.0, 98.0, 102.0)}
        trials = [Trial(cell, turn, 5, (rate,) * 5) for cell in rates for turn, rate in enumerate(rates[cell])]
        found = SweepResult(measured().setup, {"workers": [1, 2]}, "grid", tuple(trials))
        assert found.finalists == [dear, cheap]
        assert found.best == {"workers": 1}

    def test_html_is_safe(self) -> None:
        assert "<table" in swept(saturating)._repr_html_()


ORIGIN = {"topic": "orders"}


class TestResume:
    def test_a_file_keeps_what_was_measured(self, tmp_path: Path) -> None:
        path = tmp_path / "sweep.jsonl"
        first = Trial((("workers", 1), ("ordering", "key")), 0, 5.0, (1.0, 2.0), 3.0, 0.5, 6, "fetch")
        Journal(path, ORIGIN).add(first)
        Journal(path, ORIGIN).add(replace(first, turn=1))
        again = Journal(path, ORIGIN)
        assert again.take(0, first.cell, 5.0) == first
        assert again.take(0, first.cell, 5.0) is None
        assert again.take(1, first.cell, 4.0) is None
        assert again.take(1, first.cell, 5.0) is not None

    def test_a_file_can_hold_those_of_several_sweeps(self, tmp_path: Path) -> None:
        path, trial = tmp_path / "sweep.jsonl", Trial((("workers", 1),), 0, 5.0, (1.0,))
        Journal(path, ORIGIN).add(trial)
        other = Journal(path, {"topic": "payments"})
        assert other.take(0, trial.cell, 5.0) is None
        other.add(replace(trial, rates=(2.0,)))
        assert Journal(path, ORIGIN).take(0, trial.cell, 5.0) == trial

    @pytest.mark.parametrize("text", ['{"a": 1}\n', "{", "[1]\n", "\xff\n", "null\n", '{"origin": "x"}\n'])
    def test_a_file_of_something_else_is_left_alone(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "other"
        path.write_text(text, "latin-1")
        with pytest.raises(kl.ArgumentError, match="no trials of a sweep"):
            Journal(path, ORIGIN)
        assert path.read_text("latin-1") == text

    def test_a_line_that_was_cut_off_is_measured_again(self, tmp_path: Path) -> None:
        path, trial = tmp_path / "sweep.jsonl", Trial((("workers", 1),), 0, 5.0, (1.0,))
        Journal(path, ORIGIN).add(trial)
        line = path.read_bytes()
        for cut in (12, len(line) - 1):
            path.write_bytes(line + line[:cut])
            journal = Journal(path, ORIGIN)
            journal.add(replace(trial, turn=1))
            again = Journal(path, ORIGIN)
            assert [again.take(turn, trial.cell, 5.0) is not None for turn in (0, 1)] == [True, True]

    def test_a_result_goes_on(self) -> None:
        found = swept(saturating)
        journal = Journal(found, {})
        assert [journal.take(each.turn, each.cell, each.seconds) for each in found.trials] == list(found.trials)

    def test_a_result_of_another_sweep_is_refused(self) -> None:
        found = replace(swept(saturating), origin=ORIGIN)
        with pytest.raises(kl.ArgumentError, match="its topic was 'orders', and is 'payments' here"):
            Journal(found, {"topic": "payments"})


def handler(record: Any) -> None:
    del record


class Handler:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, record: Any) -> float:
        return float(record) * self.factor

    def method(self, record: Any) -> float:
        return float(record) + self.factor

    def other(self, record: Any) -> float:
        return float(record) - self.factor


def times(factor: float) -> Callable[[Any], float]:
    return lambda record: float(record) * factor


class TestOrigin:
    @staticmethod
    def of(process: Any = handler, starts: dict[int, int] | None = None, warm_up: float = 2, **setup: Any) -> str:
        named = {"process": measure.handler_of(process)[1], **setup}
        bench = Bench(kl.MemoryCluster({}), measured(named).setup, starts or {0: 0}, process)
        return fingerprint(origin(bench, ("workers",), warm_up))

    def test_the_same_again(self) -> None:
        assert self.of() == self.of() == self.of(workers=7)
        assert self.of(times(2)) == self.of(times(2))
        assert self.of(Handler(2)) == self.of(Handler(2))
        assert self.of(Handler(2).method) == self.of(Handler(2).method)
        assert self.of(functools.partial(handler, record=3)) == self.of(functools.partial(handler, record=3))
        assert self.of(kl.simulate(sleep_ms=1)) == self.of(kl.simulate(sleep_ms=1))

    def test_anything_else(self) -> None:
        others = [
            self.of(),
            self.of(topic="payments"),
            self.of(settings=kl.ConsumerSettings(fetch_min_bytes=5)),
            self.of(ordering="key"),
            self.of(warm_up=1),
            self.of(starts={0: 5}),
            self.of(replay=False),
            self.of(lambda record: None),  # noqa: ARG005 - as handlers are called
            self.of(lambda record: 1),  # noqa: ARG005 - as handlers are called
            self.of(times(2)),
            self.of(times(3)),
            self.of(Handler(2)),
            self.of(Handler(3)),
            self.of(kl.simulate(sleep_ms=1)),
            self.of(kl.simulate(sleep_ms=2)),
            self.of(Handler(2).method),
            self.of(Handler(3).method),
            self.of(Handler(3).other),
            self.of(functools.partial(handler, record=3)),
            self.of(functools.partial(handler, record=4)),
            self.of(functools.partial(Handler(2).other, record=4)),
        ]
        assert len(set(others)) == len(others)

    def test_numbers_of_numpy_are_numbers(self) -> None:
        (cell,) = search.cells({"workers": np.array([4]), "fetch_min_bytes": pd.Series([5])}, ["fetch_min_bytes"])
        assert [type(value) for _, value in cell] == [int, int]
