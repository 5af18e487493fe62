"""One call of a function with one part of a topic: read, called, and what became of it, whichever process it was in."""

from __future__ import annotations

import concurrent.futures
import traceback
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kafkalab.fetch.base import Stop
from kafkalab.frame import to_frame, with_receipt
from kafkalab.model import Receipt
from kafkalab.pickling import Sealed
from kafkalab.rows import Names

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.model import OffsetRange
    from kafkalab.parts import Part, PartReader

FrameKind: TypeAlias = Literal["pandas", "arrow"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a part: a value, or an error and what was being done when it came.

    Attributes
    ----------
    value : object
        What the function returned.
    receipt : Receipt
        What was read for it.
    names : Names
        The fields that its rows had.
    error : BaseException or None
        What the read or the function raised.
    doing : str
        ``"reading"``, ``"the function"`` or ``"sending back what the function returned"``.
    """

    value: Any = None
    receipt: Receipt = field(default_factory=lambda: Receipt(()))
    names: Names = field(default_factory=Names)
    error: BaseException | None = None
    doing: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A function, and how to read what it is called with."""

    reader: PartReader
    func: Callable[[Any], Any]
    frame: FrameKind

    def __call__(self, part: OffsetRange, stop: Stop, until: float | None) -> Outcome:
        """Read a part and call the function with it; an error is an outcome too, but for the one that says stop."""
        try:
            found = self.reader.read(part, stop, until=until, alone=False)
        except Exception as error:  # noqa: BLE001 - told as the part's outcome
            return Outcome(error=error, doing="reading")
        if stop.is_set():
            raise concurrent.futures.CancelledError
        try:
            value = self.func(self._shown(found))
        except Exception as error:  # noqa: BLE001 - the user's function may raise anything
            return Outcome(receipt=found.receipt, error=error, doing="the function")
        return Outcome(value, found.receipt, found.names)

    def _shown(self, found: Part) -> Any:
        if self.frame == "arrow":
            return with_receipt(found.table, found.receipt)
        return to_frame(found.table, found.receipt)


def elsewhere(task: Sealed, part: OffsetRange, until: float | None) -> Sealed:
    """Run a task that was sent to this process, and return its outcome as it can be sent back."""
    outcome: Outcome = task.open()(part, Stop(), until)
    try:
        if outcome.error is not None:
            return Sealed(replace(outcome, error=_told(outcome.error)))
        return Sealed(outcome)
    except Exception as error:  # noqa: BLE001 - whatever a value raises when it is pickled
        message = f"a {type(outcome.value).__name__} cannot be pickled: {error}"
        failed = replace(outcome, value=None, error=TypeError(message), doing="sending back what the function returned")
        return Sealed(failed)


def _told(error: BaseException) -> BaseException:
    """Return an error that can travel, with the traceback of this process as a note."""
    lines = traceback.format_exception(error)
    try:
        told: BaseException = Sealed(error).open()
    except Exception:  # noqa: BLE001 - errors whose __init__ wants more than they keep cannot be made again
        told = RuntimeError(f"{type(error).__name__}: {error}")
    told.add_note("In the worker:\n" + "".join(lines).rstrip())
    return told
