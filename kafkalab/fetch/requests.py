"""The few requests of Kafka's protocol that the fast engine makes, as bytes: none is of the flexible kind."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FETCH, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 1, 17, 18, 36
FETCH_VERSIONS = range(4, 12)
OUT_OF_RANGE = 1
"""The error of a fetch that starts before or behind the log."""
LARGEST_BATCH_BYTES = 256 << 20
"""The most that a batch may take, on the wire and decompressed."""
ANSWERS_FIRST = 8
"""The version of Fetch since which a broker answers a client above its quota at once, for that to wait."""
# The versions of Fetch since which it has these fields.
_LOG_START, _SESSION, _LEADER_EPOCH, _RACK = 5, 7, 9, 11


@dataclass(frozen=True, slots=True)
class PartitionFetch:
    """What one request asks of one partition."""

    partition: int
    offset: int
    max_bytes: int


def fetch_request(
    topic: str,
    parts: Sequence[PartitionFetch],
    version: int,
    *,
    read_committed: bool,
    max_wait_ms: int,
    max_bytes: int,
) -> bytes:
    """Return the body of a Fetch request of version 4 to 11, as a consumer without a session makes it."""
    body = struct.pack(">iiiib", -1, max_wait_ms, 1, max_bytes, read_committed)
    body += struct.pack(">ii", 0, -1) if version >= _SESSION else b""
    body += struct.pack(">i", 1) + string(topic.encode()) + struct.pack(">i", len(parts))
    body += b"".join(_partition(part, version) for part in parts)
    body += struct.pack(">i", 0) if version >= _SESSION else b""
    return body + (string(b"") if version >= _RACK else b"")


def string(text: bytes) -> bytes:
    """Return a string with its length of 16 bits."""
    return struct.pack(">h", len(text)) + text


def sized(data: bytes) -> bytes:
    """Return bytes with their length of 32 bits."""
    return struct.pack(">i", len(data)) + data


def authenticated(answer: bytes) -> tuple[int, str, bytes, int]:
    """Return the error code, its reason, the token and the lifetime in ms that a SaslAuthenticate v1 answer has."""
    code, length = struct.unpack_from(">hh", answer)
    place = 4 + max(length, 0)
    reason = answer[4:place].decode(errors="replace")
    (size,) = struct.unpack_from(">i", answer, place)
    end = place + 4 + max(size, 0)
    (lifetime_ms,) = struct.unpack_from(">q", answer, end)
    return code, reason, answer[place + 4 : end], lifetime_ms


def _partition(part: PartitionFetch, version: int) -> bytes:
    epoch = struct.pack(">i", -1) if version >= _LEADER_EPOCH else b""
    start = struct.pack(">q", -1) if version >= _LOG_START else b""
    return (
        struct.pack(">i", part.partition)
        + epoch
        + struct.pack(">q", part.offset)
        + start
        + struct.pack(">i", part.max_bytes)
    )
