"""What goes to another process: pickled, out of sight, and refused by name where it cannot go."""

from __future__ import annotations

import collections
import functools
import inspect
import io
import pickle
import types
from typing import TYPE_CHECKING, Any, ClassVar

from kafkalab.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def dumps(value: object) -> bytes:
    """Return a value pickled; with functions that were defined in a notebook, where cloudpickle is installed."""
    try:
        from cloudpickle import CloudPickler
    except ImportError:
        return pickle.dumps(value)

    class Pickler(CloudPickler):  # type: ignore[misc]  # of a library without types
        dispatch_table: ClassVar[Any] = collections.ChainMap(
            {types.CodeType: _reduce_code}, CloudPickler.dispatch_table
        )

    into = io.BytesIO()
    Pickler(into).dump(value)
    return into.getvalue()


def _reduce_code(code: types.CodeType) -> tuple[Callable[..., types.CodeType], tuple[Any, ...]]:
    """Reduce code as cloudpickle does, but keep the name of its file: a traceback from a worker tells it."""
    from cloudpickle import CloudPickler

    make, values = CloudPickler.dispatch_table[types.CodeType](code)
    return _code, (make, values, code.co_filename)


def _code(make: Callable[..., types.CodeType], values: tuple[Any, ...], filename: str) -> types.CodeType:
    return make(*values).replace(co_filename=filename)


class Sealed:
    """A pickled value that no repr shows: schedulers log the arguments of what they run, and these hold passwords.

    Examples
    --------
    >>> sealed = Sealed({"sasl.password": "hunter2"})
    >>> sealed
    <Sealed, ... bytes>
    >>> sealed.open()
    {'sasl.password': 'hunter2'}
    """

    __slots__ = ("_pickled",)

    def __init__(self, value: object) -> None:
        self._pickled = dumps(value)

    def open(self) -> Any:
        """Return the value."""
        return pickle.loads(self._pickled)  # noqa: S301 - made by this class, in a process of ours

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self._pickled == other._pickled

    def __hash__(self) -> int:
        return hash(self._pickled)

    def __repr__(self) -> str:
        return f"<Sealed, {len(self._pickled):,} bytes>"


def check_travels(func: Callable[..., Any], otherwise: str = ", or use executor='thread'") -> None:
    """Refuse a function that cannot be sent to another process, and name what it holds on to; say what else to do.

    Raises
    ------
    ArgumentError
        What it uses stays in this process: a lock, a connection, an open file.

    Examples
    --------
    >>> import threading
    >>> lock = threading.Lock()
    >>> check_travels(lambda part: lock.locked())
    Traceback (most recent call last):
    kafkalab.errors.ArgumentError: <lambda> cannot go to another process: it uses 'lock', a lock, which ...
    """
    reason = _complaint(func)
    if reason is None:
        return
    name = getattr(func, "__name__", type(func).__name__)
    found = next(_culprits(func, set()), None)
    if found is None:
        message = f"{name} cannot go to another process: {reason}. A function from a notebook needs cloudpickle: "
        raise ArgumentError(message + 'pip install "kafkalab[process]"')
    path, value = found
    raise ArgumentError(
        f"{name} cannot go to another process: it uses {path!r}, a {type(value).__name__}, which stays in this one. "
        f"Make it inside the function{otherwise}"
    )


def _complaint(value: object) -> str | None:
    try:
        dumps(value)
    except Exception as error:  # noqa: BLE001 - whatever an object raises when it is pickled
        return str(error) or type(error).__name__
    return None


def _culprits(value: object, seen: set[int]) -> Iterator[tuple[str, object]]:
    """Yield what a function holds on to and cannot be pickled, by the name that leads there."""
    seen.add(id(value))
    for name, part in held(value):
        if id(part) in seen or _complaint(part) is None:
            continue
        deeper = _culprits(part, seen) if inspect.isroutine(part) or isinstance(part, functools.partial) else iter(())
        found = next(deeper, None)
        yield (name, part) if found is None else (f"{name}.{found[0]}", found[1])


def held(value: object) -> Iterator[tuple[str, object]]:
    """Yield what a function, or an object that is called like one, holds on to, by name."""
    if isinstance(value, functools.partial):
        yield from held(value.func)
        yield from ((str(number), held) for number, held in enumerate(value.args))
        yield from value.keywords.items()
    elif inspect.ismethod(value):
        yield "self", value.__self__
        yield from held(value.__func__)
    elif inspect.isfunction(value):
        used = inspect.getclosurevars(value)
        yield from {**used.nonlocals, **used.globals}.items()
        parameters = inspect.signature(value).parameters.values()
        yield from ((parameter.name, parameter.default) for parameter in parameters)
    else:
        yield from getattr(value, "__dict__", {}).items()
