"""What operators and functions of expressions mean, where that takes more than a line of generated code.

No function here sees null: the generated code decides that first. A value that does not fit its type is a Fault.
"""

from __future__ import annotations

import math
import re

import msgspec

from consumer.core.faults import EXPRESSION_ERROR, Fault
from consumer.core.times import format_time

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
FLOAT_MAX = 1.7976931348623157e308

_NUMBER = re.compile(
    r"[ \t\r\n]*(?P<number>(?P<sign>[+-]?)(?=\.?[0-9])(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?"
    r"(?:[eE](?P<exponent>[+-]?[0-9]+))?)[ \t\r\n]*"
)
_INT_DIGITS = 19


def overflow(operator: str) -> Fault:
    """Return the fault of a result that its type cannot hold."""
    return Fault(EXPRESSION_ERROR, f"the result of {operator} is out of range")


def checked_int(value: int, operator: str) -> int:
    """Return the value if it is a signed 64-bit integer."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise overflow(operator)


def checked_float(value: float, operator: str) -> float:
    """Return the value if it is finite."""
    if -FLOAT_MAX <= value <= FLOAT_MAX:
        return value
    raise overflow(operator)


def divide(dividend: float, divisor: float) -> float | None:
    """Return the quotient as a float, null for a divisor of 0."""
    if divisor == 0:
        return None
    return checked_float(dividend / divisor, "/")


def remainder_int(dividend: int, divisor: int) -> int | None:
    """Return the remainder with the sign of the dividend, null for a divisor of 0."""
    if divisor == 0:
        return None
    remainder = abs(dividend) % abs(divisor)
    return -remainder if dividend < 0 else remainder


def remainder_float(dividend: float, divisor: float) -> float | None:
    """Return the remainder with the sign of the dividend, null for a divisor of 0."""
    return None if divisor == 0 else math.fmod(dividend, divisor)


def bucket_int(value: int, width: int) -> int | None:
    """Return floor(value / width) * width, null for a width of 0."""
    return None if width == 0 else checked_int(value // width * width, "bucket")


def bucket_float(value: float, width: float) -> float | None:
    """Return floor(value / width) * width, null for a width of 0."""
    if width == 0:
        return None
    return checked_float(math.floor(checked_float(value / width, "bucket")) * float(width), "bucket")


def round_float(value: float) -> float:
    """Return the nearest whole number, halves away from zero."""
    whole = math.trunc(value)
    if abs(value - whole) >= 0.5:  # noqa: PLR2004 - half
        whole += 1 if value > 0 else -1
    return float(whole)


def floor_float(value: float) -> float:
    """Return the greatest whole number that is not greater."""
    return float(math.floor(value))


def ceil_float(value: float) -> float:
    """Return the least whole number that is not less."""
    return float(math.ceil(value))


def substring(text: str, start: int, length: int) -> str:
    """Return the characters at positions p, counted from 1, with start <= p < start + length."""
    return text[max(start - 1, 0) : max(start - 1 + length, 0)] if length > 0 else ""


def int_of_float(value: float) -> int:
    """Cut off the fraction."""
    return checked_int(math.trunc(value), "to_int")


def int_of_text(text: str) -> int | None:
    """Return the number that the text is, its fraction cut off; null if it is none."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    digits = ((match["whole"] or "") + (match["fraction"] or "")).lstrip("0")
    exponent = float(match["exponent"] or 0)  # a float: it may have any number of digits
    whole_digits = len(digits) - len(match["fraction"] or "") + exponent
    if not digits or whole_digits <= 0:
        return 0
    if whole_digits > _INT_DIGITS:
        raise overflow("to_int")
    magnitude = int(digits[: int(whole_digits)].ljust(int(whole_digits), "0"))
    return checked_int(-magnitude if match["sign"] == "-" else magnitude, "to_int")


def float_of_text(text: str) -> float | None:
    """Return the number that the text is; null if it is none."""
    match = _NUMBER.fullmatch(text)
    return None if match is None else checked_float(float(match["number"]), "to_float")


def text_of_float(value: float) -> str:
    """Return the text that a result row would show."""
    return msgspec.json.encode(value).decode()


def text_of_bool(value: bool) -> str:  # noqa: FBT001 - a value of the pipeline, not a switch
    """Return true or false."""
    return "true" if value else "false"


text_of_time = format_time
