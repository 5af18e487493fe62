"""The code in README.md and docs/ runs, in order, as a reader would type it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kafkalab as kl
from kafkalab.cli.arguments import parser
from kafkalab.cli.main import main

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
WITHOUT_END = ("kafkalab demo", "kafkalab lab")
SOME_CLUSTER = "localhost:9092"


@pytest.fixture(scope="module")
def lab() -> Iterator[kl.Lab]:
    with kl.demo("apache") as lab:
        yield lab


@pytest.fixture
def bootstrap(lab: kl.Lab) -> str:
    found = re.search(r"127\.0\.0\.1:\d+", repr(lab))
    assert found is not None
    return found[0]


@pytest.fixture
def folder(bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader would be: in a folder with a client.properties."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "client.properties").write_text(f"bootstrap.servers={bootstrap}\n")
    return tmp_path


def run(path: Path, lab: kl.Lab, bootstrap: str) -> dict[str, Any]:
    names: dict[str, Any] = {"kl": kl, "lab": lab}
    for number, block in enumerate(BLOCK.findall(path.read_text("utf-8"))):
        code = block.replace(SOME_CLUSTER, bootstrap).replace("kl.demo()", "lab")
        exec(compile(code, f"{path.name}, block {number}", "exec"), names)  # noqa: S102 - this is what is tested
    return names


@pytest.mark.parametrize(
    "path", [path for path in DOCS if BLOCK.search(path.read_text("utf-8"))], ids=lambda path: path.name
)
@pytest.mark.filterwarnings("ignore::kafkalab.LimitWarning")
def test_its_code_runs(
    path: Path, lab: kl.Lab, bootstrap: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run(path, lab, bootstrap)
    text = path.read_text("utf-8")
    assert [line for line in capsys.readouterr().out.splitlines() if f"# {line}" not in text] == []
    if path.name == "reading.md":
        assert len(names["some"]) + len(names["rest"]) == lab.describe("orders")["span"].sum()
    if path.name == "README.md":
        assert (names["big"]["amount"] > 100).all()
        assert len(list((folder / "out").glob("part-orders+*.parquet"))) == 4


def test_the_lines_of_the_command_line_run(
    bootstrap: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "cli.md").read_text("utf-8").replace(SOME_CLUSTER, bootstrap)
    for line in (line for block in SHELL.findall(text) for line in block.splitlines()):
        program, *arguments = shlex.split(line.partition("|")[0])
        if program == "export":
            monkeypatch.setenv(*arguments[0].split("="))
        elif line.startswith(WITHOUT_END):
            parser().parse_args(arguments)
        else:
            assert (main(arguments), capsys.readouterr().err) == (0, ""), line
    assert len(kl.load(folder / "out")) == 100_000
    assert set(kl.load(folder / "sheets")["topic"]) == {"customers"}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_its_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []
