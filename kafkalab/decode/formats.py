"""The names of the formats, and the one that fits when nobody says."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from kafkalab.decode import json, text
from kafkalab.decode.base import WHOLE, Decoded
from kafkalab.errors import ArgumentError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    Decoder: TypeAlias = Callable[[pa.Array], Decoded]

_LOOKED_AT = 200


def _as_they_are(values: pa.Array) -> Decoded:
    return Decoded({WHOLE: values})


_FORMATS: dict[str, Decoder] = {
    "bytes": _as_they_are,
    "text": text.decode,
    "str": text.decode,
    "json": json.decode,
}


def decoder(name: str) -> Decoder:
    """Return the decoder that a format's name stands for.

    Raises
    ------
    ArgumentError
        There is no such format.
    """
    check(name)
    return _FORMATS[name]


def check(name: str, *, auto: bool = False) -> None:
    """Refuse a name that is no format's."""
    known = [*_FORMATS, "auto"] if auto else list(_FORMATS)
    if name not in known:
        message = f"{name!r} is no format: {did_you_mean(str(name), known)}"
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
    if not fields.errors and fields.columns and WHOLE not in fields.columns:
        return "json"
    return "bytes" if text.decode(present).errors else "text"
