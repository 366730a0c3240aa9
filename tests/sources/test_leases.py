"""The rows of the daemon's tables, against the embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from consumer.emulator.server import Emulator
from consumer.errors import RetryableError, SetupError
from consumer.sources.kinesis import ShardInfo
from consumer.sources.leases import OWNER_INDEX, prepare, release_leader

SHARDS = [
    ShardInfo("shardId-000000000000", None, None, ("0", "99"), closed=False),
    ShardInfo("shardId-000000000001", None, None, ("100", "199"), closed=False),
]


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[Any]:
    with Emulator() as emulator:
        yield emulator.client("dynamodb")


@pytest.fixture
def application(request: pytest.FixtureRequest) -> str:
    name: str = request.node.originalname
    return name


def rows(dynamodb: Any, table: str) -> dict[str, dict[str, Any]]:
    return {item["leaseKey"]["S"]: item for item in dynamodb.scan(TableName=table)["Items"]}


def test_the_table_has_the_daemon_s_index_and_a_row_a_shard(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, SHARDS, "worker-0", None)
    table = dynamodb.describe_table(TableName=application)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "leaseKey", "KeyType": "HASH"}]
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == OWNER_INDEX
    assert rows(dynamodb, application)["shardId-000000000001"] == {
        "leaseKey": {"S": "shardId-000000000001"},
        "leaseOwner": {"S": "worker-0"},
        "leaseCounter": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": "TRIM_HORIZON"},
        "checkpointSubSequenceNumber": {"N": "0"},
        "startingHashKey": {"S": "100"},
        "endingHashKey": {"S": "199"},
    }
    owned = dynamodb.query(
        TableName=application,
        IndexName=OWNER_INDEX,
        KeyConditionExpression="leaseOwner = :o",
        ExpressionAttributeValues={":o": {"S": "worker-0"}},
    )
    assert owned["Count"] == 2


def test_a_row_that_exists_is_never_touched(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, SHARDS[:1], "worker-0", None)
    before = rows(dynamodb, application)
    prepare(dynamodb, application, SHARDS, "worker-1", 1_700_000_000)
    after = rows(dynamodb, application)
    assert after[SHARDS[0].id] == before[SHARDS[0].id]
    assert after[SHARDS[1].id]["leaseOwner"] == {"S": "worker-1"}
    assert after[SHARDS[1].id]["checkpoint"] == {"S": "AT_TIMESTAMP"}


@pytest.fixture
def leader(dynamodb: Any, application: str) -> str:
    """Make the daemon's table with the lock of worker-0 in it, as the daemon writes it."""
    table = f"{application}-CoordinatorState"
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
    )
    lock = {"key": {"S": "Leader"}, "ownerName": {"S": "worker-0"}, "leaseDuration": {"S": "120000"}}
    dynamodb.put_item(TableName=table, Item=lock)
    dynamodb.put_item(TableName=table, Item={"key": {"S": "Migration3.0"}, "cv": {"S": "CLIENT_VERSION_3X"}})
    return table


def keys(dynamodb: Any, table: str) -> set[str]:
    return {item["key"]["S"] for item in dynamodb.scan(TableName=table)["Items"]}


def test_the_lock_of_this_worker_is_released(dynamodb: Any, application: str, leader: str) -> None:
    assert release_leader(dynamodb, application, "worker-0")
    assert keys(dynamodb, leader) == {"Migration3.0"}
    assert not release_leader(dynamodb, application, "worker-0")


def test_the_lock_of_another_worker_stays(dynamodb: Any, application: str, leader: str) -> None:
    assert not release_leader(dynamodb, application, "worker-1")
    assert keys(dynamodb, leader) == {"Leader", "Migration3.0"}


def test_an_application_that_never_ran_has_no_lock(dynamodb: Any, application: str) -> None:
    assert not release_leader(dynamodb, application, "worker-0")


class Failing:
    """A client whose every call fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, _: str) -> Any:
        def fail(**_: Any) -> Any:
            raise self._error

        return fail


def test_errors_say_whether_to_try_again() -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "m"}}, "DeleteItem")
    with pytest.raises(SetupError, match=r"table app-CoordinatorState: .*AccessDenied.*Allow the worker's role"):
        release_leader(Failing(denied), "app", "worker-0")
    with pytest.raises(RetryableError, match="table app: "):
        prepare(Failing(EndpointConnectionError(endpoint_url="http://x")), "app", SHARDS, "worker-0", None)
