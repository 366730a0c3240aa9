"""Expressions: text to a typed tree, by a Pratt parser over an allow-listed grammar.

Never Python's eval. The tree is `model.Literal`, `model.Name` and `model.Apply`; types are decided in
`typing_rules`. Precedence is Python's, loosest first: or, and, not, comparison with `is null` and `in`, + -, * / %,
minus sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from consumer.pipeline import typing_rules
from consumer.pipeline.aggregate_rules import AGGREGATES
from consumer.pipeline.model import Apply, Expression, Literal, Name, Type
from consumer.pipeline.precedence import COMPARISON, NOT, POWERS, SIGN
from consumer.pipeline.tokens import INT_MAX, ExpressionError, Kind, Token, tokenize
from consumer.pipeline.typing_rules import Operand
from consumer.pipeline.wording import shorten, suggestion

Scope = Mapping[str, tuple[Type, bool] | None]
"""Type and nullability of each name. None marks a name whose own definition is wrong (UnresolvedNameError)."""

RESERVED_WORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
"""Words of the language: no field or `let` can have such a name."""

DEPTH_MAX = 100
"""Levels of the tree: whatever walks it may recurse."""

NODES_MAX = 10_000
"""Nodes of the tree, the left side of `in` counted once for each value it is compared with."""

_NESTING_MAX = 2 * DEPTH_MAX + 10
"""Calls of the parser within each other. A tree within DEPTH_MAX, printed canonically, stays below this."""

_CONSTANTS = {
    "null": Literal(None, None, nullable=True),
    "true": Literal(True, Type.BOOL, nullable=False),
    "false": Literal(False, Type.BOOL, nullable=False),
}

_HABITS = {
    "like": "use matches, contains or starts_with",
    "between": "write x >= a and x <= b",
    "xor": "write a != b",
    "mod": "write %",
    "div": "write floor(a / b)",
    "if": "write if(condition, a, b)",
    "case": "write if(condition, a, b)",
    "isnull": "write is null",
    "not": "write x != a, or x not in (a, b)",
}
"""Words people bring from SQL and Python, where an operator is expected."""


class _Size(NamedTuple):
    depth: int
    nodes: int


_LEAF = _Size(1, 1)


class UnresolvedNameError(ExpressionError):
    """The expression uses a name whose own definition is wrong: nothing to report here."""


def parse_expression(text: str, scope: Scope) -> Expression:
    """Return the typed tree of an expression over the names of `scope`; ExpressionError points at what is wrong."""
    parser = Parser(text, scope)
    operand = parser.operand()
    parser.end()
    typing_rules.type_of(operand)
    return operand.expression


class Parser:
    """One pass over the tokens. Every method leaves `_at` behind what it has read."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._tokens = tokenize(text)
        self._scope = scope
        self._at = 0
        self._nesting = 0
        self._sizes: dict[int, _Size] = {}

    def operand(self, power_min: int = 0, nesting: int = 1) -> Operand:
        """Read the longest expression whose operators bind at least as tight as `power_min`."""
        self._nesting += nesting
        if self._nesting > _NESTING_MAX:
            raise self._too_deep(self.peek().offset)
        left = self._prefix(power_min)
        while (power := self.infix_power()) and power >= power_min:
            left = self._infix(left, power)
        self._nesting -= nesting
        return left

    def end(self) -> None:
        """Refuse whatever is left."""
        token = self.peek()
        if token.kind is Kind.END:
            return
        if token.text == ")":
            raise ExpressionError("this `)` closes nothing", token.offset)
        if token.text == ",":
            raise ExpressionError("a comma separates arguments, and here is no function", token.offset)
        raise ExpressionError(f"an operator should stand before `{shorten(token.text)}`{_habit(token)}", token.offset)

    def peek(self, ahead: int = 0) -> Token:
        """Return the token that comes next, or `ahead` tokens later, and leave it."""
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def next(self) -> Token:
        """Read a token."""
        token = self._tokens[self._at]
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def infix_power(self) -> int:
        """Return the binding power of what comes next, 0 if it is no operator between operands."""
        token = self.peek()
        if token.text == "not" and self.peek(1).text == "in":
            return COMPARISON
        return POWERS.get(token.text, 0) if token.kind in (Kind.SYMBOL, Kind.NAME) else 0

    def _prefix(self, power_min: int) -> Operand:
        token = self.next()
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
        raise self.unexpected(token, "a value")

    def _minus(self, token: Token) -> Operand:
        following = self.peek()
        if following.kind in (Kind.INT, Kind.FLOAT):
            return self._leaf(_number(self.next(), -1), token)
        inner = self.operand(SIGN)
        return self._node(typing_rules.negate(inner), token.offset)

    def _parenthesis(self, token: Token) -> Operand:
        inner = self.operand()
        closing = self.next()
        if closing.text != ")":
            raise self.unexpected(closing, "`)` to close `(`")
        return Operand(inner.expression, token.offset)

    def _word(self, token: Token, power_min: int) -> Operand:
        if token.text == "not":
            if power_min > NOT:
                raise ExpressionError("put parentheses around `not …` here", token.offset)
            inner = self.operand(NOT)
            return self._node(typing_rules.invert(inner), token.offset)
        if token.text in _CONSTANTS:
            return self._leaf(_CONSTANTS[token.text], token)
        if token.text in RESERVED_WORDS:
            raise self.unexpected(token, "a value")
        if self.peek().text == "(":
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
        self.next()
        arguments: list[Operand] = []
        while self.peek().text != ")":
            arguments.append(self.operand(nesting=2))
            if self.peek().text != ",":
                break
            self.next()
            if self.peek().text == ")":
                raise ExpressionError("an argument is missing after the comma", self.peek().offset)
        closing = self.next()
        if closing.text != ")":
            raise self.unexpected(closing, f"`,` or `)` in {token.text}(")
        return self._node(typing_rules.call(token.text, arguments, token.offset), token.offset)

    def _infix(self, left: Operand, power: int) -> Operand:
        token = self.next()
        if token.text == "is":
            expression = typing_rules.test_null(left, wanted=self._is_what())
        elif token.text == "in":
            expression = typing_rules.test_membership(left, self._list(), wanted=True)
        elif token.text == "not":
            self.next()
            expression = typing_rules.test_membership(left, self._list(), wanted=False)
        else:
            # One more than its own power: operators of one power group from the left.
            right = self.operand(power + 1)
            expression = typing_rules.combine(token.text, left, right, token.offset)
        if power == COMPARISON and self.infix_power() == COMPARISON:
            raise ExpressionError(
                "comparisons cannot be chained: write a < b and b < c, or put parentheses around one",
                self.peek().offset,
            )
        return self._node(expression, left.offset)

    def _is_what(self) -> bool:
        """Read `null` (True) or `not null` (False) after `is`."""
        token = self.next()
        wanted = token.text != "not"
        if not wanted:
            token = self.next()
        if token.text != "null" or token.kind is not Kind.NAME:
            raise ExpressionError("after `is` comes `null` or `not null`; compare values with ==", token.offset)
        return wanted

    def _list(self) -> list[Operand]:
        """Read the values in parentheses after `in`, at least one."""
        opening = self.next()
        if opening.text != "(":
            raise ExpressionError("after `in` come values in parentheses: x in ('a', 'b')", opening.offset)
        values = [self.operand(nesting=2)]
        while self.peek().text == ",":
            self.next()
            values.append(self.operand(nesting=2))
        closing = self.next()
        if closing.text != ")":
            raise self.unexpected(closing, "`,` or `)` in the values of `in`")
        return values

    def _leaf(self, expression: Expression, token: Token) -> Operand:
        return Operand(expression, token.offset)

    def _node(self, expression: Expression, offset: int) -> Operand:
        """Return the operand, having measured it: long chains grow to the left without nesting."""
        size = self._measure(expression)
        if size.depth > DEPTH_MAX:
            raise self._too_deep(offset)
        if size.nodes > NODES_MAX:
            raise ExpressionError("this expression is too large: move parts of it into `let`", offset)
        return Operand(expression, offset)

    def _measure(self, expression: Expression) -> _Size:
        """Return the size of a tree; what was measured before is remembered, and kept alive by its parent."""
        if not isinstance(expression, Apply):
            return _LEAF
        size = self._sizes.get(id(expression))
        if size is None:
            parts = [self._measure(argument) for argument in expression.arguments]
            size = _Size(1 + max(part.depth for part in parts), 1 + sum(part.nodes for part in parts))
            self._sizes[id(expression)] = size
        return size

    def _too_deep(self, offset: int) -> ExpressionError:
        return ExpressionError(f"this expression has more than {DEPTH_MAX} levels: move parts of it into `let`", offset)

    def unexpected(self, token: Token, expected: str) -> ExpressionError:
        """Return the error that something else stands where `expected` should."""
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
    if token.text in AGGREGATES:
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
