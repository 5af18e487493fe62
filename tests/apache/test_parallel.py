"""Functions over the parts of a topic on other processes: ours, an executor's of somebody else, Dask's."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from distributed import Client, LocalCluster

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.truth import QUICK, SECONDS, Log, Record, gaps, new_topic, numbered, rows, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning:distributed")

HOT = 1800
PASSWORD = "correct-horse-battery"


@pytest.fixture(scope="module")
def lab(kafka: ApacheKafka) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers) as lab:
        yield lab


@pytest.fixture(scope="module")
def hot(kafka: ApacheKafka) -> Log:
    """Give a topic with nine tenths of its records in one partition, in many raw batches."""
    log = new_topic(kafka.bootstrap_servers, 3)
    for start in range(0, HOT, 100):
        log.write(1, *(Record(b"k%d" % n, b'{"n": %d}' % n, 1_700_000_000_000 + n) for n in range(start, start + 100)))
    log.write(0, *(Record(b"k%d" % n, b'{"n": %d}' % n, 1_700_000_000_000) for n in range(200)))
    return log


@pytest.fixture(scope="module")
def dask() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def spawned() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(params=["process", "spawned", "dask"])
def executor(request: pytest.FixtureRequest) -> Any:
    if request.param == "process":
        return "process"
    found: Any = request.getfixturevalue(request.param)
    return found.get_executor() if request.param == "dask" else found


class TestOtherProcesses:
    def test_read_every_record_once_and_in_order(self, lab: kl.Lab, hot: Log, executor: Any) -> None:
        frame = lab.map_partitions(
            hot.topic, lambda part: part, executor=executor, workers=2, chunk_records=150, headers=True
        )
        assert rows(frame) == hot.visible("read_committed")
        receipt = kl.receipt(frame)
        assert [(part.start, part.end, part.rows) for part in receipt.partitions] == [
            (0, 200, 200),
            (0, HOT, HOT),
            (0, 0, 0),
        ]

    def test_are_others(self, lab: kl.Lab, hot: Log, executor: Any) -> None:
        def where(table: Any) -> dict[str, int]:
            return {"pid": os.getpid(), "rows": table.num_rows}

        found = lab.map_partitions(hot.topic, where, executor=executor, workers=2, chunk_records=100, frame="arrow")
        assert os.getpid() not in {one["pid"] for one in found}
        assert sum(one["rows"] for one in found) == HOT + 200

    def test_see_what_is_visible(self, lab: kl.Lab, kafka: ApacheKafka, executor: Any) -> None:
        log = gaps(kafka)
        for level in ("read_committed", "read_uncommitted"):
            count = lab.map_partitions(
                log.topic, len, executor=executor, workers=2, chunk_records=7, isolation_level=level, reduce=int.__add__
            )
            assert count == len(log.visible(level))

    def test_send_their_errors_with_place_and_traceback(self, lab: kl.Lab, hot: Log, executor: Any) -> None:
        class OddError(Exception):
            def __init__(self, one: int, other: int) -> None:
                super().__init__(f"{one} and {other}")

        def fails_at_last(part: pd.DataFrame) -> int:
            if part["offset"].max() == HOT - 1:
                raise OddError(1, 2)
            return len(part)

        count, (error,) = lab.map_partitions(
            hot.topic,
            fails_at_last,
            executor=executor,
            workers=2,
            chunk_records=900,
            on_error="collect",
            ordering="unordered",
            reduce=int.__add__,
        )
        assert count == 900 + 200
        assert str(error).startswith(f"{hot.topic}[1]@900: the function failed on offsets 900 to {HOT}: ")
        assert "1 and 2" in str(error)
        (note,) = error.__cause__.__notes__
        assert "in fails_at_last" in note
        assert "raise OddError(1, 2)" in note

    def test_cannot_send_what_cannot_be_pickled(self, lab: kl.Lab, hot: Log, executor: Any) -> None:
        def gives_a_lock(_: object) -> object:
            return threading.Lock()

        with pytest.raises(kl.MapError, match=r"sending back what the function returned failed.*a lock cannot be p"):
            lab.map_partitions(hot.topic, gives_a_lock, executor=executor, workers=2)

    def test_are_told_from_this_one_before_they_start(self, lab: kl.Lab, hot: Log, executor: Any) -> None:
        with pytest.raises(kl.ArgumentError, match="it uses 'lab', a Lab, which stays in this one"):
            lab.map_partitions(hot.topic, lambda part: len(lab.read(part)), executor=executor)


class TestProcesses:
    def test_stay_for_the_next_call_and_end_with_the_lab(self, kafka: ApacheKafka, hot: Log) -> None:
        with kl.connect(kafka.bootstrap_servers) as lab:
            one, two = (self._pids(lab, hot) for _ in range(2))
            assert one & two
        wait_until(lambda: not any(alive(pid) for pid in one | two))

    @pytest.mark.parametrize("engine", ["arrow", "librdkafka"])
    def test_read_with_the_engine_of_the_lab(self, kafka: ApacheKafka, hot: Log, engine: Any) -> None:
        with kl.connect(kafka.bootstrap_servers, engine=engine) as lab:
            counts = lab.map_partitions(hot.topic, len, executor="process", workers=1)
        assert counts["result"].tolist() == [200, HOT, 0]
        assert kl.receipt(counts).engine == engine

    def test_that_die_are_an_error_and_are_replaced(self, lab: kl.Lab, hot: Log) -> None:
        def dies(part: pd.DataFrame) -> int:
            if len(part) == HOT:
                os._exit(9)
            return len(part)

        with pytest.raises(kl.MapError, match=rf"{hot.topic}\[\d\]@0: the executor failed on offsets 0 to") as caught:
            lab.map_partitions(hot.topic, dies, executor="process", workers=2)
        assert kl.OffsetRange(hot.topic, 1, 0, HOT) in caught.value.failed
        assert lab.map_partitions(hot.topic, len, executor="process", workers=2, reduce=int.__add__) == HOT + 200

    @staticmethod
    def _pids(lab: kl.Lab, log: Log) -> set[int]:
        frame = lab.map_partitions(log.topic, lambda _: os.getpid(), executor="process", workers=2, chunk_records=100)
        return set(frame["result"])


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except OSError:
        return False


INTERRUPTED = """
import json, os, sys, threading
import kafkalab as kl

