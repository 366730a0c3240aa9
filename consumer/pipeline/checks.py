"""Validation against the schema: pydantic's findings in the words of this project, each with its place."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from consumer.pipeline import tree
from consumer.pipeline.problems import Path, ProblemList
from consumer.pipeline.rules import PROBLEM, found
from consumer.pipeline.schema import EXAMPLES, MISPLACED_KEYS, PipelineFile
from consumer.pipeline.wording import closest

_NAMED_BY_USERS = (
    ("windows",),
    ("windows", "*", "select"),
    ("let",),
    ("events", "fields"),
    ("worker", "kcl"),
    ("state", "removed_windows"),
)
"""Mappings whose keys users choose: `*` stands for such a key in the tables of the schema."""


def check_schema(root: tree.Node, data: Any, problems: ProblemList) -> frozenset[Path]:
    """Report what the schema says against the file.

    Return the paths that need no further word: unknown keys, and the keys they probably were meant to be.
    """
    try:
        PipelineFile.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
    else:
        return frozenset()
    explained = frozenset(_meant_by_unknown_keys(details))
    for detail in details:
        path = _as_written(root, detail["loc"])
        if not _is_silent(root, path) and not (detail["type"] == "missing" and path in explained):
            problems.add(_index(root, path, detail["type"]), path, _message(detail))
    return explained


def _is_silent(root: tree.Node, path: Path) -> bool:
    """Tell whether a broken node, reported before, lies at the path or above it."""
    return any(
        node is not None and node.broken for node in (tree.find(root, path[:length]) for length in range(len(path) + 1))
    )


def _as_written(root: tree.Node, path: Path) -> Path:
    """Cut a path where the file uses a short form: `tumbling: 1m` has no `size` to point at."""
    for length in range(len(path)):
        if not isinstance(tree.find(root, path[:length]), tree.Mapping | tree.Sequence | None):
            return path[:length]
        if isinstance(tree.find(root, path[:length]), tree.Sequence) and isinstance(path[length], str):
            return path[:length]
    return path


def _index(root: tree.Node, path: Path, type_: str) -> int:
    """Return the index to point at: the key that is unknown, the mapping that lacks one, else the value."""
    node = tree.find(root, path)
    if node is None or type_ == "extra_forbidden":
        return tree.key_index(root, path)
    return node.start


def _message(detail: ErrorDetails) -> str:
    type_, path = detail["type"], detail["loc"]
    if type_ == PROBLEM:
        return detail["msg"]
    if type_ == "extra_forbidden":
        return _unknown_key_message(path)
    if type_ == "missing":
        example = EXAMPLES.get(_pattern(path))
        return "is required" if example is None else f"is required: {example}"
    what = _EXPECTED.get(type_, "something else")
    if type_ in ("too_short", "string_too_short"):
        return "must not be empty"
    return f"must be {what}, and is {found(detail['input'])}{_remedy(type_, path, detail['input'])}"


_EXPECTED = {
    "model_type": "a mapping (`key: value` lines)",
    "model_attributes_type": "a mapping (`key: value` lines)",
    "dict_type": "a mapping (`key: value` lines)",
    "list_type": "a list (`- item` lines, or [a, b])",
    "string_type": "a text",
}


def _remedy(type_: str, path: Path, value: object) -> str:
    if type_ == "list_type" and isinstance(value, str):
        return f": write [{value}]" if value.isidentifier() else ""
    if path[-1:] == ("sliding",):
        return ": write {size: 10s, every: 2s}"
    if path == ("sinks",) and isinstance(value, dict):
        return ": put `- ` before each sink"
    if type_ == "string_type" and isinstance(value, (int, float)):
        return f': put it in quotes, "{value}"'
    return ""


def _unknown_key_message(path: Path) -> str:
    misplaced = MISPLACED_KEYS.get(_pattern(path))
    if misplaced is not None:
        return f"is not a known key here: {misplaced}"
    allowed = _allowed_keys(path[:-1])
    if not allowed:
        return "is not a known key: nothing is allowed here"
    meant = _meant(path)
    suggestion = f"; did you mean `{meant}`?" if meant else ""
    return f"is not a known key{suggestion} Allowed here: {', '.join(allowed)}".replace("key Allowed", "key. Allowed")


def _meant_by_unknown_keys(details: Iterable[ErrorDetails]) -> Iterable[Path]:
    for detail in details:
        if detail["type"] == "extra_forbidden":
            path: Path = detail["loc"]
            yield path
            meant = _meant(path)
            if meant:
                yield (*path[:-1], meant)


def _meant(path: Path) -> str | None:
    return closest(str(path[-1]), _allowed_keys(path[:-1]))


def _allowed_keys(path: Path) -> tuple[str, ...]:
    """Return the keys of the mapping at a path of the file, by its schema."""
    part = _part_at(PipelineFile, path)
    return () if part is None else tuple(part.model_fields)


def _part_at(annotation: Any, path: Path) -> type[BaseModel] | None:
    """Follow a path through annotations: keys through models, anything through dicts and lists."""
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not path:
            return annotation
        known = annotation.model_fields.get(str(path[0]))
        return None if known is None else _part_at(known.annotation, path[1:])
    arguments = typing.get_args(annotation)
    return _part_at(arguments[-1], path[1:]) if arguments and path else None


def _bare(annotation: Any) -> Any:
    """Strip Annotated and the None of an optional key."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (types.UnionType, typing.Union):
            annotation = next(each for each in typing.get_args(annotation) if each is not type(None))
        else:
            return annotation


def _pattern(path: Path) -> str:
    """Return a path with `*` for names that users choose and `[]` for indexes, as the schema's tables have it."""
    steps: list[str] = []
    for step in path:
        if isinstance(step, int):
            steps[-1] += "[]"
        else:
            steps.append("*" if tuple(steps) in _NAMED_BY_USERS else step)
    return ".".join(steps)
