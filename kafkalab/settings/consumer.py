"""`ConsumerSettings`: what a consumer is tuned with, checked, and translated."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from kafkalab.errors import ArgumentError, ConfigError, did_you_mean
from kafkalab.properties import read_properties
from kafkalab.settings import clients, couplings, golang
from kafkalab.settings.foreign import FOREIGN, Foreign
from kafkalab.settings.presets import ARTICLE, PREFETCH, PRESETS
from kafkalab.settings.table import KNOBS, Knobs
from kafkalab.settings.translation import Translation, read, write

if TYPE_CHECKING:
    import os

    import pandas as pd

    from kafkalab.settings.forms import Value
    from kafkalab.settings.knob import Client, Knob
    from kafkalab.settings.note import Note


_Settings = TypeVar("_Settings", bound="ConsumerSettings")


def _noting_what_is_given(made: type[_Settings]) -> type[_Settings]:
    """Have a class keep which settings it is made with: a value that equals its default is a choice as well."""
    plain: Any = made.__init__

    @functools.wraps(plain)
    def init(self: _Settings, *args: Any, **values: Any) -> None:
        plain(self, *args, **{"given": KNOBS.keys() & values.keys(), **values})

    made.__init__ = init  # type: ignore[method-assign, assignment]  # it wraps the one that dataclass made
    return made


@_noting_what_is_given
@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class ConsumerSettings(Knobs):
    """The settings a consumer is tuned with: each once, checked, and in everyone's names.

    Every setting is a keyword, named as in Java with its unit, such as ``fetch_min_bytes=131072``; `knobs` lists them,
    `explain` tells about one. What is not given has librdkafka's default. What belongs to the application is not here:
    how many workers, how deep a group's buffer, how many records a call returns. Nor is what says who a client is or
    how it gets in; that is for ``connect(config=...)``.

    Parameters
    ----------
    elsewhere : tuple of pairs of name and value, or mapping
        What only Java or only sarama has, by its name there. It does nothing here, and is there on the way back.
    notes : tuple of Note
        What a translation had to say: what has no equivalent, what changes meaning, which defaults differ.
    given : collection of str
        Which settings were chosen, their defaults too: those that are keywords here, unless told otherwise.

    Raises
    ------
    ConfigError
        A value is out of bounds, or contradicts another. The message says why, and the nearest that is allowed.

    Examples
    --------
    >>> settings = ConsumerSettings(fetch_min_bytes=131072, fetch_max_wait_ms=1000)
    >>> settings.to_librdkafka()
    {'fetch.min.bytes': 131072, 'fetch.wait.max.ms': 1000}
    >>> settings.replace(max_poll_interval_ms=6000)
    Traceback (most recent call last):
    kafkalab.errors.ConfigError: session_timeout_ms is 45 s, and max_poll_interval_ms is 6 s: a member that polls in
    time must not be taken for dead first; librdkafka refuses it. Give session_timeout_ms at most 6000 or
    max_poll_interval_ms at least 45000
    >>> settings.nearest("max_poll_interval_ms", 6000)[0]
    45000
    """

    elsewhere: tuple[tuple[str, Value], ...] = ()
    notes: tuple[Note, ...] = field(default=(), compare=False)
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        for name, knob in KNOBS.items():
            object.__setattr__(self, name, knob.checked(getattr(self, name)))
        object.__setattr__(self, "given", frozenset(self.given))
        object.__setattr__(self, "elsewhere", tuple(sorted(_elsewhere(dict(self.elsewhere)).items())))
        couplings.check(self.values())

    @classmethod
    def from_librdkafka(cls, config: Mapping[str, Any]) -> Self:
        """Take settings by librdkafka's names, as confluent-kafka has them.

        Parameters
        ----------
        config : mapping
            Settings only: an option that is not tuned here belongs in ``connect(config=...)`` and is refused.

        Raises
        ------
        ConfigError
            A name is unknown or no setting, or a value is out of bounds or contradicts another.

        Examples
        --------
        >>> ConsumerSettings.from_librdkafka({"fetch.wait.max.ms": "100", "queued.max.messages.kbytes": 16384})
        ConsumerSettings(fetch_max_wait_ms=100, fetch_max_bytes=16777216, queued_max_messages_kbytes=16384)
        """
        return cls._read("librdkafka", {str(name): (value, "") for name, value in config.items()})

    @classmethod
    def from_java(cls, config: Mapping[str, Any] | str | os.PathLike[str]) -> Self:
        """Take settings by Java's names, or from a ``.properties`` file.

        What is not given has Java's default, so the result works as the Java consumer does; `notes` has where that
        differs from librdkafka's. What says how to get in is left out, and never kept.

        Parameters
        ----------
        config : mapping or path
            A consumer's properties.

        Raises
        ------
        ConfigError
            The file cannot be read, a name is unknown, or a value cannot be.

        Examples
        --------
        >>> settings = ConsumerSettings.from_java({"fetch.min.bytes": "1024", "max.poll.records": 2000})
        >>> settings.fetch_min_bytes, settings.isolation_level
        (1024, 'read_uncommitted')
        >>> [str(note) for note in settings.notes if note.name == "max.poll.records"]
        ['max.poll.records (no equivalent): it limits one poll(); here the caller of consume() says how many']
        """
        if isinstance(config, Mapping):
            return cls._read("java", {str(name): (value, "") for name, value in config.items()})
        entries = read_properties(Path(config))
        known = {
            name for name in entries if not isinstance(clients.find("java", name, f"{entries[name].origin}: "), str)
        }
        given = {name: (each.text if name in known else None, f"{each.origin}: ") for name, each in entries.items()}
        return cls._read("java", given)

    @classmethod
    def from_sarama(cls, config: Mapping[str, Any] | str) -> Self:
        """Take settings by sarama's names, of Go.

        What is not given has sarama's default, so the result works as the Go consumer does; `notes` has where that
        differs from librdkafka's, what has no equivalent, and what means something else.

        Parameters
        ----------
        config : mapping or str
            Nested, or with dots in the names; or lines of Go, ``config.Consumer.Fetch.Min = 128 * 1024``. A duration is
            ``"250ms"``, ``"1s"``, ``"2 * time.Minute"``, a timedelta, or nanoseconds as in Go.

        Raises
        ------
        ConfigError
            A name is unknown, or a value cannot be.

        Examples
        --------
        >>> settings = ConsumerSettings.from_sarama({"Consumer": {"MaxWaitTime": "1s", "Fetch": {"Max": 10 << 20}}})
        >>> settings.fetch_max_wait_ms, settings.auto_commit_interval_ms, settings.elsewhere
        (1000, 1000, (('Consumer.Fetch.Max', 10485760),))
        """
        pairs = golang.parse(config) if isinstance(config, str) else clients.flat(config)
        return cls._read("sarama", {name: (value, "") for name, value in pairs})

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return settings to begin with.

        Parameters
        ----------
        name : str
            ``"default"``, ``"latency"``, ``"throughput"``, ``"small-memory"``, or ``"article"``: a consumer group in
            Go, with all that sarama sets.

        Raises
        ------
        ArgumentError
            There is no such preset.

        Examples
        --------
        >>> ConsumerSettings.preset("latency").fetch_queue_backoff_ms
        1
        """
        if name == "article":
            settings = cls.from_sarama(ARTICLE)
            return settings.replace(notes=(*settings.notes, PREFETCH))
        if name not in PRESETS:
            raise ArgumentError(f"there is no preset {name!r}: {did_you_mean(name, [*PRESETS, 'article'])}")
        changes: dict[str, Any] = dict(PRESETS[name].changes)
        return cls(**changes)

    @classmethod
    def presets(cls) -> dict[str, str]:
        """Return the names of the presets, and what each is for."""
        return {name: each.purpose for name, each in PRESETS.items()} | {"article": "a consumer group in Go, on sarama"}

    @property
    def preset_name(self) -> str | None:
        """The name of the preset that these are, if they are one.

        Examples
        --------
        >>> ConsumerSettings.preset("latency").preset_name, ConsumerSettings(fetch_min_bytes=5).preset_name
        ('latency', None)
        """
        return next((name for name in self.presets() if self.preset(name) == self), None)

    @staticmethod
    def knobs() -> pd.DataFrame:
        """Return all settings as a frame.

        Returns
        -------
        pandas.DataFrame
            A row a setting: ``default``, ``unit``, ``min``, ``max``, ``librdkafka``, ``java``, ``sarama`` (name and
            default there, or what is nearest), ``effect``, ``interacts``; its name is the index.

        Examples
        --------
        >>> ConsumerSettings.knobs().loc["fetch_max_wait_ms", ["default", "unit", "max", "librdkafka"]].tolist()
        [500, 'ms', 300000, 'fetch.wait.max.ms']
        """
        import pandas as pd

        index = pd.Index(list(KNOBS), name="name")
        return pd.DataFrame([_row(knob) for knob in KNOBS.values()], index=index, dtype=object)

    @staticmethod
    def explain(name: str) -> Knob | Foreign:
        """Tell about a setting: its effect, default, bounds, its names elsewhere, what to look at with it.

        Parameters
        ----------
        name : str
            Its name here, in librdkafka, Java or sarama.

        Raises
        ------
        ConfigError
            There is no such setting; the message has the closest.

        Examples
        --------
        >>> ConsumerSettings.explain("fetch.wait.max.ms")
        fetch_max_wait_ms
          How long the broker may wait for fetch_min_bytes; the most that waiting adds to a record's delay.
          default      500 (500 ms), 0 to 300,000, in ms
          librdkafka   fetch.wait.max.ms (500 ms)
          Java         fetch.max.wait.ms (500 ms)
          sarama       Consumer.MaxWaitTime (500ms)
          see also     fetch_min_bytes, socket_timeout_ms
        """
        return clients.explained(name)

    def to_librdkafka(self) -> Translation:
        """Return what was given, and what else differs from librdkafka's defaults: a dict, with ``.notes``, ``.text``.

        Examples
        --------
        >>> ConsumerSettings(fetch_queue_backoff_ms=1000).to_librdkafka()
        {'fetch.queue.backoff.ms': 1000}
        """
        return write("librdkafka", self.values(), dict(self.elsewhere), self.given)

    def to_java(self) -> Translation:
        """Return what differs from the Java consumer's defaults, in its names: a dict, with ``.notes`` and ``.text``.

        Examples
        --------
        >>> print(ConsumerSettings(check_crcs=True).to_java().text.splitlines()[0])
        isolation.level=read_committed
        """
        return write("java", self.values(), dict(self.elsewhere))

    def to_sarama(self) -> Translation:
        """Return what differs from sarama's defaults, in its names: a dict, with ``.notes`` and ``.text``.

        Examples
        --------
        >>> print(ConsumerSettings(fetch_min_bytes=131072, fetch_max_wait_ms=1000).to_sarama().text)
        config.Consumer.Fetch.Min = 131072
        config.Consumer.MaxWaitTime = 1 * time.Second
        ...
        """
        return write("sarama", self.values(), dict(self.elsewhere))

    def values(self) -> dict[str, Value]:
        """Return all settings by name."""
        return {name: getattr(self, name) for name in KNOBS}

    def replace(self, **changes: Any) -> Self:
        """Return settings with some changed.

        Raises
        ------
        ConfigError
            A name is unknown, or the result cannot be; see `nearest`.
        """
        names = [each.name for each in fields(self)]
        for name in changes:
            if name not in names:
                raise ConfigError(f"there is no setting {name!r}: {did_you_mean(name, names)}")
        return replace(self, **{"given": self.given | (KNOBS.keys() & changes.keys()), **changes})

    @overload
    def nearest(self, name: str, value: bool) -> tuple[bool, str | None]: ...  # noqa: FBT001 - a value, not a switch
    @overload
    def nearest(self, name: str, value: int) -> tuple[int, str | None]: ...
    @overload
    def nearest(self, name: str, value: str) -> tuple[str, str | None]: ...
    def nearest(self, name: str, value: Value) -> tuple[Value, str | None]:
        """Return the value nearest to one that the bounds and the other settings allow.

        Parameters
        ----------
        name : str
            A setting.
        value : bool, int or str
            What somebody would like.

        Returns
        -------
        tuple
            The allowed value, and why it is not the asked one, or None.

        Examples
        --------
        >>> ConsumerSettings().nearest("max_partition_fetch_bytes", 64 << 20)
        (52428800, 'fetch_max_bytes is 50 MiB: an answer brings no more of one partition than of all')
        """
        if name not in KNOBS:
            raise ConfigError(f"there is no setting {name!r}: {did_you_mean(name, KNOBS)}")
        return couplings.nearest(name, value, self.values())

    @property
    def cautions(self) -> tuple[str, ...]:
        """What is allowed, but seldom works well."""
        return couplings.cautions(self.values())

    @property
    def changed(self) -> dict[str, Value]:
        """What differs from librdkafka's defaults, by the names here."""
        return {name: value for name, value in self.values().items() if value != KNOBS[name].default}

    @classmethod
    def _read(cls, client: Client, given: Mapping[str, tuple[object, str]]) -> Self:
        reading = read(client, given)
        values: dict[str, Any] = reading.chosen
        others: dict[str, Any] = {"notes": tuple(reading.notes), "given": frozenset(reading.given)}
        return cls(**values, elsewhere=tuple(reading.elsewhere.items()), **others)

    def __repr__(self) -> str:
        shown: dict[str, object] = {
            name: value for name, value in self.values().items() if name in self.given or name in self.changed
        }
        if self.elsewhere:
            shown["elsewhere"] = dict(self.elsewhere)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def _repr_html_(self) -> str:
        rows = [
            (name, KNOBS[name].shown(value), KNOBS[name].shown(KNOBS[name].default))
            for name, value in self.changed.items()
        ]
        rows += [(name, str(value), "not used here") for name, value in self.elsewhere]
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        said = "".join(f"<li>{html.escape(str(note))}</li>" for note in (*self.cautions, *self.notes))
        head = "<tr><th>setting</th><th>value</th><th>default</th></tr>"
        table = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>" if rows else "<p>librdkafka's defaults</p>"
        return table + (f"<details><summary>notes</summary><ul>{said}</ul></details>" if said else "")


def _row(knob: Knob) -> dict[str, object]:
    return {
        "default": knob.default,
        "unit": knob.unit,
        "min": knob.minimum,
        "max": knob.maximum,
        "librdkafka": knob.librdkafka.name,
        "java": knob.described("java"),
        "sarama": knob.described("sarama"),
        "effect": knob.effect,
        "interacts": ", ".join(knob.interacts),
    }


def _elsewhere(given: Mapping[str, object]) -> dict[str, Value]:
    if unknown := given.keys() - FOREIGN.keys():
        name = min(unknown)
        raise ConfigError(f"neither Java nor sarama alone has {name!r}: {did_you_mean(name, FOREIGN)}")
    checked = {name: FOREIGN[name].checked(value) for name, value in given.items()}
    return {name: value for name, value in checked.items() if value != FOREIGN[name].default}
