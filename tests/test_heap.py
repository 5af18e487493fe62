"""While records stream through a process, the garbage collector leaves alone what was there before."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from kafkalab.group.heap import set_aside


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_there_is_set_aside_and_taken_back() -> None:
    with set_aside():
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0


def test_garbage_from_before_is_not_kept() -> None:
    class Large:
        pass

    knot = Large()
    setattr(knot, "itself", knot)  # noqa: B010 - mypy knows of no such attribute
    gone = weakref.ref(knot)
    del knot
    with set_aside():
        assert gone() is None


def test_garbage_that_is_made_meanwhile_is_collected() -> None:
    with set_aside():
        knot: list[object] = []
        knot.append(knot)
        del knot
        assert gc.collect() >= 1


def test_it_is_taken_back_after_a_failure() -> None:
    with pytest.raises(ValueError, match="broken"), set_aside():
        raise ValueError("broken")
    assert gc.get_freeze_count() == 0


def test_what_the_user_has_set_aside_stays() -> None:
    gc.freeze()
    with set_aside():
        pass
    assert gc.get_freeze_count() > 0


def test_groups_that_overlap_leave_nothing_behind() -> None:
    first, second = set_aside(), set_aside()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.get_freeze_count() == 0
