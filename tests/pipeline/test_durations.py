from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline.durations import (
    MAX_MS,
    PATTERN,
    DurationError,
    duration_in_words,
    format_duration,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("250ms", 250),
        ("10s", 10_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("1h30m", 5_400_000),
        ("1d2h3m4s5ms", 93_784_005),
        ("0s", 0),
        ("90m", 5_400_000),
        ("007s", 7_000),
        ("3650d", MAX_MS),
    ],
)
def test_parse(text: str, expected_ms: int) -> None:
    assert parse_duration(text) == expected_ms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no duration"),
        ("10", "`10` lacks a unit: write 10s for seconds or 10ms for milliseconds"),
        ("1h30", "lacks a unit"),
        ("10S", "no unit `S`"),
        ("1w", "no unit `w`"),
        ("10sec", "no unit `sec`"),
        ("5 m", "without blanks"),
        ("-5m", "without a sign"),
        ("1.5h", "1h30m, not 1.5h"),
        ("30m1h", "from large to small"),
        ("1h1h", "each unit once"),
        ("3651d", "too long: at most 3650d"),
        ("9" * 5000 + "s", "too long"),
        ("\u0661s", "is no duration"),
        ("10s\n", "is no duration"),
        ("ten", "is no duration"),
    ],
)
def test_refuse(text: str, message: str) -> None:
    with pytest.raises(DurationError, match=message.replace("(", r"\(").replace(".", r"\.")):
        parse_duration(text)


@given(st.integers(0, MAX_MS))
def test_what_is_printed_reads_back(duration_ms: int) -> None:
    assert parse_duration(format_duration(duration_ms)) == duration_ms


@given(st.text("0123456789dhms", max_size=8))
def test_the_pattern_of_the_schema_agrees_with_the_parser(text: str) -> None:

    try:
        parse_duration(text)
    except DurationError as error:
        fits = False
        too_long = "too long" in str(error)
    else:
        fits, too_long = True, False
    matches = bool(text) and re.fullmatch(PATTERN, text) is not None
    assert matches == (fits or too_long)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(DurationError):
        assert 0 <= parse_duration(text) <= MAX_MS


@pytest.mark.parametrize(
    ("duration_ms", "compact", "words"),
    [
        (0, "0s", "0 seconds"),
        (1, "1ms", "1 millisecond"),
        (1_000, "1s", "1 second"),
        (5_400_000, "1h30m", "1 hour 30 minutes"),
        (86_400_001, "1d1ms", "1 day 1 millisecond"),
    ],
)
def test_print(duration_ms: int, compact: str, words: str) -> None:
    assert format_duration(duration_ms) == compact
    assert duration_in_words(duration_ms) == words
