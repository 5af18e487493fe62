import pyarrow as pa
import pytest

from kafkalab.taking import take

VALUES = {
    "s": pa.array(["ab", None]),
    "b": pa.array([b"ab", None]),
    "l": pa.array([["ab"], None]),
    "o": pa.array([{"s": "ab"}, None]),
    "m": pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string())),
}


@pytest.mark.parametrize("name", VALUES)
def test_rows_of_more_bytes_than_31_bits_count_get_room(name: str) -> None:
    table = pa.table({name: VALUES[name], "n": [1, 2]})
    taken = take(table, pa.array([1, 0, 0]), most_bytes=1)
    assert "large" in str(taken.schema.field(0).type)
    assert taken.to_pylist() == [table.to_pylist()[row] for row in (1, 0, 0)]


def test_others_keep_their_types() -> None:
    table = pa.table(VALUES)
    assert take(table, pa.array([1])).schema == table.schema
