"""The least that any reader does for record batches: checksums, decompression, and one copy of what they hold."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LENGTH_END = 12
_CRC_AT, _CHECKED_AT, _COUNT_AT, _HEADER_BYTES = 17, 21, 57, 61


@dataclass(frozen=True, slots=True)
class RawBatch:
    """What a batch's checksum is of and should be, its payload, and how much that is without compression."""

    crc: int
    checked: bytes
    payload: pa.Buffer
    size: int
    records: int


def floor(frames: Sequence[bytes], codec: str) -> Callable[[], int]:
    """Return what does the least for the batches in Fetch responses of version 11, and counts their records."""
    from google_crc32c import value as checksum

    batches = [batch for frame in frames for data in _partitions(frame) for batch in _batches(data, codec)]
    copied = np.empty(max(batch.size for batch in batches), np.uint8)

    def work() -> int:
        for batch in batches:
            assert checksum(batch.checked) == batch.crc
            data = batch.payload if codec == "none" else pa.decompress(batch.payload, batch.size, codec)
            np.copyto(copied[: batch.size], np.frombuffer(data, np.uint8))
        return sum(batch.records for batch in batches)

    return work


def _partitions(frame: bytes) -> Iterator[bytes]:
    """Yield the batches of each partition, in one piece; there is one topic."""
    place = 18 + struct.unpack_from(">h", frame, 18)[0] + 2
    (count,) = struct.unpack_from(">i", frame, place)
    place += 4
    for _ in range(count):
        aborted, _replica, length = struct.unpack_from(">30xiii", frame, place)
        assert aborted <= 0, "there are no transactions here"
        place += 42
        yield frame[place : place + length]
        place += length


def _batches(data: bytes, codec: str) -> Iterator[RawBatch]:
    """Yield the whole batches: the last may be cut."""
    while len(data) > _LENGTH_END:
        end = _LENGTH_END + struct.unpack_from(">i", data, 8)[0]
        if end > len(data):
            return
        payload = pa.py_buffer(data[_HEADER_BYTES:end])
        (crc,), (records,) = struct.unpack_from(">I", data, _CRC_AT), struct.unpack_from(">i", data, _COUNT_AT)
        yield RawBatch(crc, data[_CHECKED_AT:end], payload, _size(payload, codec), records)
        data = data[end:]


def _size(payload: pa.Buffer, codec: str) -> int:
    """Return how much a payload is without compression."""
    return len(payload) if codec == "none" else len(pa.CompressedInputStream(pa.BufferReader(payload), codec).read())
