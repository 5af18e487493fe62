import contextlib
import re

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.errors import ArgumentError
from kafkalab.predicate import parse

ROWS = pa.table(
    {
        "n": [1, 2, None, 4],
        "status": ["paid", "new", "paid", None],
        "done": [True, False, None, True],
        "key.user": ["ann", "bob", "cy", "ann"],
        "odd name": [1, 1, 2, 2],
        "raw": [b"\x00\xff", b"x", None, b"y"],
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("n > 1", [1, 3]),
        ("n >= -1", [0, 1, 3]),
        ("1 < n <= 4", [1, 3]),
        ("status == 'paid' and n == 1", [0]),
        ("status == 'new' or n == 4", [1, 3]),
        ("not status == 'paid'", [1]),
        ("status != 'paid'", [1]),
        ("n is None", [2]),
        ("status is not None", [0, 1, 2]),
        ("status in ['new', 'old']", [1]),
        ("status not in ('new',)", [0, 2, 3]),
        ("'ai' in status", [0, 2]),
        ("done", [0, 3]),
        ("not done", [1]),
        ("key.user == 'ann'", [0, 3]),
        ("column['odd name'] == 2", [2, 3]),
        ("raw == b'x'", [1]),
        ("b'\\xff' in raw", [0]),
        ("  n==2 ", [1]),
    ],
)
def test_a_condition_chooses_rows(text: str, rows: list[int]) -> None:
    numbered = ROWS.append_column("row", pa.array(range(4)))
    assert numbered.filter(parse(text))["row"].to_pylist() == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (" or ".join(["n == 1", *["n == 4"] * 300]), [0, 3]),
        (" and ".join(["n > 1"] * 300), [1, 3]),
        (f"n in {list(range(2, 20_000))}", [1, 3]),
        ("n > -9223372036854775808 and n < 9223372036854775807", [0, 1, 3]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_long_condition_is_one_too(text: str, rows: list[int]) -> None:
    numbered = ROWS.append_column("row", pa.array(range(4)))
    assert numbered.filter(parse(text))["row"].to_pylist() == rows


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "this is no condition"),
        ("n >", "this is no condition"),
        ("n = 1", "== compares, = does not"),
        ("n > 1; m > 2", "this is no condition"),
        ("1", "a condition compares a column with a value"),
        ("open('x').read()", "not understood"),
        ("n == open('x')", "there are columns, values and"),
        ("[x for x in n]", "not understood"),
        ("(lambda: 1)() == 1", "not understood"),
        ("n == f'{n}'", "not understood"),
        ("n + 1 == 2", "not understood"),
        ("n == None", "use 'is None'"),
        ("n is 3", "followed by None"),
        ("n in status", "a column and a list"),
        ("other['x'] == 1", "not understood"),
        ("n == 1j", "not understood"),
        ("n == \0", "this is no condition"),
        ("(" * 10_000, "this is no condition"),
        ("not " * 10_000 + "n", "this is no condition"),
        (" and ".join(["n == 1"] * 10_000), "the condition is too long: it has 20,001 columns"),
        (" or ".join(["n == 1"] * 10_000), "the condition is too long"),
        (" < ".join(["n"] * 10_000), "the condition is too long"),
        ("n > 99999999999999999999999", "99999999999999999999999 is too large: whole numbers are from -2^63"),
        ("n in [1, -9223372036854775809]", "-9223372036854775809 is too large"),
        ("n == 1" + "0" * 4000, "is too large"),
        ("n in [1, 'x']", "this is no condition"),
    ],
)
def test_what_is_no_condition_is_told_why(text: str, why: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(why)):
        parse(text)


@given(st.text() | st.from_regex(r"[a-z_.()\[\]'\"=<>!&|+ 0-9]*", fullmatch=True))
def test_any_text_is_a_condition_or_an_error_that_says_so(text: str) -> None:
    with contextlib.suppress(ArgumentError):
        assert isinstance(parse(text), pc.Expression)
