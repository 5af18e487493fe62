"""Sizes, times and counts, as they are written and read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.errors import ArgumentError
from kafkalab.group import consumer_group
from kafkalab.units import format_quantity, parse_quantity, seconds


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


@pytest.mark.parametrize("wrong", [float("inf"), float("nan"), -1, 1e300, "5", None, True, 10**400])
def test_a_time_that_no_clock_takes_is_refused(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="drain_timeout must be a number of seconds from 0 to 315,360,000, got"):
        seconds(wrong, "drain_timeout")


def test_every_verb_refuses_such_a_time() -> None:
    cluster = kl.MemoryCluster({"orders": 1})
    lab = kl.Lab(cluster, cluster)
    for wrong in (float("inf"), float("nan")):
        with pytest.raises(ArgumentError, match="timeout must be"):
            kl.connect("127.0.0.1:1", timeout=wrong)
        with pytest.raises(ArgumentError, match="timeout must be"):
            lab.read("orders", timeout=wrong)
        with lab.tail("orders") as tail, pytest.raises(ArgumentError, match="timeout must be"):
            tail.wait_for(1, wrong)
        for name in ("drain_timeout", "commit_interval"):
            with pytest.raises(ArgumentError, match=f"{name} must be"):
                consumer_group._check(**{name: wrong})
