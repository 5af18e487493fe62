"""What is wrong with a schema: an error of the call that gave it, or of the rows that were written with it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_COLUMNS = 10_000
"""Columns that the types of a schema may make, nested ones too: a few of them can claim any number."""
_LONGEST = 100


class Unfit(Exception):  # noqa: N818 - it says why, and becomes the error of whoever uses the schema
    """A schema that makes no columns, or cannot be read as the one that is wanted."""


class Count:
    """Counts what a schema makes, and refuses it when that is more than it may be.

    Examples
    --------
    >>> count = Count(2, "columns")
    >>> count.add(2)
    >>> count.add(1)
    Traceback (most recent call last):
    kafkalab.decode.unfit.Unfit: it makes more than 2 columns: name those to read by columns=[...], or read bytes
    """

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._left = most

    def add(self, number: int = 1) -> None:
        """Count more of them."""
        self._left -= number
        if self._left < 0:
            raise Unfit(
                f"it makes more than {self._most} {self._what}: name those to read by columns=[...], or read bytes"
            )


@contextmanager
def held() -> Iterator[None]:
    """Take whatever a foreign schema makes of what reads it for what it is: a schema that cannot be used."""
    try:
        yield
    except RecursionError as error:
        raise Unfit("its parts are nested too deep") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
        raise Unfit(f"it cannot be used: {shortened(error)}") from error


def shortened(what: object) -> str:
    """Return how something looks, or only its beginning: a schema's parts can be as long as it."""
    text = str(what) if isinstance(what, Exception) else repr(what)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
