"""Stand-ins for boto3's SQS and S3 clients, with the services' limits and faults on order."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from consumer.sinks.sqs import CALL_BYTES_MAX, CALL_MESSAGES_MAX, MESSAGE_BYTES_MAX
from consumer.testing.fakes import Alter, Raise, Reject, client_error

_REFUSED_BY_SQS = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class FakeSqs:
    """An SQS client; a call that breaks a limit fails the test.

    `faults` are those of its next calls; when they are used up, every message is taken. A queue whose URL ends in
    `.fifo` drops a message whose deduplication id it knows, for ever. Answers tell of messages in reverse order.
    """

    def __init__(self, faults: Iterable[Reject | Raise | Alter] = ()) -> None:
        self.faults = deque(faults)
        self.calls: list[list[str]] = []
        self.entries: list[Mapping[str, str]] = []
        self._lock = threading.Lock()

    @property
    def rows(self) -> list[bytes]:
        """Return the bodies of all messages taken, in order of arrival."""
        return [entry["MessageBody"].encode() for entry in self.entries]

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Mapping[str, str]]) -> Any:  # noqa: N803 - AWS' names
        """Take a batch as ordered."""
        _check_batch(Entries)
        with self._lock:
            self.calls.append([entry["MessageBody"] for entry in Entries])
            fault = self.faults.popleft() if self.faults else Reject({})
            if isinstance(fault, Raise) and not fault.after_effect:
                raise fault.error
            rejected = fault.codes if isinstance(fault, Reject) else {}
            for number, entry in enumerate(Entries):
                if number not in rejected:
                    self._take(entry, fifo=QueueUrl.endswith(".fifo"))
        if isinstance(fault, Raise):
            raise fault.error
        answer = _answer(Entries, rejected)
        return fault.change(answer) if isinstance(fault, Alter) else answer

    def _take(self, entry: Mapping[str, str], *, fifo: bool) -> None:
        if fifo:
            assert 1 <= len(entry["MessageGroupId"]) <= 128  # noqa: PLR2004 - SQS' limit
            known = {taken["MessageDeduplicationId"] for taken in self.entries}
            if entry["MessageDeduplicationId"] in known:
                return
        self.entries.append(entry)


def _check_batch(entries: Sequence[Mapping[str, str]]) -> None:
    sizes = [len(entry["MessageBody"].encode()) for entry in entries]
    assert 1 <= len(entries) <= CALL_MESSAGES_MAX
    assert len({entry["Id"] for entry in entries}) == len(entries)
    assert all(1 <= size <= MESSAGE_BYTES_MAX for size in sizes)
    assert sum(sizes) <= CALL_BYTES_MAX
    assert not any(_REFUSED_BY_SQS.search(entry["MessageBody"]) for entry in entries)


def _answer(entries: Sequence[Mapping[str, str]], rejected: Mapping[int, str]) -> dict[str, Any]:
    told: dict[str, Any] = {"Successful": [], "Failed": []}
    for number, entry in reversed(list(enumerate(entries))):
        if number in rejected:
            told["Failed"].append({"Id": entry["Id"], "SenderFault": False, "Code": rejected[number]})
        else:
            told["Successful"].append({"Id": entry["Id"], "MessageId": f"message-{number}", "MD5OfMessageBody": "0"})
    return {name: entries for name, entries in told.items() if entries}


class FakeS3:
    """An S3 client that takes objects if there is none of that name.

    `faults` are those of its next calls, None is none; when they are used up, every object is taken.
    """

    def __init__(self, faults: Iterable[Raise | Alter | None] = ()) -> None:
        self.faults = deque(faults)
        self.objects: dict[str, bytes] = {}
        """By bucket, slash, key; in order of arrival."""
        self.refused_keys: list[str] = []
        """Those that were there already, once for each call."""
        self._lock = threading.Lock()

    @property
    def rows(self) -> list[bytes]:
        """Return all rows in the objects, in order of arrival."""
        lines = b"".join(self.objects.values()).split(b"\n")
        assert lines.pop() == b"", "an object does not end with a newline"
        return lines

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str, IfNoneMatch: str) -> Any:  # noqa: N803 - AWS' names
        """Take an object as ordered."""
        assert (ContentType, IfNoneMatch) == ("application/x-ndjson", "*")
        with self._lock:
            fault = self.faults.popleft() if self.faults else None
            if isinstance(fault, Raise) and not fault.after_effect:
                raise fault.error
            name = f"{Bucket}/{Key}"
            if name in self.objects:
                self.refused_keys.append(name)
                raise client_error("PreconditionFailed", 412)
            self.objects[name] = Body
        if isinstance(fault, Raise):
            raise fault.error
        answer = {"ETag": '"0"'}
        return fault.change(answer) if isinstance(fault, Alter) else answer
