"""Requests that need more than one call, and answers that are not whole."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from consumer.errors import RetryableError
from consumer.state.table import KEYS_MAX, Table, key_of

CAPACITY = {"ConsumedCapacity": {"CapacityUnits": 1.0}}


def table_on(client: Any) -> Table:
    return Table(client, "t")


def item(number: int) -> dict[str, Any]:
    return key_of(f"pk-{number}", "state")


def test_a_query_goes_on_to_its_last_page() -> None:
    client = Mock()
    client.query.side_effect = [
        CAPACITY | {"Items": [item(1)], "LastEvaluatedKey": item(1)},
        CAPACITY | {"Items": [], "LastEvaluatedKey": item(2)},
        CAPACITY | {"Items": [item(3)]},
    ]
    assert table_on(client).query("pk", "shard/") == [item(1), item(3)]
    requests = [call.kwargs for call in client.query.call_args_list]
    assert [request.pop("ExclusiveStartKey", None) for request in requests] == [None, item(1), item(2)]
    assert all(
        request
        == {
            "TableName": "t",
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
            "ExpressionAttributeValues": {":pk": {"S": "pk"}, ":prefix": {"S": "shard/"}},
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
        }
        for request in requests
    )


@pytest.mark.parametrize("answer", [{}, CAPACITY, {"Items": []}])
def test_a_page_that_was_cut_is_not_the_last(answer: dict[str, Any]) -> None:
    client = Mock()
    client.query.side_effect = [CAPACITY | {"Items": [item(1)], "LastEvaluatedKey": item(1)}, answer]
    with pytest.raises(RetryableError, match="cut on the way"):
        table_on(client).query("pk", "shard/")


class Half:
    """A service that reads two items of every call and puts the others back."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        assert request["RequestItems"]["t"]["ConsistentRead"]
        keys = request["RequestItems"]["t"]["Keys"]
        self.sizes.append(len(keys))
        left = {"t": {"Keys": keys[2:], "ConsistentRead": True}} if keys[2:] else {}
        return CAPACITY | {"Responses": {"t": keys[:2]}, "UnprocessedKeys": left}


def test_items_that_were_put_back_are_asked_for_again() -> None:
    client = Half()
    keys = [item(number) for number in range(KEYS_MAX + 5)]
    items = table_on(client).get_many(keys)
    assert sorted(map(repr, items)) == sorted(map(repr, keys))
    assert max(client.sizes) == KEYS_MAX


def test_nothing_is_asked_for_no_items() -> None:
    client = Mock()
    assert table_on(client).get_many([]) == []
    assert not client.mock_calls


def test_when_nothing_can_be_read_it_may_be_later() -> None:
    client = Mock()
    left = {"t": {"Keys": [item(1), item(2)], "ConsistentRead": True}}
    client.batch_get_item.return_value = CAPACITY | {"Responses": {}, "UnprocessedKeys": left}
    with pytest.raises(RetryableError, match="none of 2 items"):
        table_on(client).get_many([item(1), item(2)])


@pytest.mark.parametrize("member", ["ConsumedCapacity", "Responses", "UnprocessedKeys"])
def test_an_answer_without_a_member_was_cut(member: str) -> None:
    client = Mock()
    whole = CAPACITY | {"Responses": {"t": [item(1)]}, "UnprocessedKeys": {}}
    client.batch_get_item.return_value = {name: value for name, value in whole.items() if name != member}
    with pytest.raises(RetryableError, match=member):
        table_on(client).get_many([item(1)])
