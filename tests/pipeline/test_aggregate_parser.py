"""Aggregates as they are written: arguments, parameters, results, and mistakes at their place."""

from __future__ import annotations

import pytest

from consumer.pipeline import aggregates
from consumer.pipeline.aggregate_rules import AGGREGATES
from consumer.pipeline.aggregates import parse_aggregate
from consumer.pipeline.canonical import aggregate_to_text
from consumer.pipeline.model import Aggregate, Name, Type
from consumer.pipeline.tokens import ExpressionError

SCOPE = {
    "s": (Type.STRING, False),
    "s_": (Type.STRING, True),
    "i": (Type.INT, False),
    "i_": (Type.INT, True),
    "f": (Type.FLOAT, False),
    "f_": (Type.FLOAT, True),
    "b": (Type.BOOL, False),
    "b_": (Type.BOOL, True),
    "t": (Type.TIMESTAMP, False),
    "t_": (Type.TIMESTAMP, True),
}
EXAMPLES = [
    ("count()", "count", Type.INT, False),
    ("count(s_)", "count", Type.INT, False),
    ("count(if(b, 1, null))", "count", Type.INT, False),
    ("sum(i)", "sum", Type.INT, False),
    ("sum(f_)", "sum", Type.FLOAT, True),
    (" sum ( i * 2 ) ", "sum", Type.INT, False),
    ("min(s_)", "min", Type.STRING, True),
    ("max(t)", "max", Type.TIMESTAMP, False),
    ("avg(i)", "avg", Type.FLOAT, False),
    ("avg(f_)", "avg", Type.FLOAT, True),
    ("variance(i)", "variance", Type.FLOAT, False),
    ("stddev(f_)", "stddev", Type.FLOAT, True),
    ("first(b_)", "first", Type.BOOL, True),
    ("last(s)", "last", Type.STRING, False),
    ("min_by(s, i)", "min_by", Type.STRING, False),
    ("min_by(b, s)", "min_by", Type.BOOL, False),
    ("max_by(s_, t)", "max_by", Type.STRING, True),
    ("max_by(t, f_)", "max_by", Type.TIMESTAMP, True),
    ("count_distinct(s_)", "count_distinct", Type.INT, False),
    ("count_distinct(t, 5)", "count_distinct", Type.INT, False),
    ("count_distinct(b, 1000000, 'reject')", "count_distinct", Type.INT, False),
    ("approx_distinct(f_)", "approx_distinct", Type.INT, False),
    ("quantile(i, 0.5)", "quantile", Type.FLOAT, False),
    ("quantile(f_, 1)", "quantile", Type.FLOAT, True),
    ("top(s_, 10)", "top", Type.STRING, False),
    ("collect(t_, 10000)", "collect", Type.TIMESTAMP, False),
    ("rate('1m')", "rate", Type.FLOAT, False),
    ('rate("1h30m")', "rate", Type.FLOAT, False),
]


@pytest.mark.parametrize(("text", "function", "type_", "nullable"), EXAMPLES)
def test_aggregates(text: str, function: str, type_: Type, nullable: bool) -> None:  # noqa: FBT001 - of a test
    aggregate = parse_aggregate("column", text, SCOPE)
    assert aggregate.name == "column"
    assert (aggregate.function, aggregate.type, aggregate.nullable) == (function, type_, nullable)
    assert parse_aggregate("column", aggregate_to_text(aggregate), SCOPE) == aggregate


def test_every_aggregate_has_an_example() -> None:
    assert {function for _, function, _, _ in EXAMPLES} == set(AGGREGATES)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("sum(i)", ()),
        ("count_distinct(s)", (10_000, "approximate")),
        ("count_distinct(s, 7)", (7, "approximate")),
        ("count_distinct(s, 7, 'reject')", (7, "reject")),
        ("quantile(i, 1)", (1.0,)),
        ("quantile(i, -0.0)", (0.0,)),
        ("quantile(i, 0.999)", (0.999,)),
        ("top(s, 1000)", (1000,)),
        ("collect(s, 1)", (1,)),
        ("rate('1h30m')", (5_400_000,)),
    ],
)
def test_parameters(text: str, parameters: tuple[object, ...]) -> None:
    found = parse_aggregate("column", text, SCOPE).parameters
    assert repr(found) == repr(parameters)


