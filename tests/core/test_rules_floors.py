"""Floors: after a merge a straggler does not open again what its own parent has closed.

Users by the first digit of their hash: a 0, h 2, j 3, c 4, y 4; d 8, b 9, e e.
"""

from __future__ import annotations

import pytest

from tests.core.conftest import Told

TEN = "w: {tumbling: 10ms, by: [user], select: {c: count()}}"
KEPT_TEN = "w: {tumbling: 10ms, by: [user], allowed_lateness: 10ms, select: {c: count()}}"
SLIDING = "w: {sliding: {size: 10ms, every: 5ms}, by: [user], select: {c: count()}}"
SESSION = "w: {session: 10ms, by: [user], select: {c: count()}}"
PARTS = "p: {tumbling: 10ms, combine: false, select: {c: count()}}"


def test_a_straggler_after_a_merge_is_late_for_a_tumbling_window(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        shard right 8-f
        left 5 a
        left 12 a
            -> w [0,10) a c=1
        right 1 b
        shard whole 0-f of left right
        whole 2 a
            -> late w [0,10) watermark=12
        whole 2 c
            -> late w [0,10) watermark=12
        whole 3 b
        whole 9 b
            -> w [0,10) b c=3
        whole 10 a
        whole 19 b
            -> w [10,20) a c=2
            -> w [10,20) b c=1
        """,
    )


def test_a_floor_counts_as_long_as_the_watermark_is_lower(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        shard right 8-f
        left 9 a
            -> w [0,10) a c=1
        right 8 b
        shard whole 0-f of left right
        whole 5 a
            -> late w [0,10) watermark=9
        whole 8 b
        whole 18 b
            -> w [0,10) b c=2
        whole 9 a
            -> late w [0,10) watermark=18
        whole 19 a
            -> w [10,20) a c=1
            -> w [10,20) b c=1
        """,
    )


def test_a_straggler_after_a_merge_is_late_for_the_sliding_windows_that_were_emitted(told: Told) -> None:
    """The slices of [5,10) are kept for [5,15), and do not make a second row of [0,10)."""
    told(
        SLIDING,
        """
        shard left 0-7
        shard right 8-f
        left 7 a
        left 12 a
            -> w [0,10) a c=1
        right 1 b
        shard whole 0-f of left right
        whole 8 a
            -> w [-5,5) b c=1
            -> late w [0,10) watermark=12
        whole 20 b
            -> w [0,10) b c=1
            -> w [5,15) a c=3
            -> w [10,20) a c=1
        """,
    )


def test_a_straggler_after_a_merge_is_late_for_a_session_alone_and_in_time_for_one_still_kept(told: Told) -> None:
    told(
        SESSION,
        """
        shard left 0-7
        shard right 8-f
        left 5 a
        left 25 a
            -> w [5,15) a c=1
        right 1 b
        shard whole 0-f of left right
        whole 8 a
            -> late w [8,18) watermark=25
        whole 20 a
            -> w [1,11) b c=1
        whole 14 a
        whole 60 b
            -> w [14,35) a c=3
        """,
    )


def test_a_straggler_after_a_merge_opens_only_stagger_windows_that_are_not_due(told: Told) -> None:
    told(
        "w: {stagger: 10ms, by: [user], select: {c: count()}}",
        """
        shard left 0-7
        shard right 8-f
        left 3 a
        left 13 a
            -> w [3,13) a c=1
        right 1 b
        shard whole 0-f of left right
        whole 4 a
            -> late w [4,14) watermark=13
        whole 5 a
        whole 14 a
            -> w [1,11) b c=1
            -> w [5,15) a c=2
        whole end
            -> w [13,23) a c=1
        """,
    )


@pytest.mark.parametrize("kind", ["tumbling: 10ms", "sliding: {size: 10ms, every: 10ms}"])
def test_a_straggler_within_the_lateness_gives_an_update_at_once(told: Told, kind: str) -> None:
    told(
        f"w: {{{kind}, by: [user], allowed_lateness: 10ms, select: {{c: count()}}}}",
        """
        shard left 0-7
        shard right 8-f
        left 5 a
        left 12 a
            -> w [0,10) a c=1 more
        right 1 b
        shard whole 0-f of left right
        whole 7 a
            -> w [0,10) a c=2 revision=1 more
        whole 8 c
            -> w [0,10) c c=1 more
        whole 8 b
        whole 9 b
            -> w [0,10) b c=3 more
        whole 20 b
            -> w [10,20) a c=1 more
        whole 9 a
            -> late w [0,10) watermark=20
        """,
    )


def test_the_lateness_runs_out_by_the_floor(told: Told) -> None:
    told(
        KEPT_TEN,
        """
        shard left 0-7
        shard right 8-f
        left 5 a
        left 19 c
            -> w [0,10) a c=1
            -> w [10,20) c c=1 more
        right 1 b
        shard whole 0-f of left right
        whole 7 a
            -> late w [0,10) watermark=19
        whole 12 a
            -> w [0,10) b c=1 more
            -> w [10,20) a c=1 more
        """,
    )


