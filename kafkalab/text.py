"""Text from topics, brokers and registries is hostile: none of it may act where it is shown."""

import re

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0e\U00016fe4\U000e0100-\U000e01ef]"
    # A joiner and a variation selector shape the character before them, but not if that is ASCII or one of them.
    "|(?<![^\x00-\x7f\u200d])[\u200d\ufe0f]"
)
_SHAPING = "\u200d"


def safe(text: str) -> str:
    r"""Write control, bidirectional and invisible characters as escapes.

    Examples
    --------
    >>> print(safe("\x1b[31mred\n"))
    \x1b[31mred\n
    """
    if text.isascii() and text.isprintable():
        return text
    visible = _INVISIBLE.sub(lambda found: _escaped(found[0]), text)
    return "".join(c if c.isprintable() or c == _SHAPING else _escaped(c) for c in visible)


def shortened(text: str, most: int = 300) -> str:
    """Return the beginning of a long text, with a note of how much was cut.

    Examples
    --------
    >>> shortened("abcdef", 3)
    'abc... (3 more characters)'
    """
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
