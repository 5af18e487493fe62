import json
import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.errors import PositionError
from kafkalab.model import (
    IsolationLevel,
    LiveEstimate,
    OffsetRange,
    PartitionReceipt,
    Receipt,
    StopReason,
    TopicPartition,
    Watermarks,
)

COMMITTED, UNCOMMITTED = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED

counts = st.integers(0, 2**63 - 1)
parts = st.builds(
    PartitionReceipt,
    st.text(max_size=5),
    st.integers(0, 10_000),
    *[counts] * 6,
    stop=st.sampled_from(StopReason),
)
receipts = st.builds(
    Receipt,
    st.lists(parts, max_size=3).map(tuple),
    st.sampled_from(IsolationLevel),
    st.sampled_from(["", "memory", "librdkafka"]),
    st.none() | st.builds(LiveEstimate, counts, counts, counts),
    st.lists(st.text(max_size=5), max_size=2).map(tuple),
)


@pytest.mark.parametrize(
    "value",
    [
        OffsetRange("orders", 3, 100, 250),
        TopicPartition("orders", 3),
        Watermarks(1, 2, 3),
        Receipt((PartitionReceipt("orders", 0, 0, 10, 5, stop=StopReason.LIMIT),), notes=("a",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_frozen_and_go_to_workers(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - made in this line
    assert len({value, pickle.loads(pickle.dumps(value))}) == 1  # noqa: S301 - made in this line
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, "other")


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (6, 5), (-2, -1)])
def test_what_is_no_range_is_refused_with_its_place(start: int, end: int) -> None:
    with pytest.raises(PositionError, match=rf"orders\[3\]: start {start} and end {end}"):
        OffsetRange("orders", 3, start, end)


def test_a_range_is_half_open_and_may_be_empty() -> None:
    assert OffsetRange("orders", 0, 5, 7).span == 2
    assert OffsetRange("orders", 0, 5, 5).span == 0


def test_ranges_sort_by_topic_partition_and_offset() -> None:
    ranges = [
        OffsetRange("b", 0, 0, 1),
        OffsetRange("a", 1, 0, 1),
        OffsetRange("a", 0, 5, 6),
        OffsetRange("a", 0, 0, 9),
    ]
    assert [str(part) for part in sorted(ranges)] == ["a[0]@0-9", "a[0]@5-6", "a[1]@0-1", "b[0]@0-1"]


@pytest.mark.parametrize(("level", "end"), [(COMMITTED, 20), (UNCOMMITTED, 30)])
def test_the_isolation_level_says_where_the_log_ends(level: IsolationLevel, end: int) -> None:
    assert Watermarks(10, 20, 30).end_offset(level) == end


@given(receipts)
def test_a_receipt_survives_as_text(receipt: Receipt) -> None:
    assert Receipt.from_json(receipt.to_json()) == receipt


def test_a_receipt_as_text_is_plain_json_on_one_line() -> None:
    text = Receipt((PartitionReceipt("orders", 0, 0, 10, 10, 9, 8, 70),), live=LiveEstimate(9, 9, 9)).to_json()
    assert "\n" not in text
    assert json.loads(text)["partitions"][0] == {
        "topic": "orders",
        "partition": 0,
        "start": 0,
        "end": 10,
        "next_offset": 10,
        "records": 9,
        "rows": 8,
        "bytes": 70,
        "stop": "reached",
    }


def test_a_receipt_sums_its_partitions() -> None:
    receipt = Receipt(
        (
            PartitionReceipt("orders", 0, 0, 10, 10, 9, 8, 70),
            PartitionReceipt("orders", 1, 0, 10, 4, 3, 2, 30, StopReason.LIMIT),
        )
    )
    assert (receipt.records, receipt.rows, receipt.bytes) == (12, 10, 100)
    assert not receipt.complete
    assert receipt.stop_reasons == (StopReason.REACHED, StopReason.LIMIT)
    assert repr(receipt) == "<Receipt orders: 10 rows of 12 records, 2 partitions, reached, limit>"


def test_an_empty_receipt_is_complete() -> None:
    assert Receipt(()).complete
    assert repr(Receipt(())) == "<Receipt nothing: 0 rows of 0 records, 0 partitions, reached>"


@given(st.lists(receipts, max_size=4))
def test_merged_receipts_keep_every_range_and_note(several: list[Receipt]) -> None:
    merged = Receipt.merge(several)
    assert merged.partitions == tuple(part for receipt in several for part in receipt.partitions)
    assert set(merged.notes) == {note for receipt in several for note in receipt.notes}
    assert len(set(merged.notes)) == len(merged.notes)
    assert merged.live is None


@pytest.mark.parametrize(
    ("levels", "merged"),
    [
        ([], COMMITTED),
        ([COMMITTED, COMMITTED], COMMITTED),
        ([UNCOMMITTED], UNCOMMITTED),
        ([COMMITTED, UNCOMMITTED], UNCOMMITTED),
    ],
)
def test_mixed_isolation_levels_count_as_the_weaker(levels: list[IsolationLevel], merged: IsolationLevel) -> None:
    assert Receipt.merge(Receipt((), level) for level in levels).isolation_level is merged


def test_merged_engines_are_all_named() -> None:
    assert Receipt.merge([Receipt((), engine="b"), Receipt((), engine="a"), Receipt(())]).engine == "a+b"


def test_a_receipt_takes_an_estimate() -> None:
    assert Receipt(()).with_live(LiveEstimate(5, 4, 6)).live == LiveEstimate(5, 4, 6)
