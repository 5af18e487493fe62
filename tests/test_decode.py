import json as std_json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.decode import formats, json, text
from kafkalab.decode.base import JSON_TEXT, WHOLE, Decoded
from kafkalab.errors import ArgumentError

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=4)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


def binary(*values: bytes | None) -> pa.Array:
    return pa.array(values, pa.binary())


def columns(decoded: Decoded) -> dict[str, list[Any]]:
    return {name: column.to_pylist() for name, column in decoded.columns.items()}


def as_objects(decoded: Decoded) -> list[dict[str, Any]]:
    """Return the rows as JSON objects again, without what is null."""
    read = {
        name: [None if v is None else std_json.loads(v) if name in decoded.json_text else v for v in values]
        for name, values in columns(decoded).items()
    }
    return [
        {n: values[row] for n, values in read.items() if values[row] is not None}
        for row in range(len(next(iter(read.values()), [])))
    ]


# Text


@given(st.lists(st.none() | st.text(max_size=5)))
def test_text_is_what_was_written(values: list[str | None]) -> None:
    decoded = text.decode(binary(*[None if value is None else value.encode() for value in values]))
    assert columns(decoded) == {WHOLE: values}
    assert not decoded.errors


@given(st.lists(st.none() | st.binary(max_size=4)))
def test_any_bytes_are_text_or_an_error_of_their_row(values: list[bytes | None]) -> None:
    decoded = text.decode(binary(*values))
    assert decoded.errors.keys() == {row for row, value in enumerate(values) if value and not is_text(value)}
    expected = [None if value is None or row in decoded.errors else value.decode() for row, value in enumerate(values)]
    assert columns(decoded) == {WHOLE: expected}


def is_text(value: bytes) -> bool:
    return value.decode(errors="ignore").encode() == value


def test_the_byte_that_is_no_text_is_named() -> None:
    assert text.decode(binary(b"caf\xe9!")).errors == {0: "byte 3 is no UTF-8"}


def test_empty_text_is_not_null() -> None:
    assert columns(text.decode(binary(b"", None))) == {WHOLE: ["", None]}


# JSON


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b'{"n": 1}', b'{"n": 2.5}'], {"n": [1.0, 2.5]}),
        ([b'{"n": 1}', b"{}", None], {"n": [1, None, None]}),
        ([b'{"a": 1}', b'{"b": "x"}'], {"a": [1, None], "b": [None, "x"]}),
        ([b'{"n": 1}', b'{"n": "x"}'], {"n": ["1", '"x"']}),
        ([b'{"n": true}', b'{"n": 1}'], {"n": ["true", "1"]}),
        ([b'{"n": 9007199254740993}', b'{"n": 0.5}'], {"n": ["9007199254740993", "0.5"]}),
        ([b'{"n": 9223372036854775808}'], {"n": ["9223372036854775808"]}),
        ([b'{"n": 9223372036854775807}'], {"n": [2**63 - 1]}),
        ([b'{"n": {"a": 1}}', b'{"n": {"b": [1]}}'], {"n": [{"a": 1, "b": None}, {"a": None, "b": [1]}]}),
        ([b'{"n": {"a": 1}}', b'{"n": [1]}'], {"n": ['{"a": 1}', "[1]"]}),
        ([b'{"n": [1, "x"]}'], {"n": ['[1, "x"]']}),
        ([b"[1]", b"[2, 3]"], {WHOLE: [[1], [2, 3]]}),
        ([b"1", b'{"a": 2}'], {WHOLE: [1, None], "a": [None, 2]}),
        ([b'"text"', b"null"], {WHOLE: ["text", None]}),
        ([b'{"": 1}', b"2"], {"": [1, None], WHOLE: [None, 2]}),
        ([b'{"s": "\\ud800"}'], {"s": [r'"\ud800"']}),
        ([b'{"\\ud800": 1}'], {r"\ud800": [1]}),
        ([b'{"o": {"\\ud800": 1}}'], {"o": [r'{"\ud800": 1}']}),
        ([b'{"s": "\\ud83d\\ude00"}'], {"s": ["\U0001f600"]}),
        ([b'{"n": 1, "n": 2}'], {"n": [2]}),
        (["{}".encode("utf-16")], {}),
        ([], {}),
    ],
    ids=str,
)
def test_json_objects_become_columns_of_exact_values(
    values: list[bytes | None], expected: dict[str, list[Any]]
) -> None:
    decoded = json.decode(binary(*values))
    assert columns(decoded) == expected
    assert not decoded.errors


@pytest.mark.parametrize(
    "value", [b"", b"{", b'{"a": }', b"\xff", b"{'a': 1}", b"[" * 100_000, b'{"a": 1} x'], ids=lambda value: value[:9]
)
def test_what_is_no_json_is_an_error_of_its_row(value: bytes) -> None:
    decoded = json.decode(binary(b'{"a": 1}', value))
    assert columns(decoded) == {"a": [1, None]}
    assert list(decoded.errors) == [1]
    assert decoded.errors[1].startswith("no JSON: ")


def test_more_fields_than_a_table_can_have_are_an_error_of_their_row() -> None:
    many = std_json.dumps({str(n): n for n in range(10_001)}).encode()
    decoded = json.decode(binary(many, b'{"0": 5}'))
    assert "more than 10000 different fields: read it as text" in decoded.errors[0]
    assert columns(decoded) == {"0": [None, 5]}


