"""A pipeline in plain words, for somebody who has never seen one."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Mapping

from consumer.pipeline.canonical import to_text
from consumer.pipeline.durations import duration_in_words
from consumer.pipeline.explain_windows import explain_window
from consumer.pipeline.field_rules import format_path
from consumer.pipeline.memory import memory_bytes_at_limit, memory_per_group, memory_per_group_at_most
from consumer.pipeline.model import (
    Events,
    Field,
    FileSink,
    FirehoseSink,
    Pipeline,
    Removal,
    S3Sink,
    SinkTarget,
    SqsSink,
    TimeUnit,
    Type,
)
from consumer.pipeline.wording import bytes_in_words, size_in_words, table, type_in_words

_WIDTH = 100
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def explain(pipeline: Pipeline) -> str:
    """Return what the pipeline does, as text of several paragraphs that ends with a line end."""
    sections = (
        ("Input", _input(pipeline)),
        ("Time", _time(pipeline.events)),
        ("Derived values", _lets(pipeline)),
        ("Filter", _filter(pipeline)),
        *((f"Window {window.name}", explain_window(pipeline, window)) for window in pipeline.windows),
        ("Output", _output(pipeline)),
        ("What it may need at its limits", _limits(pipeline)),
        ("State", _state(pipeline)),
        ("Worker", _worker(pipeline)),
    )
    text = [f"Pipeline {pipeline.name}"]
    for title, lines in sections:
        text += ["", title, *(line for paragraph in lines for line in _wrap(paragraph))]
    return "\n".join(text) + "\n"


def _wrap(paragraph: str) -> list[str]:
    """Indent and wrap a paragraph; one that begins with a blank is a line of a table and stays as it is."""
    if paragraph.startswith(" "):
        return ["  " + paragraph]
    return textwrap.wrap(
        paragraph, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _input(pipeline: Pipeline) -> list[str]:
    source, events = pipeline.source, pipeline.events
    key = (
        f"Producers partition by {source.partition_key}, so all events of one {source.partition_key} are in one shard."
        if source.partition_key
        else "Nothing is known about the partition keys of its records."
    )
    other = "Other columns are ignored." if events.format == "csv" else "Other members are ignored."
    return [
        f"Reads the Kinesis stream {source.stream}, {_start(source.start)}. {key}",
        f"{_record(events)} {_compression(events)} These are read of it:",
        *table(_field(events, field) for field in events.fields),
        f"A record that is something else becomes a dead letter. {other}",
    ]


def _start(start: str | int) -> str:
    if start == "trim_horizon":
        return "from the oldest record it holds"
    if start == "latest":
        return "from the instant at which the application first starts"
    assert isinstance(start, int)
    instant = _EPOCH + dt.timedelta(milliseconds=start)
    return f"from {instant.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"


def _record(events: Events) -> str:
    has_header = any(isinstance(step, str) for field in events.fields for step in field.path)
    csv = "a header line and one line of csv" if has_header else "one line of csv (no header line)"
    shape = {"json": "one JSON object", "msgpack": "one MessagePack map", "csv": csv}[events.format]
    return f"Each record is {shape} of at most {bytes_in_words(events.max_bytes)}."


def _compression(events: Events) -> str:
    if events.compression == "none":
        return "It is not compressed."
    if events.compression == "auto":
        return "It may be compressed with gzip or zstd, which its first bytes tell; its size is that inflated."
    return f"It is compressed with {events.compression}; its size is that inflated."


def _field(events: Events, field: Field) -> tuple[str, ...]:
    remarks = "; ".join(each for each in (_place(events, field), _units(field)) if each)
    return field.name, type_in_words(field.type, nullable=field.nullable), remarks


def _place(events: Events, field: Field) -> str:
    """Return where the value stands, unless it has the field's own name."""
    (step, *deeper) = field.path
    if events.format == "csv" and isinstance(step, int):
        return f"column {step + 1}"
    if step == field.name and not deeper:
        return ""
    return f"column {step}" if events.format == "csv" else f"from {format_path(field.path)}"


def _units(field: Field) -> str:
    if field.type is not Type.TIMESTAMP or field.unit is TimeUnit.MILLISECONDS:
        return ""
    unit = "seconds" if field.unit is TimeUnit.SECONDS else "microseconds"
    return f"numbers are {unit} since 1970"


def _time(events: Events) -> list[str]:
    if events.time is None:
        clock = "The time of an event is its arrival in Kinesis."
    else:
        clock = f"The time of an event is its {events.time}, not its arrival."
    bound_ms = events.out_of_orderness_ms
    bound = f"the highest event time seen there{f' minus {duration_in_words(bound_ms)}' if bound_ms else ''}"
    return [
        f"{clock} The watermark of a shard is {bound}, and windows close by it.",
        _idle(events),
        _future(events),
    ]


def _idle(events: Events) -> str:
    if events.idle_after_ms is None:
        return (
            "Only events move the watermark, no clock does (idle_after is never): the last windows of a shard that "
            "falls silent stay open until it has events again."
        )
    bound_ms = events.out_of_orderness_ms
    present = f"the present minus {duration_in_words(bound_ms)}" if bound_ms else "the present"
    wait = f"for {duration_in_words(events.idle_after_ms)}" if events.idle_after_ms else "at all"
    return (
        f"When a shard has had nothing left to read {wait}, its watermark moves on to {present}, so that its last "
        "windows close too; an event that comes after that and is older is late."
    )


def _future(events: Events) -> str:
    if events.max_future_ms is None:
        return "An event from the future, however far, moves the watermark too: events.max_future is off."
    ahead = f"more than {duration_in_words(events.max_future_ms)} ahead of" if events.max_future_ms else "later than"
    return f"An event whose time is {ahead} its arrival is a dead letter, and moves nothing."


