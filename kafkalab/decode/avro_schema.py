"""Avro schemas, read as far as values depend on them: which letters names have, say, is their writer's affair."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from kafkalab.decode.unfit import Unfit, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    Schema: TypeAlias = "str | dict[str, Any] | list[Any] | tuple[Any, ...]"

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
UNIONS = (list, tuple)
_RECORDS = ("record", "error")
_NAMED = (*_RECORDS, "enum", "fixed")
_LARGEST_FIXED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Schemas:
    """A schema, and the types in it that have names."""

    root: Schema
    named: Mapping[str, dict[str, Any]]

    @classmethod
    def parse(cls, given: Any, references: Iterable[Any] = ()) -> Schemas:
        """Read a schema, given as JSON text or as what that says; those that it refers to come first.

        Raises
        ------
        Unfit
            It is no Avro schema.
        """
        named: dict[str, dict[str, Any]] = {}
        parts = _Parts(named)
        try:
            for reference in references:
                parts.read(_loaded(reference), "")
            return cls(parts.read(_loaded(given), ""), named)
        except RecursionError as error:
            raise Unfit("no Avro schema: its parts are nested too deep") from error
        except ValueError as error:
            raise Unfit(f"no Avro schema: {error}") from error

    def of(self, schema: Schema) -> Schema:
        """Return what a name stands for."""
        return self.named.get(schema, schema) if isinstance(schema, str) else schema


def _loaded(given: Any) -> Any:
    if not isinstance(given, str) or given in PRIMITIVES:
        return given
    return json.loads(given)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Reads the parts of a schema, with full names in the place of all others."""

    named: dict[str, dict[str, Any]]

    def read(self, given: Any, namespace: str) -> Schema:
        if isinstance(given, str):
            return self._known(given, namespace)
        if isinstance(given, UNIONS):
            return [self.read(branch, namespace) for branch in given]
        kind = given.get("type") if isinstance(given, Mapping) else None
        if kind is None:
            raise ValueError(f"{shortened(given)} has no type")
        if not isinstance(kind, str):
            return self.read(kind, namespace)
        if kind in _NAMED:
            return self._definition(given, kind, namespace)
        if kind in ("array", "map"):
            part = "items" if kind == "array" else "values"
            return {**given, part: self.read(_part(given, part), namespace)}
        return dict(given) if kind in PRIMITIVES else self._known(kind, namespace)

    def _known(self, name: str, namespace: str) -> str:
        if name in PRIMITIVES:
            return name
        for full in (_full_name(name, namespace), name):
            if full in self.named:
                return full
        raise ValueError(f"the type {shortened(name)} is not known")

    def _definition(self, given: Mapping[str, Any], kind: str, namespace: str) -> Schema:
        around = given.get("namespace", namespace)
        name = _full_name(_text(_part(given, "name")), around if isinstance(around, str) else "")
        if name in self.named:
            raise ValueError(f"the type {shortened(name)} is there twice")
        made = self.named[name] = {**given, "name": name, "aliases": _texts(given.get("aliases"))}
        if kind == "fixed":
            made["size"] = _size(_part(given, "size"))
        elif kind == "enum":
            made["symbols"] = _symbols(_part(given, "symbols"))
        else:
            made["fields"] = self._fields(_part(given, "fields"), name.rpartition(".")[0])
        return made

    def _fields(self, given: Any, namespace: str) -> list[dict[str, Any]]:
        fields = [
            {
                **part,
                "name": _text(_part(part, "name")),
                "type": self.read(_part(part, "type"), namespace),
                "aliases": _texts(part.get("aliases")),
            }
            for part in _list(given, "fields")
        ]
        if len({part["name"] for part in fields}) < len(fields):
            raise ValueError("a record has two fields of the same name")
        return fields


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _part(given: Any, name: str) -> Any:
    if not isinstance(given, Mapping) or name not in given:
        raise ValueError(f"{shortened(given)} has no {name}")
    return given[name]


def _list(given: Any, name: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(given, UNIONS):
        raise ValueError(f"{name} are a list, not {shortened(given)}")  # noqa: TRY004 - of what was read, not of a call
    return given


def _text(given: Any) -> str:
    """Return a name that Arrow can have."""
    if not isinstance(given, str) or not given or "\0" in given:
        raise ValueError(f"{shortened(given)} is no name")
    given.encode()  # half of a pair of surrogates is no text
    return given


def _symbols(given: Any) -> list[str]:
    symbols = list(_list(given, "symbols"))
    if not all(isinstance(symbol, str) for symbol in symbols):
        raise ValueError("the symbols of an enum are strings")
    "".join(symbols).encode()
    return symbols


def _texts(given: Any) -> list[str]:
    """Return other names, of which none has to be there."""
    return [name for name in given if isinstance(name, str)] if isinstance(given, UNIONS) else []


def _size(given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= _LARGEST_FIXED:
        raise ValueError(f"the size of a fixed is a number up to {_LARGEST_FIXED}, not {shortened(given)}")
    return given
