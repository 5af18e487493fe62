"""The three clients: which names they know, what they take for unset, how a person writes their settings down."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kafkalab import options, properties
from kafkalab.errors import ConfigError, did_you_mean
from kafkalab.settings import golang
from kafkalab.settings.foreign import FOREIGN, Foreign
from kafkalab.settings.knob import CLIENTS, TITLES, Client, Knob
from kafkalab.settings.table import KNOBS

if TYPE_CHECKING:
    from kafkalab.settings.forms import Value

_LEAST_UNASKED = 1_000_000
"""librdkafka's message.max.bytes: it refuses a fetch.max.bytes below that."""

_FOLLOWED = ("queued_max_messages_kbytes", "fetch_max_bytes", "retry_backoff_ms")
_IDENTITY = "it says who the client is, not how it reads: it belongs in connect(config=...)"
_NOT_SARAMAS: tuple[tuple[str, str], ...] = (
    ("clientid", _IDENTITY),
    ("consumer.group.instanceid", _IDENTITY),
    ("consumer.group.member.", _IDENTITY),
    ("net.", "it says how to get in: it belongs in connect(config=...)"),
    ("producer.", "it is a producer's"),
    ("admin.", "it is an admin client's"),
    ("consumer.interceptors", "it is code"),
    ("consumer.retry.backofffunc", "it is code"),
    ("metadata.retry.backofffunc", "it is code"),
    ("metricregistry", "it is code"),
    ("consumer.offsets.commitinterval", "sarama ignores it; Consumer.Offsets.AutoCommit.Interval is what counts"),
)
_NOT_LIBRDKAFKAS = re.compile(
    r"config\.providers(\..+)?|share\.acquire\.mode|ssl\.engine\.factory\.class|sasl\.login\.class|sasl\.oauthbearer\."
    r"(expected\.(audience|issuer)|assertion\.template\.file|jwt\.(retriever|validator)\.class|clock\.skew\.seconds"
    r"|jwks\.endpoint\.(url|refresh\.ms|retry\.backoff(\.max)?\.ms)|header\.urlencode|scope\.claim\.name)"
)
"""Names of Java that are about getting in, and that a connection refuses."""

_OLD_NAMES = {"consumer.group.rebalance.strategy": "consumer.group.rebalance.groupstrategies"}


def find(client: Client, name: str, origin: str = "") -> Knob | Foreign | str:
    """Return what a client's name stands for, or why it is none of the settings.

    Raises
    ------
    ConfigError
        The client has no such setting; the message has the names most like it.
    """
    known = _known(client)
    if (found := known.get(_key(client, name))) is not None:
        return found
    if (reason := _REASONS[client](name)) is not None:
        return reason
    names = [each.name if isinstance(each, Foreign) else each.counterpart(client).name for each in known.values()]
    raise ConfigError(f"{origin}{TITLES[client]} has no setting {name!r}: {did_you_mean(name, names)}")


def explained(name: str) -> Knob | Foreign:
    """Return what any client's name, or ours, stands for.

    Raises
    ------
    ConfigError
        No client has such a setting.
    """
    if name in KNOBS:
        return KNOBS[name]
    for client in CLIENTS:
        if found := _known(client).get(_key(client, name)):
            return found
    names = {*KNOBS, *FOREIGN, *(knob.counterpart(c).name for knob in KNOBS.values() for c in CLIENTS)}
    raise ConfigError(f"there is no setting {name!r}: {did_you_mean(name, names - {''})}")


def default(client: Client, knob: Knob, values: Mapping[str, Value]) -> Value | None:
    """Return what a client takes where a setting is not given; some of librdkafka's follow others."""
    if client != "librdkafka":
        return knob.counterpart(client).default
    queue, fetch, retry = (int(values.get(name, KNOBS[name].default)) for name in _FOLLOWED)
    follows = {
        "fetch_max_bytes": max(min(50 << 20, 1024 * queue), _LEAST_UNASKED),
        "receive_message_max_bytes": max(100_000_000, fetch + 512),
        "topic_metadata_refresh_fast_interval_ms": retry,
    }
    return follows.get(knob.name, knob.default)


def completed(client: Client, written: dict[str, object]) -> dict[str, object]:
    """Return settings with what librdkafka wants beside them."""
    small = client == "librdkafka" and int(str(written.get("fetch.max.bytes", _LEAST_UNASKED))) < _LEAST_UNASKED
    return written | {"message.max.bytes": written["fetch.max.bytes"]} if small else written


def render(client: Client, written: Mapping[str, object]) -> str:
    """Write settings as a Python dict, the lines of a ``.properties`` file, or lines of Go."""
    if client == "sarama":
        return golang.render(written)
    if client == "java":
        return "".join(f"{name}={_property(value)}\n" for name, value in written.items())
    return "".join(("{\n", *(f"    {name!r}: {value!r},\n" for name, value in written.items()), "}\n"))


def flat(settings: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Yield names joined by dots, and values, of a mapping of mappings."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _property(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    escaped = re.sub(r"^ |[\\]", lambda found: "\\" + found[0], text)
    units = (escaped[at].encode("utf-16-be").hex() if escaped[at] > "~" else escaped[at] for at in range(len(escaped)))
    return "".join(unit if len(unit) == 1 else re.sub("(....)", r"\\u\1", unit) for unit in units)


def _key(client: Client, name: str) -> str:
    if client == "librdkafka":
        return options.ALIASES.get(name, name)
    if client == "java":
        return name
    plain = name.casefold().removeprefix("config.").removeprefix("sarama.")
    return _OLD_NAMES.get(plain, plain)


@functools.cache
def _known(client: Client) -> dict[str, Knob | Foreign]:
    known: dict[str, Knob | Foreign] = {name: each for name, each in FOREIGN.items() if each.client == client}
    known |= {name: knob for knob in KNOBS.values() if (name := knob.counterpart(client).name)}
    return {_key(client, name): found for name, found in known.items()}


def _librdkafkas_other(name: str) -> str | None:
    if name == "message.max.bytes":
        return "a consumer's requests are small; it follows fetch_max_bytes"
    if not options.exists(name):
        near = options.closest(name)
        raise ConfigError(
            f"librdkafka has no option {name!r}{'; did you mean ' + ' or '.join(near) + '?' if near else ''}"
        )
    raise ConfigError(f"{name} belongs in connect(config=...): it is not among the settings that are tuned here")


def _javas_other(name: str) -> str | None:
    if name in {knob.librdkafka.name for knob in KNOBS.values()}:
        raise ConfigError(
            f"{name} is librdkafka's name, and Java does not know it: see ConsumerSettings.explain({name!r})"
        )
    if not properties.is_known(name) and not options.exists(name) and not _NOT_LIBRDKAFKAS.fullmatch(name):
        return None
    return "it says how to get in or what to run: it belongs in connect(config_file=...)"


def _saramas_other(name: str) -> str | None:
    plain = _key("sarama", name)
    return next((reason for prefix, reason in _NOT_SARAMAS if plain.startswith(prefix)), None)


_REASONS = {"librdkafka": _librdkafkas_other, "java": _javas_other, "sarama": _saramas_other}
