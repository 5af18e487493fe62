"""Measurements as medians, ratios with their intervals, tables and a plot."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd

CASE = ["size", "codec"]
_DRAWS = 10_000
_MEASURED = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- end -->)", re.DOTALL)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of the median, by the percentile bootstrap."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (_DRAWS, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(high)


def spread(values: Sequence[float]) -> str:
    """Return the median of values with its interval, as a table shows them; nothing of none."""
    if not len(values):
        return ""
    low, high = interval(values)
    return f"{np.median(values):.2f}" + (f" ({low:.2f} to {high:.2f})" if low < high else "")


def with_rates(measured: pd.DataFrame) -> pd.DataFrame:
    """Return measurements with their rates, each compared with the first contender's in the same repeat.

    Parameters
    ----------
    measured : pandas.DataFrame
        A row a measurement: ``size``, ``codec``, ``repeat``, ``contender``, and the fields of `Measurement` and
        `Content`.

    Returns
    -------
    pandas.DataFrame
        The same with ``records_rate`` and ``bytes_rate`` (a second), ``cpu`` and ``broker_cpu`` (seconds for a
        million records), and ``ratio`` (of the record rates).
    """
    seconds = measured["seconds"]
    rows = measured.assign(
        records_rate=measured["records"] / seconds,
        bytes_rate=measured["value_bytes"] / seconds,
        cpu=measured["cpu_seconds"] / measured["records"] * 1e6,
        broker_cpu=measured["broker_cpu_seconds"] / measured["records"] * 1e6,
    ).set_index([*CASE, "repeat"])
    first = rows.loc[rows["contender"] == measured["contender"].iloc[0], "records_rate"]
    return rows.assign(ratio=rows["records_rate"] / first.reindex(rows.index)).reset_index()


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: Sequence[str] = ()) -> str:
    """Return a table in Markdown; the columns are numbers, but for those named as texts."""
    rules = ["---" if name in texts else "---:" for name in columns]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (columns, rules, *rows))


def table(rates: pd.DataFrame) -> str:
    """Return the medians of reads as a table."""
    columns = (
        "value bytes",
        "codec",
        "contender",
        "records/s",
        "MB/s",
        "CPU s per million",
        "the broker's",
        "peak MB",
        "working MB",
        "start s",
        f"records/s, times the {rates['contender'].iloc[0]}",
    )
    groups = rates.groupby([*CASE, "contender"], sort=False)
    rows = [
        _cells(row, spread(groups["ratio"].get_group((row["size"], row["codec"], row["contender"])).to_list()))
        for row in groups.median(numeric_only=True).reset_index().to_dict("records")
    ]
    return markdown(columns, rows, texts=("codec", "contender"))


def _cells(row: dict[Any, Any], ratio: str) -> Sequence[str]:
    return (
        f"{row['size']:,}",
        row["codec"],
        row["contender"],
        f"{row['records_rate']:,.0f}",
        f"{row['bytes_rate'] / 1e6:,.0f}",
        f"{row['cpu']:.2f}",
        f"{row['broker_cpu']:.2f}",
        _megabytes(row["peak_bytes"]),
        _megabytes(row["working_bytes"]),
        f"{row['start_seconds']:.1f}",
        ratio,
    )


def _megabytes(value: float) -> str:
    return "" if math.isnan(value) else f"{value / 1e6:,.0f}"


def sample_table(measured: pd.DataFrame) -> str:
    """Return the times of samples as a table."""
    rows = [
        (f"{records:,}", f"{batch_bytes:,}", spread(its["seconds"].to_list()), f"{its['cpu_seconds'].median():.2f}")
        for (batch_bytes, records), its in measured.groupby(["batch_bytes", "records"])
    ]
    return markdown(("records in the topic", "bytes a batch", "seconds", "CPU s"), rows)


def kernel_table(measured: pd.DataFrame) -> str:
    """Return the rates of the kernel, and of the floor below it, as a table."""
    rates = measured.assign(rate=measured["records"] / measured["cpu_seconds"] / 1e6)
    rows = []
    for codec, its in rates.groupby("codec", sort=False):
        turns = its.pivot_table(index="repeat", columns="what", values="rate").reindex(columns=["kernel", "floor"])
        figures = turns["kernel"], turns["floor"], turns["kernel"] / turns["floor"]
        rows.append((str(codec), *(spread(values.dropna().to_list()) for values in figures)))
    columns = ("codec", "kernel, million records/s", "floor, million records/s", "kernel, times the floor")
    return markdown(columns, rows, texts=("codec",))


def plot(rates: pd.DataFrame, path: Path) -> None:
    """Draw a bar a median and a dot a measurement, a panel for each size, to a PNG file.

    It shows the contenders that read every topic.
    """
    from matplotlib.figure import Figure

    topics = rates.groupby("contender", sort=False).apply(lambda its: len(its[CASE].drop_duplicates()))
    contenders = list(topics.index[topics == topics.max()])
    sizes = list(rates["size"].unique())
    figure = Figure(figsize=(5.5 * len(sizes), 3.5), layout="constrained")
    width = 0.8 / len(contenders)
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        codecs = list(rates.loc[rates["size"] == size, "codec"].unique())
        for number, contender in enumerate(contenders):
            mine = rates[(rates["size"] == size) & (rates["contender"] == contender)]
            places = [codecs.index(codec) + (number - (len(contenders) - 1) / 2) * width for codec in mine["codec"]]
            millions = mine["records_rate"] / 1e6
            bars = millions.groupby(places).median()
            axes.bar(bars.index, bars, width, label=contender)
            axes.plot(places, millions, "k.", markersize=3)
        axes.set_xticks(range(len(codecs)), codecs)
        axes.set_title(f"values of {size:,} bytes")
        axes.set_ylabel("million records/s")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(contenders), frameon=False)
    figure.savefig(path, dpi=110)


def into_page(page: str, section: str) -> str:
    """Return a page with what stands between its marks ``<!-- measured -->`` and ``<!-- end -->`` replaced."""
    made, count = _MEASURED.subn(lambda _: section, page)
    assert count == 1, "the page has no marks, or more than one pair"
    return made
