"""The reference's expressions: the contract's section 2, one rule a test."""

from __future__ import annotations

import pytest

from consumer.pipeline.model import Apply, Expression, Literal, Name, Type
from consumer.testing.reference.expressions import ExpressionError, evaluate
from consumer.testing.reference.values import Value

LEAST = -(2**63)
GREATEST = 2**63 - 1


def literal(value: Value) -> Expression:
    types = {str: Type.STRING, bool: Type.BOOL, int: Type.INT, float: Type.FLOAT}
    return Literal(value, None if value is None else types[type(value)], nullable=value is None)


def apply(operator: str, *arguments: Value | Expression) -> Value:
    return evaluate(tree(operator, *arguments), {})


def tree(operator: str, *arguments: Value | Expression) -> Apply:
    trees = tuple(a if isinstance(a, Literal | Name | Apply) else literal(a) for a in arguments)
    return Apply(operator, trees, Type.INT, nullable=True)


def same(actual: Value, expected: Value) -> bool:
    return type(actual) is type(expected) and repr(actual) == repr(expected)


@pytest.mark.parametrize(
    ("operator", "arguments", "expected"),
    [
        ("+", (1, 2), 3),
        ("+", (1, 2.5), 3.5),
        ("-", (1, 2), -1),
        ("*", (3, 4), 12),
        ("neg", (3,), -3),
        ("/", (7, 2), 3.5),
        ("/", (6, 2), 3.0),
        ("/", (1, 0), None),
        ("/", (1.0, 0.0), None),
        ("%", (7, 3), 1),
        ("%", (-7, 3), -1),
        ("%", (7, -3), 1),
        ("%", (-7.5, 2), -1.5),
        ("%", (7, 0), None),
        ("%", (7.0, 0.0), None),
        ("%", (LEAST, -1), 0),
        ("==", (1, 1.0), True),
        ("==", ("a", "b"), False),
        ("!=", (1, 2), True),
        ("<", (1, 1), False),
        ("<=", (1, 1), True),
        (">", (2**53 + 1, float(2**53)), True),
        (">=", ("b", "a"), True),
        ("lower", ("ÄB",), "äb"),
        ("upper", ("straße",), "STRASSE"),
        ("length", ("né🙂",), 3),
        ("starts_with", ("/shop/1", "/shop"), True),
        ("contains", ("/shop/1", "op/"), True),
        ("contains", ("abc", "x"), False),
        ("matches", ("order-17 sent", "[0-9]+"), True),
        ("matches", ("order", "^[0-9]+"), False),
        ("abs", (-3,), 3),
        ("abs", (-3.5,), 3.5),
        ("round", (2.5,), 3.0),
        ("round", (-2.5,), -3.0),
        ("round", (0.49999999999999994,), 0.0),
        ("round", (5,), 5),
        ("floor", (-0.5,), -1.0),
        ("ceil", (0.2,), 1.0),
        ("ceil", (7,), 7),
        ("bucket", (17, 5), 15),
        ("bucket", (-1, 5), -5),
        ("bucket", (7.5, 2), 6.0),
        ("bucket", (1, 0), None),
        ("to_string", (1.0,), "1.0"),
        ("to_string", (1e16,), "1e16"),
        ("to_string", (True,), "true"),
        ("to_string", (-5,), "-5"),
        ("to_string", ("x",), "x"),
    ],
)
def test_operator(operator: str, arguments: tuple[Value, ...], expected: Value) -> None:
    assert same(apply(operator, *arguments), expected)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (1, 2, "he"),
        (4, 10, "lo"),
        (0, 2, "h"),
        (-1, 3, "h"),
        (2, -1, ""),
        (9, 1, ""),
        (2, GREATEST, "ello"),
        (LEAST, 1, ""),
    ],
)
def test_substring_counts_from_one(start: int, length: int, expected: str) -> None:
    assert apply("substring", "hello", start, length) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        (3.9, 3),
        (-3.9, -3),
        ("12", 12),
        (" +12 ", 12),
        ("3.7", 3),
        ("-3.7", -3),
        ("1e3", 1000),
        ("9223372036854775807", GREATEST),
        ("0e99999999999999999999", 0),
        ("1e-99999999999999999999", 0),
        ("", None),
        ("abc", None),
        ("1 2", None),
        ("0x10", None),
        ("\u0661", None),
        ("nan", None),
    ],
)
def test_to_int(value: Value, expected: Value) -> None:
    assert same(apply("to_int", value), expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        (2.5, 2.5),
        ("2.5", 2.5),
        (" -1e-2 ", -0.01),
        ("7", 7.0),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
    ],
)
def test_to_float(value: Value, expected: Value) -> None:
    assert same(apply("to_float", value), expected)


