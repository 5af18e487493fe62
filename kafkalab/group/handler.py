"""What a user gives to handle records: an object with hooks, a function, or nothing; all called in one way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from kafkalab.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.group.record import Record
    from kafkalab.group.session import Session


class Handler(Protocol):
    """What handles records and says itself which are done.

    It may also have ``setup(session)``, called when this member has been given partitions and before any of their
    records is handled, and ``cleanup(session)``, called before partitions are given up and while no record is being
    handled, but for one whose ``process`` has not returned within ``drain_timeout``; marks still count in there.
    """

    def process(self, record: Record, session: Session, /) -> object:
        """Handle a record, and call ``session.mark(record)`` when it is done."""


HandlerLike: TypeAlias = "Handler | Callable[[Record], object] | None"


@dataclass(frozen=True, slots=True)
class Hooks:
    """A handler's parts.

    Attributes
    ----------
    process : callable or None
        Takes a record and a session, or with ``automatic`` a record alone; None where the caller goes through records.
    automatic : bool
        Whether a record is done when ``process`` returns.
    """

    process: Callable[..., object] | None
    automatic: bool
    setup: Callable[[Session], object] | None = None
    cleanup: Callable[[Session], object] | None = None

    @classmethod
    def of(cls, handler: Any) -> Hooks:
        """Return the parts of what a user gave.

        Raises
        ------
        ArgumentError
            It is nothing that can handle records.
        """
        if isinstance(handler, type):
            text = f"handler is the class {handler.__name__}: give an object of it, {handler.__name__}()"
            raise ArgumentError(text)
        if hasattr(handler, "process"):
            return cls(handler.process, False, getattr(handler, "setup", None), getattr(handler, "cleanup", None))  # noqa: FBT003 - one of two
        if handler is None or callable(handler):
            return cls(handler, True)  # noqa: FBT003 - one of two
        text = f"handler is an object with process(record, session), or a function of a record, not {handler!r}"
        raise ArgumentError(text)

    @property
    def stops_the_world(self) -> bool:
        """Whether no record may be handled while partitions come and go."""
        return self.setup is not None or self.cleanup is not None
