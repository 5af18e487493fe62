import functools
import itertools
import multiprocessing
import operator
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

import kafkalab as kl
from kafkalab.errors import ArgumentError, MapError
from kafkalab.fetch.base import Stop
from kafkalab.fetch.memory import MemoryCluster
from kafkalab.pickling import Sealed, check_travels
from tests.oracle import TOPIC


@pytest.fixture
def cluster() -> MemoryCluster:
    """Three partitions with 1, 2 and 0 records."""
    cluster = MemoryCluster({TOPIC: 3})
    cluster.append(TOPIC, b'{"u": "a", "n": 1}')
    cluster.append(TOPIC, b'{"u": "a", "n": 2}', b'{"u": "b", "n": 3}', partition=1)
    return cluster


def mapped(cluster: MemoryCluster, func: Callable[[Any], Any], **options: Any) -> Any:
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
        return 10 // (len(part) - 2)

    with pytest.raises(MapError, match=r"orders\[1\]@0: the function failed on offsets 0 to 2: ZeroDiv") as caught:
        mapped(cluster, func, executor=executor, workers=1)
    error = caught.value
    assert (error.topic, error.partition, error.results[0]) == (TOPIC, 1, -10)
    assert error.finished[0] == kl.OffsetRange(TOPIC, 0, 0, 1)
    assert error.failed == [kl.OffsetRange(TOPIC, 1, 0, 2)]
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.errors == [error.__cause__]
    assert isinstance(error, RuntimeError)


def test_a_failure_ends_the_handing_out(cluster: MemoryCluster) -> None:
    called = []

    def func(part: pd.DataFrame) -> None:
        called.append(len(part))
        raise KeyError("x")

    with pytest.raises(MapError):
        mapped(cluster, func, executor="sync")
    assert called == [1]


def test_several_failures_are_counted(cluster: MemoryCluster) -> None:
    together = threading.Barrier(3)

    def func(part: pd.DataFrame) -> object:
        together.wait(5)
        return part["absent"]

    with pytest.raises(MapError, match=r"the function failed on offsets 0 to 1: KeyError.*, and 2 more failed"):
        mapped(cluster, func, workers=3)


def fail_on_two(part: pd.DataFrame) -> int:
    if len(part) == 2:
        raise ValueError("two")
    return len(part)


def test_failures_can_be_left_out_with_a_warning(cluster: MemoryCluster) -> None:
    with pytest.warns(kl.KafkalabWarning, match=r"1 left out: orders\[1\]@0: .*offsets 0 to 2: ValueError\('two'\)"):
        frame = mapped(cluster, fail_on_two, on_error="skip")
    assert frame["result"].to_dict() == {0: 1, 2: 0}
    assert [part.stop for part in kl.receipt(frame).partitions] == ["reached", "error", "reached"]


def test_failures_can_be_collected(cluster: MemoryCluster) -> None:
    frame, errors = mapped(cluster, fail_on_two, on_error="collect")
    assert frame["result"].to_dict() == {0: 1, 2: 0}
    assert [(error.partition, error.failed, str(error.__cause__)) for error in errors] == [
        (1, [kl.OffsetRange(TOPIC, 1, 0, 2)], "two")
    ]


