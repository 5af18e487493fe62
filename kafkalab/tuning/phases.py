"""Times without a change, of a session: what each has come to, and what made it end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from kafkalab.settings.table import KNOBS
from kafkalab.tuning.measurement import Measurement
from kafkalab.tuning.search import OTHER_KNOBS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kafkalab.settings import ConsumerSettings
    from kafkalab.settings.forms import Value
    from kafkalab.tuning.measurement import Setup
    from kafkalab.tuning.meter import Counts, Sample

_MOST_COUNTS = 240  # two minutes, of which a row of the history is made
_SURE = 0.75  # of an interval: that is three stretches of time

COLUMNS = [
    "change",
    "records_rate",
    "low",
    "high",
    "bytes_rate",
    "cpu",
    "queue_share",
    "seconds",
    "bottleneck",
]


@dataclass(slots=True)
class Phase:
    """A time without a change: what was set, and the counters since it has settled."""

    setup: Setup
    change: str
    began: float
    restarted: bool
    counts: deque[Counts] = field(default_factory=lambda: deque(maxlen=_MOST_COUNTS))
    result: Measurement | None = None
    """Set when it is over, in place of the counters."""
    _seen: Measurement | None = None
    _seen_at: float = 0.0
    _row: tuple[Any, ...] | None = None

    def measurement(self) -> Measurement:
        """Return what it has come to; asked again before there are other counters, the same."""
        if self.result is not None:
            return self.result
        at = self.counts[-1].at if self.counts else 0.0
        if self._seen is None or at != self._seen_at:
            counts = list(self.counts)
            self._seen = Measurement.of(self.setup, counts, counts[-1].handled if counts else 0)
            self._seen_at, self._row = at, None
        return self._seen

    def close(self) -> None:
        """Keep the result, and let the counters go."""
        self.result = self.measurement()
        self._seen = None
        self.counts.clear()

    def row(self) -> tuple[Any, ...]:
        """Return its row of the history: numbers only once they mean something."""
        found = self.measurement()
        if self._row is None:
            self._row = _row(self.change, found)
        return self._row


def history(rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    """Return rows as a frame, numbered from 1, with how many times as fast as the first each is."""
    frame = pd.DataFrame(list(rows), columns=COLUMNS)
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="#")
    known = frame["records_rate"].astype("float64").dropna()
    first = known.iloc[0] if len(known) else 0.0
    frame["against_first"] = frame["records_rate"] / first if first else float("nan")
    return frame


def is_sure(found: Measurement) -> bool:
    """Return whether a rate has been measured for long enough to have an interval."""
    return found.records_rate.confidence >= _SURE


def _row(change: str, found: Measurement) -> tuple[Any, ...]:
    rate, settings, nan = found.records_rate, found.setup.settings, float("nan")
    shares = [queue_share(sample, settings) for sample in found.samples]
    rates = (rate.median, rate.low, rate.high, found.average("bytes_rate"), found.cpu) if is_sure(found) else (nan,) * 5
    return (
        change,
        *rates,
        sum(shares) / len(shares) if shares else 0.0,
        found.seconds,
        found.advice.bottleneck if is_sure(found) else "",
    )


def is_live(before: Setup, after: Setup) -> bool:
    """Return whether a consumer that runs can become another one: only threads come and go, and no key moves."""
    moves = after.worker_kind == "process" or after.ordering == "key"
    return not moves and replace(after, workers=before.workers) == before


def queue_share(sample: Sample, settings: ConsumerSettings) -> float:
    """Return how full the client's queue is, by the limit that is nearer."""
    by_count = sample.queued / settings.queued_min_messages
    return min(max(by_count, sample.queued_bytes / (settings.queued_max_messages_kbytes * 1024)), 1.0)


def difference(before: Setup, after: Setup) -> str:
    """Return what was changed, as a person reads it."""
    old, new = before.settings.values(), after.settings.values()
    changes = [
        f"{name} {_shown(name, old[name])} -> {_shown(name, new[name])}" for name in new if old[name] != new[name]
    ]
    preset = after.settings.preset_name
    if len(changes) > 1 and preset is not None:
        changes = [f"preset {preset}"]
    changes += [
        f"{name} {getattr(before, name)} -> {getattr(after, name)}"
        for name in (*OTHER_KNOBS, "replay")
        if getattr(before, name) != getattr(after, name)
    ]
    return ", ".join(changes) or "nothing"


def _shown(name: str, value: Value) -> str:
    return KNOBS[name].shown(value)
