"""What moto's SQS lacks: a SendMessageBatch that takes some of its messages. JSON only, as today's SDKs speak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from consumer.emulator.faults import Strike
from consumer.emulator.http import Answer, Request

CONTENT_TYPE = "application/x-amz-json-1.0"


class _QueueRequest(msgspec.Struct):
    QueueUrl: str = ""  # SQS' own name, as all in this module
    QueueName: str = ""


class _BatchRequest(msgspec.Struct):
    Entries: list[dict[str, Any]]


def coordinates(body: bytes) -> str:
    """Return the name of the queue that a request is about, empty if it names none."""
    try:
        request = msgspec.json.decode(body, type=_QueueRequest)
    except msgspec.DecodeError:
        return ""  # moto will say what is wrong with it
    return request.QueueName or request.QueueUrl.rpartition("/")[2]


def batch_of(request: Request) -> Sequence[dict[str, Any]] | None:
    """Return the messages of a SendMessageBatch; None if they can't be made out."""
    try:
        return msgspec.json.decode(request.body, type=_BatchRequest).Entries
    except msgspec.DecodeError:
        return None


def send_in_part(
    request: Request, batch: Sequence[dict[str, Any]], strike: Strike, perform: Callable[[Request], Answer]
) -> Answer:
    """Let moto do the call without the messages that the strike refuses, and tell of these in the answer."""
    refused = [
        {
            "Id": entry.get("Id"),
            "SenderFault": False,
            "Code": strike.error_code(index),
            "Message": "Refused on request.",
        }
        for index, entry in enumerate(batch)
        if index in strike.failed
    ]
    left = [entry for index, entry in enumerate(batch) if index not in strike.failed]
    result: dict[str, Any] = {"Successful": []}
    if left:
        body = msgspec.json.encode(msgspec.json.decode(request.body) | {"Entries": left})
        answer = perform(replace(request, body=body))
        if answer.status != 200:  # noqa: PLR2004 - HTTP's own number
            return answer
        result = msgspec.json.decode(answer.body)
    result["Failed"] = [*(result.get("Failed") or []), *refused]
    return Answer(200, [("content-type", CONTENT_TYPE)], [msgspec.json.encode(result)])
