"""The few rows of the daemon's own tables that a worker touches, in the daemon's format (KCL 3.1).

`<application>` is the lease table, one row a shard; `<application>-CoordinatorState` holds the lock of the leader,
which lists the shards and hands out the leases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import boto3

from consumer.aws_errors import code_of
from consumer.sources import aws
from consumer.sources.kinesis import ShardInfo

OWNER_INDEX = "LeaseOwnerToLeaseKeyIndex"

_CONDITION_FAILED = "ConditionalCheckFailedException"
_TABLE_EXISTS = "ResourceInUseException"
_NO_TABLE = "ResourceNotFoundException"
_REMEDY = "Allow the worker's role the DynamoDB actions of the daemon on the tables of worker.application."


class DynamoDBClient(Protocol):
    """What is called of boto3's DynamoDB client."""

    def create_table(self, *_: Any, **request: Any) -> Any:
        """Create a table."""

    def get_waiter(self, waiter_name: Any) -> Any:
        """Return the waiter `table_exists`."""

    def put_item(self, *_: Any, **request: Any) -> Any:
        """Write an item."""

    def delete_item(self, *_: Any, **request: Any) -> Any:
        """Delete an item."""


def make_client(session: boto3.Session) -> DynamoDBClient:
    """Return a client with explicit time-outs."""
    return session.client("dynamodb", config=aws.CLIENT_CONFIG)


def prepare(
    client: DynamoDBClient,
    application: str,
    shards: Iterable[ShardInfo],
    owner: str,
    start_seconds: int | None,
) -> None:
    """Create the lease table with its index, and a row for each shard that has none, owned by `owner`.

    The daemon does so itself, but takes more than half a minute for it: it waits for a random time, lest many
    workers do it at once, and then for the index. Meant for the embedded AWS, where one worker starts alone. Rows
    that exist are left as they are. `start_seconds` None starts at the oldest record, as the daemon's properties do.
    """
    _create_table(client, application)
    checkpoint = "TRIM_HORIZON" if start_seconds is None else "AT_TIMESTAMP"
    for shard in shards:
        _done_unless(
            {_CONDITION_FAILED},
            client.put_item,
            TableName=application,
            Item=_row(shard, owner, checkpoint),
            ConditionExpression="attribute_not_exists(leaseKey)",
        )


def release_leader(client: DynamoDBClient, application: str, identifier: str) -> bool:
    """Delete the leader's lock if it is this worker's; return whether it was.

    After a SIGKILL the lock would stand for two minutes, under the same name too, and no child shard would be
    found until then. Call it only when no other process of that identifier can be alive.
    """
    return _done_unless(
        {_CONDITION_FAILED, _NO_TABLE},
        client.delete_item,
        TableName=f"{application}-CoordinatorState",
        Key={"key": {"S": "Leader"}},
        ConditionExpression="ownerName = :me",
        ExpressionAttributeValues={":me": {"S": identifier}},
    )


def _create_table(client: DynamoDBClient, application: str) -> None:
    _done_unless(
        {_TABLE_EXISTS},
        client.create_table,
        TableName=application,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[_text_attribute("leaseKey"), _text_attribute("leaseOwner")],
        KeySchema=[_key("leaseKey", "HASH")],
        GlobalSecondaryIndexes=[
            {
                "IndexName": OWNER_INDEX,
                "KeySchema": [_key("leaseOwner", "HASH"), _key("leaseKey", "RANGE")],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    _done_unless(set(), client.get_waiter("table_exists").wait, TableName=application)


def _row(shard: ShardInfo, owner: str, checkpoint: str) -> Mapping[str, Mapping[str, str]]:
    start, end = shard.hash_range
    return {
        "leaseKey": {"S": shard.id},
        "leaseOwner": {"S": owner},
        "leaseCounter": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": checkpoint},
        "checkpointSubSequenceNumber": {"N": "0"},
        "startingHashKey": {"S": start},
        "endingHashKey": {"S": end},
    }


def _text_attribute(name: str) -> Mapping[str, str]:
    return {"AttributeName": name, "AttributeType": "S"}


def _key(name: str, kind: str) -> Mapping[str, str]:
    return {"AttributeName": name, "KeyType": kind}


def _done_unless(expected_codes: set[str], operation: Callable[..., Any], **request: Any) -> bool:
    """Call the operation; return False if it fails with one of the codes, raise what other errors mean."""
    try:
        operation(**request)
    except aws.CALL_ERRORS as error:
        if code_of(error) in expected_codes:
            return False
        raise aws.translate(error, f"table {request['TableName']}", _REMEDY) from error
    return True
