"""The shape of the pipeline file: keys, types, defaults and limits of single values, all in this one place.

What concerns several values at once (names that must exist, alignment) is `load`'s.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from consumer.pipeline.field_rules import Column, FieldPath, FieldType
from consumer.pipeline.meanings import describe
from consumer.pipeline.rules import (
    Boolean,
    Choice,
    Duration,
    ExpressionText,
    Int,
    KclValue,
    Offset,
    Rule,
    Start,
    Text,
    Timezone,
)

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
"""Fields, lets, and columns of results."""
WINDOW_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"
PIPELINE_NAME = r"[a-z0-9-]{1,48}"
APPLICATION_NAME = r"[a-zA-Z0-9_.-]{3,230}"
"""Of the lease table, to whose name the daemon appends up to 20 characters for tables of its own."""
KCL_NAME = r"[A-Za-z][A-Za-z0-9.]{0,127}"

BUCKETS_MAX = 256
"""Of a global window: each is an item of the table for each shard and window."""

_SECOND_MS = 1_000
_MINUTE_MS = 60 * _SECOND_MS
_MEBIBYTE = 1024 * 1024
_LENGTH = Duration(minimum_ms=1)

PipelineName = Annotated[str, Text(PIPELINE_NAME, "1 to 48 of a-z, 0-9 and -")]
StreamName = Annotated[
    str,
    Text(
        r"[a-zA-Z0-9_.-]{1,128}|arn:[a-z0-9-]+:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[a-zA-Z0-9_.-]{1,128}",
        "the name of a Kinesis stream (1 to 128 of a-z, A-Z, 0-9, _ . -) or its ARN",
    ),
]
DeliveryStreamName = Annotated[
    str, Text(r"[a-zA-Z0-9_.-]{1,64}", "the name of a Firehose stream (1 to 64 of a-z, A-Z, 0-9, _ . -)")
]
TableName = Annotated[
    str, Text(r"[a-zA-Z0-9_.-]{3,255}", "the name of a DynamoDB table (3 to 255 of a-z, A-Z, 0-9, _ . -)")
]
BucketName = Annotated[
    str,
    Text(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of an S3 bucket (3 to 63 of a-z, 0-9, . and -)"),
]
ApplicationName = Annotated[
    str,
    Text(APPLICATION_NAME, "the name of a lease table (3 to 230 of a-z, A-Z, 0-9, _ . -)"),
]
FieldName = Annotated[str, Text(NAME, "a name: letters, digits and _, not a digit first")]
FilePath = Annotated[str, Text(r"[^\x00-\x1f]+", "the path of a file")]
QueueUrl = Annotated[
    str,
    Text(
        r"https?://[!-.0-~]+(/[!-.0-~]+)+",
        "the URL of an SQS queue such as https://sqs.eu-central-1.amazonaws.com/123456789012/late",
    ),
]
KeyPrefix = Annotated[
    str, Text(r"(?!/)[!-~]{0,512}", "the beginning of keys: printable ASCII without blanks, no / first")
]
Expression = Annotated[str, ExpressionText()]
Names = list[FieldName]


def default(text: str | int | bool) -> Any:  # noqa: FBT001 - a default as it is written in the file
    """Return a default as it would stand in the file: it goes through the same checks."""
    return Field(default=text, validate_default=True)


def _optional() -> Any:
    """Return the default of a key that may be left out; the file itself cannot say null."""
    return Field(default=None, json_schema_extra=_drop_null)


def _drop_null(schema: dict[str, Any]) -> None:
    schema.pop("default", None)
    if "anyOf" in schema:
        written = [each for each in schema.pop("anyOf") if each != {"type": "null"}]
        schema.update(written[0] if len(written) == 1 else {"anyOf": written})


class Part(BaseModel):
    """A mapping of the file: no unknown keys, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SourcePart(Part):
    """The Kinesis stream that is read."""

    stream: StreamName
    partition_key: FieldName | None = _optional()
    start: Annotated[Literal["trim_horizon", "latest"] | int, Start()] = default("trim_horizon")


def _short_form(key: str) -> Any:
    """Return a validator that lets `{key: VALUE}` be written as VALUE alone."""

    def widen(value: Any) -> Any:
        return value if isinstance(value, dict) else {key: value}

    return model_validator(mode="before")(widen)


def _or(rule: Rule) -> ConfigDict:
    """Let a mapping of the JSON Schema be written as one text too."""

    def widen(schema: dict[str, Any]) -> None:
        mapping = dict(schema)
        schema.clear()
        schema["anyOf"] = [rule.json_schema(), mapping]

    return ConfigDict(json_schema_extra=widen)


class FieldPart(Part):
    """One field of the event: its type, and where its value stands."""

    model_config = _or(FieldType())

    type: Annotated[str, FieldType()]
    path: Annotated[tuple[str | int, ...], FieldPath()] | None = _optional()
    unit: Annotated[str, Choice(("s", "ms", "us"))] | None = _optional()
    column: Annotated[int | str, Column()] | None = _optional()

    _widen = _short_form("type")


