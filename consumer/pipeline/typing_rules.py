"""What operators and functions take and give: the one place where types and nullability are decided.

A null literal has no type until it meets a neighbour or a parameter of one type; what is only null is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consumer.pipeline.model import Apply, Expression, Literal, Type
from consumer.pipeline.tokens import ExpressionError
from consumer.pipeline.wording import shorten

ARITHMETIC = ("+", "-", "*", "/", "%")
EQUALITY = ("==", "!=")
ORDERING = ("<", "<=", ">", ">=")
LOGIC = ("and", "or")

NUMERIC = (Type.INT, Type.FLOAT)
ORDERED = (Type.STRING, Type.INT, Type.FLOAT, Type.TIMESTAMP)
ANY = tuple(Type)


class Operand(NamedTuple):
    """An expression and where it begins in the text, for errors that point at it."""

    expression: Expression
    offset: int


@dataclass(frozen=True, slots=True)
class Signature:
    """`parameters`: the types each argument may have. `result` None means: the type of the first argument."""

    usage: str
    parameters: tuple[tuple[Type, ...], ...]
    result: Type | None


_TEXT = (Type.STRING,)

SIGNATURES = {
    "lower": Signature("lower(text)", (_TEXT,), Type.STRING),
    "upper": Signature("upper(text)", (_TEXT,), Type.STRING),
    "length": Signature("length(text)", (_TEXT,), Type.INT),
    "substring": Signature("substring(text, start, length)", (_TEXT, (Type.INT,), (Type.INT,)), Type.STRING),
    "starts_with": Signature("starts_with(text, beginning)", (_TEXT, _TEXT), Type.BOOL),
    "contains": Signature("contains(text, part)", (_TEXT, _TEXT), Type.BOOL),
    "matches": Signature("matches(text, 'pattern')", (_TEXT, _TEXT), Type.BOOL),
    "abs": Signature("abs(number)", (NUMERIC,), None),
    "round": Signature("round(number)", (NUMERIC,), None),
    "floor": Signature("floor(number)", (NUMERIC,), None),
    "ceil": Signature("ceil(number)", (NUMERIC,), None),
    "to_int": Signature("to_int(value)", (ANY,), Type.INT),
    "to_float": Signature("to_float(value)", ((Type.STRING, Type.INT, Type.FLOAT, Type.BOOL),), Type.FLOAT),
    "to_string": Signature("to_string(value)", (ANY,), Type.STRING),
}
"""Functions whose arguments are checked one by one; `if`, `coalesce` and `bucket` have rules of their own."""


def named(type_: Type) -> str:
    """Return the type with its article: `an int`, `a string`."""
    return f"an {type_}" if type_ is Type.INT else f"a {type_}"


def is_untyped_null(expression: Expression) -> bool:
    """Tell whether this is a null literal that has not met a neighbour yet."""
    return isinstance(expression, Literal) and expression.type is None


def type_of(operand: Operand) -> Type:
    """Return the operand's type; ExpressionError if it is a null that nothing gives a type."""
    type_ = operand.expression.type
    if type_ is None:
        raise ExpressionError("this is only null: nothing here tells which type it has", operand.offset)
    return type_


def negate(operand: Operand) -> Expression:
    """Type-check a minus sign."""
    type_ = one_of(operand, NUMERIC, "`-`")
    return Apply("neg", (operand.expression,), type_, operand.expression.nullable)


def invert(operand: Operand) -> Expression:
    """Type-check `not`."""
    expression = adopt(operand.expression, Type.BOOL)
    one_of(Operand(expression, operand.offset), (Type.BOOL,), "`not`")
    return Apply("not", (expression,), Type.BOOL, expression.nullable)


def test_null(operand: Operand, *, wanted: bool) -> Expression:
    """Type-check `is null` (`wanted`) or `is not null`."""
    type_of(operand)
    return Apply("is_null" if wanted else "is_not_null", (operand.expression,), Type.BOOL, nullable=False)


def test_membership(operand: Operand, values: Sequence[Operand], *, wanted: bool) -> Expression:
    """Type-check `in` (`wanted`) or `not in`, which are short for comparisons with each value."""
    tests = [combine("==", operand, value, value.offset) for value in values]
    found = _any_of(tests)
    return found if wanted else Apply("not", (found,), Type.BOOL, found.nullable)


def _any_of(tests: Sequence[Expression]) -> Expression:
    """Join conditions by `or`, in halves: many of them make a tree that is wide, and not deep."""
    if len(tests) == 1:
        return tests[0]
    half = (len(tests) + 1) // 2
    parts = (_any_of(tests[:half]), _any_of(tests[half:]))
    return Apply("or", parts, Type.BOOL, any(part.nullable for part in parts))


