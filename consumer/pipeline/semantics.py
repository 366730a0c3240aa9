"""What the schema cannot say: names that must exist, expressions and their types, alignment, sinks that fit.

Everything is checked that can be, also in a file with other mistakes; what depends on something that is wrong
itself is left alone, so that one mistake gives one message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from consumer.pipeline import model, tree
from consumer.pipeline.expressions import (
    RESERVED_WORDS,
    UnresolvedNameError,
    parse_aggregate,
    parse_expression,
)
from consumer.pipeline.kcl import check_property, check_value
from consumer.pipeline.problems import Path, ProblemList
from consumer.pipeline.schema import (
    APPLICATION_NAME,
    NAME,
    PIPELINE_NAME,
    SINK_KINDS,
    WINDOW_NAME,
    TumblingPart,
)
from consumer.pipeline.tokens import ExpressionError
from consumer.pipeline.typing_rules import named
from consumer.pipeline.wording import shorten, suggestion

ROW_KEYS = (
    "id",
    "pipeline",
    "window",
    "window_start",
    "window_end",
    "revision",
    "final",
    "replaces",
    "early",
    "part",
    "shard",
    "partial",
)
"""Keys that result rows have of themselves: no column can have such a name."""

_KINDS = ("tumbling", "session", "sliding", "stagger")
_TABLES_OF_KCL = ("", "-CoordinatorState", "-WorkerMetricStats")
"""What the daemon appends to the application's name for its own tables."""


_T = TypeVar("_T")


class _Scope(dict[str, tuple[model.Type, bool] | None]):
    """Names with type and nullability. `is_open` tells that more exist than are known: none is unknown then."""

    is_open = False

    def __missing__(self, name: str) -> None:
        if not self.is_open:
            raise KeyError(name)


@dataclass
class Meaning:
    """What the expressions of a file mean; whole only if no problem was found."""

    lets: list[model.Let] = field(default_factory=list)
    where: model.Expression | None = None
    columns: dict[str, list[model.Aggregate]] = field(default_factory=dict)
    types: dict[str, tuple[model.Type, bool] | None] = field(default_factory=_Scope)


def check_semantics(root: tree.Node, data: Any, problems: ProblemList, explained: frozenset[Path]) -> Meaning:
    """Report what is wrong beyond the schema. `explained` paths are unknown keys and what they were meant to be."""
    checker = _Checker(root, data, problems, explained)
    checker.check()
    return checker.meaning


