import itertools
import math
import random
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import kafkalab as kl
from kafkalab.fetch.base import FetchControl, Fetched, FetchOptions, record_schema
from kafkalab.fetch.memory import MemoryCluster
from kafkalab.model import FetchStats, LiveEstimate, OffsetRange, StopReason
from kafkalab.plan import Plan
from kafkalab.sample import Sampled, Sampler, estimate_live
from tests.oracle import TOPIC, World, reads_each, rows_of, worlds
from tests.statistics import chi_square_critical, chi_square_is_plausible

TRIALS = 240


class Offsets:
    """An engine over nothing but the offsets that hold a record: fast enough to be sampled thousands of times."""

    name = "offsets"
    stats = FetchStats()

    def __init__(self, live: Mapping[int, Sequence[int]], *, order: random.Random | None = None) -> None:
        self.live = {partition: np.array(sorted(offsets), dtype=np.int64) for partition, offsets in live.items()}
        self._order = order
        self.fetched = 0

    def fetch(self, ranges: Sequence[OffsetRange], options: FetchOptions, _: FetchControl) -> Generator[Fetched]:
        self.fetched += 1
        steps = [self._step(part, self.live[part.partition], options) for part in ranges]
        yield from self._shuffled(steps)

    def probe(
        self, topic: str, draws: Mapping[int, NDArray[np.int64]], options: FetchOptions, _: FetchControl
    ) -> Generator[Fetched]:
        steps = []
        for partition, offsets in draws.items():
            assert np.all(np.diff(offsets) > 0)
            part = OffsetRange(topic, partition, int(offsets[0]), int(offsets[-1]) + 1)
            hits = np.intersect1d(self.live[partition], offsets, assume_unique=True)
            steps.append(self._step(part, hits, options))
        yield from self._shuffled(steps)

    def _shuffled(self, steps: list[Fetched]) -> list[Fetched]:
        return self._order.sample(steps, len(steps)) if self._order else steps

    @staticmethod
    def _step(part: OffsetRange, offsets: NDArray[np.int64], options: FetchOptions) -> Fetched:
        count = len(offsets)
        columns = [offsets, pa.nulls(count, pa.timestamp("ms", "UTC")), np.ones(count, np.int8)]
        columns += [pa.nulls(count, pa.binary())] * 2
        arrays = [pa.array(column) for column in columns]
        batch = pa.RecordBatch.from_arrays(arrays, schema=record_schema(headers=options.headers))
        return Fetched(part, batch, part.end, StopReason.REACHED)


def take(fetcher: Any, ends: Mapping[int, int], count: int, seed: int) -> Sampled:
    plan = Plan(TOPIC, tuple(OffsetRange(TOPIC, p, 0, end) for p, end in ends.items()))
    return Sampler(plan, fetcher, FetchOptions(), FetchControl(), np.random.default_rng(seed)).take(count)


def taken(sampled: Sampled) -> list[tuple[int, int]]:
    return [(s.offset_range.partition, o) for s in sampled.steps for o in s.arrow_batch["offset"].to_pylist()]


def uneven(density: float, live: int = 24) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Return live offsets and log ends of partitions of very different size and with clustered gaps."""
    shares = {0: 0.7, 1: 0.25, 2: 0.05, 3: 0.0}
    offsets, ends = {}, {}
    for partition, share in shares.items():
        count = round(live * share)
        ends[partition] = max(math.ceil(count / density), 1)
        # Every second record right after its neighbour, the others after a gap: who takes what follows a draw shows it.
        span = ends[partition] / max(count, 1)
        offsets[partition] = sorted({int(n // 2 * 2 * span) + n % 2 for n in range(count)})
    return offsets, ends


def counts_of(live: Mapping[int, Sequence[int]], samples: Iterator[Sampled]) -> list[int]:
    counts: Counter[tuple[int, int]] = Counter()
    for sampled in samples:
        counts.update(taken(sampled))
    every = [(partition, offset) for partition, offsets in live.items() for offset in offsets]
    assert set(counts) <= set(every)
    return [counts[each] for each in every]


# Uniform


@pytest.fixture
def without_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes longest and has no part in who is drawn."""
    monkeypatch.setattr("kafkalab.sample.estimate_live", lambda *_: LiveEstimate(0, 0, 0))