def test_overlapping_windows_are_updated_each_by_its_own_end(told: Told) -> None:
    told(
        "w: {sliding: {size: 10ms, every: 5ms}, by: [user], allowed_lateness: 10ms, select: {c: count()}}",
        """
        shard left 0-7
        shard right 8-f
        left 7 a
        left 12 a
            -> w [0,10) a c=1 more
        right 1 b
        shard whole 0-f of left right
        whole 8 a
            -> w [-5,5) b c=1 more
            -> w [0,10) a c=2 revision=1 more
        whole 9 b
            -> w [0,10) b c=2 more
        whole 25 a
            -> w [5,15) a c=3
            -> w [5,15) b c=1
            -> w [10,20) a c=1 more
        """,
    )


def test_sessions_go_on_after_a_merge_with_their_revisions(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], allowed_lateness: 20ms, select: {c: count()}}",
        """
        shard left 0-7
        shard right 8-f
        left 0 a
        left 9 a
        left 30 a
            -> w [0,19) a c=2 more
        right 1 b
        shard whole 0-f of left right
        whole 19 a
            -> w [1,11) b c=1 more
            -> w [0,29) a c=3 revision=1 more
        whole 24 a
        whole 39 b
            -> w [0,40) a c=5 revision=2 more replaces=[0,29)#1
        """,
    )


def test_one_row_a_window_with_emit_final(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], allowed_lateness: 10ms, emit: final, select: {c: count()}}",
        """
        shard left 0-7
        shard right 8-f
        left 5 a
        left 15 a
        right 1 b
        shard whole 0-f of left right
        whole 9 a
        whole 19 b
            -> w [0,10) a c=2
            -> w [0,10) b c=1
        """,
    )


def test_floors_stay_through_a_second_merge_and_a_split(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-3
        shard middle 4-7
        shard right 8-f
        left 50 a
        middle 20 c
        right 5 b
        shard lower 0-7 of left middle
        lower 30 c
            -> w [20,30) c c=1
        shard whole 0-f of lower right
        whole 6 b
        whole 7 c
            -> late w [0,10) watermark=30
        whole 8 a
            -> late w [0,10) watermark=50
        whole 9 b
            -> w [0,10) b c=3
        shard down 0-3 of whole
        shard up 4-f of whole
        up 10 c
            -> late w [10,20) watermark=30
        up 11 b
        down 12 a
            -> late w [10,20) watermark=50
        up 31 b
            -> w [10,20) b c=1
        up 31 c
        up 29 c
            -> late w [20,30) watermark=31
        up end
            -> w [30,40) b c=1
            -> w [30,40) c c=2
        down 49 j
            -> late w [40,50) watermark=50
        down end
            -> w [50,60) a c=1
        """,
    )


def test_where_a_parent_went_beyond_its_floor_its_watermark_is_the_floor(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-3
        shard middle 4-7
        shard right 8-f
        left 50 a
        middle 20 c
        right 5 b
        shard lower 0-7 of left middle
        lower 60 c
            -> w [20,30) c c=1
            -> w [50,60) a c=1
        shard whole 0-f of lower right
        whole 6 a
            -> late w [0,10) watermark=60
        whole 7 c
            -> late w [0,10) watermark=60
        """,
    )


def test_the_floor_is_told_by_the_partition_key_wherever_it_stands_in_the_groups_key(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [page, user], select: {c: count()}}",
        """
        shard left 0-7
        shard right 8-f
        left 35 a page="b"
        right 5 b page="a"
        shard whole 0-f of left right
        whole 6 a page="b"
            -> late w [0,10) watermark=35
        whole 7 b page="a"
        whole 40 b page="b"
            -> w [0,10) a b c=2
            -> w [30,40) b a c=1
        """,
    )


def test_in_a_window_that_is_not_aligned_there_is_no_floor(told: Told) -> None:
    told(
        f"{TEN}\n{PARTS}",
        """
        shard left 0-7
        shard right 8-f
        left 35 a
        right 5 b
        shard whole 0-f of left right
        whole 6 a
            -> late w [0,10) watermark=35
        whole 40 b
            -> w [0,10) b c=1
            -> w [30,40) a c=1
            -> p [30,40) c=1 of=left
            -> p [0,10) c=1 of=right
            -> p [0,10) c=1
        """,
    )


def test_a_sliding_window_that_was_dropped_at_the_very_floor_does_not_come_back(told: Told) -> None:
    """The slice of a in [5,10) is kept for [5,15) alone."""
    told(
        SLIDING,
        """
        shard left 0-7
        shard right 8-f
        left 9 a
            -> w [0,10) a c=1
        right 1 b
        shard whole 0-f of left right
        whole 8 b
            -> w [-5,5) b c=1
        whole 14 b
            -> w [0,10) b c=2
            -> w [5,15) a c=1
            -> w [5,15) b c=2
        whole end
            -> w [10,20) b c=1
        """,
    )


def test_a_sliding_window_that_one_parent_has_told_of_is_told_of_again_where_it_changes(told: Told) -> None:
    told(
        "w: {sliding: {size: 10ms, every: 5ms}, by: [user], allowed_lateness: 20ms, select: {c: count()}}",
        """
        shard left 0-7
        shard right 8-f
        left 7 a
        left 9 h
            -> w [0,10) a c=1 more
            -> w [0,10) h c=1 more
        right 1 b
        shard whole 0-f of left right
        whole 6 b
            -> w [-5,5) b c=1 more
        whole 7 a
            -> w [0,10) a c=2 revision=1 more
        whole 9 b
            -> w [0,10) b c=3 more
        whole 8 h
            -> w [0,10) h c=2 revision=1 more
        whole end
            -> w [5,15) a c=2
            -> w [5,15) b c=2
            -> w [5,15) h c=2
        """,
    )
