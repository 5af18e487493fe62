"""Avro schemas, and the Arrow types of what they describe."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kafkalab.decode.avro_schema import UNIONS
from kafkalab.decode.unfit import MOST_COLUMNS, Count, Unfit, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kafkalab.decode.avro_schema import Schema, Schemas

_PRIMITIVES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    **{
        ("long", f"{prefix}timestamp-{name}"): pa.timestamp(unit, zone)
        for prefix, zone in (("", "UTC"), ("local-", None))
        for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))
    },
}
_DURATION = pa.struct([(name, pa.uint32()) for name in ("months", "days", "milliseconds")])
_DURATION_BYTES, _UUID_BYTES = 12, 16
_DEEPEST = 64
_WIDEST_FIXED = 1024
"""Bytes of longer ones are of any length for Arrow: nulls among them would take as much as values."""
_MOST_DIGITS_128, _MOST_DIGITS = 38, 76


@dataclass(frozen=True, slots=True)
class Types:
    """The Arrow types of a schema."""

    schemas: Schemas
    _columns: Count = field(default_factory=lambda: Count(MOST_COLUMNS, "columns"))

    def of(self, schema: Schema, inside: tuple[str, ...] = ()) -> pa.DataType:
        """Return the type of a part of the schema, that stands inside of named types."""
        schema = self.schemas.of(schema)
        self._columns.add()
        if len(inside) > _DEEPEST:
            raise Unfit(f"it is nested deeper than {_DEEPEST} levels")
        if isinstance(schema, UNIONS):
            return self._union(schema, inside)
        kind = kind_of(schema)
        if isinstance(schema, str) or kind in _PRIMITIVES:
            return _scalar(schema, kind)
        inside = (*inside, schema.get("name", ""))
        if kind == "record":
            return self._record(schema, inside)
        if kind == "array":
            return pa.list_(self.of(schema["items"], inside))
        if kind == "map":
            return pa.map_(pa.string(), self.of(schema["values"], inside))
        return pa.string() if kind == "enum" else _fixed(schema)

    def _record(self, schema: dict[str, Any], inside: tuple[str, ...]) -> pa.DataType:
        if schema["name"] in inside[:-1]:
            raise Unfit(
                f"the type {schema['name']} holds itself, and columns cannot: leave the field that has it out by "
                "columns=[...], or read bytes"
            )
        return pa.struct([(part["name"], self.of(part["type"], inside)) for part in schema["fields"]])

    def _union(self, schema: list[Any] | tuple[Any, ...], inside: tuple[str, ...]) -> pa.DataType:
        branches = branches_of(self.schemas, schema)
        if not branches:
            return pa.null()
        if len(branches) == 1:
            return self.of(branches[0], inside)
        inside = (*inside, "")
        names = branch_names(self.schemas, branches)
        return pa.struct([(name, self.of(branch, inside)) for name, branch in zip(names, branches, strict=True)])


def kind_of(schema: Schema) -> str:
    """Return the kind of a schema, such as ``record``."""
    kind = "union" if isinstance(schema, UNIONS) else schema if isinstance(schema, str) else schema["type"]
    return "record" if kind == "error" else str(kind)


def logical_of(schema: Schema) -> str | None:
    """Return the logical type that counts: one that does not fit its schema is as if it was not there."""
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(logical, str):
        return None
    kind, size = kind_of(schema), schema.get("size")
    known = (kind, logical) in _LOGICAL or (
        (logical == "uuid" and (kind == "string" or size == _UUID_BYTES))
        or (logical == "duration" and size == _DURATION_BYTES)
        or (logical == "decimal" and kind in ("bytes", "fixed") and _has_room(schema))
    )
    return logical if known else None


def _has_room(schema: dict[str, Any]) -> bool:
    """Whether there are such decimals, and a fixed can hold them."""
    digits, size = digits_of(schema), schema.get("size")
    return digits is not None and (size is None or digits[0] <= math.log10(2) * (8 * size - 1))


def digits_of(schema: dict[str, Any]) -> tuple[int, int] | None:
    """Return a decimal's digits, in all and behind the point, if there are such decimals."""
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if type(precision) is not int or type(scale) is not int:
        return None
    return (precision, scale) if 0 <= scale <= precision and 0 < precision <= _MOST_DIGITS else None


def _scalar(schema: Schema, kind: str) -> pa.DataType:
    logical = logical_of(schema)
    if logical == "decimal" and isinstance(schema, dict):
        return _decimal(schema)
    found = _LOGICAL.get((kind, logical or ""), _PRIMITIVES.get(kind))
    if found is None:
        raise Unfit(f"the type {kind!r} is not known")
    return found


def _decimal(schema: dict[str, Any]) -> pa.DataType:
    precision, scale = digits_of(schema) or (0, 0)
    return (pa.decimal128 if precision <= _MOST_DIGITS_128 else pa.decimal256)(precision, scale)


def _fixed(schema: dict[str, Any]) -> pa.DataType:
    logical = logical_of(schema)
    if logical == "decimal":
        return _decimal(schema)
    if logical:
        return pa.string() if logical == "uuid" else _DURATION
    return pa.binary(schema["size"]) if 0 < schema["size"] <= _WIDEST_FIXED else pa.binary()


def branches_of(schemas: Schemas, union: Iterable[Any]) -> list[Any]:
    """Return the branches of a union but for null."""
    return [branch for branch in union if kind_of(schemas.of(branch)) != "null"]


def full_name(schema: Schema) -> str:
    """Return the name of a type, or the kind of one that has none."""
    return str(schema["name"]) if isinstance(schema, dict) and "name" in schema else kind_of(schema)


def branch_names(schemas: Schemas, branches: Iterable[Any]) -> list[str]:
    """Return names of branches: without a namespace, where that tells them apart."""
    full = [full_name(schemas.of(branch)) for branch in branches]
    short = [name.rpartition(".")[2] for name in full]
    if len(set(full)) < len(full):
        raise Unfit(f"a union has two branches of one name: {shortened(full)}")
    return short if len(set(short)) == len(short) else full
