"""Limits where a shard holds what its parents left, and parts of other shards.

Users by the first digit of their hash: a 0, h 2, j 3, c 4, y 4; d 8, b 9, e e.
"""

from __future__ import annotations

from tests.core.conftest import Told

TEN = "w: {tumbling: 10ms, by: [user], select: {c: count()}}"
PARTS = "p: {tumbling: 10ms, combine: false, select: {c: count()}}"
PARTS_OF_PAGES = "p: {tumbling: 10ms, by: [page], combine: false, select: {c: count()}}"


def early(groups: int) -> str:
    return f"groups: {groups}, policy: emit_early"


def test_a_merged_shard_beyond_the_limit_opens_nothing_until_there_is_room(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        shard right 8-f
        left 3 a
        left 4 c
        right 3 b
        right 4 d
        shard whole 0-f of left right
        whole 5 a
        whole 6 e
            -> dead state_limit
        whole 9 b
            -> w [0,10) a c=2
            -> w [0,10) b c=2
            -> w [0,10) c c=1
            -> w [0,10) d c=1
        whole 12 e
        """,
        limits="groups: 2, policy: reject",
    )


def test_a_merged_shard_beyond_the_limit_emits_early_until_there_is_room(told: Told) -> None:
    told(
        TEN,
        """
        shard left 0-7
        shard right 8-f
        left 3 a
        left 4 c
        right 3 b
        right 4 d
        shard whole 0-f of left right
        whole 5 a
        whole 6 e
            -> w [0,10) a c=2 early part=0
            -> w [0,10) b c=1 early part=0
            -> w [0,10) c c=1 early part=0
        whole end
            -> w [0,10) d c=1
            -> w [0,10) e c=1
        """,
        limits=early(2),
    )


def test_groups_of_other_origins_count_and_make_room(told: Told) -> None:
    told(
        PARTS,
        """
        shard left 0-7
        shard right 8-f
        left 3 a
        right 4 b
        shard whole 0-f of left right
        whole 5 a
            -> p [0,10) c=1 early part=0 of=left
        whole 6 b
        whole end
            -> p [0,10) c=1 of=right
            -> p [0,10) c=2
        """,
        limits=early(2),
    )


def test_groups_of_other_origins_count_where_records_are_rejected(told: Told) -> None:
    told(
        PARTS,
        """
        shard left 0-7
        shard right 8-f
        left 3 a
        right 4 b
        shard whole 0-f of left right
        whole 5 a
            -> dead state_limit
        whole idle 9
            -> p [0,10) c=1 of=left
            -> p [0,10) c=1 of=right
        whole 11 a
        """,
        limits="groups: 2, policy: reject",
    )


def test_the_group_that_ends_first_makes_room_whatever_its_origin(told: Told) -> None:
    told(
        PARTS,
        """
        shard left 0-7
        shard right 8-f
        left 13 a
        right 4 b
        shard whole 0-f of left right
        whole 5 a
            -> p [0,10) c=1 early part=0 of=right
        whole 11 a
            -> p [0,10) c=1 early part=0
        """,
        bound="20ms",
        limits=early(2),
    )


def test_of_equal_ends_the_window_then_the_key_then_the_origin_decide(told: Told) -> None:
    told(
        PARTS_OF_PAGES,
        """
        shard left 0-7
        shard right 8-f
        left 3 a page="y"
        right 4 b page="x"
        shard whole 0-f of left right
        whole 5 a page="z"
            -> p [0,10) x c=1 early part=0 of=right
        whole end
            -> p [0,10) y c=1 of=left
            -> p [0,10) z c=1
        """,
        limits=early(2),
    )


def test_of_equal_groups_the_shards_own_makes_room_last(told: Told) -> None:
    told(
        PARTS_OF_PAGES,
        """
        shard left 0-7
        shard right 8-f
        left 3 a page="x"
        right 4 b page="x"
        shard whole 0-f of left right
        whole 5 a page="x"
            -> p [0,10) x c=1 early part=0 of=left
        whole 6 a page="y"
            -> p [0,10) x c=1 early part=0 of=right
        whole 7 a page="z"
            -> p [0,10) x c=1 early part=0
        whole end
            -> p [0,10) y c=1
            -> p [0,10) z c=1
        """,
        limits=early(2),
    )


def test_early_rows_stand_among_the_others_by_window_and_origin(told: Told) -> None:
    """The event at 5 opens a group of `p`, then one of `q`: each makes room with a group of `p`."""
    told(
        f"{PARTS}\n{PARTS.replace('p:', 'q:')}",
        """
        shard left 0-7
        shard right 8-f
        left 3 a
        right 4 b
        shard whole 0-f of left right
        whole 5 a
            -> p [0,10) c=1 early part=0 of=left
            -> p [0,10) c=1 early part=0 of=right
        whole end
            -> p [0,10) c=1
            -> q [0,10) c=1 of=left
            -> q [0,10) c=1 of=right
            -> q [0,10) c=1
        """,
        limits=early(4),
    )
