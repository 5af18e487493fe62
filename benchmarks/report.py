"""Measurements as medians, ratios with their intervals, a table and a plot."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd

_CASE = ["size", "codec"]
_DRAWS = 10_000
_MEASURED = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- end -->)", re.DOTALL)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of the median, by the percentile bootstrap."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (_DRAWS, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(high)


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
        The same with ``records_rate`` and ``bytes_rate`` (a second), ``cpu`` (seconds for a million records), and
        ``ratio`` (of the record rates).
    """
    seconds = measured["seconds"]
    rows = measured.assign(
        records_rate=measured["records"] / seconds,
        bytes_rate=measured["value_bytes"] / seconds,
        cpu=measured["cpu_seconds"] / measured["records"] * 1e6,
    ).set_index([*_CASE, "repeat"])
    first = rows.loc[rows["contender"] == measured["contender"].iloc[0], "records_rate"]
    return rows.assign(ratio=rows["records_rate"] / first.reindex(rows.index)).reset_index()


def medians(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the medians by size, codec and contender; ``low`` and ``high`` are the interval of ``ratio``."""
    groups = rates.groupby([*_CASE, "contender"], sort=False)
    lows, highs = zip(*(interval(ratios.to_list()) for _, ratios in groups["ratio"]), strict=True)
    return groups.median(numeric_only=True).assign(low=lows, high=highs).reset_index()


def table(rates: pd.DataFrame) -> str:
    """Return the medians as a table in Markdown."""
    columns = (
        "value bytes",
        "codec",
        "contender",
        "records/s",
        "MB/s",
        "CPU s per million",
        "peak MB",
        "working MB",
        "start s",
        f"records/s, times the {rates['contender'].iloc[0]}",
    )
    rules = ["---:" if name not in ("codec", "contender") else "---" for name in columns]
    rows = map(_cells, medians(rates).to_dict("records"))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (columns, rules, *rows))


def _cells(row: dict[Any, Any]) -> Iterable[str]:
    spread = f" ({row['low']:.2f} to {row['high']:.2f})" if row["low"] < row["high"] else ""
    return (
        f"{row['size']:,}",
        row["codec"],
        row["contender"],
        f"{row['records_rate']:,.0f}",
        f"{row['bytes_rate'] / 1e6:,.0f}",
        f"{row['cpu']:.2f}",
        f"{row['peak_bytes'] / 1e6:,.0f}",
        f"{row['working_bytes'] / 1e6:,.0f}",
        f"{row['start_seconds']:.1f}",
        f"{row['ratio']:.2f}{spread}",
    )


def plot(rates: pd.DataFrame, path: Path) -> None:
    """Draw a bar a median and a dot a measurement, a panel for each size, to a PNG file."""
    from matplotlib.figure import Figure

    sizes, codecs, contenders = (list(rates[name].unique()) for name in ("size", "codec", "contender"))
    figure = Figure(figsize=(4.5 * len(sizes), 3.5), layout="constrained")
    width = 0.8 / len(contenders)
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        for number, contender in enumerate(contenders):
            mine = rates[(rates["size"] == size) & (rates["contender"] == contender)]
            places = [codecs.index(codec) + (number - (len(contenders) - 1) / 2) * width for codec in mine["codec"]]
            millions = mine["records_rate"] / 1e6
            bars = millions.groupby(places).median()
            axes.bar(bars.index, bars, width, label=contender)
            axes.plot(places, millions, "k.", markersize=3)
        axes.set_xticks(range(len(codecs)), codecs)
        axes.set_title(f"values of {size:,} bytes")
        axes.set_ylabel("million records/s into a DataFrame")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(contenders), frameon=False)
    figure.savefig(path, dpi=110)


def into_page(page: str, section: str) -> str:
    """Return a page with what stands between its marks ``<!-- measured -->`` and ``<!-- end -->`` replaced."""
    made, count = _MEASURED.subn(lambda _: section, page)
    assert count == 1, "the page has no marks, or more than one pair"
    return made
