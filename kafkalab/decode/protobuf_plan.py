"""Protobuf's messages to columns: their types, and how each field is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from kafkalab import _native
from kafkalab.decode.unfit import MOST_COLUMNS, Count

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
_MOST_NAMES = 1 << 20
"""Names of enumerations' numbers, counted wherever a field has such an enumeration."""
_GROUP_NODE = ("group",)


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
        kept = {field.number for field in message.fields if wanted is None or field.name in wanted}
        read, kind = _Reading().message(message, (message.full_name,), kept)
        left_out = [field.name for field in message.fields if field.number not in kept and field.type != _GROUP]
        columns = pa.schema(kind.fields)
        return cls(_native.ProtobufPlan(read, columns), columns, left_out)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Finds how messages are read, and counts the columns that they make."""

    _columns: Count = field(default_factory=lambda: Count(MOST_COLUMNS, "columns"))
    _names: Count = field(default_factory=lambda: Count(_MOST_NAMES, "names of enumerations"))

    def message(self, message: Descriptor, inside: tuple[str, ...], kept: Collection[int] | None = None) -> Read:
        """Return how the kept fields are read; groups, which can be no columns, are not."""
        oneofs = {oneof.full_name: number for number, oneof in enumerate(message.oneofs)}
        rivals: list[list[int]] = [[] for _ in oneofs]
        read, types = list[tuple[Any, ...]](), list[pa.Field]()
        for part in message.fields:
            oneof = None if part.containing_oneof is None else oneofs[part.containing_oneof.full_name]
            if part.type == _GROUP or (kept is not None and part.number not in kept):
                if oneof is not None:
                    # It is passed over, and ends what another has.
                    read.append((part.number, part.name, None, self._passed(part), part.is_repeated, None, oneof))
                continue
            column = len(types)
            node, kind = self._field(part, inside)
            if oneof is not None:
                rivals[oneof].append(column)
            read.append((part.number, part.name, column, node, part.is_repeated, _absent(part, node), oneof))
            types.append(pa.field(part.name, kind))
        return (read, rivals), pa.struct(types)

    def _field(self, part: FieldDescriptor, inside: tuple[str, ...]) -> Read:
        self._columns.add()
        node, kind = self._value(part, inside)
        if not part.is_repeated:
            return node, kind
        if node[0] == "entry":
            return node, pa.map_(kind.field(0).type, kind.field(1).type)
        return node, pa.list_(kind)

    def _value(self, part: FieldDescriptor, inside: tuple[str, ...]) -> Read:
        message, kinds = part.message_type, part.enum_type
        if kinds is not None:
            self._names.add(len(kinds.values))
            names = {value.number: value.name for value in reversed(kinds.values)}
            return ("enum", names, kinds.is_closed), pa.string()
        if message is None:
            return _SCALARS[part.type]
        if message.full_name in _TIMES:
            return ("time",), _TIMES[message.full_name]
        if message.full_name in _WRAPPERS:
            node, kind = _SCALARS[message.fields[0].type]
            return ("wrapper", node), kind
        if message.full_name in inside or len(inside) > _DEEPEST:
            return ("bytes",), pa.binary()  # a column cannot hold itself
        read, kind = self.message(message, (*inside, message.full_name))
        return ("entry" if _is_entry(message) else "message", read), kind

    @staticmethod
    def _passed(part: FieldDescriptor) -> Node:
        if part.type == _GROUP:
            return _GROUP_NODE
        if part.enum_type is not None:
            return ("varint",)
        return ("bytes",) if part.message_type is not None else _SCALARS[part.type][0]


def _absent(part: FieldDescriptor, node: Node) -> str | None:
    """Return what stands where there is no such field: None for null, nothing for zero, or the name of zero."""
    is_entry = _is_entry(part.containing_type)
    if part.is_repeated:
        return ""
    if part.message_type is not None:
        return "" if is_entry else None
    if part.has_presence and not is_entry:
        return None
    return node[1].get(part.default_value) or "" if node[0] == "enum" else ""


def _is_entry(message: Descriptor | None) -> bool:
    """Tell whether a message is a key and a value of a map."""
    return message is not None and bool(message.GetOptions().map_entry)
