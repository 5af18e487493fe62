"""Schemas by id, from a schema registry that speaks Confluent's protocol."""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from kafkalab import options as known
from kafkalab.decode.registry_options import USER_INFO, apart, checked
from kafkalab.errors import RegistryError
from kafkalab.secret import Secret, revealed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafkalab.decode.registry_client import Client

_MOST_REFERENCES = 1000
_MOST_BYTES = 4 << 20  # of a schema and all that it refers to


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as its registry has it.

    Attributes
    ----------
    kind : str
        ``"AVRO"``, ``"PROTOBUF"`` or ``"JSON"``.
    text : str
        Itself; of Protobuf, mostly a serialized file descriptor in base64.
    references : tuple of (str, str)
        Names and texts of the schemas that it refers to. A schema comes before those that refer to it.
    """

    kind: str
    text: str
    references: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One answer of a registry: a schema, and where the ones are that it refers to."""

    kind: str
    text: str
    references: tuple[tuple[str, str], ...]
    """Their names and paths."""

    @classmethod
    def of(cls, content: Any) -> _Entry:
        """Check what a registry has sent.

        Raises
        ------
        TypeError, ValueError, KeyError
            It has another form.
        """
        kind, text = content.get("schemaType") or "AVRO", content["schema"]
        if not isinstance(kind, str) or not isinstance(text, str):
            raise TypeError
        return cls(kind, text, tuple(map(_reference, content.get("references") or ())))

    @property
    def is_text_of_protobuf(self) -> bool:
        """Whether it is a ``.proto`` file, and not its descriptor."""
        if self.kind != "PROTOBUF":
            return False
        try:
            base64.b64decode(self.text, validate=True)
        except ValueError:
            return True
        return False


def _reference(content: Any) -> tuple[str, str]:
    name, subject, version = content["name"], content["subject"], content.get("version") or 1
    if not isinstance(name, str) or not isinstance(subject, str):
        raise TypeError
    return name, f"subjects/{quote(subject, safe='')}/versions/{int(version)}?deleted=true"


class Registry:
    """A schema registry that speaks Confluent's protocol.

    `kafkalab.connect` makes one of the options that begin with ``schema.registry.``, so that this is needed only for
    another one.

    Parameters
    ----------
    url : str
        ``"https://host:8081"``; several are separated by commas. A user and password in front of the host
        (``"https://user:password@host"``) are taken out of it, up to the last ``@``.
    config : mapping, optional
        Options by the names that Confluent's clients have: ``basic.auth.user.info``, ``bearer.auth.token``,
        ``ssl.ca.location``, ``ssl.certificate.location``, ``ssl.key.location``, ``timeout`` (of one request, in
        seconds), ``max.retries`` and so on.

    Raises
    ------
    ConfigError
        The URL is malformed, or an option is unknown or cannot have its value.

    Examples
    --------
    >>> Registry("http://user:hunter2@localhost:8081", config={"timeout": 5})
    <Registry http://localhost:8081>
    """

    def __init__(self, url: str | Secret, *, config: Mapping[str, Any] | None = None) -> None:
        given = url if isinstance(url, Secret) else Secret(str(url))
        del url  # from here on, a traceback that shows variables shows no password in it
        self._urls, user_info = apart(given)
        self._config = checked(self._urls, config or {}, user_info)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Registry | None:
        """Return the registry that a connection's options name, if they name one."""
        given = known.of_registry(options)
        url = given.pop("url", None)
        if url is None:
            return None
        source = str(revealed(given.pop("basic.auth.credentials.source", "")) or "").upper()
        if source == "SASL_INHERIT" and "sasl.username" in options:
            user, password = (str(revealed(options.get(name, ""))) for name in ("sasl.username", "sasl.password"))
            given[USER_INFO] = Secret(f"{user}:{password}")
        return cls(url, config=given)

    @property
    def url(self) -> str:
        """Where it is, without a user and password."""
        return ",".join(self._urls)

    def schema(self, schema_id: int) -> RegisteredSchema | None:
        """Return the schema with an id, or None where there is none.

        Raises
        ------
        RegistryError
            The registry does not answer, or refuses to.
        """
        found = self._entry(f"schemas/ids/{schema_id}")
        return None if found is None else self._whole(found)

    def lacks(self, schema_id: int) -> str:
        """Return the error of a value whose schema is not there."""
        hint = "" if schema_id else ": an id of 8 bytes, as Apicurio's serializers write by default, is not supported"
        return f"schema id {schema_id} is not in the registry at {self.url}{hint}"

    def _whole(self, schema: _Entry) -> RegisteredSchema:
        """Return a schema with all that it refers to, however far: depth first, each once."""
        asked, texts, size = set[str](), dict[str, str](), len(schema.text)
        under_way = [("", schema, iter(schema.references))]
        while under_way:
            name, entry, left = under_way[-1]
            following = next(left, None)
            if following is None:
                texts[name] = entry.text
                under_way.pop()
            elif following[0] not in asked:
                asked.add(following[0])
                found = self._referenced(following[1])
                size += len(found.text)
                if len(asked) > _MOST_REFERENCES or size > _MOST_BYTES:
                    bound = f"{_MOST_REFERENCES} others, or {_MOST_BYTES >> 20} MiB"
                    raise RegistryError(f"a schema in {self.url} refers to more than {bound}")
                under_way.append((following[0], found, iter(found.references)))
        del texts[""]
        return RegisteredSchema(schema.kind, schema.text, tuple(texts.items()))

    def _referenced(self, path: str) -> _Entry:
        found = self._entry(path)
        if found is None:
            raise RegistryError(f"a schema in {self.url} refers to {unquote(path)}, which is not there")
        return found

    def _entry(self, path: str) -> _Entry | None:
        content = self._client.get(path)
        if content is None:
            return None
        entry = _read(content)
        if entry is None:
            raise RegistryError(f"the schema registry at {self.url} answers something else than a schema: is it one?")
        if entry.is_text_of_protobuf:
            # Some registries answer 400 or 500 to this question: they have the text only.
            return _read(self._client.get_once(f"{path}{'&' if '?' in path else '?'}format=serialized")) or entry
        return entry

    @functools.cached_property
    def _client(self) -> Client:
        from kafkalab.decode.registry_client import Client

        return Client(self._urls, self._config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Registry) and (self._urls, self._config) == (other._urls, other._config)

    def __hash__(self) -> int:
        return hash((self.url, frozenset(self._config.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.url, self._config)

    def __repr__(self) -> str:
        return f"<Registry {self.url}>"


def _read(content: Any) -> _Entry | None:
    try:
        return _Entry.of(content)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _restored(url: str, config: Mapping[str, Any]) -> Registry:
    return Registry(url, config=config)
