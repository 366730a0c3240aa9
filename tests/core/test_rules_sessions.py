"""Rules 3, 6 and 7: sessions, how long they are, which events are late, and what a merged session replaces."""

from __future__ import annotations

from tests.core.conftest import Told

GAP_TEN = "w: {session: 10ms, by: [user], select: {c: count()}}"
AT_MOST_15 = "w: {session: {gap: 10ms, max_length: 15ms}, by: [user], select: {c: count()}}"
KEPT_20 = "w: {session: 10ms, by: [user], allowed_lateness: 20ms, select: {c: count()}}"


def test_events_at_most_a_gap_apart_belong_together(told: Told) -> None:
    told(
        GAP_TEN,
        """
        0 a
        10 a
        21 a
            -> w [0,20) a c=2
        end
            -> w [21,31) a c=1
        """,
    )


def test_each_group_has_its_own_sessions(told: Told) -> None:
    told(
        GAP_TEN,
        """
        0 a
        5 b
        9 b
            -> w [0,10) a c=1
        end
            -> w [5,19) b c=2
        """,
    )


def test_an_event_extends_a_session_to_the_front(told: Told) -> None:
    told(
        GAP_TEN,
        """
        20 a
        12 a
        end
            -> w [12,30) a c=2
        """,
        bound="50ms",
    )


def test_an_event_merges_the_sessions_it_lies_between(told: Told) -> None:
    told(
        GAP_TEN,
        """
        0 a
        20 a
        10 a
        end
            -> w [0,30) a c=3
        """,
        bound="50ms",
    )


def test_an_event_within_the_gap_of_a_closed_session_starts_a_new_one(told: Told) -> None:
    told(
        GAP_TEN,
        """
        0 a
        9 b
            -> w [0,10) a c=1
        10 a
        end
            -> w [9,19) b c=1
            -> w [10,20) a c=1
        """,
    )


def test_an_event_is_late_if_it_meets_no_session_and_its_own_would_have_ended(told: Told) -> None:
    told(
        GAP_TEN,
        """
        100 a
        91 b
            -> late w [91,101) watermark=100
        92 b
        end
            -> w [92,102) b c=1
            -> w [100,110) a c=1
        """,
    )


def test_an_event_that_falls_into_a_session_still_kept_is_not_late(told: Told) -> None:
    told(
        GAP_TEN,
        """
        95 b
        100 a
        85 b
        end
            -> w [85,105) b c=2
            -> w [100,110) a c=1
        """,
    )


def test_floats_of_a_merged_session_are_added_the_earlier_session_first(told: Told) -> None:
    """The ones at 20 and 21 come together, then to the large number at 0, and last comes the event between."""
    told(
        "w: {session: 10ms, by: [user], select: {s: sum(x)}}",
        """
        20 a x=1.0
        21 a x=1.0
        0 a x=1e16
        10 a x=1.0
        end
            -> w [0,31) a s=1.0000000000000004e+16
        """,
        bound="50ms",
    )


# -- max_length


def test_a_session_is_cut_where_it_would_be_too_long(told: Told) -> None:
    told(
        AT_MOST_15,
        """
        0 a
        10 a
        15 a
        16 a
        end
            -> w [0,25) a c=3
            -> w [16,26) a c=1
        """,
        bound="50ms",
    )


def test_a_cut_session_is_emitted_by_the_watermark_like_any_other(told: Told) -> None:
    told(
        AT_MOST_15,
        """
        0 a
        10 a
        20 a
            -> w [0,20) a c=2
        end
            -> w [20,30) a c=1
        """,
    )


def test_an_event_joins_the_earliest_session_that_can_take_it_alone(told: Told) -> None:
    told(
        AT_MOST_15,
        """
        0 a
        10 a
        16 a
        15 a
        20 a
        6 a
        end
            -> w [0,25) a c=4
            -> w [16,30) a c=2
        """,
        bound="50ms",
    )


def test_an_event_that_no_session_can_take_starts_one(told: Told) -> None:
    told(
        AT_MOST_15,
        """
        0 a
        10 a
        15 a
        35 a
        45 a
        50 a
        25 a
        end
            -> w [0,25) a c=3
            -> w [25,35) a c=1
            -> w [35,60) a c=3
        """,
        bound="90ms",
    )


def test_sessions_merge_as_long_as_all_of_it_fits(told: Told) -> None:
    told(
        AT_MOST_15,
        """
        0 a
        15 a
        8 a
        end
            -> w [0,25) a c=3
        """,
        bound="50ms",
    )


# -- allowed lateness


def test_a_late_event_that_makes_a_session_longer_waits_for_its_new_end(told: Told) -> None:
    told(
        KEPT_20,
        """
        0 a
        9 b
            -> w [0,10) a c=1 more
        5 a
        14 b
            -> w [0,15) a c=2 revision=1 more
        """,
    )


def test_a_late_event_that_leaves_the_end_as_it_is_gives_a_row_at_once(told: Told) -> None:
    told(
        KEPT_20,
        """
        0 a
        5 a
        14 b
            -> w [0,15) a c=2 more
        3 a
            -> w [0,15) a c=3 revision=1 more
        """,
    )