class EventsPart(Part):
    """How the bytes of a record become an event."""

    format: Annotated[Literal["json", "msgpack", "csv"], Choice(("json", "msgpack", "csv"))] = default("json")
    compression: Annotated[Literal["none", "gzip", "zstd", "auto"], Choice(("none", "gzip", "zstd", "auto"))] = default(
        "auto"
    )
    fields: Annotated[
        dict[str, FieldPart],
        Field(min_length=1, json_schema_extra={"propertyNames": {"pattern": f"^{NAME}$"}}),
    ]
    time: FieldName | None = _optional()
    out_of_orderness: Annotated[int, Duration()] = default("0s")
    idle_after: Annotated[int | None, Duration(off="never")] = default("1m")
    max_future: Annotated[int | None, Duration(off="off")] = default("1h")
    max_bytes: Annotated[int, Int(1, 10 * _MEBIBYTE)] = default(_MEBIBYTE)


class TumblingPart(Part):
    """Windows of one length, side by side."""

    model_config = _or(_LENGTH)

    size: Annotated[int, _LENGTH]
    offset: Annotated[int, Offset()] = default("0s")
    timezone: Annotated[str, Timezone()] | None = _optional()

    _widen = _short_form("size")


class SlidingPart(Part):
    """Windows of one length that overlap: one begins every so often."""

    size: Annotated[int, _LENGTH]
    every: Annotated[int, _LENGTH]


class SessionPart(Part):
    """Windows that end when a group has been silent for the gap."""

    model_config = _or(_LENGTH)

    gap: Annotated[int, _LENGTH]
    max_length: Annotated[int, _LENGTH] | None = _optional()

    _widen = _short_form("gap")


class StaggerPart(Part):
    """Windows of one length, each of which begins with an event."""

    model_config = _or(_LENGTH)

    size: Annotated[int, _LENGTH]

    _widen = _short_form("size")


WINDOW_KINDS = ("tumbling", "sliding", "session", "stagger")


class WindowPart(Part):
    """One window: exactly one of its kinds."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [kind]} for kind in WINDOW_KINDS]})

    tumbling: TumblingPart | None = _optional()
    sliding: SlidingPart | None = _optional()
    session: SessionPart | None = _optional()
    stagger: StaggerPart | None = _optional()
    by: Names = Field(default=[])
    where: Expression | None = _optional()
    combine: Annotated[bool | None, Boolean()] = _optional()
    buckets: Annotated[int, Int(1, BUCKETS_MAX)] = default(1)
    select: Annotated[
        dict[str, Expression],
        Field(min_length=1, json_schema_extra={"propertyNames": {"pattern": f"^{NAME}$"}}),
    ]
    allowed_lateness: Annotated[int, Duration()] = default("0s")
    emit: Annotated[Literal["updates", "final"], Choice(("updates", "final"))] = default("updates")


class FirehosePart(Part):
    """A Firehose stream."""

    stream: DeliveryStreamName


class FilePart(Part):
    """A file, one row a line."""

    path: FilePath


class StdoutPart(Part):
    """Standard output, one row a line."""


class SqsPart(Part):
    """An SQS queue."""

    queue_url: QueueUrl


class S3Part(Part):
    """Objects in an S3 bucket, under keys that begin with the prefix."""

    bucket: BucketName
    prefix: KeyPrefix = default("")


SINK_KINDS = ("firehose", "sqs", "s3", "file", "stdout")
_ONE_SINK: dict[str, Any] = {"oneOf": [{"required": [kind]} for kind in SINK_KINDS]}


class TargetPart(Part):
    """Where rows go: exactly one kind of sink."""

    model_config = ConfigDict(json_schema_extra=_ONE_SINK)

    firehose: FirehosePart | None = _optional()
    sqs: SqsPart | None = _optional()
    s3: S3Part | None = _optional()
    file: FilePart | None = _optional()
    stdout: StdoutPart | None = _optional()


class SinkPart(TargetPart):
    """A sink for results; without `windows` it takes all of them."""

    windows: Annotated[list[str], Field(min_length=1)] | None = _optional()


class StatePart(Part):
    """Where the state lives, how often it is committed, and what becomes of windows that are no longer in the file.

    `bucket` None means: all of it in the table.
    """

    table: TableName
    bucket: BucketName | None = _optional()
    commit_interval: Annotated[int, Duration(100, 5 * _MINUTE_MS)] = default("5s")
    emit_delay: Annotated[int, Duration(0, 5 * _MINUTE_MS)] = default("1s")
    on_gap: Annotated[Literal["refuse", "continue"], Choice(("refuse", "continue"))] = default("refuse")
    removed_windows: Annotated[
        dict[str, Annotated[Literal["flush", "drop"], Choice(("flush", "drop"))]],
        Field(json_schema_extra={"propertyNames": {"pattern": f"^{WINDOW_NAME}$"}}),
    ] = Field(default={})


class LimitsPart(Part):
    """How much state a shard may hold, all windows together."""

    groups: Annotated[int, Int(1, 100_000_000)] = default(1_000_000)
    policy: Annotated[Literal["reject", "emit_early"], Choice(("reject", "emit_early"))] = default("reject")


class WorkerPart(Part):
    """The process that runs the pipeline. `application` None means: the pipeline's name."""

    application: ApplicationName | None = _optional()
    identifier: Annotated[str, Text(r"[!-~]{0,256}", "printable ASCII without blanks, at most 256")] | None = Field(
        default=None
    )
    metrics_port: Annotated[int, Int(0, 65_535)] = default(9102)
    on_stop: Annotated[Literal["keep", "release"], Choice(("keep", "release"))] = default("keep")
    kcl: Annotated[
        dict[str, Annotated[str, KclValue()]],
        Field(json_schema_extra={"propertyNames": {"pattern": f"^{KCL_NAME}$"}}),
    ] = Field(default={})


