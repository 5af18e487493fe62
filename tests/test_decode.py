import json as std_json
import struct
import time
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.decode import formats, json, numbers, text
from kafkalab.decode.base import JSON_TEXT, Decoded
from kafkalab.decode.joining import unify
from kafkalab.decode.json import Json
from kafkalab.errors import ArgumentError
from tests.json_oracle import Row, rows_of

WHOLE = None

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=4)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


def binary(*values: bytes | None) -> pa.Array:
    return pa.array(values, pa.binary())


def columns(decoded: Decoded) -> dict[str | None, list[Any]]:
    return {name: array.to_pylist() for name, _, array in decoded}


def kinds(decoded: Decoded) -> dict[str | None, pa.DataType]:
    return {name: field.type for name, field, _ in decoded}


def as_rows(decoded: Decoded, count: int) -> list[Row]:
    """Return the rows as JSON has them, without what is null."""
    read = {
        name: [
            None if v is None else std_json.loads(v) if field.metadata == JSON_TEXT else v for v in array.to_pylist()
        ]
        for name, field, array in decoded
    }
    return [without_nulls({name: values[row] for name, values in read.items()}) for row in range(count)]


def without_nulls(value: Any) -> Any:
    """Return a value whose objects lack the fields that are null: in a column of objects every one has all fields."""
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


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
        ([b'{"n": 2.5}', b'{"n": 1}'], {"n": [2.5, 1.0]}),
        ([b'{"n": 1}', b"{}", None], {"n": [1, None, None]}),
        ([b'{"a": 1}', b'{"b": "x"}'], {"a": [1, None], "b": [None, "x"]}),
        ([b'{"a": 1, "b": 2}', b'{"b": 3, "a": 4}'], {"a": [1, 4], "b": [2, 3]}),
        ([b'{"n": null}', b'{"n": "x"}'], {"n": [None, "x"]}),
        ([b'{"n": 1}', b'{"n": "x"}'], {"n": ["1", '"x"']}),
        ([b'{"n": true}', b'{"n": 1}'], {"n": ["true", "1"]}),
        ([b'{"n": 9007199254740993}', b'{"n": 0.5}'], {"n": ["9007199254740993", "0.5"]}),
        ([b'{"n": 0.5}', b'{"n": 9007199254740993}'], {"n": ["0.5", "9007199254740993"]}),
        ([b'{"n": 9223372036854775808}'], {"n": ["9223372036854775808"]}),
        ([b'{"n": -9223372036854775809}', b'{"n": 1}'], {"n": ["-9223372036854775809", "1"]}),
        ([b'{"n": 9223372036854775807}'], {"n": [2**63 - 1]}),
        ([b'{"n": -9223372036854775808}'], {"n": [-(2**63)]}),
        ([b'{"n": 1e309}', b'{"n": 1.50}'], {"n": ["1e309", "1.50"]}),
        ([b'{"n": -0}', b'{"n": 0}'], {"n": [0, 0]}),
        ([b'{"n": 1E2}', b'{"n": 0.1e1}'], {"n": [100.0, 1.0]}),
        ([b'{"n": Infinity}', b'{"n": -Infinity}', b'{"n": 1}'], {"n": [float("inf"), float("-inf"), 1.0]}),
        ([b'{"t": "2026-01-01"}', b'{"t": "2026-01-01T00:00:00Z"}'], {"t": ["2026-01-01", "2026-01-01T00:00:00Z"]}),
        ([b'{"n": {"a": 1}}', b'{"n": {"b": [1]}}'], {"n": [{"a": 1, "b": None}, {"a": None, "b": [1]}]}),
        ([b'{"n": {"a": 1}}', b'{"n": [1]}'], {"n": ['{"a":1}', "[1]"]}),
        ([b'{"n": {"a": 1}}', b'{"n": {"a": "x"}}'], {"n": ['{"a":1}', '{"a":"x"}']}),
        ([b'{"n": [1, "x \\" y", {"a" : [ ] }]}'], {"n": ['[1,"x \\" y",{"a":[]}]']}),
        ([b'{"n": []}', b'{"n": [null]}', b'{"n": [1]}'], {"n": [[], [None], [1]]}),
        ([b'{"n": {}}', b'{"n": null}'], {"n": [{}, None]}),
        ([b"[1]", b"[2, 3]"], {WHOLE: [[1], [2, 3]]}),
        ([b"1", b'{"a": 2}'], {WHOLE: [1, None], "a": [None, 2]}),
        ([b"1", b'"x"', b"true"], {WHOLE: ["1", '"x"', "true"]}),
        ([b'"text"', b"null"], {WHOLE: ["text", None]}),
        ([b'{"": 1}', b"2"], {"": [1, None], WHOLE: [None, 2]}),
        ([b'{"o": {"\\u0000": 1}}'], {"o": ['{"\\u0000":1}']}),
        ([b'{"s": "\\ud83d\\ude00 \\n"}'], {"s": ["\U0001f600 \n"]}),
        ([b'{"a\\nb": 1}', b'{"a\\u000ab": 2}', b'{"\\"": 3}'], {"a\nb": [1, 2, None], '"': [None, None, 3]}),
        ([b'{"n": 1, "n": 2}', b'{"n": 3}'], {"n": [2, 3]}),
        ([b'{"n": 1, "n": null}'], {"n": [None]}),
        ([b'{"o": {"n": 1, "n": 2}}'], {"o": [{"n": 2}]}),
        ([b'\xef\xbb\xbf{"n": 1}'], {"n": [1]}),
        ([b' {\r\n\t"n" : 1 ,\n  "m" : [ 1 , 2 ]\n}\n'], {"n": [1], "m": [[1, 2]]}),
        ([None, None], {}),
        ([], {}),
    ],
    ids=str,
)
def test_json_objects_become_columns_of_exact_values(
    values: list[bytes | None], expected: dict[str | None, list[Any]]
) -> None:
    decoded = json.decode(binary(*values))
    assert columns(decoded) == expected
    assert not decoded.errors


