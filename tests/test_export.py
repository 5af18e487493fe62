import csv
import io
import json
import os
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest

import kafkalab as kl
from kafkalab.errors import ArgumentError, DecodeError, ExportError
from kafkalab.export import formats, write
from kafkalab.export.manifest import WrittenFile
from kafkalab.fetch.base import FetchControl, Fetched, FetchOptions, record_schema
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from kafkalab.model import FetchStats, OffsetRange, Receipt, StopReason
from tests.oracle import HOSTILE, NEW_YEAR_MS, TOPIC, lab_of

FORMATS = pytest.mark.parametrize("file_format", ["parquet", "feather", "csv", "jsonl"])
ARROW_FORMATS = pytest.mark.parametrize("file_format", ["parquet", "feather"])


def written(lab: kl.Lab, folder: Path, file_format: str, **reading: Any) -> pd.DataFrame:
    return lab.export(TOPIC, folder, format=file_format, progress=False, **reading)  # type: ignore[arg-type]  # a table of formats


def found_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder, hidden ones too, but for the manifest."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith("+manifest.json"))


def only(frame: pd.DataFrame) -> Path:
    (path,) = frame["path"]
    return Path(path)


def rows_in(path: Path) -> list[dict[str, Any]]:
    """Return what another program finds in a file."""
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]  # a list of dicts
    if path.suffix == ".feather":
        return pyarrow.feather.read_table(path).to_pylist()  # type: ignore[no-any-return]  # a list of dicts
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]
    convert = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert).to_pylist()  # type: ignore[no-any-return]  # a list of dicts


@FORMATS
def test_each_partition_is_a_file_named_by_its_range(file_format: str, tmp_path: Path) -> None:
    cluster = MemoryCluster({TOPIC: 3})
    cluster.append(TOPIC, b"a", b"b")
    cluster.append(TOPIC, b"c", partition=2)
    frame = written(kl.Lab(cluster, cluster), tmp_path / "new" / "folder", file_format, value="text")
    names = [f"part-orders+0+0-2.{file_format}", f"part-orders+2+0-1.{file_format}"]
    assert [Path(path).name for path in frame["path"]] == names
    assert found_in(tmp_path / "new" / "folder") == names
    assert frame.drop(columns=["path", "bytes"]).to_dict("list") == {
        "partition": [0, 2],
        "start": [0, 0],
        "end": [2, 1],
        "rows": [2, 1],
    }
    assert [Path(path).stat().st_size for path in frame["path"]] == frame["bytes"].tolist()
    assert [row["value"] for path in frame["path"] for row in rows_in(Path(path))] == ["a", "b", "c"]


@FORMATS
def test_hostile_text_nulls_and_empty_text_come_back_as_they_were(file_format: str, tmp_path: Path) -> None:
    texts = [text for text in HOSTILE if file_format != "csv" or "\r" not in text]
    records = [MemoryRecord(text.encode(), text.encode(), NEW_YEAR_MS) for text in texts]
    lab = lab_of(*records, MemoryRecord(None, None, None), size=3)
    rows = rows_in(only(written(lab, tmp_path, file_format, key="text", value="text")))
    assert [row["value"] for row in rows] == [*texts, None]
    assert [row["key"] for row in rows] == [*texts, None]
    assert [row["offset"] for row in rows] == list(range(len(texts) + 1))
    assert rows[-1]["timestamp"] is None


def test_pythons_own_csv_reader_finds_line_ends_in_cells_too(tmp_path: Path) -> None:
    text = 'new\r\nline, "quoted"'
    path = only(written(lab_of(text.encode()), tmp_path, "csv", value="text"))
    with path.open(newline="", encoding="utf-8") as file:
        assert [row["value"] for row in csv.DictReader(file)] == [text]


@ARROW_FORMATS
def test_bytes_are_kept_as_they_are(file_format: str, tmp_path: Path) -> None:
    lab = lab_of(MemoryRecord(b"\xff\x00", b"\xfe"), None, b"")
    rows = rows_in(only(written(lab, tmp_path, file_format)))
    assert [(row["key"], row["value"]) for row in rows] == [(b"\xfe", b"\xff\x00"), (None, None), (None, b"")]


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_bytes_that_are_no_text_are_an_error_with_its_place_and_leave_no_file(file_format: str, tmp_path: Path) -> None:
    lab = lab_of(b"fine", b"\xff")
    with pytest.raises(DecodeError, match=r"orders\[0\]@1: value: byte 0 is no UTF-8, .* export as 'parquet'"):
        written(lab, tmp_path, file_format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_bytes_that_are_text_are_written_as_text(file_format: str, tmp_path: Path) -> None:
    assert [row["value"] for row in rows_in(only(written(lab_of(b"caf\xc3\xa9"), tmp_path, file_format)))] == [
        "caf\xe9"
    ]


NESTED = b'{"o": {"a": [1, 2], "b": "x"}, "l": [{"c": null}], "n": 1.5, "t": true, "z": null, "e": {}}'


@FORMATS
def test_nested_values_come_back(file_format: str, tmp_path: Path) -> None:
    (row,) = rows_in(only(written(lab_of(NESTED), tmp_path, file_format, value="json")))
    nested = {name: row[name] for name in ("o", "l", "e")}
    if file_format == "csv":
        nested = {name: json.loads(text) for name, text in nested.items()}
    elif file_format != "jsonl":  # an object without a field is JSON text: only JSON has such objects
        nested["e"] = json.loads(nested["e"])
    assert nested == {"o": {"a": [1, 2], "b": "x"}, "l": [{"c": None}], "e": {}}
    assert (row["n"], row["t"], row["z"]) == (1.5, True, None)


@FORMATS
def test_headers_come_back(file_format: str, tmp_path: Path) -> None:
    headers = (("h", b"1"), ("h", None), ("bytes", b"\xff"))
    path = only(written(lab_of(MemoryRecord(b"v", headers=headers)), tmp_path, file_format, headers=True))
    (row,) = rows_in(path)
    found = json.loads(row["headers"]) if file_format == "csv" else row["headers"]
    values = [b"1", None, b"\xff"] if file_format in ("parquet", "feather") else ["1", None, "\\xff"]
    assert found == [{"key": key, "value": value} for (key, _), value in zip(headers, values, strict=True)]


@FORMATS
def test_columns_and_filters_are_those_of_a_read(file_format: str, tmp_path: Path) -> None:
    lab = lab_of(*[b"%d" % n for n in range(10)], size=4)
    frame = written(lab, tmp_path, file_format, value="text", columns=["value"], where=kl.field("offset") > 6, start=2)
    assert [str(row["value"]) for row in rows_in(only(frame))] == ["7", "8", "9"]
    assert frame["start"].tolist() == [2]


@FORMATS
def test_a_range_without_visible_records_is_a_file_without_rows(file_format: str, tmp_path: Path) -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"gone", producer_id=1)
    cluster.end_transaction(1, commit=False)
    frame = written(kl.Lab(cluster, cluster), tmp_path, file_format, value="text")
    assert frame["rows"].tolist() == [0]
    assert rows_in(only(frame)) == []


def test_a_topic_without_offsets_gives_no_file(tmp_path: Path) -> None:
    frame = written(lab_of(), tmp_path, "parquet")
    assert frame.columns.tolist() == ["path", "partition", "start", "end", "rows", "bytes"]
    assert frame.empty
    assert list(tmp_path.iterdir()) == []


def test_parquet_holds_the_receipt(tmp_path: Path) -> None:
    path = only(written(lab_of(b"a", b"b"), tmp_path, "parquet"))
    metadata = pyarrow.parquet.read_metadata(path).metadata
    assert Receipt.from_json(metadata[b"kafkalab"].decode()).rows == 2


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_times_that_no_datetime_can_hold_are_written_as_text(file_format: str, tmp_path: Path) -> None:
    lab = lab_of(MemoryRecord(b"a", timestamp_ms=2**63 - 1), MemoryRecord(b"b", timestamp_ms=NEW_YEAR_MS), size=2)
    path = only(written(lab, tmp_path, file_format))
    times = [row["timestamp"] for row in rows_in(path)]
    assert times[0] == "+292278994-08-17T07:12:55.807+00:00"
    assert str(times[1]).startswith("2026-01-01")
    assert kl.load(tmp_path)["timestamp"].tolist() == [times[0], str(times[1])]


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_times_at_any_depth_are_written_as_they_are(file_format: Any, tmp_path: Path) -> None:
    times = pa.table(
        {
            "t": pa.array([87_741_000_000, -1_000_000, 1], pa.time64("us")),
            "d": pa.array([2**31 - 1, -800_000, 0], pa.date32()),
            "inside": pa.array(
                [[{"t": 0, "d": -(2**31)}], None, []], pa.list_(pa.struct([("t", pa.time32("s")), ("d", pa.date32())]))
            ),
        }
    )
    lab = lab_of(b"a", b"b", b"c", size=3)
    lab.export(TOPIC, tmp_path, format=file_format, value=lambda _: times.to_batches()[0], progress=False)
    rows = rows_in(next(tmp_path.glob(f"*.{file_format}")))
    assert [str(row["t"])[:8] for row in rows] == ["24:22:21", "-00:00:0", "00:00:00"]
    assert [str(row["d"]) for row in rows] == ["+5881580-07-11", "-0221-09-04", "1970-01-01"]
    assert "-5877641-06-23" in str(rows[0]["inside"])


@ARROW_FORMATS
def test_arrow_files_keep_every_time(file_format: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = only(written(lab_of(MemoryRecord(timestamp_ms=2**63 - 1)), tmp_path, file_format))
    table = (pyarrow.parquet if file_format == "parquet" else pyarrow.feather).read_table(path)
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [2**63 - 1]


# Whole, or not there


@FORMATS
def test_a_failure_on_the_way_leaves_the_files_before_it_whole_and_none_of_its_own(
    file_format: str, tmp_path: Path
) -> None:
    cluster = MemoryCluster({TOPIC: 2})
    for partition in (0, 1, 1, 1):
        cluster.append(TOPIC, b"v", partition=partition)

    def fail(where: Any, position: int) -> None:
        if where.partition == 1 and position == 2:
            message = "the network is gone"
            raise kl.BrokerUnreachableError(message)

    cluster.before_step = fail
    with pytest.raises(kl.BrokerUnreachableError, match="the network is gone"):
        written(kl.Lab(cluster, cluster), tmp_path, file_format)
    assert found_in(tmp_path) == [f"part-orders+0+0-1.{file_format}"]
    assert len(rows_in(tmp_path / f"part-orders+0+0-1.{file_format}")) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": 0}, r"orders\[0\]@0: the export is not finished: .* before 2 \(timeout\)"),
        ({"end": {0: 2}}, r"orders\[0\]@1: .* \(blocked_by_open_transaction\)"),
    ],
    ids=str,
)
def test_a_range_that_is_not_read_whole_is_no_file(options: Any, says: str, tmp_path: Path) -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"v")
    if "end" in options:
        cluster.append(TOPIC, b"undecided", producer_id=1)
    else:
        cluster.append(TOPIC, b"v")
    with pytest.raises(ExportError, match=says):
        written(kl.Lab(cluster, cluster), tmp_path, "parquet", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_file_that_is_not_whole(tmp_path: Path) -> None:
    cluster = MemoryCluster({TOPIC: 2})
    for partition in (0, 1, 1):
        cluster.append(TOPIC, b"v", partition=partition)

    def interrupt(where: Any, position: int) -> None:
        if (where.partition, position) == (1, 1):
            raise KeyboardInterrupt

    cluster.before_step = interrupt
    with pytest.raises(KeyboardInterrupt):
        written(kl.Lab(cluster, cluster), tmp_path, "parquet")
    assert found_in(tmp_path) == ["part-orders+0+0-1.parquet"]


@FORMATS
def test_a_file_that_is_there_is_replaced_whole(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / f"part-orders+0+0-1.{file_format}"
    path.write_bytes(b"old " * 1000)
    with path.open("rb") as reader:
        assert only(written(lab_of(b"v"), tmp_path, file_format, value="text")) == path
        assert reader.read() == b"old " * 1000
    assert [row["value"] for row in rows_in(path)] == ["v"]


# What cannot be written


def test_a_folder_that_is_a_file_is_an_export_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"cannot write .*file: File exists") as caught:
        written(lab_of(b"v"), tmp_path / "file", "parquet")
    assert isinstance(caught.value, OSError)
    with pytest.raises(ExportError, match="Not a directory"):
        written(lab_of(b"v"), tmp_path / "file" / "under", "parquet")


def test_a_path_that_cannot_be_written_is_an_export_error(tmp_path: Path) -> None:
    (tmp_path / "part-orders+0+0-1.parquet").mkdir()
    with pytest.raises(ExportError, match=r"cannot write .*part-orders\+0\+0-1.parquet: Is a directory; files that"):
        written(lab_of(b"v"), tmp_path, "parquet")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["part-orders+0+0-1.parquet"]
    assert not any(path.name.startswith("._orders+parquet+manifest") for path in tmp_path.iterdir())


def test_a_full_disk_is_an_export_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match="No space left on device"):
        written(lab_of(b"v"), tmp_path, "parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("parqet", "'parqet' is no file format: did you mean 'parquet'?"),
        ("xlsx", "there are 'csv', 'feather', 'jsonl'"),
    ],
)
def test_a_wrong_format_is_refused_before_anything_is_read(name: str, says: str, tmp_path: Path) -> None:
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, b"v")
    with pytest.raises(ArgumentError) as caught:
        written(kl.Lab(cluster, cluster), tmp_path / "none", name)
    assert says in str(caught.value)
    assert cluster.stats.requests == 0
    assert not (tmp_path / "none").exists()


