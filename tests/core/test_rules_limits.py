"""Rule 13: how many groups a shard may have open, and how many values a group may tell apart."""

from __future__ import annotations

import pytest

from tests.core.conftest import Told

TEN = "w: {tumbling: 10ms, by: [user], select: {c: count()}}"
TWO = "groups: 2, policy: reject"
TWO_EARLY = "groups: 2, policy: emit_early"
ONE_EARLY = "groups: 1, policy: emit_early"
SLIDING = "w: {sliding: {size: 10ms, every: 5ms}, by: [user], select: {c: count()}}"

# -- reject


def test_a_record_that_would_open_a_group_too_many_is_a_dead_letter(told: Told) -> None:
    told(
        TEN,
        """
        1 a
        2 b
        3 c
            -> dead state_limit
        4 a
        9 a
            -> w [0,10) a c=3
            -> w [0,10) b c=1
        12 c
        """,
        limits=TWO,
    )


def test_it_touches_no_window_and_moves_no_watermark(told: Told) -> None:
    told(
        """
        groups: {tumbling: 10ms, by: [user], select: {c: count()}}
        all: {tumbling: 10ms, combine: false, select: {c: count()}}
        """,
        """
        1 a
        50 a
            -> dead state_limit
        3 b
            -> dead state_limit
        2 a
        end
            -> groups [0,10) a c=2
            -> all [0,10) c=2
        """,
        limits=TWO,
    )


def test_the_groups_of_all_windows_count_together(told: Told) -> None:
    told(
        """
        ten: {tumbling: 10ms, by: [user], select: {c: count()}}
        visits: {session: 10ms, by: [user], select: {c: count()}}
        """,
        """
        1 a
        2 b
            -> dead state_limit
        end
            -> ten [0,10) a c=1
            -> visits [1,11) a c=1
        """,
        limits="groups: 3, policy: reject",
    )


def test_each_start_of_a_sliding_window_is_a_group(told: Told) -> None:
    told(
        SLIDING,
        """
        6 a
        7 b
            -> dead state_limit
        9 a
            -> w [0,10) a c=2
        """,
        limits="groups: 3, policy: reject",
    )


def test_where_a_record_is_late_or_left_out_it_opens_nothing(told: Told) -> None:
    told(
        """
        w: {tumbling: 10ms, by: [user], select: {c: count()}}
        many: {tumbling: 10ms, by: [user], where: n > 1, select: {c: count()}}
        """,
        """
        15 a
        5 b
            -> late w [0,10) watermark=15
        15 a n=2
        16 b
            -> dead state_limit
        """,
        limits=TWO,
    )


def test_groups_kept_for_late_events_count(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], allowed_lateness: 50ms, select: {c: count()}}",
        """
        1 a
        9 b
            -> w [0,10) a c=1 more
            -> w [0,10) b c=1 more
        12 a
            -> dead state_limit
        """,
        limits=TWO,
    )


@pytest.mark.parametrize(
    "kind", ["tumbling: 10ms", "sliding: {size: 10ms, every: 10ms}", "session: 10ms", "stagger: 10ms"]
)
def test_they_count_until_the_lateness_has_run_out(told: Told, kind: str) -> None:
    told(
        f"w: {{{kind}, by: [user], allowed_lateness: 50ms, select: {{c: count()}}}}",
        """
        0 a
        idle 9
            -> w [0,10) a c=1 more
        idle 58
        60 a
            -> dead state_limit
        idle 59
        60 a
        end
            -> w [60,70) a c=1
        """,
        limits="groups: 1, policy: reject",
    )


def test_sessions_that_merge_make_room_for_the_next_record(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], select: {c: count()}}",
        """
        0 a
        20 a
        40 a
            -> dead state_limit
        10 a
        40 a
        end
            -> w [0,30) a c=3
            -> w [40,50) a c=1
        """,
        bound="50ms",
        limits=TWO,
    )


# -- emit_early


def test_the_group_that_ends_first_makes_room(told: Told) -> None:
    told(
        TEN,
        """
        12 a
        1 b
        3 c
            -> w [0,10) b c=1 early part=0
        40 a
            -> w [0,10) c c=1 early part=0
            -> w [10,20) a c=1
        """,
        bound="20ms",
        limits=TWO_EARLY,
    )


def test_of_equal_ends_the_window_first_in_the_file_the_start_and_the_key_decide(told: Told) -> None:
    told(
        """
        second: {stagger: 5ms, by: [user], select: {c: count()}}
        first: {tumbling: 10ms, by: [user], select: {c: count()}}
        """,
        """
        5 b
        5 a
        105 c
            -> second [5,10) a c=1 early part=0
            -> second [5,10) b c=1 early part=0
        """,
        bound="200ms",
        limits="groups: 4, policy: emit_early",
    )


