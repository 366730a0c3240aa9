from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.faults import Fault
from consumer.core.functions import (
    FLOAT_MAX,
    INT_MAX,
    INT_MIN,
    bucket_int,
    checked_float,
    checked_int,
    float_of_text,
    int_of_text,
    remainder_int,
    round_float,
    substring,
    text_of_float,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        (" \t-3.7\r\n", -3),
        ("+7", 7),
        (".5", 0),
        ("5.", 5),
        ("1.5e1", 15),
        ("12345e-3", 12),
        ("0e9999999999999999999", 0),
        ("1e-9999999999999999999999", 0),
        ("9223372036854775807.9", INT_MAX),
        ("-9223372036854775808", INT_MIN),
        ("0" * 10_000 + "1", 1),
        ("1" + "0" * 10_000 + "e-10000", 1),
        ("", None),
        ("-", None),
        (".", None),
        ("1e", None),
        ("1 2", None),
        ("nan", None),
        ("inf", None),
        ("0x1", None),
        ("１", None),
        ("1_000", None),
    ],
)
def test_text_as_int(text: str, number: int | None) -> None:
    assert int_of_text(text) == number
    assert (float_of_text(text) is None) == (number is None)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "1e19", "1e" + "9" * 5000, "9" * 9999])
def test_text_beyond_64_bits_is_a_fault(text: str) -> None:
    with pytest.raises(Fault):
        int_of_text(text)


def test_text_beyond_floats_is_a_fault() -> None:
    with pytest.raises(Fault):
        float_of_text("1e999")


@pytest.mark.parametrize("sign", [1, -1])
def test_the_greatest_numbers_are_in_range_and_those_beyond_are_not(sign: int) -> None:
    assert checked_float(sign * FLOAT_MAX, "+") == sign * FLOAT_MAX
    assert [checked_int(INT_MAX, "+"), checked_int(INT_MIN, "+")] == [INT_MAX, INT_MIN]
    with pytest.raises(Fault):
        checked_float(sign * math.inf, "+")
    with pytest.raises(Fault):
        checked_int(INT_MAX + 1 if sign > 0 else INT_MIN - 1, "+")


@given(st.integers(INT_MIN, INT_MAX), st.integers(-1000, 1000))
def test_a_remainder_has_the_sign_of_the_dividend(dividend: int, divisor: int) -> None:
    remainder = remainder_int(dividend, divisor)
    if divisor == 0:
        assert remainder is None
        return
    assert remainder is not None
    assert abs(remainder) < abs(divisor)
    assert remainder * dividend >= 0
    assert (dividend - remainder) % divisor == 0


@given(st.integers(-(10**9), 10**9), st.integers(-1000, 1000).filter(bool))
def test_a_bucket_is_a_multiple_of_the_width(value: int, width: int) -> None:
    bucket = bucket_int(value, width)
    assert bucket is not None
    assert bucket % width == 0
    assert abs(value - bucket) < abs(width)


@given(st.floats(-1e15, 1e15))
def test_rounding_is_half_away_from_zero(value: float) -> None:
    exact = Fraction(value)
    away = int(abs(exact) + Fraction(1, 2))
    assert round_float(value) == (away if value >= 0 else -away)


@given(st.text(max_size=8), st.integers(-5, 12), st.integers(-3, 12))
def test_substring_is_the_characters_at_the_positions(text: str, start: int, length: int) -> None:
    wanted = [character for place, character in enumerate(text, 1) if start <= place < start + length]
    assert substring(text, start, length) == "".join(wanted)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_as_text_reads_back(value: float) -> None:
    text = text_of_float(value)
    assert float(text) == value
    assert "." in text or "e" in text