@FORMATS
def test_a_field_that_only_some_partitions_have_is_null_in_the_others(file_format: str, tmp_path: Path) -> None:
    cluster = MemoryCluster({TOPIC: 2})
    cluster.append(TOPIC, b'{"n": 1}')
    cluster.append(TOPIC, b'{"n": 2, "note": "x"}', partition=1)
    frame = written(kl.Lab(cluster, cluster), tmp_path, file_format, value="json", columns=["n", "note"])
    assert [row["note"] for path in frame["path"] for row in rows_in(Path(path))] == [None, "x"]


def test_a_field_that_no_partition_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="there is no column 'm': there are 'key', 'n'"):
        written(lab_of(b'{"n": 1}'), tmp_path, "parquet", value="json", columns=["m"])


# Memory


class Big:
    """An engine that makes steps of a megabyte on the way."""

    name = "big"
    stats = FetchStats()

    def __init__(self) -> None:
        self.most = 0

    def fetch(self, ranges: Sequence[OffsetRange], _: FetchOptions, __: FetchControl) -> Generator[Fetched]:
        (part,) = ranges
        before = pa.total_allocated_bytes()
        for offset in range(part.start, part.end):
            columns = {
                "offset": [offset],
                "timestamp": [0],
                "timestamp_type": [1],
                "key": [None],
                "value": [bytes(1 << 20)],
            }
            batch = pa.RecordBatch.from_pydict(columns, record_schema(headers=False))
            yield Fetched(part, batch, offset + 1, StopReason.REACHED if offset + 1 == part.end else None)
            self.most = max(self.most, pa.total_allocated_bytes() - before)

    def probe(self, *_: Any) -> Generator[Fetched]:
        raise NotImplementedError


