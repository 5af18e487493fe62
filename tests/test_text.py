import re
import unicodedata

import pytest

from kafkalab.text import safe, shortened

BLANK = re.compile("HANGUL.* FILLER|SCRIPT FILLER|VARIATION SELECTOR|PATTERN BLANK|GRAPHEME JOINER")

BLANK = re.compile("HANGUL.* FILLER|SCRIPT FILLER|VARIATION SELECTOR|PATTERN BLANK|GRAPHEME JOINER")


@pytest.mark.parametrize(
    "shown", ["plain", "Zürich", "\u2764\ufe0f\u200d\U0001f525", "\u0915\u094d\u200d\u0937", "a\u0301"]
)
def test_text_that_shows_itself_stays(shown: str) -> None:
    assert safe(shown) == shown


@pytest.mark.parametrize(
    "hidden",
    [
        "\x1b[31m",
        "\u202eabc",
        "\u3164",
        "a\u115fb",
        "\u2800",
        "a\ufe0f",
        "\u034f",
        "a\u200db",
        "\u200d\u200d",
        "\U000e0101",
    ],
)
def test_what_hides_or_acts_is_written_out(hidden: str) -> None:
    assert safe(hidden).isascii()
    assert "\\" in safe(hidden)
    assert safe(safe(hidden)) == safe(hidden)


def test_every_filler_and_selector_is_written_out() -> None:
    blank = [c for c in map(chr, (*range(0x20000), *range(0xE0000, 0xE0200))) if BLANK.search(unicodedata.name(c, ""))]
    assert len(blank) > 250
    assert [unicodedata.name(c) for c in blank if safe(c) == c] == []


def test_long_text_is_cut() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("a" * 400) == "a" * 300 + "... (100 more characters)"
