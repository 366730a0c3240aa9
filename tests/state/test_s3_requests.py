"""What is asked of S3, and what its errors mean."""

from __future__ import annotations

import io
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from botocore.exceptions import ConnectionClosedError, FlexibleChecksumError, IncompleteReadError
from botocore.response import StreamingBody

from consumer.errors import CorruptStateError, RetryableError, SetupError
from consumer.state.base import Entry, new_entry
from consumer.state.s3 import DELETIONS_MAX, ObjectStore, check_bucket, make_client
from consumer.testing.fakes import client_error
from consumer.testing.store_harness import SHARD

DATA = b"the state"
ENTRY = new_entry("clickstream", SHARD, 2, epoch=3, commit_no=41, data=DATA)


def objects_on(client: Any) -> ObjectStore:
    return ObjectStore(client, "my-bucket", "clickstream")


def put(client: Any) -> Entry:
    return objects_on(client).put(SHARD, 2, 3, 41, DATA)


def test_an_object_is_written_only_if_its_name_is_free() -> None:
    client = Mock()
    client.put_object.return_value = {"ETag": "x"}
    entry = put(client)
    assert entry == ENTRY
    assert entry.key == f"clickstream/2/{SHARD}/00000003-000000000041-{entry.sha256}"
    assert client.put_object.call_args.kwargs == {
        "Bucket": "my-bucket",
        "Key": entry.key,
        "Body": DATA,
        "IfNoneMatch": "*",
    }


@pytest.mark.parametrize("code", ["PreconditionFailed", "412"])
def test_a_name_that_is_taken_is_our_own_earlier_write(code: str) -> None:
    client = Mock()
    client.put_object.side_effect = client_error(code, 412)
    assert put(client) == ENTRY


@pytest.mark.parametrize(
    "error",
    [
        client_error("ConditionalRequestConflict", 409),
        client_error("409", 409),
        client_error("SlowDown", 503),
        client_error("RequestTimeout", 400),
        client_error("InternalError", 500),
        client_error("404", 404),
        ConnectionClosedError(endpoint_url="http://127.0.0.1"),
    ],
    ids=repr,
)
def test_a_write_that_may_succeed_later(error: Exception) -> None:
    client = Mock()
    client.put_object.side_effect = error
    with pytest.raises(RetryableError, match="my-bucket"):
        put(client)


def test_an_answer_to_a_write_without_a_tag_was_cut() -> None:
    client = Mock()
    client.put_object.return_value = {}
    with pytest.raises(RetryableError, match="ETag"):
        put(client)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("NoSuchBucket", "Create the bucket"),
        ("AccessDenied", "s3:PutObject"),
        ("PermanentRedirect", "region"),
        ("InvalidAccessKeyId", "valid credentials"),
        ("SignatureDoesNotMatch", "valid credentials"),
    ],
)
def test_trouble_that_a_person_must_see_to(code: str, remedy: str) -> None:
    client = Mock()
    client.put_object.side_effect = client.get_object.side_effect = client_error(code, 403)
    with pytest.raises(SetupError, match=remedy):
        put(client)
    with pytest.raises(SetupError, match=remedy):
        objects_on(client).get(ENTRY)


def body(data: bytes, announced: int) -> dict[str, Any]:
    return {"ContentLength": announced, "Body": StreamingBody(io.BytesIO(data), announced)}


def test_a_whole_object_is_verified() -> None:
    client = Mock()
    client.get_object.return_value = body(DATA, len(DATA))
    assert objects_on(client).get(ENTRY) == DATA


def test_a_body_shorter_than_announced_was_cut_on_the_way() -> None:
    client = Mock()
    client.get_object.return_value = body(DATA[:4], len(DATA))
    with pytest.raises(RetryableError, match="my-bucket"):
        objects_on(client).get(ENTRY)


def test_a_whole_body_that_is_too_short_is_corrupt() -> None:
    client = Mock()
    client.get_object.return_value = body(DATA[:4], 4)
    with pytest.raises(CorruptStateError, match=ENTRY.sha256):
        objects_on(client).get(ENTRY)


@pytest.mark.parametrize("member", ["Body", "ContentLength"])
def test_an_answer_without_what_every_answer_has_was_cut(member: str) -> None:
    client = Mock()
    client.get_object.return_value = {name: value for name, value in body(DATA, 9).items() if name != member}
    with pytest.raises(RetryableError, match=member):
        objects_on(client).get(ENTRY)


@pytest.mark.parametrize(
    "error",
    [IncompleteReadError(actual_bytes=1, expected_bytes=2), FlexibleChecksumError(error_msg="another checksum")],
    ids=repr,
)
def test_a_body_that_breaks_while_it_is_read_may_come_whole_later(error: Exception) -> None:
    client = Mock()
    client.get_object.return_value = {"ContentLength": 9, "Body": Mock(read=Mock(side_effect=error))}
    with pytest.raises(RetryableError):
        objects_on(client).get(ENTRY)