@pytest.mark.usefixtures("without_estimate")
@pytest.mark.parametrize("density", [1, 0.1, 0.001])
@pytest.mark.parametrize("count", [1, 5])
def test_every_visible_record_is_equally_likely(density: float, count: int) -> None:
    live, ends = uneven(density)
    fetcher, trials = Offsets(live), TRIALS
    counts = counts_of(live, (take(fetcher, ends, count, seed) for seed in range(trials)))
    assert chi_square_is_plausible(counts, count, trials)


@pytest.mark.parametrize("density", [1, 0.1])
def test_so_it_is_when_everything_is_read(density: float) -> None:
    live, ends = uneven(density)
    fetcher, trials, count = Offsets(live), TRIALS, 15
    counts = counts_of(live, (take(fetcher, ends, count, seed) for seed in range(trials)))
    assert fetcher.fetched > 0.9 * trials
    assert chi_square_is_plausible(counts, count, trials)


def test_so_it_is_when_what_was_read_is_thinned_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafkalab.sample._SPARE_ROWS", 0)
    live = {partition: range(12) for partition in range(5)}
    trials, count = TRIALS, 7
    samples = (take(Offsets(live), dict.fromkeys(live, 12), count, seed) for seed in range(trials))
    assert chi_square_is_plausible(counts_of(live, samples), count, trials)


def test_the_test_notices_a_sampler_that_takes_what_follows_a_draw() -> None:
    (live, ends), trials = uneven(0.1), TRIALS
    counts: Counter[int] = Counter()
    for seed in range(trials):
        draw = np.random.default_rng(seed).integers(ends[0])
        counts[int(np.searchsorted(live[0], draw)) % len(live[0])] += 1
    assert not chi_square_is_plausible([counts[n] for n in range(len(live[0]))], 1, trials)


@pytest.mark.parametrize(("degrees", "table"), [(10, 29.59), (30, 59.70), (100, 149.45)])
def test_the_critical_value_is_that_of_the_tables(degrees: int, table: float) -> None:
    assert chi_square_critical(degrees) == pytest.approx(table, rel=0.01)


@pytest.mark.usefixtures("without_estimate")
def test_a_sample_of_a_cluster_is_uniform() -> None:
    cluster = MemoryCluster({TOPIC: 2})
    for number in range(20):
        cluster.append(TOPIC, b"a", b"b", partition=number % 2, gap=3 * (number % 3))
        cluster.append(TOPIC, b"no", producer_id=number, partition=0)
        cluster.end_transaction(number, commit=False)
    lab, trials, count = kl.Lab(cluster, cluster), 120, 5
    counts: Counter[tuple[int, int]] = Counter()
    for seed in range(trials):
        counts.update(row[:2] for row in rows_of(lab.sample(TOPIC, count, seed=seed, key="bytes", value="bytes")))
    every = [row[:2] for row in rows_of(lab.read(TOPIC, progress=False))]
    assert len(every) == 40
    assert chi_square_is_plausible([counts[each] for each in every], count, trials)


# How many


@reads_each
@given(worlds(), st.integers(0, 12), st.integers(0, 2**32), st.sampled_from(["read_committed", "read_uncommitted"]))
def test_a_sample_has_n_different_visible_records_or_all(world: World, n: int, seed: int, level: str) -> None:
    visible = world.rows(committed=level == "read_committed")
    frame = world.lab.sample(TOPIC, n, seed=seed, key="bytes", value="bytes", isolation_level=level)
    rows = rows_of(frame)
    assert len(rows) == min(n, len(visible))
    assert len(set(map(repr, rows))) == len(rows)
    assert rows == [row for row in visible if row in rows]
    receipt = kl.receipt(frame)
    assert receipt.rows == receipt.records == len(rows)
    assert receipt.live is not None
    assert receipt.live.low <= receipt.live.records <= receipt.live.high


