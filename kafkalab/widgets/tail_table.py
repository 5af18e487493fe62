"""A tail as a live table. The tail does the work; this draws it, and passes on what is clicked and typed."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets

from kafkalab.cells import kernel_shell
from kafkalab.errors import KafkalabError
from kafkalab.text import safe
from kafkalab.widgets.rows import STYLE, message_html, table_html

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.tail import Tail

# At most four times a second, and once a second when nothing comes: the rate falls then.
_REDRAW_S = 0.25
_IDLE_S = 1.0
# A live table draws no more rows than a person can follow; a paused one draws all that are kept.
_LIVE_ROWS = 100
_EXAMPLE = "amount > 40 and country == 'DE'"


class TailTable(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The table of a tail, with Pause, Stop, a filter, and a button that gives a DataFrame.

    One thread does all the drawing, and whatever is clicked: a call-back only tells it. It ends with the tail; clicks
    are then done where they come in. Closing the table stops the tail.

    Parameters
    ----------
    tail : Tail
        What to show.
    """

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._wishes: deque[Callable[[], object]] = deque()
        self._awake, self._closing = threading.Event(), threading.Event()
        self._turn = threading.Lock()
        self._drawn: object = None
        self._ended = False
        self._status, self._rows, self._message = (ipywidgets.HTML() for _ in range(3))
        self._pause = self._button("Pause", "Let the rows stay as they are", self._pause_or_resume)
        self._pause.layout.width = "80px"
        self._stop = self._button("Stop", "Stop following; the rows stay", tail.stop)
        take = self._button("to DataFrame", "Put these rows into a variable", self._take)
        self._where = ipywidgets.Text(description="Filter", placeholder=_EXAMPLE, continuous_update=True)
        self._where.layout.width = "430px"
        self._where.style.description_width = "36px"
        self._where.observe(lambda _: self._wish(self._filter), "value")
        title = ipywidgets.HTML(f'{STYLE}<div class="kafkalab-topic">{escape(safe(tail.topic))}</div>')
        top = ipywidgets.HBox([title, self._status], layout={"justify_content": "space-between"})
        controls = ipywidgets.HBox([self._pause, self._stop, take, self._where], layout={"flex_flow": "row wrap"})
        super().__init__([top, controls, self._message, self._rows])
        self._say("", wrong=False)
        self._unsubscribe = tail.subscribe(self._awake.set)
        self._thread = threading.Thread(target=self._follow, name="kafkalab-tail-table", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the table away, and stop the tail."""
        self._closing.set()
        self._tail.stop()
        self._awake.set()
        self._thread.join()
        super().close()

    def _button(self, text: str, tooltip: str, act: Callable[[], object]) -> Any:
        button = ipywidgets.Button(description=text, tooltip=tooltip, layout={"width": "auto"})
        button.on_click(lambda _: self._wish(act))
        return button

    def _wish(self, act: Callable[[], object]) -> None:
        self._wishes.append(act)
        self._awake.set()
        if self._ended:
            self._draw()

    def _follow(self) -> None:
        try:
            while self._tail.running and not self._closing.is_set():
                self._awake.wait(_IDLE_S)
                self._awake.clear()
                self._draw()
                self._closing.wait(_REDRAW_S)
        finally:
            self._unsubscribe()
            self._ended = True
            self._draw()

    def _draw(self) -> None:
        with self._turn:
            while self._wishes:
                self._try(self._wishes.popleft())
            self._try(self._show)

    def _try(self, act: Callable[[], object]) -> None:
        """Do something that records or a person can make fail; say so, where it does, and go on."""
        try:
            act()
        except KafkalabError as error:
            self._say(str(error), wrong=True)
        except Exception as error:  # noqa: BLE001 - in a thread nobody would see it, and the next one may do
            self._say(f"this could not be shown: {type(error).__name__}: {error}", wrong=True)

    def _show(self) -> None:
        tail = self._tail
        self._status.value = f'<div class="kafkalab-status">{tail.status}{self._state()}</div>'
        self._pause.description = "Resume" if tail.paused else "Pause"
        self._stop.disabled = not tail.running
        if tail.error is not None:
            self._say(str(tail.error), wrong=True)
        now = (tail.seen - tail.behind, tail.paused, self._where.value, tail.running)
        if now != self._drawn:
            self._drawn = now
            self._rows.value = self._table()

    def _state(self) -> str:
        return "" if self._tail.running else " · failed" if self._tail.error else " · stopped"

    def _table(self) -> str:
        tail = self._tail
        whole = tail.paused or not tail.running
        rows, _ = tail.snapshot(None if whole else _LIVE_ROWS)
        return table_html(rows, all_columns=tail.columns_asked, older=0 if whole else tail.shown - rows.num_rows)

    def _pause_or_resume(self) -> None:
        if self._tail.paused:
            self._tail.resume()
        else:
            self._tail.pause()

    def _filter(self) -> None:
        self._tail.filter(self._where.value.strip() or None)
        self._say("", wrong=False)

    def _take(self) -> None:
        """Put the rows where the next cell finds them, under a name that is not taken."""
        shell = kernel_shell()
        if shell is None:
            return
        plain = re.sub(r"\W", "_", f"{self._tail.topic}_rows", flags=re.ASCII)
        name = first = plain if plain.isidentifier() else f"_{plain}"
        number = 1
        while name in shell.user_ns:
            number += 1
            name = f"{first}_{number}"
        shell.user_ns[name] = frame = self._tail.df
        self._say(f"{name} is a DataFrame of these {len(frame):,} rows, as of {time.strftime('%H:%M:%S')}", wrong=False)

    def _say(self, text: str, *, wrong: bool) -> None:
        self._message.value = message_html(text, wrong=wrong)
