"""Numbers and UUIDs in fixed widths, big-endian, as Kafka's own serializers write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.decode.base import Decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from kafkalab.decode.base import Decoder, Known

_UUID_BYTES = 16


@dataclass(frozen=True, slots=True)
class FixedWidth:
    """Values of so many bytes each.

    Attributes
    ----------
    width : int
        Their bytes: any other number is an error of its row.
    type : pyarrow.DataType
        Of the column.
    read : callable
        Makes an array of that type of the bytes of all values, as long as these, and a mask of nulls.
    """

    width: int
    type: pa.DataType
    read: Callable[[NDArray[np.uint8], NDArray[np.bool_]], pa.Array]

    @property
    def known(self) -> Known:
        """One column."""
        return {None: self.type}

    def decoder(self, wanted: Collection[str] | None = None) -> Decoder:  # noqa: ARG002 - there are no fields
        """Return the decoder."""
        return self._decode

    def _decode(self, values: pa.Array) -> Decoded:
        lengths = pc.binary_length(values)
        wrong = pc.fill_null(pc.not_equal(lengths, self.width), fill_value=False)
        errors = {
            row: f"it has {lengths[row]} bytes, not {self.width}"
            for row in np.flatnonzero(wrong.to_numpy(zero_copy_only=False)).tolist()
        }
        right = pc.if_else(wrong, None, values) if errors else values
        fixed = right.cast(pa.binary(self.width))
        data = np.frombuffer(fixed.buffers()[1], np.uint8).reshape(-1, self.width)
        data = data[fixed.offset : fixed.offset + len(fixed)]
        nulls = fixed.is_null().to_numpy(zero_copy_only=False)
        return Decoded.whole(self.read(data, nulls), errors)


def number(name: str) -> FixedWidth:
    r"""Return the format of big-endian numbers of numpy's type of that name.

    Examples
    --------
    >>> number("int32").decoder()(pa.array([b"\x00\x00\x01\x00", None, b"1"])).columns[0][2].to_pylist()
    [256, None, None]
    """
    dtype = np.dtype(name)

    def read(data: NDArray[np.uint8], nulls: NDArray[np.bool_]) -> pa.Array:
        big = np.ascontiguousarray(data).reshape(-1).view(dtype.newbyteorder(">"))
        return pa.array(big.astype(dtype), mask=nulls, from_pandas=False)

    return FixedWidth(dtype.itemsize, pa.from_numpy_dtype(dtype), read)


def uuid() -> FixedWidth:
    """Return the format of UUIDs of 16 bytes, as the strings that people know."""
    return FixedWidth(_UUID_BYTES, pa.string(), _uuids)


def _uuids(data: NDArray[np.uint8], nulls: NDArray[np.bool_]) -> pa.Array:
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    pairs = digits[np.stack([data >> 4, data & 15], axis=-1)].reshape(len(data), 2 * _UUID_BYTES)
    texts = np.insert(pairs, (8, 12, 16, 20), ord("-"), axis=1)
    width = texts.shape[1]
    offsets = np.arange(len(texts) + 1, dtype=np.int32) * width
    whole = pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(texts.tobytes()))
    return pc.if_else(pa.array(nulls), None, whole)
