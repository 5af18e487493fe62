"""Shorter turns of Python's threads while a read runs, so that a busy thread beside it does not hold it up."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TURN_S = 0.0005


@contextmanager
def short_turns() -> Iterator[None]:
    """Have threads that want the interpreter wait half a millisecond for it, not Python's five.

    A read comes back to the interpreter a few hundred times for each million records, and each time another thread
    that runs Python keeps it for a turn. Nothing is changed where turns are as short already: by the user, or by
    another read, which then also puts back what was there.

    Examples
    --------
    >>> import sys
    >>> before = sys.getswitchinterval()
    >>> with short_turns():
    ...     sys.getswitchinterval() <= 0.0005
    True
    >>> sys.getswitchinterval() == before
    True
    """
    before = sys.getswitchinterval()
    if before <= _TURN_S:
        yield
        return
    sys.setswitchinterval(_TURN_S)
    ours = sys.getswitchinterval()
    try:
        yield
    finally:
        if sys.getswitchinterval() == ours:  # else somebody has changed it meanwhile
            sys.setswitchinterval(before)