def test_nan_is_a_number_and_not_null() -> None:
    ((_, _, column),) = json.decode(binary(b'{"n": NaN}', b'{"n": null}', b'{"n": 1}'))
    assert column.type == pa.float64()
    assert (column.null_count, np.isnan(column[0].as_py())) == (1, True)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"", "EOF while parsing a value at byte 0"),
        (b" ", "EOF while parsing a value at byte 1"),
        (b"{", "EOF while parsing an object at byte 1"),
        (b'{"a": }', "expected value at byte 6"),
        (b'{"a": 1', "EOF while parsing an object at byte 7"),
        (b'{"a": 2, "b": "x', "EOF while parsing a string at byte 16"),
        (b'{"a": 2} {"a": 3}', "trailing characters at byte 9"),
        (b'{"a": 1,}', "trailing comma at byte 8"),
        (b"[1,]", "trailing comma at byte 3"),
        (b'{"a": 01}', "invalid number"),
        (b'{"a": 1.}', "invalid number"),
        (b'{"a": +1}', "expected value"),
        (b'{"a": nul}', "expected ident"),
        (b'{"a": truex}', "expected `,` or `}`"),
        (b"{'a': 1}", "key must be a string at byte 1"),
        (b'{"a": "\x01"}', "control character"),
        (b'{"a": "\\x"}', "invalid escape"),
        (b'{"a": "\\ud800"}', "hex escape"),
        (b'{"\\udc00": 1}', "hex escape"),
        (b'{"a": "\xff"}', "byte 7 is no UTF-8"),
        (b"\xff", "byte 0 is no UTF-8"),
        ("{}".encode("utf-16"), "byte 0 is no UTF-8"),
        (b"[" * 10_000 + b"]" * 10_000, "recursion limit exceeded"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "recursion limit exceeded"),
        (b'{"a": ' + b"1" * 5000 + b"}", "number out of range"),
    ],
    ids=lambda value: value[:12],
)
@pytest.mark.parametrize("position", ["first", "last"])
def test_what_is_no_json_is_an_error_of_its_row_and_changes_no_other(value: bytes, says: str, position: str) -> None:
    good = b'{"a": 1}'
    decoded = json.decode(binary(value, good) if position == "first" else binary(good, value))
    row = 0 if position == "first" else 1
    assert decoded.errors.keys() == {row}
    assert decoded.errors[row].startswith("no JSON: ")
    assert says in decoded.errors[row]
    assert (columns(decoded), kinds(decoded)) == ({"a": [None, 1] if row == 0 else [1, None]}, {"a": pa.int64()})


