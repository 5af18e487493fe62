from collections import deque

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.errors import ArgumentError
from kafkalab.filtering import Filter
from kafkalab.kept import Newest, View

SIZES = st.lists(st.integers(1, 100), max_size=12)


def batch(first: int, size: int) -> pa.RecordBatch:
    return pa.record_batch({"n": list(range(first, first + size))})


def numbers(kept: Newest, count: int | None = None) -> list[int]:
    return [n for rows in kept.last(count) for n in rows["n"].to_pylist()]


@given(SIZES, st.integers(0, 150), st.integers(0, 200))
def test_the_newest_rows_are_kept_whatever_they_come_in(sizes: list[int], most: int, asked: int) -> None:
    kept, model, first = Newest(most), deque[int](maxlen=most), 0
    for size in sizes:
        kept.add(batch(first, size))
        model.extend(range(first, first + size))
        first += size
    assert numbers(kept) == list(model)
    assert numbers(kept, asked) == list(model)[max(len(model) - asked, 0) :]
    assert (kept.rows, kept.rows + kept.dropped) == (len(model), first)


def test_single_rows_are_joined() -> None:
    kept = Newest(1000)
    for number in range(1000):
        kept.add(batch(number, 1))
    assert numbers(kept) == list(range(1000))
    assert len(kept.batches) <= 1000 / 32


def over(limit: int) -> Filter:
    return Filter.of(kl.field("n") > limit)


@given(SIZES, SIZES, st.integers(1, 60), st.integers(0, 400))
def test_a_condition_shows_the_newest_that_pass_and_all_rows_are_accounted_for(
    before: list[int], after: list[int], most: int, limit: int
) -> None:
    view, first = View(most), 0
    for number, size in enumerate([*before, *after]):
        if number == len(before):
            view.choose(over(limit))
        view.add(batch(first, size))
        first += size
    at_choice = sum(before)
    if after:
        found = list(range(max(at_choice - most, 0), first))
        assert numbers(view.shown) == [n for n in found if n > limit][-most:]
    assert view.seen == first == view.shown.rows + view.shown.dropped + view.hidden


def test_another_condition_finds_the_newest_of_all_again() -> None:
    view = View(10)
    view.add(batch(0, 20))
    view.choose(over(100))
    assert (view.shown.rows, view.hidden) == (0, 10)
    view.choose(None)
    assert numbers(view.shown) == list(range(10, 20))


def test_a_copy_stays_as_it_is() -> None:
    view = View(10)
    view.add(batch(0, 8))
    for where in (None, over(3)):
        view.choose(where)
        copy, shown = view.copy(), numbers(view.shown)
        view.add(batch(100, 9))
        assert numbers(copy.shown) == shown != numbers(view.shown)
        copy.choose(None)
        assert len(numbers(copy.shown)) in (8, 10)


def test_a_condition_that_does_not_fit_leaves_the_one_before() -> None:
    view = View(10)
    view.add(batch(0, 8))
    view.choose(over(3))
    with pytest.raises(ArgumentError, match="no row here has a column 'm': there are 'n'"):
        view.choose(Filter.of(kl.field("m") > 1))
    with pytest.raises(ArgumentError, match="does not fit the types"):
        view.choose(Filter.of(kl.field("n") == "text"))
    assert numbers(view.shown) == [4, 5, 6, 7]


def test_rows_of_other_types_are_hidden_and_a_condition_that_fits_none_says_why() -> None:
    view = View(10)
    view.choose(over(3))
    view.add(pa.record_batch({"n": ["text"]}))
    assert "does not fit the types" in (view.failed or "")
    view.add(batch(4, 1))
    assert (numbers(view.shown), view.hidden, view.failed) == ([4], 1, None)
