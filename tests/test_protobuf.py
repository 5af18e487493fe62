"""Protobuf, with its own parser as the oracle: what that reads, these columns hold."""

import pickle
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Kind
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.decode.base import Decoded
from kafkalab.decode.protobuf import Protobuf

SCALARS = ["DOUBLE", "FLOAT", "INT64", "UINT64", "INT32", "FIXED64", "FIXED32", "BOOL", "STRING", "BYTES"]
SCALARS += ["UINT32", "SFIXED32", "SFIXED64", "SINT32", "SINT64"]
WELL_KNOWN = (timestamp_pb2, duration_pb2, wrappers_pb2)


def field(name: str, number: int, kind: str, *, many: bool = False, oneof: int | None = None) -> Kind:
    made = Kind(name=name, number=number, label=Kind.LABEL_REPEATED if many else Kind.LABEL_OPTIONAL)
    if kind.startswith("."):
        made.type_name = kind
        made.type = Kind.TYPE_ENUM if kind.endswith("Color") else Kind.TYPE_MESSAGE
    else:
        made.type = Kind.Type.Value(f"TYPE_{kind}")
    if oneof is not None:
        made.oneof_index = oneof
    return made


def file(syntax: str) -> descriptor_pb2.FileDescriptorProto:
    """Return a file with a message of everything, which holds itself in some places, as proto2 or proto3 has it."""
    made = descriptor_pb2.FileDescriptorProto(name=f"{syntax}.proto", package=syntax, syntax=syntax)
    made.dependency.extend(module.DESCRIPTOR.name for module in WELL_KNOWN)
    color = made.enum_type.add(name="Color")
    for name, number in (("NONE", 0), ("RED", 1), ("BLUE", -1)):
        color.value.add(name=name, number=number)
    inner = made.message_type.add(name="Inner")
    inner.field.extend([field("n", 1, "INT32"), field("s", 2, "STRING"), field("l", 3, "INT64", many=True)])
    inner.field.append(field("w", 4, ".google.protobuf.Int32Value"))
    every = made.message_type.add(name="Every")
    for number, kind in enumerate(SCALARS, 1):
        every.field.append(field(kind.lower(), number, kind))
        every.field.append(field(f"{kind.lower()}s", number + 20, kind, many=True))
    every.field.extend(
        [
            field("color", 40, f".{syntax}.Color"),
            field("colors", 41, f".{syntax}.Color", many=True),
            field("inner", 42, f".{syntax}.Inner"),
            field("inners", 43, f".{syntax}.Inner", many=True),
            field("entries", 44, f".{syntax}.Every.EntriesEntry", many=True),
            field("one_n", 45, "INT32", oneof=0),
            field("one_s", 46, "STRING", oneof=0),
            field("one_m", 47, f".{syntax}.Inner", oneof=0),
            field("at", 48, ".google.protobuf.Timestamp"),
            field("every", 49, ".google.protobuf.Duration"),
            field("wrapped", 50, ".google.protobuf.StringValue"),
            field("wrappeds", 51, ".google.protobuf.BoolValue", many=True),
            field("tinted", 52, f".{syntax}.Every.TintedEntry", many=True),
        ]
    )
    every.oneof_decl.add(name="one")
    for name, value in (("EntriesEntry", f".{syntax}.Inner"), ("TintedEntry", f".{syntax}.Color")):
        entry = every.nested_type.add(name=name)
        entry.options.map_entry = True
        entry.field.extend([field("key", 1, "STRING"), field("value", 2, value)])
    tree = made.message_type.add(name="Tree")
    tree.field.extend([field("n", 1, "INT32"), field("more", 2, f".{syntax}.Tree", many=True)])
    return made


POOL = descriptor_pool.DescriptorPool()
for module in WELL_KNOWN:
    POOL.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
for version in ("proto2", "proto3"):
    POOL.Add(file(version))
KINDS: dict[str, Any] = {
    name: message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))
    for name in ("proto2.Every", "proto3.Every", "proto3.Tree", "proto3.Inner")
}


