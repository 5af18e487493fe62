"""Where the cluster is and how to get in: from arguments, files, profiles and the environment to client options."""

from __future__ import annotations

import logging
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kafkalab import options as known
from kafkalab.errors import ConfigError
from kafkalab.librdkafka_log import LibrdkafkaLog
from kafkalab.secret import Secret, revealed, scrub
from kafkalab.sources import Environment, checked, read_config_file, read_profile, seal, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ConnectionConfig", "Secret"]

_CHAINED = frozenset({"error_cb", "stats_cb", "throttle_cb"})
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_DEFAULT_PORT = 9092
_SERVER = re.compile(r"(?:(?P<protocol>\w+)://)?(?P<host>\[[0-9a-fA-F:.%]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?")
_TOKEN_SOURCES = frozenset({"oauth_cb", "sasl.oauthbearer.method", "enable.sasl.oauthbearer.unsecure.jwt"})
_NOTHING_GIVEN = (
    "no cluster is named. Give bootstrap servers ('host:9092'), config={'bootstrap.servers': ...}, "
    "config_file='client.properties', profile='name', or set KAFKALAB_BOOTSTRAP_SERVERS or KAFKALAB_PROFILE"
)


@dataclass(frozen=True, slots=True, repr=False)
class ConnectionConfig:
    """How to reach a cluster: librdkafka's options, with the secret ones hidden.

    Parameters
    ----------
    options : mapping of str to object
        Options by librdkafka's names, as confluent-kafka takes them. Passwords and keys become `Secret`.

    Raises
    ------
    ConfigError
        No bootstrap servers are given or they are malformed, or the options for TLS and SASL contradict each other.

    Examples
    --------
    >>> ConnectionConfig({"bootstrap.servers": "a, b:9093", "security.protocol": "ssl"})
    <ConnectionConfig a:9092,b:9093 SSL>
    """

    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(_normalised(self.options)))
        _check_login(self)

    @classmethod
    def load(
        cls,
        bootstrap: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        config_file: str | os.PathLike[str] | None = None,
        profile: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> ConnectionConfig:
        """Collect a configuration from everywhere it may stand; what is named first here wins.

        Parameters
        ----------
        bootstrap : str, optional
            ``"host:9092,other:9092"``; the port is 9092 where none is given.
        config : mapping, optional
            Options by librdkafka's names, or by Java's where librdkafka has another.
        config_file : path, optional
            A ``client.properties`` file, with librdkafka's or Java's names.
        profile : str, optional
            A table of ``~/.config/kafkalab/profiles.toml``, or of the file that ``KAFKALAB_PROFILES`` names.
        environ : mapping, optional
            The environment, by default the process's: ``KAFKALAB_BOOTSTRAP_SERVERS``, ``KAFKALAB_SASL_PASSWORD`` and
            so on for every option, ``KAFKALAB_CONFIG_FILE`` and ``KAFKALAB_PROFILE`` where neither is an argument.

        Returns
        -------
        ConnectionConfig
            The merged configuration.

        Raises
        ------
        ConfigError
            Nothing names a cluster, or an option is unknown or cannot work; it says where that option was given.
        """
        layers = [sealed({"bootstrap.servers": bootstrap}, "bootstrap"), sealed(config or {}, "config")]
        environment = Environment.of(os.environ if environ is None else environ)
        # From here on a traceback that shows variables shows no secret.
        del bootstrap, config, environ
        if config_file is None and profile is None:
            config_file, profile = environment.config_file, environment.profile
        if config_file is not None:
            layers.append(read_config_file(Path(config_file)))
        if profile is not None:
            layers.append(read_profile(profile, environment.profiles))
        layers = [checked(layer) for layer in (*layers, environment.settings)]
        return cls({name: setting.value for layer in reversed(layers) for name, setting in layer.items()})

    @property
    def bootstrap_servers(self) -> tuple[str, ...]:
        """Where to begin: ``host:port`` of some brokers."""
        return tuple(str(self.options.get("bootstrap.servers", "")).split(","))

    @property
    def security_protocol(self) -> str:
        """``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``."""
        return str(self.options.get("security.protocol", "PLAINTEXT"))

    @property
    def summary(self) -> str:
        """Where and how, in a few words, for a repr."""
        login = self.options.get("sasl.mechanism", "") if self.security_protocol.startswith("SASL") else ""
        user = f"as {self.options['sasl.username']!r}" if login and "sasl.username" in self.options else ""
        return " ".join(filter(None, (",".join(self.bootstrap_servers), self.security_protocol, login, user)))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of an option, a secret one too in plain text.

        Parameters
        ----------
        name : str
            The option's name in librdkafka.
        default : object, optional
            What to return where it was not given.
        """
        return revealed(self.options.get(name, default))

    def scrub(self, text: str) -> str:
        """Return a text with every secret of this configuration replaced by ``***``."""
        return scrub(text, (value.reveal() for value in self.options.values() if isinstance(value, Secret)))

    def client_options(self, **extra: Any) -> dict[str, Any]:
        """Return the options of an admin client: those given, but for what reading must not or need not have.

        Parameters
        ----------
        **extra : object
            More options, which win; of callbacks and loggers, both are called.

        Returns
        -------
        dict of str to object
            For a client of confluent-kafka; secrets are in plain text, so hand it on at once.
        """
        return self._client_options(known.UNSAFE | known.MEMBERSHIP, extra)

    def consumer_options(self, group_id: str | None = None, **extra: Any) -> dict[str, Any]:
        """Return the options of a consumer, which commits only when told to.

        Parameters
        ----------
        group_id : str, optional
            The group to join. Without one, the consumer is there to assign partitions, and its group is a placeholder.
        **extra : object
            More options, which win; of callbacks and loggers, both are called.

        Returns
        -------
        dict of str to object
            For ``confluent_kafka.Consumer``; secrets are in plain text, so hand it on at once.
        """
        if group_id is not None:
            return self._client_options(known.UNSAFE, {"group.id": group_id, "enable.auto.commit": False, **extra})
        reader = {
            "group.id": f"kafkalab-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        }
        return self._client_options(known.UNSAFE | known.MEMBERSHIP, {**reader, **extra})

    def _client_options(self, left_out: frozenset[str], extra: Mapping[str, Any]) -> dict[str, Any]:
        if ignored := sorted(left_out & self.options.keys()):
            logging.getLogger("kafkalab").debug("a reader goes without these options: %s", ", ".join(ignored))
        given = {
            name: revealed(value)
            for name, value in self.options.items()
            if name not in left_out and not known.is_of_registry(name)
        }
        loggers = [source["logger"] for source in (given, extra) if "logger" in source]
        return {
            "client.id": "kafkalab",
            **given,
            **extra,
            **{name: _both(given[name], extra[name]) for name in _CHAINED & given.keys() & extra.keys()},
            "allow.auto.create.topics": False,
            "logger": LibrdkafkaLog(self.scrub, tuple(loggers)),
        }

    def __hash__(self) -> int:
        return hash(frozenset(self.options.items()))

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return type(self), (dict(self.options),)

    def __repr__(self) -> str:
        return f"<ConnectionConfig {self.summary}>"


def _both(first: Callable[..., Any], second: Callable[..., Any]) -> Callable[..., None]:
    def call(*args: Any) -> None:
        first(*args)
        second(*args)

    return call


def _normalised(given: Mapping[str, Any]) -> dict[str, Any]:
    options = {known.ALIASES.get(name, name): _shown(name, value) for name, value in given.items() if value is not None}
    if not str(options.get("bootstrap.servers", "")).strip(" ,"):
        raise ConfigError(_NOTHING_GIVEN)
    servers = [_server(text.strip()) for text in str(options["bootstrap.servers"]).split(",") if text.strip()]
    protocols = {options.get("security.protocol", "").upper(), *(protocol for protocol, _ in servers)} - {""}
    if len(protocols) > 1 or not protocols.issubset(_PROTOCOLS):
        named = " and ".join(sorted(protocols))
        raise ConfigError(f"security.protocol is {named}: it must be one of {', '.join(_PROTOCOLS)}")
    options["bootstrap.servers"] = ",".join(dict.fromkeys(server for _, server in servers))
    return options | {"security.protocol": next(iter(protocols), "PLAINTEXT")}


def _shown(name: str, value: Any) -> Any:
    hidden = seal(value)
    if not isinstance(hidden, Secret) or known.is_secret(name, hidden.reveal()):
        return hidden
    text = hidden.reveal().strip()
    return str(Path(text).expanduser()) if text.startswith("~") and name.endswith(".location") else text


def _server(text: str) -> tuple[str, str]:
    match = _SERVER.fullmatch(text)
    if match is None or not 0 < int(match["port"] or _DEFAULT_PORT) < 2**16:
        raise ConfigError(f"bootstrap server {text!r} is not of the form host:port; passwords go into sasl.password")
    return (match["protocol"] or "").upper(), f"{match['host']}:{match['port'] or _DEFAULT_PORT}"


def _check_login(config: ConnectionConfig) -> None:
    if not config.security_protocol.startswith("SASL"):
        return
    mechanism = config.options.get("sasl.mechanism", "")
    if not mechanism:
        raise ConfigError(
            f"security.protocol={config.security_protocol} needs sasl.mechanism: "
            "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
        )
    if mechanism == "PLAIN" or mechanism.startswith("SCRAM"):
        if missing := [name for name in ("sasl.username", "sasl.password") if name not in config.options]:
            raise ConfigError(f"sasl.mechanism={mechanism} needs {' and '.join(missing)}")
    elif mechanism == "OAUTHBEARER" and not _TOKEN_SOURCES & config.options.keys():
        raise ConfigError(
            "sasl.mechanism=OAUTHBEARER needs where tokens come from: oauth_cb in config={...}, or "
            "sasl.oauthbearer.method=oidc with sasl.oauthbearer.token.endpoint.url, .client.id and .client.secret"
        )
