"""What a process holds already, set aside from the garbage collector while records stream through it."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def set_aside() -> Iterator[None]:
    """Have collections look only at objects that are made from now on.

    Python collects all it holds whenever a quarter as much has been made and lived for a while, as records do that
    wait for a worker. Beside pandas that is half a million objects for every hundred thousand records: half of
    what a group takes. Nothing is changed where objects are set aside already: by the user, or by another group,
    which then also takes them back.

    Examples
    --------
    >>> import gc
    >>> with set_aside():
    ...     gc.get_freeze_count() > 0
    True
    >>> gc.get_freeze_count()
    0
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()  # or cyclic garbage would be kept as long
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