def decode(values: list[bytes | None], name: str, wanted: Any = None) -> Decoded:
    return decoder(name, None if wanted is None else frozenset(wanted))(pa.array(values, pa.binary()))


@cache
def decoder(name: str, wanted: frozenset[str] | None) -> Callable[[pa.Array], Decoded]:
    return Protobuf(KINDS[name]).decoder(wanted)


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    names = [name for name, _, _ in decoded]
    made: list[dict[str, Any]] = pa.table([array for _, _, array in decoded], names=names).to_pylist()
    return made


def plain(message: Any) -> dict[str, Any]:
    """Return a parsed message as a row has it."""
    descriptor: Descriptor = message.DESCRIPTOR
    return {each.name: of_field(message, each) for each in descriptor.fields}


def of_field(message: Any, each: FieldDescriptor) -> Any:
    value = getattr(message, each.name)
    if each.message_type is not None and each.message_type.GetOptions().map_entry:
        inner = each.message_type.fields_by_name["value"]
        return sorted((key, of_value(got, inner)) for key, got in value.items())
    if each.is_repeated:
        return [of_value(item, each) for item in value]
    return None if each.has_presence and not message.HasField(each.name) else of_value(value, each)


def of_value(value: Any, each: FieldDescriptor) -> Any:
    if each.enum_type is not None:
        known = each.enum_type.values_by_number
        return known[value].name if value in known else str(value)
    if each.message_type is None:
        return value
    match each.message_type.name:
        case "Timestamp" | "Duration":
            return value.seconds * 10**9 + value.nanos
        case "StringValue" | "BoolValue" | "Int32Value":
            return value.value
    return plain(value)


def comparable(row: dict[str, Any]) -> str:
    """Return a row as text, in which NaN is itself, with each key of a map once, and times as numbers."""
    made = dict(row)
    for name in ("entries", "tinted"):
        made[name] = sorted(dict(row[name]).items()) if row[name] is not None else None
    for name in ("at", "every"):
        made[name] = nanos(row[name])
    return repr(made)


def nanos(time: Any) -> Any:
    """Return a time of any type in nanoseconds."""
    match time:
        case pd.Timestamp() | pd.Timedelta():
            return time.value
        case datetime():
            return nanos(time - datetime(1970, 1, 1, tzinfo=UTC))
        case timedelta():
            return time // timedelta(microseconds=1) * 1000
        case str() if time.endswith("s"):
            return int(Decimal(time[:-1]).scaleb(9))
        case str():
            return nanos(datetime.fromisoformat(f"{time[:19]}+00:00")) + int(time[20:29])
        case _:
            return time


@pytest.mark.parametrize("name", ["proto2.Every", "proto3.Every"])
def test_an_empty_message_has_what_is_there_when_nothing_is(name: str) -> None:
    decoded = decode([b"", None, KINDS[name](int32=0, one_n=0).SerializeToString()], name)
    empty, null, zero = rows(decoded)
    assert comparable(empty) == comparable(plain(KINDS[name]()))
    assert set(null.values()) == {None}
    assert (empty["int32"], empty["one_n"]) == ((0, None) if name == "proto3.Every" else (None, None))
    assert (zero["int32"], zero["one_n"]) == (0, 0)


def test_types_are_those_of_the_fields() -> None:
    found = {name: field.type for name, field, _ in decode([], "proto3.Every")}
    assert [found[kind.lower()] for kind in SCALARS] == [
        pa.float64(), pa.float32(), pa.int64(), pa.uint64(), pa.int32(), pa.uint64(), pa.uint32(), pa.bool_(),
        pa.string(), pa.binary(), pa.uint32(), pa.int32(), pa.int64(), pa.int32(), pa.int64(),
    ]  # fmt: skip
    inner = pa.struct([("n", pa.int32()), ("s", pa.string()), ("l", pa.list_(pa.int64())), ("w", pa.int32())])
    assert found["inners"] == pa.list_(inner)
    assert found["entries"] == pa.map_(pa.string(), inner)
    assert found["at"] == pa.timestamp("ns", "UTC")
    assert found["wrapped"] == pa.string()


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def tagged(number: int, wire_type: int, payload: bytes) -> bytes:
    return varint(number << 3 | wire_type) + payload


