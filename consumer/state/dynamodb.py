"""The state store on DynamoDB (items) and S3 (snapshots too large for an item).

One table serves many pipelines. Its key is `pk`, `sk`: the application item is (pipeline, "application"), a
state item (pipeline/shard, "state"). Every request asks for the consumed capacity, because an answer that
does not tell it was cut on the way: boto3 returns such an answer as a success without members, which would
read as "no item".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError, WaiterError

from consumer.aws_errors import code_of
from consumer.errors import RetryableError, SetupError
from consumer.state.aws import CLIENT_CONFIG, errors_of, required
from consumer.state.base import Application, Claim, Entry, FenceRefusedError, ShardState, assert_storable
from consumer.state.items import decode_application, decode_claim, encode_application, encode_state
from consumer.state.s3 import ObjectStore, S3Client

if TYPE_CHECKING:
    import boto3

_KEY_SCHEMA = [
    {"AttributeName": "pk", "KeyType": "HASH"},
    {"AttributeName": "sk", "KeyType": "RANGE"},
]
_KEY_TYPES = [
    {"AttributeName": "pk", "AttributeType": "S"},
    {"AttributeName": "sk", "AttributeType": "S"},
]
_WAIT_FOR_TABLE = {"Delay": 1, "MaxAttempts": 120}
_COUNTED = {"ReturnConsumedCapacity": "TOTAL"}

_NO_TABLE = (
    "Create the table with partition key pk (S) and sort key sk (S), "
    "or correct state.table, the region or the endpoint."
)
_REMEDIES = {
    "ResourceNotFoundException": _NO_TABLE,
    "AccessDeniedException": (
        "Allow the worker's role dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem and "
        "dynamodb:DescribeTable on the table."
    ),
}


class DynamoClient(Protocol):
    """What the store calls of boto3's DynamoDB client."""

    def create_table(self, *_: Any, **request: Any) -> Any:
        """CreateTable."""

    def describe_table(self, *_: Any, **request: Any) -> Any:
        """DescribeTable."""

    def get_item(self, *_: Any, **request: Any) -> Any:
        """GetItem."""

    def get_waiter(self, *_: Any, **request: Any) -> Any:
        """Return the waiter of a name."""

    def put_item(self, *_: Any, **request: Any) -> Any:
        """PutItem."""

    def update_item(self, *_: Any, **request: Any) -> Any:
        """UpdateItem."""


def make_client(session: boto3.Session) -> DynamoClient:
    """Return a client with explicit time-outs and few retries of its own; one serves all threads."""
    return session.client("dynamodb", config=CLIENT_CONFIG)


def create_table(client: DynamoClient, table: str) -> None:
    """Create the table, billed on demand, if there is none; return when it can be used."""
    what = _name_of(table)
    with errors_of(what, _REMEDIES):
        try:
            client.create_table(
                TableName=table,
                KeySchema=_KEY_SCHEMA,
                AttributeDefinitions=_KEY_TYPES,
                BillingMode="PAY_PER_REQUEST",
            )
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":  # it exists, or another worker is creating it
                raise
        try:
            client.get_waiter("table_exists").wait(TableName=table, WaiterConfig=_WAIT_FOR_TABLE)
        except WaiterError as error:
            raise RetryableError(f"{what}: still being created") from error
    check_table(client, table)


def check_table(client: DynamoClient, table: str) -> None:
    """Check that the table is there, usable, and has the right key; SetupError with the remedy if not."""
    what = _name_of(table)
    with errors_of(what, _REMEDIES):
        description = required(client.describe_table(TableName=table), "Table", what)
    if description["TableStatus"] not in {"ACTIVE", "UPDATING"}:
        raise RetryableError(f"{what} is {description['TableStatus']}")
    types = {
        definition["AttributeName"]: definition["AttributeType"] for definition in description["AttributeDefinitions"]
    }
    key = [(part["AttributeName"], part["KeyType"], types[part["AttributeName"]]) for part in description["KeySchema"]]
    if key != [("pk", "HASH", "S"), ("sk", "RANGE", "S")]:
        raise SetupError(f"{what} has another key than this needs: use a table of its own. {_NO_TABLE}")


