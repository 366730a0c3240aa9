"""A container of the function that lives on while people change what is around it."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from consumer.emulator.server import Emulator
from consumer.entrypoints import lambda_handler
from consumer.entrypoints.lambda_handler import Container
from consumer.errors import EXIT_OK, RefusedError, RetryableError, SetupError
from consumer.runtime import clock
from consumer.sources.mapping import UNCHECKED
from tests.entrypoints.state_rig import FIRST, StateRig, World, give, new_rig

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:clicks"
Capture = pytest.CaptureFixture[str]


class Context:
    """Time enough."""

    invoked_function_arn = FUNCTION

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@pytest.fixture
def rig(aws: tuple[Emulator, World], tmp_path: Path) -> StateRig:
    rig = new_rig(aws, tmp_path)
    rig.emulator.client("firehose").create_delivery_stream(
        DeliveryStreamName=rig.name,
        ExtendedS3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::123456789012:role/delivery",
            "BucketARN": f"arn:aws:s3:::{rig.name}-bucket",
        },
    )
    rig.file.write_text(rig.file.read_text().replace("{stdout: {}}", f"{{firehose: {{stream: {rig.name}}}}}"))
    return rig


def container(rig: StateRig) -> Container:
    return Container(FUNCTION, {**os.environ, "STREAMGAUGE_PIPELINE": str(rig.file), UNCHECKED: "yes"})


def batch(rig: StateRig, first: int = 0) -> list[dict[str, Any]]:
    """Return the records of a shard from one on, as a mapping delivers them."""
    arn = rig.streams.describe_stream_summary(StreamName=rig.name)["StreamDescriptionSummary"]["StreamARN"]
    return [
        {
            "eventSource": "aws:kinesis",
            "eventSourceARN": arn,
            "eventID": f"{FIRST}:{record.sequence_number}",
            "kinesis": {
                "partitionKey": record.partition_key,
                "sequenceNumber": record.sequence_number,
                "data": base64.b64encode(record.data).decode(),
                "approximateArrivalTimestamp": (record.arrival_ms or 0) / 1000,
            },
        }
        for record in rig.records(FIRST)[first:]
    ]


def deliver(rig: StateRig, function: Container) -> dict[str, Any]:
    """Give the function all records of a shard."""
    return function.serve({"Records": batch(rig)}, Context())


def test_it_goes_on_by_itself_after_the_state_was_reset(rig: StateRig, capsys: Capture) -> None:
    rig.put_minutes(0, 3)
    function = container(rig)
    assert deliver(rig, function) == {"batchItemFailures": []}
    assert give(rig, capsys, "reset", "--yes").status == EXIT_OK
    with pytest.raises(RefusedError, match="was reset"):
        deliver(rig, function)
    assert deliver(rig, function) == {"batchItemFailures": []}
    assert rig.state(FIRST).generation == 1


def test_it_looks_at_its_mapping_again_after_a_while(
    rig: StateRig, aws: tuple[Emulator, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    monkeypatch.setattr(lambda_handler, "check_mapping", lambda *_, **named: looks.append(named["function"]))
    rig.put_minutes(0, 3)
    function = Container(FUNCTION, {**os.environ, "STREAMGAUGE_PIPELINE": str(rig.file)})
    deliver(rig, function)
    deliver(rig, function)
    assert len(looks) == 1
    aws[1].now_ms += 600_000

    def fail(*_: object, **__: object) -> None:
        raise SetupError("MaximumRetryAttempts must be -1")

    monkeypatch.setattr(lambda_handler, "check_mapping", fail)
    with pytest.raises(SetupError, match="MaximumRetryAttempts"):
        deliver(rig, function)


def test_one_shard_that_is_refused_costs_the_others_nothing(rig: StateRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.put_minutes(0, 3)
    function = container(rig)
    deliver(rig, function)
    standing = function._standing
    assert standing is not None

    def refuse(*_: object) -> None:
        raise RefusedError("the state of another shard belongs to another generation")

    with monkeypatch.context() as patch:
        patch.setattr(standing[1], "batch", refuse)
        with pytest.raises(RefusedError):
            deliver(rig, function)
    assert function._standing is standing
    assert standing[1]._warm.shards() == {FIRST}


def test_what_was_found_is_kept_while_it_cannot_be_looked_at_again(
    rig: StateRig, aws: tuple[Emulator, World], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    looks: list[str] = []

    def look(*_: object, function: str, **__: object) -> None:
        looks.append(function)
        if len(looks) > 1:
            raise RetryableError("ListEventSourceMappings: ThrottlingException")

    waits: list[float] = []
    monotonic = clock.monotonic
    monkeypatch.setattr(lambda_handler, "check_mapping", look)
    monkeypatch.setattr(clock, "sleep", waits.append)
    monkeypatch.setattr(clock, "monotonic", lambda: monotonic() + sum(waits))
    rig.put_minutes(0, 3)
    function = Container(FUNCTION, {**os.environ, "STREAMGAUGE_PIPELINE": str(rig.file)})
    deliver(rig, function)
    assert len(looks) == 1
    aws[1].now_ms += 600_000
    assert deliver(rig, function) == {"batchItemFailures": []}
    tries = len(looks)
    assert tries > 2
    assert 0 < sum(waits) < 20, "there are records to be processed"
    assert deliver(rig, function) == {"batchItemFailures": []}
    assert len(looks) == tries, "it looks again in a minute"
    aws[1].now_ms += 60_000
    deliver(rig, function)
    assert len(looks) > tries
    assert "ThrottlingException" in "".join(
        line for line in capsys.readouterr().err.splitlines() if "look_postponed" in line
    )


def test_an_invocation_without_time_says_what_it_waited_for(rig: StateRig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RetryableError("ListEventSourceMappings: ThrottlingException")

    class Late(Context):
        def get_remaining_time_in_millis(self) -> int:
            return 1

    monkeypatch.setattr(lambda_handler, "check_mapping", fail)
    rig.put_minutes(0, 1)
    function = Container(FUNCTION, {**os.environ, "STREAMGAUGE_PIPELINE": str(rig.file)})
    with pytest.raises(RetryableError, match="no time left: ListEventSourceMappings"):
        function.serve({"Records": batch(rig)}, Late())
