"""JSON: the fields of objects as columns, typed by what the rows hold or by a schema."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from kafkalab import _native
from kafkalab.decode.base import JSON_TEXT, Decoded
from kafkalab.decode.fitting import as_schema, fit, natural
from kafkalab.decode.framing import ID_BYTES, only_framed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kafkalab.decode.base import Decoder, Known

_GIVEN = {b"kafkalab": b"given"}
_BEFORE_AND_AFTER = "\ufeff \n\r\t"


@dataclass(frozen=True, slots=True)
class Json:
    """JSON, whose objects become a column for each field; ``"json"`` stands for ``Json()``.

    Parameters
    ----------
    schema : pyarrow.Schema or dict, optional
        Types of the fields. A schema names all columns that there are to be; a dict, of Arrow's, numpy's or pandas'
        types, leaves those of other fields to be found. A value that does not fit the given type is an error of its
        row. Found by looking otherwise: a field of values without a common type, or that do not fit one exactly,
        becomes the JSON text of each value.
    flatten : bool
        Whether the fields of objects in objects become columns of their own, named by their path: ``customer.city``.
    framed : bool
        Whether the id of a JSON Schema in a registry stands before each value, which is passed over: ``"json-schema"``
        stands for ``Json(framed=True)``.

    Examples
    --------
    >>> import kafkalab as kl, pyarrow as pa
    >>> cluster = kl.MemoryCluster({"orders": 1})
    >>> cluster.append("orders", b'{"id": 1, "to": {"city": "Bern"}}', b'{"id": 2, "at": "2026-01-01T12:00:00Z"}')
    >>> lab = kl.Lab(cluster, cluster)
    >>> given = kl.Json({"at": pa.timestamp("s", "UTC")}, flatten=True)
    >>> lab.read("orders", value=given, columns=["id", "to.city", "at"])
       id to.city                        at
    0   1    Bern                       NaT
    1   2    <NA> 2026-01-01 12:00:00+00:00
    """

    schema: pa.Schema | Mapping[str, Any] | None = None
    flatten: bool = False
    framed: bool = False
    _types: pa.Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        types = as_schema(self.schema or {})
        for given in types:
            natural(given)
        object.__setattr__(self, "_types", types)

    @property
    def known(self) -> Known | None:
        """The types of a whole schema."""
        if not self._closed:
            return None
        return dict(zip(self._types.names, self._types.types, strict=True))

    @property
    def _closed(self) -> bool:
        return isinstance(self.schema, pa.Schema)

    def decoder(self, wanted: Collection[str] | None = None) -> Decoder:
        """Return a decoder, which keeps the types that it has found from one step to the next."""
        types = [given for given in self._types if wanted is None or given.name in wanted]
        decoder = _Decoder(
            types,
            None if wanted is None else set(wanted),
            flatten=self.flatten,
            closed=self._closed,
            skip=ID_BYTES if self.framed else 0,
        )
        return partial(_framed, decoder) if self.framed else decoder


class _Decoder:
    def __init__(
        self, types: list[pa.Field], wanted: set[str] | None, *, flatten: bool, closed: bool, skip: int
    ) -> None:
        self._types = {given.name: given.type for given in types}
        self._given = {given.name: natural(given).with_metadata(_GIVEN) for given in types}
        self._found = pa.schema(list(self._given.values()))
        self._skip = skip
        self._native_decode = partial(_native.decode_json, wanted=wanted, flatten=flatten, closed=closed, skip=skip)

    def __call__(self, values: pa.Array) -> Decoded:
        rows, decoded = self._decode(values)
        errors = dict(decoded.errors)
        fitted, misfits = fit(rows, self._types)
        if misfits:
            # A row with an error is null in every column, and has no say in the types of others.
            good = pa.array([row not in misfits for row in range(len(values))])
            values = pc.if_else(good, values, None)
            rows, decoded = self._decode(values)
            fitted, _ = fit(rows, self._types)
            errors = dict(sorted((dict(decoded.errors) | misfits).items()))
        fields = rows.schema.names[: len(rows.schema) - decoded.has_whole]
        self._found = pa.schema([self._given.get(name, rows.schema.field(n)) for n, name in enumerate(fields)])
        names = [*fields, None] if decoded.has_whole else fields
        columns = [(name, f, fitted.column(n)) for n, (name, f) in enumerate(zip(names, fitted.schema, strict=True))]
        own = {name: partial(self._texts, name, values, fitted) for name in decoded.widened}
        return Decoded(columns, errors, decoded.left_out, own)

    def _decode(self, values: pa.Array) -> tuple[pa.RecordBatch, _native.DecodedValues]:
        decoded = self._native_decode(values, self._found)
        return pa.record_batch(decoded), decoded

    def _texts(self, name: str | None, values: pa.Array, rows: pa.RecordBatch) -> list[tuple[pa.Field, pa.Array]]:
        """Return the values of a field as they were written."""
        marked = pa.field(name or "", pa.string(), metadata=JSON_TEXT)
        if name is not None:
            return [(marked, pa.record_batch(self._native_decode(values, pa.schema([marked]), closed=True)).column(0))]
        whole = pc.if_else(rows.column(rows.num_columns - 1).is_valid(), values, None)
        texts = pc.binary_slice(whole, self._skip).cast(pa.string())
        return [(marked, pc.utf8_trim(texts, _BEFORE_AND_AFTER))]


def _framed(decoder: _Decoder, values: pa.Array) -> Decoded:
    framed, errors = only_framed(values)
    decoded = decoder(framed)
    return replace(decoded, errors=dict(sorted({**errors, **decoded.errors}.items())))


def decode(values: pa.Array) -> Decoded:
    """Return a column for each field that an object has, and one for rows that hold anything else.

    Examples
    --------
    >>> decoded = decode(pa.array([b'{"n": 1}', b'{"n": 2, "s": "x"}', b"{", None]))
    >>> {name: column.to_pylist() for name, _, column in decoded}
    {'n': [1, 2, None, None], 's': [None, 'x', None, None]}
    >>> decoded.errors
    {2: 'no JSON: EOF while parsing an object at byte 1'}
    """
    return Json().decoder()(values)
