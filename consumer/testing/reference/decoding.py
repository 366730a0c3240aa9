"""Records become values of the declared fields, or a list of what is wrong with them.

All faults are collected, in the order in which the contract names them: the first is the reason this
interpreter gives, and any of them is a right one.
"""

from __future__ import annotations

import json
import math
import re

from consumer.pipeline.model import Events, Field, Type
from consumer.testing.reference.values import (
    MAX_INT,
    MIN_INT,
    NotATimeError,
    RangeError,
    Value,
    in_time_range,
    read_time,
)

TOO_LARGE = "too_large"
INVALID_UTF8 = "invalid_utf8"
TOO_DEEP = "too_deep"
INVALID_JSON = "invalid_json"
WRONG_TYPE = "wrong_type"
MISSING_FIELD = "missing_field"
OUT_OF_RANGE = "out_of_range"

MAX_DEPTH = 100

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BLANKS = re.compile(r"[ \t\n\r]*")
_MAX_DIGITS = 400
_HUGE = 10**_MAX_DIGITS


def decode(events: Events, data: bytes) -> tuple[dict[str, Value], list[str]]:
    """Return the values of the fields that are sound, and all faults; without faults the event is usable."""
    faults = [TOO_LARGE] if len(data) > events.max_bytes else []
    try:
        text = data.decode()
    except UnicodeDecodeError:
        faults.append(INVALID_UTF8)
        text = data.decode(errors="replace")
    if _is_too_deep(text):
        return {}, [*faults, TOO_DEEP, *_syntax_faults(text)]
    try:
        document = _JSON.decode(text)
    except ValueError:
        return {}, [*faults, INVALID_JSON, *_faults_before_the_syntax_error(events, text)]
    if not isinstance(document, dict):
        return {}, [*faults, WRONG_TYPE]
    values: dict[str, Value] = {}
    for field in events.fields:
        value, field_faults = _field(field, document.get(field.name))
        faults += field_faults
        if not field_faults:
            values[field.name] = value
    return values, faults


def _is_too_deep(text: str) -> bool:
    """Tell whether arrays and objects are nested too deep; brackets inside strings do not count."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for character in _STRING.sub("", text):
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_DEPTH:
            return True
    return False


def _syntax_faults(text: str) -> list[str]:
    try:
        _JSON.decode(text)
    except RecursionError:
        return []
    except ValueError:
        return [INVALID_JSON]
    return []


def _field(field: Field, value: object) -> tuple[Value, list[str]]:
    """Return the field's value, or the faults of what stands in its place."""
    if value is None:
        return None, [] if field.nullable else [MISSING_FIELD]
    faults = []
    if isinstance(value, float | int) and not _fits_float(value):
        faults.append(OUT_OF_RANGE)
    if isinstance(value, str) and _has_lone_surrogate(value):
        faults.append(INVALID_UTF8)
    try:
        converted = _convert(field.type, value)
    except RangeError:
        return None, [OUT_OF_RANGE, *faults]
    except (TypeError, NotATimeError):
        return None, [WRONG_TYPE, *faults]
    return converted, faults


def _convert(wanted: Type, value: object) -> Value:
    """Return the JSON value as one of the wanted type; TypeError, NotATimeError, RangeError."""
    kind = type(value)  # not isinstance: a bool is no int here
    if wanted is Type.STRING and isinstance(value, str):
        return value
    if wanted is Type.BOOL and isinstance(value, bool):
        return value
    if wanted is Type.INT and kind is int and isinstance(value, int):
        if not MIN_INT <= value <= MAX_INT:
            raise RangeError
        return value
    if wanted is Type.FLOAT and kind in (int, float) and isinstance(value, int | float):
        if not _fits_float(value):
            raise RangeError
        return float(value)
    if wanted is Type.TIMESTAMP and kind is int and isinstance(value, int):
        return in_time_range(value)
    if wanted is Type.TIMESTAMP and isinstance(value, str):
        return read_time(value)
    raise TypeError(wanted)


def _has_lone_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _fits_float(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _no_literal(_: str) -> float:
    raise ValueError("NaN and Infinity are no JSON")


def _integer(digits: str) -> int:
    """Return the integer, or one that is far beyond every range: Python refuses to read very long ones."""
    return int(digits) if len(digits) <= _MAX_DIGITS else _HUGE


_JSON = json.JSONDecoder(parse_constant=_no_literal, parse_int=_integer)


def _faults_before_the_syntax_error(events: Events, text: str) -> list[str]:
    """Return the faults a decoder may meet before it reaches the place where the text stops being JSON."""
    fields = {field.name: field for field in events.fields}
    place = _skip_blanks(text, 0)
    if not text.startswith("{", place):
        return [WRONG_TYPE]
    faults: list[str] = []
    try:
        while text[place] in "{,":
            name, place = _JSON.raw_decode(text, _skip_blanks(text, place + 1))
            place = _value_place(text, place)
            field = fields.get(name)
            if field is not None:
                faults.append(WRONG_TYPE)  # if this very value is where the text breaks off
            value, place = _JSON.raw_decode(text, place)
            if field is not None:
                faults[-1:] = _field(field, value)[1]
            place = _skip_blanks(text, place)
    except (ValueError, IndexError):
        pass  # the syntax error itself
    return faults


def _skip_blanks(text: str, place: int) -> int:
    match = _BLANKS.match(text, place)
    assert match is not None
    return match.end()


def _value_place(text: str, place: int) -> int:
    place = _skip_blanks(text, place)
    if not text.startswith(":", place):
        raise ValueError("a member without a value")
    return _skip_blanks(text, place + 1)
