"""What a real worker, with the real daemon, asks of AWS, and what deploy/iam allows: the same, in both directions.

Once with a bucket and with tables that the daemon makes itself, once without a bucket and with the tables of
deploy/ecs. What the daemon makes is what the templates make.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consumer.emulator.server import Emulator
from consumer.entrypoints.demo.cloud import environment_for
from consumer.entrypoints.demo.processes import Child, Children, DemoError, wait_until
from consumer.environment import environment
from consumer.errors import EXIT_OK
from consumer.pipeline.load import load
from consumer.pipeline.model import Pipeline
from deploy.iam.policy import Home, policy_for, statements_of
from tests.deploy.calls_rig import ACCOUNT, REGION, WORKER_KEY, Permission, granted, grants, noted_calls
from tests.deploy.tables import shape, tables_of_ecs

pytestmark = [pytest.mark.deep, pytest.mark.daemon, pytest.mark.xdist_group("daemon"), pytest.mark.timeout(600)]
SECONDS_MAX = 180.0
START_MS = 1_767_225_600_000
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
late: {{s3: {{bucket: results, prefix: rare}}}}
dead_letter: {{sqs: {{queue_url: "{queue}"}}}}
state: {{table: clicks-state, {bucket} commit_interval: 100ms, emit_delay: 0s}}
worker:
  application: clicks-leases
  metrics_port: 0
  on_stop: release
  kcl: {{idleTimeBetweenReadsInMillis: 200, metricsLevel: {metrics}}}
"""


@dataclass
class Story:
    """A stream and its worker. The test itself puts records without HTTP, and signs with another key."""

    emulator: Emulator
    children: Children
    file: Path
    environ: dict[str, str]
    pipeline: Pipeline
    put: int = 0

    def start(self) -> Child:
        arguments = ["tests.deploy.small_worker", "run", str(self.file), "--metrics-host", "127.0.0.1", "--quick-start"]
        return self.children.start("worker", arguments, self.environ)

    def go_on(self) -> None:
        """Put an event a second of the next three minutes, now and then a late one and one that is none."""
        for second in range(self.put, self.put + 180):
            late_ms = 600_000 if second % 50 == 49 else 0
            event = {
                "user": f"user-{second % 23}",
                "at": START_MS + second * 1000 - late_ms,
                "page": f"/{second * 7919}",
            }
            data = b"{" if second % 40 == 39 else json.dumps(event).encode()
            self.emulator.kinesis.put_record("clicks", str(event["user"]), data)
        self.put += 180

    def stop(self, worker: Child) -> None:
        worker.terminate()
        wait_until(lambda: worker.status is not None, "the worker to end", seconds_max=SECONDS_MAX)
        assert worker.status == EXIT_OK, worker.output()


def prepare(emulator: Emulator, directory: Path, *, bucket: bool, metrics: str) -> Story:
    """Create what the pipeline names, but for tables."""
    emulator.kinesis.create_stream("clicks", 1)
    for name in ("results", "snapshots"):
        emulator.client("s3").create_bucket(Bucket=name)
    queue = emulator.client("sqs").create_queue(QueueName="letters")["QueueUrl"]
    destination = {"RoleARN": f"arn:aws:iam::{ACCOUNT}:role/x", "BucketARN": "arn:aws:s3:::results"}
    emulator.client("firehose").create_delivery_stream(
        DeliveryStreamName="rows", DeliveryStreamType="DirectPut", ExtendedS3DestinationConfiguration=destination
    )
    file = directory / "pipeline.yaml"
    file.write_text(PIPELINE.format(queue=queue, bucket="bucket: snapshots," if bucket else "", metrics=metrics))
    children = Children(directory)
    environ = {**environment_for(emulator.endpoint, environment()), "AWS_ACCESS_KEY_ID": WORKER_KEY, "POD_NAME": "w-0"}
    return Story(emulator, children, file, environ, load(file, environ))


@pytest.fixture
def calls() -> Iterator[set[Permission]]:
    with noted_calls("clicks") as noted:
        yield noted


def needed(policy: dict[str, Any]) -> set[Permission]:
    """Return what the policy allows, but for what the tests cannot see."""
    unseen = {(each["Sid"], action) for each in statements_of("worker") for action in each.get("Unseen", ())}
    seen = [
        {**each, "Action": [action for action in each["Action"] if (each["Sid"], action) not in unseen]}
        for each in policy["Statement"]
    ]
    return granted({"Statement": seen})


@pytest.mark.parametrize("by_daemon", [True, False], ids=["tables-by-the-daemon", "tables-beforehand"])
def test_the_policy_allows_what_the_worker_calls_and_nothing_else(
    calls: set[Permission], tmp_path: Path, *, by_daemon: bool
) -> None:
    with Emulator() as emulator:
        story = prepare(emulator, tmp_path, bucket=by_daemon, metrics="SUMMARY" if by_daemon else "NONE")
        database = emulator.client("dynamodb")
        tables = tables_of_ecs(story.pipeline.worker.application, story.pipeline.state.table)
        made_beforehand = [story.pipeline.state.table] if by_daemon else list(tables)
        for name in made_beforehand:
            database.create_table(**tables[name])
        policy = policy_for("worker", story.pipeline, Home(ACCOUNT, REGION, create_lease_tables=by_daemon))
        with story.children:
            work(story, calls, needed(policy))
        described = {name: database.describe_table(TableName=name)["Table"] for name in tables}
    allowed = granted(policy)
    assert [call for call in sorted(calls) if not any(grants(grant, call) for grant in allowed)] == [], "lacks"
    assert unused(needed(policy), calls) == [], "what nobody needs"
    assert {name: shape(each) for name, each in described.items()} == {
        name: shape(each) for name, each in tables.items()
    }


def work(story: Story, calls: set[Permission], wanted: set[Permission]) -> None:
    """Run a worker until a shard was split, everything was called that is wanted, and it was stopped and started."""
    worker = story.start()
    wait_until(lambda: "shard_initialised" in worker.output(), "a shard", seconds_max=SECONDS_MAX, alive=[worker])
    story.go_on()
    story.emulator.kinesis.split_shard("clicks", "shardId-000000000000")
    meanwhile = {grant for grant in wanted if grant[0] != "dynamodb:DeleteItem"}  # that is for the end
    try:
        wait_until(
            lambda: not unused(meanwhile, calls) and worker.output().count("shard_initialised") > 2,
            "every call",
            seconds_max=SECONDS_MAX,
            alive=[worker],
            meanwhile=story.go_on,
        )
    except DemoError:
        assert unused(meanwhile, calls) == [], "what nobody needs"
        raise
    story.stop(worker)


def unused(wanted: set[Permission], calls: set[Permission]) -> list[Permission]:
    return [grant for grant in sorted(wanted) if not any(grants(grant, call) for call in set(calls))]
