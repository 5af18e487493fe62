"""The tuning panel as a person uses it."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.jupyter import CELL_MS, Jupyter, Notebook

pytestmark = pytest.mark.timeout(240)
LIVE_MS = 30_000


def picture(panel: Locator) -> str:
    source = panel.locator("img").get_attribute("src")
    assert source is not None
    return source


def press(panel: Locator, name: str) -> None:
    panel.get_by_role("button", name=name, exact=True).click()


def state(panel: Locator) -> Locator:
    return panel.locator(".kafkalab-state")


def slider(panel: Locator, name: str) -> Locator:
    return panel.locator(".kafkalab-knob").filter(has_text=name).locator(".noUi-handle")


def test_a_panel_is_turned_by_hand(jupyter: Jupyter, open_notebook: Callable[[str], Notebook]) -> None:
    cells = [
        "import kafkalab as kl\nlab = kl.demo('apache')",
        "session = lab.tune('orders', process=kl.simulate(sleep_ms=1), workers=2)\nsession",
        "session.run(600)",
        "print('changes:', list(session.history['restarted' if 0 else 'change']))",
        "import psutil",
    ]
    notebook = open_notebook(jupyter.write("panel.ipynb", cells[:4]))
    notebook.run(0)
    notebook.run(1)
    panel = notebook.output(1).locator(".kafkalab-panel")
    expect(state(panel)).to_have_text("idle")
    press(panel, "Start")
    expect(panel.locator(".kafkalab-history")).to_contain_text("(", timeout=LIVE_MS)
    before = picture(panel)
    expect(panel.locator("img")).not_to_have_attribute("src", before, timeout=LIVE_MS)
