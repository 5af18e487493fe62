import csv
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import kafkalab as kl
from kafkalab.errors import ArgumentError, ExportError
from kafkalab.export import formats
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from tests.oracle import HOSTILE, NEW_YEAR_MS, TOPIC, lab_of

FORMATS = pytest.mark.parametrize("file_format", ["parquet", "feather", "csv", "jsonl"])
VALUES = [
    b'{"i": 1, "f": 1.5, "b": true, "s": "x", "o": {"a": [1, null]}, "big": 9007199254740993}',
    b'{"i": -5, "f": 0.1, "b": false, "s": "", "o": {"a": []}}',
    b'{"s": null}',
    None,
]


def exported(lab: kl.Lab, folder: Path, file_format: Any, **options: Any) -> pd.DataFrame:
    return lab.export(TOPIC, folder, format=file_format, progress=False, **options)


@FORMATS
def test_a_loaded_export_is_the_frame_that_a_read_gives(file_format: str, tmp_path: Path) -> None:
    records = [MemoryRecord(value, b"k%d" % n, NEW_YEAR_MS + n) for n, value in enumerate(VALUES)]
    lab = lab_of(*records, MemoryRecord(VALUES[0], None, None), size=2)
    options: dict[str, Any] = {"key": "text", "value": "json"}
    exported(lab, tmp_path, file_format, **options)
    loaded, frame = kl.load(tmp_path), lab.read(TOPIC, **options)
    if file_format == "csv":  # its cells hold no objects, only their text
        frame["o"] = pd.Series(
            [json.dumps(o) if isinstance(o, dict) else None for o in frame["o"]], dtype=loaded["o"].dtype
        )
    pd.testing.assert_frame_equal(loaded, frame)
    assert kl.receipt(loaded).partitions == kl.receipt(frame).partitions


@FORMATS
def test_hostile_text_comes_back(file_format: str, tmp_path: Path) -> None:
    texts = [text for text in HOSTILE if file_format != "csv" or "\r" not in text]
    lab = lab_of(*(MemoryRecord(text.encode(), text.encode(), headers=[(text, None)]) for text in texts))
    exported(lab, tmp_path, file_format, key="text", value="text", headers=True)
    frame = kl.load(tmp_path)
    assert frame["value"].tolist() == frame["key"].tolist() == texts


@FORMATS
def test_one_file_of_an_export(file_format: str, tmp_path: Path) -> None:
    cluster = MemoryCluster({TOPIC: 2})
    cluster.append(TOPIC, b"a", partition=0)
    cluster.append(TOPIC, b"b", partition=1)
    paths = exported(kl.Lab(cluster, cluster), tmp_path, file_format, value="text")["path"]
    assert kl.load(paths[1])["value"].tolist() == ["b"]
    assert kl.receipt(kl.load(paths[1])).partitions[0].partition == 1


def test_topics_in_one_folder_are_loaded_together(tmp_path: Path) -> None:
    cluster = MemoryCluster({"a": 1, "b": 1})
    lab = kl.Lab(cluster, cluster)
    for topic in ("b", "a"):
        cluster.append(topic, topic.encode())
        lab.export(topic, tmp_path, value="text")
    assert kl.load(tmp_path)["value"].tolist() == ["a", "b"]
    assert repr(kl.receipt(kl.load(tmp_path))) == "<Receipt a, b: 2 rows of 2 records, 2 partitions, reached>"


def test_one_topic_in_two_formats_is_not_loaded_twice(tmp_path: Path) -> None:
    paths = [exported(lab_of(b"v"), tmp_path, file_format)["path"][0] for file_format in ("csv", "parquet")]
    with pytest.raises(ArgumentError, match="several formats: export each to its own folder, or load one of the files"):
        kl.load(tmp_path)
    assert [len(kl.load(path)) for path in paths] == [1, 1]


def test_a_file_that_is_gone_is_an_export_error(tmp_path: Path) -> None:
    Path(exported(lab_of(b"v"), tmp_path, "parquet")["path"][0]).unlink()
    with pytest.raises(ExportError, match=r"orders\[0\]@0: .*part-orders\+0\+0-1.parquet is not there"):
        kl.load(tmp_path)


