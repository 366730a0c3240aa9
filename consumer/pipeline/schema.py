"""The shape of the pipeline file: keys, types, defaults and limits of single values, all in this one place.

What concerns several values at once (names that must exist, alignment) is `load`'s. What a later version brings is
refused by name here, each with what to write instead.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from consumer.pipeline.rules import (
    Combine,
    Duration,
    ExpressionText,
    FieldType,
    Int,
    KclValue,
    Only,
    Start,
    Text,
    Zero,
)

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
"""Fields, lets, and columns of results."""
WINDOW_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"
PIPELINE_NAME = r"[a-z0-9-]{1,48}"
APPLICATION_NAME = r"[a-zA-Z0-9_.-]{3,230}"
"""Of the lease table, to whose name the daemon appends up to 20 characters for tables of its own."""
KCL_NAME = r"[A-Za-z][A-Za-z0-9.]{0,127}"

_SECOND_MS = 1_000
_MINUTE_MS = 60 * _SECOND_MS
_MEBIBYTE = 1024 * 1024

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


class EventsPart(Part):
    """How the bytes of a record become an event."""

    format: Annotated[
        str, Only("json", dict.fromkeys(("msgpack", "csv"), "write `format: json`, one JSON object a record"))
    ] = default("json")
    compression: Annotated[
        str,
        Only(
            "none",
            dict.fromkeys(("auto", "gzip", "zstd"), "write `compression: none`, and send the events uncompressed"),
        ),
    ]
    fields: Annotated[
        dict[str, Annotated[str, FieldType()]],
        Field(min_length=1, json_schema_extra={"propertyNames": {"pattern": f"^{NAME}$"}}),
    ]
    time: FieldName | None = _optional()
    out_of_orderness: Annotated[int, Duration()] = default("0s")
    idle_after: Annotated[
        str, Only("never", later_durations="write `idle_after: never`; windows then close by events alone")
    ]
    max_future: Annotated[int | None, Duration(off="off")] = default("1h")
    max_bytes: Annotated[int, Int(1, 10 * _MEBIBYTE)] = default(_MEBIBYTE)


class TumblingPart(Part):
    """Windows of one length, side by side."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _or_text(schema, Duration(minimum_ms=1).json_schema()))

    size: Annotated[int, Duration(minimum_ms=1)]
    offset: Annotated[int, Duration()] = default("0s")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"size": value}


class SessionPart(Part):
    """Windows that end when a group has been silent for the gap."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _or_text(schema, Duration(minimum_ms=1).json_schema()))

    gap: Annotated[int, Duration(minimum_ms=1)]

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"gap": value}


def _or_text(schema: dict[str, Any], text: dict[str, Any]) -> None:
    """Let a mapping of the JSON Schema be written as one text too."""
    mapping = dict(schema)
    schema.clear()
    schema["anyOf"] = [text, mapping]


class WindowPart(Part):
    """One window: exactly one of `tumbling` and `session`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["tumbling"]}, {"required": ["session"]}]})

    tumbling: TumblingPart | None = _optional()
    session: SessionPart | None = _optional()
    by: Names = Field(default=[])
    combine: Annotated[bool | None, Combine()] = _optional()
    select: Annotated[
        dict[str, Expression],
        Field(min_length=1, json_schema_extra={"propertyNames": {"pattern": f"^{NAME}$"}}),
    ]
    allowed_lateness: Annotated[int, Zero("write `0s`; a larger events.out_of_orderness keeps windows open longer")] = (
        default("0s")
    )
    emit: Annotated[str, Only("updates", {"final": "leave it out; every window gives one row"})] = default("updates")


class FirehosePart(Part):
    """A Firehose stream."""

    stream: DeliveryStreamName


class FilePart(Part):
    """A file, one row a line."""

    path: FilePath


class StdoutPart(Part):
    """Standard output, one row a line."""


