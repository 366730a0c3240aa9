"""SQS and S3, each against a fake client and against the embedded AWS; SQS also as a FIFO queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import pytest

from consumer.emulator.faults import Fault
from consumer.emulator.server import Emulator
from consumer.sinks.s3 import S3Sink, folder_of
from consumer.sinks.sqs import MESSAGE_BYTES_MAX, SqsSink
from consumer.testing.fake_aws import FakeS3, FakeSqs
from consumer.testing.fakes import Alter, Raise, Reject, client_error
from consumer.testing.sink_conformance import SinkConformance, SinkHarness, Trouble
from tests.sinks.trouble import WAY_REFUSALS, WAY_TROUBLE, PatientClient, emulator_troubles

QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/letters"


def failed_by_sender(code: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that says of the first message: it failed, and we are at fault."""
    first, *others = sorted(answer["Successful"], key=lambda entry: int(entry["Id"]))
    failed = [{"Id": first["Id"], "SenderFault": True, "Code": code, "Message": "as ordered"}]
    return {"Successful": others, "Failed": failed}


SQS_PASSING: dict[str, tuple[Reject | Raise | Alter, str]] = {
    **WAY_TROUBLE,
    "request throttled": (Raise(client_error("RequestThrottled", 403)), "throttled"),
    "key throttled": (Raise(client_error("KmsThrottled")), "throttled"),
    "one message throttled": (Reject({0: "ThrottlingException"}), "throttled"),
    "one message throttled, they say by us": (Alter(partial(failed_by_sender, "RequestThrottled")), "throttled"),
    "one message failed": (Reject({3: "InternalError"}), "internal"),
    "one message failed for an unknown reason": (Reject({3: "NobodyKnowsThis"}), "internal"),
    "two messages failed": (Reject({0: "InternalError", 9: "InternalError"}), "internal"),
    "empty answer": (Alter(lambda _: {"ResponseMetadata": {}}), "connection"),
    "a message is not told of": (Alter(lambda answer: {"Successful": answer["Successful"][1:]}), "connection"),
    "a message told of by halves": (
        Alter(lambda answer: {"Successful": [{"Id": "0"}, *answer["Successful"][1:]]}),
        "connection",
    ),
    "a failure told of by halves": (Alter(lambda answer: answer | {"Failed": [{"Id": "0"}]}), "connection"),
    "a message told of twice": (
        Alter(lambda answer: answer | {"Failed": [{"Id": "0", "SenderFault": False, "Code": "InternalError"}]}),
        "internal",
    ),
    "a message nobody sent": (
        Alter(lambda answer: {"Successful": [*answer["Successful"], {"Id": "10", "MessageId": "m"}]}),
        "internal",
    ),
}
SQS_REFUSED: dict[str, Raise | Alter] = {
    **WAY_REFUSALS,
    "no queue": Raise(client_error("AWS.SimpleQueueService.NonExistentQueue")),
    "no key": Raise(client_error("KmsAccessDenied")),
    "message too long for this queue": Alter(partial(failed_by_sender, "InvalidParameterValue")),
    "message refused for an unknown reason": Alter(partial(failed_by_sender, "NobodyKnowsThis")),
}


@dataclass
class FakeSqsHarness(SinkHarness):
    client: FakeSqs = field(default_factory=FakeSqs)

    def arrived(self) -> list[bytes]:
        return self.client.rows


@pytest.mark.parametrize("suffix", ["", ".fifo"], ids=["standard", "fifo"])
class TestSqsOnAFakeClient(SinkConformance):
    @pytest.fixture
    def make_harness(self, suffix: str) -> Callable[[], SinkHarness]:
        return lambda: self._make(suffix)

    def _make(self, suffix: str) -> SinkHarness:
        client = FakeSqs()
        return FakeSqsHarness(
            sink=SqsSink(client, QUEUE + suffix),
            client=client,
            troubles={
                name: Trouble(partial(client.faults.append, fault), reason)
                for name, (fault, reason) in SQS_PASSING.items()
            },
            refusals={name: partial(client.faults.append, fault) for name, fault in SQS_REFUSED.items()},
            fail_row=lambda index: client.faults.append(Reject({index: "InternalError"})),
            row_bytes_max=MESSAGE_BYTES_MAX,
            exactly_once=suffix == ".fifo",
        )


@dataclass
class EmulatedQueue(SinkHarness):
    queues: Any = None
    url: str = ""
    received: list[bytes] = field(default_factory=list)

    def arrived(self) -> list[bytes]:
        while messages := self.queues.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            self.received += [message["Body"].encode() for message in messages]
            entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(messages)]
            self.queues.delete_message_batch(QueueUrl=self.url, Entries=entries)
        return self.received


