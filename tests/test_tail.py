import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import kafkalab as kl
from kafkalab.errors import ArgumentError, KafkalabError
from kafkalab.fetch.memory import MemoryCluster
from tests.interrupts import SECONDS, ends, interrupted
from tests.oracle import TOPIC


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster({TOPIC: 2})


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("kafkalab")] == []


def tail_of(cluster: MemoryCluster, rows: int = 1000, **reading: Any) -> kl.Tail:
    return kl.Lab(cluster, cluster).tail(TOPIC, rows, **reading)


def fill(cluster: MemoryCluster, count: int, *, first: int = 0, size: int = 1) -> None:
    for number in range(first, first + count, size):
        cluster.append(TOPIC, *[b"%d" % n for n in range(number, number + size)])


def test_only_what_is_written_from_now_on_is_shown(cluster: MemoryCluster) -> None:
    fill(cluster, 3)
    with tail_of(cluster) as tail:
        cluster.append(TOPIC, b"new", partition=1)
        assert tail.wait_for(1, timeout=5)
        assert tail.df["value"].tolist() == ["new"]
    assert (tail.seen, tail.dropped, tail.running) == (1, 0, False)


def test_earlier_rows_are_shown_when_asked_for(cluster: MemoryCluster) -> None:
    fill(cluster, 3)
    with tail_of(cluster, start="earliest") as tail:
        assert tail.wait_for(3, timeout=5)
        assert tail.df["value"].tolist() == ["0", "1", "2"]


def test_a_running_tail_tells_what_it_has_seen(cluster: MemoryCluster) -> None:
    with tail_of(cluster) as tail:
        fill(cluster, 3)
        assert tail.wait_for(3, timeout=5)
        receipt = kl.receipt(tail.df)
    assert (receipt.rows, receipt.engine, receipt.complete) == (3, "memory", False)
    assert [part.next_offset for part in receipt.partitions if part.rows] == [3]


@pytest.mark.parametrize("size", [1, 3, 10], ids="batches of {}".format)
@pytest.mark.parametrize("kept", [0, 1, 4, 7])
def test_the_newest_rows_are_kept_and_the_others_counted(cluster: MemoryCluster, size: int, kept: int) -> None:
    with tail_of(cluster, rows=kept) as tail:
        fill(cluster, 30, size=size)
        assert tail.wait_for(30, timeout=5)
        assert tail.df["value"].tolist() == [str(n) for n in range(30 - kept, 30)]
        assert (tail.seen, tail.dropped) == (30, 30 - kept)


def test_a_cut_batch_is_not_kept_whole_in_memory(cluster: MemoryCluster) -> None:
    with tail_of(cluster, rows=1, value="bytes") as tail:
        cluster.append(TOPIC, *[bytes(100_000)] * 10)
        assert tail.wait_for(10, timeout=5)
        assert sum(rows.get_total_buffer_size() for rows in tail._now.shown.batches) < 200_000


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_a_run_ends_in_time_and_gives_the_frame(cluster: MemoryCluster, seconds: float) -> None:
    fill(cluster, 2)
    tail = tail_of(cluster, start="earliest")
    assert tail.wait_for(2, timeout=5)
    frame = tail.run(seconds)
    assert frame["offset"].tolist() == [0, 1]
    assert not tail.running
    assert kl.receipt(frame).rows == 2


def test_a_tail_with_a_timeout_stops_and_nobody_waits_for_it(cluster: MemoryCluster) -> None:
    tail = tail_of(cluster, timeout=0.01)
    assert not tail.wait_for(1, timeout=60)
    assert tail.run(60).empty
    assert kl.receipt(tail.df).stop_reasons == (kl.StopReason.TIMEOUT,)


def test_stopping_twice_is_fine_and_the_rows_stay(cluster: MemoryCluster) -> None:
    fill(cluster, 2)
    tail = tail_of(cluster, start="earliest")
    tail.wait_for(2, timeout=5)
    tail.stop()
    tail.stop()
    assert len(tail.df) == 2
    assert kl.receipt(tail.df).stop_reasons == (kl.StopReason.INTERRUPTED,)


def test_the_repr_says_what_it_does(cluster: MemoryCluster) -> None:
    with tail_of(cluster, rows=1) as tail:
        fill(cluster, 3)
        tail.wait_for(3, timeout=5)
        assert repr(tail).startswith("<Tail orders following: ")
        assert repr(tail).endswith(" records/s · lag 0 · shown 1 of 3 · dropped 2>")
    assert repr(tail).startswith("<Tail orders stopped: ")


def test_the_rate_is_of_the_last_five_seconds(cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("kafkalab.tail.time", SimpleNamespace(monotonic=lambda: now[0]))
    with tail_of(cluster) as tail:
        fill(cluster, 10)
        tail.wait_for(10, timeout=5)
        assert tail.rate == 2.0
        now[0] += 6
        assert tail.rate == 0.0


def test_arrivals_that_nobody_asks_about_do_not_pile_up(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 100_000, 10))
    monkeypatch.setattr("kafkalab.tail.time", SimpleNamespace(monotonic=lambda: next(now)))
    with tail_of(cluster) as tail:
        fill(cluster, 50)
        tail.wait_for(50, timeout=5)
        assert len(tail._arrivals) <= 1


def failing(cluster: MemoryCluster, at: int) -> None:
    def fail(_: object, position: int) -> None:
        if position == at:
            message = "the network is gone"
            raise KafkalabError(message, topic=TOPIC, partition=0, offset=at)

    cluster.before_step = fail


def test_what_ends_a_tail_is_raised_to_whoever_looks_and_nobody_waits(cluster: MemoryCluster) -> None:
    fill(cluster, 3)
    failing(cluster, at=2)
    tail = tail_of(cluster, start={0: 0})
    assert not tail.wait_for(100, timeout=60)
    with pytest.raises(KafkalabError, match=r"orders\[0\]@2: the network is gone"):
        tail.run(60)
    with pytest.raises(KafkalabError, match="the network is gone"):
        _ = tail.df
    assert "failed" in repr(tail)


def test_an_interrupt_ends_a_run(cluster: MemoryCluster) -> None:
    sent = threading.Event()

    def interrupt(*_: object) -> None:
        if not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)

    fill(cluster, 1)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at any line
        tail = tail_of(cluster, start="earliest")
        cluster.before_step = interrupt
        tail.run(60)
    tail.stop()
    assert not tail.running


def test_it_stops_wherever_a_wait_was_interrupted(cluster: MemoryCluster) -> None:
    at, more = 0, True
    while more:
        at += 1
        fill(cluster, 1)
        tail = tail_of(cluster, start="earliest")
        assert tail.wait_for(1, SECONDS)
        more = interrupted(at, tail.wait_for, 1_000_000, 0.01)
        fill(cluster, 1)
        assert ends(tail.stop)
        assert not tail.running
    assert at > 10


def test_an_open_transaction_is_waited_for(cluster: MemoryCluster) -> None:
    cluster.append(TOPIC, b"undecided", producer_id=7)
    with tail_of(cluster, start="earliest") as tail:
        cluster.append(TOPIC, b"other", partition=1)
        assert tail.wait_for(1, timeout=5)
        assert tail.df["value"].tolist() == ["other"]
        cluster.end_transaction(7, commit=True)
        assert tail.wait_for(2, timeout=5)
        assert tail.df["value"].tolist() == ["other", "undecided"]


def test_a_tail_shows_what_is_readable_and_what_is_not(cluster: MemoryCluster) -> None:
    with tail_of(cluster) as tail:
        cluster.append(TOPIC, b'{"amount": 5}')
        cluster.append(TOPIC, b"\xff")
        assert tail.wait_for(2, timeout=5)
        frame = tail.df
    assert frame["amount"].tolist()[0] == 5
    assert frame["_error"][1].startswith("value: no JSON")
    assert frame["_raw"][1] == b"\xff"


def test_a_filter_lets_through_what_passes(cluster: MemoryCluster) -> None:
    with tail_of(cluster, where=kl.field("offset") >= 2, columns=["offset"]) as tail:
        fill(cluster, 4)
        assert tail.wait_for(2, timeout=5)
        assert tail.df.to_dict("list") == {"offset": [2, 3]}


def test_an_empty_tail_is_an_empty_frame(cluster: MemoryCluster) -> None:
    with tail_of(cluster, value="text") as tail:
        assert tail.df.columns.tolist()[-1] == "value"
        assert tail.df.empty


@pytest.mark.parametrize("rows", [-1, 1.5, "10", None])
def test_rows_are_a_number(cluster: MemoryCluster, rows: Any) -> None:
    with pytest.raises(ArgumentError, match="rows is a whole number from 0 on, not"):
        tail_of(cluster, rows)


def test_a_paused_tail_stays_and_says_how_far_it_is_behind(cluster: MemoryCluster) -> None:
    with tail_of(cluster, rows=4) as tail:
        fill(cluster, 3)
        assert tail.wait_for(3, timeout=5)
        tail.pause()
        fill(cluster, 5, first=3)
        assert tail.wait_for(8, timeout=5)
        assert tail.df["value"].tolist() == ["0", "1", "2"]
        assert (tail.paused, tail.behind, tail.seen, tail.dropped) == (True, 5, 8, 0)
        assert "shown 3 of 3 · dropped 0 · paused, 5 behind" in repr(tail)
        tail.resume()
        assert tail.df["value"].tolist() == ["4", "5", "6", "7"]
        assert (tail.paused, tail.behind, tail.dropped) == (False, 0, 4)


