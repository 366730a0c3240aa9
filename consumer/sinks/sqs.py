"""Amazon SQS: one row a message, up to ten messages a SendMessageBatch call.

A message is what a queue retries, moves to its own dead-letter queue and redrives, so rows don't share one. A body
is a function of its row alone, so one id always has one body:

1. U+FFFE and U+FFFF, which SQS refuses, are written as their JSON escapes. The row means the same.
2. A late row or dead letter above MESSAGE_BYTES_MAX keeps as much of the start of `data` as fits, and says
   `data_truncated`. A result that large has nothing that may be cut; it fails for good.

A standard queue takes a row again after a lost answer. A FIFO queue does not within five minutes: the deduplication
id is the row's id. Its message group is the row's shard, or its window where the row names no shard; so the
revisions of a window are in one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from consumer.aws_errors import meaning_of_code
from consumer.errors import SinkError
from consumer.sinks.aws import CALL_ERRORS, CLIENT_CONFIG, reason_of
from consumer.sinks.base import Failure

if TYPE_CHECKING:
    import boto3

MESSAGE_BYTES_MAX = 256 * 1024
"""What a queue takes unless it was made smaller. SQS allows 1 MiB to queues that are set so, but many are not."""
CALL_BYTES_MAX = 256 * 1024
"""For all messages of a call: what SQS has always taken (today 1 MiB)."""
CALL_MESSAGES_MAX = 10
"""SQS's limit for the number of messages of one call."""

_BASE64_GROUP_CHARACTERS = 4
_REFUSED_CHARACTERS = {"\ufffe".encode(): b"\\ufffe", "\uffff".encode(): b"\\uffff"}
"""Of what JSON may hold unescaped, all that SQS does not take."""

_NO_QUEUE = "Create the queue, or correct queue_url, the region or the endpoint."
_NO_PERMISSION = "Allow the worker's role sqs:SendMessage on this queue."
_NO_KEY = "Let the worker's role use the queue's KMS key (kms:GenerateDataKey and kms:Decrypt)."
_REMEDIES = {
    "AWS.SimpleQueueService.NonExistentQueue": _NO_QUEUE,
    "QueueDoesNotExist": _NO_QUEUE,
    "InvalidAddress": _NO_QUEUE,
    "AccessDenied": _NO_PERMISSION,
    "AccessDeniedException": _NO_PERMISSION,
    "KMS.AccessDeniedException": _NO_KEY,
    "KmsAccessDenied": _NO_KEY,
    "KmsDisabled": "Enable the queue's KMS key.",
    "KmsNotFound": _NO_KEY,
    "InvalidParameterValue": f"Set the queue's MaximumMessageSize to {MESSAGE_BYTES_MAX} or more.",
}
_OTHER_REMEDY = "The message was refused; trying again would not help."


class SqsClient(Protocol):
    """What the sink calls of boto3's SQS client."""

    def send_message_batch(self, *_: Any, **request: Any) -> Any:
        """Take `QueueUrl` and `Entries`; answer `Successful` and `Failed`, in any order, either may be absent."""


def make_client(session: boto3.Session) -> SqsClient:
    """Return a client with explicit time-outs and few retries of its own; one serves all threads."""
    client: SqsClient = session.client("sqs", config=CLIENT_CONFIG)
    return client


def queue_name(queue_url: str) -> str:
    """Return the last part of a queue's URL."""
    return queue_url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class _Message:
    """A row's number in the attempt, and its body."""

    index: int
    body: bytes


class _Coordinates(msgspec.Struct):
    """What a FIFO queue needs of a row."""

    id: str
    window: str | None = None
    shard: str | None = None


