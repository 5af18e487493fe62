"""Protobuf's messages to columns: their types, and how each field is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from kafkalab import _native

if TYPE_CHECKING:
    from collections.abc import Collection

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    Node: TypeAlias = tuple[Any, ...]
    Read: TypeAlias = tuple[Node, pa.DataType]

# By FieldDescriptor.TYPE_*.
_SCALARS: dict[int, Read] = {
    1: (("fixed64",), pa.float64()),
    2: (("fixed32",), pa.float32()),
    3: (("varint",), pa.int64()),
    4: (("varint",), pa.uint64()),
    5: (("varint",), pa.int32()),
    6: (("fixed64",), pa.uint64()),
    7: (("fixed32",), pa.uint32()),
    8: (("bool",), pa.bool_()),
    9: (("bytes",), pa.string()),
    12: (("bytes",), pa.binary()),
    13: (("varint",), pa.uint32()),
    15: (("fixed32",), pa.int32()),
    16: (("fixed64",), pa.int64()),
    17: (("zigzag",), pa.int32()),
    18: (("zigzag",), pa.int64()),
}
_GROUP = 10
_TIMES = {
    "google.protobuf.Timestamp": pa.timestamp("ns", "UTC"),
    "google.protobuf.Duration": pa.duration("ns"),
}
_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """How the messages of one type make columns.

    Attributes
    ----------
    native : kafkalab._native.ProtobufPlan
        What the native half takes.
    columns : pyarrow.Schema
        A column for each wanted field.
    left_out : list of str
        Fields that nobody asked for.
    """

    native: _native.ProtobufPlan
    columns: pa.Schema
    left_out: list[str]

    @classmethod
    def of(cls, message: Descriptor, wanted: Collection[str] | None = None) -> Plan:
        """Return the plan of a message."""
        fields = _fields(message)
        kept = [field for field in fields if wanted is None or field.name in wanted]
        read, kind = _message(kept, (message.full_name,))
        left_out = [field.name for field in fields if field not in kept]
        return cls(_native.ProtobufPlan(read, pa.schema(kind.fields)), pa.schema(kind.fields), left_out)


def _fields(message: Descriptor) -> list[FieldDescriptor]:
    """Return the fields that can be columns: groups are passed over."""
    return [field for field in message.fields if field.type != _GROUP]


def _message(fields: list[FieldDescriptor], inside: tuple[str, ...]) -> tuple[list[Node], pa.DataType]:
    columns = {field.number: column for column, field in enumerate(fields)}
    read, types = [], []
    for column, field in enumerate(fields):
        node, kind = _field(field, inside)
        oneof = field.containing_oneof
        rivals = [columns[other.number] for other in (oneof.fields if oneof else ()) if other.number in columns]
        rivals = [other for other in rivals if other != column]
        read.append((field.number, field.name, column, node, field.is_repeated, _absent(field, node), rivals))
        types.append(pa.field(field.name, kind))
    return read, pa.struct(types)


def _absent(field: FieldDescriptor, node: Node) -> str | None:
    """Return what stands where there is no such field: None for null, nothing for zero, or the name of zero."""
    is_entry = _is_entry(field.containing_type)
    if field.is_repeated:
        return ""
    if field.message_type is not None:
        return "" if is_entry else None
    if field.has_presence and not is_entry:
        return None
    return node[1].get(field.default_value) or "" if node[0] == "enum" else ""


def _field(field: FieldDescriptor, inside: tuple[str, ...]) -> Read:
    node, kind = _value(field, inside)
    if not field.is_repeated:
        return node, kind
    if node[0] == "entry":
        return node, pa.map_(kind.field(0).type, kind.field(1).type)
    return node, pa.list_(kind)


def _value(field: FieldDescriptor, inside: tuple[str, ...]) -> Read:
    message, kinds = field.message_type, field.enum_type
    if kinds is not None:
        names = {value.number: value.name for value in reversed(kinds.values)}
        return ("enum", names, kinds.is_closed), pa.string()
    if message is None:
        return _SCALARS[field.type]
    if message.full_name in _TIMES:
        return ("time",), _TIMES[message.full_name]
    if message.full_name in _WRAPPERS:
        node, kind = _SCALARS[message.fields[0].type]
        return ("wrapper", node), kind
    if message.full_name in inside or len(inside) > _DEEPEST:
        return ("bytes",), pa.binary()  # a column cannot hold itself
    read, kind = _message(_fields(message), (*inside, message.full_name))
    return ("entry" if _is_entry(message) else "message", read), kind


def _is_entry(message: Descriptor | None) -> bool:
    """Tell whether a message is a key and a value of a map."""
    return message is not None and bool(message.GetOptions().map_entry)
