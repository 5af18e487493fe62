"""Requests of Kafka's protocol as values: how each is made into bytes, and how its answer is read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from kafkalab import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kafkalab.model import TopicPartition

FETCH, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 1, 17, 18, 36
FETCH_VERSIONS = range(4, 12)
LIST_GROUPS = 16
OUT_OF_RANGE = 1
"""The error of a fetch that starts before or behind the log."""
LARGEST_BATCH_BYTES = 256 << 20
"""The most that a batch may take, on the wire and decompressed."""
ANSWERS_FIRST = 8
"""The version of Fetch since which a broker answers a client above its quota at once, for that to wait."""
EARLIEST, LATEST, GREATEST = -2, -1, -3
"""Times that are none: of the first offset, of the end, and of the record with the greatest timestamp."""

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
Head: TypeAlias = "tuple[int, int, str]"
Broker: TypeAlias = "tuple[int, str, int]"
Partition: TypeAlias = "tuple[int, int, int, list[int], list[int], list[int]]"
Topic: TypeAlias = "tuple[int, str | None, bytes, bool, list[Partition]]"
Offsets: TypeAlias = "list[tuple[str, list[tuple[int, int, int, int]]]]"
Group: TypeAlias = "tuple[int, str, list[tuple[str, str, str]]]"


@dataclass(frozen=True, slots=True)
class Request(Generic[_T_co]):
    """One request.

    Attributes
    ----------
    key : int
        Its number in Kafka's protocol.
    versions : range
        Those that are spoken here; a broker is asked in the latest that it knows too.
    encode : callable
        Takes the head (version, number, client's name) and returns the bytes of a frame.
    decode : callable
        Takes the answer's frame, the version and the number that it must have.
    """

    key: int
    versions: range
    encode: Callable[[Head], bytes]
    decode: Callable[[bytes, int, int], _T_co]


@dataclass(frozen=True, slots=True)
class PartitionFetch:
    """What one fetch asks of one partition."""

    partition: int
    offset: int
    max_bytes: int


def api_versions() -> Request[tuple[int, list[tuple[int, int, int]]]]:
    """Return the request for what a broker understands; every one knows its version 0."""
    return Request(API_VERSIONS, range(1), _native.api_versions_request, _native.api_versions_answer)


def metadata(topics: Sequence[str] | None) -> Request[tuple[list[Broker], int, list[Topic]]]:
    """Return the request for the brokers and some topics, or all of them.

    Since version 4 it can say that no topic is to be created. One request brings 10,000 partitions in one round trip,
    where DescribeTopicPartitions gives pages of 2,000, one after the other.
    """
    return _request(3, range(4, 13), _native.metadata_request, _native.metadata_answer, topics)


def list_offsets(topic: str, times: Mapping[int, int], *, read_committed: bool = False) -> Request[Offsets]:
    """Return the request for the offsets of times, by partition; since version 7 brokers know the greatest time."""
    versions = range(7 if GREATEST in times.values() else 2, 8)
    asked = list(times.items())
    return _request(
        2, versions, _native.list_offsets_request, _native.list_offsets_answer, topic, asked, read_committed
    )


def find_coordinator(group_id: str) -> Request[tuple[int, Broker]]:
    """Return the request for a group's coordinator; it creates the topic of commits where there is none."""
    return _request(10, range(4), _native.find_coordinator_request, _native.find_coordinator_answer, group_id)


def offset_fetch(
    group_id: str, places: Sequence[TopicPartition] | None
) -> Request[tuple[int, list[tuple[str, list[tuple[int, int, int]]]]]]:
    """Return the request for what a group has committed in some partitions, or wherever it has."""
    topics: dict[str, list[int]] = {}
    for place in places or ():
        topics.setdefault(place.topic, []).append(place.partition)
    asked = None if places is None else list(topics.items())
    return _request(9, range(2, 8), _native.offset_fetch_request, _native.offset_fetch_answer, group_id, asked)


def offset_commit(
    group_id: str, offsets: Mapping[TopicPartition, int]
) -> Request[list[tuple[str, list[tuple[int, int]]]]]:
    """Return the request that sets what a group without members has committed."""
    topics: dict[str, list[tuple[int, int]]] = {}
    for place, offset in offsets.items():
        topics.setdefault(place.topic, []).append((place.partition, offset))
    asked = list(topics.items())
    return _request(8, range(2, 9), _native.offset_commit_request, _native.offset_commit_answer, group_id, asked)


def list_groups() -> Request[tuple[int, list[tuple[str, str]]]]:
    """Return the request for the groups that a broker coordinates."""
    return Request(LIST_GROUPS, range(5), _native.list_groups_request, _native.list_groups_answer)


def describe_group(group_id: str) -> Request[list[Group]]:
    """Return the request for the state and members of a group."""
    return _request(15, range(6), _native.describe_groups_request, _native.describe_groups_answer, group_id)


def describe_consumer_group(group_id: str) -> Request[list[Group]]:
    """Return the request for the state and members of a group of the protocol of KIP-848."""
    encode, decode = _native.consumer_group_describe_request, _native.consumer_group_describe_answer
    return _request(69, range(1), encode, decode, group_id)


def fetch(
    topic: str, parts: Sequence[PartitionFetch], *, read_committed: bool, max_wait_ms: int, max_bytes: int
) -> Request[None]:
    """Return the request for records, as a consumer without a session makes it; its answer is not read by this."""
    asked = [(part.partition, part.offset, part.max_bytes) for part in parts]

    def encode(head: Head) -> bytes:
        return _native.fetch_request(
            head, topic, asked, read_committed=read_committed, max_wait_ms=max_wait_ms, max_bytes=max_bytes
        )

    return Request(FETCH, FETCH_VERSIONS, encode, lambda *_: None)


def _request(
    key: int, versions: range, encode: Callable[..., bytes], decode: Callable[[bytes, int, int], _T], *asked: Any
) -> Request[_T]:
    def encoded(head: Head) -> bytes:
        return encode(head, *asked)

    return Request(key, versions, encoded, decode)


# The login's, which are told apart by their error codes


def string(text: bytes) -> bytes:
    """Return a string with its length of 16 bits."""
    return struct.pack(">h", len(text)) + text


def sized(data: bytes) -> bytes:
    """Return bytes with their length of 32 bits."""
    return struct.pack(">i", len(data)) + data
