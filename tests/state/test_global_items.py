"""Items of global windows: their persisted format, and what is asked of DynamoDB. A literal here is a promise."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.completion import Progress, Stretch
from consumer.core.contributions import CHUNK_BYTES, Contribution, encode
from consumer.errors import CorruptStateError, RefusedError, RetryableError
from consumer.state.dynamodb import DynamoStore
from consumer.state.items import decode_contribution, decode_progress, encode_contribution, encode_progress
from consumer.state.table import WRITES_MAX
from consumer.testing.fakes import client_error
from consumer.testing.store_harness import CONTRIBUTION, PROGRESS

CAPACITY = {"ConsumedCapacity": {"CapacityUnits": 1.0}}
TABLE = "streamgauge-state"
CONTRIBUTION_KEY = {
    "pk": {"S": "clickstream/global/0/" + "f" * 32 + "/0"},
    "sk": {"S": "1001700000060000/1001700000000000/shardId-000000000007#00000"},
}
GOLDEN_CONTRIBUTION: dict[str, Any] = {
    "format_version": {"N": "1"},
    "window": {"S": "views"},
    "window_hash": {"S": "f" * 64},
    "generation": {"N": "0"},
    "bucket": {"N": "0"},
    "end_ms": {"N": "1700000060000"},
    "start_ms": {"N": "1700000000000"},
    "origin": {"S": "shardId-000000000007"},
    "chunk": {"N": "0"},
    "chunks": {"N": "1"},
    "data": {"B": b"\x00\xff groups"},
    "expires_ms": {"N": "1700172800001"},
    "expires_at": {"N": "1700172801"},
}
PROGRESS_KEY = {"pk": {"S": "clickstream/progress/0"}, "sk": {"S": "shardId-000000000007"}}
GOLDEN_PROGRESS: dict[str, Any] = {
    "format_version": {"N": "1"},
    "shard": {"S": "shardId-000000000007"},
    "generation": {"N": "0"},
    "parents": {"L": [{"S": "shardId-000000000008"}, {"S": "shardId-000000000003"}]},
    "hash_range_start": {"S": "0"},
    "hash_range_end": {"S": "340282366920938463463374607431768211455"},
    "watermark_ms": {"N": "-62135596800000"},
    "epoch": {"N": "3"},
    "commit_no": {"N": "7"},
    "ended": {"BOOL": True},
    "began": {
        "L": [{"S": "f" * 64}, {"N": "1700000000000"}, {"S": "e" * 64}, {"N": "-5"}],
    },
    "stretches": {
        "L": [{"N": "1700000000000"}, {"N": "-1"}, {"N": "1700000900000"}, {"N": "5"}],
    },
    "expires_ms": {"N": "1700172800000"},
    "expires_at": {"N": "1700172800"},
}
UNEXPIRING = {"expires_ms": {"NULL": True}}


def store_on(client: Any) -> DynamoStore:
    return DynamoStore(client, Mock(), table=TABLE, bucket=None, pipeline="clickstream")


# The persisted format


def test_stored_contributions_can_be_read_for_ever() -> None:
    assert encode_contribution(CONTRIBUTION) == GOLDEN_CONTRIBUTION
    assert decode_contribution(CONTRIBUTION_KEY | GOLDEN_CONTRIBUTION) == CONTRIBUTION


def test_stored_progress_can_be_read_for_ever() -> None:
    assert encode_progress(PROGRESS) == GOLDEN_PROGRESS
    assert decode_progress(PROGRESS_KEY | GOLDEN_PROGRESS) == PROGRESS


def test_progress_before_the_first_event() -> None:
    golden = {name: value for name, value in GOLDEN_PROGRESS.items() if name != "expires_at"}
    golden |= {"watermark_ms": {"NULL": True}, "began": {"L": []}, "stretches": {"L": []}} | UNEXPIRING
    progress = msgspec.structs.replace(PROGRESS, watermark_ms=None, began=(), stretches=(), expires_ms=None)
    assert encode_progress(progress) == golden
    assert decode_progress(golden) == progress


@pytest.mark.parametrize(("expires_ms", "expires_at"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)])
def test_nothing_is_forgotten_too_early(expires_ms: int, expires_at: int) -> None:
    for item in (
        encode_contribution(msgspec.structs.replace(CONTRIBUTION, expires_ms=expires_ms)),
        encode_progress(msgspec.structs.replace(PROGRESS, expires_ms=expires_ms)),
    ):
        assert item["expires_at"] == {"N": str(expires_at)}


def test_what_does_not_expire_has_no_time_to_live() -> None:
    """An attribute NULL would be none either, but its name in DynamoDB's console would say that it has one."""
    for item in (
        encode_contribution(msgspec.structs.replace(CONTRIBUTION, expires_ms=None)),
        encode_progress(msgspec.structs.replace(PROGRESS, expires_ms=None)),
    ):
        assert "expires_at" not in item
        assert item["expires_ms"] == {"NULL": True}