@pytest.mark.parametrize(("code", "kind"), [("NoSuchKey", CorruptStateError), ("404", RetryableError)])
def test_missing_is_only_what_is_said_to_be_missing(code: str, kind: type[Exception]) -> None:
    """A 404 whose body was cut does not say what is missing."""
    client = Mock()
    client.get_object.side_effect = client_error(code, 404)
    with pytest.raises(kind):
        objects_on(client).get(ENTRY)


def entries(count: int) -> list[Entry]:
    return [Entry(f"key-{number}", "", 0) for number in range(count)]


def delete_all(**request: Any) -> dict[str, Any]:
    return {"Deleted": [{"Key": one["Key"]} for one in request["Delete"]["Objects"]]}


def test_deletions_come_in_batches_within_the_limit() -> None:
    client = Mock()
    client.delete_objects.side_effect = delete_all
    objects_on(client).delete(entries(2 * DELETIONS_MAX + 1))
    sizes = [len(call.kwargs["Delete"]["Objects"]) for call in client.delete_objects.call_args_list]
    assert sizes == [DELETIONS_MAX, DELETIONS_MAX, 1]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ({}, RetryableError, "cut on the way"),
        ({"Deleted": [{"Key": "key-0"}]}, RetryableError, "1 deletions"),
        ({"Deleted": [], "Errors": [{"Key": "key-0", "Code": "InternalError"}]}, RetryableError, "key-0"),
        ({"Errors": [{"Key": "key-1", "Code": "AccessDenied"}]}, SetupError, "s3:DeleteObject"),
    ],
)
def test_a_deletion_that_is_not_told_as_done_is_not_done(
    answer: dict[str, Any], kind: type[Exception], message: str
) -> None:
    client = Mock()
    client.delete_objects.return_value = answer
    with pytest.raises(kind, match=message):
        objects_on(client).delete(entries(2))


def listed(*names: str, **more: Any) -> dict[str, Any]:
    contents = [{"Key": f"clickstream/2/{SHARD}/{name}", "Size": len(DATA)} for name in names]
    return {"KeyCount": len(names), "IsTruncated": False} | ({"Contents": contents} if names else {}) | more


NAME = ENTRY.key.rsplit("/", 1)[1]
NEXT_NAME = NAME.replace("00000003-", "00000004-")


def test_a_list_goes_on_to_its_last_page_and_leaves_out_what_is_not_ours() -> None:
    client = Mock()
    client.list_objects_v2.side_effect = [
        listed(NAME, "notes.txt", IsTruncated=True, NextContinuationToken="next"),
        listed("", "old/" + NAME, NEXT_NAME),
    ]
    found = objects_on(client).list(SHARD, 2)
    assert [(one.entry.key.rsplit("/", 1)[1], one.epoch, one.commit_no) for one in found] == [
        (NAME, 3, 41),
        (NEXT_NAME, 4, 41),
    ]
    assert found[0].entry == ENTRY
    first, second = (call.kwargs for call in client.list_objects_v2.call_args_list)
    assert first == {"Bucket": "my-bucket", "Prefix": f"clickstream/2/{SHARD}/"}
    assert second == first | {"ContinuationToken": "next"}


def test_an_empty_list_is_told_as_such() -> None:
    client = Mock()
    client.list_objects_v2.return_value = listed()
    assert objects_on(client).list(SHARD, 2) == []


@pytest.mark.parametrize(
    ("answer", "member"),
    [
        ({}, "KeyCount"),
        ({"KeyCount": 0}, "IsTruncated"),
        ({"KeyCount": 1, "IsTruncated": False}, "Contents"),
        (listed(NAME, IsTruncated=True), "NextContinuationToken"),
    ],
)
def test_a_list_that_was_cut_is_not_the_whole(answer: dict[str, Any], member: str) -> None:
    client = Mock()
    client.list_objects_v2.return_value = answer
    with pytest.raises(RetryableError, match=member):
        objects_on(client).list(SHARD, 2)


def test_a_list_that_is_denied_is_told_with_the_remedy() -> None:
    client = Mock()
    client.list_objects_v2.side_effect = client_error("AccessDenied", 403)
    with pytest.raises(SetupError, match="s3:ListBucket"):
        objects_on(client).list(SHARD, 2)


def test_the_bucket_is_checked(clients: tuple[Any, Any]) -> None:
    clients[1].create_bucket(Bucket="checked")
    check_bucket(clients[1], "checked")
    with pytest.raises(SetupError, match=r"'missing'.*Create the bucket"):
        check_bucket(clients[1], "missing")


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (403, SetupError, "s3:ListBucket"),
        (301, SetupError, "region"),
        (400, SetupError, "credentials"),
        (503, RetryableError, "b"),
    ],
)
def test_a_bucket_that_cannot_be_reached_is_told(status: int, kind: type[Exception], message: str) -> None:
    client = Mock()
    client.head_bucket.side_effect = client_error(str(status), status)
    with pytest.raises(kind, match=message):
        check_bucket(client, "b")


def test_the_client_has_bounds() -> None:
    session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")
    client: Any = make_client(session)
    assert (client.meta.config.connect_timeout, client.meta.config.read_timeout) == (3, 10)
    client.close()
