"""`where` gives each row what it would get alone: held to an evaluator in Python, a row at a time."""

import io
import itertools
import json
import math
import operator
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab.brokers.registry import SchemaRegistry
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


CUTS = st.sets(st.integers(1, 8))
ALONE = set(range(1, 9))


def steps(records: list[Record], cuts: set[int]) -> Iterator[tuple[int, list[bytes]]]:
    return cut([json.dumps(record).encode() for record in records], cuts)


def cut(values: list[bytes], cuts: set[int]) -> Iterator[tuple[int, list[bytes]]]:
    bounds = sorted({0, len(values), *(each for each in cuts if each < len(values))})
    for start, end in itertools.pairwise(bounds):
        yield start, values[start:end]


def read(records: list[Record], cuts: set[int], **options: Any) -> tuple[list[int], bool | str]:
    """Return the numbers of the rows that pass, and whether the condition is refused, or what it fails on."""
    shaper = RowShaper(RowOptions(value="json", **options))
    passed: list[int] = []
    try:
        for start, values in steps(records, cuts):
            passed += shaper.shape(without_headers(step(*values, start=start)))["offset"].to_pylist()
        shaper.names.check(shaper.options)
    except ArgumentError as error:
        return (passed, True) if "does not fit" in str(error) or "no record" in str(error) else ([], str(error)[:60])
    return passed, False


def expected(records: list[Record], condition: Condition) -> list[int]:
    return [number for number, record in enumerate(records) if condition.holds(record) is True]


@pytest.mark.parametrize(
    ("where", "passing"),
    [
        (kl.field("a") != kl.field("b"), [1]),
        (pc.coalesce(kl.field("a"), kl.field("offset")) > 0, [1, 2, 3, 4]),
        (pc.starts_with(kl.field("s"), "x"), [1]),
        (~pc.starts_with(kl.field("s"), "x"), [4]),
        (pc.utf8_length(kl.field("s")) == 3, [1]),
        (pc.match_substring(kl.field("s"), "yz"), [1]),
        (kl.field("customer", "city") == "a", [1]),
        (kl.field("customer", "city").is_null(), [0, 2, 3, 4]),
        (pc.starts_with(kl.field("customer", "city"), "a") | (kl.field("x") == 1), [0, 1]),
    ],
    ids=str,
)
@pytest.mark.parametrize("cuts", [set(), {1}, {1, 2}, ALONE], ids=str)
def test_a_step_without_the_field_is_as_any_other(where: Any, passing: list[int], cuts: set[int]) -> None:
    records: list[Record] = [
        {"x": 1},
        {"a": 1, "b": 2, "s": "xyz", "customer": {"city": "a"}},
        {"a": 1, "s": None, "customer": {"city": None}},
        {"s": 5, "customer": "a"},
        {"s": "", "customer": {}},
    ]
    assert read(records, cuts, where=where) == (passing, False)


@pytest.mark.parametrize("cuts", [set(), {1}, ALONE], ids=str)
@pytest.mark.parametrize(
    ("where", "says"),
    [
        (kl.field("n") > 5, "(n > 5), where 'n' is string: Function 'greater' has no kernel"),
        (kl.field("n") > kl.field("m"), "(n > m), where 'n' is string and 'm' is bool"),
        (kl.field("m").isin([1]), "where 'm' is bool: the list has int64"),
        (kl.field("o", "x") == 1, "no record has a field 'o.x'"),
        ((kl.field("offset") < 99) | (kl.field("n") == 1), "where 'n' is string"),
    ],
    ids=str,
)
def test_a_condition_that_fits_no_record_is_refused_whatever_the_steps(where: Any, says: str, cuts: set[int]) -> None:
    shaper = RowShaper(RowOptions(value="json", where=where))
    for start, values in steps([{"n": "x", "m": True}, {"n": "y", "o": 1}, {"m": None}], cuts):
        shaper.shape(without_headers(step(*values, start=start)))
    with pytest.raises(ArgumentError, match=re.escape(says)):
        shaper.names.check(shaper.options)


def test_a_value_that_is_no_object_is_compared_as_it_was_written() -> None:
    shaper = RowShaper(RowOptions(value="json", where=pc.divide(kl.field("value"), 2) == 2))
    values = [b" 5 ", b"5.0", b"4.0", b"\xef\xbb\xbf4", b'"4"', b"{}", b"null"]
    assert shaper.shape(without_headers(step(*values, start=0)))["offset"].to_pylist() == [0, 2, 3]


# Schemas that disagree


