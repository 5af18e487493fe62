"""A record as a handler gets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import methodcaller
from typing import Any, Self

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from kafkalab.errors import DecodeError
from kafkalab.fetch.base import TIMESTAMP_TYPES

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN_BYTES = 40
# Called from C, as the portable engine does: a name that is no UTF-8 is an error then, and no crash.
_headers_of = methodcaller("headers")


class Record(tuple[Message, int]):
    """One record; frozen, and read from the client's message when a field is asked for.

    It is a tuple of that message and the number of the log that it is of, because nothing else is made as fast: a
    group makes a million a second.

    Attributes
    ----------
    topic : str
        The topic.
    partition, offset : int
        Its place.
    timestamp : datetime or None
        In UTC; None where it has none, or one past the year 9999.
    timestamp_ms : int or None
        The same in milliseconds since 1970.
    timestamp_type : str
        ``"create_time"``, ``"log_append_time"`` or ``"none"``.
    key, value : bytes or None
        As stored. None is a null, which is not the same as an empty one.
    headers : tuple of (str, bytes or None)
        In order; names may repeat.

    Examples
    --------
    >>> Record.of("orders", 3, 42, key=b"u1", value=b"5")
    <Record orders[3]@42 key=b'u1' value=b'5'>
    """

    __slots__ = ()

    @classmethod
    def of(
        cls,
        topic: str,
        partition: int = 0,
        offset: int = 0,
        *,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: list[tuple[str, bytes | None]] | None = None,
        timestamp_ms: int | None = None,
    ) -> Self:
        """Make a record, to try a handler on."""
        time: Any = (0, 0) if timestamp_ms is None else (1, timestamp_ms)
        message: Any = Message
        return cls(
            (
                message(
                    topic=topic,
                    partition=partition,
                    offset=offset,
                    key=key,
                    value=value,
                    headers=headers or [],
                    timestamp=time,
                ),
                0,
            )
        )

    @property
    def topic(self) -> str:
        """The topic."""
        return self[0].topic()  # type: ignore[return-value]  # typed as optional, for messages that are events

    @property
    def partition(self) -> int:
        """The partition."""
        return self[0].partition()  # type: ignore[return-value]  # as above

    @property
    def offset(self) -> int:
        """Its offset there."""
        return self[0].offset()  # type: ignore[return-value]  # as above

    @property
    def timestamp_ms(self) -> int | None:
        """Its time in milliseconds since 1970."""
        kind, time = self[0].timestamp()
        return None if kind == TIMESTAMP_NOT_AVAILABLE or time == -1 else time

    @property
    def timestamp(self) -> datetime | None:
        """Its time, in UTC."""
        try:
            return None if (ms := self.timestamp_ms) is None else _EPOCH + timedelta(milliseconds=ms)
        except OverflowError:
            return None

    @property
    def timestamp_type(self) -> str:
        """Who set its time."""
        return str(TIMESTAMP_TYPES[self[0].timestamp()[0]])

    @property
    def key(self) -> bytes | None:
        """Its key, as stored."""
        return self[0].key()

    @property
    def value(self) -> bytes | None:
        """Its value, as stored."""
        return self[0].value()

    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]:
        """Its headers, in order."""
        try:
            return tuple(_headers_of(self[0]) or ())
        except SystemError as error:
            text = "librdkafka reads no header names that are not UTF-8; key and value are there"
            raise DecodeError(text, topic=self.topic, partition=self.partition, offset=self.offset) from error

    def __repr__(self) -> str:
        place = f"{self.topic}[{self.partition}]@{self.offset}"
        return f"<Record {place} key={_shortened(self.key)} value={_shortened(self.value)}>"


def _shortened(data: bytes | None) -> str:
    if data is None or len(data) <= _SHOWN_BYTES:
        return repr(data)
    return f"{data[:_SHOWN_BYTES]!r}... ({len(data):,} bytes)"
