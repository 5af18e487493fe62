"""Protobuf: the fields of messages as columns, by a message that is given, or that a registry has for each value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from kafkalab import _native
from kafkalab.decode.framing import NO_REGISTRY, Framed
from kafkalab.decode.joining import of_schema, storable
from kafkalab.decode.protobuf_files import Files, indexed
from kafkalab.decode.protobuf_plan import Plan
from kafkalab.decode.registry import Registry
from kafkalab.decode.unfit import Unfit, held
from kafkalab.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Collection

    from kafkalab.decode.base import Decoded, Decoder, Known


@dataclass(frozen=True, slots=True)
class Protobuf:
    r"""Protobuf, whose messages become a column for each field; ``"protobuf"`` stands for ``Protobuf()``.

    Parameters
    ----------
    message : type or str, optional
        A generated class, or the full name of a message in ``descriptors``. Without one, each value begins with the id
        of a schema in a registry.
    descriptors : bytes, optional
        A ``FileDescriptorSet``, as ``protoc --include_imports --descriptor_set_out=...`` writes it.
    framed : bool
        Whether an id stands before values whose message is given; it is passed over.
    registry : Registry or str, optional
        The registry or its URL, where the connection does not name it by ``schema.registry.url``.

    Raises
    ------
    ArgumentError
        There is no such message.

    Examples
    --------
    >>> import kafkalab as kl
    >>> from google.protobuf.descriptor_pb2 import EnumValueDescriptorProto
    >>> cluster = kl.MemoryCluster({"enums": 1})
    >>> cluster.append("enums", b"\x0a\x02CH\x10\x01", b"\x0a\x02DE\x10\x02")
    >>> lab = kl.Lab(cluster, cluster)
    >>> lab.read("enums", value=kl.Protobuf(EnumValueDescriptorProto), columns=["name", "number"])
      name  number
    0   CH       1
    1   DE       2
    """

    message: type | str | None = None
    descriptors: bytes | None = field(default=None, repr=False)
    framed: bool = False
    registry: Registry | str | None = None
    _columns: pa.Schema | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.registry, str):
            object.__setattr__(self, "registry", Registry(self.registry))
        if self.message is None:
            return
        try:
            # A class that was made at run time cannot be sent to another process, its description can.
            files = Files.of(self.message, self.descriptors)
            object.__setattr__(self, "message", files.message)
            object.__setattr__(self, "descriptors", files.serialized)
            columns = Plan.of(files.descriptor()).columns
            object.__setattr__(self, "_columns", storable(columns.empty_table()).schema)
        except Unfit as error:
            raise ArgumentError(f"kl.Protobuf: {error}") from error

    @property
    def known(self) -> Known | None:
        """The types of the columns of a message that was given."""
        return None if self._columns is None else {column.name: column.type for column in self._columns}

    def bound(self, registry: Registry | None) -> Protobuf:
        """Return this format with the registry of a connection, if it needs one and has none.

        Raises
        ------
        ArgumentError
            There is neither a message nor a registry.
        """
        if self.message is not None or self.registry is not None:
            return self
        if registry is None:
            raise ArgumentError(NO_REGISTRY.format(name="protobuf", call="kl.Protobuf"))
        return replace(self, registry=registry)

    def decoder(self, wanted: Collection[str] | None = None) -> Decoder:
        """Return a decoder, which keeps the schemas that it has seen."""
        if self.message is not None:
            plan = Plan.of(Files.of(self.message, self.descriptors).descriptor(), wanted)
            if not self.framed:
                return _decoder(plan)
            return Framed(lambda schema_id, front: _decoder(plan, front, schema_id), has_indexes=True)
        registry = cast("Registry", self.bound(None).registry)
        return Framed(partial(_choose, registry, wanted), has_indexes=True)


def _choose(registry: Registry, wanted: Collection[str] | None, schema_id: int, front: bytes) -> Decoder | str:
    found = registry.schema(schema_id)
    if found is None:
        return registry.lacks(schema_id)
    if found.kind != "PROTOBUF":
        return f"schema id {schema_id} is none of Protobuf, but of {found.kind}"
    try:
        with held():
            plan = Plan.of(indexed(found, front), wanted)
    except Unfit as error:
        return f"schema id {schema_id}: {error}"
    return _decoder(plan, front, schema_id)


def _decoder(plan: Plan, front: bytes = b"", schema_id: int | None = None) -> Decoder:
    place = "" if schema_id is None else f" as schema id {schema_id} has it"

    def decode(values: pa.Array) -> Decoded:
        decoded = _native.decode_protobuf(values, plan.native, front)
        errors = {row: f"no Protobuf{place}: {error}" for row, error in decoded.errors}
        return of_schema(pa.record_batch(decoded), errors, plan.left_out)

    return decode
