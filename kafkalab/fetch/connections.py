"""Connections that outlive a fetch: to open one takes some round trips, and with TLS and SASL many."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeAlias

from kafkalab.fetch.wire import BrokerConnection

if TYPE_CHECKING:
    from kafkalab import _native
    from kafkalab.connection import ConnectionConfig

Address: TypeAlias = "tuple[str, int]"

_MOST_KEPT = 4  # each has the memory of two answers
_LONGEST_REST_S = 180.0  # less than what lies between forgets a silent connection after


class Connections:
    """Lends connections to brokers, each to one fetch at a time, and keeps a few that come back.

    Parameters
    ----------
    config : ConnectionConfig
        How to get in.
    """

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self._kept: list[tuple[Address, float, BrokerConnection]] = []
        self._lock = threading.Lock()

    def take(self, address: Address, stop: _native.StopFlag) -> BrokerConnection:
        """Return a connection to a broker, whose waits the flag ends: one that is here, or a new one.

        Raises
        ------
        BrokerUnreachableError, TlsError, AuthenticationError
            It does not let us in.
        """
        while (found := self._pop(address)) is not None:
            since, connection = found
            if time.monotonic() - since < _LONGEST_REST_S and connection.is_reusable:
                connection.stop = stop
                return connection
            connection.close()
        return BrokerConnection(self._config, *address, stop)

    def give_back(self, address: Address, connection: BrokerConnection) -> None:
        """Keep a connection for the next fetch, or close it where an answer is still to come."""
        dropped = connection
        if connection.is_reusable:
            with self._lock:
                self._kept.append((address, time.monotonic(), connection))
                if len(self._kept) <= _MOST_KEPT:
                    return
                _, _, dropped = self._kept.pop(0)
        dropped.close()

    def close(self) -> None:
        """Close those that are kept."""
        with self._lock:
            kept, self._kept = self._kept, []
        for _, _, connection in kept:
            connection.close()

    def _pop(self, address: Address) -> tuple[float, BrokerConnection] | None:
        with self._lock:
            for number, (its, since, connection) in reversed(list(enumerate(self._kept))):
                if its == address:
                    del self._kept[number]
                    return since, connection
        return None
