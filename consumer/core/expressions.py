"""From typed expressions to Python source.

The meaning is SQL's: null in, null out, and three-valued logic. `and`, `or`, `if` and `coalesce` look at an operand
only when the ones before it leave the answer open, so an error in an operand that is not needed is no error.

`Emitter.value` writes the statements that an expression needs and returns a name or a literal. `Emitter.condition`
returns a Python expression that is true exactly where the expression is true (so null counts as false).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from consumer.core.functions import FLOAT_MAX, INT_MAX, INT_MIN
from consumer.pipeline.model import Apply, Expression, Literal, Name, Type

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_INFALLIBLE = frozenset({*_COMPARISONS, "is_null", "is_not_null", "and", "or", "not", "contains", "starts_with"})
_LOGIC = {"and": "False", "or": "True"}


def local(name: str) -> str:
    """Return the generated code's variable for a field or a `let`."""
    return f"v_{name}"


class Emitter:
    """Collects the lines of a block of generated code.

    `constants` are objects that the code refers to by name; `functions` is the name of the module with the
    functions' meanings.
    """

    def __init__(self, constants: dict[str, Any]) -> None:
        self.lines: list[str] = []
        self._constants = constants
        self._indent = 0
        self._temporaries = 0

    def line(self, text: str) -> None:
        """Write one line at the present depth."""
        self.lines.append("    " * self._indent + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Write a line that ends with a colon, and what follows one level deeper."""
        self.line(head)
        self._indent += 1
        yield
        self._indent -= 1

    def value(self, expression: Expression) -> str:
        """Write the expression's statements; return a name or literal that holds its value."""
        if isinstance(expression, Literal):
            return repr(expression.value)
        if isinstance(expression, Name):
            return local(expression.name)
        if _is_logical(expression) and not expression.nullable and not _can_fail(expression):
            return self._keep(self.condition(expression))
        return self._apply(expression)

    def condition(self, expression: Expression) -> str:
        """Write the expression's statements; return Python text that is true where the expression is true."""
        if isinstance(expression, Apply) and not _can_fail(expression):
            match expression.operator:
                case "and" | "or" as operator:
                    parts = (self.condition(argument) for argument in expression.arguments)
                    return "(" + f" {operator} ".join(parts) + ")"
                case "not" if not expression.arguments[0].nullable:
                    return f"(not {self.condition(expression.arguments[0])})"
                case "is_null" | "is_not_null":
                    return self._null_test(expression)
                case operator if operator in _COMPARISONS:
                    return self._comparison(expression)
                case _:
                    pass
        return _true(self.value(expression), expression)

    def _null_test(self, expression: Apply) -> str:
        value = self.value(expression.arguments[0])
        if not expression.arguments[0].nullable:
            return str(expression.operator == "is_not_null")
        return f"({value} {'is' if expression.operator == 'is_null' else 'is not'} None)"

    def _comparison(self, expression: Apply) -> str:
        left, right = (self.value(argument) for argument in expression.arguments)
        tests = [f"{name} is not None" for name in _nullable_names(expression, [left, right])]
        return "(" + " and ".join([*tests, f"{left} {expression.operator} {right}"]) + ")"

    def _keep(self, text: str) -> str:
        self._temporaries += 1
        name = f"t{self._temporaries}"
        self.line(f"{name} = {text}")
        return name

    def _apply(self, expression: Apply) -> str:
        match expression.operator:
            case "and" | "or":
                return self._logic(expression)
            case "if":
                condition, then, otherwise = expression.arguments
                return self._branches(self.condition(condition), then, otherwise)
            case "coalesce":
                return self._coalesce(expression.arguments)
            case "is_null" | "is_not_null":
                return self._keep(self._null_test(expression))
            case _:
                return self._call(expression)

    def _call(self, expression: Apply) -> str:
        """Null if an argument is null, else the operator's value."""
        arguments = [self.value(argument) for argument in expression.arguments]
        nullable = _nullable_names(expression, arguments)
        text = self._operation(expression, arguments)
        if nullable:
            tests = " or ".join(f"{name} is None" for name in nullable)
            text = f"None if {tests} else {text}"
        result = self._keep(text)
        if expression.operator in _ARITHMETIC:
            self._check_range(expression, result, nullable=bool(nullable))
        return result

    def _check_range(self, expression: Apply, result: str, *, nullable: bool) -> None:
        present = f"{result} is not None and " if nullable else ""
        with self.block(f"if {present}not {_RANGES[expression.type].format(result)}:"):
            self.line(f"raise functions.overflow({expression.operator!r})")

    def _operation(self, expression: Apply, arguments: list[str]) -> str:
        if expression.operator == "matches":
            pattern = expression.arguments[1]
            assert isinstance(pattern, Literal)
            return f"{self._pattern(str(pattern.value))}({arguments[0]}) is not None"
        types = tuple(argument.type for argument in expression.arguments)
        return _operation(expression.operator, types, expression.type)(*arguments)

    def _pattern(self, pattern: str) -> str:
        import re2  # noqa: PLC0415 - only pipelines that use `matches` pay for it

        name = f"search_{len(self._constants)}"
        self._constants[name] = re2.compile(pattern).search
        return name

    def _branches(self, condition: str, then: Expression, otherwise: Expression) -> str:
        self._temporaries += 1
        result = f"t{self._temporaries}"
        with self.block(f"if {condition}:"):
            self.line(f"{result} = {self.value(then)}")
        with self.block("else:"):
            self.line(f"{result} = {self.value(otherwise)}")
        return result

    def _coalesce(self, arguments: tuple[Expression, ...]) -> str:
        result = self._keep(self.value(arguments[0]))
        self._coalesce_rest(result, arguments)
        return result

    def _coalesce_rest(self, result: str, arguments: tuple[Expression, ...]) -> None:
        first, *rest = arguments
        if rest and first.nullable:
            with self.block(f"if {result} is None:"):
                self.line(f"{result} = {self.value(rest[0])}")
                self._coalesce_rest(result, tuple(rest))

    def _logic(self, expression: Apply) -> str:
        """Three-valued and/or: a deciding operand ends it, else null if any operand is null."""
        decides = _LOGIC[expression.operator]
        result = self._keep(self.value(expression.arguments[0]))
        self._logic_rest(result, decides, expression.arguments[1:])
        return result

    def _logic_rest(self, result: str, decides: str, arguments: tuple[Expression, ...]) -> None:
        if not arguments:
            return
        with self.block(f"if {result} is not {decides}:"):
            operand = self.value(arguments[0])
            with self.block(f"if {operand} is {decides} or {result} is not None:"):
                self.line(f"{result} = {operand}")
            self._logic_rest(result, decides, arguments[1:])


def _is_logical(expression: Apply) -> bool:
    return expression.operator in {"and", "or", "not"} or expression.operator in _COMPARISONS


def _can_fail(expression: Expression) -> bool:
    if not isinstance(expression, Apply):
        return False
    return expression.operator not in _INFALLIBLE or any(map(_can_fail, expression.arguments))


def _true(value: str, expression: Expression) -> str:
    return f"{value} is True" if expression.nullable else value


def _nullable_names(expression: Apply, values: list[str]) -> list[str]:
    pairs = zip(expression.arguments, values, strict=True)
    return list(dict.fromkeys(value for argument, value in pairs if argument.nullable))


_ARITHMETIC = frozenset({"+", "-", "*", "neg", "abs"})
_RANGES = {
    Type.INT: f"{INT_MIN} <= {{}} <= {INT_MAX}",
    Type.FLOAT: f"-{FLOAT_MAX!r} <= {{}} <= {FLOAT_MAX!r}",
}


def _infix(operator: str) -> Callable[..., str]:
    return lambda left, right: f"({left} {operator} {right})"


def _function(name: str) -> Callable[..., str]:
    return lambda *arguments: f"functions.{name}({', '.join(arguments)})"


_CONVERSIONS: dict[tuple[str, Type | None], Callable[..., str]] = {
    ("to_int", Type.INT): lambda x: x,
    ("to_int", Type.FLOAT): _function("int_of_float"),
    ("to_int", Type.BOOL): lambda x: f"int({x})",
    ("to_int", Type.STRING): _function("int_of_text"),
    ("to_int", Type.TIMESTAMP): lambda x: x,
    ("to_float", Type.INT): lambda x: f"float({x})",
    ("to_float", Type.FLOAT): lambda x: x,
    ("to_float", Type.BOOL): lambda x: f"float({x})",
    ("to_float", Type.STRING): _function("float_of_text"),
    ("to_string", Type.INT): lambda x: f"str({x})",
    ("to_string", Type.FLOAT): _function("text_of_float"),
    ("to_string", Type.BOOL): _function("text_of_bool"),
    ("to_string", Type.STRING): lambda x: x,
    ("to_string", Type.TIMESTAMP): _function("text_of_time"),
    ("round", Type.INT): lambda x: x,
    ("round", Type.FLOAT): _function("round_float"),
    ("floor", Type.INT): lambda x: x,
    ("floor", Type.FLOAT): _function("floor_float"),
    ("ceil", Type.INT): lambda x: x,
    ("ceil", Type.FLOAT): _function("ceil_float"),
}

_OPERATIONS: dict[str, Callable[..., str]] = {
    **{operator: _infix(operator) for operator in _COMPARISONS},
    **{operator: _infix(operator) for operator in "+-*"},
    "/": _function("divide"),
    "neg": lambda x: f"-{x}",
    "abs": lambda x: f"abs({x})",
    "not": lambda x: f"not {x}",
    "lower": lambda x: f"{x}.lower()",
    "upper": lambda x: f"{x}.upper()",
    "length": lambda x: f"len({x})",
    "substring": _function("substring"),
    "starts_with": lambda text, start: f"{text}.startswith({start})",
    "contains": lambda text, part: f"({part} in {text})",
}


def _operation(operator: str, types: tuple[Type | None, ...], result: Type) -> Callable[..., str]:
    """Return what writes the operator's value for arguments that are not null."""
    if operator in {"%", "bucket"}:
        name = {"%": "remainder", "bucket": "bucket"}[operator]
        return _function(f"{name}_{'int' if result is Type.INT else 'float'}")
    return _OPERATIONS.get(operator) or _CONVERSIONS[operator, types[0]]
