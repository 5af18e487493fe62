"""Export folders that are damaged, or made by somebody who means harm."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import kafkalab as kl
from kafkalab.errors import ExportError
from tests.damage import signed
from tests.oracle import TOPIC, lab_of

REPOSITORY = Path(__file__).parents[2]
MANIFEST = f"_{TOPIC}+jsonl+manifest.json"
FILE = f"part-{TOPIC}+0+0-2.jsonl"
SECRET = b'{"secret": 1}\n'


@pytest.mark.timeout(60)  # a process that imports all of it first
def test_damaged_folders_are_declared_errors() -> None:
    check_damaged(3, 100)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_damaged_folders_are_declared_errors() -> None:
    check_damaged(4, 10_000)


def check_damaged(seed: int, count: int) -> None:
    """Run where a crash is seen, and does no harm."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.damage", str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-3000:]
    assert "'ExportError'" in done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an export, beside a file that is none of its."""
    where = tmp_path / "export"
    export(where)
    (tmp_path / "secret.jsonl").write_bytes(SECRET)
    return where


def export(folder: Path, **options: Any) -> None:
    lab_of(b"a", b"b").export(TOPIC, folder, format="jsonl", value="text", progress=False, **options)


def changed(folder: Path, *places: tuple[str, Any], **values: Any) -> None:
    """Change a manifest as somebody would who knows how it is signed."""
    data = json.loads((folder / MANIFEST).read_text())
    for name, value in places:
        data["files"][0][name] = value
    signed(folder / MANIFEST, data | values)


def check_harmless(folder: Path) -> None:
    """See that neither reading nor writing there does anything outside."""
    for call in (
        lambda: kl.load(folder),
        lambda: export(folder, resume=True),
        lambda: export(folder, overwrite=True),
    ):
        with pytest.raises(ExportError):
            call()
    assert (folder.parent / "secret.jsonl").read_bytes() == SECRET
    assert sorted(path.name for path in folder.parent.iterdir()) == ["export", "secret.jsonl"]


@pytest.mark.parametrize("name", ["../secret.jsonl", "/etc/passwd", "a/b", ""])
def test_a_manifest_cannot_name_a_file(name: str, folder: Path) -> None:
    changed(folder, ("name", name))
    check_harmless(folder)


@pytest.mark.parametrize("field", ["topic", "file_format"])
def test_a_manifest_cannot_have_a_name_made(field: str, folder: Path) -> None:
    changed(folder, (field, "../secret"))
    check_harmless(folder)


@pytest.mark.parametrize("field", ["superseded", "discarded"])
@pytest.mark.parametrize("value", [["../secret.jsonl"], [{"name": "../secret.jsonl"}]])
def test_a_manifest_cannot_have_a_file_deleted(field: str, value: Any, folder: Path) -> None:
    changed(folder, **{field: value})
    check_harmless(folder)


def test_a_manifest_of_another_topic_is_refused(folder: Path) -> None:
    changed(folder, topic="../x")
    check_harmless(folder)


def test_a_link_out_of_the_folder_is_not_read(folder: Path) -> None:
    (folder / FILE).unlink()
    (folder / FILE).symlink_to(folder.parent / "secret.jsonl")
    with pytest.raises(ExportError, match="is a link that leads out of the folder"):
        kl.load(folder)
    (folder / MANIFEST).rename(folder.parent / "manifest")
    (folder / MANIFEST).symlink_to(folder.parent / "manifest")
    with pytest.raises(ExportError, match="is a link that leads out of the folder"):
        kl.load(folder)


def test_a_link_within_the_folder_is_read(folder: Path) -> None:
    (folder / FILE).rename(folder / "elsewhere")
    (folder / FILE).symlink_to("elsewhere")
    assert kl.load(folder)["value"].tolist() == ["a", "b"]


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_out_of_the_folder_is_not_written_through(dangling: bool, folder: Path) -> None:  # noqa: FBT001 - a parameter of a test
    """The names that an export writes under are known before it does."""
    outside = folder.parent / ("other" if dangling else "secret.jsonl")
    for name in (
        f".part-{TOPIC}+0+0+1.jsonl.partial",
        f".{MANIFEST}.partial",
        f"part-{TOPIC}+0+0-2+1.jsonl",
    ):
        (folder / name).symlink_to(outside)
    export(folder, overwrite=True)
    assert kl.load(folder)["value"].tolist() == ["a", "b"]
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, f"part-{TOPIC}+0+0-2+1.jsonl"]
    assert (folder.parent / "secret.jsonl").read_bytes() == SECRET
    assert not (folder.parent / "other").exists()


def test_a_link_in_place_of_the_lock_is_not_written_through(folder: Path) -> None:
    (folder / f".{TOPIC}+jsonl.lock").symlink_to(folder.parent / "secret.jsonl")
    with pytest.raises(ExportError, match=r"cannot write .*orders\+jsonl.lock"):
        export(folder, overwrite=True)
    assert (folder.parent / "secret.jsonl").read_bytes() == SECRET


def test_a_pipe_is_no_file(folder: Path) -> None:
    (folder / FILE).unlink()
    os.mkfifo(folder / FILE)
    with pytest.raises(ExportError, match="is not there"):
        kl.load(folder)


def test_a_type_that_runs_code_of_somebody_else_is_refused(folder: Path) -> None:
    class Foreign(pa.ExtensionType):  # type: ignore[misc]  # pyarrow has no types
        def __init__(self) -> None:
            super().__init__(pa.int64(), "tests.foreign")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, _: Any, __: Any) -> "Foreign":
            return cls()

    pa.register_extension_type(Foreign())
    try:
        nested = pa.struct([("x", pa.list_(Foreign()))])
        schema = pa.schema([("value", nested)]).serialize().to_pybytes()
        changed(folder, ("schema", base64.b64encode(schema).decode()))
        with pytest.raises(ExportError, match="a column has a type that no export writes"):
            kl.load(folder)
    finally:
        pa.unregister_extension_type("tests.foreign")


def test_a_changed_digit_is_seen_in_text_too(folder: Path) -> None:
    text = (folder / FILE).read_text()
    (folder / FILE).write_text(text.replace('"a"', '"c"'))
    with pytest.raises(
        ExportError, match=r"orders\[0\]@0: .*part-orders\+0\+0-2.jsonl is damaged: it is not as it was"
    ):
        kl.load(folder)
    (folder / FILE).write_text(text)
    manifest = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(manifest.replace('"records": 2', '"records": 3'))
    with pytest.raises(ExportError, match=r"is damaged: .*its checksum is another"):
        kl.load(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 100_000, '{"kafkalab": 2, "a": ' + "[" * 100_000, "9" * 100_000])
def test_json_that_is_deep_or_long(text: str, folder: Path) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ExportError, match="is no manifest of an export"):
        kl.load(folder)
