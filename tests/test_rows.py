from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import kafkalab as kl
from kafkalab import rows as rows_module
from kafkalab.errors import ArgumentError, DecodeError
from kafkalab.fetch.base import Fetched, record_schema
from kafkalab.fetch.memory import MemoryCluster
from kafkalab.model import OffsetRange
from kafkalab.plan import TimeWindow
from kafkalab.rows import Names, RowOptions, RowShaper
from tests.oracle import TOPIC

BARE = ["topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value"]


def step(*values: bytes | None, keys: Any = None, times: Any = None, partition: int = 3, start: int = 100) -> Fetched:
    count = len(values)
    batch = pa.RecordBatch.from_pydict(
        {
            "offset": range(start, start + count),
            "timestamp": times or [0] * count,
            "timestamp_type": [1] * count,
            "key": keys or [None] * count,
            "value": values,
            "headers": [[{"key": "h", "value": b"1"}]] * count,
        },
        record_schema(headers=True),
    )
    return Fetched(OffsetRange("orders", partition, start, start + count), batch, start + count)


def without_headers(fetched: Fetched) -> Fetched:
    return Fetched(fetched.offset_range, fetched.arrow_batch.drop_columns(["headers"]), fetched.next_offset)


def shaped(*values: bytes | None, keys: Any = None, **options: Any) -> pa.RecordBatch:
    shaper = RowShaper(RowOptions(**options))
    fetched = step(*values, keys=keys)
    return shaper.project(shaper.shape(fetched if shaper.options.wants_headers else without_headers(fetched)))


def checked(*values: bytes | None, **options: Any) -> pa.RecordBatch:
    """Return the rows of a read that ends with them."""
    shaper = RowShaper(RowOptions(**options))
    rows = shaper.shape(without_headers(step(*values)))
    shaper.names.check(shaper.options)
    return rows


def test_rows_say_where_they_come_from() -> None:
    rows = shaped(b"v", keys=[b"k"])
    assert rows.schema.names == BARE
    (row,) = rows.to_pylist()
    assert (row["topic"], row["partition"], row["offset"]) == ("orders", 3, 100)
    assert (row["timestamp_type"], row["key"], row["value"]) == ("create_time", b"k", b"v")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, BARE),
        ({"headers": True}, [*BARE, "headers"]),
        ({"errors": "column"}, [*BARE, "_error", "_raw"]),
        ({"columns": ["value", "topic"]}, ["value", "topic"]),
        ({"columns": ["headers"]}, ["headers"]),
        ({"columns": []}, []),
    ],
    ids=str,
)
def test_columns_are_those_that_were_asked_for_and_known_without_any_rows(options: Any, names: list[str]) -> None:
    assert shaped(b"v", **options).schema.names == names
    empty = RowShaper(RowOptions(**options)).empty()
    assert (empty.schema, empty.num_rows) == (shaped(b"v", **options).schema, 0)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"value": "text"}, BARE),
        ({"value": "json"}, BARE[:-1]),
        ({"key": "json"}, [*BARE[:5], "value"]),
        ({"value": "auto"}, BARE),
    ],
    ids=str,
)
def test_no_rows_have_the_columns_that_are_known(options: Any, names: list[str]) -> None:
    assert RowShaper(RowOptions(**options)).empty().schema.names == names