class _Checker:
    """One file under check."""

    def __init__(self, root: tree.Node, data: Any, problems: ProblemList, explained: frozenset[Path]) -> None:
        self._root = root
        self._data = data
        self._problems = problems
        self._explained = explained
        self._scope = _Scope()
        self.meaning = Meaning(types=self._scope)

    def check(self) -> None:
        """Check everything, in the order in which names come to be."""
        self._fields()
        self._time()
        self._partition_key()
        self._lets()
        self._where()
        for name, path in self._keys(("windows",)):
            self._window(name, path)
        self._sinks()
        for place in ("late", "dead_letter"):
            self._one_kind((place,), SINK_KINDS, "one kind of sink")
        self._tables()
        for name, path in self._keys(("worker", "kcl")):
            self._refuse(path, check_property(name), at_key=True)
            self._refuse(path, check_value(name, self._at(*path)))

    # Fields, time, partition key

    def _fields(self) -> None:
        fields = self._at("events", "fields")
        self._scope.is_open = not isinstance(fields, dict)
        for name, path in self._keys(("events", "fields")):
            self._name(path, name, NAME)
            written = self._at(*path)
            self._scope[name] = None
            if isinstance(written, str) and written.removesuffix("?") in tuple(model.Type):
                self._scope[name] = (model.Type(written.removesuffix("?")), written.endswith("?"))

    def _time(self) -> None:
        self._field_of(("events", "time"), (model.Type.TIMESTAMP,), "the time of an event")

    def _partition_key(self) -> None:
        self._field_of(("source", "partition_key"), (model.Type.STRING, model.Type.INT), "the partition key")

    def _field_of(self, path: Path, types: tuple[model.Type, ...], what: str) -> None:
        """Check a key that names a field of the event, of one of the types and never null."""
        name = self._at(*path)
        if not isinstance(name, str):
            return
        if name not in self._scope:
            if not self._scope.is_open:
                self._refuse(path, f"there is no field `{shorten(name)}` in events.fields{self._meant(name)}")
            return
        known = self._scope[name]
        if known is None:
            return
        expected = " or ".join(types)
        if known[0] not in types:
            self._refuse(path, f"{what} must be a field of type {expected}, and `{name}` is {named(known[0])}")
        elif known[1]:
            self._refuse(path, f"{what} must always be there: declare `{name}: {known[0]}`, without ?")

    # Expressions

    def _lets(self) -> None:
        if ("let",) in self._explained or (tree.find(self._root, ("let",)) and not isinstance(self._at("let"), dict)):
            self._scope.is_open = True
        for name, path in self._keys(("let",)):
            self._name(path, name, NAME)
            if name in self._scope:
                self._refuse(path, f"`{name}` is a field already: choose another name", at_key=True)
                continue
            expression = self._expression(path)
            self._scope[name] = None
            if expression is not None:
                assert expression.type is not None
                self._scope[name] = (expression.type, expression.nullable)
                self.meaning.lets.append(model.Let(name, expression))

    def _where(self) -> None:
        expression = self._expression(("where",))
        if expression is None:
            return
        assert expression.type is not None
        if expression.type is not model.Type.BOOL:
            self._refuse(("where",), f"must be true or false for an event, and is {named(expression.type)}")
        self.meaning.where = expression

    def _expression(self, path: Path) -> model.Expression | None:
        return self._parse(path, parse_expression)

    def _parse(self, path: Path, parse: Callable[[str, _Scope], _T]) -> _T | None:
        """Parse the text at a path as the file has it; report a mistake at its very character."""
        node = tree.find(self._root, path)
        if not isinstance(node, tree.Scalar) or node.broken:
            return None
        try:
            return parse(node.text, self._scope)
        except UnresolvedNameError:
            return None
        except ExpressionError as error:
            self._problems.add(node.index(error.offset), path, error.message)
            return None

    # Windows

    def _window(self, name: str, path: Path) -> None:
        self._name(path, name, WINDOW_NAME)
        if not isinstance(self._at(*path), dict):
            return
        self._one_kind(path, _KINDS, "one kind of window, `tumbling` or `session`")
        self._offset((*path, "tumbling"))
        columns = self._by((*path, "by"))
        self._select((*path, "select"), name, columns)
        self._alignment(path)

    def _offset(self, path: Path) -> None:
        try:
            tumbling = TumblingPart.model_validate(self._at(*path))
        except ValidationError:
            return
        if tumbling.offset >= tumbling.size:
            self._refuse((*path, "offset"), "must be less than `size`: windows repeat every `size`")

    def _by(self, path: Path) -> set[str]:
        """Check the columns of the group, and return their names."""
        columns: set[str] = set()
        written = self._at(*path)
        for number, name in enumerate(written if isinstance(written, list) else ()):
            if not isinstance(name, str):
                continue
            place = (*path, number)
            if name in columns:
                self._refuse(place, f"`{shorten(name)}` stands twice")
            elif name in ROW_KEYS:
                self._refuse(place, f"{_taken(name)}: give the value another name by `let: {{my_{name}: {name}}}`")
            elif name not in self._scope and not self._scope.is_open and re.fullmatch(NAME, name):
                self._refuse(place, f"there is no field or let `{shorten(name)}`{self._meant(name)}")
            columns.add(name)
        return columns

    def _select(self, path: Path, window: str, columns: set[str]) -> None:
        aggregates = self.meaning.columns.setdefault(window, [])
        for name, place in self._keys(path):
            self._name(place, name, NAME)
            if name in ROW_KEYS:
                self._refuse(place, f"{_taken(name)}: choose another name", at_key=True)
            elif name in columns:
                self._refuse(place, f"`{name}` is a column already, by `by`: choose another name", at_key=True)
            aggregate = self._parse(place, partial(parse_aggregate, name))
            if aggregate is not None:
                aggregates.append(aggregate)

    def _alignment(self, path: Path) -> None:
        """Hold a window to what its `by` says: aligned windows have nothing to combine, the others must choose."""
        aligned = self._is_aligned(path)
        place = (*path, "combine")
        if aligned and tree.find(self._root, place) is not None:
            key = self._at("source", "partition_key")
            self._refuse(
                place,
                f"`by` holds the partition key `{key}`, so one shard sees all events of a group and there is "
                "nothing to combine: leave `combine` out",
            )
        elif self._at(*place) is True:
            self._refuse(
                place,
                "is not supported yet: write `combine: false`, which gives one row a shard, marked partial, and put "
                "the rows together where they are read",
            )
        elif aligned is False and tree.find(self._root, place) is None and place not in self._explained:
            self._refuse(path, self._why_choose(), at_key=True)

    def _is_aligned(self, path: Path) -> bool | None:
        """Tell whether `by` contains the partition key; None if the file does not let us know."""
        key_path: Path = ("source", "partition_key")
        key = self._at(*key_path)
        columns = self._at(*path, "by")
        if columns is None and tree.find(self._root, (*path, "by")) is None:
            columns = []
        unknown_key = not isinstance(key, str) and (
            tree.find(self._root, key_path) is not None or not isinstance(self._at("source"), dict)
        )
        if unknown_key or not isinstance(columns, list) or {key_path, (*path, "by")} & self._explained:
            return None
        return isinstance(key, str) and key in columns

    def _why_choose(self) -> str:
        key = self._at("source", "partition_key")
        if key is None:
            why, other = (
                "source.partition_key is not given",
                "name the field that producers partition by as source.partition_key, and add it to `by`",
            )
        else:
            why, other = f"`by` lacks the partition key `{shorten(key)}`", f"add {shorten(key)} to `by`"
        return (
            f"{why}, so events of one group lie in several shards and no shard sees all of them: write "
            f"`combine: false` for one row a shard, marked partial; or {other}, so that one shard holds the whole "
            "group (`combine: true`, one row over all shards, is not supported yet)"
        )

    # Sinks, state, worker

    def _sinks(self) -> None:
        written = self._at("sinks")
        if not isinstance(written, list):
            return
        targets: list[Any] = []
        for number, sink in enumerate(written):
            path: Path = ("sinks", number)
            if isinstance(sink, dict):
                self._one_kind(path, SINK_KINDS, "one kind of sink")
            target = {kind: sink[kind] for kind in SINK_KINDS if kind in sink} if isinstance(sink, dict) else None
            if target and target in targets:
                self._refuse(path, f"is the same as sinks[{targets.index(target)}]: name it once, with all its windows")
            targets.append(target)
        if self._routes(written):
            self._coverage(written)

    def _routes(self, sinks: list[Any]) -> bool:
        """Check the names in `windows` of sinks; False if it is not known which windows they mean."""
        known = [name for name, _ in self._keys(("windows",))]
        certain = isinstance(self._at("windows"), dict)
        for number, sink in enumerate(sinks):
            names = sink.get("windows", known) if isinstance(sink, dict) else None
            if not isinstance(names, list) or names == [] or tree.is_broken_below(self._root, ("sinks", number)):
                certain = False
                continue
            for index, name in enumerate(names):
                path: Path = ("sinks", number, "windows", index)
                if name in names[:index]:
                    self._refuse(path, f"`{shorten(str(name))}` stands twice")
                elif known and isinstance(name, str) and name not in known:
                    certain = False
                    self._refuse(path, f"there is no window `{shorten(name)}`{suggestion(name, known)}")
        return certain

    def _coverage(self, sinks: list[Any]) -> None:
        if not sinks or any("windows" not in sink for sink in sinks):
            return
        taken = {name for sink in sinks for name in sink["windows"] if isinstance(name, str)}
        for name, path in self._keys(("windows",)):
            if name not in taken:
                self._refuse(
                    path, "no sink takes this window: name it in `windows` of a sink, or give one without", at_key=True
                )

    def _tables(self) -> None:
        pipeline, application = self._at("pipeline"), self._at("worker", "application")
        if application is None and isinstance(pipeline, str) and not tree.find(self._root, ("worker", "application")):
            if re.fullmatch(PIPELINE_NAME, pipeline) and not re.fullmatch(APPLICATION_NAME, pipeline):
                self._refuse(
                    ("pipeline",), "is too short for the name of the lease table: give one as worker.application"
                )
            application = pipeline
        table = self._at("state", "table")
        if isinstance(application, str) and table in [application + suffix for suffix in _TABLES_OF_KCL]:
            self._refuse(
                ("state", "table"),
                f"`{shorten(str(table))}` is a table of the Kinesis Client Library for the application "
                f"`{shorten(application)}`: choose another name",
            )

    # Helpers

    def _at(self, *path: str | int) -> Any:
        """Return the raw value at a path; None where there is none, or nothing to rely on."""
        data: Any = self._data
        for step in path:
            known = step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int)
            if not known:
                return None
            data = data[step]
        return data

    def _keys(self, path: Path) -> Iterator[tuple[str, Path]]:
        """Yield the keys of the mapping at a path, each with its own path, also those whose value is broken."""
        node = tree.find(self._root, path)
        if isinstance(node, tree.Mapping) and not node.broken:
            yield from ((name, (*path, name)) for name in node.entries)

    def _name(self, path: Path, name: str, pattern: str) -> None:
        if name in RESERVED_WORDS:
            self._refuse(path, f"`{name}` is a word of expressions: choose another name", at_key=True)
        elif not re.fullmatch(pattern, name):
            also = ", and not longer than 64" if pattern == WINDOW_NAME else ""
            dash = " and -" if pattern == WINDOW_NAME else ""
            self._refuse(path, f"must be a name of letters, digits, _{dash}, no digit first{also}", at_key=True)

    def _one_kind(self, path: Path, kinds: tuple[str, ...], what: str) -> None:
        node = tree.find(self._root, path)
        if not isinstance(node, tree.Mapping) or node.broken:
            return
        named_kinds = [kind for kind in kinds if kind in node.entries]
        if len(named_kinds) > 1:
            self._refuse((*path, named_kinds[1]), f"takes {what}, and {named_kinds[0]} is named too", at_key=True)
        elif not named_kinds and not any((*path, key) in self._explained for key in node.entries):
            self._refuse(path, f"must name {what}" + (f": {', '.join(kinds)}" if kinds is SINK_KINDS else ""))

    def _meant(self, name: str) -> str:
        return suggestion(name, self._scope)

    def _refuse(self, path: Path, message: str | None, *, at_key: bool = False) -> None:
        """Add a problem at the value of a path, or at its key; None is no problem."""
        if message is None:
            return
        node = None if at_key else tree.find(self._root, path)
        self._problems.add(tree.key_index(self._root, path) if node is None else node.start, path, message)


def _taken(name: str) -> str:
    return f"`{name}` is a key that every row has"
