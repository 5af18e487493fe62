"""Exports that are killed, as kill -9 does, at every touch of the disk, and gone on with."""

import itertools
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import kafkalab as kl
from tests import exporter
from tests.oracle import TOPIC

pytestmark = pytest.mark.timeout(120)  # a process a touch
MORE = 2
SCENARIOS: dict[str, tuple[list[tuple[int, dict[str, Any]]], int, dict[str, Any]]] = {
    # What is in the folder before; then how many records more the killed export has, and what it is asked for.
    "fresh": ([], 0, {}),
    "resume": ([(0, {})], MORE, {"resume": True}),
    "overwrite": ([(0, {})], MORE, {"overwrite": True}),
    "overwrite a part": ([(0, {})], MORE, {"overwrite": True, "partitions": 1}),
}


def rows(frame: pd.DataFrame) -> list[tuple[int, int, Any]]:
    """Return partition, offset and field, whatever text the field became."""
    values = [json.loads(n) if isinstance(n, str) and not n.startswith("seven") else n for n in frame["n"]]
    return list(zip(frame["partition"], frame["offset"], values, strict=True))


def loaded(where: tuple[str, Any]) -> tuple[list[tuple[int, int, Any]], list[str]]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if not list(Path(where[0]).glob(f"_{TOPIC}+*+manifest.json")):
            with pytest.raises(kl.errors.ArgumentError, match=r"has no export|no folder with an export"):
                kl.load(where[0], filesystem=where[1])
            return [], ["nothing"]
        frame = kl.load(where[0], filesystem=where[1])
    return rows(frame), [str(warning.message) for warning in told]


def check_killed(tmp_path: Path, scenario: str, kind: str, file_format: Any, *, fine: bool) -> None:
    before, more, options = SCENARIOS[scenario]
    template = tmp_path / "template"
    for had, asked in before:
        exporter.export(exporter.filesystem(kind, template), had, format=file_format, **asked)
    old = exporter.truth() if before else []
    new = exporter.truth(more)
    if "partitions" in options:
        new = [*(row for row in exporter.truth() if row[0] == 0), *(row for row in new if row[0] == 1)]
    for at in itertools.count():
        folder = tmp_path / str(at)
        if before:
            shutil.copytree(template, folder)
        killed = exporter.export_killed(at, kind, folder, more, fine=fine, format=file_format, **options)
        where = exporter.filesystem(kind, folder)
        found, told = loaded(where)
        if found == new:
            assert not told or "is not finished" in told[0]  # its last file may be widened yet
        elif scenario.startswith("overwrite"):
            assert found == old
            assert not told or "has what it is to replace" in told[0]
        else:
            assert set(old) <= set(found) <= set(new)
            assert found == old or "is not finished" in told[0] or told == ["nothing"]
        again = dict(options, resume=True, overwrite=False)
        if found == old and not told and "overwrite" in options:
            again = options  # it had not begun: there is nothing to go on with
        exporter.export(where, more, format=file_format, **again)
        assert loaded(where) == (new, [])
        left = [path.name for path in folder.iterdir()]
        assert not [name for name in left if name.startswith(".") or "+added+" in name]
        visible = sorted(name for name in left if name.startswith("part-"))
        assert visible == sorted(listed(folder, file_format))
        shutil.rmtree(folder)
        if not killed:
            assert at > (50 if fine else 10)
            return


def listed(folder: Path, file_format: str) -> list[str]:
    data = json.loads((folder / f"_{TOPIC}+{file_format}+manifest.json").read_text())
    assert (data["pending"], data["superseded"], data["discarded"]) == ([], [], [])
    return [file["name"] for file in data["files"]]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_killed_export_is_whole_or_says_what_is_missing(scenario: str, tmp_path: Path) -> None:
    check_killed(tmp_path, scenario, "local", "parquet", fine=False)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("kind", ["local", "elsewhere"])
@pytest.mark.parametrize("file_format", ["parquet", "feather", "csv", "jsonl"])
def test_a_killed_export_of_any_format_anywhere(scenario: str, kind: str, file_format: str, tmp_path: Path) -> None:
    check_killed(tmp_path, scenario, kind, file_format, fine=True)
