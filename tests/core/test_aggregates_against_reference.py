"""Every aggregate against the reference: one group, merged groups, panes, and groups restored at any point."""

from __future__ import annotations

from random import Random

import pytest

from consumer.pipeline.model import Kind
from consumer.testing.reference.windows import Event
from tests.core.aggregates_harness import (
    CUT_SESSION,
    SESSION,
    SLIDING,
    TUMBLING,
    Compiled,
    events,
    every_column,
    expected,
    window,
)

COLUMNS = [*every_column(nullable=True), *every_column(nullable=False)]
FUNCTIONS = sorted({each.function for each in COLUMNS})


def _compiled(function: str, kind: Kind) -> Compiled:
    """Return a window with the function's columns, of all types."""
    return Compiled(window(*(each for each in COLUMNS if each.function == function), kind=kind))


def _in_parts(random: Random, stream: list[Event], count: int) -> list[list[Event]]:
    """Return the events in so many parts that follow each other in time, each in shard order."""
    edges = sorted(random.choices(range(stream[0].time_ms - 20, stream[0].time_ms + 20), k=count - 1))
    bounds = zip([-(10**9), *edges], [*edges, 10**9], strict=True)
    return [[event for event in stream if low <= event.time_ms < high] for low, high in bounds]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_one_group_says_what_the_reference_says(function: str) -> None:
    random = Random(function)
    compiled = _compiled(function, TUMBLING)
    for wide in (False, True):
        for count in (1, 2, 9, 60):
            stream = events(random, compiled.window, count, wide=wide)
            assert compiled.row(compiled.group(stream)) == expected(compiled.window, [*stream])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_panes_merged_into_fresh_groups_say_what_the_reference_says(function: str) -> None:
    random = Random(function)
    compiled = _compiled(function, SLIDING)
    for number in range(4):
        stream = events(random, compiled.window, random.choice([1, 5, 40, 90]), wide=number % 2 == 0)
        panes = [pane for pane in _in_parts(random, stream, 4) if pane]
        groups = [compiled.group(pane) for pane in panes]
        for first in range(len(panes)):
            merged = compiled.merged(*groups[first:])
            assert compiled.row(merged) == expected(compiled.window, panes[first:])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sessions_merged_between_events_say_what_the_reference_says(function: str) -> None:
    random = Random(function)
    compiled = _compiled(function, SESSION)
    for number in range(4):
        stream = events(random, compiled.window, random.choice([3, 12, 60, 100]), wide=number % 2 == 0)
        before, after = stream[: len(stream) // 2], stream[len(stream) // 2 :]
        sessions = [part for part in _in_parts(random, before, 3) if part] if before else []
        groups = [compiled.group(session) for session in sessions]
        for later in groups[1:]:
            compiled.made["merge"](groups[0], compiled.copy(later))
        history = [*sessions[0], *sessions[1:], *after]
        for event in after:
            compiled.add(groups[0], event)
        assert compiled.row(groups[0]) == expected(compiled.window, history)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_cut_sessions_that_overlap_merge_by_position(function: str) -> None:
    random = Random(function)
    compiled = _compiled(function, CUT_SESSION)
    for _ in range(4):
        stream = events(random, compiled.window, random.choice([2, 5, 40]))
        parts: list[list[Event]] = [[], []]
        for event in stream:
            parts[random.randrange(2)].append(event)
        merged = compiled.merged(*map(compiled.group, parts))
        assert compiled.row(merged) == expected(compiled.window, parts)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_group_restored_at_any_point_goes_on_as_if_nothing_had_been(function: str) -> None:
    random = Random(function)
    compiled = _compiled(function, CUT_SESSION)
    for wide in (False, True):
        stream = events(random, compiled.window, 120, wide=wide)
        other = compiled.group(events(random, compiled.window, 50, wide=wide))
        through, restored = compiled.group(), compiled.group()
        for number, event in enumerate(stream):
            compiled.add(through, event)
            compiled.add(restored, event)
            if number % 40 == 39:
                compiled.made["merge"](through, other)
                compiled.made["merge"](restored, compiled.copy(other))
            if random.random() < 0.4:
                restored = compiled.copy(restored)
            assert compiled.pack(restored) == compiled.pack(through)
        assert compiled.row(restored) == compiled.row(through)


def test_all_aggregates_in_one_window_do_not_disturb_each_other() -> None:
    random = Random(7)
    of = window(*COLUMNS, kind=CUT_SESSION)
    compiled = Compiled(of)
    stream = events(random, of, 300)
    merged = compiled.merged(compiled.group(stream[:100]), compiled.group(stream[100:]))
    assert compiled.row(merged) == expected(of, [stream[:100], stream[100:]])
    assert compiled.pack(compiled.copy(merged)) == compiled.pack(merged)


@pytest.mark.parametrize("function", ["top", "count_distinct", "approx_distinct", "quantile"])
def test_many_distinct_values_and_merges_of_them(function: str) -> None:
    random = Random(function)
    compiled = _compiled(function, SLIDING)
    stream = events(random, compiled.window, 900, wide=True)
    parts = [stream[:300], stream[300:450], stream[450:]]
    merged = compiled.merged(*map(compiled.group, parts))
    assert compiled.row(merged) == expected(compiled.window, [*parts])
    for event in stream[:50]:
        compiled.add(merged, event)
    assert compiled.row(merged) == expected(compiled.window, [*parts, *stream[:50]])


def test_the_columns_cover_every_function() -> None:
    assert {each.function for each in COLUMNS} == {
        "count", "rate", "sum", "avg", "variance", "stddev", "min", "max", "first", "last", "min_by", "max_by",
        "count_distinct", "approx_distinct", "quantile", "top", "collect",
    }  # fmt: skip
