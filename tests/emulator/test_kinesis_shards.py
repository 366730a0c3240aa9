"""Splits, merges and listings by boto3: what a consumer must see of resharding."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from consumer.emulator.server import Emulator
from tests.emulator.conftest import MovableClock
from tests.emulator.kinesis_reader import FIRST, SECOND, iterator, read_all, refused

HASH_KEYS = 2**128


def shard_id(number: int) -> str:
    return f"shardId-{number:012d}"


def ids(shards: list[Any]) -> list[int]:
    return [int(shard["ShardId"].removeprefix("shardId-")) for shard in shards]


def open_ranges(kinesis: Any, stream: str) -> list[tuple[int, int]]:
    shards = kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    ranges = [shard["HashKeyRange"] for shard in shards]
    return sorted((int(one["StartingHashKey"]), int(one["EndingHashKey"])) for one in ranges)


def put_everywhere(kinesis: Any, stream: str, data: bytes, places: int = 8) -> list[str]:
    """Put a record into each of so many equal parts of the hash keys; return the shards."""
    keys = [number * (HASH_KEYS // places) for number in range(places)]
    records = [{"Data": data, "PartitionKey": "k", "ExplicitHashKey": str(key)} for key in keys]
    return [one["ShardId"] for one in kinesis.put_records(StreamName=stream, Records=records)["Records"]]


def test_a_split_ends_the_parent_and_names_its_children(kinesis: Any, stream: str) -> None:
    put_everywhere(kinesis, stream, b"before")
    kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(2**126))
    assert set(put_everywhere(kinesis, stream, b"after")) == {SECOND, shard_id(2), shard_id(3)}
    records, last = read_all(kinesis, stream, FIRST, Limit=3)
    assert [record["Data"] for record in records] == [b"before"] * 4
    assert "NextShardIterator" not in last
    assert last["MillisBehindLatest"] == 0
    assert last["ChildShards"] == [
        {
            "ShardId": shard_id(2),
            "ParentShards": [FIRST],
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(2**126 - 1)},
        },
        {
            "ShardId": shard_id(3),
            "ParentShards": [FIRST],
            "HashKeyRange": {"StartingHashKey": str(2**126), "EndingHashKey": str(2**127 - 1)},
        },
    ]
    for child in (2, 3):
        records, last = read_all(kinesis, stream, shard_id(child))
        assert [record["Data"] for record in records] == [b"after"] * 2
        assert "NextShardIterator" in last
        assert "ChildShards" not in last


def test_a_merge_ends_both_parents(kinesis: Any, stream: str) -> None:
    put_everywhere(kinesis, stream, b"before")
    kinesis.merge_shards(StreamName=stream, ShardToMerge=SECOND, AdjacentShardToMerge=FIRST)
    assert set(put_everywhere(kinesis, stream, b"after")) == {shard_id(2)}
    for parent in (FIRST, SECOND):
        _, last = read_all(kinesis, stream, parent)
        [child] = last["ChildShards"]
        assert child["ParentShards"] == [FIRST, SECOND]
        assert child["HashKeyRange"] == {"StartingHashKey": "0", "EndingHashKey": str(HASH_KEYS - 1)}
    listed = kinesis.list_shards(StreamName=stream)["Shards"][2]
    assert (listed["ParentShardId"], listed["AdjacentParentShardId"]) == (FIRST, SECOND)


def test_sequence_numbers_of_children_follow_their_parents(kinesis: Any, stream: str) -> None:
    put_everywhere(kinesis, stream, b"before")
    kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(2**126))
    put_everywhere(kinesis, stream, b"after")
    shards = {
        shard["ShardId"]: shard["SequenceNumberRange"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]
    }
    ending = int(shards[FIRST]["EndingSequenceNumber"])
    records, _ = read_all(kinesis, stream, FIRST)
    assert all(int(record["SequenceNumber"]) < ending for record in records)
    for child in (2, 3):
        starting = int(shards[shard_id(child)]["StartingSequenceNumber"])
        records, _ = read_all(kinesis, stream, shard_id(child))
        assert ending < starting
        assert all(int(record["SequenceNumber"]) > starting for record in records)
        assert "EndingSequenceNumber" not in shards[shard_id(child)]


def test_latest_on_a_closed_shard_is_its_end(kinesis: Any, stream: str) -> None:
    put_everywhere(kinesis, stream, b"before")
    kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(2**126))
    answer = kinesis.get_records(ShardIterator=iterator(kinesis, stream, FIRST, "LATEST"))
    assert answer["Records"] == []
    assert len(answer["ChildShards"]) == 2


def test_an_iterator_taken_before_the_split_leads_over_it(kinesis: Any, stream: str) -> None:
    following = iterator(kinesis, stream, FIRST, "LATEST")
    following = kinesis.get_records(ShardIterator=following)["NextShardIterator"]
    kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(2**126))
    answer = kinesis.get_records(ShardIterator=following)
    assert "NextShardIterator" not in answer
    assert len(answer["ChildShards"]) == 2


@pytest.mark.parametrize(("before", "target"), [(1, 2), (2, 4), (4, 2), (2, 3), (3, 2), (5, 7), (6, 6)])
def test_update_shard_count_ends_with_equal_shards(
    aws: Emulator, kinesis: Any, name: str, before: int, target: int
) -> None:
    aws.kinesis.create_stream(name, before)
    answer = kinesis.update_shard_count(StreamName=name, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
    assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (before, target)
    width = HASH_KEYS // target
    starts = [number * width for number in range(target)]
    assert open_ranges(kinesis, name) == list(
        zip(starts, [*(start - 1 for start in starts[1:]), HASH_KEYS - 1], strict=True)
    )


def test_every_record_is_found_once_over_many_reshardings(aws: Emulator, kinesis: Any, name: str) -> None:
    aws.kinesis.create_stream(name, 2)
    for step, target in enumerate((4, 3, 6, 3, 2, 1, 2)):
        put_everywhere(kinesis, name, str(step).encode(), 32)
        aws.kinesis.update_shard_count(name, target)
    found: list[bytes] = []
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        records, _ = read_all(kinesis, name, shard["ShardId"])
        found += [record["Data"] for record in records]
    assert sorted(found) == sorted(str(step).encode() for step in range(7) for _ in range(32))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (
            lambda k, s: refused(k.split_shard, StreamName=s, ShardToSplit=SECOND, NewStartingHashKey="5"),
            "InvalidArgumentException",
        ),
        (
            lambda k, s: refused(k.split_shard, StreamName=s, ShardToSplit=FIRST, NewStartingHashKey="1"),
            "InvalidArgumentException",
        ),
        (
            lambda k, s: refused(k.split_shard, StreamName=s, ShardToSplit=shard_id(7), NewStartingHashKey="5"),
            "ResourceNotFoundException",
        ),
        (
            lambda k, s: refused(k.merge_shards, StreamName=s, ShardToMerge=FIRST, AdjacentShardToMerge=FIRST),
            "InvalidArgumentException",
        ),
        (
            lambda k, s: refused(k.update_shard_count, StreamName=s, TargetShardCount=5, ScalingType="UNIFORM_SCALING"),
            "InvalidArgumentException",
        ),
    ],
)
def test_impossible_changes_are_refused(
    kinesis: Any, stream: str, call: Callable[[Any, str], tuple[str, int, str]], code: str
) -> None:
    assert call(kinesis, stream)[:2] == (code, 400)
    assert ids(kinesis.list_shards(StreamName=stream)["Shards"]) == [0, 1]


def test_a_closed_shard_cannot_be_changed_again(kinesis: Any, stream: str) -> None:
    kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(2**126))
    again = refused(kinesis.split_shard, StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(2**126))
    merge = refused(kinesis.merge_shards, StreamName=stream, ShardToMerge=FIRST, AdjacentShardToMerge=SECOND)
    assert again[0] == merge[0] == "InvalidArgumentException"
    assert "already been merged or split" in again[2]


def test_shards_are_listed_in_pages(aws: Emulator, kinesis: Any, clock: MovableClock, name: str) -> None:
    aws.kinesis.create_stream(name, 5)
    first = kinesis.list_shards(StreamName=name, MaxResults=2)
    second = kinesis.list_shards(NextToken=first["NextToken"], MaxResults=2)
    third = kinesis.list_shards(NextToken=second["NextToken"])
    assert [ids(page["Shards"]) for page in (first, second, third)] == [[0, 1], [2, 3], [4]]
    assert "NextToken" not in third
    both = refused(kinesis.list_shards, NextToken=first["NextToken"], StreamName=name)
    assert both[:2] == ("InvalidArgumentException", 400)
    assert refused(kinesis.list_shards, NextToken="nonsense")[0] == "InvalidArgumentException"
    assert ids(kinesis.list_shards(StreamName=name, ExclusiveStartShardId=shard_id(2))["Shards"]) == [3, 4]
    clock.advance(5 * 60_000 + 1)
    assert refused(kinesis.list_shards, NextToken=first["NextToken"])[0] == "ExpiredNextTokenException"


def test_pages_keep_their_filter(aws: Emulator, kinesis: Any, stream: str) -> None:
    kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(2**126))
    page = kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AT_LATEST"}, MaxResults=1)
    rest = kinesis.list_shards(NextToken=page["NextToken"])
    assert ids(page["Shards"]) + ids(rest["Shards"]) == [1, 2, 3]


@pytest.mark.parametrize("creating_ms", [0, 5])
def test_the_shard_filters(aws: Emulator, kinesis: Any, clock: MovableClock, name: str, creating_ms: int) -> None:
    aws.settings.change(state_delay_ms=creating_ms)
    aws.kinesis.create_stream(name, 2)
    aws.settings.change(state_delay_ms=0)
    clock.advance(60_000)
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey=str(2**126))
    clock.advance(60_000)
    between = clock() / 1000
    clock.advance(60_000)
    kinesis.merge_shards(StreamName=name, ShardToMerge=shard_id(3), AdjacentShardToMerge=SECOND)

    def listed(kind: str, **more: Any) -> list[int]:
        return ids(kinesis.list_shards(StreamName=name, ShardFilter={"Type": kind, **more})["Shards"])

    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    assert listed("AT_TRIM_HORIZON") == [0, 1]
    assert listed("FROM_TRIM_HORIZON") == [0, 1, 2, 3, 4]
    assert listed("AT_LATEST") == [2, 4]
    assert listed("AT_TIMESTAMP", Timestamp=between) == [1, 2, 3]
    assert listed("FROM_TIMESTAMP", Timestamp=between) == [1, 2, 3, 4]
    assert listed("AT_TIMESTAMP", Timestamp=long_ago) == [0, 1]
    assert listed("FROM_TIMESTAMP", Timestamp=long_ago) == [0, 1, 2, 3, 4]
    assert listed("AFTER_SHARD_ID", ShardId=shard_id(1)) == [2, 3, 4]
    missing = refused(kinesis.list_shards, StreamName=name, ShardFilter={"Type": "AFTER_SHARD_ID"})
    assert missing[0] == "InvalidArgumentException"
