"""Schemas by id, from a schema registry, through confluent-kafka's client."""

from __future__ import annotations

import difflib
import itertools
import re
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kafkalab import options as known
from kafkalab.errors import ConfigError, RegistryError, UnsupportedError
from kafkalab.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

_URL = re.compile(r"https?://[^/\s,]+\S*")
_NUMBERS = ("timeout", "max.retries", "retries.wait.ms", "retries.max.wait.ms")
_OPTIONS = (
    *_NUMBERS,
    "basic.auth.user.info",
    "bearer.auth.client.id",
    "bearer.auth.client.secret",
    "bearer.auth.credentials.source",
    "bearer.auth.identity.pool.id",
    "bearer.auth.issuer.endpoint.url",
    "bearer.auth.logical.cluster",
    "bearer.auth.scope",
    "bearer.auth.token",
    "proxy",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
)
_DEFAULTS = {"timeout": 10.0, "max.retries": 2, "retries.wait.ms": 200}
_MOST_REFERENCES = 1000
_NOT_FOUND = (40401, 40402, 40403)  # a subject, a version, a schema; a plain 404 is another server's
_REFUSED = (401, 403)


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
        Names and texts of the schemas that it refers to, those before that others refer to.
    """

    kind: str
    text: str
    references: tuple[tuple[str, str], ...] = ()


class Registry:
    """A schema registry that speaks Confluent's protocol.

    `kafkalab.connect` makes one of the options that begin with ``schema.registry.``, so that this is needed only for
    another one.

    Parameters
    ----------
    url : str
        ``"https://host:8081"``; several are separated by commas.
    config : mapping, optional
        Options by the names that confluent-kafka's ``SchemaRegistryClient`` has: ``basic.auth.user.info``,
        ``bearer.auth.token``, ``ssl.ca.location``, ``ssl.certificate.location``, ``ssl.key.location``, ``timeout`` and
        so on.

    Raises
    ------
    ConfigError
        The URL is none, or an option is unknown.

    Examples
    --------
    >>> Registry("http://user:hunter2@localhost:8081", config={"timeout": 5})
    <Registry http://localhost:8081>
    """

    def __init__(self, url: str | Secret, *, config: Mapping[str, Any] | None = None) -> None:
        self._url = url if isinstance(url, Secret) else Secret(str(url))
        del url  # from here on, a traceback that shows variables shows no password in it
        for part in self._url.reveal().split(","):
            if not _URL.fullmatch(part.strip()):
                raise ConfigError(f"schema.registry.url is not of the form https://host:8081: {_without_user(part)!r}")
        self._config = {name: _sealed(name, value) for name, value in (config or {}).items() if value is not None}
        for name in self._config:
            if name not in _OPTIONS:
                like = difflib.get_close_matches(name, _OPTIONS, 1)
                hint = f"did you mean {like[0]}?" if like else f"there are {', '.join(_OPTIONS)}"
                raise ConfigError(f"a schema registry has no option {name!r}: {hint}")
        self._lock = threading.Lock()
        self._client: SchemaRegistryClient | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Registry | None:
        """Return the registry that a connection's options name, if they name one."""
        given = known.of_registry(options)
        url = given.pop("url", None)
        if url is None:
            return None
        source = str(_plain(given.pop("basic.auth.credentials.source", "")) or "").upper()
        if source == "SASL_INHERIT" and "sasl.username" in options:
            user, password = (str(_plain(options.get(name, ""))) for name in ("sasl.username", "sasl.password"))
            given["basic.auth.user.info"] = Secret(f"{user}:{password}")
        return cls(url, config=given)

    @property
    def url(self) -> str:
        """Where it is, without a user and password."""
        return ",".join(_without_user(part.strip()) for part in self._url.reveal().split(","))

    def schema(self, schema_id: int) -> RegisteredSchema | None:
        """Return the schema with an id, or None where there is none.

        Raises
        ------
        RegistryError
            The registry does not answer, or refuses to.
        """
        found = self._ask(lambda client: client.get_schema(schema_id, fmt="serialized"))
        return None if found is None else self._whole(found)

    def _whole(self, schema: Schema) -> RegisteredSchema:
        """Return a schema with all that it refers to, however far."""
        found: dict[str, str] = {}
        left = deque(schema.references or ())
        for asked in itertools.count():
            if not left:
                break
            reference = left.popleft()
            if asked >= _MOST_REFERENCES:
                raise RegistryError(f"a schema in {self.url} refers to more than {_MOST_REFERENCES} others")
            got, name = self._ask(partial(_referenced, reference)), str(reference.name)
            if got is None:
                place = f"{reference.subject!r} version {reference.version}"
                raise RegistryError(f"a schema in {self.url} refers to {place}, which is not there")
            # One that is referred to again comes before what refers to it.
            found.pop(name, None)
            found[name] = got.schema_str or ""
            left.extend(got.references or ())
        return RegisteredSchema(schema.schema_type or "AVRO", schema.schema_str or "", tuple(reversed(found.items())))

    def _ask(self, question: Any) -> Any:
        from confluent_kafka.schema_registry.error import OAuthTokenError, SchemaRegistryError

        try:
            return question(self._opened())
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND:
                return None
            why = "refuses these credentials" if error.http_status_code in _REFUSED else "answers with an error"
            raise RegistryError(f"the schema registry at {self.url} {why}: {self._scrub(str(error))}") from None
        except (OSError, RuntimeError, ValueError, TypeError, OAuthTokenError) as error:
            raise self._unreachable(error) from None
        except Exception as error:
            if not isinstance(error, _transport_errors()):
                raise
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> RegistryError:
        # Not as a cause: its frames hold the client, with the passwords.
        text = self._scrub(f"{type(error).__name__}: {error}")
        return RegistryError(f"the schema registry at {self.url} cannot be asked: {text}")

    def _opened(self) -> SchemaRegistryClient:
        with self._lock:
            if self._client is None:
                self._client = _client_class()(self._client_options())
                weakref.finalize(self, self._client.close)
            return self._client

    def _client_options(self) -> dict[str, Any]:
        given = {name: _plain(value) for name, value in self._config.items()}
        given |= {name: float(given[name]) for name in _NUMBERS if name in given}
        if "bearer.auth.token" in given:
            given = {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.logical.cluster": "", **given}
        return {**_DEFAULTS, **given, "url": self._url.reveal()}

    def _scrub(self, text: str) -> str:
        secrets = {value.reveal() for value in self._config.values() if isinstance(value, Secret)}
        for url in self._url.reveal().split(","):
            secrets |= {urlsplit(url).username or "", urlsplit(url).password or ""}
        secrets |= {part for secret in secrets for part in secret.split(":")} - {""}
        for secret in sorted(secrets - {""}, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Registry) and (self._url, self._config) == (other._url, other._config)

    def __hash__(self) -> int:
        return hash((self._url, frozenset(self._config.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._url, self._config)

    def __repr__(self) -> str:
        return f"<Registry {self.url}>"


def _referenced(reference: SchemaReference, client: SchemaRegistryClient) -> Schema:
    version = 1 if reference.version is None else reference.version
    return client.get_version(str(reference.subject), version, deleted=True, fmt="serialized").schema


def _restored(url: Secret, config: Mapping[str, Any]) -> Registry:
    return Registry(url, config=config)


def _client_class() -> type[SchemaRegistryClient]:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        message = "a schema registry needs more of confluent-kafka: pip install 'kafkalab[registry]' brings it"
        raise UnsupportedError(message) from error
    return SchemaRegistryClient


def _transport_errors() -> tuple[type[Exception], ...]:
    from confluent_kafka.schema_registry.common._httpx_compat import httpx

    return (httpx.HTTPError, httpx.InvalidURL)


def _sealed(name: str, value: Any) -> Any:
    plain = str(_plain(value))
    return Secret(plain) if known.is_secret(name, plain) else plain


def _plain(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value


def _without_user(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
