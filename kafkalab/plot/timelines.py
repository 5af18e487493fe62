"""Records over time."""

from __future__ import annotations

from datetime import UTC
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

from kafkalab.errors import ArgumentError, did_you_mean
from kafkalab.plot.picture import Picture, shortened

if TYPE_CHECKING:
    from datetime import timedelta

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Nearly everyone can tell blue from orange; line styles make four times as many lines of them.
_LINES = tuple((color, style) for style, color in product(("-", "--", ":", "-."), ("tab:blue", "tab:orange")))
_OTHERS, _NULL = "all others", "null"
_INTERVALS = 200
_DOTS = 50
_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000
_STEPS_MS = (
    *(_SECOND * count for count in (1, 5, 10, 30)),
    *(_MINUTE * count for count in (1, 5, 10, 30)),
    *(_HOUR * count for count in (1, 3, 6, 12)),
    *(_DAY * count for count in (1, 7, 30, 365, 3650, 36500)),
)
_UNITS = {365 * _DAY: "year", _DAY: "day", _HOUR: "hour", _MINUTE: "minute", _SECOND: "second", 1: "millisecond"}
_MOST_INTERVALS = 100_000
# Shorter ones have ticks of microseconds, which matplotlib cannot place well.
_LEAST_WIDTH_MS = 10_000
# What datetime.datetime, and so an axis, can hold.
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999