def _refuse_equal_to_null(operator: str, left: Operand, right: Operand, offset: int) -> None:
    """ExpressionError where a value is compared with null, `in` a list too: that is null whatever the value is."""
    if operator in ("==", "!=") and (is_untyped_null(left.expression) or is_untyped_null(right.expression)):
        meant = "is null" if operator == "==" else "is not null"
        raise ExpressionError(f"what is compared with null gives null, never true or false: write `{meant}`", offset)


def combine(operator: str, left: Operand, right: Operand, offset: int) -> Expression:
    """Type-check a binary operator that stands at `offset`."""
    if operator in LOGIC:
        return _logic(operator, left, right)
    _refuse_equal_to_null(operator, left, right, offset)
    left, right = _share_type(left, right)
    if operator in ARITHMETIC:
        return _arithmetic(operator, left, right)
    return _comparison(operator, left, right, offset)


def call(name: str, arguments: Sequence[Operand], offset: int) -> Expression:
    """Type-check a call of a known function whose name stands at `offset`."""
    rule = _SPECIAL.get(name)
    if rule is not None:
        return rule(arguments, offset)
    signature = SIGNATURES[name]
    _check_count(signature.usage, len(signature.parameters), arguments, offset)
    typed = [
        check_argument(name, allowed, operand) for allowed, operand in zip(signature.parameters, arguments, strict=True)
    ]
    if name == "matches":
        _check_pattern(typed[1], arguments[1].offset)
    result = signature.result or typed[0].type
    assert result is not None
    nullable = any(argument.nullable for argument in typed) or _may_fail_to_read(name, typed[0])
    return Apply(name, tuple(typed), result, nullable)


def adopt(expression: Expression, type_: Type) -> Expression:
    """Give an untyped null the type; leave everything else."""
    return Literal(None, type_, nullable=True) if is_untyped_null(expression) else expression


def _share_type(left: Operand, right: Operand) -> tuple[Operand, Operand]:
    """Let a null literal take the type of the other side."""
    if is_untyped_null(left.expression):
        left = Operand(adopt(left.expression, type_of(right)), left.offset)
    elif is_untyped_null(right.expression):
        right = Operand(adopt(right.expression, type_of(left)), right.offset)
    return left, right


def _logic(operator: str, left: Operand, right: Operand) -> Expression:
    typed = [adopt(operand.expression, Type.BOOL) for operand in (left, right)]
    for expression, operand in zip(typed, (left, right), strict=True):
        one_of(Operand(expression, operand.offset), (Type.BOOL,), f"`{operator}`")
    return Apply(operator, tuple(typed), Type.BOOL, any(expression.nullable for expression in typed))


def _arithmetic(operator: str, left: Operand, right: Operand) -> Expression:
    types = [one_of(operand, NUMERIC, f"`{operator}`") for operand in (left, right)]
    both_int = types == [Type.INT, Type.INT]
    result = Type.INT if both_int and operator != "/" else Type.FLOAT
    nullable = left.expression.nullable or right.expression.nullable
    if operator in ("/", "%"):
        nullable = nullable or _may_be_zero(right.expression)
    return Apply(operator, (left.expression, right.expression), result, nullable)


def _comparison(operator: str, left: Operand, right: Operand, offset: int) -> Expression:
    left_type, right_type = type_of(left), type_of(right)
    if left_type is not right_type and not (left_type in NUMERIC and right_type in NUMERIC):
        remedy = _conversion_remedy(left_type, right_type)
        raise ExpressionError(f"cannot compare {named(left_type)} with {named(right_type)}: {remedy}", offset)
    if operator in ORDERING and left_type is Type.BOOL:
        raise ExpressionError(f"a bool has no order: `{operator}` cannot compare it; use == or !=", offset)
    nullable = left.expression.nullable or right.expression.nullable
    return Apply(operator, (left.expression, right.expression), Type.BOOL, nullable)


def _conversion_remedy(left: Type, right: Type) -> str:
    pair = {left, right}
    if Type.TIMESTAMP in pair and pair & set(NUMERIC):
        return "to_int(t) gives a timestamp's milliseconds since 1970"
    if Type.TIMESTAMP in pair:
        return "a timestamp compares with timestamps only, or as milliseconds by to_int(t)"
    if Type.STRING in pair:
        return "convert one side with to_string, to_int or to_float"
    return "write the bool by itself, or convert it with to_int"


