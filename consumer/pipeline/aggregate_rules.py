"""What aggregates take and give: the one place where their arguments, parameters and results are decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consumer.pipeline.durations import DurationError, parse_duration
from consumer.pipeline.model import Aggregate, Expression, Literal, Type
from consumer.pipeline.tokens import ExpressionError
from consumer.pipeline.typing_rules import ANY, NUMERIC, ORDERED, Operand, check_argument

DISTINCT_LIMIT = 10_000
DISTINCT_LIMIT_MAX = 1_000_000
TOP_MAX = 1_000
COLLECT_MAX = 10_000
"""The largest `k` of top and `n` of collect bound what one group may hold."""

_PERCENT = 100

Parameter = int | float | str


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """A constant after the expressions. `read` returns its value, or None if the literal is none of its values."""

    name: str
    allowed: str
    read: Callable[[Literal], Parameter | None]
    default: Parameter | None = None
    hint: Callable[[Literal], str] = lambda _: ""


@dataclass(frozen=True, slots=True)
class Signature:
    """`arguments`: the types that each expression may have. `result` None means: the type of the first.

    `is_null_if_all_are`: the result is null if its expressions were null in every event of the group.
    """

    usage: str
    arguments: tuple[tuple[Type, ...], ...]
    result: Type | None
    parameters: tuple[ParameterRule, ...] = ()
    is_null_if_all_are: bool = True


def _whole(maximum: int) -> Callable[[Literal], Parameter | None]:
    def read(literal: Literal) -> Parameter | None:
        value = literal.value
        return value if literal.type is Type.INT and isinstance(value, int) and 1 <= value <= maximum else None

    return read


def _fraction(literal: Literal) -> Parameter | None:
    value = literal.value
    if literal.type not in NUMERIC or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    # -0.0 and 0 mean the same, and so must be the same.
    return float(value) + 0.0


def _percent_hint(literal: Literal) -> str:
    value = literal.value
    if isinstance(value, int | float) and 1 < value <= _PERCENT:
        return f"; of a percentile, a hundredth: {value / _PERCENT:g}"
    return ""


def _policy(literal: Literal) -> Parameter | None:
    return literal.value if isinstance(literal.value, str) and literal.value in ("approximate", "reject") else None


def _period(literal: Literal) -> Parameter | None:
    if not isinstance(literal.value, str):
        return None
    try:
        return parse_duration(literal.value) or None
    except DurationError:
        return None


AGGREGATES: dict[str, Signature] = {
    "count": Signature("count(x)", (ANY,), Type.INT, is_null_if_all_are=False),
    "sum": Signature("sum(x)", (NUMERIC,), None),
    "min": Signature("min(x)", (ORDERED,), None),
    "max": Signature("max(x)", (ORDERED,), None),
    "avg": Signature("avg(x)", (NUMERIC,), Type.FLOAT),
    "variance": Signature("variance(x)", (NUMERIC,), Type.FLOAT),
    "stddev": Signature("stddev(x)", (NUMERIC,), Type.FLOAT),
    "first": Signature("first(x)", (ANY,), None),
    "last": Signature("last(x)", (ANY,), None),
    "min_by": Signature("min_by(x, y)", (ANY, ORDERED), None),
    "max_by": Signature("max_by(x, y)", (ANY, ORDERED), None),
    "count_distinct": Signature(
        "count_distinct(x)",
        (ANY,),
        Type.INT,
        (
            ParameterRule(
                "limit", f"a whole number from 1 to {DISTINCT_LIMIT_MAX}", _whole(DISTINCT_LIMIT_MAX), DISTINCT_LIMIT
            ),
            ParameterRule("policy", "'approximate' or 'reject'", _policy, "approximate"),
        ),
        is_null_if_all_are=False,
    ),
    "approx_distinct": Signature("approx_distinct(x)", (ANY,), Type.INT, is_null_if_all_are=False),
    "quantile": Signature(
        "quantile(x, q)",
        (NUMERIC,),
        Type.FLOAT,
        (ParameterRule("q", "a number from 0 to 1 such as 0.99", _fraction, hint=_percent_hint),),
    ),
    "top": Signature(
        "top(x, k)",
        (ANY,),
        None,
        (ParameterRule("k", f"a whole number from 1 to {TOP_MAX}", _whole(TOP_MAX)),),
        is_null_if_all_are=False,
    ),
    "collect": Signature(
        "collect(x, n)",
        (ANY,),
        None,
        (ParameterRule("n", f"a whole number from 1 to {COLLECT_MAX}", _whole(COLLECT_MAX)),),
        is_null_if_all_are=False,
    ),
    "rate": Signature(
        "rate('1m')",
        (),
        Type.FLOAT,
        (ParameterRule("per", "a duration in quotes, above 0, such as '1m'", _period),),
        is_null_if_all_are=False,
    ),
}
"""All aggregates. `count` may lack its expression."""


def aggregate(name: str, function: str, operands: Sequence[Operand], offset: int) -> Aggregate:
    """Type-check the column `name`, whose known `function` stands at `offset`."""
    signature = AGGREGATES[function]
    if function == "count" and not operands:
        return Aggregate(name, function, (), (), Type.INT, nullable=False)
    _check_count(function, signature, operands, offset)
    split = len(signature.arguments)
    arguments = tuple(
        check_argument(function, types, operand)
        for types, operand in zip(signature.arguments, operands[:split], strict=True)
    )
    return Aggregate(
        name,
        function,
        arguments,
        _parameters(function, signature, operands[split:]),
        _result(signature, arguments),
        # A window holds at least one event, so only expressions that may be null make a result that may be null.
        signature.is_null_if_all_are and any(argument.nullable for argument in arguments),
    )


def _result(signature: Signature, arguments: Sequence[Expression]) -> Type:
    type_ = signature.result or arguments[0].type
    assert type_ is not None
    return type_


def _check_count(function: str, signature: Signature, operands: Sequence[Operand], offset: int) -> None:
    if len(operands) < len(signature.arguments):
        what = "an expression" if len(signature.arguments) == 1 else "two expressions"
        raise ExpressionError(f"{function} takes {what}: {signature.usage}", offset)
    most = len(signature.arguments) + len(signature.parameters)
    if len(operands) > most:
        noun = "argument" if most == 1 else "arguments"
        count = {1: "one", 2: "two", 3: "at most three"}[most]
        raise ExpressionError(f"{function} takes {count} {noun}, and this is one more", operands[most].offset)
    for rule in signature.parameters[len(operands) - len(signature.arguments) :]:
        if rule.default is None:
            raise ExpressionError(f"{signature.usage} lacks {rule.name}, {rule.allowed}", offset)


def _parameters(function: str, signature: Signature, operands: Sequence[Operand]) -> tuple[Parameter, ...]:
    given = [_parameter(function, rule, operand) for rule, operand in zip(signature.parameters, operands, strict=False)]
    defaults = [rule.default for rule in signature.parameters[len(given) :]]
    return (*given, *(default for default in defaults if default is not None))


def _parameter(function: str, rule: ParameterRule, operand: Operand) -> Parameter:
    literal = operand.expression
    if not isinstance(literal, Literal):
        raise ExpressionError(f"{rule.name} of {function} must be written out: {rule.allowed}", operand.offset)
    value = rule.read(literal)
    if value is None:
        raise ExpressionError(f"{rule.name} of {function} must be {rule.allowed}{rule.hint(literal)}", operand.offset)
    return value
