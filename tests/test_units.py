"""Sizes, times and counts, as they are written and read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.errors import ArgumentError
from kafkalab.units import format_quantity, parse_quantity


@given(st.integers(-(10**12), 10**12), st.sampled_from(["bytes", "KiB", "ms", "messages", "requests", ""]))
def test_a_quantity_is_read_as_it_was_written(value: int, unit: str) -> None:
    assert parse_quantity(format_quantity(value, unit), unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("128 KiB", "bytes", 131_072),
        ("128k", "bytes", 131_072),
        ("1 MB", "bytes", 1_000_000),
        ("1.5M", "bytes", 3 << 19),
        ("64 MiB", "KiB", 65_536),
        ("65536", "KiB", 65_536),
        ("1.5s", "ms", 1500),
        (" 5 m ", "ms", 300_000),
        (".5s", "ms", 500),
        ("100 k", "messages", 100_000),
        ("1,000", "messages", 1000),
        ("1_000", "", 1000),
        ("-1", "ms", -1),
    ],
)
def test_a_quantity_is_read_as_people_write_it(text: str, unit: str, value: int) -> None:
    assert parse_quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit"), [("5 s", "bytes"), ("", "ms"), ("many", ""), ("1 KiB", "ms"), ("1..2", "ms"), ("9" * 5000, "ms")]
)
def test_a_quantity_of_something_else_is_refused(text: str, unit: str) -> None:
    with pytest.raises(ArgumentError, match="is no number"):
        parse_quantity(text, unit)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (100_000_000, "bytes", "100 MB"),
        (50 << 20, "bytes", "50 MiB"),
        (1, "bytes", "1 B"),
        (0, "ms", "0 ms"),
        (90_000, "ms", "90 s"),
        (300_000, "ms", "5 min"),
        (123_457, "bytes", "123,457 B"),
        (100_000, "messages", "100 k"),
        (256, "messages", "256"),
        (1_000_000, "requests", "1,000,000"),
    ],
)
def test_a_quantity_is_short(value: int, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text
