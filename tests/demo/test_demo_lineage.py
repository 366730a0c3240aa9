"""Which shards are counted together, and where what is open at a shard's end counts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from consumer.entrypoints.demo.lineage import count_family, families
from consumer.pipeline.load import load_text
from consumer.records import Position, Record, hash_key
from consumer.sources.kinesis import ShardInfo

HALF, ALL = 2**127, 2**128


def shard(number: int, *parents: int, first: int = 0, last: int = ALL - 1, closed: bool = False) -> ShardInfo:
    parent, adjacent = [*(f"shardId-{each:012d}" for each in parents), None, None][:2]
    return ShardInfo(f"shardId-{number:012d}", parent, adjacent, (str(first), str(last)), closed)


def numbers(*shards: ShardInfo) -> list[list[int]]:
    return [[int(one.id.partition("-")[2]) for one in family] for family in families(shards)]


def test_shards_that_never_met_are_families_of_their_own() -> None:
    assert numbers(shard(1), shard(0)) == [[0], [1]]


def test_children_stand_behind_their_parents() -> None:
    assert numbers(shard(3, 0), shard(2, 0), shard(0), shard(1)) == [[1], [0, 2, 3]]


def test_a_merge_puts_families_together() -> None:
    assert numbers(shard(0), shard(1), shard(2), shard(3, 0), shard(4, 0), shard(5, 4, 1), shard(6, 5)) == [
        [2],
        [0, 1, 3, 4, 5, 6],
    ]


def test_what_is_open_at_a_shards_end_counts_where_it_is_in_the_end() -> None:
    text = Path("config/clickstream.yaml").read_text(encoding="utf-8")
    pipeline = load_text(text, "clickstream.yaml", {})

    def record(number: int, user: str, minute: int) -> Record:
        event = {"user_id": user, "event_time": f"2026-01-01T00:{minute:02d}:00.000Z", "page": "/"}
        return Record(msgspec.json.encode(event), user, str(number), 0, None)

    assert hash_key("a") < HALF <= hash_key("b")
    inputs = {0: [record(1, "a", 0)], 1: [record(1, "b", 0)], 2: [record(2, "a", 5), record(3, "b", 50)]}
    family = (shard(0, last=HALF - 1, closed=True), shard(1, first=HALF, closed=True), shard(2, 0, 1))
    counted = count_family(pipeline, family, 0, lambda name: inputs[int(name.partition("-")[2])])
    assert [one.closed for one in counted] == [True, True, False]
    assert [one.last for one in counted] == [Position(1, 0), Position(1, 0), Position(3, 0)]
    assert [len(one.expected.open_windows) for one in counted[:2]] == [0, 0]
    last = counted[2].expected
    visits = [window for window in last.open_windows if window.window == "visits"]
    assert sum(window.events for window in visits) == 1
    assert sum(events for row, events in zip(last.rows, last.row_events, strict=True) if row.output == "visits") == 3
