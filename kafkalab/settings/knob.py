"""What is known about one setting: bounds, unit, effect, and its names elsewhere."""

from __future__ import annotations

import difflib
import operator
from dataclasses import dataclass, field
from typing import Any, Literal, SupportsIndex, TypeAlias

from kafkalab.errors import ConfigError
from kafkalab.settings.forms import BOOL, INT, LIST, TEXT, Form, Value
from kafkalab.units import format_quantity

Client: TypeAlias = Literal["librdkafka", "java", "sarama"]
TITLES: dict[Client, str] = {"librdkafka": "librdkafka", "java": "Java", "sarama": "sarama"}
CLIENTS = tuple(TITLES)


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A setting in another client: its name, or none; the value it has if unset; what else it means there."""

    name: str = ""
    default: Value | None = None
    meaning: str = ""
    form: Form | None = None


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Knob:
    """One setting of a consumer.

    Parameters
    ----------
    name : str
        Its name here: the field of `ConsumerSettings`.
    default : bool, int or str
        librdkafka's default.
    unit : str
        ``"bytes"``, ``"KiB"``, ``"ms"``, ``"messages"``, or nothing.
    minimum, maximum : int, optional
        The bounds of a number.
    choices : tuple
        All values of what is no number, where there are only so many.
    effect : str
        What it does.
    interacts : tuple of str
        The settings to look at with it.
    librdkafka, java, sarama : Counterpart
        What stands for it there.
    """

    name: str = ""
    default: Value
    unit: str = ""
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[Value, ...] = ()
    effect: str
    interacts: tuple[str, ...] = ()
    librdkafka: Counterpart
    java: Counterpart = Counterpart()
    sarama: Counterpart = Counterpart()

    def counterpart(self, client: Client) -> Counterpart:
        """Return what stands for it in a client."""
        found: Counterpart = getattr(self, client)
        return found

    def form(self, client: Client) -> Form:
        """Return how a client writes its values."""
        kinds = {bool: BOOL, int: INT, str: TEXT}
        return self.counterpart(client).form or kinds[type(self.default)]

    def shown(self, value: object) -> str:
        """Write a value with its unit."""
        if isinstance(value, bool):
            return str(value).lower()
        return format_quantity(value, self.unit) if isinstance(value, int) else repr(value)

    def checked(self, value: object) -> Value:
        """Return the value as a plain int, bool or str.

        Raises
        ------
        ConfigError
            It is of another type, or out of bounds; the message has the nearest allowed value.
        """
        plain = self._plain(value)
        near, reason = self.nearest(plain)
        if reason is not None:
            raise ConfigError(f"{self.name} cannot be {self.shown(plain)}: {reason}; the nearest is {near!r}")
        return plain

    def nearest(self, value: Value) -> tuple[Value, str | None]:
        """Return the allowed value nearest to one, and why that is not the value itself."""
        if self.librdkafka.form is LIST:
            return _list(str(value))
        if self.choices:
            return (value, None) if value in self.choices else (self._likest(value), self._bounds())
        if not isinstance(value, int) or self.minimum is None or self.maximum is None:
            return value, None
        near = min(max(value, self.minimum), self.maximum)
        return (value, None) if near == value else (near, self._bounds())

    def _plain(self, value: object) -> Value:
        plain: Value | None = None
        if type(self.default) is not int:
            plain = value if isinstance(value, bool | str) and type(value) is type(self.default) else None
        elif not isinstance(value, bool) and isinstance(value, int | SupportsIndex):
            plain = operator.index(value)  # numpy's integers too; asking for int first is fast
        if plain is None:
            kind = {bool: "True or False", int: "a whole number", str: "text"}[type(self.default)]
            raise ConfigError(f"{self.name} is {value!r}: it has to be {kind}{self._counted()}")
        if isinstance(plain, str) and not plain.isprintable():
            raise ConfigError(f"{self.name} is {plain!r}: it has to be printable text")
        return plain

    def _counted(self) -> str:
        return f", in {self.unit}" if self.unit else ""

    def _likest(self, value: Value) -> Value:
        like = difflib.get_close_matches(str(value), [str(choice) for choice in self.choices], 1, 0)
        return next(choice for choice in self.choices if str(choice) == like[0])

    def _bounds(self) -> str:
        if self.choices == (False,):
            return "it is always false here: asking for a mistyped name would create the topic"
        if self.choices:
            return f"it is one of {', '.join(map(repr, self.choices))}"
        return f"librdkafka takes {self.minimum:,} to {self.maximum:,}{self._counted()}"

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        value = f"{self.default!r}" if not self.unit else f"{self.default!r} ({self.shown(self.default)})"
        limits = "" if self.minimum is None else f", {self.minimum:,} to {self.maximum:,}{self._counted()}"
        limits = (
            f", one of {', '.join(map(repr, self.choices))}"
            if isinstance(self.default, str) and self.choices
            else limits
        )
        return [
            self.name,
            f"  {self.effect}",
            f"  default      {value}{limits}",
            *(f"  {TITLES[client]:12} {self.described(client)}" for client in CLIENTS),
            *([f"  see also     {', '.join(self.interacts)}"] if self.interacts else []),
        ]

    def described(self, client: Client) -> str:
        """Say in a line what stands for it in a client: its name, its default, what it means."""
        other = self.counterpart(client)
        default = "" if other.default is None else self._written(client, other.default)
        if not other.name:
            return "; ".join(filter(None, (f"always {default}" if default else "none", other.meaning)))
        return "; ".join(filter(None, (f"{other.name} ({default})" if default else other.name, other.meaning)))

    def _written(self, client: Client, value: Value) -> str:
        written = self.form(client).write(value) if self.counterpart(client).name else value
        if isinstance(written, list):
            return ", ".join(written)
        return self.shown(value) if type(written) is int else self.shown(written).strip("'") or "empty"


def _list(value: str) -> tuple[str, str | None]:
    names = [name for name in value.split(",") if name]
    known = [name for name in names if name in {"range", "roundrobin"}] or ["cooperative-sticky"]
    near = ",".join(known)
    why = "librdkafka has 'range', 'roundrobin', or 'cooperative-sticky' by itself, separated by commas"
    return (value, None) if near == value else (near, why)


def knob(  # the body of a field, so that each setting is written once
    default: Value,
    bounds: tuple[int, int] | None = None,
    unit: str = "",
    *,
    choices: tuple[Value, ...] = (),
    effect: str,
    librdkafka: str,
    java: Counterpart | None = None,
    sarama: Counterpart | None = None,
    form: Form | None = None,
    interacts: str = "",
) -> Any:
    """Return the dataclass field of a setting, with what is known about it as metadata."""
    minimum, maximum = bounds or (None, None)
    known = Knob(
        default=default,
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        choices=choices or ((False, True) if isinstance(default, bool) else ()),
        effect=effect,
        interacts=tuple(interacts.split()),
        librdkafka=Counterpart(librdkafka, default, form=form),
        java=java or Counterpart(),
        sarama=sarama or Counterpart(),
    )
    return field(default=default, metadata={"knob": known})
