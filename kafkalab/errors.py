"""One tree of errors, each of which is also the built-in that fits."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, ClassVar, Self

from kafkalab.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 10


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the names close to a wrong one, or else all there are.

    Examples
    --------
    >>> did_you_mean("order", ["orders", "payments"])
    "did you mean 'orders'?"
    >>> did_you_mean("xyz", ["orders", "payments"])
    "there are 'orders', 'payments'"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there are {', '.join(map(repr, names[:_SHOWN]))}{more}" if names else "there are none"


class KafkalabError(Exception):
    """The root of every error that kafkalab raises on purpose.

    Parameters
    ----------
    message : str
        What was wrong and what to do next. Where it happened is put in front of it. Brokers, registries and topics have
        a part in it, so control and invisible characters become escapes.
    topic : str, optional
        The topic that was being worked on.
    partition : int, optional
        The partition that was being worked on.
    offset : int, optional
        The offset at which it happened.

    Examples
    --------
    >>> print(KafkalabError("the batch is cut", topic="orders", partition=3, offset=42))
    orders[3]@42: the batch is cut
    """

    _has_lines: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__("\n".join(map(safe, message.split("\n"))) if self._has_lines else safe(message))
        self.topic = topic
        self.partition = partition
        self.offset = offset

    def __str__(self) -> str:
        where = "".join(
            (
                safe(self.topic or ""),
                "" if self.partition is None else f"[{self.partition}]",
                "" if self.offset is None else f"@{self.offset}",
            )
        )
        message = super().__str__()
        return f"{where}: {message}" if where else message

    def __reduce__(self) -> tuple[type, tuple[str], dict[str, object]]:
        # Keyword-only fields do not survive the default pickling, and workers send errors home.
        return type(self), (self.args[0],), self.__dict__.copy()


class ConfigError(KafkalabError, ValueError):
    """A configuration that cannot work: an unknown option, a missing or contradictory value."""


class ArgumentError(KafkalabError, ValueError):
    """A call's argument that makes no sense: a wrong column, format, count or path."""


class BrokerUnreachableError(KafkalabError, ConnectionError):
    """No broker answered at the given addresses."""


class OfflinePartitionError(BrokerUnreachableError):
    """A partition has no leader, as the brokers that hold it are away; the same call may succeed later."""


class AuthenticationError(KafkalabError, PermissionError):
    """The broker refused the credentials, or they do not fit what it offers."""


class TlsError(KafkalabError, ConnectionError):
    """The encrypted connection failed: an untrusted certificate, a wrong name, plain text on a TLS port."""


class AuthorizationError(KafkalabError, PermissionError):
    """The credentials are right but do not allow this."""


class UnknownTopicError(KafkalabError, LookupError):
    """The cluster has no such topic."""

    @classmethod
    def among(cls, topic: str, known: Iterable[str]) -> Self:
        """Return the error for a topic that is none of the known ones."""
        return cls(f"there is no such topic: {did_you_mean(topic, known)}", topic=topic)


class UnknownPartitionError(KafkalabError, LookupError):
    """The topic has no such partition."""


class PositionError(KafkalabError, ValueError):
    """A start or end that names no place in the log."""


class DataLossError(KafkalabError, LookupError):
    """Records of the asked range are gone: retention passed them, or the topic was deleted or made anew."""


class CorruptDataError(KafkalabError, ValueError):
    """Bytes from the broker that break Kafka's format or fail their checksum."""


class DecodeError(KafkalabError, ValueError):
    """A key or value that is not in the format that was asked for."""


class RegistryError(KafkalabError, ConnectionError):
    """A schema registry does not answer, or refuses to."""


class ReadTimeoutError(KafkalabError, TimeoutError):
    """The cluster did not answer, or a read made no progress, in the time allowed."""


class UnsupportedError(KafkalabError, NotImplementedError):
    """The broker, or the engine, cannot do this."""


class MapError(KafkalabError, RuntimeError):
    """A function mapped over partitions failed, or reading for it did.

    Attributes
    ----------
    results : list
        What it returned for the parts that finished; with ``reduce=``, what these were folded to.
    finished, failed : list of OffsetRange
        The parts that are in the results, and those that failed.
    errors : list of BaseException
        Why each of these failed. An error from another process has that one's traceback in its notes.
    """

    results: list[object]
    finished: list[Any]
    failed: list[Any]
    errors: list[BaseException]


class GroupError(KafkalabError, RuntimeError):
    """A consumer group does not allow this as it is, such as a seek while it has members."""


class HandlerError(KafkalabError, RuntimeError):
    """A consumer group's handler failed at a record, which is in ``record``; the cause is what the handler raised."""

    record: object


class ExportError(KafkalabError, OSError):
    """A file could not be written, or is damaged; or another export has the folder. Files finished before are whole."""


class BrokerStartError(KafkalabError, RuntimeError):
    """A broker for demos and tests could not be started."""

    _has_lines = True  # of its log


class KafkalabWarning(UserWarning):
    """The root of kafkalab's warnings.

    Parameters
    ----------
    message : str
        The warning. Control and invisible characters become escapes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(safe(message))


class IncompleteWarning(KafkalabWarning):
    """A read ended before the end of its range, or records of the range were gone: the answer is of a part of it."""


class LimitWarning(IncompleteWarning):
    """A read stopped at its guard (``limit``, ``max_bytes`` or ``timeout``) before the end of its range."""


class DataLossWarning(IncompleteWarning):
    """Records of the asked range were gone, and the caller chose to go on."""
