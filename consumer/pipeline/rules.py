"""Small rules for single values of the file: each checks a value, explains itself, and knows its JSON Schema.

They stand in `Annotated` types of `schema`. A message says what is allowed; what was found is added by the loader.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from consumer.pipeline import durations
from consumer.pipeline.wording import printable, shorten, suggestion

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
class Choice(Rule):
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if isinstance(value, str) and value in self.words:
            return value
        allowed = f"one of {', '.join(self.words)}" if len(self.words) > 1 else f"`{self.words[0]}` in this version"
        meant = suggestion(value.lower(), self.words) if isinstance(value, str) else ""
        raise problem(f"must be {allowed}, and is {found(value)}{meant}")

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"anyOf": [{"enum": list(self.words)}, {"type": "string", "pattern": VARIABLE}]}


class Boolean(Rule):
    """True or false."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if not isinstance(value, bool):
            raise problem(f"must be true or false, and is {found(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"type": "boolean"}


class Offset(Duration):
    """A duration by which windows are shifted; users may think of shifting back."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if isinstance(value, str) and re.fullmatch(r"-[0-9].*", value):
            raise problem(
                f"must not be negative, and is {found(value)}: windows repeat every `size`, so add `size` to it "
                "(of 1h, 45m is the same as -15m)"
            )
        return super().check(value)


_ZONE_LENGTH_MAX = 50


@cache
def timezones() -> frozenset[str]:
    """Return the IANA names that the tzdata package knows; the machine's own zones do not count."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


class Timezone(Rule):
    """The IANA name of a time zone."""

    def check(self, value: Any) -> Any:  # noqa: D102 - see Rule
        if isinstance(value, str) and value in timezones():
            return value
        meant = _zone_meant(value[:_ZONE_LENGTH_MAX]) if isinstance(value, str) else ""
        raise problem(f"must be the IANA name of a time zone such as Europe/Berlin, and is {found(value)}{meant}")

    def json_schema(self) -> dict[str, Any]:  # noqa: D102 - see Rule
        return {"type": "string", "pattern": f"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$|{VARIABLE}"}


@cache
def _zones_by_spelling() -> dict[str, str]:
    """Return the names by how people spell them: without capitals, and by the city alone."""
    names = sorted(timezones(), reverse=True)
    cities = {name.casefold().rpartition("/")[2]: name for name in names}
    return cities | {name.casefold(): name for name in names}


@lru_cache
def _zone_meant(written: str) -> str:
    wanted = written.casefold().replace(" ", "_")
    name = _zones_by_spelling().get(wanted)
    if name is not None:
        return f" (did you mean `{name}`?)"
    return suggestion(written, [name for name in sorted(timezones()) if name[:1] == written[:1].upper()])


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
