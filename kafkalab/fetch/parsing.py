"""The steps of a fetch's answer, and what is wrong with its batches told as kafkalab's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkalab import _native
from kafkalab.errors import CorruptDataError, UnsupportedError
from kafkalab.model import IsolationLevel
from kafkalab.net.requests import LARGEST_BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafkalab.errors import KafkalabError
    from kafkalab.fetch.base import FetchOptions


def parsed(
    response: _native.FetchResponse,
    wanted: dict[tuple[str, int], tuple[int, int, _native.Transactions]],
    options: FetchOptions,
) -> Iterator[_native.Step]:
    """Yield the steps of an answer, its faults told as kafkalab's errors.

    Raises
    ------
    CorruptDataError, UnsupportedError
        A batch is damaged, or too large.
    """
    committed = options.isolation_level == IsolationLevel.READ_COMMITTED
    try:
        while (
            step := response.next_step(
                wanted, read_committed=committed, headers=options.headers, max_batch_bytes=LARGEST_BATCH_BYTES
            )
        ) is not None:
            yield step
    except _native.CorruptBatchError as error:
        raise _placed(CorruptDataError, error, "") from error
    except _native.UnsupportedMagicError as error:
        raise _placed(UnsupportedError, error, "") from error
    except _native.BatchTooLargeError as error:
        raise _placed(UnsupportedError, error, ": engine='librdkafka' reads it, in as much memory") from error
    except _native.MalformedResponseError as error:
        raise CorruptDataError(str(error)) from error


def _placed(
    kind: type[KafkalabError],
    error: _native.CorruptBatchError | _native.UnsupportedMagicError | _native.BatchTooLargeError,
    advice: str,
) -> KafkalabError:
    return kind(f"{error}{advice}", topic=error.topic, partition=error.partition, offset=error.base_offset)
