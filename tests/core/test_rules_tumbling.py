"""Rules 1, 4, 5, 9 and 11: tumbling windows, the watermark, what is emitted when, and the end of the input."""

from __future__ import annotations

from tests.core.conftest import Told

TEN = "w: {tumbling: 10ms, by: [user], select: {c: count()}}"


def test_a_window_contains_its_start_and_not_its_end(told: Told) -> None:
    told(
        TEN,
        """
        0 a
        9 a
        10 a
        40 a
            -> w [0,10) a c=2
            -> w [10,20) a c=1
        """,
        bound="20ms",
    )


def test_starts_are_the_offset_plus_any_multiple_of_the_size_negative_ones_too(told: Told) -> None:
    told(
        "w: {tumbling: {size: 10ms, offset: 3ms}, by: [user], select: {c: count()}}",
        """
        -8 a
        2 a
        3 a
        12 a
        13 a
        60 a
            -> w [-17,-7) a c=1
            -> w [-7,3) a c=1
            -> w [3,13) a c=2
            -> w [13,23) a c=1
        """,
        bound="30ms",
    )


def test_windows_without_events_emit_nothing(told: Told) -> None:
    told(
        TEN,
        """
        5 a
        95 a
            -> w [0,10) a c=1
        """,
    )


def test_a_window_is_emitted_as_soon_as_the_watermark_reaches_its_last_millisecond(told: Told) -> None:
    told(
        TEN,
        """
        1 a
        13 a
        14 a
            -> w [0,10) a c=1
        """,
        bound="5ms",
    )


def test_the_watermark_before_the_event_decides_whether_it_is_late(told: Told) -> None:
    told(
        TEN,
        """
        9 a
            -> w [0,10) a c=1
        9 a
            -> late w [0,10) watermark=9
        """,
    )


def test_the_watermark_never_goes_back(told: Told) -> None:
    told(
        TEN,
        """
        25 a
        22 a
        15 a
            -> late w [10,20) watermark=25
        29 a
            -> w [20,30) a c=3
        """,
    )


def test_a_record_that_came_before_is_skipped(told: Told) -> None:
    told(
        TEN,
        """
        3 a
        again
        9 a
            -> w [0,10) a c=2
        again
        """,
    )


def test_filtered_events_move_the_watermark(told: Told) -> None:
    told(
        TEN,
        """
        3 a n=1
        9 a
            -> w [0,10) a c=1
        """,
        top="where: n is not null",
    )


def test_events_too_far_ahead_of_their_arrival_do_not_move_the_watermark(told: Told) -> None:
    told(
        TEN,
        """
        3 a
        101 a
            -> dead future_timestamp
        9 a
            -> w [0,10) a c=2
        100 a
        """,
        max_future="100ms",
    )


def test_undecodable_and_failing_events_do_not_move_the_watermark(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], select: {c: count(), s: sum(n * 2)}}",
        """
        3 a n=4
        50 a n="no"
            -> dead wrong_type
        50 a n=9223372036854775807
            -> dead expression_error
        9 a
            -> w [0,10) a c=2 s=8
        """,
    )


def test_at_the_end_of_the_input_all_windows_close(told: Told) -> None:
    told(
        TEN,
        """
        3 b
        4 a
        15 a
            -> w [0,10) a c=1
            -> w [0,10) b c=1
        end
            -> w [10,20) a c=1
        """,
    )


def test_a_window_may_filter_further(told: Told) -> None:
    told(
        """
        w: {tumbling: 10ms, by: [user], select: {c: count()}}
        many: {tumbling: 10ms, by: [user], where: n > 1, select: {c: count()}}
        """,
        """
        1 a n=1
        2 a n=2
        3 a
        9 a n=5
            -> w [0,10) a c=4
            -> many [0,10) a c=2
        8 a n=1
            -> late w [0,10) watermark=9
        8 a n=2
            -> late w [0,10) watermark=9
            -> late many [0,10) watermark=9
        """,
    )


def test_an_error_in_the_filter_of_one_window_makes_a_dead_letter_for_all(told: Told) -> None:
    told(
        """
        w: {tumbling: 10ms, by: [user], select: {c: count()}}
        many: {tumbling: 10ms, by: [user], where: n * 2 > 1, select: {c: count()}}
        """,
        """
        1 a n=9223372036854775807
            -> dead expression_error
        end
        """,
    )


def test_what_a_window_leaves_out_is_not_computed_for_it(told: Told) -> None:
    told(
        "small: {tumbling: 10ms, by: [user], where: n < 9, select: {s: sum(n * 2)}}",
        """
        1 a n=9223372036854775807
        2 a n=4
        end
            -> small [0,10) a s=8
        """,
    )
