"""Stand-ins for boto3's DynamoDB and S3 clients as a state store calls them: the services' answers, without a network.

They understand the expressions that the store writes and no others, and hold what a call may carry. What is stored is
plain data that can be copied; a client over it has no state of its own. Faults are not ordered here: wrap the clients.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import wraps
from threading import RLock
from typing import Any, TypeVar, cast

from botocore.exceptions import ClientError

from consumer.state.items import EXPIRES_AT
from consumer.state.table import KEYS_MAX
from consumer.testing.fakes import client_error

Key = tuple[str, str]
Item = Mapping[str, Any]
_Call = TypeVar("_Call", bound=Callable[..., Any])

ITEM_BYTES_MAX = 400 * 1024
WRITES_MAX = 25
"""DynamoDB's limit for one BatchWriteItem call."""
OBJECT_KEYS_MAX = 1000

BATCH_BYTES_MAX = 16 * 1024 * 1024
"""DynamoDB's limit for one BatchWriteItem call."""
PAGE_BYTES_MAX = 1024 * 1024
"""DynamoDB's limit for one page of a Query."""

_CAPACITY = {"ConsumedCapacity": {"CapacityUnits": 1.0}}
_COMPARED = re.compile(r"(#?\w+) (=|<>|<=) (:\w+)")
_MISSING = re.compile(r"attribute_not_exists\((#?\w+)\)")
_GROUP = re.compile(r"(?<!attribute_not_exists)\(((?:[^()]|attribute_not_exists\([^()]*\))*)\)")
_CLAUSE = re.compile(r"\b(SET|ADD|REMOVE) ")


def _atomic(call: _Call) -> _Call:
    """Let no other call see or change what is stored while this one looks and writes."""

    @wraps(call)
    def alone(client: FakeDynamo | FakeStateS3, **request: Any) -> Any:
        with client.lock:
            return call(client, **request)

    return cast("_Call", alone)


@dataclass
class StoredAws:
    """What one table and one bucket hold, one call at a time. `copy` it to go on from the same place twice."""

    items: dict[Key, Item] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    lock: AbstractContextManager[bool] = field(default_factory=RLock, compare=False, repr=False)

    def copy(self) -> StoredAws:
        """Return another one that holds the same. Items and bytes are never changed in place."""
        return StoredAws(self.items.copy(), self.objects.copy())