AVRO: dict[int, tuple[Any, list[Any]]] = {
    1: ("string", ["x", "", "5", "2026-01-01T00:00:00Z"]),
    2: ("long", [5, 7, 2**53 + 1, -1]),
    3: ("double", [5.0, 5.5, math.nan, 0.5]),
    4: (
        {"type": "long", "logicalType": "timestamp-millis"},
        [datetime(2026, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)],
    ),
    5: (["null", "boolean"], [True, None]),
    6: (
        {"type": "record", "name": "To", "fields": [{"name": "city", "type": "string"}]},
        [{"city": "Bern"}, {"city": "x"}],
    ),
}
NEWER = datetime(2025, 6, 1, tzinfo=UTC)
AVRO_CONDITIONS: list[tuple[Any, Callable[[Any], Any]]] = [
    (kl.field("v") == "x", lambda v: v == "x"),
    (kl.field("v") != "x", lambda v: isinstance(v, str) and v != "x"),
    (~kl.field("v").isin(["x", "5"]), lambda v: v is None or (isinstance(v, str) and v not in ("x", "5"))),
    (kl.field("v") >= 5, lambda v: kind(v) == "number" and v >= 5),
    (kl.field("v") > NEWER, lambda v: isinstance(v, datetime) and v > NEWER),
    (pc.year(kl.field("v")) == 2026, lambda v: isinstance(v, datetime) and v.year == 2026),
    (pc.divide(kl.field("v"), 2) == 2, lambda v: isinstance(v, int) and not isinstance(v, bool) and v // 2 == 2),
    (kl.field("v", "city") == "Bern", lambda v: v == {"city": "Bern"}),
    ((kl.field("v") == True) | (kl.field("v") == "5"), lambda v: v in (True, "5") and kind(v) != "number"),  # noqa: E712 - an expression
    (kl.field("v").is_null(), lambda v: v is None),
]


def avro(schema_id: int, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, avro_schema(schema_id), {"v": value})
    return struct.pack(">BI", 0, schema_id) + out.getvalue()


def avro_schema(schema_id: int) -> dict[str, Any]:
    return {"type": "record", "name": "Order", "fields": [{"name": "v", "type": AVRO[schema_id][0]}]}


@pytest.fixture(scope="module")
def registry() -> Iterator[kl.Registry]:
    with SchemaRegistry() as server:
        for schema_id in AVRO:
            assert server.register("orders", json.dumps(avro_schema(schema_id))) == schema_id
        yield kl.Registry(server.url)


@settings(max_examples=30)
@given(st.data())
def test_values_of_schemas_that_disagree_are_compared_as_they_are(registry: kl.Registry, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.sampled_from(list(AVRO)), min_size=1, max_size=8))
    values = [data.draw(st.sampled_from(AVRO[each][1])) for each in ids]
    where, holds = data.draw(st.sampled_from(AVRO_CONDITIONS))
    cuts = data.draw(CUTS)
    records = [avro(*each) for each in zip(ids, values, strict=True)]
    passing = [number for number, value in enumerate(values) if holds(value) is True]
    shaper = RowShaper(RowOptions(value="avro", columns=["offset"], where=where, registry=registry))
    assert [offset for rows in shaped(shaper, records, cuts) for offset in rows["offset"].to_pylist()] == passing
    view = View(100)
    for rows in shaped(RowShaper(RowOptions(value="avro", registry=registry, keeps_types=True)), records, cuts):
        view.add(rows)
    try:
        shaper.names.check(shaper.options)
    except ArgumentError:
        with pytest.raises(ArgumentError, match=r"does not fit|no row here has"):
            view.choose(Filter.of(where))
    else:
        view.choose(Filter.of(where))
        assert [offset for rows in view.shown.last() for offset in rows["offset"].to_pylist()] == passing


def shaped(shaper: RowShaper, records: list[bytes], cuts: set[int]) -> list[pa.RecordBatch]:
    return [shaper.project(shaper.shape(without_headers(step(*each, start=at)))) for at, each in cut(records, cuts)]


@settings(max_examples=50)
@given(RECORDS, conditions(SIMPLE | FUNCTIONS), CUTS)
@example([{"s": "x"}, {"s": "y"}, {"s": "x"}, {"s": 1}, {"s": "x"}], comparison(("s",), "==", "x"), {2, 4})
@example([{"a": 20_000_001}, {"a": 2**53 + 1}, {"a": 0.25}, {"a": 2.0}], comparison(("a",), ">", 0.5), {2})
@example([{"a": 2**53 + 1, "b": 2.0**53}, {"a": 0.5, "b": 1}], of_fields(("a",), ">", ("b",)), {1})
@example([{"a": 5}, {"a": 5.0}, {"a": 0.5}], halved(("a",), "==", 2), {1})
def test_a_row_passes_by_its_own_values_whatever_steps_it_comes_in(
    records: list[Record], condition: Condition, cuts: set[int]
) -> None:
    at_once, refused = read(records, set(), where=condition.expression)
    assert isinstance(refused, str) or at_once == expected(records, condition)
    for each in (cuts, ALONE):
        assert read(records, each, where=condition.expression) == (at_once, refused)


@settings(max_examples=50)
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
