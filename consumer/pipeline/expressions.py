"""Expressions: text to a typed tree (a Pratt parser over an allow-listed grammar), and back to canonical text.

Never Python's eval. The tree is `model.Literal`, `model.Name` and `model.Apply`; types are decided in
`typing_rules`. Precedence is Python's, loosest first: or, and, not, comparison and `is null`, + -, * / %, minus sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from consumer.pipeline import typing_rules
from consumer.pipeline.model import Aggregate, Apply, Expression, Literal, Name, Type
from consumer.pipeline.tokens import INT_MAX, ExpressionError, Kind, Token, tokenize
from consumer.pipeline.typing_rules import NUMERIC, ORDERED, Operand, named
from consumer.pipeline.wording import shorten, suggestion

Scope = Mapping[str, tuple[Type, bool] | None]
"""Type and nullability of each name. None marks a name whose own definition is wrong (UnresolvedNameError)."""

RESERVED_WORDS = frozenset({"and", "or", "not", "is", "null", "true", "false"})
"""Words of the language: no field or `let` can have such a name."""

DEPTH_MAX = 100
"""Levels of the tree: whatever walks it may recurse."""

_NESTING_MAX = 2 * DEPTH_MAX + 10
"""Calls of the parser within each other. A tree within DEPTH_MAX, printed canonically, stays below this."""

AGGREGATES = ("count", "sum", "min", "max", "avg", "first", "last")

LATER_AGGREGATES = {
    "variance": "select count(x), sum(x) and sum(x * x), and compute it from these",
    "stddev": "select count(x), sum(x) and sum(x * x), and compute it from these",
    "min_by": "select min(y), or first(x) and last(x) for the ends in time",
    "max_by": "select max(y), or first(x) and last(x) for the ends in time",
    "count_distinct": "add x to `by`, and count the rows where they are read",
    "approx_distinct": "add x to `by`, and count the rows where they are read",
    "quantile": "select min(x), avg(x) and max(x), or count by a `let` of bucket(x, width)",
    "top": "add x to `by`, select count(), and sort where the rows are read",
    "collect": "select first(x) and last(x)",
    "rate": "select count(), and divide it by the length of the window",
}
"""Aggregates that this version refuses by name, each with what to write instead."""

_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _SIGN = range(1, 8)
_POWERS = {
    "or": _OR,
    "and": _AND,
    "is": _COMPARISON,
    **dict.fromkeys(typing_rules.EQUALITY + typing_rules.ORDERING, _COMPARISON),
    **dict.fromkeys("+-", _SUM),
    **dict.fromkeys("*/%", _PRODUCT),
}
"""Binding power of what may follow an operand: greater binds tighter."""

_CONSTANTS = {
    "null": Literal(None, None, nullable=True),
    "true": Literal(True, Type.BOOL, nullable=False),
    "false": Literal(False, Type.BOOL, nullable=False),
}

_HABITS = {
    "in": "write x == 'a' or x == 'b'",
    "like": "use matches, contains or starts_with",
    "between": "write x >= a and x <= b",
    "xor": "write a != b",
    "mod": "write %",
    "div": "write floor(a / b)",
    "if": "write if(condition, a, b)",
    "case": "write if(condition, a, b)",
    "isnull": "write is null",
}
"""Words people bring from SQL and Python, where an operator is expected."""


class UnresolvedNameError(ExpressionError):
    """The expression uses a name whose own definition is wrong: nothing to report here."""


def parse_expression(text: str, scope: Scope) -> Expression:
    """Return the typed tree of an expression over the names of `scope`; ExpressionError points at what is wrong."""
    parser = _Parser(text, scope)
    operand = parser.operand()
    parser.end()
    typing_rules.type_of(operand)
    return operand.expression


def parse_aggregate(name: str, text: str, scope: Scope) -> Aggregate:
    """Return the column `name` that the aggregate `text`, such as `sum(amount)`, describes."""
    parser = _Parser(text, scope)
    function, offset = parser.aggregate_function()
    argument = parser.aggregate_argument(function)
    parser.end()
    if argument is None:
        if function != "count":
            raise ExpressionError(f"{function} takes an expression: {function}(x)", offset)
        return Aggregate(name, function, None, Type.INT, nullable=False)
    return _aggregate(name, function, argument)


def to_text(expression: Expression) -> str:
    """Return the canonical text: `parse_expression` of it, in the same scope, gives an equal tree."""
    return _render(expression, 0)


def aggregate_to_text(aggregate: Aggregate) -> str:
    """Return the canonical text of an aggregate, such as `sum(amount * 2)`."""
    argument = "" if aggregate.argument is None else to_text(aggregate.argument)
    return f"{aggregate.function}({argument})"


def names_in(expression: Expression) -> frozenset[str]:
    """Return the fields and lets that the expression names."""
    if isinstance(expression, Name):
        return frozenset({expression.name})
    if isinstance(expression, Apply):
        return frozenset().union(*(names_in(argument) for argument in expression.arguments))
    return frozenset()


def _aggregate(name: str, function: str, operand: Operand) -> Aggregate:
    type_ = typing_rules.type_of(operand)
    allowed = {"sum": NUMERIC, "avg": NUMERIC, "min": ORDERED, "max": ORDERED}.get(function, typing_rules.ANY)
    if type_ not in allowed:
        expected = " or ".join(named(each) for each in allowed)
        raise ExpressionError(f"{function} takes {expected}, and this is {named(type_)}", operand.offset)
    expression = operand.expression
    if function == "count":
        return Aggregate(name, function, expression, Type.INT, nullable=False)
    # A window holds at least one event, so only an argument that may be null makes a result that may be null.
    result = Type.FLOAT if function == "avg" else type_
    return Aggregate(name, function, expression, result, expression.nullable)


class _Parser:
    """One pass over the tokens. Every method leaves `_at` behind what it has read."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._tokens = tokenize(text)
        self._scope = scope
        self._at = 0
        self._nesting = 0
        self._depths: dict[int, int] = {}

    def operand(self, power_min: int = 0, nesting: int = 1) -> Operand:
        """Read the longest expression whose operators bind at least as tight as `power_min`."""
        self._nesting += nesting
        if self._nesting > _NESTING_MAX:
            raise self._too_deep(self._peek().offset)
        left = self._prefix(power_min)
        while (power := self._infix_power()) and power >= power_min:
            left = self._infix(left, power)
        self._nesting -= nesting
        return left

    def end(self) -> None:
        """Refuse whatever is left."""
        token = self._peek()
        if token.kind is Kind.END:
            return
        if token.text == ")":
            raise ExpressionError("this `)` closes nothing", token.offset)
        if token.text == ",":
            raise ExpressionError("a comma separates arguments, and here is no function", token.offset)
        raise ExpressionError(f"an operator should stand before `{shorten(token.text)}`{_habit(token)}", token.offset)

    def aggregate_function(self) -> tuple[str, int]:
        """Read the name of an aggregate and its opening parenthesis."""
        token = self._next()
        if token.kind is not Kind.NAME or self._peek().text != "(":
            if token.kind is Kind.NAME and token.text in AGGREGATES:
                raise ExpressionError(f"write {token.text}() or {token.text}(x)", token.offset)
            raise ExpressionError(f"an aggregate is expected here: {_aggregate_list()}", token.offset)
        if token.text in LATER_AGGREGATES:
            remedy = LATER_AGGREGATES[token.text]
            raise ExpressionError(f"{token.text} is not supported yet: {remedy}", token.offset)
        if token.text not in AGGREGATES:
            meant = suggestion(token.text, AGGREGATES)
            what = "is no aggregate" if token.text not in typing_rules.FUNCTIONS else "must stand inside an aggregate"
            raise ExpressionError(f"{shorten(token.text)} {what}{meant}: {_aggregate_list()}", token.offset)
        self._next()
        return token.text, token.offset

    def aggregate_argument(self, function: str) -> Operand | None:
        """Read what stands between the parentheses of an aggregate, and refuse more than one argument."""
        if self._peek().text == ")":
            self._next()
            return None
        if self._peek().text == "*" and function == "count":
            raise ExpressionError("write count() to count all events", self._peek().offset)
        argument = self.operand()
        token = self._next()
        if token.text == ",":
            raise ExpressionError(f"{function} takes one argument", token.offset)
        if token.text != ")":
            raise self._unexpected(token, f"`)` to close {function}(")
        if self._infix_power():
            following = self._peek()
            raise ExpressionError(
                "an aggregate stands alone: compute inside its parentheses, or where the rows are read",
                following.offset,
            )
        return argument

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _infix_power(self) -> int:
        """Return the binding power of the operator that comes next, 0 if none does."""
        token = self._peek()
        return _POWERS.get(token.text, 0) if token.kind in (Kind.SYMBOL, Kind.NAME) else 0

    def _prefix(self, power_min: int) -> Operand:
        token = self._next()
        if token.kind is Kind.STRING:
            return self._leaf(Literal(token.value, Type.STRING, nullable=False), token)
        if token.kind in (Kind.INT, Kind.FLOAT):
            return self._leaf(_number(token, 1), token)
        if token.text == "-":
            return self._minus(token)
        if token.text == "(":
            return self._parenthesis(token)
        if token.kind is Kind.NAME:
            return self._word(token, power_min)
        if token.text == "+":
            raise ExpressionError("a plus sign changes nothing: leave it out", token.offset)
        raise self._unexpected(token, "a value")

    def _minus(self, token: Token) -> Operand:
        following = self._peek()
        if following.kind in (Kind.INT, Kind.FLOAT):
            return self._leaf(_number(self._next(), -1), token)
        inner = self.operand(_SIGN)
        return self._node(typing_rules.negate(inner), token.offset)

    def _parenthesis(self, token: Token) -> Operand:
        inner = self.operand()
        closing = self._next()
        if closing.text != ")":
            raise self._unexpected(closing, "`)` to close `(`")
        return Operand(inner.expression, token.offset)

    def _word(self, token: Token, power_min: int) -> Operand:
        if token.text == "not":
            if power_min > _NOT:
                raise ExpressionError("put parentheses around `not …` here", token.offset)
            inner = self.operand(_NOT)
            return self._node(typing_rules.invert(inner), token.offset)
        if token.text in _CONSTANTS:
            return self._leaf(_CONSTANTS[token.text], token)
        if token.text in RESERVED_WORDS:
            raise self._unexpected(token, "a value")
        if self._peek().text == "(":
            return self._call(token)
        return self._leaf(self._name(token), token)

    def _name(self, token: Token) -> Name:
        if not _is_declared(token.text, self._scope):
            raise self._unknown_name(token)
        known = self._scope[token.text]
        if known is None:
            self._refuse_unknown_names()
            raise UnresolvedNameError(f"{token.text} is not defined rightly", token.offset)
        type_, nullable = known
        return Name(token.text, type_, nullable)

    def _refuse_unknown_names(self) -> None:
        """Look through the rest, which cannot be typed, for names that nobody declared."""
        for token, following in pairwise(self._tokens[self._at :]):
            is_name = token.kind is Kind.NAME and following.text != "(" and token.text not in RESERVED_WORDS
            if is_name and not _is_declared(token.text, self._scope):
                raise self._unknown_name(token)

    def _unknown_name(self, token: Token) -> ExpressionError:
        lowered = token.text.lower()
        if lowered in RESERVED_WORDS | {"none"}:
            word = "null" if lowered == "none" else lowered
            return ExpressionError(f"`{token.text}` is no field; the word is written `{word}`", token.offset)
        meant = suggestion(token.text, self._scope)
        remedy = "" if meant else "; declare it in events.fields or let (a text needs quotes)"
        return ExpressionError(f"there is no field or let `{shorten(token.text)}`{meant}{remedy}", token.offset)

    def _call(self, token: Token) -> Operand:
        if token.text not in typing_rules.FUNCTIONS:
            raise _unknown_function(token)
        self._next()
        arguments: list[Operand] = []
        while self._peek().text != ")":
            arguments.append(self.operand(nesting=2))
            if self._peek().text != ",":
                break
            self._next()
            if self._peek().text == ")":
                raise ExpressionError("an argument is missing after the comma", self._peek().offset)
        closing = self._next()
        if closing.text != ")":
            raise self._unexpected(closing, f"`,` or `)` in {token.text}(")
        return self._node(typing_rules.call(token.text, arguments, token.offset), token.offset)

    def _infix(self, left: Operand, power: int) -> Operand:
        token = self._next()
        if token.text == "is":
            expression = typing_rules.test_null(left, wanted=self._is_what())
        else:
            # One more than its own power: operators of one power group from the left.
            right = self.operand(power + 1)
            expression = typing_rules.combine(token.text, left, right, token.offset)
        if power == _COMPARISON and self._infix_power() == _COMPARISON:
            raise ExpressionError(
                "comparisons cannot be chained: write a < b and b < c, or put parentheses around one",
                self._peek().offset,
            )
        return self._node(expression, left.offset)

    def _is_what(self) -> bool:
        """Read `null` (True) or `not null` (False) after `is`."""
        token = self._next()
        wanted = token.text != "not"
        if not wanted:
            token = self._next()
        if token.text != "null" or token.kind is not Kind.NAME:
            raise ExpressionError("after `is` comes `null` or `not null`; compare values with ==", token.offset)
        return wanted

    def _leaf(self, expression: Expression, token: Token) -> Operand:
        return Operand(expression, token.offset)

    def _node(self, expression: Expression, offset: int) -> Operand:
        """Return the operand, having measured its depth: long chains grow to the left without nesting."""
        if self._measure(expression) > DEPTH_MAX:
            raise self._too_deep(offset)
        return Operand(expression, offset)

    def _measure(self, expression: Expression) -> int:
        """Return the levels of a tree; what was measured before is remembered, and kept alive by its parent."""
        if not isinstance(expression, Apply):
            return 1
        depth = self._depths.get(id(expression))
        if depth is None:
            depth = 1 + max(self._measure(argument) for argument in expression.arguments)
            self._depths[id(expression)] = depth
        return depth

    def _too_deep(self, offset: int) -> ExpressionError:
        return ExpressionError(f"this expression has more than {DEPTH_MAX} levels: move parts of it into `let`", offset)

    def _unexpected(self, token: Token, expected: str) -> ExpressionError:
        found = "the expression ends" if token.kind is Kind.END else f"`{shorten(token.text)}` stands"
        return ExpressionError(f"{expected} is expected where {found}{_habit(token)}", token.offset)


