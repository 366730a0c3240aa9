"""Streams and shards against the embedded AWS, and answers that are cut, refused or paged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, PartialCredentialsError
from botocore.parsers import ResponseParserError

from consumer.emulator.clock import now_ms
from consumer.emulator.server import Emulator
from consumer.errors import RetryableError, SetupError
from consumer.sources.kinesis import ShardInfo, describe, list_shards, roots

HASH_MAX = 2**128 - 1


class Clock:
    """The emulator's clock; a test may put it forward."""

    ahead_ms = 0

    def __call__(self) -> int:
        return now_ms() + self.ahead_ms


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def kinesis(clock: Clock) -> Iterator[Any]:
    with Emulator(clock=clock) as emulator:
        yield emulator.client("kinesis")


@pytest.fixture
def stream(kinesis: Any, request: pytest.FixtureRequest) -> str:
    """Make a stream of two shards."""
    name: str = request.node.name
    kinesis.create_stream(StreamName=name, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 0.05})
    return name


def split_first(kinesis: Any, stream: str) -> None:
    middle = str(HASH_MAX // 4)
    kinesis.split_shard(StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=middle)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 0.05})


def test_a_stream_is_described_by_name_and_by_arn(kinesis: Any, stream: str) -> None:
    info = describe(kinesis, stream)
    assert (info.name, info.status, info.open_shards, info.retention_hours) == (stream, "ACTIVE", 2, 24)
    assert info.arn.endswith(f":stream/{stream}")
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    created: dt.datetime = summary["StreamCreationTimestamp"]
    assert info.created_ms == round(created.timestamp() * 1000)
    assert not info.ignores_partition_keys
    assert describe(kinesis, info.arn) == info


def test_shards_have_ranges_parents_and_an_end(kinesis: Any, stream: str) -> None:
    split_first(kinesis, stream)
    first, second, left, right = list_shards(kinesis, stream)
    assert [shard.closed for shard in (first, second, left, right)] == [True, False, False, False]
    assert left.parent == right.parent == first.id
    assert (second.parent, left.adjacent_parent) == (None, None)
    assert left.hash_range[0] == first.hash_range[0]
    assert int(left.hash_range[1]) + 1 == int(right.hash_range[0])
    assert second.hash_range[1] == str(HASH_MAX)
    kinesis.merge_shards(StreamName=stream, ShardToMerge=left.id, AdjacentShardToMerge=right.id)
    merged = list_shards(kinesis, stream)[-1]
    assert (merged.parent, merged.adjacent_parent) == (left.id, right.id)
    assert merged.hash_range == first.hash_range