@ARROW_FORMATS
def test_an_export_holds_a_part_of_the_topic_at_a_time(
    file_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_GROUP_BYTES", 4 << 20)
    monkeypatch.setattr(write, "_READ_AHEAD", 4 << 20)
    engine, count = Big(), 100
    cluster = MemoryCluster({TOPIC: 1})
    cluster.append(TOPIC, gap=count)
    frame = written(kl.Lab(cluster, engine), tmp_path, file_format)
    assert frame["rows"].tolist() == [count]
    # What waits, a group with what is made of it to be written, and the steps in both hands.
    assert engine.most < (4 + 3 * 4 + 4) << 20


def test_many_groups_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_GROUP_ROWS", 3)
    lab = lab_of(*[b"%d" % n for n in range(10)])
    for file_format in ("parquet", "feather", "csv", "jsonl"):
        path = only(written(lab, tmp_path, file_format, value="text"))
        assert [str(row["value"]) for row in rows_in(path)] == [str(n) for n in range(10)]
    assert pyarrow.parquet.read_metadata(tmp_path / "part-orders+0+0-10.parquet").num_row_groups == 4


def test_the_file_pandas_reads_is_what_a_read_gives(tmp_path: Path) -> None:
    lab = lab_of(b"a", b"b")
    frame = lab.read(TOPIC, value="text", progress=False)
    back = pd.read_parquet(only(written(lab, tmp_path, "parquet", value="text")))
    assert back["value"].tolist() == frame["value"].tolist()
    assert back["timestamp"].tolist() == frame["timestamp"].tolist()
    text = only(written(lab, tmp_path, "csv", value="text")).read_text()
    assert pd.read_csv(io.StringIO(text))["value"].tolist() == ["a", "b"]


# Rows that text has no place for


def prepared_and_written(made: formats.FileFormat, table: pa.Table) -> None:
    rows = made.prepare(table)
    made.write(io.BytesIO(), rows.schema).write_table(rows)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_formulas_of_any_kind_of_text_are_escaped(kind: pa.DataType) -> None:
    begins = ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
    texts = [f"{begin}1+1" for begin in begins]
    plain = ["1=1", " =1", "\u2212", "", "'=", "\n"[1:]]
    table = pa.table({"\uff1dname": pa.array([*texts, *plain, None], pa.string()).cast(kind)})
    rows = formats.file_format("csv", escape_formulas=True).prepare(table)
    assert rows.to_pydict() == {"'\uff1dname": [*(f"'{text}" for text in texts), *plain, None]}


# What an export costs


@pytest.mark.timeout(60)
@pytest.mark.parametrize("partitions", [10, 100, 400])
def test_the_manifest_costs_each_file_the_same(
    partitions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, to_dict = [0], WrittenFile.to_dict

    def counting(file: WrittenFile) -> dict[str, Any]:
        listed[0] += 1
        return to_dict(file)

    monkeypatch.setattr(WrittenFile, "to_dict", counting)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    cluster = MemoryCluster({TOPIC: partitions})
    for partition in range(partitions):
        cluster.append(TOPIC, b"v", partition=partition)
    frame = written(kl.Lab(cluster, cluster), tmp_path, "jsonl", value="text")
    assert len(frame) == partitions
    assert listed[0] < 5 * partitions
    assert len(kl.load(tmp_path)) == partitions
    assert len(found_in(tmp_path)) == partitions


@pytest.mark.parametrize("topic", ["a" * 249, "_hidden", ".hidden", "a" * 101, "Upper.lower-1_2"])
def test_every_legal_topic_has_files_that_others_find(topic: str, tmp_path: Path) -> None:
    cluster = MemoryCluster({topic: 1, topic[:-1] + "x": 1})
    lab = kl.Lab(cluster, cluster)
    for number, name in enumerate((topic, topic[:-1] + "x")):
        cluster.append(name, b"%d" % number)
        frame = lab.export(name, tmp_path, value="text", progress=False)
        assert only(frame).name.startswith("part-")
        assert kl.load(only(frame))["value"].tolist() == [str(number)]
        assert lab.export(name, tmp_path, value="text", progress=False, resume=True).empty
    assert pyarrow.dataset.dataset(tmp_path).count_rows() == 2
    assert sorted(kl.load(tmp_path)["topic"]) == sorted([topic, topic[:-1] + "x"])