@pytest.mark.parametrize(
    ("key", "value", "options", "columns"),
    [
        (b'{"id": 1}', b'{"id": 2}', {"key": "json", "value": "json"}, {"key.id": 1, "id": 2}),
        (b"k", b'{"topic": 1, "offset": 2}', {"value": "json"}, {"value.topic": 1, "value.offset": 2}),
        (b'{"a": 1}', b'{"key.a": 2}', {"key": "json", "value": "json"}, {"key.a": 1, "value.key.a": 2}),
        (b"k", b'{"value.topic": 1, "topic": 2}', {"value": "json"}, {"value.value.topic": 1, "value.topic": 2}),
        (b"k", b'{"value": 1}', {"value": "json"}, {"value.value": 1}),
        (b"k", b'{"_error": 1}', {"value": "json", "errors": "column"}, {"value._error": 1, "_error": None}),
        (b"k", b"[1]", {"value": "json"}, {"value": [1]}),
        (b"7", b"v", {"key": "json"}, {"key": 7}),
    ],
)
def test_fields_never_take_the_name_of_a_record_or_of_each_other(
    key: bytes, value: bytes, options: Any, columns: dict[str, Any]
) -> None:
    (row,) = shaped(value, keys=[key], **options).to_pylist()
    assert {name: row[name] for name in columns} == columns
    assert row["offset"] == 100


@pytest.mark.parametrize(
    ("options", "offsets"),
    [
        ({"errors": "column"}, [100, 101, 102]),
        ({"errors": "skip"}, [100, 102]),
        ({"errors": "skip", "columns": ["offset"]}, [100, 102]),
        ({"errors": "skip", "where": kl.field("n") > 1}, [102]),
    ],
    ids=str,
)
def test_rows_that_are_not_in_their_format_are_kept_or_skipped(options: Any, offsets: list[int]) -> None:
    assert shaped(b'{"n": 1}', b"{", b'{"n": 2}', value="json", **options)["offset"].to_pylist() == offsets


def test_a_kept_row_has_its_error_and_its_bytes() -> None:
    rows = shaped(b"fine", b"\xff", value="text", errors="column")
    assert rows["value"].to_pylist() == ["fine", None]
    assert rows["_error"].to_pylist() == [None, "value: byte 0 is no UTF-8"]
    assert rows["_raw"].to_pylist() == [None, b"\xff"]


def test_a_row_in_the_wrong_format_is_an_error_with_its_place_and_a_way_out() -> None:
    with pytest.raises(DecodeError, match=r"orders\[3\]@101: value: no JSON: .*errors='column' keeps") as caught:
        shaped(b'{"n": 1}', b"{", value="json")
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("orders", 3, 101)


def test_a_key_in_the_wrong_format_says_so() -> None:
    with pytest.raises(DecodeError, match=r"orders\[3\]@100: key: byte 0 is no UTF-8"):
        shaped(b"v", keys=[b"\xff"], key="text")


def test_skipped_rows_are_counted_in_the_notes() -> None:
    shaper = RowShaper(RowOptions(value="json", errors="skip"))
    shaper.shape(without_headers(step(b"{", b"[", b"1")))
    assert list(shaper.notes("orders")) == ["skipped 2 rows that are not in their format"]


def test_what_nobody_asked_for_is_not_decoded() -> None:
    assert shaped(b"{", value="json", columns=["offset"])["offset"].to_pylist() == [100]


def test_found_formats_stay_and_are_told() -> None:
    shaper = RowShaper(RowOptions(key="auto", value="auto", errors="column"))
    shaper.shape(without_headers(step(None, None)))
    assert shaper.found == {}
    shaper.shape(without_headers(step(b'{"a": 1}', keys=[b"k"])))
    rows = shaper.shape(without_headers(step(b"not json")))
    assert rows["_error"][0].as_py().startswith("value: no JSON")
    (note,) = shaper.notes("orders")
    assert note == "formats found: read('orders', key='text', value='json') gives the same columns"


@pytest.mark.parametrize(
    ("window", "offsets"),
    [
        (TimeWindow(10, 30), [100, 103]),
        (TimeWindow(10, None), [100, 101, 103]),
        (TimeWindow(None, 10), [102]),
        (TimeWindow(), [100, 101, 102, 103, 104]),
        (TimeWindow(10, 10), []),
    ],
    ids=str,
)
def test_times_are_checked_by_row_and_half_open(window: TimeWindow, offsets: list[int]) -> None:
    shaper = RowShaper(RowOptions(), {3: window})
    fetched = without_headers(step(*[b"v"] * 5, times=[10, 30, 9, 29, None]))
    assert shaper.shape(fetched)["offset"].to_pylist() == offsets


