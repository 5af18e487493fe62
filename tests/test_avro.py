"""Avro, with fastavro as the oracle: what it reads, these columns hold."""

import io
import itertools
import pickle
import struct
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.decode.avro import Avro
from kafkalab.decode.base import Decoded

WHOLE = None


def record(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    named = [{"name": field[0], "type": field[1], **(field[2] if len(field) > 2 else {})} for field in fields]
    return {"type": "record", "name": name, "fields": named, **more}


def enum(*symbols: str, name: str = "E", **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": list(symbols), **more}


def logical(kind: Any, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def fixed(size: int, name: str = "F", **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size, **more}


def written(schema: Any, *values: Any) -> list[bytes]:
    parsed, out = fastavro.parse_schema(schema), []
    for value in values:
        file = io.BytesIO()
        fastavro.schemaless_writer(file, parsed, value)
        out.append(file.getvalue())
    return out


def decode(values: Sequence[bytes | None], schema: Any, reader: Any = None, wanted: Any = None) -> Decoded:
    return Avro(schema, reader_schema=reader).decoder(wanted)(pa.array(values, pa.binary()))


def columns(decoded: Decoded) -> dict[str | None, list[Any]]:
    return {name: array.to_pylist() for name, _, array in decoded}


def kinds(decoded: Decoded) -> list[pa.DataType]:
    return [field.type for _, field, _ in decoded]


AT = datetime(2026, 1, 31, 12, 30, 15, 123456, UTC).replace(tzinfo=None)
UUID = uuid.UUID("0190163d-8694-739b-aea5-966c26f8ad91")


@pytest.mark.parametrize(
    ("schema", "values", "kind", "expected"),
    [
        ("null", [None], pa.null(), None),
        ("boolean", [True, False], pa.bool_(), None),
        ("int", [0, -1, 63, 64, 2**31 - 1, -(2**31)], pa.int32(), None),
        ("long", [0, 2**63 - 1, -(2**63)], pa.int64(), None),
        (
            "float",
            [1.5, float("inf"), 0.1],
            pa.float32(),
            [1.5, float("inf"), float(np.float32(0.1))],
        ),
        ("double", [0.1, -1e300, float("-inf")], pa.float64(), None),
        ("bytes", [b"", b"\xff\0"], pa.binary(), None),
        ("string", ["", "Zürich \U0001f600"], pa.string(), None),
        (fixed(3), [b"abc"], pa.binary(3), None),
        (fixed(0), [b""], pa.binary(), None),
        (enum("A", "B"), ["B", "A"], pa.string(), None),
        ({"type": "array", "items": "long"}, [[], [1, 2]], pa.list_(pa.int64()), None),
        ({"type": "array", "items": ["null", "long"]}, [[None, 1]], pa.list_(pa.int64()), None),
        ({"type": "map", "values": "int"}, [{}, {"a": 1}], pa.map_(pa.string(), pa.int32()), [[], [("a", 1)]]),
        (["null", "string"], [None, "x"], pa.string(), None),
        (["string", "null"], [None, "x"], pa.string(), None),
        (["string"], ["x"], pa.string(), None),
        (logical("int", "date"), [date(1, 1, 1), date(2026, 1, 31)], pa.date32(), None),
        (logical("int", "time-millis"), [time(12, 30, 1, 5000)], pa.time32("ms"), None),
        (logical("long", "time-micros"), [time(12, 30, 1, 5)], pa.time64("us"), None),
        (logical("long", "timestamp-micros"), [AT.replace(tzinfo=UTC)], pa.timestamp("us", "UTC"), None),
        (
            logical("long", "timestamp-millis"),
            [AT.replace(tzinfo=UTC)],
            pa.timestamp("ms", "UTC"),
            [AT.replace(tzinfo=UTC, microsecond=123000)],
        ),
        (logical("long", "local-timestamp-micros"), [AT], pa.timestamp("us"), None),
        (logical("long", "local-timestamp-millis"), [AT], pa.timestamp("ms"), [AT.replace(microsecond=123000)]),
        (logical("string", "uuid"), [UUID], pa.string(), [str(UUID)]),
        (logical("bytes", "decimal", precision=6, scale=2), [Decimal("-1.25"), Decimal(0)], pa.decimal128(6, 2), None),
        (logical("bytes", "decimal", precision=76), [Decimal(10**76 - 1), Decimal(-1)], pa.decimal256(76), None),
        ({**fixed(20), **logical("fixed", "decimal", precision=38)}, [Decimal(1 - 10**38)], pa.decimal128(38), None),
        (logical("bytes", "decimal", precision=77), [b"\1"], pa.binary(), None),
        (logical("string", "unheard-of"), ["x"], pa.string(), None),
        (logical("long", "date"), [7], pa.int64(), None),
    ],
    ids=str,
)
def test_values_are_what_was_written(
    schema: Any, values: list[Any], kind: pa.DataType, expected: list[Any] | None
) -> None:
    whole = decode(written(schema, *values), schema)
    assert (kinds(whole), columns(whole), whole.errors) == ([kind], {WHOLE: expected or values}, {})
    inside = decode(written(record(("x", schema)), *({"x": value} for value in values)), record(("x", schema)))
    assert (kinds(inside), columns(inside)) == ([kind], {"x": expected or values})


def test_a_uuid_and_a_duration_of_fixed_width() -> None:
    schema = record(
        ("id", {**fixed(16, "U"), "logicalType": "uuid"}), ("every", {**fixed(12, "D"), "logicalType": "duration"})
    )
    decoded = decode([UUID.bytes + struct.pack("<III", 1, 2, 2**32 - 1)], schema)
    assert columns(decoded) == {"id": [str(UUID)], "every": [{"months": 1, "days": 2, "milliseconds": 2**32 - 1}]}
    (alone,) = decode([struct.pack("<III", 1, 2, 3)], {**fixed(12, "D"), "logicalType": "duration"}).columns
    assert (alone[0], alone[2].to_pylist()) == (WHOLE, [{"months": 1, "days": 2, "milliseconds": 3}])


def test_timestamps_in_nanoseconds_keep_all_digits() -> None:
    decoded = decode(written("long", 2**62 + 1), logical("long", "timestamp-nanos"))
    assert decoded.columns[0][2].cast(pa.int64()).to_pylist() == [2**62 + 1]


def test_unions_of_several_types_are_structs_with_a_field_for_each() -> None:
    schema = record(("x", ["null", "long", "string", record(("n", "int"), name="a.Inner")]))
    values = [{"x": None}, {"x": 5}, {"x": "five"}, {"x": {"n": 1}}]
    assert columns(decode(written(schema, *values), schema)) == {
        "x": [
            None,
            {"long": 5, "string": None, "Inner": None},
            {"long": None, "string": "five", "Inner": None},
            {"long": None, "string": None, "Inner": {"n": 1}},
        ]
    }


def test_a_union_of_records_makes_a_column_for_each() -> None:
    one, other = record(("n", "int"), name="a.Event"), record(("s", "string"), name="b.Event")
    values = [*written(["null", one, other], {"n": 1}, ("b.Event", {"s": "x"}), None), b"\x06"]
    decoded = decode(values, ["null", one, other])
    assert columns(decoded) == {
        "a.Event": [{"n": 1}, None, None, None],
        "b.Event": [None, {"s": "x"}, None, None],
    }
    assert decoded.errors == {3: "no Avro: there is no branch 3 of 3, at byte 0"}
    only = decode(values, ["null", one, other], wanted={"b.Event"})
    assert columns(only) == {"b.Event": [None, {"s": "x"}, None, None]}
    assert (list(only.left_out), list(only.errors)) == (["a.Event"], [3])


def test_a_record_is_read_as_a_branch_of_a_union() -> None:
    one, other = record(("n", "int"), name="One"), record(("n", "int"), name="Other")
    values = written(one, {"n": 1})
    assert columns(decode(values, one, [one, other])) == {"One": [{"n": 1}], "Other": [None]}
    assert columns(decode(values, one, [one, other], wanted={"Other"})) == {"Other": [None]}


@pytest.mark.parametrize(
    ("writer", "reader", "value", "expected"),
    [
        ("int", "long", 5, 5),
        ("int", "double", 5, 5.0),
        ("int", "float", 5, 5.0),
        ("long", "double", 2**53 + 1, 2.0**53),
        ("long", "float", 7, 7.0),
        ("float", "double", 0.5, 0.5),
        ("string", "bytes", "ä", "ä".encode()),
        ("bytes", "string", "ä".encode(), "ä"),
        ("int", ["null", "string", "long"], 5, {"string": None, "long": 5}),
        (["int", "long"], "long", 5, 5),
        (["null", "int"], ["null", "long"], None, None),
        (enum("A", "B"), enum("B", "A"), "A", "A"),
        (enum("A", "B"), enum("A", "C", default="C"), "B", "C"),
        (fixed(2), fixed(2, "x.F"), b"ab", b"ab"),
        (enum("A"), enum("A", name="New", aliases=["E"]), "A", "A"),
        (record(("a", "int")), record(("b", "int", {"default": -5})), {"a": 1}, {"b": -5}),
        (record(("a", "int")), record(("new", "long", {"aliases": ["a"]})), {"a": 1}, {"new": 1}),
        (
            record(("a", "int"), ("b", "string")),
            record(("b", "string"), ("a", "int")),
            {"a": 1, "b": "x"},
            {"b": "x", "a": 1},
        ),
        (record(), record(("m", ["null", "int"], {"default": None})), {}, {"m": None}),
        (record(), record(("m", ["int", "null"], {"default": 7})), {}, {"m": 7}),
        (record(), record(("f", fixed(2), {"default": "\u00ff\u0001"})), {}, {"f": b"\xff\x01"}),
        (record(), record(("e", enum("A", "B"), {"default": "B"})), {}, {"e": "B"}),
        (record(), record(("l", {"type": "array", "items": "int"}, {"default": [1, 300]})), {}, {"l": [1, 300]}),
        (record(), record(("m", {"type": "map", "values": "int"}, {"default": {"a": 1}})), {}, {"m": [("a", 1)]}),
        (
            record(),
            record(("d", logical("bytes", "decimal", precision=4, scale=2), {"default": "\u0001"})),
            {},
            {"d": Decimal("0.01")},
        ),
        (record(), record(("r", record(("n", "int"), name="Q"), {"default": {"n": 4}})), {}, {"r": {"n": 4}}),
        (
            record(),
            record(("b", "boolean", {"default": True}), ("d", "double", {"default": 1})),
            {},
            {"b": True, "d": 1.0},
        ),
    ],
    ids=str,
)
def test_a_readers_schema_is_resolved_as_avro_says(writer: Any, reader: Any, value: Any, expected: Any) -> None:
    outer = record(("x", writer, {}), name="Outer"), record(("x", reader, {}), name="Outer")
    decoded = decode(written(outer[0], {"x": value}), *outer)
    assert (columns(decoded), decoded.errors) == ({"x": [expected]}, {})


@pytest.mark.parametrize(
    ("writer", "reader", "message"),
    [
        ("string", "int", "string was written where int is to be read"),
        ("long", "int", "long was written where int is to be read"),
        (record(), record(("a", "int")), "the field 'a' was not written, and has no default"),
        (record(name="A"), record(name="B"), "A was written where B is to be read"),
        (fixed(2), fixed(3), "F was written where F is to be read"),
        (
            logical("long", "timestamp-millis"),
            logical("long", "timestamp-micros"),
            r"long \(timestamp-millis\) was written where long \(timestamp-micros\)",
        ),
        ("int", ["null", "string"], "int was written where one of null, string is to be read"),
        (record(), record(("a", "int", {"default": "x"})), "(default|Default)"),
        (record(("next", ["null", "R"])), None, "the type R holds itself, and columns cannot"),
        ({"type": "nonsense"}, None, "is not known"),
        ("{", None, "no Avro schema"),
    ],
)
def test_schemas_that_do_not_fit_are_refused(writer: Any, reader: Any, message: str) -> None:
    with pytest.raises(kl.ArgumentError, match=message):
        Avro(writer, reader_schema=reader)


def test_a_branch_that_the_reader_has_not_is_an_error_of_its_row() -> None:
    decoded = decode(written(["int", "string"], 5, "x"), ["int", "string"], "int")
    assert columns(decoded) == {WHOLE: [5, None]}
    assert decoded.errors == {1: "no Avro: string was written where int is to be read, at byte 1"}
    symbols = decode(written(enum("A", "B"), "A", "B"), enum("A", "B"), enum("A"))
    assert columns(symbols) == {WHOLE: ["A", None]}
    assert list(symbols.errors) == [1]


SCHEMA = record(
    ("id", "long"),
    ("name", ["null", "string"]),
    ("tags", {"type": "array", "items": "string"}),
    ("place", record(("x", "double"), ("kind", enum("A", "B")), name="Place")),
    ("more", {"type": "map", "values": ["null", "long", "string"]}),
    ("flag", "boolean"),
)
GOOD = {"id": 1, "name": "n", "tags": ["a", "b"], "place": {"x": 0.5, "kind": "B"}, "more": {"k": 1}, "flag": True}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", 'field "id": it ends too early, at byte 0'),
        (b"\x80", 'field "id": it ends too early, at byte 0'),
        (b"\xff" * 9 + b"\x02", 'field "id": a number of more than 64 bits, at byte 0'),
        (b"\x02\x04", 'field "name": there is no branch 2 of 2, at byte 1'),
        (b"\x02\x01", 'field "name": there is no branch -1 of 2, at byte 1'),
        (b"\x02\x02\x01", 'field "name": a length below zero, at byte 2'),
        (b"\x02\x02\x02\xff", 'field "name": text that is no UTF-8, at byte 3'),
        (b"\x02\x00\x02\x02a\x00" + b"\0" * 8 + b"\x04", 'field "place.kind": there is no symbol 2 of 2, at byte 14'),
        (b"\x02\x00\x00" + b"\0" * 9 + b"\x00\x02", 'field "flag": a boolean that is neither 0 nor 1, at byte 13'),
        (b"\x02\x00\x00" + b"\0" * 9 + b"\x00\x01abc", "3 bytes too many, at byte 14"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_the_other_rows_stay(value: bytes, message: str) -> None:
    (good,) = written(SCHEMA, GOOD)
    decoded = decode([good, value, None, good], SCHEMA)
    assert decoded.errors == {1: f"no Avro: {message}"}
    read = {**GOOD, "more": [("k", {"long": 1, "string": None})]}
    assert columns(decoded) == {name: [value, None, None, value] for name, value in read.items()}


def test_every_cut_of_a_value_is_an_error_and_leaves_no_trace() -> None:
    (good,) = written(SCHEMA, GOOD)
    values = [part for length in range(len(good)) for part in (good[:length], good)]
    decoded = decode(values, SCHEMA)
    assert list(decoded.errors) == list(range(0, len(values), 2))
    assert columns(decoded)["id"] == [None, 1] * len(good)
    assert columns(decoded)["tags"] == [None, ["a", "b"]] * len(good)


@pytest.mark.parametrize("skip", [True, False])
def test_a_few_bytes_cannot_claim_any_number_of_items(*, skip: bool) -> None:
    schema = record(("n", "int"), ("l", {"type": "array", "items": "null"}))
    most = b"\x02" + b"\xfe" + b"\xff" * 8 + b"\x01" + b"\0"
    decoded = decode([most], schema, wanted={"n"} if skip else None)
    assert decoded.errors[0].startswith('no Avro: field "l": it makes far more cells than it has bytes')


def test_blocks_may_have_their_size_in_front() -> None:
    assert columns(decode([b"\x03\x04\x02\x04\x02\x06\0"], {"type": "array", "items": "int"})) == {WHOLE: [[1, 2, 3]]}


def test_only_wanted_fields_are_built_and_others_are_passed_over() -> None:
    decoded = decode(written(SCHEMA, GOOD), SCHEMA, wanted={"flag", "id"})
    assert columns(decoded) == {"id": [1], "flag": [True]}
    assert list(decoded.left_out) == ["name", "tags", "place", "more"]


def test_a_field_that_holds_its_own_record_can_be_left_out() -> None:
    tree = record(("n", "int"), ("more", {"type": "array", "items": "Tree"}), name="Tree")
    values = written(tree, {"n": 1, "more": [{"n": 2, "more": []}, {"n": 3, "more": [{"n": 4, "more": []}]}]})
    outer = record(("id", "int"), ("tree", tree), name="Outer")
    flat = record(("id", "int"), name="Outer")
    decoded = decode([b"\x0a" + values[0], b"\x0a" + b"\x02\x02" * 300], outer, flat)
    assert columns(decoded) == {"id": [5, None]}
    assert "nested deeper than 200 levels" in decoded.errors[1]


def test_a_decimal_that_does_not_fit_is_an_error_of_its_row() -> None:
    schema = logical("bytes", "decimal", precision=2)
    sign, long = b"\xff" * 40 + b"\x9d", b"\x40" + b"\0" * 39
    decoded = decode([b"\x02\x63", b"\x02\x64", b"\x52" + sign, b"\x50" + long, b"\0"], schema)
    assert columns(decoded) == {WHOLE: [99, None, -99, None, 0]}
    assert decoded.errors == {
        1: "no Avro: a decimal of more than 2 digits, at byte 2",
        3: "no Avro: a decimal of more than 32 bytes, at byte 41",
    }


# Against fastavro, on any schema

NUMBERS = itertools.count()
names = st.sampled_from(["a", "b", "c", "d"])
primitives = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> Any:  # noqa: PLR0911 - a kind each
    kinds = ["scalar", "record", "array", "map", "optional", "union", "enum", "fixed"] if depth else ["scalar"]
    kind = draw(st.sampled_from(kinds))
    unique = f"T{next(NUMBERS)}"
    match kind:
        case "record":
            fields = draw(st.lists(names, unique=True, min_size=1, max_size=3))
            return record(*((name, draw(schemas(depth - 1))) for name in fields), name=unique)
        case "array":
            return {"type": "array", "items": draw(schemas(depth - 1))}
        case "map":
            return {"type": "map", "values": draw(schemas(depth - 1))}
        case "optional":
            return ["null", draw(primitives.filter(lambda kind: kind != "null"))]
        case "union":
            return ["null", "string", {"type": "array", "items": draw(schemas(depth - 1))}, fixed(5, unique)]
        case "enum":
            return enum("X", "Y", name=unique)
        case "fixed":
            return fixed(draw(st.integers(1, 4)), unique)
    return draw(primitives)


def values_of(schema: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - a kind each
    if isinstance(schema, list):
        return st.one_of([values_of(branch) for branch in schema])
    match schema if isinstance(schema, str) else schema["type"]:
        case "record":
            return st.fixed_dictionaries({field["name"]: values_of(field["type"]) for field in schema["fields"]})
        case "array":
            return st.lists(values_of(schema["items"]), max_size=3)
        case "map":
            return st.dictionaries(st.text(max_size=2), values_of(schema["values"]), max_size=2)
        case "enum":
            return st.sampled_from(schema["symbols"])
        case "fixed":
            return st.binary(min_size=schema["size"], max_size=schema["size"])
        case kind:
            return PRIMITIVES[kind]


PRIMITIVES = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=4),
    "string": st.text(max_size=4),
}


def as_column(value: Any, schema: Any) -> Any:
    """Return what fastavro has read as a column has it."""
    if isinstance(schema, list):
        if value is None or len(schema) == 2:
            return value
        kind = "string" if isinstance(value, str) else "array" if isinstance(value, list) else schema[3]["name"]
        branches = {"string": schema[1], "array": schema[2], schema[3]["name"]: schema[3]}
        return {name: as_column(value, branch) if name == kind else None for name, branch in branches.items()}
    match schema if isinstance(schema, str) else schema["type"]:
        case "record":
            return {field["name"]: as_column(value[field["name"]], field["type"]) for field in schema["fields"]}
        case "array":
            return [as_column(item, schema["items"]) for item in value]
        case "map":
            return [(name, as_column(inner, schema["values"])) for name, inner in value.items()]
        case _:
            return value


@given(st.data())
def test_any_values_of_any_schema_are_read_as_fastavro_reads_them(data: st.DataObject) -> None:
    schema = record(("x", data.draw(schemas())))
    rows = data.draw(st.lists(values_of(schema), max_size=4))
    values = written(schema, *rows)
    decoded = decode(values, schema)
    read: Any = [fastavro.schemaless_reader(io.BytesIO(value), fastavro.parse_schema(schema)) for value in values]
    assert columns(decoded) == {"x": [as_column(row["x"], schema["fields"][0]["type"]) for row in read]}
    assert not decoded.errors
    skipped = decode(values, schema, wanted=())
    assert (list(skipped), dict(skipped.errors)) == ([], {})


@given(schemas(), st.lists(st.none() | st.binary(max_size=20), max_size=5))
def test_any_bytes_are_a_value_or_an_error_of_their_row(schema: Any, values: list[bytes | None]) -> None:
    decoded = decode(values, record(("x", schema)))
    parsed = fastavro.parse_schema(record(("x", schema)))
    for _, _, array in decoded:
        array.validate(full=True)
    for row, value in enumerate(values):
        if value is not None and row not in decoded.errors:
            file = io.BytesIO(value)
            read: Any = fastavro.schemaless_reader(file, parsed)
            expected = as_column(read["x"], schema)
            assert file.tell() == len(value)
            (column,) = columns(decoded).values()
            assert repr(without_doubles(column[row])) == repr(without_doubles(expected))


def without_doubles(value: Any) -> Any:
    """Return a value whose maps have each key once, the last time: fastavro keeps no other."""
    if isinstance(value, list):
        inner = [without_doubles(item) for item in value]
        is_map = inner and all(isinstance(item, tuple) for item in inner)
        return sorted(dict(inner).items(), key=repr) if is_map else inner
    if isinstance(value, tuple):
        return tuple(without_doubles(item) for item in value)
    return {name: without_doubles(inner) for name, inner in value.items()} if isinstance(value, dict) else value


# In a lab


@pytest.fixture
def lab() -> kl.Lab:
    cluster = kl.MemoryCluster({"orders": 1})
    cluster.append("orders", *written(SCHEMA, *({**GOOD, "id": number} for number in range(10))))
    return kl.Lab(cluster, cluster)


def test_a_given_schema_has_its_columns_before_anything_is_read(lab: kl.Lab) -> None:
    scan = lab.scan("orders", value=Avro(SCHEMA), columns=["id", "place"])
    assert scan.schema.names == ["id", "place"]
    with pytest.raises(kl.ArgumentError, match="no column 'plcae': did you mean 'place'"):
        lab.read("orders", value=Avro(SCHEMA), columns=["plcae"])


def test_a_filter_reaches_the_fields(lab: kl.Lab) -> None:
    frame = lab.read("orders", value=Avro(SCHEMA), where=pc.field("id") > 7, columns=["tags"])
    assert [list(tags) for tags in frame["tags"]] == [["a", "b"]] * 2


def test_a_filter_of_decimals_says_what_they_are_compared_with() -> None:
    cluster = kl.MemoryCluster({"orders": 1})
    cluster.append("orders", b"\x02\x63")
    lab, schema = kl.Lab(cluster, cluster), record(("x", logical("bytes", "decimal", precision=9, scale=2)))
    assert len(lab.read("orders", value=Avro(schema), where=pc.field("x") > Decimal("0.5"))) == 1
    with pytest.raises(kl.ArgumentError, match=r"compare decimals with Decimal\('150'\)"):
        lab.read("orders", value=Avro(schema), where=pc.field("x") > 0)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (logical("int", "time-millis"), time(12, 30, 1, 5000)),
        (logical("long", "time-micros"), time(12, 30, 1, 5)),
        (logical("int", "date"), date(2026, 1, 31)),
        (logical("long", "timestamp-micros"), AT.replace(tzinfo=UTC)),
        (logical("bytes", "decimal", precision=60, scale=2), Decimal("1.25")),
        ({"type": "map", "values": "int"}, {"k": 1}),
        (record(("m", {"type": "map", "values": "int"}), name="Inner"), {"m": {"k": 1}}),
        (record(name="Empty"), {}),
        (fixed(3), b"abc"),
        (["null", "long", "string"], 5),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["parquet", "feather", "jsonl", "csv"])
def test_an_export_can_be_loaded_whatever_the_types(schema: Any, value: Any, form: Any, tmp_path: Path) -> None:
    cluster, avro = kl.MemoryCluster({"orders": 1}), Avro(record(("x", schema)))
    cluster.append("orders", *written(record(("x", schema)), {"x": value}), None)
    lab = kl.Lab(cluster, cluster)
    lab.export("orders", tmp_path, value=avro, format=form)
    (before, _), (after, none) = (frame["x"] for frame in (lab.read("orders", value=avro), kl.load(tmp_path)))
    nested = isinstance(schema, list) or schema["type"] in ("map", "record")
    assert pd.isna(none)
    assert before == after or (nested and isinstance(after, str)) or (form in ("jsonl", "csv") and after == "abc")
    assert lab.to_dask("orders", value=avro)["x"].compute(scheduler="synchronous").isna().tolist() == [False, True]


def test_a_key_is_a_column_as_any_other_format_makes_it() -> None:
    cluster = kl.MemoryCluster({"orders": 1})
    cluster.append("orders", kl.MemoryRecord(b"\x08Bern", key=b"\x0a"), kl.MemoryRecord(None, key=b"\x0c"))
    frame = kl.Lab(cluster, cluster).read("orders", key=Avro("long"), value=Avro("string"), columns=["key", "value"])
    assert frame["key"].tolist() == [5, 6]
    assert frame["value"].tolist()[0] == "Bern"


def test_a_format_can_be_sent_to_another_process() -> None:
    avro = Avro(SCHEMA, reader_schema=record(("id", "double")))
    again = pickle.loads(pickle.dumps(avro))  # noqa: S301 - just pickled
    assert again == avro
    assert columns(again.decoder()(pa.array(written(SCHEMA, GOOD)))) == {"id": [1.0]}


# What schemas of others have


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (("n", "int", {"default": "none"}), b"\x02", 1),
        (("n", ["null", "int"], {"default": 5}), b"\x02\x02", 1),
        (("a-b c", "int"), b"\x02", 1),
        (("e", enum("a-b", "1", "a-b")), b"\x02", "1"),
        (("d", logical("bytes", "decimal", precision=2, scale=5)), b"\x02\x05", b"\x05"),
        (("d", logical("bytes", "decimal", precision="9")), b"\x02\x05", b"\x05"),
        (("d", {**fixed(1), "logicalType": "decimal", "precision": 9}), b"\x05", b"\x05"),
        (("d", logical("int", "timestamp-millis")), b"\x02", 1),
        (("d", logical("int", ["date"])), b"\x02", 1),  # type: ignore[arg-type]  # no name of a logical type
        (("r", {**record(("n", "int")), "aliases": 5}), b"\x02", {"n": 1}),
        (("r", {"type": record(("n", "int"), name="ns.R")}), b"\x02", {"n": 1}),
    ],
    ids=str,
)
def test_what_decoding_does_not_need_of_a_schema_is_not_looked_at(kind: Any, value: bytes, read: Any) -> None:
    assert columns(decode([value], record(kind, name="Outer"))) == {kind[0]: [read]}


