"""The orders of the benchmarks as Avro and Protobuf behind a registry's schema id, and the ways to read them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import fastavro
import orjson
import pandas as pd
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from benchmarks.topics import orders
from kafkalab.brokers.registry import SchemaRegistry
from kafkalab.decode.avro import Avro
from kafkalab.decode.joining import unify
from kafkalab.decode.protobuf import Protobuf
from kafkalab.decode.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kafkalab.decode.base import Decoder

BYTES = 110
_STEP_BYTES = 16 << 20  # what the engine hands over at a time
_BAD_EVERY = 100
_FRONT = b"\0\0\0\0\1"
_FIELDS = ("order", "article", "price", "city", "state", "at")
_AT = {"type": "long", "logicalType": "timestamp-millis"}
_TYPES = ("long", "string", "double", "string", "string", _AT)
_SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": name, "type": kind} for name, kind in zip(_FIELDS, _TYPES, strict=True)],
}


@dataclass(frozen=True, slots=True)
class Input:
    """The same values as the loops have them and as the engine hands them over."""

    texts: list[bytes]
    steps: list[pa.Array]
    bad_steps: list[pa.Array]

    @classmethod
    def of(cls, values: list[bytes]) -> Input:
        """Return values; in the bad steps one in a hundred is cut off or something else."""
        bad = list(values)
        for number in range(0, len(values), _BAD_EVERY):
            bad[number] = bad[number][:-1] if number % (2 * _BAD_EVERY) else b"something else"
        size = _STEP_BYTES // (sum(map(len, values)) // len(values))
        steps, bad_steps = (
            [pa.array(each[start : start + size], pa.binary()) for start in range(0, len(values), size)]
            for each in (values, bad)
        )
        return cls(values, steps, bad_steps)


def as_json(count: int) -> Input:
    """Return orders as JSON."""
    return Input.of([value for chunk in orders(count, BYTES) for _, value in chunk])


def _rows(count: int) -> list[dict[str, Any]]:
    made = [orjson.loads(value) for chunk in orders(count, BYTES) for _, value in chunk]
    return [row | {"at": datetime.fromisoformat(row["at"])} for row in made]


@cache
def _parsed() -> Any:
    return fastavro.parse_schema(_SCHEMA)


def as_avro(count: int) -> Input:
    """Return orders as Avro."""
    _registry()
    values = []
    for row in _rows(count):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, _parsed(), row)
        values.append(_FRONT + out.getvalue())
    return Input.of(values)


@cache
def message() -> Any:
    """Return the class of an order."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="order.proto", syntax="proto3")
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    order = file.message_type.add(name="Order")
    types = (kind.TYPE_INT64, kind.TYPE_STRING, kind.TYPE_DOUBLE, kind.TYPE_STRING, kind.TYPE_STRING)
    for number, (name, given) in enumerate(zip(_FIELDS, types, strict=False), 1):
        order.field.add(name=name, number=number, type=given, label=kind.LABEL_OPTIONAL)
    at = order.field.add(name="at", number=6, type=kind.TYPE_MESSAGE, label=kind.LABEL_OPTIONAL)
    at.type_name = ".google.protobuf.Timestamp"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Order"))


def as_protobuf(count: int) -> Input:
    """Return orders as Protobuf."""
    values = []
    for row in _rows(count):
        made = message()(**{name: row[name] for name in _FIELDS[:-1]})
        made.at.FromDatetime(row["at"])
        values.append(_FRONT + b"\0" + made.SerializeToString())
    return Input.of(values)


def decoded(decode: Decoder, steps: Sequence[pa.Array]) -> pa.Table:
    """Decode steps as a scan does, and join them as a read does."""
    tables = []
    for step in steps:
        made = decode(step)
        tables.append(pa.Table.from_arrays([a for _, _, a in made], schema=pa.schema([field for _, field, _ in made])))
    return unify(tables)


@cache
def _registry() -> Registry:
    """Return a registry that was asked before, as that of a lab is."""
    server = SchemaRegistry().start()
    registry = Registry(server.url)
    registry.schema(server.register("orders-value", json.dumps(_SCHEMA)))
    return registry


def _from_registry(steps: Sequence[pa.Array]) -> pa.Table:
    return decoded(Avro(registry=_registry()).decoder(), steps)


def _dicts(given: Input) -> list[Any]:
    schema = _parsed()
    return [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema) for value in given.texts]


def _messages(given: Input) -> list[Any]:
    made = []
    for value in given.texts:
        order = message()()
        order.ParseFromString(value[6:])
        made.append(order)
    return made


def _fields(given: Input) -> pd.DataFrame:
    rows = [(o.order, o.article, o.price, o.city, o.state, o.at.ToDatetime()) for o in _messages(given)]
    return pd.DataFrame.from_records(rows, columns=list(_FIELDS))


def _of_message(steps: Sequence[pa.Array]) -> pa.Table:
    return decoded(Protobuf(message(), framed=True).decoder(), steps)


AVRO: dict[str, Callable[[Input], Any]] = {
    "fastavro a row": lambda given: pd.DataFrame.from_records(_dicts(given)),
    "fastavro a row, dicts only": _dicts,
    "kafkalab, Avro": lambda given: _from_registry(given.steps),
    "kafkalab, Avro, 1% bad": lambda given: _from_registry(given.bad_steps),
}
PROTOBUF: dict[str, Callable[[Input], Any]] = {
    "ParseFromString a row": _fields,
    "ParseFromString a row, messages only": _messages,
    "kafkalab, Protobuf": lambda given: _of_message(given.steps),
    "kafkalab, Protobuf, 1% bad": lambda given: _of_message(given.bad_steps),
}


def sum_of_orders(made: Any) -> tuple[int, int]:
    """Return how many orders were read, and the sum of their numbers."""
    if isinstance(made, list):
        numbers = [row["order"] if isinstance(row, dict) else row.order for row in made]
    else:
        numbers = [number for number in pa.table(made)["order"].to_pylist() if number is not None]
    return len(numbers), sum(numbers)
