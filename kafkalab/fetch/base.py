"""The seam between plans and engines: offset ranges in, Arrow batches of one partition out."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import pyarrow as pa

from kafkalab import _native
from kafkalab.model import IsolationLevel

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from kafkalab.model import FetchStats, OffsetRange, StopReason
    from kafkalab.plan import OnDataLoss

HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
TIMESTAMP = pa.timestamp("ms", "UTC")
_NO_ENDS = bytes(4)  # an empty array may have no buffer
TIMESTAMP_TYPES = ("none", "create_time", "log_append_time")
_FIELDS = (
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("timestamp", TIMESTAMP),
    pa.field("timestamp_type", pa.int8(), nullable=False),
    pa.field("key", pa.binary()),
    pa.field("value", pa.binary()),
)


def record_schema(*, headers: bool) -> pa.Schema:
    """Return the columns that every engine yields.

    ``timestamp_type`` counts into `TIMESTAMP_TYPES`; a record without a time has a null ``timestamp``.
    """
    return pa.schema([*_FIELDS, pa.field("headers", HEADERS)] if headers else _FIELDS)


def payload_bytes(arrow_batch: pa.RecordBatch) -> int:
    """Return the bytes of the keys and values of records, a null being empty."""
    return sum(_bytes_in(arrow_batch[name]) for name in ("key", "value"))


def _bytes_in(values: pa.BinaryArray) -> int:
    # Not by pyarrow.compute: each of its functions lets go of the interpreter, which a busy thread then keeps for 5 ms.
    ends = np.frombuffer(values.buffers()[1] or _NO_ENDS, np.int32, len(values) + 1, 4 * values.offset)
    return int(ends[-1] - ends[0])


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to fetch.

    Attributes
    ----------
    isolation_level : IsolationLevel
        Which records of transactions are visible.
    headers : bool
        Whether the ``headers`` column is built.
    on_data_loss : {"raise", "warn"}
        Whether to go on after a gap that retention has cut; the gap is then in `Fetched.lost`.
    follow : bool
        Whether to wait for records that are not written yet, where the end has not been reached.
    """

    isolation_level: IsolationLevel = IsolationLevel.READ_COMMITTED
    headers: bool = False
    on_data_loss: OnDataLoss = "raise"
    follow: bool = False


class Stop(threading.Event):
    """An event whose ``flag`` ends the waits of native code too.

    Whoever shares a stop and sets it ends everything that has it. Work that has to end its own threads, and nothing
    else, takes a stop of its own from `below`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flag = _native.StopFlag()
        self._below: list[Stop] = []

    def set(self) -> None:
        """Stop, for good."""
        self.flag.set()
        super().set()
        for stop in tuple(self._below):
            stop.set()

    @contextmanager
    def below(self) -> Iterator[Stop]:
        """Lend a stop that is set with this one, and can be set alone."""
        stop = Stop()
        self._below.append(stop)
        if self.is_set():  # it may have been before anybody saw the new one
            stop.set()
        try:
            yield stop
        finally:
            self._below.remove(stop)


@dataclass(slots=True)
class FetchControl:
    """How the reader of a fetch and the fetch speak to each other while it runs, from any thread.

    Attributes
    ----------
    stop : Stop
        Set to end the fetch.
    finished : set of OffsetRange
        Ranges that nobody wants more of.
    ends : dict of OffsetRange to int
        Up to where the log of a range's partition could be read, when its broker last answered.
    """

    stop: Stop = field(default_factory=Stop)
    finished: set[OffsetRange] = field(default_factory=set)
    ends: dict[OffsetRange, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A step of a fetch: some visible records of one offset range, in offset order.

    Attributes
    ----------
    offset_range : OffsetRange
        The range of the plan that they belong to.
    arrow_batch : pyarrow.RecordBatch
        Of `record_schema`; it may have no rows.
    next_offset : int
        Everything of the range below it has been yielded.
    stop : StopReason or None
        Set on the last step of the range.
    lost : OffsetRange or None
        Offsets that retention has removed since the plan was made.
    """

    offset_range: OffsetRange
    arrow_batch: pa.RecordBatch
    next_offset: int
    stop: StopReason | None = None
    lost: OffsetRange | None = None

    @classmethod
    def without_rows(
        cls,
        offset_range: OffsetRange,
        next_offset: int,
        options: FetchOptions,
        stop: StopReason | None,
        lost: OffsetRange | None = None,
    ) -> Self:
        """Return a step that only says how far the fetch is."""
        empty = pa.RecordBatch.from_pylist([], record_schema(headers=options.headers))
        return cls(offset_range, empty, next_offset, stop, lost)


class Fetcher(Protocol):
    """An engine."""

    @property
    def name(self) -> str:
        """What ``engine=`` calls it."""
        ...

    @property
    def stats(self) -> FetchStats:
        """What it has fetched so far."""
        ...

    def fetch(self, ranges: Sequence[OffsetRange], options: FetchOptions, control: FetchControl) -> Generator[Fetched]:
        """Yield every visible record of the ranges exactly once, each range in offset order.

        Ranges mix as they come. A range that is in ``control.finished`` is dropped without a last step; when
        ``control.stop`` is set the iterator ends within 200 ms.
        """
        ...

    def probe(
        self,
        topic: str,
        draws: Mapping[int, NDArray[np.int64]],
        options: FetchOptions,
        control: FetchControl,
    ) -> Generator[Fetched]:
        """Yield the visible records among the drawn offsets, by partition, reading as little else as the engine can.

        Each partition's draws are sorted and distinct. `Fetched.next_offset` says up to where they are settled; the
        last step of each partition has a ``stop``.
        """
        ...
