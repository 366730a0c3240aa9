"""Mutants: small changes to a module's text, each of which should make a test fail.

Only what functions do is changed, not messages, docstrings, annotations or constants of modules. Where a module writes
code, what it writes is changed like code (templates.py); where it has DynamoDB's conditions, these are.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.mutation import templates

WRITERS = re.compile(r"core/(accumulators\w*|expressions|group_code|loop_code)\.py$")
"""Modules whose strings are code."""
ORDERED = re.compile(r"runtime/commit\.py$")
"""Modules where the order of what is done is a rule."""
_ACTS = re.compile(
    r"(checkpoint|send)$|self\._(retrying|resend|tell|start|restore|fence|conclude|write_commit|commit_at_init|carry_over"
    r"|check_epoch|check_application|tidying\.\w+|compaction\.\w+|around\.(store|lineage|router)\.\w+)$"
    r"|.*\.close_ended$|self\.commit$"
)
"""What is done there; what is told (logs, metrics, ledger, the garbage collector) may be told at any time."""

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_ORDER = ast.Lt | ast.LtE | ast.Gt | ast.GtE
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"),
    ast.Mod: ("%", "*"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Mutant:
    """The text of `path` from `start` to `end` becomes `text`; `function` is the innermost named one around it.

    A test may notice it if it runs one of `lines`.
    """

    path: str
    function: str
    kind: str
    line: int
    lines: tuple[int, int]
    start: int
    end: int
    text: str
    changed: str
    """The changed lines in short, for people; with path and function it is the mutant's name."""

    @property
    def name(self) -> str:
        """Return what it is called whatever else changes in the module."""
        return f"{self.path}::{self.function}: {self.changed}"

    def of(self, source: str) -> str:
        """Return the module's text with the change."""
        return source[: self.start] + self.text + source[self.end :]


def mutants(root: Path, path: str) -> list[Mutant]:
    """Return all mutants of a module, in order."""
    return mutants_of((root / path).read_text(encoding="utf-8"), path)


def mutants_of(source: str, path: str) -> list[Mutant]:
    """Return all mutants of a module's text, in order; each once."""
    found = _Finder(source, path).find()
    unique = {(each.start, each.end, each.text): each for each in found}
    return sorted(unique.values(), key=lambda each: (each.start, each.end, each.text))


@dataclass(frozen=True)
class _Change:
    kind: str
    start: int
    end: int
    text: str


class _Text:
    """A module's text, by the places of its syntax tree."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def offset(self, line: int, column: int, *, is_bytes: bool = True) -> int:
        """Return the offset of a place; the syntax tree counts columns in bytes, the tokenizer in characters."""
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        characters = len(text.encode()[:column].decode()) if is_bytes else column
        return self._starts[line - 1] + characters

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Return where a node begins and ends."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def line_of(self, offset: int) -> int:
        """Return the line of an offset."""
        return self.source.count("\n", 0, offset) + 1

    def of(self, node: ast.expr | ast.stmt) -> str:
        """Return a node's text."""
        start, end = self.span(node)
        return self.source[start:end]


