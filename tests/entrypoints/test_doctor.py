"""The doctor's report, with and without the embedded AWS."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoRegionError

from consumer.emulator.server import Emulator
from consumer.entrypoints.doctor import doctor
from consumer.errors import EXIT_ENVIRONMENT, EXIT_OK
from consumer.pipeline.load import PipelineError
from consumer.runtime import jars
from consumer.runtime.jars import Jars
from consumer.state import dynamodb

PIPELINE = """
pipeline: clicks
source: {stream: clicks, partition_key: user}
events:
  compression: none
  fields: {user: string, ts: timestamp}
  time: ts
  idle_after: never
windows:
  views:
    tumbling: {size: 1m}
    by: [user]
    select: {n: count()}
sinks:
  - firehose: {stream: results}
late: {firehose: {stream: late}}
state: {table: state, bucket: snapshots}
worker: {application: clicks-app}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return str(path)


@pytest.fixture
def aws() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


def furnish(aws: Emulator) -> None:
    """Make everything that the pipeline needs."""
    kinesis = aws.client("kinesis")
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName="clicks", WaiterConfig={"Delay": 0.05})
    dynamodb.create_table(aws.client("dynamodb"), "state")
    aws.client("s3").create_bucket(Bucket="snapshots")
    for name in ("results", "late"):
        destination = {"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::snapshots"}
        aws.client("firehose").create_delivery_stream(
            DeliveryStreamName=name, ExtendedS3DestinationConfiguration=destination
        )


def examine(path: str | None, client: Callable[[str], Any] | None = None) -> tuple[int, list[str]]:
    out = io.StringIO()
    status = doctor(path, os.environ, out=out, client=client)
    return status, out.getvalue().splitlines()


def words(lines: list[str], level: str) -> list[str]:
    return [line.removeprefix(level).strip() for line in lines if line.startswith(level)]


def test_without_a_pipeline_only_this_machine_is_looked_at() -> None:
    def no_client(service: str) -> Any:
        raise AssertionError(service)

    status, lines = examine(None, no_client)
    assert status == EXIT_OK
    assert not words(lines, "missing")
    report = "\n".join(lines)
    for part in ("Python", "boto3", "Java", "amazon-kclpy", f"{len(jars.read_lock().sha256)} verified"):
        assert part in report


def test_everything_is_there(aws: Emulator, pipeline: str) -> None:
    furnish(aws)
    status, lines = examine(pipeline, aws.client)
    assert (status, words(lines, "missing"), words(lines, "warning")) == (EXIT_OK, [], [])
    report = "\n".join(lines)
    assert "ACTIVE, 2 open shards, keeps records for 24 h" in report
    assert f"endpoint kinesis         {aws.endpoint}" in report
    assert "arn:aws:sts::" in report
    assert "clicks-app-CoordinatorState: not there yet" in report
    assert aws.environment["AWS_SECRET_ACCESS_KEY"] not in report.split()


def test_everything_that_is_missing_is_named_with_its_remedy(aws: Emulator, pipeline: str) -> None:
    status, lines = examine(pipeline, aws.client)
    assert status == EXIT_ENVIRONMENT
    missing = words(lines, "missing")
    named = ["stream clicks", "records", "state table", "state bucket", "firehose late", "firehose results"]
    assert [next(name for name in named if line.startswith(name)) for line in missing] == named
    assert all("Create" in line for line in missing)


COMBINED = "  total: {tumbling: 1m, combine: true, select: {n: count()}}\nsinks:"


@pytest.fixture
def combining(tmp_path: Path) -> str:
    """Return the path of a pipeline with a global window."""
    path = tmp_path / "combining.yaml"
    path.write_text(PIPELINE.replace("sinks:", COMBINED))
    return str(path)


def test_where_a_window_is_global_the_table_must_forget(aws: Emulator, combining: str, pipeline: str) -> None:
    furnish(aws)
    status, lines = examine(combining, aws.client)
    assert (status, words(lines, "warning")) == (EXIT_OK, [])
    assert "time to live             on, for expires_at" in words(lines, "ok")
    assert "time to live" not in "\n".join(examine(pipeline, aws.client)[1]), "nothing there expires"
    off = {"Enabled": False, "AttributeName": "expires_at"}
    aws.client("dynamodb").update_time_to_live(TableName="state", TimeToLiveSpecification=off)
    status, lines = examine(combining, aws.client)
    (warning,) = words(lines, "warning")
    assert status == EXIT_OK
    assert warning.startswith("time to live             off: state keeps for ever what shards contribute")
    assert "--table-name state --time-to-live-specification Enabled=true,AttributeName=expires_at" in warning


