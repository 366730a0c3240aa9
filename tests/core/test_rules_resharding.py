"""What children take over of their parents: hash ranges and watermarks, groups, and parts of other shards.

Users by the first digit of their hash: a 0, h 2, j 3, c 4, y 4; d 8, b 9, e e.
"""

from __future__ import annotations

from tests.core.conftest import Told

TEN = "w: {tumbling: 10ms, by: [user], select: {c: count()}}"
SESSION = "w: {session: {gap: 10ms}, by: [user], select: {c: count()}}"
SLIDING = "w: {sliding: {size: 10ms, every: 5ms}, by: [user], select: {c: count()}}"
PARTS = "p: {tumbling: 10ms, combine: false, select: {c: count()}}"


def early(groups: int) -> str:
    return f"groups: {groups}, policy: emit_early"


# -- misrouted


def test_a_record_whose_key_hashes_elsewhere_is_misrouted(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        left 3 a
        left 50 b
            -> dead misrouted
        left 4 a
        left end
            -> w [0,10) a c=2
        """,
    )


def test_a_record_whose_key_hashes_elsewhere_opens_no_session_and_joins_none(told: Told) -> None:
    told(
        SESSION,
        """
        shard left 0-7
        left 3 a
        left 4 b
            -> dead misrouted
        left 5 b
            -> dead misrouted
        left 6 a
        left end
            -> w [3,16) a c=2
        """,
    )


def test_a_split_changes_who_is_misrouted(told: Told) -> None:
    told(
        TEN,
        """
        shard all 0-f
        all 3 a
        all 3 b
        shard left 0-7 of all
        shard right 8-f of all
        left 4 b
            -> dead misrouted
        right 4 a
            -> dead misrouted
        """,
    )


def test_without_an_aligned_window_records_may_come_from_anywhere(told: Told) -> None:
    told(
        PARTS,
        """
        shard left 0-7
        left 3 b
        left end
            -> p [0,10) c=1
        """,
    )


# -- the watermark


def test_after_a_split_the_watermark_is_the_parents(told: Told) -> None:
    told(
        TEN,
        """
        shard all 0-f
        all 12 a
        all 30 b
            -> w [10,20) a c=1
        shard left 0-7 of all
        shard right 8-f of all
        left 29 a
            -> late w [20,30) watermark=30
        right 40 b
            -> w [30,40) b c=1
        left 31 a
        left end
            -> w [30,40) a c=1
        """,
    )


def test_after_a_merge_the_watermark_is_the_lower_one(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        shard right 8-f
        left 35 a
        right 15 b
        shard whole 0-f of left right
        whole 16 b
        whole 9 b
            -> late w [0,10) watermark=16
        whole 19 b
            -> w [10,20) b c=3
        whole 40 b
            -> w [30,40) a c=1
        """,
    )


def test_a_parent_without_events_has_the_lowest_watermark(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        shard right 8-f
        left 35 a
        shard whole 0-f of left right
        whole 5 a
            -> late w [0,10) watermark=35
        whole 5 b
        whole 9 b
            -> w [0,10) b c=2
        whole 12 a
            -> late w [10,20) watermark=35
        """,
    )


def test_parents_without_events_leave_no_watermark(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        shard right 8-f
        shard whole 0-f of left right
        whole -100 b
        whole -100 a
        whole -50 a
            -> w [-100,-90) a c=1
            -> w [-100,-90) b c=1
        """,
    )


def test_a_parent_that_was_idle_has_a_watermark(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        shard right 8-f
        left 35 a
        right idle 20
        shard whole 0-f of left right
        whole 9 b
            -> late w [0,10) watermark=15
        """,
        bound="5ms",
    )


def test_an_idle_child_closes_what_it_took_over(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        shard right 8-f
        left 35 a
        right 5 b
        shard whole 0-f of left right
        whole idle 20
            -> w [0,10) b c=1
        whole 25 a
            -> late w [20,30) watermark=35
        whole idle 39
            -> w [30,40) a c=1
        """,
    )


# -- aligned groups


def test_groups_go_where_their_keys_hash_to(told: Told) -> None:
    told(
        TEN,
        """
        shard all 0-f
        all 3 a
        all 4 b
        all 4 c
        shard left 0-3 of all
        shard right 4-f of all
        left 5 a
        right 6 b
        left end
            -> w [0,10) a c=2
        right end
            -> w [0,10) b c=2
            -> w [0,10) c c=1
        """,
    )


def test_slices_of_sliding_windows_go_with_their_groups(told: Told) -> None:
    told(
        SLIDING,
        """
        shard all 0-f
        all 7 a
        all 7 b
        all 12 b
            -> w [0,10) a c=1
            -> w [0,10) b c=1
        shard left 0-7 of all
        shard right 8-f of all
        left 13 a
        left 14 a
            -> w [5,15) a c=3
        right 14 b
            -> w [5,15) b c=3
        left end
            -> w [10,20) a c=2
        right end
            -> w [10,20) b c=2
        """,
    )


def test_events_of_the_parents_come_before_the_childs(told: Told) -> None:
    """Of equal values of n the earliest position has it, whichever session comes first."""
    told(
        "w: {session: 10ms, by: [user], select: {m: 'max_by(page, n)', l: last(page)}}",
        """
        shard left 0-7
        shard right 8-f
        left 1 a page="1" n=7
        right 2 e page="2"
        right 3 e page="3"
        right 20 b page="4" n=7
        shard whole 0-f of left right
        whole 5 b page="5" n=7
        whole 1 a page="6" n=7
        whole 12 b
        whole end
            -> w [1,11) a m="1" l="6"
            -> w [2,13) e m=null l="3"
            -> w [5,30) b m="4" l="4"
        """,
        bound="200ms",
    )


