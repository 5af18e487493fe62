"""Which partition a producer puts a key in: the hashes of Java's clients, of librdkafka and of sarama."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Literal, TypeAlias

from kafkalab.errors import ArgumentError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Partitioner: TypeAlias = Literal["auto", "murmur2", "consistent", "fnv1a"]

_MASK = 0xFFFF_FFFF
_POSITIVE = 0x7FFF_FFFF
_SIGN = 0x8000_0000

_MURMUR_SEED = 0x9747_B28C
_MURMUR_FACTOR = 0x5BD1_E995
_MURMUR_SHIFT = 24

_FNV_OFFSET = 0x811C_9DC5
_FNV_PRIME = 0x0100_0193


def _murmur2(key: bytes) -> int:
    """Return MurmurHash2 without its sign bit, as ``org.apache.kafka.common.utils.Utils`` has it."""
    hashed = _MURMUR_SEED ^ len(key)
    whole = len(key) & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(key[start : start + 4], "little") * _MURMUR_FACTOR & _MASK
        word = (word ^ word >> _MURMUR_SHIFT) * _MURMUR_FACTOR & _MASK
        hashed = hashed * _MURMUR_FACTOR & _MASK ^ word
    if len(key) > whole:
        hashed = (hashed ^ int.from_bytes(key[whole:], "little")) * _MURMUR_FACTOR & _MASK
    hashed = (hashed ^ hashed >> 13) * _MURMUR_FACTOR & _MASK
    return (hashed ^ hashed >> 15) & _POSITIVE


def _fnv1a(key: bytes) -> int:
    """Return FNV-1a as a signed number without its sign: sarama takes the remainder first, to the same effect."""
    hashed = _FNV_OFFSET
    for byte in key:
        hashed = (hashed ^ byte) * _FNV_PRIME & _MASK
    return hashed if hashed < _SIGN else _MASK + 1 - hashed


_HASHES: dict[str, Callable[[bytes], int]] = {"murmur2": _murmur2, "consistent": zlib.crc32, "fnv1a": _fnv1a}


def check(name: str | None) -> None:
    """Refuse a name that is no partitioner's."""
    known = [*_HASHES, "auto"]
    if name is not None and name not in known:
        message = f"{name!r} is no partitioner: {did_you_mean(str(name), known)}; None reads all partitions"
        raise ArgumentError(message)


def partition_of(key: bytes | None, partitions: int, name: str) -> int | None:
    """Return the partition that a key is put in; None where producers put it anywhere.

    Parameters
    ----------
    key : bytes or None
        As it is stored.
    partitions : int
        How many the topic had when the record was written.
    name : {"murmur2", "consistent", "fnv1a"}
        Java's default, and librdkafka's ``murmur2_random``; librdkafka's own default, ``consistent_random``, which is
        CRC-32; sarama's default, and librdkafka's ``fnv1a_random``. A null key goes anywhere, and with ``consistent``
        an empty one too.

    Examples
    --------
    >>> [partition_of(b"u42", 12, name) for name in ("murmur2", "consistent", "fnv1a")]
    [11, 10, 6]
    >>> partition_of(None, 12, "murmur2") is None
    True
    """
    if key is None or (not key and name == "consistent"):
        return None
    return _HASHES[name](key) % partitions


def fitting(placed: Iterable[tuple[bytes | None, int]], partitions: int) -> list[str]:
    """Return the partitioners that put every one of some keys where it is; none where the keys tell nothing.

    Parameters
    ----------
    placed : iterable of (bytes or None, int)
        Keys and the partitions that they were found in.
    partitions : int
        How many the topic has.

    Examples
    --------
    >>> fitting([(b"u42", 11), (b"u43", 4)], 12)
    ['murmur2']
    >>> fitting([(None, 3)], 12)
    []
    """
    found = {(key, partition) for key, partition in placed if key}
    if not found:
        return []
    return [name for name in _HASHES if all(partition_of(key, partitions, name) == at for key, at in found)]
