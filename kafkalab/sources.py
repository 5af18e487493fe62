"""The places a connection's settings stand in: arguments, a profile in a TOML file, the environment."""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kafkalab import options
from kafkalab.errors import ConfigError, KafkalabWarning
from kafkalab.properties import RENAMED, TRANSLATED, Setting, read_properties, to_librdkafka
from kafkalab.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "KAFKALAB_"
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_CONFIG_FILE, _PROFILE, _PROFILES = (_PREFIX + name for name in ("CONFIG_FILE", "PROFILE", "PROFILES"))


@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment says: options, and where to find more.

    Examples
    --------
    >>> environment = Environment.of({"KAFKALAB_SASL_PASSWORD": "x", "XDG_CONFIG_HOME": "/settings"})
    >>> environment.settings
    {'sasl.password': Setting(value=Secret('***'), origin='KAFKALAB_SASL_PASSWORD')}
    >>> environment.profiles.as_posix()
    '/settings/kafkalab/profiles.toml'
    """

    settings: dict[str, Setting]
    config_file: str | None
    profile: str | None
    profiles: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Environment:
        """Pick out what is kafkalab's; an empty variable counts as none."""
        own = {name: value for name, value in environ.items() if name.startswith(_PREFIX) and value}
        config_file, profile, profiles = (own.pop(name, None) for name in (_CONFIG_FILE, _PROFILE, _PROFILES))
        folder = environ.get("XDG_CONFIG_HOME") or "~/.config"
        settings = {
            name.removeprefix(_PREFIX).lower().replace("_", "."): Setting(Secret(value), name)
            for name, value in own.items()
        }
        path = Path(profiles or f"{folder}/kafkalab/profiles.toml").expanduser()
        return cls(settings, config_file, profile, path)


def seal(value: object) -> object:
    """Return a setting's value as a `Secret`, unless it is one, or a callback."""
    if isinstance(value, bool):
        return Secret(str(value).lower())
    if isinstance(value, list | tuple):
        return Secret(",".join(map(str, value)))
    return Secret(str(value)) if isinstance(value, str | int | float) else value


def sealed(settings: Mapping[str, Any], origin: str) -> dict[str, Setting]:
    """Return settings with every text hidden; those that are None are left out."""
    return {str(name): Setting(seal(value), origin) for name, value in settings.items() if value is not None}


def read_profile(name: str, path: Path) -> dict[str, Setting]:
    """Return the settings of one profile.

    Raises
    ------
    ConfigError
        The file or the profile is not there, or is not what it should be.
    """
    profiles = _read_toml(path)
    if name not in profiles:
        like = difflib.get_close_matches(name, profiles, 1)
        raise ConfigError(
            f"there is no profile {name!r} in {path}: it has {', '.join(map(repr, profiles)) or 'none'}"
            + "".join(f"; did you mean {other!r}?" for other in like)
        )
    settings = sealed(profiles[name], f"profile {name!r} in {path}")
    _warn_of_readers(settings, path)
    return settings


def read_config_file(path: Path) -> dict[str, Setting]:
    """Return the settings of a ``.properties`` file.

    Raises
    ------
    ConfigError
        The file cannot be read, or an escape in it is broken.
    """
    settings = read_properties(path)
    _warn_of_readers(settings, path.expanduser())
    return settings


def _warn_of_readers(settings: Mapping[str, Setting], path: Path) -> None:
    if any(options.is_secret(key, "") for key in settings) and _others_may_read(path):
        message = f"{path} holds a password or key, and other users can read it: chmod 600 {path}"
        warnings.warn(message, KafkalabWarning, stacklevel=4)


def checked(layer: dict[str, Setting]) -> dict[str, Setting]:
    """Return the settings of one source by librdkafka's names, each known to be an option that can have its value.

    Raises
    ------
    ConfigError
        An option does not exist, or cannot have its value, or names a file that is not there.
    """
    settings = {options.ALIASES.get(name, name): setting for name, setting in to_librdkafka(layer).items()}
    if "plugin.library.paths" in settings:
        return settings  # the plugin brings options that only a client with it knows
    return {name: setting for name, setting in settings.items() if _is_option(name, setting)}


def _is_option(name: str, setting: Setting) -> bool:
    if not options.exists(name) and not options.is_of_registry(name):
        like = options.closest(name, (*RENAMED, *TRANSLATED))
        if not like and setting.origin.startswith(_PREFIX):
            return False  # the variable may be for something else
        hint = f"; did you mean {' or '.join(like)}?" if like else ", neither in librdkafka nor in Java's clients"
        raise ConfigError(f"{setting.origin}: there is no option {name!r}{hint}")
    if not isinstance(setting.value, Secret):
        if name not in options.CALLBACKS | options.UNSAFE:
            raise ConfigError(f"{setting.origin}: {name} has to be text, a number or a bool")
    elif _NO_TEXT.search(setting.text):
        raise ConfigError(f"{setting.origin}: {name} holds bytes that are no text")
    elif options.is_of_registry(name):  # what its client takes is known where that is made
        if name.endswith(".location"):
            _check_file(name, setting)
    elif wrong := options.complaint(name, setting.text.strip()):
        raise ConfigError(f"{setting.origin}: {wrong}")
    elif name.startswith("ssl.") and name.endswith((".ca.location", "certificate.location", "key.location")):
        _check_file(name, setting)
    return True


def _check_file(name: str, setting: Setting) -> None:
    path = Path(setting.text.strip()).expanduser()
    if setting.text.strip() != "probe" and not path.exists():
        raise ConfigError(f"{setting.origin}: {name} names a file that is not there: {path.absolute()}")


def _read_toml(path: Path) -> dict[str, dict[str, object]]:
    wrong, tables = "", {}
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the profiles in {path}: {error.strerror}. A profile is a table of that file, "
            'such as [prod] with the line bootstrap.servers = "host:9092"'
        ) from error
    except tomllib.TOMLDecodeError as error:
        wrong = str(error)
    except UnicodeDecodeError:
        wrong = "it is not UTF-8"
    if wrong:
        # Not as a cause: the parser's frames hold the file's text.
        raise ConfigError(f"{path} is not TOML: {wrong}")
    return {name: dict(_flat(table)) for name, table in tables.items() if isinstance(table, dict)}


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, seal(value)


def _others_may_read(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
