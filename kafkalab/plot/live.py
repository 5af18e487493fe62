"""The last minute of a tuning session: drawn once, and then only what moves."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.image import imsave
from matplotlib.patches import Polygon
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kafkalab.plot.picture import Picture
from kafkalab.tuning.meter import short

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from kafkalab.tuning.recent import Mark, Recent
    from kafkalab.tuning.session import TuningSession

SECONDS = 60.0
_GREY = "#777777"  # as far from white as from what notebooks have for black
_BLUE, _ORANGE = "tab:blue", "tab:orange"
_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_ROOM = {"bytes": 1.6}  # or it would lie on the line of the records
_SIZE: dict[str, Any] = {"fontsize": 8, "color": _GREY, "parse_math": False}


class Live:
    """A picture of records a second, bytes a second, the queue and the lag over the last minute.

    Parameters
    ----------
    size : pair of float
        Its width and height, of 100 pixels each.
    title : str
        Above it; none by default.
    """

    def __init__(self, size: tuple[float, float] = (9.2, 2.5), title: str = "") -> None:
        self.picture = Picture(figsize=size, dpi=100, layout="constrained")
        self.picture.patch.set_alpha(0)
        self._canvas = FigureCanvasAgg(self.picture)
        self._background: Any = None
        rate, queue = self.picture.subplots(2, 1, sharex=True, height_ratios=(5, 3))
        self._axes = {"rate": rate, "bytes": rate.twinx(), "queue": queue, "lag": queue.twinx()}
        self._tops = dict.fromkeys(self._axes, 1.0)
        self.redraws = 0
        if title:
            rate.set_title(title, **_SIZE)
        for axes, label in zip(self._axes.values(), ("records/s", "MB/s", "queue, %", "lag"), strict=True):
            _dress(axes, label)
        queue.set_ylim(0, 100)
        queue.set_yticks([0, 50, 100])
        rate.set_xlim(-SECONDS, 0)
        queue.set_xticks(np.arange(-SECONDS, 1, 10), ["now" if not at else f"{at:.0f} s" for at in range(-60, 1, 10)])
        self._band = _area(rate, _BLUE, 0.25)
        (self._rate,) = rate.plot([], [], color=_BLUE, linewidth=2.5)
        (self._bytes,) = self._axes["bytes"].plot([], [], "--", color=_ORANGE, linewidth=1.2)
        (self._best,) = rate.plot([], [], ":", color=_GREY, linewidth=1.5)
        self._best_text = rate.text(-SECONDS, 0, "", ha="left", va="bottom", **_SIZE)
        self._fill = _area(queue, _BLUE, 0.4)
        (self._lag,) = self._axes["lag"].plot([], [], "--", color=_ORANGE, linewidth=1.2)
        self._lines = [axes.add_collection(LineCollection([], linewidths=1)) for axes in (rate, queue)]
        self._labels: list[Any] = []

    def update(self, shown: Recent) -> bool:
        """Take in other numbers; return whether an axis has changed with them."""
        in_time = shown.ago >= -SECONDS
        ago, high = shown.ago[in_time], shown.high[in_time]
        scaled = {"rate": high, "bytes": shown.bytes_rate[in_time] / 1e6, "lag": shown.lag[in_time]}
        changed = [self._fit(name, values, shown.best if name == "rate" else 0) for name, values in scaled.items()]
        self._rate.set_data(ago, shown.rate[in_time])
        self._band.set_xy(_around(ago, shown.low[in_time], high))
        self._bytes.set_data(ago, scaled["bytes"])
        self._lag.set_data(ago, scaled["lag"])
        self._fill.set_xy(_around(ago, np.zeros(len(ago)), shown.queue_share[in_time] * 100))
        known = bool(np.isfinite(shown.best))
        self._best.set_data([-SECONDS, 0] if known else [], [shown.best] * 2 if known else [])
        self._best_text.set_text(f" best {short(shown.best)}" if known else "")
        self._best_text.set_y(shown.best if known else 0)
        self._place(shown.marks, -shown.now)
        return any(changed)

    def png(self, shown: Recent) -> bytes:
        """Return the picture with other numbers; the axes are drawn only when they change."""
        moving = self._moving()
        if self.update(shown) or self._background is None:
            self._draw_axes(moving)
        else:
            self._canvas.restore_region(self._background)
        for artist in self._moving():
            self.picture.draw_artist(artist)
        out = BytesIO()
        imsave(out, np.asarray(self._canvas.buffer_rgba()), format="png", pil_kwargs={"compress_level": 1})
        return out.getvalue()

    def _moving(self) -> list[Artist]:
        first: list[Artist] = [self._band, self._fill, *self._lines]
        return [*first, self._bytes, self._lag, self._best, self._rate, self._best_text, *self._labels]

    def _draw_axes(self, moving: list[Artist]) -> None:
        for artist in {*moving, *self._moving()}:
            artist.set_animated(True)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self.picture.bbox)
        self.redraws += 1

    def _fit(self, name: str, values: NDArray[np.float64], least: float) -> bool:
        """Give an axis a round end above its values, and keep that as long as they fill a third of it."""
        known = [*values[np.isfinite(values)].tolist(), *([least] if np.isfinite(least) else [])]
        top, now = max(known, default=0.0) * _ROOM.get(name, 1.1), self._tops[name]
        if now / 3 <= top <= now or top <= 0:
            return False
        size = 10.0 ** np.floor(np.log10(top))
        self._tops[name] = next(step * size for step in _STEPS if step * size >= top)
        self._axes[name].set_ylim(0, self._tops[name])
        return True

    def _place(self, marks: tuple[Mark, ...], zero: float) -> None:
        places = [(mark, mark.at + zero) for mark in marks if -SECONDS <= mark.at + zero <= 0]
        while len(self._labels) < len(places):
            label = self._axes["rate"].text(0, 0.99, "", transform=self._axes["rate"].get_xaxis_transform(), **_SIZE)
            label.set(va="top", animated=self._background is not None)
            self._labels.append(label)
        for label, (mark, at) in zip(self._labels, places, strict=False):
            label.set(x=at, text=f" {mark.label}")
        for label in self._labels[len(places) :]:
            label.set_text("")
        for lines, axes in zip(self._lines, (self._axes["rate"], self._axes["queue"]), strict=True):
            bottom, top = axes.get_ylim()
            lines.set_segments([np.array([(at, bottom), (at, top)]) for _, at in places])
            lines.set_color([_GREY if mark.restarted else _ORANGE for mark, _ in places])
            lines.set_linestyle("--")


def throughput(session: TuningSession) -> Picture:
    """Draw what a tuning session has done in its last minute.

    Parameters
    ----------
    session : TuningSession
        What `Lab.tune` gives.

    Returns
    -------
    Picture
        Records a second (a thick line, in a band from the least to the most of 2.5 seconds) and MB a second (dashed),
        with the best setting so far as a dotted line and a numbered dashed line at each change, grey where the consumer
        was restarted; below it, how full the client's queue is (at 0% the broker is slow, at 100% the application), and
        the lag (dashed).
    """
    live = Live((9.2, 4.0), f"{session.setup.topic} · {session.state}")
    live.update(session.recent(SECONDS))
    live.picture.patch.set(alpha=1, facecolor="white")
    return live.picture


def _dress(axes: Axes, label: str) -> None:
    axes.patch.set_alpha(0)
    axes.set_ylim(0, 1)
    axes.set_ylabel(label, **_SIZE)
    axes.tick_params(labelsize=8, colors=_GREY)
    axes.spines[:].set_color(_GREY)
    axes.spines["top"].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.grid(alpha=0.15, color=_GREY)


def _area(axes: Axes, color: str, alpha: float) -> Polygon:
    area = Polygon(np.zeros((1, 2)), closed=True, color=color, alpha=alpha, linewidth=0)
    axes.add_patch(area)
    return area


def _around(ago: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outline of the area between two lines; where there is no line, it has no height."""
    if not len(ago):
        return np.zeros((1, 2))
    there, back = np.column_stack([ago, high]), np.column_stack([ago, low])[::-1]
    return np.nan_to_num(np.vstack([there, back]))
