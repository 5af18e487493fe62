"""Which settings bound one another, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kafkalab.errors import ConfigError
from kafkalab.settings.table import KNOBS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kafkalab.settings.forms import Value


@dataclass(frozen=True, slots=True)
class Coupling:
    """That ``factor * low + margin <= scale * high``, and why.

    ``gives_way`` is the one that a translation moves; where clients themselves take the other for it (``clamps``), also
    if it was given.
    """

    low: str
    high: str
    why: str
    gives_way: str
    factor: int = 1
    margin: int = 0
    scale: int = 1
    clamps: bool = False

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Tell whether values keep to it."""
        return self.factor * int(values[self.low]) + self.margin <= self.scale * int(values[self.high])

    def most(self, values: Mapping[str, Value]) -> int:
        """Return the largest ``low`` that ``high`` allows."""
        return (self.scale * int(values[self.high]) - self.margin) // self.factor

    def least(self, values: Mapping[str, Value]) -> int:
        """Return the smallest ``high`` that ``low`` allows."""
        return -((-self.factor * int(values[self.low]) - self.margin) // self.scale)


# In sarama such a wait has no bound, so that a longer one raises it; in librdkafka it has.
_LOOKING_AGAIN = Coupling(
    "topic_metadata_refresh_fast_interval_ms",
    "retry_backoff_max_ms",
    "a wait is never longer than the longest",
    "retry_backoff_max_ms",
)
COUPLINGS = (
    Coupling(
        "max_partition_fetch_bytes",
        "fetch_max_bytes",
        "an answer brings no more of one partition than of all",
        "max_partition_fetch_bytes",
        clamps=True,
    ),
    Coupling(
        "fetch_max_bytes",
        "receive_message_max_bytes",
        "the largest answer and 512 bytes around it must be let in",
        "receive_message_max_bytes",
        margin=512,
    ),
    Coupling(
        "session_timeout_ms",
        "max_poll_interval_ms",
        "a member that polls in time must not be taken for dead first; librdkafka refuses it",
        "max_poll_interval_ms",
    ),
    _LOOKING_AGAIN,
    Coupling(
        "retry_backoff_ms",
        "retry_backoff_max_ms",
        "a wait is never longer than the longest",
        "retry_backoff_ms",
        clamps=True,
    ),
)
CLAMPS = (
    *(each for each in COUPLINGS if each.clamps),
    replace(_LOOKING_AGAIN, gives_way=_LOOKING_AGAIN.low, clamps=True),
)
"""What librdkafka itself takes for another value, and does not refuse."""

ADVISED = (
    Coupling(
        "heartbeat_interval_ms",
        "session_timeout_ms",
        "a session of less than three heartbeats ends when two are lost",
        "heartbeat_interval_ms",
        factor=3,
    ),
    Coupling(
        "fetch_max_bytes",
        "queued_max_messages_kbytes",
        "a queue that holds less than two full answers runs empty while the next one comes",
        "queued_max_messages_kbytes",
        factor=2,
        scale=1024,
    ),
    Coupling(
        "fetch_min_bytes",
        "max_partition_fetch_bytes",
        "a single partition never brings that much at once, so each fetch of it waits fetch_max_wait_ms",
        "max_partition_fetch_bytes",
    ),
    Coupling(
        "fetch_min_bytes",
        "fetch_max_bytes",
        "no answer is that large, so the broker stops at fetch_max_bytes",
        "fetch_max_bytes",
    ),
    Coupling(
        "fetch_max_wait_ms",
        "socket_timeout_ms",
        "while a fetch waits at the broker, other requests wait behind it and may time out",
        "socket_timeout_ms",
        margin=1000,
    ),
)
"""What works, but seldom well."""


def check(values: Mapping[str, Value]) -> None:
    """Refuse values that contradict each other.

    Raises
    ------
    ConfigError
        With both values, why they cannot be, and the nearest of each that can.
    """
    for each in COUPLINGS:
        if not each.holds(values):
            both = f"{_shown(each.low, values)}, and {_shown(each.high, values)}"
            raise ConfigError(f"{both}: {each.why}. Give {' or '.join(_ways_out(each, values))}")


def _ways_out(each: Coupling, values: Mapping[str, Value]) -> list[str]:
    most, least = each.most(values), each.least(values)
    ways = [f"{each.low} at most {most}"] if most >= (KNOBS[each.low].minimum or 0) else []
    return ways + ([f"{each.high} at least {least}"] if least <= (KNOBS[each.high].maximum or 0) else [])


def nearest(name: str, value: Value, values: Mapping[str, Value]) -> tuple[Value, str | None]:
    """Return the value nearest to one that the others allow, and why it is not that one."""
    near, reason = KNOBS[name].nearest(value)
    for each in COUPLINGS:
        if name == each.low and int(near) > each.most(values):
            near, reason = each.most(values), f"{_shown(each.high, values)}: {each.why}"
        if name == each.high and int(near) < each.least(values):
            near, reason = each.least(values), f"{_shown(each.low, values)}: {each.why}"
    return near, reason


def settle(
    values: Mapping[str, Value], given: Collection[str], couplings: Collection[Coupling]
) -> tuple[dict[str, Value], dict[str, str]]:
    """Return values of another client with contradictions moved aside, and why each that moved has.

    What goes together there may not go here. What was not given moves first, but for what clients move themselves.
    """
    settled, moved = dict(values), {}
    for each in [*couplings] * len(couplings):  # moving one may touch another
        stays = given if not each.clamps else {each.low, each.high} - {each.gives_way}
        for name in sorted((each.low, each.high), key=lambda name: (name in stays, name != each.gives_way)):
            if not each.holds(settled):
                bound, other = (each.most, each.high) if name == each.low else (each.least, each.low)
                settled[name], _ = KNOBS[name].nearest(bound(settled))
                moved[name] = f"{_shown(other, settled)}: {each.why}"
    return settled, moved


def cautions(values: Mapping[str, Value]) -> tuple[str, ...]:
    """Say what is allowed but advised against, where it was chosen and is not only the default."""
    chosen = {name for name, knob in KNOBS.items() if values[name] != knob.default}
    return tuple(
        f"{_shown(each.low, values)}, and {_shown(each.high, values)}: {each.why}"
        for each in ADVISED
        if chosen & {each.low, each.high} and not each.holds(values)
    )


def _shown(name: str, values: Mapping[str, Value]) -> str:
    return f"{name} is {KNOBS[name].shown(values[name])}"
