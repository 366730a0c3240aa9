"""YAML 1.2 text to a tree whose every node knows its place. Values are resolved by the core schema, nothing else.

So `no`, `on` and `12:30:00` are texts. What has no use in a pipeline file is refused with its place rather than
guessed at: anchors and aliases (so no file can unfold beyond its own size), tags, several documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from consumer.pipeline.problems import Path, ProblemList
from consumer.pipeline.scalars import source_indexes
from consumer.pipeline.wording import shorten

DEPTH_MAX = 20
"""Levels of mappings and lists; a pipeline file needs six."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(eq=False, slots=True)
class Scalar:
    """A single value. `text` is unquoted; `plain` tells that the file has no quotes around it.

    `indexes` holds, for each character of `text` and for its end, the index into the file's text.
    """

    text: str
    plain: bool
    start: int
    indexes: tuple[int, ...]
    broken: bool = False
    """What is wrong with it has been reported: nothing more is to be said about this node."""

    def index(self, offset: int) -> int:
        """Return where in the file a character of the text stands."""
        return self.indexes[min(offset, len(self.indexes) - 1)]


@dataclass(eq=False, slots=True)
class Sequence:
    """A list."""

    start: int
    items: list[Node] = field(default_factory=list)
    broken: bool = False


@dataclass(eq=False, slots=True)
class Mapping:
    """Keys in the order of the file, each with its value; a key is always taken as text."""

    start: int
    entries: dict[str, tuple[Scalar, Node]] = field(default_factory=dict)
    broken: bool = False


Node = Scalar | Sequence | Mapping


def parse_tree(text: str, problems: ProblemList) -> Node | None:
    """Return the tree of the text's one document, or None if there is none; problems are added, not raised."""
    reader = _Reader(text, problems)
    try:
        return reader.document()
    except _TooDeepError:
        return None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        index = reader.last_index if mark is None else mark.index
        problems.add(index, (), _syntax_message(text, index, error))
    except YAMLError as error:
        # The reader's own error: a character that YAML does not allow.
        index = int(getattr(error, "position", reader.last_index))
        problems.add(index, (), f"this is not YAML: the character {text[index : index + 1]!a} is not allowed")
    except ValueError as error:
        # The library decodes escapes and directives with Python's own functions, and lets their errors out.
        problems.add(reader.last_index, (), f"this is not YAML: {shorten(str(error), 120)}")
    return None