class _Finder:
    def __init__(self, source: str, path: str) -> None:
        self._text = _Text(source)
        self._path = path
        self._writes_code = WRITERS.search(path) is not None
        self._ordered = ORDERED.search(path) is not None
        self._strings = list(_strings(self._text))
        self._found: list[Mutant] = []

    def find(self) -> list[Mutant]:
        tree = ast.parse(self._text.source)
        for statement in tree.body:
            self._outside(statement, "")
        return self._found

    def _outside(self, node: ast.AST, name: str) -> None:
        """Look for functions, and for tables of code, outside of functions."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._function(node, f"{name}.{node.name}".lstrip("."))
            return
        if isinstance(node, ast.ClassDef):
            name = f"{name}.{node.name}".lstrip(".")
        if self._writes_code and isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for value in node.value.values:
                self._keep(_name_of(node), None, self._in_strings(value))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Lambda):
                self._keep(f"{name}.<lambda>".lstrip("."), child, self._expression(child.body))
            else:
                self._outside(child, name)

    def _function(self, function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> None:
        if any("abstractmethod" in ast.dump(each) or "overload" in ast.dump(each) for each in function.decorator_list):
            return
        self._body(function.body, name)

    def _body(self, body: list[ast.stmt], name: str) -> None:
        for statement in body:
            self._statement(statement, name)
        if self._ordered and not name.endswith("__init__"):  # the order of first values is no rule
            for first, second in pairwise(body):
                self._swap(first, second, name)

    def _statement(self, node: ast.stmt, name: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._outside(node, name)
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        self._keep(name, node, self._whole(node))
        for expression in _expressions(node):
            self._keep(name, node, self._expression(expression))
        for body in _bodies(node):
            self._body(body, name)

    def _keep(self, name: str, around: ast.expr | ast.stmt | None, changes: Iterator[_Change]) -> None:
        """Keep changes of a statement; without one, any line of the module may make use of them."""
        text = self._text
        for change in changes:
            first, last = text.line_of(change.start), text.line_of(max(change.start, change.end - 1))
            begin, stop = text.offset(first, 0), text.source.find("\n", change.end)
            stop = len(text.source) if stop < 0 else stop
            before = text.source[begin:stop]
            after = text.source[begin : change.start] + change.text + text.source[change.end : stop]
            lines = (1, text.line_of(len(text.source))) if around is None else (min(around.lineno, first), last)
            changed = f"{_short(before)}  =>  {_short(after)}"
            self._found.append(
                Mutant(self._path, name, change.kind, first, lines, change.start, change.end, change.text, changed)
            )

    def _whole(self, node: ast.stmt) -> Iterator[_Change]:
        """Yield the changes of a statement as such."""
        start, end = self._text.span(node)
        match node:
            case ast.Raise(exc=ast.Name(id="NotImplementedError")):
                return  # a declaration
            case ast.Expr(value=ast.Call(args=[ast.JoinedStr() | ast.Constant() as text])) if self._is_remark(text):
                return
            case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Delete():
                yield _Change("statement removed", start, end, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
                yield _Change("statement removed", start, end, "pass")
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Attribute(), *_])]):
                yield _Change("statement removed", start, end, "pass")
            case ast.AugAssign():
                yield _Change("statement removed", start, end, "pass")
                old, new = _ARITHMETIC.get(type(node.op), ("", ""))
                if old:
                    yield self._operator("operator", self._text.span(node.target)[1], f"{old}=", f"{new}=")
            case ast.Continue() | ast.Break():
                other = "break" if isinstance(node, ast.Continue) else "continue"
                yield _Change("jump", start, end, other)
                yield _Change("statement removed", start, end, "pass")
            case ast.If() | ast.While() | ast.Assert():
                yield from self._negated(node.test)

    def _is_remark(self, text: ast.expr) -> bool:
        """Tell whether code that is written is for people: a comment or a docstring."""
        return self._writes_code and re.match(r"""f?['"](#|\"{3})""", self._text.of(text)) is not None

    def _negated(self, test: ast.expr) -> Iterator[_Change]:
        """Yield the opposite of a condition, unless that is what another change makes of it."""
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and not isinstance(test.ops[0], _ORDER):
            return
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return
        start, end = self._text.span(test)
        yield _Change("condition", start, end, f"(not ({self._text.source[start:end]}))")

    def _operator(self, kind: str, left_end: int, old: str, new: str) -> _Change:
        """Return the change of an operator that comes after its left side, perhaps behind brackets."""
        start = self._text.source.index(old, left_end)
        return _Change(kind, start, start + len(old), new)

    def _expression(self, root: ast.expr) -> Iterator[_Change]:
        """Yield the changes of an expression and of all in it."""
        if isinstance(root, ast.JoinedStr) or _is_string(root):
            yield from self._in_strings(root)
            return
        yield from self._own(root)
        for child in ast.iter_child_nodes(root):
            if isinstance(child, ast.expr):
                yield from self._expression(child)
            elif isinstance(child, ast.keyword) and child.arg != "strict":  # an assertion about lengths
                yield from self._expression(child.value)
            elif isinstance(child, ast.comprehension):
                yield from self._expression(child.iter)
                for test in child.ifs:
                    yield from self._negated(test)
                    yield from self._expression(test)

    def _own(self, node: ast.expr) -> Iterator[_Change]:
        text = self._text
        start, end = text.span(node)
        match node:
            case ast.Compare():
                left = node.left
                for operator, right in zip(node.ops, node.comparators, strict=True):
                    yield self._operator("comparison", text.span(left)[1], *_COMPARISONS[type(operator)])
                    left = right
            case ast.BoolOp():
                for dropped in range(len(node.values)):
                    joint = " and " if isinstance(node.op, ast.And) else " or "
                    rest = [text.of(each) for number, each in enumerate(node.values) if number != dropped]
                    yield _Change("operand dropped", start, end, f"({joint.join(f'({each})' for each in rest)})")
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                yield _Change("operator", start, end, f"({text.of(node.operand)})")
            case ast.BinOp() if type(node.op) in _ARITHMETIC and not _is_text(node):
                yield self._operator("operator", text.span(node.left)[1], *_ARITHMETIC[type(node.op)])
            case ast.IfExp():
                yield from self._negated(node.test)
            case ast.Constant(value=bool(value)):
                yield _Change("constant", start, end, str(not value))
            case ast.Constant(value=int(value)):
                yield _Change("constant", start, end, str(value + 1))
            case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
                yield _Change("call", start, start + len(name), _CALLS[name])

    def _in_strings(self, node: ast.expr) -> Iterator[_Change]:
        """Yield the changes of the string literals of a node: of the code in them, and of what is filled in."""
        start, end = self._text.span(node)
        for first, literal in self._strings:
            if not start <= first < end:
                continue
            for piece, expression in templates.pieces(literal):
                at = first + piece.start
                if expression:
                    yield from self._filled_in(at, piece.text)
                elif self._writes_code:
                    yield from (_Change("emitted", at + s, at + e, text) for s, e, text in templates.code(piece.text))
                else:
                    found = templates.conditions(piece.text)
                    yield from (_Change("condition expression", at + s, at + e, text) for s, e, text in found)

    def _filled_in(self, at: int, text: str) -> Iterator[_Change]:
        try:
            tree = ast.parse(f"({text})", mode="eval")
        except SyntaxError:  # a format specification
            return
        inner = _Finder.__new__(_Finder)
        inner._text, inner._path = _Text(f"({text})"), self._path
        inner._writes_code, inner._ordered, inner._found = self._writes_code, False, []
        inner._strings = list(_strings(inner._text))
        for change in inner._expression(tree.body):
            yield _Change(change.kind, change.start + at - 1, change.end + at - 1, change.text)

    def _swap(self, first: ast.stmt, second: ast.stmt, name: str) -> None:
        """Keep the mutant that does two neighbouring statements in the other order, if that may be seen outside."""
        acts, others = (_acts(first), _acts(second)), (_notes(first), _notes(second))
        if not (all(acts) or (acts[0] and others[1]) or (others[0] and acts[1])) or _leaves(first) or _leaves(second):
            return
        (start, between), (after, end) = self._text.span(first), self._text.span(second)
        source = self._text.source
        indent = " " * first.col_offset
        text = f"{source[after:end]}\n{indent}{source[start:between]}"
        self._found.append(
            Mutant(
                self._path,
                name,
                "order",
                first.lineno,
                (first.lineno, second.end_lineno or second.lineno),
                start,
                end,
                text,
                f"{_first_line(source[start:between])}  <=>  {_first_line(source[after:end])}",
            )
        )


def _name_of(node: ast.Assign) -> str:
    target = node.targets[0]
    return target.id if isinstance(target, ast.Name) else "?"


def _acts(node: ast.stmt) -> bool:
    """Tell whether a statement does something outside of the process, or something whose place is a rule."""
    calls = (each for each in ast.walk(node) if isinstance(each, ast.Call))
    return any(_ACTS.match(ast.unparse(call.func)) for call in calls)


def _leaves(node: ast.stmt) -> bool:
    return isinstance(node, ast.Return | ast.Raise)


def _notes(node: ast.stmt) -> bool:
    """Tell whether a statement sets attributes."""
    if isinstance(node, ast.AugAssign):
        return isinstance(node.target, ast.Attribute)
    targets = node.targets[0] if isinstance(node, ast.Assign) else None
    parts = targets.elts if isinstance(targets, ast.Tuple) else [targets]
    return any(isinstance(each, ast.Attribute) for each in parts)


def _is_text(node: ast.BinOp) -> bool:
    """Tell whether an operator joins text: the other one would only be an error."""
    return any(isinstance(each, ast.JoinedStr) or _is_string(each) for each in (node.left, node.right))


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _expressions(node: ast.stmt) -> Iterator[ast.expr]:
    """Yield the expressions of a statement's head, messages of errors left out."""
    if isinstance(node, ast.Raise | ast.Assert):
        if isinstance(node, ast.Assert):
            yield node.test
        return
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        if node.value is not None:
            yield node.value
        return
    for _, value in ast.iter_fields(node):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.expr):
                yield each
            elif isinstance(each, ast.withitem):
                yield each.context_expr
            elif isinstance(each, ast.match_case) and each.guard is not None:
                yield each.guard


def _bodies(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if body:
            yield body
    for handler in getattr(node, "handlers", ()):
        yield handler.body
    for case in getattr(node, "cases", ()):
        yield case.body


def _strings(text: _Text) -> Iterator[tuple[int, str]]:
    """Yield where string literals begin, and their text; one with holes is one literal."""
    depth, start = 0, 0
    opening = getattr(tokenize, "FSTRING_START", -1)  # since 3.12 the tokenizer looks into them
    closing = getattr(tokenize, "FSTRING_END", -1)
    for token in tokenize.generate_tokens(io.StringIO(text.source).readline):
        begin = text.offset(*token.start, is_bytes=False)
        if token.type == opening:
            start = start if depth else begin
            depth += 1
        elif token.type == closing:
            depth -= 1
            if not depth:
                yield start, text.source[start : text.offset(*token.end, is_bytes=False)]
        elif token.type == tokenize.STRING and not depth:
            yield begin, token.string


def _short(text: str) -> str:
    return " ".join(text.split())


def _first_line(text: str) -> str:
    return text.partition("\n")[0].strip()
