"""Expressions and aggregates back to text: one text for one meaning, which reads back as the same tree."""

from __future__ import annotations

from consumer.pipeline.durations import format_duration
from consumer.pipeline.model import Aggregate, Apply, Expression, Literal, Name
from consumer.pipeline.precedence import COMPARISON, NOT, POWERS, SIGN

_QUOTED = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CONTROLS = frozenset((*range(0x20), *range(0x7F, 0xA0)))
_ATOM = SIGN + 1


def to_text(expression: Expression) -> str:
    """Return the canonical text: `parse_expression` of it, in the same scope, gives an equal tree."""
    return _render(expression, 0)


def aggregate_to_text(aggregate: Aggregate) -> str:
    """Return the canonical text, defaults filled in, such as `count_distinct(page, 10000, 'approximate')`."""
    parts = [*map(to_text, aggregate.arguments), *_parameters(aggregate)]
    return f"{aggregate.function}({', '.join(parts)})"


def names_in(expression: Expression) -> frozenset[str]:
    """Return the fields and lets that the expression names."""
    if isinstance(expression, Name):
        return frozenset({expression.name})
    if isinstance(expression, Apply):
        return frozenset().union(*(names_in(argument) for argument in expression.arguments))
    return frozenset()


def _parameters(aggregate: Aggregate) -> list[str]:
    if aggregate.function == "rate":
        (per_ms,) = aggregate.parameters
        assert isinstance(per_ms, int)
        return [_quote(format_duration(per_ms))]
    return [_quote(value) if isinstance(value, str) else repr(value) for value in aggregate.parameters]


def _render(expression: Expression, power_min: int) -> str:
    """Return the text, in parentheses if it binds looser than its place asks for."""
    text, power = _render_bare(expression)
    return f"({text})" if power < power_min else text


def _render_bare(expression: Expression) -> tuple[str, int]:
    """Return the text and its binding power."""
    if isinstance(expression, Name):
        return expression.name, _ATOM
    if isinstance(expression, Literal):
        return _render_literal(expression), _ATOM
    return _render_apply(expression)


def _render_apply(expression: Apply) -> tuple[str, int]:
    operator, arguments = expression.operator, expression.arguments
    if operator == "neg":
        return _render_sign(arguments[0]), SIGN
    if operator == "not":
        return f"not {_render(arguments[0], NOT)}", NOT
    if operator in ("is_null", "is_not_null"):
        words = operator.replace("_", " ")
        return f"{_render(arguments[0], COMPARISON + 1)} {words}", COMPARISON
    power = POWERS.get(operator)
    if power is None:
        return f"{operator}({', '.join(_render(argument, 0) for argument in arguments)})", _ATOM
    left = _render(arguments[0], power + 1 if power == COMPARISON else power)
    return f"{left} {operator} {_render(arguments[1], power + 1)}", power


def _render_sign(argument: Expression) -> str:
    # A minus right before digits is part of the number, so a number that is negated needs parentheses.
    if isinstance(argument, Literal):
        return f"-({_render_literal(argument)})"
    return f"-{_render(argument, SIGN)}"


def _render_literal(literal: Literal) -> str:
    value = literal.value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quote(value) if isinstance(value, str) else repr(value)


def _quote(value: str) -> str:
    return "'" + "".join(_QUOTED.get(c) or (f"\\x{ord(c):02x}" if ord(c) in _CONTROLS else c) for c in value) + "'"
