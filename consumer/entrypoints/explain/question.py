"""What is asked: a window, a group's key, and a time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer.core.times import TimeError, format_time, parse_time
from consumer.entrypoints.state.wording import shard_name
from consumer.errors import EXIT_USAGE, StreamgaugeError
from consumer.pipeline.durations import parse_duration
from consumer.pipeline.model import Name, Pipeline, Type, Window
from consumer.records import hash_key

_MILLISECONDS = re.compile(r"-?[0-9]{1,15}")

Value = str | int | float | bool | None
"""As rows have it: a timestamp is text."""


class QuestionError(StreamgaugeError):
    """The question is not one that this pipeline can be asked."""

    exit_status = EXIT_USAGE


@dataclass(frozen=True)
class Question:
    """`number` is the window's place in the file, `key` has its columns' values by name, in order.

    `at_ms` None asks for the newest window of the key. `shard` restricts a partial window to one of its parts.
    Late events are looked for until `late_for_ms` after the window has got its last row.
    """

    window: Window
    number: int
    key: Mapping[str, Value]
    at_ms: int | None
    shard: str | None
    late_for_ms: int

    def is_of(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row is one of the key's. 1, 1.0 and true are different keys."""
        return all(row[name] == value and type(row[name]) is type(value) for name, value in self.key.items())

    def hashed(self, pipeline: Pipeline) -> int | None:
        """Return the hash key of the records that are counted in the group; None if they may be in any shard."""
        partition_key = self.partition_key(pipeline)
        return None if partition_key is None else hash_key(partition_key)

    def partition_key(self, pipeline: Pipeline) -> str | None:
        """Return the partition key of the group's records, None in windows that are not aligned."""
        return str(self.key[pipeline.source.partition_key or ""]) if self.window.aligned else None


def ask(
    pipeline: Pipeline, window: str, key: str | None, *, at: str | None, shard: str | None, late_for: str
) -> Question:
    """Return the question; QuestionError says what would be one."""
    names = [each.name for each in pipeline.windows]
    if window not in names:
        raise QuestionError(f"{pipeline.name} has no window {window!r}. It has: {', '.join(names)}")
    number = names.index(window)
    asked = pipeline.windows[number]
    if shard is not None and asked.aligned:
        raise QuestionError(f"window {window} is aligned: the key says which shard, leave --shard out")
    values = _key(asked, key)
    return Question(
        asked,
        number,
        values,
        None if at is None else _time(at, "--at"),
        None if shard is None else shard_name(shard),
        _duration(late_for),
    )


def _key(window: Window, text: str | None) -> dict[str, Value]:
    names = [name.name for name in window.by]
    if not window.by:
        if text is not None:
            raise QuestionError(f"window {window.name} has no `by`, and so only one group: leave KEY out")
        return {}
    if text is None:
        raise QuestionError(f"window {window.name} is by {', '.join(names)}: say KEY, as {_forms(window)}")
    given = _given(window, text)
    missing = [name for name in names if name not in given]
    unknown = [name for name in given if name not in names]
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"names {', '.join(unknown)}"
        raise QuestionError(f"KEY {what}; window {window.name} is by {', '.join(names)}: say {_forms(window)}")
    return {name.name: _value(name, given[name.name]) for name in window.by}


def _given(window: Window, text: str) -> dict[str, Any]:
    """Return what KEY says of each column: JSON values, or text where it is none."""
    names = [name.name for name in window.by]
    if text.startswith("["):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise QuestionError(f"KEY is no JSON list: {error}. Say {_forms(window)}") from error
        if len(values) != len(names):
            raise QuestionError(f"KEY has {len(values)} values for {len(names)} columns: say {_forms(window)}")
        return {name: _json_text(value) for name, value in zip(names, values, strict=True)}
    if len(names) == 1 and not text.startswith(f"{names[0]}="):
        return {names[0]: text}
    if len(names) == 1:
        return {names[0]: text.partition("=")[2]}
    parts = [part.partition("=") for part in text.split(",")]
    if not all(separator for _, separator, _ in parts):
        raise QuestionError(f"KEY {text!r} is not of the form {_forms(window)}")
    return {name.strip(): value for name, _, value in parts}


def _json_text(value: Any) -> str:
    return json.dumps(value)


def _forms(window: Window) -> str:
    names = [name.name for name in window.by]
    pairs = ",".join(f"{name}=VALUE" for name in names)
    listed = json.dumps([f"VALUE of {name}" for name in names])
    return f"VALUE, {pairs} or a JSON list '{listed}'" if len(names) == 1 else f"{pairs} or a JSON list '{listed}'"


def _value(name: Name, text: str) -> Value:
    if text == "null":
        if not name.nullable:
            raise QuestionError(f"{name.name} is never null (the text null is written '\"null\"')")
        return None
    quoted = len(text) > 1 and text.startswith('"') and text.endswith('"')
    try:
        plain = json.loads(text) if quoted else text
        value: Value = _READ[name.type](plain)
    except (ValueError, TimeError) as error:
        raise QuestionError(f"{name.name} is of type {name.type}: {text!r} is none ({error})") from error
    return value


def _bool(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("true or false")
    return text == "true"


def _float(text: str) -> float:
    return float(text) + 0.0


def _timestamp(text: str) -> str:
    return format_time(_epoch_ms(text))


def _epoch_ms(text: str) -> int:
    """Read ISO-8601 text or an integer of milliseconds; 15 digits reach beyond the last year that a text can say."""
    return int(text) if _MILLISECONDS.fullmatch(text) else parse_time(text)


_READ: Mapping[Type, Any] = {
    Type.STRING: str,
    Type.INT: int,
    Type.FLOAT: _float,
    Type.BOOL: _bool,
    Type.TIMESTAMP: _timestamp,
}


def _time(text: str, option: str) -> int:
    """Return epoch milliseconds of ISO-8601 text or an integer of milliseconds."""
    try:
        return _epoch_ms(text)
    except TimeError as error:
        raise QuestionError(f"{option} {text!r}: {error}. Say an ISO-8601 time or epoch milliseconds") from error


def _duration(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise QuestionError(f"--late-for {text!r}: {error}") from error


def key_text(key: Mapping[str, Value]) -> str:
    """Return a key as people write it."""
    return ", ".join(f"{name}={_json_text(value) if value is None else value}" for name, value in key.items())