numbers = st.sampled_from([0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32 + 1, 2**63, 2**64 - 1, -1]) | st.integers(0, 300)
texts = st.text(max_size=3).map(str.encode)
packed = st.lists(numbers.map(varint), max_size=3).map(b"".join)
floats = st.floats(width=64).map(lambda value: struct.pack("<d", value)) | st.binary(min_size=8, max_size=8)
anything = st.binary(max_size=6)


@st.composite
def wires(draw: st.DrawFn, depth: int = 2) -> bytes:
    """Return fields in any order, more than once, some of them of other types than the message has."""
    out = b""
    for _ in range(draw(st.integers(0, 5))):
        number = draw(st.integers(1, 53) | st.integers(1, 4) | st.integers(40, 52))
        wire_type = draw(st.sampled_from([0, 0, 1, 2, 2, 2, 5, 3]))
        if wire_type == 2:
            inner = st.one_of(texts, packed, *([wires(depth=depth - 1)] * 3 if depth else []))
            inside = draw(inner)
            payload = varint(len(inside)) + inside
        elif wire_type == 3:
            payload = (draw(wires(depth=depth - 1)) if depth else b"") + varint(number << 3 | 4)
        else:
            payload = draw(numbers.map(varint) if wire_type == 0 else floats)[: 4 if wire_type == 5 else None]
        out += tagged(number, wire_type, payload)
    return out


@pytest.mark.parametrize("name", ["proto2.Every", "proto3.Every"])
@given(values=st.lists(st.none() | wires() | anything, max_size=4))
@example(values=[tagged(42, 2, b"\x02\x08\x05") + tagged(42, 2, b"\x03\x12\x01x") + tagged(42, 2, b"\x02\x18\x07")])
@example(
    values=[tagged(45, 0, b"\x01") + tagged(47, 2, b"\x02\x08\x05") + tagged(46, 2, b"\x01a") + tagged(47, 2, b"\0")]
)
@example(values=[tagged(40, 0, b"\x07"), tagged(41, 2, b"\x02\x07\x01"), tagged(52, 2, b"\x05\x0a\x01k\x10\x07")])
@example(values=[tagged(48, 2, b"\x02\x08\x05") + tagged(48, 2, b"\x02\x10\x07") + tagged(50, 2, b"\x03\x0a\x01x") * 2])
@example(
    values=[
        tagged(50, 2, b"\x03\x0a\x01x") + tagged(50, 2, b"\0"),
        tagged(51, 2, b"\0") + tagged(51, 2, b"\x02\x08\x01"),
    ]
)
@example(
    values=[tagged(5, 0, b"\x01") + tagged(25, 2, b"\x02\x01\x02") + tagged(25, 0, b"\x03") + tagged(5, 0, b"\x07")]
)
@example(values=[tagged(43, 2, b"\x04\x18\x01\x18\x02") + tagged(43, 2, b"\0") + tagged(43, 2, b"\x02\x18\x03")])
@example(values=[tagged(44, 2, b"\0") + tagged(44, 2, b"\x03\x0a\x01k"), tagged(45, 2, b"\x01\x01"), b"\x2b\x2c"])
def test_any_bytes_are_what_protobuf_reads_or_an_error_of_their_row(name: str, values: list[bytes | None]) -> None:
    decoded = decode(values, name)
    for _, _, array in decoded:
        array.validate(full=True)
    for number, (value, row) in enumerate(zip(values, rows(decoded), strict=True)):
        error = decoded.errors.get(number)
        if value is None or error is not None:
            assert set(row.values()) == {None}
        if value is None:
            assert error is None
            continue
        message = KINDS[name]()
        try:
            message.ParseFromString(value)
            expected = plain(message)
        except (DecodeError, UnicodeDecodeError):
            assert error is not None, value
        else:
            own = error is not None and any(why in error for why in ("no UTF-8", "years 1 to 9999", "10,000 years"))
            assert own or (error, comparable(row)) == (None, comparable(expected))


