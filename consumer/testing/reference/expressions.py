"""Expressions, evaluated by walking the tree.

Null is None and three-valued. `and`, `or`, `if` and `coalesce` evaluate their arguments from the left and
only as far as they need; every other operator evaluates all of them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal

import re2

from consumer.pipeline.model import Apply, Expression, Literal, Name, Type
from consumer.testing.reference.values import (
    MAX_INT,
    MIN_INT,
    NotANumberError,
    RangeError,
    Value,
    text_to_float,
    text_to_int,
    to_text,
)


class ExpressionError(Exception):
    """The expression has no value for this event: an int beyond 64 bits, a float that overflows."""


def evaluate(expression: Expression, values: Mapping[str, Value]) -> Value:
    """Return the expression's value over fields and lets; ExpressionError."""
    if isinstance(expression, Literal):
        return expression.value
    if isinstance(expression, Name):
        return values[expression.name]
    if expression.operator in _NULL_AWARE:
        return _NULL_AWARE[expression.operator](expression, values)
    arguments = [evaluate(argument, values) for argument in expression.arguments]
    if any(argument is None for argument in arguments):
        return None
    try:
        result = _apply(expression, arguments)
    except (RangeError, OverflowError) as error:
        raise ExpressionError(expression.operator) from error
    return _in_range(result)


def _in_range(value: Value) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("a float overflows")
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        raise ExpressionError("an int beyond 64 bits")
    return value


def _apply(expression: Apply, arguments: list[Value]) -> Value:
    if expression.operator == "to_string":
        (value,) = arguments
        assert value is not None
        return to_text(value, expression.arguments[0].type or Type.STRING)
    return _STRICT[expression.operator](*arguments)


def _and(expression: Apply, values: Mapping[str, Value]) -> Value:
    seen_null = False
    for argument in expression.arguments:
        value = evaluate(argument, values)
        if value is False:
            return False
        seen_null = seen_null or value is None
    return None if seen_null else True


def _or(expression: Apply, values: Mapping[str, Value]) -> Value:
    seen_null = False
    for argument in expression.arguments:
        value = evaluate(argument, values)
        if value is True:
            return True
        seen_null = seen_null or value is None
    return None if seen_null else False


def _if(expression: Apply, values: Mapping[str, Value]) -> Value:
    condition, when_true, otherwise = expression.arguments
    return evaluate(when_true if evaluate(condition, values) is True else otherwise, values)


def _coalesce(expression: Apply, values: Mapping[str, Value]) -> Value:
    for argument in expression.arguments:
        value = evaluate(argument, values)
        if value is not None:
            return value
    return None


def _is_null(expression: Apply, values: Mapping[str, Value]) -> Value:
    return evaluate(expression.arguments[0], values) is None


def _is_not_null(expression: Apply, values: Mapping[str, Value]) -> Value:
    return evaluate(expression.arguments[0], values) is not None


def _divide(dividend: float, divisor: float) -> Value:
    return None if divisor == 0 else dividend / divisor


def _remainder(dividend: float, divisor: float) -> Value:
    """Return what is left of the dividend, with its sign."""
    if divisor == 0:
        return None
    if isinstance(dividend, int) and isinstance(divisor, int):
        size = abs(dividend) % abs(divisor)
        return -size if dividend < 0 else size
    return math.fmod(dividend, divisor)


def _bucket(value: float, width: float) -> Value:
    if width == 0:
        return None
    if isinstance(value, int) and isinstance(width, int):
        return value // width * width
    return float(math.floor(value / width)) * width


def _whole(rounding: Callable[[float], int]) -> Callable[[float], Value]:
    """Return the rounding so that an int stays an int and a float a float."""

    def rounded(value: float) -> Value:
        return value if isinstance(value, int) else float(rounding(value))

    return rounded


def _half_away_from_zero(value: float) -> int:
    return int(Decimal(value).to_integral_value(ROUND_HALF_UP))


def _substring(text: str, start: int, length: int) -> str:
    return "".join(character for place, character in enumerate(text, 1) if start <= place < start + length)


def _to_int(value: str | float) -> Value:
    if not isinstance(value, str):
        return math.trunc(value)
    try:
        return text_to_int(value)
    except NotANumberError:
        return None


def _to_float(value: str | float) -> Value:
    if not isinstance(value, str):
        return float(value)
    try:
        return text_to_float(value)
    except NotANumberError:
        return None


def _matches(text: str, pattern: str) -> bool:
    return re2.search(pattern, text) is not None


_NULL_AWARE: dict[str, Callable[[Apply, Mapping[str, Value]], Value]] = {
    "is_null": _is_null,
    "is_not_null": _is_not_null,
    "and": _and,
    "or": _or,
    "if": _if,
    "coalesce": _coalesce,
}
_STRICT: dict[str, Callable[..., Value]] = {
    "neg": operator.neg,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": _remainder,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "not": operator.not_,
    "lower": str.lower,
    "upper": str.upper,
    "length": len,
    "substring": _substring,
    "starts_with": str.startswith,
    "contains": operator.contains,
    "matches": _matches,
    "abs": abs,
    "round": _whole(_half_away_from_zero),
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "to_int": _to_int,
    "to_float": _to_float,
    "bucket": _bucket,
}
