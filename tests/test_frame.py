import copy
import io
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import kafkalab as kl
from kafkalab.errors import ArgumentError, KafkalabWarning, LimitWarning
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from kafkalab.frame import ordered_by_time, printable, to_frame, warn_if_short
from kafkalab.model import PartitionReceipt, Receipt, StopReason
from tests.oracle import HOSTILE, NEW_YEAR_MS, TOPIC, lab_of

DAY_MS = 86_400_000


def hostile_lab() -> kl.Lab:
    headers = (("<b>", b"\x1b[31m"), ("", None))
    records = [MemoryRecord(text.encode(), text.encode(), NEW_YEAR_MS + n, headers) for n, text in enumerate(HOSTILE)]
    return lab_of(*records, MemoryRecord(None, None, None), size=4)


def read(lab: kl.Lab, **options: Any) -> pd.DataFrame:
    return lab.read(TOPIC, progress=False, **options)


# Types


def test_columns_have_the_types_that_people_expect() -> None:
    frame = read(lab_of(MemoryRecord(b"v", b"k", NEW_YEAR_MS)), value="text", headers=True)
    binary, string = pd.ArrowDtype(pa.binary()), pd.ArrowDtype(pa.string())
    assert isinstance(frame.index, pd.RangeIndex)
    assert isinstance(frame["topic"].dtype, pd.CategoricalDtype)
    assert isinstance(frame["timestamp_type"].dtype, pd.CategoricalDtype)
    assert frame["partition"].dtype == np.int32
    assert frame["offset"].dtype == np.int64
    assert str(frame["timestamp"].dtype) == "datetime64[ms, UTC]"
    assert (frame["key"].dtype, frame["value"].dtype) == (binary, string)
    assert isinstance(frame["headers"].dtype, pd.ArrowDtype)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (b'{"f": 1}', "int64"),
        (b'{"f": 1.5}', "float64"),
        (b'{"f": true}', "bool"),
        (b'{"f": "x"}', pd.ArrowDtype(pa.string())),
        (b'{"f": [1]}', pd.ArrowDtype(pa.list_(pa.int64()))),
        (b'{"f": {"a": 1}}', pd.ArrowDtype(pa.struct([("a", pa.int64())]))),
        (b'{"f": null}', "object"),
    ],
    ids=str,
)
def test_fields_have_the_types_of_their_values(value: bytes, dtype: Any) -> None:
    assert read(lab_of(value), value="json")["f"].dtype == dtype


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [([1, None], "float64"), ([2**53, None], "float64"), ([2**53 + 1, None], pd.ArrowDtype(pa.int64()))],
    ids=str,
)
def test_whole_numbers_beside_nulls_stay_exact(numbers: list[int | None], dtype: Any) -> None:
    values = [b"{}" if number is None else b'{"n": %d}' % number for number in numbers]
    column = read(lab_of(*values), value="json")["n"]
    assert column.dtype == dtype
    assert int(column[0]) == numbers[0]
    assert pd.isna(column[1])


def test_all_columns_are_arrows_on_request() -> None:
    frame = read(lab_of(b'{"n": 1, "s": "x"}'), value="json", dtype_backend="pyarrow")
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes)


@pytest.mark.parametrize(
    ("field", "dtype"),
    [("n", "Int64"), ("f", "Float64"), ("b", "boolean"), ("s", "string"), ("partition", "Int32"), ("offset", "Int64")],
)
def test_columns_are_nullable_on_request(field: str, dtype: str) -> None:
    values = [b'{"n": 1152921504606846977, "f": 0.5, "b": true, "s": "x"}', b"{}"]
    frame = read(lab_of(*values), value="json", dtype_backend="numpy_nullable")
    assert frame[field].dtype == dtype
    assert frame["n"].tolist()[0] == 2**60 + 1
    assert frame[["n", "f", "b", "s"]].iloc[1].isna().all()


def test_a_wrong_backend_is_refused() -> None:
    with pytest.raises(ArgumentError, match="dtype_backend is 'numpy_nullable', 'pyarrow' or None, not 'arrow'"):
        read(lab_of(b"v"), dtype_backend="arrow")


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("options", [{}, {"value": "text"}, {"value": "json"}, {"headers": True}], ids=str)
def test_an_empty_frame_has_the_types_of_a_full_one(backend: Any, options: Any) -> None:
    empty = read(lab_of(), dtype_backend=backend, **options)
    full = read(lab_of(b'{"n": 1}'), dtype_backend=backend, **options)
    # Its fields are not known, and its categories are none.
    known = full.columns.difference(["n", "topic", "timestamp_type"])
    assert len(empty) == 0
    assert empty[known].dtypes.to_dict() == full[known].dtypes.to_dict()


