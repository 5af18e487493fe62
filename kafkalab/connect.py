"""The ways in: a real cluster, a broker with sample topics, and the one-liner."""

from __future__ import annotations

import sys
import warnings
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from kafkalab.cluster import Cluster
from kafkalab.connection import ConnectionConfig
from kafkalab.decode.registry import Registry
from kafkalab.errors import ArgumentError, BrokerStartError, KafkalabWarning, UnsupportedError
from kafkalab.fetch.arrow import ArrowFetcher
from kafkalab.fetch.librdkafka import LibrdkafkaFetcher
from kafkalab.lab import Lab
from kafkalab.net.coverage import unsupported_option
from kafkalab.units import seconds

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import pandas as pd

    from kafkalab.brokers import ApacheKafka, MockBroker
    from kafkalab.fetch.base import Fetcher

Engine: TypeAlias = Literal["auto", "arrow", "librdkafka"]


def connect(
    bootstrap: str | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    config_file: str | os.PathLike[str] | None = None,
    profile: str | None = None,
    engine: Engine = "auto",
    timeout: float = 10.0,
) -> Lab:
    """Connect to a cluster, and see that it lets us in.

    Parameters
    ----------
    bootstrap : str, optional
        ``"host:9092,other:9092"``.
    config : mapping, optional
        librdkafka options, as confluent-kafka takes them; those of a schema registry begin with ``schema.registry.``,
        as ``schema.registry.url``.
    config_file : path, optional
        A ``client.properties`` file, with librdkafka's or Java's names.
    profile : str, optional
        A table of ``~/.config/kafkalab/profiles.toml``.
    engine : {"auto", "arrow", "librdkafka"}
        What reads: the fast engine, or librdkafka where an option of the connection needs it, with a warning that names
        that option.
    timeout : float
        Seconds that the cluster has to answer.

    Returns
    -------
    Lab
        Where no argument says it, the environment does: ``KAFKALAB_BOOTSTRAP_SERVERS``, ``KAFKALAB_PROFILE`` and so on.

    Raises
    ------
    ConfigError
        Nothing names a cluster, or an option cannot work.
    ArgumentError
        The timeout or the engine cannot be.
    BrokerUnreachableError, TlsError, AuthenticationError
        No broker answers, the encryption fails, or the credentials are refused.
    """
    loaded = ConnectionConfig.load(bootstrap, config=config, config_file=config_file, profile=profile)
    registry = Registry.of(loaded.options)
    cluster = Cluster(loaded, timeout=seconds(timeout, least=0.001), portable=engine == "librdkafka")
    cluster.connect()
    fetcher = _fetcher(engine, loaded, cluster)
    lab = Lab(cluster, fetcher, registry=registry)
    lab.on_close(cluster.close)
    if isinstance(fetcher, ArrowFetcher):
        lab.on_close(fetcher.close)
    return lab


def _fetcher(engine: str, config: ConnectionConfig, cluster: Cluster) -> Fetcher:
    if engine not in get_args(Engine):
        raise ArgumentError(f"engine is 'auto', 'arrow' or 'librdkafka', not {engine!r}")
    portable = LibrdkafkaFetcher(config, cluster)
    fast = ArrowFetcher(config, cluster, portable=portable if engine == "auto" else None)
    if engine == "librdkafka":
        return portable
    option = unsupported_option(config)
    reason = f"it cannot honour {option}" if option else fast.refusal()
    if reason is None:
        return fast
    if engine == "arrow":
        raise UnsupportedError(f"the arrow engine cannot read here: {reason}; use engine='librdkafka'")
    text = f"librdkafka reads, slower than the arrow engine: {reason}. engine='librdkafka' does so without this warning"
    warnings.warn(text, KafkalabWarning, stacklevel=3)
    return portable


def demo(broker: Literal["auto", "apache", "mock"] = "auto", *, orders_per_s: float = 0) -> Lab:
    """Start a broker with sample topics and connect to it; ended by `Lab.close`, with the lab, and with this process.

    Parameters
    ----------
    broker : {"auto", "apache", "mock"}
        Apache Kafka, which the ``[broker]`` extra brings, or librdkafka's mock of it, which has no time index, little
        room, and shows aborted records. By default the real one, or the mock where that cannot be had, and it says why.
    orders_per_s : float
        How many new orders are written each second, for something to follow.

    Raises
    ------
    BrokerStartError
        It was asked for by name, and cannot be started.
    """
    from kafkalab.brokers import MockBroker, samples

    with ExitStack() as unless_it_works:  # Ctrl-C, too
        started = _start(broker)
        unless_it_works.callback(started.stop)
        lab = unless_it_works.enter_context(connect(started.bootstrap_servers))
        lab.on_close(weakref.finalize(lab, started.stop))
        samples.fill(started.bootstrap_servers, small=isinstance(started, MockBroker))
        if orders_per_s:
            lab.on_close(weakref.finalize(lab, samples.go_on(started.bootstrap_servers, orders_per_s).stop))
        unless_it_works.pop_all()
    return lab


def _start(broker: str) -> ApacheKafka | MockBroker:
    from kafkalab.brokers import ApacheKafka, MockBroker, samples

    if broker not in ("auto", "apache", "mock"):
        message = f"broker is 'auto', 'apache' or 'mock', not {broker!r}"
        raise ArgumentError(message)
    if broker != "mock":
        try:
            return ApacheKafka().start()
        except BrokerStartError as error:
            if broker == "apache":
                raise
            print(f"Apache Kafka cannot be started, so this is librdkafka's mock: {error}", file=sys.stderr)  # noqa: T201 - a person reads it
    return MockBroker(samples.SMALL_TOPICS).start()


def read_kafka(
    topic: str,
    *,
    bootstrap_servers: str | None = None,
    config: Mapping[str, Any] | None = None,
    config_file: str | os.PathLike[str] | None = None,
    profile: str | None = None,
    **reading: Any,
) -> pd.DataFrame:
    """Read a range of a topic into a frame, in one line.

    Parameters
    ----------
    topic : str
        Its name.
    bootstrap_servers, config, config_file, profile
        As in `connect`.
    **reading
        As in `Lab.read`.

    Examples
    --------
    >>> import kafkalab as kl
    >>> from kafkalab.brokers import MockBroker
    >>> with MockBroker({"orders": 1}) as broker:
    ...     frame = kl.read_kafka("orders", bootstrap_servers=broker.bootstrap_servers)
    >>> len(frame)
    0
    """
    with connect(bootstrap_servers, config=config, config_file=config_file, profile=profile) as lab:
        return lab.read(topic, **reading)
