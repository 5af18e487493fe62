"""Rates, from counters that only grow. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_BLOCKS = 5
_SHORTEST_BLOCK_S = 0.9
_LEAST_SAMPLE_S = 0.05


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """One partition, as the client's statistics have it.

    Attributes
    ----------
    records : int
        What ``process`` has had of it.
    queued, queued_bytes : int
        Fetched, and waiting in the client.
    lag : int
        From what the application has been given to the end of the log.
    """

    records: int
    queued: int
    queued_bytes: int
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """All counters of a consumer at one moment.

    Attributes
    ----------
    at : float
        Seconds, on the machine's monotonic clock.
    first_at : float or None
        When the first record was handed to a worker.
    handled : int
        Records that ``process`` has had.
    busy_s : float
        Time that workers were in ``process``, all together.
    broker_s, application_s : float
        Time that the reader waited for records with nothing queued, and for room at the workers.
    between_passes_s : float
        Time that all waited because the topic was read to its end, and the broker had not answered yet to begin anew.
    stalls, stalled_s, burst_records : int, float, int
        Waits of 50 ms and more for records; how long they were; records taken in between them.
    passes : int
        How often the topic was read from the start.
    cpu_s : float
        CPU time of the process.
    memory_bytes : int
        Its resident memory.
    probes, contended : int
        How often a thread asked for the interpreter, and how often it was not given it at once.
    fetches, wire_bytes : int
        Answers of brokers with records, and bytes from the network.
    delivered, delivered_bytes : int
        Records fetched, and their size decompressed.
    throttled_ms : float
        For how long brokers had the client wait, for its quota.
    rtt_ms, nearest_ms : float
        Median time from a request to its answer, of the slowest broker; and the shortest there was.
    core_wait_s : float
        Time that its threads waited for a core of the machine, all together; 0 where the system does not tell.
    waiting : int
        Records that have left the client and wait for a worker.
    partitions : mapping of int to PartitionCounts
        Each partition.
    """

    at: float
    first_at: float | None = None
    handled: int = 0
    busy_s: float = 0.0
    broker_s: float = 0.0
    application_s: float = 0.0
    between_passes_s: float = 0.0
    stalls: int = 0
    stalled_s: float = 0.0
    burst_records: int = 0
    passes: int = 0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    probes: int = 0
    contended: int = 0
    fetches: int = 0
    wire_bytes: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    throttled_ms: float = 0.0
    rtt_ms: float = 0.0
    nearest_ms: float = 0.0
    core_wait_s: float = 0.0
    waiting: int = 0
    partitions: Mapping[int, PartitionCounts] = field(default_factory=dict)


def read_statistics(statistics: Mapping[str, Any], topic: str) -> dict[str, Any]:
    """Return the fields of `Counts` that librdkafka's statistics give; it does not know which records went on."""
    brokers = [broker for broker in statistics["brokers"].values() if broker["nodeid"] >= 0]
    parts = statistics["topics"].get(topic, {}).get("partitions", {})
    return {
        "fetches": sum(broker["req"].get("Fetch", 0) for broker in brokers),
        "wire_bytes": sum(broker["rxbytes"] for broker in brokers),
        "delivered": statistics["rxmsgs"],
        "delivered_bytes": statistics["rxmsg_bytes"],
        "throttled_ms": max((broker["throttle"]["sum"] for broker in brokers), default=0),
        "rtt_ms": max((broker["rtt"]["p50"] / 1000 for broker in brokers), default=0.0),
        "nearest_ms": max((broker["rtt"]["min"] / 1000 for broker in brokers), default=0.0),
        "partitions": {
            int(number): _partition(part)
            for number, part in parts.items()
            if int(number) >= 0 and part["fetch_state"] not in ("none", "stopped")
        },
    }


def _partition(part: Mapping[str, Any]) -> PartitionCounts:
    end, position, queued = part["ls_offset"], part["app_offset"], part["fetchq_cnt"]
    if position < 0:  # nothing has come of it yet
        position = part["next_offset"] - queued
    lag = max(end - position, 0) if min(end, position) >= 0 else 0
    return PartitionCounts(0, queued, part["fetchq_size"], lag)


