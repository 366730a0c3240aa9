"""What shards contribute to a global window, put together: whose value counts where several are equal, and what fits.

The plain interpreter and the generated core are asked alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from consumer.core.compile import compile_pipeline
from consumer.core.contributions import Contribution
from consumer.core.processor import Processor
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline
from consumer.records import Row
from consumer.testing.reference import complete_until, reference, reference_combined
from tests.core.combining_rig import combined_rows, contributions_of
from tests.core.rule_stories import pipeline as story_pipeline
from tests.core.rule_stories import story_record

Lines = Mapping[str, Sequence[str]]
"""What comes in, by shard, in the words of stories."""


def _reference(definition: Pipeline, shards: Lines, *, close: bool) -> list[Row]:
    expected = [
        reference(
            definition,
            shard,
            0,
            [story_record(n, line) for n, line in enumerate(lines, 1)],
            window_hash,
            close_all=close,
        )
        for shard, lines in shards.items()
    ]
    rows = [row for each in expected for row in each.rows]
    until = {} if close else {"until_ms": complete_until(expected)}
    return rows + reference_combined(definition, 0, expected, window_hash, **until).rows


def _core(definition: Pipeline, shards: Lines, *, close: bool) -> list[Row]:
    program = compile_pipeline(definition)
    rows: list[Row] = []
    contributions: list[Contribution] = []
    watermarks = []
    for shard, lines in shards.items():
        processor = Processor(program, shard, 0)
        came = processor.apply([story_record(n, line) for n, line in enumerate(lines, 1)]).rows
        watermarks.append(processor.watermark_ms)
        came += processor.close_all().rows if close else []
        contributions += contributions_of(came)
        rows += [row for row in came if row.output in {window.name for window in definition.windows}]
    if close:
        return rows + combined_rows(program, contributions)
    until_ms = None if None in watermarks else min(each for each in watermarks if each is not None)
    return rows + ([] if until_ms is None else combined_rows(program, contributions, until_ms))


def combined(windows: str, shards: Lines, *, close: bool = True, bound: str = "0ms") -> list[dict[str, Any]]:
    """Return the rows, which both give."""
    definition = story_pipeline(windows, bound=bound)
    rows = _core(definition, shards, close=close)
    assert rows == _reference(definition, shards, close=close)
    return [json.loads(row.data) for row in rows]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("first(page)", "a"),
        ("last(page)", "d"),
        ("min_by(page, n)", "a"),
        ("max_by(page, n)", "a"),
        ("collect(page, 3)", ["a", "b", "c"]),
        ("top(page, 2)", [{"value": "a", "count": 1, "error": 0}, {"value": "b", "count": 1, "error": 0}]),
    ],
)
@pytest.mark.parametrize("order", [("s1", "s2"), ("s2", "s1")])
@pytest.mark.parametrize("kind", ["tumbling: 10ms", "sliding: {size: 10ms, every: 10ms}"])
def test_of_equal_events_those_of_the_first_shard_come_first(
    column: str, value: Any, order: Sequence[str], kind: str
) -> None:
    """Whichever was read first."""
    lines = {"s1": ['5 u page="a" n=1', '5 u page="b" n=1'], "s2": ['5 u page="c" n=1', '5 u page="d" n=1']}
    (row,) = combined(f"w: {{{kind}, combine: true, select: {{c: '{column}'}}}}", {name: lines[name] for name in order})
    assert row["c"] == value


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("first(page)", "c"),
        ("last(page)", "b"),
        ("min_by(page, n)", "d"),
        ("max_by(page, n)", "c"),
        ("collect(page, 9)", ["c", "a", "d", "b"]),
        ("count_distinct(page)", 4),
        ("count_distinct(n, 1)", 4),
        ("sum(n)", 10),
        ("quantile(n, 1)", 4),
        ("rate('1s')", 400.0),
    ],
)
def test_of_other_events_time_and_value_decide(column: str, value: Any) -> None:
    lines = {"s1": ['3 u page="a" n=2', '6 u page="b" n=3'], "s2": ['2 u page="c" n=4', '4 u page="d" n=1']}
    (row,) = combined(f'w: {{tumbling: 10ms, combine: true, select: {{c: "{column}"}}}}', lines)
    assert row["c"] == value


def test_sums_of_floats_are_each_shards_own_added_up() -> None:
    """0.1 + (0.2 + 0.3) is 0.6, where (0.1 + 0.2) + 0.3 is not."""
    window = "w: {tumbling: 10ms, combine: true, select: {sum: sum(x)}}"
    assert combined(window, {"a": ["1 u x=0.1"], "b": ["1 u x=0.2", "2 u x=0.3"]})[0]["sum"] == 0.6
    assert combined(window, {"a": ["1 u x=0.1", "2 u x=0.2"], "b": ["1 u x=0.3"]})[0]["sum"] == 0.6000000000000001


def test_a_row_is_final_and_of_no_shard() -> None:
    window = "w: {tumbling: 10ms, by: [page], combine: true, select: {n: count()}}"
    rows = combined(window, {"a": ['1 u page="x"', "2 u"], "b": ['1 v page="x"', '12 v page="x"']})
    told = [(row["window_start"][-4:], row["page"], row["n"]) for row in rows]
    assert told == [("000Z", None, 1), ("000Z", "x", 2), ("010Z", "x", 1)]
    for row in rows:
        assert list(row) == ["id", "pipeline", "window", "window_start", "window_end", "page", "n", "revision", "final"]
        assert (row["revision"], row["final"]) == (0, True)
    assert len({row["id"] for row in rows}) == 3


def test_the_id_does_not_depend_on_which_shards_there_were() -> None:
    window = "w: {tumbling: 10ms, combine: true, select: {n: count()}}"
    assert combined(window, {"a": ["1 u"]})[0]["id"] == combined(window, {"b": ["2 v"], "c": ["3 u"]})[0]["id"]


def test_a_window_waits_for_the_slowest_shard() -> None:
    window = "w: {tumbling: 10ms, combine: true, select: {n: count()}}"
    lines = {"a": ["1 u", "40 u"], "b": ["2 v", "19 v"]}
    assert [row["n"] for row in combined(window, lines, close=False)] == [2, 1]
    assert [row["n"] for row in combined(window, {**lines, "b": ["2 v", "18 v"]}, close=False)] == [2]
    assert combined(window, {**lines, "c": []}, close=False) == [], "a shard without events has not come so far"
    assert len(combined(window, {**lines, "c": []})) == 3


def test_lateness_delays_and_is_each_shards_own() -> None:
    window = "w: {tumbling: 10ms, combine: true, allowed_lateness: 10ms, select: {n: count()}}"
    lines = {"a": ["1 u", "15 u", "3 u", "19 u", "4 u"], "b": ["1 u", "25 u", "2 u"]}
    (row,) = combined(window, lines, close=False)
    assert row["n"] == 3, "the first and the third of a; what came after 19, and after 25 in b, was late there"


def test_global_windows_beside_others() -> None:
    windows = """
    all: {tumbling: 10ms, combine: true, buckets: 3, by: [page], select: {n: count()}}
    users: {tumbling: 10ms, by: [user], select: {n: count()}}
    parts: {tumbling: 10ms, combine: false, select: {n: count()}}
    """
    rows = combined(windows, {"a": ['1 u page="x"', '2 u page="y"'], "b": ['1 v page="x"', '2 v page="z"']})
    assert [(row["window"], row.get("page"), row.get("shard"), row["n"]) for row in rows] == [
        ("users", None, None, 2),
        ("parts", None, "a", 2),
        ("users", None, None, 2),
        ("parts", None, "b", 2),
        ("all", "x", None, 2),
        ("all", "y", None, 1),
        ("all", "z", None, 1),
    ]