def test_a_window_is_that_of_its_partition() -> None:
    shaper = RowShaper(RowOptions(), {0: TimeWindow(10, 20)})
    assert shaper.shape(without_headers(step(b"v", times=[99]))).num_rows == 1


@pytest.mark.parametrize(
    ("where", "offsets"),
    [
        (kl.field("n") > 1, [101]),
        (kl.field("offset") == 100, [100]),
        (kl.field("topic") == "orders", [100, 101, 102]),
        (kl.field("n").is_null(), [102]),
        (kl.field("absent") == 1, []),
        (kl.field("absent").is_null() & (kl.field("other").is_null()), [100, 101, 102]),
        (kl.field("timestamp_type") == "create_time", [100, 101, 102]),
    ],
    ids=str,
)
def test_a_filter_sees_every_column(where: Any, offsets: list[int]) -> None:
    rows = shaped(b'{"n": 1}', b'{"n": 2}', b"{}", value="json", where=where)
    assert rows["offset"].to_pylist() == offsets
    assert rows.schema.names == [*BARE[:-1], "n"]


def test_a_filter_sees_columns_that_are_not_kept() -> None:
    assert shaped(b"a", b"b", where=kl.field("value") == b"b", columns=["offset"]).to_pylist() == [{"offset": 101}]


@pytest.mark.parametrize(
    ("where", "options", "says"),
    [
        (kl.field("ofset") == 1, {}, "where names no column: 'ofset'; did you mean 'offset'?"),
        (kl.field("offset") == "x", {}, "where does not fit the types of the columns"),
        (kl.field("offset") + 1, {}, "where does not fit the types of the columns"),
        (kl.field(("n", "deep")) == 1, {"value": "json"}, "no record has a field 'n.deep'"),
        (kl.field("n") == "x", {"value": "json"}, "(n == \"x\"), where 'n' is int64"),
        (kl.field("value").cast(pa.int64()) == 1, {"value": "text"}, "where cannot be applied"),
    ],
    ids=str,
)
def test_a_filter_that_makes_no_sense_is_refused(where: Any, options: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        checked(b'{"n": 1}', where=where, **options)
    assert says in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"value": "jsno"}, "'jsno' is no format: did you mean 'json'?"),
        ({"key": "utf8"}, "'utf8' is no format"),
        ({"errors": "ignore"}, "errors is 'raise', 'column' or 'skip', not 'ignore'"),
        ({"columns": ["ofset"]}, "there is no column 'ofset': did you mean 'offset'?"),
        ({"columns": ["_error"]}, "there is no column '_error'"),
        ({"columns": "offset"}, "columns is a list of names: give ['offset']"),
        ({"where": "offset > 1"}, "where is a pyarrow expression such as kl.field('partition') == 3, not 'offset > 1'"),
        ({"where": True}, "where is a pyarrow expression"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_before_anything_is_read(wrong: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        RowOptions(**wrong)
    assert says in str(caught.value)


def test_fields_cannot_be_refused_before_anything_is_read() -> None:
    assert RowOptions(value="json", columns=["amount"]).columns == ["amount"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"columns": ["amont"]}, "there is no column 'amont': did you mean 'amount'?"),
        ({"where": kl.field("amont") > 1}, "no record has a field 'amont': did you mean 'amount'?"),
    ],
    ids=str,
)
def test_fields_that_no_row_has_had_are_refused_at_the_end(options: Any, says: str) -> None:
    shaper = RowShaper(RowOptions(value="json", **options))
    shaper.project(shaper.shape(without_headers(step(b'{"amount": 1}'))))
    with pytest.raises(ArgumentError) as caught:
        shaper.names.check(shaper.options)
    assert says in str(caught.value)


