import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import kafkalab as kl
from kafkalab.errors import ArgumentError, MapError
from kafkalab.fetch.base import Stop
from kafkalab.fetch.memory import MemoryCluster
from tests.oracle import TOPIC


@pytest.fixture
def cluster() -> MemoryCluster:
    """Three partitions with 1, 2 and 0 records."""
    cluster = MemoryCluster({TOPIC: 3})
    cluster.append(TOPIC, b'{"u": "a", "n": 1}')
    cluster.append(TOPIC, b'{"u": "a", "n": 2}', b'{"u": "b", "n": 3}', partition=1)
    return cluster


def mapped(cluster: MemoryCluster, func: Callable[[pd.DataFrame], Any], **options: Any) -> Any:
    return kl.Lab(cluster, cluster).map_partitions(TOPIC, func, **options)


EXECUTORS = pytest.mark.parametrize("executor", ["thread", "sync"])


@EXECUTORS
def test_frames_come_back_one_after_the_other_with_their_receipts(cluster: MemoryCluster, executor: str) -> None:
    frame = mapped(cluster, lambda part: part[["partition", "offset"]], executor=executor)
    assert frame.to_dict("list") == {"partition": [0, 1, 1], "offset": [0, 0, 1]}
    assert kl.receipt(frame).rows == 3
    assert len(kl.receipt(frame).partitions) == 3


@EXECUTORS
def test_scalars_come_back_as_a_frame_by_partition(cluster: MemoryCluster, executor: str) -> None:
    frame = mapped(cluster, len, executor=executor)
    assert frame.index.name == "partition"
    assert frame.to_dict() == {"result": {0: 1, 1: 2, 2: 0}}


def test_series_come_back_as_a_frame_by_partition(cluster: MemoryCluster) -> None:
    frame = mapped(
        cluster, lambda part: pd.Series({"rows": len(part), "last": part["offset"].max()}), partitions=[0, 1]
    )
    assert frame.to_dict("list") == {"rows": [1, 2], "last": [0, 1]}
    assert frame.index.tolist() == [0, 1]


def test_groups_keep_their_index(cluster: MemoryCluster) -> None:
    frame = mapped(cluster, lambda part: part.groupby("u")[["n"]].sum(), value="json", partitions=[0, 1])
    assert list(frame["n"].items()) == [("a", 1), ("a", 2), ("b", 3)]


def test_frames_that_carry_no_receipt_are_joined_too(cluster: MemoryCluster) -> None:
    frame = mapped(cluster, lambda part: pd.DataFrame({"rows": [len(part)]}))
    assert frame["rows"].tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("func", "expected"),
    [(lambda part: [len(part)], [[1], [2], [0]]), (lambda part: {"rows": len(part)}, [{"rows": n} for n in (1, 2, 0)])],
    ids=["lists", "dicts"],
)
def test_anything_else_comes_back_as_a_list(cluster: MemoryCluster, func: Any, expected: list[Any]) -> None:
    assert mapped(cluster, func) == expected


def test_nothing_to_map_over_gives_an_empty_list(cluster: MemoryCluster) -> None:
    assert mapped(cluster, len, partitions=[]) == []


@EXECUTORS
def test_a_failure_says_where_and_keeps_what_the_others_gave(cluster: MemoryCluster, executor: str) -> None:
    def func(part: pd.DataFrame) -> int:
        return 10 // (len(part) - 1)

    with pytest.raises(MapError, match=r"orders\[0\]@0: the function failed: ZeroDivisionError") as caught:
        mapped(cluster, func, executor=executor)
    error = caught.value
    assert (error.topic, error.partition, error.results) == (TOPIC, 0, [10, -10])
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.errors == [error.__cause__]
    assert isinstance(error, RuntimeError)


def test_several_failures_are_counted(cluster: MemoryCluster) -> None:
    with pytest.raises(MapError, match="the function failed, and 2 more: KeyError"):
        mapped(cluster, lambda part: part["absent"])


def test_a_read_that_fails_is_a_failure_of_its_partition(cluster: MemoryCluster) -> None:
    cluster.append(TOPIC, b"{", partition=2)
    with pytest.raises(MapError, match=r"orders\[2\]@0: .*no JSON") as caught:
        mapped(cluster, len, value="json")
    assert isinstance(caught.value.__cause__, kl.DecodeError)
    assert caught.value.results == [1, 2]


def test_as_many_work_at_once_as_there_are_workers(cluster: MemoryCluster) -> None:
    together = threading.Barrier(3)

    def func(_: pd.DataFrame) -> int:
        return together.wait(5) >= 0

    assert mapped(cluster, func, workers=3)["result"].all()


def test_sync_works_in_this_thread(cluster: MemoryCluster) -> None:
    names = mapped(cluster, lambda _: threading.current_thread().name, executor="sync")["result"]
    assert set(names) == {threading.current_thread().name}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"executor": "threads"}, "executor is 'thread' or 'sync', not 'threads'"),
        ({"workers": 0}, "workers is a number from 1 on, not 0"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(cluster: MemoryCluster, wrong: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        mapped(cluster, len, **wrong)


def test_a_field_that_only_some_partitions_have_is_null_in_the_others(cluster: MemoryCluster) -> None:
    cluster.append(TOPIC, b'{"note": "x"}', partition=2)
    frame = mapped(cluster, lambda part: part, value="json", columns=["n", "note"])
    assert frame["n"].tolist()[:3] == [1, 2, 3]
    assert frame["note"].tolist()[3] == "x"


def test_a_field_that_no_partition_has_is_refused(cluster: MemoryCluster) -> None:
    with pytest.raises(ArgumentError, match="there is no column 'notes'"):
        mapped(cluster, len, value="json", columns=["notes"])


def test_a_partition_that_was_not_read_whole_says_so(cluster: MemoryCluster) -> None:
    with pytest.warns(kl.LimitWarning, match=r"stopped at its timeout.*orders\[0\] at offset 0 of 1"):
        mapped(cluster, len, partitions=0, timeout=0)


def test_an_interrupt_is_raised_and_no_other_partition_is_worked_on(cluster: MemoryCluster) -> None:
    worked, started = [], threading.Event()
    real = signal.getsignal(signal.SIGINT)
    handled = threading.Event()

    def handle(*_: object) -> None:
        handled.set()
        raise KeyboardInterrupt

    def func(part: pd.DataFrame) -> None:
        worked.append(len(part))
        started.set()
        os.kill(os.getpid(), signal.SIGINT)
        assert handled.wait(5)

    signal.signal(signal.SIGINT, handle)
    try:
        with pytest.raises(KeyboardInterrupt):
            mapped(cluster, func, workers=1)
    finally:
        signal.signal(signal.SIGINT, real)
    assert worked == [1]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("kafkalab")] == []


def test_an_interrupt_stops_the_reading_too(cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(20):
        cluster.append(TOPIC, b"v")
    told = threading.Event()

    class Told(Stop):
        def set(self) -> None:
            super().set()
            told.set()

    def interrupt(_: object, position: int) -> None:
        if position == 5:
            os.kill(os.getpid(), signal.SIGINT)
            assert told.wait(5)

    worked: list[int] = []
    cluster.before_step = interrupt
    monkeypatch.setattr("kafkalab.parallel.Stop", Told)
    with pytest.raises(KeyboardInterrupt):
        mapped(cluster, lambda part: worked.append(len(part)), partitions=0)
    assert told.is_set()
    assert worked == []
