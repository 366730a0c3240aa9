"""Generated expressions, held against the walk over the tree: for all values of their names, nulls and faults too."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from consumer.core import functions
from consumer.core.expressions import Emitter, local
from consumer.core.faults import Fault
from consumer.pipeline.expressions import parse_expression
from consumer.pipeline.model import Expression, Type
from consumer.testing.reference.expressions import ExpressionError, evaluate

BOOLS, INTS = [True, False], [0, 1, functions.INT_MAX]
NAMES: dict[str, tuple[Type, bool, list[Any]]] = {
    **{name: (Type.BOOL, True, [None, *BOOLS]) for name in "abc"},
    **dict.fromkeys("mn", (Type.BOOL, False, BOOLS)),
    **{name: (Type.INT, True, [None, *INTS]) for name in "xyz"},
    **dict.fromkeys("ijk", (Type.INT, False, INTS)),
}
FAULT = "fault"


def _parsed(text: str) -> Expression:
    return parse_expression(text, {name: (of, nullable) for name, (of, nullable, _) in NAMES.items()})


def _compiled(expression: Expression) -> Any:
    """Return a function of values that returns the expression's value, and whether it is true as a condition."""
    emit = Emitter({})
    with emit.block("def value(values):"):
        _unpack(emit)
        emit.line(f"return {emit.value(expression)}")
    with emit.block("def condition(values):"):
        _unpack(emit)
        emit.line(f"return {emit.condition(expression)}")
    made: dict[str, Any] = {"functions": functions}
    exec("\n".join(emit.lines), made)  # noqa: S102 - what is tested is code
    return made


def _unpack(emit: Emitter) -> None:
    for name in NAMES:
        emit.line(f"{local(name)} = values.get({name!r})")


def _all_values(text: str) -> Iterator[dict[str, Any]]:
    names = [name for name in NAMES if re.search(rf"\b{name}\b", text)]
    for values in itertools.product(*(NAMES[name][2] for name in names)):
        yield dict(zip(names, values, strict=True))


def _called(function: Any, values: Mapping[str, Any]) -> Any:
    try:
        return function(values)
    except Fault:
        return FAULT


def _expected(expression: Expression, values: Mapping[str, Any]) -> Any:
    try:
        return evaluate(expression, values)
    except ExpressionError:
        return FAULT


@pytest.mark.parametrize(
    "text",
    [
        *(f"{left} {operator} {right}" for operator in ("and", "or") for left, right in ("ab", "an", "ma", "mn")),
        "a and b and c",
        "a or b or c",
        "a and (b or m)",
        "not a",
        "not m",
        "not (a and b)",
        "not (x == 1)",
        "a == b",
        "m != n",
        "x < y",
        "x == x",
        "i <= x",
        "i > j",
        "a is null",
        "m is null",
        "m is not null",
        "x + 1 is null",
        "i + 1 is not null",
        "x in (0, 1, 5)",
        "x in (y, z, 1)",
        "i in (0, 5)",
        "i in (j, k, 5)",
        "x + 1 in (y, z + 1, 1)",
        "not (x in (y, z, 1))",
        "a and x + 1 > 1 and b",
        "m and i + 1 > 1",
        "m or i + 1 > 1 or n",
        "if(a, m, n)",
        "if(x + 1 > 1, y + 1, z)",
        "if(m, a, n)",
        "coalesce(a, b, c)",
        "coalesce(a, m, b)",
        "coalesce(m, a)",
        "coalesce(x, y, z, 7)",
        "coalesce(x + 1, y + 1)",
        "coalesce(i, x + 1)",
        "x + y",
        "x * x - i",
        "-x",
        "abs(i - 1)",
    ],
)
def test_every_value_is_what_the_tree_says(text: str) -> None:
    expression = _parsed(text)
    made = _compiled(expression)
    for values in _all_values(text):
        wanted = _expected(expression, values)
        assert repr(_called(made["value"], values)) == repr(wanted), values
        if expression.type is Type.BOOL:
            assert _called(made["condition"], values) == (wanted if wanted is FAULT else wanted is True), values


def _lines(text: str) -> list[str]:
    emit = Emitter({})
    emit.value(_parsed(text))
    return [line.strip() for line in emit.lines]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("coalesce(m, a)", ["t1 = v_m"]),
        ("coalesce(a, m, b)", ["t1 = v_a", "if t1 is None:", "t1 = v_m"]),
        ("m and n", ["t1 = (v_m and v_n)"]),
        ("i < j or m", ["t1 = ((v_i < v_j) or v_m)"]),
        ("m == n", ["t1 = (v_m == v_n)"]),
        ("not m", ["t1 = (not v_m)"]),
        ("x == x", ["t1 = None if v_x is None else (v_x == v_x)"]),
        ("length('a') == i", ["t1 = len('a')", "t2 = (t1 == v_i)"]),
    ],
)
def test_nothing_is_written_that_cannot_be_needed(text: str, lines: list[str]) -> None:
    assert _lines(text) == lines