def timeline(
    frame: pd.DataFrame, by: str | None = "partition", *, step: str | timedelta | None = None, title: str | None = None
) -> Picture:
    """Draw how many records a frame has over time.

    Parameters
    ----------
    frame : pandas.DataFrame
        With a ``timestamp`` column, as kafkalab reads it. The title says how many records have no time.
    by : str, optional
        The column whose values have a line each. Of more than eight, the smallest share one. None for one line.
    step : str or timedelta, optional
        How long the intervals are that are counted, such as ``"1h"``; by default what gives at most 200 of them.
    title : str, optional
        By default the topics, and how many records they have.

    Returns
    -------
    Picture
        A matplotlib figure.

    Raises
    ------
    ArgumentError
        There is no such column, its values cannot be told apart, or the step is not a length of time.

    Examples
    --------
    >>> import kafkalab as kl
    >>> cluster = kl.MemoryCluster({"orders": 1})
    >>> cluster.append("orders", b"a", b"b")
    >>> kl.plot.timeline(kl.Lab(cluster, cluster).read("orders")).axes[0].get_title()
    'orders: 2 records'
    """
    _check_column(frame, "timestamp")
    times, placed = _times(frame["timestamp"])
    codes, labels = _groups(frame, by)
    picture = Picture(figsize=(9, 3.2), layout="constrained")
    axes = picture.add_subplot()
    axes.set_title(_title(frame, len(frame) - len(times)) if title is None else title, parse_math=False)
    if len(times):
        length = _step(step, times)
        _draw(axes, *_counts(times, length, codes[placed], labels))
        axes.set_ylabel(f"records per {_interval(length)}")
        if by is not None:
            _add_legend(axes, by)
    else:
        axes.text(0.5, 0.5, "no records", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
    return picture


def _check_column(frame: pd.DataFrame, name: str) -> None:
    if name not in frame.columns:
        message = f"the frame has no column {name!r}: {did_you_mean(name, map(str, frame.columns))}"
        raise ArgumentError(message)


def _times(column: pd.Series[pd.Timestamp]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the times that can be drawn, and which rows have one."""
    try:
        times = pa.array(column, pa.timestamp("ms", "UTC"), from_pandas=True, safe=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        message = f"the column 'timestamp' has no times but {column.dtype}"
        raise ArgumentError(message) from error
    numbers: NDArray[np.int64] = times.cast(pa.int64()).fill_null(_LAST_MS + 1).to_numpy()
    placed = (numbers >= _FIRST_MS) & (numbers <= _LAST_MS)
    return numbers[placed], placed


def _groups(frame: pd.DataFrame, by: str | None) -> tuple[NDArray[np.intp], list[str]]:
    """Return which group each row is of, and the groups' names; the smaller ones are one where there are too many."""
    if by is None:
        return np.zeros(len(frame), np.intp), ["records"]
    _check_column(frame, by)
    try:
        codes, values = pd.factorize(frame[by], use_na_sentinel=False)
    except (TypeError, pa.ArrowNotImplementedError) as error:
        message = f"the values of column {by!r} cannot be told apart: take one that has no lists or structs"
        raise ArgumentError(message) from error
    labels = [_NULL if pd.isna(value) else _named(str(value)) for value in values]
    if len(labels) <= len(_LINES):
        return codes, labels
    largest = np.argsort(-np.bincount(codes), kind="stable")[: len(_LINES) - 1]
    places = np.full(len(labels), len(largest))
    places[largest] = np.arange(len(largest))
    return places[codes], [*(labels[number] for number in largest), _OTHERS]


def _named(text: str) -> str:
    """Return the name of a group: text that reads as one of the names given here is quoted."""
    return repr(text) if text in (_NULL, _OTHERS) else text


def _step(step: str | timedelta | None, times: NDArray[np.int64]) -> int:
    span = int(times.max()) - int(times.min())
    if step is None:
        return next((length for length in _STEPS_MS if span / length <= _INTERVALS), _STEPS_MS[-1])
    try:
        length = int(pd.Timedelta(step) / pd.Timedelta(milliseconds=1))
    except (TypeError, ValueError) as error:
        message = f"step is a length of time such as '1h' or '30s', not {step!r}"
        raise ArgumentError(message) from error
    if length < 1 or span / length > _MOST_INTERVALS:
        message = f"step {step!r} is no length to count in: it makes none, or more than {_MOST_INTERVALS:,} intervals"
        raise ArgumentError(message)
    return length


def _counts(
    times: NDArray[np.int64], length: int, codes: NDArray[np.intp], labels: list[str]
) -> tuple[NDArray[np.int64], list[tuple[str, NDArray[np.int64]]]]:
    """Return the edges of the intervals, and each group's name and its count in every one of them."""
    first = int(times.min()) // length
    places = times // length - first
    size = int(places.max()) + 1
    edges = np.clip((first + np.arange(size + 1)) * length, _FIRST_MS, _LAST_MS)
    numbers = sorted(np.unique(codes), key=lambda number: _order(labels[number]))
    return edges, [(labels[number], np.bincount(places[codes == number], minlength=size)) for number in numbers]


def _order(label: str) -> tuple[bool, float, str]:
    return label == _OTHERS, float(label) if label.isdecimal() else np.inf, label


def _draw(axes: Axes, edges: NDArray[np.int64], counts: list[tuple[str, NDArray[np.int64]]]) -> None:
    dates = date2num(edges.astype("datetime64[ms]"))
    middles = (dates[:-1] + dates[1:]) / 2
    marker = "." if len(middles) <= _DOTS else ""
    for (label, count), (color, style) in zip(counts, _LINES, strict=False):
        axes.plot(middles, count, style, color=color, marker=marker, linewidth=1.5, label=label)
    left = min(dates[0], date2num(np.datetime64(_LAST_MS - _LEAST_WIDTH_MS, "ms")))
    axes.set_xlim(left, max(dates[-1], left + _LEAST_WIDTH_MS / _DAY))
    axes.set_ylim(bottom=0)
    locator = AutoDateLocator(tz=UTC)  # whatever rcParams say: the axis is labelled so
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
    axes.set_xlabel("time (UTC)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _add_legend(axes: Axes, by: str) -> None:
    # A legend leaves out labels that begin with an underscore, so these come afterwards.
    lines = axes.lines
    legend = axes.legend(
        lines, ["-"] * len(lines), title=shortened(by), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False
    )
    for text, line in zip(legend.get_texts(), lines, strict=True):
        text.set_text(shortened(str(line.get_label())))
    for text in (legend.get_title(), *legend.get_texts()):
        text.set_parse_math(False)


def _title(frame: pd.DataFrame, left_out: int) -> str:
    topics = ", ".join(map(str, frame["topic"].unique())) if "topic" in frame.columns else ""
    plural = "" if len(frame) == 1 else "s"
    without = f", {left_out:,} of them without a time" if left_out else ""
    return f"{topics}{': ' if topics else ''}{len(frame):,} record{plural}{without}"


def _interval(length: int) -> str:
    """Return the name of an interval.

    Examples
    --------
    >>> _interval(3_600_000), _interval(300_000)
    ('hour', '5 minutes')
    """
    unit = next(unit for unit in _UNITS if length % unit == 0)
    count = length // unit
    return _UNITS[unit] if count == 1 else f"{count} {_UNITS[unit]}s"
