# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""One admin client, waited for: it answers, or this says why it will not."""

from __future__ import annotations

import functools
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from kafkalab._native import StoppedError
from kafkalab.diagnosis import Reports, explain
from kafkalab.errors import AuthenticationError, BrokerUnreachableError, KafkalabError, ReadTimeoutError
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from concurrent.futures import Future

    from confluent_kafka.admin import ClusterMetadata

    from kafkalab.connection import ConnectionConfig
    from kafkalab.net.client import Stops

_K = TypeVar("_K")
_T = TypeVar("_T")
_PAUSE = 0.05
NO_ANSWER = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)
"""Errors that do not say what is wrong, but that there is no connection."""
COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
"""Errors of a group that another attempt may mend."""
_Outcome: TypeAlias = "tuple[Any, BaseException | None]"


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
        """The client, for calls that :meth:`ask`, :meth:`settled` and :meth:`result` wait for."""
        with self._lock:
            if self._made is None:
                try:
                    self._made = AdminClient(self.config.client_options(**self._own_options()))
                except KafkaException as error:
                    # The client's frames hold the passwords in plain text.
                    raise translate(error) from error.with_traceback(None)
            return self._made

    def metadata(self, topic: str | None = None, *, stop: Stops | None = None) -> ClusterMetadata:
        """Return brokers and topics, or one of these, and remember the brokers."""
        client, names = self.client, () if topic is None else (topic,)
        try:
            found = self.ask(lambda seconds: client.list_topics(*names, timeout=seconds), stop=stop)
        except KafkalabError:
            self.close()
            raise
        self.brokers = tuple(f"{broker.host}:{broker.port}/{broker.id}" for broker in found.brokers.values())
        self._was_in = True
        self.has_controller = found.controller_id in found.brokers
        return found

    def ask(
        self,
        call: Callable[[float], _T],
        *,
        retried: Collection[int] = NO_ANSWER,
        stop: Stops | None = None,
        group_id: str | None = None,
    ) -> _T:
        """Return what a call that blocks returns; it is given its timeout, and made again when that is over.

        The call runs in a thread: an interrupt comes to this one, and would leave locks of the client's behind.

        Raises
        ------
        KafkalabError
            What was wrong, or why there is no answer.
        """
        deadline, last = self._start(), None
        for seconds in self.attempts():
            found, error = self._outcome(functools.partial(call, seconds), deadline, stop)
            if error is None:
                answer: _T = found
                return answer
            if not isinstance(error, KafkaException):
                raise error
            last = error.args[0]
            if last.code() not in retried:
                raise translate(error, group_id=group_id) from error
            self._give_up_if_certain()
        if last is None or last.code() in NO_ANSWER:
            raise self._no_answer()
        raise translate(last, group_id=group_id)

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
            threading.Event().wait(_PAUSE)

    def settled(
        self, make: Callable[[AdminClient], Mapping[_K, Future[_T]]], *, stop: Stops | None = None
    ) -> dict[_K, _T | KafkaException]:
        """Return what all futures of an admin call hold, or their errors.

        Raises
        ------
        KafkalabError
            Why some will not be done.
        """
        client = self.client

        def call() -> dict[_K, _T | KafkaException]:
            return {key: _settled(future) for key, future in make(client).items()}

        found, error = self._outcome(call, self._start(), stop)
        if error is not None:
            raise error
        answers: dict[_K, _T | KafkaException] = found
        return answers

    def result(self, make: Callable[[AdminClient], Future[_T]]) -> _T:
        """Return the answer of an admin call."""
        found = self.settled(lambda client: {0: make(client)})[0]
        if isinstance(found, KafkaException):
            raise self.translated(found.args[0]) from found
        return found

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

    def _outcome(self, call: Callable[[], _T], deadline: float, stop: Stops | None) -> _Outcome:
        outcomes = _in_thread(call)
        while True:
            with suppress(queue.Empty):
                outcome = outcomes.get(timeout=_PAUSE)
                if self.brokers and outcome[1] is None:
                    self._answered = True
                return outcome
            self.client.poll(0)
            self._give_up_if_certain()
            if stop is not None and stop.flag.is_set():
                raise StoppedError("stopped while waiting for the cluster")
            if time.monotonic() > deadline:
                raise self._no_answer()

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


def _in_thread(call: Callable[[], _T]) -> queue.SimpleQueue[_Outcome]:
    """Run a call that blocks beside this thread, so that an interrupt can reach this one."""
    outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcomes.put((call(), None))
        except BaseException as error:  # noqa: BLE001 # who waits for the outcome gets it
            outcomes.put((None, error))

    threading.Thread(target=run, name="kafkalab-call", daemon=True).start()
    return outcomes


def _settled(future: Future[Any]) -> Any:
    try:
        return future.result()
    except KafkaException as error:
        return error


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
