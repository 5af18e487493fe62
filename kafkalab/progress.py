"""A progress bar, for what takes over a second."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SHOWN_AFTER_S = 1.0


@contextmanager
def progress(
    total: int, label: str, *, shown: bool = True, unit: str = " offsets"
) -> Iterator[Callable[[int], object]]:
    """Show how much of a total is done, from the second second on.

    Parameters
    ----------
    total : int
        How much there is to do.
    label : str
        What is being done.
    shown : bool
        Whether to show it at all.
    unit : str
        What is counted.

    Yields
    ------
    callable
        Takes the number of them that are newly done.
    """
    if not shown:
        yield int
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, unit=unit, unit_scale=True, delay=_SHOWN_AFTER_S, leave=False) as bar:
        yield bar.update
