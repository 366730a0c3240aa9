"""Rule 1 with a time zone: edges are those of the clock on the wall there."""

from __future__ import annotations

from tests.core.conftest import Told

FOREVER = "7d"


def days(zone: str, more: str = "") -> str:
    return f"w: {{tumbling: {{size: 1d, timezone: {zone}{more}}}, by: [user], select: {{c: count()}}}}"


def hours(zone: str) -> str:
    return f"w: {{tumbling: {{size: 1h, timezone: {zone}}}, by: [user], select: {{c: count()}}}}"


def test_the_day_on_which_summer_time_begins_has_23_hours(told: Told) -> None:
    told(
        days("Europe/Berlin"),
        """
        2026-03-28T22:59:59.999Z a
        2026-03-28T23:00:00Z a
        2026-03-29T21:59:59.999Z a
        2026-03-29T22:00:00Z a
        end
            -> w [2026-03-27T23:00Z,2026-03-28T23:00Z) a c=1
            -> w [2026-03-28T23:00Z,2026-03-29T22:00Z) a c=2
            -> w [2026-03-29T22:00Z,2026-03-30T22:00Z) a c=1
        """,
        bound=FOREVER,
    )


def test_the_day_on_which_summer_time_ends_has_25_hours(told: Told) -> None:
    told(
        days("Europe/Berlin"),
        """
        2026-10-24T22:00:00Z a
        2026-10-25T22:59:59.999Z a
            -> w [2026-10-24T22:00Z,2026-10-25T23:00Z) a c=2
        2026-10-25T23:00:00Z a
        end
            -> w [2026-10-25T23:00Z,2026-10-26T23:00Z) a c=1
        """,
    )


def test_an_hour_that_is_left_out_has_no_window(told: Told) -> None:
    """At 02:00 the clock goes to 03:00."""
    told(
        hours("Europe/Berlin"),
        """
        2026-03-29T00:59:59.999Z a
        2026-03-29T01:00:00Z a
        end
            -> w [2026-03-29T00:00Z,2026-03-29T01:00Z) a c=1
            -> w [2026-03-29T01:00Z,2026-03-29T02:00Z) a c=1
        """,
        bound=FOREVER,
    )


def test_an_hour_that_exists_twice_is_one_window_of_two_hours(told: Told) -> None:
    """At 03:00 the clock goes back to 02:00."""
    told(
        hours("Europe/Berlin"),
        """
        2026-10-24T23:59:59.999Z a
        2026-10-25T00:30:00Z a
        2026-10-25T01:30:00Z a
        2026-10-25T02:00:00Z a
        end
            -> w [2026-10-24T23:00Z,2026-10-25T00:00Z) a c=1
            -> w [2026-10-25T00:00Z,2026-10-25T02:00Z) a c=2
            -> w [2026-10-25T02:00Z,2026-10-25T03:00Z) a c=1
        """,
        bound=FOREVER,
    )


def test_an_edge_that_does_not_exist_is_the_instant_of_the_change(told: Told) -> None:
    """Days from 02:30 on, of which there is none on that Sunday."""
    told(
        days("Europe/Berlin", ", offset: 2h30m"),
        """
        2026-03-29T00:59:59.999Z a
        2026-03-29T01:00:00Z a
        end
            -> w [2026-03-28T01:30Z,2026-03-29T01:00Z) a c=1
            -> w [2026-03-29T01:00Z,2026-03-30T00:30Z) a c=1
        """,
        bound=FOREVER,
    )


def test_an_edge_that_exists_twice_is_its_first_occurrence(told: Told) -> None:
    """Days from 02:30 on, of which there are two on that Sunday."""
    told(
        days("Europe/Berlin", ", offset: 2h30m"),
        """
        2026-10-25T00:29:59.999Z a
        2026-10-25T00:30:00Z a
        2026-10-25T01:15:00Z a
        2026-10-25T01:30:00Z a
        end
            -> w [2026-10-24T00:30Z,2026-10-25T00:30Z) a c=1
            -> w [2026-10-25T00:30Z,2026-10-26T01:30Z) a c=3
        """,
        bound=FOREVER,
    )


def test_a_midnight_that_does_not_exist(told: Told) -> None:
    told(
        days("America/Havana"),
        """
        2020-03-08T04:59:59.999Z a
        2020-03-08T05:00:00Z a
        end
            -> w [2020-03-07T05:00Z,2020-03-08T05:00Z) a c=1
            -> w [2020-03-08T05:00Z,2020-03-09T04:00Z) a c=1
        """,
        bound=FOREVER,
    )


