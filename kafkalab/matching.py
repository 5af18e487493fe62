"""One part of a condition, tried on rows: on those of each type by themselves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.typed_columns import as_floats, groups, values_at, with_whole_floats_as_integers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from kafkalab.condition import Part, Path
    from kafkalab.typed_columns import Column

    Masks: TypeAlias = tuple[NDArray[np.bool_], NDArray[np.bool_]]
    """For which rows it is true, and for which false; for the others it is null."""
    Evaluate: TypeAlias = Callable[[pc.Expression, Sequence[pa.Array], int], pa.ChunkedArray]

    Types: TypeAlias = tuple[pa.DataType | None, ...]
    """The types of the fields of a part; None where they are null."""

# What a null may be, for functions that take no null without a type.
_TYPES_OF_NULL = (
    *(pa.null(), pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.binary(), pa.timestamp("us", "UTC")),
    *(pa.date32(), pa.list_(pa.null()), pa.list_(pa.string()), pa.list_(pa.int64()), pa.list_(pa.float64())),
)
_CLASSES = (
    pa.types.is_boolean,
    lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind),
    lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
)
_MOST_TRIALS = 500
_MOST_REMEMBERED = 10_000
_MOST_KINDS = 5


@dataclass(slots=True)
class Findings:
    """What a condition has met so far: in all rows of one scan, or of all parts of a read.

    Attributes
    ----------
    found, missing : set of str
        Fields that some rows had, and that some did not have.
    fitting : set of tuple
        Fields for which some part of the condition takes the values of some row.
    misfits : dict of tuple to dict
        By fields, the values that a part does not take, in words.
    """

    found: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    fitting: set[tuple[Path, ...]] = field(default_factory=set)
    misfits: dict[tuple[Path, ...], dict[str, None]] = field(default_factory=dict)

    def add(self, other: Findings) -> None:
        """Count what another part of the read has met."""
        self.found |= other.found
        self.missing |= other.missing
        self.fitting |= other.fitting
        for paths, kinds in other.misfits.items():
            self.misfits.setdefault(paths, {}).update(kinds)

    def does_not_fit(self, paths: tuple[Path, ...], why: str) -> None:
        """Count values that a part does not take."""
        kinds = self.misfits.setdefault(paths, {})
        if len(kinds) < _MOST_REMEMBERED:
            kinds[why] = None

    @property
    def problem(self) -> str | None:
        """Why the condition makes no sense, if there are fields of which no part takes the values of any row."""
        for paths, kinds in sorted(self.misfits.items()):
            if paths not in self.fitting:
                return f"where does not fit the types of the columns: {'; '.join(sorted(kinds)[:_MOST_KINDS])}"
        return None


@dataclass(frozen=True, slots=True)
class Matching:
    """A part of a condition, and the types that it was tried on."""

    part: Part
    _tried: dict[Types, Types | str] = field(default_factory=dict, repr=False, compare=False)

    def masks(self, rows: pa.RecordBatch, findings: Findings) -> Masks:
        """Return for which rows the part is true, and for which false."""
        columns = [self._column(rows, path, findings) for path in self.part.paths]
        is_exact = not self.rounds(values.type for column in columns for _, values in column)
        try:
            if is_exact:
                return self._masks(columns, rows.num_rows, findings, evaluated)
        except pa.ArrowInvalid:
            if not self.part.compares:
                raise
        # An integer is compared with a float that does not hold it.
        columns = [with_whole_floats_as_integers(column) for column in columns]
        return self._masks(columns, rows.num_rows, findings, _with_floats)

    def _column(self, rows: pa.RecordBatch, path: tuple[str, ...], findings: Findings) -> Column:
        column = values_at(rows, path)
        if rows.num_rows:
            (findings.missing if column is None else findings.found).add(".".join(path))
        return column or []

    def rounds(self, types: Iterable[pa.DataType]) -> bool:
        """Whether it would make a float of an integer that no float holds."""
        return self.part.is_large and self.part.compares and any(map(pa.types.is_floating, types))

    def _masks(self, columns: list[Column], count: int, findings: Findings, evaluate: Evaluate) -> Masks:
        true, false = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        for chosen, values in self._groups(columns, count):
            types = tuple(None if array is None else array.type for array in values)
            fitted = self.types(types)
            is_whole = None not in types
            if isinstance(fitted, str):
                if is_whole:
                    findings.does_not_fit(self.part.paths, self._in_words(types, fitted))
                continue
            if is_whole and self.part.paths not in findings.fitting and _has_values(values):
                findings.fitting.add(self.part.paths)
            size = count if isinstance(chosen, slice) else len(chosen)
            arrays = [
                pa.nulls(size, kind) if array is None else array for array, kind in zip(values, fitted, strict=True)
            ]
            result = evaluate(self.part.expression, arrays, size)
            true[chosen], false[chosen] = _are(result, True), _are(result, False)  # noqa: FBT003 - what null becomes - a value
        return true, false

    def _groups(
        self, columns: list[Column], count: int
    ) -> Iterable[tuple[NDArray[np.int64] | slice, Sequence[pa.Array | None]]]:
        """Return all rows together, if their columns fit as they are, else by the types of their values."""
        if not count:
            return []
        if all(len(column) == 1 and column[0][0] is None for column in columns):
            arrays = [column[0][1] for column in columns]
            if not isinstance(self.types(tuple(array.type for array in arrays)), str):
                return [(slice(None), arrays)]
        return groups(columns, count)

    def types(self, types: Types) -> Types | str:
        """Return the types with which the part takes such values, or why there are none."""
        if types not in self._tried:
            if len(self._tried) >= _MOST_REMEMBERED:
                self._tried.clear()
            self._tried[types] = self._try(types)
        return self._tried[types]

    def _try(self, types: Types) -> Types | str:
        first = None
        for trial in itertools.islice(_trials(types), _MOST_TRIALS):
            try:
                if self.part.members is not None and not _comparable(trial[0], self.part.members):
                    raise pa.ArrowTypeError(f"the list has {self.part.members}")
                kind = evaluated(self.part.expression, [pa.nulls(0, kind) for kind in trial], 0).type
            except pa.ArrowException as error:
                hint = "; compare decimals with Decimal('150')" if "Precision" in str(error) else ""
                first = first or f"{error}{hint}"
            else:
                if pa.types.is_boolean(kind) or pa.types.is_null(kind):
                    return trial
                first = first or f"it is {kind}, and not true or false"
        return first or ""

    def _in_words(self, types: Types, why: str) -> str:
        named = " and ".join(f"{'.'.join(path)!r} is {kind}" for path, kind in zip(self.part.paths, types, strict=True))
        return f"{self.part.text}, where {named}: {why}"


def _comparable(kind: pa.DataType | None, other: pa.DataType) -> bool:
    """Whether values of two types are looked up in each other as they are; pyarrow makes `1` of `"1"` and of `True`."""
    classes = [[fits(each) for fits in _CLASSES] for each in (kind, other)]
    return classes[0] == classes[1] or not all(any(each) for each in classes)


def _trials(types: Types) -> Iterator[Types]:
    """Yield the types, with those of nulls chosen: first the same for all of them."""
    nulls = types.count(None)
    chosen = itertools.chain(
        ((kind,) * nulls for kind in _TYPES_OF_NULL),
        itertools.product(_TYPES_OF_NULL, repeat=nulls) if nulls > 1 else (),
    )
    if not nulls:
        yield types
        return
    for each in chosen:
        rest = iter(each)
        yield tuple(next(rest) if kind is None else kind for kind in types)


def _has_values(arrays: Sequence[pa.Array | None]) -> bool:
    """Whether there is a row in which none is null."""
    valid = [array.is_valid().to_numpy(zero_copy_only=False) for array in arrays if array is not None]
    return not valid or bool(np.logical_and.reduce(valid).any())


def _are(values: pa.Array, value: bool) -> NDArray[np.bool_]:  # noqa: FBT001 - which of the two
    found: NDArray[np.bool_]
    if pa.types.is_null(values.type):
        return np.zeros(len(values), dtype=bool)
    found = (values if value else pc.invert(values)).fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003 - what null becomes
    return found


def evaluated(expression: pc.Expression, arrays: Sequence[pa.Array], count: int) -> pa.ChunkedArray:
    """Return what an expression gives, of columns that are named by number."""
    import pyarrow.acero as ac

    names = [str(number) for number in range(len(arrays))]
    table = pa.table([*arrays, pa.nulls(count)], [*names, ""])
    source = ac.Declaration("table_source", ac.TableSourceNodeOptions(table))
    project = ac.Declaration("project", ac.ProjectNodeOptions([expression], [""]))
    return ac.Declaration.from_sequence([source, project]).to_table(use_threads=False).column(0)


def _with_floats(expression: pc.Expression, arrays: Sequence[pa.Array], count: int) -> pa.ChunkedArray:
    """Return what an expression gives, of floats where integers do not do."""
    try:
        return evaluated(expression, arrays, count)
    except pa.ArrowInvalid:
        return evaluated(expression, [as_floats(array) for array in arrays], count)