def together(counts: Sequence[Counts]) -> Counts:
    """Return the counters of several consumers, each with partitions of its own, as those of one.

    Examples
    --------
    >>> together([Counts(at=1.0, handled=5), Counts(at=2.0, handled=7)]).handled
    12
    """
    if len(counts) == 1:
        return counts[0]
    least, most = ("passes",), ("throttled_ms", "rtt_ms", "nearest_ms")
    merged: dict[str, Any] = {
        each.name: sum(getattr(one, each.name) for one in counts)
        for each in fields(Counts)
        if each.name not in ("at", "first_at", "partitions")
    }
    merged |= {name: min(getattr(one, name) for one in counts) for name in least}
    merged |= {name: max(getattr(one, name) for one in counts) for name in most}
    # What one reader of several waits for is a share of the time of all of them.
    merged |= {name: merged[name] / len(counts) for name in ("broker_s", "application_s", "between_passes_s")}
    merged["at"] = statistics.fmean(one.at for one in counts)
    merged["first_at"] = min((one.first_at for one in counts if one.first_at is not None), default=None)
    merged["partitions"] = {number: part for one in counts for number, part in one.partitions.items()}
    return Counts(**merged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A consumer between two moments: rates a second, shares of the time, and what there was at the end of it.

    Attributes
    ----------
    at, seconds : float
        When it ended, from the first record on; how long it was, without the waits between two readings of the topic.
    records, records_rate, bytes_rate, wire_bytes_rate : float
        What ``process`` has had: records, records a second and bytes a second, decompressed; bytes a second from the
        network.
    cpu, core_wait : float
        CPU time a second: 1.0 is one core; and how many threads waited for a core, on average.
    memory_bytes : int
        Resident memory.
    fetch_rate, fetch_size_avg : float
        Answers a second, and bytes from the network in each.
    queued, queued_bytes, waiting, lag : int
        Records in the client's queue, their size; records that wait for a worker; records to the end of the log.
    busy : float
        How many workers were in ``process``, on average.
    broker_share, application_share : float
        Share of the time that the reader waited for records, and for room at the workers.
    interpreter_share : float
        Share of the times at which the interpreter (its GIL) was taken.
    throttle_share : float
        Share of the time for which brokers held the client back.
    rtt_ms, nearest_ms : float
        From a request to its answer: the median, and the shortest since the start: how far away the broker is.
    """

    at: float
    seconds: float
    records: int
    records_rate: float
    bytes_rate: float
    wire_bytes_rate: float
    cpu: float
    core_wait: float
    memory_bytes: int
    fetch_rate: float
    fetch_size_avg: float
    queued: int
    queued_bytes: int
    waiting: int
    lag: int
    busy: float
    broker_share: float
    application_share: float
    interpreter_share: float
    throttle_share: float
    rtt_ms: float
    nearest_ms: float


def between(before: Counts, after: Counts) -> Sample:
    """Return what lies between two moments."""
    seconds = max(_seconds(before, after), _LEAST_SAMPLE_S)
    handled = after.handled - before.handled
    wire, fetches = after.wire_bytes - before.wire_bytes, after.fetches - before.fetches
    return Sample(
        at=after.at - (after.first_at or after.at),
        seconds=seconds,
        records=handled,
        records_rate=handled / seconds,
        bytes_rate=handled * _ratio(after.delivered_bytes, after.delivered) / seconds,
        wire_bytes_rate=wire / seconds,
        cpu=(after.cpu_s - before.cpu_s) / seconds,
        core_wait=max(after.core_wait_s - before.core_wait_s, 0.0) / seconds,
        memory_bytes=after.memory_bytes,
        fetch_rate=fetches / seconds,
        fetch_size_avg=_ratio(wire, fetches),
        queued=sum(part.queued for part in after.partitions.values()),
        queued_bytes=sum(part.queued_bytes for part in after.partitions.values()),
        waiting=after.waiting,
        lag=sum(part.lag for part in after.partitions.values()),
        busy=(after.busy_s - before.busy_s) / seconds,
        broker_share=_share(after.broker_s - before.broker_s, seconds),
        application_share=_share(after.application_s - before.application_s, seconds),
        interpreter_share=_ratio(after.contended - before.contended, after.probes - before.probes),
        throttle_share=(after.throttled_ms - before.throttled_ms) / 1000 / seconds,
        rtt_ms=after.rtt_ms,
        nearest_ms=after.nearest_ms,
    )


def samples(counts: Sequence[Counts]) -> tuple[Sample, ...]:
    """Return what lies between each two neighbours that are far enough apart to say something."""
    kept = list(counts[:1])
    for each in counts[1:]:
        if _seconds(kept[-1], each) >= _LEAST_SAMPLE_S:
            kept.append(each)
    return tuple(between(before, after) for before, after in pairwise(kept))


def _seconds(before: Counts, after: Counts) -> float:
    return after.at - before.at - (after.between_passes_s - before.between_passes_s)


# Of Student's distribution, two-sided, by degrees of freedom from 1 on; the last is on the safe side of all after it.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
CONFIDENCE = 0.95
"""Of `student`."""


def student(values: Sequence[float]) -> tuple[float, float]:
    """Return a mean, and how far its interval of 95% goes to each side; that of a single value has no end.

    Examples
    --------
    >>> student([1.0, 2.0, 3.0])
    (2.0, 2.484...)
    """
    if len(values) == 1:
        return values[0], math.inf
    quantile = _STUDENT[min(len(values) - 1, len(_STUDENT)) - 1]
    return statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median with its interval.

    Of values of one run (`of`), the interval runs between two of them, as many below it as above, so it supposes
    nothing about how they are spread: of n values, the outermost two hold the median of many with a confidence of
    ``1 - 2 ** (1 - n)`` (David and Nagaraja, Order Statistics, section 7.1); with more values it is narrowed as long as
    90% are left. It says how steady that run was; another run may differ by more. Of several runs (`over_runs`), it is
    Student's.

    Attributes
    ----------
    median, low, high : float
        The middle, and the interval.
    confidence : float
        How sure it is that the interval holds the middle, were the values drawn independently; 0 for a single value,
        which has no interval.

    Examples
    --------
    >>> Estimate.of([3, 1, 2, 5, 4])
    Estimate(median=3, low=1, high=5, confidence=0.9375)
    """

    median: float
    low: float
    high: float
    confidence: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return that of some values; of none, zeros."""
        ordered = sorted(values)
        if not ordered:
            return cls(0.0, 0.0, 0.0, 0.0)
        n, cut = len(ordered), 0
        while cut < (n - 1) // 2 and _coverage(n, cut + 1) >= 0.9:  # noqa: PLR2004 - the confidence named above
            cut += 1
        return cls(statistics.median(ordered), ordered[cut], ordered[n - 1 - cut], max(_coverage(n, cut), 0.0))

    @classmethod
    def over_runs(cls, values: Sequence[float]) -> Self:
        """Return that of runs, a value each: only between them does it show how much another one would differ.

        Examples
        --------
        >>> Estimate.over_runs([100.0, 104.0, 99.0])
        Estimate(median=100.0, low=94.4..., high=107.5..., confidence=0.95)
        """
        if not values:
            return cls(0.0, 0.0, 0.0, 0.0)
        (mean, wide), middle = student(values), statistics.median(values)
        known = CONFIDENCE if len(values) > 1 else 0.0
        return cls(middle, max(min(mean - wide, middle), 0.0), max(mean + wide, middle), known)

    def __str__(self) -> str:
        interval = f" ({short(self.low)}-{short(self.high)})" if self.confidence else ""
        return f"{short(self.median)}{interval}"


def _coverage(n: int, cut: int) -> float:
    return float(1 - 2 * sum(math.comb(n, k) for k in range(cut + 1)) / 2**n)


def blocks(found: Sequence[Sample]) -> list[list[Sample]]:
    """Return samples in at most five stretches of equal length.

    A rate that rises and falls within a second is the same in each, as long as they are longer than that.
    """
    total = sum(sample.seconds for sample in found)
    count = max(min(_BLOCKS, int(total / _SHORTEST_BLOCK_S)), 1)
    parts: list[list[Sample]] = [[] for _ in range(count)]
    passed = 0.0
    for sample in found:
        parts[min(int((passed + sample.seconds / 2) / total * count), count - 1)].append(sample)
        passed += sample.seconds
    return [part for part in parts if part]


def estimate(found: Sequence[Sample], name: str) -> Estimate:
    """Return a rate or share of samples: the median over stretches of time, of the average in each."""
    return Estimate.of(average(part, name) for part in blocks(found))


def average(found: Sequence[Sample], name: str) -> float:
    """Return the average of a field over time."""
    total = sum(sample.seconds for sample in found)
    return sum(getattr(sample, name) * sample.seconds for sample in found) / total if total else 0.0


def short(number: float) -> str:
    """Write a number in three digits.

    Examples
    --------
    >>> short(212_345), short(20.81), short(0.5), short(0)
    ('212 k', '20.8', '0.5', '0')
    """
    for size, symbol in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= size * 0.9995:
            return f"{number / size:.3g}{symbol}"
    return f"{number:.3g}"


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0)
