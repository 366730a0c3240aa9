"""Quantiles, counters and lists of first values, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

from consumer.core import sketches
from consumer.testing.reference.windows import Event
from tests.core.aggregates_harness import CUT_SESSION, FLOAT, INT, Compiled, column, window


def _bucket(value: float) -> int:
    """Return the number of a value's bucket, as a group counts it."""
    compiled = Compiled(window(column("quantile", FLOAT, parameters=(0.5,))))
    ((bucket, count),) = compiled.group([Event(0, 0, ((value,),))]).buckets_0.items()
    assert count == 1
    return int(bucket)


def _median(value: float, *, whole: bool) -> float | None:
    return sketches.quantile({_bucket(value): 1}, (1, 2), -math.inf, math.inf, whole=whole)


@pytest.mark.parametrize("value", [1, 2, 63, 64, 127, 128, 129, 254, 255, 256, 257, 259, 511, 512, 5000, 2**40 + 12345])
def test_the_middle_of_whole_numbers_is_that_of_the_whole_numbers_in_the_bucket(value: int) -> None:
    width = max(1, 2 ** (value.bit_length() - 7))
    first = value // width * width
    middle = Fraction(first + first + width - 1, 2)
    assert Fraction(_median(value, whole=True) or 0) == middle
    assert Fraction(_median(-value, whole=True) or 0) == -middle


@pytest.mark.parametrize("value", [1.0, 1.5, 0.7, 3.1, 127.9, 128.0, 1e-300, 5e-324, 1e300, 12345.678])
def test_the_middle_of_other_numbers_is_that_of_the_bucket(value: float) -> None:
    fraction, exponent = math.frexp(value)
    low = int(fraction * 128)
    middle = math.ldexp(2 * low + 1, exponent - 8)
    assert _median(value, whole=False) == middle
    assert _median(-value, whole=False) == -middle


def test_zero_has_a_bucket_of_its_own() -> None:
    assert [_bucket(0.0), _bucket(-0.0)] == [0, 0]
    assert repr(_median(0.0, whole=False)) == repr(_median(0.0, whole=True)) == "0.0"
    assert _bucket(5e-324) > 1


@pytest.mark.parametrize("part", [(0, 1), (1, 1), (1, 2)])
def test_minus_zero_is_shown_as_zero(part: tuple[int, int]) -> None:
    assert repr(sketches.quantile({0: 1}, part, -0.0, -0.0, whole=False)) == "0.0"


RANKS = [
    ((0, 10), 1.0),
    ((1, 1000), 1.0),
    ((1, 10), 1.0),
    ((2, 10), 2.0),
    ((3, 10), 2.0),
    ((31, 100), 4.0),
    ((6, 10), 4.0),
    ((601, 1000), 5.0),
    ((9, 10), 5.0),
    ((91, 100), 7.0),
    ((10, 10), 7.0),
]


@pytest.mark.parametrize(("part", "value"), RANKS)
def test_the_rank_is_rounded_up_and_at_least_one(part: tuple[int, int], value: float) -> None:
    """Ten values: 1, twice 2, three times 4, three times 5, once 7."""
    counts = {1: 1, 2: 2, 4: 3, 5: 3, 7: 1}
    buckets = {_bucket(number): count for number, count in reversed(counts.items())}
    assert sketches.quantile(buckets, part, 1, 7, whole=True) == value


def test_no_value_has_no_quantile() -> None:
    assert sketches.quantile({}, (1, 2), None, None, whole=True) is None


@pytest.mark.parametrize(("least", "greatest", "found"), [(4.05, 9.0, 4.05), (0.0, 4.01, 4.01), (0.0, 9.0, 4.03125)])
def test_a_quantile_is_never_outside_of_what_was_seen(least: float, greatest: float, found: float) -> None:
    assert sketches.quantile({_bucket(4.0): 1}, (1, 2), least, greatest, whole=False) == found


def test_a_group_that_is_just_full_is_stored_alike_whether_it_was_merged_or_not() -> None:
    compiled = Compiled(window(column("quantile", FLOAT, parameters=(0.5,))))
    values = [math.ldexp(64 + number % 64, number // 64) for number in range(sketches.BUCKETS_MAX)]
    events = [Event(0, number, ((value,),)) for number, value in enumerate(values)]
    almost, full = compiled.group(events[:-1]), compiled.group(events)
    assert [len(almost.buckets_0), len(full.buckets_0)] == [sketches.BUCKETS_MAX - 1, sketches.BUCKETS_MAX]
    assert almost.buckets_0_floor == sketches.UNFOLDED
    assert full.buckets_0_floor == min(full.buckets_0)
    assert compiled.pack(compiled.merged(full)) == compiled.pack(full)


def _collected(rows: int, times_ms: Sequence[int], **more: Any) -> Any:
    compiled = Compiled(window(column("collect", INT, parameters=(rows,)), **more))
    group = compiled.group(Event(time_ms, number, ((number,),)) for number, time_ms in enumerate(times_ms))
    assert compiled.row(compiled.merged(compiled.group(), group, compiled.group())) == compiled.row(group)
    return compiled.row(group)[0]


@pytest.mark.parametrize("more", [{}, {"kind": CUT_SESSION}])
@pytest.mark.parametrize(
    ("rows", "times_ms", "collected"),
    [
        (1, [5, 5, 4, 6], [2]),
        (2, [10, 30, 20], [0, 2]),
        (3, [10, 20, 30, 25], [0, 1, 3]),
        (3, [10, 20, 30, 30], [0, 1, 2]),
        (3, [10, 20, 30, 40], [0, 1, 2]),
        (3, [10, 20, 30, 5, 5], [3, 4, 0]),
        (3, [7], [0]),
    ],
)
def test_the_first_by_time_are_collected(
    rows: int, times_ms: list[int], collected: list[int], more: dict[str, Any]
) -> None:
    assert _collected(rows, times_ms, **more) == collected


def test_equal_counts_are_thinned_out_to_nothing() -> None:
    counters = dict.fromkeys("abc", 3)
    assert sketches.thin_out(counters, 1) == 3
    assert counters == {}


@pytest.mark.parametrize(("later", "left", "error"), [("b", {"a": 2, "b": 1}, 0), ("bc", {"a": 1}, 1)])
def test_merged_counters_are_thinned_out_when_they_are_more_than_twice_what_is_kept(
    later: str, left: dict[str, int], error: int
) -> None:
    counters = {"a": 2}
    assert sketches.merge_counters(counters, dict.fromkeys(later, 1), 1) == error
    assert counters == left


def test_counts_are_packed_in_the_order_in_which_they_came_up() -> None:
    counts = {"b": 1, "a": 2}
    assert sketches.packed_counts(counts) == [["b", "a"], [1, 2]]
    assert list(sketches.unpacked_counts([["b", "a"], [1, 2]]).items()) == list(counts.items())
    assert sketches.unpacked_counts(sketches.packed_counts({})) == {}


def test_of_two_tables_the_first_rows_are_kept_and_of_equal_ones_the_earlier() -> None:
    assert sketches.merged_first(3, [[1, 3], ["a", "c"]], [[1, 2, 9], ["z", "b", "d"]]) == [[1, 1, 2], ["a", "z", "b"]]
