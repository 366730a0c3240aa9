"""The recount: whatever is missing, wrong or twice is found, and only that."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumer.core.ids import result_id
from consumer.entrypoints.demo.lineage import Counted, Together, together
from consumer.entrypoints.demo.recount import (
    Comparison,
    Recount,
    WindowSums,
    are_combined,
    compare,
    destinations,
    recount,
)
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline
from consumer.records import Record
from consumer.testing.reference import Combined, Expected, reference

SHARDS = ("shardId-000000000000", "shardId-000000000001")

PIPELINE = """
pipeline: clicks
source: {stream: clicks, partition_key: user}
events:
  format: json
  compression: none
  fields: {user: string, at: timestamp, page: 'string?'}
  time: at
  idle_after: never
where: page is not null
windows:
  views: {tumbling: 10ms, by: [page], combine: false, select: {views: count()}}
  visits: {session: {gap: 20ms}, by: [user], select: {pages: count(page)}}
sinks:
  - firehose: {stream: views}
    windows: [views]
  - firehose: {stream: everything}
late: {firehose: {stream: late}}
dead_letter: {firehose: {stream: dead}}
state: {table: states, bucket: states}
"""


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_text(PIPELINE, "test", {})


def record(number: int, user: str, at: int, page: str | None = "/") -> Record:
    data = msgspec.json.encode({"user": user, "at": at, "page": page})
    return Record(data, user, str(number), 0, 1_000_000)


RECORDS = {
    SHARDS[0]: [
        record(1, "ann", 1),
        record(2, "ann", 5),
        record(3, "ann", 30, None),
        record(4, "ann", 3),
        Record(b"{", "ann", "5", 0, 1_000_000),
        record(6, "ann", 35),
        record(7, "ann", 90),
    ],
    SHARDS[1]: [record(1, "bob", 1), record(2, "bob", 50), record(3, "bob", 120)],
}


@pytest.fixture
def expected(pipeline: Pipeline) -> Together:
    return counted(pipeline)


def counted(
    pipeline: Pipeline, records: Mapping[str, Sequence[Record]] = RECORDS, *, closed: Collection[str] = ()
) -> Together:
    shards = [reference(pipeline, shard, 0, of_shard, window_hash) for shard, of_shard in records.items()]
    return together(pipeline, [Counted(one, None, closed=one.shard in closed) for one in shards], 0)


def arrived(pipeline: Pipeline, counted: Together) -> dict[str, list[bytes]]:
    """Return what a faultless worker delivers, in an order that is not the recount's."""
    rows: dict[str, list[bytes]] = {stream: [] for stream in destinations(pipeline)}
    everything: list[Combined | Expected] = [counted.combined, *reversed(counted.shards)]
    for given in everything:
        for row in given.rows:
            rows["everything"].append(row.data)
            if row.output == "views":
                rows["views"].append(row.data)
    for shard in counted.shards:
        rows["late"] += [row.data for row in shard.late]
        rows["dead"] += [dead_letter(letter.members, letter.reason) for letter in shard.dead_letters]
    return rows


@pytest.fixture
def delivered(pipeline: Pipeline, expected: Together) -> dict[str, list[bytes]]:
    return arrived(pipeline, expected)


def dead_letter(members: dict[str, Any], reason: str, detail: str = "what the worker says") -> bytes:
    head = {"id": members["id"], "reason": reason, "pipeline": members["pipeline"], "detail": detail}
    return msgspec.json.encode(head | members)


def changed(row: bytes, **members: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(row, type=dict[str, Any]) | members)


def figures(comparison: Comparison) -> tuple[int, int, int]:
    return comparison.missing, comparison.wrong, comparison.duplicates


def test_a_faultless_delivery_is_right(
    pipeline: Pipeline, expected: Together, delivered: dict[str, list[bytes]]
) -> None:
    result = recount(pipeline, expected, delivered)
    assert result.is_right
    assert (result.missing, result.wrong, result.duplicates) == (0, 0, 0)
    assert result.results.expected == 2 * 4 + 4
    assert result.late.expected == 2
    assert result.dead_letters.expected == 1


