"""Exports that are cut off and gone on with, that meet others, and whose records change on the way."""

import itertools
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest

import kafkalab as kl
from kafkalab.errors import ArgumentError, DataLossError, ExportError
from kafkalab.export import write
from kafkalab.export.folder import Folder
from kafkalab.export.manifest import Manifest
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from tests.oracle import NEW_YEAR_MS, TOPIC, lab_of

COUNT = 40
FORMATS = pytest.mark.parametrize("file_format", ["parquet", "feather", "csv", "jsonl"])


def filled(partitions: int = 2, count: int = COUNT) -> MemoryCluster:
    cluster = MemoryCluster({TOPIC: partitions})
    for number in range(count):
        record = MemoryRecord(b'{"n": %d}' % number, timestamp_ms=NEW_YEAR_MS + number)
        cluster.append(TOPIC, record, partition=number % partitions)
    return cluster


def export(cluster: MemoryCluster, folder: Path, *places: Any, **options: Any) -> pd.DataFrame:
    options = {"value": "text", "progress": False, **options}
    return kl.Lab(cluster, cluster).export(TOPIC, folder, *places, **options)


def places(frame: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(frame["partition"], frame["offset"], strict=True))


def everything(partitions: int = 2, count: int = COUNT) -> list[tuple[int, int]]:
    return sorted((number % partitions, number // partitions) for number in range(count))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be of three records, many of them: the disk need not keep up."""
    monkeypatch.setattr(write, "_GROUP_ROWS", 3)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def cut_off(cluster: MemoryCluster, after: int, error: type[BaseException]) -> None:
    """Make an engine fail at a step, once."""
    steps = itertools.count()

    def fail(_: Any, __: int) -> None:
        if next(steps) == after:
            raise error

    cluster.before_step = fail


@FORMATS
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("after", range(0, COUNT, 7))
def test_an_export_that_was_cut_off_is_gone_on_with(file_format: str, after: int, tmp_path: Path) -> None:
    cluster = filled()
    cut_off(cluster, after, KeyboardInterrupt)
    options = {"format": file_format, "max_file_bytes": 1}
    with pytest.raises(KeyboardInterrupt):
        export(cluster, tmp_path, **options)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob(f"part-{TOPIC}+?+*-*")}
    cluster.append(TOPIC, b"later")
    frame = export(cluster, tmp_path, resume=True, **options)
    loaded = kl.load(tmp_path)
    # An export that has written a file ends where it was to end; one that has not knows no end.
    later = [] if before else [(0, COUNT // 2)]
    assert places(loaded) == sorted([*everything(), *later])
    assert frame["rows"].sum() == len(loaded) == kl.receipt(loaded).records
    assert kl.receipt(loaded).complete
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_finished_export_is_gone_on_after(tmp_path: Path) -> None:
    cluster = filled()
    export(cluster, tmp_path)
    assert export(cluster, tmp_path, resume=True).empty
    cluster.append(TOPIC, b"a", b"b", partition=1)
    assert export(cluster, tmp_path, resume=True)[["partition", "start", "end"]].to_numpy().tolist() == [[1, 20, 22]]
    assert places(kl.load(tmp_path)) == [*everything(), (1, 20), (1, 21)]


def test_other_offsets_can_be_added(tmp_path: Path) -> None:
    cluster = filled(1)
    export(cluster, tmp_path, 5, 10)
    export(cluster, tmp_path, 20, 30)
    export(cluster, tmp_path, 0, 40, resume=True)
    ranges = sorted(path.stem.split("+")[2] for path in tmp_path.glob("*.parquet"))
    assert ranges == ["0-5", "10-20", "20-30", "30-40", "5-10"]
    assert places(kl.load(tmp_path)) == everything(1)


def test_the_same_offsets_twice_are_refused_or_replaced(tmp_path: Path) -> None:
    cluster = filled(1)
    export(cluster, tmp_path, 5, 10)
    with pytest.raises(
        ExportError, match=r"part-orders\+0\+5-10.parquet already has offsets of orders\[0\]@0-40: resume=True"
    ):
        export(cluster, tmp_path)
    export(cluster, tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["part-orders+0+0-40+1.parquet"]
    assert places(kl.load(tmp_path)) == everything(1)


def test_what_is_replaced_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    cluster = filled(2)
    export(cluster, tmp_path, {0: 0, 1: 5})
    cut_off(cluster, 30, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        export(cluster, tmp_path, overwrite=True)
    assert (tmp_path / "part-orders+1+5-20.parquet").exists()
    assert not (tmp_path / "part-orders+0+0-20+1.parquet").exists()
    with pytest.warns(kl.KafkalabWarning, match=r"before orders\[1\]@0-20: .*has what it is to replace; .*resume=True"):
        assert places(kl.load(tmp_path)) == [place for place in everything() if place >= (1, 5) or place[0] == 0]
    export(cluster, tmp_path, resume=True)
    assert places(kl.load(tmp_path)) == everything()
    assert not (tmp_path / "part-orders+1+5-20.parquet").exists()


@pytest.mark.usefixtures("small")
def test_an_export_that_was_cut_off_is_not_begun_anew_by_mistake(tmp_path: Path) -> None:
    cluster = filled()
    cut_off(cluster, 10, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        export(cluster, tmp_path, max_file_bytes=1)
    with pytest.raises(ExportError, match=r"cut off: resume=True goes on with it, overwrite=True begins anew"):
        export(cluster, tmp_path)
    export(cluster, tmp_path, overwrite=True)
    assert places(kl.load(tmp_path)) == everything()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"value": "bytes"}, "was made with value=text, not bytes"),
        ({"columns": ["offset"]}, "columns=None"),
        ({"where": kl.field("offset") > 3}, "where=None"),
    ],
    ids=str,
)
def test_going_on_with_other_options_is_refused(options: Any, says: str, tmp_path: Path) -> None:
    cluster = filled()
    export(cluster, tmp_path)
    with pytest.raises(ArgumentError, match=says):
        export(cluster, tmp_path, resume=True, **options)


def test_going_on_by_times_is_refused_and_the_time_of_a_cut_off_export_kept(tmp_path: Path) -> None:
    cluster = filled(1)
    export(cluster, tmp_path, f"@{NEW_YEAR_MS + 10}")
    with pytest.raises(ExportError, match="which of their records are missing is not known: give offsets"):
        export(cluster, tmp_path, resume=True)
    other = tmp_path / "other"
    cluster = filled(2)
    cluster.append(TOPIC, MemoryRecord(b"old", timestamp_ms=0), partition=1)
    cut_off(cluster, 30, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        export(cluster, other, f"@{NEW_YEAR_MS + 10}")
    export(cluster, other, f"@{NEW_YEAR_MS + 39}", resume=True)
    assert places(kl.load(other)) == [(partition, offset) for partition in (0, 1) for offset in range(5, 20)]


def test_files_of_an_earlier_topic_are_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(filled(), tmp_path)
    cluster = filled()
    info = cluster.topic(TOPIC)
    monkeypatch.setattr(cluster, "topic", lambda _: type(info)(info.name, info.partitions, "another"))
    with pytest.raises(DataLossError, match="files of an earlier topic of that name"):
        export(cluster, tmp_path, resume=True)
    export(cluster, tmp_path, overwrite=True)
    assert places(kl.load(tmp_path)) == everything()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("anew_at", range(2, 7))
def test_files_that_may_be_of_another_topic_do_not_count(
    anew_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topic is made anew on the way: what is listed is of the old one, and was known to be."""
    cluster = filled(6, count=12)
    info, looks = cluster.topic(TOPIC), itertools.count(1)

    def topic(_: str) -> Any:
        return info if next(looks) < anew_at else type(info)(info.name, info.partitions, "another")

    monkeypatch.setattr(cluster, "topic", topic)
    if anew_at > 5:  # the plan's look, after 1, 2, 4 files, and at the end
        export(cluster, tmp_path)
        return
    with pytest.raises(DataLossError, match="deleted and made anew during the read"):
        export(cluster, tmp_path)
    known = [0, 0, 0, 1, 2, 4][anew_at]
    assert len(list(tmp_path.glob("part-*"))) == known
    with pytest.raises(DataLossError, match="files of an earlier topic of that name"):
        export(cluster, tmp_path, resume=True)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"kafkalab": 1}', b'{"kafkalab": 99}'])
def test_a_manifest_that_is_none_is_an_export_error(text: bytes, tmp_path: Path) -> None:
    (tmp_path / f"_{TOPIC}+parquet+manifest.json").write_bytes(text)
    with pytest.raises(ExportError, match=r"is no manifest|is of version (1|99), not 2"):
        export(filled(), tmp_path)


# Records that change on the way


def growing() -> MemoryCluster:
    """Return a topic whose fields come later, and change their types, and go."""
    cluster = MemoryCluster({TOPIC: 2})
    values = ['{"n": 1, "s": null}', '{"n": 2, "s": "x"}', '{"n": 2.5, "more": [1]}', '{"n": "text"}', '{"n": 7}', "{}"]
    for partition in range(2):
        for value in values:
            cluster.append(TOPIC, value.encode(), partition=partition)
    return cluster


@FORMATS
@pytest.mark.parametrize("size", [1, 2, 100])
def test_fields_that_change_are_what_a_read_makes_of_them(
    file_format: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_GROUP_ROWS", size)
    cluster = growing()
    export(cluster, tmp_path, format=file_format, value="json")
    loaded = kl.load(tmp_path)
    frame = kl.Lab(cluster, cluster).read(TOPIC, value="json")
    assert places(loaded) == places(frame)
    texts = [value if isinstance(value, str) else json.dumps(value) for value in loaded["n"].dropna()]
    assert [json.loads(text) for text in texts] == [json.loads(text) for text in frame["n"].dropna()]
    assert loaded["s"].dropna().tolist() == ["x", "x"]
    assert len(loaded["more"].dropna()) == 2


@pytest.mark.parametrize("file_format", ["parquet", "feather"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_the_files_of_an_export_have_the_same_columns(
    file_format: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_GROUP_ROWS", size)
    frame = export(growing(), tmp_path, format=file_format, value="json")
    assert len(pyarrow.dataset.dataset(tmp_path, format=file_format).to_table()) == 12  # the folder as it is
    dataset = pyarrow.dataset.dataset(frame["path"].tolist(), format=file_format)
    assert dataset.to_table()["n"].to_pylist() == ["1", "2", "2.5", '"text"', "7", None] * 2
    assert {str(fragment.physical_schema.field("s").type) for fragment in dataset.get_fragments()} == {"string"}
    if file_format == "parquet":
        for path, rows in zip(frame["path"], frame["rows"], strict=True):
            text = pyarrow.parquet.read_metadata(path).metadata[b"kafkalab"].decode()
            assert kl.Receipt.from_json(text).rows == rows


def test_json_lines_hold_the_values_themselves(tmp_path: Path) -> None:
    frame = export(growing(), tmp_path, format="jsonl", value="json", partitions=0)
    lines = [json.loads(line) for path in frame["path"] for line in Path(path).read_text().splitlines()]
    assert [line["n"] for line in lines] == [1, 2, 2.5, "text", 7, None]


@pytest.mark.parametrize("file_format", ["parquet", "feather"])
def test_files_of_an_earlier_export_get_a_column_that_comes_later(file_format: str, tmp_path: Path) -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b'{"a": 1}')
    export(cluster, tmp_path, value="json", format=file_format)
    cluster.append(TOPIC, b'{"a": 2, "b": "x"}')
    frame = export(cluster, tmp_path, value="json", format=file_format, resume=True)
    assert frame["start"].tolist() == [1]
    names = sorted(path.name for path in tmp_path.glob("part-*"))
    assert names == [f"part-orders+0+0-1+1.{file_format}", f"part-orders+0+1-2.{file_format}"]
    table = pyarrow.dataset.dataset(tmp_path, format=file_format).to_table()
    assert (table["a"].to_pylist(), table["b"].to_pylist()) == ([1, 2], [None, "x"])
    assert kl.load(tmp_path)["b"].tolist() == [pd.NA, "x"]


def test_text_beside_a_number_that_comes_later_is_json_in_all_files(tmp_path: Path) -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b'{"a": "x"}')
    export(cluster, tmp_path, value="json")
    cluster.append(TOPIC, b'{"a": 2}')
    export(cluster, tmp_path, value="json", resume=True)
    assert pyarrow.dataset.dataset(tmp_path).to_table()["a"].to_pylist() == ['"x"', "2"]


def test_files_of_other_rows_are_not_put_beside(tmp_path: Path) -> None:
    export(filled(1), tmp_path, 0, 10)
    with pytest.raises(ArgumentError, match="was made with value=text, not bytes: ask for the same, or take another"):
        export(filled(1), tmp_path, 10, 20, value="bytes")
    with pytest.raises(ArgumentError, match="was made with value=text, not bytes"):
        export(filled(1), tmp_path, 5, 20, value="bytes", resume=True)
    export(filled(1), tmp_path, 0, 20, value="bytes", overwrite=True)
    assert len(kl.load(tmp_path)) == 20


def test_a_timeout_is_of_the_whole_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each partition takes four of ten seconds: the third is not done in time."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    cluster = filled(4)

    def pass_time(_: Any, offset: int) -> None:
        now[0] += 4 if offset == 0 else 0

    cluster.before_step = pass_time
    with pytest.raises(ExportError, match=r"orders\[2\]@0: the export is not finished: the read stopped .*timeout"):
        export(cluster, tmp_path, timeout=10)
    monkeypatch.undo()
    cluster.before_step = None
    export(cluster, tmp_path, resume=True)
    assert places(kl.load(tmp_path)) == everything(4)


def test_an_export_that_replaces_and_was_cut_off_twice(tmp_path: Path) -> None:
    cluster = filled(2)
    export(cluster, tmp_path, 0, 10)
    for cut in (25, 30):
        cut_off(cluster, cut, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            export(cluster, tmp_path, overwrite=True)
    export(cluster, tmp_path, overwrite=True)
    assert places(kl.load(tmp_path)) == everything()
    assert len(list(tmp_path.iterdir())) == 3


def test_an_export_that_replaces_is_given_up_by_one_of_other_offsets(tmp_path: Path) -> None:
    cluster = filled(2)
    export(cluster, tmp_path, 0, 10)
    cut_off(cluster, 25, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        export(cluster, tmp_path, overwrite=True)
    with pytest.raises(ExportError, match="cut off: resume=True goes on with it, overwrite=True begins anew"):
        export(cluster, tmp_path, 10, 12)
    export(cluster, tmp_path, 0, 12, overwrite=True)
    assert places(kl.load(tmp_path)) == [place for place in everything() if place[1] < 12]


# What is read while it is written


def test_a_folder_is_loaded_while_it_is_replaced(tmp_path: Path) -> None:
    """It is the old whole until it is the new whole."""
    cluster = filled(2)
    export(cluster, tmp_path)
    found = []

    def look(*_: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kl.KafkalabWarning)
            found.append(places(kl.load(tmp_path)))

    cluster.before_step = look
    export(cluster, tmp_path, overwrite=True)
    assert len(found) > 20
    assert all(one == everything() for one in found)


def test_a_file_that_is_replaced_while_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, read = filled(2), Folder.read
    export(cluster, tmp_path)

    def replaced(folder: Folder, file: str) -> Any:
        if not file.startswith("_"):
            monkeypatch.setattr(Folder, "read", read)
            export(cluster, tmp_path, overwrite=True)
        return read(folder, file)

    monkeypatch.setattr(Folder, "read", replaced)
    assert places(kl.load(tmp_path)) == everything()


# Places to write to


@FORMATS
def test_urls_and_filesystems(file_format: str, tmp_path: Path) -> None:
    cluster = filled()
    frame = export(
        cluster, Path(), format=file_format, filesystem=pa.fs.SubTreeFileSystem(str(tmp_path), pa.fs.LocalFileSystem())
    )
    assert frame["rows"].sum() == COUNT
    url = (tmp_path / "a b").as_uri()
    frame = kl.Lab(cluster, cluster).export(TOPIC, url, format=file_format, value="text")  # type: ignore[arg-type]  # a table of formats
    assert frame["path"][0].startswith(url)
    assert places(kl.load(url)) == everything()
    assert places(kl.load(tmp_path / "a b")) == everything()


@FORMATS
@pytest.mark.usefixtures("small")
def test_an_object_store(file_format: str, tmp_path: Path) -> None:
    """One that is no folder of this machine: pyarrow's own, in memory."""
    store = pa.fs._MockFileSystem()
    cluster = filled()
    cut_off(cluster, 15, KeyboardInterrupt)
    options = {"format": file_format, "filesystem": store, "max_file_bytes": 1}
    with pytest.raises(KeyboardInterrupt):
        export(cluster, Path("bucket/out"), **options)
    export(cluster, Path("bucket/out"), resume=True, **options)
    assert places(kl.load("bucket/out", filesystem=store)) == everything()
    assert not any("partial" in info.path for info in store.get_file_info(pa.fs.FileSelector("bucket/out")))
    assert not (tmp_path / "bucket").exists()


def test_a_url_that_nothing_knows_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'gopher://x/y' is no place to write to"):
        lab_of(b"v").export(TOPIC, "gopher://x/y")


# A disk that is full

FULL = """
import resource, sys
import kafkalab as kl
from kafkalab.export import write
write._GROUP_ROWS = 1
cluster = kl.MemoryCluster({"orders": 3})
import random
for partition, size in enumerate((1_000, 2_000_000, 1_000)):
    cluster.append("orders", random.Random(1).randbytes(size), partition=partition)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
lab = kl.Lab(cluster, cluster)
try:
    lab.export("orders", sys.argv[1], format=sys.argv[2], progress=False)
except kl.ExportError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
lab.export("orders", sys.argv[1], format=sys.argv[2], resume=True, progress=False)
print(len(kl.load(sys.argv[1])))
"""


@pytest.mark.timeout(60)  # a process of its own imports everything first
@pytest.mark.parametrize("file_format", ["parquet", "feather"])
def test_a_file_that_the_system_does_not_let_grow(file_format: str, tmp_path: Path) -> None:
    """A full disk by another number: the kernel refuses a write in the middle of a file."""
    command = [sys.executable, "-W", "error", "-c", FULL, str(tmp_path), file_format]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    error, rows = done.stdout.splitlines()
    assert "part-orders+1+0" in error
    assert "File too large; files that have their names are whole" in error
    assert (rows, done.stderr) == ("3", "")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_the_manifest_is_json_that_people_can_read(tmp_path: Path) -> None:
    export(filled(1), tmp_path)
    data = json.loads((tmp_path / f"_{TOPIC}+parquet+manifest.json").read_text())
    assert (data["topic"], data["pending"], data["reading"]["value"]) == (TOPIC, [], "text")
    assert [file["name"] for file in data["files"]] == ["part-orders+0+0-40.parquet"]
    assert data["files"][0]["receipt"]["partitions"][0]["records"] == COUNT
    manifest = Manifest.load(Folder.at(tmp_path), f"_{TOPIC}+parquet+manifest.json", [])
    assert manifest is not None
    assert [file.rows for file in manifest.written] == [COUNT]
