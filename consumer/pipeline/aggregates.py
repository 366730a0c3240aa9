"""Aggregates: the text of a column of `select`, such as `sum(amount * 2)`, to what it means."""

from __future__ import annotations

import re

from consumer.pipeline import typing_rules
from consumer.pipeline.aggregate_rules import AGGREGATES, aggregate
from consumer.pipeline.expressions import Parser, Scope
from consumer.pipeline.model import Aggregate
from consumer.pipeline.tokens import ExpressionError, Kind, Token
from consumer.pipeline.typing_rules import Operand
from consumer.pipeline.wording import shorten, suggestion

_OTHER_NAMES = {
    "mean": "avg(x)",
    "average": "avg(x)",
    "var": "variance(x)",
    "var_pop": "variance(x)",
    "var_samp": "variance(x), which is that of the population",
    "std": "stddev(x)",
    "stddev_pop": "stddev(x)",
    "stddev_samp": "stddev(x), which is that of the population",
    "median": "quantile(x, 0.5)",
    "percentile": "quantile(x, 0.99)",
    "approx_percentile": "quantile(x, 0.99)",
    "percentile_cont": "quantile(x, 0.99)",
    "approx_count_distinct": "approx_distinct(x)",
    "any_value": "first(x)",
    "first_value": "first(x)",
    "last_value": "last(x)",
    "arg_min": "min_by(x, y)",
    "arg_max": "max_by(x, y)",
    "argmin": "min_by(x, y)",
    "argmax": "max_by(x, y)",
    "array_agg": "collect(x, 100)",
    "collect_list": "collect(x, 100)",
    "list": "collect(x, 100)",
    "top_k": "top(x, 10)",
    "topk": "top(x, 10)",
    "mode": "top(x, 1)",
    "countif": "count(if(condition, 1, null))",
    "count_if": "count(if(condition, 1, null))",
}
"""Names that other systems have for the same, and what to write here."""

_BARE_DURATION = re.compile(r"\s*rate\s*\(\s*(?P<duration>[0-9]+[a-z][0-9a-z]*)")


def parse_aggregate(name: str, text: str, scope: Scope) -> Aggregate:
    """Return the column `name` that the aggregate `text`, such as `sum(amount)`, describes."""
    if bare := _BARE_DURATION.match(text):
        raise ExpressionError(f"a duration stands in quotes: rate('{bare['duration']}')", bare.start("duration"))
    parser = Parser(text, scope)
    token = _function(parser)
    operands = _operands(parser, token.text)
    parser.end()
    return aggregate(name, token.text, operands, token.offset)


def _function(parser: Parser) -> Token:
    """Read the name of an aggregate and its opening parenthesis."""
    token = parser.next()
    if token.kind is not Kind.NAME or parser.peek().text != "(":
        if token.kind is Kind.NAME and token.text in AGGREGATES:
            raise ExpressionError(f"write {_usage(token.text)}", token.offset)
        raise ExpressionError(f"an aggregate is expected here: {_all_usages()}", token.offset)
    if token.text not in AGGREGATES:
        raise _no_aggregate(token)
    parser.next()
    return token


def _no_aggregate(token: Token) -> ExpressionError:
    written, lowered = shorten(token.text), token.text.lower()
    if token.text in typing_rules.FUNCTIONS:
        return ExpressionError(f"{written} must stand inside an aggregate: {_all_usages()}", token.offset)
    if lowered in AGGREGATES:
        return ExpressionError(f"aggregates are written in lower case: {lowered}", token.offset)
    if lowered in _OTHER_NAMES:
        return ExpressionError(f"{written} is no aggregate here: write {_OTHER_NAMES[lowered]}", token.offset)
    meant = suggestion(token.text, AGGREGATES)
    return ExpressionError(f"{written} is no aggregate{meant}: {_all_usages()}", token.offset)


def _operands(parser: Parser, function: str) -> list[Operand]:
    """Read what stands between the parentheses, and the closing one."""
    operands: list[Operand] = []
    _refuse_habits(parser, function)
    while parser.peek().text != ")":
        operands.append(parser.operand())
        if parser.peek().text != ",":
            break
        parser.next()
        if parser.peek().text == ")":
            raise ExpressionError("an argument is missing after the comma", parser.peek().offset)
    closing = parser.next()
    if closing.text != ")":
        raise parser.unexpected(closing, f"`)` to close {function}(")
    if parser.infix_power():
        remedy = "compute inside its parentheses, or where the rows are read"
        raise ExpressionError(f"an aggregate stands alone: {remedy}", parser.peek().offset)
    return operands


def _refuse_habits(parser: Parser, function: str) -> None:
    token = parser.peek()
    if token.text == "*" and function == "count":
        raise ExpressionError("write count() to count all events", token.offset)
    if token.text.lower() == "distinct" and parser.peek(1).kind is Kind.NAME:
        remedy = "write count_distinct(x)" if function == "count" else "only count_distinct(x) looks at distinct values"
        raise ExpressionError(remedy, token.offset)


def _usage(function: str) -> str:
    return "count() or count(x)" if function == "count" else AGGREGATES[function].usage


def _all_usages() -> str:
    return ", ".join(["count()", *(signature.usage for signature in AGGREGATES.values())])