def test_what_was_emitted_early_is_remembered_where_the_group_goes(told: Told) -> None:
    told(
        TEN,
        """
        shard all 0-f
        all 1 a
        all 2 b
            -> w [0,10) a c=1 early part=0
        all 3 c
            -> w [0,10) b c=1 early part=0
        shard left 0-3 of all
        shard right 4-f of all
        left 4 a
        left end
            -> w [0,10) a c=1 part=1
        right 5 b
            -> w [0,10) c c=1 early part=0
        right 6 b
        right end
            -> w [0,10) b c=2 part=1
        """,
        limits=early(1),
    )


# -- parts


def test_after_a_split_a_part_goes_to_the_child_with_the_lowest_hash_and_gets_no_more_events(told: Told) -> None:
    told(
        PARTS,
        """
        shard all 0-f
        all 3 a
        all 4 b
        shard left 0-7 of all
        shard right 8-f of all
        left 5 a
        right 6 b
        left 12 a
            -> p [0,10) c=2 of=all
            -> p [0,10) c=1
        right 12 b
            -> p [0,10) c=1
        """,
    )


def test_an_inherited_session_does_not_grow(told: Told) -> None:
    told(
        "s: {session: 10ms, by: [page], combine: false, select: {c: count()}}",
        """
        shard all 0-f
        all 5 a page="x"
        shard left 0-7 of all
        shard right 8-f of all
        left 8 a page="x"
        right 9 b page="x"
        left 40 a page="x"
            -> s [5,15) x c=1 of=all
            -> s [8,18) x c=1
        right 40 b page="x"
            -> s [9,19) x c=1
        """,
    )


def test_parts_of_ancestors_meet_after_a_split_and_a_merge(told: Told) -> None:
    told(
        PARTS,
        """
        shard root 0-f
        root 3 a
        shard left 0-7 of root
        shard right 8-f of root
        left 4 a
        right 5 b
        shard whole 0-f of left right
        whole 6 a
        whole 9 b
            -> p [0,10) c=1 of=left
            -> p [0,10) c=1 of=right
            -> p [0,10) c=1 of=root
            -> p [0,10) c=2
        """,
    )


def test_after_a_merge_and_a_split_parts_go_by_the_ranges_of_their_origins(told: Told) -> None:
    told(
        PARTS,
        """
        shard left 0-7
        shard right 8-f
        left 3 a
        right 4 b
        shard whole 0-f of left right
        whole 5 b
        shard low 0-3 of whole
        shard high 4-f of whole
        low end
            -> p [0,10) c=1 of=left
            -> p [0,10) c=1 of=whole
        high end
            -> p [0,10) c=1 of=right
        """,
    )


def test_a_whole_origin_goes_where_its_lowest_hash_goes(told: Told) -> None:
    told(
        PARTS,
        """
        shard left 0-7
        shard right 8-f
        left 3 a
        right 4 e
        shard whole 0-f of left right
        whole 5 e
        shard low 0-b of whole
        shard high c-f of whole
        high end
        low end
            -> p [0,10) c=1 of=left
            -> p [0,10) c=1 of=right
            -> p [0,10) c=1 of=whole
        """,
    )


def test_the_faster_parents_part_waits_and_tells_nothing_twice(told: Told) -> None:
    told(
        "p: {sliding: {size: 10ms, every: 5ms}, combine: false, select: {c: count()}}",
        """
        shard left 0-7
        shard right 8-f
        left 7 a
        left 12 a
            -> p [0,10) c=1
        right 1 b
        shard whole 0-f of left right
        whole 4 a
            -> p [-5,5) c=1 of=right
            -> p [-5,5) c=1
        whole 20 b
            -> p [5,15) c=2 of=left
            -> p [10,20) c=1 of=left
            -> p [0,10) c=1 of=right
            -> p [0,10) c=1
        """,
    )


def test_a_part_that_had_its_row_and_is_kept_has_no_other(told: Told) -> None:
    told(
        "p: {tumbling: 10ms, combine: false, allowed_lateness: 10ms, select: {c: count()}}",
        """
        shard left 0-7
        shard right 8-f
        left 5 a
        left 12 a
            -> p [0,10) c=1 more
        right 1 b
        shard whole 0-f of left right
        whole 7 a
        whole 9 b
            -> p [0,10) c=1 more of=right
            -> p [0,10) c=2 more
        whole 8 a
            -> p [0,10) c=3 revision=1 more
        whole 40 b
            -> p [10,20) c=1 of=left
        """,
    )


def test_rows_stand_by_window_then_origin_then_end(told: Told) -> None:
    told(
        """
        p: {tumbling: 10ms, by: [page], combine: false, select: {c: count()}}
        w: {tumbling: 10ms, by: [user], select: {c: count()}}
        q: {tumbling: 5ms, by: [page], combine: false, select: {c: count()}}
        """,
        """
        shard left 0-7
        shard right 8-f
        left 13 a page="y"
        left 12 a page="x"
        right 4 b page="z"
        shard whole 0-f of left right
        whole 5 c page="x"
        whole 40 b page="x"
            -> p [10,20) x c=1 of=left
            -> p [10,20) y c=1 of=left
            -> p [0,10) z c=1 of=right
            -> p [0,10) x c=1
            -> w [0,10) b c=1
            -> w [0,10) c c=1
            -> w [10,20) a c=2
            -> q [10,15) x c=1 of=left
            -> q [10,15) y c=1 of=left
            -> q [0,5) z c=1 of=right
            -> q [5,10) x c=1
        """,
        bound="9ms",
    )