def test_a_read_that_fails_is_a_failure_of_its_partition(cluster: MemoryCluster) -> None:
    cluster.append(TOPIC, b"{", partition=2)
    with pytest.raises(MapError, match=r"orders\[2\]@0: .*no JSON") as caught:
        mapped(cluster, len, value="json")
    assert isinstance(caught.value.__cause__, kl.DecodeError)
    assert set(caught.value.results) <= {1, 2}


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
        ({"executor": "threads"}, "executor is 'thread', 'process', 'sync' or a concurrent.futures.Executor, not 'thr"),
        ({"executor": "process"}, "lives in this process: no other one can read it. Use executor='thread'"),
        ({"workers": True}, "workers is a number from 1 on, not True"),
        ({"chunk_records": 0}, "chunk_records is a number from 1 on, not 0"),
        ({"ordering": "key"}, "ordering is 'partition' or 'unordered', not 'key'"),
        ({"frame": "polars"}, "frame is 'pandas' or 'arrow', not 'polars'"),
        ({"on_error": "ignore"}, "on_error is 'raise' or 'skip' or 'collect', not 'ignore'"),
        ({"workers": 0}, "workers is a number from 1 on, not 0"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(cluster: MemoryCluster, wrong: Any, says: str) -> None:
    with pytest.raises((ArgumentError, kl.UnsupportedError), match=says):
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


@pytest.fixture
def hot() -> MemoryCluster:
    """Two partitions with 10 records and 1."""
    cluster = MemoryCluster({TOPIC: 2})
    for number in range(10):
        cluster.append(TOPIC, b"%d" % number)
    cluster.append(TOPIC, b"10", partition=1)
    return cluster


def first_offset(part: pd.DataFrame) -> int:
    return int(part["offset"].iloc[0])


class TestChunks:
    @EXECUTORS
    def test_cover_the_partitions_in_order(self, hot: MemoryCluster, executor: str) -> None:
        frame = mapped(hot, lambda part: part, chunk_records=3, executor=executor, value="text")
        assert frame["value"].tolist() == [str(number) for number in range(11)]
        assert [part.offset_range for part in kl.receipt(frame).partitions] == [
            kl.OffsetRange(TOPIC, 0, 0, 10),
            kl.OffsetRange(TOPIC, 1, 0, 1),
        ]

    def test_are_told_in_the_index(self, hot: MemoryCluster) -> None:
        frame = mapped(hot, len, chunk_records=np.int64(4))
        assert frame.index.names == ["partition", "start", "end"]
        assert frame["result"].to_dict() == {(0, 0, 4): 4, (0, 4, 8): 4, (0, 8, 10): 2, (1, 0, 1): 1}
        assert kl.receipt(frame).rows == 11

    def test_of_one_partition_are_worked_on_at_once(self, hot: MemoryCluster) -> None:
        together = threading.Barrier(2)
        assert len(mapped(hot, lambda _: together.wait(5), partitions=0, chunk_records=5, workers=2)) == 2

    def test_are_handed_out_as_there_is_room(self, hot: MemoryCluster) -> None:
        submitted, most = 0, 0

        class Counting(ThreadPoolExecutor):
            def submit(self, *args: Any, **options: Any) -> Future[Any]:
                nonlocal submitted, most
                submitted += 1
                future = super().submit(*args, **options)
                under_way.append(future)
                most = max(most, sum(not future.done() for future in under_way))
                return future

        under_way: list[Future[Any]] = []
        with Counting(2) as executor:
            mapped(hot, len, chunk_records=1, executor=executor, workers=3)
        assert submitted == 11
        assert most <= 3


class TestOrdering:
    def test_unordered_results_come_as_they_are_done(self, hot: MemoryCluster) -> None:
        others_are_done = threading.Event()
        done: list[int] = []

        def func(part: pd.DataFrame) -> list[int]:
            if first_offset(part) == 0 and len(part) == 5:
                assert others_are_done.wait(5)
            return [first_offset(part), len(part)]

        def reduce(values: list[int], value: list[int]) -> list[int]:
            done.append(value[0])
            others_are_done.set()
            return values + value

        folded = mapped(hot, func, chunk_records=5, workers=2, ordering="unordered", reduce=reduce)
        assert folded[-2:] == [0, 5]
        assert sorted(zip(folded[::2], folded[1::2], strict=True)) == [(0, 1), (0, 5), (5, 5)]

    def test_results_are_folded_in_order(self, hot: MemoryCluster) -> None:
        values = mapped(
            hot, lambda part: part["value"].tolist(), chunk_records=1, workers=4, reduce=operator.add, value="text"
        )
        assert values == [str(number) for number in range(11)]

    def test_results_are_folded_as_they_come(self, hot: MemoryCluster) -> None:
        assert mapped(hot, len, chunk_records=2, workers=4, ordering="unordered", reduce=operator.add) == 11

    def test_results_that_wait_to_be_folded_are_few(self, hot: MemoryCluster) -> None:
        for _ in range(40):
            hot.append(TOPIC, b"v")
        seven, more, done = threading.Event(), threading.Event(), list[int]()
        submitted = itertools.count(1)

        class Watched(ThreadPoolExecutor):
            def submit(self, *args: Any, **options: Any) -> Future[Any]:
                if next(submitted) > 8:
                    more.set()
                return super().submit(*args, **options)

        def func(part: pd.DataFrame) -> int:
            if first_offset(part) == 0:
                assert seven.wait(5)
                return 1000 * more.wait(0.3)
            done.append(1)
            if len(done) == 7:
                seven.set()
            return 1

        with Watched(2) as pool:
            folded = mapped(hot, func, partitions=0, chunk_records=1, executor=pool, workers=2, reduce=operator.add)
        assert folded == 49

    def test_nothing_to_fold_is_none(self, hot: MemoryCluster) -> None:
        assert mapped(hot, len, partitions=[], reduce=operator.add) is None

    def test_what_fails_is_left_out_of_the_fold(self, hot: MemoryCluster) -> None:
        def func(part: pd.DataFrame) -> int:
            if first_offset(part) == 4:
                raise ValueError("four")
            return len(part)

        assert mapped(hot, func, chunk_records=2, reduce=operator.add, on_error="collect")[0] == 9
        with pytest.raises(MapError) as caught:
            mapped(hot, func, chunk_records=2, reduce=operator.add, executor="sync")
        assert caught.value.results == [4]
        assert [part.end for part in caught.value.finished] == [2, 4]

    def test_a_reducer_that_fails_ends_the_map(self, hot: MemoryCluster) -> None:
        def reduce(_: int, __: int) -> int:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            mapped(hot, len, chunk_records=1, reduce=reduce)


class TestArrow:
    def test_the_function_gets_tables_with_their_receipts(self, hot: MemoryCluster) -> None:
        receipts = mapped(hot, lambda table: [kl.receipt(table).rows], frame="arrow")
        assert receipts == [[10], [1]]

    def test_tables_are_joined(self, hot: MemoryCluster) -> None:
        table = mapped(hot, lambda table: table.drop_columns("key"), frame="arrow", value="text", chunk_records=3)
        assert table["value"].to_pylist() == [str(number) for number in range(11)]
        assert kl.receipt(table).rows == 11

    def test_scalars_are_python_s(self, hot: MemoryCluster) -> None:
        frame = mapped(hot, lambda table: pc.max(table["offset"]), frame="arrow")
        assert frame["result"].tolist() == [9, 0]


def test_an_executor_of_one_s_own_is_left_open(cluster: MemoryCluster) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        names = mapped(cluster, lambda _: threading.current_thread().name, executor=pool)["result"]
        assert set(names) == {"mine_0"}
        assert pool.submit(len, "x").result() == 1


def test_an_executor_that_forks_is_refused(cluster: MemoryCluster) -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool,
        pytest.raises(ArgumentError, match=r"this executor forks.*get_context\('spawn'\)"),
    ):
        mapped(cluster, len, executor=pool)


