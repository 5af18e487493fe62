"""A registry's options: which there are, which values they can have, and no password left in a URL."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kafkalab import options as known
from kafkalab.errors import ConfigError
from kafkalab.secret import Secret, revealed

if TYPE_CHECKING:
    from collections.abc import Mapping

_URL = re.compile(r"https?://[^/\s,]+\S*")
NUMBERS = {"timeout": 10.0, "max.retries": 2.0, "retries.wait.ms": 200.0, "retries.max.wait.ms": 20_000.0}
USER_INFO = "basic.auth.user.info"
_OPTIONS = (
    *NUMBERS,
    USER_INFO,
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
_MOST = 1e6  # of what an option or a header gives as a number; nan and inf are not below it


def apart(given: Secret) -> tuple[tuple[str, ...], Secret | None]:
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


def checked(urls: tuple[str, ...], given: Mapping[str, Any], user_info: Secret | None) -> dict[str, Any]:
    """Return the options with the secret ones sealed, each known to exist and to be possible.

    Raises
    ------
    ConfigError
        A URL is malformed, or an option is unknown or cannot have its value.
    """
    for url in urls or ("",):
        if not _URL.fullmatch(url):
            raise ConfigError(f"schema.registry.url is not of the form https://host:8081: {url!r}")
    config = {name: _sealed(name, value) for name, value in given.items() if value is not None}
    if user_info is not None and config.setdefault(USER_INFO, user_info) != user_info:
        raise ConfigError(f"schema.registry.url has a user and password, and so has {USER_INFO}: give one of them")
    for name, value in config.items():
        if name not in _OPTIONS:
            like = difflib.get_close_matches(name, _OPTIONS, 1)
            hint = f"did you mean {like[0]}?" if like else f"there are {', '.join(_OPTIONS)}"
            raise ConfigError(f"a schema registry has no option {name!r}: {hint}")
        if name in NUMBERS and not is_number(str(revealed(value))):
            raise ConfigError(f"{name} of a schema registry must be a number from 0 to 1,000,000, got {value!r}")
    if ":" not in str(revealed(config.get(USER_INFO, ":"))):
        raise ConfigError(f"{USER_INFO} of a schema registry must be of the form user:password")
    _check_tokens(config)
    return config


def _check_tokens(config: Mapping[str, Any]) -> None:
    token = str(revealed(config.get("bearer.auth.token", "")))
    if not (token.isascii() and token.isprintable()):
        raise ConfigError("bearer.auth.token of a schema registry must be printable ASCII")
    source = token_source(config)
    if source is not None and source not in _TOKEN_SOURCES:
        raise ConfigError(f"bearer.auth.credentials.source must be one of {', '.join(_TOKEN_SOURCES)}, got {source!r}")
    if missing := [name for name in _TOKEN_SOURCES.get(source or "", ()) if name not in config]:
        raise ConfigError(f"bearer.auth.credentials.source={source} needs {' and '.join(missing)}")


def token_source(config: Mapping[str, Any]) -> str | None:
    """Return where tokens come from, in capitals, or None where none are used."""
    default = "STATIC_TOKEN" if "bearer.auth.token" in config else None
    source = revealed(config.get("bearer.auth.credentials.source", default))
    return None if source is None else str(source).upper()


def is_number(text: str) -> bool:
    """Tell whether a text is a number from 0 to a million."""
    try:
        return 0 <= float(text) <= _MOST
    except ValueError:
        return False


def _sealed(name: str, value: Any) -> Any:
    plain = str(revealed(value))
    return Secret(plain) if known.is_secret(name, plain) else plain