@given(st.lists(st.dictionaries(st.text("abc", min_size=1, max_size=2), scalars, max_size=3), max_size=5))
def test_no_json_value_changes(objects: list[dict[str, Any]]) -> None:
    decoded = json.decode(binary(*[std_json.dumps(each).encode() for each in objects]))
    kept = [{name: value for name, value in each.items() if value is not None} for each in objects]
    if decoded.columns:
        assert as_objects(decoded) == kept
    else:
        assert not any(kept)


@given(st.lists(st.none() | json_values.map(lambda value: std_json.dumps(value).encode()) | st.binary(max_size=6)))
def test_any_bytes_are_json_or_an_error_of_their_row(values: list[bytes | None]) -> None:
    decoded = json.decode(binary(*values))
    assert all(len(column) == len(values) for column in decoded.columns.values())
    for row in decoded.errors:
        assert all(column[row].as_py() is None for column in decoded.columns.values())


@given(st.lists(json_values, min_size=1, max_size=6), st.integers(1, 5))
def test_steps_joined_are_what_one_step_would_have_been(values: list[Any], size: int) -> None:
    tables = []
    for start in range(0, len(values), size):
        decoded = json.decode(
            binary(*[std_json.dumps({"f": value}).encode() for value in values[start : start + size]])
        )
        fields = [decoded.field_of(name, name) for name in decoded.columns]
        tables.append(pa.Table.from_arrays(list(decoded.columns.values()), schema=pa.schema(fields)))
    joined = json.unify(tables)
    found = joined["f"].to_pylist()
    if joined.schema.field("f").metadata == JSON_TEXT:
        found = [None if cell is None else std_json.loads(cell) for cell in found]
    assert [without_nulls(value) for value in found] == [without_nulls(value) for value in values]


def without_nulls(value: Any) -> Any:
    """Return a value whose objects lack the fields that are null: in a column of objects every one has all fields."""
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ({"n": [1]}, {"n": [2.5]}, [1.0, 2.5]),
        ({"n": [None]}, {"n": ["x"]}, [None, "x"]),
        ({"n": [2**53 + 1]}, {"n": [0.5]}, ["9007199254740993", "0.5"]),
        ({"n": [1]}, {"n": ["x"]}, ["1", '"x"']),
        ({"n": [True]}, {"n": [1]}, ["true", "1"]),
        ({"n": [{"a": 1}]}, {"n": [{"b": 2}]}, [{"a": 1, "b": None}, {"a": None, "b": 2}]),
        ({"n": [{"a": 1}]}, {"n": [{"a": "x"}]}, ['{"a": 1}', '{"a": "x"}']),
        ({"n": [{}]}, {"n": [{"a": 1}]}, [{"a": None}, {"a": 1}]),
        ({"n": [{}]}, {"n": [None]}, ["{}", None]),
        ({"n": [[{}]]}, {"n": [None]}, ["[{}]", None]),
        ({"n": [{"a": {}}]}, {"n": [None]}, ['{"a": {}}', None]),
    ],
    ids=str,
)
def test_types_are_widened_where_that_loses_nothing(first: Any, second: Any, joined: list[Any]) -> None:
    assert json.unify([pa.table(first), pa.table(second)])["n"].to_pylist() == joined


def test_texts_and_json_texts_do_not_mix() -> None:
    steps = [[b'{"n": 1}', b'{"n": "x"}'], [b'{"n": "y"}'], [b'{"n": null}']]
    tables = []
    for step in steps:
        decoded = json.decode(binary(*step))
        schema = pa.schema([decoded.field_of("n", "n")])
        tables.append(pa.Table.from_arrays([decoded.columns["n"]], schema=schema))
    assert json.unify(tables)["n"].to_pylist() == ["1", '"x"', '"y"', None]


# Formats


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([b'{"a": 1}', None], "json"),
        ([b'{"a": 1}', b"{}"], "json"),
        ([b'{"a": 1}', b"[]"], "text"),
        ([b"1"], "text"),
        ([b"{}"], "text"),
        ([b"caf\xc3\xa9"], "text"),
        ([b"\x00\xff"], "bytes"),
        ([None], "bytes"),
        ([], "bytes"),
    ],
    ids=str,
)
def test_the_format_that_shows_values_best_is_found(values: list[bytes | None], name: str) -> None:
    assert formats.detect(binary(*values)) == name


@pytest.mark.parametrize("name", ["bytes", "text", "str", "json"])
def test_each_format_has_a_decoder(name: str) -> None:
    assert formats.decoder(name)(binary(b'{"a": 1}')).columns


@pytest.mark.parametrize(
    ("name", "auto", "says"),
    [
        ("jsn", False, "'jsn' is no format: did you mean 'json'?"),
        ("auto", False, "'auto' is no format: there are 'bytes', 'json', 'str', 'text'"),
        ("atuo", True, "'atuo' is no format: did you mean 'auto'?"),
        (None, True, "None is no format: there are"),
        (["json"], True, "is no format"),
    ],
)
def test_a_wrong_format_is_refused_with_those_there_are(name: Any, auto: bool, says: str) -> None:  # noqa: FBT001 - a column of the table
    with pytest.raises(ArgumentError) as caught:
        formats.check(name, auto=auto)
    assert says in str(caught.value)