@pytest.mark.parametrize("bad", [b'{"n": "x", "m": 1', b'{"n": 0.5} 1', b'{"n": [1], "k": {"a": 1}, "n": \xff}'])
def test_a_broken_row_changes_no_type_and_adds_no_field(bad: bytes) -> None:
    decoded = json.decode(binary(bad, b'{"n": 1}', bad, b'{"n": 2}', bad))
    assert kinds(decoded) == {"n": pa.int64()}
    assert columns(decoded) == {"n": [None, 1, None, 2, None]}
    assert list(decoded.errors) == [0, 2, 4]


def test_a_name_that_no_column_can_have_is_an_error_of_its_row() -> None:
    decoded = json.decode(binary(b'{"a": 1}', b'{"\\u0000": 1}'))
    assert decoded.errors == {1: "the name of a field holds a NUL character, which Arrow has not"}
    assert columns(decoded) == {"a": [1, None]}


def test_a_row_of_conflicts_is_read_in_one_go() -> None:
    count = 5_000
    numbers_row = std_json.dumps({f"f{n}": n for n in range(count)}).encode()
    texts_row = std_json.dumps({"long": list(range(200_000))} | {f"f{n}": "x" for n in range(count)}).encode()
    found = columns(json.decode(binary(numbers_row, texts_row, texts_row[:-1])))
    assert (found["f0"], found[f"f{count - 1}"]) == (["0", '"x"', None], [str(count - 1), '"x"', None])


def test_deep_values_are_kept_as_text() -> None:
    deep = "[" * 40 + "1" + "]" * 40
    decoded = json.decode(binary(f'{{"a": 1, "d": {deep}}}'.encode(), b'{"a": 2}'))
    assert columns(decoded) == {"a": [1, 2], "d": [deep, None]}


def test_more_fields_than_a_table_can_have_are_an_error_of_their_row() -> None:
    many = std_json.dumps({str(n): n for n in range(10_001)}).encode()
    decoded = json.decode(binary(b'{"0": 4}', many, b'{"0": 5}'))
    assert "more than 10000 different fields: name the columns, or read it as text" in decoded.errors[1]
    assert columns(decoded) == {"0": [4, None, 5]}


def test_objects_used_as_maps_become_text_before_they_fill_memory() -> None:
    values = [std_json.dumps({"n": n, "map": {f"key{n}": n}}).encode() for n in range(10_100)]
    decoded = json.decode(binary(*values))
    assert kinds(decoded) == {"n": pa.int64(), "map": pa.string()}
    assert columns(decoded)["map"][10_099] == '{"key10099":10099}'


def test_wide_rows_are_bounded_in_cells() -> None:
    count = 2_000_000
    few = binary(b'{"a": 1}').take(pa.array(np.zeros(count, np.int32)))
    wide = binary(std_json.dumps({f"f{n}": n for n in range(101)}).encode())
    decoded = json.decode(pa.concat_arrays([few, wide]))
    assert list(decoded.errors) == [count]
    assert "more cells than it has bytes" in decoded.errors[count]


