"""The reference of shards that were split and merged: what it is told, and what it tells of rows' members."""

from __future__ import annotations

import json
from typing import Any

from consumer.core.ids import result_id
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline
from consumer.records import HashRange, Record, Row, hash_key
from consumer.testing.reference import Expected, Idle, ReferenceShard, reference, reference_lineage

A, B = hash_key("a"), hash_key("b")
"""In the first and in the second half of all hashes."""
HALF = 2**127
LEFT, RIGHT, ALL = HashRange(0, HALF - 1), HashRange(HALF, 2 * HALF - 1), HashRange(0, 2 * HALF - 1)

FILE = """\
pipeline: reshards
source: {{stream: stream, partition_key: user}}
events:
  fields: {{user: string, at: timestamp}}
  time: at
  out_of_orderness: 0s
  compression: none
windows:
  w: {window}
sinks: [{{stdout: {{}}}}]
late: {{stdout: {{}}}}
dead_letter: {{stdout: {{}}}}
state: {{table: table, bucket: bucket}}
"""


def pipeline(window: str) -> Pipeline:
    return load_text(FILE.format(window=window), "reshards.yaml", {})


TEN = pipeline("{tumbling: 10ms, by: [user], select: {c: count()}}")
PARTS = pipeline("{tumbling: 10ms, combine: false, select: {c: count()}}")


def record(time_ms: int, user: str, number: int = 1) -> Record:
    return Record(json.dumps({"user": user, "at": time_ms}).encode(), user, str(number), 0, 0)


def merged(definition: Pipeline, left: list[Record], right: list[Record], child: list[Record]) -> dict[str, Expected]:
    shards = [
        ReferenceShard("left", LEFT, (), left),
        ReferenceShard("right", RIGHT, (), right),
        ReferenceShard("whole", ALL, ("right", "left"), child),
    ]
    return reference_lineage(definition, 3, shards, lambda _, window: window.name, close_all=True)


def told(rows: list[Row]) -> list[dict[str, Any]]:
    return [json.loads(row.data) for row in rows]


def misrouted(hash_range: HashRange | None, *records: Record, keys_required: bool = True) -> int:
    expected = reference(
        TEN, "s", 0, records, lambda _, window: window.name, hash_range=hash_range, keys_required=keys_required
    )
    return expected.dead_lettered["misrouted"]


def test_both_ends_of_a_range_are_in_it() -> None:
    assert misrouted(HashRange(A, A), record(1, "a")) == 0
    assert misrouted(HashRange(A + 1, 2 * HALF - 1), record(1, "a")) == 1
    assert misrouted(HashRange(0, A - 1), record(1, "a")) == 1
    assert misrouted(None, record(1, "a")) == 0


def test_a_record_without_a_key_is_in_no_range_and_misrouted_only_where_keys_are_required() -> None:
    lonely = Record(record(1, "a").data, None, "1", 0, 0)
    assert misrouted(RIGHT, lonely, keys_required=False) == 0
    assert misrouted(LEFT, lonely) == 1


def test_a_record_that_is_misrouted_twice_has_one_reason() -> None:
    elsewhere = Record(record(1, "a").data, "c", "1", 0, 0)
    expected = reference(TEN, "s", 0, [elsewhere], lambda _, window: window.name, hash_range=RIGHT)
    assert [letter.reasons for letter in expected.dead_letters] == [{"misrouted"}]


def test_shards_with_children_pass_on_what_is_open_and_the_others_close() -> None:
    expected = merged(TEN, [record(3, "a")], [record(4, "b")], [record(5, "a")])
    assert [len(each.open_windows) for each in expected.values()] == [1, 1, 0]
    assert [len(each.rows) for each in expected.values()] == [0, 0, 2]
    assert expected["whole"].row_events == [2, 1]


def test_a_child_counts_from_nothing_and_reads_its_own_positions() -> None:
    expected = merged(TEN, [record(3, "a", 7)], [record(4, "b", 8)], [record(5, "a", 6), record(5, "a", 6)])["whole"]
    assert (expected.received, expected.replayed, expected.watermark_ms) == (1, 1, 5)


def test_a_child_without_records_has_the_lowest_watermark() -> None:
    assert merged(TEN, [record(3, "a")], [record(4, "b")], [])["whole"].watermark_ms == 3
    assert merged(TEN, [record(3, "a")], [], [])["whole"].watermark_ms is None


def test_a_late_row_tells_the_watermark_that_counted() -> None:
    (late,) = told(merged(TEN, [record(35, "a")], [record(5, "b")], [record(6, "a")])["whole"].late)
    assert late["watermark"] == "1970-01-01T00:00:00.035Z"
    assert late["lateness_ms"] == 29
    assert late["shard"] == "whole"


def test_rows_of_inherited_parts_name_their_origin() -> None:
    rows = told(merged(PARTS, [record(3, "a")], [record(4, "b")], [record(5, "a")])["whole"].rows)
    assert [row["shard"] for row in rows] == ["left", "right", "whole"]
    ids = [result_id("reshards", 3, "w", [], 0, origin=origin) for origin in ("left", "right", "whole")]
    assert [row["id"] for row in rows] == ids


def test_a_sessions_id_tells_the_floor_by_which_its_first_event_would_have_been_late() -> None:
    sessions = pipeline("{session: 10ms, by: [user], select: {c: count()}}")
    rows = told(merged(sessions, [record(25, "a")], [record(1, "b")], [record(15, "a")])["whole"].rows)
    (row,) = [row for row in rows if row["user"] == "a"]
    assert row["id"] == result_id("reshards", 3, "w", ["a"], 15, late_at_ms=25)
    assert row["c"] == 2


def test_idle_decisions_make_floors() -> None:
    shards = [
        ReferenceShard("left", LEFT, (), [Idle(40)]),
        ReferenceShard("right", RIGHT, (), [Idle(10)]),
        ReferenceShard("whole", ALL, ("left", "right"), [record(12, "b", 1), record(35, "a", 2)]),
    ]
    expected = reference_lineage(TEN, 0, shards, lambda _, window: window.name)["whole"]
    assert [row["event_time"][-4:-1] for row in told(expected.late)] == ["035"]