@pytest.mark.parametrize("name", sorted(set(GOLDEN_CONTRIBUTION) - {"expires_at"}))
@pytest.mark.parametrize("value", [None, {"SS": ["x"]}])
def test_a_contribution_without_an_attribute_or_with_another_type_is_refused(name: str, value: Any) -> None:
    item = GOLDEN_CONTRIBUTION | {name: value}
    if value is None:
        del item[name]
    with pytest.raises(CorruptStateError, match=name):
        decode_contribution(item)


@pytest.mark.parametrize("name", sorted(set(GOLDEN_PROGRESS) - {"expires_at"}))
@pytest.mark.parametrize("value", [None, {"SS": ["x"]}])
def test_progress_without_an_attribute_or_with_another_type_is_refused(name: str, value: Any) -> None:
    item = GOLDEN_PROGRESS | {name: value}
    if value is None:
        del item[name]
    with pytest.raises(CorruptStateError, match=name):
        decode_progress(item)


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("began", [{"N": "1"}, {"N": "1"}]),
        ("began", [{"S": "a"}, {"S": "1"}]),
        ("began", [{"S": "a"}]),
        ("stretches", [{"S": "a"}, {"N": "1"}]),
        ("stretches", [{"N": "1"}, {"S": "1"}]),
        ("stretches", [{"N": "1"}]),
        ("parents", [{"N": "1"}]),
    ],
)
def test_a_member_of_another_type_is_refused(name: str, members: list[dict[str, str]]) -> None:
    with pytest.raises(CorruptStateError, match=name):
        decode_progress(GOLDEN_PROGRESS | {name: {"L": members}})


def test_another_format_is_refused_whatever_else_is_in_it() -> None:
    with pytest.raises(RefusedError, match=r"contribution to a global window has format version 2, .* reads 1"):
        decode_contribution({"format_version": {"N": "2"}})
    with pytest.raises(RefusedError, match=r"progress of a shard has format version 2, .* reads 1"):
        decode_progress({"format_version": {"N": "2"}})


TIMES_MS = st.integers(-(10**15), 10**15)
CONTRIBUTIONS = st.builds(
    Contribution,
    window=st.text(),
    window_hash=st.text(),
    generation=st.integers(0, 10**6),
    bucket=st.integers(0, 255),
    end_ms=TIMES_MS,
    start_ms=TIMES_MS,
    origin=st.text(),
    chunk=st.integers(0, 99_999),
    chunks=st.integers(1, 100_000),
    data=st.binary(max_size=50),
    expires_ms=st.none() | TIMES_MS,
)
PROGRESSES = st.builds(
    Progress,
    shard=st.text(),
    generation=st.integers(0, 10**6),
    parents=st.lists(st.text(), max_size=2).map(tuple),
    hash_range=st.tuples(st.integers(0, 2**128).map(str), st.integers(0, 2**128).map(str)),
    watermark_ms=st.none() | st.integers(-(2**62), 2**62),
    epoch=st.integers(0, 10**9),
    commit_no=st.integers(0, 10**12),
    ended=st.booleans(),
    began=st.lists(st.tuples(st.text(), TIMES_MS), max_size=3).map(tuple),
    stretches=st.lists(st.builds(Stretch, TIMES_MS, TIMES_MS), max_size=3).map(tuple),
    expires_ms=st.none() | TIMES_MS,
)


