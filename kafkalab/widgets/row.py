"""A knob in the panel: its name, a slider, and a field to type in."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from kafkalab.errors import ArgumentError
from kafkalab.widgets.quiet import Quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.widgets.ladder import Dial

_TITLE, _FIELD = "98px", "74px"


class Row:
    """A slider, and a field that takes a value with its unit; both show the same.

    A slider tells its value when it is let go, so a drag is one change.

    Parameters
    ----------
    dial : Dial
        What it sets.
    pick : callable
        Given the dial's name and a value that the user has chosen.
    refuse : callable
        Given the text of an error, where what was typed is no such value.
    """

    def __init__(self, dial: Dial, pick: Callable[[str, int], object], refuse: Callable[[str], object]) -> None:
        self.dial = dial
        self._pick = pick
        self._refuse = refuse
        self.value: int | None = None
        self._quiet = Quiet()
        stops = [(dial.shown(stop), stop) for stop in dial.stops]
        self.slider = w.SelectionSlider(
            options=stops,
            continuous_update=False,
            tooltip=dial.tooltip,
            layout=w.Layout(flex="1 1 auto", width="auto", min_width="60px"),
        )
        self.field = w.Text(continuous_update=False, tooltip=dial.tooltip, layout=w.Layout(width=_FIELD))
        self.slider.observe(self._on_slider, "value")
        self.field.observe(self._on_field, "value")
        self.widget = w.HBox([titled(dial.title, dial.tooltip), self.slider, self.field])
        self.widget.add_class("kafkalab-knob")

    def show(self, value: int) -> None:
        """Show a value, without telling that it was picked."""
        self.value = value
        with self._quiet:
            self.slider.value = self.dial.nearest(value)
            self.field.value = self.dial.shown(value)

    def _on_slider(self, change: Any) -> None:
        if not self._quiet.here:
            self._picked(change["new"])

    def _on_field(self, change: Any) -> None:
        if self._quiet.here:
            return
        try:
            value = self.dial.read(change["new"])
        except ArgumentError as error:
            self._refuse(f"{self.dial.title}: {error}")
            self.value = None  # so that the field shows again what is set
        else:
            self._picked(value)

    def _picked(self, value: int) -> None:
        self.value = None  # what is shown may not be what can be set
        self._pick(self.dial.name, value)


def titled(title: str, tooltip: str) -> Any:
    """Return a name with a text that shows when the mouse is on it."""
    text = f'<span class="kafkalab-title" title="{html.escape(tooltip)}">{html.escape(title)}</span>'
    return w.HTML(text, layout=w.Layout(width=_TITLE, min_width=_TITLE))
