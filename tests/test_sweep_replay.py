"""The search on recorded grids of real Kafka: a fifth of the time finds what all of it finds."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from kafkalab.tuning import search
from kafkalab.tuning.meter import Estimate
from kafkalab.tuning.search import Cell, Trial
from kafkalab.tuning.sweep import SweepResult
from tests.test_tuning import measured

DATA = Path(__file__).parent / "data"
SEEDS = 300
WITHIN = 0.95
SHARE = 0.2
LEAST = 0.8
MISSED = 0.02
TOPICS = ("small", "1kb", "zstd")


class Recording:
    """A grid that `benchmarks.grid` has recorded: of each cell, the rates in stretches of a second of each repeat."""

    def __init__(self, topic: str) -> None:
        told = json.loads((DATA / f"grid-{topic}.json").read_text("utf-8"))
        self.seconds, self.repeats = float(told["seconds"]), int(told["repeats"])
        self.rates: dict[Cell, list[list[float]]] = {
            tuple(each["cell"].items()): each["rates"] for each in told["cells"]
        }

    @property
    def space(self) -> dict[str, list[Any]]:
        names = dict(next(iter(self.rates)))
        return {name: list(dict.fromkeys(dict(cell)[name] for cell in self.rates)) for name in names}

    def rate(self, cell: Cell) -> Estimate:
        """Return what all that was recorded of a cell says."""
        return Estimate.of(rate for repeat in self.rates[cell] for rate in repeat)

    def race(self, seed: int) -> SweepResult:
        """Search, where each trial is a piece of one of the recorded repeats."""
        draw = random.Random(seed)

        def measure(turn: int, cell: Cell, seconds: float) -> Trial:
            repeat = draw.choice(self.rates[cell])
            rates = tuple(draw.choice(repeat) for _ in range(max(int(seconds), 1)))
            return Trial(cell, turn, seconds, rates)

        trials = search.race(list(self.rates), measure, seconds=self.seconds, repeats=self.repeats)
        return SweepResult(measured().setup, self.space, "racing", tuple(trials))


@pytest.mark.parametrize("topic", TOPICS)
def test_a_fifth_of_the_time_finds_the_best(topic: str) -> None:
    recording = Recording(topic)
    assert len(recording.rates) <= 60
    whole = len(recording.rates) * recording.seconds * recording.repeats
    best = max(map(recording.rate, recording.rates), key=lambda rate: rate.median)
    found = [recording.race(seed) for seed in range(SEEDS)]
    assert max(sum(trial.seconds for trial in each.trials) for each in found) <= SHARE * whole + 1e-6
    chosen = [recording.rate(tuple(each.best.items())) for each in found]
    shares = [rate.median / best.median for rate in chosen]
    missed = sum(share < WITHIN for share in shares)
    assert missed <= MISSED * SEEDS, f"{missed} of {SEEDS} missed it"
    assert min(shares) >= LEAST


@pytest.mark.parametrize("topic", TOPICS)
def test_the_recorded_grids_have_something_to_find(topic: str) -> None:
    recording = Recording(topic)
    rates = sorted(recording.rate(cell).median for cell in recording.rates)
    assert rates[0] < 0.5 * rates[-1]
    assert all(len(repeats) == recording.repeats for repeats in recording.rates.values())