@pytest.mark.parametrize(
    "schema",
    [
        record(("\ud800", "int")),
        record(("a\0b", "int")),
        record(("", "int")),
        record(("n", "int"), ("n", "long")),
        record(("n", "strng")),
        ["int", "int", "null"],
        {"type": "fixed", "name": "F", "size": 2**70},
        {"type": "fixed", "name": "F", "size": True},
        {"type": "array"},
        {"type": "enum", "name": "E", "symbols": [1]},
        {"type": "record", "name": "R", "fields": 5},
        '{"type": "record"',
        "[" * 5_000,
        5,
    ],
    ids=lambda schema: str(schema)[:90].encode("ascii", "backslashreplace").decode(),
)
def test_a_schema_that_makes_no_columns_is_a_wrong_argument(schema: Any) -> None:
    with pytest.raises(kl.ArgumentError, match=r"a schema given to kl\.Avro"):
        kl.Avro(schema)


def test_a_given_schema_can_be_told_that_an_id_stands_in_front() -> None:
    values = pa.array([b"\0\0\0\0\x07\x02", b"\0\0\0\0\x08\x04", b"\x02", None])
    decoded = Avro(record(("n", "int")), framed=True).decoder()(values)
    assert columns(decoded) == {"n": [1, 2, None, None]}
    assert list(decoded.errors) == [2]