def _if(arguments: Sequence[Operand], offset: int) -> Expression:
    _check_count("if(condition, a, b)", 3, arguments, offset)
    condition = check_argument("if", (Type.BOOL,), arguments[0])
    branches = _unify("the branches of if", arguments[1:], offset)
    # As CASE in SQL: a condition that is null takes the second branch, so it adds no null of its own.
    return Apply("if", (condition, *branches), _common_type(branches), any(b.nullable for b in branches))


def _coalesce(arguments: Sequence[Operand], offset: int) -> Expression:
    if not arguments:
        raise ExpressionError("coalesce takes one argument or more: coalesce(a, b, …)", offset)
    values = _unify("the arguments of coalesce", arguments, offset)
    return Apply("coalesce", values, _common_type(values), all(value.nullable for value in values))


def _bucket(arguments: Sequence[Operand], offset: int) -> Expression:
    _check_count("bucket(number, width)", 2, arguments, offset)
    value, width = _share_type(arguments[0], arguments[1])
    types = [one_of(operand, NUMERIC, "bucket") for operand in (value, width)]
    result = Type.INT if types == [Type.INT, Type.INT] else Type.FLOAT
    # floor(x / w) * w: a width of 0 is a division by zero.
    nullable = value.expression.nullable or width.expression.nullable or _may_be_zero(width.expression)
    return Apply("bucket", (value.expression, width.expression), result, nullable)


_SPECIAL: dict[str, Callable[[Sequence[Operand], int], Expression]] = {
    "if": _if,
    "coalesce": _coalesce,
    "bucket": _bucket,
}

FUNCTIONS = (*SIGNATURES, *_SPECIAL)


def _unify(what: str, operands: Sequence[Operand], offset: int) -> tuple[Expression, ...]:
    """Return the expressions with one type: nulls adopt it, ints among floats are wrapped in to_float."""
    types = [operand.expression.type for operand in operands if operand.expression.type is not None]
    if not types:
        raise ExpressionError(f"{what} are all null: nothing here tells which type they have", offset)
    common = Type.FLOAT if set(types) == set(NUMERIC) else types[0]
    return tuple(_to_common(what, common, operand) for operand in operands)


def _to_common(what: str, common: Type, operand: Operand) -> Expression:
    expression = adopt(operand.expression, common)
    if expression.type is common:
        return expression
    if common is Type.FLOAT and expression.type is Type.INT:
        return Apply("to_float", (expression,), Type.FLOAT, expression.nullable)
    found = named(type_of(operand))
    raise ExpressionError(f"{what} must have one type, and are {named(common)} and {found}", operand.offset)


def _common_type(expressions: Sequence[Expression]) -> Type:
    type_ = expressions[0].type
    assert type_ is not None
    return type_


def check_argument(name: str, allowed: tuple[Type, ...], operand: Operand) -> Expression:
    """Return the argument, which must be of one of the types; a null takes the type if there is but one."""
    expression = adopt(operand.expression, allowed[0]) if len(allowed) == 1 else operand.expression
    one_of(Operand(expression, operand.offset), allowed, name)
    return expression


def one_of(operand: Operand, allowed: tuple[Type, ...], what: str) -> Type:
    """Return the operand's type, which must be one of `allowed`."""
    type_ = type_of(operand)
    if type_ in allowed:
        return type_
    expected = " or ".join(named(each) for each in allowed)
    remedy = ""
    if type_ is Type.TIMESTAMP and Type.INT in allowed:
        remedy = "; to_int(t) gives its milliseconds since 1970"
    elif type_ is Type.STRING and what == "`+`":
        remedy = "; texts cannot be joined"
    elif allowed == (Type.BOOL,):
        remedy = "; compare it with something"
    raise ExpressionError(f"{what} takes {expected}, and this is {named(type_)}{remedy}", operand.offset)


def _check_count(usage: str, wanted: int, arguments: Sequence[Operand], offset: int) -> None:
    if len(arguments) != wanted:
        noun = "argument" if wanted == 1 else "arguments"
        raise ExpressionError(f"{usage} takes {wanted} {noun}, and here are {len(arguments)}", offset)


def _may_be_zero(divisor: Expression) -> bool:
    return not isinstance(divisor, Literal) or divisor.value == 0


def _may_fail_to_read(name: str, argument: Expression) -> bool:
    """Tell whether the function reads a number from a text, which is null where the text is no number."""
    return name in ("to_int", "to_float") and argument.type is Type.STRING


def _check_pattern(pattern: Expression, offset: int) -> None:
    if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        raise ExpressionError("the pattern of matches must be a text written here, in quotes", offset)
    import re2  # noqa: PLC0415 - a pipeline without `matches` need not have it

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern.value, options)
    except re2.error as error:
        raise ExpressionError(f"RE2 refuses this pattern: {_reason(error)}", offset) from error


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return shorten(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason), 80)
