"""Connections that outlive a fetch: to open one takes some round trips, and with TLS and SASL many."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeAlias

from kafkalab.net.wire import BrokerConnection

if TYPE_CHECKING:
    from kafkalab import _native
    from kafkalab.connection import ConnectionConfig

Address: TypeAlias = "tuple[str, int]"

_MOST_KEPT = 4  # each has the memory of two answers; beyond these, one is kept to each broker
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

    def take(self, address: Address, stop: _native.StopFlag, timeout: float | None = None) -> BrokerConnection:
        """Return a connection to a broker, whose waits the flag ends: one that is here, or a new one.

        Parameters
        ----------
        address : (str, int)
            The broker's host and port.
        stop : StopFlag
            Ends every wait on it.
        timeout : float, optional
            Seconds that the broker has at most for each step of the way in; the options' own by default.

        Raises
        ------
        BrokerUnreachableError, TlsError, AuthenticationError
            It does not let us in.
        """
        return self.kept(address, stop) or BrokerConnection(self._config, *address, stop, timeout)

    def kept(self, address: Address, stop: _native.StopFlag) -> BrokerConnection | None:
        """Return a connection to a broker that is here, if there is one."""
        while (found := self._pop(address)) is not None:
            since, connection = found
            if time.monotonic() - since < _LONGEST_REST_S and connection.is_reusable:
                connection.stop = stop
                return connection
            connection.close()
        return None

    def give_back(self, address: Address, connection: BrokerConnection) -> None:
        """Keep a connection for the next fetch, or close it where an answer is still to come."""
        dropped: BrokerConnection | None = connection
        if connection.is_reusable:
            with self._lock:
                self._kept.append((address, time.monotonic(), connection))
                dropped = self._superfluous()
        if dropped is not None:
            dropped.close()

    def _superfluous(self) -> BrokerConnection | None:
        """Take out the oldest connection to a broker to which there is a newer one, where many are kept."""
        if len(self._kept) > _MOST_KEPT:
            addresses = [address for address, _, _ in self._kept]
            for number, address in enumerate(addresses):
                if address in addresses[number + 1 :]:
                    return self._kept.pop(number)[2]
        return None

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
