"""Many configurations measured against one another, and the one to take."""

from __future__ import annotations

import html
import importlib
import json
import math
import os
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kafkalab.errors import ArgumentError, ConfigError
from kafkalab.progress import progress
from kafkalab.settings import ConsumerSettings
from kafkalab.tuning import search
from kafkalab.tuning.identity import fingerprint, origin
from kafkalab.tuning.measure import run
from kafkalab.tuning.meter import average, blocks, short
from kafkalab.tuning.search import OTHER_KNOBS, Cell, Strategy, Trial, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kafkalab.tuning.measure import Bench
    from kafkalab.tuning.measurement import Measurement, Setup
    from kafkalab.tuning.meter import Estimate

_LEAST_GAIN = 0.05  # what another worker has to bring, as a share of what it would at best


@dataclass(frozen=True, slots=True, repr=False)
class SweepResult:
    """What a sweep has measured.

    Attributes
    ----------
    setup : Setup
        What all have in common: the topic, the handler, and what no knob of the space replaces.
    space : mapping of str to list
        The knobs and their values.
    strategy : {"racing", "grid"}
        How it went through them.
    trials : tuple of Trial
        All measurements, in order.
    skipped : tuple of str
        Configurations that cannot be, and why.
    origin : mapping of str to object
        What the trials depend on beside their own configuration.
    """

    setup: Setup
    space: Mapping[str, list[Any]]
    strategy: Strategy
    trials: tuple[Trial, ...]
    skipped: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_cell(self) -> dict[Cell, list[Trial]]:
        """The trials of each configuration."""
        found: dict[Cell, list[Trial]] = {}
        for trial in self.trials:
            found.setdefault(trial.cell, []).append(trial)
        return found

    @property
    def estimates(self) -> dict[Cell, Estimate]:
        """Records a second of each configuration."""
        return {cell: self._rate(trials) for cell, trials in self.by_cell.items()}

    def _rate(self, trials: Sequence[Trial]) -> Estimate:
        return search.late_rate(trials) if self.strategy == "racing" else search.rate(trials)

    @property
    def finalists(self) -> list[Cell]:
        """The fastest configuration, and those that cannot be told from it; of a race, among those that ran to its end.

        One that was dropped has been measured for a moment only, and may have been lucky.
        """
        last = max((trial.turn for trial in self.trials), default=0)
        estimates, by_cell = self.estimates, self.by_cell
        if self.strategy == "racing":
            estimates = {cell: found for cell, found in estimates.items() if by_cell[cell][-1].turn == last}
        return search.within_noise(estimates)

    @property
    def best(self) -> dict[str, Any]:
        """The knobs of the cheapest configuration within noise of the fastest: fewest workers, then least memory.

        Raises
        ------
        ArgumentError
            Nothing was measured.
        """
        return dict(self._best)

    @property
    def _best(self) -> Cell:
        if not self.trials:
            raise ArgumentError("nothing was measured")
        by_cell = self.by_cell
        return min(self.finalists, key=lambda cell: self._cost(cell, by_cell[cell]))

    def _cost(self, cell: Cell, trials: Sequence[Trial]) -> tuple[Any, ...]:
        knobs = dict(cell)
        kind = knobs.get("worker_kind", self.setup.worker_kind)
        memory = max(trial.memory_bytes for trial in trials)
        return kind == "process", knobs.get("workers", self.setup.workers), memory, -self._rate(trials).median

    @property
    def settings(self) -> ConsumerSettings:
        """The client's settings of the best; what else it is made of is in `best`."""
        return self.setup.settings.replace(**_of_settings(self._best))

    @property
    def frame(self) -> pd.DataFrame:
        """A row a configuration, the fastest first.

        Returns
        -------
        pandas.DataFrame
            A column a knob, then ``records_rate`` (the median over runs), ``low`` and ``high`` (its interval of 95%,
            as wide as runs differ; missing where there was one run), ``bytes_rate``, ``cpu``, ``memory_bytes``,
            ``bottleneck``, ``seconds`` measured, ``trials``, ``turn`` (the last round it was in), and ``is_best``.
        """
        best = self._best if self.trials else None
        rows = [self._row(cell, trials, best) for cell, trials in self.by_cell.items()]
        frame = pd.DataFrame(rows, columns=[*self.space, *_COLUMNS])
        for name in self.space:
            if frame[name].hasnans:  # None is a value like others
                frame[name] = pd.Series([row[name] for row in rows], dtype=object)
        return frame.sort_values(
            ["turn", "records_rate"] if self.strategy == "racing" else "records_rate",
            ascending=False,
            ignore_index=True,
        )

    def _row(self, cell: Cell, trials: Sequence[Trial], best: Cell | None) -> dict[str, Any]:
        found, last = self._rate(trials), trials[-1]
        return {
            **dict(cell),
            "records_rate": found.median,
            "low": found.low if found.confidence else math.nan,
            "high": found.high if found.confidence else math.nan,
            "bytes_rate": sum(trial.bytes_rate for trial in trials) / len(trials),
            "cpu": sum(trial.cpu for trial in trials) / len(trials),
            "memory_bytes": max(trial.memory_bytes for trial in trials),
            "bottleneck": last.bottleneck,
            "seconds": sum(trial.seconds for trial in trials),
            "trials": len(trials),
            "turn": last.turn,
            "is_best": cell == best,
        }

    @property
    def knee(self) -> int | None:
        """The number of workers from which on more bring less than 5% of their share; None if that is not reached."""
        rates = self.by_value("workers") if "workers" in self.space else pd.Series(dtype="float64")
        if len(rates) < 2:  # noqa: PLR2004 - a line has two ends
            return None
        points: list[tuple[int, float]] = list(zip(rates.index.tolist(), rates.tolist(), strict=True))
        for (workers, value), (more, faster) in pairwise(points):
            if faster - value < _LEAST_GAIN * value * (more / workers - 1):
                return workers
        return None

    def by_value(self, knob: str) -> pd.Series[float]:
        """Return the greatest records a second that each value of a knob has reached, by value."""
        best: dict[Any, float] = {}
        for cell, found in self.estimates.items():
            value = dict(cell)[knob]
            best[value] = max(best.get(value, 0.0), found.median)
        values = in_order(best)
        index = pd.Index(values, name=knob, dtype=object if None in values else None)
        return pd.Series([best[value] for value in values], index, dtype="float64", name="records_rate")

    def explain(self) -> str:
        """Tell what was found, in sentences."""
        if not self.trials:
            return "Nothing was measured."
        best, by_cell = self._best, self.by_cell
        found, top = self._rate(by_cell[best]), self._rate(by_cell[self.finalists[0]])
        said = [f"Best: {_named(best)} with {found} records/s."]
        if not found.confidence:
            said.append("It ran once, so how much another run would differ is not known: repeats=3 tells.")
        if best != self.finalists[0]:
            named = _named(self.finalists[0])
            said.append(f"{named} reached {top}, which is no difference beyond noise, and costs more.")
        for knob in self.space:
            rates = self.by_value(knob)
            if len(rates) > 1:
                low, high = short(rates.min()), short(rates.max())
                said.append(f"{knob}: {low} at best with {rates.idxmin()}, {high} with {rates.idxmax()}.")
        if self.knee is not None:
            said.append(f"More than {self.knee} workers bring little.")
        elif len(self.space.get("workers", ())) > 1:
            said.append(f"It still rose with {max(self.space['workers'])} workers: try more.")
        said.append(f"What holds the best back: {by_cell[best][-1].bottleneck}.")
        dropped = len(by_cell) - sum(trials[-1].turn == self.trials[-1].turn for trials in by_cell.values())
        if self.strategy == "racing" and dropped:
            said.append(f"{dropped} of {len(by_cell)} configurations were dropped on the way.")
        return " ".join([*said, *(f"Skipped: {text}." for text in self.skipped)])

    def plot(self) -> Any:
        """Draw it: what each knob does, two of them against each other, and throughput by workers with its knee."""
        # By name, since the layer of figures is above this one.
        return importlib.import_module("kafkalab.plot").sweep(self)

    def __repr__(self) -> str:
        measured = sum(trial.seconds for trial in self.trials)
        title = f"<SweepResult {self.setup.topic}: {len(self.by_cell)} configurations, {measured:.0f} s measured>"
        return f"{title}\n{self.explain()}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.explain())}</p>{self.frame.to_html()}"


