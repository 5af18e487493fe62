"""Values and schemas of at most a megabyte that ask for any amount of memory or time, and what they cost.

``python -m tests.hostile.bombs`` reads each, and prints a line of JSON a bomb: its name, the errors of its rows, and by
how many bytes the process grew.
"""

import base64
import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Kind

from kafkalab.decode.avro import Avro
from kafkalab.decode.base import Decoded
from kafkalab.decode.json import Json
from kafkalab.decode.protobuf import Protobuf
from kafkalab.decode.registry import RegisteredSchema
from kafkalab.errors import ArgumentError

MEGABYTE = 1 << 20
WIDE = 1_000
Bomb = Callable[[], Decoded]


def record(name: str, fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": part, "type": kind} for part, kind in fields]}


def binary(*values: bytes | None) -> pa.Array:
    return pa.array(values, pa.binary())


WIDE_RECORD = record("Wide", [(f"f{number}", "long") for number in range(WIDE)])


# JSON


def json_list(*parts: str) -> Decoded:
    return Json().decoder()(binary(*(f'{{"l": [{part}]}}'.encode() for part in parts)))


def empty_objects_among_wide_ones() -> Decoded:
    wide = json.dumps({f"f{number}": number for number in range(WIDE)})
    return json_list(wide, ",".join(["{}"] * (MEGABYTE // 3)), "{}")


def objects_of_different_names() -> Decoded:
    return json_list(",".join(f'{{"f{number}":1}}' for number in range(9_000)), ",".join(["{}"] * (MEGABYTE // 4)))


def wide_objects_after_empty_ones() -> Decoded:
    wide = json.dumps({f"f{number}": number for number in range(9_000)})
    return json_list(",".join(["{}"] * (MEGABYTE // 4) + [wide]))


def names_that_are_ever_new() -> Decoded:
    return Json().decoder()(binary(*(b'{"f%d":1}' % number for number in range(80_000))))


def names_that_are_ever_new_inside() -> Decoded:
    return Json().decoder()(binary(*(b'{"o":{"f%d":1}}' % number for number in range(60_000))))


def rows_that_fail_after_filling() -> Decoded:
    wide = json.dumps({f"f{number}": number for number in range(WIDE)})
    bomb = f'{{"l": [{",".join(["{}"] * 20_000)}, {wide}]}}'.encode()
    return Json().decoder()(binary(f'{{"l": [{wide}]}}'.encode(), *[bomb] * 15))


# Avro


def nulls_among_wide_records() -> Decoded:
    schema = record("R", [("l", {"type": "array", "items": ["null", WIDE_RECORD]})])
    count = MEGABYTE - 10
    return Avro(schema).decoder()(binary(varint(count) + b"\0" * count + b"\0"))


def entries_of_wide_records() -> Decoded:
    schema = record("R", [("m", {"type": "map", "values": ["null", WIDE_RECORD]})])
    count = MEGABYTE // 2 - 10
    return Avro(schema).decoder()(binary(varint(count) + b"\0\0" * count + b"\0"))


def items_without_bytes() -> Decoded:
    schema = record("R", [("l", {"type": "array", "items": record("Nothing", [])})])
    return Avro(schema).decoder()(binary(varint(2**62) + b"\0", varint(0)))


def a_long_symbol() -> Decoded:
    schema = record("R", [("l", {"type": "array", "items": {"type": "enum", "name": "E", "symbols": ["x" * 100_000]}})])
    count = MEGABYTE - 10
    return Avro(schema).decoder()(binary(varint(count) + b"\0" * count + b"\0"))


def a_long_default() -> Decoded:
    fields = {"type": "record", "name": "R", "fields": [{"name": "s", "type": "string", "default": "x" * 100_000}]}
    return Avro(record("R", []), reader_schema=fields).decoder()(binary(*[b""] * 50_000))


def a_wide_branch_that_is_not_taken() -> Decoded:
    return Avro([record("Nothing", []), WIDE_RECORD]).decoder()(binary(*[b"\0"] * 200_000))


def nulls_of_a_wide_fixed() -> Decoded:
    schema = record("R", [("f", ["null", {"type": "fixed", "name": "F", "size": 100_000_000}])])
    return Avro(schema).decoder()(binary(*[b"\0"] * 200))


def records_without_bytes_passed_over() -> Decoded:
    schema: Any = record("R0", [])
    for level in range(1, 40):
        schema = record(f"R{level}", [("a", schema), ("b", f"R{level - 1}")])
    return avro_schema(record("R", [("n", "int"), ("x", schema)]), b"\x02", wanted={"n"})


# Protobuf


def proto(build: Callable[[Any], None], values: list[bytes], *, serialized: bool = False) -> Any:
    made = descriptor_pb2.FileDescriptorProto(name="m.proto", package="m", syntax="proto3")
    build(made)
    if serialized:
        return made.SerializeToString()
    files = descriptor_pb2.FileDescriptorSet(file=[made]).SerializeToString()
    return Protobuf("m.M", files).decoder()(binary(*values))


def field(number: int, kind: Any, type_name: str = "", **more: Any) -> Kind:
    return Kind(name=f"f{number}", number=number, type=kind, type_name=type_name or None, **more)


def empty_messages() -> Decoded:
    def build(made: Any) -> None:
        wide = made.message_type.add(name="Wide")
        wide.field.extend(field(number, Kind.TYPE_INT64) for number in range(1, WIDE + 1))
        made.message_type.add(name="M").field.append(field(1, Kind.TYPE_MESSAGE, ".m.Wide", label=Kind.LABEL_REPEATED))

    return proto(build, [b"\x0a\x00" * (MEGABYTE // 2), b"\x0a\x00"])  # type: ignore[no-any-return]  # they are


def rivals_in_turns() -> Decoded:
    def build(made: Any) -> None:
        message = made.message_type.add(name="M")
        message.oneof_decl.add(name="one")
        message.field.extend(field(number, Kind.TYPE_INT64, oneof_index=0) for number in range(1, 5_001))

    return proto(build, [b"\x08\x01\x10\x01" * (MEGABYTE // 4)])  # type: ignore[no-any-return]  # they are


# Schemas, as a registry gives them


class Registered:
    """A registry that has what it was given."""

    url = "http://127.0.0.1:1"

    def __init__(self, kind: str, texts: dict[int, str], references: tuple[tuple[str, str], ...] = ()) -> None:
        self._schemas = {number: RegisteredSchema(kind, text, references) for number, text in texts.items()}

    def schema(self, schema_id: int) -> RegisteredSchema | None:
        return self._schemas.get(schema_id)


def by_registry(format_: Any, registry: Registered, values: list[bytes], wanted: Any = None) -> Decoded:
    made = format_(registry=registry)
    decoded: Decoded = made.decoder(wanted)(binary(*values))
    return decoded


def avro_schema(schema: Any, value: bytes = b"", wanted: Any = None) -> Decoded:
    registry = Registered("AVRO", {1: json.dumps(schema)})
    return by_registry(Avro, registry, [b"\0\0\0\0\x01" + value], wanted)


def avro_types_that_fan_out() -> Decoded:
    schema: Any = record("R0", [("n", "int")])
    for level in range(1, 31):
        schema = record(f"R{level}", [("a", schema), ("b", f"R{level - 1}")])
    return avro_schema(schema)


def a_hundred_thousand_symbols() -> Decoded:
    symbols = [f"s{number}" for number in range(130_000)]
    return avro_schema(record("R", [("e", {"type": "enum", "name": "E", "symbols": symbols})]), b"\x02")


def symbols_at_many_places() -> Decoded:
    enum = {"type": "enum", "name": "E", "symbols": [f"s{number}" for number in range(50_000)]}
    return avro_schema(record("R", [("e", enum), *((f"f{number}", "E") for number in range(9_000))]))


def fields_by_the_thousand() -> Decoded:
    return avro_schema(record("R", [(f"f{number}", "int") for number in range(25_000)]), wanted={"f1", "f20000"})


def branches_that_are_alike() -> Decoded:
    writer = [{"type": "record", "name": f"n{number}.R", "fields": []} for number in range(10_000)]
    return avro_schema(writer, b"\x02")


def a_deep_schema() -> Decoded:
    schema: Any = "int"
    for _ in range(400):
        schema = {"type": "array", "items": schema}
    return avro_schema(schema)


def odd_parts_of_schemas() -> Decoded:
    odd: list[Any] = [
        record("R", [("\ud800", "int")]),
        record("R", [("a\0b", "int")]),
        {"type": "fixed", "name": "F", "size": 2**70},
        {"type": "fixed", "name": "F", "size": -1},
        {"type": "enum", "name": "E", "symbols": [[]]},
        {"type": ["int"], "logicalType": []},
        {"type": "bytes", "logicalType": ["decimal"], "precision": True},
        {"type": "record", "name": {}, "fields": 5},
        {"type": "record", "name": "R", "fields": [5]},
        [["int"]],
        5,
        None,
    ]
    registry = Registered("AVRO", {number: json.dumps(schema) for number, schema in enumerate(odd)})
    values = [b"\0" + number.to_bytes(4, "big") + b"\0" for number in range(len(odd))]
    return by_registry(Avro, registry, values)


def many_schemas_of_many_fields() -> Decoded:
    fields = [[(f"f{schema}x{number}", "int") for number in range(20)] for schema in range(1_000)]
    registry = Registered("AVRO", {number: json.dumps(record("R", part)) for number, part in enumerate(fields)})
    return by_registry(Avro, registry, [b"\0" + number.to_bytes(4, "big") + b"\0" * 20 for number in range(1_000)])


def protobuf_schema(build: Callable[[Any], None], references: tuple[tuple[str, str], ...] = ()) -> Decoded:
    text = base64.b64encode(proto(build, [], serialized=True)).decode()
    return by_registry(Protobuf, Registered("PROTOBUF", {1: text}, references), [b"\0\0\0\0\x01\0"])


def protobuf_types_that_fan_out() -> Decoded:
    def build(made: Any) -> None:
        for level in range(31):
            message = made.message_type.add(name=f"M{30 - level}")
            if level < 30:
                message.field.extend(field(number, Kind.TYPE_MESSAGE, f".m.M{29 - level}") for number in (1, 2))
            else:
                message.field.append(field(1, Kind.TYPE_INT32))

    return protobuf_schema(build)


def messages_that_refer_to_each_other() -> Decoded:
    def build(made: Any) -> None:
        for name in range(12):
            message = made.message_type.add(name=f"M{name}")
            message.field.extend(field(other + 1, Kind.TYPE_MESSAGE, f".m.M{other}") for other in range(12))

    return protobuf_schema(build)


def imports_in_a_chain() -> Decoded:
    files = []
    for number in range(2_000):
        made = descriptor_pb2.FileDescriptorProto(name=f"p{number}.proto", syntax="proto3")
        made.dependency.extend([f"p{number + 1}.proto"] if number < 1_999 else [])
        files.append((made.name, base64.b64encode(made.SerializeToString()).decode()))

    def build(made: Any) -> None:
        made.dependency.append("p0.proto")
        made.message_type.add(name="M").field.append(field(1, Kind.TYPE_INT32))

    return protobuf_schema(build, tuple(files))


def varint(number: int) -> bytes:
    number, out = number << 1, bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


BOMBS: list[Bomb] = [
    empty_objects_among_wide_ones,
    objects_of_different_names,
    wide_objects_after_empty_ones,
    names_that_are_ever_new,
    names_that_are_ever_new_inside,
    rows_that_fail_after_filling,
    nulls_among_wide_records,
    entries_of_wide_records,
    items_without_bytes,
    a_long_symbol,
    a_long_default,
    a_wide_branch_that_is_not_taken,
    nulls_of_a_wide_fixed,
    records_without_bytes_passed_over,
    empty_messages,
    rivals_in_turns,
    avro_types_that_fan_out,
    a_hundred_thousand_symbols,
    symbols_at_many_places,
    fields_by_the_thousand,
    branches_that_are_alike,
    a_deep_schema,
    odd_parts_of_schemas,
    many_schemas_of_many_fields,
    protobuf_types_that_fan_out,
    messages_that_refer_to_each_other,
    imports_in_a_chain,
]


def memory(line: str) -> int:
    """Return a size in bytes that Linux tells of this process."""
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(each.split()[1]) for each in status.splitlines() if each.startswith(line)) * 1024


def cost(bomb: Bomb) -> dict[str, Any]:
    """Return what a bomb costs, and what it makes."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins anew
    before, begun = memory("VmRSS"), time.process_time()
    try:
        decoded = bomb()
        errors = {str(row): error[:200] for row, error in list(decoded.errors.items())[:3]}
        made = {"errors": len(decoded.errors), "first": errors, "columns": len(decoded.columns)}
    except ArgumentError as error:
        made = {"refused": str(error)[:200]}
    seconds = time.process_time() - begun
    return {"bomb": bomb.__name__, **made, "seconds": round(seconds, 2), "bytes": memory("VmHWM") - before}


def main(names: list[str]) -> None:
    most = memory("VmSize") + (2 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for bomb in BOMBS:
        if not names or bomb.__name__ in names:
            sys.stdout.write(f"{json.dumps(cost(bomb))}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
