"""What the schema cannot say: names that must exist, expressions and their types, alignment, sinks that fit.

Everything is checked that can be, also in a file with other mistakes; what depends on something that is wrong
itself is left alone, so that one mistake gives one message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from consumer.pipeline import model, tree
from consumer.pipeline.aggregates import parse_aggregate
from consumer.pipeline.expressions import RESERVED_WORDS, UnresolvedNameError, parse_expression
from consumer.pipeline.field_checks import check_fields
from consumer.pipeline.global_checks import can_be_global, check_combine, check_no_buckets, check_policy
from consumer.pipeline.inspection import Inspection
from consumer.pipeline.kcl import check_property, check_value
from consumer.pipeline.problems import Path, ProblemList
from consumer.pipeline.schema import APPLICATION_NAME, NAME, PIPELINE_NAME, WINDOW_NAME
from consumer.pipeline.sink_checks import check_sinks
from consumer.pipeline.tokens import ExpressionError
from consumer.pipeline.typing_rules import named
from consumer.pipeline.window_checks import check_kind, check_limits
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

_REJECT_IN_SLIDING = (
    "count_distinct with 'reject' cannot be in a sliding window, whose parts are put together only when it ends: "
    "write 'approximate', or leave it out"
)
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
    window_wheres: dict[str, model.Expression] = field(default_factory=dict)
    columns: dict[str, list[model.Aggregate]] = field(default_factory=dict)
    types: dict[str, tuple[model.Type, bool] | None] = field(default_factory=_Scope)


def check_semantics(root: tree.Node, data: Any, problems: ProblemList, explained: frozenset[Path]) -> Meaning:
    """Report what is wrong beyond the schema. `explained` paths are unknown keys and what they were meant to be."""
    checker = _Checker(Inspection(root, data, problems, explained))
    checker.check()
    return checker.meaning


class _Checker:
    """One file under check."""

    def __init__(self, file: Inspection) -> None:
        self._file = file
        self._scope = _Scope()
        self.meaning = Meaning(types=self._scope)

    def check(self) -> None:
        """Check everything, in the order in which names come to be."""
        self._fields()
        check_fields(self._file)
        self._time()
        self._partition_key()
        self._lets()
        self.meaning.where = self._condition(("where",))
        for name, path in self._file.keys(("windows",)):
            self._window(name, path)
        check_limits(self._file)
        check_policy(self._file)
        check_sinks(self._file)
        self._tables()
        self._removed_windows()
        for name, path in self._file.keys(("worker", "kcl")):
            self._file.refuse(path, check_property(name), at_key=True)
            self._file.refuse(path, check_value(name, self._file.at(*path)))

    # Fields, time, partition key

    def _fields(self) -> None:
        fields = self._file.at("events", "fields")
        self._scope.is_open = not isinstance(fields, dict)
        for name, path in self._file.keys(("events", "fields")):
            self._name(path, name, NAME)
            written = self._file.at(*path)
            if isinstance(written, dict):
                written = written.get("type")
            self._scope[name] = None
            if isinstance(written, str) and written.removesuffix("?") in tuple(model.Type):
                self._scope[name] = (model.Type(written.removesuffix("?")), written.endswith("?"))

    def _time(self) -> None:
        self._field_of(("events", "time"), (model.Type.TIMESTAMP,), "the time of an event")

    def _partition_key(self) -> None:
        self._field_of(("source", "partition_key"), (model.Type.STRING, model.Type.INT), "the partition key")

    def _field_of(self, path: Path, types: tuple[model.Type, ...], what: str) -> None:
        """Check a key that names a field of the event, of one of the types and never null."""
        name = self._file.at(*path)
        if not isinstance(name, str):
            return
        if name not in self._scope:
            if not self._scope.is_open:
                self._file.refuse(path, f"there is no field `{shorten(name)}` in events.fields{self._meant(name)}")
            return
        known = self._scope[name]
        if known is None:
            return
        expected = " or ".join(types)
        if known[0] not in types:
            self._file.refuse(path, f"{what} must be a field of type {expected}, and `{name}` is {named(known[0])}")
        elif known[1]:
            self._file.refuse(path, f"{what} must always be there: declare `{name}: {known[0]}`, without ?")

    # Expressions

    def _lets(self) -> None:
        if ("let",) in self._file.explained or (
            self._file.has(("let",)) and not isinstance(self._file.at("let"), dict)
        ):
            self._scope.is_open = True
        for name, path in self._file.keys(("let",)):
            self._name(path, name, NAME)
            if name in self._scope:
                self._file.refuse(path, f"`{name}` is a field already: choose another name", at_key=True)
                continue
            expression = self._expression(path)
            self._scope[name] = None
            if expression is not None:
                assert expression.type is not None
                self._scope[name] = (expression.type, expression.nullable)
                self.meaning.lets.append(model.Let(name, expression))

    def _condition(self, path: Path) -> model.Expression | None:
        """Parse an expression that must be true or false."""
        expression = self._expression(path)
        if expression is None:
            return None
        assert expression.type is not None
        if expression.type is not model.Type.BOOL:
            self._file.refuse(path, f"must be true or false for an event, and is {named(expression.type)}")
        return expression

    def _expression(self, path: Path) -> model.Expression | None:
        return self._parse(path, parse_expression)

    def _parse(self, path: Path, parse: Callable[[str, _Scope], _T]) -> _T | None:
        """Parse the text at a path as the file has it; report a mistake at its very character."""
        node = tree.find(self._file.root, path)
        if not isinstance(node, tree.Scalar) or node.broken:
            return None
        try:
            return parse(node.text, self._scope)
        except UnresolvedNameError:
            return None
        except ExpressionError as error:
            self._file.problems.add(node.index(error.offset), path, error.message)
            return None

    # Windows

    def _window(self, name: str, path: Path) -> None:
        self._name(path, name, WINDOW_NAME)
        if not isinstance(self._file.at(*path), dict):
            return
        check_kind(self._file, path)
        where = self._condition((*path, "where"))
        if where is not None:
            self.meaning.window_wheres[name] = where
        columns = self._by((*path, "by"))
        self._select((*path, "select"), name, columns)
        self._alignment(path, name)

    def _by(self, path: Path) -> set[str]:
        """Check the columns of the group, and return their names."""
        columns: set[str] = set()
        written = self._file.at(*path)
        for number, name in enumerate(written if isinstance(written, list) else ()):
            if not isinstance(name, str):
                continue
            place = (*path, number)
            if name in columns:
                self._file.refuse(place, f"`{shorten(name)}` stands twice")
            elif name in ROW_KEYS:
                self._file.refuse(place, f"{_taken(name)}: give the value another name by `let: {{my_{name}: {name}}}`")
            elif name not in self._scope and not self._scope.is_open and re.fullmatch(NAME, name):
                self._file.refuse(place, f"there is no field or let `{shorten(name)}`{self._meant(name)}")
            columns.add(name)
        return columns

    def _select(self, path: Path, window: str, columns: set[str]) -> None:
        aggregates = self.meaning.columns.setdefault(window, [])
        for name, place in self._file.keys(path):
            self._name(place, name, NAME)
            if name in ROW_KEYS:
                self._file.refuse(place, f"{_taken(name)}: choose another name", at_key=True)
            elif name in columns:
                self._file.refuse(place, f"`{name}` is a column already, by `by`: choose another name", at_key=True)
            aggregate = self._parse(place, partial(parse_aggregate, name))
            if aggregate is not None:
                aggregates.append(aggregate)
                if "reject" in aggregate.parameters and self._file.has((*path[:-1], "sliding")):
                    self._file.refuse(place, _REJECT_IN_SLIDING)

    def _alignment(self, path: Path, name: str) -> None:
        """Hold a window to what its `by` says: aligned windows have nothing to combine, the others must choose."""
        aligned = self._is_aligned(path)
        place = (*path, "combine")
        if aligned:
            self._nothing_to_combine(path)
        elif self._file.has(place):
            check_combine(self._file, path, self.meaning.columns[name])
        elif aligned is False and place not in self._file.explained:
            self._file.refuse(path, self._why_choose(path), at_key=True)

    def _nothing_to_combine(self, path: Path) -> None:
        if self._file.has((*path, "combine")):
            key = self._file.at("source", "partition_key")
            self._file.refuse(
                (*path, "combine"),
                f"`by` holds the partition key `{key}`, so one shard sees all events of a group and there is "
                "nothing to combine: leave `combine` out",
            )
        check_no_buckets(self._file, path, "leave it out")

    def _is_aligned(self, path: Path) -> bool | None:
        """Tell whether `by` contains the partition key; None if the file does not let us know."""
        key_path: Path = ("source", "partition_key")
        key = self._file.at(*key_path)
        columns = self._file.at(*path, "by")
        if columns is None and not self._file.has((*path, "by")):
            columns = []
        unknown_key = not isinstance(key, str) and (
            self._file.has(key_path) or not isinstance(self._file.at("source"), dict)
        )
        if unknown_key or not isinstance(columns, list) or {key_path, (*path, "by")} & self._file.explained:
            return None
        return isinstance(key, str) and key in columns

    def _why_choose(self, path: Path) -> str:
        key = self._file.at("source", "partition_key")
        if key is None:
            why, other = (
                "source.partition_key is not given",
                "name the field that producers partition by as source.partition_key, and add it to `by`",
            )
        else:
            why, other = f"`by` lacks the partition key `{shorten(key)}`", f"add {shorten(key)} to `by`"
        combined = "`combine: true` for one row over all shards, " if can_be_global(self._file, path) else ""
        return (
            f"{why}, so events of one group lie in several shards and no shard sees all of them: write {combined}"
            f"`combine: false` for one row a shard, marked partial; or {other}, so that one shard holds the whole group"
        )

    # State, worker

    def _tables(self) -> None:
        pipeline, application = self._file.at("pipeline"), self._file.at("worker", "application")
        if application is None and isinstance(pipeline, str) and not self._file.has(("worker", "application")):
            if re.fullmatch(PIPELINE_NAME, pipeline) and not re.fullmatch(APPLICATION_NAME, pipeline):
                self._file.refuse(
                    ("pipeline",), "is too short for the name of the lease table: give one as worker.application"
                )
            application = pipeline
        table = self._file.at("state", "table")
        if isinstance(application, str) and table in [application + suffix for suffix in _TABLES_OF_KCL]:
            self._file.refuse(
                ("state", "table"),
                f"`{shorten(str(table))}` is a table of the Kinesis Client Library for the application "
                f"`{shorten(application)}`: choose another name",
            )

    def _removed_windows(self) -> None:
        windows = dict(self._file.keys(("windows",)))
        for name, path in self._file.keys(("state", "removed_windows")):
            self._name(path, name, WINDOW_NAME)
            if name in windows:
                remedy = "take it out here, or there"
                self._file.refuse(path, f"the window is not removed, it stands in `windows`: {remedy}", at_key=True)

    # Helpers

    def _name(self, path: Path, name: str, pattern: str) -> None:
        if name in RESERVED_WORDS:
            self._file.refuse(path, f"`{name}` is a word of expressions: choose another name", at_key=True)
        elif not re.fullmatch(pattern, name):
            also = ", and not longer than 64" if pattern == WINDOW_NAME else ""
            dash = " and -" if pattern == WINDOW_NAME else ""
            self._file.refuse(path, f"must be a name of letters, digits, _{dash}, no digit first{also}", at_key=True)

    def _meant(self, name: str) -> str:
        return suggestion(name, self._scope)


def _taken(name: str) -> str:
    return f"`{name}` is a key that every row has"