def test_every_event_is_in_one_place_of_every_window(
    pipeline: Pipeline, expected: Together, delivered: dict[str, list[bytes]]
) -> None:
    views, visits = recount(pipeline, expected, delivered).sums
    places = [(s.received, s.closed, s.still_open, s.late, s.dead_letters, s.filtered) for s in (views, visits)]
    assert places == [(10, 5, 2, 1, 1, 1), (10, 5, 2, 1, 1, 1)]
    assert recount(pipeline, expected, delivered).open_windows == {"views": 2, "visits": 2}


@pytest.mark.parametrize("stream", ["views", "everything", "late", "dead"])
def test_a_missing_row_is_found(
    pipeline: Pipeline, expected: Together, delivered: dict[str, list[bytes]], stream: str
) -> None:
    del delivered[stream][0]
    result = recount(pipeline, expected, delivered)
    assert (result.missing, result.wrong, result.duplicates) == (1, 0, 0)
    assert not result.is_right
    assert "is missing" in "".join(examples(result))


@pytest.mark.parametrize("stream", ["views", "everything", "late", "dead"])
def test_a_tampered_row_is_found(
    pipeline: Pipeline, expected: Together, delivered: dict[str, list[bytes]], stream: str
) -> None:
    delivered[stream][-1] = changed(delivered[stream][-1], pipeline="other")
    result = recount(pipeline, expected, delivered)
    assert (result.missing, result.wrong, result.duplicates) == (0, 1, 0)
    assert not result.is_right


@pytest.mark.parametrize("stream", ["views", "everything", "late", "dead"])
def test_a_duplicate_with_equal_bytes_is_removed(
    pipeline: Pipeline, expected: Together, delivered: dict[str, list[bytes]], stream: str
) -> None:
    delivered[stream] += [bytes(bytearray(delivered[stream][0])), delivered[stream][0]]
    result = recount(pipeline, expected, delivered)
    assert (result.missing, result.wrong, result.duplicates) == (0, 0, 2)
    assert result.is_right


@pytest.mark.parametrize("place", [0, 1])
def test_two_contents_of_one_id_are_wrong_in_whatever_order(
    pipeline: Pipeline, expected: Together, delivered: dict[str, list[bytes]], place: int
) -> None:
    delivered["everything"].insert(place, changed(delivered["everything"][0], views=77))
    result = recount(pipeline, expected, delivered)
    assert result.wrong >= 1
    assert not result.is_right


def test_a_row_nobody_expects_is_wrong(
    pipeline: Pipeline, expected: Together, delivered: dict[str, list[bytes]]
) -> None:
    delivered["everything"].append(changed(delivered["everything"][0], id=result_id("clicks", 1, "views", ["/"], 0)))
    assert recount(pipeline, expected, delivered).results.wrong == 1


def test_a_row_in_the_wrong_place_is_missing_there_and_wrong_here(
    pipeline: Pipeline, expected: Together, delivered: dict[str, list[bytes]]
) -> None:
    delivered["late"].append(delivered["dead"].pop())
    result = recount(pipeline, expected, delivered)
    assert figures(result.late) == (0, 1, 0)
    assert figures(result.dead_letters) == (1, 0, 0)


@pytest.mark.parametrize("row", [b"no json", b"{}", b'{"id": 5}', b'"id"'])
def test_what_is_no_row_is_wrong(row: bytes) -> None:
    assert figures(compare({}, [row])) == (0, 1, 0)


def test_missing_rows_do_not_add_up(pipeline: Pipeline, expected: Together, delivered: dict[str, list[bytes]]) -> None:
    delivered["late"].clear()
    delivered["dead"].clear()
    result = recount(pipeline, expected, delivered)
    assert [sums.adds_up for sums in result.sums] == [False, False]
    assert [sums.received - sums.total for sums in result.sums] == [2, 2]


