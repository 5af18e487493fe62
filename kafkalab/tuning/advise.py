"""What holds a consumer back, and what to try next: said from what was measured, and nothing else. Pure."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from kafkalab.tuning.meter import short
from kafkalab.tuning.search import MOST_WORKERS
from kafkalab.units import format_named, format_quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.tuning.measurement import Measurement

Bottleneck: TypeAlias = Literal[
    "application",
    "back-off sawtooth",
    "broker quota",
    "fetch",
    "fetch size",
    "hot partition",
    "interpreter",
    "network latency",
    "queue memory",
    "quiet topic",
    "reader",
    "too few partitions",
]

_THROTTLED = 0.05
_STARVED = 0.3  # of the time without a record to hand out: the broker's side is what counts
_MOSTLY = 0.5
_QUIET = 0.5
_CAUGHT_UP_S = 0.5
_FULL = 0.8  # of a limit, since a client looks at it only between two answers
_SMALL_FETCH_BYTES = 128 << 10
_FAR_MS = 5.0
_TAKEN = 0.35
_WAITING = 0.6
_IDLE = 0.5
_AT_LEISURE = 0.25
_BUSY = 0.7
_HOT = 0.5
_MIB = 1 << 20
_BACKOFF_MS = 1
_GROWTH = 8


@dataclass(frozen=True, slots=True)
class Change:
    """A knob to turn: a field of `ConsumerSettings`, ``workers``, ``worker_kind`` or ``ordering``.

    Examples
    --------
    >>> print(Change("workers", 4, 8))
    workers 4 -> 8
    """

    name: str
    before: int | str
    after: int | str

    def __str__(self) -> str:
        return f"{self.name} {format_named(self.name, self.before)} -> {format_named(self.name, self.after)}"


@dataclass(frozen=True, slots=True, repr=False)
class Advice:
    """A bottleneck, how that is known, and what to try.

    Attributes
    ----------
    bottleneck : str
        ``"application"``, ``"back-off sawtooth"``, ``"broker quota"``, ``"fetch"``, ``"fetch size"``,
        ``"hot partition"``, ``"interpreter"``, ``"network latency"``, ``"queue memory"``, ``"quiet topic"``,
        ``"reader"`` or ``"too few partitions"``.
    meaning : str
        What that is, in a sentence.
    evidence : tuple of str
        The numbers that say so.
    change : Change or None
        The next knob to turn; None where none of the consumer's would help.
    otherwise : str
        What else there is to do.
    """

    bottleneck: Bottleneck
    meaning: str
    evidence: tuple[str, ...]
    change: Change | None = None
    otherwise: str = ""

    @property
    def text(self) -> str:
        """All of it, in sentences."""
        tried = f"Try {self.change}." if self.change else ""
        seen = "; ".join(self.evidence)
        said = (f"Bottleneck: {self.meaning}.", f"{seen[:1].upper()}{seen[1:]}.", tried, self.otherwise)
        return " ".join(part for part in said if part)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.text)}</p>"


def advise(measurement: Measurement) -> Advice:
    """Name what holds a consumer back.

    The broker's side is looked at first where the reader is short of records, else the application's; on each side what
    explains the others comes before them.

    Parameters
    ----------
    measurement : Measurement
        What was measured.

    Returns
    -------
    Advice
        The first that fits; there always is one.
    """
    m = measurement
    ours = (_reader, _interpreter, _partitions, _hot)
    sides = (_sawtooth, _queue_memory, _fetch_size, _latency, _fetch) if _is_starved(m) else ours
    rules: tuple[Callable[[Measurement], Advice | None], ...] = (_quiet, _quota, *sides)
    return next((found for rule in rules if (found := rule(m))), None) or _application(m)


def _is_starved(m: Measurement) -> bool:
    waited = m.average("broker_share")
    # A queue that is full lets nobody wait for long; a sawtooth's may be so at each look, and empty in between.
    dry = waited >= _MOSTLY or _ran_dry(m) or m.queue_share < _FULL
    return dry and waited >= max(_STARVED, m.average("application_share"))


def _quiet(m: Measurement) -> Advice | None:
    if not m.samples or not m.average("records_rate"):
        if m.average("throttle_share") >= _THROTTLED:
            return None
        return Advice(
            "quiet topic",
            "the topic is quiet",
            (f"no record came in {m.seconds:.1f} s",),
            otherwise="There is nothing to tune by: measure while it is written to, or from an earlier start.",
        )
    lag = m.average("lag")
    waited = m.average("broker_share")
    if m.setup.replay and m.passes > 1:
        return None
    if waited >= _QUIET and lag <= m.records_rate.median * _CAUGHT_UP_S:
        return Advice(
            "quiet topic",
            "the topic is quiet: the consumer has caught up with its producers",
            (f"it waited for records {waited:.0%} of the time", f"it is {short(lag)} records behind the end"),
            otherwise="It could do more than this: measure from start='earliest' to see how much.",
        )
    return None


def _quota(m: Measurement) -> Advice | None:
    if (held := m.average("throttle_share")) < _THROTTLED:
        return None
    return Advice(
        "broker quota",
        "a quota of the broker",
        (f"brokers held the client back for {held:.0%} of the time", _wire(m)),
        otherwise="No setting of the consumer helps: have its consumer_byte_rate raised, or write with better "
        "compression.",
    )


def _sawtooth(m: Measurement) -> Advice | None:
    settings = m.setup.settings
    by_count, by_size = _filled(m)
    if by_count < max(_FULL, by_size) or settings.fetch_queue_backoff_ms <= _BACKOFF_MS:
        return None
    return Advice(
        "back-off sawtooth",
        "fetching pauses when the queue is full, and the queue is empty before it goes on",
        (*_stalls(m), f"fetch_queue_backoff_ms is {settings.fetch_queue_backoff_ms:,}"),
        Change("fetch_queue_backoff_ms", settings.fetch_queue_backoff_ms, _BACKOFF_MS),
    )


def _queue_memory(m: Measurement) -> Advice | None:
    settings = m.setup.settings
    by_count, by_size = _filled(m)
    if by_size < max(_FULL, by_count):
        return None
    limit = settings.queued_max_messages_kbytes
    return Advice(
        "queue memory",
        "the queue is full by its size in memory, and empty before fetching goes on",
        (*_stalls(m), f"a record takes {short(_record_bytes(m))} bytes, and the queue {format_quantity(limit, 'KiB')}"),
        _more(m, "queued_max_messages_kbytes", limit * _GROWTH),
        "A shorter fetch_queue_backoff_ms helps too." if settings.fetch_queue_backoff_ms > _BACKOFF_MS else "",
    )


def _fetch_size(m: Measurement) -> Advice | None:
    settings, size = m.setup.settings, m.average("fetch_size_avg")
    small = settings.max_partition_fetch_bytes
    if size >= _SMALL_FETCH_BYTES or small >= _MIB:
        return None
    return Advice(
        "fetch size",
        "answers of the broker are small",
        (*_starved(m), f"an answer brings {_fetched(m)}, {m.average('fetch_rate'):.0f} times a second"),
        _larger_fetches(m, max(small * _GROWTH, _MIB)),
    )


def _latency(m: Measurement) -> Advice | None:
    way = m.samples[-1].nearest_ms
    if way < _FAR_MS:  # larger answers take longer: it is the shortest of all that tells how far the broker is
        return None
    change = _larger_fetches(m, m.setup.settings.max_partition_fetch_bytes * _GROWTH) or _processes(m)
    return Advice(
        "network latency",
        "the way to the broker and back",
        (*_starved(m), f"no answer takes less than {way:.1f} ms, and one brings {_fetched(m)}"),
        change,
        "A client has one fetch under way with each broker: larger ones, or more clients, fill the line.",
    )


def _fetch(m: Measurement) -> Advice:
    return Advice(
        "fetch",
        "the broker, or the line to it",
        (*_starved(m), _wire(m)),
        _processes(m),
        "Else look at the broker's disks and network: answers are large, near and not held back.",
    )


def _interpreter(m: Measurement) -> Advice | None:
    taken = m.average("interpreter_share")
    if m.setup.worker_kind == "process" or taken < _TAKEN:
        return None
    return Advice(
        "interpreter",
        "the interpreter, which runs Python in one thread at a time (its GIL)",
        (
            f"a thread that asked for the interpreter had to wait {taken:.0%} of the times",
            f"all threads together used {m.cpu:.2f} cores",
        ),
        _processes(m),
        "With several workers, that is. " * (m.setup.workers == 1)
        + "More threads would not help; fewer Python instructions a record would.",
    )


def _partitions(m: Measurement) -> Advice | None:
    setup, busy = m.setup, m.average("busy")
    if setup.ordering != "partition" or setup.workers <= setup.partitions or busy < _BUSY * setup.partitions:
        return None
    return Advice(
        "too few partitions",
        "too few partitions for the workers",
        (
            f"of {setup.workers} workers {busy:.1f} were busy",
            f"the topic has {setup.partitions} partition{'s' * (setup.partitions > 1)}, and each keeps its order",
        ),
        None if setup.worker_kind == "process" else Change("ordering", "partition", "key"),
        "More partitions would help too.",
    )


def _hot(m: Measurement) -> Advice | None:
    setup, shares = m.setup, sorted(m.partition_share.items(), key=lambda item: item[1])
    if setup.ordering == "unordered" or setup.workers == 1 or len(shares) < 2:  # noqa: PLR2004 - one is no hotter than others
        return None
    (number, share), busy = shares[-1], m.average("busy")
    # Where all workers are busy, it is they who are few; and two partitions share alike by chance.
    if share < max(_HOT, min(2 / len(shares), _FULL)) or busy > min(1 / share + 0.5, _BUSY * setup.workers):
        return None
    return Advice(
        "hot partition",
        f"partition {number} has most of the records",
        (
            f"{share:.0%} of the records are in partition {number}, one of {len(shares)}",
            f"of {setup.workers} workers {busy:.1f} were busy",
        ),
        Change("ordering", "partition", "key") if setup.ordering == "partition" else None,
        "Keys that are spread more evenly help everyone who reads the topic.",
    )


def _reader(m: Measurement) -> Advice | None:
    setup, waited = m.setup, m.average("broker_share") + m.average("application_share")
    usable = min(setup.workers, setup.partitions) if setup.ordering == "partition" else setup.workers
    # Workers that keep the interpreter hold the reader up: it is slow of itself where they have next to nothing to do.
    most = _AT_LEISURE if m.average("interpreter_share") >= _TAKEN else _IDLE
    if waited > _WAITING or m.average("busy") > most * usable:
        return None
    return Advice(
        "reader",
        "the one thread that takes records from the client and hands them to the workers",
        (
            f"it waited only {waited:.0%} of the time, for the broker or for workers",
            f"of {setup.workers} workers {m.average('busy'):.1f} were busy",
        ),
        None if m.core_wait_share > _MOSTLY else _processes(m),
        f"Its threads had no core for {m.core_wait_share:.0%} of the time they wanted one: measure beside less."
        if m.core_wait_share > _MOSTLY
        else "More partitions would let several processes read." * (setup.partitions == 1),
    )


def _application(m: Measurement) -> Advice:
    setup = m.setup
    evidence = (
        f"workers were in process {m.busy_share:.0%} of the time",
        f"the reader waited for them {m.average('application_share'):.0%} of the time",
        f"and for the broker {m.average('broker_share'):.0%}",
    )
    more = min(2 * setup.workers, MOST_WORKERS)
    if setup.ordering == "partition":
        more = min(more, setup.partitions)
    change = Change("workers", setup.workers, more) if more > setup.workers else None
    if change is None and setup.worker_kind == "thread" and setup.ordering == "partition":
        change = Change("ordering", "partition", "key")
    if setup.ordering == "key" and m.busy_share < _IDLE:
        spread = "A few keys seem to have most of the records, and each keeps its order."
        return Advice("application", "the application", evidence, Change("ordering", "key", "unordered"), spread)
    return Advice(
        "application",
        "the application",
        evidence,
        change,
        "Or make process faster." if change else "Make process faster.",
    )


def _more(m: Measurement, name: str, wanted: int) -> Change | None:
    """Return a change of a setting to what it can be at most, up to what is wanted; none where it is that already."""
    settings = m.setup.settings
    before, after = getattr(settings, name), settings.nearest(name, wanted)[0]
    return Change(name, before, after) if after > before else None


def _larger_fetches(m: Measurement, wanted: int) -> Change | None:
    """Return a change for larger answers; where the size of all bounds that of a partition, of that first."""
    return _more(m, "max_partition_fetch_bytes", wanted) or _more(m, "fetch_max_bytes", wanted)


def _processes(m: Measurement) -> Change | None:
    more = m.setup.worker_kind == "thread" and m.setup.partitions > 1
    return Change("worker_kind", "thread", "process") if more else None


def _record_bytes(m: Measurement) -> float:
    rate = m.average("records_rate")
    return m.average("bytes_rate") / rate if rate else 0.0


def _filled(m: Measurement) -> tuple[float, float]:
    """Return what came between two waits as a share of the queue's limits, by count and by size; no waits, nothing."""
    settings, burst = m.setup.settings, m.burst_records / m.setup.clients if _ran_dry(m) else 0.0
    by_size = burst * _record_bytes(m) / (settings.queued_max_messages_kbytes * 1024)
    return burst / settings.queued_min_messages, by_size


def _ran_dry(m: Measurement) -> bool:
    """Whether long waits, each after many records, are most of what it waited for the broker."""
    return m.stalls * m.stall_s > _MOSTLY * m.average("broker_share") * m.seconds


def _stalls(m: Measurement) -> tuple[str, ...]:
    return (
        f"{m.stalls} times the reader ran dry, for {m.stall_s:.2g} s each",
        f"after {short(m.burst_records)} records in one go",
    )


def _starved(m: Measurement) -> tuple[str, ...]:
    return (f"the reader waited for records {m.average('broker_share'):.0%} of the time",)


def _fetched(m: Measurement) -> str:
    return f"{short(m.average('fetch_size_avg'))} bytes"


def _wire(m: Measurement) -> str:
    return f"{short(m.average('wire_bytes_rate'))} bytes a second came from the network"
