"""From a record's bytes to a typed event.

Two readers: the fast one (msgspec, in C) takes whatever is plainly right; everything else goes to `reread`, which
looks slowly and either returns the event after all (of duplicate members the last counts) or says what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import msgspec

from consumer.core.faults import (
    INVALID_JSON,
    INVALID_UTF8,
    MISSING_FIELD,
    OUT_OF_RANGE,
    TOO_DEEP,
    TOO_LARGE,
    WRONG_TYPE,
    Fault,
)
from consumer.core.functions import FLOAT_MAX, INT_MAX, INT_MIN
from consumer.core.times import MAX_TIME_MS, MIN_TIME_MS, TimeError, TimeRangeError, parse_time
from consumer.pipeline.model import Field, Type

DEPTH_MAX = 100
_INT_DIGITS_MAX = 400
"""No float is longer."""
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError)
"""What the fast reader raises."""

_Int = Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]
_WIRE_TYPES: dict[Type, Any] = {
    Type.STRING: str,
    Type.INT: _Int,
    Type.FLOAT: float,
    Type.BOOL: bool,
    Type.TIMESTAMP: _Int | str,
}
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def attribute(field: str) -> str:
    """Return the event's attribute for a field: a name that is never a Python keyword."""
    return f"f_{field}"


def event_type(fields: tuple[Field, ...]) -> type[msgspec.Struct]:
    """Return a struct with an attribute for each field."""
    members: list[Any] = []
    for field in fields:
        wire_type = _WIRE_TYPES[field.type]
        if field.nullable:
            members.append((attribute(field.name), wire_type | None, None))
        else:
            members.append((attribute(field.name), wire_type))
    names = {attribute(field.name): field.name for field in fields}
    return msgspec.defstruct("Event", members, rename=names, gc=False, kw_only=True)


def inspect(data: bytes, max_bytes: int) -> None:
    """Raise the fault of bytes that are too long, no UTF-8, or nested too deeply."""
    if len(data) > max_bytes:
        raise Fault(TOO_LARGE, f"{len(data)} bytes, at most {max_bytes} are allowed")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise Fault(INVALID_UTF8, f"byte {error.start} is not UTF-8") from None
    depth = 0
    for match in _BRACKETS.finditer(data):
        token = match[0]
        if token in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise Fault(TOO_DEEP, f"more than {DEPTH_MAX} levels")
        elif token in b"]}":
            depth -= 1


def rereader(event: type[msgspec.Struct], fields: tuple[Field, ...]) -> Callable[[bytes], msgspec.Struct]:
    """Return the slow reader of an event type. It returns what the fast one would, or raises a Fault."""

    def reread(data: bytes) -> msgspec.Struct:
        try:
            members = json.loads(data.decode(), parse_constant=_no_constant, parse_int=_integer)
        except ValueError:
            raise Fault(INVALID_JSON, "not a JSON text") from None
        if not isinstance(members, dict):
            raise Fault(WRONG_TYPE, "not a JSON object")
        return event(**{attribute(field.name): _value(field, members.get(field.name)) for field in fields})

    return reread


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _integer(digits: str) -> int | float:
    """Read an int of any length; of a very long one only that it is out of every range matters."""
    return int(digits) if len(digits) <= _INT_DIGITS_MAX else float("-inf" if digits[0] == "-" else "inf")


def _value(field: Field, value: object) -> object:
    if value is None:
        if field.nullable:
            return None
        raise Fault(MISSING_FIELD, f"{field.name} is missing or null")
    return _READERS[field.type](field.name, value)


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, "a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Fault(INVALID_UTF8, f"{name} has half of a surrogate pair") from None
    return value


def _int(name: str, value: object) -> int:
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise Fault(OUT_OF_RANGE, f"{name} is beyond 64 bits")
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(name, "an int")
    if not INT_MIN <= value <= INT_MAX:
        raise Fault(OUT_OF_RANGE, f"{name} is beyond 64 bits")
    return value


def _float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, "a number")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not -FLOAT_MAX <= number <= FLOAT_MAX:
        raise Fault(OUT_OF_RANGE, f"{name} is beyond the range of floats")
    return number


def _bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(name, "true or false")
    return value


def _timestamp(name: str, value: object) -> int:
    if isinstance(value, str):
        return text_time(name, _string(name, value), parse_time)
    time_ms = _int(name, value)
    check_time(name, time_ms)
    return time_ms


_READERS: dict[Type, Callable[[str, object], object]] = {
    Type.STRING: _string,
    Type.INT: _int,
    Type.FLOAT: _float,
    Type.BOOL: _bool,
    Type.TIMESTAMP: _timestamp,
}


def text_time(name: str, text: str, read: Callable[[str], int]) -> int:
    """Return the epoch milliseconds of a field's text."""
    try:
        return read(text)
    except TimeRangeError as error:
        raise Fault(OUT_OF_RANGE, f"{name}: {error}") from None
    except TimeError:
        raise Fault(WRONG_TYPE, f"{name} is no ISO-8601 time") from None


def check_time(name: str, time_ms: int) -> None:
    """Raise the fault of epoch milliseconds outside the years 1 to 9999."""
    if not MIN_TIME_MS <= time_ms <= MAX_TIME_MS:
        raise Fault(OUT_OF_RANGE, f"{name} is not in the years 1 to 9999")


def _wrong_type(name: str, wanted: str) -> Fault:
    return Fault(WRONG_TYPE, f"{name} is not {wanted}")
