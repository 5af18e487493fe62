"""A read asks for short turns of Python's threads, and puts back what was there."""

import sys
from collections.abc import Iterator

import pytest

import kafkalab as kl
from kafkalab.timeslice import short_turns

LONG, SHORT = 0.005, 0.0002


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(LONG)
    yield
    sys.setswitchinterval(before)


def lab() -> kl.Lab:
    cluster = kl.MemoryCluster({"orders": 1})
    cluster.append("orders", b"a", b"b")
    return kl.Lab(cluster, cluster)


def turn() -> float:
    return round(sys.getswitchinterval(), 6)


def test_a_read_has_short_turns_until_it_ends() -> None:
    seen = [turn() for _ in lab().scan("orders")]
    assert seen == [0.0005]
    assert turn() == LONG


def test_a_read_that_fails_puts_them_back() -> None:
    with pytest.raises(kl.DecodeError):
        lab().read("orders", value="json")
    assert turn() == LONG


def test_a_tail_may_last_and_changes_nothing() -> None:
    with lab().tail("orders", start="earliest") as tail:
        assert tail.wait_for(2, timeout=5)
        assert turn() == LONG


def test_shorter_ones_stay() -> None:
    sys.setswitchinterval(SHORT)
    with short_turns():
        assert turn() == SHORT
    assert turn() == SHORT


def test_reads_that_overlap_leave_nothing_behind() -> None:
    first, second = short_turns(), short_turns()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert turn() == LONG


def test_what_somebody_sets_meanwhile_stays() -> None:
    with short_turns():
        sys.setswitchinterval(0.02)
    assert turn() == 0.02
