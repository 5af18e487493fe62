import os
import re
import subprocess
import sys
import tarfile
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kafkalab import _native

ROOT = Path(__file__).parent.parent
CONDA_NAMES = {"confluent-kafka": "python-confluent-kafka", "matplotlib": "matplotlib-base"}


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def crate() -> dict[str, Any]:
    package: dict[str, Any] = tomllib.loads((ROOT / "rust/Cargo.toml").read_text())["package"]
    return package


@cache
def tracked_texts() -> dict[str, str]:
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    paths = {name: ROOT / name for name in names if name}
    texts = {}
    for name, path in paths.items():
        if path.is_file():  # a file deleted but not yet committed is still listed
            texts[name] = path.read_text(errors="replace")
    return texts


def complaints(pattern: re.Pattern[str], *suffixes: str) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in tracked_texts().items()
        if name.endswith(suffixes or "")
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def conda_packages() -> dict[str, SpecifierSet]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [re.fullmatch(r"([a-z0-9_-]+)(.*)", entry) for entry in listed if isinstance(entry, str)]
    return {m[1]: SpecifierSet(re.sub(r"^=(?=\d)", "==", m[2])) for m in conda if m}


def test_conda_has_each_dependency_with_the_bound_of_pip() -> None:
    project = pyproject()["project"]
    wanted = map(Requirement, project["dependencies"] + project["optional-dependencies"]["lab"])
    packages = conda_packages()
    for requirement in wanted:
        name = CONDA_NAMES.get(requirement.name, requirement.name)
        assert packages[name] == requirement.specifier, name


def test_conda_python_is_one_that_the_project_supports() -> None:
    (pin,) = conda_packages()["python"]
    assert Version(pin.version) in SpecifierSet(pyproject()["project"]["requires-python"])


def test_conda_builds_with_the_maturin_and_rust_that_the_project_asks_for() -> None:
    packages = conda_packages()
    (maturin,) = map(Requirement, pyproject()["build-system"]["requires"])
    assert packages["maturin"] == maturin.specifier
    assert packages["rust"] == SpecifierSet(f">={crate()['rust-version']}")


def test_conda_installs_extras_that_exist() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    (line,) = pip
    extras = Requirement(line.removeprefix("-e ").replace(".", "kafkalab", 1)).extras
    assert extras <= pyproject()["project"]["optional-dependencies"].keys()


def test_both_halves_are_of_the_version_in_the_sources() -> None:
    assert Version(_native.version()) == Version(metadata.version("kafkalab")) == Version(crate()["version"])


def test_each_lint_rule_that_is_off_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    codes = [line for line in lines if re.match(r'\s+"[A-Z]+\d*",', line)]
    rules = pyproject()["tool"]["ruff"]["lint"]
    assert len(codes) == len(rules["ignore"]) + sum(map(len, rules["per-file-ignores"].values()))
    assert [line for line in codes if not re.search(r"# \w+", line)] == []


def test_each_suppression_in_the_code_says_why() -> None:
    bare = re.compile(r"# (noqa|type: ignore|pragma: no \w+)\b(?!.*( - |# )\w)")
    assert complaints(bare, ".py", ".pyi") == []


def test_no_file_names_a_registry_host_or_a_path_of_one_machine() -> None:
    # Written so that this file does not complain of itself.
    names = "pypi pythonhosted crates maven maven.apache npmjs anaconda golang debian"
    hosts = "|".join(map(re.escape, names.split()))
    # Cargo.lock calls the registry by a fixed name, whichever mirror is in use.
    found = complaints(re.compile(rf"\b({hosts})\.(org|com|io)\b(?!-index)|(?<![\w.}}-])/(home|root|Users|work)/\w"))
    assert found == []


def test_help_is_the_default_and_lists_every_phony_target() -> None:
    phony = set(re.findall(r"^\.PHONY: (\w+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    printed = subprocess.run(["make"], cwd=ROOT, env=env, capture_output=True, check=True, text=True).stdout
    listed = dict(line.removeprefix("make ").split(maxsplit=1) for line in printed.splitlines())
    assert listed.keys() == phony


@pytest.mark.timeout(60)
def test_the_source_archive_holds_what_builds_it_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "maturin", "sdist", "--out", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as opened:
        names = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in opened.getnames()}
    top = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert top | {"rust/Cargo.lock", "rust/Cargo.toml", "rust/src/lib.rs", "kafkalab/py.typed"} <= names
    others = {
        name
        for name in names - top
        if not re.fullmatch(r"rust/.*|kafkalab/.*\.(py|pyi|sha256)|kafkalab/py.typed", name)
    }
    assert others == set()