def test_a_filter_can_be_changed_while_it_runs_or_is_paused(cluster: MemoryCluster) -> None:
    with tail_of(cluster, value="int64", start="earliest") as tail:
        cluster.append(TOPIC, *[n.to_bytes(8) for n in range(10)])
        assert tail.wait_for(10, timeout=5)
        tail.filter("value >= 8")
        tail.pause()
        cluster.append(TOPIC, *[n.to_bytes(8) for n in range(10)])
        assert tail.wait_for(20, timeout=5)
        assert tail.df["value"].tolist() == [8, 9]
        tail.filter(kl.field("value") < 2)
        assert tail.df["value"].tolist() == [0, 1]
        tail.resume()
        assert tail.df["value"].tolist() == [0, 1, 0, 1]
        assert "shown 4 of 20 · dropped 0 · filtered out 16" in repr(tail)
        with pytest.raises(ArgumentError, match="no row here has a column 'amount'"):
            tail.filter("amount > 1")
        assert len(tail.df) == 4
        tail.filter(None)
        assert len(tail.df) == 20


def test_the_lag_is_what_could_be_read_and_is_not_here(cluster: MemoryCluster) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold(where: object, position: int) -> None:
        if where == kl.TopicPartition(TOPIC, 0) and position == 2:
            reached.set()
            go_on.wait(5)

    fill(cluster, 10)
    cluster.before_step = hold
    with tail_of(cluster, start="earliest") as tail:
        assert reached.wait(5)
        assert tail.wait_for(2, timeout=5)
        assert tail.lag == 8
        go_on.set()
        assert tail.wait_for(10, timeout=5)
        assert tail.lag == 0


def test_whoever_subscribes_is_told_until_they_have_enough(cluster: MemoryCluster) -> None:
    told: list[int] = []
    with tail_of(cluster) as tail:
        unsubscribe = tail.subscribe(lambda: told.append(tail.seen))
        fill(cluster, 1)
        assert tail.wait_for(1, timeout=5)
        tail.pause()
        tail.filter(None)
        tail.resume()
        counted = len(told)
        assert counted >= 3
        unsubscribe()
        unsubscribe()
        tail.pause()
        assert len(told) == counted
        tail.subscribe(lambda: told.append(-1))
    assert told[-1] == -1


def test_closing_a_lab_stops_its_tails(cluster: MemoryCluster) -> None:
    lab = kl.Lab(cluster, cluster)
    tails = [lab.tail(TOPIC) for _ in range(3)]
    lab.close()
    assert not any(tail.running for tail in tails)


class Kernel:
    """A notebook's shell, as far as it is asked for cells."""

    kernel = object()

    def __init__(self) -> None:
        self.parent: dict[str, Any] = {}
        self.events = self
        self.listeners: list[Callable[[Any], None]] = []

    def register(self, _: str, listener: Callable[[Any], None]) -> None:
        self.listeners.append(listener)

    def unregister(self, _: str, listener: Callable[[Any], None]) -> None:
        self.listeners.remove(listener)

    def run(self, cell: str) -> None:
        self.parent = {"metadata": {"cellId": cell}, "content": {"code": cell}}
        for listener in list(self.listeners):
            listener(SimpleNamespace(cell_id=cell, raw_cell=cell))

    def get_parent(self) -> dict[str, Any]:
        return self.parent


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    shell = Kernel()
    importlib.import_module("ipywidgets")  # which needs the real one
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return shell


def test_a_cell_that_is_run_again_ends_the_tails_of_its_earlier_run(cluster: MemoryCluster, kernel: Kernel) -> None:
    lab = kl.Lab(cluster, cluster)
    kernel.run("a")
    tails = [lab.tail(TOPIC), lab.tail(TOPIC)]
    kernel.run("b")
    tails.append(lab.tail(TOPIC))
    assert [tail.running for tail in tails] == [True, True, True]
    kernel.run("a")
    again = kl.Lab(cluster, cluster).tail(TOPIC)
    assert [tail.running for tail in (*tails, again)] == [False, False, True, True]
    again.stop()
    lab.close()


@pytest.mark.usefixtures("kernel")
def test_a_notebook_gets_a_table_and_a_terminal_a_line(cluster: MemoryCluster) -> None:
    with kl.Lab(cluster, cluster) as lab:
        tail = lab.tail(TOPIC)
        shown = tail._repr_mimebundle_()
        assert shown["text/plain"] == repr(tail)
        assert shown["application/vnd.jupyter.widget-view+json"]["model_id"] == tail._table.model_id
        assert (
            tail._repr_mimebundle_()["application/vnd.jupyter.widget-view+json"]
            == shown["application/vnd.jupyter.widget-view+json"]
        )
        tail.close()
        tail.close()
    del sys.modules["IPython"]
    with kl.Lab(cluster, cluster).tail(TOPIC) as tail:
        assert tail._repr_mimebundle_() == {"text/plain": repr(tail)}


def test_a_tail_that_nobody_has_ends_itself() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"v")
    lab = kl.Lab(cluster, cluster)
    tails = [lab.tail(TOPIC, start="earliest") for _ in range(5)]
    assert all(tail.wait_for(1, timeout=5) for tail in tails)
    threads = [tail._thread for tail in tails]
    tails.clear()
    gc.collect()
    for thread in threads:
        thread.join(timeout=5)
    assert not [thread for thread in threads if thread.is_alive()]