def test_a_field_that_some_row_has_had_is_fine() -> None:
    names = Names()
    options = RowOptions(value="json", columns=["a", "b"], where=kl.field("b").is_valid())
    for value in (b'{"a": 1}', b'{"b": 1}'):
        RowShaper(options, names=names).shape(without_headers(step(value)))
    names.check(options)


def test_no_rows_refuse_nothing() -> None:
    Names().check(RowOptions(value="json", columns=["anything"]))


def test_an_absent_field_is_null() -> None:
    assert shaped(b'{"a": 1}', value="json", columns=["a", "b"]).to_pylist() == [{"a": 1, "b": None}]


@pytest.mark.parametrize(
    ("where", "offsets"),
    [
        (kl.field("offset") != 101, [100, 102]),
        ((kl.field("offset") > 101) & (kl.field("n") == 2), [102]),
        ((kl.field("n") == 2) & (kl.field("partition") == 3) & ~(kl.field("offset") == 101), [102]),
        (~((kl.field("offset") == 101) | (kl.field("n") == 1)), [102]),
        (kl.field("key") == b"k", [100, 102]),
        ((kl.field("timestamp_type") == "create_time") & kl.field("offset").isin([100, 102]), [100, 102]),
    ],
    ids=str,
)
def test_what_the_records_own_columns_exclude_is_not_decoded(where: Any, offsets: list[int]) -> None:
    rows = shaped(b'{"n": 1}', b"{", b'{"n": 2}', keys=[b"k", b"other", b"k"], value="json", where=where)
    assert rows["offset"].to_pylist() == offsets


def test_a_decoded_key_excludes_values_from_decoding() -> None:
    rows = shaped(b"1", b"{", keys=[b"a", b"b"], key="text", value="json", where=kl.field("key") == "a")
    assert rows["value"].to_pylist() == [1]


@pytest.mark.parametrize(
    "where",
    [
        (kl.field("n").is_null() & (kl.field("offset") > 0)) | (kl.field("offset") == 100),
        kl.field("n").isin([1, None]) | (kl.field("offset") > 200),
        kl.field("n").is_valid() | (kl.field("offset") == 101),
        kl.field(("o", "x")) == 5,
    ],
    ids=str,
)
def test_filters_give_what_they_give_on_decoded_rows(where: Any) -> None:
    values = [b'{"n": 1, "o": {"x": 5}}', b"{}", b'{"n": 2, "o": {}}', b'{"n": null}']
    everything = shaped(*values, value="json")
    assert shaped(*values, value="json", where=where).to_pylist() == everything.filter(where).to_pylist()


def test_a_filter_on_other_fields_keeps_what_is_asked_for() -> None:
    rows = shaped(b'{"a": 1, "b": 2, "c": 3}', b'{"b": 5}', value="json", columns=["a"], where=kl.field("b") == 2)
    assert rows.to_pylist() == [{"a": 1}]


def test_fields_that_are_not_built_are_still_known_by_name() -> None:
    shaper = RowShaper(RowOptions(value="json", key="json", columns=["amonut"]))
    shaper.shape(without_headers(step(b'{"amount": 1, "offset": 2}', keys=[b'{"id": 1}'])))
    assert set(shaper.names.fields) == {"amount", "value.offset", "key.id"}
    with pytest.raises(ArgumentError, match="did you mean 'amount'"):
        shaper.names.check(shaper.options)


def test_columns_with_a_source_in_front_are_found() -> None:
    options = {"key": "json", "value": "json", "columns": ["key.id", "value.offset"]}
    assert shaped(b'{"offset": 2}', keys=[b'{"id": 1}'], **options).to_pylist() == [{"key.id": 1, "value.offset": 2}]


