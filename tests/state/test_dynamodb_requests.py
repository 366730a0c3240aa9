"""What is asked of DynamoDB, and what its errors mean."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock, call

import boto3
import msgspec
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    WaiterError,
)
from botocore.parsers import ResponseParserError

from consumer.errors import RetryableError, SetupError
from consumer.state.base import IN_TABLE, MANIFEST_ENTRIES_MAX, Entry, FenceRefusedError, new_entry
from consumer.state.dynamodb import DynamoStore, check_table, create_table, forgets, make_client
from consumer.state.items import encode_application, encode_state
from consumer.testing.fakes import client_error
from consumer.testing.store_harness import APPLICATION, SHARD, STATE, state

CAPACITY = {"ConsumedCapacity": {"CapacityUnits": 1.0}}
KEY = {"pk": {"S": "clickstream/" + SHARD}, "sk": {"S": "state"}}
URL = "http://127.0.0.1"


def store_on(client: Any) -> DynamoStore:
    return DynamoStore(client, Mock(), table="streamgauge-state", bucket="b", pipeline="clickstream")


def answering() -> Mock:
    """Return a client that answers every request, and tells of no item."""
    client = Mock()
    for request in ("delete_item", "get_item", "put_item", "transact_write_items", "update_item"):
        getattr(client, request).return_value = CAPACITY
    return client


def test_a_claim_names_the_shard_and_is_one_update_that_returns_the_item() -> None:
    """In this order: an item without a name would never be found."""
    client = answering()
    client.update_item.return_value = CAPACITY | {"Attributes": {"epoch": {"N": "4"}}}
    assert store_on(client).claim(SHARD).epoch == 4
    name, claim = client.mock_calls
    assert name == call.put_item(
        TableName="streamgauge-state",
        Item={"pk": {"S": "clickstream"}, "sk": {"S": "shard/" + SHARD}},
        ReturnConsumedCapacity="TOTAL",
    )
    assert claim == call.update_item(
        TableName="streamgauge-state",
        Key=KEY,
        UpdateExpression="ADD #epoch :one",
        ExpressionAttributeNames={"#epoch": "epoch"},
        ExpressionAttributeValues={":one": {"N": "1"}},
        ReturnValues="ALL_NEW",
        ReturnConsumedCapacity="TOTAL",
    )


def test_every_read_is_strongly_consistent_and_counted() -> None:
    client = Mock()
    client.get_item.return_value = CAPACITY
    store = store_on(client)
    assert store.read(SHARD) is None
    assert store.read_application() is None
    for request, key in zip(
        client.get_item.call_args_list, (KEY, {"pk": {"S": "clickstream"}, "sk": {"S": "application"}}), strict=True
    ):
        assert request.kwargs == {
            "TableName": "streamgauge-state",
            "Key": key,
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
        }


def test_commit_0_is_fenced_by_the_generation_too() -> None:
    """Of the application item, in the same transaction: a zombie that claims after a reset begins no state."""
    client = answering()
    store_on(client).advance(SHARD, 7, STATE, ended=False)
    assert len(client.mock_calls) == 1
    request = client.transact_write_items.call_args.kwargs
    assert request["ReturnConsumedCapacity"] == "TOTAL"
    update, check = (
        item["Update" if number == 0 else "ConditionCheck"] for number, item in enumerate(request["TransactItems"])
    )
    assert (update["TableName"], update["Key"]) == ("streamgauge-state", KEY)
    assert update["ConditionExpression"] == (
        "#epoch = :expected_epoch AND attribute_not_exists(#commit_no) AND attribute_not_exists(retired)"
    )
    assert update["ExpressionAttributeValues"][":expected_epoch"] == {"N": "7"}
    assert ":expected_commit_no" not in update["ExpressionAttributeValues"]
    assert check == {
        "TableName": "streamgauge-state",
        "Key": {"pk": {"S": "clickstream"}, "sk": {"S": "application"}},
        "ConditionExpression": "generation = :generation",
        "ExpressionAttributeValues": {":generation": {"N": "0"}},
    }


@pytest.mark.parametrize("ended", [True, False])
def test_the_fence_of_every_other_commit(*, ended: bool) -> None:
    client = Mock()
    client.update_item.return_value = CAPACITY
    store_on(client).advance(SHARD, 7, state(12, ended=True), ended=ended)
    request = client.update_item.call_args.kwargs
    assert request["Key"] == KEY
    assert request["ConditionExpression"] == (
        "#epoch = :expected_epoch AND #commit_no = :expected_commit_no AND #ended = :expected_ended"
    )
    values = request["ExpressionAttributeValues"]
    assert values[":expected_epoch"] == {"N": "7"}
    assert values[":expected_commit_no"] == {"N": "11"}
    assert values[":expected_ended"] == {"BOOL": ended}
    assert (values[":commit_no"], values[":ended"]) == ({"N": "12"}, {"BOOL": True})
    assert "epoch" not in {name.strip(" #").split(" ")[0] for name in request["UpdateExpression"][4:].split(",")}


@pytest.mark.parametrize("answer", [{}, {"Item": {}}, {"Attributes": {"epoch": {"N": "1"}}}, {"ResponseMetadata": {}}])
def test_an_answer_without_the_capacity_was_cut(answer: dict[str, Any]) -> None:
    client = answering()
    store = store_on(client)
    client.get_item.return_value = client.update_item.return_value = client.put_item.return_value = answer
    client.transact_write_items.return_value = client.query.return_value = client.delete_item.return_value = answer
    for request in (
        lambda: store.read(SHARD),
        store.read_application,
        lambda: store.create_application(APPLICATION),
        lambda: store.claim(SHARD),
        lambda: store.advance(SHARD, 1, STATE, ended=False),
        lambda: store.advance(SHARD, 1, state(1), ended=False),
        lambda: store.retire(SHARD, 1),
        lambda: store.reset(APPLICATION),
        store.list_shards,
    ):
        with pytest.raises(RetryableError, match="cut on the way"):
            request()


def test_an_update_whose_answer_was_cut_is_not_done() -> None:
    client = answering()
    client.update_item.return_value = {}
    with pytest.raises(RetryableError, match="cut on the way"):
        store_on(client).claim(SHARD)


def test_a_claim_without_the_item_was_cut() -> None:
    client = answering()
    with pytest.raises(RetryableError, match="Attributes"):
        store_on(client).claim(SHARD)


@pytest.mark.parametrize(
    "error",
    [
        client_error("ProvisionedThroughputExceededException"),
        client_error("ThrottlingException"),
        client_error("RequestLimitExceeded"),
        client_error("TransactionConflictException"),
        client_error("TransactionInProgressException"),
        client_error("InternalServerError", 500),
        client_error("ServiceUnavailable", 503),
        client_error("400"),
        client_error(""),
        ReadTimeoutError(endpoint_url=URL),
        ConnectionClosedError(endpoint_url=URL),
        EndpointConnectionError(endpoint_url=URL),
        CredentialRetrievalError(provider="p", error_msg="m"),
        ResponseParserError("cut"),
        UnicodeDecodeError("utf-8", b"\xc3", 0, 1, "cut"),
    ],
    ids=repr,
)
def test_trouble_that_may_pass(error: Exception) -> None:
    client = Mock()
    client.get_item.side_effect = client.update_item.side_effect = client.put_item.side_effect = error
    client.transact_write_items.side_effect = client.query.side_effect = error
    store = store_on(client)
    for request in (
        lambda: store.read(SHARD),
        lambda: store.claim(SHARD),
        lambda: store.create_application(APPLICATION),
        lambda: store.advance(SHARD, 1, STATE, ended=False),
        lambda: store.advance(SHARD, 1, state(1), ended=False),
        lambda: store.retire(SHARD, 1),
        lambda: store.reset(APPLICATION),
        store.list_shards,
    ):
        with pytest.raises(RetryableError, match="streamgauge-state"):
            request()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (client_error("ResourceNotFoundException"), "Create the table"),
        (client_error("AccessDeniedException"), "Allow the worker's role"),
        (client_error("ExpiredTokenException"), "valid credentials"),
        (client_error("UnrecognizedClientException"), "valid credentials"),
        (NoCredentialsError(), "valid credentials"),
    ],
    ids=repr,
)
def test_trouble_that_a_person_must_see_to(error: Exception, remedy: str) -> None:
    client = answering()
    client.update_item.side_effect = error
    with pytest.raises(SetupError, match=f"DynamoDB table 'streamgauge-state'.*{remedy}"):
        store_on(client).claim(SHARD)


def test_an_error_nobody_foresaw_passes_unchanged() -> None:
    client = answering()
    client.update_item.side_effect = client_error("ValidationException")
    with pytest.raises(ClientError, match="ValidationException"):
        store_on(client).claim(SHARD)


def test_an_error_of_a_transaction_that_nobody_foresaw_passes_unchanged() -> None:
    client = answering()
    client.transact_write_items.side_effect = client_error("ValidationException")
    with pytest.raises(ClientError, match="ValidationException"):
        store_on(client).advance(SHARD, 1, STATE, ended=False)


def test_a_refused_condition_is_the_fence_and_nothing_else_is() -> None:
    client = Mock()
    client.update_item.side_effect = client_error("ConditionalCheckFailedException")
    with pytest.raises(FenceRefusedError, match="epoch 3, commit 9"):
        store_on(client).advance(SHARD, 3, state(9), ended=False)


def test_an_application_that_vanishes_is_not_invented() -> None:
    client = Mock()
    client.put_item.side_effect = client_error("ConditionalCheckFailedException")
    client.get_item.return_value = CAPACITY
    with pytest.raises(RetryableError, match="was there and is gone"):
        store_on(client).create_application(APPLICATION)


DESCRIPTION = {
    "Table": {
        "TableStatus": "ACTIVE",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
    }
}


def test_a_table_is_created_waited_for_and_checked() -> None:
    client = Mock()
    client.describe_table.return_value = DESCRIPTION
    client.describe_time_to_live.return_value = {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    create_table(client, "t")
    assert [each[0] for each in client.mock_calls] == [
        "create_table",
        "get_waiter",
        "get_waiter().wait",
        "describe_table",
        "describe_time_to_live",
        "update_time_to_live",
    ]
    client.update_time_to_live.assert_called_once_with(
        TableName="t", TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
    )
    assert client.create_table.call_args.kwargs["BillingMode"] == "PAY_PER_REQUEST"
    assert client.get_waiter().wait.call_args.kwargs["TableName"] == "t"


def test_a_table_that_takes_long_may_be_there_later() -> None:
    client = Mock()
    client.get_waiter.return_value.wait.side_effect = WaiterError("table_exists", "Max attempts exceeded", {})
    with pytest.raises(RetryableError, match="still being created"):
        create_table(client, "t")


def test_an_error_of_creating_that_nobody_foresaw_passes_unchanged() -> None:
    client = Mock()
    client.create_table.side_effect = client_error("ValidationException")
    with pytest.raises(ClientError, match="ValidationException"):
        create_table(client, "t")


def test_the_table_can_be_created_twice(clients: tuple[Any, Any]) -> None:
    create_table(clients[0], "created-twice")
    create_table(clients[0], "created-twice")
    description = clients[0].describe_table(TableName="created-twice")["Table"]
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_a_created_table_forgets_what_expires(clients: tuple[Any, Any]) -> None:
    create_table(clients[0], "forgetting")
    description = clients[0].describe_time_to_live(TableName="forgetting")["TimeToLiveDescription"]
    assert description == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}


@pytest.mark.parametrize(
    ("status", "attribute", "expected"),
    [
        ("ENABLED", "expires_at", True),
        ("ENABLING", "expires_at", True),
        ("DISABLING", "expires_at", False),
        ("DISABLED", "expires_at", False),
        ("DISABLED", None, False),
        ("ENABLED", "another", False),
    ],
)
def test_a_table_forgets_by_one_attribute(status: str, attribute: str | None, *, expected: bool) -> None:
    client = Mock()
    description = {"TimeToLiveStatus": status} | ({} if attribute is None else {"AttributeName": attribute})
    client.describe_time_to_live.return_value = {"TimeToLiveDescription": description}
    assert forgets(client, "t") is expected


@pytest.mark.parametrize("answer", [{}, {"TimeToLiveDescription": {"AttributeName": "expires_at"}}])
def test_an_answer_on_forgetting_that_was_cut_is_neither_yes_nor_no(answer: dict[str, Any]) -> None:
    client = Mock()
    client.describe_time_to_live.return_value = answer
    with pytest.raises(RetryableError, match="cut on the way"):
        forgets(client, "t")


def test_a_missing_table_is_told_with_the_remedy(clients: tuple[Any, Any]) -> None:
    with pytest.raises(SetupError, match=r"'missing'.*Create the table with partition key pk \(S\)"):
        check_table(clients[0], "missing")


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ("no-sort-key", [("pk", "HASH", "S")]),
        ("other-name", [("pk", "HASH", "S"), ("other", "RANGE", "S")]),
        ("swapped", [("sk", "HASH", "S"), ("pk", "RANGE", "S")]),
        ("other-type", [("pk", "HASH", "S"), ("sk", "RANGE", "N")]),
    ],
)
def test_a_table_with_another_key_is_refused(
    clients: tuple[Any, Any], table: str, keys: list[tuple[str, str, str]]
) -> None:
    clients[0].create_table(
        TableName=table,
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind, _ in keys],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": letter} for name, _, letter in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(SetupError, match="another key"):
        check_table(clients[0], table)


def test_a_table_that_is_not_ready_yet_may_be_soon() -> None:
    client = Mock()
    client.describe_table.return_value = {"Table": {"TableStatus": "CREATING"}}
    with pytest.raises(RetryableError, match="CREATING"):
        check_table(client, "t")
    client.describe_table.return_value = {}
    with pytest.raises(RetryableError, match="cut on the way"):
        check_table(client, "t")


def test_the_client_has_bounds() -> None:
    session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")
    client: Any = make_client(session)
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (3, 10)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}
    client.close()


def test_the_largest_item_is_far_below_the_limit() -> None:
    """DynamoDB takes 400 KB; what `assert_storable` lets through must fit, with the longest names."""
    key = "p" * 48 + "/1/" + "s" * 128 + "/" + "9" * 21 + "-" + "a" * 64
    entries = (Entry(key, "a" * 64, 10**12),) * MANIFEST_ENTRIES_MAX
    assert len(repr(encode_state(msgspec.structs.replace(STATE, inline=None, manifest=entries)))) < 20_000


def cancelled(*codes: str) -> ClientError:
    error = client_error("TransactionCanceledException")
    error.response["CancellationReasons"] = [{"Code": code} for code in codes]
    return error


@pytest.mark.parametrize("codes", [("ConditionalCheckFailed", "None"), ("None", "ConditionalCheckFailed")])
def test_a_transaction_refused_by_either_condition_is_the_fence(codes: tuple[str, str]) -> None:
    client = answering()
    client.transact_write_items.side_effect = cancelled(*codes)
    with pytest.raises(FenceRefusedError, match="epoch 3, commit 0"):
        store_on(client).advance(SHARD, 3, STATE, ended=False)


@pytest.mark.parametrize(
    "codes",
    [("None", "TransactionConflict"), ("ThrottlingError", "None"), ("ProvisionedThroughputExceeded", "None"), ()],
)
def test_a_transaction_that_met_a_rival_or_a_throttle_may_succeed_later(codes: tuple[str, ...]) -> None:
    client = answering()
    client.transact_write_items.side_effect = cancelled(*codes)
    with pytest.raises(RetryableError):
        store_on(client).advance(SHARD, 3, STATE, ended=False)


def test_a_transaction_cancelled_without_a_reason_was_cut() -> None:
    client = answering()
    client.transact_write_items.side_effect = client_error("TransactionCanceledException")
    with pytest.raises(RetryableError, match="CancellationReasons"):
        store_on(client).advance(SHARD, 3, STATE, ended=False)


def test_a_transaction_cancelled_for_another_reason_passes_unchanged() -> None:
    client = answering()
    client.transact_write_items.side_effect = cancelled("ValidationError", "None")
    with pytest.raises(ClientError, match="TransactionCanceled"):
        store_on(client).advance(SHARD, 3, STATE, ended=False)


def test_a_tombstone_replaces_the_whole_item() -> None:
    client = answering()
    store_on(client).retire(SHARD, 7)
    assert client.mock_calls == [
        call.put_item(
            TableName="streamgauge-state",
            Item=KEY | {"epoch": {"N": "7"}, "retired": {"BOOL": True}},
            ConditionExpression="epoch = :epoch AND ended = :ended",
            ExpressionAttributeValues={":epoch": {"N": "7"}, ":ended": {"BOOL": True}},
            ReturnConsumedCapacity="TOTAL",
        )
    ]


def test_a_reset_replaces_the_application_before_any_item() -> None:
    """A shard cleared while the old generation lasts could start empty in it."""
    client = answering()
    names_found = CAPACITY | {"Items": [{"sk": {"S": "shard/" + SHARD}}]}
    progress_found = CAPACITY | {"Items": [{"sk": {"S": SHARD}}]}
    client.query.side_effect = [names_found, progress_found]
    client.batch_write_item.return_value = CAPACITY | {"UnprocessedItems": {}}
    store_on(client).reset(APPLICATION)
    application, names, clear, ledger, progress, progress_gone = client.mock_calls
    assert application[0] == "put_item"
    assert application.kwargs["Item"]["generation"] == {"N": "1"}
    assert application.kwargs["ConditionExpression"] == "generation = :generation"
    assert application.kwargs["ExpressionAttributeValues"] == {":generation": {"N": "0"}}
    assert names[0] == "query"
    assert (clear[0], clear.kwargs["Key"]) == ("update_item", KEY)
    assert clear.kwargs["UpdateExpression"].startswith("ADD #epoch :one REMOVE #retired, #commit_no, ")
    assert (ledger[0], ledger.kwargs["Key"]) == ("delete_item", KEY | {"sk": {"S": "ledger"}})
    assert progress.kwargs["ExpressionAttributeValues"] == {":pk": {"S": "clickstream/progress/0"}}
    gone = {"DeleteRequest": {"Key": {"pk": {"S": "clickstream/progress/0"}, "sk": {"S": SHARD}}}}
    assert progress_gone.kwargs["RequestItems"] == {"streamgauge-state": [gone]}


def test_a_reset_that_cannot_list_the_shards_has_begun_and_is_repeated() -> None:
    """The application item of the new generation is there: the repeat finds it and clears the rest."""
    client = answering()
    client.put_item.side_effect = client_error("ConditionalCheckFailedException")
    new = msgspec.structs.replace(APPLICATION, generation=1)
    client.get_item.return_value = CAPACITY | {"Item": encode_application(new)}
    client.query.side_effect = [CAPACITY | {"Items": [{"sk": {"S": "shard/" + SHARD}}]}, CAPACITY | {"Items": []}]
    assert store_on(client).reset(APPLICATION) == new
    assert client.update_item.call_count == 1


def test_an_entry_in_a_bucket_that_the_pipeline_does_not_name_is_told_with_the_remedy() -> None:
    store = DynamoStore(answering(), Mock(), table="t", bucket=None, pipeline="clickstream")
    entry = new_entry("clickstream", SHARD, 0, epoch=1, commit_no=0, data=b"x")
    for request in (lambda: store.get_object(entry), lambda: store.delete_objects([entry])):
        with pytest.raises(SetupError, match=r"give state\.bucket"):
            request()


def test_a_bucket_may_be_added_to_a_pipeline(clients: tuple[Any, Any]) -> None:
    """What is in the table is read, listed and deleted there; what is new goes to the bucket."""
    create_table(clients[0], "bucket-added")
    clients[1].create_bucket(Bucket="added")
    before = DynamoStore(*clients, table="bucket-added", bucket=None, pipeline="clickstream")
    after = DynamoStore(*clients, table="bucket-added", bucket="added", pipeline="clickstream")
    old, new = before.put_object(SHARD, 0, 1, 0, b"old"), after.put_object(SHARD, 0, 1, 1, b"new")
    assert (old.key, new.key) == (IN_TABLE + old.key.removeprefix(IN_TABLE), new.key.removeprefix(IN_TABLE))
    assert [after.get_object(entry) for entry in (old, new)] == [b"old", b"new"]
    assert [found.entry for found in after.list_objects(SHARD, 0)] == [old, new]
    after.delete_objects([old, new])
    assert after.list_objects(SHARD, 0) == []