def test_arguments() -> None:
    s, i = Name("s", Type.STRING, nullable=False), Name("i", Type.INT, nullable=False)
    assert parse_aggregate("n", "count()", {}) == Aggregate("n", "count", (), (), Type.INT, nullable=False)
    assert parse_aggregate("m", "max_by(s, i)", SCOPE).arguments == (s, i)
    assert parse_aggregate("q", "quantile(i, 0.5)", SCOPE).arguments == (i,)
    assert parse_aggregate("r", "rate('1m')", SCOPE).arguments == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count_distinct( s )", "count_distinct(s, 10000, 'approximate')"),
        ("quantile(i,1)", "quantile(i, 1.0)"),
        ('rate("90s")', "rate('1m30s')"),
        ("min_by(i+1,f)", "min_by(i + 1, f)"),
    ],
)
def test_canonical_text(text: str, expected: str) -> None:
    assert aggregate_to_text(parse_aggregate("column", text, SCOPE)) == expected


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("", 0, "an aggregate is expected here: count(), count(x), sum(x)"),
        ("i", 0, "an aggregate is expected here"),
        ("5", 0, "an aggregate is expected here"),
        ("count", 0, "write count() or count(x)"),
        ("quantile", 0, "write quantile(x, q)"),
        ("count(*)", 6, "write count() to count all events"),
        ("count(distinct s)", 6, "write count_distinct(x)"),
        ("sum(DISTINCT i)", 4, "only count_distinct(x) looks at distinct values"),
        ("sum()", 0, "sum takes an expression: sum(x)"),
        ("sum(i, i)", 7, "sum takes one argument, and this is one more"),
        ("sum(i,)", 6, "an argument is missing after the comma"),
        ("count(i, i)", 9, "count takes one argument"),
        ("sum(i", 5, "`)` to close sum( is expected where the expression ends"),
        ("sum(s)", 4, "sum takes an int or a float, and this is a string"),
        ("sum(t)", 4, "to_int(t) gives its milliseconds"),
        ("avg(b)", 4, "avg takes an int or a float"),
        ("variance(s)", 9, "variance takes an int or a float"),
        ("stddev(t)", 7, "stddev takes an int or a float"),
        ("min(b)", 4, "min takes"),
        ("count(null)", 6, "this is only null"),
        ("min_by(s)", 0, "min_by takes two expressions: min_by(x, y)"),
        ("max_by(s, b)", 10, "max_by takes a string or an int or a float or a timestamp, and this is a bool"),
        ("max_by(s, i, i)", 13, "max_by takes two arguments"),
        ("quantile(i)", 0, "quantile(x, q) lacks q, a number from 0 to 1"),
        ("quantile(s, 0.5)", 9, "quantile takes an int or a float"),
        ("quantile(i, 1.5)", 12, "q of quantile must be a number from 0 to 1 such as 0.99; of a percentile"),
        ("quantile(i, 99)", 12, "of a percentile, a hundredth: 0.99"),
        ("quantile(i, 101)", 12, "q of quantile must be a number from 0 to 1 such as 0.99"),
        ("quantile(i, -0.1)", 12, "q of quantile must be"),
        ("quantile(i, true)", 12, "q of quantile must be"),
        ("quantile(i, '0.5')", 12, "q of quantile must be"),
        ("quantile(i, null)", 12, "q of quantile must be"),
        ("quantile(i, f)", 12, "q of quantile must be written out"),
        ("quantile(i, 1 / 2)", 12, "q of quantile must be written out"),
        ("top(s)", 0, "top(x, k) lacks k, a whole number from 1 to 1000"),
        ("top(s, 0)", 7, "k of top must be a whole number from 1 to 1000"),
        ("top(s, 1001)", 7, "k of top must be"),
        ("top(s, 3.0)", 7, "k of top must be"),
        ("top(3, s)", 7, "k of top must be written out"),
        ("collect(s)", 0, "collect(x, n) lacks n, a whole number from 1 to 10000"),
        ("collect(s, 10001)", 11, "n of collect must be"),
        ("collect(s, true)", 11, "n of collect must be"),
        ("count_distinct(s, 0)", 18, "limit of count_distinct must be a whole number from 1 to 1000000"),
        ("count_distinct(s, 'reject')", 18, "limit of count_distinct must be"),
        ("count_distinct(s, 9, 'refuse')", 21, "policy of count_distinct must be 'approximate' or 'reject'"),
        ("count_distinct(s, 9, reject)", 21, "there is no field or let `reject`"),
        ("count_distinct(s, 9, 'reject', 1)", 31, "count_distinct takes at most three arguments"),
        ("approx_distinct()", 0, "approx_distinct takes an expression"),
        ("rate()", 0, "rate('1m') lacks per, a duration in quotes"),
        ("rate(1m)", 5, "a duration stands in quotes: rate('1m')"),
        ("rate('0s')", 5, "per of rate must be a duration in quotes, above 0"),
        ("rate('1 minute')", 5, "per of rate must be"),
        ("rate(60)", 5, "per of rate must be"),
        ("rate(i, '1m')", 8, "rate takes one argument"),
        ("sum(i) / 2", 7, "an aggregate stands alone"),
        ("sum(i) not in (1)", 7, "an aggregate stands alone"),
        ("sum(sum(i))", 4, "sum is an aggregate"),
        ("sum(top(i, 3))", 4, "top is an aggregate"),
        ("summ(i)", 0, "did you mean `sum`?"),
        ("SUM(i)", 0, "aggregates are written in lower case: sum"),
        ("median(i)", 0, "median is no aggregate here: write quantile(x, 0.5)"),
        ("array_agg(i)", 0, "write collect(x, 100)"),
        ("arg_max(s, i)", 0, "write max_by(x, y)"),
        ("lower(s)", 0, "lower must stand inside an aggregate"),
        ("sum(i) x", 7, "an operator should stand before `x`"),
    ],
)
def test_mistakes_in_aggregates(text: str, offset: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_aggregate("column", text, SCOPE)
    assert message in caught.value.message
    assert caught.value.offset == offset


def test_what_other_names_are_said_to_be_can_be_written() -> None:
    """Every remedy for a name of another system is an aggregate here."""
    scope = {"x": (Type.INT, False), "y": (Type.INT, False), "condition": (Type.BOOL, False)}
    for written, remedy in aggregates._OTHER_NAMES.items():
        assert written not in AGGREGATES
        parse_aggregate("column", remedy.removesuffix(", which is that of the population"), scope)
