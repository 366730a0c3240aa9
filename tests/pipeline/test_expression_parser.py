from __future__ import annotations

import sys

import pytest

from consumer.pipeline.canonical import names_in, to_text
from consumer.pipeline.expressions import DEPTH_MAX, NODES_MAX, UnresolvedNameError, parse_expression
from consumer.pipeline.model import Apply, Literal, Name, Type
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
    "broken": None,
}
I = Name("i", Type.INT, nullable=False)  # noqa: E741 - the field of that name
F = Name("f", Type.FLOAT, nullable=False)
B = Name("b", Type.BOOL, nullable=False)


def literal(value: str | float | bool) -> Literal:  # noqa: FBT001 - a value like any other
    types = {bool: Type.BOOL, int: Type.INT, float: Type.FLOAT, str: Type.STRING}
    return Literal(value, types[type(value)], nullable=False)


@pytest.mark.parametrize(
    ("text", "type_", "nullable"),
    [
        # arithmetic: ints stay ints, a float makes floats, `/` always does
        ("i + 1", Type.INT, False),
        ("i - i_", Type.INT, True),
        ("i * 2.0", Type.FLOAT, False),
        ("f + i", Type.FLOAT, False),
        ("f_ + i", Type.FLOAT, True),
        ("i / 2", Type.FLOAT, False),
        ("i / -2", Type.FLOAT, False),
        ("i / 0", Type.FLOAT, True),
        ("i / 0.0", Type.FLOAT, True),
        ("i / -0.0", Type.FLOAT, True),
        ("i / i", Type.FLOAT, True),
        ("i_ / 2", Type.FLOAT, True),
        ("i % 7", Type.INT, False),
        ("i % 0", Type.INT, True),
        ("i % i", Type.INT, True),
        ("f % 2", Type.FLOAT, False),
        ("i % 2.5", Type.FLOAT, False),
        ("-i", Type.INT, False),
        ("-f_", Type.FLOAT, True),
        # comparison
        ("i == f", Type.BOOL, False),
        ("s != s_", Type.BOOL, True),
        ("b == true", Type.BOOL, False),
        ("t < t_", Type.BOOL, True),
        ("t >= t", Type.BOOL, False),
        ("s <= 'x'", Type.BOOL, False),
        # logic
        ("b and b_", Type.BOOL, True),
        ("b or not b", Type.BOOL, False),
        ("not b_", Type.BOOL, True),
        ("i_ is null", Type.BOOL, False),
        ("i_ is not null", Type.BOOL, False),
        # if is SQL's CASE: a condition that is null takes the second branch
        ("if(b_, 1, 2)", Type.INT, False),
        ("if(b, 1, i_)", Type.INT, True),
        ("if(b, 1, 2.5)", Type.FLOAT, False),
        ("if(b, null, 1)", Type.INT, True),
        ("if(null, 1, 2)", Type.INT, False),
        ("if(b, t, t_)", Type.TIMESTAMP, True),
        ("coalesce(i_, 0)", Type.INT, False),
        ("coalesce(i_, f_)", Type.FLOAT, True),
        ("coalesce(i_, i_, 1.5)", Type.FLOAT, False),
        ("coalesce(null, s_)", Type.STRING, True),
        ("coalesce(s)", Type.STRING, False),
        # text
        ("lower(s)", Type.STRING, False),
        ("upper(s_)", Type.STRING, True),
        ("length(s)", Type.INT, False),
        ("substring(s, 1, 3)", Type.STRING, False),
        ("substring(s, 1, i_)", Type.STRING, True),
        ("starts_with(s, 'a')", Type.BOOL, False),
        ("contains(s_, 'a')", Type.BOOL, True),
        ("matches(s, '^a+$')", Type.BOOL, False),
        ("lower(null)", Type.STRING, True),
        # numbers
        ("abs(i)", Type.INT, False),
        ("abs(f_)", Type.FLOAT, True),
        ("round(f)", Type.FLOAT, False),
        ("round(i)", Type.INT, False),
        ("floor(f)", Type.FLOAT, False),
        ("ceil(f_)", Type.FLOAT, True),
        ("bucket(i, 5)", Type.INT, False),
        ("bucket(f, 5)", Type.FLOAT, False),
        ("bucket(i, 0.5)", Type.FLOAT, False),
        ("bucket(i, i)", Type.INT, True),
        ("bucket(i, 0)", Type.INT, True),
        ("bucket(i_, 5)", Type.INT, True),
        # conversions: reading a number from a text may give null
        ("to_int(s)", Type.INT, True),
        ("to_int('5')", Type.INT, True),
        ("to_int(f)", Type.INT, False),
        ("to_int(b)", Type.INT, False),
        ("to_int(t_)", Type.INT, True),
        ("to_int(i)", Type.INT, False),
        ("to_float(s)", Type.FLOAT, True),
        ("to_float(i_)", Type.FLOAT, True),
        ("to_float(b)", Type.FLOAT, False),
        ("to_string(t)", Type.STRING, False),
        ("to_string(f_)", Type.STRING, True),
        # a null literal takes the type of its neighbour
        ("i + null", Type.INT, True),
        ("null * 1.5", Type.FLOAT, True),
        ("null and b", Type.BOOL, True),
        ("not null", Type.BOOL, True),
        # `in` is short for comparisons
        ("s in ('a', 'b')", Type.BOOL, False),
        ("s_ in ('a')", Type.BOOL, True),
        ("i not in (1, 2.5, f)", Type.BOOL, False),
        ("b and i + 1 in (1, 2)", Type.BOOL, False),
        ("null < 's'", Type.BOOL, True),
        ("bucket(null, 5)", Type.INT, True),
    ],
)
def test_type_and_nullability(text: str, type_: Type, nullable: bool) -> None:  # noqa: FBT001 - a parameter of a test
    expression = parse_expression(text, SCOPE)
    assert (expression.type, expression.nullable) == (type_, nullable)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", "1 + 2 * 3"),
        ("(1 + 2) * 3", "(1 + 2) * 3"),
        ("1 - (2 - 3)", "1 - (2 - 3)"),
        ("(1 - 2) - 3", "1 - 2 - 3"),
        ("i / (i * i)", "i / (i * i)"),
        ("- i * i", "-i * i"),
        ("-(i * i)", "-(i * i)"),
        ("- - i", "--i"),
        ("- 5", "-5"),
        ("-(5)", "-(5)"),
        ("- -5", "-(-5)"),
        ("not b and b or b", "not b and b or b"),
        ("not (b and (b or b))", "not (b and (b or b))"),
        ("not not b", "not not b"),
        ("not i == 1", "not i == 1"),
        ("(not b) == b", "(not b) == b"),
        ("(i < 1) == b", "(i < 1) == b"),
        ("(i < 1) is null", "(i < 1) is null"),
        ("i + 1 is null", "i + 1 is null"),
        ("b and (b and b)", "b and (b and b)"),
        ('"it\'s" == s', "'it\\'s' == s"),
        ("s=='a\\tb\\u00e9\\x01'", "s == 'a\\tb\u00e9\\x01'"),
        ("'\\U0001F600' != s", "'\U0001f600' != s"),
        ("coalesce( i_ ,1.5 )", "coalesce(to_float(i_), 1.5)"),
        ("if(b,\n 1,\t2)", "if(b, 1, 2)"),
        ("1.0 + .5 + 2. + 1e3 + 1E+16", "1.0 + 0.5 + 2.0 + 1000.0 + 1e+16"),
        ("007 + i", "7 + i"),
        ("-9223372036854775808 + i", "-9223372036854775808 + i"),
        ("true or false", "true or false"),
        ("i in (1)", "i == 1"),
        ("i in (1, 2)", "i == 1 or i == 2"),
        ("i in (1,2,3,4)", "i == 1 or i == 2 or (i == 3 or i == 4)"),
        ("not i in (1, 2)", "not (i == 1 or i == 2)"),
        ("i not in (1, 2) and b", "not (i == 1 or i == 2) and b"),
        ("i * 2 in (1 + 1, -i)", "i * 2 == 1 + 1 or i * 2 == -i"),
        ("(i in (1)) in (true)", "(i == 1) == true"),
    ],
)
def test_canonical_text(text: str, expected: str) -> None:
    expression = parse_expression(text, SCOPE)
    assert to_text(expression) == expected
    assert parse_expression(expected, SCOPE) == expression


