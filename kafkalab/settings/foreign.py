"""What only Java or only sarama has: kept as it was given, so that it is there on the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafkalab.errors import ConfigError
from kafkalab.settings import golang
from kafkalab.settings.forms import BOOL, Form, Value
from kafkalab.settings.knob import TITLES

if TYPE_CHECKING:
    from kafkalab.settings.knob import Client

_NUMBER, _TIME, _SWITCH, _CONSTANT = golang.INT, golang.DURATION, BOOL, golang.CONSTANT
_FOR_EVER = "others try again for as long as it takes"
_OWN_TIMEOUT = "here each call has a timeout of its own"
_GROWTH = (
    "the most that Fetch.Default may grow to for one partition, and not fetch.max.bytes; librdkafka grows to what a "
    "message needs"
)
_SLOW = (
    "a slow handler stops fetches of its partition in sarama; others make the member leave the group, after "
    "max_poll_interval_ms"
)
_CHANNEL = (
    "messages in the channel of each partition; queued_min_messages is the nearest, but is of all partitions, and so "
    "small a number would starve librdkafka"
)
_RESET = "auto_offset_reset says it here, and for groups without a commit too; false is nearest to 'error'"


@dataclass(frozen=True, slots=True, repr=False)
class Foreign:
    """A setting that librdkafka has nothing for; a time is in ms."""

    client: Client
    name: str
    default: Value
    form: Form
    why: str

    def checked(self, value: object) -> Value:
        """Return a value of it.

        Raises
        ------
        ConfigError
            It is of another type, or a number below zero.
        """
        of_its_kind = type(value) is type(self.default)
        if not of_its_kind or (isinstance(value, int) and value < 0) or (value == "" != self.default):
            kind = {bool: "True or False", int: "a whole number from 0", str: "a name"}[type(self.default)]
            raise ConfigError(f"{self.name} is {value!r}: it has to be {kind}{', in ms' * (self.form is _TIME)}")
        return value  # type: ignore[return-value] # it is of the default's type

    def __repr__(self) -> str:
        default = self.form.write(self.default)
        return f"{self.name}\n  only in {TITLES[self.client]}, where it is {default!r} by default: {self.why}"


_JAVA: tuple[tuple[str, Value, Form, str], ...] = (
    ("max.poll.records", 500, _NUMBER, "it limits one poll(); here the caller of consume() says how many"),
    ("default.api.timeout.ms", 60_000, _NUMBER, _OWN_TIMEOUT),
    ("socket.connection.setup.timeout.max.ms", 30_000, _NUMBER, "the time to connect does not grow in librdkafka"),
)
_SARAMA: tuple[tuple[str, Value, Form, str], ...] = (
    ("Consumer.Return.Errors", False, _SWITCH, "others hand errors to a callback or raise them; nothing to drain"),
    ("Consumer.Fetch.Max", 0, _NUMBER, _GROWTH),
    ("Consumer.MaxProcessingTime", 100, _TIME, _SLOW),
    ("ChannelBufferSize", 256, _NUMBER, _CHANNEL),
    ("Consumer.Group.Rebalance.Retry.Max", 4, _NUMBER, _FOR_EVER),
    ("Consumer.Group.Rebalance.Retry.Backoff", 2000, _TIME, "retry_backoff_ms is the nearest"),
    ("Consumer.Group.ResetInvalidOffsets", True, _SWITCH, _RESET),
    ("Consumer.Offsets.Retry.Max", 3, _NUMBER, _FOR_EVER),
    ("Consumer.Offsets.Retention", 0, _TIME, "brokers decide how long commits are kept"),
    ("Consumer.Retry.Max", 0, _NUMBER, "0 is for as long as it takes, and others know nothing else"),
    ("Metadata.Retry.Max", 3, _NUMBER, _FOR_EVER),
    ("Metadata.Timeout", 0, _TIME, _OWN_TIMEOUT),
    ("Metadata.SingleFlight", True, _SWITCH, "librdkafka always does"),
    ("Net.WriteTimeout", 30_000, _TIME, "socket_timeout_ms holds for both ways here"),
    ("Version", "V2_8_0_0", _CONSTANT, "others ask the broker; too low, it hides zstd, racks and headers"),
    ("ApiVersionsRequest", True, _SWITCH, "others always ask"),
)
FOREIGN = {
    **{row[0]: Foreign("java", *row) for row in _JAVA},
    **{row[0]: Foreign("sarama", *row) for row in _SARAMA},
}
