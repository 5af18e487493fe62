"""What makes measurements those of the same thing, so that a sweep goes on only with trials of its own."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import re
import types
from typing import TYPE_CHECKING, Any

from kafkalab.pickling import held
from kafkalab.tuning.search import OTHER_KNOBS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kafkalab.tuning.measure import Bench

_PLAIN = (bool, int, float, complex, str, bytes, type(None), list, tuple, dict, set, frozenset)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def origin(bench: Bench, space: Collection[str], warm_up: float) -> dict[str, Any]:
    """Return all that trials depend on beside their own configuration: the records, the handler, the rest of the setup.

    Parameters
    ----------
    bench : Bench
        What is measured.
    space : collection of str
        The knobs that each trial sets itself.
    warm_up : float
        Seconds that do not count.
    """
    setup = bench.setup
    knobs = {**setup.settings.values(), **{name: getattr(setup, name) for name in OTHER_KNOBS}}
    return {
        "topic": setup.topic,
        "starts": {str(number): start for number, start in sorted((bench.starts or {}).items())},
        "replay": setup.replay,
        "process": f"{setup.process} {_digest(chr(10).join(_parts(bench.process, set())))}",
        "warm_up": float(warm_up),
        **{name: value for name, value in knobs.items() if name not in space},
    }


def fingerprint(found: Mapping[str, Any]) -> str:
    """Return a few characters that stand for an origin."""
    return _digest(json.dumps(found, sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    """Yield what a handler is made of: its code, and the values that it was made with; nothing that a run changes."""
    seen.add(id(value))
    call = value.func if isinstance(value, functools.partial) else value
    call = getattr(call, "__func__", call)
    yield f"{getattr(call, '__module__', '')}.{getattr(call, '__qualname__', type(call).__qualname__)}"
    if inspect.ismethod(value):
        yield from _parts(value.__self__, seen)
    if inspect.isfunction(call):
        yield from _code(call.__code__)
    elif not inspect.isroutine(call) and inspect.isfunction(type(call).__call__):
        yield from _code(type(call).__call__.__code__)
        yield _ADDRESS.sub("", repr(call))
    for name, part in held(value):
        if isinstance(part, _PLAIN):
            yield f"{name}={part!r}"
        elif inspect.isfunction(part) and part.__module__ == value.__module__ and id(part) not in seen:
            yield from _parts(part, seen)
        else:
            yield f"{name}: {type(part).__qualname__} {getattr(part, '__name__', '')}"


def _code(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield from map(str, (code.co_names, code.co_varnames, code.co_freevars))
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _code(each)
        else:
            yield repr(sorted(each, key=repr) if isinstance(each, frozenset) else each)