class TestSqsOnTheEmulator(SinkConformance):
    numbers = count()

    @pytest.fixture
    def make_harness(self, emulator: Emulator) -> Iterator[Callable[[], SinkHarness]]:
        client = PatientClient(emulator, "sqs")
        yield lambda: self._make(emulator, client)
        emulator.faults.clear()

    def _make(self, emulator: Emulator, client: PatientClient) -> SinkHarness:
        emulator.faults.clear()
        url = client.create_queue(
            QueueName=f"letters-{next(self.numbers)}",
            Attributes={"VisibilityTimeout": "3600", "MaximumMessageSize": str(MESSAGE_BYTES_MAX)},
        )["QueueUrl"]

        def fail_row(index: int) -> None:
            emulator.faults.add(Fault(service="sqs", kind="partial", times=1, indexes=(index,)))

        return EmulatedQueue(
            sink=SqsSink(client, url),
            queues=client,
            url=url,
            troubles=emulator_troubles(emulator, "sqs", "SendMessageBatch", client, cut_is="connection"),
            refusals={"gone": lambda: client.delete_queue(QueueUrl=url)},
            fail_row=fail_row,
            row_bytes_max=MESSAGE_BYTES_MAX,
            many_rows=20,  # the time that moto takes grows with the square
        )


S3_PASSING: dict[str, tuple[Raise | Alter, str]] = {
    **WAY_TROUBLE,
    "slow down": (Raise(client_error("SlowDown", 503)), "throttled"),
    "somebody writes it right now": (Raise(client_error("ConditionalRequestConflict", 409)), "unavailable"),
    "somebody writes it right now, cut": (Raise(client_error("409", 409)), "unavailable"),
    "S3's own error": (Raise(client_error("InternalError", 500), after_effect=True), "internal"),
    "too slow a request": (Raise(client_error("RequestTimeout")), "timeout"),
    "cut answer": (Alter(lambda _: {"ResponseMetadata": {}}), "connection"),
}
S3_REFUSED = {**WAY_REFUSALS, "no bucket": Raise(client_error("NoSuchBucket", 404))}


@dataclass
class FakeS3Harness(SinkHarness):
    client: FakeS3 = field(default_factory=FakeS3)

    def arrived(self) -> list[bytes]:
        return self.client.rows


class TestS3OnAFakeClient(SinkConformance):
    @pytest.fixture
    def make_harness(self) -> Callable[[], SinkHarness]:
        return self._make

    def _make(self) -> SinkHarness:
        client = FakeS3()
        return FakeS3Harness(
            sink=S3Sink(client, "results", folder_of("clicks", "views")),
            client=client,
            troubles={
                name: Trouble(partial(client.faults.append, fault), reason)
                for name, (fault, reason) in S3_PASSING.items()
            },
            refusals={name: partial(client.faults.append, fault) for name, fault in S3_REFUSED.items()},
            exactly_once=True,
        )


@dataclass
class EmulatedBucket(SinkHarness):
    emulator: Emulator | None = None
    s3: Any = None
    bucket: str = ""

    def arrived(self) -> list[bytes]:
        assert self.emulator is not None
        puts = [call.coordinates for call in self.emulator.calls.entries(service="s3") if call.operation == "PutObject"]
        keys = [one["Key"] for one in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        keys.sort(key=lambda key: puts.index(f"{self.bucket}/{key}"))
        bodies = [self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys]
        lines = b"".join(bodies).split(b"\n")
        assert lines.pop() == b""
        return lines


class TestS3OnTheEmulator(SinkConformance):
    numbers = count()

    @pytest.fixture
    def make_harness(self, emulator: Emulator) -> Iterator[Callable[[], SinkHarness]]:
        client = PatientClient(emulator, "s3")
        yield lambda: self._make(emulator, client)
        emulator.faults.clear()

    def _make(self, emulator: Emulator, client: PatientClient) -> SinkHarness:
        emulator.faults.clear()
        bucket = f"results-{next(self.numbers)}"
        client.create_bucket(Bucket=bucket)
        return EmulatedBucket(
            sink=S3Sink(client, bucket, folder_of("clicks", "views")),
            emulator=emulator,
            s3=client,
            bucket=bucket,
            # PutObject has nothing in its answer's body: no half of it can be missing.
            troubles=emulator_troubles(emulator, "s3", "PutObject", client, cut_is=None),
            refusals={"gone": lambda: client.delete_bucket(Bucket=bucket)},
            exactly_once=True,
            many_rows=60,
        )
