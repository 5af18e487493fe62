"""A figure that a cell shows, and text in it."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

LABEL_LENGTH = 30


class Picture(Figure):
    """A figure that a cell shows by itself; ``savefig`` writes it to a file."""

    def _repr_png_(self) -> bytes:
        png = BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def shortened(label: str) -> str:
    """Return a label in one line of bounded length."""
    line = " ".join(label.split())
    return line if len(line) <= LABEL_LENGTH else line[: LABEL_LENGTH - 1] + "…"
