"""Samples of a compacted, transactional topic: only what is visible, all of it if more is asked for, no favourites."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.truth import (
    LEVELS,
    SECONDS,
    Clock,
    Log,
    Place,
    Record,
    compacted,
    new_topic,
    rows,
    transactional,
    zoo,
)


@pytest.fixture(scope="module", params=["arrow", "librdkafka"])
def lab(kafka: ApacheKafka, request: pytest.FixtureRequest) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers, engine=request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def sparse(kafka: ApacheKafka) -> Log:
    """Give a topic of which the cleaner has left a sixth on one partition, and two thirds on the other."""
    settings: dict[str, Any] = {"segment_ms": 1, "min_cleanable_dirty_ratio": 0.0, "max_compaction_lag_ms": 1}
    log = new_topic(kafka.bootstrap_servers, 2, cleanup_policy="compact", **settings)
    writer, clock = transactional(kafka.bootstrap_servers), Clock()
    for turn in range(12):
        keys = range(turn * 50, turn * 50 + 600)  # most of them again and again
        log.write(0, *(Record(b"%d" % key, b"%d" % turn) for key in keys))
        writer.begin_transaction()
        log.write(1, *(Record(b"%d %d" % (turn, n), b"x") for n in range(200)), by=writer, hidden=turn % 3 == 1)
        (writer.abort_transaction if turn % 3 == 1 else writer.commit_transaction)(SECONDS)
        clock.tick()
        clock.tock()
    log.settle()
    for partition in (0, 1):
        clock.tick()
        log.write(partition, Record(b"in the active segment", b""))
        compacted(kafka, log, partition)
    return log


def test_the_topic_is_sparse(sparse: Log) -> None:
    ends = sparse.ends("read_committed")
    shares = [len(sparse.visible("read_committed", partition)) / ends[partition] for partition in (0, 1)]
    assert shares[0] < 0.2
    assert 0.6 < shares[1] < 0.7


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [1, 20, 150, 700])
def test_a_sample_has_that_many_visible_records(lab: kl.Lab, sparse: Log, level: str, n: int) -> None:
    found = rows(lab.sample(sparse.topic, n, seed=n, isolation_level=level, key="bytes", value="bytes", headers=True))
    assert len(found) == len(set(found)) == n
    assert found == sorted(found)
    assert set(found) <= set(sparse.visible(level))


@pytest.mark.parametrize("level", LEVELS)
def test_asking_for_more_than_there_is_gives_all(lab: kl.Lab, sparse: Log, level: str) -> None:
    live = len(sparse.visible(level))
    for n in (live, live + 1, 10 * live):
        frame = lab.sample(sparse.topic, n, seed=1, isolation_level=level, key="bytes", value="bytes", headers=True)
        assert rows(frame) == sparse.visible(level)
        assert kl.receipt(frame).live == kl.LiveEstimate(live, live, live)


@pytest.mark.filterwarnings("ignore:.*outside the years 1 to 9999:kafkalab.KafkalabWarning")
@pytest.mark.parametrize("level", LEVELS)
def test_every_kind_of_log_gives_its_visible_records(lab: kl.Lab, kafka: ApacheKafka, level: str) -> None:
    log = zoo(kafka.bootstrap_servers)
    for place in Place:
        asked = {"partitions": int(place), "isolation_level": level, "key": "bytes", "value": "bytes", "headers": True}
        frame = lab.sample(log.topic, 1000, seed=1, **asked)  # type: ignore[arg-type]  # the options of a TypedDict
        truth = [row._replace(timestamp=printable(row.timestamp)) for row in log.visible(level, place)]
        assert rows(frame) == truth, place
        few = rows(lab.sample(log.topic, 3, seed=1, **asked))  # type: ignore[arg-type]  # as above
        assert len(few) == min(3, len(truth))
        assert set(few) <= set(truth)


def printable(at: int | None) -> int | None:
    return at if at is not None and at < 253_402_300_800_000 else None


def test_the_estimate_covers_the_truth(lab: kl.Lab, sparse: Log) -> None:
    live = len(sparse.visible("read_committed"))
    estimates = [kl.receipt(lab.sample(sparse.topic, 100, seed=seed)).live for seed in range(50)]
    assert all(estimate is not None and estimate.low < estimate.records < estimate.high for estimate in estimates)
    covered = sum(estimate is not None and estimate.low <= live <= estimate.high for estimate in estimates)
    assert covered >= 42  # of 50 that each hold it 95 times in 100: fewer is chance once in 1,300


def test_no_record_is_favoured(lab: kl.Lab, sparse: Log) -> None:
    truth = sparse.visible("read_committed")
    # Quarters of the log: two and a bit of the dense partition, one and a bit of the sparse one.
    quarter = {row[:2]: number * 4 // len(truth) for number, row in enumerate(truth)}
    seen: Counter[int] = Counter()
    for seed in range(40):
        frame = lab.sample(sparse.topic, 100, seed=seed, columns=["partition", "offset"])
        seen.update(quarter[place] for place in zip(frame["partition"], frame["offset"], strict=True))
    expected = 40 * 100 / 4
    # Five standard deviations of a binomial count; drawing without replacement makes it smaller still.
    assert all(abs(seen[number] - expected) < 5 * (expected * 3 / 4) ** 0.5 for number in range(4)), seen


def test_a_seed_makes_it_repeatable(lab: kl.Lab, sparse: Log) -> None:
    first, again, other = (lab.sample(sparse.topic, 50, seed=seed) for seed in (5, 5, 6))
    assert first.equals(again)
    assert not first.equals(other)


def test_a_range_bounds_it(lab: kl.Lab, sparse: Log) -> None:
    frame = lab.sample(sparse.topic, 10**6, start={1: 500}, end={1: 900}, key="bytes", value="bytes", headers=True)
    assert rows(frame) == sparse.visible("read_committed", 1, 500, 900)