def test_what_opens_again_is_the_next_part_and_counts_only_what_came_since(told: Told) -> None:
    told(
        TEN,
        """
        1 a
        2 b
        3 c
            -> w [0,10) a c=1 early part=0
        4 a
            -> w [0,10) b c=1 early part=0
        5 a
        6 b
            -> w [0,10) a c=2 early part=1
        7 a
            -> w [0,10) b c=1 early part=1
        end
            -> w [0,10) a c=1 part=2
            -> w [0,10) c c=1
        """,
        limits=TWO_EARLY,
    )


def test_parts_are_forgotten_when_the_window_is_dropped(told: Told) -> None:
    told(
        TEN,
        """
        1 a
        2 b
            -> w [0,10) a c=1 early part=0
        9 b
            -> w [0,10) b c=2
        3 a
            -> late w [0,10) watermark=9
        """,
        limits=ONE_EARLY,
    )


def test_a_group_that_had_its_row_takes_the_next_revision(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], allowed_lateness: 20ms, select: {c: count()}}",
        """
        5 a
        12 a
            -> w [0,10) a c=1 more
        22 b
            -> w [0,10) a c=1 revision=1 early part=0
            -> w [10,20) a c=1 more
        6 a
            -> w [0,10) a c=1 more part=1
            -> w [10,20) a c=1 revision=1 early part=0
        7 a
            -> w [0,10) a c=2 revision=1 more part=1
        """,
        limits=TWO_EARLY,
    )


def test_a_session_that_was_emitted_early_is_gone(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], select: {c: count()}}",
        """
        0 a
        20 b
            -> w [0,10) a c=1 early part=0
        5 a
            -> w [20,30) b c=1 early part=0
        end
            -> w [5,15) a c=1
        """,
        bound="50ms",
        limits=ONE_EARLY,
    )


def test_a_session_that_starts_where_one_was_emitted_early_is_its_next_part(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], select: {c: count()}}",
        """
        0 a
        20 b
            -> w [0,10) a c=1 early part=0
        0 a
            -> w [20,30) b c=1 early part=0
        end
            -> w [0,10) a c=1 part=1
        """,
        bound="50ms",
        limits=ONE_EARLY,
    )


def test_each_sliding_window_goes_on_by_itself(told: Told) -> None:
    """The event at 12 makes room by [0,10) alone: [5,15) keeps what it has."""
    told(
        SLIDING,
        """
        6 a
        7 a
        12 a
            -> w [0,10) a c=2 early part=0
        end
            -> w [5,15) a c=3
            -> w [10,20) a c=1
        """,
        bound="20ms",
        limits=TWO_EARLY,
    )


def test_what_the_record_itself_has_opened_may_have_to_make_room(told: Told) -> None:
    told(
        """
        ten: {tumbling: 10ms, by: [user], select: {c: count()}}
        four: {tumbling: 4ms, by: [user], select: {c: count()}}
        """,
        """
        101 a
            -> ten [100,110) a c=1 early part=0
        1 b
            -> ten [0,10) b c=1 early part=0
            -> four [100,104) a c=1 early part=0
        end
            -> four [0,4) b c=1
        """,
        bound="200ms",
        limits=ONE_EARLY,
    )


def test_windows_make_room_one_after_the_other_in_the_order_of_the_file(told: Told) -> None:
    """The event at 8 opens [0,10) in the place of [5,15), and then that again in the place of [0,10)."""
    told(
        SLIDING,
        """
        6 a
            -> w [0,10) a c=1 early part=0
        8 a
            -> w [0,10) a c=1 early part=1
            -> w [5,15) a c=1 early part=0
        end
            -> w [5,15) a c=1 part=1
        """,
        bound="20ms",
        limits=ONE_EARLY,
    )


# -- count_distinct with "reject"


def test_a_record_with_a_value_too_many_is_a_dead_letter(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], select: {c: count(), d: \"count_distinct(page, 2, 'reject')\"}}",
        """
        1 a page="x"
        2 a page="y"
        3 a page="z"
            -> dead state_limit
        3 b page="z"
        4 a page="x"
        5 a
        9 a page="z"
            -> dead state_limit
        end
            -> w [0,10) a c=4 d=2
            -> w [0,10) b c=1 d=1
        """,
    )


def test_a_record_that_would_merge_sessions_with_values_too_many_is_a_dead_letter(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], select: {c: count(), d: \"count_distinct(page, 2, 'reject')\"}}",
        """
        0 a page="x"
        20 a page="y"
        10 a page="z"
            -> dead state_limit
        10 a
        end
            -> w [0,30) a c=3 d=2
        """,
        bound="50ms",
    )


def test_a_session_that_an_earlier_event_has_extended_still_ends_first(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], select: {c: count()}}",
        """
        20 a
        15 a
        30 b
        31 c
            -> w [15,30) a c=2 early part=0
        end
            -> w [30,40) b c=1
            -> w [31,41) c c=1
        """,
        limits=TWO_EARLY,
        bound="40ms",
    )
