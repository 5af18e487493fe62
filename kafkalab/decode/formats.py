"""The names of the formats, and the one that fits when nobody says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kafkalab.decode import json, numbers, text
from kafkalab.decode.base import Decoded
from kafkalab.errors import ArgumentError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from kafkalab.decode.base import Decoder, Format, Known

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
    "uuid": numbers.uuid,
}


def names(*, auto: bool = False) -> list[str]:
    """Return the names of formats."""
    return [*_NAMED, *_NUMBERS, *([AUTO] if auto else [])]


def get(given: Any) -> Format:
    """Return the format that a name stands for, that a function is, or that was given itself.

    Raises
    ------
    ArgumentError
        There is no such format.
    """
    check(given)
    if not isinstance(given, str):
        own: Format = Own(given) if callable(given) and not hasattr(given, "decoder") else given
        return own
    return numbers.number(given) if given in _NUMBERS else _NAMED[given]()


def check(given: Any, *, auto: bool = False) -> None:
    """Refuse what is no format."""
    if callable(given) or hasattr(given, "decoder"):
        return
    known = names(auto=auto)
    if not isinstance(given, str) or given not in known:
        message = f"{given!r} is no format: {did_you_mean(str(given), known)}"
        raise ArgumentError(message)


def detect(values: pa.Array) -> str:
    r"""Return the format that shows values best: JSON where all are objects, else text where all are, else bytes.

    Examples
    --------
    >>> import pyarrow as pa
    >>> detect(pa.array([b'{"a": 1}', None])), detect(pa.array([b"1"])), detect(pa.array([b"\xff"]))
    ('json', 'text', 'bytes')
    """
    present = values.drop_null().slice(0, _LOOKED_AT)
    if not len(present):
        return "bytes"
    fields = json.decode(present)
    if not fields.errors and fields.columns and all(name is not None for name, _, _ in fields):
        return "json"
    return "bytes" if text.decode(present).errors else "text"
