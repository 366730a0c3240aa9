"""The recount: whatever is missing, wrong or twice is found, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumer.core.ids import result_id
from consumer.entrypoints.demo.recount import Comparison, Recount, compare, destinations, recount
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline
from consumer.records import Record
from consumer.testing.reference import Expected, reference

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
def expected(pipeline: Pipeline) -> list[Expected]:
    return [reference(pipeline, shard, 0, records, lambda _, window: window.name) for shard, records in RECORDS.items()]


@pytest.fixture
def delivered(pipeline: Pipeline, expected: list[Expected]) -> dict[str, list[bytes]]:
    """Return what a faultless worker delivers, in an order that is not the recount's."""
    rows: dict[str, list[bytes]] = {stream: [] for stream in destinations(pipeline)}
    for shard in reversed(expected):
        for row in shard.rows:
            rows["everything"].append(row.data)
            if row.output == "views":
                rows["views"].append(row.data)
        rows["late"] += [row.data for row in shard.late]
        rows["dead"] += [dead_letter(letter.members, letter.reason) for letter in shard.dead_letters]
    return rows


def dead_letter(members: dict[str, Any], reason: str, detail: str = "what the worker says") -> bytes:
    head = {"id": members["id"], "reason": reason, "pipeline": members["pipeline"], "detail": detail}
    return msgspec.json.encode(head | members)


def changed(row: bytes, **members: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(row, type=dict[str, Any]) | members)


def figures(comparison: Comparison) -> tuple[int, int, int]:
    return comparison.missing, comparison.wrong, comparison.duplicates


def test_a_faultless_delivery_is_right(
    pipeline: Pipeline, expected: list[Expected], delivered: dict[str, list[bytes]]
) -> None:
    result = recount(pipeline, expected, delivered)
    assert result.is_right
    assert (result.missing, result.wrong, result.duplicates) == (0, 0, 0)
    assert result.results.expected == 2 * 4 + 4
    assert result.late.expected == 2
    assert result.dead_letters.expected == 1


def test_every_event_is_in_one_place_of_every_window(
    pipeline: Pipeline, expected: list[Expected], delivered: dict[str, list[bytes]]
) -> None:
    views, visits = recount(pipeline, expected, delivered).sums
    places = [(s.received, s.closed, s.still_open, s.late, s.dead_letters, s.filtered) for s in (views, visits)]
    assert places == [(10, 5, 2, 1, 1, 1), (10, 5, 2, 1, 1, 1)]
    assert recount(pipeline, expected, delivered).open_windows == {"views": 2, "visits": 2}


@pytest.mark.parametrize("stream", ["views", "everything", "late", "dead"])
def test_a_missing_row_is_found(
    pipeline: Pipeline, expected: list[Expected], delivered: dict[str, list[bytes]], stream: str
) -> None:
    del delivered[stream][0]
    result = recount(pipeline, expected, delivered)
    assert (result.missing, result.wrong, result.duplicates) == (1, 0, 0)
    assert not result.is_right
    assert "is missing" in "".join(examples(result))


@pytest.mark.parametrize("stream", ["views", "everything", "late", "dead"])
def test_a_tampered_row_is_found(
    pipeline: Pipeline, expected: list[Expected], delivered: dict[str, list[bytes]], stream: str
) -> None:
    delivered[stream][-1] = changed(delivered[stream][-1], pipeline="other")
    result = recount(pipeline, expected, delivered)
    assert (result.missing, result.wrong, result.duplicates) == (0, 1, 0)
    assert not result.is_right


@pytest.mark.parametrize("stream", ["views", "everything", "late", "dead"])
def test_a_duplicate_with_equal_bytes_is_removed(
    pipeline: Pipeline, expected: list[Expected], delivered: dict[str, list[bytes]], stream: str
) -> None:
    delivered[stream] += [bytes(bytearray(delivered[stream][0])), delivered[stream][0]]
    result = recount(pipeline, expected, delivered)
    assert (result.missing, result.wrong, result.duplicates) == (0, 0, 2)
    assert result.is_right


@pytest.mark.parametrize("place", [0, 1])
def test_two_contents_of_one_id_are_wrong_in_whatever_order(
    pipeline: Pipeline, expected: list[Expected], delivered: dict[str, list[bytes]], place: int
) -> None:
    delivered["everything"].insert(place, changed(delivered["everything"][0], views=77))
    result = recount(pipeline, expected, delivered)
    assert result.wrong >= 1
    assert not result.is_right


def test_a_row_nobody_expects_is_wrong(
    pipeline: Pipeline, expected: list[Expected], delivered: dict[str, list[bytes]]
) -> None:
    delivered["everything"].append(changed(delivered["everything"][0], id=result_id("clicks", 1, "views", ["/"], 0)))
    assert recount(pipeline, expected, delivered).results.wrong == 1


def test_a_row_in_the_wrong_place_is_missing_there_and_wrong_here(
    pipeline: Pipeline, expected: list[Expected], delivered: dict[str, list[bytes]]
) -> None:
    delivered["late"].append(delivered["dead"].pop())
    result = recount(pipeline, expected, delivered)
    assert figures(result.late) == (0, 1, 0)
    assert figures(result.dead_letters) == (1, 0, 0)


@pytest.mark.parametrize("row", [b"no json", b"{}", b'{"id": 5}', b'"id"'])
def test_what_is_no_row_is_wrong(row: bytes) -> None:
    assert figures(compare({}, [row])) == (0, 1, 0)


def test_missing_rows_do_not_add_up(
    pipeline: Pipeline, expected: list[Expected], delivered: dict[str, list[bytes]]
) -> None:
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
        "aggregates": ["page_views", "revenue", "visits"],
        "late": [":late"],
        "dead-letters": [":dead_letter"],
    }


def examples(result: Recount) -> list[str]:
    return [*result.results.examples, *result.late.examples, *result.dead_letters.examples]
