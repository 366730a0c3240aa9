"""Windows of a time zone: every instant is in one, they follow on each other, also where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from consumer.core.calendar import LocalCalendar, PlainCalendar, zone
from consumer.core.times import MAX_TIME_MS, MIN_TIME_MS, format_time

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


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("size_ms", [HOUR_MS, 7 * HOUR_MS, DAY_MS])
def test_so_it_is_where_no_clock_is_known_any_more(name: str, size_ms: int) -> None:
    """Two days from the first and the last time that there is, edges are those of UTC from there on."""
    calendar, random = LocalCalendar(size_ms, HOUR_MS, name), Random(8)
    for bound_ms in (MIN_TIME_MS + 2 * DAY_MS, MAX_TIME_MS - 2 * DAY_MS):
        times = [bound_ms + random.randrange(-2 * DAY_MS, 2 * DAY_MS) for _ in range(60)]
        for time_ms in (*times, bound_ms - 1, bound_ms, bound_ms + 1):
            start_ms, end_ms = calendar.bounds(time_ms)
            assert start_ms <= time_ms < end_ms


def test_far_from_any_time_the_edges_are_those_of_utc() -> None:
    calendar = LocalCalendar(DAY_MS, HOUR_MS, "America/New_York")
    for time_ms in (MIN_TIME_MS, MAX_TIME_MS):
        assert calendar.bounds(time_ms) == PlainCalendar(DAY_MS, HOUR_MS).bounds(time_ms)


@pytest.mark.parametrize(
    "name", ["", ".", "/etc/passwd", "./UTC", "Europe/../UTC", "Europe", "Nowhere/Town", "zone.tab"]
)
def test_what_is_no_zone_of_the_package_is_unknown(name: str) -> None:
    with pytest.raises(KeyError):
        zone(name)


def test_a_zone_has_its_name() -> None:
    assert zone("Europe/Berlin").key == "Europe/Berlin"