def test_trees() -> None:
    assert parse_expression("-5", {}) == literal(-5)
    assert parse_expression("-(5)", {}) == Apply("neg", (literal(5),), Type.INT, nullable=False)
    assert parse_expression("i - -1", SCOPE) == Apply("-", (I, literal(-1)), Type.INT, nullable=False)
    assert parse_expression("i is not null", SCOPE) == Apply("is_not_null", (I,), Type.BOOL, nullable=False)
    wrapped = Apply("to_float", (I,), Type.FLOAT, nullable=False)
    assert parse_expression("if(b, i, f)", SCOPE) == Apply("if", (B, wrapped, F), Type.FLOAT, nullable=False)
    null = Literal(None, Type.INT, nullable=True)
    assert parse_expression("i + null", SCOPE) == Apply("+", (I, null), Type.INT, nullable=True)
    # a mixture is left as it is in arithmetic and comparison
    assert parse_expression("i < f", SCOPE) == Apply("<", (I, F), Type.BOOL, nullable=False)


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("", 0, "a value is expected where the expression ends"),
        ("i +", 3, "a value is expected where the expression ends"),
        ("i 5", 2, "an operator should stand before `5`"),
        ("(i", 2, "`)` to close `(` is expected where the expression ends"),
        ("i)", 1, "this `)` closes nothing"),
        ("i, i", 1, "a comma separates arguments, and here is no function"),
        ("x + 1", 0, "no field or let `x`"),
        ("i + ii", 4, "did you mean `i`"),
        ("i = 1", 2, "write `==`"),
        ("i <> 1", 2, "write `!=`"),
        ("b && b", 2, "write `and`"),
        ("b || b", 2, "write `or`"),
        ("!b", 0, "write `not`"),
        ("b AND b", 2, "write `and` in lower case"),
        ("TRUE", 0, "the word is written `true`"),
        ("None", 0, "the word is written `null`"),
        ("s in 'a'", 5, "after `in` come values in parentheses: x in ('a', 'b')"),
        ("s in ()", 6, "a value is expected where `)` stands"),
        ("s in ('a',)", 10, "a value is expected where `)` stands"),
        ("s in ('a' 'b')", 10, "`,` or `)` in the values of `in` is expected where `'b'` stands"),
        ("s in ('a', 5)", 11, "cannot compare a string with an int"),
        ("s not in (b)", 10, "cannot compare a string with a bool"),
        ("s IN ('a')", 2, "write `in` in lower case"),
        ("i in (1, 2) == b", 12, "comparisons cannot be chained"),
        ("i not 5", 2, "write x != a, or x not in (a, b)"),
        ("s like 'a'", 2, "use matches"),
        ("i between 1 and 2", 2, "x >= a and x <= b"),
        ("b ? 1 : 2", 2, "write if(condition, a, b)"),
        ("s == 'open", 5, "lacks its closing '"),
        ("s == '\\d'", 6, "write `\\\\d` for a backslash"),
        ("s == '\\", 6, "no escape"),
        ("s == '\\u12'", 6, "takes 4 hexadecimal digits"),
        ("s == '\\ud800'", 6, "is no character"),
        ("s == '\\U00110000'", 6, "is no character"),
        ("s == \u2018a\u2019", 5, "straight quotes"),
        ("i.x", 1, "declare what lies deeper as a field with a path, such as {type: string, path: user.name}"),
        ("i > 10s", 4, "`10s` is no number"),
        ("i > 1_000", 4, "`1_000` is no number"),
        ("i > 9223372036854775808", 4, "does not fit a 64-bit int: write 9223372036854775808.0"),
        ("i > -9223372036854775809", 5, "does not fit a 64-bit int"),
        ("i > " + "9" * 5000, 4, "does not fit a 64-bit int"),
        ("f > 1e999", 4, "beyond the largest float"),
        ("+i", 0, "leave it out"),
        ("1 < i < 3", 6, "comparisons cannot be chained"),
        ("i == 1 == b", 7, "comparisons cannot be chained"),
        ("i is null is null", 10, "comparisons cannot be chained"),
        ("i == null", 2, "write `is null`"),
        ("null != s", 5, "write `is not null`"),
        ("s in ('a', null)", 11, "write `is null`"),
        ("null not in (0)", 13, "write `is null`"),
        ("null in (null)", 9, "write `is null`"),
        ("i is 5", 5, "after `is` comes `null` or `not null`"),
        ("i is not 5", 9, "after `is` comes `null` or `not null`"),
        ("i == not b", 5, "put parentheses around `not …`"),
        ("s + 'a'", 0, "texts cannot be joined"),
        ("i - t", 4, "to_int(t) gives its milliseconds since 1970"),
        ("t - t", 0, "to_int(t) gives its milliseconds since 1970"),
        ("i == 's'", 2, "cannot compare an int with a string"),
        ("t > 5", 2, "to_int(t) gives a timestamp's milliseconds"),
        ("t > '2026-01-01'", 2, "a timestamp compares with timestamps only"),
        ("b > b", 2, "a bool has no order"),
        ("b == 1", 2, "cannot compare a bool with an int"),
        ("i and b", 0, "`and` takes a bool, and this is an int"),
        ("b or s", 5, "`or` takes a bool, and this is a string"),
        ("not i", 4, "`not` takes a bool"),
        ("-s", 1, "`-` takes an int or a float, and this is a string"),
        ("if(i, 1, 2)", 3, "if takes a bool, and this is an int"),
        ("if(b, 1)", 0, "if(condition, a, b) takes 3 arguments, and here are 2"),
        ("if(b, 1, 's')", 9, "the branches of if must have one type"),
        ("if(b, null, null)", 0, "are all null"),
        ("coalesce()", 0, "coalesce takes one argument or more"),
        ("coalesce(i_, 's')", 13, "the arguments of coalesce must have one type"),
        ("lower(i)", 6, "lower takes a string, and this is an int"),
        ("lower()", 0, "lower(text) takes 1 argument, and here are 0"),
        ("lower(s,)", 8, "an argument is missing after the comma"),
        ("lower(s", 7, "`,` or `)` in lower( is expected where the expression ends"),
        ("substring(s, 1)", 0, "substring(text, start, length) takes 3 arguments, and here are 2"),
        ("substring(s, 1.0, 2)", 13, "substring takes an int"),
        ("matches(s, s)", 11, "must be a text written here, in quotes"),
        ("matches(s, '(a')", 11, "RE2 refuses this pattern: missing ): (a"),
        ("matches(s, 'a(?=b)')", 11, "RE2 refuses this pattern"),
        ("matches(s, '(a)\\\\1')", 11, "RE2 refuses this pattern"),
        ("matches(s, null)", 11, "must be a text written here"),
        ("abs(t)", 4, "to_int(t) gives its milliseconds"),
        ("to_float(t)", 9, "to_float takes"),
        ("bucket(t, 5)", 7, "to_int(t) gives its milliseconds"),
        ("null", 0, "this is only null"),
        ("null + null", 7, "this is only null"),
        ("null is null", 0, "this is only null"),
        ("to_string(null)", 10, "this is only null"),
        ("lowr(s)", 0, "there is no function lowr (did you mean `lower`?)"),
        ("LOWER(s)", 0, "functions are written in lower case: lower"),
        ("sum(i)", 0, "sum is an aggregate"),
        ("quantile(i)", 0, "quantile is an aggregate"),
        ("__import__('os')", 0, "there is no function __import__"),
        ("s.__class__", 1, "a field with a path"),
        ("i ** 2", 3, "a value is expected where `*` stands"),
        ("i // 2", 3, "a value is expected where `/` stands"),
        ("i if b else 2", 2, "write if(condition, a, b)"),
        ("i; i", 1, "`;` means nothing here"),
        ("i\x00", 1, "`\\x00` means nothing here"),
        ("i\u00a0+ 1", 1, "`\\xa0` means nothing here: a no-break space: type an ordinary blank"),
    ],
)
def test_mistakes_are_explained_at_their_place(text: str, offset: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, SCOPE)
    assert message in caught.value.message
    assert caught.value.offset == offset
    assert "\n" not in caught.value.message