SINK_KINDS = ("firehose", "file", "stdout")
_ONE_SINK: dict[str, Any] = {"oneOf": [{"required": [kind]} for kind in SINK_KINDS]}


class TargetPart(Part):
    """Where rows go: exactly one kind of sink."""

    model_config = ConfigDict(json_schema_extra=_ONE_SINK)

    firehose: FirehosePart | None = _optional()
    file: FilePart | None = _optional()
    stdout: StdoutPart | None = _optional()


class SinkPart(TargetPart):
    """A sink for results; without `windows` it takes all of them."""

    windows: Annotated[list[str], Field(min_length=1)] | None = _optional()


class StatePart(Part):
    """Where the state lives and how often it is committed."""

    table: TableName
    bucket: BucketName
    commit_interval: Annotated[int, Duration(100, 5 * _MINUTE_MS)] = default("5s")
    emit_delay: Annotated[int, Duration(0, 5 * _MINUTE_MS)] = default("1s")
    on_gap: Annotated[
        str, Only("refuse", {"continue": "write `on_gap: refuse`; a gap in the input then stops the shard"})
    ] = default("refuse")


class WorkerPart(Part):
    """The process that runs the pipeline. `application` None means: the pipeline's name."""

    application: ApplicationName | None = _optional()
    identifier: Annotated[str, Text(r"[!-~]{0,256}", "printable ASCII without blanks, at most 256")] | None = Field(
        default=None
    )
    metrics_port: Annotated[int, Int(0, 65_535)] = default(9102)
    on_stop: Annotated[
        str, Only("keep", {"release": "write `on_stop: keep`; the worker takes its leases back when it starts again"})
    ] = default("keep")
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
    worker: WorkerPart = Field(default=WorkerPart())


LATER_KEYS = {
    "limits": "leave it out; this version does not limit the number of open groups",
    "windows.*.sliding": "write `tumbling: 10s`, and put windows together where the rows are read",
    "windows.*.stagger": "write `tumbling: 10m`, or `session: {gap: 10m}`",
    "windows.*.where": "use the pipeline's `where`, or count with a condition: count(if(vip, 1, null))",
    "windows.*.max_length": "leave it out; a session ends when its gap has passed",
    "windows.*.buckets": "leave it out",
    "windows.*.limits": "leave it out; this version does not limit the number of open groups",
    "windows.*.tumbling.timezone": "leave it out; windows are in UTC, moved by `offset` where that is enough",
    "windows.*.session.max_length": "leave it out; a session ends when its gap has passed",
    **{
        f"{place}.{kind}": "write `firehose: {stream: NAME}`, `file: {path: PATH}` or `stdout: {}`"
        for place in ("sinks[]", "late", "dead_letter")
        for kind in ("s3", "sqs")
    },
}
"""Keys that this version refuses by name, each with what to write instead."""

EXAMPLES = {
    "pipeline": "`pipeline: clickstream`",
    "source": "`source: {stream: clicks}`",
    "source.stream": "`stream: clicks`",
    "events": "the format and the fields of an event",
    "events.fields": "`fields: {user_id: string}`",
    "events.compression": "`compression: none`; other values are not supported yet, so it must be said",
    "events.idle_after": "`idle_after: never`; durations are not supported yet, so it must be said",
    "windows": "`windows: {page_views: {tumbling: 1m, …}}`",
    "windows.*.select": "`select: {events: count()}`",
    "windows.*.tumbling.size": "`size: 1m`",
    "windows.*.session.gap": "`gap: 30m`",
    "sinks": "`- stdout: {}`",
    "state": "`state: {table: streamgauge-state, bucket: my-bucket}`",
    "state.table": "`table: streamgauge-state`",
    "state.bucket": "`bucket: my-bucket`; state without a bucket is not supported yet",
}
"""What to write for a required key that is missing."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of pipeline files, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **PipelineFile.model_json_schema(),
        "title": "Streamgauge pipeline",
    }
