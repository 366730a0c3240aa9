"""Amazon S3: one object an attempt, under a name made of its content. Exactly-once by conditional writes.

1. The rows of one attempt are one object: lines of JSON, named by the SHA-256 of its bytes.
2. It is written only if there is none of that name (`If-None-Match: *`). That there is one is success: it has the
   same bytes, written by an earlier try, an earlier owner of the shard, or a zombie.
3. An object is taken whole or not at all, so what is tried again is the same object.
4. What an attempt is depends on the outbox alone: the rows of one output, cut by SLICE_BYTES. So a sink serves one
   output, and an outbox that is sent again, by whomever, gives the same objects. The name and the cut are therefore
   a format: a version that changes them may write an outbox that an older version left half sent a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from consumer.aws_errors import status_of
from consumer.records import DEAD_LETTER, LATE
from consumer.sinks.aws import CALL_ERRORS, CLIENT_CONFIG, reason_of
from consumer.sinks.base import Failure

if TYPE_CHECKING:
    import boto3

CONTENT_TYPE = "application/x-ndjson"

_SIDE_FOLDERS = {LATE: "late/", DEAD_LETTER: "dead-letters/"}
_NO_BUCKET = "Create the bucket, or correct its name, the region or the endpoint."
_NO_PERMISSION = "Allow the worker's role s3:PutObject under the sink's prefix."
_REMEDIES = {
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET,
    "AuthorizationHeaderMalformed": _NO_BUCKET,
    "PermanentRedirect": _NO_BUCKET,
    "AccessDenied": _NO_PERMISSION,
    "AllAccessDisabled": _NO_PERMISSION,
    "KMS.DisabledException": "Enable the KMS key of the bucket.",
}


class S3Client(Protocol):
    """What the sink calls of boto3's S3 client."""

    def put_object(self, *_: Any, **request: Any) -> Any:
        """Take `Bucket`, `Key`, `Body`, `ContentType` and `IfNoneMatch`; answer `ETag`."""


def make_client(session: boto3.Session) -> S3Client:
    """Return a client with explicit time-outs and few retries of its own; one serves all threads."""
    return session.client("s3", config=CLIENT_CONFIG)


def folder_of(prefix: str, output: str) -> str:
    """Return how the keys of an output (as in Row) begin: the prefix, then `results/WINDOW/`, `late/` or the like."""
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    return prefix + _SIDE_FOLDERS.get(output, f"results/{output}/")


class S3Sink:
    """Writes the rows of one output to a bucket. Holds nothing between calls; the client belongs to who made it."""

    def __init__(self, client: S3Client, bucket: str, folder: str) -> None:
        """Take the bucket and how all keys begin, with the slash at its end."""
        self._client = client
        self._bucket = bucket
        self._folder = folder

    @property
    def name(self) -> str:
        """Return `s3:`, the bucket, and the folder."""
        return f"s3:{self._bucket}/{self._folder}"

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        """Write all rows as one object; that it is there already is success."""
        if not rows:
            return []
        reason = self._write(b"\n".join([*rows, b""]))
        return [] if reason is None else [Failure(index, reason) for index in range(len(rows))]

    def close(self) -> None:
        """Do nothing: no row is held back."""

    def _write(self, body: bytes) -> str | None:
        """Make one call; return why it failed, or None if the object is there."""
        key = f"{self._folder}{hashlib.sha256(body).hexdigest()}.jsonl"
        try:
            answer = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType=CONTENT_TYPE, IfNoneMatch="*"
            )
        except CALL_ERRORS as error:
            status = status_of(error)
            if status == HTTPStatus.PRECONDITION_FAILED:
                return None
            if status == HTTPStatus.CONFLICT:
                return "unavailable"  # somebody writes this object right now
            return reason_of(error, f"S3 bucket {self._bucket!r}", _REMEDIES)
        return None if "ETag" in answer else "connection"  # without: the answer was cut on the way