def _lets(pipeline: Pipeline) -> list[str]:
    rows = []
    for let in pipeline.lets:
        assert let.expression.type is not None
        kind = type_in_words(let.expression.type, nullable=let.expression.nullable)
        rows.append((let.name, "=", to_text(let.expression), kind))
    return table(rows) or ["None."]


def _filter(pipeline: Pipeline) -> list[str]:
    if pipeline.where is None:
        return ["None: every event counts."]
    return [
        f"Only events count for which this is true: {to_text(pipeline.where)}",
        "The others are counted as filtered; they move the watermark all the same.",
    ]


def _output(pipeline: Pipeline) -> list[str]:
    rows = [
        (_target(route.target), "takes", "all windows" if route.windows is None else ", ".join(route.windows))
        for route in pipeline.sinks
    ]
    return [
        *table(rows),
        _side("Late events", pipeline.late, "late"),
        _side("Dead letters", pipeline.dead_letter, "dead_letter"),
    ]


def _side(what: str, target: SinkTarget | None, key: str) -> str:
    if target is None:
        return f"{what} are only counted: the file names no sink for them (`{key}`)."
    return f"{what} are counted, and go to {_target(target)}."


def _target(target: SinkTarget) -> str:
    if isinstance(target, FirehoseSink):
        return f"the Firehose stream {target.stream}"
    if isinstance(target, SqsSink):
        return f"the SQS queue {target.queue_url}"
    if isinstance(target, S3Sink):
        prefix = f", under {target.prefix}" if target.prefix else ""
        return f"the S3 bucket {target.bucket}{prefix}"
    return f"the file {target.path}" if isinstance(target, FileSink) else "standard output"


def _limits(pipeline: Pipeline) -> list[str]:
    groups = pipeline.limits.groups
    rows = [
        (
            window.name,
            f"{size_in_words(memory_per_group(window))} a group",
            f"{size_in_words(groups * memory_per_group(window))} at the limit",
            _when_full(groups, memory_per_group_at_most(window), memory_per_group(window)),
        )
        for window in pipeline.windows
    ]
    usual = groups * max(map(memory_per_group, pipeline.windows))
    bound = memory_bytes_at_limit(pipeline)
    return [
        f"A shard holds at most {groups:,} open groups, those of all windows together. {_beyond(pipeline)}",
        "Estimates of memory, if all groups are of one window:",
        *table(rows),
        f"So a shard's open groups take {_at_most(usual, bound)}, as far as texts have no more than 30 characters.",
        "A worker needs that for each shard it has at a time, and some 100 MB for itself.",
    ]


def _at_most(usual: int, bound: int) -> str:
    if usual == bound:
        return f"at most {size_in_words(bound)}"
    return (
        f"some {size_in_words(usual)} at the limit with a few values in each, and at most {size_in_words(bound)} "
        "with everything in every group full (`limits.groups` bounds both)"
    )


def _when_full(groups: int, full_bytes: int, bytes_: int) -> str:
    if full_bytes == bytes_:
        return ""
    return f"with all its sets full {size_in_words(full_bytes)} a group, {size_in_words(groups * full_bytes)}"


def _beyond(pipeline: Pipeline) -> str:
    if pipeline.limits.policy == "reject":
        return "A record that would open one more is a dead letter (state_limit), and counts in no window."
    return (
        "When one more is opened, the group whose window ends first is emitted as it is, marked `early: true` with the "
        "number of its `part`, and dropped; later events of it open its next part, and the parts are put together "
        "where they are read. The names of such groups are kept until their windows end, beside what is said here."
    )


def _state(pipeline: Pipeline) -> list[str]:
    state = pipeline.state
    wait = f"at most {duration_in_words(state.emit_delay_ms)}" if state.emit_delay_ms else "no time at all"
    place = f"Kept in the DynamoDB table {state.table}, {_snapshots(state.bucket)}"
    interval = duration_in_words(state.commit_interval_ms)
    longer = f" While its shard is behind it may be a tenth of that time, up to {interval}."
    longer = longer if state.emit_delay_ms < state.commit_interval_ms else ""
    removed = [f"{_REMOVALS[word]}: {name}." for name, word in state.removed_windows]
    gaps = ["Records that were never counted are left out: a shard goes on behind a gap in its input."]
    return [
        place,
        f"Committed every {interval}. A row is sent when it is committed: it waits {wait} for that.{longer}",
        *(gaps if state.on_gap == "continue" else ()),
        *removed,
    ]


_REMOVALS: Mapping[Removal, str] = {
    "flush": "Of a window that is not in the file any more, what is open is emitted as it is",
    "drop": "Of a window that is not in the file any more, what is open is thrown away",
}


def _snapshots(bucket: str | None) -> str:
    if bucket is not None:
        return f"and what is too large for it in the S3 bucket {bucket}."
    return (
        "all of it: no bucket is named. A snapshot larger than 8 KB is written as items of 350 KB, at one write unit a "
        "KB, and as many again when it is deleted: 100 MB take 102,400 units each time, where S3 takes one request. "
        "Name a bucket (state.bucket) if the state of a shard may grow beyond some 100 MB."
    )


def _worker(pipeline: Pipeline) -> list[str]:
    worker = pipeline.worker
    port = f"on port {worker.metrics_port}" if worker.metrics_port else "on any free port"
    name = worker.identifier or "POD_NAME, or else the name of the host"
    leases = f"Leases of shards are in the DynamoDB table {worker.application}. The worker's name is {name}."
    lines = [f"{leases} Metrics and health are {port}."]
    if worker.kcl:
        lines += ["Extra properties of the daemon:", *table((key, value) for key, value in worker.kcl)]
    return lines
