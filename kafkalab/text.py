"""What a topic holds is somebody's text: nothing of it may act where it is shown."""

_JOINER = "\u200d"


def safe(text: str) -> str:
    r"""Return text with its control characters and the like as escapes: none moves the cursor, or hides another.

    Examples
    --------
    >>> print(safe("\x1b[31mred\n"))
    \x1b[31mred\n
    """
    return "".join(c if c.isprintable() or c == _JOINER else c.encode("unicode_escape").decode() for c in text)