# As people use it


def test_a_time_index_takes_dates() -> None:
    records = [MemoryRecord(b"%d" % day, timestamp_ms=NEW_YEAR_MS + (day - 2) * DAY_MS) for day in range(5)]
    frame = read(lab_of(*records), value="text").set_index("timestamp")
    assert frame.loc["2026-01-01":, "value"].tolist() == ["2", "3", "4"]
    assert (frame.index >= "2026-01-02").sum() == 2


def test_text_has_string_methods_and_comparisons() -> None:
    frame = read(lab_of(b"apple", b"pear", None), value="text")
    assert frame["value"].str.upper().tolist()[:2] == ["APPLE", "PEAR"]
    assert frame[frame["value"].str.contains("pp", na=False)]["offset"].tolist() == [0]
    assert frame[frame["value"] == "pear"]["offset"].tolist() == [1]
    assert frame["value"].isna().tolist() == [False, False, True]


def test_a_topic_is_compared_and_grouped_by_like_text() -> None:
    frame = read(lab_of(b"a", b"b"))
    assert (frame["topic"] == TOPIC).all()
    assert frame.groupby("topic", observed=True).size().to_dict() == {TOPIC: 2}


# Times


@pytest.mark.parametrize(
    ("timestamp_ms", "shown"),
    [
        (None, None),
        (-1, "1969-12-31 23:59:59.999000+00:00"),
        (-62_135_596_800_000, "0001-01-01 00:00:00+00:00"),
        (253_402_300_799_999, "9999-12-31 23:59:59.999000+00:00"),
    ],
)
def test_times_that_can_be_shown_are(timestamp_ms: int | None, shown: str | None) -> None:
    frame = read(lab_of(MemoryRecord(timestamp_ms=timestamp_ms)))
    assert repr(frame)
    assert frame["timestamp"].isna()[0] if shown is None else str(frame["timestamp"][0]) == shown


@pytest.mark.parametrize("timestamp_ms", [2**63 - 1, -(2**63), 253_402_300_800_000, -62_135_596_800_001])
def test_times_that_no_one_can_show_are_nat_with_a_warning(timestamp_ms: int) -> None:
    lab = lab_of(MemoryRecord(timestamp_ms=timestamp_ms), MemoryRecord(timestamp_ms=NEW_YEAR_MS))
    with pytest.warns(KafkalabWarning, match="1 times outside the years 1 to 9999 are NaT; dtype_backend='pyarrow'"):
        frame = read(lab)
    assert frame["timestamp"].isna().tolist() == [True, False]
    assert repr(frame)
    kept = read(lab, dtype_backend="pyarrow")
    assert pa.array(kept["timestamp"]).cast(pa.int64()).to_pylist() == [timestamp_ms, NEW_YEAR_MS]
    assert repr(kept)


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_times_of_values_have_the_same_bounds_in_each_unit(unit: str) -> None:
    per_s = {"s": 1, "ms": 1_000, "us": 1_000_000}[unit]
    numbers = [-62_135_596_800 * per_s, 253_402_300_800 * per_s - 1, 253_402_300_800 * per_s, None]
    times = pa.table({"at": pa.array(numbers, pa.int64()).cast(pa.timestamp(unit, "UTC"))})
    with pytest.warns(KafkalabWarning, match="1 times outside the years 1 to 9999 are NaT"):
        assert printable(times)["at"].is_null().to_pylist() == [False, False, True, True]


# Shown, whatever is in it


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("value", ["bytes", "text", "auto"])
def test_a_frame_of_hostile_text_is_shown(backend: Any, value: str) -> None:
    frame = read(hostile_lab(), value=value, key=value, headers=True, dtype_backend=backend)
    assert len(frame) == len(HOSTILE) + 1
    assert repr(frame)
    assert "<script>" not in frame.to_html()
    assert repr(frame["value"].iloc[:3])


# Written by pandas


@pytest.mark.parametrize("options", [{}, {"value": "text", "key": "text"}, {"headers": True}], ids=str)
@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_what_arrow_files_hold_is_what_was_read(kind: str, options: Any, tmp_path: Path) -> None:
    frame = read(hostile_lab(), **options)
    path = tmp_path / f"frame.{kind}"
    getattr(frame, f"to_{kind}")(path)
    back = getattr(pd, f"read_{kind}")(path, dtype_backend="pyarrow")
    for name in frame.columns:
        written, found = frame[name].tolist(), back[name].tolist()
        assert [_plain(value) for value in found] == [_plain(value) for value in written]


def test_parquet_keeps_the_receipt(tmp_path: Path) -> None:
    frame = read(lab_of(b"a", b"b"))
    frame.to_parquet(tmp_path / "frame.parquet")
    assert kl.receipt(pd.read_parquet(tmp_path / "frame.parquet")) == kl.receipt(frame)


