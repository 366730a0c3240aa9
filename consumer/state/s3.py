"""Snapshot entries as immutable objects in a bucket. `dynamodb.py` keeps the items that point to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from consumer.aws_errors import code_of, status_of
from consumer.errors import CorruptStateError, RetryableError, SetupError
from consumer.state.aws import CLIENT_CONFIG, errors_of, required
from consumer.state.base import Entry, Found, find, folder_of, new_entry, verify

if TYPE_CHECKING:
    import boto3

DELETIONS_MAX = 1000
"""S3's limit for one DeleteObjects call."""

_NO_BUCKET = "Create the bucket, or correct state.bucket, the region or the endpoint."
_NO_PERMISSION = (
    "Allow the worker's role s3:GetObject, s3:PutObject and s3:DeleteObject in the bucket, "
    "and s3:ListBucket on it (without which S3 calls a missing object a denied one, and orphans are not found)."
)
_REMEDIES = {
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET,
    "AuthorizationHeaderMalformed": _NO_BUCKET,
    "PermanentRedirect": _NO_BUCKET,
    "AccessDenied": _NO_PERMISSION,
    "AllAccessDisabled": _NO_PERMISSION,
    "KMS.DisabledException": "Enable the KMS key of the bucket.",
}
_HEAD_REMEDIES: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: _NO_BUCKET,
    HTTPStatus.MOVED_PERMANENTLY: _NO_BUCKET,
    HTTPStatus.BAD_REQUEST: "Check the credentials and the region.",
    HTTPStatus.FORBIDDEN: _NO_PERMISSION,
}


class S3Client(Protocol):
    """What the store calls of boto3's S3 client."""

    def delete_objects(self, *_: Any, **request: Any) -> Any:
        """DeleteObjects."""

    def get_object(self, *_: Any, **request: Any) -> Any:
        """GetObject."""

    def head_bucket(self, *_: Any, **request: Any) -> Any:
        """HeadBucket."""

    def list_objects_v2(self, *_: Any, **request: Any) -> Any:
        """ListObjectsV2."""

    def put_object(self, *_: Any, **request: Any) -> Any:
        """PutObject."""


def make_client(session: boto3.Session) -> S3Client:
    """Return a client with explicit time-outs and few retries of its own; one serves all threads."""
    return session.client("s3", config=CLIENT_CONFIG)


def check_bucket(client: S3Client, bucket: str) -> None:
    """Check that the bucket is there and open to us; SetupError with the remedy if not."""
    what = _name_of(bucket)
    with errors_of(what, _REMEDIES):
        try:
            client.head_bucket(Bucket=bucket)
        except ClientError as error:  # the answer to a HEAD has no body, and so no code but the status
            remedy = _HEAD_REMEDIES.get(status_of(error))
            if remedy is None:
                raise
            raise SetupError(f"{what}: HTTP status {status_of(error)}. {remedy}") from error


class ObjectStore:
    """The objects of one pipeline. Thread-safe as boto3's clients are."""

    def __init__(self, client: S3Client, bucket: str, pipeline: str) -> None:
        self._client = client
        self._bucket = bucket
        self._pipeline = pipeline
        self._what = _name_of(bucket)

    def put(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
        """Write the bytes under a name that holds their hash; that it is already there is success."""
        entry = new_entry(self._pipeline, shard, generation, epoch=epoch, commit_no=commit_no, data=data)
        with errors_of(self._what, _REMEDIES):
            try:
                answer = self._client.put_object(Bucket=self._bucket, Key=entry.key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if status_of(error) == HTTPStatus.CONFLICT:
                    raise RetryableError(f"{self._what}: {entry.key} is being written right now") from error
                if status_of(error) != HTTPStatus.PRECONDITION_FAILED:
                    raise
                # An earlier try of ours came through: the epoch is ours alone, and the hash is in the name.
            else:
                required(answer, "ETag", self._what)
        return entry

    def get(self, entry: Entry) -> bytes:
        """Return the verified bytes of an entry; CorruptStateError if they are missing or other ones."""
        with errors_of(self._what, _REMEDIES):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=entry.key)
            except ClientError as error:
                if code_of(error) != "NoSuchKey":
                    raise
                raise CorruptStateError(f"{self._what}: the state's object {entry.key} is missing.") from error
            # boto3 measures the body against this length: a body cut on the way raises, so what is read whole
            # is what is stored.
            required(answer, "ContentLength", self._what)
            data: bytes = required(answer, "Body", self._what).read()
        verify(entry, data)
        return data

    def delete(self, entries: Sequence[Entry]) -> None:
        """Delete the objects; one that is already gone is success."""
        keys = [entry.key for entry in entries]
        for start in range(0, len(keys), DELETIONS_MAX):
            self._delete_batch(keys[start : start + DELETIONS_MAX])

    def list(self, shard: str, generation: int) -> list[Found]:
        """Return the objects of a shard and generation, sorted by name; names that are not ours are left out."""
        folder = folder_of(self._pipeline, shard, generation)
        found: list[Found | None] = []
        start: dict[str, str] = {}
        while True:
            with errors_of(self._what, _REMEDIES):
                answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=folder, **start)
            objects = required(answer, "Contents", self._what) if required(answer, "KeyCount", self._what) else ()
            found += [find(folder, one["Key"].removeprefix(folder), one["Size"]) for one in objects]
            if not required(answer, "IsTruncated", self._what):
                return [one for one in found if one is not None]
            start = {"ContinuationToken": required(answer, "NextContinuationToken", self._what)}

    def _delete_batch(self, keys: Sequence[str]) -> None:
        with errors_of(self._what, _REMEDIES):
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": False}
            )
        for error in answer.get("Errors", ()):  # absent in a whole answer where nothing failed
            code, key = error["Code"], error["Key"]
            if code in _REMEDIES:
                raise SetupError(f"{self._what}: cannot delete {key}: {code}. {_REMEDIES[code]}")
            raise RetryableError(f"{self._what}: could not delete {key}: {code}")
        missing = set(keys) - {deleted["Key"] for deleted in required(answer, "Deleted", self._what)}
        if missing:
            raise RetryableError(f"{self._what}: the answer does not tell about {len(missing)} deletions")


def _name_of(bucket: str) -> str:
    return f"S3 bucket {bucket!r}"
