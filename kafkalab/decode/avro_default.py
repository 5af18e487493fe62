"""The default of an Avro field, as a writer would have written it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from kafkalab.decode.avro_schema import UNIONS
from kafkalab.decode.avro_types import kind_of
from kafkalab.decode.unfit import Unfit

if TYPE_CHECKING:
    from kafkalab.decode.avro_schema import Schema, Schemas


def written(schemas: Schemas, schema: Schema, default: Any) -> bytes:
    r"""Return the bytes of a default, given as a schema has it, in JSON.

    Raises
    ------
    Unfit
        It is no value of its type.

    Examples
    --------
    >>> from kafkalab.decode.avro_schema import Schemas
    >>> written(Schemas("int", {}), "int", -1), written(Schemas("string", {}), ["null", "string"], "ab")
    (b'\x01', b'\x02\x04ab')
    """
    try:
        return _written(schemas, schemas.of(schema), default)
    except (TypeError, ValueError, KeyError, AttributeError, struct.error, OverflowError, RecursionError) as error:
        raise Unfit(f"a default is no value of its type: {error}") from error


def _written(schemas: Schemas, schema: Schema, value: Any) -> bytes:
    if isinstance(schema, UNIONS):
        return _of_union(schemas, schema, value)
    kind = kind_of(schema)
    if isinstance(schema, str) or kind not in ("record", "array", "map", "enum", "fixed"):
        return _scalar(kind, value)
    if kind == "record":
        fields = [(part["type"], value.get(part["name"], part.get("default"))) for part in schema["fields"]]
        return b"".join(_written(schemas, schemas.of(inner), given) for inner, given in fields)
    if kind == "array":
        return _block([_written(schemas, schemas.of(schema["items"]), item) for item in value])
    if kind == "map":
        values = schemas.of(schema["values"])
        return _block([_sized(name.encode()) + _written(schemas, values, given) for name, given in value.items()])
    return _number(schema["symbols"].index(value)) if kind == "enum" else str.encode(value, "latin-1")


def _of_union(schemas: Schemas, union: Any, value: Any) -> bytes:
    for number, branch in enumerate(union):
        try:
            return _number(number) + _written(schemas, schemas.of(branch), value)
        except (TypeError, ValueError, KeyError, AttributeError, struct.error, OverflowError):
            continue
    raise ValueError(f"{value!r} is of no branch")


def _scalar(kind: str, value: Any) -> bytes:
    if kind == "null" and value is None:
        return b""
    if kind == "boolean" and isinstance(value, bool):
        return bytes([value])
    if kind in ("int", "long") and not isinstance(value, bool):
        return _number(value)
    if kind in ("float", "double") and not isinstance(value, bool):
        return struct.pack("<f" if kind == "float" else "<d", value)
    if kind in ("string", "bytes"):
        return _sized(str.encode(value, "utf-8" if kind == "string" else "latin-1"))
    raise ValueError(f"{value!r} is no {kind}")


def _number(value: int) -> bytes:
    zigzag, out = (value << 1) ^ (value >> 63), bytearray()
    while zigzag > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def _sized(value: bytes) -> bytes:
    return _number(len(value)) + value


def _block(items: list[bytes]) -> bytes:
    return (_number(len(items)) + b"".join(items) if items else b"") + b"\0"
