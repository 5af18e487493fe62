"""What the arrow engine has to reach, beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.report import markdown, spread, with_rates
from benchmarks.sample import JAVA_BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MIB = 1 << 20
_RATES: dict[str, dict[str, float]] = {
    "loop": {"none": 35, "lz4": 25, "zstd": 22},
    "tuned-loop": {"none": 8, "lz4": 8, "zstd": 6},
    "c-drain": {"none": 2, "lz4": 1.6, "zstd": 1.3},
    "java-drain": {"none": 1.0, "lz4": 1.0, "zstd": 1.0},
}


@dataclass(frozen=True, slots=True)
class Results:
    """The measurements of each part, empty where it was not asked for; reads with their rates."""

    reads: pd.DataFrame
    samples: pd.DataFrame
    kernels: pd.DataFrame

    @classmethod
    def of(cls, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Results:
        """Take the measurements by part."""
        reads, samples, kernels = (pd.DataFrame(rows[part]) for part in ("reads", "samples", "kernels"))
        return cls(reads if reads.empty else with_rates(reads), samples, kernels)

    @property
    def parts(self) -> dict[str, pd.DataFrame]:
        """The measurements by part."""
        return {"reads": self.reads, "samples": self.samples, "kernels": self.kernels}

    def read(self, column: str, contender: str, size: int = 110, codec: str = "none") -> pd.Series[float]:
        """Return what a contender took, or reached, by repeat."""
        if self.reads.empty:
            return pd.Series(dtype=float)
        reads = self.reads.set_index("repeat")
        mine = (reads["size"] == size) & (reads["codec"] == codec) & (reads["contender"] == contender)
        return reads.loc[mine, column]

    def times(self, column: str, one: str, other: str, size: int = 110, codec: str = "none") -> pd.Series[float]:
        """Return how many times another's figure one contender's is, by repeat."""
        return (self.read(column, one, size, codec) / self.read(column, other, size, codec)).dropna()

    def working_mib(self) -> pd.Series[float]:
        """Return what the default engine took besides its result, by repeat, on the topic where it took most."""
        if self.reads.empty:
            return pd.Series(dtype=float)
        mine = self.reads[self.reads["contender"] == "arrow"].groupby(["size", "codec"])["working_bytes"]
        if not len(mine):
            return pd.Series(dtype=float)
        return pd.Series(max((list(its) for _, its in mine), key=np.median)) / _MIB

    def sampling(self) -> tuple[pd.Series[float], pd.Series[float]]:
        """Return the seconds of a sample from the large topic, and how many times the small one's these are."""
        if self.samples.empty:
            return pd.Series(dtype=float), pd.Series(dtype=float)
        mine = self.samples[self.samples["batch_bytes"] == JAVA_BATCH_BYTES]
        seconds = mine.pivot_table(index="repeat", columns="records", values="seconds")
        large = seconds.iloc[:, -1]
        return large, large / seconds.iloc[:, 0]

    def kernel_rate(self, codec: str) -> pd.Series[float]:
        """Return the kernel's million records a second of one core."""
        if self.kernels.empty:
            return pd.Series(dtype=float)
        mine = self.kernels[(self.kernels["codec"] == codec) & (self.kernels["what"] == "kernel")]
        return mine["records"] / mine["cpu_seconds"] / 1e6


@dataclass(frozen=True, slots=True)
class Target:
    """A bound, and the figures that are to keep it."""

    what: str
    measured: pd.Series[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Its row of the table."""
        bound = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        if self.measured.empty:
            return self.what, bound, "not measured", ""
        median = self.measured.median()
        kept = median >= self.at_least if self.at_least is not None else median <= (self.at_most or 0)
        return self.what, bound, spread(self.measured.to_list()), "yes" if kept else "**no**"


def targets(results: Results) -> Iterator[Target]:
    """Yield the targets in the order of the page."""
    for other, least in _RATES.items():
        for codec, bound in least.items():
            measured = results.times("records_rate", "arrow", other, codec=codec)
            yield Target(f"records/s, times the {other}: {codec}", measured, at_least=bound)
    for codec, bound in {"none": 0.6, "lz4": 1.0, "zstd": 1.0}.items():
        measured = results.times("cpu", "arrow", "java-drain", codec=codec)
        yield Target(f"CPU s, times the java-drain: {codec}", measured, at_most=bound)
    for codec, bound in {"none": 0.18, "lz4": 0.18, "zstd": 0.3}.items():
        yield Target(
            f"CPU s per million, reading only: {codec}", results.read("cpu", "arrow-table", codec=codec), at_most=bound
        )
    for codec, bound in {"none": 15, "lz4": 15, "zstd": 9}.items():
        yield Target(f"kernel, million records/s of a core: {codec}", results.kernel_rate(codec), at_least=bound)
    yield Target(
        "MB/s of 1 KB records, times the c-drain: none",
        results.times("bytes_rate", "arrow", "c-drain", 1000),
        at_least=1.5,
    )
    for name in ("arrow", "arrow-tls"):
        measured = results.times("records_rate", f"{name}-spinning", name)
        yield Target(f"{name} with a spinning thread, times without", measured, at_least=0.4)
    over_tls = results.times("records_rate", "arrow-tls", "tuned-loop-tls")
    yield Target("over TLS, records/s, times the tuned-loop over TLS", over_tls, at_least=8)
    yield Target("MiB above the result, on the topic with most", results.working_mib(), at_most=128)
    seconds, times = results.sampling()
    yield Target("seconds for a sample of 1,000 from the large topic", seconds, at_most=0.6)
    yield Target("the same, times that from the small topic", times, at_most=1.2)


def table(results: Results) -> str:
    """Return all targets as a table."""
    rows = [target.cells for target in targets(results)]
    return markdown(("what", "target", "measured", "reached"), rows, texts=("what", "target", "measured", "reached"))
