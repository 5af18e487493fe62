"""What a sweep has found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kafkalab.errors import ArgumentError
from kafkalab.plot.picture import Picture, shortened
from kafkalab.tuning.search import in_order
from kafkalab.units import format_named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from kafkalab.tuning.sweep import SweepResult

_MOST_ACROSS = 3
_MOST_NUMBERS = 30  # in the map


def sweep(result: SweepResult) -> Picture:
    """Draw what a sweep has found: what each knob does, two of them against each other, throughput by workers.

    Parameters
    ----------
    result : SweepResult
        What `Lab.sweep` gives.

    Returns
    -------
    Picture
        A panel for each knob with several values: the most records a second that each value has reached, with its
        interval, and a dashed line at the knee of ``workers``; and a map of the two knobs that matter most.

    Raises
    ------
    ArgumentError
        Nothing was measured.
    """
    if not result.trials:
        message = "the sweep has measured nothing: there is nothing to draw"
        raise ArgumentError(message)
    frame = result.frame
    knobs = [name for name, values in result.space.items() if len(values) > 1] or list(result.space)[:1]
    reach = {name: float(np.ptp(result.by_value(name).to_numpy())) for name in knobs}
    pair = sorted(knobs, key=lambda name: -reach[name])[:2]
    count = len(knobs) + (len(pair) > 1)
    across = min(count, _MOST_ACROSS)
    down = -(-count // across)
    picture = Picture(figsize=(4 * across, 3.2 * down), layout="constrained")
    panels = picture.subplots(down, across, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.set_axis_off()
    for axes, name in zip(panels, knobs, strict=False):
        _main_effect(axes, frame, name, result.knee if name == "workers" else None)
    if len(pair) > 1:
        _heat_map(picture, panels[count - 1], frame, pair[1], pair[0])
    picture.suptitle(result.setup.topic, parse_math=False)
    return picture


def _main_effect(axes: Axes, frame: pd.DataFrame, name: str, knee: int | None) -> None:
    fastest = frame.sort_values("records_rate", ascending=False).drop_duplicates(name).set_index(name, drop=False)
    best = fastest.loc[in_order(fastest.index)]
    places = np.arange(len(best))
    spread = np.array([best["records_rate"] - best["low"], best["high"] - best["records_rate"]], dtype=float) / 1000
    axes.errorbar(places, best["records_rate"] / 1000, spread, marker="o", capsize=3, color="tab:blue")
    axes.set_xticks(places, [shortened(format_named(name, value)) for value in best[name].tolist()])
    if knee is not None:
        axes.axvline(list(best[name]).index(knee), linestyle="--", color="tab:orange")
        axes.set_title(f"knee at {knee}")
    axes.set_xlabel(name)
    axes.set_ylabel("thousand records/s")
    axes.set_ylim(0, max(float(np.nanmax(best[["records_rate", "high"]].to_numpy(dtype=float))) / 1000 * 1.1, 1e-3))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _heat_map(picture: Picture, axes: Axes, frame: pd.DataFrame, across: str, down: str) -> None:
    columns, rows = in_order(frame[across]), in_order(frame[down])
    rates = np.full((len(rows), len(columns)), np.nan)
    for x, y, rate in zip(frame[across], frame[down], frame["records_rate"] / 1000, strict=True):
        place = rows.index(y), columns.index(x)
        rates[place] = np.fmax(rates[place], rate)
    image = axes.imshow(rates, aspect="auto", origin="lower", cmap="viridis")
    for name, label, ticks, values in (
        (across, axes.set_xlabel, axes.set_xticks, columns),
        (down, axes.set_ylabel, axes.set_yticks, rows),
    ):
        ticks(np.arange(len(values)), [shortened(format_named(name, value)) for value in values])
        label(name)
    most = np.nanmax(rates)
    for (y, x), value in np.ndenumerate(rates):
        if rates.size <= _MOST_NUMBERS and np.isfinite(value):
            color = "black" if value > 0.6 * most else "white"
            axes.text(x, y, f"{value:.3g}", ha="center", va="center", color=color)
    picture.colorbar(image, ax=axes, label="thousand records/s")
