"""Small rules for single values of the file: each checks a value, explains itself, and knows its JSON Schema.

They stand in `Annotated` types of `schema`. A message says what is allowed; what was found is added by the loader.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from consumer.pipeline import durations
from consumer.pipeline.model import Type
from consumer.pipeline.wording import printable, shorten

PROBLEM = "problem"
"""The error type of every message made here."""

VARIABLE = r"\$\{"
"""What tells editors that a value takes an environment variable, and is checked when the file is loaded."""


def problem(message: str) -> PydanticCustomError:
    """Return an error that the loader shows as it is."""
    return PydanticCustomError(PROBLEM, "{message}", {"message": message})


def found(value: object) -> str:
    """Return what stands in the file, as messages name it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {shorten(repr(value))}"
    if isinstance(value, str):
        return f'"{shorten(value)}"'
    return "a mapping" if isinstance(value, dict) else "a list"


class Rule:
    """A check of a raw value, before any other: `check` returns the value to keep or raises `problem`."""

    def check(self, value: Any) -> Any:
        """Return the checked value; PydanticCustomError says what is wrong."""
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of values as they are written."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.json_schema()


@dataclass(frozen=True)
class Text(Rule):
    """A text that matches a pattern from end to end; `allowed` says in words what it may be."""

    pattern: str
    allowed: str

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise problem(f'must be a text, and is {found(value)}: put it in quotes, "{value}"')
        if not isinstance(value, str):
            raise problem(f"must be {self.allowed}, and is {found(value)}")
        if not re.fullmatch(self.pattern, value):
            raise problem(f"must be {self.allowed}, and is {found(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"type": "string", "pattern": f"^(?:{self.pattern})$|{VARIABLE}"}


@dataclass(frozen=True)
class Duration(Rule):
    """A duration within a range; milliseconds inside. `off` names a word that stands for none."""

    minimum_ms: int = 0
    maximum_ms: int = durations.MAX_MS
    off: str | None = None

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if self.off is not None and value == self.off:
            return None
        duration_ms = duration_of(value)
        if not self.minimum_ms <= duration_ms <= self.maximum_ms:
            least, most = (durations.format_duration(each) for each in (self.minimum_ms, self.maximum_ms))
            raise problem(f"must be from {least} to {most}, and is {shorten(value)}")
        return duration_ms

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        word = "" if self.off is None else f"|^{self.off}$"
        return {"type": "string", "minLength": 1, "pattern": f"{durations.PATTERN}{word}|{VARIABLE}"}


def duration_of(value: Any) -> int:
    """Return the milliseconds of a raw duration."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise problem(f"lacks a unit: write {value}s for seconds or {value}ms for milliseconds")
    if not isinstance(value, str):
        raise problem(f"must be a duration such as 10s or 1h30m, and is {found(value)}")
    try:
        return durations.parse_duration(value)
    except durations.DurationError as error:
        raise problem(printable(str(error))) from error


@dataclass(frozen=True)
class Int(Rule):
    """A whole number within a range."""

    minimum: int
    maximum: int

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if isinstance(value, bool) or not isinstance(value, int) or not self.minimum <= value <= self.maximum:
            raise problem(f"must be a whole number from {self.minimum} to {self.maximum}, and is {found(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        number = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        return {"anyOf": [number, {"type": "string", "pattern": VARIABLE}]}


@dataclass(frozen=True)
class Only(Rule):
    """A setting with one value in this version; `later` names values to come, each with what to write instead."""

    value: str | bool
    later: Mapping[str | bool, str] = field(default_factory=dict)
    later_durations: str | None = None
    """What to write instead of a duration, where durations are to come."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if type(value) is type(self.value) and value == self.value:
            return value
        remedy = self.later.get(value) if isinstance(value, (str, bool)) else None
        if remedy is None and self.later_durations is not None:
            duration_of(value)
            remedy = self.later_durations
        if remedy is not None:
            raise problem(f"{self._written(value)} is not supported yet: {remedy}")
        raise problem(f"must be {self._written(self.value)} in this version, and is {found(value)}")

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"const": self.value}

    @staticmethod
    def _written(value: Any) -> str:
        return f"`{found(value)}`" if isinstance(value, bool) else f"`{shorten(str(value))}`"


class Combine(Rule):
    """True or false; that only false is supported yet depends on more than this value, so the loader says it."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if not isinstance(value, bool):
            raise problem(f"must be true or false, and is {found(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"const": False}


@dataclass(frozen=True)
class Zero(Rule):
    """A duration that must be zero in this version."""

    remedy: str

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if duration_of(value) != 0:
            raise problem(f"is not supported yet: {self.remedy}")
        return 0

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"const": "0s"}


_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?([Zz]|[-+][0-9]{2}:?[0-9]{2})?)?"
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Start(Rule):
    """Where reading begins: trim_horizon, latest, or an instant; epoch milliseconds inside."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if value in ("trim_horizon", "latest"):
            return value
        instant = _instant(value) if isinstance(value, str) and _INSTANT.fullmatch(value) else None
        if instant is None or instant < _EPOCH:
            raise problem(
                f"must be trim_horizon, latest or an instant from 1970 on such as 2026-01-31T12:00:00Z, "
                f"and is {found(value)}"
            )
        return (instant - _EPOCH) // dt.timedelta(milliseconds=1)

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"type": "string", "pattern": f"^(?:trim_horizon|latest|{_INSTANT.pattern})$|{VARIABLE}"}


def _instant(text: str) -> dt.datetime | None:
    """Return the instant, in UTC where the text has no offset; None if there is no such day or time."""
    try:
        instant = dt.datetime.fromisoformat(text.upper())
        aware = instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
        return aware.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


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
        if isinstance(value, dict):
            written = value.get("type")
            shown = shorten(written) if isinstance(written, str) else "float?"
            raise problem(
                "a mapping (type, path, unit, column) is not supported yet: write the type alone, such as "
                f"{shown}, for a member of the event's top level"
            )
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


class ExpressionText(Rule):
    """The text of an expression; `1` and `true` are expressions too. The loader parses what the file says."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if isinstance(value, (dict, list)):
            raise problem(f"must be an expression such as amount * 2, and is {found(value)}")
        return str(value)

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"type": ["string", "number", "boolean"]}


class KclValue(Rule):
    """A value of a property of the daemon, as text."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, (int, str)):
            text = str(value)
        else:
            raise problem(f"must be a text, a whole number or true, and is {found(value)}")
        if text.lower() == "false" or re.fullmatch(r"[-+]?0+(\.0+)?", text):
            raise problem(
                f"the daemon takes {text} for a property that is not set, and keeps its default: leave the property "
                "out, or choose another value"
            )
        if not text.isprintable() or not text.strip():
            raise problem(f"must be printable and not empty, and is {found(value)}")
        return text

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {
            "anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "not": {"const": 0}}, {"const": True}]
        }
