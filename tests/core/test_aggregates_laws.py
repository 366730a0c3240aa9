"""Laws of merging, and the rules of single aggregates at their edges."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from consumer.core.faults import STATE_LIMIT, Fault
from consumer.pipeline.model import Aggregate, Literal, Name, Stagger
from consumer.testing.reference.windows import Event
from tests.core.aggregates_harness import (
    BOOL,
    CUT_SESSION,
    FLOAT,
    INT,
    SESSION,
    SLIDING,
    STRING,
    TIME,
    TIMESTAMP,
    TUMBLING,
    Compiled,
    column,
    events,
    every_column,
    window,
)

COLUMNS = [*every_column(nullable=True), *every_column(nullable=False)]
ROUNDED = {"sum", "avg", "variance", "stddev"}
MODERATE = [0.0, -0.0, 0.5, -2.5, 0.1, 3.0, 1e6, -1e-6]


def _rounds(one: Aggregate) -> bool:
    return one.function in ROUNDED and one.arguments[0].type is FLOAT


EXACT = window(*(each for each in COLUMNS if not _rounds(each)), kind=CUT_SESSION)
FLOATS = window(*(each for each in COLUMNS if _rounds(each)), kind=CUT_SESSION)


def _parts(random: Random, stream: list[Event], count: int) -> list[list[Event]]:
    """Return the events split anyhow, each part in shard order."""
    parts: list[list[Event]] = [[] for _ in range(count)]
    for event in stream:
        random.choice(parts).append(event)
    return parts


@pytest.mark.parametrize("seed", range(6))
def test_any_split_merged_in_any_order_and_shape_is_one_group(seed: int) -> None:
    random = Random(seed)
    compiled = Compiled(EXACT)
    stream = events(random, EXACT, random.choice([3, 30, 190]), wide=seed % 2 == 0)
    whole = compiled.row(compiled.group(stream))
    groups = [compiled.group(part) for part in _parts(random, stream, 4)]
    for _ in range(6):
        random.shuffle(groups)
        a, b, c, d = groups
        merged = compiled.merged
        assert compiled.row(merged(a, b, c, d)) == whole
        assert compiled.row(merged(merged(a, b), merged(c, d))) == whole
        assert compiled.row(merged(a, merged(b, merged(c, d)))) == whole


@pytest.mark.parametrize("seed", range(6))
def test_float_sums_and_variances_differ_by_rounding_alone(seed: int) -> None:
    random = Random(seed)
    compiled = Compiled(FLOATS)
    stream = [
        event._replace(arguments=tuple((value,) for _ in event.arguments))
        for event in events(random, FLOATS, 300)
        for value in [random.choice(MODERATE)]
    ]
    whole = compiled.row(compiled.group(stream))
    groups = [compiled.group(part) for part in _parts(random, stream, 5)]
    random.shuffle(groups)
    assert compiled.row(compiled.merged(*groups)) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("of", [EXACT, FLOATS], ids=["exact", "floats"])
def test_merging_into_a_fresh_group_is_a_copy_that_shares_nothing(of: Any, wide: bool) -> None:  # noqa: FBT001 - a parameter of the test
    random = Random(5)
    compiled = Compiled(of)
    group = compiled.group(events(random, of, 60, wide=wide))
    before = compiled.pack(group)
    copy = compiled.merged(group)
    assert compiled.row(copy) == compiled.row(group)
    for event in events(random, of, 60, wide=wide):
        compiled.add(copy, event)
    compiled.made["merge"](copy, compiled.copy(copy))
    assert compiled.pack(group) == before
    assert compiled.row(copy) != compiled.row(group)
    empty = compiled.group()
    compiled.made["merge"](group, empty)
    assert compiled.pack(group) == before
    assert compiled.row(compiled.merged(empty)) == compiled.row(empty)


def test_columns_that_need_the_same_slot_share_it() -> None:
    none: tuple[Any, ...] = ()
    count, rate = Aggregate("n", "count", (), none, INT, False), Aggregate("r", "rate", (), (1000,), FLOAT, False)
    of_float = [column(name, FLOAT, nullable=False) for name in ("count", "avg", "sum", "variance", "stddev")]
    assert Compiled(window(count, rate, *of_float)).accumulators.attributes() == [
        "events",
        "sum_0",
        "mean_0",
        "deviations_0",
    ]
    of_int = [column(name, INT) for name in ("variance", "stddev", "avg", "sum", "count")]
    assert Compiled(window(*of_int)).accumulators.attributes() == ["count_0", "sum_0", "squares_0"]
    quantiles = [column("quantile", INT, parameters=(q,)) for q in (0.5, 0.9)]
    assert Compiled(window(*quantiles, column("max", INT))).accumulators.attributes() == [
        "buckets_0",
        "buckets_0_floor",
        "min_0",
        "max_0",
    ]


def test_an_argument_that_is_only_counted_is_evaluated_all_the_same() -> None:
    accumulators = Compiled(window(column("count", STRING, nullable=False))).accumulators
    assert accumulators.attributes() == ["events"]
    assert len(accumulators.arguments) == 1


@pytest.mark.parametrize(
    ("kind", "function", "needed"),
    [
        (TUMBLING, "min_by", False),
        (Stagger(1000), "max_by", False),
        (SESSION, "min_by", True),
        (SLIDING, "max_by", True),
        (SLIDING, "first", False),
        (SESSION, "last", False),
        (SESSION, "collect", False),
        (CUT_SESSION, "first", True),
        (CUT_SESSION, "last", True),
        (CUT_SESSION, "collect", True),
        (CUT_SESSION, "sum", False),
    ],
)
def test_positions_are_kept_only_where_groups_with_ties_may_merge(kind: Any, function: str, needed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    arguments = (INT, FLOAT) if function.endswith("_by") else (INT,)
    one = column(function, *arguments, parameters=(2,) if function == "collect" else ())
    accumulators = Compiled(window(one, kind=kind)).accumulators
    assert accumulators.needs_ordinal is needed
    assert any(name.endswith("ordinal") for name in accumulators.attributes()) is needed


AT = Name(TIME, TIMESTAMP, nullable=False)


@pytest.mark.parametrize(("function", "at"), [("min", 5), ("first", 5), ("max", 9), ("last", 9)])
def test_a_session_knows_the_extremes_of_the_event_time(function: str, at: int) -> None:
    compiled = Compiled(window(column(function, AT), kind=SESSION))
    assert compiled.accumulators.attributes() == []
    assert compiled.accumulators.arguments == []
    group = compiled.group()
    group.first_ms, group.last_ms = 5, 9
    assert compiled.row(group) == [f"1970-01-01T00:00:00.00{at}Z"]


@pytest.mark.parametrize("kind", [TUMBLING, SLIDING, Stagger(1000)])
def test_no_other_window_knows_them(kind: Any) -> None:
    assert Compiled(window(column("min", AT), kind=kind)).accumulators.attributes() == ["min_0"]


def test_a_session_knows_nothing_of_other_times_and_functions() -> None:
    other = Name("t", TIMESTAMP, nullable=True)
    assert Compiled(window(column("max", other), kind=SESSION)).accumulators.attributes() == ["max_0"]
    assert Compiled(window(column("count_distinct", AT, parameters=(3, "reject")), kind=SESSION)).accumulators.slots


def _values(compiled: Compiled, *rows: tuple[Any, ...]) -> list[Any]:
    """Return the row of events with these values of the only column, a millisecond apart."""
    return compiled.row(compiled.group(Event(number, number, (row,)) for number, row in enumerate(rows)))


def test_variance_of_ints_is_exact_where_floats_would_cancel() -> None:
    compiled = Compiled(window(column("variance", INT), column("stddev", INT)))
    near = [10**18 + each for each in (4, 7, 13, 16)]
    group = compiled.group(Event(0, 0, ((each,), (each,))) for each in near)
    assert compiled.row(group) == [22.5, math.sqrt(22.5)]
    assert compiled.row(compiled.copy(group)) == [22.5, math.sqrt(22.5)]


def test_variance_of_floats_is_stable() -> None:
    values = [(1e9 + each,) for each in (4.0, 7.0, 13.0, 16.0)]
    assert _values(Compiled(window(column("variance", FLOAT))), *values) == [22.5]
    assert _values(Compiled(window(column("stddev", FLOAT))), (3.25,)) == [0.0]


@pytest.mark.parametrize("function", ["sum", "avg", "variance", "stddev"])
def test_what_overflows_shows_null(function: str) -> None:
    assert _values(Compiled(window(column(function, FLOAT))), (1.7e308,), (1.7e308,), (-1.7e308,)) == [None]


@pytest.mark.parametrize("function", ["variance", "stddev"])
def test_a_variance_that_overflows_to_either_side_shows_null(function: str) -> None:
    assert _values(Compiled(window(column(function, FLOAT))), (1.7e308,), (-1.7e308,)) == [None]


def test_a_copy_of_a_group_with_a_huge_mean_does_not_overflow() -> None:
    compiled = Compiled(window(column("variance", FLOAT)))
    group = compiled.group(Event(0, 0, ((1e300,),)) for _ in range(3))
    assert compiled.row(compiled.merged(group)) == compiled.row(group) == [0.0]


def test_sums_of_ints_are_exact_beyond_64_bits_and_through_storage() -> None:
    compiled = Compiled(window(column("sum", INT)))
    group = compiled.group(Event(0, 0, ((2**63 - 1,),)) for _ in range(5))
    assert compiled.row(compiled.merged(compiled.copy(group), group)) == [10 * (2**63 - 1)]


def test_rate_is_events_per_time_of_the_window() -> None:
    compiled = Compiled(window(Aggregate("r", "rate", (), (60_000,), FLOAT, nullable=False)))
    group = compiled.group([Event(0, 0, ((),))] * 3)
    assert compiled.made["row"](group, 0, 9_000) == {"c0": 20.0}


def test_min_by_takes_the_null_of_the_best_event_and_ignores_null_orders() -> None:
    compiled = Compiled(window(column("min_by", STRING, FLOAT)))
    assert _values(compiled, ("a", 2.0), (None, 1.0), ("b", None), ("c", 1.0)) == [None]
    assert _values(compiled, ("a", None), ("b", None)) == [None]


def test_of_equal_orders_the_lowest_position_wins_whatever_merges_into_what() -> None:
    compiled = Compiled(window(column("max_by", STRING, FLOAT), kind=SESSION))
    early = compiled.group([Event(50, 7, (("early", 0.0),))])
    late = compiled.group([Event(90, 2, (("late", -0.0),))])
    assert compiled.row(compiled.merged(early, late)) == ["late"]
    assert compiled.row(compiled.merged(late, early)) == ["late"]


def test_of_equal_times_first_takes_the_lowest_and_last_the_highest_position() -> None:
    of = window(column("first", INT), column("last", INT), column("collect", INT, parameters=(9,)), kind=CUT_SESSION)
    compiled = Compiled(of)
    groups = [
        compiled.group(Event(5, number, ((number,), (number,), (number,))) for number in numbers)
        for numbers in ([2, 3, 8], [0, 5], [1, 9])
    ]
    assert compiled.row(compiled.merged(*groups)) == [0, 9, [0, 1, 2, 3, 5, 8, 9]]


def test_collect_keeps_the_first_by_time_not_by_arrival() -> None:
    compiled = Compiled(window(column("collect", INT, parameters=(3,))))
    group = compiled.group(
        Event(time_ms, number, ((number,),)) for number, time_ms in enumerate([50, 40, 60, 40, 70, 10, 40])
    )
    assert compiled.row(group) == [[5, 1, 3]]


def test_minus_zero_and_zero_are_one_value() -> None:
    of = window(
        column("count_distinct", FLOAT, parameters=(9, "reject")),
        column("approx_distinct", FLOAT),
        column("top", FLOAT, parameters=(2,)),
        column("min", FLOAT),
        column("quantile", FLOAT, parameters=(0.5,)),
    )
    compiled = Compiled(of)
    row = compiled.row(compiled.group(Event(0, n, ((value,),) * 5) for n, value in enumerate([-0.0, 0.0, -0.0])))
    assert str(row) == str([1, 1, [{"value": 0.0, "count": 3, "error": 0}], 0.0, 0.0])


def test_null_and_nothing() -> None:
    compiled = Compiled(window(*every_column(nullable=True)))
    nothing = [
        {"count": 0, "rate": 0.0, "count_distinct": 0, "approx_distinct": 0, "top": [], "collect": []}.get(
            each.function
        )
        for each in every_column(nullable=True)
    ]
    assert compiled.row(compiled.group()) == nothing
    null = Event(0, 0, tuple(tuple(None for _ in each.arguments) for each in compiled.window.select))
    one_event = compiled.row(compiled.group([null]))
    assert one_event == [1, 1.0, *nothing[2:]]


def test_constants_as_arguments() -> None:
    literals = [Literal("a", STRING, False), Literal(-1, INT, False), Literal(True, BOOL, False)]
    for literal in literals:
        assert literal.type is not None
        one = Aggregate("c", "count_distinct", (literal,), (1, "approximate"), INT, nullable=False)
        two = Aggregate("t", "top", (literal,), (1,), literal.type, nullable=False)
        made = Compiled(window(one, two))
        arguments = ((literal.value,), (literal.value,))
        row = made.row(made.group([Event(0, 0, arguments), Event(0, 1, arguments)]))
        assert row == [1, [{"value": literal.value, "count": 2, "error": 0}]]


class TestReject:
    def compiled(self, limit: int) -> Compiled:
        return Compiled(window(column("count_distinct", STRING, parameters=(limit, "reject")), kind=SESSION))

    def group(self, compiled: Compiled, values: str) -> Any:
        return compiled.group(Event(0, number, ((value,),)) for number, value in enumerate(values))

    def test_a_new_value_beyond_the_limit_is_refused(self) -> None:
        compiled = self.compiled(3)
        compiled.refuse([self.group(compiled, "ab")], "c")
        compiled.refuse([self.group(compiled, "abc")], "c")
        compiled.refuse([self.group(compiled, "abc")], None)
        with pytest.raises(Fault, match=r"w\.c0 would have more than 3 distinct values") as caught:
            compiled.refuse([self.group(compiled, "abc")], "d")
        assert caught.value.reason == STATE_LIMIT

    def test_the_first_value_never_is(self) -> None:
        self.compiled(1).refuse([], "a")

    def test_sessions_that_would_merge_are_counted_together(self) -> None:
        compiled = self.compiled(3)
        groups = [self.group(compiled, "ab"), self.group(compiled, "bc")]
        for value in ("a", None):
            compiled.refuse(groups, value)
        with pytest.raises(Fault):
            compiled.refuse(groups, "d")
        with pytest.raises(Fault):
            compiled.refuse([*groups, self.group(compiled, "de")], None)
        assert [list(group.set_0_3) for group in groups] == [["a", "b"], ["b", "c"]]

    def test_only_it_refuses(self) -> None:
        approximate = column("count_distinct", STRING, parameters=(3, "approximate"))
        assert Compiled(window(approximate)).accumulators.refusals() == []
        assert self.compiled(3).accumulators.refusals() != []