def test_a_name_with_a_wrong_definition_is_told_apart() -> None:
    with pytest.raises(UnresolvedNameError):
        parse_expression("broken + 1", SCOPE)
    with pytest.raises(ExpressionError, match="no field or let `nobody`") as caught:
        parse_expression("broken + lower(nobody) + length(s)", SCOPE)
    assert not isinstance(caught.value, UnresolvedNameError)
    assert caught.value.offset == 15


@pytest.mark.parametrize(
    "text",
    [
        "(" * 3000 + "i" + ")" * 3000,
        "abs(" * 3000 + "i" + ")" * 3000,
        "-" * 3000 + "i",
        "not " * 3000 + "b",
        "+".join("i" * 3000),
        "i - (" * 3000 + "i" + ")" * 3000,
        "if(b, 1, " * 3000 + "2" + ")" * 3000,
    ],
)
def test_depth_is_limited(text: str) -> None:
    with pytest.raises(ExpressionError, match="more than 100 levels"):
        parse_expression(text, SCOPE)


@pytest.mark.parametrize(
    "text",
    [
        "+".join("i" * DEPTH_MAX),
        "abs(" * (DEPTH_MAX - 1) + "i" + ")" * (DEPTH_MAX - 1),
        "i - (" * (DEPTH_MAX - 2) + "i - i" + ")" * (DEPTH_MAX - 2),
        "-abs(" * 49 + "i" + ")" * 49,
        "i + -(" * 49 + "i" + ")" * 49,
        "not (b and " * 49 + "b" + ")" * 49,
        "coalesce(1, 2 + " * 49 + "i" + ")" * 49,
        " - ".join(["-i"] * 50),
    ],
)
def test_what_is_within_the_depth_prints_and_reads_back(text: str) -> None:
    expression = parse_expression(text, SCOPE)
    assert parse_expression(to_text(expression), SCOPE) == expression


