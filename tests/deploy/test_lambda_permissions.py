"""The function's calls to AWS, and what deploy/iam/lambda.yaml allows: the same, in both directions.

That the template's role has just that is tested with the template (test_lambda_stack.py).

The calls are noted where boto3 makes them, through all that a function does: cold starts, snapshots that are written,
read, merged and deleted, dead letters, a split, a tick, a container that died.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from consumer.emulator.server import Emulator
from consumer.entrypoints.lambda_handler import Container
from consumer.runtime import commit, tidying
from consumer.sources.kinesis import describe
from consumer.state import dynamodb
from consumer.testing.mapping import EventSourceMapping, InvocationError
from deploy.iam.policy import statements_of
from tests.entrypoints.state_rig import START_MS, World, embedded_aws

PIPELINE = """\
pipeline: clicks
source: {{stream: clicks, partition_key: user}}
events:
  fields: {{user: string, at: timestamp, page: string}}
  time: at
  out_of_orderness: 10s
  idle_after: 1m
windows:
  views: {{tumbling: 1m, by: [user], select: {{views: count()}}}}
  pages: {{session: {{gap: 5m}}, by: [user], select: {{pages: "collect(page, 9)"}}}}
  total: {{tumbling: 1m, combine: true, select: {{views: count()}}}}
sinks: [{{firehose: {{stream: rows}}}}]
late: {{s3: {{bucket: results, prefix: late}}}}
dead_letter: {{sqs: {{queue_url: "{queue}"}}}}
state: {{table: clicks-state{bucket}}}
"""
ACTIONS = {
    "dynamodb:TransactWriteItems": {"dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"},
    "s3:DeleteObjects": {"s3:DeleteObject"},
    "s3:HeadBucket": {"s3:ListBucket"},
    "s3:ListObjectsV2": {"s3:ListBucket"},
    "sqs:SendMessageBatch": {"sqs:SendMessage"},
}
"""What operations need to be allowed, where it is not the action of their name."""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Emulator, World]]:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 200)
    monkeypatch.setattr(tidying, "_FIRST_WAIT_SECONDS", 0.0)
    with embedded_aws() as running:
        yield running


class Calls:
    """Notes every call of the one session that all code has here; the mapping is as it must be."""

    def __init__(self, stream_arn: str) -> None:
        self.actions: set[str] = set()
        self._stream_arn = stream_arn
        boto3.Session().events.register("before-call", self._note)

    def _note(self, event_name: str, **_: Any) -> Any:
        service, operation = event_name.removeprefix("before-call.").split(".")
        self.actions |= ACTIONS.get(f"{service}:{operation}", {f"{service}:{operation}"})
        if service != "lambda":
            return None
        mapping = {
            "EventSourceArn": self._stream_arn,
            "StartingPosition": "TRIM_HORIZON",
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        }
        return SimpleNamespace(status_code=200), {"EventSourceMappings": [mapping]}


class Context:
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:clicks"

    def get_remaining_time_in_millis(self) -> int:
        return 20_000


class Story:
    """A stream and its function."""

    def __init__(self, aws: tuple[Emulator, World], directory: Path, *, bucket: bool) -> None:
        self.emulator, self.world = aws
        self.emulator.kinesis.create_stream("clicks", 1)
        for name in ("results", "snapshots"):
            self.emulator.client("s3").create_bucket(Bucket=name)
        dynamodb.create_table(self.emulator.client("dynamodb"), "clicks-state")
        queue = self.emulator.client("sqs").create_queue(QueueName="letters")["QueueUrl"]
        destination = {"RoleARN": "arn:aws:iam::123456789012:role/x", "BucketARN": "arn:aws:s3:::results"}
        self.emulator.client("firehose").create_delivery_stream(
            DeliveryStreamName="rows", DeliveryStreamType="DirectPut", ExtendedS3DestinationConfiguration=destination
        )
        file = directory / "pipeline.yaml"
        file.write_text(PIPELINE.format(queue=queue, bucket=", bucket: snapshots" if bucket else ""))
        streams: Any = self.emulator.client("kinesis")
        stream_arn = describe(streams, "clicks").arn
        self.calls = Calls(stream_arn)
        self._environ = {"STREAMGAUGE_PIPELINE": str(file), "STREAMGAUGE_LOG_LEVEL": "error"}
        self.container = self.cold()
        self.mapping = EventSourceMapping(
            streams, "clicks", stream_arn, self._invoke, batch_size=40, random=Random(1), habits=None
        )

    def cold(self) -> Container:
        return Container(Context.invoked_function_arn, self._environ)

    def _invoke(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self.container.serve(event, Context())
        except _Died:
            self.container = self.cold()
            raise InvocationError from None

    def put(self, first: int, last: int) -> None:
        """Put an event a second, now and then a late one and one that is none; let that time pass."""
        for second in range(first, last):
            self.world.now_ms = START_MS + second * 1000
            late_ms = 600_000 if second % 50 == 49 else 0
            event = {"user": f"user-{second % 23}", "at": self.world.now_ms - late_ms, "page": f"/{second * 7919}"}
            data = b"{" if second % 40 == 39 else json.dumps(event).encode()
            self.emulator.kinesis.put_record("clicks", str(event["user"]), data)

    def deliver(self) -> None:
        while not self.mapping.drained():
            pass

    def tick(self, after_ms: int) -> int:
        self.world.now_ms += after_ms
        shards: int = self.container.serve({"source": "aws.events"}, Context())["shards"]
        return shards


class _Died(BaseException):
    """The container is gone."""


@pytest.mark.parametrize("bucket", [True, False])
def test_the_role_allows_what_the_function_calls_and_nothing_else(
    aws: tuple[Emulator, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, bucket: bool
) -> None:
    story = Story(aws, tmp_path, bucket=bucket)
    story.put(0, 200)
    with monkeypatch.context() as patch:
        patch.setattr(dynamodb.DynamoStore, "advance", _dying(dynamodb.DynamoStore.advance, at=3))
        story.deliver()
    assert story.mapping.failed == 1
    story.emulator.kinesis.split_shard("clicks", "shardId-000000000000")
    for first in range(200, 800, 200):
        story.put(first, first + 200)
        story.deliver()
    story.container = story.cold()
    assert story.tick(3_600_000) == 2, "both children have windows to close"
    used = story.calls.actions
    features = {"firehose", "s3", "sqs", *(["state_bucket"] if bucket else [])}
    statements = [each for each in statements_of("lambda") if each.get("When") in {None, *features}]
    allowed = {action for each in statements for action in each["Action"]}
    unseen = {action for each in statements for action in each.get("Unseen", ())}
    assert used - allowed == set(), "what the role lacks"
    assert allowed - used == unseen, "what nobody needs"


def _dying(call: Callable[..., None], *, at: int) -> Callable[..., None]:
    """Return a call before which the container dies, the time that `at` says."""
    made = 0

    def counted(*arguments: Any, **options: Any) -> None:
        nonlocal made
        made += 1
        if made == at:
            raise _Died
        call(*arguments, **options)

    return counted
