"""Schemas by id, from a schema registry that speaks Confluent's protocol."""

from __future__ import annotations

import base64
import difflib
import email.utils
import functools
import math
import os
import re
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

from kafkalab import options as known
from kafkalab.decode.http import MOST_BYTES, Answer, Request, ask, basic
from kafkalab.errors import ConfigError, RegistryError
from kafkalab.secret import Secret, revealed, scrub
from kafkalab.text import safe, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_URL = re.compile(r"https?://[^/\s,]+\S*")
_NUMBERS = {"timeout": 10.0, "max.retries": 2.0, "retries.wait.ms": 200.0, "retries.max.wait.ms": 20_000.0}
_USER_INFO = "basic.auth.user.info"
_OPTIONS = (
    *_NUMBERS,
    _USER_INFO,
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
_TOKEN_SOURCES = {
    "STATIC_TOKEN": ("bearer.auth.token",),
    "OAUTHBEARER": ("bearer.auth.client.id", "bearer.auth.client.secret", "bearer.auth.issuer.endpoint.url"),
    "OAUTHBEARER_AZURE_IMDS": ("bearer.auth.issuer.endpoint.url",),
}
_ACCEPT = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json"
_MOST_REFERENCES = 1000
_NOT_FOUND = (40401, 40402, 40403)  # a subject, a version, a schema; a plain 404 is another server's
_OK, _NO_SUCH = 200, 404
_REFUSED = (401, 403)
_MOVED = (301, 302, 303, 307, 308)
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
_MOST = 1e6  # of what an option or a header gives as a number; nan and inf are not below it
_RENEWED_AT = 0.8  # of a token's lifetime


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
        self._urls, user_info = _apart(given)
        for part in self._urls:
            if not _URL.fullmatch(part):
                raise ConfigError(f"schema.registry.url is not of the form https://host:8081: {part!r}")
        self._config = {name: _sealed(name, value) for name, value in (config or {}).items() if value is not None}
        if user_info is not None and self._config.setdefault(_USER_INFO, user_info) != user_info:
            raise ConfigError(f"schema.registry.url has a user and password, and so has {_USER_INFO}: give one of them")
        _check(self._config)
        self._token: tuple[Secret, float] | None = None

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
            given[_USER_INFO] = Secret(f"{user}:{password}")
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
                if len(asked) > _MOST_REFERENCES or size > MOST_BYTES:
                    bound = f"{_MOST_REFERENCES} others, or {MOST_BYTES >> 20} MiB"
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
        answer = self._answer(path)
        if isinstance(answer, str):
            raise RegistryError(f"the schema registry at {self.url} {answer}")
        if answer.status == _NO_SUCH:
            return None
        entry = _read(answer)
        if entry is None:
            raise RegistryError(f"the schema registry at {self.url} answers something else than a schema: is it one?")
        if entry.is_text_of_protobuf:
            # Some registries answer 400 or 500 to this question: they have the text only.
            question = f"{path}{'&' if '?' in path else '?'}format=serialized"
            answer = self._ask(question, time.monotonic() + self._number("timeout"))
            if isinstance(answer, Answer) and answer.status == _OK:
                return _read(answer) or entry
        return entry

    def _answer(self, path: str) -> Answer | str:
        """Return a schema, or the answer that there is none, or why neither came: tries again, for a bounded time."""
        timeout, retries = self._number("timeout"), int(self._number("max.retries"))
        deadline = time.monotonic() + timeout * (retries + 1)
        wait, most = self._number("retries.wait.ms") / 1000, self._number("retries.max.wait.ms") / 1000
        answer: Answer | str = ""
        for attempt in range(retries + 1):
            answer = self._ask(path, min(time.monotonic() + timeout, deadline))
            if isinstance(answer, Answer):
                if answer.status == _OK or (answer.status == _NO_SUCH and _code(answer) in _NOT_FOUND):
                    return answer
                if answer.status not in _TRY_AGAIN:
                    break
            pause = max(min(wait * 2**attempt, most), _asked_pause(answer))
            if attempt == retries or time.monotonic() + pause > deadline:
                break
            _rest(pause)
        return f"cannot be asked: {self._shown(answer)}" if isinstance(answer, str) else self._complaint(answer)

    def _ask(self, path: str, deadline: float) -> Answer | str:
        """Return the first answer that one of the servers gives, or why the last gave none."""
        headers = self._headers(deadline)
        if isinstance(headers, str):
            return headers
        answer: Answer | str = ""
        for url in self._urls:
            request = Request(f"{url.rstrip('/')}/{path}", headers)
            answer = ask(request, deadline, trust=self._trust, proxy=self._secret("proxy"))
            if isinstance(answer, Answer) and answer.status not in _TRY_AGAIN:
                break
        return answer

    def _headers(self, deadline: float) -> dict[str, str | Secret] | str:
        headers: dict[str, str | Secret] = {"Accept": _ACCEPT}
        source = _token_source(self._config)
        if source is None:
            if (user_info := self._secret(_USER_INFO)) is not None:
                user, _, password = user_info.reveal().partition(":")
                headers["Authorization"] = basic(user, password)
            return headers
        token = self._bearer(source, deadline)
        if isinstance(token, str):
            return token
        headers["Authorization"] = Secret(f"Bearer {token.reveal()}")
        for header, name in (
            ("target-sr-cluster", "bearer.auth.logical.cluster"),
            ("Confluent-Identity-Pool-Id", "bearer.auth.identity.pool.id"),
        ):
            if name in self._config:
                headers[header] = str(revealed(self._config[name]))
        return headers

    def _bearer(self, source: str, deadline: float) -> Secret | str:
        """Return a token, or why there is none."""
        if source == "STATIC_TOKEN":
            return Secret(str(revealed(self._config["bearer.auth.token"])))
        if self._token is None or time.monotonic() > self._token[1]:
            answer = ask(self._token_request(source), deadline, trust=self._trust, proxy=self._secret("proxy"))
            if isinstance(answer, str):
                return f"no token can be had: {answer}"
            self._token = _token(answer)
            if self._token is None:
                return f"no token can be had: the token endpoint {self._complaint(answer)}"
        return self._token[0]

    def _token_request(self, source: str) -> Request:
        endpoint = str(revealed(self._config["bearer.auth.issuer.endpoint.url"]))
        if source != "OAUTHBEARER":
            return Request(endpoint, {"Metadata": "true"})
        user, password = (str(revealed(self._config[f"bearer.auth.client.{name}"])) for name in ("id", "secret"))
        asked = {"grant_type": "client_credentials", "scope": revealed(self._config.get("bearer.auth.scope", ""))}
        headers: dict[str, str | Secret] = {"Content-Type": "application/x-www-form-urlencoded"}
        headers["Authorization"] = basic(user, password)
        return Request(endpoint, headers, Secret(urlencode({name: text for name, text in asked.items() if text})))

    def _complaint(self, answer: Answer) -> str:
        """Return what an answer that is not a schema says."""
        if answer.status in _MOVED:
            place = self._shown(re.sub("//.*@", "//", answer.headers.get("location", "nowhere")))
            return f"redirects (HTTP {answer.status}) to {place}: give that address instead"
        content = answer.json()
        text = content.get("message") if isinstance(content, dict) else None
        said = self._shown(text if isinstance(text, str) else answer.body.decode(errors="replace"))
        why = "refuses these credentials" if answer.status in _REFUSED else "answers with an error"
        return f"{why}: {said or 'no text'} (HTTP {answer.status})"

    def _shown(self, text: str) -> str:
        return shortened(safe(scrub(text, self._secrets())))

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        authority = self._text("ssl.ca.location")
        folder = authority if authority and Path(authority).is_dir() else None
        context = ssl.create_default_context(cafile=None if folder else authority, capath=folder)
        if authority is None and not os.environ.keys() & {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
            _trust_certifi(context)
        certificate, key = self._text("ssl.certificate.location"), self._text("ssl.key.location")
        if certificate is not None:
            password = self._secret("ssl.key.password")
            context.load_cert_chain(certificate, key, None if password is None else password.reveal)
        return context

    def _trust(self) -> ssl.SSLContext:
        return self._context

    def _text(self, name: str) -> str | None:
        value = revealed(self._config.get(name))
        return None if value is None else str(value)

    def _secret(self, name: str) -> Secret | None:
        value = self._text(name)
        return None if value is None else Secret(value)

    def _number(self, name: str) -> float:
        return float(revealed(self._config.get(name, _NUMBERS[name])))

    def _secrets(self) -> Iterator[str]:
        """Yield each text that no error may show, also as it goes over the wire."""
        for name, value in self._config.items():
            if isinstance(value, Secret):
                yield value.reveal()
            if name == _USER_INFO:
                user, _, password = str(revealed(value)).partition(":")
                yield password
                yield basic(user, password).reveal().removeprefix("Basic ")
        if self._token is not None:
            yield self._token[0].reveal()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Registry) and (self._urls, self._config) == (other._urls, other._config)

    def __hash__(self) -> int:
        return hash((self.url, frozenset(self._config.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.url, self._config)

    def __repr__(self) -> str:
        return f"<Registry {self.url}>"


def _apart(given: Secret) -> tuple[tuple[str, ...], Secret | None]:
    """Return URLs without user and password, and the first of these; a password may hold any character."""
    urls, user_info = [], None
    for part in re.split(r",\s*(?=https?://)|,\s*\Z", given.reveal().strip()):
        scheme, mark, rest = part.rpartition("@")[0].partition("://")
        if not mark:
            urls.append(part.strip())
            continue
        user, _, password = rest.partition(":")
        user_info = user_info or Secret(f"{unquote(user)}:{unquote(password)}")
        urls.append(f"{scheme}://{part.rpartition('@')[2]}".strip())
    return tuple(url for url in urls if url), user_info


def _check(config: Mapping[str, Any]) -> None:
    for name, value in config.items():
        if name not in _OPTIONS:
            like = difflib.get_close_matches(name, _OPTIONS, 1)
            hint = f"did you mean {like[0]}?" if like else f"there are {', '.join(_OPTIONS)}"
            raise ConfigError(f"a schema registry has no option {name!r}: {hint}")
        if name in _NUMBERS and not _is_number(str(revealed(value))):
            raise ConfigError(f"{name} of a schema registry must be a number from 0 to 1,000,000, got {value!r}")
    if ":" not in str(revealed(config.get(_USER_INFO, ":"))):
        raise ConfigError(f"{_USER_INFO} of a schema registry must be of the form user:password")
    token = str(revealed(config.get("bearer.auth.token", "")))
    if not (token.isascii() and token.isprintable()):
        raise ConfigError("bearer.auth.token of a schema registry must be printable ASCII")
    source = _token_source(config)
    if source is not None and source not in _TOKEN_SOURCES:
        raise ConfigError(f"bearer.auth.credentials.source must be one of {', '.join(_TOKEN_SOURCES)}, got {source!r}")
    if missing := [name for name in _TOKEN_SOURCES.get(source or "", ()) if name not in config]:
        raise ConfigError(f"bearer.auth.credentials.source={source} needs {' and '.join(missing)}")


def _token_source(config: Mapping[str, Any]) -> str | None:
    default = "STATIC_TOKEN" if "bearer.auth.token" in config else None
    source = revealed(config.get("bearer.auth.credentials.source", default))
    return None if source is None else str(source).upper()


def _is_number(text: str) -> bool:
    try:
        return 0 <= float(text) <= _MOST
    except ValueError:
        return False


def _read(answer: Answer) -> _Entry | None:
    try:
        return _Entry.of(answer.json())
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _token(answer: Answer) -> tuple[Secret, float] | None:
    """Return the token that an endpoint has sent, and when it is to be renewed."""
    content = answer.json()
    if answer.status != _OK or not isinstance(content, dict) or not isinstance(content.get("access_token"), str):
        return None
    lifetime = str(content.get("expires_in"))
    seconds = float(lifetime) if _is_number(lifetime) else math.inf
    return Secret(content["access_token"]), time.monotonic() + seconds * _RENEWED_AT


def _code(answer: Answer) -> object:
    content = answer.json()
    return content.get("error_code") if isinstance(content, dict) else None


def _asked_pause(answer: Answer | str) -> float:
    """Return how many seconds a server asks to wait (Retry-After)."""
    text = "" if isinstance(answer, str) else answer.headers.get("retry-after", "")
    if _is_number(text):
        return float(text)
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time() if text else 0.0
    except (ValueError, OverflowError):
        return 0.0


def _rest(seconds: float) -> None:
    try:
        SimpleQueue[None]().get(timeout=seconds)
    except Empty:
        return


def _trust_certifi(context: ssl.SSLContext) -> None:
    try:
        import certifi
    except ImportError:
        return  # the system's authorities will do
    context.load_verify_locations(certifi.where())


def _restored(url: str, config: Mapping[str, Any]) -> Registry:
    return Registry(url, config=config)


def _sealed(name: str, value: Any) -> Any:
    plain = str(revealed(value))
    return Secret(plain) if known.is_secret(name, plain) else plain
