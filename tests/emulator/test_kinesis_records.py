"""Records by boto3: putting, the five iterators, pages, expiry, limits."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import md5
from itertools import pairwise
from typing import Any

import pytest

from consumer.emulator.limits import MIB, ShardLimits
from consumer.emulator.server import Emulator
from consumer.emulator.streams import PutEntry
from tests.emulator.conftest import MovableClock
from tests.emulator.kinesis_reader import FIRST, SECOND, iterator, read_all, refused


def put(kinesis: Any, stream: str, *keys: str, data: bytes = b"data") -> list[Any]:
    records = [{"Data": data, "PartitionKey": key} for key in keys]
    return list(kinesis.put_records(StreamName=stream, Records=records)["Records"])


def in_shard(shard: int, hash_keys: int = 2**127) -> dict[str, str]:
    return {"PartitionKey": "k", "ExplicitHashKey": str(shard * hash_keys)}


def test_what_is_put_is_read_in_order(aws: Emulator, kinesis: Any, stream: str) -> None:
    placed = put(kinesis, stream, *[f"key-{number}" for number in range(40)])
    for shard in (FIRST, SECOND):
        records, _ = read_all(kinesis, stream, shard)
        numbers = [one["SequenceNumber"] for one in placed if one["ShardId"] == shard]
        assert [record["SequenceNumber"] for record in records] == numbers
        assert {record["Data"] for record in records} == {b"data"}
        arrivals = [record["ApproximateArrivalTimestamp"] for record in records]
        assert arrivals == sorted(arrivals)
    stored = [record.sequence_number for record in aws.kinesis.records(stream)]
    assert stored == [one["SequenceNumber"] for one in placed]


def test_a_partition_key_goes_where_its_md5_says(kinesis: Any, stream: str) -> None:
    for key in ("a", "b", "ключ", "x" * 256):
        upper = int.from_bytes(md5(key.encode(), usedforsecurity=False).digest(), "big") >= 2**127
        assert put(kinesis, stream, key)[0]["ShardId"] == (SECOND if upper else FIRST)


def test_an_explicit_hash_key_overrides_it(kinesis: Any, stream: str) -> None:
    for hash_key, shard in ((0, FIRST), (2**127 - 1, FIRST), (2**127, SECOND), (2**128 - 1, SECOND)):
        answer = kinesis.put_record(StreamName=stream, Data=b"", PartitionKey="k", ExplicitHashKey=str(hash_key))
        assert answer["ShardId"] == shard


def test_sequence_numbers_have_56_digits_and_rise_across_the_stream(kinesis: Any, stream: str) -> None:
    numbers = [one["SequenceNumber"] for _ in range(5) for one in put(kinesis, stream, *"abcdefgh")]
    assert {len(number) for number in numbers} == {56}
    assert all(int(before) < int(after) for before, after in pairwise(numbers))


def test_eight_producers_lose_nothing(aws: Emulator, kinesis: Any, stream: str) -> None:
    calls, batch = 20, 50

    def produce(producer: int) -> list[Any]:
        placed = []
        for call in range(calls):
            keys = [f"{producer}-{call}-{number}" for number in range(batch)]
            records = [{"Data": key.encode(), "PartitionKey": key} for key in keys]
            answer = kinesis.put_records(StreamName=stream, Records=records)
            assert answer["FailedRecordCount"] == 0
            placed += list(zip(keys, answer["Records"], strict=True))
        return placed

    with ThreadPoolExecutor(8) as pool:
        placed = [pair for pairs in pool.map(produce, range(8)) for pair in pairs]
    assert len(placed) == 8 * calls * batch
    assert len({answer["SequenceNumber"] for _, answer in placed}) == len(placed)
    stored = {record.sequence_number: record.data.decode() for record in aws.kinesis.records(stream)}
    assert stored == {answer["SequenceNumber"]: key for key, answer in placed}
    for shard in (FIRST, SECOND):
        records, _ = read_all(kinesis, stream, shard)
        numbers = [int(record["SequenceNumber"]) for record in records]
        assert numbers == sorted(numbers)
        assert len(numbers) == Counter(answer["ShardId"] for _, answer in placed)[shard]


def test_the_five_iterators(aws: Emulator, kinesis: Any, clock: MovableClock, name: str) -> None:
    aws.kinesis.create_stream(name, 1)
    placed = []
    for number in range(3):
        placed += put(kinesis, name, "k", data=str(number).encode())
        clock.advance(10_000)
    records, _ = read_all(kinesis, name, FIRST)
    numbers = [one["SequenceNumber"] for one in placed]
    second = records[1]["ApproximateArrivalTimestamp"]

    def first_read(kind: str, **where: Any) -> list[bytes]:
        answer = kinesis.get_records(ShardIterator=iterator(kinesis, name, FIRST, kind, **where))
        return [record["Data"] for record in answer["Records"]]

    assert first_read("TRIM_HORIZON") == [b"0", b"1", b"2"]
    assert first_read("LATEST") == []
    assert first_read("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == [b"1", b"2"]
    assert first_read("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == [b"2"]
    assert first_read("AT_TIMESTAMP", Timestamp=second) == [b"1", b"2"]
    assert first_read("AT_TIMESTAMP", Timestamp=second.timestamp() - 5) == [b"1", b"2"]
    assert first_read("AT_TIMESTAMP", Timestamp=second.timestamp() + 5) == [b"2"]
    assert first_read("AT_TIMESTAMP", Timestamp=datetime(2000, 1, 1, tzinfo=UTC)) == [b"0", b"1", b"2"]


def test_latest_sees_what_is_put_afterwards(kinesis: Any, stream: str) -> None:
    put(kinesis, stream, *"abcdef")
    latest = iterator(kinesis, stream, FIRST, "LATEST")
    kinesis.put_record(StreamName=stream, Data=b"later", **in_shard(0))
    answer = kinesis.get_records(ShardIterator=latest)
    assert [record["Data"] for record in answer["Records"]] == [b"later"]


def test_a_position_in_a_shard_that_got_nothing_is_known_by_its_start(kinesis: Any, stream: str) -> None:
    shard = kinesis.list_shards(StreamName=stream)["Shards"][0]
    start = shard["SequenceNumberRange"]["StartingSequenceNumber"]
    kinesis.put_record(StreamName=stream, Data=b"x", **in_shard(0))
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        begin = iterator(kinesis, stream, FIRST, kind, StartingSequenceNumber=start)
        assert len(kinesis.get_records(ShardIterator=begin)["Records"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"ShardId": "shardId-000000000009", "ShardIteratorType": "LATEST"}, "ResourceNotFoundException"),
        ({"ShardId": FIRST, "ShardIteratorType": "SOMEWHERE"}, "ValidationException"),
        ({"ShardId": FIRST, "ShardIteratorType": "AT_SEQUENCE_NUMBER"}, "InvalidArgumentException"),
        (
            {"ShardId": FIRST, "ShardIteratorType": "LATEST", "StartingSequenceNumber": "1"},
            "InvalidArgumentException",
        ),
        (
            {"ShardId": FIRST, "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "12345"},
            "InvalidArgumentException",
        ),
        (
            {"ShardId": FIRST, "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "word"},
            "InvalidArgumentException",
        ),
        ({"ShardId": FIRST, "ShardIteratorType": "AT_TIMESTAMP"}, "InvalidArgumentException"),
        (
            {"ShardId": FIRST, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime(2999, 1, 1, tzinfo=UTC)},
            "InvalidArgumentException",
        ),
    ],
)
def test_senseless_iterators_are_refused(kinesis: Any, stream: str, arguments: dict[str, Any], code: str) -> None:
    assert refused(kinesis.get_shard_iterator, StreamName=stream, **arguments)[:2] == (code, 400)


def test_a_made_up_iterator_is_refused(aws: Emulator, kinesis: Any) -> None:
    for text in ("nonsense", "AAAA", "W10="):
        assert refused(kinesis.get_records, ShardIterator=text)[:2] == ("InvalidArgumentException", 400)


def test_an_iterator_expires_after_five_minutes(kinesis: Any, clock: MovableClock, stream: str) -> None:
    start = iterator(kinesis, stream, FIRST)
    clock.advance(4 * 60_000)
    following = kinesis.get_records(ShardIterator=start)["NextShardIterator"]
    clock.advance(4 * 60_000)
    code, status, message = refused(kinesis.get_records, ShardIterator=start)
    assert (code, status) == ("ExpiredIteratorException", 400)
    assert "tolerated delay of 300000 milliseconds" in message
    assert "NextShardIterator" in kinesis.get_records(ShardIterator=following)


def test_pages_follow_the_limit(kinesis: Any, stream: str) -> None:
    for _ in range(7):
        kinesis.put_record(StreamName=stream, Data=b"x", **in_shard(1))
    sizes, following = [], iterator(kinesis, stream, SECOND)
    for _ in range(4):
        answer = kinesis.get_records(ShardIterator=following, Limit=3)
        sizes.append(len(answer["Records"]))
        following = answer["NextShardIterator"]
    assert sizes == [3, 3, 1, 0]
    assert refused(kinesis.get_records, ShardIterator=following, Limit=10_001)[0] == "InvalidArgumentException"


def test_a_page_holds_at_most_ten_mebibytes(aws: Emulator, kinesis: Any, name: str) -> None:
    aws.kinesis.create_stream(name, 1)
    aws.kinesis.put(name, [PutEntry(bytes(MIB), "k")] * 12)
    answer = kinesis.get_records(ShardIterator=iterator(kinesis, name, FIRST))
    assert len(answer["Records"]) == 10
    rest = kinesis.get_records(ShardIterator=answer["NextShardIterator"])
    assert len(rest["Records"]) == 2


def test_how_far_a_reader_is_behind(kinesis: Any, clock: MovableClock, stream: str) -> None:
    for _ in range(2):
        kinesis.put_record(StreamName=stream, Data=b"x", **in_shard(0))
    clock.advance(60_000)
    behind = kinesis.get_records(ShardIterator=iterator(kinesis, stream, FIRST), Limit=1)
    assert 60_000 <= behind["MillisBehindLatest"] < 120_000
    there = kinesis.get_records(ShardIterator=behind["NextShardIterator"], Limit=1)
    assert there["MillisBehindLatest"] == 0


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([{"Data": b"", "PartitionKey": "k"}] * 501, "ValidationException"),
        ([{"Data": bytes(MIB + 1), "PartitionKey": "k"}], "ValidationException"),
        ([{"Data": b"", "PartitionKey": "k" * 257}], "ValidationException"),
        ([{"Data": b"", "PartitionKey": ""}], "ValidationException"),
        ([{"Data": bytes(MIB), "PartitionKey": "k"}] * 10, "InvalidArgumentException"),
        ([{"Data": b"", "PartitionKey": "k", "ExplicitHashKey": str(2**128)}], "InvalidArgumentException"),
        ([{"Data": b"", "PartitionKey": "k", "ExplicitHashKey": "-1"}], "InvalidArgumentException"),
    ],
)
def test_puts_beyond_the_limits_are_refused_as_a_whole(
    aws: Emulator, kinesis: Any, stream: str, records: list[Any], code: str
) -> None:
    fine = {"Data": b"fine", "PartitionKey": "k"}
    batch = records if len(records) > 10 else [fine, *records]
    assert refused(kinesis.put_records, StreamName=stream, Records=batch)[:2] == (code, 400)
    assert aws.kinesis.records(stream) == []


def test_the_largest_record_and_batch_pass(aws: Emulator, kinesis: Any, name: str) -> None:
    kinesis.create_stream(StreamName=name, ShardCount=1, MaxRecordSizeInKiB=10_240)
    kinesis.put_record(StreamName=name, Data=bytes(10 * MIB), PartitionKey="k")
    put(kinesis, name, *["k"] * 500)
    assert len(aws.kinesis.records(name)) == 501


def test_write_limits_fail_single_records(aws: Emulator, kinesis: Any, clock: MovableClock, name: str) -> None:
    aws.kinesis.create_stream(name, 1)
    aws.settings.change(limits=True)
    with clock.stopped():
        for _ in range(2):
            assert not any("ErrorCode" in one for one in put(kinesis, name, *["k"] * 500))
        clock.advance(100)
        answer = put(kinesis, name, *["k"] * 500)
        refusals = [one for one in answer if "ErrorCode" in one]
        assert len(refusals) == 400
        assert {one["ErrorCode"] for one in refusals} == {"ProvisionedThroughputExceededException"}
        assert refusals[0]["ErrorMessage"].startswith(f"Rate exceeded for shard {FIRST} in stream {name}")
        clock.advance(1_000)
        assert not any("ErrorCode" in one for one in put(kinesis, name, *["k"] * 500))


def test_write_limits_count_bytes_and_refuse_a_single_put(
    aws: Emulator, kinesis: Any, clock: MovableClock, name: str
) -> None:
    aws.kinesis.create_stream(name, 1)
    aws.settings.change(limits=True)
    again = {"StreamName": name, "Data": bytes(MIB), "PartitionKey": "k"}
    with clock.stopped():
        kinesis.put_record(**again)
        assert refused(kinesis.put_record, **again)[:2] == ("ProvisionedThroughputExceededException", 400)
        clock.advance(1_001)
        kinesis.put_record(**again)


def test_ten_mebibytes_read_block_reading_for_five_seconds() -> None:
    limits = ShardLimits(0)
    assert limits.take_read(0)
    limits.give(10 * MIB, 0)
    assert not limits.take_read(4_999)
    assert not limits.take_read(5_000)
    assert limits.take_read(5_001)


def test_five_reads_a_second() -> None:
    limits = ShardLimits(0)
    assert [limits.take_read(0) for _ in range(6)] == [True] * 5 + [False]
    assert limits.take_read(200)
    assert not limits.take_read(200)


def test_read_limits_throttle_get_records(aws: Emulator, kinesis: Any, clock: MovableClock, name: str) -> None:
    aws.kinesis.create_stream(name, 1)
    aws.kinesis.put(name, [PutEntry(bytes(MIB), "k")] * 10)
    start = iterator(kinesis, name, FIRST)
    aws.settings.change(limits=True)
    assert len(kinesis.get_records(ShardIterator=start)["Records"]) == 10
    clock.advance(4_000)
    assert refused(kinesis.get_records, ShardIterator=start)[:2] == ("ProvisionedThroughputExceededException", 400)
    clock.advance(1_100)
    kinesis.get_records(ShardIterator=start)


def test_a_clock_set_back_leaves_the_log_in_order(aws: Emulator, clock: MovableClock, stream: str) -> None:
    aws.kinesis.put_record(stream, "k", b"1")
    clock.advance(-60_000)
    aws.kinesis.put_record(stream, "k", b"2")
    clock.advance(60_000)
    first, second = aws.kinesis.records(stream)
    assert first.arrival_ms <= second.arrival_ms
