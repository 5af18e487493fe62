from datetime import UTC, date, datetime, time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.temporal import as_text, has_outside, python_rows, python_values

KINDS = [
    *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "Pacific/Auckland")),
    pa.date32(),
    pa.date64(),
    *(pa.time32(unit) for unit in ("s", "ms")),
    *(pa.time64(unit) for unit in ("us", "ns")),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("nested", [False, True])
@given(numbers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-10, 10), min_size=1, max_size=3))
def test_any_number_is_a_value_of_python(kind: pa.DataType, *, nested: bool, numbers: list[int | None]) -> None:
    within = [None if number is None else number >> (64 - kind.bit_width) for number in numbers]
    if pa.types.is_date64(kind):
        within = [None if number is None else (number >> 1) // 86_400_000 * 86_400_000 for number in within]
    values = pa.array(within, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    if nested:
        values = pa.StructArray.from_arrays([values], ["x"])
    read = [value["x"] if nested else value for value in python_values(values)]
    assert [value is None for value in read] == [number is None for number in within]


def test_what_python_has_is_as_before() -> None:
    rows = [{"at": datetime(2026, 1, 1, tzinfo=UTC), "t": time(1, 2), "d": date(9999, 12, 31), "l": [date(1, 1, 1)]}]
    table = pa.Table.from_pylist(rows)
    assert not any(has_outside(column) for column in table.columns)
    assert python_rows(table) == table.to_pylist()


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (253_402_300_800, pa.timestamp("s"), "+10000-01-01T00:00:00"),
        (-62_135_596_801, pa.timestamp("s", "UTC"), "0000-12-31T23:59:59+00:00"),
        (1_705_000_000_000_000, pa.timestamp("ms"), f"+{np.datetime64(1_705_000_000_000_000, 'ms')}"[:21]),
        (2_932_897, pa.date32(), "+10000-01-01"),
        (-800_000, pa.date32(), "-0221-09-04"),
        (-(2**31), pa.date32(), "-5877641-06-23"),
        (87_741_000_001, pa.time64("us"), "24:22:21.000001"),
        (-1, pa.time32("s"), "-00:00:01"),
        (3_020_399, pa.time32("s"), "838:59:59"),
    ],
    ids=str,
)
def test_times_beyond_are_text_in_the_same_order(number: int, kind: pa.DataType, text: str) -> None:
    assert as_text(number, kind) == text
    inside = pa.array([[("k", number)], None], pa.map_(pa.string(), kind))
    assert python_values(inside) == [[("k", text)], None]
