"""UTF-8 text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from kafkalab.decode.base import Decoded

if TYPE_CHECKING:
    from collections.abc import Collection

    from kafkalab.decode.base import Decoder, Known


@dataclass(frozen=True, slots=True)
class Text:
    """UTF-8 text as one column of strings."""

    @property
    def known(self) -> Known:
        """One column of strings."""
        return {None: pa.string()}

    def decoder(self, wanted: Collection[str] | None = None) -> Decoder:  # noqa: ARG002 - there are no fields
        """Return the decoder."""
        return decode


def decode(values: pa.Array) -> Decoded:
    r"""Return binary values as strings; bytes that are no UTF-8 are errors.

    Examples
    --------
    >>> decode(pa.array([b"caf\xc3\xa9", b"\xff", None])).errors
    {1: 'byte 0 is no UTF-8'}
    """
    try:
        return Decoded.whole(values.cast(pa.string()))
    except pa.ArrowInvalid:
        # One bad row fails the cast of all; only then is it worth looking at each.
        return _one_by_one(values)


def _one_by_one(values: pa.Array) -> Decoded:
    texts: list[str | None] = []
    errors: dict[int, str] = {}
    for row, value in enumerate(values.to_pylist()):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError as error:
            texts.append(None)
            errors[row] = f"byte {error.start} is no UTF-8"
    return Decoded.whole(pa.array(texts, pa.string()), errors)