def test_examples_are_few() -> None:
    result = compare({}, [msgspec.json.encode({"id": str(number)}) for number in range(100)])
    assert result.wrong == 100
    assert len(result.examples) == 5


def test_the_demos_pipeline_can_be_recounted() -> None:
    pipeline = load_text(Path("config/clickstream.yaml").read_text(encoding="utf-8"), "clickstream.yaml", {})
    assert destinations(pipeline) == {
        "aggregates": ["page_views", "all_views", "revenue", "visits"],
        "late": [":late"],
        "dead-letters": [":dead_letter"],
    }


GLOBAL = PIPELINE.replace(
    "  visits:",
    "  totals: {tumbling: 10ms, by: [page], combine: true, allowed_lateness: 5ms, select: {views: count()}}\n  visits:",
)


AHEAD = RECORDS | {SHARDS[1]: [record(1, "bob", 1), record(2, "bob", 50), record(3, "bob", 95), record(4, "bob", 120)]}
"""Bob's shard is past a window that ann's has an event in, and is not past."""


@pytest.fixture(scope="module")
def everywhere() -> Pipeline:
    return load_text(GLOBAL, "test", {})


def totals(result: Recount) -> WindowSums:
    return next(sums for sums in result.sums if sums.window == "totals")


def test_a_global_window_is_one_row_when_every_open_shard_is_past_it(everywhere: Pipeline) -> None:
    expected = counted(everywhere, AHEAD)
    rows = [msgspec.json.decode(row.data) for row in expected.combined.rows]
    assert [(row["views"], row["window_start"][-5:]) for row in rows] == [(3, ".000Z"), (1, ".030Z"), (1, ".050Z")]
    assert all("shard" not in row and row["final"] for row in rows)
    delivered = arrived(everywhere, expected)
    assert are_combined(everywhere, expected, delivered)
    assert recount(everywhere, expected, delivered).is_right


def test_what_is_contributed_and_not_complete_is_still_open(everywhere: Pipeline) -> None:
    expected = counted(everywhere, AHEAD)
    result = recount(everywhere, expected, arrived(everywhere, expected))
    assert totals(result).still_open == 3
    assert result.open_windows["totals"] == 2, "one of them has an event of each shard"


def test_a_shard_that_has_ended_holds_nothing_back(everywhere: Pipeline) -> None:
    expected = counted(everywhere, AHEAD, closed=SHARDS[:1])
    assert len(expected.combined.rows) == 4
    assert recount(everywhere, expected, arrived(everywhere, expected)).is_right


def test_a_row_of_a_global_window_that_is_not_there_is_waited_for_and_missing(everywhere: Pipeline) -> None:
    expected = counted(everywhere, AHEAD)
    delivered = arrived(everywhere, expected)
    del delivered["everything"][1]
    assert not are_combined(everywhere, expected, delivered)
    result = recount(everywhere, expected, delivered)
    assert (result.missing, result.wrong) == (1, 0)
    assert not totals(result).adds_up


def test_a_row_of_a_global_window_that_is_not_complete_is_wrong(everywhere: Pipeline) -> None:
    early = arrived(everywhere, counted(everywhere, AHEAD, closed=SHARDS[:1]))
    result = recount(everywhere, counted(everywhere, AHEAD), early)
    assert (result.missing, result.wrong) == (0, 1)


def test_a_row_of_a_global_window_with_a_part_of_its_events_is_wrong(everywhere: Pipeline) -> None:
    expected = counted(everywhere, AHEAD)
    delivered = arrived(everywhere, expected)
    delivered["everything"][0] = changed(delivered["everything"][0], views=2)
    assert are_combined(everywhere, expected, delivered), "what is in them is the recount's to say"
    assert recount(everywhere, expected, delivered).wrong == 1


def examples(result: Recount) -> list[str]:
    return [*result.results.examples, *result.late.examples, *result.dead_letters.examples]
