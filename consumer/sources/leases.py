"""The few rows of the daemon's own tables that a worker touches, in the daemon's format (KCL 3.1).

`<application>` is the lease table, one row a shard; `<application>-CoordinatorState` holds the lock of the leader,
which lists the shards and hands out the leases; `<application>-WorkerMetricStats` tells when each worker last reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import boto3

from consumer.aws_errors import code_of
from consumer.errors import RetryableError
from consumer.sources import aws
from consumer.sources.kinesis import ShardInfo

OWNER_INDEX = "LeaseOwnerToLeaseKeyIndex"

_CONDITION_FAILED = "ConditionalCheckFailedException"
_TABLE_EXISTS = "ResourceInUseException"
_NO_TABLE = "ResourceNotFoundException"
_SHARD_END = "SHARD_END"
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

    def update_item(self, *_: Any, **request: Any) -> Any:
        """Update an item."""

    def scan(self, *_: Any, **request: Any) -> Any:
        """Return a page of all items."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A row of the lease table. `owner` None: nobody's; the daemon raises `counter` with all it does to the lease.

    `checkpoint` is a sequence number (then `sub_sequence` counts within its record), or TRIM_HORIZON, AT_TIMESTAMP,
    SHARD_END. `from_owner`: who still works on a shard that is being handed over to `owner`.
    """

    shard: str
    owner: str | None
    counter: int
    checkpoint: str
    sub_sequence: int
    from_owner: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the shard was read to its end: nobody needs the lease any more."""
        return self.checkpoint == _SHARD_END


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
            Item=_row(shard, checkpoint) | {"leaseOwner": {"S": owner}},
            ConditionExpression="attribute_not_exists(leaseKey)",
        )


def read(client: DynamoDBClient, application: str) -> Mapping[str, Lease] | None:
    """Return all leases by shard, in order, each as it was at some moment of the call; None if there is no table."""
    items = _scan(client, application)
    return None if items is None else dict(sorted((lease.shard, lease) for lease in map(_lease, items)))


def _scan(client: DynamoDBClient, table: str) -> list[Any] | None:
    items: list[Any] = []
    start: dict[str, Any] = {}
    while True:
        try:
            answer = client.scan(TableName=table, ConsistentRead=True, **start)
        except aws.CALL_ERRORS as error:
            if code_of(error) == _NO_TABLE:
                return None
            raise aws.translate(error, f"table {table}", _REMEDY) from error
        if "Items" not in answer:
            raise RetryableError(f"table {table}: an answer without Items (cut off on the way)")
        items += answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return items
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


def renewed(before: Mapping[str, Lease], after: Mapping[str, Lease]) -> list[Lease]:
    """Return the leases whose owner lives: it has taken or renewed them between two readings.

    An owner renews its leases three times in the daemon's fail-over time, and others take them when it has not for
    that long: readings that far apart see every lease that the daemon itself counts as held.
    """
    return [
        lease
        for shard, lease in after.items()
        if lease.owner is not None
        and (shard not in before or (before[shard].owner, before[shard].counter) != (lease.owner, lease.counter))
    ]


def rewind(client: DynamoDBClient, application: str, shards: Iterable[ShardInfo], start_seconds: int | None) -> int:
    """Set the leases of these shards to the start, nobody's, and delete all others; return how many were deleted.

    `start_seconds` as for `prepare`. Without a table nothing is done: the daemon creates it, at the start. Call it
    only while no lease is renewed; an owner that wakes up later finds its lease lost.
    """
    present = read(client, application)
    if present is None:
        return 0
    checkpoint = "TRIM_HORIZON" if start_seconds is None else "AT_TIMESTAMP"
    rows = {shard.id: _row(shard, checkpoint) for shard in shards}
    gone = [shard for shard in present if shard not in rows]
    for shard in gone:
        _done_unless(set(), client.delete_item, TableName=application, Key={"leaseKey": {"S": shard}})
    for row in rows.values():
        _done_unless(set(), client.put_item, TableName=application, Item=row)
    return len(gone)


def accept(client: DynamoDBClient, application: str, identifier: str) -> int:
    """Take the leases that were being handed over to a worker when it ended; return how many.

    KCL 3.1.3 cannot: coming back, it renews such a lease for ever, so that nobody else takes it, and never reads the
    shard. Call it before the worker's daemon starts.
    """
    leases = (read(client, application) or {}).values()
    pending = [lease for lease in leases if lease.owner == identifier and lease.from_owner is not None]
    return sum(finish_handover(client, application, lease) for lease in pending)


def inherit(client: DynamoDBClient, application: str, identifier: str, shards: Iterable[ShardInfo]) -> int:
    """Take the child shards that nobody has, of parents that are all this worker's; return how many.

    `shards` are those of the stream. The daemon writes a child's row when it has read the parent to its end, and the
    leader then gives it to somebody, which is two intervals later; a worker that starts again need not wait for that.
    The child waits for its parents all the same. Rows are the daemon's own but for the owner.

    A row that was there before is never written anew: the daemon writes a child's before it tells its parent's end,
    and deletes it after all its parents'. Call it before the worker's daemon starts.
    """
    present = read(client, application) or {}
    mine = {shard for shard, lease in present.items() if lease.owner == identifier}
    children = [shard for shard in shards if shard.parents and mine.issuperset(shard.parents)]
    return sum(_inherit(client, application, identifier, present, child) for child in children)