@given(st.lists(st.dictionaries(st.text("abc", min_size=1, max_size=2), json_values, max_size=3), max_size=5))
def test_no_json_value_changes(objects: list[dict[str, Any]]) -> None:
    values = binary(*[std_json.dumps(each).encode() for each in objects])
    decoded = json.decode(values)
    assert not decoded.errors
    assert as_rows(decoded, len(objects)) == [without_nulls(each) for each in objects]


spaces = st.sampled_from([b"", b" ", b"\n", b"\r\n\t"])
tokens = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"a"',
            b'"b"',
            b'"\\u00e9"',
            b'"\\ud800"',
            b"1",
            b"-0",
            b"1.5",
            b"1e400",
        ),
        *(b"12345678901234567890", b"9007199254740993", b"0.30000000000000004", b"true", b"null", b"NaN", b"-Infinity"),
        *(b'"x y"', '"é"'.encode(), b"\xff", b"01", b"\x00", b'{"a":1}', b'{"a":', b'{"a":[', b'"unfinished'),
    ]
)
token_soup = st.lists(st.tuples(tokens, spaces).map(b"".join), max_size=9).map(b"".join)
written = st.tuples(json_values, st.sampled_from([None, 1]), st.booleans()).map(
    lambda drawn: std_json.dumps(drawn[0], indent=drawn[1], ensure_ascii=drawn[2]).encode()
)
cut = st.tuples(written, st.integers(0, 20)).map(lambda drawn: drawn[0][: drawn[1]])
objects = st.dictionaries(st.sampled_from("abc"), scalars | st.lists(scalars, max_size=2), max_size=3)
rows = st.none() | objects.map(lambda value: std_json.dumps(value).encode()) | written | token_soup | cut


