"""A condition that a person types, as an expression: it is read, and nothing of it is ever run."""

from __future__ import annotations

import ast
import operator
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from kafkalab.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], pc.Expression]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_TURNED = {ast.NotIn: ast.In(), ast.IsNot: ast.Is()}
_ASSIGNMENT = re.compile(r"(?<![=!<>])=(?!=)")
_EXAMPLE = "such as amount > 40 and country == 'DE'"
_MOST_PARTS = 1000
_SHOWN = 40
_INT64 = range(-(1 << 63), 1 << 63)
_KNOWN = "==, !=, <, <=, >, >=, in, not in, is None, and, or, not"


def parse(text: str) -> pc.Expression:
    """Return the expression that a condition stands for.

    Parameters
    ----------
    text : str
        Columns, values, comparisons, ``in`` a list, a text ``in`` a column, ``is None``, ``and``, ``or`` and ``not``,
        as in Python. A column whose name is no Python name is ``column["its name"]``.

    Raises
    ------
    ArgumentError
        It is not such a condition; it says what was not understood.

    Examples
    --------
    >>> parse("amount > 100 and not 'test' in key.user")
    <pyarrow.compute.Expression ((amount > 100) and invert(match_substring(key.user, {pattern="test", ...})))>
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        _check_size(node)
        return _condition(node)
    except ArgumentError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError, pa.ArrowException) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        if _ASSIGNMENT.search(text):
            reason = "== compares, = does not"
        raise ArgumentError(f"this is no condition ({reason}): give one {_EXAMPLE}") from error


def _check_size(node: ast.expr) -> None:
    parts = sum(isinstance(each, ast.expr) and not isinstance(each, ast.Constant) for each in ast.walk(node))
    if parts > _MOST_PARTS:
        raise ArgumentError(
            f"the condition is too long: it has {parts:,} columns, comparisons and joins, and at most {_MOST_PARTS:,} "
            "are possible; look for one of many values with 'column in [...]'"
        )


def _joined(join: Callable[[Any, Any], pc.Expression], parts: Sequence[pc.Expression]) -> pc.Expression:
    """Join parts two by two: pyarrow goes into an expression by recursion, without a limit."""
    while len(parts) > 1:
        pairs = [join(*parts[number : number + 2]) for number in range(0, len(parts) - 1, 2)]
        parts = [*pairs, *parts[len(pairs) * 2 :]]
    return parts[0]


def _condition(node: ast.expr) -> pc.Expression:
    if isinstance(node, ast.BoolOp):
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        return _joined(join, [_condition(each) for each in node.values])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_condition(node.operand)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return _joined(operator.and_, [_compared(*each) for each in zip(sides, node.ops, sides[1:], strict=False)])
    if _name(node) is not None:
        return pc.field(_name(node)) == True  # noqa: E712 - null does not pass
    raise _not_understood(node, "a condition compares a column with a value")


def _compared(left: ast.expr, how: ast.cmpop, right: ast.expr) -> pc.Expression:
    if type(how) in _TURNED:
        return ~_compared(left, _TURNED[type(how)], right)
    if isinstance(how, ast.Is):
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise _not_understood(right, "'is' is followed by None, or not None")
        return _side(left).is_null()
    if isinstance(how, ast.In):
        return _contained(left, right)
    if any(isinstance(side, ast.Constant) and side.value is None for side in (left, right)):
        raise ArgumentError("nothing equals None: use 'is None' or 'is not None'")
    return _COMPARISONS[type(how)](_side(left), _side(right))


def _contained(left: ast.expr, right: ast.expr) -> pc.Expression:
    if isinstance(right, ast.List | ast.Tuple | ast.Set):
        return _side(left).isin([_checked(each) for each in right.elts])
    text = left.value if isinstance(left, ast.Constant) else None
    if not isinstance(text, str | bytes) or _name(right) is None:
        raise _not_understood(left, "'in' has a column and a list, or a text and a column")
    return pc.match_substring(_side(right), text)


def _side(node: ast.expr) -> pc.Expression:
    name = _name(node)
    return pc.scalar(_checked(node)) if name is None else pc.field(name)


def _name(node: ast.expr) -> str | None:
    """Return the column that a node names: `amount`, `key.user`, or `column["any name"]`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _name(node.value)
        return None if before is None else f"{before}.{node.attr}"
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "column":
        name = _value(node.slice)
        return name if isinstance(name, str) else None
    return None


def _checked(node: ast.expr) -> str | bytes | bool | float | None:
    """Return a value that Arrow has."""
    value = _value(node)
    if isinstance(value, int) and value not in _INT64:
        raise ArgumentError(
            f"{str(value)[:_SHOWN]} is too large: whole numbers are from -2^63 to 2^63 - 1; with a decimal point it is "
            "the nearest number that a float holds"
        )
    return value


def _value(node: ast.expr) -> str | bytes | bool | float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        if isinstance(value, int | float):
            return -value
    elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes | bool | int | float | None):
        return node.value
    raise _not_understood(node, f"there are columns, values and {_KNOWN}")


def _not_understood(node: ast.expr, rule: str) -> ArgumentError:
    return ArgumentError(f"{ast.unparse(node)!r} is not understood: {rule}")
