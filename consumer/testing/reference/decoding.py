"""Records become values of the declared fields, or a list of what is wrong with them.

All faults are collected, in the order in which the contract names them: the first is the reason this
interpreter gives, and any of them is a right one.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from consumer.pipeline.model import Events, Field, TimeUnit, Type
from consumer.testing.reference.decoding_formats import (
    BadText,
    Column,
    DamagedError,
    Extension,
    expand,
    read_csv,
    read_msgpack,
)
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
BAD_COMPRESSION = "bad_compression"

MAX_DEPTH = 100

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BLANKS = re.compile(r"[ \t\n\r]*")
_MAX_DIGITS = 400
_HUGE = 10**_MAX_DIGITS


def decode(events: Events, data: bytes) -> tuple[dict[str, Value], list[str]]:
    """Return the values of the fields that are sound, and all faults; without faults the event is usable."""
    try:
        data = expand(events.compression, data, events.max_bytes)
    except DamagedError:
        return {}, [BAD_COMPRESSION]
    faults = [TOO_LARGE] if len(data) > events.max_bytes else []
    document: dict[str, Any] | list[Any] | None
    if events.format == "msgpack":
        document, more = _msgpack(data)
    elif events.format == "csv":
        document, more = _csv(events, data)
    else:
        document, more = _json(events, data)
    if document is None:
        return {}, [*faults, *more]
    values, field_faults = _fields(events, document)
    return values, [*faults, *more, *field_faults]


def _fields(events: Events, document: dict[Any, Any] | list[Any]) -> tuple[dict[str, Value], list[str]]:
    values: dict[str, Value] = {}
    faults = []
    for field in events.fields:
        value, field_faults = _field(field, document, field.path)
        faults += field_faults
        if not field_faults:
            values[field.name] = value
    return values, faults


def _text(data: bytes) -> tuple[str, list[str]]:
    try:
        return data.decode(), []
    except UnicodeDecodeError:
        return data.decode(errors="replace"), [INVALID_UTF8]


def _json(events: Events, data: bytes) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the object, None if there is none, and the faults that do not belong to fields."""
    text, faults = _text(data)
    if _is_too_deep(text):
        return None, [*faults, TOO_DEEP, *_syntax_faults(text)]
    try:
        document = _JSON.decode(text)
    except ValueError:
        return None, [*faults, INVALID_JSON, *_faults_before_the_syntax_error(events, text)]
    if not isinstance(document, dict):
        return None, [*faults, WRONG_TYPE]
    return document, faults


def _msgpack(data: bytes) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        document, levels = read_msgpack(data)
    except DamagedError as damaged:
        return None, [TOO_DEEP, INVALID_JSON] if damaged.levels > MAX_DEPTH else [INVALID_JSON]
    faults = [TOO_DEEP] if levels > MAX_DEPTH else []
    if not isinstance(document, dict):
        return None, [*faults, WRONG_TYPE]
    return document, faults


def _csv(events: Events, data: bytes) -> tuple[dict[str, Any] | list[Any] | None, list[str]]:
    """Return the columns: by their names if a field names one, else in their order."""
    text, faults = _text(data)
    try:
        lines = read_csv(text) or [[]]
    except DamagedError:
        return None, [*faults, INVALID_JSON]
    has_header = any(isinstance(field.path[0], str) for field in events.fields)
    header = lines.pop(0) if has_header else []
    if len(lines) > 1:
        return None, [*faults, WRONG_TYPE]
    columns: list[Column | None] = [Column(column) for line in lines for column in line]
    if not has_header:
        return columns, faults
    columns += [None] * (len(header) - len(columns))
    return dict(zip(header, columns, strict=False)), faults


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


def _field(field: Field, value: Any, path: tuple[str | int, ...]) -> tuple[Value, list[str]]:
    """Return the value at the path that begins here, or the faults of what stands in its place."""
    if isinstance(value, Column):
        value = _of_column(field, value.text)
    if value is None:
        return None, [] if field.nullable else [MISSING_FIELD]
    if path:
        return _below(field, value, path)
    faults = []
    if isinstance(value, float | int) and not _fits_float(value):
        faults.append(OUT_OF_RANGE)
    if isinstance(value, BadText) or (isinstance(value, str) and _has_lone_surrogate(value)):
        faults.append(INVALID_UTF8)
    try:
        converted = _convert(field, value)
    except RangeError:
        return None, [OUT_OF_RANGE, *faults]
    except (TypeError, NotATimeError):
        return None, [WRONG_TYPE, *faults]
    return None if faults else converted, faults


