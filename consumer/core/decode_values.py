"""From the values of a document to the values of declared fields, or the fault that one of them is.

Every format ends here when the fast way did not: fields in the declared order, the first fault counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consumer.core.faults import INVALID_UTF8, MISSING_FIELD, OUT_OF_RANGE, WRONG_TYPE, Fault
from consumer.core.functions import FLOAT_MAX, INT_MAX, INT_MIN
from consumer.core.times import MAX_TIME_MS, MIN_TIME_MS, TimeError, TimeRangeError, epoch_ms, parse_time
from consumer.pipeline.model import Field, Type


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


def field_values(fields: tuple[Field, ...], document: object) -> list[Any]:
    """Return the fields' values, in their order; a sound timestamp stays as it is (ISO-8601 text, or in its unit).

    The document is made of dict, list, str, int, float, bool, None, and objects of other types that fit no field.
    """
    if not isinstance(document, dict):
        raise Fault(WRONG_TYPE, "not an object")
    return [field_value(field, value_at(document, field)) for field in fields]


def value_at(document: dict[Any, Any], field: Field) -> Any:
    """Return what stands at the field's path: None for null, and where the way there is null or ends early."""
    value: Any = document
    for step in field.path:
        if value is None:
            return None
        if isinstance(step, str):
            if not isinstance(value, dict):
                raise Fault(WRONG_TYPE, f"the path of {field.name} leads through what is no object")
            value = value.get(step)
        else:
            if not isinstance(value, list):
                raise Fault(WRONG_TYPE, f"the path of {field.name} leads through what is no array")
            value = value[step] if step < len(value) else None
    return value


def field_value(field: Field, value: object) -> object:
    """Return the value if it is sound."""
    if value is None:
        if field.nullable:
            return None
        raise missing(field)
    return _READERS[field.type](field, value)


def missing(field: Field) -> Fault:
    """Return the fault of a field that has no value and needs one."""
    return Fault(MISSING_FIELD, f"{field.name} is missing or null")


def wrong_type(field: Field, wanted: str) -> Fault:
    """Return the fault of a value of another type."""
    return Fault(WRONG_TYPE, f"{field.name} is not {wanted}")


def checked_int(field: Field, value: int) -> int:
    """Return the value if it is a signed 64-bit integer."""
    if not INT_MIN <= value <= INT_MAX:
        raise Fault(OUT_OF_RANGE, f"{field.name} is beyond 64 bits")
    return value


def checked_float(field: Field, value: float) -> float:
    """Return the value if it is finite."""
    if not -FLOAT_MAX <= value <= FLOAT_MAX:
        raise Fault(OUT_OF_RANGE, f"{field.name} is beyond the range of floats")
    return value


def checked_time(field: Field, value: str | int) -> str | int:
    """Return the value as it is if it is a time of the years 1 to 9999."""
    if isinstance(value, str):
        text_time(field.name, value, parse_time)
    else:
        check_time(field.name, epoch_ms(checked_int(field, value), field.unit))
    return value


def _string(field: Field, value: object) -> str:
    if not isinstance(value, str):
        raise wrong_type(field, "a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Fault(INVALID_UTF8, f"{field.name} has half of a surrogate pair") from None
    return value


def _int(field: Field, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(field, "an int")
    return checked_int(field, value)


def _float(field: Field, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(field, "a number")
    try:
        return checked_float(field, float(value))
    except OverflowError:
        return checked_float(field, float("inf"))


def _bool(field: Field, value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(field, "true or false")
    return value


def _timestamp(field: Field, value: object) -> str | int:
    return checked_time(field, _string(field, value) if isinstance(value, str) else _int(field, value))


_READERS: dict[Type, Callable[[Field, object], object]] = {
    Type.STRING: _string,
    Type.INT: _int,
    Type.FLOAT: _float,
    Type.BOOL: _bool,
    Type.TIMESTAMP: _timestamp,
}