def test_roots_are_the_shards_open_at_the_start(kinesis: Any, stream: str, clock: Clock) -> None:
    clock.ahead_ms += 2000
    between = clock() // 1000
    clock.ahead_ms += 2000
    split_first(kinesis, stream)
    clock.ahead_ms += 2000
    ids = [shard.id for shard in list_shards(kinesis, stream)]
    recorder = Recorder(kinesis.list_shards)
    assert [shard.id for shard in roots(kinesis, stream, None)] == ids[:2]
    assert [shard.id for shard in roots(recorder, stream, between)] == ids[:2]
    assert [shard.id for shard in roots(kinesis, stream, clock() // 1000)] == ids[1:]
    assert recorder.requests[0]["ShardFilter"]["Timestamp"].timestamp() == between


def test_a_start_at_which_no_shard_was_open_is_refused() -> None:
    nothing = Recorder(lambda **_: {"Shards": []})
    with pytest.raises(SetupError, match=r"no shard was open at 2001-09-09T01:46:40\+00:00.*trim_horizon"):
        roots(nothing, "s", 1_000_000_000)


class Recorder:
    """A client whose answers come from a function."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.requests: list[dict[str, Any]] = []
        self._answer = answer

    def list_shards(self, **request: Any) -> Any:
        self.requests.append(request)
        return self._answer(**request)

    def describe_stream_summary(self, **request: Any) -> Any:
        return self.list_shards(**request)


def shard(number: int) -> dict[str, Any]:
    return {
        "ShardId": f"shard-{number}",
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    }


def test_all_pages_are_read_and_a_token_stands_alone() -> None:
    pages = iter([{"Shards": [shard(0)], "NextToken": "t"}, {"Shards": [shard(1)], "NextToken": "u"}, {"Shards": []}])
    client = Recorder(lambda **_: next(pages))
    filter_ = {"Type": "AT_LATEST"}
    assert [found.id for found in list_shards(client, "s", filter_)] == ["shard-0", "shard-1"]
    assert client.requests == [{"StreamName": "s", "ShardFilter": filter_}, {"NextToken": "t"}, {"NextToken": "u"}]


def without(path: tuple[str, ...]) -> dict[str, Any]:
    answer = {"Shards": [shard(0)]}
    place: Any = answer if len(path) == 1 else answer["Shards"][0]
    for name in path[1:-1]:
        place = place[name]
    del place[path[-1]]
    return answer


@pytest.mark.parametrize(
    "path",
    [
        ("Shards",),
        ("Shards", "ShardId"),
        ("Shards", "HashKeyRange"),
        ("Shards", "HashKeyRange", "EndingHashKey"),
        ("Shards", "SequenceNumberRange"),
        ("Shards", "SequenceNumberRange", "StartingSequenceNumber"),
    ],
)
def test_an_answer_without_a_member_was_cut(path: tuple[str, ...]) -> None:
    with pytest.raises(RetryableError, match=f"without {path[-1]}"):
        list_shards(Recorder(lambda **_: without(path)), "s")


@pytest.mark.parametrize(
    "missing", ["StreamName", "StreamARN", "StreamStatus", "StreamCreationTimestamp", "OpenShardCount"]
)
def test_a_description_without_a_member_was_cut(missing: str) -> None:
    summary = {
        "StreamName": "s",
        "StreamARN": "arn",
        "StreamStatus": "ACTIVE",
        "StreamCreationTimestamp": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "RetentionPeriodHours": 24,
        "OpenShardCount": 1,
        "RecordDistributionStrategy": "AUTO",
    }
    assert describe(Recorder(lambda **_: {"StreamDescriptionSummary": summary}), "s").ignores_partition_keys
    del summary[missing]
    with pytest.raises(RetryableError, match=f"without {missing}"):
        describe(Recorder(lambda **_: {"StreamDescriptionSummary": summary}), "s")


def test_a_stream_that_is_not_there_names_it_and_the_remedy(kinesis: Any) -> None:
    for call in (describe, list_shards):
        with pytest.raises(SetupError, match=r"stream nowhere: .*ResourceNotFoundException.*Create the stream"):
            call(kinesis, "nowhere")


def failing(error: Exception) -> Recorder:
    def fail(**_: Any) -> Any:
        raise error

    return Recorder(fail)


def service_error(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "op")  # type: ignore[typeddict-item]  # the stubs ask for every member


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (service_error("AccessDeniedException"), SetupError, "Allow the worker's role kinesis:ListShards"),
        (service_error("InvalidArgumentException"), SetupError, "InvalidArgumentException"),
        (service_error("LimitExceededException"), RetryableError, "LimitExceededException"),
        (service_error("ExpiredNextTokenException"), RetryableError, "Expired"),
        (service_error("Odd", 503), RetryableError, "Odd"),
        (service_error("400"), RetryableError, "400"),
        (service_error(""), RetryableError, "op"),
        (service_error("403", 403), SetupError, "Allow the worker's role"),
        (EndpointConnectionError(endpoint_url="http://x"), RetryableError, "http://x"),
        (ResponseParserError("cut"), RetryableError, "cut"),
        (NoCredentialsError(), SetupError, "credentials"),
        (PartialCredentialsError(provider="env", cred_var="key"), SetupError, "credentials"),
    ],
)
def test_errors_say_whether_to_try_again(error: Exception, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as raised:
        list_shards(failing(error), "s")
    assert type(raised.value) is kind
    assert raised.value.__cause__ is error


def test_what_is_no_error_of_a_call_passes_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        list_shards(failing(ZeroDivisionError()), "s")


def test_a_shard_is_a_value() -> None:
    assert ShardInfo("a", None, None, ("0", "1"), closed=False) == ShardInfo("a", None, None, ("0", "1"), closed=False)
