"""Windows of a time zone: every instant is in one, they follow on each other, also where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from consumer.core.calendar import LocalCalendar, PlainCalendar
from consumer.core.times import format_time

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def _ms(month: int, day: int, hour: int, minute: int = 0) -> int:
    return int(datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp()) * 1000


CHANGES = {
    "Europe/Berlin": (_ms(3, 29, 1), _ms(10, 25, 1)),
    "America/New_York": (_ms(3, 8, 7), _ms(11, 1, 6)),
    "Australia/Lord_Howe": (_ms(4, 4, 15), _ms(10, 3, 15, 30)),
    "Asia/Kolkata": (_ms(1, 1, 0), _ms(7, 1, 0)),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    ("size_ms", "offset_ms"),
    [(HOUR_MS, 0), (HOUR_MS, 30 * MINUTE_MS), (30 * MINUTE_MS, 10 * MINUTE_MS), (DAY_MS, 0), (DAY_MS, 2 * HOUR_MS)],
)
def test_every_instant_around_a_change_of_clocks_is_in_one_window(name: str, size_ms: int, offset_ms: int) -> None:
    calendar, random = LocalCalendar(size_ms, offset_ms, name), Random(7)
    for change_ms in CHANGES[name]:
        times = [change_ms + random.randrange(-4 * HOUR_MS, 4 * HOUR_MS) for _ in range(60)]
        for time_ms in (*times, change_ms - 1, change_ms, change_ms + 10 * MINUTE_MS):
            start_ms, end_ms = calendar.bounds(time_ms)
            assert start_ms <= time_ms < end_ms
            assert calendar.bounds(start_ms) == calendar.bounds(end_ms - 1) == (start_ms, end_ms)
            assert calendar.bounds(end_ms)[0] == end_ms
            assert calendar.bounds(start_ms - 1)[1] == start_ms


def test_plain_windows_begin_at_multiples_of_their_size_and_an_offset() -> None:
    calendar = PlainCalendar(10, 3)
    assert [calendar.bounds(time_ms) for time_ms in (-8, -7, 2, 3, 12, 13)] == [
        (-17, -7),
        (-7, 3),
        (-7, 3),
        (3, 13),
        (3, 13),
        (13, 23),
    ]


def test_the_days_around_every_end_of_a_month_are_printed_as_the_standard_library_does() -> None:
    for year in range(1, 10_000, 1):
        for month, day in ((1, 1), (2, 28), (3, 1), (12, 31)):
            moment = datetime(year, month, day, tzinfo=UTC)
            days = moment.toordinal() - datetime(1970, 1, 1, tzinfo=UTC).toordinal()
            assert format_time(days * DAY_MS) == f"{moment:%Y-%m-%d}".rjust(10, "0") + "T00:00:00.000Z"
