"""What every format gives: columns, and what was wrong with the rows that could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

WHOLE = "\0whole"
"""The name, which is no field's, of the column that stands for the key or value as a whole."""

JSON_TEXT = {b"kafkalab": b"json"}
"""The metadata of a column whose strings are JSON texts, because its values have no common type."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The columns of a decoded array, each as long as it, and by row number what was wrong.

    ``json_text`` names the columns whose values have no common type and so are JSON texts.

    A row with an error is null in every column; so is a null row, which is no error.
    """

    columns: Mapping[str, pa.Array]
    errors: Mapping[int, str] = field(default_factory=dict)
    json_text: frozenset[str] = frozenset()

    def field_of(self, column: str, name: str) -> pa.Field:
        """Return the Arrow field for a column under the name it gets."""
        metadata = JSON_TEXT if column in self.json_text else None
        return pa.field(name, self.columns[column].type, metadata=metadata)
