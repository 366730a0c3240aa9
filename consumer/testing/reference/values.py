"""Values as text and back, by the standard library alone."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation

import msgspec

from consumer.core.times import format_time
from consumer.pipeline.model import Type

Value = str | int | float | bool | None

MIN_INT = -(2**63)
MAX_INT = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
MIN_TIME_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
MAX_TIME_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND

_YEAR_DIGITS = 4
_EXTENDED_FORM = re.compile(
    r"([+-]?\d{4,})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(Z|z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_BASIC_FORM = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:[Tt](\d\d)(\d\d)(?:(\d\d)(?:[.,](\d+))?)?(Z|z|[+-]\d\d(?:\d\d)?)?)?",
    re.ASCII,
)
_BLANKS = " \t\r\n"
_NUMBER = re.compile(r"[ \t\r\n]*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t\r\n]*")


class NotATimeError(Exception):
    """The text is no ISO-8601 time."""


class RangeError(Exception):
    """The value is of the right kind but outside what its type holds."""


class NotANumberError(Exception):
    """The text is no number."""


def read_time(text: str) -> int:
    """Return epoch milliseconds of ISO-8601 text; NotATimeError, or RangeError beyond the years 1 to 9999."""
    match = _EXTENDED_FORM.fullmatch(text) or _BASIC_FORM.fullmatch(text)
    if match is None:
        raise NotATimeError
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if len(year) > _YEAR_DIGITS or int(year) == 0:
        raise RangeError
    milliseconds = int((fraction or "")[:3].ljust(3, "0"))
    try:
        local = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            milliseconds * 1000,
            tzinfo=_timezone(zone or "Z"),
        )
    except ValueError:
        raise NotATimeError from None
    time_ms = (local - _EPOCH) // _MILLISECOND
    return in_time_range(time_ms)


def _timezone(zone: str) -> timezone:
    if zone in "Zz":
        return UTC
    digits = zone[1:].replace(":", "").ljust(4, "0")
    clock = time(int(digits[:2]), int(digits[2:]))
    offset = timedelta(hours=clock.hour, minutes=clock.minute)
    return timezone(-offset if zone[0] == "-" else offset)


def in_time_range(time_ms: int) -> int:
    """Return the time if its year is 1 to 9999, else raise RangeError."""
    if not MIN_TIME_MS <= time_ms <= MAX_TIME_MS:
        raise RangeError
    return time_ms


def text_to_int(text: str) -> int:
    """Return the number in the text without its fraction; NotANumberError, or RangeError beyond 64 bits."""
    if not _NUMBER.fullmatch(text):
        raise NotANumberError
    try:
        number = Decimal(text.strip(_BLANKS))
    except InvalidOperation:  # an exponent that even Decimal cannot hold
        number = _with_absurd_exponent(text)
    if not Decimal(MIN_INT) - 1 < number < Decimal(MAX_INT) + 1:
        raise RangeError
    return int(number)


def _with_absurd_exponent(text: str) -> Decimal:
    digits, exponent = re.split("[eE]", text)
    return Decimal(0) if "-" in exponent or Decimal(digits.strip(" ")) == 0 else Decimal("inf")


def text_to_float(text: str) -> float:
    """Return the float nearest to the number in the text; NotANumberError, or RangeError if it overflows."""
    if not _NUMBER.fullmatch(text):
        raise NotANumberError
    number = float(text)
    if math.isinf(number):
        raise RangeError
    return number


def to_text(value: str | float, value_type: Type) -> str:
    """Return a value as `to_string` gives it: as rows print it, without quotes."""
    if isinstance(value, str):
        return value
    if value_type is Type.TIMESTAMP:
        return format_time(int(value))
    return msgspec.json.encode(value).decode()


def printable(value: Value, value_type: Type) -> Value:
    """Return what stands in a row for a value: times as text, an infinity as null."""
    if value is None:
        return None
    if value_type is Type.TIMESTAMP:
        return format_time(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