def main():
    folder = sys.argv[3]
    lab = kl.connect(sys.argv[1])

    def never_ends(part):
        open(os.path.join(folder, str(os.getpid())), "w").close()
        threading.Event().wait()

    try:
        lab.map_partitions(sys.argv[2], never_ends, executor="process", workers=2, chunk_records=100, progress=False)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    sys.stdin.readline()

if __name__ == "__main__":
    main()
"""


class TestCtrlC:
    @pytest.mark.parametrize("to", ["one process", "the group"])
    def test_leaves_no_process_behind(self, kafka: ApacheKafka, hot: Log, tmp_path: Path, to: str) -> None:
        with self._child(kafka, hot, tmp_path) as child:
            try:
                pids = self._working(tmp_path)
                if to == "the group":  # what a terminal does
                    os.killpg(child.pid, signal.SIGINT)
                else:
                    child.send_signal(signal.SIGINT)
                assert child.stdout is not None
                assert child.stdout.readline() == "interrupted\n"
                wait_until(lambda: not any(map(alive, pids)))
                child.communicate("\n", timeout=SECONDS)
                assert child.returncode == 0
            finally:
                child.kill()

    def test_nor_does_a_kernel_that_is_killed(self, kafka: ApacheKafka, hot: Log, tmp_path: Path) -> None:
        with self._child(kafka, hot, tmp_path) as child:
            try:
                pids = self._working(tmp_path)
            finally:
                child.kill()
        wait_until(lambda: not any(map(alive, pids)))

    @staticmethod
    def _child(kafka: ApacheKafka, log: Log, folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", INTERRUPTED, kafka.bootstrap_servers, log.topic, str(folder)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    @staticmethod
    def _working(folder: Path) -> list[int]:
        wait_until(lambda: len(list(folder.iterdir())) == 2)
        return [int(path.name) for path in folder.iterdir()]


class TestDask:
    def test_a_frame_holds_what_was_written(self, lab: kl.Lab, hot: Log, dask: Client) -> None:
        frame = lab.to_dask(hot.topic, chunk_records=150, headers=True, dtype_backend="pyarrow")
        assert frame.npartitions == 2 + HOT // 150 + 1
        found = dask.compute(frame, sync=True)
        assert rows(found) == hot.visible("read_committed")

    def test_a_filter_and_columns_travel(self, lab: kl.Lab, hot: Log, dask: Client) -> None:
        frame = lab.to_dask(
            hot.topic, value="json", where=kl.field("n") >= 1000, columns=["partition", "n"], chunk_records=300
        )
        assert frame.columns.tolist() == ["partition", "n"]
        total = dask.compute(frame["n"].sum(), sync=True)
        assert total == sum(range(1000, HOT))

    def test_a_compacted_and_aborted_log_is_what_a_read_gives(
        self, lab: kl.Lab, kafka: ApacheKafka, dask: Client
    ) -> None:
        log = gaps(kafka)
        found = dask.compute(lab.to_dask(log.topic, chunk_records=5, headers=True, dtype_backend="pyarrow"), sync=True)
        assert rows(found) == log.visible("read_committed")

    def test_two_frames_of_the_same_are_the_same(self, lab: kl.Lab, hot: Log) -> None:
        names = [lab.to_dask(hot.topic, chunk_records=size, value="json")._name for size in (100, 100, 200)]
        assert names[0] == names[1] != names[2]

    def test_secrets_are_in_no_repr_key_or_log(self, dask: Client) -> None:
        with ApacheKafka(listeners=["SASL_PLAINTEXT"], users={"alice": PASSWORD}, jvm_options=QUICK) as broker:
            log = new_topic(broker.bootstrap_servers, 2)
            log.write(0, *numbered(20))
            log.write(1, Record(None, b"no json"))
            with kl.connect(
                config=broker.client_config("SASL_PLAINTEXT", user="alice", mechanism="SCRAM-SHA-256")
            ) as lab:
                frame = lab.to_dask(log.topic, chunk_records=10)
                total = frame["offset"].sum()
                assert dask.compute(total, sync=True) == 190
                failing = lab.to_dask(log.topic, value="json", schema=pa.schema([("n", pa.int64())]))
                with pytest.raises(kl.DecodeError):
                    dask.compute(failing, sync=True)
                count = lab.map_partitions(log.topic, len, executor=dask.get_executor(), reduce=int.__add__)
                assert count == 21
                graphs = [dict(one.optimize().__dask_graph__()) for one in (frame, total, failing)]
                shown = [
                    *(repr(graph) for graph in graphs),
                    *(
                        repr(task) + repr(getattr(task, name, ""))
                        for graph in graphs
                        for task in graph.values()
                        for name in ("func", "args")
                    ),
                    *(repr(one) + one.expr.tree_repr() + str(one.__dask_keys__()) for one in (frame, failing)),
                    *map(str, (dask.get_worker_logs(), dask.get_scheduler_logs())),
                ]
        assert "PartitionReader" in "".join(shown)
        assert [text for text in shown if PASSWORD in text] == []
