"""Durations as users write them: `250ms 10s 5m 2h 1d`, combinable (`1h30m`); milliseconds inside."""

from __future__ import annotations

import re

UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""Largest first, the order in which a combined duration names them."""

WORDS = {"d": "day", "h": "hour", "m": "minute", "s": "second", "ms": "millisecond"}

MAX_MS = 3650 * UNITS_MS["d"]
"""Ten years: far beyond any use, and far from where times would leave the years 1 to 9999."""

PATTERN = "^" + "".join(f"([0-9]+{unit})?" for unit in UNITS_MS) + "$"
"""The same rule as a regular expression, for the JSON Schema. It also takes the empty text."""

_PART = re.compile(r"([0-9]+)([A-Za-zµ]*)")
_MAX_DIGITS = 18


class DurationError(ValueError):
    """The text is no duration; the message says what to write instead."""


def parse_duration(text: str) -> int:
    """Return the milliseconds of a duration such as `1h30m`; DurationError says what is wrong."""
    parts = _split(text)
    units = [unit for _, unit in parts]
    if units != [unit for unit in UNITS_MS if unit in units]:
        raise DurationError(f"`{text}` must name each unit once, from large to small, as in 1h30m")
    if any(len(digits) > _MAX_DIGITS for digits, _ in parts):
        raise DurationError(_too_long(text))
    total = sum(int(digits) * UNITS_MS[unit] for digits, unit in parts)
    if total > MAX_MS:
        raise DurationError(_too_long(text))
    return total


def format_duration(duration_ms: int) -> str:
    """Return the shortest text that `parse_duration` reads as the same milliseconds, such as `1h30m`."""
    return "".join(f"{count}{unit}" for count, unit in _units_of(duration_ms)) or "0s"


def duration_in_words(duration_ms: int) -> str:
    """Return the duration as in a sentence, such as `1 hour 30 minutes`."""
    parts = [f"{count} {WORDS[unit]}{'' if count == 1 else 's'}" for count, unit in _units_of(duration_ms)]
    return " ".join(parts) or "0 seconds"


def _split(text: str) -> list[tuple[str, str]]:
    """Return (digits, unit) pairs that cover the whole text."""
    parts = _PART.findall(text)
    if not parts or "".join(digits + unit for digits, unit in parts) != text:
        raise DurationError(f"`{text}` is no duration: write one such as 250ms, 10s, 5m, 2h, 1d or 1h30m{_hint(text)}")
    for digits, unit in parts:
        if not unit:
            raise DurationError(f"`{text}` lacks a unit: write {digits}s for seconds or {digits}ms for milliseconds")
        if unit not in UNITS_MS:
            raise DurationError(f"`{text}`: there is no unit `{unit}`; the units are ms, s, m, h and d")
    return parts


def _hint(text: str) -> str:
    if "." in text or "," in text:
        return " (whole numbers only: 1h30m, not 1.5h)"
    if any(character.isspace() for character in text):
        return ", without blanks"
    return ", without a sign" if text[:1] in ("-", "+") else ""


def _too_long(text: str) -> str:
    return f"`{text}` is too long: at most {format_duration(MAX_MS)}"


def _units_of(duration_ms: int) -> list[tuple[int, str]]:
    """Split into (count, unit), largest unit first, zeros left out."""
    assert duration_ms >= 0
    parts = []
    rest_ms = duration_ms
    for unit, unit_ms in UNITS_MS.items():
        count, rest_ms = divmod(rest_ms, unit_ms)
        if count:
            parts.append((count, unit))
    return parts
