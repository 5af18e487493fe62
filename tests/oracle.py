"""Random logs, and a list that says what of them is visible: what the engines and verbs are checked against.

The list keeps one slot for each offset and knows nothing of batches; it shares no code with kafkalab's own visibility.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord

if TYPE_CHECKING:
    import pandas as pd

TOPIC = "orders"
PARTITIONS = 3
NEW_YEAR_MS = 1_767_225_600_000  # 2026-01-01
HOSTILE = [
    "<script>alert(1)</script>",
    "quote\" and 'quote'",
    "new\nline\r\nreturn\ttab",
    "\x1b[31mred\x1b[0m",
    "nul\x00",
    "$math$ \\(x\\) & < > |",
    "\u202eright to left",
    "\ufeffmark",
    "e\u0301\U0001f469\u200d\U0001f680",
    "a" * 10_000,
    "",
]
Row: TypeAlias = "tuple[int, int, bytes | None, bytes | None]"


@dataclass(slots=True)
class Slot:
    """One offset: a record, or none where there is a gap or a marker; and the transaction it belongs to."""

    record: MemoryRecord | None = None
    transaction: int | None = None
    aborted: bool = False


@dataclass(slots=True)
class OracleLog:
    slots: list[Slot] = field(default_factory=list)
    start: int = 0

    @property
    def end(self) -> int:
        return len(self.slots)

    @property
    def stable_end(self) -> int:
        return next((o for o in range(self.start, self.end) if self.slots[o].transaction is not None), self.end)

    def visible(self, *, committed: bool, start: int = 0, end: int | None = None) -> list[tuple[int, MemoryRecord]]:
        limit = self.stable_end if committed else self.end
        last = limit if end is None else min(end, limit)
        found = []
        for offset in range(max(start, self.start), last):
            slot = self.slots[offset]
            if slot.record is not None and not (committed and slot.aborted):
                found.append((offset, slot.record))
        return found


@dataclass(slots=True)
class World:
    """A cluster in memory, and what it holds according to the list."""

    cluster: MemoryCluster = field(default_factory=lambda: MemoryCluster({TOPIC: PARTITIONS}))
    logs: list[OracleLog] = field(default_factory=lambda: [OracleLog() for _ in range(PARTITIONS)])

    @property
    def lab(self) -> kl.Lab:
        return kl.Lab(self.cluster, self.cluster)

    def apply(self, step: Step) -> None:
        name, *arguments = step
        getattr(self, f"_{name}")(*arguments)

    def _append(self, partition: int, records: list[MemoryRecord], gap: int, transaction: int | None) -> None:
        self.cluster.append(TOPIC, *records, partition=partition, gap=gap, producer_id=transaction)
        log = self.logs[partition]
        log.slots.extend(Slot(record, transaction) for record in records)
        log.slots.extend(Slot(None, transaction) for _ in range(gap))

    def _decide(self, transaction: int, commit: bool) -> None:  # noqa: FBT001 - drawn by position
        self.cluster.end_transaction(transaction, commit=commit)
        for log in self.logs:
            mine = [slot for slot in log.slots[log.start :] if slot.transaction == transaction]
            for slot in log.slots:
                if slot.transaction == transaction:
                    slot.transaction, slot.aborted = None, not commit
            if mine:
                log.slots.append(Slot())

    def _delete(self, partition: int, share: float) -> None:
        log = self.logs[partition]
        log.start += round((log.end - log.start) * share)
        self.cluster.delete_records(TOPIC, partition, log.start)

    def _compact(self, partition: int, every: int) -> None:
        self.cluster.compact(TOPIC, partition, lambda offset, _: offset % every == 0)
        for offset, slot in enumerate(self.logs[partition].slots):
            if offset % every:
                slot.record = None

    def rows(self, *, committed: bool, ranges: dict[int, tuple[int, int]] | None = None) -> list[Row]:
        """Return the visible records by partition and offset, of everything or of a range in some partitions."""
        asked = {p: (log.start, log.end) for p, log in enumerate(self.logs)} if ranges is None else ranges
        return [
            (partition, offset, record.key, record.value)
            for partition, (start, end) in sorted(asked.items())
            for offset, record in self.logs[partition].visible(committed=committed, start=start, end=end)
        ]


Step: TypeAlias = "tuple[Any, ...]"

reads_each = settings(max_examples=max(settings().max_examples // 3, 1))
"""For a property whose every example reads a cluster through: fewer of them, whatever the profile."""

partitions = st.integers(0, PARTITIONS - 1)
records = st.builds(
    MemoryRecord,
    value=st.none() | st.binary(max_size=3),
    key=st.none() | st.binary(max_size=2),
    timestamp_ms=st.none() | st.integers(-1, 2_000_000_000_000),
    headers=st.lists(st.tuples(st.text(max_size=2), st.none() | st.binary(max_size=2)), max_size=2).map(tuple),
)
appends = st.tuples(
    st.just("append"),
    partitions,
    st.lists(records, max_size=4),
    st.integers(0, 3),
    st.none() | st.integers(1, 3),
)
steps = st.one_of(
    appends,
    appends,
    appends,
    st.tuples(st.just("decide"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("compact"), partitions, st.integers(2, 3)),
    st.tuples(st.just("delete"), partitions, st.floats(0, 1)),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Give clusters whose logs have gaps, markers, transactions in every state, nulls, and lost heads."""
    world = World()
    for step in draw(st.lists(steps, max_size=25)):
        world.apply(step)
    return world


@st.composite
def sub_ranges(draw: st.DrawFn, world: World) -> dict[int, tuple[int, int]]:
    """Give a range in some partitions of a world, whose ends may lie anywhere in the log, gaps included."""
    chosen = draw(st.sets(partitions, min_size=1))
    return {p: _two_sorted(draw, world.logs[p].start, world.logs[p].end) for p in sorted(chosen)}


def _two_sorted(draw: st.DrawFn, low: int, high: int) -> tuple[int, int]:
    first, second = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
    return first, second


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Return a frame's rows as the oracle has them."""
    columns = (frame[name].tolist() for name in ("partition", "offset", "key", "value"))
    return [(p, o, _plain(k), _plain(v)) for p, o, k, v in zip(*columns, strict=True)]


def _plain(value: Any) -> bytes | None:
    return value if isinstance(value, bytes) else None


def lab_of(*values: bytes | MemoryRecord | None, size: int = 1, topic: str = TOPIC) -> kl.Lab:
    """Return a lab on one partition that holds these values, so many a batch."""
    cluster = MemoryCluster({topic: 1})
    for start in range(0, len(values), size):
        cluster.append(topic, *values[start : start + size])
    return kl.Lab(cluster, cluster)