_COLUMNS = (
    "records_rate",
    "low",
    "high",
    "bytes_rate",
    "cpu",
    "memory_bytes",
    "bottleneck",
    "seconds",
    "trials",
    "turn",
    "is_best",
)


_FIRST = b'{"origin": '


class Journal:
    """Trials of the same sweep that were made before, and a file to which those that are made are added.

    Parameters
    ----------
    before : SweepResult, path or None
        What to go on with; a file is made if it is not there. It can hold trials of other sweeps: they are left alone.
    origin : mapping
        What makes trials those of this sweep.

    Raises
    ------
    ArgumentError
        The file holds something else, or the result is that of another sweep.
    """

    def __init__(self, before: SweepResult | str | os.PathLike[str] | None, origin: Mapping[str, Any]) -> None:
        self._path = None if before is None or isinstance(before, SweepResult) else Path(before)
        self._origin = fingerprint(origin)
        if isinstance(before, SweepResult) and before.origin != origin:
            raise ArgumentError(f"resume is of another sweep: {_other(before.origin, origin)}. Leave it out")
        trials = before.trials if isinstance(before, SweepResult) else self._read()
        self._before: dict[tuple[Cell, int, float], list[Trial]] = {}
        for trial in trials:
            self._before.setdefault(_key(trial.turn, trial.cell, trial.seconds), []).append(trial)

    def take(self, turn: int, cell: Cell, seconds: float) -> Trial | None:
        """Return a trial that was made before, each once."""
        waiting = self._before.get(_key(turn, cell, seconds))
        return waiting.pop(0) if waiting else None

    def add(self, trial: Trial) -> None:
        """Note a trial."""
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"origin": self._origin, **asdict(trial)}) + "\n")

    def _read(self) -> list[Trial]:
        if self._path is None or not self._path.exists():
            return []
        try:
            whole, newline, torn = self._path.read_bytes().rpartition(b"\n")
            rows = [json.loads(line) for line in whole.splitlines() if line.strip()]
            found = [(row.pop("origin"), _trial_of(row)) for row in rows]
            if torn and not torn.startswith(_FIRST):
                raise ValueError("its last line is not one")  # noqa: TRY301 - told as the others are
            if torn:  # the last one was cut off
                os.truncate(self._path, len(whole) + len(newline))
            return [trial for own, trial in found if own == self._origin]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArgumentError(f"{self._path} holds no trials of a sweep: {error}") from error


