"""Times as tests write them: short, next to a `start`.

`12:00:05` is that time of day on the day of `start` (in UTC); `+30s` and `-5s` are that far from `start`; everything
else is ISO-8601 as in events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from consumer.core.times import TimeError, format_time, parse_time
from consumer.pipeline.durations import UNITS_MS, DurationError, parse_duration

_DAY_MS = UNITS_MS["d"]
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,3}))?)?")
_DISTANCE = re.compile(r"[+-][0-9]+[a-z][0-9a-z]*")


class TimeTextError(ValueError):
    """The text is no time; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Times:
    """Reads and prints times near `start_ms`, epoch milliseconds; None: the file has no start."""

    start_ms: int | None

    def is_short(self, text: str) -> bool:
        """Tell whether the text is a time only next to a start."""
        return bool(_TIME_OF_DAY.fullmatch(text) or _DISTANCE.fullmatch(text))

    def read(self, text: str) -> int:
        """Return epoch milliseconds; TimeTextError says what is wrong."""
        if self.is_short(text):
            return self._read_short(text)
        try:
            return parse_time(text)
        except TimeError:
            raise TimeTextError(
                "must be a time such as 12:00:05 (on the day of `start`), +30s (after `start`) or 2026-01-31T12:00:05Z"
            ) from None

    def _read_short(self, text: str) -> int:
        if self.start_ms is None:
            raise TimeTextError(f"`{text}` is a time only next to a start: give the file `start: 2026-01-31T12:00:00Z`")
        match = _TIME_OF_DAY.fullmatch(text)
        if match is None:
            return self.start_ms + _distance_ms(text)
        hours, minutes, seconds, digits = match.groups(default="0")
        of_day_ms = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(digits.ljust(3, "0"))
        return self.start_ms - self.start_ms % _DAY_MS + of_day_ms

    def show(self, time_ms: int) -> str:
        """Return the shortest text that `read` takes for this time: of day, or ISO-8601."""
        text = format_time(time_ms)
        if self.start_ms is None or self.start_ms // _DAY_MS != time_ms // _DAY_MS:
            return text
        return text[11:-1].removesuffix(".000")


def _distance_ms(text: str) -> int:
    try:
        distance_ms = parse_duration(text[1:])
    except DurationError as error:
        raise TimeTextError(str(error)) from None
    return -distance_ms if text[0] == "-" else distance_ms
