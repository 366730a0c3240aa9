"""Properties of expressions: what is printed reads back, and no text does more than be read or refused."""

from __future__ import annotations

import contextlib
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline import typing_rules
from consumer.pipeline.aggregate_rules import AGGREGATES
from consumer.pipeline.aggregates import parse_aggregate
from consumer.pipeline.canonical import aggregate_to_text, names_in, to_text
from consumer.pipeline.expressions import parse_expression
from consumer.pipeline.model import Apply, Expression, Literal, Name, Type
from consumer.pipeline.tokens import ExpressionError

SCOPE = {f"{type_}{'_or_null' * nullable}": (type_, nullable) for type_ in Type for nullable in (False, True)}

ints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def literals() -> st.SearchStrategy[str]:
    return st.one_of(
        ints.map(str),
        floats.map(repr),
        texts.map(lambda text: to_text(Literal(text, Type.STRING, nullable=False))),
        st.sampled_from(["true", "false", "null", *SCOPE]),
    )


def compounds(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = ("or", "and", *typing_rules.ARITHMETIC, *typing_rules.EQUALITY, *typing_rules.ORDERING)
    calls = st.tuples(st.sampled_from(typing_rules.FUNCTIONS), st.lists(inner, max_size=3))
    return st.one_of(
        st.tuples(inner, st.sampled_from(operators), inner).map(" ".join),
        inner.map("({})".format),
        inner.map("not {}".format),
        inner.map("-{}".format),
        inner.map("{} is null".format),
        inner.map("{} is not null".format),
        st.tuples(inner, st.sampled_from(["in", "not in"]), st.lists(inner, max_size=4)).map(
            lambda test: f"{test[0]} {test[1]} ({', '.join(test[2])})"
        ),
        calls.map(lambda call: f"{call[0]}({', '.join(call[1])})"),
    )


@cache
def typed(type_: Type, depth: int) -> st.SearchStrategy[str]:
    """Return texts of expressions that have the type."""
    names = [name for name, (of, _) in SCOPE.items() if of is type_]
    leaf = st.sampled_from(names)
    if type_ is Type.STRING:
        leaf |= texts.map(lambda text: to_text(Literal(text, Type.STRING, nullable=False)))
    elif type_ is Type.INT:
        leaf |= ints.map(str)
    elif type_ is Type.FLOAT:
        leaf |= floats.map(repr)
    elif type_ is Type.BOOL:
        leaf |= st.sampled_from(["true", "false"])
    if depth == 0:
        return leaf

    def of(other: Type) -> st.SearchStrategy[str]:
        return st.deferred(lambda: typed(other, depth - 1))

    rules = [
        leaf,
        of(type_).map("({})".format),
        st.tuples(of(Type.BOOL), of(type_), of(type_)).map("if({0[0]}, {0[1]}, {0[2]})".format),
        st.tuples(of(type_), of(type_)).map("coalesce({0[0]}, null, {0[1]})".format),
    ]
    if type_ in (Type.INT, Type.FLOAT):
        arithmetic = st.tuples(of(type_), st.sampled_from("+-*%"), of(type_)).map(" ".join)
        rules += [
            arithmetic.map("({})".format),
            of(type_).map("-({})".format),
            of(type_).map("- {}".format).filter(lambda text: not text[2:3].isdigit()),
            of(type_).map("abs({})".format),
            st.tuples(of(type_), of(type_)).map("bucket({0[0]}, {0[1]})".format),
        ]
    if type_ is Type.FLOAT:
        rules.append(st.tuples(of(Type.INT), of(Type.FLOAT)).map("({0[0]}) / ({0[1]})".format).map("({})".format))
    if type_ is Type.BOOL:
        rules += [
            st.tuples(of(type_), st.sampled_from(["and", "or"]), of(type_)).map(" ".join).map("({})".format),
            of(type_).map("(not ({}))".format),
            st.tuples(of(Type.INT), of(Type.FLOAT)).map("(({0[0]}) < ({0[1]}))".format),
            of(Type.TIMESTAMP).map("(({}) is not null)".format),
            st.tuples(of(Type.STRING), of(Type.STRING), of(Type.STRING)).map("(({0[0]}) in ({0[1]}, {0[2]}))".format),
            st.tuples(of(Type.INT), of(Type.FLOAT)).map("(({0[0]}) not in ({0[1]}))".format),
        ]
    if type_ is Type.STRING:
        rules += [of(Type.FLOAT).map("to_string({})".format), of(type_).map("lower({})".format)]
    return st.one_of(rules)


any_typed = st.one_of([st.tuples(st.just(type_), typed(type_, 3)) for type_ in Type])


def check_tree(expression: Expression) -> None:
    """Hold a tree to what readers of the model rely on."""
    assert expression.type is not None
    if isinstance(expression, Name):
        assert SCOPE[expression.name] == (expression.type, expression.nullable)
    elif isinstance(expression, Literal):
        assert expression.nullable == (expression.value is None)
    else:
        for argument in expression.arguments:
            check_tree(argument)
        _check_node(expression)


def _check_node(node: Apply) -> None:
    types = {argument.type for argument in node.arguments}
    if node.operator in ("is_null", "is_not_null"):
        assert not node.nullable
    elif node.operator == "coalesce":
        assert types == {node.type}
        assert node.nullable == all(argument.nullable for argument in node.arguments)
    elif node.operator == "if":
        assert {argument.type for argument in node.arguments[1:]} == {node.type}
        assert node.nullable == any(argument.nullable for argument in node.arguments[1:])
    else:
        assert node.nullable or not any(argument.nullable for argument in node.arguments)


@given(any_typed)
def test_well_typed_expressions_are_accepted_and_read_back(typed_text: tuple[Type, str]) -> None:
    type_, text = typed_text
    expression = parse_expression(text, SCOPE)
    assert expression.type is type_
    check_tree(expression)
    canonical = to_text(expression)
    assert parse_expression(canonical, SCOPE) == expression
    assert to_text(parse_expression(canonical, SCOPE)) == canonical
    assert names_in(expression) <= set(SCOPE)


@given(st.recursive(literals(), compounds, max_leaves=12))
def test_what_looks_like_an_expression_is_read_back_or_refused_at_a_place(text: str) -> None:
    try:
        expression = parse_expression(text, SCOPE)
    except ExpressionError as error:
        assert 0 <= error.offset <= len(text)  # noqa: PT017 - being refused is one of two good outcomes
    else:
        check_tree(expression)
        assert parse_expression(to_text(expression), SCOPE) == expression


soup = st.lists(
    st.sampled_from(
        [
            *"+-*/%<>=!(),.'\"\\ \n?$&|",
            "==",
            "!=",
            "and",
            "or",
            "not",
            "is",
            "in",
            "null",
            "true",
            "if",
            "coalesce",
            "sum",
            "quantile",
            "rate",
            "count_distinct",
            "count",
            "matches",
            "'a'",
            "1",
            "2.5",
            "1e9",
            "int",
            "string",
            "bool_or_null",
            "timestamp",
            "é",
            "\U0001f600",
        ]
    ),
    max_size=25,
)


@given(soup.map(" ".join) | soup.map("".join) | st.text(max_size=30))
def test_soup_never_does_more_than_be_refused(text: str) -> None:
    for parse in (lambda: parse_expression(text, SCOPE), lambda: parse_aggregate("a", text, SCOPE)):
        try:
            parse()
        except ExpressionError as error:
            assert 0 <= error.offset <= len(text)  # noqa: PT017 - being refused is one of two good outcomes
            assert error.message.isprintable()  # noqa: PT017 - as above


@given(texts)
def test_text_literals_keep_every_character(text: str) -> None:
    literal = Literal(text, Type.STRING, nullable=False)
    assert parse_expression(to_text(literal), {}) == literal
    with contextlib.suppress(UnicodeEncodeError):
        assert to_text(literal).encode()


@given(ints)
def test_ints_keep_their_value(value: int) -> None:
    assert parse_expression(str(value), {}) == Literal(value, Type.INT, nullable=False)


@given(floats)
def test_floats_keep_their_value(value: float) -> None:
    parsed = parse_expression(repr(value), {})
    assert isinstance(parsed, Literal)
    assert repr(parsed.value) == repr(value)


aggregates = st.tuples(
    st.sampled_from(sorted(AGGREGATES)),
    st.lists(
        st.one_of(
            st.sampled_from(sorted(SCOPE)),
            st.sampled_from(["1", "0.5", "'reject'", "'1m'", "null", "-1", "int + 1"]),
            floats.map(repr),
        ),
        max_size=4,
    ),
).map(lambda call: f"{call[0]}({', '.join(call[1])})")


@given(aggregates)
def test_what_looks_like_an_aggregate_is_read_back_or_refused_at_a_place(text: str) -> None:
    try:
        aggregate = parse_aggregate("column", text, SCOPE)
    except ExpressionError as error:
        assert 0 <= error.offset <= len(text)  # noqa: PT017 - being refused is one of two good outcomes
        assert error.message.isprintable()  # noqa: PT017 - as above
        return
    signature = AGGREGATES[aggregate.function]
    assert len(aggregate.parameters) == len(signature.parameters)
    for argument in aggregate.arguments:
        check_tree(argument)
    assert parse_aggregate("column", aggregate_to_text(aggregate), SCOPE) == aggregate
