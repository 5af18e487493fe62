# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""One admin client, waited for: it answers, or this says why it will not."""

from __future__ import annotations

import concurrent.futures
import functools
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from kafkalab import _native
from kafkalab.diagnosis import Reports, explain
from kafkalab.errors import AuthenticationError, BrokerUnreachableError, KafkalabError, ReadTimeoutError
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from threading import Event

    from confluent_kafka.admin import ClusterMetadata

    from kafkalab.connection import ConnectionConfig

_T = TypeVar("_T")
_PAUSE = 0.05
NO_ANSWER = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)
"""Errors that do not say what is wrong, but that there is no connection."""


class Admin:
    """An admin client that is made on first use.

    Until the brokers have answered once, a cause that will not go away ends a wait at once; from then on it may be a
    restart, and there is time until the timeout.

    Parameters
    ----------
    config : ConnectionConfig
        Where the cluster is and how to get in.
    timeout : float
        For how many seconds to wait for an answer.
    """

    def __init__(self, config: ConnectionConfig, timeout: float) -> None:
        self.config = config
        self.timeout = timeout
        self.brokers: tuple[str, ...] = ()
        self.has_controller = False
        self._lock = threading.Lock()
        self._made: AdminClient | None = None
        self._reports = Reports()
        self._answered = False
        self._was_in = False

    @property
    def client(self) -> AdminClient:
        """The client, whose futures :meth:`wait` and :meth:`result` take."""
        with self._lock:
            if self._made is None:
                try:
                    self._made = AdminClient(self.config.client_options(**self._own_options()))
                except KafkaException as error:
                    # The client's frames hold the passwords in plain text.
                    raise translate(error) from error.with_traceback(None)
            return self._made

    def metadata(self, topic: str | None = None, stop: Event | None = None) -> ClusterMetadata:
        """Return brokers and topics, or one of these, and remember the brokers."""
        client, names = self.client, () if topic is None else (topic,)
        try:
            found = self.ask(lambda seconds: client.list_topics(*names, timeout=seconds), stop)
        except KafkalabError:
            self.close()
            raise
        self.brokers = tuple(f"{broker.host}:{broker.port}/{broker.id}" for broker in found.brokers.values())
        self._was_in = True
        self.has_controller = found.controller_id in found.brokers
        return found

    def ask(self, call: Callable[[float], _T], stop: Event | None = None, **where: Any) -> _T:
        """Return what a call that blocks returns; it is given its timeout, and made again when that is over.

        Raises
        ------
        KafkalabError
            What was wrong, or why there is no answer.
        StoppedError
            The stop was set first.
        """
        deadline = self._start()
        for seconds in self.attempts():
            future = _in_thread(functools.partial(call, seconds))
            self._wait({future}, deadline, stop)
            try:
                return future.result()
            except KafkaException as error:
                if error.args[0].code() not in NO_ANSWER:
                    raise translate(error, **where) from error
            self._give_up_if_certain()
        raise self._no_answer()

    def attempts(self) -> Iterator[float]:
        """Yield how many seconds each try of a call may take, as long as there is time for another.

        One try alone could wait until the end for a broker that has died, and never hear of the next leader. And a
        client that has been given up goes on for the rest of a try, wrong password and all.
        """
        deadline, seconds = time.monotonic() + self.timeout, 1.0
        while (left := deadline - time.monotonic()) > 0:
            yield min(seconds, left)
            if self._reports.last() is None:
                seconds *= 2  # slow, not down
            self.client.poll(_PAUSE)

    def wait(self, futures: Iterable[Future[Any]], stop: Event | None = None) -> None:
        """Wait until all are done.

        Raises
        ------
        KafkalabError
            Why some will not be.
        StoppedError
            The stop was set first.
        """
        self._wait(set(futures), self._start(), stop)

    def result(self, future: Future[_T]) -> _T:
        """Wait for an answer and return it."""
        self.wait([future])
        try:
            return future.result()
        except KafkaException as error:
            raise self.translated(error.args[0]) from error

    def translated(self, error: KafkaError, **where: Any) -> KafkalabError:
        """Return the error for one of the client's; where that is none but no answer, for what led to it."""
        return self._no_answer() if error.code() in NO_ANSWER else translate(error, **where)

    def close(self) -> None:
        """Let go of the client; another is made on the next use."""
        with self._lock:
            self._made = None
        self.brokers, self._answered = (), False

    def _start(self) -> float:
        self._reports.clear()
        return time.monotonic() + self.timeout

    def _wait(self, futures: set[Future[Any]], deadline: float, stop: Event | None) -> None:
        while concurrent.futures.wait(futures, _PAUSE).not_done:
            if stop is not None and stop.is_set():
                raise _native.StoppedError("stopped while waiting for the cluster")
            self.client.poll(0)
            self._give_up_if_certain()
            if time.monotonic() > deadline:
                raise self._no_answer()
        self.client.poll(0)
        if self.brokers and any(future.exception() is None for future in futures):
            self._answered = True

    def _give_up_if_certain(self) -> None:
        bootstrap = [f"{server}/bootstrap" for server in self.config.bootstrap_servers]
        if not self._answered and (report := self._reports.certain(bootstrap, self.brokers)):
            raise explain(report, self.config, was_in=self._was_in)

    def _own_options(self) -> dict[str, Any]:
        given = self.config.options
        options = {"logger": self._reports, "error_cb": self._reports.error, **_asked_token(self.config)}
        if "socket.connection.setup.timeout.ms" not in given:
            # Two attempts fit into the timeout, so that a silent port is certain by then.
            options["socket.connection.setup.timeout.ms"] = max(1000, int(self.timeout * 400))
        if not given.keys() & {"reconnect.backoff.ms", "reconnect.backoff.max.ms"}:
            options["reconnect.backoff.max.ms"] = 1000
        return options

    def _no_answer(self) -> KafkalabError:
        if report := self._reports.last():
            return explain(report, self.config, was_in=self._was_in)
        where, seconds = ",".join(self.config.bootstrap_servers), f"{self.timeout:g} s"
        if self.brokers:
            return ReadTimeoutError(f"{where} did not answer in {seconds}: try again, or give a longer timeout")
        return BrokerUnreachableError(f"no answer from {where} in {seconds}: check host and port")


def _in_thread(call: Callable[[], _T]) -> Future[_T]:
    """Run a call that blocks beside this thread, so that an interrupt can reach this one."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 # who waits for the future gets it
            future.set_exception(error)

    threading.Thread(target=run, name="kafkalab-call", daemon=True).start()
    return future


def _asked_token(config: ConnectionConfig) -> dict[str, Any]:
    """Ask for a token in advance: the client would wait 10 s for one, and not say why none came."""
    callback = config.options.get("oauth_cb")
    if callback is None:
        return {}
    try:
        token, expiry, *more = callback(config.get("sasl.oauthbearer.config", ""))
    except Exception as error:
        reason = config.scrub(f"{type(error).__name__}: {error}")
        raise AuthenticationError(f"oauth_cb gave no token and expiry, in seconds since 1970: {reason}") from error
    first = iter([(token, expiry, *more)])
    return {"oauth_cb": lambda settings: next(first, None) or callback(settings)}
