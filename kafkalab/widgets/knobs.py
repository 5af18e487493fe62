"""All that can be turned, in three columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import ipywidgets as w

from kafkalab.group.dispatch import Ordering
from kafkalab.settings.table import KNOBS
from kafkalab.tuning.measurement import WorkerKind
from kafkalab.tuning.search import MOST_WORKERS
from kafkalab.widgets.ladder import Dial
from kafkalab.widgets.quiet import Quiet
from kafkalab.widgets.row import Row, titled

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.tuning.measurement import Setup

_DEEPEST = 1_000_000
_COLUMNS = {
    "Fetch": (
        Dial.of("fetch_min_bytes", "fetch.min.bytes"),
        Dial.of("fetch_max_wait_ms", "fetch wait"),
        Dial.of("max_partition_fetch_bytes", "per partition"),
        Dial.of("fetch_max_bytes", "fetch.max.bytes"),
    ),
    "Buffer": (
        Dial.of("queued_min_messages", "queue messages"),
        Dial.of("queued_max_messages_kbytes", "queue bytes"),
        Dial.of("fetch_queue_backoff_ms", "back-off"),
    ),
    "Work": (
        Dial("workers", "workers", "", 1, MOST_WORKERS, "how many handle records at the same time"),
        Dial(
            "buffer_depth",
            "batch size",
            "messages",
            1,
            _DEEPEST,
            "buffer_depth: how many records of a partition are taken from the client at a time, at most, and may wait "
            "for a worker",
        ),
    ),
}
_CHOICES = {
    "ordering": (get_args(Ordering), "what stays in order: records of a partition, of a key, or nothing"),
    "worker_kind": (get_args(WorkerKind), "threads of one process, or a process and a consumer for each"),
}


class Knobs:
    """Sliders with the settings' real bounds, and two choices.

    Parameters
    ----------
    pick : callable
        Given the name of a setting, and the value that was chosen.
    refuse : callable
        Given what is wrong with what was typed.
    """

    def __init__(self, pick: Callable[[str, Any], object], refuse: Callable[[str], object]) -> None:
        self._pick = pick
        self._quiet = Quiet()
        self.rows = {dial.name: Row(dial, pick, refuse) for dials in _COLUMNS.values() for dial in dials}
        self.choices = {name: self._choice(name) for name in _CHOICES}
        columns = [self._column(name, dials) for name, dials in _COLUMNS.items()]
        self.widget = w.HBox(columns)

    def _column(self, name: str, dials: tuple[Dial, ...]) -> Any:
        parts = [w.HTML(f"<b>{name}</b>"), *(self.rows[dial.name].widget for dial in dials)]
        if name == "Work":
            parts += [self._choice_row(each) for each in _CHOICES]
        return w.VBox(parts, layout=w.Layout(flex="1 1 0", min_width="240px", padding="0 6px"))

    def _choice_row(self, name: str) -> Any:
        row = w.HBox([titled(name.replace("_", " "), _CHOICES[name][1]), self.choices[name]])
        row.add_class("kafkalab-knob")
        return row

    def _choice(self, name: str) -> Any:
        values, tooltip = _CHOICES[name]
        chosen = w.Dropdown(options=values, tooltip=tooltip, layout=w.Layout(flex="1 1 auto", width="auto"))
        chosen.observe(lambda change: None if self._quiet.here else self._pick(name, change["new"]), "value")
        return chosen

    def show(self, setup: Setup) -> None:
        """Show what is set."""
        depth = setup.buffer_depth or max(1_000, 20_000 // max(setup.partitions, 1))
        others = {"workers": setup.workers, "buffer_depth": depth}
        for name, row in self.rows.items():
            value = others[name] if name in others else getattr(setup.settings, name)
            if value != row.value:
                row.show(value)
        with self._quiet:
            for name, chosen in self.choices.items():
                chosen.value = getattr(setup, name)

    def shown(self, name: str, value: Any) -> str:
        """Write a value with its unit."""
        return KNOBS[name].shown(value)