def _is_declared(name: str, scope: Scope) -> bool:
    # Not `in`: a scope may know that it does not know all names.
    try:
        scope[name]
    except KeyError:
        return False
    return True


def _number(token: Token, sign: int) -> Literal:
    if token.kind is Kind.FLOAT:
        assert isinstance(token.value, float)
        return Literal(sign * token.value, Type.FLOAT, nullable=False)
    assert isinstance(token.value, int)
    if sign * token.value > INT_MAX:
        raise ExpressionError(f"{token.text} does not fit a 64-bit int: write {token.text}.0", token.offset)
    return Literal(sign * token.value, Type.INT, nullable=False)


def _unknown_function(token: Token) -> ExpressionError:
    if token.text in AGGREGATES or token.text in LATER_AGGREGATES:
        return ExpressionError(
            f"{token.text} is an aggregate: it stands in a window's `select`, and not inside another", token.offset
        )
    lowered = token.text.lower()
    if lowered in typing_rules.FUNCTIONS:
        return ExpressionError(f"functions are written in lower case: {lowered}", token.offset)
    meant = suggestion(token.text, typing_rules.FUNCTIONS)
    known = ", ".join(sorted(typing_rules.FUNCTIONS))
    return ExpressionError(f"there is no function {shorten(token.text)}{meant}; there are {known}", token.offset)


