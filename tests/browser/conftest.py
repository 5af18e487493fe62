"""One JupyterLab and one Chromium for all of these tests; a window of its own for each."""

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.jupyter import CELL_MS, SCREENSHOTS, Jupyter, Notebook, running_jupyter

CHROMIUM_OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    with running_jupyter(tmp_path_factory.mktemp("jupyter")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path is not None, "There is no chromium: `make browser` installs it."
    expect.set_options(timeout=CELL_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(CELL_MS)
    yield context.new_page()
    context.close()


@pytest.fixture
def open_notebook(jupyter: Jupyter, page: Page, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Notebook]]:
    """Open a notebook of the server's folder; its kernel ends with the test."""
    opened: list[Notebook] = []

    def open_it(name: str) -> Notebook:
        opened.append(Notebook(page, jupyter, name))
        return opened[-1]

    yield open_it
    # What a test has ended with tells most about why it failed.
    page.screenshot(path=SCREENSHOTS / f"{request.node.name}.png")
    for notebook in opened:
        notebook.close()
