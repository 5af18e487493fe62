"""What one measurement has found."""

from __future__ import annotations

import html
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import pandas as pd

from kafkalab.tuning.meter import Counts, Estimate, average, between, estimate, samples, short
from kafkalab.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafkalab.group.dispatch import Ordering
    from kafkalab.settings import ConsumerSettings
    from kafkalab.tuning.advise import Advice
    from kafkalab.tuning.meter import Sample

WorkerKind: TypeAlias = Literal["thread", "process"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What was measured.

    Attributes
    ----------
    topic, partitions : str, int
        What was read, and how many partitions of it.
    settings : ConsumerSettings
        The client's.
    workers, worker_kind, ordering, buffer_depth
        How records came to the handler.
    process : str
        The handler's name.
    replay : bool
        Whether the topic was read again when it was through.
    """

    topic: str
    partitions: int
    settings: ConsumerSettings
    workers: int
    worker_kind: WorkerKind = "thread"
    ordering: Ordering = "partition"
    buffer_depth: int | None = None
    process: str = "nothing"
    replay: bool = True

    @property
    def clients(self) -> int:
        """How many clients read, each with a queue of its own."""
        return min(self.workers, self.partitions) if self.worker_kind == "process" else 1


@dataclass(frozen=True, slots=True, repr=False)
class Measurement:
    """A consumer's throughput, and what it was made of.

    Rates are medians over up to five stretches of the time, with their intervals; the other numbers are averages over
    all of it. The start-up and the warm-up are in none but ``records``.

    Attributes
    ----------
    setup : Setup
        What was measured.
    records : int
        What ``process`` has had, from the first record on, start to end.
    samples : tuple of Sample
        Half a second each, after the warm-up.
    partition_share : mapping of int to float
        Which part of the records came from each partition.
    stalls, stall_s, burst_records : int, float, float
        How often the reader waited for records for 50 ms and more; for how long each time; how many came in between.
    passes : int
        How often the topic was read from its start.
    notes : tuple of str
        What to know about these numbers.
    """

    setup: Setup
    records: int
    samples: tuple[Sample, ...]
    partition_share: dict[int, float] = field(default_factory=dict)
    stalls: int = 0
    stall_s: float = 0.0
    burst_records: float = 0.0
    passes: int = 1
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, setup: Setup, counts: Sequence[Counts], records: int, notes: tuple[str, ...] = ()) -> Measurement:
        """Return what counters say, from the first of them to the last."""
        if not counts:
            return cls(setup, records, (), notes=notes)
        first, last = counts[0], counts[-1]
        stalls = last.stalls - first.stalls
        return cls(
            setup,
            records,
            samples(counts),
            _shares(first, last),
            stalls,
            (last.stalled_s - first.stalled_s) / stalls if stalls else 0.0,
            (last.burst_records - first.burst_records) / stalls if stalls else 0.0,
            last.passes,
            notes,
        )

    @property
    def seconds(self) -> float:
        """For how long it was measured, after the warm-up."""
        return sum(sample.seconds for sample in self.samples)

    @property
    def records_rate(self) -> Estimate:
        """Records a second that ``process`` has had."""
        return estimate(self.samples, "records_rate")

    @property
    def bytes_rate(self) -> Estimate:
        """Their bytes a second, decompressed."""
        return estimate(self.samples, "bytes_rate")

    @property
    def wire_bytes_rate(self) -> Estimate:
        """Bytes a second from the network, compressed as they are there."""
        return estimate(self.samples, "wire_bytes_rate")

    @property
    def cpu(self) -> float:
        """CPU time a second of all its processes: 1.0 is one core."""
        return average(self.samples, "cpu")

    @property
    def memory_bytes(self) -> int:
        """The most resident memory of all its processes."""
        return max((sample.memory_bytes for sample in self.samples), default=0)

    @property
    def busy_share(self) -> float:
        """Share of the time that a worker was in ``process``, on average."""
        return average(self.samples, "busy") / self.setup.workers

    @property
    def queue_share(self) -> float:
        """How full the clients' queues were on average, by the limit that is nearer: 1 is full."""
        settings, clients = self.setup.settings, self.setup.clients
        by_count = average(self.samples, "queued") / settings.queued_min_messages
        by_size = average(self.samples, "queued_bytes") / (settings.queued_max_messages_kbytes * 1024)
        return max(by_count, by_size) / clients

    @property
    def core_wait_share(self) -> float:
        """Share of the time that its threads wanted a core of the machine and had none: others took them."""
        waited = average(self.samples, "core_wait")
        return waited / (waited + self.cpu) if waited else 0.0

    @property
    def advice(self) -> Advice:
        """What holds it back, and what to try next."""
        from kafkalab.tuning.advise import advise

        return advise(self)

    def average(self, name: str) -> float:
        """Return the average over time of a field of `Sample`."""
        return average(self.samples, name)

    @property
    def series(self) -> pd.DataFrame:
        """The samples as a frame, a row each, by the seconds since the first record."""
        names = list(_FIELDS)
        rows = [[getattr(sample, name) for name in names] for sample in self.samples]
        return pd.DataFrame(rows, columns=names).set_index("at")

    @property
    def partitions(self) -> pd.DataFrame:
        """The partitions as a frame: ``share`` of the records, and records a second."""
        shares = pd.Series(self.partition_share, dtype="float64")
        frame = pd.DataFrame({"share": shares, "records_rate": shares * self.records_rate.median})
        return frame.rename_axis("partition").sort_index()

    def rows(self) -> list[tuple[str, str]]:
        """Return names and values, as a person reads them."""
        average_of = self.average
        return [
            ("records/s", str(self.records_rate)),
            ("MB/s", str(_scaled(self.bytes_rate, 1e6))),
            ("MB/s on the wire", str(_scaled(self.wire_bytes_rate, 1e6))),
            ("CPU", f"{self.cpu:.2f} cores"),
            ("memory", f"{self.memory_bytes / _MIB:,.0f} MiB"),
            ("fetches", f"{average_of('fetch_rate'):.3g}/s of {_bytes(average_of('fetch_size_avg'))}"),
            ("queue", f"{average_of('queued'):,.0f} records, {_bytes(average_of('queued_bytes'))}"),
            ("waiting for a worker", f"{average_of('waiting'):,.0f} records"),
            ("lag", f"{self.samples[-1].lag if self.samples else 0:,} records"),
            ("round trip", f"{self._round_trip_ms():.3g} ms"),
            ("held back by the broker", f"{average_of('throttle_share'):.0%} of the time"),
            ("waited for the broker", f"{average_of('broker_share'):.0%} of the time"),
            ("waited for the application", f"{average_of('application_share'):.0%} of the time"),
            ("workers busy", f"{self.busy_share:.0%} of the time"),
            ("interpreter taken", f"{average_of('interpreter_share'):.0%} of the time"),
            ("had no core", f"{self.core_wait_share:.0%} of the time they wanted one"),
        ]

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        lines = [self._title(), *(f"  {name:<{width}}  {value}" for name, value in self.rows()), f"  {self.advice}"]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{html.escape(a)}</th><td>{html.escape(b)}</td></tr>" for a, b in self.rows())
        said = "".join(f"<p>{html.escape(text)}</p>" for text in (self.advice.text, *self.notes))
        return f"<p>{html.escape(self._title())}</p><table>{rows}</table>{said}"

    def _round_trip_ms(self) -> float:
        # Where nothing comes for a moment, an answer takes as long as the broker may wait for records.
        return statistics.median([sample.rtt_ms for sample in self.samples if sample.rtt_ms] or [0.0])

    def _title(self) -> str:
        setup = self.setup
        kind = "processes" if setup.worker_kind == "process" else "workers"
        changed = ", ".join(f"{name}={value}" for name, value in setup.settings.changed.items()) or "default settings"
        return (
            f"{setup.topic}: {short(self.records_rate.median)} records/s over {self.seconds:.1f} s · "
            f"{setup.workers} {kind} · process {setup.process} · {changed}"
        )


_FIELDS = between(Counts(at=0.0), Counts(at=1.0)).__dataclass_fields__


def _shares(first: Counts, last: Counts) -> dict[int, float]:
    none = dict.fromkeys(last.partitions, 0)
    before = none | {number: part.records for number, part in first.partitions.items()}
    came = {number: max(part.records - before[number], 0) for number, part in last.partitions.items()}
    total = sum(came.values())
    return {number: count / total if total else 0.0 for number, count in sorted(came.items())}


def _scaled(value: Estimate, by: float) -> Estimate:
    return Estimate(value.median / by, value.low / by, value.high / by, value.confidence)


def _bytes(number: float) -> str:
    step = 1 << 20 if number >= 10 * _MIB else 1 << 10
    return format_quantity(round(number / step) * step, "bytes")