def to_plain(node: Node) -> Any:
    """Return dicts, lists and scalars of the core schema; a broken value of a key is left out, in a list it is None."""
    if isinstance(node, Scalar):
        return resolve(node.text) if node.plain else node.text
    if isinstance(node, Sequence):
        return [None if item.broken else to_plain(item) for item in node.items]
    return {key: to_plain(value) for key, (_, value) in node.entries.items() if not value.broken}


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Yield every node with its path, a parent before its children, and nothing below a broken node."""
    yield path, node
    if node.broken:
        return
    if isinstance(node, Sequence):
        for number, item in enumerate(node.items):
            yield from walk(item, (*path, number))
    elif isinstance(node, Mapping):
        for key, (_, value) in node.entries.items():
            yield from walk(value, (*path, key))


def find(node: Node, path: Path) -> Node | None:
    """Return the node at a path, or None."""
    for step in path:
        if isinstance(node, Mapping) and step in node.entries:
            node = node.entries[str(step)][1]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node


def is_broken_below(root: Node, path: Path) -> bool:
    """Tell whether the node at a path, or any below it, is broken."""
    node = find(root, path)
    return node is not None and any(each.broken for _, each in walk(node))


def key_index(root: Node, path: Path) -> int:
    """Return the index of the key (or list item) at a path, or of the nearest that exists above it."""
    for length in range(len(path), 0, -1):
        parent, last = find(root, path[: length - 1]), path[length - 1]
        if isinstance(parent, Mapping) and last in parent.entries:
            return parent.entries[str(last)][0].start
        if isinstance(parent, Sequence) and isinstance(last, int) and last < len(parent.items):
            return parent.items[last].start
    return root.start


_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,100}|0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"(?P<sign>[-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def resolve(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted scalar by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        return float("nan") if special["sign"] is None else float(special["sign"] + "inf")
    return text


class _TooDeepError(Exception):
    """Already reported; the rest of the file is not read."""


class _Reader:
    """Builds nodes from the library's events, one document."""

    def __init__(self, text: str, problems: ProblemList) -> None:
        self._text = text
        self._problems = problems
        self._events: Iterator[Any] = iter(YAML(typ="safe", pure=True).parse(text))
        self.last_index = 0

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self._each():
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    self._problems.add(event.start_mark.index, (), "one file holds one pipeline: `---` begins another")
                    return None
                self._check_version(event)
            elif isinstance(event, NodeEvent):
                root = self._node(event, (), 1, flow=False)
        return root

    def _each(self) -> Iterator[Any]:
        for event in self._events:
            self.last_index = event.end_mark.index
            yield event

    def _next(self) -> Any:
        return next(self._each())

    def _check_version(self, event: Any) -> None:
        if event.version not in (None, (1, 2)):
            self._problems.add(0, (), "a pipeline file is YAML 1.2: leave out the %YAML line")

    def _node(self, event: Any, path: Path, depth: int, *, flow: bool) -> Node:
        start = event.start_mark.index
        if depth > DEPTH_MAX:
            self._problems.add(start, path, f"more than {DEPTH_MAX} levels: a pipeline file needs six")
            raise _TooDeepError
        if isinstance(event, AliasEvent):
            return self._refuse(start, path, "aliases are not supported: write the value out")
        node: Node
        if isinstance(event, MappingStartEvent):
            node = self._mapping(event, path, depth)
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(event, path, depth)
        else:
            node = self._scalar(event, path, flow=flow)
        if event.anchor is not None:
            self._problems.add(start, path, f"anchors are not supported: leave out `&{shorten(event.anchor)}`")
        if event.tag is not None:
            self._problems.add(start, path, "tags are not supported: a value in quotes is a text")
        return node

    def _refuse(self, start: int, path: Path, message: str) -> Scalar:
        self._problems.add(start, path, message)
        return Scalar("", plain=True, start=start, indexes=(start,), broken=True)

    def _scalar(self, event: ScalarEvent, path: Path, *, flow: bool) -> Scalar:
        start, end = event.start_mark.index, event.end_mark.index
        text = event.value
        # A lone surrogate is no character: nothing could write it out again.
        if _SURROGATE.search(text):
            return self._refuse(start, path, "`\\ud800` to `\\udfff` are no characters")
        plain = event.style is None
        scalar = Scalar(text, plain, start, source_indexes(self._text, text, start, end, event.style))
        if flow and plain and "?" in text:
            self._problems.add(start, path, f'in {{…}} and […] a type with ? needs quotes: write "{shorten(text)}"')
            scalar.broken = True
        return scalar

    def _sequence(self, event: Any, path: Path, depth: int) -> Sequence:
        sequence = Sequence(event.start_mark.index)
        while not isinstance(inner := self._next(), SequenceEndEvent):
            item_path = (*path, len(sequence.items))
            sequence.items.append(self._node(inner, item_path, depth + 1, flow=bool(event.flow_style)))
        if event.flow_style:
            sequence.broken = self._is_cut(sequence.items, path)
        return sequence

    def _mapping(self, event: Any, path: Path, depth: int) -> Mapping:
        mapping = Mapping(event.start_mark.index)
        flow = bool(event.flow_style)
        values: list[Node] = []
        while not isinstance(inner := self._next(), MappingEndEvent):
            key = self._key(inner, path, depth)
            value = self._node(self._next(), (*path, key.text), depth + 1, flow=flow)
            values += [key, value]
            self._enter(mapping, key, value, path)
        if flow:
            mapping.broken = self._is_cut(values, path)
        return mapping

    def _key(self, event: Any, path: Path, depth: int) -> Scalar:
        key = self._node(event, path, depth + 1, flow=False)
        if isinstance(key, Scalar):
            return key
        return self._refuse(key.start, path, "a key must be a simple text")

    def _enter(self, mapping: Mapping, key: Scalar, value: Node, path: Path) -> None:
        if key.broken:
            return
        if key.text in mapping.entries:
            line, _ = self._problems.place(mapping.entries[key.text][0].start)
            self._problems.add(key.start, (*path, key.text), f"this key stands twice, first in line {line}")
            return
        if "${" in key.text:
            self._problems.add(key.start, (*path, key.text), "${…} takes effect in values only, not in a key")
            value.broken = True
        mapping.entries[key.text] = (key, value)

    def _is_cut(self, nodes: list[Node], path: Path) -> bool:
        """Tell, and report, whether a comma of an expression was taken for the end of an entry."""
        for node in nodes:
            if isinstance(node, Scalar) and node.plain and node.text.count("(") > node.text.count(")"):
                self._problems.add(
                    node.start,
                    path,
                    f"in {{…}} and […] a comma ends the value `{shorten(node.text)}`: put the whole expression "
                    'in quotes, as in "if(a, b, c)"',
                )
                return True
        return False


_HINTS = (
    (r"found character '\\t'", "indent with blanks, not with tabs"),
    (r"mapping values are not allowed", "a value that holds `: ` needs quotes around all of it"),
    (r"found character '[@`%&*!|>]'", "a value that begins with it needs quotes"),
)


def _syntax_message(text: str, index: int, error: MarkedYAMLError) -> str:
    problem = shorten(str(error.problem or error.context or "it ends too early"), 120)
    context = f", {shorten(str(error.context), 80)}" if error.problem and error.context else ""
    return f"this is not YAML: {problem}{context}{_hint(text, index, problem)}"


def _hint(text: str, index: int, problem: str) -> str:
    for pattern, hint in _HINTS:
        if re.search(pattern, problem):
            return f" ({hint})"
    if text[max(0, index - 1) : index + 1] == "${":
        return ' (in {…} and […] an environment variable needs quotes: "${NAME}")'
    before = text[:index].rsplit("\n", 1)[-1]
    if "<scalar>" in problem and before.rstrip().endswith(("'", '"')):
        return " (a value that begins with a quote needs another pair of quotes around all of it)"
    return ""
