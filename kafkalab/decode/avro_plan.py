"""How what one Avro schema has written is read as another, by the rules of Avro's specification."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from kafkalab import _native
from kafkalab.decode.avro_default import written
from kafkalab.decode.avro_schema import UNIONS
from kafkalab.decode.avro_types import (
    Types,
    branches_of,
    digits_of,
    full_name,
    kind_of,
    logical_of,
)
from kafkalab.decode.unfit import Count, Unfit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kafkalab.decode.avro_schema import Schema, Schemas

    Node: TypeAlias = tuple[Any, ...]

_WIDENED = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


_MOST_PARTS = 1 << 20
"""Parts and symbols that one schema may be compared with another by."""
_NAMES_TOLD = 5


@dataclass(slots=True)
class Plan:
    """How the values of one schema make the columns of another.

    Attributes
    ----------
    native : kafkalab._native.AvroPlan
        What the native half takes.
    columns : pyarrow.Schema
        The columns; the one without a name stands for the value as a whole.
    left_out : list of str
        Fields that nobody asked for.
    """

    native: _native.AvroPlan
    columns: pa.Schema
    left_out: list[str]

    @classmethod
    def of(cls, writer: Schemas, reader: Schemas | None = None, wanted: Collection[str] | None = None) -> Plan:
        """Return the plan by which values that a schema wrote are read as another, or as themselves.

        Raises
        ------
        Unfit
            The one cannot be read as the other, or makes no columns.
        """
        made = _Resolution(writer, reader or writer)
        root, left_out = _pruned(made.reader, made.reader.root, wanted)
        kind = Types(made.reader).of(root)
        node = made.read(writer.root, root)
        if not pa.types.is_struct(kind) or logical_of(made.reader.of(root)) == "duration":
            node, kind = ("record", [("", node, 0)], []), pa.struct([("", kind)])
        names = [column.name for column in kind.fields]
        kept = [number for number, name in enumerate(names) if not name or wanted is None or name in wanted]
        if node[0] in ("union", "member"):
            node = _projected(node, {number: column for column, number in enumerate(kept)})
        columns = pa.schema([kind.field(number) for number in kept])
        native = _native.AvroPlan(node, made.named_nodes(), columns)
        others = set(range(len(names))).difference(kept)
        return cls(native, columns, [*left_out, *(names[number] for number in sorted(others))])


def _pruned(schemas: Schemas, root: Schema, wanted: Collection[str] | None) -> tuple[Schema, list[str]]:
    """Return a record with the wanted fields only, and the names of others, which may be such as make no columns."""
    root = schemas.of(root)
    if wanted is None:
        return root, []
    if isinstance(root, UNIONS) and len(branches_of(schemas, root)) == 1:
        pairs = [_pruned(schemas, branch, wanted) for branch in root]
        return [branch for branch, _ in pairs], [name for _, names in pairs for name in names]
    if isinstance(root, dict) and kind_of(root) == "record":
        kept = [part for part in root["fields"] if part["name"] in wanted]
        return {**root, "fields": kept}, [part["name"] for part in root["fields"] if part["name"] not in wanted]
    return root, []


def _projected(node: Node, kept: Mapping[int, int]) -> Node:
    """Return a plan of the kept branches of a union only; what goes into others is passed over."""
    kind, *parts = node
    if kind == "union":
        return kind, [_projected(branch, kept) for branch in parts[0]]
    if kind == "member":
        number, inner = parts
        return (kind, kept[number], inner) if number in kept else ("passed", inner)
    return node


@dataclass(slots=True)
class _Resolution:
    """Reads what one schema has written as another, by the rules of Avro's specification."""

    writer: Schemas
    reader: Schemas
    _numbers: dict[str, int] = field(default_factory=dict)
    _named: dict[int, Node] = field(default_factory=dict)
    _parts: Count = field(default_factory=lambda: Count(_MOST_PARTS, "parts"))

    def named_nodes(self) -> list[Node]:
        return [self._named[number] for number in range(len(self._named))]

    def read(self, writer: Schema, reader: Schema) -> Node:
        writer, reader = self.writer.of(writer), self.reader.of(reader)
        self._parts.add()
        if isinstance(writer, UNIONS):
            return "union", [self._branch(branch, reader) for branch in writer]
        if isinstance(reader, UNIONS):
            return self._into_union(writer, reader)
        kind = kind_of(writer)
        if not self._fits(writer, reader):
            raise Unfit(f"{_named(writer)} was written where {_named(reader)} is to be read")
        if kind == "record" and isinstance(writer, dict) and isinstance(reader, dict):
            return self._record(writer, reader)
        if kind == "array" and isinstance(writer, dict) and isinstance(reader, dict):
            return kind, self.read(writer["items"], reader["items"])
        if kind == "map" and isinstance(writer, dict) and isinstance(reader, dict):
            return kind, self.read(writer["values"], reader["values"])
        return self._scalar(writer, reader)

    def _branch(self, writer: Schema, reader: Schema) -> Node:
        try:
            return self.read(writer, reader)
        except Unfit as error:
            return "misfit", str(error)

    def _into_union(self, writer: Schema, union: list[Any] | tuple[Any, ...]) -> Node:
        for fits in (_same, self._fits):
            for branch in union:
                self._parts.add()
                if fits(writer, self.reader.of(branch)):
                    branches = branches_of(self.reader, union)
                    node = self.read(writer, branch)
                    is_member = len(branches) > 1 and branch in branches
                    return ("member", branches.index(branch), node) if is_member else node
        names = ", ".join(_named(self.reader.of(branch)) for branch in union[:_NAMES_TOLD])
        raise Unfit(f"{_named(writer)} was written where one of {names} is to be read")

    def _fits(self, writer: Schema, reader: Schema) -> bool:
        """Whether a value of one type may be read as another; what is inside is looked at later."""
        kind, wanted = kind_of(writer), kind_of(reader)
        given, asked = logical_of(writer), logical_of(reader)
        if given and asked and given != asked:
            return False
        if (given == "decimal" or asked == "decimal") and not _same_digits(writer, reader):
            return False
        if kind != wanted:
            return wanted in _WIDENED.get(kind, ()) or (given == asked and given in ("uuid", "decimal"))
        if not isinstance(writer, dict) or not isinstance(reader, dict):
            return True
        if kind in ("record", "enum", "fixed") and not _alike(writer, reader):
            return False
        return kind != "fixed" or given == asked == "decimal" or writer["size"] == reader["size"]

    def _record(self, writer: dict[str, Any], reader: dict[str, Any]) -> Node:
        columns = {part["name"]: number for number, part in enumerate(reader["fields"])}
        aliases = {alias: part["name"] for part in reader["fields"] for alias in part.get("aliases", ())}
        fields: list[tuple[str, Node, int | None]] = []
        for part in writer["fields"]:
            name = part["name"] if part["name"] in columns else aliases.get(part["name"])
            column = columns.pop(name, None) if name else None
            if column is None:
                fields.append((part["name"], self.skip(part["type"]), None))
            else:
                node = self.read(part["type"], reader["fields"][column]["type"])
                fields.append((part["name"], node, column))
        defaults = [self._default(reader["fields"][column], column) for column in columns.values()]
        return "record", fields, defaults

    def _default(self, part: dict[str, Any], column: int) -> tuple[int, Node, bytes]:
        if "default" not in part:
            raise Unfit(f"the field {part['name']!r} was not written, and has no default")
        node = _Resolution(self.reader, self.reader).read(part["type"], part["type"])
        return column, node, written(self.reader, part["type"], part["default"])

    def skip(self, writer: Schema) -> Node:
        """Return how a value is passed over."""
        writer = self.writer.of(writer)
        kind = kind_of(writer)
        self._parts.add()
        if isinstance(writer, UNIONS):
            return "union", [self.skip(branch) for branch in writer]
        if isinstance(writer, str):
            return self._scalar(writer, writer)
        if kind in ("record", "enum"):
            return "named", self._number(writer, kind)
        if kind in ("array", "map"):
            return kind, self.skip(writer["items" if kind == "array" else "values"])
        return self._scalar(writer, writer)

    def _number(self, writer: dict[str, Any], kind: str) -> int:
        name = writer["name"]
        if name not in self._numbers:
            number = self._numbers[name] = len(self._numbers)
            if kind == "enum":
                self._named[number] = self._scalar(writer, writer)
            else:
                fields = [(part["name"], self.skip(part["type"]), None) for part in writer["fields"]]
                self._named[number] = ("record", fields, [])
        return self._numbers[name]

    def _scalar(self, writer: Schema, reader: Schema) -> Node:
        kind, logical = kind_of(writer), logical_of(reader)
        if logical == "decimal" and isinstance(writer, dict | str):
            return "decimal", writer["size"] if isinstance(writer, dict) and kind == "fixed" else None
        if kind == "enum" and isinstance(writer, dict) and isinstance(reader, dict):
            return kind, self._symbols(writer["symbols"], reader)
        if kind == "fixed" and isinstance(writer, dict):
            return (logical,) if logical else (kind, writer["size"])
        return ("bytes",) if kind == "string" else (kind,)

    def _symbols(self, written: list[str], reader: dict[str, Any]) -> list[str | None]:
        self._parts.add(len(written))
        known, default = set(reader["symbols"]), reader.get("default")
        others = default if isinstance(default, str) else None
        return [name if name in known else others for name in written]


def _same(writer: Schema, reader: Schema) -> bool:
    return full_name(writer) == full_name(reader) and logical_of(writer) == logical_of(reader)


def _same_digits(writer: Schema, reader: Schema) -> bool:
    """Whether a decimal is read as one of the same digits; its bytes may be read as such, and one may be without."""
    given, asked = (logical_of(schema) == "decimal" for schema in (writer, reader))
    if given and asked and isinstance(writer, dict) and isinstance(reader, dict):
        return digits_of(writer) == digits_of(reader)
    return kind_of(writer) in ("bytes", "fixed") and kind_of(writer) == kind_of(reader)


def _alike(writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    """Whether two named types have the same name, but for the namespace, or one that the other once had."""
    short = {name.rpartition(".")[2] for name in (reader["name"], *reader.get("aliases", ()))}
    return writer["name"].rpartition(".")[2] in short


def _named(schema: Schema) -> str:
    logical = logical_of(schema)
    digits = digits_of(schema) if logical == "decimal" and isinstance(schema, dict) else None
    shown = f"{logical}({digits[0]}, {digits[1]})" if digits else logical
    return f"{full_name(schema)} ({shown})" if shown else full_name(schema)
