"""A function mapped over partitions, each read where it is worked on."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pandas as pd

from kafkalab.errors import ArgumentError, MapError
from kafkalab.fetch.base import Stop
from kafkalab.frame import concat

if TYPE_CHECKING:
    from kafkalab.model import OffsetRange

Executor: TypeAlias = Literal["thread", "sync"]
Task: TypeAlias = Callable[["OffsetRange", Stop], Any]


def run_all(task: Task, ranges: list[OffsetRange], workers: int, executor: str) -> dict[OffsetRange, Any]:
    """Return what a task gives for each range; the event that a task gets tells it to stop.

    Raises
    ------
    MapError
        From the first failure in the order of the ranges; what the others gave is in its ``results``.
    """
    stop = Stop()
    if executor == "sync":
        return _gather({part: _done(task, part, stop) for part in ranges})
    if workers < 1:
        message = f"workers is a number from 1 on, not {workers}"
        raise ArgumentError(message)
    if executor != "thread":
        message = f"executor is 'thread' or 'sync', not {executor!r}"
        raise ArgumentError(message)
    with concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="kafkalab-map") as pool:
        try:
            futures = {part: pool.submit(task, part, stop) for part in ranges}
            concurrent.futures.wait(futures.values())
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _gather(futures)


def _done(task: Task, part: OffsetRange, stop: Stop) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    try:
        future.set_result(task(part, stop))
    except Exception as error:  # noqa: BLE001 - gathered with the others'
        future.set_exception(error)
    return future


def _gather(futures: dict[OffsetRange, concurrent.futures.Future[Any]]) -> dict[OffsetRange, Any]:
    failures = {part: future.exception() for part, future in futures.items() if future.exception() is not None}
    results = {part: future.result() for part, future in futures.items() if part not in failures}
    if failures:
        part, first = next(iter(failures.items()))
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        message = f"the function failed{more}: {first!r}; finished parts are in the error's results"
        error = MapError(message, topic=part.topic, partition=part.partition, offset=part.start)
        error.results, error.errors = list(results.values()), [e for e in failures.values() if e is not None]
        raise error from first
    return results


def combine(results: dict[OffsetRange, Any]) -> Any:
    """Return frames joined, Series and scalars as a frame by partition, anything else as a list."""
    values = list(results.values())
    if values and all(isinstance(value, pd.DataFrame) for value in values):
        return concat(values) if all("kafkalab" in value.attrs for value in values) else pd.concat(values)
    if values and all(isinstance(value, pd.Series) or pd.api.types.is_scalar(value) for value in values):
        index = pd.Index([part.partition for part in results], name="partition")
        rows = [value if isinstance(value, pd.Series) else pd.Series({"result": value}) for value in values]
        return pd.DataFrame([row.to_dict() for row in rows], index=index)
    return values