@pytest.mark.parametrize("n", [0, 1, 1000])
@pytest.mark.parametrize("kind", ["empty", "markers", "tombstones of a deleted head"])
def test_a_log_without_visible_records_gives_none(kind: str, n: int) -> None:
    cluster = MemoryCluster({TOPIC: 3})
    if kind == "markers":
        for number in range(50):
            cluster.append(TOPIC, b"gone", producer_id=number)
            cluster.end_transaction(number, commit=False)
    elif kind != "empty":
        cluster.append(TOPIC, *[None] * 50)
        cluster.delete_records(TOPIC, 0, 50)
    frame = kl.Lab(cluster, cluster).sample(TOPIC, n, seed=1)
    assert len(frame) == 0
    live = kl.receipt(frame).live
    assert live == (LiveEstimate(0, 0, 0) if n else LiveEstimate(0, 0, 100 if kind == "markers" else 0))


def test_one_record_in_a_hundred_thousand_offsets_is_found() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    for number in range(100):
        cluster.append(TOPIC, b"%d" % number, gap=999)
    cluster.compact(TOPIC, 0, lambda offset, _: offset == 77_000)
    assert kl.Lab(cluster, cluster).sample(TOPIC, 1, seed=0)["value"].tolist() == ["77"]


def test_a_seed_gives_the_same_sample_and_another_seed_another() -> None:
    live, ends = uneven(0.1, live=400)
    one, same, other = (taken(take(Offsets(live), ends, 20, seed)) for seed in (7, 7, 8))
    assert one == same != other


@pytest.mark.parametrize("count", [20, 300], ids=["probed", "read whole"])
def test_a_seed_rules_out_the_chance_of_who_answers_first(count: int) -> None:
    live, ends = uneven(0.5, live=400)
    samples = [taken(take(Offsets(live, order=random.Random(order)), ends, count, seed=7)) for order in range(5)]
    assert all(sample == samples[0] for sample in samples)


def test_a_sample_is_of_the_range_that_was_asked_for() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    for number in range(100):
        cluster.append(TOPIC, b"%d" % number)
    lab = kl.Lab(cluster, cluster)
    frame = lab.sample(TOPIC, 30, seed=1, start=20, end=60)
    assert frame["offset"].between(20, 59).all()
    assert frame["offset"].is_monotonic_increasing
    assert len(lab.sample(TOPIC, 1000, start=-10)) == 10


@pytest.mark.parametrize("n", [3, 90], ids=["probed", "read whole"])
def test_retention_that_passes_a_sample_is_an_error_or_told_of(n: int) -> None:
    def passed() -> kl.Lab:
        cluster = MemoryCluster({TOPIC: 1})
        for number in range(100):
            cluster.append(TOPIC, b"%d" % number)
        cluster.before_step = lambda _, position: cluster.delete_records(TOPIC, 0, 50) if position else None
        return kl.Lab(cluster, cluster)

    with pytest.raises(kl.DataLossError, match=r"orders\[0\]@\d+: .*the log starts at 50"):
        passed().sample(TOPIC, n, seed=3)
    with pytest.warns(kl.DataLossWarning, match=r"retention has removed orders\[0\]@\d+-50; the sample is of the rest"):
        frame = passed().sample(TOPIC, n, seed=3, on_data_loss="warn")
    assert any(note.startswith("lost to retention: orders[0]@") for note in kl.receipt(frame).notes)
    assert frame["offset"].iloc[1:].ge(50).all()


# Its cost


def batches(count: int, size: int, keep: int) -> MemoryCluster:
    """Return a cluster with so many batches of a size, of whose offsets one in ``keep`` is live."""
    cluster = MemoryCluster({TOPIC: 2})
    for number in range(count):
        cluster.append(TOPIC, *[b"v"] * size, partition=number % 2)
    for partition in (0, 1):
        cluster.compact(TOPIC, partition, lambda offset, _: offset % keep == 0)
    return cluster


@pytest.mark.parametrize(
    ("log", "n", "most"),
    [
        ((1_000, 10, 1), 10, 10),
        ((1_000, 10, 1), 100, 100),
        ((200, 500, 10), 10, 4 * 10 * 10),
        ((200, 500, 100), 2, 4 * 2 * 100),
        ((20, 5_000, 1), 1_000, 3 * 20),
        ((20, 5_000, 100), 100, 3 * 20),
        ((20, 5_000, 100), 10_000, 3 * 20),
        ((50, 10, 1_000), 1, 3 * 50),
    ],
    ids=["dense", "dense, more", "1 in 10", "1 in 100", "few batches", "few, 1 in 100", "more than all", "nothing"],
)
def test_the_cost_is_the_draws_needed_or_the_batches_there_are(log: tuple[int, int, int], n: int, most: int) -> None:
    # A draw asks for one batch at most, and a round for each batch at most once: O(min(n / density, batches)).
    cluster, seeds = batches(*log), 5
    lab = kl.Lab(cluster, cluster)
    for seed in range(seeds):
        lab.sample(TOPIC, n, seed=seed)
    assert cluster.stats.requests <= most * seeds


