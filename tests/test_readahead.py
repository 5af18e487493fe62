"""Steps from several threads: bounded, whole, and never stuck, wherever Ctrl-C comes."""

import threading
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from kafkalab.fetch.arrow import _merged
from kafkalab.fetch.base import FetchControl, Fetched
from kafkalab.fetch.readahead import ReadAhead
from kafkalab.model import OffsetRange
from tests.interrupts import SECONDS, ends, interrupted

STEP = pa.record_batch({"n": pa.array(range(10), pa.int64())})


def steps(count: int, partition: int = 0) -> Generator[Fetched]:
    for number in range(count):
        yield Fetched(OffsetRange("t", partition, 0, count), STEP, number + 1)


def failing(count: int) -> Generator[Fetched]:
    yield from steps(count)
    raise ValueError("broken")


def read(ahead: ReadAhead) -> list[tuple[int, int]]:
    seen = []
    ahead.start()
    while (fetched := ahead.get(0.1)) is not None or not ahead.ended:
        if fetched is not None:
            seen.append((fetched.offset_range.partition, fetched.next_offset))
    return seen


@pytest.mark.parametrize("most_bytes", [1, 1_000, 1_000_000])
def test_each_source_is_read_whole_and_in_its_order(most_bytes: int) -> None:
    ahead = ReadAhead([steps(100, partition) for partition in range(3)], FetchControl(), most_bytes)
    seen = read(ahead)
    assert ends(ahead.close)
    for partition in range(3):
        assert [offset for its, offset in seen if its == partition] == list(range(1, 101))


def test_an_error_comes_after_all_that_came_before_it_and_is_never_lost() -> None:
    for count in range(20):
        ahead = ReadAhead([failing(count), steps(3, 1)], FetchControl(), 1_000_000)
        with pytest.raises(ValueError, match="broken"):
            read(ahead)
        assert ends(ahead.close)


def test_an_error_is_raised_though_others_had_more() -> None:
    ahead = ReadAhead([failing(0), steps(3, 1)], FetchControl(), 1_000_000)
    ahead.start()
    for thread in ahead._threads:
        thread.join(SECONDS)
    for _ in range(3):
        assert ahead.get(0) is not None
    with pytest.raises(ValueError, match="broken"):
        ahead.get(0)
    assert ahead.ended


def test_an_error_of_one_connection_of_several_is_raised() -> None:
    before = set(threading.enumerate())
    job: Any = SimpleNamespace(control=FetchControl(), response_bytes=1_000_000)
    merged = _merged([failing(1), steps(0, 1)], job)
    assert next(merged).next_offset == 1
    for thread in set(threading.enumerate()) - before:
        thread.join(SECONDS)
    with pytest.raises(ValueError, match="broken"):
        next(merged)


def test_it_ends_wherever_the_reader_was_interrupted() -> None:
    at = 1
    while True:
        ahead = ReadAhead([steps(1_000)], FetchControl(), 2 * STEP.nbytes)  # whose thread waits for room
        ahead.start()
        assert ahead.get(SECONDS) is not None
        more = interrupted(at, ahead.get, SECONDS)
        assert ends(ahead.close)
        if not more:
            break
        at += 1
    assert at > 5
