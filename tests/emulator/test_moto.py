"""What moto serves, behind the lock: no update lost, conditions hold, names as in AWS."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import pytest
from botocore.exceptions import ClientError

from consumer.emulator.http import Request
from consumer.emulator.server import Emulator
from tests.emulator.kinesis_reader import refused


@pytest.fixture
def table(aws: Emulator, dynamodb: Any, name: str) -> str:
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
    )
    dynamodb.put_item(TableName=name, Item={"k": {"S": "counter"}, "n": {"N": "0"}})
    return name


def test_calls_from_all_threads_come_one_at_a_time(running: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running._moto is not None
    inside = Lock()
    overlaps: list[int] = []

    def application(_environ: Any, start_response: Any) -> list[bytes]:
        if not inside.acquire(blocking=False):
            overlaps.append(1)
            return []
        time.sleep(0.002)
        inside.release()
        start_response("200 OK", [])
        return [b""]

    monkeypatch.setattr(running._moto, "_application", application)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: running._moto and running._moto.perform(Request("GET", "/")), range(40)))
    assert overlaps == []
    assert {answer.status for answer in answers if answer} == {200}


def test_an_error_of_moto_is_an_answer(
    running: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def application(_environ: Any, _start_response: Any) -> list[bytes]:
        raise KeyError("inside moto")

    assert running._moto is not None
    monkeypatch.setattr(running._moto, "_application", application)
    assert running._moto.perform(Request("GET", "/bucket/key")).status == 500
    assert "moto failed on GET /bucket/key" in caplog.text


SCALARS: dict[str, Any] = {
    "text": {"S": "é"},
    "empty": {"S": ""},
    "number": {"N": "-1.5"},
    "bytes": {"B": b"\x00\xff"},
    "true": {"BOOL": True},
    "false": {"BOOL": False},
    "null": {"NULL": True},
}
SETS: dict[str, Any] = {
    "texts": {"SS": ["a", "b"]},
    "numbers": {"NS": ["1", "2"]},
    "several bytes": {"BS": [b"\x00", b"b"]},
}
NESTED: dict[str, Any] = {
    "list": {"L": [*SCALARS.values(), {"L": []}]},
    "map": {"M": {**SCALARS, "list": {"L": [{"M": SCALARS}]}, "empty map": {"M": {}}}},
}


@pytest.mark.parametrize("name_of", sorted(SCALARS | SETS | NESTED))
def test_attributes_of_all_types_come_back_as_they_were(dynamodb: Any, table: str, name_of: str) -> None:
    item = {"k": {"S": "types"}, name_of: (SCALARS | SETS | NESTED)[name_of]}
    dynamodb.put_item(TableName=table, Item=item)
    key = {"k": item["k"]}
    assert dynamodb.get_item(TableName=table, Key=key)["Item"] == item
    batch = dynamodb.batch_get_item(RequestItems={table: {"Keys": [key]}})
    assert batch["Responses"] == {table: [item]}
    found = dynamodb.query(
        TableName=table, KeyConditionExpression="k = :k", ExpressionAttributeValues={":k": item["k"]}
    )
    assert (found["Items"], found["Count"]) == ([item], 1)
    assert dynamodb.delete_item(TableName=table, Key=key, ReturnValues="ALL_OLD")["Attributes"] == item


def test_conditional_increments_by_16_threads_lose_nothing(dynamodb: Any, table: str) -> None:
    def increment(_: int) -> Counter[str]:
        results: Counter[str] = Counter()
        while not results["done"]:
            item = dynamodb.get_item(TableName=table, Key={"k": {"S": "counter"}}, ConsistentRead=True)["Item"]
            try:
                dynamodb.update_item(
                    TableName=table,
                    Key={"k": {"S": "counter"}},
                    UpdateExpression="SET n = :next",
                    ConditionExpression="n = :seen",
                    ExpressionAttributeValues={":seen": item["n"], ":next": {"N": str(int(item["n"]["N"]) + 1)}},
                )
                results["done"] += 1
            except ClientError as error:
                results[error.response["Error"]["Code"]] += 1
        return results

    with ThreadPoolExecutor(16) as pool:
        results: Counter[str] = sum(pool.map(increment, range(16)), Counter[str]())
    item = dynamodb.get_item(TableName=table, Key={"k": {"S": "counter"}})["Item"]
    assert item["n"]["N"] == str(results["done"]) == "16"
    assert set(results) <= {"done", "ConditionalCheckFailedException"}


def test_transactions_are_all_or_nothing_under_concurrency(dynamodb: Any, table: str) -> None:
    def transact(number: int) -> bool:
        try:
            dynamodb.transact_write_items(
                TransactItems=[
                    {"Put": {"TableName": table, "Item": {"k": {"S": f"own-{number}"}}}},
                    {
                        "Put": {
                            "TableName": table,
                            "Item": {"k": {"S": "shared"}, "owner": {"N": str(number)}},
                            "ConditionExpression": "attribute_not_exists(k)",
                        }
                    },
                ]
            )
        except dynamodb.exceptions.TransactionCanceledException:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(transact, range(16)))
    keys = {item["k"]["S"] for item in dynamodb.scan(TableName=table)["Items"]}
    assert sum(results) == 1
    assert keys == {"counter", "shared", f"own-{results.index(True)}"}


def test_one_of_many_creates_an_object(s3: Any, bucket: str) -> None:
    def create(number: int) -> str:
        try:
            s3.put_object(Bucket=bucket, Key="key", Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return str(number)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(create, range(16)))
    winners = [result for result in results if result != "PreconditionFailed"]
    assert len(winners) == 1
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == winners[0].encode()


@pytest.mark.parametrize("key", ["plain", "with space", "a/b//c", "per%cent", "plus+plus", "ключ", "q?u=e&r#y"])
def test_keys_come_back_as_they_were(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=b"content", Metadata={"a": "1"})
    found = s3.get_object(Bucket=bucket, Key=key)
    assert (found["Body"].read(), found["Metadata"]) == (b"content", {"a": "1"})
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == 7
    s3.delete_object(Bucket=bucket, Key=key)
    assert refused(s3.get_object, Bucket=bucket, Key=key)[:2] == ("NoSuchKey", 404)


def test_large_objects_and_multipart_uploads(s3: Any, bucket: str) -> None:
    body = bytes(range(256)) * 4 * 5_000
    s3.put_object(Bucket=bucket, Key="large", Body=body)
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == body
    assert s3.get_object(Bucket=bucket, Key="large", Range="bytes=5-9")["Body"].read() == body[5:10]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    parts = [
        {
            "PartNumber": n,
            "ETag": s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=n, Body=part)["ETag"],
        }
        for n, part in ((1, body + b"\0" * 500_000), (2, b"end"))
    ]
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="parts")["Body"].read().endswith(b"\0end")


def test_other_services_are_there(aws: Emulator, name: str) -> None:
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "hello"
    assert aws.client("sts").get_caller_identity()["Account"] == "123456789012"
    aws.client("cloudwatch").put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 1}])


def test_the_journal_tells_services_operations_and_keys(
    aws: Emulator, dynamodb: Any, s3: Any, bucket: str, table: str
) -> None:
    last = aws.calls.entries()[-1].number
    key = {"k": {"S": "one"}}
    dynamodb.get_item(TableName=table, Key=key)
    dynamodb.update_item(TableName=table, Key=key, AttributeUpdates={"n": {"Value": {"N": "1"}}})
    dynamodb.query(TableName=table, KeyConditionExpression="k = :k", ExpressionAttributeValues={":k": {"S": "one"}})
    dynamodb.transact_write_items(TransactItems=[{"Delete": {"TableName": table, "Key": key}}])
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"")
    s3.list_objects_v2(Bucket=bucket)
    refused(s3.get_object, Bucket=bucket, Key="none")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a/b"})
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "copy"}]})
    entries = aws.calls.entries(after=last)
    assert [(one.service, one.operation, one.coordinates, one.status) for one in entries] == [
        ("dynamodb", "GetItem", f"{table} k=one", 200),
        ("dynamodb", "UpdateItem", f"{table} k=one", 200),
        ("dynamodb", "Query", table, 200),
        ("dynamodb", "TransactWriteItems", table, 200),
        ("s3", "PutObject", f"{bucket}/a/b", 200),
        ("s3", "ListObjectsV2", bucket, 200),
        ("s3", "GetObject", f"{bucket}/none", 404),
        ("s3", "CopyObject", f"{bucket}/copy", 200),
        ("s3", "DeleteObjects", bucket, 200),
    ]
    assert [one.number for one in entries] == list(range(last + 1, last + 10))