@given(contribution=CONTRIBUTIONS, progress=PROGRESSES)
def test_anything_comes_back_as_it_was(contribution: Contribution, progress: Progress) -> None:
    assert decode_contribution(encode_contribution(contribution)) == contribution
    assert decode_progress(encode_progress(progress)) == progress


# Requests


def written(client: Mock) -> list[list[dict[str, Any]]]:
    """Return the items of every BatchWriteItem call."""
    calls = [call.kwargs["RequestItems"][TABLE] for call in client.batch_write_item.call_args_list]
    return [[request["PutRequest"]["Item"] for request in call] for call in calls]


def accepting() -> Mock:
    client = Mock()
    client.batch_write_item.return_value = CAPACITY | {"UnprocessedItems": {}}
    return client


def test_contributions_are_written_under_their_names() -> None:
    client = accepting()
    store_on(client).put_contributions([encode(CONTRIBUTION)])
    assert written(client) == [[CONTRIBUTION_KEY | GOLDEN_CONTRIBUTION]]
    assert client.batch_write_item.call_args.kwargs["ReturnConsumedCapacity"] == "TOTAL"


def test_contributions_are_written_many_at_a_time_and_each_once() -> None:
    """Of two items of one key in a call, DynamoDB refuses both."""
    client = accepting()
    rows = [encode(msgspec.structs.replace(CONTRIBUTION, chunk=number)) for number in range(WRITES_MAX + 3)]
    store_on(client).put_contributions([*rows, *rows])
    assert list(map(len, written(client))) == [WRITES_MAX, 3]
    assert sorted(int(item["chunk"]["N"]) for call in written(client) for item in call) == list(range(len(rows)))


def test_what_is_put_back_is_written_again() -> None:
    client = Mock()
    rows = [encode(msgspec.structs.replace(CONTRIBUTION, chunk=number)) for number in range(3)]
    client.batch_write_item.side_effect = lambda **request: (
        CAPACITY
        | {
            "UnprocessedItems": {TABLE: request["RequestItems"][TABLE][1:]}
            if request["RequestItems"][TABLE][1:]
            else {}
        }
    )
    store_on(client).put_contributions(rows)
    assert [[int(item["chunk"]["N"]) for item in call] for call in written(client)] == [[0, 1, 2], [1, 2], [2]]


def test_when_nothing_can_be_written_it_may_be_later() -> None:
    client = Mock()
    client.batch_write_item.side_effect = lambda **request: CAPACITY | {"UnprocessedItems": request["RequestItems"]}
    with pytest.raises(RetryableError, match="none of 1 items could be written now"):
        store_on(client).put_contributions([encode(CONTRIBUTION)])
    assert client.batch_write_item.call_count == 1


@pytest.mark.parametrize("answer", [{}, CAPACITY, {"UnprocessedItems": {}}])
def test_an_answer_to_a_batch_that_was_cut_is_no_success(answer: dict[str, Any]) -> None:
    client = Mock()
    client.batch_write_item.return_value = answer
    with pytest.raises(RetryableError, match="cut on the way"):
        store_on(client).put_contributions([encode(CONTRIBUTION)])


def test_nothing_is_asked_where_nothing_is_contributed() -> None:
    client = Mock()
    store_on(client).put_contributions([])
    assert not client.mock_calls


def test_a_contribution_that_cannot_be_read_is_written_nowhere() -> None:
    client = Mock()
    with pytest.raises(CorruptStateError, match="cannot be read"):
        store_on(client).put_contributions([encode(CONTRIBUTION), b"x"])
    assert not client.mock_calls


