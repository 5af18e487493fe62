"""JupyterLab as a person has it: a server of its own, and a notebook in a window of Chromium."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nbformat
from playwright.sync_api import Locator, Page, expect

from kafkalab.brokers.ports import free_ports

ROOT = Path(__file__).parents[2]
SCREENSHOTS = Path(__file__).parent / "screenshots"
START_SECONDS = 60
CELL_MS = 60_000

# All cells stay in the document, also those out of sight; nothing is asked of the network.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
    "apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
}
OPTIONS = [
    "--allow-root",
    "--no-browser",
    "--ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
]
READY = """() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    const kernel = context?.isReady && context.session?.kernel;
    return kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""


@dataclass(frozen=True, slots=True)
class Jupyter:
    """A running JupyterLab, and the folder that it shows."""

    url: str
    token: str
    folder: Path

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Make a notebook of code cells; give its name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.folder / name)
        return name


@contextlib.contextmanager
def running_jupyter(folder: Path) -> Iterator[Jupyter]:
    """Start JupyterLab on a copy of the notebooks, with settings of its own; end it by its process."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    (port,) = free_ports(1)
    jupyter = Jupyter(f"http://127.0.0.1:{port}/", secrets.token_hex(16), folder / "notebooks")
    command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={jupyter.folder}", f"--port={port}", *OPTIONS]
    with (
        (folder / "jupyter.log").open("w") as log,
        subprocess.Popen(command, env=_environment(folder, jupyter), stderr=subprocess.PIPE, text=True) as server,
        _ended(server),
        _followed(server, log),
    ):
        yield jupyter


def _environment(folder: Path, jupyter: Jupyter) -> dict[str, str]:
    own = {
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_TOKEN": jupyter.token,
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "PYTHONPATH": str(ROOT),
    }
    return {**os.environ, **own}


@contextlib.contextmanager
def _followed(server: subprocess.Popen[str], log: IO[str]) -> Iterator[None]:
    """Keep what the server says; begin when it says that it is there."""
    assert server.stderr is not None
    running, lines = threading.Event(), server.stderr

    def follow() -> None:
        for line in lines:
            log.write(line)
            log.flush()
            if "is running at" in line:
                running.set()
        running.set()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        assert running.wait(START_SECONDS), f"JupyterLab did not start: {Path(log.name).read_text()}"
        assert server.poll() is None, f"JupyterLab has ended: {Path(log.name).read_text()}"
        yield
    finally:
        server.terminate()
        thread.join(START_SECONDS)


@contextlib.contextmanager
def _ended(server: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        server.terminate()
        try:
            server.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()


class Notebook:
    """A notebook that is open in a page. Cells are counted from 0, code and text alike."""

    def __init__(self, page: Page, jupyter: Jupyter, name: str) -> None:
        self.page = page
        self._jupyter = jupyter
        page.goto(f"{jupyter.url}doc/tree/{name}?token={jupyter.token}&reset")
        self.cells = page.locator(".jp-Notebook .jp-Cell")
        expect(self.cells.first).to_be_visible(timeout=CELL_MS)
        # A command that comes too early is passed over in silence.
        page.wait_for_function(READY, timeout=CELL_MS)

    def command(self, name: str, **arguments: Any) -> Any:
        """Have JupyterLab carry out one of its commands, and wait until it is done."""
        # What a command gives need not be something that can leave the page.
        script = "([name, given]) => window.jupyterapp.commands.execute(name, given).then(() => null)"
        return self.page.evaluate(script, [name, arguments])

    def run_all(self) -> None:
        """Run all cells, and wait until the last is done."""
        self.command("notebook:run-all-cells")

    def run(self, number: int) -> None:
        """Run one cell, and wait until it is done."""
        self.select(number)
        self.command("notebook:run-cell")

    def start(self, number: int) -> None:
        """Run one cell without waiting for it."""
        self.select(number)
        self.page.keyboard.press("Control+Enter")

    def select(self, number: int) -> None:
        """Make a cell the active one, as a click on its margin does."""
        self.cells.nth(number).locator(".jp-InputPrompt").click()

    def output(self, number: int) -> Locator:
        """Give what a cell shows; it may be nothing yet."""
        return self.cells.nth(number).locator(".jp-Cell-outputArea")

    @property
    def complaints(self) -> Locator:
        """The errors and warnings that cells show, and what else they write to standard error."""
        return self.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")

    def theme(self, name: str) -> None:
        """Put on ``"JupyterLab Light"`` or ``"JupyterLab Dark"``."""
        self.command("apputils:change-theme", theme=name)
        expect(self.page.locator(f"body[data-jp-theme-name='{name}']")).to_be_attached()

    def screenshot(self, name: str, part: Locator | None = None) -> Path:
        """Keep a picture of the page, or of a part of it."""
        path = SCREENSHOTS / f"{name}.png"
        (self.page if part is None else part).screenshot(path=path)
        return path

    def close(self) -> None:
        """End the kernel; a page that is closed leaves it running."""
        asked = self.page.request
        headers = {"Authorization": f"token {self._jupyter.token}"}
        for kernel in asked.get(f"{self._jupyter.url}api/kernels", headers=headers).json():
            asked.delete(f"{self._jupyter.url}api/kernels/{kernel['id']}", headers=headers)
