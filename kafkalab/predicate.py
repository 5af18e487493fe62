"""A condition that a person types, as an expression: it is read, and nothing of it is ever run."""

from __future__ import annotations

import ast
import operator
import re
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from kafkalab.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

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
        return _condition(ast.parse(text.strip(), mode="eval").body)
    except ArgumentError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        if _ASSIGNMENT.search(text):
            reason = "== compares, = does not"
        raise ArgumentError(f"this is no condition ({reason}): give one {_EXAMPLE}") from error


def _condition(node: ast.expr) -> pc.Expression:
    if isinstance(node, ast.BoolOp):
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        first, *others = map(_condition, node.values)
        for other in others:
            first = join(first, other)
        return first
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_condition(node.operand)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        first, *others = (_compared(*each) for each in zip(sides, node.ops, sides[1:], strict=False))
        for other in others:
            first &= other
        return first
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
        return _side(left).isin([_value(each) for each in right.elts])
    text = left.value if isinstance(left, ast.Constant) else None
    if not isinstance(text, str | bytes) or _name(right) is None:
        raise _not_understood(left, "'in' has a column and a list, or a text and a column")
    return pc.match_substring(_side(right), text)


def _side(node: ast.expr) -> pc.Expression:
    name = _name(node)
    return pc.scalar(_value(node)) if name is None else pc.field(name)


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
