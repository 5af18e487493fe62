"""The processes of one run, seen from the notebook: started, listened to, and never left behind."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, Self

from kafkalab.errors import KafkalabError
from kafkalab.forks import close_in_forked_children
from kafkalab.pickling import check_travels, dumps
from kafkalab.tuning.meter import Counts, together
from kafkalab.tuning.pipe import receive, send

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kafkalab.tuning.pipe import Job

_SLICE_S = 0.2  # so that Ctrl-C comes through
_END_S = 0.5  # it has nothing to lose
# An interrupt is the notebook's to handle, which stops its children itself: neither that of a terminal, which goes to
# a session, nor that of VS Code, which goes to each process below the kernel, ends one, or prints what it was about.
_CHILD = """\
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from kafkalab.tuning.child import main
main()"""


class Children:
    """Consumers in processes of their own, which share a topic's partitions.

    Parameters
    ----------
    jobs : sequence of Job
        One each.

    Raises
    ------
    ArgumentError
        The handler cannot be sent to another process.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            check_travels(job.process, otherwise="")
        payloads = [dumps(job) for job in jobs]
        self._heard: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.warnings: list[KafkalabError] = []
        self.final: Counts | None = None
        # Its listeners hold the processes' output only: children that nobody can reach any more are ended too.
        weakref.finalize(self, _end, self._processes)
        try:
            for payload in payloads:
                self._start(payload)
        except BaseException:
            self.kill()
            raise

    def _start(self, payload: bytes) -> None:
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109 - what "" stands for
        process = subprocess.Popen(  # noqa: S603 - this Python, and a program written here
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )
        number = len(self._processes)
        self._processes.append(process)
        close_in_forked_children(process)
        heard = (number, process.stdout, self._heard)
        threading.Thread(target=_listen, args=heard, name="kafkalab-child", daemon=True).start()
        self._send(process, payload)

    def counts(self, seconds: float) -> Iterator[Counts | None]:
        """Yield the counters of all together as they come, None in between, until all have ended.

        Raises
        ------
        KafkalabError
            What ended one of them.
        TimeoutError
            They are not done in so many seconds.
        """
        heard: list[list[Counts]] = [[] for _ in self._processes]
        done: dict[int, Counts] = {}
        deadline = time.monotonic() + seconds
        while len(done) < len(self._processes):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the consumer has not ended within {seconds:g} s")
            try:
                number, kind, what = self._heard.get(timeout=_SLICE_S)
            except queue.Empty:
                yield None
                continue
            if kind == "counts":
                heard[number].append(what)
                if all(heard):
                    yield together([each.pop(0) for each in heard])
            elif kind == "done":
                done[number] = what
            elif kind == "warning":
                self.warnings.append(what)
            elif kind == "end":
                code = self._processes[number].wait()
                raise KafkalabError(f"the consumer's process ended with code {code}; see its standard error for more")
            else:
                raise what
        self.final = together([done[number] for number in sorted(done)])

    def set_workers(self, workers: int) -> None:
        """Have so many threads in each."""
        self._send_all(workers)

    def stop(self) -> None:
        """Ask them to end with the record at hand, and to tell their last counts."""
        self._send_all(None)

    def kill(self) -> None:
        """End them, however they are."""
        _end(self._processes)

    def _send_all(self, command: int | None) -> None:
        for process in self._processes:
            self._send(process, pickle.dumps(command))

    @staticmethod
    def _send(process: subprocess.Popen[bytes], data: bytes) -> None:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        try:
            send(process.stdin, data)
        except OSError:
            return  # it has ended, and its listener tells

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.kill()
        finally:  # Ctrl-C may have come in the midst of it
            self.kill()


def _listen(number: int, stream: IO[bytes], heard: queue.SimpleQueue[tuple[int, str, Any]]) -> None:
    kind = ""
    with stream:
        try:
            while True:
                kind, what = receive(stream)
                heard.put((number, kind, what))
        except (EOFError, ValueError):
            pass
    if kind not in ("done", "failure"):
        heard.put((number, "end", None))


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()  # which they take for the end
    for process in processes:
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def split(job: Job, processes: int) -> list[Job]:
    """Return jobs of one worker each, among which the partitions are dealt; no more than there are partitions."""
    parts = sorted(job.starts)
    hands = [parts[number::processes] for number in range(min(processes, len(parts)))]
    return [replace(job, workers=1, starts={part: job.starts[part] for part in hand}) for hand in hands]
