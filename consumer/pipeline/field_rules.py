"""Rules for the parts of a field: its type, the path to its value, its column."""

from __future__ import annotations

import json
import re
from typing import Any

from consumer.pipeline.model import Type
from consumer.pipeline.rules import Rule, found, problem

_TYPE_HABITS = {
    "integer": "int",
    "long": "int",
    "bigint": "int",
    "number": "float",
    "double": "float",
    "decimal": "float",
    "boolean": "bool",
    "str": "string",
    "text": "string",
    "varchar": "string",
    "datetime": "timestamp",
    "date": "timestamp",
    "time": "timestamp",
}


class FieldType(Rule):
    """The type of a field: `int`, or `int?` where it may be absent or null."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if isinstance(value, str) and value.removesuffix("?") in tuple(Type):
            return value
        raise problem(
            f"must be one of {', '.join(Type)}, each with a ? where it may be absent or null, and is "
            f"{found(value)}{_type_suggestion(value)}"
        )

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"enum": [f"{type_}{mark}" for type_ in Type for mark in ("", "?")]}


def _type_suggestion(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    mark = "?" if value.endswith("?") else ""
    type_ = _TYPE_HABITS.get(value.removesuffix("?").lower())
    if type_ is None and value.lower().removesuffix("?") in tuple(Type):
        type_ = value.lower().removesuffix("?")
    return "" if type_ is None else f" (did you mean `{type_}{mark}`?)"


STEPS_MAX = 20
INDEX_MAX = 9_999

_STEP = re.compile(
    r"""(?P<name>[^.\[\]"'\s\x00-\x1f]+) | \[(?P<index>[0-9]+)\] | \[(?P<quoted>"(?:[^"\\\x00-\x1f]|\\.)*")\]""",
    re.VERBOSE,
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class FieldPath(Rule):
    """Where a value lies in an event: `user.id`, `items[0].price`, `["odd name"].x`; a tuple of names and indexes."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if not isinstance(value, str):
            raise problem(f"must be a path such as user.id or items[0].price, and is {found(value)}")
        steps = parse_path(value)
        if steps is None:
            raise problem(
                "must be a path such as user.id or items[0].price, with odd names as in "
                f'["first name"].x, and is {found(value)}'
            )
        if isinstance(steps[0], int):
            raise problem(f"must begin with a name, for an event is no list, and is {found(value)}")
        if len(steps) > STEPS_MAX:
            raise problem(f"must have at most {STEPS_MAX} steps, and has {len(steps)}")
        if any(isinstance(step, int) and step > INDEX_MAX for step in steps):
            raise problem(f"must not reach beyond the index {INDEX_MAX} of a list, and is {found(value)}")
        return steps

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"type": "string", "minLength": 1}


def parse_path(text: str) -> tuple[str | int, ...] | None:
    """Return the names and indexes of a path; None if the text is none."""
    steps: list[str | int] = []
    offset = 0
    while offset < len(text) or not steps:
        step = _STEP.match(text, offset)
        # A dot separates a name from what is before it; brackets need none.
        if step is None or (step["name"] is not None and offset > 0 and text[offset - 1] != "."):
            return None
        value = _step_value(step)
        if value is None:
            return None
        steps.append(value)
        offset = step.end()
        if text[offset : offset + 1] == ".":
            offset += 1
            if not text[offset : offset + 1].strip("["):
                return None
    return tuple(steps)


def _step_value(step: re.Match[str]) -> str | int | None:
    """Return the name or index of a step; None if its quoted name has a wrong escape, or is no text."""
    if step["name"] is not None:
        return step["name"]
    if step["index"] is not None:
        return int(step["index"][:20])
    try:
        name = json.loads(step["quoted"])
    except ValueError:
        return None
    return name if isinstance(name, str) and not _SURROGATE.search(name) else None


def format_path(path: tuple[str | int, ...]) -> str:
    """Return the text that `parse_path` reads as the path."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif (match := _STEP.fullmatch(step)) and match["name"] is not None:
            text += ("." if text else "") + step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


COLUMN_MAX = 1_000


class Column(Rule):
    """A column of csv: its number, from 1, or its name in the header line."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise problem(f"must be the number of a column, from 1, or its name, and is {found(value)}")
        if isinstance(value, int) and not 1 <= value <= COLUMN_MAX:
            raise problem(f"must be a number from 1 to {COLUMN_MAX}, or a name, and is {found(value)}")
        if isinstance(value, str) and not (value and value.isprintable()):
            raise problem(f"must be a name that is not empty and can be printed, and is {found(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        number = {"type": "integer", "minimum": 1, "maximum": COLUMN_MAX}
        return {"anyOf": [number, {"type": "string", "minLength": 1}]}