def _trial_of(row: Mapping[str, Any]) -> Trial:
    return Trial(**{**row, "cell": tuple(map(tuple, row["cell"])), "rates": tuple(row["rates"])})


def _other(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in now if before.get(name) != now[name]] or sorted(before.keys() - now.keys())
    return f"its {names[0]} was {before.get(names[0])!r}, and is {now.get(names[0])!r} here"


def sweep(
    bench: Bench,
    space: Mapping[str, Any],
    *,
    strategy: Strategy,
    repeats: Any,
    seconds: float,
    warm_up: float,
    budget: float | None,
    resume: SweepResult | str | os.PathLike[str] | None,
    shown: bool,
) -> SweepResult:
    """Measure what a space holds; `Lab.sweep` says what it takes.

    Raises
    ------
    ArgumentError, ConfigError
        The space, or an option, makes no sense.
    """
    if strategy not in ("racing", "grid"):
        raise ArgumentError(f"strategy is 'racing' or 'grid', not {strategy!r}")
    if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
        raise ArgumentError(f"repeats is a whole number from 1 on, not {repeats!r}")
    if budget is not None and budget <= 0:
        raise ArgumentError(f"budget is a number of seconds above 0, not {budget!r}")
    benches, skipped = _benches(bench, search.cells(space, list(ConsumerSettings().values())))
    own = origin(bench, space, warm_up)
    journal, trials = Journal(resume, own), []
    given = list(benches)

    def measure(turn: int, cell: Cell, length: float) -> Trial:
        if (known := journal.take(turn, cell, length)) is not None:
            return known
        trial = _trial(turn, cell, length, run(benches[cell], length, warm_up))
        journal.add(trial)
        return trial

    def all_trials() -> Iterator[Trial]:
        if strategy == "grid":
            yield from (measure(*turn) for turn in search.grid(given, seconds, repeats))
        else:
            yield from search.race(given, measure, seconds=seconds, repeats=repeats, budget=budget)

    whole = len(given) * repeats * seconds
    total = whole if strategy == "grid" else search.race_seconds(len(given), seconds, repeats, budget)
    with progress(round(total), f"sweep {bench.setup.topic}", shown=shown, unit=" s measured") as advance:
        for trial in all_trials():
            trials.append(trial)
            advance(round(trial.seconds))
    values = {name: list(dict.fromkeys(map(search.plain, values))) for name, values in space.items()}
    return SweepResult(bench.setup, values, strategy, tuple(trials), tuple(skipped), own)


def _benches(bench: Bench, given: Sequence[Cell]) -> tuple[dict[Cell, Bench], list[str]]:
    found, skipped = {}, []
    for cell in given:
        others = {name: value for name, value in cell if name in OTHER_KNOBS}
        try:
            found[cell] = bench.with_(_of_settings(cell), **others)
        except ConfigError as error:
            skipped.append(f"{_named(cell)}: {error}")
    if not found:
        raise ConfigError(f"no configuration of the space can be: {skipped[0]}")
    return found, skipped


def _of_settings(cell: Cell) -> dict[str, Any]:
    return {name: value for name, value in cell if name not in OTHER_KNOBS}


def _trial(turn: int, cell: Cell, seconds: float, found: Measurement) -> Trial:
    rates = tuple(average(part, "records_rate") for part in blocks(found.samples)) or (0.0,)  # nothing came
    bottleneck = found.advice.bottleneck
    return Trial(cell, turn, seconds, rates, found.average("bytes_rate"), found.cpu, found.memory_bytes, bottleneck)


def _key(turn: int, cell: Cell, seconds: float) -> tuple[Cell, int, float]:
    return cell, turn, round(seconds, 3)


def _named(cell: Cell) -> str:
    return ", ".join(f"{name}={value}" for name, value in cell)
