"""Reading a shard again: from where, to where, and what goes wrong on the way."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from consumer.errors import RetryableError, SetupError
from consumer.records import HashRange, Position, Record
from consumer.sources.reading import Behind, Page, ShardGoneError, ShardReader, first_behind, looking_ahead
from consumer.testing.fakes import client_error

SHARD = "shardId-000000000001"
ALL = HashRange(0, 2**128 - 1)


def _answer(*sequences: int, behind_ms: int = 0, then: str | None = "next") -> dict[str, Any]:
    records = [
        {
            "Data": b"%d" % sequence,
            "PartitionKey": "key",
            "SequenceNumber": str(sequence),
            "ApproximateArrivalTimestamp": dt.datetime.fromtimestamp(sequence, dt.UTC),
        }
        for sequence in sequences
    ]
    answer: dict[str, Any] = {"Records": records, "MillisBehindLatest": behind_ms}
    return answer if then is None else answer | {"NextShardIterator": then}


def _client(*answers: Any) -> Mock:
    client = Mock()
    client.get_shard_iterator.return_value = {"ShardIterator": "first"}
    client.get_records.side_effect = answers
    return client


def _record(sequence: int) -> Record:
    return Record(b"%d" % sequence, "key", str(sequence), 0, sequence * 1000)


@pytest.mark.parametrize(
    ("options", "request_"),
    [
        ({}, {"ShardIteratorType": "TRIM_HORIZON"}),
        ({"sequence": 7}, {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "7"}),
        (
            {"start_seconds": 10},
            {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": dt.datetime.fromtimestamp(10, dt.UTC)},
        ),
        (
            {"sequence": 7, "start_seconds": 10},
            {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "7"},
        ),
    ],
)
def test_it_begins_where_it_is_told(options: dict[str, int], request_: dict[str, Any]) -> None:
    for stream, address in (("clicks", "StreamName"), ("arn:aws:kinesis:x:1:stream/clicks", "StreamARN")):
        client = _client(_answer())
        ShardReader(client, stream, SHARD, ALL, **options).page()
        client.get_shard_iterator.assert_called_once_with(**{address: stream, "ShardId": SHARD}, **request_)


def test_pages_follow_each_other_to_the_end_of_a_closed_shard() -> None:
    client = _client(_answer(1, 2, behind_ms=500), _answer(), _answer(3, then=None))
    reader = ShardReader(client, "clicks", SHARD, ALL)
    assert reader.page() == Page([_record(1), _record(2)], 500, is_last=False)
    assert reader.page() == Page([], 0, is_last=False)
    assert reader.page() == Page([_record(3)], 0, is_last=True)
    assert [each.kwargs["ShardIterator"] for each in client.get_records.call_args_list] == ["first", "next", "next"]


def test_an_iterator_that_has_expired_is_replaced() -> None:
    """Behind the last record that was read."""
    client = _client(_answer(1, 2), client_error("ExpiredIteratorException"), _answer(3))
    reader = ShardReader(client, "clicks", SHARD, ALL)
    reader.page()
    with pytest.raises(RetryableError):
        reader.page()
    assert reader.page().records == [_record(3)]
    assert client.get_shard_iterator.call_args.kwargs["StartingSequenceNumber"] == "2"
    assert client.get_shard_iterator.call_args.kwargs["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER"


def test_a_throttle_is_told_and_the_same_page_comes_later() -> None:
    client = _client(client_error("ProvisionedThroughputExceededException"), _answer(1))
    reader = ShardReader(client, "clicks", SHARD, ALL)
    with pytest.raises(RetryableError):
        reader.page()
    assert reader.page().records == [_record(1)]
    assert client.get_shard_iterator.call_count == 1


@pytest.mark.parametrize("missing", ["Records", "MillisBehindLatest"])
def test_a_cut_answer_is_no_end(missing: str) -> None:
    cut = {name: value for name, value in _answer(1).items() if name != missing}
    reader = ShardReader(_client(cut, _answer(1)), "clicks", SHARD, ALL)
    with pytest.raises(RetryableError, match=missing):
        reader.page()
    assert reader.page().records == [_record(1)]


@pytest.mark.parametrize(
    ("code", "error"), [("ResourceNotFoundException", ShardGoneError), ("AccessDeniedException", SetupError)]
)
def test_what_cannot_be_read_is_told(code: str, error: type[Exception]) -> None:
    calls: list[Callable[[Mock], None]] = [
        lambda client: setattr(client.get_shard_iterator, "side_effect", client_error(code)),
        lambda client: setattr(client.get_records, "side_effect", client_error(code)),
    ]
    for fail in calls:
        client = _client(_answer(1))
        fail(client)
        with pytest.raises(error):
            ShardReader(client, "clicks", SHARD, ALL).page()


@pytest.mark.parametrize(
    ("answers", "position", "found"),
    [
        ([_answer(7, 9)], 7, Behind(Position(9, 0), is_whole=True)),
        ([_answer(9)], 7, Behind(Position(9, 0), is_whole=False)),
        ([_answer(behind_ms=5), _answer(9)], 7, Behind(Position(9, 0), is_whole=False)),
        ([_answer(7, behind_ms=5), _answer()], 7, Behind(None, is_whole=True)),
        ([_answer(behind_ms=5), _answer()], 7, Behind(None, is_whole=False)),
        ([_answer(7, then=None)], 7, Behind(None, ended=True, is_whole=True)),
        ([_answer(then=None)], 7, Behind(None, ended=True, is_whole=False)),
        ([client_error("ResourceNotFoundException")], 7, Behind(None, ended=True, is_whole=False)),
        ([_answer(9)], None, Behind(Position(9, 0), is_whole=False)),
    ],
)
def test_a_look_ahead_tells_whether_the_record_at_the_position_is_still_there(
    answers: list[Any], position: int | None, found: Behind
) -> None:
    at = None if position is None else Position(position, 0)
    reader = looking_ahead(_client(*answers), "clicks", SHARD, ALL, at, None)
    assert first_behind(reader, at, lambda _: None) == found