class SqsSink:
    """Sends rows to one queue. Holds nothing between calls; the client belongs to who made it."""

    def __init__(self, client: SqsClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url
        self._fifo = queue_url.endswith(".fifo")
        self._what = f"SQS queue {queue_url}"

    @property
    def name(self) -> str:
        """Return `sqs:` and the queue's name."""
        return f"sqs:{queue_name(self._queue_url)}"

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        """Send the rows, call after call, until one takes nothing: the rows after it fail with it, untried.

        So an attempt at a queue that is down does not last as long as all its calls.
        """
        failures: list[Failure] = []
        down: str | None = None
        for messages in _calls(_fitting(rows, failures)):
            reasons = self._call(messages) if down is None else [down] * len(messages)
            failures += [
                Failure(message.index, reason)
                for message, reason in zip(messages, reasons, strict=True)
                if reason is not None
            ]
            down = reasons[-1] if all(reasons) else None
        return sorted(failures, key=lambda failure: failure.index)

    def close(self) -> None:
        """Do nothing: no row is held back."""

    def _call(self, messages: Sequence[_Message]) -> Sequence[str | None]:
        """Make one call; return why each message failed, or None where it was taken."""
        entries = [self._entry(number, message.body) for number, message in enumerate(messages)]
        try:
            answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
        except CALL_ERRORS as error:
            return [reason_of(error, self._what, _REMEDIES)] * len(messages)
        return self._reasons_in(answer, len(messages))

    def _entry(self, number: int, body: bytes) -> Mapping[str, str]:
        entry = {"Id": str(number), "MessageBody": body.decode()}
        if self._fifo:
            row = msgspec.json.decode(body, type=_Coordinates)
            group = row.shard or row.window
            assert group is not None, "a row without a window and a shard"
            entry |= {"MessageGroupId": group, "MessageDeduplicationId": row.id}
        return entry

    def _reasons_in(self, answer: Any, messages: int) -> Sequence[str | None]:
        """Read a successful answer strictly: what is missing from it is unknown, and unknown is failed.

        boto3 returns an answer that was cut on the way as a success without members.
        """
        reasons: dict[str, str | None] = {}
        try:
            for entry in answer.get("Successful", ()):
                _ = entry["MessageId"]
                reasons[entry["Id"]] = None
            for entry in answer.get("Failed", ()):
                reasons[entry["Id"]] = self._reason_in(entry)
        except KeyError:
            return ["connection"] * messages
        if not reasons.keys() <= set(map(str, range(messages))):
            return ["internal"] * messages
        return [reasons.get(str(number), "connection") for number in range(messages)]

    def _reason_in(self, entry: Mapping[str, Any]) -> str:
        """Return why SQS did not take a message; SinkError if it says that we are at fault.

        SQS calls throttling the sender's fault too; KeyError if the entry is not whole.
        """
        code, senders_fault = entry["Code"], entry["SenderFault"]
        meaning = meaning_of_code(code)
        if meaning.may_pass or not senders_fault:
            return meaning.value if meaning.may_pass else "internal"
        remedy = _REMEDIES.get(code, _OTHER_REMEDY)
        raise SinkError(f"{self._what}: {code}: {entry.get('Message', 'no message')} {remedy}")


def _fitting(rows: Sequence[bytes], failures: list[Failure]) -> Iterator[_Message]:
    """Make the rows messages; add those that can be none to the failures."""
    for index, row in enumerate(rows):
        body = _body(row)
        if body is None:
            failures.append(Failure(index, "too_large", permanent=True))
        else:
            yield _Message(index, body)


def _body(row: bytes) -> bytes | None:
    """Return the row as SQS takes it (the rules above); None if it is too large for that."""
    body = _escaped(row)
    return body if len(body) <= MESSAGE_BYTES_MAX else _with_less_data(body)


def _escaped(row: bytes) -> bytes:
    for character, escape in _REFUSED_CHARACTERS.items():
        row = row.replace(character, escape)
    return row


def _with_less_data(row: bytes) -> bytes | None:
    """Cut `data` so that the row fits, between two groups of base64; None where that does not do, or is a result."""
    members = msgspec.json.decode(row)
    if "revision" in members or "data" not in members:  # every result has a revision, and perhaps a column `data`
        return None

    def cut(characters: int) -> bytes:
        return _escaped(msgspec.json.encode(members | {"data": members["data"][:characters], "data_truncated": True}))

    room_characters = MESSAGE_BYTES_MAX - len(cut(0))
    return cut(room_characters // _BASE64_GROUP_CHARACTERS * _BASE64_GROUP_CHARACTERS) if room_characters >= 0 else None


def _calls(messages: Iterator[_Message]) -> Iterator[list[_Message]]:
    """Group messages into calls within SQS's limits."""
    call: list[_Message] = []
    size = 0
    for message in messages:
        if call and (len(call) == CALL_MESSAGES_MAX or size + len(message.body) > CALL_BYTES_MAX):
            yield call
            call, size = [], 0
        call.append(message)
        size += len(message.body)
    if call:
        yield call