def decimals(size: int | None, precision: int, scale: int) -> dict[str, Any]:
    kind = {"type": "bytes"} if size is None else fixed(size)
    return {**kind, "logicalType": "decimal", "precision": precision, "scale": scale}


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        (decimals(None, 9, 2), decimals(4, 9, 4)),
        (decimals(4, 9, 4), decimals(None, 9, 2)),
        (decimals(None, 9, 2), decimals(None, 9, 0)),
        (fixed(8), {**fixed(16), "logicalType": "uuid"}),
        (fixed(16), {**fixed(12), "logicalType": "duration"}),
        (fixed(4), decimals(8, 9, 0)),
        ("string", decimals(None, 9, 0)),
    ],
    ids=str,
)
def test_what_is_of_other_digits_or_another_size_is_not_read_as_it(writer: Any, reader: Any) -> None:
    with pytest.raises(kl.ArgumentError, match="was written where"):
        Avro(record(("x", writer)), reader_schema=record(("x", reader)))


def test_decimals_of_the_same_digits_are_read_from_bytes_and_fixed() -> None:
    of_bytes, of_fixed = decimals(None, 9, 2), decimals(4, 9, 2)
    value = Decimal("123.45")
    for writer, reader in ((of_bytes, of_fixed), (of_fixed, of_bytes), (of_fixed, {**of_fixed, "size": 8})):
        decoded = decode(written(record(("x", writer)), {"x": value}), record(("x", writer)), record(("x", reader)))
        assert columns(decoded) == {"x": [value]}


def test_a_long_fixed_is_of_any_length_for_arrow() -> None:
    decoded = decode([b"\x02" + b"a" * 5_000, b"\0"], record(("f", ["null", fixed(5_000)])))
    assert [field.type for _, field, _ in decoded] == [pa.binary()]
    assert columns(decoded) == {"f": [b"a" * 5_000, None]}


def test_of_a_key_that_comes_again_the_last_value_counts() -> None:
    decoded = decode([b"\x06\x02a\x02\x02b\x04\x02a\x06\0"], {"type": "map", "values": "int"})
    assert columns(decoded) == {WHOLE: [[("b", 2), ("a", 3)]]}


def test_names_of_a_schema_are_told_only_in_part() -> None:
    decoded = decode([b""], record(("n" * 100_000, "int")))
    assert len(decoded.errors[0]) < 1_000
