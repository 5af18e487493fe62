"""From a client's names and values to ours, and back, with notes on what does not go over as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafkalab.errors import ConfigError
from kafkalab.secret import Secret
from kafkalab.settings import clients
from kafkalab.settings.couplings import CLAMPS, COUPLINGS, settle
from kafkalab.settings.foreign import FOREIGN, Foreign
from kafkalab.settings.forms import Approximate, Form, Value
from kafkalab.settings.knob import TITLES, Client, Knob
from kafkalab.settings.note import Kind, Note
from kafkalab.settings.table import KNOBS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping


class Translation(dict[str, Any]):
    """Settings in a client's names: a dict, with ``notes`` on what is lost or changed, and ``text`` to copy."""

    def __init__(self, client: Client, options: Mapping[str, Any], notes: Iterable[Note]) -> None:
        super().__init__(options)
        self.client = client
        self.notes = tuple(notes)

    @property
    def text(self) -> str:
        """The settings as a Python dict, the lines of a ``.properties`` file, or lines of Go."""
        return clients.render(self.client, self)

    def __reduce__(self) -> tuple[type, tuple[Client, dict[str, Any], tuple[Note, ...]]]:
        return type(self), (self.client, dict(self), self.notes)


@dataclass(slots=True)
class Reading:
    """What a client's settings say: values of knobs, which of them were given, what only that client has, and notes."""

    client: Client
    chosen: dict[str, Value] = field(default_factory=dict)
    elsewhere: dict[str, Value] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    given: set[str] = field(default_factory=set)

    def note(self, name: str, kind: Kind, text: str) -> None:
        """Add a note, unless there is nothing to say."""
        if text:
            self.notes.append(Note(name, kind, text))


def read(client: Client, given: Mapping[str, tuple[object, str]]) -> Reading:
    """Read settings: each name's value, and where it was given.

    What is not given has that client's default, so the result works as that client would.

    Raises
    ------
    ConfigError
        A name is unknown, or a value is not one of its setting.
    """
    reading = Reading(client)
    for name, (raw, origin) in given.items():
        found = clients.find(client, name, origin)
        if isinstance(found, str):
            reading.note(name, "left out", found)
        else:
            _take(reading, found, name, raw, origin)
    reading.given = set(reading.chosen)
    _fill(reading)
    reading.chosen, moved = settle(reading.chosen, reading.given, CLAMPS if client == "librdkafka" else COUPLINGS)
    for name, why in moved.items():
        reading.note(name, "adjusted", f"{KNOBS[name].shown(reading.chosen[name])} here, since {why}")
    return reading


def write(
    client: Client, values: Mapping[str, Value], elsewhere: Mapping[str, Value], given: Collection[str] = ()
) -> Translation:
    """Write what was given, and what differs from a client's defaults, so that it works there as here."""
    reading, options = Reading(client), dict[str, Any]()
    for name, knob in KNOBS.items():
        other = knob.counterpart(client)
        default = clients.default(client, knob, values)
        if not other.name and values[name] != (knob.default if default is None else default):
            reading.note(name, "no equivalent", knob.described(client))
        if other.name and (name in given or values[name] != default):
            _put(options, reading, other.name, knob.form(client), values[name])
            reading.note(other.name, "changes meaning", other.meaning)
            if values[name] == knob.default and default is not None:
                reading.note(other.name, "default differs", f"{TITLES[client]}'s own is {knob.shown(default)}")
    for name, value in elsewhere.items():
        if FOREIGN[name].client == client:
            _put(options, reading, name, FOREIGN[name].form, value)
        else:
            reading.note(name, "no equivalent", FOREIGN[name].why)
    return Translation(client, clients.completed(client, options), reading.notes)


def _put(options: dict[str, Any], reading: Reading, name: str, form: Form, value: Value) -> None:
    raw = form.write(value)
    if isinstance(raw, Approximate):
        reading.note(name, "no equivalent" if raw.value is None else "adjusted", raw.why)
        raw = raw.value
    if raw is not None:
        options[name] = raw


def _take(reading: Reading, found: Knob | Foreign, name: str, raw: object, origin: str) -> None:
    form = found.form(reading.client) if isinstance(found, Knob) else found.form
    raw = raw.reveal() if isinstance(raw, Secret) else raw
    value = _tried(lambda: form.read(raw), f"{origin}{name}")
    if isinstance(value, Approximate):
        reading.note(name, "adjusted", value.why)
        value = value.value
    if isinstance(found, Foreign):
        reading.note(name, "no equivalent", found.why)
        if value != found.default:
            reading.elsewhere[found.name] = value
        return
    reading.chosen[found.name] = _bounded(reading, found, value, f"{origin}{name}")
    reading.note(name, "changes meaning", found.counterpart(reading.client).meaning)


def _bounded(reading: Reading, knob: Knob, value: Value, where: str) -> Value:
    near, reason = knob.nearest(value)
    # Elsewhere a larger number, or zero, can be right; less than that is right nowhere.
    if reading.client != "librdkafka" and knob.minimum is not None and int(value) >= 0 and reason is not None:
        reading.note(knob.name, "adjusted", f"{knob.shown(value)} there, {knob.shown(near)} here: {reason}")
        return near
    if reason is not None:
        raise ConfigError(f"{where} cannot be {knob.shown(value)}: {reason}; the nearest is {near!r}")
    return value


def _tried(step: Callable[[], Value | Approximate], where: str) -> Any:
    try:
        return step()
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _fill(reading: Reading) -> None:
    for name, knob in KNOBS.items():
        if name in reading.chosen:
            continue
        default = clients.default(reading.client, knob, reading.chosen)
        reading.chosen[name] = knob.default if default is None else knob.nearest(default)[0]
        if default not in {None, knob.default}:
            own, here = f"{TITLES[reading.client]} takes {knob.shown(default)}", knob.shown(knob.default)
            follows = reading.client == "librdkafka"
            reading.note(name, "default differs", f"{own}, as others are" if follows else f"{own}, librdkafka {here}")
