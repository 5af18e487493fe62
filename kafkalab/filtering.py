"""Rows chosen by an expression, which may name fields that not all rows have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MISSING_FIELD = re.compile(r"No match for FieldRef\.Name\((.*?)\) in ", re.DOTALL)
_CALL = re.compile(r"(\w+)\(")
_NULL_IF_NULL = {"invert", "cast"}


@dataclass(frozen=True, slots=True)
class Filter:
    """An expression, and what it looks at.

    Attributes
    ----------
    expression : pyarrow.compute.Expression
        Rows for which it is true are kept.
    names : frozenset of str, optional
        The columns that it uses; None where that cannot be told.
    """

    expression: pc.Expression
    names: frozenset[str] | None

    @classmethod
    def of(cls, expression: pc.Expression, types: Mapping[str, pa.DataType]) -> Filter:
        """Return a filter; columns that are not among the types are taken to be of any.

        Examples
        --------
        >>> sorted(Filter.of((pc.field("n") > 1) & (pc.field("s") == "x"), {}).names)
        ['n', 's']
        """
        rows = pa.RecordBatch.from_arrays([], names=[])
        while True:
            try:
                rows.filter(expression)
            except pa.ArrowException as error:
                match = _MISSING_FIELD.match(str(error))
                if match is None or match[1] in rows.schema.names:
                    return cls(expression, None)
                rows = rows.append_column(match[1], pa.nulls(0, types.get(match[1], pa.null())))
            else:
                return cls(expression, frozenset(rows.schema.names))

    def without_excluded(self, rows: pa.RecordBatch, unknown: Sequence[str]) -> pa.RecordBatch:
        """Return rows without those that the filter excludes whatever the columns will hold that are not known yet.

        Null stands for what is not known. That is right where every function gives null for null, as comparisons do,
        and where `and`, `or` and `not` are those of three values, as pyarrow's are.
        """
        if self.names is None:
            return rows
        missing = (self.names - set(rows.schema.names)) | (self.names & set(unknown))
        if missing and not set(_CALL.findall(str(self.expression))) <= _NULL_IF_NULL:
            return rows
        seen = rows.drop_columns([name for name in unknown if name in rows.schema.names])
        for name in missing:
            seen = seen.append_column(name, pa.nulls(rows.num_rows))
        seen = seen.append_column("\0row", pa.array(range(rows.num_rows), pa.int64()))
        try:
            kept = seen.filter(self.expression | self.expression.is_null())
        except pa.ArrowException:
            return rows  # what is wrong is told where all columns are there
        return rows if kept.num_rows == rows.num_rows else rows.take(kept["\0row"])

    def apply(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, set[str]]:
        """Return the rows that pass, and the names that they had no column for: these were taken for null.

        Raises
        ------
        ArgumentError
            The expression does not fit the columns.
        """
        missing: set[str] = set()
        while True:
            try:
                kept = rows.filter(self.expression)
            except pa.ArrowInvalid as error:
                match = _MISSING_FIELD.match(str(error))
                if match is None or match[1] in missing:
                    hint = "; compare decimals with Decimal('150')" if "Precision" in str(error) else ""
                    raise ArgumentError(f"where cannot be applied to the rows: {error}{hint}") from error
                missing.add(match[1])
                rows = rows.append_column(match[1], pa.nulls(rows.num_rows))
            except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                raise ArgumentError(f"where does not fit the types of the columns: {error}") from error
            else:
                return kept.drop_columns(sorted(missing)), missing
