"""UTF-8 text."""

from __future__ import annotations

import pyarrow as pa

from kafkalab.decode.base import WHOLE, Decoded


def decode(values: pa.Array) -> Decoded:
    r"""Return binary values as strings; bytes that are no UTF-8 are errors.

    Examples
    --------
    >>> decode(pa.array([b"caf\xc3\xa9", b"\xff", None])).errors
    {1: 'byte 0 is no UTF-8'}
    """
    try:
        return Decoded({WHOLE: values.cast(pa.string())})
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
    return Decoded({WHOLE: pa.array(texts, pa.string())}, errors)
