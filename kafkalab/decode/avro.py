"""Avro: the fields of records as columns, by a schema that is given, or that a registry has for each value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from kafkalab import _native
from kafkalab.decode.avro_plan import Plan
from kafkalab.decode.avro_schema import Schemas
from kafkalab.decode.framing import NO_REGISTRY, Framed
from kafkalab.decode.joining import of_schema, storable
from kafkalab.decode.registry import Registry
from kafkalab.decode.unfit import Unfit, held
from kafkalab.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kafkalab.decode.base import Decoded, Decoder, Known


@dataclass(frozen=True, slots=True)
class Avro:
    r"""Avro, whose records become a column for each field; ``"avro"`` stands for ``Avro()``.

    Parameters
    ----------
    schema : str or dict, optional
        What the values were written with, as JSON text or what that says, where nothing stands in front of them.
        Otherwise each begins with the id of a schema in a registry; where topics mix schemas, there are the columns of
        all.
    reader_schema : str or dict, optional
        What they are read as, by the rules of Avro: fields by name or alias, defaults, wider numbers. There are its
        columns then, whatever wrote the values.
    registry : Registry or str, optional
        The registry or its URL, where the connection does not name it by ``schema.registry.url``.
    framed : bool
        Whether an id stands before values whose schema is given; it is passed over.

    Raises
    ------
    ArgumentError
        A schema is none, makes no columns, or cannot be read as the other.

    Examples
    --------
    >>> import kafkalab as kl
    >>> cluster = kl.MemoryCluster({"orders": 1})
    >>> cluster.append("orders", b"\x02\x08Bern", b"\x04\x0aBasel")
    >>> fields = [{"name": "id", "type": "long"}, {"name": "city", "type": "string"}]
    >>> order = {"type": "record", "name": "Order", "fields": fields}
    >>> kl.Lab(cluster, cluster).read("orders", value=kl.Avro(order), columns=["id", "city"])
       id   city
    0   1   Bern
    1   2  Basel
    """

    schema: str | Mapping[str, Any] | list[Any] | None = None
    reader_schema: str | Mapping[str, Any] | list[Any] | None = None
    registry: Registry | str | None = None
    framed: bool = False
    _writer: Schemas | None = field(init=False, repr=False, compare=False, default=None)
    _reader: Schemas | None = field(init=False, repr=False, compare=False, default=None)
    _columns: pa.Schema | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.registry, str):
            object.__setattr__(self, "registry", Registry(self.registry))
        try:
            with held():
                self._look_at_schemas()
        except Unfit as error:
            raise ArgumentError(f"a schema given to kl.Avro: {error}") from error

    def _look_at_schemas(self) -> None:
        for name, given in (("_writer", self.schema), ("_reader", self.reader_schema)):
            if given is not None:
                object.__setattr__(self, name, Schemas.parse(given))
        known = self._writer or self._reader
        if known is not None:
            columns = Plan.of(known, self._reader).columns
            object.__setattr__(self, "_columns", storable(columns.empty_table()).schema)

    @property
    def known(self) -> Known | None:
        """The types of the columns of a schema that was given."""
        return None if self._columns is None else {column.name or None: column.type for column in self._columns}

    def bound(self, registry: Registry | None) -> Avro:
        """Return this format with the registry of a connection, if it needs one and has none.

        Raises
        ------
        ArgumentError
            There is neither a schema nor a registry.
        """
        if self._writer is not None or self.registry is not None:
            return self
        if registry is None:
            raise ArgumentError(NO_REGISTRY.format(name="avro", call="kl.Avro"))
        return replace(self, registry=registry)

    def decoder(self, wanted: Collection[str] | None = None) -> Decoder:
        """Return a decoder, which keeps the schemas that it has seen."""
        if self._writer is not None:
            plan = Plan.of(self._writer, self._reader, wanted)
            return Framed(lambda _, front: _decoder(plan, front)) if self.framed else _decoder(plan)
        registry = self.bound(None).registry
        return Framed(partial(_choose, cast("Registry", registry), self._reader, wanted))


def _choose(
    registry: Registry, reader: Schemas | None, wanted: Collection[str] | None, schema_id: int, front: bytes
) -> Decoder | str:
    found = registry.schema(schema_id)
    if found is None:
        return registry.lacks(schema_id)
    if found.kind != "AVRO":
        return f"schema id {schema_id} is none of Avro, but of {found.kind}"
    try:
        with held():
            writer = Schemas.parse(found.text, [text for _, text in found.references])
            plan = Plan.of(writer, reader, wanted)
    except Unfit as error:
        return f"schema id {schema_id}: {error}"
    return _decoder(plan, front, f" as schema id {schema_id} has it")


def _decoder(plan: Plan, front: bytes = b"", place: str = "") -> Decoder:
    def decode(values: pa.Array) -> Decoded:
        decoded = _native.decode_avro(values, plan.native, front)
        rows = pa.record_batch(decoded)
        errors = {row: f"no Avro{place}: {error}" for row, error in decoded.errors}
        return of_schema(rows, errors, plan.left_out)

    return decode
