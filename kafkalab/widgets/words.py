"""What the panel says, as HTML: whatever comes from elsewhere is text in it. Pure."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

from kafkalab.text import safe
from kafkalab.tuning.meter import short

if TYPE_CHECKING:
    import pandas as pd

    from kafkalab.tuning.advise import Advice
    from kafkalab.tuning.session import TuningSession

_ROWS = 5
_QUESTION = "The topic has no more records."
_BLOCKED = "A cell waits for this run: until it is over, clicks wait too. Kernel > Interrupt stops it."


def state(session: TuningSession) -> str:
    """Return what a session is doing, in a few words."""
    if session.state in ("warming up", "settling"):
        return f"{session.state} ({math.ceil(session.settles_in)} s)"
    return session.progress or session.state


def _shown(text: str) -> str:
    """Return somebody's text as it can be shown."""
    return html.escape(safe(text))


def header(session: TuningSession, lag: float) -> str:
    """Return the topic, what is read of it, and the state."""
    setup = session.setup
    behind = short(lag) if math.isfinite(lag) else "unknown"
    topic = f"<b>{_shown(setup.topic)}</b> · {setup.partitions} partitions · lag {behind}"
    doing = f'<b class="kafkalab-state">{html.escape(state(session))}</b> &nbsp; process {_shown(setup.process)}'
    return f'<div class="kafkalab-line">{topic}</div><div class="kafkalab-line">{doing}</div>'


def verdict(session: TuningSession, advice: Advice | None) -> str:
    """Return what the person should know first: an error, a question, a comparison, what holds the consumer back."""
    lines = []
    if session.error is not None:
        error = session.error
        lines.append(f"<b>Failed:</b> {_shown(f'{type(error).__name__}: {error}')}. Mend it, then Start again.")
    elif session.state == "caught up":
        lines.append(_QUESTION)
    found = session.comparison
    if found is not None and session.setup in (found.a, found.b):
        lines.append(f"<b>A|B</b> ({html.escape(found.change)}): {html.escape(found.text)}")
    if advice is not None and session.error is None:
        lines.append(html.escape(advice.text).replace("Bottleneck:", "<b>Bottleneck:</b>", 1))
    if session.blocking:
        lines.append(_BLOCKED)
    return "<br>".join(lines) or html.escape(_waiting(session))


def message(text: str) -> str:
    """Return what there is to say about the settings, in one line that shows in full on hover."""
    return f'<span class="kafkalab-message" title="{_shown(text)}">{_shown(text)}</span>' if text else ""


def _waiting(session: TuningSession) -> str:
    if session.state == "idle":
        return "Start runs your consumer with these settings; move a slider to see what it changes."
    if session.state == "comparing":
        return "A and B take turns on the same records; which is faster is said when all turns are over."
    return "No numbers yet: what is measured counts once the consumer has settled."


def history(frame: pd.DataFrame) -> str:
    """Return the first and the newest rows as a table."""
    shown = frame if len(frame) <= _ROWS else frame.iloc[[0, *range(len(frame) - _ROWS + 1, len(frame))]]
    names = ("#", "change", "records/s", "MB/s", "CPU", "queue", "against #1")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(_row(number, row) for number, row in zip(shown.index, shown.to_dict("records"), strict=True))
    return f'<table class="kafkalab-history"><tr>{head}</tr>{rows}</table>'


def _row(number: int, row: dict[Any, Any]) -> str:
    change = html.escape(str(row["change"]))
    cells = [str(number), f'<span title="{change}">{change}</span>', *(["not yet", *"     "][:5])]
    if math.isfinite(row["records_rate"]):
        spread = f"{short(row['records_rate'])} ({short(row['low'])}-{short(row['high'])})"
        against = "-" if number == 1 else f"{row['against_first']:.3g}x"
        rest = (f"{row['bytes_rate'] / 1e6:.3g}", f"{row['cpu']:.2g}", f"{row['queue_share']:.0%}", against)
        cells[2:] = [spread, *rest]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def copied(text: str) -> str:
    """Return a field with a text to copy, which a click selects and copies."""
    act = "this.select();document.execCommand('copy')"
    rows = min(text.count("\n") + 1, 8)
    field = f'<textarea readonly rows="{rows}" onclick="{act}">{html.escape(text)}</textarea>'
    return f'<div class="kafkalab-copy">{field}<br>a click copies it</div>'


STYLE = """<style>
.kafkalab-panel { font-size: 13px; }
.kafkalab-panel .widget-html-content { line-height: 18px; }
.kafkalab-knob { position: relative; height: 25px; }
.kafkalab-knob .widget-readout { display: none; }
.kafkalab-knob:has(.noUi-state-drag) .widget-readout, .kafkalab-knob:has(.noUi-active) .widget-readout {
  display: block; position: absolute; right: 2px; top: 0; width: 74px; z-index: 2;
  background: var(--jp-layout-color1, white); }
.kafkalab-panel .widget-html, .kafkalab-panel .widget-html-content { margin-top: 0; margin-bottom: 0; }
.kafkalab-line, .kafkalab-message, .kafkalab-title {
  display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.kafkalab-message { font-style: italic; }
.kafkalab-title { font-size: 12px; line-height: 24px; }
.kafkalab-knob > * { margin-top: 0; margin-bottom: 0; height: 24px; }
.kafkalab-knob input, .kafkalab-knob select { height: 22px !important; line-height: 20px; font-size: 12px; }
.kafkalab-state { border: 1px solid; border-radius: 3px; padding: 0 6px; }
.kafkalab-history { border-collapse: collapse; width: 100%; table-layout: auto; }
.kafkalab-history th { text-align: right; white-space: nowrap; font-weight: 600; padding: 0 8px; }
.kafkalab-history td { text-align: right; padding: 0 8px; white-space: nowrap; line-height: 18px; }
.kafkalab-history td:nth-child(2), .kafkalab-history th:nth-child(2) {
  text-align: left; max-width: 320px; overflow: hidden; text-overflow: ellipsis; width: 100%; }
.kafkalab-history tr + tr { border-top: 1px solid rgba(128, 128, 128, 0.4); }
.kafkalab-copy textarea { width: 98%; font-family: monospace; background: transparent; color: inherit; }
.kafkalab-panel img { width: 100%; max-width: 1100px; }
</style>"""
