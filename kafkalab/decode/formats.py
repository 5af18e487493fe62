"""The names of the formats, and the one that fits when nobody says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kafkalab.decode import json, numbers, text
from kafkalab.decode.avro import Avro
from kafkalab.decode.base import Decoded
from kafkalab.decode.framing import fronts_of
from kafkalab.decode.protobuf import Protobuf
from kafkalab.errors import ArgumentError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from kafkalab.decode.base import Decoder, Format, Known
    from kafkalab.decode.registry import Registry

AUTO = "auto"
_LOOKED_AT = 200
_NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes as they are."""

    @property
    def known(self) -> Known:
        """One column of bytes."""
        return {None: pa.binary()}

    def decoder(self, wanted: Collection[str] | None = None) -> Decoder:  # noqa: ARG002 - there are no fields
        """Return the decoder."""
        return Decoded.whole


@dataclass(frozen=True, slots=True)
class Own:
    """A user's function, of a binary array to an array as long; the fields of structs become columns."""

    function: Callable[[pa.Array], pa.Array]

    @property
    def known(self) -> None:
        """Only the function knows."""

    def decoder(self, wanted: Collection[str] | None = None) -> Decoder:  # noqa: ARG002 - a function knows none
        """Return the decoder."""
        return self._decode

    def _decode(self, values: pa.Array) -> Decoded:
        made = self.function(values)
        if isinstance(made, pa.ChunkedArray):
            made = made.combine_chunks()
        if not isinstance(made, pa.Array | pa.RecordBatch) or len(made) != len(values):
            shape = f"{type(made).__name__} of {len(made)}" if hasattr(made, "__len__") else type(made).__name__
            message = f"{self.function!r} was given an array of {len(values)} values and has to return one, not {shape}"
            raise ArgumentError(message)
        is_fields = isinstance(made, pa.RecordBatch) or pa.types.is_struct(made.type)
        return Decoded.of_fields(made) if is_fields else Decoded.whole(made)


_NAMED: dict[str, Callable[[], Format]] = {
    "bytes": Bytes,
    "text": text.Text,
    "str": text.Text,
    "json": json.Json,
    "json-schema": partial(json.Json, framed=True),
    "avro": Avro,
    "protobuf": Protobuf,
    "uuid": numbers.uuid,
}


_OF_REGISTRIES = (Avro, Protobuf)
_OF_KINDS = {"AVRO": "avro", "PROTOBUF": "protobuf", "JSON": "json-schema"}


def names(*, auto: bool = False) -> list[str]:
    """Return the names of formats."""
    return [*_NAMED, *_NUMBERS, *([AUTO] if auto else [])]


def get(given: Any, registry: Registry | None = None) -> Format:
    """Return the format that a name stands for, that a function is, or that was given itself.

    Raises
    ------
    ArgumentError
        There is no such format, or it needs a registry and there is none.
    """
    check(given)
    if isinstance(given, str):
        made = numbers.number(given) if given in _NUMBERS else _NAMED[given]()
    else:
        made = Own(given) if callable(given) and not hasattr(given, "decoder") else given
    found: Format = made.bound(registry) if isinstance(made, _OF_REGISTRIES) else made
    return found


def check(given: Any, *, auto: bool = False) -> None:
    """Refuse what is no format."""
    if callable(given) or hasattr(given, "decoder"):
        return
    known = names(auto=auto)
    if not isinstance(given, str) or given not in known:
        message = f"{given!r} is no format: {did_you_mean(str(given), known)}"
        raise ArgumentError(message)


def detect(values: pa.Array, registry: Registry | None = None) -> str:
    r"""Return the format that shows values best: JSON where all are objects, else text where all are, else bytes.

    Before these comes what the registry says of values that all begin with the id of a schema.

    Examples
    --------
    >>> import pyarrow as pa
    >>> detect(pa.array([b'{"a": 1}', None])), detect(pa.array([b"1"])), detect(pa.array([b"\xff"]))
    ('json', 'text', 'bytes')
    """
    present = values.drop_null().slice(0, _LOOKED_AT)
    if not len(present):
        return "bytes"
    if registry is not None and (framed := _framed(present, registry)):
        return framed
    fields = json.decode(present)
    if not fields.errors and fields.columns and all(name is not None for name, _, _ in fields):
        return "json"
    return "bytes" if text.decode(present).errors else "text"


def _framed(values: pa.Array, registry: Registry) -> str | None:
    """Return the format that the registry has for the schema of the first value, if all begin with the id of one."""
    fronts, errors = fronts_of(values)
    schema_id = int.from_bytes(fronts[0][1:], "big") if fronts and not errors else 0
    found = registry.schema(schema_id) if schema_id else None
    return None if found is None else _OF_KINDS.get(found.kind)