def _habit(token: Token) -> str:
    if token.kind is not Kind.NAME:
        return ""
    lowered = token.text.lower()
    if lowered in _HABITS:
        return f": {_HABITS[lowered]}"
    if lowered in RESERVED_WORDS and lowered != token.text:
        return f": write `{lowered}` in lower case"
    return ""


def _aggregate_list() -> str:
    return "count(), " + ", ".join(f"{name}(x)" for name in AGGREGATES)


_QUOTED = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CONTROLS = frozenset((*range(0x20), *range(0x7F, 0xA0)))
_ATOM = _SIGN + 1


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
        return _render_sign(arguments[0]), _SIGN
    if operator == "not":
        return f"not {_render(arguments[0], _NOT)}", _NOT
    if operator in ("is_null", "is_not_null"):
        words = operator.replace("_", " ")
        return f"{_render(arguments[0], _COMPARISON + 1)} {words}", _COMPARISON
    power = _POWERS.get(operator)
    if power is None:
        return f"{operator}({', '.join(_render(argument, 0) for argument in arguments)})", _ATOM
    left = _render(arguments[0], power + 1 if power == _COMPARISON else power)
    return f"{left} {operator} {_render(arguments[1], power + 1)}", power


def _render_sign(argument: Expression) -> str:
    # A minus right before digits is part of the number, so a number that is negated needs parentheses.
    if isinstance(argument, Literal):
        return f"-({_render_literal(argument)})"
    return f"-{_render(argument, _SIGN)}"


def _render_literal(literal: Literal) -> str:
    value = literal.value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quote(value) if isinstance(value, str) else repr(value)


def _quote(value: str) -> str:
    return "'" + "".join(_QUOTED.get(c) or (f"\\x{ord(c):02x}" if ord(c) in _CONTROLS else c) for c in value) + "'"