@pytest.mark.parametrize(
    "value", [b'{"n": {}}', b'{"n": [{}]}', b'{"n": null}', b'{"n": [null]}', b'{"n": {"a": {}}}', b'{"": 1}'], ids=str
)
def test_objects_without_fields_can_be_written(value: bytes, tmp_path: Path) -> None:
    frame = read(lab_of(value), value="json")
    for kind in ("parquet", "feather"):
        getattr(frame, f"to_{kind}")(tmp_path / f"frame.{kind}")
        back = getattr(pd, f"read_{kind}")(tmp_path / f"frame.{kind}", dtype_backend="pyarrow")
        assert back["offset"].tolist() == [0]


def test_csv_holds_what_was_read() -> None:
    frame = read(hostile_lab(), value="text", key="text")
    # A NUL byte ends the cell for the parser that reads it back.
    frame = frame[~frame["value"].str.contains("\x00", na=False)]
    back = pd.read_csv(io.StringIO(frame.to_csv(index=False, na_rep="\\N")), keep_default_na=False, na_values=["\\N"])
    shown = frame["value"].str.replace("\r\n", "\n").tolist()
    assert [_plain(value) for value in back["value"].str.replace("\r\n", "\n").tolist()] == [_plain(v) for v in shown]
    assert back["offset"].tolist() == frame["offset"].tolist()


def test_json_holds_what_was_read() -> None:
    frame = read(hostile_lab(), value="text", key="text")
    back = pd.read_json(io.StringIO(frame.to_json(orient="records", date_format="iso")), dtype=False)
    assert [_plain(value) for value in back["value"]] == [_plain(value) for value in frame["value"]]
    assert back["offset"].tolist() == frame["offset"].tolist()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return None if pd.isna(value) else value


# The receipt


def wide() -> pd.DataFrame:
    lab = kl.Lab(*[MemoryCluster({TOPIC: 1_000})] * 2)
    return read(lab)


def test_the_receipt_of_many_partitions_is_one_text_that_no_operation_takes_apart() -> None:
    frame = wide()
    text = frame.attrs["kafkalab"]
    assert type(text) is str
    derived = [frame[frame["offset"] >= 0], frame.copy(), frame.assign(x=1), frame.set_index("offset"), frame["value"]]
    assert all(each.attrs["kafkalab"] is text for each in derived)
    assert copy.deepcopy(frame.attrs)["kafkalab"] is text
    assert len(kl.receipt(frame).partitions) == 1_000


def test_a_frame_of_another_make_has_no_receipt() -> None:
    with pytest.raises(ArgumentError, match="carries no receipt: it was not made by kafkalab, or an operation dropped"):
        kl.receipt(pd.DataFrame())


# Put together


def test_frames_are_joined_with_their_receipts() -> None:
    first, second = (read(lab_of(value, topic=TOPIC)) for value in (b"a", b"b"))
    joined = kl.concat([first, second])
    assert joined["value"].tolist() == [b"a", b"b"]
    assert joined.index.tolist() == [0, 1]
    assert kl.receipt(joined).rows == 2
    assert len(kl.receipt(joined).partitions) == 2


def test_frames_of_different_topics_keep_their_types() -> None:
    frames = [lab_of(b"v", topic=topic).read(topic, progress=False) for topic in ("a", "b")]
    joined = kl.concat(frames)
    assert joined["topic"].tolist() == ["a", "b"]
    assert {name: str(joined[name].dtype) for name in ("partition", "offset", "timestamp", "value")} == {
        "partition": "int32",
        "offset": "int64",
        "timestamp": "datetime64[ms, UTC]",
        "value": "binary[pyarrow]",
    }
    assert isinstance(joined["topic"].dtype, pd.CategoricalDtype)


def test_an_index_that_means_something_is_kept() -> None:
    frames = [read(lab_of(b'{"u": "a", "n": 1}'), value="json").groupby("u")[["n"]].sum() for _ in range(2)]
    assert kl.concat(frames).index.tolist() == ["a", "a"]


def test_nothing_joined_is_an_empty_frame() -> None:
    joined = kl.concat([])
    assert len(joined) == 0
    assert kl.receipt(joined).partitions == ()


def test_an_empty_frame_among_others_changes_nothing() -> None:
    full = read(lab_of(b"a"))
    joined = kl.concat([read(lab_of()), full])
    assert joined["value"].tolist() == [b"a"]
    assert str(joined["offset"].dtype) == "int64"


# Order, and warnings


