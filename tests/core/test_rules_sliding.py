"""Rule 2, and rule 6 for sliding windows: an event is in every window that contains it, and late for each alone."""

from __future__ import annotations

from tests.core.conftest import Told

TEN_EVERY_FIVE = "w: {sliding: {size: 10ms, every: 5ms}, by: [user], select: {c: count()}}"


def test_an_event_is_in_every_window_that_contains_it(told: Told) -> None:
    told(
        TEN_EVERY_FIVE,
        """
        12 a
        4 a
        -1 a
        40 a
            -> w [-10,0) a c=1
            -> w [-5,5) a c=2
            -> w [0,10) a c=1
            -> w [5,15) a c=1
            -> w [10,20) a c=1
        """,
        bound="20ms",
    )


def test_the_size_need_not_be_a_multiple(told: Told) -> None:
    told(
        "w: {sliding: {size: 10ms, every: 4ms}, by: [user], select: {c: count()}}",
        """
        13 a
        14 a
        60 a
            -> w [4,14) a c=1
            -> w [8,18) a c=2
            -> w [12,22) a c=2
        """,
        bound="30ms",
    )


def test_windows_as_long_as_their_step_are_tumbling(told: Told) -> None:
    told(
        "w: {sliding: {size: 10ms, every: 10ms}, by: [user], select: {c: count()}}",
        """
        0 a
        9 a
            -> w [0,10) a c=2
        10 a
        end
            -> w [10,20) a c=1
        """,
    )


def test_a_record_can_be_late_for_one_window_and_in_time_for_another(told: Told) -> None:
    told(
        TEN_EVERY_FIVE,
        """
        9 a
            -> w [0,10) a c=1
        8 b
            -> late w [0,10) watermark=9
        14 a
            -> w [5,15) a c=2
            -> w [5,15) b c=1
        """,
    )


def test_a_record_gives_one_late_row_for_each_window_it_is_late_for(told: Told) -> None:
    told(
        TEN_EVERY_FIVE,
        """
        20 a
        8 a
            -> late w [0,10) watermark=20
            -> late w [5,15) watermark=20
        """,
    )


def test_allowed_lateness_counts_for_each_window_alone(told: Told) -> None:
    told(
        "w: {sliding: {size: 10ms, every: 5ms}, by: [user], allowed_lateness: 5ms, select: {c: count()}}",
        """
        9 a
            -> w [0,10) a c=1 more
        13 a
        8 a
            -> w [0,10) a c=2 revision=1 more
        14 a
            -> w [5,15) a c=4 more
        8 a
            -> w [5,15) a c=5 revision=1 more
            -> late w [0,10) watermark=14
        """,
    )


def test_a_group_first_seen_in_an_ended_window_has_its_row_at_once(told: Told) -> None:
    told(
        "w: {sliding: {size: 10ms, every: 5ms}, by: [user], allowed_lateness: 50ms, select: {c: count()}}",
        """
        9 a
            -> w [0,10) a c=1 more
        4 a
            -> w [-5,5) a c=1 more
            -> w [0,10) a c=2 revision=1 more
        3 b
            -> w [-5,5) b c=1 more
            -> w [0,10) b c=1 more
        """,
    )


def test_one_row_a_window_when_the_lateness_has_run_out(told: Told) -> None:
    told(
        """
        w:
          sliding: {size: 10ms, every: 5ms}
          by: [user]
          allowed_lateness: 5ms
          emit: final
          select: {c: count()}
        """,
        """
        9 a
        8 a
        14 a
            -> w [0,10) a c=2
        8 a
            -> late w [0,10) watermark=14
        19 a
            -> w [5,15) a c=4
        """,
    )


def test_floats_are_added_in_shard_order_within_a_pane_and_panes_in_time_order(told: Told) -> None:
    """In shard order alone the ones would drown in the large number, each of them alone."""
    told(
        "w: {sliding: {size: 10ms, every: 5ms}, by: [user], select: {s: sum(x)}}",
        """
        6 a x=1.0
        1 a x=1e16
        7 a x=1.0
        end
            -> w [-5,5) a s=1e+16
            -> w [0,10) a s=1.0000000000000002e+16
            -> w [5,15) a s=2.0
        """,
        bound="20ms",
    )


def test_the_panes_are_as_long_as_the_greatest_common_divisor(told: Told) -> None:
    """In panes of 2 ms the ones at 6 and 7 come together before they meet the large number at 5."""
    told(
        "w: {sliding: {size: 6ms, every: 4ms}, by: [user], select: {s: sum(x)}}",
        """
        6 a x=1.0
        5 a x=1e16
        7 a x=1.0
        end
            -> w [0,6) a s=1e+16
            -> w [4,10) a s=1.0000000000000002e+16
        """,
        bound="20ms",
    )