def test_a_list_of_many_values_is_wide_and_not_deep() -> None:
    expression = parse_expression(f"i in ({', '.join(map(str, range(2_000)))})", SCOPE)
    assert parse_expression(to_text(expression), SCOPE) == expression


def test_size_is_limited() -> None:
    """The left side of `in` stands in the tree once for every value."""
    doubled = "b"
    for _ in range(6):
        doubled = f"({doubled}) in (b, b, b, b)"
    with pytest.raises(ExpressionError, match="this expression is too large"):
        parse_expression(doubled, SCOPE)
    with pytest.raises(ExpressionError, match="this expression is too large"):
        parse_expression(f"i in ({', '.join(map(str, range(NODES_MAX // 4 + 1)))})", SCOPE)


def test_parsing_leaves_room_on_the_stack() -> None:
    """The deepest expression is read with less than Python's default stack."""
    limit = sys.getrecursionlimit()
    frame, used = sys._getframe(), 0
    while frame.f_back is not None:
        frame, used = frame.f_back, used + 1
    sys.setrecursionlimit(used + 700)
    try:
        parse_expression("abs(" * 99 + "i" + ")" * 99, SCOPE)
        parse_expression("(" * 200 + "i" + ")" * 200, SCOPE)
    finally:
        sys.setrecursionlimit(limit)


def test_names() -> None:
    assert names_in(parse_expression("if(b, coalesce(i_, 1), i) + 2 > f", SCOPE)) == {"b", "i_", "i", "f"}
    assert names_in(parse_expression("1 + 2", SCOPE)) == frozenset()
