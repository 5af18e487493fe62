"""The tuning panel: a thin shell on a `TuningSession`, which does everything without it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from kafkalab.errors import KafkalabError
from kafkalab.plot.live import Live
from kafkalab.settings import ConsumerSettings
from kafkalab.widgets import words
from kafkalab.widgets.knobs import Knobs
from kafkalab.widgets.pulse import Pulse
from kafkalab.widgets.quiet import Quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kafkalab.tuning.session import TuningSession

_CUSTOM = "custom"


class Panel:
    """Shows a session, and has its settings changed by hand.

    A click only calls what returns at once. What is shown follows the session, whoever has changed it: `Pulse` redraws.

    Parameters
    ----------
    session : TuningSession
        What to show.

    Attributes
    ----------
    widget : ipywidgets.VBox
        All of it.
    """

    def __init__(self, session: TuningSession) -> None:
        self._session = session
        self._live = Live()
        self._lock = threading.RLock()
        self._said = ""
        self._named: ConsumerSettings | None = None
        self._waits = False
        self._quiet = Quiet()
        self._build()
        self._pulse = Pulse(self.refresh, lambda: session.running)
        self._leave = session.subscribe(self._pulse.poke)
        self.refresh()

    def _build(self) -> None:
        self.header = w.HTML(layout=w.Layout(flex="1 1 0", min_width="0"))
        self.presets = w.Dropdown(
            options=[_CUSTOM, *ConsumerSettings.presets()],
            tooltip="\n".join(f"{name}: {purpose}" for name, purpose in ConsumerSettings.presets().items()),
            layout=w.Layout(width="112px", flex="0 0 auto"),
        )
        self.presets.observe(self._on_preset, "value")
        session = self._session
        self.buttons = {
            "Start": self._button("Start", session.start, "run the consumer", "success"),
            "Stop": self._button("Stop", lambda: session.stop(wait=False), "while a cell runs: Kernel > Interrupt"),
            "A|B": self._button("A|B", self._compare, "in turns: what was set before the last change, and this"),
            "Reset": self._button("Reset", session.reset, "the settings that it had in the beginning"),
        }
        self.knobs = Knobs(self._pick, self._say)
        self.message = w.HTML(layout=w.Layout(min_height="18px"))
        self.image = w.Image(format="png", layout=w.Layout(width="100%"))
        self.verdict = w.HTML(layout=w.Layout(flex="1 1 auto", min_height="36px"))
        self.apply = self._button("Apply", self._apply, "do what is advised", "info")
        self.replay = self._button("Replay from the start", session.replay, "read it over and over", width="160px")
        self.wait = self._button("Wait for new records", self._go_on_waiting, "as it does", width="160px")
        self.history = w.HTML()
        self.copied = w.HTML()
        copies = [
            self._button(
                name, self._copy(getattr(ConsumerSettings, f"to_{name.lower()}")), f"in {name}'s names", width="92px"
            )
            for name in ("librdkafka", "Java", "sarama")
        ]
        export = self._button("export history", self._export, "write it to a CSV file", width="120px")
        self.footer = w.HBox(
            [w.HTML("copy settings as"), *copies, w.HTML("&nbsp;"), export], layout=w.Layout(align_items="center")
        )
        top = w.HBox(
            [self.header, *self.buttons.values(), w.HTML("preset&nbsp;"), self.presets],
            layout=w.Layout(align_items="center"),
        )
        middle = w.HBox([self.verdict, self.apply, self.replay, self.wait])
        parts = [w.HTML(words.STYLE, layout=w.Layout(display="none")), top, self.knobs.widget, self.message, self.image]
        self.widget = w.VBox([*parts, middle, self.history, self.footer, self.copied])
        self.widget.add_class("kafkalab-panel")

    def _button(
        self, name: str, act: Callable[[], object], tooltip: str, style: str = "", width: str = "64px"
    ) -> w.Button:
        button = w.Button(
            description=name, tooltip=tooltip, button_style=style, layout=w.Layout(width=width, flex="0 0 auto")
        )
        button.on_click(lambda _: self._do(act))
        return button

    # What a person does

    def _do(self, act: Callable[[], object]) -> None:
        """Do what was clicked; an error is shown here, and not in a log that nobody sees."""
        self._say("")
        try:
            act()
        except (KafkalabError, OSError) as error:
            self._say(str(error))
        except Exception as error:  # noqa: BLE001 - a notebook would put it into a log
            self._say(f"this could not be done: {type(error).__name__}: {error}")
        self._pulse.poke()

    def _say(self, text: str) -> None:
        self._said = text
        self._pulse.poke()

    def _pick(self, name: str, value: int | str) -> None:
        """Set a knob to what was picked, or to the nearest that the others allow, and say why."""

        def act() -> None:
            near, why = value, None
            if name in self._session.settings.values():
                near, why = self._session.settings.nearest(name, value)
            self._session.set(**{name: near})
            if why is not None:
                self._say(f"{name} is set to {self.knobs.shown(name, near)}, the nearest that can be: {why}")

        self._do(act)

    def _on_preset(self, change: Any) -> None:
        if self._quiet.here:
            return
        self._named = None  # so that the name of what is set shows again
        if change["new"] == _CUSTOM:
            self._pulse.poke()
        else:
            self._do(lambda: self._session.use(ConsumerSettings.preset(change["new"])))

    def _compare(self) -> None:
        before = self._session.previous
        if before is None:
            self._say("change something first: A|B measures what was set before the last change against what is set")
        else:
            self._session.start_comparison(before, self._session.setup)

    def _apply(self) -> None:
        advice = self._session.advice
        if advice is not None and advice.change is not None:
            self._session.set(**{advice.change.name: advice.change.after})

    def _go_on_waiting(self) -> None:
        self._waits = True

    def _copy(self, translate: Callable[[ConsumerSettings], Any]) -> Callable[[], None]:
        def act() -> None:
            found = translate(self._session.settings)
            said = "".join(f"\n# {note}" for note in found.notes)
            text = words.copied(f"{found.text}{said}")
            self.copied.value = "" if self.copied.value == text else text

        return act

    def _export(self) -> None:
        path = Path(f"tuning-{self._session.setup.topic}-{time.strftime('%Y%m%d-%H%M%S')}.csv")
        with path.open("x") as file:
            self._session.history.to_csv(file)
        self._say(f"written to {path}")

    # What it shows

    def refresh(self) -> None:
        """Show the session as it is."""
        with self._lock, self._quiet:
            try:
                self._refresh()
            except Exception as error:  # noqa: BLE001 - in a thread nobody would see it, and the next one may do
                self.message.value = words.message(f"this could not be drawn: {type(error).__name__}: {error}")

    def _refresh(self) -> None:
        session, shown = self._session, self._session.recent()
        caught_up = session.state == "caught up"
        self._waits = self._waits and caught_up
        asks, advice = caught_up and not self._waits, session.advice
        self._put(self.header, "value", words.header(session, float(shown.lag[-1]) if len(shown.lag) else float("nan")))
        self._put(self.message, "value", words.message(self._said or "; ".join(session.settings.cautions)))
        self._put(self.verdict, "value", words.verdict(session, advice))
        self._put(self.history, "value", words.history(session.history))
        self._put(self.buttons["Start"], "disabled", session.running)
        self._put(self.buttons["Stop"], "disabled", not session.running)
        self._show_if(self.apply, wanted=advice is not None and advice.change is not None and not asks)
        self._show_if(self.replay, wanted=asks)
        self._show_if(self.wait, wanted=asks)
        if session.settings != self._named:
            self._named = session.settings
            self._put(self.presets, "value", self._named.preset_name or _CUSTOM)
        self.knobs.show(session.setup)
        self._put(self.image, "value", self._live.png(shown))

    def _show_if(self, widget: Any, *, wanted: bool) -> None:
        self._put(widget.layout, "display", None if wanted else "none")

    @staticmethod
    def _put(widget: Any, name: str, value: object) -> None:
        if getattr(widget, name) != value:
            setattr(widget, name, value)

    def bundle(self) -> Mapping[str, Any]:
        """Return what a cell shows it by."""
        found: Mapping[str, Any] = self.widget._repr_mimebundle_()
        return {kind: data for kind, data in found.items() if kind != "text/plain"}

    def close(self) -> None:
        """End the session, and take the panel off the notebook."""
        self._leave()
        self._pulse.close()
        self._session.stop()
        _close(self.widget)


def _close(widget: Any) -> None:
    """Close a widget and what is in it; ipywidgets' own ``close_all`` would close everyone's."""
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()
