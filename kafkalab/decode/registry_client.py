"""A registry's answers over HTTP: with a login, tried again for a bounded time, and told plainly when they fail."""

from __future__ import annotations

import email.utils
import functools
import math
import os
import re
import ssl
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from kafkalab.decode.http import Answer, Request, ask, basic
from kafkalab.decode.registry_options import NUMBERS, USER_INFO, is_number, token_source
from kafkalab.errors import RegistryError
from kafkalab.secret import Secret, revealed, scrub
from kafkalab.text import safe, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ACCEPT = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json"
_NOT_FOUND = (40401, 40402, 40403)  # a subject, a version, a schema; a plain 404 is another server's
_OK, _NO_SUCH = 200, 404
_REFUSED = (401, 403)
_MOVED = (301, 302, 303, 307, 308)
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
_RENEWED_AT = 0.8  # of a token's lifetime


class Client:
    """Asks the servers of one registry.

    Parameters
    ----------
    urls : tuple of str
        Where they are, without a user and password.
    config : mapping
        The options, which are known to be possible.
    """

    def __init__(self, urls: tuple[str, ...], config: Mapping[str, Any]) -> None:
        self._urls = urls
        self._config = config
        self._token: tuple[Secret, float] | None = None

    def get(self, path: str) -> Any:
        """Return the content at a path, or None where there is no such schema.

        Raises
        ------
        RegistryError
            No server answers in time, or the answer is none.
        """
        answer = self._answer(path)
        if isinstance(answer, str):
            raise RegistryError(f"the schema registry at {','.join(self._urls)} {answer}")
        # What is not JSON is not a schema either.
        return None if answer.status == _NO_SUCH else (answer.json() or {})

    def get_once(self, path: str) -> Any:
        """Return the content at a path, or None where the servers have none, for whatever reason."""
        answer = self._ask(path, time.monotonic() + self._number("timeout"))
        return answer.json() if isinstance(answer, Answer) and answer.status == _OK else None

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
        source = token_source(self._config)
        if source is None:
            if (user_info := self._secret(USER_INFO)) is not None:
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
        return float(revealed(self._config.get(name, NUMBERS[name])))

    def _secrets(self) -> Iterator[str]:
        """Yield each text that no error may show, also as it goes over the wire."""
        for name, value in self._config.items():
            if isinstance(value, Secret):
                yield value.reveal()
            if name == USER_INFO:
                user, _, password = str(revealed(value)).partition(":")
                yield password
                yield basic(user, password).reveal().removeprefix("Basic ")
        if self._token is not None:
            yield self._token[0].reveal()


def _token(answer: Answer) -> tuple[Secret, float] | None:
    """Return the token that an endpoint has sent, and when it is to be renewed."""
    content = answer.json()
    if answer.status != _OK or not isinstance(content, dict) or not isinstance(content.get("access_token"), str):
        return None
    lifetime = str(content.get("expires_in"))
    seconds = float(lifetime) if is_number(lifetime) else math.inf
    return Secret(content["access_token"]), time.monotonic() + seconds * _RENEWED_AT


def _code(answer: Answer) -> object:
    content = answer.json()
    return content.get("error_code") if isinstance(content, dict) else None


def _asked_pause(answer: Answer | str) -> float:
    """Return how many seconds a server asks to wait (Retry-After)."""
    text = "" if isinstance(answer, str) else answer.headers.get("retry-after", "")
    if is_number(text):
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
