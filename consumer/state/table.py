"""Requests to one DynamoDB table, each so that no cut answer, refused condition or throttle is mistaken for another.

Every request asks for the consumed capacity, because an answer that does not tell it was cut on the way: boto3
returns such an answer as a success without members, which would read as "no item". Every read is strongly
consistent. A request whose condition did not hold is told by its result, all other trouble by `errors_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from botocore.exceptions import ClientError

from consumer.aws_errors import code_of
from consumer.errors import RetryableError
from consumer.state.aws import errors_of, required

Attributes = Mapping[str, Any]
"""As DynamoDB's API has them: name to {type: value}."""

NO_TABLE = (
    "Create the table with partition key pk (S) and sort key sk (S), "
    "or correct state.table, the region or the endpoint."
)
REMEDIES = {
    "ResourceNotFoundException": NO_TABLE,
    "AccessDeniedException": (
        "Allow the worker's role dynamodb:BatchGetItem, dynamodb:BatchWriteItem, dynamodb:ConditionCheckItem, "
        "dynamodb:DeleteItem, dynamodb:DescribeTable, dynamodb:GetItem, dynamodb:PutItem, dynamodb:Query and "
        "dynamodb:UpdateItem on the table."
    ),
}
KEYS_MAX = 100
"""DynamoDB's limit for one BatchGetItem call."""
WRITES_MAX = 25
"""DynamoDB's limit for one BatchWriteItem call."""

