"""The event source mapping, as it must be, and in every way that loses records."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from botocore.exceptions import ClientError

from consumer.errors import RetryableError, SetupError
from consumer.sources.mapping import check_mapping

STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks"
RIGHT = {
    "UUID": "u-1",
    "EventSourceArn": STREAM,
    "MaximumRetryAttempts": -1,
    "MaximumRecordAgeInSeconds": -1,
    "BisectBatchOnFunctionError": False,
    "ParallelizationFactor": 1,
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
    "StartingPosition": "TRIM_HORIZON",
}


class Client:
    """Answers in pages of one mapping, or with an error."""

    def __init__(self, *mappings: dict[str, Any], code: str | None = None) -> None:
        self._mappings = mappings
        self._code = code

    def list_event_source_mappings(self, *_: Any, **request: Any) -> Any:
        if self._code is not None:
            raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, "ListEventSourceMappings")
        assert request["FunctionName"] == "fn"
        page = int(request.get("Marker", 0))
        answer: dict[str, Any] = {"EventSourceMappings": list(self._mappings[page : page + 1])}
        return answer | ({"NextMarker": str(page + 1)} if page + 1 < len(self._mappings) else {})


def check(*mappings: dict[str, Any], start: str | None = "trim_horizon", code: str | None = None) -> None:
    check_mapping(Client(*mappings, code=code), function="fn", stream_arn=STREAM, start=start)


def starting_at(seconds: int) -> dict[str, Any]:
    time = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": time}


@pytest.mark.parametrize("wrong", [starting_at(1_699_999_999), {"StartingPosition": "AT_TIMESTAMP"}])
def test_a_mapping_that_starts_at_another_time_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SetupError, match="StartingPositionTimestamp must be 1700000000"):
        check(RIGHT | wrong, start="1700000000000")


def test_the_right_mapping_is_taken_among_those_of_other_streams() -> None:
    check({**RIGHT, "EventSourceArn": STREAM + "-2", "MaximumRetryAttempts": 3}, RIGHT)
    check(RIGHT | {"EventSourceArn": STREAM + "/consumer/c:1"})
    check({key: RIGHT[key] for key in ("EventSourceArn", "FunctionResponseTypes", "StartingPosition")})
    check(RIGHT | {"StartingPosition": "LATEST"}, start="latest")
    check(RIGHT | starting_at(1_700_000_000), start="1700000000000")
    check(RIGHT | {"StartingPosition": "LATEST"}, start=None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MaximumRetryAttempts": 10}, "MaximumRetryAttempts must be -1"),
        ({"MaximumRetryAttempts": 0}, "MaximumRetryAttempts must be -1"),
        ({"MaximumRecordAgeInSeconds": 3600}, "MaximumRecordAgeInSeconds must be -1"),
        ({"BisectBatchOnFunctionError": True}, "BisectBatchOnFunctionError must be off"),
        ({"ParallelizationFactor": 2}, "ParallelizationFactor must be 1"),
        ({"FunctionResponseTypes": []}, "must have ReportBatchItemFailures"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}}, "FilterCriteria must be empty"),
        ({"TumblingWindowInSeconds": 60}, "TumblingWindowInSeconds must be 0"),
        ({"StartingPosition": "LATEST"}, "StartingPosition must be TRIM_HORIZON, as source.start is trim_horizon"),
    ],
)
def test_each_wrong_setting_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        check(RIGHT | change)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(SetupError, match=r"MaximumRetryAttempts.*; BisectBatch.*; ParallelizationFactor"):
        check(RIGHT | {"MaximumRetryAttempts": 3, "BisectBatchOnFunctionError": True, "ParallelizationFactor": 4})


def test_it_must_be_one_mapping() -> None:
    with pytest.raises(SetupError, match="has 0 event source mappings"):
        check()
    with pytest.raises(SetupError, match="has 2 event source mappings"):
        check(RIGHT, RIGHT)


def test_without_the_permission_the_remedy_is_named() -> None:
    with pytest.raises(SetupError, match=r"lambda:ListEventSourceMappings.*STREAMGAUGE_MAPPING_UNCHECKED=yes"):
        check(code="AccessDeniedException")


def test_a_throttle_may_be_tried_again() -> None:
    with pytest.raises(RetryableError):
        check(code="ThrottlingException")