@pytest.mark.parametrize("where", ["nothing", "folder", "file.parquet", "folder/other.parquet"])
def test_what_is_no_export_is_refused(where: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.parquet").write_bytes(b"")
    with pytest.raises(ArgumentError, match=r"no folder with an export|has no export"):
        kl.load(tmp_path / where)


def test_json_has_no_nan_and_no_infinity(tmp_path: Path) -> None:
    lab = lab_of(b'{"x": NaN, "y": [Infinity, 1.5], "z": {"a": -Infinity}}')
    path = Path(exported(lab, tmp_path, "jsonl", value="json", errors="column")["path"][0])

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    (row,) = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    if row["_error"] is None:
        assert (row["x"], row["y"], row["z"]) == (None, [None, 1.5], {"a": None})


@FORMATS
@pytest.mark.parametrize("values", [[None] * 4, [None, "x", None, "", None], ["NULL", "nan", "NA", None, "#N/A"]])
def test_rows_of_one_column_come_back(file_format: str, values: list[str | None], tmp_path: Path) -> None:
    lab = lab_of(*(None if value is None else value.encode() for value in values))
    exported(lab, tmp_path, file_format, value="text", columns=["value"])
    assert kl.load(tmp_path)["value"].tolist() == [pd.NA if v is None else v for v in values]
    assert kl.receipt(kl.load(tmp_path)).rows == len(values)


def test_a_nan_is_no_null_in_csv(tmp_path: Path) -> None:
    numbers = [math.nan, None, 1.5, math.inf, -math.inf]
    table = pa.table({"x": pa.array(numbers, pa.float64())})
    with (tmp_path / "x.csv").open("wb") as file:
        writer = formats.file_format("csv").write(file, table.schema)
        writer.write_table(table)
        writer.close()
    (read,) = formats.file_format("csv").read(pa.OSFile(str(tmp_path / "x.csv")), table.schema)
    assert repr(read["x"].to_pylist()) == repr(numbers)


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "plain", "a=1", ""]


def test_formulas_are_escaped_on_request(tmp_path: Path) -> None:
    lab = lab_of(*(json.dumps({"=cell": text}).encode() for text in FORMULAS))
    for escape, folder in ((True, tmp_path / "escaped"), (False, tmp_path / "as they are")):
        (path,) = exported(lab, folder, "csv", value="json", escape_formulas=escape)["path"]
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        name = "'=cell" if escape else "=cell"
        found = [row[name] for row in rows]
        assert found == [f"'{text}" if escape and text[:1] in "=+-@\t" and text else text for text in FORMULAS]


def test_only_csv_has_formulas(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="escape_formulas is for programs that open CSV, not for 'parquet'"):
        exported(lab_of(b"v"), tmp_path, "parquet", escape_formulas=True)


def test_formulas_escaped_at_first_are_asked_for_again(tmp_path: Path) -> None:
    """Half of the files would be escaped, and half not."""
    lab = lab_of(b"=1")
    exported(lab, tmp_path, "csv", value="text", escape_formulas=True)
    with pytest.raises(ArgumentError, match="was made with escape_formulas=True, not False"):
        exported(lab, tmp_path, "csv", value="text", resume=True)
    assert exported(lab, tmp_path, "csv", value="text", resume=True, escape_formulas=True).empty


def test_names_of_columns_are_quoted_too(tmp_path: Path) -> None:
    names = ['a,"b"', "new\nline", "'", "="]
    (path,) = exported(lab_of(json.dumps(dict.fromkeys(names, "v")).encode()), tmp_path, "csv", value="json")["path"]
    with Path(path).open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert {name: row[name] for name in names} == dict.fromkeys(names, "v")
    assert kl.load(tmp_path)[names].to_numpy().tolist() == [["v"] * 4]


def test_a_file_has_to_have_room(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="max_file_bytes is a number from 1 on, not 0"):
        exported(lab_of(b"v"), tmp_path, "parquet", max_file_bytes=0)
