"""SQS by moto, and the faults that moto lacks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consumer.emulator import sqs
from consumer.emulator.faults import Fault
from consumer.emulator.http import Request
from consumer.emulator.server import Emulator
from tests.emulator.kinesis_reader import refused


@pytest.fixture(scope="module")
def queues(running: Emulator) -> Any:
    return running.client("sqs")


@pytest.fixture
def queue(aws: Emulator, queues: Any, name: str) -> str:
    url: str = queues.create_queue(QueueName=name)["QueueUrl"]
    return url


def batch(count: int) -> list[dict[str, str]]:
    return [{"Id": f"m{number}", "MessageBody": f"body {number}"} for number in range(count)]


def bodies(queues: Any, queue: str) -> list[str]:
    found: list[str] = []
    while messages := queues.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        found += [message["Body"] for message in messages]
    return found


def test_a_batch_fails_in_part(aws: Emulator, queues: Any, queue: str) -> None:
    aws.faults.add(Fault(service="sqs", kind="partial", indexes=(1, 3), error_code="InternalFailure", times=1))
    answer = queues.send_message_batch(QueueUrl=queue, Entries=batch(4))
    assert [(entry["Id"], entry["Code"], entry["SenderFault"]) for entry in answer["Failed"]] == [
        ("m1", "InternalFailure", False),
        ("m3", "InternalFailure", False),
    ]
    assert [entry["Id"] for entry in answer["Successful"]] == ["m0", "m2"]
    assert bodies(queues, queue) == ["body 0", "body 2"]


def test_a_batch_fails_as_a_whole(aws: Emulator, queues: Any, queue: str) -> None:
    aws.faults.add(Fault(service="sqs", kind="partial", record_probability=1.0, times=1))
    answer = queues.send_message_batch(QueueUrl=queue, Entries=batch(2))
    assert [entry["Code"] for entry in answer["Failed"]] == ["ServiceUnavailableException"] * 2
    assert answer["Successful"] == []
    assert bodies(queues, queue) == []


def test_what_moto_refuses_stays_refused(aws: Emulator, queues: Any, queue: str) -> None:
    aws.faults.add(Fault(service="sqs", kind="partial", indexes=(0,), times=1))
    code, status = refused(queues.send_message_batch, QueueUrl=f"{queue}-of-nobody", Entries=batch(2))[:2]
    assert (code, status) == ("AWS.SimpleQueueService.NonExistentQueue", 400)


def test_calls_are_entered_with_their_queue(aws: Emulator, queues: Any, queue: str, name: str) -> None:
    queues.send_message_batch(QueueUrl=queue, Entries=batch(1))
    entered = aws.calls.entries(service="sqs")[-2:]
    assert [(call.operation, call.coordinates) for call in entered] == [
        ("CreateQueue", name),
        ("SendMessageBatch", name),
    ]


def test_throttling_and_failing_speak_as_sqs_does(aws: Emulator, queues: Any, queue: str) -> None:
    aws.faults.add(Fault(service="sqs", kind="throttle", times=1))
    assert refused(queues.send_message_batch, QueueUrl=queue, Entries=batch(1))[:2] == ("RequestThrottled", 403)
    aws.faults.add(Fault(service="sqs", kind="error_before", times=1))
    assert refused(queues.send_message_batch, QueueUrl=queue, Entries=batch(1))[:2] == ("InternalFailure", 500)


@pytest.mark.parametrize("body", [b"", b"Action=SendMessageBatch", b"[]", msgspec.json.encode({"Entries": 1})])
def test_a_request_that_cannot_be_read_is_left_to_moto(body: bytes) -> None:
    assert sqs.batch_of(Request("POST", "/", body=body)) is None
    assert sqs.coordinates(body) == ""
