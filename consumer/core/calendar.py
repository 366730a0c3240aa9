"""Where tumbling windows begin and end.

Rule 1: without a timezone, window n is [offset + n*size, offset + (n+1)*size), for all integers n.
Rule 2: with a timezone these are readings of a wall clock there. A reading that is skipped means the instant of the
change; one that comes twice means the first. So windows can be longer and shorter than their size, and one whose
edges fall together does not exist.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Protocol
from zoneinfo import ZoneInfo

from consumer.core.times import MAX_TIME_MS, MIN_TIME_MS

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a reading of a wall clock has no zone
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY_MS = 86_400_000
_FIRST_MS = MIN_TIME_MS + 2 * _DAY_MS
_LAST_MS = MAX_TIME_MS - 2 * _DAY_MS
"""Beyond these, where no event is, edges are those of UTC."""


class Calendar(Protocol):
    """The edges of tumbling windows."""

    def bounds(self, time_ms: int) -> tuple[int, int]:
        """Return start and end of the window that a time is in."""


class PlainCalendar:
    """Windows of one length."""

    def __init__(self, size_ms: int, offset_ms: int) -> None:
        self._size_ms = size_ms
        self._offset_ms = offset_ms

    def bounds(self, time_ms: int) -> tuple[int, int]:
        """Return start and end of the window that a time is in."""
        start_ms = time_ms - (time_ms - self._offset_ms) % self._size_ms
        return start_ms, start_ms + self._size_ms


class LocalCalendar:
    """Windows by a wall clock. `timezone` is an IANA name, its rules those of the tzdata package."""

    def __init__(self, size_ms: int, offset_ms: int, timezone: str) -> None:
        self._size_ms = size_ms
        self._offset_ms = offset_ms
        self._zone = zone(timezone)

    def bounds(self, time_ms: int) -> tuple[int, int]:
        """Return start and end of the window that a time is in."""
        number = (self._reading_ms(time_ms) - self._offset_ms) // self._size_ms
        while self._edge_ms(number) > time_ms:
            number -= 1
        while self._edge_ms(number + 1) <= time_ms:
            number += 1
        return self._edge_ms(number), self._edge_ms(number + 1)

    def _reading_ms(self, time_ms: int) -> int:
        """Return what the wall clock shows at a time, as milliseconds since its own 1970-01-01T00:00."""
        if not _FIRST_MS <= time_ms <= _LAST_MS:
            return time_ms
        local = (_EPOCH_UTC + timedelta(milliseconds=time_ms)).astimezone(self._zone)
        return (local.replace(tzinfo=None) - _EPOCH) // _MILLISECOND

    def _edge_ms(self, number: int) -> int:
        """Return the first time at which the wall clock shows the start of window `number`, or something later."""
        reading_ms = self._offset_ms + number * self._size_ms
        if not _FIRST_MS <= reading_ms <= _LAST_MS:
            return reading_ms
        reading = _EPOCH + timedelta(milliseconds=reading_ms)
        time_ms = reading_ms - _offset_ms(reading.replace(tzinfo=self._zone))
        if self._reading_ms(time_ms) == reading_ms:
            return time_ms
        return self._change_ms(reading_ms, time_ms)

    def _change_ms(self, reading_ms: int, time_ms: int) -> int:
        """Return the instant of the change that skips a reading, which lies within a day of `time_ms`."""
        before_ms, after_ms = time_ms - _DAY_MS, time_ms + _DAY_MS
        while after_ms - before_ms > 1:
            middle_ms = (before_ms + after_ms) // 2
            if self._reading_ms(middle_ms) < reading_ms:
                before_ms = middle_ms
            else:
                after_ms = middle_ms
        return after_ms


def _offset_ms(local: datetime) -> int:
    """Return how far a wall clock is ahead of UTC; of a reading that comes twice, the first time."""
    offset = local.utcoffset()
    assert offset is not None
    return offset // _MILLISECOND


@cache
def zone(name: str) -> ZoneInfo:
    """Return a zone by its IANA name, read from the tzdata package and never from the machine.

    KeyError if the package has no such zone.
    """
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    if not name or name[0] in "./" or ".." in name or not file.is_file():
        raise KeyError(name)
    with file.open("rb") as data:
        try:
            return ZoneInfo.from_file(data, key=name)
        except ValueError:
            raise KeyError(name) from None