class FakeDynamo:
    """A DynamoDB client of one table with the key pk, sk."""

    def __init__(self, stored: StoredAws) -> None:
        self.lock = stored.lock
        self._items = stored.items

    def get_item(self, *, Key: Item, ConsistentRead: bool, **_: Any) -> Any:  # noqa: N803 - AWS' names
        """Answer with the item, if there is one."""
        assert ConsistentRead
        item = self._items.get(_key(Key))
        return _CAPACITY | ({} if item is None else {"Item": dict(item)})

    @_atomic
    def batch_get_item(self, *, RequestItems: Mapping[str, Any], **_: Any) -> Any:  # noqa: N803 - AWS' names
        """Answer with those of the items that there are."""
        ((table, request),) = RequestItems.items()
        assert request["ConsistentRead"]
        assert 1 <= len(request["Keys"]) <= KEYS_MAX
        found = [dict(self._items[_key(key)]) for key in request["Keys"] if _key(key) in self._items]
        return {"Responses": {table: found}, "UnprocessedKeys": {}, "ConsumedCapacity": [{"CapacityUnits": 1.0}]}

    @_atomic
    def query(self, *, ConsistentRead: bool, **request: Any) -> Any:  # noqa: N803 - AWS' names
        """Answer with a page of the items of a partition, all or those whose sort keys the condition lets through."""
        assert ConsistentRead
        wanted = _wanted(request)
        after = _key(request["ExclusiveStartKey"]) if "ExclusiveStartKey" in request else ("", "")
        page: list[Any] = []
        size_bytes = 0
        for key in sorted(key for key in self._items if wanted(key) and key > after):
            page.append(dict(self._items[key]))
            size_bytes += _size_bytes(page[-1])
            if size_bytes >= PAGE_BYTES_MAX:
                last = {"pk": page[-1]["pk"], "sk": page[-1]["sk"]}
                return _CAPACITY | {"Items": page, "LastEvaluatedKey": last}
        return _CAPACITY | {"Items": page}

    @_atomic
    def put_item(self, *, Item: Item, **condition: Any) -> Any:  # noqa: N803 - AWS' names
        """Write an item whole, if its condition holds."""
        self._check(_key(Item), condition)
        self._write(Item)
        return _CAPACITY

    @_atomic
    def update_item(self, *, Key: Item, ReturnValues: str = "NONE", **update: Any) -> Any:  # noqa: N803 - AWS' names
        """Update an item, if its condition holds."""
        self._check(_key(Key), update)
        self._write(self._updated(Key, update))
        attributes = {"Attributes": dict(self._items[_key(Key)])} if ReturnValues == "ALL_NEW" else {}
        return _CAPACITY | attributes

    @_atomic
    def transact_write_items(self, *, TransactItems: Sequence[Any], **_: Any) -> Any:  # noqa: N803 - AWS' names
        """Do one update, if its condition and that of a check of another item hold."""
        update, check = TransactItems[0]["Update"], TransactItems[1]["ConditionCheck"]
        held = [_holds(self._items.get(_key(each["Key"]), {}), each) for each in (update, check)]
        if not all(held):
            error = client_error("TransactionCanceledException")
            response: Any = error.response
            response["CancellationReasons"] = [{"Code": "None" if one else "ConditionalCheckFailed"} for one in held]
            raise error
        self._write(self._updated(update["Key"], update))
        return _CAPACITY

    def delete_item(self, *, Key: Item, **_: Any) -> Any:  # noqa: N803 - AWS' names
        """Delete an item, if there is one."""
        self._items.pop(_key(Key), None)
        return _CAPACITY

    @_atomic
    def batch_write_item(self, *, RequestItems: Mapping[str, Any], **_: Any) -> Any:  # noqa: N803 - AWS' names
        """Write items whole, and delete items."""
        (requests,) = RequestItems.values()
        keys = [_key(r["PutRequest"]["Item"] if "PutRequest" in r else r["DeleteRequest"]["Key"]) for r in requests]
        assert 1 <= len(keys) <= WRITES_MAX
        assert len(set(keys)) == len(keys), "DynamoDB refuses a key that comes twice"
        items = [request["PutRequest"]["Item"] for request in requests if "PutRequest" in request]
        assert sum(map(_size_bytes, items)) <= BATCH_BYTES_MAX
        for key in keys:
            self._items.pop(key, None)
        for item in items:
            self._write(item)
        return {"UnprocessedItems": {}, "ConsumedCapacity": [{"CapacityUnits": 1.0}]}

    def describe_table(self, **_: Any) -> Any:
        """Answer that the table is there."""
        key = [("pk", "HASH"), ("sk", "RANGE")]
        return {
            "Table": {
                "TableStatus": "ACTIVE",
                "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in key],
                "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name, _ in key],
            }
        }

    def create_table(self, **_: Any) -> Any:
        """Refuse: it is there."""
        raise client_error("ResourceInUseException")

    def describe_time_to_live(self, **_: Any) -> Any:
        """Answer that what expires is forgotten; here it never is."""
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": EXPIRES_AT}}

    def update_time_to_live(self, **_: Any) -> Any:
        """Refuse: it is on."""
        raise client_error("ValidationException")

    def get_waiter(self, *_: Any, **__: Any) -> Any:
        """Refuse: nobody waits for this table."""
        raise AssertionError

    def _check(self, key: Key, condition: Mapping[str, Any]) -> None:
        if not _holds(self._items.get(key, {}), condition):
            raise client_error("ConditionalCheckFailedException")

    def _write(self, item: Item) -> None:
        assert _size_bytes(item) <= ITEM_BYTES_MAX
        self._items[_key(item)] = dict(item)

    def _updated(self, key: Item, update: Mapping[str, Any]) -> Item:
        item = dict(self._items.get(_key(key), key))
        names, values = update.get("ExpressionAttributeNames", {}), update.get("ExpressionAttributeValues", {})
        parts = _CLAUSE.split(update["UpdateExpression"])[1:]
        for clause, body in zip(parts[::2], parts[1::2], strict=True):
            for term in body.strip().split(", "):
                _apply(item, clause, term, names, values)
        return item


