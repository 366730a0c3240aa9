"""Windows by the clock on the wall somewhere: walked hour by hour, from the time zone data of the `tzdata` package.

An edge is a reading of that clock. It lies at the first instant at which the clock shows that reading or a later
one: of a reading that exists twice that is the first, and of one that is left out the instant of the change.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_HOUR_MS = 3_600_000
_AROUND_MS = 48 * _HOUR_MS
"""No clock is or was ever further from UTC."""
_FIRST_MS = (datetime(1, 1, 4, tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LAST_MS = (datetime(9999, 12, 28, tzinfo=UTC) - _EPOCH) // _MILLISECOND


def window_around(time_ms: int, size_ms: int, offset_ms: int, timezone: str) -> tuple[int, int]:
    """Return start and end of the window that a time lies in. Edges are the readings `offset + n*size` since 1970."""
    reading_ms = time_ms + _ahead_of_utc_ms(timezone, time_ms)
    edge_ms = offset_ms + (reading_ms - offset_ms) // size_ms * size_ms
    # The clock may have been ahead of this reading before, and have shown later edges.
    while first_instant(timezone, edge_ms + size_ms) <= time_ms:
        edge_ms += size_ms
    return first_instant(timezone, edge_ms), first_instant(timezone, edge_ms + size_ms)


@lru_cache(maxsize=4096)
def first_instant(timezone: str, reading_ms: int) -> int:
    """Return the first instant at which the clock shows this reading (milliseconds since 1970 there) or more."""
    for start_ms, end_ms, ahead_ms in _stretches(timezone, reading_ms - _AROUND_MS, reading_ms + _AROUND_MS):
        instant_ms = max(start_ms, reading_ms - ahead_ms)
        if instant_ms < end_ms:
            return instant_ms
    raise AssertionError("no clock is two days behind UTC")


def _stretches(timezone: str, start_ms: int, end_ms: int) -> Iterator[tuple[int, int, int]]:
    """Return start, end and the clock's lead over UTC of each stretch without a change."""
    ahead_ms = _ahead_of_utc_ms(timezone, start_ms)
    for hour_ms in range(start_ms, end_ms, _HOUR_MS):
        if _ahead_of_utc_ms(timezone, hour_ms + _HOUR_MS) != ahead_ms:
            change_ms = _change(timezone, hour_ms, hour_ms + _HOUR_MS)
            yield start_ms, change_ms, ahead_ms
            start_ms, ahead_ms = change_ms, _ahead_of_utc_ms(timezone, change_ms)
    yield start_ms, end_ms, ahead_ms


def _change(timezone: str, before_ms: int, after_ms: int) -> int:
    """Return the instant within an hour from which on the clock goes by another rule."""
    ahead_ms = _ahead_of_utc_ms(timezone, before_ms)
    while after_ms - before_ms > 1:
        middle_ms = (before_ms + after_ms) // 2
        if _ahead_of_utc_ms(timezone, middle_ms) == ahead_ms:
            before_ms = middle_ms
        else:
            after_ms = middle_ms
    return after_ms


def _ahead_of_utc_ms(timezone: str, time_ms: int) -> int:
    """Return how far the clock is ahead; at the ends of the calendar, as it is some days from there."""
    within_ms = min(max(time_ms, _FIRST_MS), _LAST_MS)
    ahead = (_EPOCH + within_ms * _MILLISECOND).astimezone(_zone(timezone)).utcoffset()
    assert ahead is not None
    return ahead // _MILLISECOND


@lru_cache
def _zone(timezone: str) -> ZoneInfo:
    with files("tzdata.zoneinfo").joinpath(*timezone.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, timezone)
