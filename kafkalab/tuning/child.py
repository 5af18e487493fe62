"""A process that runs one consumer and tells how it does; started by `kafkalab.tuning.children`.

A job comes on its standard input, then commands: a number of workers, or None to stop. Counters go to its standard
output, then the error or the last count. The end of its input is the end of its parent, and its own.
"""

from __future__ import annotations

import os
import pickle
import threading
import traceback
from typing import IO, TYPE_CHECKING, Any

from kafkalab.errors import HandlerError, KafkalabError
from kafkalab.group.handler import Hooks
from kafkalab.text import safe
from kafkalab.tuning.pipe import Job, receive, send
from kafkalab.tuning.reader import Reader, TimedPool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafkalab.connection import ConnectionConfig
    from kafkalab.group.record import Record
    from kafkalab.tuning.meter import Counts

_GRACE_S = 10.0  # for workers to end the record at hand, after the job's time is over


class Child:
    """One job, from its beginning to its end.

    Parameters
    ----------
    job : Job
        What to do.
    out : file
        Where to tell.
    """

    def __init__(self, job: Job, out: IO[bytes]) -> None:
        self._job = job
        self._out = out
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._hooks = Hooks(job.process, automatic=True)
        self._pool = TimedPool(job.ordering, job.workers, self._hooks, self._failed)
        self._reader = Reader(
            client_options(job.config, job.settings),
            job.topic,
            job.starts,
            self._pool,
            self._hooks,
            replay=job.replay,
            buffer_depth=job.buffer_depth,
            stop=self._stop,
            tell=lambda error: self._tell("warning", error),
            report=self._report,
        )
        self._pool.start()

    def run(self) -> None:
        """Read until told to stop, or out of time, or failed."""
        timer = threading.Timer(self._job.seconds, self._stop.set)
        timer.daemon = True
        timer.start()
        try:
            self._reader.run()
        except KafkalabError as error:
            self._failure = self._failure or error
        timer.cancel()
        if self._failure is not None:
            self._tell("failure", self._failure)
        else:
            self._tell("done", self._reader.counts())

    def obey(self, commands: IO[bytes]) -> None:
        """Do what is asked for; without anyone to ask, end at once."""
        try:
            while (workers := receive(commands)) is not None:
                self._pool.resize(workers)
            self._stop.set()
            receive(commands)
        except EOFError:
            os._exit(0)

    def _report(self, counts: Counts) -> None:
        self._tell("counts", counts)

    def _failed(self, record: Record, error: BaseException) -> bool:
        place: dict[str, Any] = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        told = HandlerError(f"process failed with {type(error).__name__}: {error}", **place)
        lines = "".join(traceback.format_exception(error)).split("\n")
        told.add_note("\n".join(map(safe, lines)))  # a record's text may be in it
        self._failure = self._failure or told
        self._stop.set()
        return False

    def _tell(self, kind: str, what: object) -> None:
        with self._lock:
            send(self._out, pickle.dumps((kind, what)))


# It joins nothing, commits nothing, and reads nothing but what it is told to.
_OWN: dict[str, Any] = {"auto.offset.reset": "error", "enable.auto.commit": False, "enable.auto.offset.store": False}


def client_options(config: ConnectionConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a client with settings to measure; what makes it change nothing wins over them."""
    return config.consumer_options(**{**settings, **_OWN})


def main() -> None:
    """Take a job and do it."""
    # What process prints goes to standard error, not in between the counters.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Without a buffer, whose lock a thread that still reads would hold against the interpreter's end.
    commands = os.fdopen(os.dup(0), "rb", buffering=0)
    try:
        job: Job = receive(commands)
        child = Child(job, out)
    except Exception as error:  # noqa: BLE001 - the parent tells
        failure = error if isinstance(error, KafkalabError) else KafkalabError(f"{type(error).__name__}: {error}")
        send(out, pickle.dumps(("failure", failure)))
        return
    threading.Thread(target=child.obey, args=(commands,), daemon=True).start()
    late = threading.Timer(job.seconds + _GRACE_S, os._exit, (1,))
    late.daemon = True
    late.start()
    child.run()
    out.close()
