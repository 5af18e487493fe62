"""Text that is never shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORT = 3


class Secret:
    """A password or key that no repr, str, format or traceback shows.

    It can be pickled, as worker processes need it, and compared.

    Examples
    --------
    >>> password = Secret("hunter2")
    >>> print(password, repr(password), f"{password}")
    *** Secret('***') ***
    >>> password.reveal()
    'hunter2'
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret('***')"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self._text,)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return a text with every secret replaced by ``***``.

    A secret of one or two letters is part of many words: it is replaced only where it stands alone.

    Examples
    --------
    >>> scrub("Unauthorized: hunter2 for th", ["hunter2", "th"])
    'Unauthorized: *** for ***'
    """
    for secret in sorted({*secrets} - {""}, key=len, reverse=True):  # one may be part of another
        pattern = re.escape(secret)
        text = re.sub(pattern if len(secret) >= _SHORT else rf"(?<!\w){pattern}(?!\w)", "***", text)
    return text


def revealed(value: Any) -> Any:
    """Return what a `Secret` holds; anything else as it is."""
    return value.reveal() if isinstance(value, Secret) else value