def test_a_session_whose_first_event_changes_replaces_what_it_was(told: Told) -> None:
    told(
        KEPT_20,
        """
        10 a
        19 b
            -> w [10,20) a c=1 more
        5 a
            -> w [5,20) a c=2 revision=1 more replaces=[10,20)#0
        6 a
            -> w [5,20) a c=3 revision=2 more
        """,
    )


def test_a_merged_session_replaces_all_that_were_emitted_and_only_once(told: Told) -> None:
    told(
        KEPT_20,
        """
        0 a
        15 a
            -> w [0,10) a c=1 more
        24 b
            -> w [15,25) a c=1 more
        10 a
            -> w [0,25) a c=3 revision=1 more replaces=[0,10)#0,[15,25)#0
        12 a
            -> w [0,25) a c=4 revision=2 more
        """,
    )


def test_a_merged_session_has_one_row_when_its_own_end_is_due(told: Told) -> None:
    told(
        KEPT_20,
        """
        0 a
        9 b
            -> w [0,10) a c=1 more
        18 a
            -> w [9,19) b c=1 more
        9 a
        7 a
        27 c
            -> w [0,28) a c=4 revision=1 more replaces=[0,10)#0
        """,
    )


def test_the_revision_is_one_more_than_the_highest_of_those_merged(told: Told) -> None:
    told(
        KEPT_20,
        """
        0 a
        9 b
            -> w [0,10) a c=1 more
        0 a
            -> w [0,10) a c=2 revision=1 more
        0 a
            -> w [0,10) a c=3 revision=2 more
        15 a
        24 c
            -> w [9,19) b c=1 more
            -> w [15,25) a c=1 more
        10 a
            -> w [0,25) a c=5 revision=3 more replaces=[0,10)#2,[15,25)#0
        """,
    )


def test_a_session_without_a_row_replaces_nothing(told: Told) -> None:
    told(
        KEPT_20,
        """
        10 a
        5 a
        30 b
            -> w [5,20) a c=2 more
        """,
    )


def test_a_session_is_dropped_when_the_lateness_has_run_out(told: Told) -> None:
    told(
        KEPT_20,
        """
        0 a
        28 b
            -> w [0,10) a c=1 more
        0 a
            -> w [0,10) a c=2 revision=1 more
        29 b
        0 a
            -> late w [0,10) watermark=29
        """,
    )


def test_a_late_event_may_start_a_session_that_has_ended_already(told: Told) -> None:
    told(
        KEPT_20,
        """
        28 b
        0 a
            -> w [0,10) a c=1 more
        """,
    )


def test_one_row_a_session_when_the_lateness_has_run_out(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], allowed_lateness: 20ms, emit: final, select: {c: count()}}",
        """
        0 a
        9 b
        15 a
        5 a
        -3 a
        34 c
        44 c
            -> w [9,19) b c=1
            -> w [-3,25) a c=4
        """,
    )


def test_a_session_that_begins_where_a_dropped_one_did_has_an_id_of_its_own(told: Told) -> None:
    """A story fails when two rows have one id."""
    told(
        "w: {session: 10ms, by: [user], select: {c: count()}}",
        """
        10 a
        19 b
            -> w [10,20) a c=1
        15 a
        10 a
        40 b
            -> w [10,25) a c=2
            -> w [19,29) b c=1
        """,
        bound="0ms",
    )


def test_sessions_that_overlap_merge_up_to_the_last_event_of_all(told: Told) -> None:
    told(
        "w: {session: {gap: 15ms, max_length: 60ms}, by: [user], select: {c: count()}}",
        """
        17 a
        32 a
        47 a
        62 a
        77 a
        16 a
        0 a
        10 a
        20 a
        16 a
        1 a
        end
            -> w [0,35) a c=6
            -> w [17,92) a c=5
        """,
        bound="100ms",
    )


def test_where_sessions_merge_the_first_record_of_the_shard_wins_a_tie(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], select: {m: 'max_by(page, n)', l: 'min_by(page, n)'}}",
        """
        25 a page="first" n=1
        5 a page="second" n=1
        15 a page="third" n=1
        end
            -> w [5,35) a m="first" l="first"
        """,
        bound="100ms",
    )


def test_where_cut_sessions_merge_equal_times_are_told_apart_by_the_place_in_the_shard(told: Told) -> None:
    told(
        """
        w:
          session: {gap: 10ms, max_length: 40ms}
          by: [user]
          select: {all: 'collect(n, 9)', f: first(n), l: last(n)}
        """,
        """
        5 a n=1
        25 a n=2
        25 a n=3
        5 a n=4
        15 a n=5
        end
            -> w [5,35) a all=[1,4,5,2,3] f=1 l=3
        """,
        bound="100ms",
    )


def test_a_session_may_tell_of_nothing_but_its_own_time(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], select: {f: min(at), l: last(at)}}",
        """
        20 a
        15 a
        30 b
        end
            -> w [15,30) a f="1970-01-01T00:00:00.015Z" l="1970-01-01T00:00:00.020Z"
            -> w [30,40) b f="1970-01-01T00:00:00.030Z" l="1970-01-01T00:00:00.030Z"
        """,
        bound="40ms",
    )