def test_a_midnight_that_exists_twice(told: Told) -> None:
    told(
        days("America/Havana"),
        """
        2020-11-01T03:59:59.999Z a
        2020-11-01T04:00:00Z a
        2020-11-01T05:00:00Z a
        end
            -> w [2020-10-31T04:00Z,2020-11-01T04:00Z) a c=1
            -> w [2020-11-01T04:00Z,2020-11-02T05:00Z) a c=2
        """,
        bound=FOREVER,
    )


def test_zones_may_differ_by_half_an_hour(told: Told) -> None:
    told(
        days("Asia/Kolkata"),
        """
        2026-01-01T18:29:59.999Z a
        2026-01-01T18:30:00Z a
        end
            -> w [2025-12-31T18:30Z,2026-01-01T18:30Z) a c=1
            -> w [2026-01-01T18:30Z,2026-01-02T18:30Z) a c=1
        """,
        bound=FOREVER,
    )


def test_the_clock_may_change_by_half_an_hour(told: Told) -> None:
    """Back from 02:00 to 01:30 in April, on from 02:00 to 02:30 in October."""
    told(
        hours("Australia/Lord_Howe"),
        """
        2026-04-04T14:00:00Z a
        2026-04-04T15:29:59.999Z a
        2026-04-04T15:30:00Z a
        2026-10-03T15:29:59.999Z a
            -> w [2026-04-04T14:00Z,2026-04-04T15:30Z) a c=2
            -> w [2026-04-04T15:30Z,2026-04-04T16:30Z) a c=1
        2026-10-03T15:30:00Z a
        2026-10-03T16:00:00Z a
        end
            -> w [2026-10-03T14:30Z,2026-10-03T15:30Z) a c=1
            -> w [2026-10-03T15:30Z,2026-10-03T16:00Z) a c=1
            -> w [2026-10-03T16:00Z,2026-10-03T17:00Z) a c=1
        """,
        bound="4h",
    )


def test_a_day_may_be_left_out(told: Told) -> None:
    """Samoa had no 30 December 2011."""
    told(
        days("Pacific/Apia"),
        """
        2011-12-30T09:59:59.999Z a
        2011-12-30T10:00:00Z a
        end
            -> w [2011-12-29T10:00Z,2011-12-30T10:00Z) a c=1
            -> w [2011-12-30T10:00Z,2011-12-31T10:00Z) a c=1
        """,
        bound=FOREVER,
    )


def test_days_before_1970_have_edges_too(told: Told) -> None:
    told(
        days("Europe/Berlin"),
        """
        1945-05-24T20:59:59.999Z a
        1945-05-24T21:00:00Z a
        end
            -> w [1945-05-23T22:00Z,1945-05-24T21:00Z) a c=1
            -> w [1945-05-24T21:00Z,1945-05-25T21:00Z) a c=1
        """,
        bound=FOREVER,
    )


def test_several_days_are_counted_from_the_first_of_1970(told: Told) -> None:
    """1 January 1970 was a Thursday."""
    told(
        "w: {tumbling: {size: 7d, offset: 4d, timezone: Europe/Berlin}, by: [user], select: {c: count()}}",
        """
        2026-03-22T22:59:59.999Z a
        2026-03-22T23:00:00Z a
        2026-03-29T21:59:59.999Z a
        end
            -> w [2026-03-15T23:00Z,2026-03-22T23:00Z) a c=1
            -> w [2026-03-22T23:00Z,2026-03-29T22:00Z) a c=2
        """,
        bound="30d",
    )


def test_a_local_day_is_closed_and_late_by_its_own_edges(told: Told) -> None:
    told(
        "w: {tumbling: {size: 1d, timezone: Europe/Berlin}, by: [user], allowed_lateness: 1h, select: {c: count()}}",
        """
        2026-03-29T21:00:00Z a
        2026-03-29T21:59:59.999Z a
            -> w [2026-03-28T23:00Z,2026-03-29T22:00Z) a c=2 more
        2026-03-29T22:59:59.998Z a
        2026-03-29T21:00:00Z a
            -> w [2026-03-28T23:00Z,2026-03-29T22:00Z) a c=3 revision=1 more
        2026-03-29T22:59:59.999Z a
        2026-03-29T21:00:00Z a
            -> late w [2026-03-28T23:00Z,2026-03-29T22:00Z) watermark=2026-03-29T22:59:59.999Z
        """,
    )
