"""`where` gives each row what it would get alone: held to an evaluator in Python, a row at a time."""

import itertools
import json
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
from hypothesis import example, given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.errors import ArgumentError
from kafkalab.filtering import Filter
from kafkalab.kept import View
from kafkalab.predicate import parse
from kafkalab.rows import RowOptions, RowShaper
from tests.test_rows import step, without_headers

Truth = bool | None
Record = dict[str, Any]

_INT64 = range(-(1 << 63), 1 << 63)
_COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """A condition as pyarrow has it, as a tail takes it, and what it is for a record."""

    expression: pc.Expression
    text: str | None
    holds: Callable[[Record], Truth]

    def __repr__(self) -> str:
        return str(self.expression)


def at(record: Record, path: tuple[str, ...]) -> Any:
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, int) and value not in _INT64:
        return float(value)
    return value


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, int | float) else type(value).__name__


def compared(left: Any, how: str, right: Any) -> Truth:
    if left is None or right is None or kind(left) != kind(right) or kind(left) in ("list", "dict"):
        return None
    return bool(_COMPARISONS[how](left, right))


def joined(how: str, left: Truth, right: Truth) -> Truth:
    if how == "and":
        return False if False in (left, right) else None if None in (left, right) else True
    return True if True in (left, right) else None if None in (left, right) else False


def named(path: tuple[str, ...]) -> Any:
    return kl.field(path) if len(path) > 1 else kl.field(path[0])


def comparison(path: tuple[str, ...], how: str, value: Any) -> Condition:
    text = f"{path[0]} {how} {value!r}" if len(path) == 1 else None
    return Condition(_COMPARISONS[how](named(path), value), text, lambda record: compared(at(record, path), how, value))


def of_fields(left: tuple[str, ...], how: str, right: tuple[str, ...]) -> Condition:
    text = f"{left[0]} {how} {right[0]}" if len(left) == len(right) == 1 else None
    expression = _COMPARISONS[how](named(left), named(right))
    return Condition(expression, text, lambda record: compared(at(record, left), how, at(record, right)))


def membership(path: tuple[str, ...], values: list[Any]) -> Condition:
    def holds(record: Record) -> Truth:
        value = at(record, path)
        return False if value is None else value in values if kind(value) == kind(values[0]) else None

    return Condition(named(path).isin(values), f"{path[0]} in {values!r}" if len(path) == 1 else None, holds)


def null(path: tuple[str, ...]) -> Condition:
    return Condition(
        named(path).is_null(),
        f"{path[0]} is None" if len(path) == 1 else None,
        lambda record: at(record, path) is None,
    )


def contained(path: tuple[str, ...], part: str) -> Condition:
    def holds(record: Record) -> Truth:
        value = at(record, path)
        return part in value if isinstance(value, str) else None

    return Condition(pc.match_substring(named(path), part), f"{part!r} in {path[0]}" if len(path) == 1 else None, holds)


def beginning(path: tuple[str, ...], part: str) -> Condition:
    def holds(record: Record) -> Truth:
        value = at(record, path)
        return value.startswith(part) if isinstance(value, str) else None

    return Condition(pc.starts_with(named(path), part), None, holds)


def length(path: tuple[str, ...], how: str, size: int) -> Condition:
    def holds(record: Record) -> Truth:
        value = at(record, path)
        return compared(len(value), how, size) if isinstance(value, str) else None

    return Condition(_COMPARISONS[how](pc.utf8_length(named(path)), size), None, holds)


def first_of(left: tuple[str, ...], right: tuple[str, ...], how: str, value: Any) -> Condition:
    def holds(record: Record) -> Truth:
        first, second = at(record, left), at(record, right)
        if None not in (first, second):
            if kind(first) != kind(second):
                return None
            if isinstance(second, float):
                first = float(first)
        return compared(second if first is None else first, how, value)

    return Condition(_COMPARISONS[how](pc.coalesce(named(left), named(right)), value), None, holds)


