"""The columns of rows: which there are, and what a test may expect in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from consumer.core.faults import REASONS
from consumer.core.times import format_time
from consumer.entrypoints.unit_tests.definitions import Kind
from consumer.entrypoints.unit_tests.times import Times, TimeTextError
from consumer.pipeline.model import Type, Window
from consumer.pipeline.rules import found
from consumer.pipeline.wording import suggestion


@dataclass(frozen=True, slots=True)
class Column:
    """What stands in a column: a value of the type, a list of them, or what `top` gives."""

    type: Type
    shape: Literal["value", "list", "top"] = "value"


Columns = Mapping[str, Column]

_TEXT, _INT, _BOOL, _TIME = (Column(type_) for type_ in (Type.STRING, Type.INT, Type.BOOL, Type.TIMESTAMP))

_BEFORE: Columns = {"id": _TEXT, "pipeline": _TEXT, "window": _TEXT, "window_start": _TIME, "window_end": _TIME}
_AFTER: Columns = {
    "revision": _INT,
    "final": _BOOL,
    "replaces": Column(Type.STRING, "list"),
    "early": _BOOL,
    "part": _INT,
    "shard": _TEXT,
    "partial": _BOOL,
}
_ORIGIN: Columns = {
    "partition_key": _TEXT,
    "sequence_number": _TEXT,
    "sub_sequence_number": _INT,
    "shard": _TEXT,
}
_DATA: Columns = {"data": _TEXT, "data_truncated": _BOOL}
LATE: Columns = {
    "id": _TEXT,
    "reason": _TEXT,
    **{name: column for name, column in _BEFORE.items() if name != "id"},
    "watermark": _TIME,
    "event_time": _TIME,
    "lateness_ms": _INT,
    **_ORIGIN,
    **_DATA,
}
DEAD_LETTERS: Columns = {
    "id": _TEXT,
    "reason": _TEXT,
    "pipeline": _TEXT,
    "detail": _TEXT,
    **_ORIGIN,
    "arrival_time": _TIME,
    **_DATA,
}
_SHAPES: Mapping[str, Literal["list", "top"]] = {"collect": "list", "top": "top"}


def result_columns(window: Window) -> Columns:
    """Return the columns of a window's results, in their order."""
    return {
        **_BEFORE,
        **{name.name: Column(name.type) for name in window.by},
        **{each.name: Column(each.type, _SHAPES.get(each.function, "value")) for each in window.select},
        **_AFTER,
    }


def columns_of(kind: Kind, window: Window | None) -> Columns:
    """Return the columns of a kind of row; of results for a window, which late rows and dead letters don't need."""
    if kind is Kind.RESULTS:
        assert window is not None
        return result_columns(window)
    return LATE if kind is Kind.LATE else DEAD_LETTERS


class ValueProblem(ValueError):  # noqa: N818 - what is wrong with a file, not with the program
    """The value cannot stand in this column; the message says what can."""


def read_value(kind: Kind, name: str, column: Column, value: Any, times: Times) -> Any:
    """Return the value as a row's JSON has it; ValueProblem if no row can have it.

    `value` is what stands in the file: None, bool, int, float, str, list or dict.
    """
    if value is None:
        return None
    if kind is not Kind.RESULTS and name == "sequence_number" and _is_int(value):
        return str(value)
    if kind is Kind.DEAD_LETTERS and name == "reason" and value not in REASONS:
        raise ValueProblem(f"must be one of {', '.join(REASONS)}, and is {found(value)}{_meant(value)}")
    if column.shape == "value":
        return _single(column.type, value, times)
    if not isinstance(value, list):
        raise ValueProblem(f"must be a list, and is {found(value)}")
    if column.shape == "list":
        return [_single(column.type, each, times) for each in value]
    return [_top(column.type, each, times) for each in value]


def _meant(value: object) -> str:
    return suggestion(value, REASONS) if isinstance(value, str) else ""


def _top(type_: Type, value: Any, times: Times) -> dict[str, Any]:
    members = {"value": type_, "count": Type.INT, "error": Type.INT}
    if not isinstance(value, dict) or not set(value) <= set(members):
        raise ValueProblem(f"must be a list of mappings such as {{value: …, count: 3}}, and one is {found(value)}")
    return {name: _single(members[name], each, times) for name, each in value.items()}


def _single(type_: Type, value: Any, times: Times) -> Any:
    if value is None:
        return None
    match type_:
        case Type.TIMESTAMP:
            return _time(value, times)
        case Type.STRING if isinstance(value, str):
            return value
        case Type.BOOL if isinstance(value, bool):
            return value
        case Type.INT if _is_int(value):
            return value
        case Type.FLOAT if _is_int(value) or isinstance(value, float):
            return _float(value)
    raise ValueProblem(f"must be {_WANTED[type_]}, and is {found(value)}{_remedy(type_, value)}")


_WANTED = {Type.STRING: "a text", Type.INT: "an int", Type.FLOAT: "a number", Type.BOOL: "true or false"}


def _remedy(type_: Type, value: Any) -> str:
    is_number = _is_int(value) or isinstance(value, float)
    return f': put it in quotes, "{value}"' if type_ is Type.STRING and is_number else ""


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _float(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueProblem("must be a finite number")
    return number


def _time(value: Any, times: Times) -> str:
    if not isinstance(value, str):
        raise ValueProblem(f"must be a time such as 12:00:05 or 2026-01-31T12:00:05Z, and is {found(value)}")
    try:
        return format_time(times.read(value))
    except TimeTextError as error:
        raise ValueProblem(str(error)) from None
