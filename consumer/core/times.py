"""Times are integer milliseconds since 1970-01-01T00:00:00Z; here they meet ISO-8601 text.

Rule 1: a text time has an offset or is UTC. Rule 2: digits finer than a millisecond are cut off. Rule 3: the years
are 1 to 9999; anything else is out of range. Rule 4: hour 24 and second 60 are no times. Rule 5: an integer time
counts a unit; of microseconds the part below a millisecond is cut off, downwards.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from consumer.pipeline.model import TimeUnit

MIN_TIME_MS = -62_135_596_800_000
"""0001-01-01T00:00:00.000Z"""
MAX_TIME_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z"""

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_MS = 86_400_000
_DAYS_IN_ERA = 146_097

_MS_IN_UNIT = {TimeUnit.SECONDS: (1000, 1), TimeUnit.MILLISECONDS: (1, 1), TimeUnit.MICROSECONDS: (1, 1000)}
"""Factor and divisor."""

_CACHE_SIZE = 4096
_TIME = re.compile(
    r"(?P<year>[+-]?[0-9]{4,})(?:-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)"
)
_BASIC = re.compile(
    r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    r"(?:[Tt](?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?:(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}(?:[0-9]{2})?)?)?"
)


class TimeError(ValueError):
    """The text is no time."""


class TimeRangeError(TimeError):
    """The time lies outside the years 1 to 9999."""


def parse_time(text: str) -> int:
    """Return the epoch milliseconds of an ISO-8601 date or date and time; TimeError or TimeRangeError."""
    match = _TIME.fullmatch(text) or _BASIC.fullmatch(text)
    if match is None:
        raise TimeError("no ISO-8601 time")
    year = int(match["year"][:7])
    if len(match["year"]) > 4 or not 1 <= year <= 9999:  # noqa: PLR2004 - a year's digits
        raise TimeRangeError("the year is not 1 to 9999")
    try:
        days = date(year, int(match["month"]), int(match["day"])).toordinal() - _EPOCH_DAY
    except ValueError as error:
        raise TimeError(str(error)) from None
    time_ms = days * _DAY_MS + _time_of_day_ms(match) - _offset_ms(match["zone"])
    if not MIN_TIME_MS <= time_ms <= MAX_TIME_MS:
        raise TimeRangeError("the instant is not in the years 1 to 9999 UTC")
    return time_ms


def _time_of_day_ms(match: re.Match[str]) -> int:
    hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
    if hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004 - a clock's digits
        raise TimeError("no time of day")
    milliseconds = int((match["fraction"] or "0")[:3].ljust(3, "0"))
    return ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds


def _offset_ms(zone: str | None) -> int:
    if zone is None or zone in "Zz":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - a clock's digits
        raise TimeError("no offset from UTC")
    offset_ms = (hours * 60 + minutes) * 60_000
    return -offset_ms if zone[0] == "-" else offset_ms


FRACTION_MS = {f"{milliseconds:03d}Z": milliseconds for milliseconds in range(1000)}
"""How a time like 2026-01-31T12:34:56.789Z ends, and what that means."""
_SECOND_MS = {f"{second:02d}.": second * 1000 for second in range(60)}
"""What stands before that."""
_FRACTIONS, _SECONDS = tuple(FRACTION_MS), tuple(_SECOND_MS)


class TimeReader:
    """`parse_time` for times that lie close together: remembers the minutes and seconds it has met.

    `seconds_ms` has `2026-01-31T12:34:56` for the seconds of times that go on with a dot and as FRACTION_MS says, so
    that the generated code can add the two without a call; a KeyError there means: call.
    """

    def __init__(self) -> None:
        self.seconds_ms: dict[str, int] = {}
        self._minutes_ms: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """Return epoch milliseconds; same results and errors as `parse_time`."""
        second_ms, fraction_ms = _SECOND_MS.get(text[17:20]), FRACTION_MS.get(text[20:])
        if second_ms is None or fraction_ms is None:
            return parse_time(text)
        minute_ms = self._minutes_ms.get(text[:17])
        if minute_ms is None:
            minute_ms = parse_time(text) - second_ms - fraction_ms
            _remember(self._minutes_ms, text[:17], minute_ms)
        _remember(self.seconds_ms, text[:19], minute_ms + second_ms)
        return minute_ms + second_ms + fraction_ms


def _remember(times_ms: dict[str, int], text: str, time_ms: int) -> None:
    if len(times_ms) >= _CACHE_SIZE:
        times_ms.clear()
    times_ms[text] = time_ms


def epoch_ms(number: int, unit: TimeUnit) -> int:
    """Return epoch milliseconds, rounded down, of a number of units since 1970-01-01T00:00:00Z; any integer."""
    factor, divisor = _MS_IN_UNIT[unit]
    return number * factor // divisor


def epoch_ms_source(variable: str, unit: TimeUnit) -> str:
    """Return `epoch_ms` of a variable as a Python expression, for generated code."""
    factor, divisor = _MS_IN_UNIT[unit]
    return variable + (f" * {factor}" if factor != 1 else "") + (f" // {divisor}" if divisor != 1 else "")


def format_time(time_ms: int) -> str:
    """Return `2026-01-31T12:34:56.789Z`; a year beyond 9999 or before 0 gets a sign and at least six digits.

    Window edges may lie outside the years an event may have.
    """
    minutes, of_minute = divmod(time_ms, 60_000)
    return f"{_format_minute(minutes)}{_SECONDS[of_minute // 1000]}{_FRACTIONS[of_minute % 1000]}"


@lru_cache(maxsize=_CACHE_SIZE)
def _format_minute(minutes: int) -> str:
    days, of_day = divmod(minutes, 1440)
    year, month, day = _civil(days)
    year_text = f"{year:04d}" if 0 <= year <= 9999 else f"{year:+07d}"  # noqa: PLR2004 - ISO-8601
    return f"{year_text}-{month:02d}-{day:02d}T{of_day // 60:02d}:{of_day % 60:02d}:"


def _civil(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.

    Eras of 400 years starting on 1 March, so that the leap day comes last; works for all integers.
    """
    era, day_of_era = divmod(days + 719_468, _DAYS_IN_ERA)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9  # noqa: PLR2004 - March is month 0
    return year_of_era + era * 400 + (month <= 2), month, day  # noqa: PLR2004 - January, February