def halved(path: tuple[str, ...], how: str, value: int) -> Condition:
    def holds(record: Record) -> Truth:
        number = at(record, path)
        if kind(number) != "number":
            return None
        half = number / 2 if isinstance(number, float) else int(math.copysign(abs(number) // 2, number))
        return compared(half, how, value)

    return Condition(_COMPARISONS[how](pc.divide(named(path), 2), value), None, holds)


def negated(one: Condition) -> Condition:
    def holds(record: Record) -> Truth:
        truth = one.holds(record)
        return None if truth is None else not truth

    return Condition(~one.expression, None if one.text is None else f"not ({one.text})", holds)


def both(how: str, left: Condition, right: Condition) -> Condition:
    expression = left.expression & right.expression if how == "and" else left.expression | right.expression
    text = None if None in (left.text, right.text) else f"({left.text}) {how} ({right.text})"
    return Condition(expression, text, lambda record: joined(how, left.holds(record), right.holds(record)))


INTEGERS = st.integers(-3, 3) | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 10**18, 2**70, -(2**80)])
FLOATS = st.sampled_from([0.0, 0.5, 1.0, 2.0, -2.5, 3.0, 2.0**53, 1e300, math.nan, math.inf])
STRINGS = st.sampled_from(["", "x", "xy", "1", "true", "null", 'é"\\'])
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | STRINGS
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(["x", "y"]), SCALARS, max_size=2)
RECORDS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3), min_size=1, max_size=8)
NAMES = st.sampled_from([("a",), ("b",), ("c",)])
PATHS = NAMES | st.just(("c", "x"))
HOW = st.sampled_from(list(_COMPARISONS))
LITERALS = st.integers(-3, 3) | st.sampled_from([2**53, 2**53 + 1, 0.5, 2.0]) | STRINGS
SIMPLE = (
    st.builds(comparison, PATHS, HOW, LITERALS)
    | st.builds(comparison, PATHS, st.sampled_from(["==", "!="]), st.booleans())
    | st.builds(of_fields, PATHS, HOW, PATHS)
    | st.builds(membership, PATHS, st.lists(st.integers(-3, 3), min_size=1) | st.lists(STRINGS, min_size=1))
    | st.builds(null, PATHS)
    | st.builds(contained, PATHS, STRINGS)
)
FUNCTIONS = (
    st.builds(beginning, PATHS, STRINGS)
    | st.builds(length, PATHS, HOW, st.integers(0, 3))
    | st.builds(first_of, PATHS, PATHS, HOW, LITERALS.filter(lambda value: not isinstance(value, int) or value < 4))
    | st.builds(halved, PATHS, HOW, st.integers(-2, 2))
)


def conditions(parts: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    return st.recursive(
        parts,
        lambda inner: st.builds(negated, inner) | st.builds(both, st.sampled_from(["and", "or"]), inner, inner),
        max_leaves=4,
    )


def steps(records: list[Record], cuts: set[int]) -> Iterator[tuple[int, list[bytes]]]:
    values = [json.dumps(record).encode() for record in records]
    bounds = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    for start, end in itertools.pairwise(bounds):
        yield start, values[start:end]


def read(records: list[Record], cuts: set[int], **options: Any) -> tuple[list[int], bool]:
    """Return the numbers of the rows that pass, and whether the condition is refused."""
    shaper = RowShaper(RowOptions(value="json", **options))
    passed: list[int] = []
    for start, values in steps(records, cuts):
        passed += shaper.shape(without_headers(step(*values, start=start)))["offset"].to_pylist()
    try:
        shaper.names.check(shaper.options)
    except ArgumentError:
        return passed, True
    return passed, False


def expected(records: list[Record], condition: Condition) -> list[int]:
    return [number for number, record in enumerate(records) if condition.holds(record) is True]


CUTS = st.sets(st.integers(1, 8))
ALONE = set(range(1, 9))


@given(RECORDS, conditions(SIMPLE | FUNCTIONS), CUTS)
@example([{"s": "x"}, {"s": "y"}, {"s": "x"}, {"s": 1}, {"s": "x"}], comparison(("s",), "==", "x"), {2, 4})
@example([{"a": 5}, {"a": 5.0}, {"a": 0.5}], halved(("a",), "==", 2), {1})
def test_a_row_passes_by_its_own_values_whatever_steps_it_comes_in(
    records: list[Record], condition: Condition, cuts: set[int]
) -> None:
    at_once, refused = read(records, set(), where=condition.expression)
    assert at_once == expected(records, condition)
    for each in (cuts, ALONE):
        assert read(records, each, where=condition.expression) == (at_once, refused)


@given(RECORDS, conditions(SIMPLE).filter(lambda one: one.text is not None), CUTS, CUTS)
def test_a_tails_filter_shows_the_same_rows(
    records: list[Record], condition: Condition, cuts: set[int], others: set[int]
) -> None:
    assert condition.text is not None
    shaper = RowShaper(RowOptions(value="json"))
    view = View(100)
    where = Filter.of(parse(condition.text))
    for start, values in steps(records, cuts):
        view.add(shaper.shape(without_headers(step(*values, start=start))))
        if start in others | {0}:
            try:
                view.choose(where)
            except ArgumentError:
                view.choose(None)
    try:
        view.choose(where)
    except ArgumentError:
        assert expected(records, condition) == [] or read(records, set(), where=condition.expression)[1]
    else:
        shown = [offset for rows in view.shown.last() for offset in rows["offset"].to_pylist()]
        assert shown == expected(records, condition)
