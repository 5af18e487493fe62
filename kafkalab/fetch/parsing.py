"""The steps of a fetch's answer, and what is wrong with its batches told as kafkalab's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkalab import _native
from kafkalab.errors import CorruptDataError, UnsupportedError
from kafkalab.model import IsolationLevel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafkalab.fetch.base import FetchOptions


def parsed(
    response: _native.FetchResponse, wanted: dict[tuple[str, int], tuple[int, int]], options: FetchOptions
) -> Iterator[_native.Step]:
    """Yield the steps of an answer, its faults told as kafkalab's errors.

    Raises
    ------
    CorruptDataError, UnsupportedError
        A batch is damaged, too large, or of the format before v2.
    """
    committed = options.isolation_level == IsolationLevel.READ_COMMITTED
    try:
        while (step := response.next_step(wanted, read_committed=committed, headers=options.headers)) is not None:
            yield step
    except (_native.CorruptBatchError, _native.UnsupportedMagicError, _native.BatchTooLargeError) as error:
        kind = UnsupportedError if isinstance(error, _native.UnsupportedMagicError) else CorruptDataError
        raise kind(str(error), topic=error.topic, partition=error.partition, offset=error.base_offset) from error
    except _native.MalformedResponseError as error:
        raise CorruptDataError(str(error)) from error