def test_a_closed_enumeration_has_no_other_numbers() -> None:
    red, other = (tagged(52, 2, b"\x05\x0a\x01k\x10" + number) for number in (b"\x01", b"\x07"))
    both = tagged(41, 2, b"\x02\x01\x07") + tagged(40, 0, b"\x01") + tagged(40, 0, b"\x07") + red + other
    read = {
        name: rows(decode([both], name, {"color", "colors", "tinted"})) for name in ("proto2.Every", "proto3.Every")
    }
    assert read == {
        "proto2.Every": [{"color": "RED", "colors": ["RED"], "tinted": [("k", "RED")]}],
        "proto3.Every": [{"color": "7", "colors": ["RED", "7"], "tinted": [("k", "7")]}],
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\x08", 'field "n": it ends too early, at byte 1'),
        (b"\x12\x02a", 'field "s": it ends too early, at byte 2'),
        (b"\x12\x01\xff", 'field "s": text that is no UTF-8, at byte 2'),
        (b"\x08" + b"\xff" * 10, 'field "n": a number of more than 64 bits, at byte 1'),
        (b"\x00\x01", "a field of the number 0, at byte 0"),
        (b"\x2f", "a wire type 7, which there is not, at byte 1"),
        (b"\x2c", "the end of a group that did not begin, at byte 1"),
        (b"\x2b" * 200, "groups nested deeper than 100 levels, at byte 101"),
        (b"\x2b", "it ends too early, at byte 1"),
        (b"\x22\x01\x08", 'field "w": it ends too early, at byte 3'),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_the_other_rows_stay(value: bytes, message: str) -> None:
    good = KINDS["proto3.Inner"](n=1, s="x", l=[1, 2]).SerializeToString()
    decoded = decode([good, value, good], "proto3.Inner")
    assert decoded.errors == {1: f"no Protobuf: {message}"}
    read = {"n": 1, "s": "x", "l": [1, 2], "w": None}
    assert rows(decoded) == [read, dict.fromkeys(read), read]


def at(*times: tuple[int, int], name: str = "at") -> Decoded:
    values = []
    for seconds, nanos in times:
        message = KINDS["proto3.Every"]()
        getattr(message, name).seconds, getattr(message, name).nanos = seconds, nanos
        values.append(message.SerializeToString())
    return decode(values, "proto3.Every", {name})


YEAR_1, YEAR_9999 = -62_135_596_800, 253_402_214_400


def test_times_have_the_finest_unit_that_holds_all_of_them() -> None:
    (_, _, near), (_, _, far) = (*at((1, 5)), *at((YEAR_1, 0), (YEAR_9999, 5_000)))
    assert (near.type.unit, near.cast(pa.int64()).to_pylist()) == ("ns", [1_000_000_005])
    assert far.to_pylist() == [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 0, 0, 0, 5, tzinfo=UTC)]
    ((_, _, both),) = at((YEAR_1, 0), (1, 5))
    assert both.to_pylist() == ["0001-01-01T00:00:00.000000000Z", "1970-01-01T00:00:01.000000005Z"]


def grouped() -> Any:
    """Return a message with a oneof of a number, a text and a group."""
    made = descriptor_pb2.FileDescriptorProto(name="grouped.proto", package="grouped", syntax="proto2")
    one = made.message_type.add(name="One")
    one.oneof_decl.add(name="one")
    one.nested_type.add(name="G")
    group = Kind(name="g", number=3, label=Kind.LABEL_OPTIONAL, type=Kind.TYPE_GROUP, type_name=".grouped.One.G")
    group.oneof_index = 0
    one.field.extend([field("n", 1, "INT32", oneof=0), field("s", 2, "STRING", oneof=0), group])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(made)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("grouped.One"))


def test_the_last_field_of_a_oneof_is_the_only_one_also_where_it_is_no_column() -> None:
    number, text, group = b"\x08\x05", b"\x12\x01a", b"\x1b\x1c"
    values = pa.array([number + group, number + text, text + number, number])
    whole, narrow = Protobuf(grouped()).decoder(), Protobuf(grouped()).decoder({"n"})
    assert rows(whole(values)) == [
        {"n": None, "s": None},
        {"n": None, "s": "a"},
        {"n": 5, "s": None},
        {"n": 5, "s": None},
    ]
    assert rows(narrow(values)) == [{"n": None}, {"n": None}, {"n": 5}, {"n": 5}]


