"""Rules 5, 6, 8 and 12: allowed lateness of tumbling and stagger windows, and idle shards."""

from __future__ import annotations

from tests.core.conftest import Told

KEPT_TEN = "w: {tumbling: 10ms, by: [user], allowed_lateness: 10ms, select: {c: count()}}"
STAGGER = "w: {stagger: 10ms, by: [user], select: {c: count()}}"


def test_each_late_event_that_is_accepted_gives_the_next_revision(told: Told) -> None:
    told(
        KEPT_TEN,
        """
        5 a
        12 a
            -> w [0,10) a c=1 more
        7 a
            -> w [0,10) a c=2 revision=1 more
        18 a
        9 a
            -> w [0,10) a c=3 revision=2 more
        """,
    )


def test_a_group_first_seen_after_the_end_has_its_first_row_at_once(told: Told) -> None:
    told(
        KEPT_TEN,
        """
        5 a
        12 a
            -> w [0,10) a c=1 more
        8 b
            -> w [0,10) b c=1 more
        8 b
            -> w [0,10) b c=2 revision=1 more
        """,
    )


def test_an_event_is_late_when_the_lateness_has_run_out_and_no_row_says_so(told: Told) -> None:
    told(
        KEPT_TEN,
        """
        5 a
        18 a
            -> w [0,10) a c=1 more
        9 a
            -> w [0,10) a c=2 revision=1 more
        19 a
            -> w [10,20) a c=2 more
        9 a
            -> late w [0,10) watermark=19
        end
        """,
    )


def test_a_row_is_final_where_no_revision_can_follow(told: Told) -> None:
    told(
        KEPT_TEN,
        """
        5 a
        100 a
            -> w [0,10) a c=1
        end
            -> w [100,110) a c=1
        """,
    )


def test_one_row_a_window_with_emit_final(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], allowed_lateness: 10ms, emit: final, select: {c: count()}}",
        """
        5 a
        12 a
        7 a
        19 a
            -> w [0,10) a c=2
        end
            -> w [10,20) a c=2
        """,
    )


def test_each_window_has_its_own_lateness(told: Told) -> None:
    told(
        """
        short: {tumbling: 10ms, by: [user], select: {c: count()}}
        long: {tumbling: 10ms, by: [user], allowed_lateness: 1h, select: {c: count()}}
        """,
        """
        9 a
            -> short [0,10) a c=1
            -> long [0,10) a c=1 more
        500 a
        5 a
            -> long [0,10) a c=2 revision=1 more
            -> late short [0,10) watermark=500
        """,
    )


# -- idle


def test_an_idle_decision_moves_the_watermark_to_the_clock_less_the_bound(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], select: {c: count()}}",
        """
        3 a
        idle 13
        idle 14
            -> w [0,10) a c=1
        9 a
            -> late w [0,10) watermark=9
        """,
        bound="5ms",
    )


def test_an_idle_decision_never_moves_the_watermark_back(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], select: {c: count()}}",
        """
        25 a
        idle 5
        15 a
            -> late w [10,20) watermark=25
        idle 29
            -> w [20,30) a c=1
        """,
    )


def test_a_shard_may_be_idle_before_its_first_event(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], select: {c: count()}}",
        """
        idle 14
        9 a
            -> late w [0,10) watermark=9
        10 a
        """,
        bound="5ms",
    )


def test_an_idle_decision_closes_all_kinds_in_the_order_of_the_file(told: Told) -> None:
    told(
        """
        visits: {session: 10ms, by: [user], allowed_lateness: 10ms, select: {c: count()}}
        staggered: {stagger: 10ms, by: [user], select: {c: count()}}
        overlapping: {sliding: {size: 10ms, every: 5ms}, by: [user], select: {c: count()}}
        """,
        """
        7 b
        3 a
        idle 1000
            -> visits [3,13) a c=1
            -> visits [7,17) b c=1
            -> staggered [3,13) a c=1
            -> staggered [7,17) b c=1
            -> overlapping [-5,5) a c=1
            -> overlapping [0,10) a c=1
            -> overlapping [0,10) b c=1
            -> overlapping [5,15) b c=1
        """,
        bound="5ms",
    )


# -- stagger


def test_an_event_in_no_kept_window_opens_one_and_others_join_the_earliest(told: Told) -> None:
    told(
        STAGGER,
        """
        3 a
        12 a
        13 a
        5 a
        2 a
        4 a
        12 a
        60 a
            -> w [2,12) a c=2
            -> w [3,13) a c=4
            -> w [13,23) a c=1
        """,
        bound="20ms",
    )


def test_each_group_opens_its_own_windows(told: Told) -> None:
    told(
        STAGGER,
        """
        3 a
        8 b
        12 a
            -> w [3,13) a c=2
        17 b
            -> w [8,18) b c=2
        """,
    )


def test_stagger_windows_are_late_like_tumbling_ones(told: Told) -> None:
    told(
        STAGGER,
        """
        12 b
        2 a
            -> late w [2,12) watermark=12
        3 a
            -> late w [3,13) watermark=12
        4 a
        """,
    )


def test_stagger_windows_are_kept_like_tumbling_ones(told: Told) -> None:
    told(
        "w: {stagger: 10ms, by: [user], allowed_lateness: 5ms, select: {c: count()}}",
        """
        3 a
        12 b
            -> w [3,13) a c=1 more
        4 a
            -> w [3,13) a c=2 revision=1 more
        2 a
            -> w [2,12) a c=1 more
        17 b
        3 a
            -> late w [3,13) watermark=17
        """,
    )


def test_a_window_gives_no_row_before_its_last_millisecond(told: Told) -> None:
    """Those that end at 10 do not while the watermark is 8, whatever is added to them; from 9 on each event tells."""
    told(
        """
        w: {tumbling: 10ms, by: [user], allowed_lateness: 50ms, select: {c: count()}}
        s: {sliding: {size: 10ms, every: 5ms}, by: [user], allowed_lateness: 50ms, select: {c: count()}}
        g: {stagger: 10ms, by: [user], allowed_lateness: 50ms, select: {c: count()}}
        v: {session: 5ms, by: [user], allowed_lateness: 50ms, select: {c: count()}}
        """,
        """
        0 b
        8 c
            -> s [-5,5) b c=1 more
            -> v [0,5) b c=1 more
        1 b
            -> s [-5,5) b c=2 revision=1 more
            -> v [0,6) b c=2 revision=1 more
        5 d
        4 d
            -> s [-5,5) d c=1 more
        9 c
            -> w [0,10) b c=2 more
            -> w [0,10) c c=2 more
            -> w [0,10) d c=2 more
            -> s [0,10) b c=2 more
            -> s [0,10) c c=2 more
            -> s [0,10) d c=2 more
            -> g [0,10) b c=2 more
            -> v [4,10) d c=2 more
        3 b
            -> w [0,10) b c=3 revision=1 more
            -> s [-5,5) b c=3 revision=2 more
            -> s [0,10) b c=3 revision=1 more
            -> g [0,10) b c=3 revision=1 more
            -> v [0,8) b c=3 revision=2 more
        """,
    )