def _inherit(
    client: DynamoDBClient, application: str, identifier: str, present: Mapping[str, Lease], child: ShardInfo
) -> bool:
    lease = present.get(child.id)
    if lease is not None:
        return lease.owner is None and _take_free(client, application, lease, identifier)
    if all(present[parent].ended for parent in child.parents):
        return False
    row = _row(child, "TRIM_HORIZON") | {"leaseOwner": {"S": identifier}, "parentShardId": {"SS": [*child.parents]}}
    return _done_unless(
        {_CONDITION_FAILED},
        client.put_item,
        TableName=application,
        Item=row,
        ConditionExpression="attribute_not_exists(leaseKey)",
    )


def _take_free(client: DynamoDBClient, application: str, lease: Lease, identifier: str) -> bool:
    """Take a lease that is nobody's, as the leader gives it; return whether it was as it was read."""
    return _done_unless(
        {_CONDITION_FAILED},
        client.update_item,
        TableName=application,
        Key={"leaseKey": {"S": lease.shard}},
        UpdateExpression="SET leaseOwner = :me, leaseCounter = leaseCounter + :one REMOVE checkpointOwner",
        ConditionExpression="leaseCounter = :counter AND attribute_not_exists(leaseOwner)",
        ExpressionAttributeValues={
            ":me": {"S": identifier},
            ":one": {"N": "1"},
            ":counter": {"N": str(lease.counter)},
        },
    )


def finish_handover(client: DynamoDBClient, application: str, lease: Lease) -> bool:
    """Give a lease that is being handed over to its new owner for good; return whether it was as it was read.

    Who hands it over, if it still works, loses the lease by the raised counter, and our epoch fences it.
    """
    return _done_unless(
        {_CONDITION_FAILED},
        client.update_item,
        TableName=application,
        Key={"leaseKey": {"S": lease.shard}},
        UpdateExpression="SET leaseCounter = leaseCounter + :one REMOVE checkpointOwner",
        ConditionExpression="leaseOwner = :to AND checkpointOwner = :from",
        ExpressionAttributeValues={
            ":to": {"S": lease.owner or ""},
            ":from": {"S": lease.from_owner or ""},
            ":one": {"N": "1"},
        },
    )


def leave(client: DynamoDBClient, application: str, identifier: str) -> None:
    """Let go what others wait for after a worker's end: its leader's lock, and leases that it was to hand over.

    The lock would stand for two minutes. Call it when the worker's daemon has ended.
    """
    release_leader(client, application, identifier)
    leases = (read(client, application) or {}).values()
    for lease in [lease for lease in leases if lease.from_owner == identifier]:
        finish_handover(client, application, lease)


def release(client: DynamoDBClient, application: str, identifier: str, alive_since_seconds: int) -> int:
    """Give the leases that a worker holds to the other workers, evenly; return how many.

    The daemon never does so: others would take the leases only when they have not been renewed for the fail-over time,
    and the leader might give them back to this worker, which counts as alive for a while, and idle. So its report is
    deleted first. Others are alive that have reported at that time or later (epoch seconds); if none is, the leases
    become nobody's. Call it when the worker's daemon has ended.
    """
    others = _live_workers(client, application, alive_since_seconds) - {identifier}
    _delete_report(client, application, identifier)
    present = (read(client, application) or {}).values()
    loads = {other: sum(lease.owner == other for lease in present) for other in sorted(others)}
    released = 0
    for lease in present:
        if lease.owner == identifier and not lease.ended:
            heir = min(loads, key=loads.__getitem__, default=None)
            released += _give(client, application, lease, heir)
            if heir is not None:
                loads[heir] += 1
    return released


def _give(client: DynamoDBClient, application: str, lease: Lease, heir: str | None) -> bool:
    """Give a lease to a worker, as the leader does, or to nobody; return whether it was as it was read."""
    given = "SET leaseOwner = :heir, leaseCounter = leaseCounter + :one REMOVE checkpointOwner"
    values = {":heir": {"S": heir}, ":one": {"N": "1"}}
    return _done_unless(
        {_CONDITION_FAILED},
        client.update_item,
        TableName=application,
        Key={"leaseKey": {"S": lease.shard}},
        UpdateExpression="REMOVE leaseOwner" if heir is None else given,
        ConditionExpression="leaseOwner = :me AND leaseCounter = :counter",
        ExpressionAttributeValues={
            ":me": {"S": lease.owner},
            ":counter": {"N": str(lease.counter)},
            **({} if heir is None else values),
        },
    )


def _live_workers(client: DynamoDBClient, application: str, since_seconds: int) -> set[str]:
    items = _scan(client, f"{application}-WorkerMetricStats") or ()
    return {item["wid"]["S"] for item in items if "lut" in item and int(item["lut"]["N"]) >= since_seconds}


def _delete_report(client: DynamoDBClient, application: str, identifier: str) -> None:
    table = f"{application}-WorkerMetricStats"
    _done_unless({_NO_TABLE}, client.delete_item, TableName=table, Key={"wid": {"S": identifier}})


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


def _lease(row: Mapping[str, Any]) -> Lease:
    owner = row.get("leaseOwner")
    return Lease(
        shard=row["leaseKey"]["S"],
        owner=None if owner is None else owner["S"],
        counter=int(row["leaseCounter"]["N"]),
        checkpoint=row["checkpoint"]["S"],
        sub_sequence=int(row["checkpointSubSequenceNumber"]["N"]),
        from_owner=row["checkpointOwner"]["S"] if "checkpointOwner" in row else None,
    )


def _row(shard: ShardInfo, checkpoint: str) -> dict[str, Mapping[str, Any]]:
    start, end = shard.hash_range
    return {
        "leaseKey": {"S": shard.id},
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