_COUNTED = {"ReturnConsumedCapacity": "TOTAL"}
_REFUSED = "ConditionalCheckFailed"
_MAY_PASS = frozenset({"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


class DynamoClient(Protocol):
    """What the store calls of boto3's DynamoDB client."""

    def batch_get_item(self, *_: Any, **request: Any) -> Any:
        """BatchGetItem."""

    def batch_write_item(self, *_: Any, **request: Any) -> Any:
        """BatchWriteItem."""

    def create_table(self, *_: Any, **request: Any) -> Any:
        """CreateTable."""

    def delete_item(self, *_: Any, **request: Any) -> Any:
        """DeleteItem."""

    def describe_table(self, *_: Any, **request: Any) -> Any:
        """DescribeTable."""

    def describe_time_to_live(self, *_: Any, **request: Any) -> Any:
        """DescribeTimeToLive."""

    def get_item(self, *_: Any, **request: Any) -> Any:
        """GetItem."""

    def get_waiter(self, *_: Any, **request: Any) -> Any:
        """Return the waiter of a name."""

    def put_item(self, *_: Any, **request: Any) -> Any:
        """PutItem."""

    def query(self, *_: Any, **request: Any) -> Any:
        """Query."""

    def transact_write_items(self, *_: Any, **request: Any) -> Any:
        """TransactWriteItems."""

    def update_item(self, *_: Any, **request: Any) -> Any:
        """UpdateItem."""

    def update_time_to_live(self, *_: Any, **request: Any) -> Any:
        """UpdateTimeToLive."""


def name_of(table: str) -> str:
    """Return how a table is called in messages."""
    return f"DynamoDB table {table!r}"


def key_of(pk: str, sk: str) -> dict[str, Any]:
    """Return an item's key."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def condition_of(expression: str, values: Attributes | None = None) -> dict[str, Any]:
    """Return the members of a request that make it conditional. The expression names values as `:name`."""
    members: dict[str, Any] = {"ConditionExpression": expression}
    if values:
        members["ExpressionAttributeValues"] = dict(values)
    return members


class Table:
    """One table. Thread-safe as boto3's clients are."""

    def __init__(self, client: DynamoClient, name: str) -> None:
        self._client = client
        self._name = name
        self.what = name_of(name)

    def get(self, key: Attributes) -> Attributes | None:
        """Return an item's attributes, or None only where a whole answer says that there is none."""
        answer = self._ask(self._client.get_item, TableName=self._name, Key=key, ConsistentRead=True)
        item: Attributes | None = answer.get("Item")
        return item

    def get_many(self, keys: Iterable[Attributes]) -> list[Attributes]:
        """Return the items that there are, in no order."""
        items: list[Attributes] = []
        left = list(keys)
        while left:
            some, left = left[:KEYS_MAX], left[KEYS_MAX:]
            answer = self._ask(
                self._client.batch_get_item, RequestItems={self._name: {"Keys": some, "ConsistentRead": True}}
            )
            items += required(answer, "Responses", self.what).get(self._name, ())
            again = required(answer, "UnprocessedKeys", self.what)
            if again:
                left += again[self._name]["Keys"]
                if len(again[self._name]["Keys"]) == len(some):
                    raise RetryableError(f"{self.what}: none of {len(some)} items could be read now")
        return items

    def query_all(self, pk: str) -> list[Attributes]:
        """Return all items of a partition key, in the order of their sort keys."""
        return list(self._pages("pk = :pk", {":pk": {"S": pk}}))

    def query(self, pk: str, prefix: str) -> list[Attributes]:
        """Return the items of a partition key whose sort keys begin with a prefix, not an empty one, in their order."""
        values = {":pk": {"S": pk}, ":prefix": {"S": prefix}}
        return list(self._pages("pk = :pk AND begins_with(sk, :prefix)", values))

    def between(self, pk: str, first: str, last: str) -> Iterator[Attributes]:
        """Yield the items of a partition key whose sort keys are from `first` to `last`, in order, page by page."""
        values = {":pk": {"S": pk}, ":first": {"S": first}, ":last": {"S": last}}
        return self._pages("pk = :pk AND sk BETWEEN :first AND :last", values)

    def _pages(self, condition: str, values: Attributes) -> Iterator[Attributes]:
        start: dict[str, Any] = {}
        while True:
            answer = self._ask(
                self._client.query,
                TableName=self._name,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                **start,
            )
            yield from required(answer, "Items", self.what)
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def put(self, item: Attributes, condition: Mapping[str, Any] | None = None) -> bool:
        """Write an item whole; return False if the condition does not hold."""
        request = {"TableName": self._name, "Item": item, **(condition or {})}
        return self._ask_if(self._client.put_item, **request) is not None

    def update(self, **request: Any) -> Any | None:
        """Make an UpdateItem request; return the answer, None if the condition does not hold."""
        return self._ask_if(self._client.update_item, TableName=self._name, **request)

    def update_if(self, update: Mapping[str, Any], check: Mapping[str, Any]) -> bool:
        """Make an update on condition that a check of another item holds too; False if either does not.

        A transaction: twice the write units. Its request has a token, so that the client's own repeat is no second.
        """
        transaction = [
            {"Update": {"TableName": self._name, **update}},
            {"ConditionCheck": {"TableName": self._name, **check}},
        ]
        try:
            with errors_of(self.what, REMEDIES):
                answer = self._client.transact_write_items(TransactItems=transaction, **_COUNTED)
        except ClientError as error:
            if code_of(error) != "TransactionCanceledException":
                raise
            return self._was_refused(error)
        required(answer, "ConsumedCapacity", self.what)
        return True

    def delete(self, key: Attributes) -> None:
        """Delete an item; that there is none is success."""
        self._ask(self._client.delete_item, TableName=self._name, Key=key)

    def delete_many(self, keys: Iterable[Attributes]) -> None:
        """Delete items, in no order; that there is none is success."""
        self._write_many([{"DeleteRequest": {"Key": key}} for key in keys], "deleted")

    def put_many(self, items: Iterable[Attributes]) -> None:
        """Write items whole, in no order, no two of one key. A call's are far from its limit of 16 MB."""
        self._write_many([{"PutRequest": {"Item": item}} for item in items], "written")

    def _write_many(self, left: list[Any], done: str) -> None:
        while left:
            some, left = left[:WRITES_MAX], left[WRITES_MAX:]
            answer = self._ask(self._client.batch_write_item, RequestItems={self._name: some})
            again = required(answer, "UnprocessedItems", self.what).get(self._name, ())
            if len(again) == len(some):
                raise RetryableError(f"{self.what}: none of {len(some)} items could be {done} now")
            left += again

    def _was_refused(self, error: ClientError) -> bool:
        """Return False if a condition cancelled the transaction; RetryableError if only load or a rival did."""
        reasons: Sequence[Any] = required(error.response, "CancellationReasons", self.what)
        codes = {required(reason, "Code", self.what) for reason in reasons}
        if _REFUSED in codes:
            return False
        if codes <= _MAY_PASS:
            raise RetryableError(f"{self.what}: {error}") from error
        raise error

    def _ask_if(self, call: Callable[..., Any], **request: Any) -> Any | None:
        try:
            return self._ask(call, **request)
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise
            return None

    def _ask(self, call: Callable[..., Any], **request: Any) -> Any:
        with errors_of(self.what, REMEDIES):
            answer = call(**request, **_COUNTED)
        required(answer, "ConsumedCapacity", self.what)
        return answer