class TestWhatCannotTravel:
    lock = threading.Lock()

    def holds(self, _: object) -> bool:
        return self.lock.locked()

    def test_is_named(self) -> None:
        lock, lab = threading.Lock(), kl.Lab(MemoryCluster({}), MemoryCluster({}))

        def inner(_: object) -> bool:
            return lock.locked()

        def outer(part: object) -> bool:
            return inner(part)

        def with_default(_: object, held: object = lock) -> bool:
            return held is None

        for func, named in (
            (inner, "inner cannot go to another process: it uses 'lock', a lock, which stays in this one. Make it"),
            (outer, "outer .* uses 'inner.lock', a lock"),
            (with_default, "uses 'held', a lock"),
            (lambda _: lab.read("orders"), "<lambda> .* uses 'lab', a Lab"),
            (functools.partial(max, key=lock), "partial .* uses 'key', a lock"),
        ):
            with pytest.raises(ArgumentError, match=named):
                check_travels(func)

    def test_what_can_travel_is_let_go(self) -> None:
        count = 3
        check_travels(lambda part: len(part) + count)


def test_a_sealed_value_shows_nothing() -> None:
    sealed = Sealed(kl.Secret("hunter2"))
    assert "hunter2" not in f"{sealed} {sealed!r}"
    assert (sealed, hash(sealed)) == (Sealed(kl.Secret("hunter2")), hash(Sealed(kl.Secret("hunter2"))))
    assert sealed.open().reveal() == "hunter2"


def test_a_timeout_is_of_the_whole_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part takes four of ten seconds: the third is cut, and those after it are not begun."""
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    cluster = MemoryCluster({TOPIC: 6})
    for partition in range(6):
        cluster.append(TOPIC, b"v", partition=partition)
    seen = []

    def four_seconds(frame: pd.DataFrame) -> int:
        seen.append(frame["partition"].tolist())
        now[0] += 4
        return len(frame)

    lab = kl.Lab(cluster, cluster)
    with pytest.warns(kl.LimitWarning, match="stopped at its timeout"):
        found = lab.map_partitions(TOPIC, four_seconds, executor="sync", timeout=10, progress=False)
    assert seen == [[0], [1], [2]]
    assert found["result"].tolist() == [1, 1, 1]
    parts = kl.receipt(found).partitions
    assert [part.stop for part in parts] == ["reached"] * 3 + ["timeout"] * 3


@pytest.mark.parametrize("on_error", ["raise", "skip", "collect"])
def test_a_topic_that_is_made_anew_during_a_map_is_an_error_with_the_results(
    on_error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = MemoryCluster({TOPIC: 3})
    info, looks = cluster.topic(TOPIC), itertools.count()

    def topic(_: str) -> Any:
        return info if next(looks) == 0 else type(info)(info.name, info.partitions, "another")

    monkeypatch.setattr(cluster, "topic", topic)
    with pytest.raises(kl.MapError, match="deleted and made anew during the read") as caught:
        kl.Lab(cluster, cluster).map_partitions(TOPIC, len, on_error=on_error, progress=False)
    assert caught.value.results == [0, 0, 0]
    assert isinstance(caught.value.__cause__, kl.errors.DataLossError)