def test_a_time_that_protobuf_has_not_is_an_error_of_its_row() -> None:
    decoded = at((0, 0), (YEAR_1 - 1, 0))
    assert list(decoded.errors) == [1]
    assert "outside of the years 1 to 9999" in decoded.errors[1]


def test_spans_reach_ten_thousand_years() -> None:
    ((_, _, spans),) = at((315_576_000_000, 0), (-3, -500_000_000), name="every")
    assert spans.cast(pa.int64()).to_pylist() == [315_576_000_000_000_000, -3_500_000]


def test_a_span_that_comes_in_parts_is_the_sum_of_the_last_of_each() -> None:
    parts = (tagged(49, 2, varint(len(p)) + p) for p in (b"\x08" + varint(-3), b"\x10" + varint(-500_000_000)))
    ((_, _, spans),) = decode([b"".join(parts)], "proto3.Every", {"every"})
    assert spans.cast(pa.int64()).to_pylist() == [-3_500_000_000]


def test_a_message_that_holds_itself_keeps_what_is_inside_as_bytes() -> None:
    tree = KINDS["proto3.Tree"]
    inside = tree(n=2, more=[tree(n=3)])
    (row,) = rows(decode([tree(n=1, more=[inside]).SerializeToString()], "proto3.Tree"))
    assert row == {"n": 1, "more": [inside.SerializeToString()]}


def test_only_wanted_fields_are_built() -> None:
    value = KINDS["proto3.Every"](int32=5, string="x", one_n=1).SerializeToString()
    decoded = decode([value], "proto3.Every", {"one_n", "int32", "nothing"})
    assert rows(decoded) == [{"int32": 5, "one_n": 1}]
    assert "string" in decoded.left_out


def test_a_message_can_be_named_among_descriptors_and_sent_to_another_process() -> None:
    given_class = Protobuf(KINDS["proto3.Tree"])
    named = Protobuf("proto3.Tree", descriptors=given_class.descriptors)
    again = pickle.loads(pickle.dumps(named))  # noqa: S301 - just pickled
    assert again == named == given_class
    assert [name for name, _, _ in again.decoder()(pa.array([b"\x08\x01"]))] == ["n", "more"]
    with pytest.raises(kl.ArgumentError, match=r"no message 'proto3.Three': did you mean 'proto3.Tree'"):
        Protobuf("proto3.Three", descriptors=given_class.descriptors)
    with pytest.raises(kl.ArgumentError, match="no FileDescriptorSet"):
        Protobuf("proto3.Tree", descriptors=b"\xff")
    with pytest.raises(kl.ArgumentError, match="takes a generated class"):
        Protobuf("proto3.Tree")


def test_a_lab_reads_it_with_its_columns_known_before() -> None:
    cluster = kl.MemoryCluster({"trees": 1})
    cluster.append("trees", *(KINDS["proto3.Tree"](n=number).SerializeToString() for number in range(5)))
    lab = kl.Lab(cluster, cluster)
    given_class = Protobuf(KINDS["proto3.Tree"])
    assert lab.scan("trees", value=given_class, columns=["n"]).schema.field("n").type == pa.int32()
    assert lab.read("trees", value=given_class, where=kl.field("n") > 2)["n"].tolist() == [3, 4]


def test_framing_before_a_given_message_is_passed_over() -> None:
    values = [b"\0\0\0\0\x07\0\x08\x01", b"\0\0\0\0\x08\x02\x02\x08\x02", b"\x08\x03", b"\0\0\0\0\x01"]
    decoded = Protobuf(KINDS["proto3.Tree"], framed=True).decoder()(pa.array(values))
    assert next(array.to_pylist() for _, _, array in decoded) == [1, 2, None, None]
    assert decoded.errors[3] == "no message index behind the schema id"
    assert "begins with the byte 0x08" in decoded.errors[2]