class PipelineFile(Part):
    """A Streamgauge pipeline: one file, one pipeline."""

    pipeline: PipelineName
    source: SourcePart
    events: EventsPart
    let: Annotated[dict[str, Expression], Field(json_schema_extra={"propertyNames": {"pattern": f"^{NAME}$"}})] = Field(
        default={}
    )
    where: Expression | None = _optional()
    windows: Annotated[
        dict[str, WindowPart],
        Field(min_length=1, json_schema_extra={"propertyNames": {"pattern": f"^{WINDOW_NAME}$"}}),
    ]
    sinks: Annotated[list[SinkPart], Field(min_length=1)]
    late: TargetPart | None = _optional()
    dead_letter: TargetPart | None = _optional()
    state: StatePart
    limits: LimitsPart = Field(default=LimitsPart())
    worker: WorkerPart = Field(default=WorkerPart())


_IN_TUMBLING = "write it in the window's kind, `tumbling: {size: 1d, offset: 6h, timezone: Europe/Berlin}`"
_OF_THE_SHARD = "it holds for a whole shard: write it in `events`"
_EVERY = "write `every`: how often a window begins"

MISPLACED_KEYS = {
    "windows.*.offset": _IN_TUMBLING,
    "windows.*.timezone": _IN_TUMBLING,
    "windows.*.max_length": "write it in the window's kind, `session: {gap: 30m, max_length: 12h}`",
    "windows.*.out_of_orderness": _OF_THE_SHARD,
    "windows.*.idle_after": _OF_THE_SHARD,
    "windows.*.limits": "all windows of a shard count together: write `limits` at the top of the file",
    "windows.*.having": "rows are not filtered: filter where they are read",
    "windows.*.hopping": "write `sliding: {size: 10s, every: 2s}`",
    "windows.*.hop": "write `sliding: {size: 10s, every: 2s}`",
    "windows.*.sliding.offset": "sliding windows begin at whole multiples of `every`, in UTC",
    "windows.*.sliding.timezone": "only tumbling windows know time zones",
    **{f"windows.*.sliding.{word}": _EVERY for word in ("advance", "hop", "period", "slide", "step")},
    "windows.*.session.timeout": "write `gap`",
    "windows.*.stagger.offset": "a stagger window begins with an event",
    "windows.*.stagger.timezone": "only tumbling windows know time zones",
    "events.allowed_lateness": "write it in a window; for all of them, `out_of_orderness` makes them wait",
    "events.partition_key": "write it in `source`",
    "events.fields.*.name": "the name is the key before it",
    "events.fields.*.nullable": "write a ? after the type",
    "events.fields.*.optional": "write a ? after the type",
}
"""Keys that people may look for elsewhere than they are, each with where they are."""

EXAMPLES = {
    "pipeline": "`pipeline: clickstream`",
    "source": "`source: {stream: clicks}`",
    "source.stream": "`stream: clicks`",
    "events": "the format and the fields of an event",
    "events.fields": "`fields: {user_id: string}`",
    "events.fields.*.type": "`type: string`",
    "windows": "`windows: {page_views: {tumbling: 1m, …}}`",
    "windows.*.select": "`select: {events: count()}`",
    "windows.*.tumbling.size": "`size: 1m`",
    "windows.*.sliding.size": "`size: 10s`",
    "windows.*.sliding.every": "`every: 2s`",
    "windows.*.session.gap": "`gap: 30m`",
    "windows.*.stagger.size": "`size: 10m`",
    "sinks": "`- stdout: {}`",
    **{
        f"{place}.{key}": example
        for place in ("sinks[]", "late", "dead_letter")
        for key, example in (
            ("firehose.stream", "`stream: aggregates`"),
            ("sqs.queue_url", "`queue_url: https://sqs.eu-central-1.amazonaws.com/123456789012/late`"),
            ("s3.bucket", "`bucket: my-bucket`"),
            ("file.path", "`path: rows.jsonl`"),
        )
    },
    "state": "`state: {table: streamgauge-state, bucket: my-bucket}`",
    "state.table": "`table: streamgauge-state`",
}
"""What to write for a required key that is missing."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of pipeline files, for editors."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **PipelineFile.model_json_schema(),
        "title": "Streamgauge pipeline",
    }
    describe(schema)
    return schema