def test_rows_are_ordered_by_time_then_partition_and_offset() -> None:
    times = [5, None, 3, 5, 3]
    table = pa.table(
        {
            "timestamp": pa.array(times, pa.timestamp("ms", "UTC")),
            "partition": pa.array([1, 0, 0, 0, 0], pa.int32()),
            "offset": [0, 0, 9, 1, 2],
        }
    )
    ordered = ordered_by_time(table)
    assert ordered.select(["partition", "offset"]).to_pydict() == {
        "partition": [0, 0, 0, 0, 1],
        "offset": [0, 2, 9, 1, 0],
    }


@pytest.mark.parametrize(
    ("stop", "kind", "says"),
    [
        (StopReason.LIMIT, LimitWarning, "the read stopped at limit=5, before the end of its range"),
        (StopReason.TIMEOUT, LimitWarning, "the read stopped at its timeout, before the end"),
        (StopReason.BLOCKED_BY_OPEN_TRANSACTION, KafkalabWarning, "an open transaction hides the rest of the range"),
        (StopReason.RETENTION_PASSED, KafkalabWarning, r"stopped early \(retention_passed\)"),
    ],
)
def test_a_read_that_is_short_says_why_and_where(stop: StopReason, kind: type[Warning], says: str) -> None:
    parts = [PartitionReceipt("orders", p, 0, 9, p + 1, stop=stop) for p in (2, 3)]
    done = PartitionReceipt("orders", 0, 0, 9, 9)
    with pytest.warns(kind, match=rf"{says}.*: orders\[2\] at offset 3 of 9, and 1 more"):
        warn_if_short(Receipt((done, *parts)), "limit=5")


def test_a_whole_read_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_short(Receipt((PartitionReceipt("orders", 0, 0, 9, 9),)), "")


def test_to_frame_copies_no_text() -> None:
    table = lab_of(b"v" * 1000).scan(TOPIC, value="text").to_table()
    frame = to_frame(table, Receipt(()))
    inside = pa.array(frame["value"])
    assert inside.buffers()[2].address == table["value"].chunk(0).buffers()[2].address


# What pandas cannot hold


@pytest.mark.parametrize("backend", [None, "numpy_nullable"])
def test_times_that_python_has_not_make_no_frame_fail(backend: Any) -> None:
    table = pa.table(
        {
            "t": pa.array([87_741_000_000, -1_000_000], pa.time64("us")),
            "m": pa.array([None, -1], pa.time32("ms")),
            "d": pa.array([2**31 - 1, 0], pa.date32()),
            "inside": pa.array([{"t": -1, "at": 2**62, "d": -(2**31)}, None], INSIDE),
        }
    )
    with pytest.warns(KafkalabWarning, match="1 times outside the years 1 to 9999 are NaT"):
        frame = to_frame(table, Receipt(()), backend)
    assert frame["t"].tolist() == [pd.Timedelta("24:22:21"), -pd.Timedelta("1s")]
    assert frame["m"].tolist() == [pd.NaT, -pd.Timedelta("1ms")]
    assert frame["d"].tolist() == [None, date(1970, 1, 1)]
    assert frame["inside"].tolist() == [
        {"t": "-00:00:00.001", "at": f"+{np.datetime64(2**62, 'us')}+00:00", "d": "-5877641-06-23"},
        None,
    ]
    assert all(text in frame.to_csv() for text in ("1 days 00:22:21", "-5877641-06-23"))
    assert "-00:00:00.001" in repr(frame)


INSIDE = pa.struct([("t", pa.time32("ms")), ("at", pa.timestamp("us", "UTC")), ("d", pa.date32())])


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
)
def test_nullable_numbers_are_those_of_the_column(kind: pa.DataType) -> None:
    most = 2 ** (kind.bit_width - (not pa.types.is_unsigned_integer(kind))) - 1
    frame = to_frame(pa.table({"n": pa.array([most, None], kind)}), Receipt(()), "numpy_nullable")
    assert str(frame["n"].dtype).lower() == str(kind)
    assert frame["n"][0] == most


@pytest.mark.parametrize("backend", [None, "numpy_nullable"])
def test_numbers_inside_are_shown_and_written_as_they_are(backend: Any) -> None:
    odd = 2**53 + 1
    table = pa.table({"s": [{"id": odd}, {"id": None}, None], "l": [[{"id": odd}, None], None, [{"id": None}]]})
    frame = to_frame(table, Receipt(()), backend)
    assert frame["s"].tolist() == [{"id": odd}, {"id": None}, None]
    assert repr(frame).count(str(odd)) == frame.to_csv().count(str(odd)) == 2


def test_nested_columns_that_pandas_shows_as_they_are_stay_arrows() -> None:
    frame = to_frame(pa.table({"s": [{"id": 5}, {"id": None}]}), Receipt(()))
    assert isinstance(frame["s"].dtype, pd.ArrowDtype)
