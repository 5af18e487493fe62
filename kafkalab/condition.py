"""A pyarrow expression taken apart: the parts that `and`, `or` and `not` join, and the fields that each part uses."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow.compute as pc

    Token: TypeAlias = tuple[str, str]
    Path: TypeAlias = tuple[str, ...]

_JOINING = {"and_kleene": "and", "or_kleene": "or", "invert": "not"}
_COMPARING = {
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("is_in", "is_null", "is_valid", "true_unless_null"),
}
_EXACT = 1 << 53
_KEYS = "call|end|field_ref|nested_field_ref|literal|options"
_TOKEN = re.compile(rf"^({_KEYS}): '(.*?)'$(?=\n(?:{_KEYS}): '|\Z)", re.DOTALL | re.MULTILINE)
_TOKENS_AFTER = "-- schema metadata --\n"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a condition without `and`, `or` and `not`: mostly one comparison.

    Attributes
    ----------
    expression : pyarrow.compute.Expression
        The part, with its fields named by their place in ``paths``: ``"0"``, ``"1"``.
    text : str
        The part as a person reads it.
    paths : tuple of tuple of str
        The fields that it uses, each by the names that lead to it.
    compares : bool
        Whether it only compares, so that an integer and a float of the same value are alike to it.
    is_large : bool
        Whether it holds integers that a float does not hold exactly.
    members : pyarrow.DataType, optional
        If it looks whether a field is in a list, the type of the list's values.
    """

    expression: pc.Expression
    text: str
    paths: tuple[Path, ...]
    compares: bool
    is_large: bool
    members: pa.DataType | None


@dataclass(frozen=True, slots=True)
class Condition:
    """Parts, and how they are joined.

    Attributes
    ----------
    expression : pyarrow.compute.Expression
        All of it.
    parts : tuple of Part
        In the order in which the expression has them.
    joined : tuple of int or str
        The number of a part, or ``"and"``, ``"or"``, ``"not"``, which take what comes before them.

    Examples
    --------
    >>> import pyarrow.compute as pc
    >>> condition = take_apart((pc.field("n") > 1) & ~(pc.field("to", "city") == "Bern"))
    >>> [part.paths for part in condition.parts], condition.joined
    ([(('n',),), (('to', 'city'),)], (0, 1, 'not', 'and'))
    """

    expression: pc.Expression
    parts: tuple[Part, ...]
    joined: tuple[int | str, ...]


def take_apart(expression: pc.Expression) -> Condition | None:
    """Return the parts of an expression; None if it cannot be read, as one that names columns by number."""
    try:
        written = _Written.of(expression)
    except pa.ArrowException:
        return None
    if not written.tokens or not written.expression(written.tokens).equals(expression):
        return None
    written = replace(written, values=_wide(written.values))
    parts: list[Part] = []
    joined: list[int | str] = []
    tokens = iter(written.tokens)
    for key, value in tokens:
        if key == "end":
            joined.append(_JOINING[value])
        elif key != "call" or value not in _JOINING:
            joined.append(len(parts))
            parts.append(written.part([(key, value), *_rest(key, value, tokens)]))
    return Condition(written.expression(written.tokens), tuple(parts), tuple(joined))


def _rest(key: str, value: str, tokens: Iterator[Token]) -> Iterator[Token]:
    """Take the tokens that belong to the one before."""
    if key == "nested_field_ref":
        yield from islice(tokens, int(value))
    depth = 1 if key == "call" else 0
    while depth:
        key, value = next(tokens)
        depth += {"call": 1, "end": -1}.get(key, 0)
        yield key, value


@dataclass(frozen=True, slots=True)
class _Written:
    """An expression as pyarrow pickles it: a list of tokens, and a row of the values that they mean."""

    tokens: list[Token]
    values: pa.Table
    read: Callable[[pa.Buffer], pc.Expression]

    @classmethod
    def of(cls, expression: pc.Expression) -> _Written:
        read, (buffer,) = expression.__reduce__()
        values = pa.ipc.open_file(buffer).read_all()
        # The mapping `schema.metadata` would hold each key once only.
        text = values.schema.to_string(truncate_metadata=False, show_field_metadata=False)
        if not values.num_columns:
            values = pa.table({"": pa.nulls(1)})  # pyarrow reads a row
        return cls(_TOKEN.findall(text.partition(_TOKENS_AFTER)[2]), values, read)

    def expression(self, tokens: Sequence[Token]) -> pc.Expression:
        schema = pa.schema(list(self.values.schema), metadata=pa.KeyValueMetadata(list(tokens)))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(pa.Table.from_arrays(self.values.columns, schema=schema))
        return self.read(sink.getvalue())

    def part(self, tokens: list[Token]) -> Part:
        paths: dict[Path, int] = {}
        numbered: list[Token] = []
        each = iter(tokens)
        for key, value in each:
            if key in ("field_ref", "nested_field_ref"):
                path = (value,) if key == "field_ref" else tuple(name for _, name in islice(each, int(value)))
                numbered.append(("field_ref", str(paths.setdefault(path, len(paths)))))
            else:
                numbered.append((key, value))
        calls = {value for key, value in tokens if key == "call"}
        is_large = any(_is_large(self.values.column(int(value))) for key, value in tokens if key in _HAS_VALUE)
        text = str(self.expression(tokens))
        return Part(
            self.expression(numbered), text, tuple(paths), calls <= _COMPARING, is_large, self._members(numbered)
        )

    def _members(self, tokens: list[Token]) -> pa.DataType | None:
        if [key for key, _ in tokens] != ["call", "field_ref", "options", "end"] or tokens[0][1] != "is_in":
            return None
        options = self.values.column(int(tokens[2][1])).type
        kind: pa.DataType = options.field("value_set").type.value_type
        return kind


_HAS_VALUE = ("literal", "options")


def _wide(values: pa.Table) -> pa.Table:
    """Return values whose floats have 64 bits: pyarrow cuts those that fit in 32, and compares integers with these."""
    for number, column in enumerate(values.schema):
        if pa.types.is_floating(column.type):
            values = values.set_column(number, column.name, values.column(number).cast(pa.float64()))
    return values


def _is_large(column: pa.ChunkedArray) -> bool:
    value: Any = column[0].as_py()
    values = value.get("value_set") or () if isinstance(value, dict) else (value,)
    return any(isinstance(each, int) and abs(each) > _EXACT for each in values)
