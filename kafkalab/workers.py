"""Where functions run: in threads, in processes, in an executor of somebody else's, or right here."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kafkalab.errors import ArgumentError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ExecutorName: TypeAlias = Literal["thread", "process", "sync"]

_IDLE_S = 60
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Workers:
    """An executor, and how many calls it is to be handed at a time.

    An executor of ours gets twice as many calls as it works on, so that none of its workers waits for the next.
    """

    executor: Executor
    depth: int


class Processes:
    """Worker processes, kept for the next call: starting them and importing pandas there takes a second or two.

    They are never forked, since librdkafka does not survive that. They end when they have been idle for a minute, when
    a call is interrupted, when they are closed, and when this process ends in whatever way.
    """

    def __init__(self) -> None:
        self._kept: tuple[int, Any] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def leased(self, workers: int) -> Iterator[Executor]:
        """Lend out so many processes; whoever leaves by an error leaves them to be killed."""
        pool = self._take(workers) or _start(workers)
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=True, kill_workers=True)
            raise
        self._keep(workers, pool)

    def close(self) -> None:
        """End the processes that nobody uses."""
        self._keep(0, None)

    def _take(self, workers: int) -> Any:
        with self._lock:
            size, pool = self._kept or (0, None)
            if size != workers:
                return None
            self._kept = None
            return pool

    def _keep(self, workers: int, pool: Any) -> None:
        with self._lock:
            _, old = self._kept or (0, None)
            self._kept = (workers, pool) if pool is not None else None
        if old is not None:
            old.shutdown(wait=True)


def _start(workers: int) -> Any:
    try:
        import loky
    except ImportError as error:
        message = "executor='process' needs the package loky, which is not installed: pip install \"kafkalab[process]\""
        raise UnsupportedError(message) from error
    return loky.ProcessPoolExecutor(workers, timeout=_IDLE_S, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """Prepare a worker process: Ctrl-C is its parent's business, and it does not outlive this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, name="kafkalab-watch", daemon=True).start()


def check_count(name: str, count: object) -> None:
    """Refuse what is neither None nor a number from 1 on."""
    if count is not None and (isinstance(count, bool) or not isinstance(count, Integral) or count < 1):
        raise ArgumentError(f"{name} is a number from 1 on, not {count!r}")


def goes_elsewhere(executor: str | Executor) -> bool:
    """Return whether what is called has to be pickled: only threads are known to be in this process.

    Raises
    ------
    ArgumentError
        The executor forks.
    """
    if not isinstance(executor, Executor):
        return executor == "process"
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise ArgumentError(
            "this executor forks, which a Kafka client does not survive: "
            "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn')), or executor='process'"
        )
    return not isinstance(executor, ThreadPoolExecutor)


@contextmanager
def opened(executor: str | Executor, workers: int | None, processes: Processes) -> Iterator[Workers]:
    """Open what was asked for, and close it if it is ours.

    Raises
    ------
    ArgumentError
        There is no such executor.
    """
    count = int(workers or _cores())
    if isinstance(executor, Executor):
        yield Workers(executor, int(workers or 2 * _size(executor)))
    elif executor == "thread":
        with ThreadPoolExecutor(count, thread_name_prefix="kafkalab-map") as pool:
            yield Workers(pool, 2 * count)
    elif executor == "process":
        with processes.leased(count) as pool:
            yield Workers(pool, 2 * count)
    elif executor == "sync":
        yield Workers(_Here(), 1)
    else:
        message = f"executor is 'thread', 'process', 'sync' or a concurrent.futures.Executor, not {executor!r}"
        raise ArgumentError(message)


class _Here(Executor):
    """Calls a function when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _cores() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _size(executor: Executor) -> int:
    """Return how many workers an executor says it has; Dask's asks its cluster."""
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "nthreads"):
        return sum(client.nthreads().values()) or 1
    return getattr(executor, "_max_workers", None) or _cores()