def test_to_string_prints_a_time_as_rows_do() -> None:
    when = Name("when", Type.TIMESTAMP, nullable=False)
    assert evaluate(tree("to_string", when), {"when": 1_500}) == "1970-01-01T00:00:01.500Z"


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        ("+", (GREATEST, 1)),
        ("-", (LEAST, 1)),
        ("*", (2**32, 2**32)),
        ("neg", (LEAST,)),
        ("abs", (LEAST,)),
        ("bucket", (LEAST, 10)),
        ("+", (1.7e308, 1.7e308)),
        ("*", (1e200, 1e200)),
        ("/", (1e308, 1e-10)),
        ("bucket", (1e308, 1e-10)),
        ("to_int", (1e19,)),
        ("to_int", ("9223372036854775808",)),
        ("to_int", ("1e99999999999999999999",)),
        ("to_float", ("1e400",)),
    ],
)
def test_overflow_is_an_error(operator: str, arguments: tuple[Value, ...]) -> None:
    with pytest.raises(ExpressionError):
        apply(operator, *arguments)


def test_an_intermediate_overflow_is_an_error_even_where_the_whole_would_fit() -> None:
    with pytest.raises(ExpressionError):
        apply("-", tree("+", GREATEST, 1), 1)


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "bucket"])
def test_null_makes_arithmetic_and_comparison_null(operator: str) -> None:
    assert apply(operator, None, 1) is None
    assert apply(operator, 1, None) is None
    assert apply(operator, None, None) is None


@pytest.mark.parametrize("operator", ["neg", "abs", "round", "lower", "length", "to_int", "to_string", "not"])
def test_null_makes_functions_null(operator: str) -> None:
    assert apply(operator, None) is None


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [
        (True, True, True, True),
        (True, False, False, True),
        (True, None, None, True),
        (False, True, False, True),
        (False, False, False, False),
        (False, None, False, None),
        (None, True, None, True),
        (None, False, False, None),
        (None, None, None, None),
    ],
)
def test_three_valued_logic(left: Value, right: Value, both: Value, either: Value) -> None:
    assert apply("and", left, right) is both
    assert apply("or", left, right) is either


def test_not() -> None:
    assert apply("not", True) is False
    assert apply("not", False) is True


def test_null_tests() -> None:
    assert apply("is_null", None) is True
    assert apply("is_null", 0) is False
    assert apply("is_not_null", None) is False
    assert apply("is_not_null", "") is True


def test_if_takes_a_null_condition_as_not_true() -> None:
    assert apply("if", True, 1, 2) == 1
    assert apply("if", False, 1, 2) == 2
    assert apply("if", None, 1, 2) == 2


def test_coalesce_takes_the_first_that_is_not_null() -> None:
    assert apply("coalesce", None, None, 3, 4) == 3
    assert apply("coalesce", None, None) is None


def test_a_branch_that_is_not_needed_is_not_evaluated() -> None:
    broken = tree(">", tree("+", GREATEST, 1), 0)
    assert apply("if", False, broken, True) is True
    assert apply("and", False, broken) is False
    assert apply("or", True, broken) is True
    assert apply("coalesce", 1, broken) == 1
    for operator, first in (("and", None), ("or", None), ("coalesce", None)):
        with pytest.raises(ExpressionError):
            apply(operator, first, broken)


def test_names_are_fields_and_lets() -> None:
    amount = Name("amount", Type.FLOAT, nullable=True)
    assert evaluate(amount, {"amount": 2.5}) == 2.5
    assert evaluate(amount, {"amount": None}) is None
