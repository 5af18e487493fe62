"""What a translation has to say about a setting that does not go over as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["no equivalent", "changes meaning", "default differs", "adjusted", "left out"]


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that a translation lost, changed or left out.

    Examples
    --------
    >>> print(Note("ChannelBufferSize", "no equivalent", "it counts messages between goroutines"))
    ChannelBufferSize (no equivalent): it counts messages between goroutines
    """

    name: str
    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}): {self.text}"