# What it says of the rest


def tail_at_least(found: int, live: int, total: int, drawn: int) -> Fraction:
    """Return the chance that ``found`` or more of ``drawn`` draws are live, exactly."""
    ways = sum(math.comb(live, k) * math.comb(total - live, drawn - k) for k in range(found, min(live, drawn) + 1))
    return Fraction(ways, math.comb(total, drawn))


@pytest.mark.parametrize("total", [1, 2, 5, 12, 25])
def test_the_interval_is_exactly_clopper_and_pearsons(total: int) -> None:
    tail = Fraction(25, 1000)
    for drawn, found in itertools.product(range(1, total), range(total)):
        if found > drawn:
            continue
        plausible = [
            live
            for live in range(found, total - drawn + found + 1)
            if tail_at_least(found, live, total, drawn) >= tail
            and 1 - tail_at_least(found + 1, live, total, drawn) >= tail
        ]
        estimate = estimate_live(total, drawn, found)
        assert (estimate.low, estimate.high) == (plausible[0], plausible[-1])


@pytest.mark.parametrize(("total", "drawn"), [(10, 3), (20, 10), (30, 29), (40, 7)])
def test_the_interval_holds_the_truth_95_times_in_100_whatever_it_is(total: int, drawn: int) -> None:
    for live in range(total + 1):
        covered = Fraction(0)
        for found in range(max(0, drawn + live - total), min(live, drawn) + 1):
            estimate = estimate_live(total, drawn, found)
            if estimate.low <= live <= estimate.high:
                covered += Fraction(math.comb(live, found) * math.comb(total - live, drawn - found))
        assert covered / math.comb(total, drawn) >= Fraction(95, 100)


@given(st.integers(1, 10**12), st.data())
def test_an_estimate_is_possible_and_inside_its_interval(total: int, data: st.DataObject) -> None:
    drawn = data.draw(st.integers(0, min(total, 2_000)))
    found = data.draw(st.integers(0, drawn))
    estimate = estimate_live(total, drawn, found)
    assert found <= estimate.low <= estimate.records <= estimate.high <= total - drawn + found


@pytest.mark.parametrize(
    ("total", "drawn", "found", "expected"),
    [
        (0, 0, 0, LiveEstimate(0, 0, 0)),
        (100, 0, 0, LiveEstimate(0, 0, 100)),
        (100, 100, 40, LiveEstimate(40, 40, 40)),
        (10**6, 1000, 500, LiveEstimate(500_000, 468_565, 531_435)),
    ],
)
def test_an_estimate_is_what_the_draws_tell(total: int, drawn: int, found: int, expected: LiveEstimate) -> None:
    assert estimate_live(total, drawn, found) == expected


cached_estimate = cache(estimate_live)


@pytest.mark.parametrize("density", [0.5, 0.01])
def test_the_interval_holds_the_truth_of_large_logs_too(density: float) -> None:
    total, drawn, trials = 10**8, 1_000, 2_000
    live = int(total * density)
    founds = np.random.default_rng(1).hypergeometric(live, total - live, drawn, trials)
    estimates = [cached_estimate(total, drawn, int(found)) for found in founds]
    assert sum(e.low <= live <= e.high for e in estimates) >= 0.945 * trials


@pytest.mark.parametrize(("n", "density"), [(1, 0.1), (5, 0.01), (20, 0.5)])
def test_rounds_that_depend_on_what_was_found_leave_the_interval_right(
    n: int, density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafkalab.sample.estimate_live", cached_estimate)
    live, ends = uneven(density, live=2_000)
    truth, trials = sum(map(len, live.values())), 300
    estimates = [take(Offsets(live), ends, n, seed).live for seed in range(trials)]
    assert sum(e.low <= truth <= e.high for e in estimates) >= 0.94 * trials
    assert any(e.low < e.high for e in estimates)
