"""What every format gives: columns, and what was wrong with the rows that could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    Decoder: TypeAlias = Callable[[pa.Array], "Decoded"]
    """Takes the keys or values of one step after the other, as a binary array; it may remember what it has seen."""

    Own: TypeAlias = Mapping[str | None, Callable[[], Sequence[tuple[pa.Field, pa.Array]]]]
    """By field, how to get its values with the types that they have alone: columns that no two have values in."""

    Known: TypeAlias = Mapping[str | None, pa.DataType]

JSON_TEXT = {b"kafkalab": b"json"}
"""The metadata of a column whose strings are JSON texts, because its values have no common type."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The columns of a decoded array, each as long as it, and by row number what was wrong.

    A row with an error is null in every column; so is a null row, which is no error.

    Attributes
    ----------
    columns : sequence of (str or None, pyarrow.Field, pyarrow.Array)
        By field; None is the name of the column that stands for the key or value as a whole.
    errors : mapping of int to str
        By row.
    left_out : sequence of str
        Fields that were seen and not built, since nobody asked for them.
    own : mapping of (str or None) to callable
        The values of those fields whose columns have another type than each value would have alone.
    """

    columns: Sequence[tuple[str | None, pa.Field, pa.Array]]
    errors: Mapping[int, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    own: Own = field(default_factory=dict)

    @classmethod
    def whole(cls, values: pa.Array, errors: Mapping[int, str] | None = None) -> Decoded:
        """Return one column, that stands for the key or value as a whole."""
        return cls([(None, pa.field("", values.type), values)], errors or {})

    @classmethod
    def of_fields(
        cls,
        rows: pa.StructArray | pa.RecordBatch,
        errors: Mapping[int, str] | None = None,
        left_out: Sequence[str] = (),
    ) -> Decoded:
        """Return a column for each field of a struct."""
        batch = rows if isinstance(rows, pa.RecordBatch) else pa.RecordBatch.from_struct_array(rows)
        return cls([(f.name, f, batch.column(n)) for n, f in enumerate(batch.schema)], errors or {}, left_out)

    def __iter__(self) -> Iterator[tuple[str | None, pa.Field, pa.Array]]:
        return iter(self.columns)


class Format(Protocol):
    """How the bytes of keys or values are read."""

    @property
    def known(self) -> Known | None:
        """The types of its columns by field, None for the whole; or None, where records have to be seen first."""
        ...

    def decoder(self, wanted: Collection[str] | None = None) -> Decoder:
        """Return a new decoder, that builds the wanted fields; all if it is None."""
        ...