def test_contributions_are_read_page_by_page_as_they_are_asked_for() -> None:
    client = Mock()
    pages = [[msgspec.structs.replace(CONTRIBUTION, chunk=chunk) for chunk in page] for page in ((0, 1), (2,))]
    items = [[CONTRIBUTION_KEY | encode_contribution(each) for each in page] for page in pages]
    client.query.side_effect = [
        CAPACITY | {"Items": items[0], "LastEvaluatedKey": CONTRIBUTION_KEY},
        CAPACITY | {"Items": items[1]},
    ]
    found = store_on(client).read_contributions(0, "f" * 64, 0, after_end_ms=1_700_000_000_000, until_end_ms=2**62)
    assert client.query.call_count == 0
    assert [next(found), next(found)] == pages[0]
    assert client.query.call_count == 1
    assert list(found) == pages[1]
    first, second = (call.kwargs for call in client.query.call_args_list)
    assert first == {
        "TableName": TABLE,
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
        "ExpressionAttributeValues": {
            ":pk": CONTRIBUTION_KEY["pk"],
            ":first": {"S": "1001700000000001"},
            ":last": {"S": "99999999999999990"},
        },
        "ConsistentRead": True,
        "ReturnConsumedCapacity": "TOTAL",
    }
    assert second == first | {"ExclusiveStartKey": CONTRIBUTION_KEY}


@pytest.mark.parametrize("answer", [{}, CAPACITY, {"Items": []}])
def test_a_page_that_was_cut_is_not_the_last(answer: dict[str, Any]) -> None:
    client = Mock()
    item = CONTRIBUTION_KEY | GOLDEN_CONTRIBUTION
    client.query.side_effect = [CAPACITY | {"Items": [item], "LastEvaluatedKey": CONTRIBUTION_KEY}, answer]
    found = store_on(client).read_contributions(0, "f" * 64, 0, after_end_ms=None, until_end_ms=0)
    assert next(found) == CONTRIBUTION
    with pytest.raises(RetryableError, match="cut on the way"):
        next(found)


def test_progress_is_replaced_whole_on_the_condition_of_its_commit() -> None:
    client = Mock()
    client.put_item.return_value = CAPACITY
    store_on(client).write_progress(PROGRESS)
    assert client.put_item.call_args.kwargs == {
        "TableName": TABLE,
        "Item": PROGRESS_KEY | GOLDEN_PROGRESS,
        "ConditionExpression": "attribute_not_exists(commit_no) OR commit_no <= :commit_no",
        "ExpressionAttributeValues": {":commit_no": {"N": "7"}},
        "ReturnConsumedCapacity": "TOTAL",
    }


def test_progress_that_comes_late_is_success() -> None:
    client = Mock()
    client.put_item.side_effect = client_error("ConditionalCheckFailedException")
    store_on(client).write_progress(PROGRESS)


def test_the_progress_of_all_shards_is_one_query() -> None:
    client = Mock()
    client.query.return_value = CAPACITY | {"Items": [PROGRESS_KEY | GOLDEN_PROGRESS]}
    assert list(store_on(client).read_progress(0)) == [PROGRESS]
    client.query.assert_called_once_with(
        TableName=TABLE,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": PROGRESS_KEY["pk"]},
        ConsistentRead=True,
        ReturnConsumedCapacity="TOTAL",
    )


def test_the_largest_contribution_fits_an_item() -> None:
    """And 25 of them a call, which takes 16 MB."""
    largest = msgspec.structs.replace(
        CONTRIBUTION, window="w" * 128, origin="s" * 128, data=bytes(CHUNK_BYTES), chunk=99_998, chunks=99_999
    )
    client = accepting()
    store_on(client).put_contributions([encode(largest)])
    item = written(client)[0][0]
    texts = {name: value for name, value in item.items() if name != "data"}
    assert len(repr(texts)) + CHUNK_BYTES < 400 * 1024
    assert WRITES_MAX * 400 * 1024 < 16 * 1024 * 1024
