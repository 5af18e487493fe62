"""The tuning panel as a person uses it."""

from collections.abc import Callable

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.jupyter import ROOT, Jupyter, Notebook

pytestmark = pytest.mark.timeout(300)
LIVE_MS = 40_000
SOON_MS = 5_000
EXTRA = [
    "print(session.history['change'].tolist(), session.marks['restarted'].tolist())",
    "session.run(600)",
    "from tests.apache.test_measure import children\nprint(len(children()), 'consumers')",
    "other = lab.tune('orders', workers=1)\nother",
]
CONNECT, PANEL = 1, 3


def panel_in(output: Locator) -> Locator:
    return output.locator(".kafkalab-panel")


def press(panel: Locator, name: str) -> None:
    panel.get_by_role("button", name=name, exact=True).click()


def state(panel: Locator) -> Locator:
    return panel.locator(".kafkalab-state")


def rows(panel: Locator) -> Locator:
    return panel.locator(".kafkalab-history tr:has(td)")


def picture(panel: Locator) -> str:
    source = panel.locator("img").get_attribute("src")
    assert source is not None
    return source


def drag(page: Page, panel: Locator, knob: str, by: float) -> None:
    """Move a slider in fifty steps, and let it go."""
    handle = panel.locator(".kafkalab-knob").filter(has_text=knob).locator(".noUi-handle")
    box = handle.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by, y, steps=50)
    page.mouse.up()


@pytest.fixture
def notebook(jupyter: Jupyter, open_notebook: Callable[[str], Notebook]) -> Notebook:
    """The notebook on tuning, its panel shown, with some cells at its end."""
    own = nbformat.read(ROOT / "notebooks" / "05_tune.ipynb", as_version=4)
    own.cells += [nbformat.v4.new_code_cell(source) for source in EXTRA]
    nbformat.write(own, jupyter.folder / "tune.ipynb")
    opened = open_notebook("tune.ipynb")
    opened.run(CONNECT)
    opened.run(PANEL)
    return opened


def test_knobs_are_turned_by_hand(notebook: Notebook, page: Page) -> None:
    panel = panel_in(notebook.output(PANEL))
    first = notebook.cells.count() - len(EXTRA)
    history, run, consumers, another = range(first, first + len(EXTRA))

    # It fits, and it begins with what to do.
    expect(state(panel)).to_have_text("idle")
    box = panel.bounding_box()
    assert box is not None
    assert (box["height"] < 640, box["width"] < 1280) == (True, True)

    # A run shows numbers once they mean something, and moves.
    press(panel, "Start")
    expect(rows(panel)).to_contain_text("(", timeout=LIVE_MS)
    seen = picture(panel)
    expect(panel.locator("img")).not_to_have_attribute("src", seen, timeout=SOON_MS)

    # A change of workers is made as it runs; a drag over fifty values is one restart.
    field = panel.locator(".kafkalab-knob").filter(has_text="workers").locator("input")
    field.fill("4")
    field.press("Enter")
    expect(rows(panel)).to_have_count(2, timeout=LIVE_MS)
    expect(rows(panel).nth(1)).to_contain_text("(", timeout=LIVE_MS)
    drag(page, panel, "back-off", -30)
    expect(rows(panel)).to_have_count(3, timeout=LIVE_MS)
    expect(rows(panel).nth(2)).to_contain_text("(", timeout=LIVE_MS)
    expect(panel.get_by_role("button", name="Apply", exact=True)).to_be_visible()
    notebook.screenshot("tune", panel)
    notebook.run(history)
    expect(notebook.output(history)).to_contain_text("[True, False, True]")

    # What is typed and cannot be is refused where it was typed.
    knob = panel.locator(".kafkalab-knob").filter(has_text="per partition").locator("input")
    knob.fill("1 GB")
    knob.press("Enter")
    expect(panel.locator(".kafkalab-message")).to_contain_text("fetch_max_bytes is 50 MiB", timeout=SOON_MS)
    press(panel, "Stop")
    expect(state(panel)).to_have_text("idle", timeout=SOON_MS)
    notebook.run(consumers)
    expect(notebook.output(consumers)).to_contain_text("0 consumers")

    # While a cell runs, its panel goes on, and the kernel's interrupt ends both.
    notebook.start(run)
    expect(state(panel)).to_have_text("running", timeout=LIVE_MS)
    expect(panel).to_contain_text("Kernel > Interrupt stops it")
    notebook.command("notebook:interrupt-kernel")
    expect(notebook.output(run)).to_contain_text("KeyboardInterrupt", timeout=SOON_MS)
    expect(state(panel)).to_have_text("idle", timeout=SOON_MS)

    # Two at a time; a cell that is run again ends what it had begun.
    notebook.run(another)
    press(panel_in(notebook.output(another)), "Start")
    press(panel, "Start")
    for each in (panel, panel_in(notebook.output(another))):
        expect(state(each)).to_have_text("running", timeout=LIVE_MS)
    notebook.run(consumers)
    expect(notebook.output(consumers)).to_contain_text("2 consumers")
    notebook.run(PANEL)
    expect(state(panel_in(notebook.output(PANEL)))).to_have_text("idle")
    notebook.run(consumers)
    expect(notebook.output(consumers)).to_contain_text("1 consumers")
    assert notebook.complaints.count() == 1  # the KeyboardInterrupt
