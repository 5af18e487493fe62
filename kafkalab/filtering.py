"""Rows chosen by an expression: each passes by its own values, whatever rows come with it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kafkalab.condition import take_apart
from kafkalab.decode.base import JSON_TEXT
from kafkalab.errors import ArgumentError
from kafkalab.matching import Matching
from kafkalab.typed_columns import is_own, values_at

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import pyarrow.compute as pc

    from kafkalab.condition import Part
    from kafkalab.matching import Findings, Masks

_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """An expression that chooses rows.

    `and`, `or` and `not` are those of three values. A part between them is null for a row whose values are of types
    that it does not take, so that it depends on no other row whether one passes.

    Attributes
    ----------
    expression : pyarrow.compute.Expression
        Rows for which it is true are kept.
    parts : tuple of Matching
        What `and`, `or` and `not` join.
    joined : tuple of int or str, optional
        How they do; None where the parts cannot be told, so that the expression has to fit all columns.
    """

    expression: pc.Expression
    parts: tuple[Matching, ...]
    joined: tuple[int | str, ...] | None
    _at_once: dict[Any, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, expression: pc.Expression) -> Filter:
        """Return a filter.

        Examples
        --------
        >>> import pyarrow.compute as pc
        >>> sorted(Filter.of((pc.field("n") > 1) & (pc.field("s") == "x")).names)
        ['n', 's']
        """
        condition = take_apart(expression)
        if condition is None:
            return cls(expression, (), None)
        return cls(condition.expression, tuple(map(Matching, condition.parts)), condition.joined)

    @property
    def names(self) -> frozenset[str] | None:
        """The columns that it uses; None where that cannot be told."""
        return None if self.joined is None else _roots(each.part for each in self.parts)

    @property
    def as_written(self) -> frozenset[str]:
        """The columns for which it matters whether a number was written as an integer or as a float."""
        return _roots(each.part for each in self.parts if not each.part.compares)

    def possible(self, rows: pa.RecordBatch, unknown: Collection[str], findings: Findings) -> pa.RecordBatch:
        """Return the rows that may pass, whatever those columns will hold that are not known, or not there, yet."""
        known = set(rows.schema.names).difference(unknown)
        if not any(_roots([each.part]) <= known for each in self.parts):
            return rows
        try:
            passes, _ = self._masks(rows, findings, known)
        except pa.ArrowException:
            return rows  # what is wrong is told where all columns are there
        return rows if passes.all() else rows.filter(pa.array(passes))

    def apply(self, rows: pa.RecordBatch, findings: Findings) -> pa.RecordBatch:
        """Return the rows that pass; a field that they do not have is null.

        Raises
        ------
        ArgumentError
            The expression fails on a value.
        """
        try:
            if self.joined is None:
                return rows.filter(self.expression)
            if self._fits_at_once(rows.schema, findings):
                # It fails where an integer is compared with a float that does not hold it.
                with suppress(pa.ArrowException):
                    return rows.filter(self.expression)
            passes, _ = self._masks(rows, findings, None)
        except pa.ArrowException as error:
            raise ArgumentError(f"where cannot be applied to the rows: {error}") from error
        return rows.filter(pa.array(passes))

    def _fits_at_once(self, schema: pa.Schema, findings: Findings) -> bool:
        """Whether all parts are known to make sense, and each value has the type that it has alone."""
        is_new = any(each.part.paths not in findings.fitting for each in self.parts)
        if is_new or any(map(is_own, schema.names)):
            return False
        numbers = [schema.get_field_index(name) for name in sorted(self.names or ())]
        if -1 in numbers:
            return False
        used = [schema.field(number) for number in numbers]
        key = tuple((each.name, each.type, each.metadata == JSON_TEXT) for each in used)
        if key not in self._at_once:
            if len(self._at_once) >= _MOST_REMEMBERED:
                self._at_once.clear()
            empty = pa.RecordBatch.from_pylist([], pa.schema(used))
            self._at_once[key] = not any(text for _, _, text in key) and all(_takes(each, empty) for each in self.parts)
        return self._at_once[key]

    def _masks(self, rows: pa.RecordBatch, findings: Findings, known: Collection[str] | None) -> Masks:
        """Return which rows may pass, and which may be false; these are the same rows where a part is not known."""
        stack: list[Masks] = []
        for each in self.joined or ():
            if isinstance(each, int):
                matching = self.parts[each]
                is_known = known is None or _roots([matching.part]) <= set(known)
                stack.append(matching.masks(rows, findings) if is_known else _either(rows.num_rows))
            elif each == "not":
                true, false = stack.pop()
                stack.append((false, true))
            else:
                (true, false), (other_true, other_false) = stack.pop(), stack.pop()
                both = each == "and"
                stack.append(
                    (true & other_true, false | other_false) if both else (true | other_true, false & other_false)
                )
        return stack.pop()


def _roots(parts: Iterable[Part]) -> frozenset[str]:
    return frozenset(path[0] for part in parts for path in part.paths)


def _either(count: int) -> Masks:
    return np.ones(count, dtype=bool), np.ones(count, dtype=bool)


def _takes(matching: Matching, empty: pa.RecordBatch) -> bool:
    """Whether a part takes the columns as they are."""
    columns = [values_at(empty, path) for path in matching.part.paths]
    if not all(columns):
        return False
    types = tuple(column[0][1].type for column in columns if column)
    return not matching.rounds(types) and not isinstance(matching.types(types), str)
