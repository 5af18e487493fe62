"""Objects over a pipe between two processes, and the job that a child is given through it."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kafkalab.connection import ConnectionConfig
    from kafkalab.group.dispatch import Ordering

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Job:
    """What a child is to do.

    Attributes
    ----------
    config, settings : ConnectionConfig, mapping
        How to get in, and librdkafka's options beside it.
    topic, starts : str, mapping of int to int
        What to read, and from where.
    process, workers, ordering, buffer_depth
        The handler, and how records come to it, as in a consumer group.
    replay : bool
        Whether to begin again at the end.
    seconds : float
        After how long the child ends by itself, whatever happens to its parent.
    """

    config: ConnectionConfig
    settings: Mapping[str, Any]
    topic: str
    starts: Mapping[int, int]
    process: Callable[[Any], object]
    workers: int
    ordering: Ordering
    buffer_depth: int | None
    replay: bool
    seconds: float


def send(stream: IO[bytes], data: bytes) -> None:
    """Write one pickled object."""
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one object.

    Raises
    ------
    EOFError
        The other end is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    return pickle.loads(_exactly(stream, length))  # noqa: S301 - between a process and the child it has started


def _exactly(stream: IO[bytes], size: int) -> bytes:
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
