"""The checker finds each kind of fault, and nothing where there is none."""

from typing import Any

import pytest

from tests.chaos.checker import Truth, check_follower, check_group, check_rows, value_of


@pytest.fixture
def truth() -> Truth:
    """Give a topic of two lives: ten records in one partition, then five; every third offset is a gap."""
    truth = Truth()
    for life, count in ((0, 10), (1, 5)):
        for number in range(count):
            value = value_of("t", life, number)
            truth.sent.add(value)
            truth.acknowledged(life, (0, number + number // 2), value)
    return truth


def rows(truth: Truth, life: int = 0) -> list[list[Any]]:
    return [[*place, value] for place, value in truth.lives[life].items()]


def read(rows: list[list[Any]], *ranges: list[int]) -> dict[str, Any]:
    return {"verb": "read", "topic": "t", "rows": rows, "ranges": list(ranges)}


class TestRows:
    @pytest.mark.parametrize("life", [0, 1])
    def test_that_are_right(self, truth: Truth, life: int) -> None:
        assert not list(check_rows(truth, read(rows(truth, life), [0, 0, 15 if life == 0 else 7])))

    def test_of_an_empty_range_are_right_in_any_life(self, truth: Truth) -> None:
        assert not list(check_rows(truth, read([], [0, 8, 9])))

    def test_that_were_not_acknowledged_in_time_are_right(self, truth: Truth) -> None:
        truth.sent.add("t/0/99")
        assert not list(check_rows(truth, read([*rows(truth), [0, 20, "t/0/99"]], [0, 0, 21])))

    @pytest.mark.parametrize("missing", range(10))
    def test_missing(self, truth: Truth, missing: int) -> None:
        found = rows(truth)
        del found[missing]
        (violation,) = check_rows(truth, read(found, [0, 0, 15]))
        assert "1 acknowledged records are missing" in violation

    def test_all_missing(self, truth: Truth) -> None:
        (violation,) = check_rows(truth, read([], [0, 0, 15]))
        assert "missing" in violation

    def test_invented(self, truth: Truth) -> None:
        (violation,) = check_rows(truth, read([[0, 0, "t/0/777"]]))
        assert "nobody sent" in violation

    def test_at_another_place(self, truth: Truth) -> None:
        (violation,) = check_rows(truth, read([[0, 0, "t/0/1"]]))
        assert "not 't/0/0'" in violation

    def test_out_of_order_or_twice(self, truth: Truth) -> None:
        found = rows(truth)
        assert "came after" in next(check_rows(truth, read(found[::-1])))
        assert "came after" in next(check_rows(truth, read([found[0], found[0]])))

    def test_of_two_lives(self, truth: Truth) -> None:
        mixed = [*rows(truth, 1), *rows(truth, 0)[6:]]
        (violation,) = check_rows(truth, read(mixed, [0, 0, 15]))
        assert "lives [0, 1]" in violation

    def test_of_a_stream(self, truth: Truth) -> None:
        found = rows(truth)
        assert not list(check_follower(truth, "t", "follow", [{"rows": found[:4]}, {"rows": found[4:]}]))
        assert list(check_follower(truth, "t", "follow", [{"rows": found[:4]}, {"rows": found[5:]}]))


class TestGroup:
    def history(self, truth: Truth, upto: int = 5) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = [{"kind": "assigned", "at": 0.0}]
        for at, (partition, offset, value) in enumerate(rows(truth, 1)[:upto], 1):
            events.append(
                {"kind": "handled", "at": float(at), "partition": partition, "offset": offset, "value": value}
            )
        return events

    def test_that_is_right(self, truth: Truth) -> None:
        twice = self.history(truth)
        commits = [{"at": 3.0, "life": 1, "offsets": [[0, 4]]}, {"at": 9.0, "life": 1, "offsets": [[0, 7]]}]
        assert not list(check_group(truth, "t", [twice, self.history(truth, 2)], commits))

    def test_that_left_records(self, truth: Truth) -> None:
        (violation,) = check_group(truth, "t", [self.history(truth, 4)], [])
        assert "1 acknowledged records were never handled, the first at [0]@6" in violation

    def test_whose_records_were_deleted(self, truth: Truth) -> None:
        truth.deleted[0] = 7
        assert not list(check_group(truth, "t", [], []))

    def test_that_committed_too_far(self, truth: Truth) -> None:
        (violation,) = check_group(truth, "t", [self.history(truth)], [{"at": 2.5, "life": 1, "offsets": [[0, 4]]}])
        assert "[0]@3 was not handled" in violation

    def test_that_kept_no_order(self, truth: Truth) -> None:
        first, *others = self.history(truth)
        assert any("came after" in text for text in check_group(truth, "t", [[first, *others[::-1]]], []))
        both = [first, *others, first, *others]
        assert not list(check_group(truth, "t", [both], []))
