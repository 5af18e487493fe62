"""Asks brokers over native connections: any that answers, or several at once."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from kafkalab import _native
from kafkalab.errors import (
    AuthenticationError,
    BrokerUnreachableError,
    CorruptDataError,
    KafkalabError,
    ReadTimeoutError,
    UnsupportedError,
)
from kafkalab.net.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kafkalab.connection import ConnectionConfig
    from kafkalab.net.connections import Address
    from kafkalab.net.requests import Request
    from kafkalab.net.wire import BrokerConnection

_T = TypeVar("_T")
_FIRST_ATTEMPT_S = 2.0
_BACK_OFF_S = 0.1
_LOOK_S = 0.1
# Most of kafkalab's errors about connections are OSErrors too.
FAILED = (OSError, _native.TlsError)
"""Failures of a connection: another broker, or another attempt, may do."""
Answers: TypeAlias = "list[Any] | Exception"


class Stops(Protocol):
    """What ends a call early."""

    @property
    def flag(self) -> _native.StopFlag:
        """Set to end every wait."""


class Call:
    """How long one call may take, over all its attempts, what ends it early, and what failed last.

    Parameters
    ----------
    timeout : float
        Seconds for the whole call.
    stop : Stops, optional
        Ends it within 200 ms, with `StoppedError`.
    """

    def __init__(self, timeout: float, stop: Stops | None = None) -> None:
        self._timeout = timeout
        self._began = time.monotonic()
        self.flag = _native.StopFlag() if stop is None else stop.flag
        self._failure: tuple[Address, Exception] | None = None

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._timeout - self.age

    def attempts(self) -> Iterator[float]:
        """Yield how many seconds each attempt may take, as long as there is time for another.

        One attempt alone could wait until the end for a broker that has died, and never hear of the next leader.
        """
        seconds = _FIRST_ATTEMPT_S
        while (left := self.left) > 0:
            yield min(seconds, left)
            seconds *= 2
            self.pause()

    def pause(self, seconds: float = _BACK_OFF_S) -> None:
        """Wait a little before the next attempt."""
        if self.left > 0:
            threading.Event().wait(min(seconds, self.left))  # its own: Ctrl-C may come here
        if self.flag.is_set():
            raise _native.StoppedError("stopped while waiting for the cluster")

    def failed(self, address: Address, error: Exception) -> None:
        """Note what another attempt may mend."""
        self._failure = address, error

    def given_up(self, client: Client) -> KafkalabError:
        """Return the error for a call whose time is over: what failed last."""
        if self._failure is None:
            where = ",".join(client.config.bootstrap_servers)
            return ReadTimeoutError(
                f"{where} did not answer in {self._timeout:g} s: try again, or give a longer timeout"
            )
        (host, port), error = self._failure
        if isinstance(error, KafkalabError):
            found = error.with_traceback(None)
        else:
            found = BrokerUnreachableError(f"{host}:{port} went away ({error}): it is down, or starts again; try again")
        number = next((number for number, address in client.brokers.items() if address == (host, port)), None)
        if number is not None and f"{host}:{port}" not in client.config.bootstrap_servers:
            what = f"{host}:{port} is the address that broker {number} advertises (advertised.listeners)"
            return type(found)(f"{found.args[0]}. {what}")
        return found


class Client:
    """Asks the brokers of one cluster, and remembers which there are.

    Parameters
    ----------
    config : ConnectionConfig
        Where to begin, and how to get in.

    Attributes
    ----------
    connections : Connections
        Lent to fetches too.
    brokers : dict of int to (str, int)
        The brokers by number, as they were told last.
    """

    def __init__(self, config: ConnectionConfig) -> None:
        self.config = config
        self.connections = Connections(config)
        self.brokers: dict[int, Address] = {}
        self._good: Address | None = None

    def close(self) -> None:
        """Close the connections that nobody uses, and forget the brokers."""
        self.connections.close()
        self.brokers, self._good = {}, None

    def any(self, request: Request[_T], call: Call) -> _T:
        """Return the first answer of any broker.

        Until a broker has answered once, what keeps the client out is told as soon as it is known of all addresses.
        """
        for seconds in call.attempts():
            for address in self._addresses():
                answers = self.each({address: [request]}, seconds, call)[address]
                if isinstance(answers, list):
                    self._good = address
                    answer: _T = _answer(answers[0])
                    return answer
            if not self.brokers:
                break
        raise call.given_up(self)

    def reaches(self, addresses: Iterable[Address], call: Call) -> bool:
        """Tell whether one of these addresses leads to a broker that lets this client in."""
        return any(
            isinstance(self.each({address: []}, max(min(call.left, _FIRST_ATTEMPT_S), 0.1), call)[address], list)
            for address in addresses
        )

    def each(
        self, requests: Mapping[Address, Sequence[Request[Any]]], seconds: float, call: Call
    ) -> dict[Address, Answers]:
        """Send each broker its requests, all at once, and return its answers, or why there are none.

        An answer is an `UnsupportedError` where the broker does not know the request.
        """
        answers: dict[Address, Answers] = {}
        deadline = time.monotonic() + seconds
        lent = self._lent(requests, seconds, call, answers)
        under_way: dict[Address, list[tuple[int, int] | UnsupportedError]] = {}
        try:
            for address, connection in lent.items():
                with self._noted(address, answers, call):
                    under_way[address] = [_sent(connection, request) for request in requests[address]]
            for address, sent in under_way.items():
                with self._noted(address, answers, call):
                    answers[address] = [
                        each
                        if isinstance(each, UnsupportedError)
                        else lent[address].receive(request, each, max(deadline - time.monotonic(), 0.001))
                        for request, each in zip(requests[address], sent, strict=True)
                    ]
        finally:
            for address, connection in lent.items():
                self.connections.give_back(address, connection)
        return answers

    def _addresses(self) -> list[Address]:
        """Return whom to ask, in turn: who answered last, the known brokers, and where the client was told to begin."""
        begin = [_address(server) for server in self.config.bootstrap_servers]
        first = [self._good] if self._good else []
        return list(dict.fromkeys([*first, *self.brokers.values(), *begin]))

    def _lent(
        self, addresses: Iterable[Address], seconds: float, call: Call, answers: dict[Address, Answers]
    ) -> dict[Address, BrokerConnection]:
        """Return connections to brokers; where more than one is to be opened, all are at once."""
        lent: dict[Address, BrokerConnection] = {}
        missing = []
        for address in addresses:
            if kept := self.connections.kept(address, call.flag):
                lent[address] = kept
            else:
                missing.append(address)
        try:
            if len(missing) == 1:
                with self._noted(missing[0], answers, call):
                    lent[missing[0]] = self.connections.take(missing[0], call.flag, seconds)
            elif missing:
                self._open(missing, seconds, call, lent, answers)
        except BaseException:
            for address, connection in lent.items():
                self.connections.give_back(address, connection)
            raise
        return lent

    def _open(
        self,
        addresses: Sequence[Address],
        seconds: float,
        call: Call,
        lent: dict[Address, BrokerConnection],
        answers: dict[Address, Answers],
    ) -> None:
        opened: queue.SimpleQueue[tuple[Address, BrokerConnection | BaseException]] = queue.SimpleQueue()

        def open_one(address: Address) -> None:
            try:
                opened.put((address, self.connections.take(address, call.flag, seconds)))
            except BaseException as error:  # noqa: BLE001 # who waits for it gets it
                opened.put((address, error))

        for address in addresses:
            threading.Thread(target=open_one, args=(address,), name="kafkalab-open", daemon=True).start()
        for _ in addresses:
            address, found = self._next(opened, call)
            with self._noted(address, answers, call):
                if isinstance(found, BaseException):
                    raise found
                lent[address] = found

    @staticmethod
    def _next(opened: queue.SimpleQueue[_T], call: Call) -> _T:
        while True:
            with suppress(queue.Empty):
                return opened.get(timeout=_LOOK_S)
            call.pause(0)

    @contextmanager
    def _noted(self, address: Address, answers: dict[Address, Answers], call: Call) -> Iterator[None]:
        """Note a failure that another broker, or another attempt, may mend; tell the others as kafkalab's."""
        try:
            yield
        except AuthenticationError:
            raise
        except _native.MalformedResponseError as error:
            raise CorruptDataError(f"{address[0]}:{address[1]}: {error}") from error
        except FAILED as error:
            answers[address] = error
            call.failed(address, error)


def _address(server: str) -> Address:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def _sent(connection: BrokerConnection, request: Request[Any]) -> tuple[int, int] | UnsupportedError:
    try:
        return connection.send(request)
    except UnsupportedError as error:
        return error


def _answer(answer: Any) -> Any:
    if isinstance(answer, UnsupportedError):
        raise answer
    return answer
