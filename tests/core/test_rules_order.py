"""Rule 10: equal times, null groups, and the order of the rows that arise from one record."""

from __future__ import annotations

from tests.core.conftest import Told


def test_equal_times_are_ordered_by_position(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user], select: {f: first(page), l: last(page)}}",
        """
        5 a page="five"
        3 a page="three"
        7 a page="seven"
        3 a page="three,again"
        7 a page="seven,again"
        end
            -> w [0,10) a f="three" l="seven,again"
        """,
        bound="20ms",
    )


def test_null_is_a_group_of_its_own_and_stands_first(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [page], combine: false, select: {c: count()}}",
        """
        1 a page="null"
        2 a page="b"
        3 a
        4 a page=null
        end
            -> w [0,10) null c=2
            -> w [0,10) b c=1
            -> w [0,10) null c=1
        """,
    )


def test_null_is_a_group_of_its_own_in_windows_of_all_kinds(told: Told) -> None:
    told(
        """
        visits: {session: 10ms, by: [page], combine: false, select: {c: count()}}
        staggered: {stagger: 10ms, by: [page], combine: false, select: {c: count()}}
        overlapping: {sliding: {size: 10ms, every: 10ms}, by: [page], combine: false, select: {c: count()}}
        """,
        """
        1 a page="a"
        2 a
        3 a
        30 a page="b"
            -> visits [1,11) a c=1
            -> visits [2,13) null c=2
            -> staggered [1,11) a c=1
            -> staggered [2,12) null c=2
            -> overlapping [0,10) null c=2
            -> overlapping [0,10) a c=1
        """,
    )


def test_minus_zero_and_zero_are_one_group(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [x], combine: false, select: {c: count()}}",
        """
        1 a x=0
        2 a x=-0.0
        end
            -> w [0,10) 0.0 c=2
        """,
    )


def test_keys_of_several_parts_are_ordered_part_by_part(told: Told) -> None:
    told(
        "w: {tumbling: 10ms, by: [user, n], select: {c: count()}}",
        """
        1 b n=1
        2 a n=10
        3 a n=9
        4 b
        end
            -> w [0,10) a 9 c=1
            -> w [0,10) a 10 c=1
            -> w [0,10) b null c=1
            -> w [0,10) b 1 c=1
        """,
    )


def test_rows_of_one_record_go_by_window_end_start_and_key(told: Told) -> None:
    told(
        """
        visits: {session: 8ms, by: [user], select: {c: count()}}
        all: {tumbling: 10ms, combine: false, select: {c: count()}}
        """,
        """
        12 b
        3 z
        5 y
        12 a
        13 y
        100 a
            -> visits [3,11) z c=1
            -> visits [12,20) a c=1
            -> visits [12,20) b c=1
            -> visits [5,21) y c=2
            -> all [0,10) c=2
            -> all [10,20) c=3
        """,
        bound="30ms",
    )


def test_of_equal_ends_the_earlier_start_stands_first(told: Told) -> None:
    told(
        "w: {session: 10ms, by: [user], select: {c: count()}}",
        """
        10 a
        5 b
        10 b
        end
            -> w [5,20) b c=2
            -> w [10,20) a c=1
        """,
        bound="20ms",
    )


def test_updates_that_arise_from_one_record_stand_in_the_same_order(told: Told) -> None:
    told(
        """
        late: {tumbling: 10ms, by: [user], select: {c: count()}}
        visits: {session: 2ms, by: [user], allowed_lateness: 50ms, select: {c: count()}}
        overlapping: {sliding: {size: 4ms, every: 2ms}, by: [user], allowed_lateness: 50ms, select: {c: count()}}
        """,
        """
        20 a
        5 a
            -> visits [5,7) a c=1 more
            -> overlapping [2,6) a c=1 more
            -> overlapping [4,8) a c=1 more
            -> late late [0,10) watermark=20
        """,
    )


def test_early_rows_stand_among_the_others(told: Told) -> None:
    told(
        """
        ten: {tumbling: 10ms, by: [user], select: {c: count()}}
        four: {tumbling: 4ms, by: [user], select: {c: count()}}
        """,
        """
        1 a
        9 a
            -> ten [0,10) a c=2
            -> four [0,4) a c=1 early part=0
        """,
        limits="groups: 2, policy: emit_early",
    )
