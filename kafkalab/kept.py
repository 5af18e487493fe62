"""The newest rows of a stream, and those of them that pass a condition: bounded, and all others counted."""

from __future__ import annotations

from collections import deque
from copy import copy, deepcopy
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from kafkalab.errors import ArgumentError, did_you_mean
from kafkalab.matching import Findings
from kafkalab.typed_columns import is_own

if TYPE_CHECKING:
    from kafkalab.filtering import Filter

# Batches with fewer rows than this are joined: a table of a thousand batches is slow to make.
_SMALL = 64


class Newest:
    """The newest rows, up to a number of them.

    Parameters
    ----------
    most : int
        How many are kept.
    dropped : int
        How many had been dropped before.
    """

    def __init__(self, most: int, dropped: int = 0) -> None:
        self.most = most
        self.dropped = dropped
        self.rows = 0
        self.batches: deque[pa.RecordBatch] = deque()

    def add(self, rows: pa.RecordBatch) -> None:
        """Take rows in, and drop the oldest of those that are too many."""
        last = self.batches[-1] if self.batches else None
        self.rows += rows.num_rows
        if last is not None and last.num_rows + rows.num_rows <= _SMALL and last.schema.equals(rows.schema):
            rows = pa.concat_batches([self.batches.pop(), rows])
        self.batches.append(rows)
        while self.rows > self.most:
            self._drop(self.rows - self.most)

    def _drop(self, surplus: int) -> None:
        oldest = self.batches.popleft()
        dropped = min(surplus, oldest.num_rows)
        if dropped < oldest.num_rows:
            # A copy of the rest: a slice would keep all of it in memory.
            self.batches.appendleft(oldest.take(pa.array(np.arange(dropped, oldest.num_rows))))
        self.dropped += dropped
        self.rows -= dropped

    def copy(self) -> Self:
        """Return these rows as they are."""
        copied = copy(self)
        copied.batches = self.batches.copy()
        return copied

    def last(self, count: int | None = None) -> list[pa.RecordBatch]:
        """Return the batches that hold the newest rows, so many of them or all."""
        if count is None:
            return list(self.batches)
        found: deque[pa.RecordBatch] = deque()
        for rows in reversed(self.batches):
            if count <= 0:
                break
            found.appendleft(rows.slice(max(rows.num_rows - count, 0)))
            count -= rows.num_rows
        return list(found)


class View:
    """What is seen of a stream: its newest rows, or the newest of those that pass a condition.

    The others of the newest rows are kept too, so that another condition loses nothing.

    Attributes
    ----------
    seen : int
        How many rows the stream has had.
    shown : Newest
        The rows in view.
    failed : str, optional
        Why the condition could not be tried on some rows, which are therefore not in view.
    """

    def __init__(self, most: int) -> None:
        self.seen = 0
        self.failed: str | None = None
        self._all = self.shown = Newest(most)
        self._where: Filter | None = None
        self._findings = Findings()

    @property
    def hidden(self) -> int:
        """How many rows did not pass."""
        return self.seen - self.shown.rows - self.shown.dropped

    def add(self, rows: pa.RecordBatch) -> None:
        """Take in what the stream brings."""
        self.seen += rows.num_rows
        self._all.add(rows)
        if self._where is not None:
            try:
                passing = self._where.apply(rows, self._findings)
            except ArgumentError as error:
                self.failed = str(error)
            else:
                self._show(passing)
                self.failed = self._findings.problem

    def choose(self, where: Filter | None) -> None:
        """Show only rows that pass.

        Raises
        ------
        ArgumentError
            The condition names what no row has, or does not fit the columns; what is in view stays.
        """
        findings = Findings()
        if where is None:
            shown = self._all
        else:
            shown = Newest(self._all.most, self._all.dropped)
            for rows in self._all.batches:
                shown.add(where.apply(rows, findings))
            self._check(findings)
        self.shown, self._where, self._findings, self.failed = shown, where, findings, None

    def copy(self) -> Self:
        """Return the view as it is, for it to stay."""
        copied = copy(self)
        everything = self._all.copy()
        copied._all = everything  # noqa: SLF001 - its own class - the copy is one of these
        copied._findings = deepcopy(self._findings)  # noqa: SLF001 - its own class
        copied.shown = everything if self.shown is self._all else self.shown.copy()
        return copied

    def _show(self, rows: pa.RecordBatch) -> None:
        if rows.num_rows:
            self.shown.add(rows)

    def _check(self, findings: Findings) -> None:
        known = dict.fromkeys(name for rows in self._all.batches for name in rows.schema.names if not is_own(name))
        for name in sorted(findings.missing - findings.found):
            raise ArgumentError(f"no row here has a column {name!r}: {did_you_mean(name, list(known))}")
        if findings.problem is not None:
            raise ArgumentError(findings.problem)