class DynamoStore:
    """The contract of `base.py`, for one pipeline. Thread-safe as boto3's clients are."""

    def __init__(self, dynamodb: DynamoClient, s3: S3Client, *, table: str, bucket: str, pipeline: str) -> None:
        self._client = dynamodb
        self._objects = ObjectStore(s3, bucket, pipeline)
        self._table = table
        self._pipeline = pipeline
        self._what = _name_of(table)

    def read_application(self) -> Application | None:
        """Read the item, strongly consistent."""
        item = self._get(self._application_key())
        return None if item is None else decode_application(item)

    def create_application(self, application: Application) -> Application:
        """Write the item on condition that there is none, or read the one that is there."""
        with errors_of(self._what, _REMEDIES):
            try:
                answer = self._client.put_item(
                    TableName=self._table,
                    Item=self._application_key() | encode_application(application),
                    ConditionExpression="attribute_not_exists(pk)",
                    **_COUNTED,
                )
            except ClientError as error:
                if not _is_refused_condition(error):
                    raise
            else:
                required(answer, "ConsumedCapacity", self._what)
                return application
        stored = self.read_application()
        if stored is None:
            raise RetryableError(f"{self._what}: the application item was there and is gone")
        return stored

    def claim(self, shard: str) -> Claim:
        """Add 1 to the epoch. The answer to that one update is the item: nothing can come in between."""
        with errors_of(self._what, _REMEDIES):
            answer = self._client.update_item(
                TableName=self._table,
                Key=self._state_key(shard),
                UpdateExpression="ADD #epoch :one",
                ExpressionAttributeNames={"#epoch": "epoch"},
                ExpressionAttributeValues={":one": {"N": "1"}},
                ReturnValues="ALL_NEW",
                **_COUNTED,
            )
        required(answer, "ConsumedCapacity", self._what)
        return decode_claim(required(answer, "Attributes", self._what))

    def read(self, shard: str) -> Claim | None:
        """Read the item, strongly consistent."""
        item = self._get(self._state_key(shard))
        return None if item is None else decode_claim(item)

    def put_object(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
        """Write an object to the bucket."""
        return self._objects.put(shard, generation, epoch, commit_no, data)

    def get_object(self, entry: Entry) -> bytes:
        """Read an object from the bucket and verify it."""
        return self._objects.get(entry)

    def delete_objects(self, entries: Sequence[Entry]) -> None:
        """Delete objects from the bucket."""
        self._objects.delete(entries)

    def advance(self, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        """Replace every attribute but the key and the epoch, in one conditional update."""
        assert_storable(state)
        attributes = encode_state(state)
        condition, expected = _fence(epoch, state.commit_no, ended=ended)
        with errors_of(self._what, _REMEDIES):
            try:
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=self._state_key(shard),
                    UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
                    ConditionExpression=condition,
                    ExpressionAttributeNames={f"#{name}": name for name in ("epoch", *attributes)},
                    ExpressionAttributeValues={f":{name}": value for name, value in attributes.items()} | expected,
                    **_COUNTED,
                )
            except ClientError as error:
                if _is_refused_condition(error):
                    raise FenceRefusedError(f"{shard}: epoch {epoch}, commit {state.commit_no}") from error
                raise
        required(answer, "ConsumedCapacity", self._what)

    def _get(self, key: dict[str, Any]) -> Any | None:
        """Return an item's attributes, or None only where a whole answer says that there is none."""
        with errors_of(self._what, _REMEDIES):
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True, **_COUNTED)
        required(answer, "ConsumedCapacity", self._what)
        return answer.get("Item")

    def _application_key(self) -> dict[str, Any]:
        return {"pk": {"S": self._pipeline}, "sk": {"S": "application"}}

    def _state_key(self, shard: str) -> dict[str, Any]:
        return {"pk": {"S": f"{self._pipeline}/{shard}"}, "sk": {"S": "state"}}


def _fence(epoch: int, commit_no: int, *, ended: bool) -> tuple[str, dict[str, Any]]:
    """Return the condition of a commit and the values it names."""
    expected: dict[str, Any] = {":expected_epoch": {"N": str(epoch)}}
    if commit_no == 0:
        return "#epoch = :expected_epoch AND attribute_not_exists(#commit_no)", expected
    expected[":expected_commit_no"] = {"N": str(commit_no - 1)}
    expected[":expected_ended"] = {"BOOL": ended}
    condition = "#epoch = :expected_epoch AND #commit_no = :expected_commit_no AND #ended = :expected_ended"
    return condition, expected


def _is_refused_condition(error: ClientError) -> bool:
    return code_of(error) == "ConditionalCheckFailedException"


def _name_of(table: str) -> str:
    return f"DynamoDB table {table!r}"