def _below(field: Field, value: Any, path: tuple[str | int, ...]) -> tuple[Value, list[str]]:
    """Take one step of the path into a value that is not null."""
    step, rest = path[0], path[1:]
    if isinstance(step, str) and isinstance(value, dict):
        return _field(field, value.get(step), rest)
    if isinstance(step, int) and isinstance(value, list):
        return _field(field, value[step] if step < len(value) else None, rest)
    return None, [WRONG_TYPE]


def _convert(field: Field, value: object) -> Value:
    """Return the value as one of the field's type; TypeError, NotATimeError, RangeError."""
    kind = type(value)  # not isinstance: a bool is no int here
    wanted = field.type
    if wanted is Type.STRING and isinstance(value, str):
        return value
    if wanted is Type.BOOL and isinstance(value, bool):
        return value
    if wanted is Type.INT and kind is int and isinstance(value, int):
        return _in_int_range(value)
    if wanted is Type.FLOAT and kind in (int, float) and isinstance(value, int | float):
        if not _fits_float(value):
            raise RangeError
        return float(value)
    if wanted is Type.TIMESTAMP:
        return _time(field, value)
    raise TypeError(wanted)


def _in_int_range(value: int) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise RangeError
    return value


def _time(field: Field, value: object) -> int:
    if type(value) is int:
        per_second = {TimeUnit.SECONDS: 1, TimeUnit.MILLISECONDS: 1000, TimeUnit.MICROSECONDS: 1_000_000}[field.unit]
        return in_time_range(_in_int_range(value) * 1000 // per_second)
    if isinstance(value, str):
        return read_time(value)
    if isinstance(value, Extension) and value.code == -1:
        return in_time_range(_extension_ms(value.payload))
    raise TypeError(value)


def _extension_ms(payload: bytes) -> int:
    """Return the time of msgpack's timestamps of 32, 64 and 96 bits."""
    number = int.from_bytes(payload, "big")
    if len(payload) == 4:  # noqa: PLR2004 - bytes of a timestamp
        return number * 1000
    if len(payload) == 8:  # noqa: PLR2004 - bytes of a timestamp
        nanoseconds, seconds = number >> 34, number & (1 << 34) - 1
    elif len(payload) == 12:  # noqa: PLR2004 - bytes of a timestamp
        nanoseconds, seconds = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:], "big", signed=True)
    else:
        raise NotATimeError
    if nanoseconds > 999_999_999:  # noqa: PLR2004 - of a second
        raise NotATimeError
    return (seconds * 10**9 + nanoseconds) // 10**6


def _of_column(field: Field, text: str) -> object:
    """Return what a column of csv says: of another kind than the field wants if it says nothing."""
    if text == "":
        return text if field.type is Type.STRING and not field.nullable else None
    if field.type is Type.STRING:
        return text
    if field.type is Type.BOOL:
        return {"TRUE": True, "FALSE": False}.get(text.upper(), text) if text.isascii() else text
    digits = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if field.type is not Type.FLOAT:
        return _integer(text) if digits.isascii() and digits.isdecimal() else text
    try:
        return float(text) if set(text) <= set("0123456789+-.eE") else text
    except ValueError:
        return text


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


def _integer(text: str) -> int:
    """Return the integer, or one that is far beyond every range: Python refuses to read very long ones."""
    sign, digits = text[:1], text.lstrip("+-").lstrip("0")
    number = int(digits or "0") if len(digits) <= _MAX_DIGITS else _HUGE
    return -number if sign == "-" else number


_JSON = json.JSONDecoder(parse_constant=_no_literal, parse_int=_integer)


def _faults_before_the_syntax_error(events: Events, text: str) -> list[str]:
    """Return the faults a decoder may meet before it reaches the place where the text stops being JSON."""
    place = _skip_blanks(text, 0)
    if not text.startswith("{", place):
        return [WRONG_TYPE]
    faults: list[str] = []
    try:
        while text[place] in "{,":
            name, place = _JSON.raw_decode(text, _skip_blanks(text, place + 1))
            place = _value_place(text, place)
            fields = [field for field in events.fields if field.path[0] == name]
            before = list(faults)
            faults += [WRONG_TYPE for _ in fields]  # if this very value is where the text breaks off
            value, place = _JSON.raw_decode(text, place)
            faults = [*before, *(fault for field in fields for fault in _field(field, value, field.path[1:])[1])]
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