@pytest.mark.parametrize(("code", "level"), [("AccessDeniedException", "warning"), ("InternalServerError", "missing")])
def test_whether_the_table_forgets_may_remain_unknown(aws: Emulator, combining: str, code: str, level: str) -> None:
    """The worker does without that permission; trouble is told as trouble."""
    furnish(aws)

    class Tables:
        def __init__(self) -> None:
            self._client = aws.client("dynamodb")

        def describe_time_to_live(self, **_: Any) -> Any:
            answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(answer, "DescribeTimeToLive")  # type: ignore[arg-type]  # the stubs ask for every member

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

    status, lines = examine(combining, lambda service: Tables() if service == "dynamodb" else aws.client(service))
    (line,) = words(lines, level)
    assert status == (EXIT_OK if level == "warning" else EXIT_ENVIRONMENT)
    assert ("the role lacks dynamodb:DescribeTimeToLive" in line) == (level == "warning")


class Denied:
    """A client that may do nothing."""

    meta = type("Meta", (), {"endpoint_url": "https://aws"})

    def __getattr__(self, name: str) -> Any:
        def deny(**_: Any) -> Any:
            answer = {
                "Error": {"Code": "AccessDeniedException", "Message": "no"},
                "ResponseMetadata": {"HTTPStatusCode": 400},
            }
            raise ClientError(answer, name)  # type: ignore[arg-type]  # the stubs ask for every member

        return deny


def test_missing_permissions_are_named(pipeline: str) -> None:
    status, lines = examine(pipeline, lambda _: Denied())
    assert status == EXIT_ENVIRONMENT
    missing = "\n".join(words(lines, "missing"))
    for permission in ("kinesis:DescribeStreamSummary", "kinesis:ListShards", "dynamodb:DescribeTable"):
        assert permission in missing
    assert "firehose:DescribeDeliveryStream" in "\n".join(words(lines, "warning")), "the worker does without it"


QUEUE_AND_BUCKET = """
late: {s3: {bucket: rows, prefix: clicks}}
dead_letter: {sqs: {queue_url: "http://localhost/123456789012/letters"}}
"""


@pytest.fixture
def other_sinks(tmp_path: Path) -> str:
    path = tmp_path / "other.yaml"
    path.write_text(PIPELINE.replace("late: {firehose: {stream: late}}", QUEUE_AND_BUCKET))
    return str(path)


def test_queues_and_buckets_are_looked_for(aws: Emulator, other_sinks: str) -> None:
    furnish(aws)
    status, lines = examine(other_sinks, aws.client)
    assert status == EXIT_ENVIRONMENT
    queue, bucket = words(lines, "missing")
    assert (queue.split()[:2], bucket.split()[:3]) == (["queue", "letters"], ["sink", "bucket", "rows"])
    assert "Create the queue" in queue
    assert "Create the bucket" in bucket
    aws.client("s3").create_bucket(Bucket="rows")
    aws.client("sqs").create_queue(QueueName="letters")
    assert examine(other_sinks, aws.client)[0] == EXIT_OK


def test_a_queue_that_takes_too_little_is_told(aws: Emulator, other_sinks: str) -> None:
    furnish(aws)
    aws.client("s3").create_bucket(Bucket="rows")
    aws.client("sqs").create_queue(QueueName="letters", Attributes={"MaximumMessageSize": "65536"})
    status, lines = examine(other_sinks, aws.client)
    assert status == EXIT_ENVIRONMENT
    assert ["65536" in line and "262144" in line for line in words(lines, "missing")] == [True]


def test_permissions_that_only_the_doctor_needs_are_a_warning(other_sinks: str) -> None:
    warnings = "\n".join(words(examine(other_sinks, lambda _: Denied())[1], "warning"))
    for permission in ("firehose:DescribeDeliveryStream", "sqs:GetQueueAttributes", "s3:ListBucket"):
        assert permission in warnings


def test_no_region(pipeline: str) -> None:
    def no_region(_: str) -> Any:
        raise NoRegionError

    status, lines = examine(pipeline, no_region)
    assert status == EXIT_ENVIRONMENT
    assert sum("no AWS region" in line for line in words(lines, "missing")) == 1


def test_other_jars_are_a_warning_in_another_version_and_missing_in_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Jars("3.9.9", "3.1.3", (Path("a.jar"),), ("a.jar is unknown",))
    monkeypatch.setattr("consumer.entrypoints.doctor.find_jars", lambda: found)
    status, lines = examine(None)
    assert status == EXIT_OK
    assert "3.9.9, not the tested version 3.1.3" in "\n".join(words(lines, "warning"))
    tampered = Jars("3.1.3", "3.1.3", (Path("a.jar"),), ("a.jar has been changed",))
    monkeypatch.setattr("consumer.entrypoints.doctor.find_jars", lambda: tampered)
    status, lines = examine(None)
    assert status == EXIT_ENVIRONMENT
    assert "a.jar has been changed" in "\n".join(lines)


def test_a_broken_pipeline_file_is_its_own_error(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text("pipeline: [")
    with pytest.raises(PipelineError):
        examine(str(path))