def test_errors_of_key_and_value_are_kept_by_row() -> None:
    keys = [b"k", b"\xff", b"\xfe", None]
    rows = shaped(b"{", b"1", b"[", b"2", keys=keys, key="text", value="json", errors="column")
    assert rows["_raw"].to_pylist() == [b"{", None, b"[", None]
    assert rows["_raw_key"].to_pylist() == [None, b"\xff", b"\xfe", None]
    assert rows["_error"].to_pylist() == [
        "value: no JSON: EOF while parsing an object at byte 1",
        "key: byte 0 is no UTF-8",
        "key: byte 0 is no UTF-8; value: no JSON: EOF while parsing a list at byte 1",
        None,
    ]
    assert rows["value"].to_pylist() == [None, 1, None, 2]


@pytest.mark.parametrize(
    ("where", "offsets"),
    [
        (kl.field("_error").is_valid(), [100, 101, 102]),
        (~kl.field("_error").is_null(), [100, 101, 102]),
        (kl.field("_raw").is_valid(), [100, 102]),
        (kl.field("_raw_key").is_valid(), [101, 102]),
        (kl.field("_error").is_null(), [103]),
        (kl.field("_error").is_valid() & (kl.field("offset") > 100), [101, 102]),
        (pc.match_substring(kl.field("_error"), "value:"), [100, 102]),
        (kl.field("value").is_valid() & kl.field("_error").is_valid(), [101]),
    ],
    ids=str,
)
def test_a_filter_finds_the_rows_that_are_not_in_their_format(where: Any, offsets: list[int]) -> None:
    keys = [b"k", b"\xff", b"\xfe", None]
    rows = shaped(b"{", b"1", b"[", b"2", keys=keys, key="text", value="json", errors="column", where=where)
    assert rows["offset"].to_pylist() == offsets


def test_names_that_nobody_asked_for_are_not_remembered_for_ever() -> None:
    shaper = RowShaper(RowOptions(value="json", columns=["a"], where=kl.field("b").is_null()))
    for start in range(0, 5000, 500):
        values = [b'{"a%d": 1}' % number for number in range(start, start + 500)]
        shaper.shape(without_headers(step(*values)))
    assert len(shaper.names.fields) <= 1000
    shaper.shape(without_headers(step(b'{"a": 1, "b": null}')))
    shaper.names.check(shaper.options)


def test_a_whole_schema_is_known_before_any_rows() -> None:
    options = RowOptions(value=kl.Json(pa.schema([("n", pa.int32()), ("offset", pa.string())])), key="uuid")
    assert not options.has_fields
    empty = RowShaper(options).empty()
    assert empty.schema.names == [*BARE[:5], "key", "n", "value.offset"]
    assert (empty.schema.field("key").type, empty.schema.field("n").type) == (pa.string(), pa.int32())
    with pytest.raises(ArgumentError, match="there is no column 'm'"):
        RowOptions(value=options.value, columns=["m"])


def test_a_format_may_be_a_function() -> None:
    rows = shaped(b"a", b"b", value=lambda values: pa.array([len(values)] * len(values)))
    assert rows["value"].to_pylist() == [2, 2]


def test_what_is_shaped_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array holds two gigabytes: rows of many steps are shaped in heaps."""
    cluster = MemoryCluster({TOPIC: 6})
    for partition in range(6):
        cluster.append(TOPIC, bytes(1_000), partition=partition)
    lab = kl.Lab(cluster, cluster)
    whole = lab.sample(TOPIC, 6, seed=1)
    monkeypatch.setattr(rows_module, "_TOGETHER_BYTES", 2_500)
    heaps, shape = [], RowShaper._shaped

    def counting(shaper: RowShaper, rows: pa.RecordBatch) -> pa.RecordBatch:
        heaps.append(rows.num_rows)
        return shape(shaper, rows)

    monkeypatch.setattr(RowShaper, "_shaped", counting)
    pd.testing.assert_frame_equal(lab.sample(TOPIC, 6, seed=1), whole)
    assert heaps == [2, 2, 2]