def same(found: Any, expected: Any) -> bool:
    """Compare values, of which NaN may be one; a number may have become a float that is equal to it."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name]) for name in found)
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    both = isinstance(found, bool) == isinstance(expected, bool)
    return both and (found == expected or (found != found and expected != expected))  # noqa: PLR0124 - NaN alone is not itself


@given(st.lists(rows, max_size=8))
def test_rows_are_those_of_pythons_own_parser(values: list[bytes | None]) -> None:
    expected, bad = rows_of(values)
    decoded = json.decode(binary(*values))
    assert decoded.errors.keys() == bad
    assert same(as_rows(decoded, len(values)), [without_nulls(row) for row in expected])


@given(st.lists(rows, max_size=8), st.integers(1, 4))
def test_what_a_decoder_remembers_changes_no_row(values: list[bytes | None], size: int) -> None:
    expected, bad = rows_of(values)
    decode = Json().decoder()
    for start in range(0, len(values), size):
        step = values[start : start + size]
        decoded = decode(binary(*step))
        assert {row + start for row in decoded.errors} == {row for row in bad if start <= row < start + size}
        assert same(as_rows(decoded, len(step)), [without_nulls(row) for row in expected[start : start + size]])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)))
def test_numbers_are_read_as_python_reads_them(values: list[float]) -> None:
    for value in values:
        ((_, _, column),) = json.decode(binary(b'{"n": %s}' % repr(value).encode()))
        assert repr(column[0].as_py()) == repr(value)


@given(st.integers(0, 10**15), st.integers(0, 17), st.booleans())
def test_decimal_fractions_are_the_nearest_doubles(digits: int, point: int, negative: bool) -> None:  # noqa: FBT001 - drawn
    plain = str(digits).rjust(point + 1, "0")
    number = ("-" if negative else "") + (f"{plain[:-point]}.{plain[-point:]}" if point else f"{plain}.0")
    ((_, _, column),) = json.decode(binary(f"[{number}]".encode()))
    assert repr(column[0].as_py()[0]) == repr(float(number))


@given(st.lists(json_values, min_size=1, max_size=6), st.integers(1, 5))
def test_steps_joined_are_what_one_step_would_have_been(values: list[Any], size: int) -> None:
    tables = []
    decode = Json().decoder()
    for start in range(0, len(values), size):
        decoded = decode(binary(*[std_json.dumps({"f": value}).encode() for value in values[start : start + size]]))
        ((_, field, array),) = decoded
        tables.append(pa.Table.from_arrays([array], schema=pa.schema([field])))
    joined = unify(tables)
    found = joined["f"].to_pylist()
    if joined.schema.field("f").metadata == JSON_TEXT:
        found = [None if cell is None else std_json.loads(cell) for cell in found]
    assert [without_nulls(value) for value in found] == [without_nulls(value) for value in values]


def test_later_steps_have_the_columns_of_earlier_ones() -> None:
    decode = Json().decoder()
    first = decode(binary(b'{"a": 1, "b": "x", "c": [1]}', b'{"a": "1"}'))
    later = decode(binary(b'{"b": "y"}'))
    assert [field for _, field, _ in later] == [field for _, field, _ in first]
    assert columns(later) == {"a": [None], "b": ["y"], "c": [None]}
    assert columns(decode(binary(b'{"a": 2}')))["a"] == ["2"]


def test_a_step_of_many_rows_forgets_too_many_columns() -> None:
    decode = Json().decoder()
    decode(binary(std_json.dumps({f"f{n}": n for n in range(5_000)}).encode()))
    few = binary(b'{"a": 1}').take(pa.array(np.zeros(50_000, np.int32)))
    assert list(kinds(decode(few))) == ["a"]


@pytest.mark.parametrize("inside", [False, True])
def test_decimals_among_floats_keep_their_digits_as_text(*, inside: bool) -> None:
    exact = Decimal("12345678901234567890.12")
    decimals, floats = pa.array([exact]), pa.array([1.5])
    if inside:
        decimals, floats = (pa.array([[{"d": each[0].as_py()}]]) for each in (decimals, floats))
    joined = unify([pa.table({"n": decimals}), pa.table({"n": floats})])["n"].to_pylist()
    assert joined == (
        ['[{"d":"12345678901234567890.12"}]', '[{"d":1.5}]'] if inside else ['"12345678901234567890.12"', "1.5"]
    )


def test_times_that_a_finer_unit_does_not_reach_have_the_coarser_one_where_that_is_exact() -> None:
    far = pa.table({"at": pa.array([253_402_214_400_000_000], pa.timestamp("us", "UTC"))})
    round_, odd = (pa.table({"at": pa.array([nanos], pa.timestamp("ns", "UTC"))}) for nanos in (5_000, 5))
    joined = unify([round_, far])["at"]
    assert (joined.type, joined.cast(pa.int64()).to_pylist()) == (far["at"].type, [5, 253_402_214_400_000_000])
    assert unify([odd, far])["at"].type == pa.string()


def test_a_column_of_tables_without_number_is_joined_in_time_that_grows_with_their_number() -> None:
    tables = [pa.table({f"f{number}": [number]}) for number in range(300)]
    assert unify(tables).num_columns == 300


def test_lists_that_would_fill_memory_are_an_error_of_their_row() -> None:
    wide = std_json.dumps({f"f{n}": n for n in range(1_000)}).encode()
    bomb = b'{"n": 2, "l": [' + b",".join([b"{}"] * 20_000) + b"]}"
    decoded = json.decode(binary(b'{"n": 1, "l": [' + wide + b"]}", bomb, b'{"n": 3, "l": [{}]}'))
    assert list(decoded.errors) == [1]
    assert columns(decoded)["n"] == [1, None, 3]


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ({"n": [1]}, {"n": [2.5]}, [1.0, 2.5]),
        ({"n": [None]}, {"n": ["x"]}, [None, "x"]),
        ({"n": [2**53 + 1]}, {"n": [0.5]}, ["9007199254740993", "0.5"]),
        ({"n": [1]}, {"n": ["x"]}, ["1", '"x"']),
        ({"n": [True]}, {"n": [1]}, ["true", "1"]),
        ({"n": [{"a": 1}]}, {"n": [{"b": 2}]}, [{"a": 1, "b": None}, {"a": None, "b": 2}]),
        ({"n": [{"a": 1}]}, {"n": [{"a": "x"}]}, ['{"a":1}', '{"a":"x"}']),
        ({"n": [{}]}, {"n": [{"a": 1}]}, [{"a": None}, {"a": 1}]),
        ({"n": [{}]}, {"n": [None]}, ["{}", None]),
        ({"n": [[{}]]}, {"n": [None]}, ["[{}]", None]),
        ({"n": [{"a": {}}]}, {"n": [None]}, ['{"a":{}}', None]),
    ],
    ids=str,
)
def test_types_are_widened_where_that_loses_nothing(first: Any, second: Any, joined: list[Any]) -> None:
    assert unify([pa.table(first), pa.table(second)])["n"].to_pylist() == joined


def test_texts_and_json_texts_do_not_mix() -> None:
    steps = [[b'{"n": 1}', b'{"n": "x"}'], [b'{"n": "y"}'], [b'{"n": null}']]
    tables = []
    for step in steps:
        ((_, field, array),) = json.decode(binary(*step))
        tables.append(pa.Table.from_arrays([array], schema=pa.schema([field])))
    assert unify(tables)["n"].to_pylist() == ["1", '"x"', '"y"', None]


# JSON: what is asked for


def test_only_wanted_fields_are_built_and_the_others_are_named() -> None:
    decoded = Json().decoder({"b"})(binary(b'{"a": {"x": 1}, "b": 2, "c": 3}', b'{"a": 1}', b'{"b": 1, "a": [}'))
    assert columns(decoded) == {"b": [2, None, None]}
    assert list(decoded.left_out) == ["a", "c"]
    assert list(decoded.errors) == [2]


def test_a_field_among_more_than_there_can_be_columns_is_found() -> None:
    many = [std_json.dumps({str(row * 9_000 + n): n for n in range(9_000)} | {"id": row}).encode() for row in range(3)]
    decoded = Json().decoder({"id"})(binary(*many))
    assert (columns(decoded), dict(decoded.errors)) == ({"id": [0, 1, 2]}, {})


def test_flattened_objects_are_columns_by_path() -> None:
    values = binary(b'{"a": {"b": 1, "c": {"d": "x"}}, "e": 1}', b'{"a": 5}', b'{"a": {"b": "y"}}', b'{"e": {}}')
    decoded = Json(flatten=True).decoder()(values)
    assert columns(decoded) == {
        "a.b": ["1", None, '"y"', None],
        "a.c.d": ["x", None, None, None],
        "e": [1, None, None, None],
        "a": [None, 5, None, None],
    }
    assert columns(Json(flatten=True).decoder({"a.c.d"})(values)) == {"a.c.d": ["x", None, None, None]}


def test_deep_objects_are_flattened_to_a_bound() -> None:
    value = b'{"a":' * 100 + b"1" + b"}" * 100
    ((name, field, column),) = Json(flatten=True).decoder()(binary(value))
    assert (name, field.metadata) == (".".join("a" * 33), JSON_TEXT)
    assert std_json.loads(column[0].as_py())["a"]["a"]


GIVEN: list[tuple[Any, bytes, Any]] = [
    (pa.int32(), b"7", 7),
    (pa.int64(), b"7.0", 7),
    (pa.uint64(), b"18446744073709551615", 2**64 - 1),
    (pa.float64(), b"9007199254740993", 9007199254740992.0),
    (pa.float32(), b"0.5", 0.5),
    (pa.string(), b'"x"', "x"),
    (pa.string(), b'{"a": [1, "y z"]}', '{"a":[1,"y z"]}'),
    (pa.string(), b"12345678901234567890.5", "12345678901234567890.5"),
    (pa.large_string(), b'"x"', "x"),
    (pa.bool_(), b"true", True),
    (pa.decimal128(20, 2), b"12345678901234567.89", Decimal("12345678901234567.89")),
    (pa.date32(), b'"2026-01-31"', date(2026, 1, 31)),
    (pa.timestamp("ms", "UTC"), b'"2026-01-01T01:00:00.5+01:00"', datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)),
    (pa.timestamp("ms", "UTC"), b"1767225600000", datetime(2026, 1, 1, tzinfo=UTC)),
    (pa.duration("s"), b"60", pd.Timedelta(minutes=1)),
    (pa.binary(), b'"x"', b"x"),
    (pa.list_(pa.int16()), b"[1, null]", [1, None]),
    (pa.struct([("a", pa.int8()), ("b", pa.string())]), b'{"b": 5, "a": 1, "z": 2}', {"a": 1, "b": "5"}),
    ("int16", b"7", 7),
    (np.float32, b"7", 7.0),
    (str, b"7", "7"),
    ("category", b'"x"', "x"),
    ("datetime64[ns, UTC]", b'"2026-01-01T00:00:00Z"', pd.Timestamp("2026-01-01", tz="UTC")),
]


@pytest.mark.parametrize(("kind", "value", "expected"), GIVEN, ids=str)
def test_a_given_type_is_kept(kind: Any, value: bytes, expected: Any) -> None:
    decode = Json({"f": kind}).decoder()
    decoded = decode(binary(b'{"f": %s}' % value, b'{"f": null, "g": 1}', None))
    assert columns(decoded) == {"f": [expected, None, None], "g": [None, 1, None]}
    assert kinds(decode(binary(b"{}"))) == kinds(decoded)


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (pa.int32(), b'"7"', "a string where the schema has an integer"),
        (pa.int32(), b"7.5", "a fraction where the schema has an integer"),
        (pa.int32(), b"2147483648", "2147483648 is no int32"),
        (pa.int64(), b"9223372036854775808", "a number too large, or an object too deep, for the schema"),
        (pa.float64(), b"1e309", "a number too large"),
        (pa.float64(), b"true", "a boolean where the schema has a number"),
        (pa.bool_(), b"1", "a number where the schema has a boolean"),
        (pa.list_(pa.int64()), b"{}", "an object where the schema has a list"),
        (pa.struct([("a", pa.int64())]), b'{"a": []}', "a list where the schema has an integer"),
        (pa.timestamp("ms"), b'"yesterday"', "'yesterday' is no timestamp[ms]"),
        (pa.uint64(), b"-1", "'-1' is no uint64"),
    ],
    ids=str,
)
def test_what_does_not_fit_a_given_type_is_an_error_of_its_row(kind: pa.DataType, value: bytes, says: str) -> None:
    rows = [b'{"f": null, "g": 1}'] * 5
    rows[2] = b'{"f": %s, "g": "x"}' % value
    decoded = Json({"f": kind}).decoder()(binary(*rows))
    assert list(decoded.errors) == [2]
    assert says in decoded.errors[2]
    assert columns(decoded) == {"f": [None] * 5, "g": [1, 1, None, 1, 1]}


def test_a_whole_schema_says_which_columns_there_are() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    decoded = Json(schema).decoder()(binary(b'{"c": 1, "a": 2}', b"[1]", b"null", None))
    assert columns(decoded) == {"a": [2, None, None, None], "b": [None] * 4}
    assert decoded.errors == {1: "no object, which the schema has"}
    assert Json(schema).known == {"a": pa.int64(), "b": pa.string()}


@pytest.mark.parametrize("kind", [pa.time32("s"), pa.map_(pa.string(), pa.int64()), "int33", 5])
def test_a_type_that_json_cannot_be_is_refused(kind: Any) -> None:
    with pytest.raises(ArgumentError, match="'f'"):
        Json({"f": kind})


def test_a_decoder_does_not_hold_the_interpreter() -> None:
    values = binary(b'{"a": 1, "b": "some text"}').take(pa.array(np.zeros(300_000, np.int32)))
    import threading

    turns, done = 0, threading.Event()

    def decode() -> None:
        json.decode(values)
        done.set()

    thread = threading.Thread(target=decode)
    thread.start()
    deadline = time.monotonic() + 5
    while not done.is_set() and time.monotonic() < deadline:
        turns += 1
        done.wait(0.0001)
    thread.join()
    assert turns > 3


# Numbers and UUIDs


@pytest.mark.parametrize(
    ("name", "code", "value"),
    [
        ("int8", ">b", -3),
        ("int16", ">h", -300),
        ("int32", ">i", 2**31 - 1),
        ("int64", ">q", -(2**63)),
        ("uint32", ">I", 2**32 - 1),
        ("uint64", ">Q", 2**64 - 1),
        ("float32", ">f", 0.5),
        ("float64", ">d", 1e300),
    ],
)
def test_numbers_are_big_endian(name: str, code: str, value: float) -> None:
    packed = struct.pack(code, value)
    decoded = numbers.number(name).decoder()(binary(b"other", packed, None, packed, b"").slice(1))
    ((_, field, column),) = decoded
    assert str(field.type) in (name, {"float32": "float", "float64": "double"}.get(name))
    assert column.to_pylist() == [value, None, value, None]
    assert decoded.errors == {3: f"it has 0 bytes, not {struct.calcsize(code)}"}


def test_nan_bytes_are_not_null() -> None:
    ((_, _, column),) = numbers.number("float64").decoder()(binary(struct.pack(">d", float("nan"))))
    assert column.null_count == 0


@given(st.lists(st.none() | st.uuids()))
def test_uuids_are_the_strings_that_people_know(ids: list[uuid.UUID | None]) -> None:
    decoded = numbers.uuid().decoder()(binary(*[None if each is None else each.bytes for each in ids]))
    assert columns(decoded) == {WHOLE: [None if each is None else str(each) for each in ids]}


# A function of one's own


def test_a_function_makes_a_column_or_those_of_a_struct() -> None:
    values = binary(b"a=1", b"b=2")
    texts = formats.get(lambda column: column.cast(pa.string())).decoder()(values)
    assert columns(texts) == {WHOLE: ["a=1", "b=2"]}
    pattern = r"(?P<name>\w)=(?P<number>\d)"
    pairs = formats.get(lambda column: pc.extract_regex(column.cast(pa.string()), pattern)).decoder()(values)
    assert columns(pairs) == {"name": ["a", "b"], "number": ["1", "2"]}


@pytest.mark.parametrize(
    ("made", "says"),
    [(pa.array([1]), "Int64Array of 1"), ([1, 2], "list of 2"), (None, "not NoneType")],
    ids=str,
)
def test_a_function_has_to_return_an_array_as_long(made: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=r"was given an array of 2 values and has to return one, not") as caught:
        formats.get(lambda _: made).decoder()(binary(b"a", b"b"))
    assert says in str(caught.value)


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


@pytest.mark.parametrize("name", sorted(set(formats.names()) - {"avro", "protobuf", "json-schema"}))
def test_each_format_that_needs_no_registry_has_a_decoder(name: str) -> None:
    assert formats.get(name).decoder()(binary(b'{"a": 1}')).columns


@pytest.mark.parametrize(
    ("name", "auto", "says"),
    [
        ("jsn", False, "'jsn' is no format: did you mean 'json'?"),
        ("auto", False, "'auto' is no format: there are 'avro', 'bytes'"),
        ("atuo", True, "'atuo' is no format: did you mean 'auto'?"),
        (None, True, "None is no format: there are"),
        (["json"], True, "is no format"),
    ],
)
def test_a_wrong_format_is_refused_with_those_there_are(name: Any, auto: bool, says: str) -> None:  # noqa: FBT001 - a column of the table
    with pytest.raises(ArgumentError) as caught:
        formats.check(name, auto=auto)
    assert says in str(caught.value)
