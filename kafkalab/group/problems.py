"""Errors that a group has met and nobody has looked at yet: the newest of them, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafkalab.errors import KafkalabError


class Problems:
    """The newest errors, until somebody takes them.

    Parameters
    ----------
    most : int
        How many.
    most_bytes : int
        How much their records may take, all together; the newest stays whatever it takes.

    Examples
    --------
    >>> from kafkalab.errors import KafkalabError
    >>> problems = Problems(2, 1000)
    >>> for text in "abc":
    ...     problems.add(KafkalabError(text))
    >>> problems.take(), problems.take(), problems.take()
    (KafkalabError('b'), KafkalabError('c'), None)
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._errors: deque[KafkalabError] = deque()
        self._lock = threading.Lock()

    def add(self, error: KafkalabError) -> None:
        """Keep an error, and drop old ones that are too many or too large."""
        with self._lock:
            self._errors.append(error)
            self._bytes += _size(error)
            while len(self._errors) > self._most or (self._bytes > self._most_bytes and len(self._errors) > 1):
                self._drop()

    def take(self) -> KafkalabError | None:
        """Return the oldest error, and keep it no more; None where there is none."""
        with self._lock:
            return self._drop() if self._errors else None

    def __len__(self) -> int:
        return len(self._errors)

    def _drop(self) -> KafkalabError:
        error = self._errors.popleft()
        self._bytes -= _size(error)
        return error


def _size(error: KafkalabError) -> int:
    """Return how many bytes an error keeps of a record, as far as they are its key and value."""
    record = getattr(error, "record", None)
    return 0 if record is None else len(record.key or b"") + len(record.value or b"")
