"""The event source mapping that feeds the Lambda function: what it must be, lest it discard records silently."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from consumer.aws_errors import Meaning, meaning_of
from consumer.errors import SetupError
from consumer.sources import aws
from consumer.sources.kinesis import member

UNCHECKED = "STREAMGAUGE_MAPPING_UNCHECKED"
"""The environment variable that has the function run without looking."""
_STARTS = {"trim_horizon": "TRIM_HORIZON", "latest": "LATEST"}


class LambdaClient(Protocol):
    """What is called of boto3's Lambda client."""

    def list_event_source_mappings(self, *_: Any, **request: Any) -> Any:
        """Take `FunctionName` and `Marker`; answer with `EventSourceMappings`."""


def check_mapping(client: LambdaClient, *, function: str, stream_arn: str, start: str | None) -> None:
    """Look at the function's mapping of the stream; SetupError says all that is wrong with it, RetryableError passes.

    `start` is the pipeline's source.start, or None where the application has begun long since: a mapping may be made
    anew from anywhere then, for what is already counted is skipped, and what is left out is found out.
    """
    mappings = [
        mapping
        for mapping in _mappings(client, function)
        if member(mapping, "EventSourceArn", function).partition("/consumer/")[0] == stream_arn
    ]
    if len(mappings) != 1:
        raise SetupError(
            f"{function} has {len(mappings)} event source mappings of {stream_arn}; it must be one, of this very "
            "version or alias of the function"
        )
    if wrong := list(_wrong(mappings[0], start)):
        raise SetupError(
            f"the event source mapping {mappings[0].get('UUID', '')} would lose records or give wrong results: "
            f"{'; '.join(wrong)}. Change it (aws lambda "
            "update-event-source-mapping); deploy/lambda has one that is right"
        )


def _wrong(mapping: Mapping[str, Any], start: str | None) -> Iterator[str]:
    if mapping.get("MaximumRetryAttempts", -1) != -1:
        yield "MaximumRetryAttempts must be -1 (endless): with a bound, a batch that fails is discarded"
    if mapping.get("MaximumRecordAgeInSeconds", -1) != -1:
        yield "MaximumRecordAgeInSeconds must be -1 (endless): with a bound, old records are discarded"
    if mapping.get("BisectBatchOnFunctionError"):
        yield "BisectBatchOnFunctionError must be off: what the function cannot do yet stays in order"
    if mapping.get("ParallelizationFactor", 1) != 1:
        yield "ParallelizationFactor must be 1: a shard's records are processed in their order"
    if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", ()):
        yield "FunctionResponseTypes must have ReportBatchItemFailures: the function hands back what it has no time for"
    if mapping.get("FilterCriteria", {}).get("Filters"):
        yield "FilterCriteria must be empty: filtered records move no watermark; write `where` in the pipeline file"
    if mapping.get("TumblingWindowInSeconds"):
        yield "TumblingWindowInSeconds must be 0: the pipeline has windows of its own"
    if start is not None:
        yield from _wrong_start(mapping, start)


def _wrong_start(mapping: Mapping[str, Any], start: str) -> Iterator[str]:
    position = _STARTS.get(start, "AT_TIMESTAMP")
    if mapping.get("StartingPosition") != position:
        yield f"StartingPosition must be {position}, as source.start is {start}"
    elif position == "AT_TIMESTAMP":
        seconds = int(start) // 1000
        given: dt.datetime | None = mapping.get("StartingPositionTimestamp")
        if given is None or given.timestamp() != seconds:
            yield f"StartingPositionTimestamp must be {seconds} (epoch seconds), as source.start says"


def _mappings(client: LambdaClient, function: str) -> Iterator[Mapping[str, Any]]:
    request = {"FunctionName": function}
    while request:
        try:
            answer = client.list_event_source_mappings(**request)
        except aws.CALL_ERRORS as error:
            raise aws.translate(error, f"{function}: ListEventSourceMappings", _remedy(error)) from error
        yield from member(answer, "EventSourceMappings", function)
        request = request | {"Marker": answer["NextMarker"]} if answer.get("NextMarker") else {}


def _remedy(error: Exception) -> str:
    if meaning_of(error) is Meaning.DENIED:
        return (
            "Allow the function's role lambda:ListEventSourceMappings; or see for yourself that the mapping is as "
            f"docs/lambda.md says, and set {UNCHECKED}=yes."
        )
    return "The function must be able to look at its own event source mapping."