class FakeStateS3:
    """An S3 client of one bucket. `BodyCutError` is for who wraps it: what reading a cut body raises."""

    def __init__(self, stored: StoredAws) -> None:
        self.lock = stored.lock
        self._objects = stored.objects

    def head_bucket(self, **_: Any) -> Any:
        """Answer that the bucket is there."""
        return {}

    @_atomic
    def put_object(self, *, Key: str, Body: bytes, IfNoneMatch: str, **_: Any) -> Any:  # noqa: N803 - AWS' names
        """Take an object, if there is none of that name."""
        assert IfNoneMatch == "*"
        if Key in self._objects:
            raise client_error("PreconditionFailed", 412)
        self._objects[Key] = bytes(Body)
        return {"ETag": '"0"'}

    def get_object(self, *, Key: str, **_: Any) -> Any:  # noqa: N803 - AWS' names
        """Answer with an object."""
        if Key not in self._objects:
            raise client_error("NoSuchKey", 404)
        data = self._objects[Key]
        return {"ContentLength": len(data), "Body": Body(data)}

    @_atomic
    def list_objects_v2(self, *, Prefix: str, **_: Any) -> Any:  # noqa: N803 - AWS' names
        """Answer with all objects whose names begin so, in one page."""
        keys = sorted(key for key in self._objects if key.startswith(Prefix))
        found = [{"Key": key, "Size": len(self._objects[key])} for key in keys]
        return {"KeyCount": len(found), "IsTruncated": False} | ({"Contents": found} if found else {})

    def delete_objects(self, *, Delete: Mapping[str, Any], **_: Any) -> Any:  # noqa: N803 - AWS' names
        """Delete objects; one that is not there is told as deleted."""
        keys = [each["Key"] for each in Delete["Objects"]]
        assert 1 <= len(keys) <= OBJECT_KEYS_MAX
        for key in keys:
            self._objects.pop(key, None)
        return {"Deleted": [{"Key": key} for key in keys]}


@dataclass
class Body:
    """The body of an answer; with an error, it breaks off while it is read."""

    data: bytes
    error: ClientError | Exception | None = None

    def read(self) -> bytes:
        """Return all of it."""
        if self.error is not None:
            raise self.error
        return self.data


def _key(item: Item) -> Key:
    return item["pk"]["S"], item["sk"]["S"]


def _wanted(request: Mapping[str, Any]) -> Callable[[Key], bool]:
    """Return whether an item's key is one that a Query is for."""
    condition, values = request["KeyConditionExpression"], request["ExpressionAttributeValues"]
    bounds = {name: value["S"] for name, value in values.items()}
    assert all(bounds.values()), "DynamoDB refuses an empty text in a condition on a key"
    pk = bounds[":pk"]
    if condition == "pk = :pk":
        return lambda key: key[0] == pk
    if condition == "pk = :pk AND begins_with(sk, :prefix)":
        return lambda key: key[0] == pk and key[1].startswith(bounds[":prefix"])
    assert condition == "pk = :pk AND sk BETWEEN :first AND :last", f"this stand-in does not know {condition!r}"
    first, last = bounds[":first"], bounds[":last"]
    assert first <= last, "DynamoDB refuses bounds the wrong way round"
    return lambda key: key[0] == pk and first <= key[1] <= last


def _size_bytes(item: Item) -> int:
    return sum(len(name) + _value_bytes(*value.items()) for name, value in item.items())


def _value_bytes(typed: tuple[str, Any]) -> int:
    kind, value = typed
    if kind == "B":
        return len(value)
    if kind == "S":
        return len(value.encode())
    return len(str(value))


def _holds(item: Item, request: Mapping[str, Any]) -> bool:
    """Tell whether a request's condition holds of an item: comparisons with AND, OR and parentheses."""
    expression = request.get("ConditionExpression")
    if expression is None:
        return True
    names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
    while (group := _GROUP.search(expression)) is not None:
        held = _joined(item, group[1], names, values)
        expression = expression.replace(group[0], _TRUE if held else _FALSE)
    return _joined(item, expression, names, values)


_TRUE, _FALSE = "true", "false"


def _joined(item: Item, expression: str, names: Mapping[str, str], values: Item) -> bool:
    return any(
        all(_term_holds(item, term, names, values) for term in part.split(" AND ")) for part in expression.split(" OR ")
    )


def _term_holds(item: Item, term: str, names: Mapping[str, str], values: Item) -> bool:
    if term in {_TRUE, _FALSE}:
        return term == _TRUE
    missing = _MISSING.fullmatch(term)
    if missing is not None:
        return names.get(missing[1], missing[1]) not in item
    compared = _COMPARED.fullmatch(term)
    assert compared is not None, f"this stand-in does not know the condition {term!r}"
    name, value = names.get(compared[1], compared[1]), values[compared[3]]
    if compared[2] == "<>":
        return bool(item.get(name) != value)
    if compared[2] == "=":
        return bool(item.get(name) == value)
    return name in item and int(item[name]["N"]) <= int(value["N"])


def _apply(item: dict[str, Any], clause: str, term: str, names: Mapping[str, str], values: Item) -> None:
    """Apply one term of an update to an item."""
    if clause == "REMOVE":
        item.pop(names.get(term, term), None)
    elif clause == "SET":
        name, value = term.split(" = ")
        item[names.get(name, name)] = values[value]
    else:
        name, value = term.split(" ")
        before = int(item.get(names.get(name, name), {"N": "0"})["N"])
        item[names.get(name, name)] = {"N": str(before + int(values[value]["N"]))}
