"""What the status page shows, as data: `/status` is this in JSON, `/` is this for people.

The descriptions below are the documentation of the shape: docs/status.schema.json is made of them by
`python -m consumer.telemetry.status > docs/status.schema.json`. Members are added, but never renamed or given another
meaning, without raising `format`.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

FORMAT = 1

Time = Annotated[str, Meta(description="UTC, ISO-8601 with milliseconds and Z.")]
Seconds = Annotated[float, Meta(description="Seconds.")]
Level = Literal["error", "warning"]
WorkerStateWord = Literal["starting", "ready", "stopping"]


class Attention(Struct, frozen=True, kw_only=True):
    """Something to look at now."""

    level: Annotated[Level, Meta(description="error: data is lost, or a person is needed. warning: it may pass.")]
    kind: Annotated[str, Meta(description="A word of a closed list: see docs/status-page.md.")]
    text: Annotated[str, Meta(description="What it is, in a sentence.")]
    shard: Annotated[str | None, Meta(description="The shard that it is about, if it is about one.")] = None


class Worker(Struct, frozen=True, kw_only=True):
    """The process."""

    state: Annotated[WorkerStateWord, Meta(description="As /readyz says: ready is 200, the others are 503.")]
    alive: Annotated[bool, Meta(description="As /healthz says: false is 503, a shard has made no progress for long.")]
    daemon: Annotated[
        Literal["not started", "initialising", "running", "ended"], Meta(description="The Java daemon's process.")
    ]
    daemon_says: Annotated[
        str | None, Meta(description="The newest of what the daemon says of its start, while it initialises.")
    ]
    stopping_because: Annotated[str | None, Meta(description="A signal, such as SIGTERM.")]
    started_at: Annotated[Time, Meta(description="When the process began.")]
    uptime_seconds: Seconds
    pipeline: Annotated[str | None, Meta(description="The pipeline's name. This and the next are null at first.")]
    definitions: Annotated[str | None, Meta(description="The hash of what the pipeline file means.")]
    version: Annotated[str | None, Meta(description="The version of Streamgauge.")]
    stream: str | None
    application: Annotated[str | None, Meta(description="The name of the lease table.")]
    identifier: Annotated[str | None, Meta(description="As whom the worker owns leases.")]
    java_version: str | None


class Step(Struct, frozen=True, kw_only=True):
    """A step of the start."""

    step: Annotated[str, Meta(description="A word of the list in docs/status-page.md.")]
    began_at: Time
    seconds: Annotated[Seconds, Meta(description="How long it took, or has taken so far.")]
    done: bool
    retries: Annotated[int, Meta(description="How often it failed and was tried again.")]
    error: Annotated[str | None, Meta(description="Why, the last time.")]


class Totals(Struct, frozen=True, kw_only=True):
    """All shards that the worker has now, together."""

    shards: int
    records_per_second: Annotated[float, Meta(description="In the last minute.")]
    behind_seconds: Annotated[Seconds | None, Meta(description="The largest of the shards; null before a batch.")]
    open_windows: int
    undelivered_rows: Annotated[int, Meta(description="Rows committed, and not yet taken by every sink.")]


class Commit(Struct, frozen=True, kw_only=True):
    """A commit, or an attempt that went wrong. What is not known of it is null."""

    at: Time
    ago_seconds: Seconds
    shard: str
    result: Annotated[
        Literal["ok", "retry", "failed", "fenced"],
        Meta(
            description="ok; retry: a step failed, and is tried again; failed: it was given up, the worker ends; "
            "fenced: another worker has the shard."
        ),
    ]
    commit_no: Annotated[int | None, Meta(description="The shard's commits are numbered.")]
    seconds: Annotated[Seconds | None, Meta(description="To write the snapshot and to advance the state.")]
    bytes: Annotated[int | None, Meta(description="What was written.")]
    rows: Annotated[
        int | None,
        Meta(
            description="Result rows, late events, dead letters and parts of global windows that it holds to be sent."
        ),
    ]
    step: Annotated[str | None, Meta(description="What failed: claim, load, snapshot, fence, delete.")]
    error: Annotated[str | None, Meta(description="How, as the log says it: never data.")]


class Shard(Struct, frozen=True, kw_only=True):
    """A shard that this worker has. What is not known yet is null."""

    shard: str
    doing: Annotated[str, Meta(description="What its thread is inside of, as /healthz says it.")]
    seconds_without_progress: Seconds
    problem: Annotated[str | None, Meta(description="Why it counts as stuck, or why it was refused.")]
    taken_over_at: Time | None
    started: Annotated[str | None, Meta(description="What it began with: empty, inherited or resumed.")]
    epoch: Annotated[int | None, Meta(description="How often its state was claimed, by this worker the last time.")]
    last_batch_at: Time | None
    last_batch_ago_seconds: Seconds | None
    last_batch_records: int | None
    records: Annotated[int, Meta(description="Since it was taken over.")]
    records_per_second: Annotated[float, Meta(description="In the last minute.")]
    behind_seconds: Annotated[
        Seconds | None,
        Meta(
            description="How far behind the tip at most: as at the last batch, and if that is more than five seconds "
            "ago the time since."
        ),
    ]
    position: Annotated[str | None, Meta(description="How far it is counted: sequence number:sub-sequence number.")]
    watermark: Annotated[Time | None, Meta(description="No event before it is expected; null before an event.")]
    watermark_age_seconds: Annotated[Seconds | None, Meta(description="The clock minus the watermark, now.")]
    watermark_unmoved_seconds: Annotated[Seconds | None, Meta(description="Since it last moved.")]
    open_windows: Annotated[dict[str, int], Meta(description="Open windows in memory, by window.")]
    open_windows_limit: Annotated[int | None, Meta(description="`limits.groups` of the pipeline file.")]
    state_bytes: Annotated[int | None, Meta(description="The stored state.")]
    undelivered_rows: int
    checkpointed_ago_seconds: Annotated[Seconds | None, Meta(description="Since the source stored how far it is read.")]
    last_commit: Commit | None


class Window(Struct, frozen=True, kw_only=True):
    """A window of the pipeline file. Counts are since the start of the process."""

    window: str
    definition: Annotated[str, Meta(description="Its kind and groups, in brief.")]
    open: Annotated[int, Meta(description="Of all shards together: one for each start and group, or session.")]
    results: int
    late: int
    late_last_10_minutes: int
    last_late_at: Time | None


class Sink(Struct, frozen=True, kw_only=True):
    """A sink that was used. Counts are since the start of the process."""

    sink: Annotated[str, Meta(description="Its kind and target.")]
    taking_rows: Annotated[
        bool,
        Meta(description="False from a failure on until it takes a row, or for five minutes has not failed again."),
    ]
    failing_for_seconds: Seconds | None
    rows_sent: int
    bytes_sent: int
    rows_rejected: Annotated[int, Meta(description="Rows that it will never take: lost.")]
    retries: Annotated[int, Meta(description="Attempts that left rows to send again.")]
    last_sent_at: Time | None
    last_failure_at: Time | None
    last_failure_reason: str | None
    last_rejected_at: Time | None
    last_rejected_reason: str | None


class DeadLetter(Struct, frozen=True, kw_only=True):
    """Records that could not be used, by reason, since the start of the process."""

    reason: str
    records: int
    last_10_minutes: int
    last_at: Time | None
    last_shard: str | None


class Commits(Struct, frozen=True, kw_only=True):
    """Commits since the start of the process: numbers by result, the newest, and the newest that went wrong."""

    numbers: dict[str, int]
    last: list[Commit]
    last_gone_wrong: list[Commit]


class GlobalShard(Struct, frozen=True, kw_only=True):
    """A shard, of whatever worker, by what it has told of its progress."""

    shard: str
    watermark: Annotated[Time | None, Meta(description="What is due by it is stored; null before an event.")]
    behind_ahead_seconds: Annotated[
        Seconds | None, Meta(description="In event time, behind the shard that is ahead; null where one is not known.")
    ]


class GlobalWindows(Struct, frozen=True, kw_only=True):
    """How far all shards of the stream are together: by that windows with `combine: true` are complete.

    It is as the worker has read it, once a commit interval while it has a shard. Counts are since the start of the
    process, of this worker.
    """

    read_ago_seconds: Seconds
    covered: Annotated[
        bool, Meta(description="The shards that have told something are the whole stream; else nothing is complete.")
    ]
    watermark: Annotated[Time | None, Meta(description="All shards have passed it; null before each has told one.")]
    unknown_for_seconds: Annotated[
        Seconds | None, Meta(description="For how long there was none when it was read, though some shard had one.")
    ]
    held_back_by: Annotated[str | None, Meta(description="The shard that is behind all others.")]
    held_back_seconds: Annotated[
        Seconds | None, Meta(description="In event time, behind the shard that is ahead; null where one is not known.")
    ]
    slowest: Annotated[list[GlobalShard], Meta(description="Up to five shards, that which is furthest behind first.")]
    waiting: Annotated[dict[str, int], Meta(description="Windows over in the shard ahead, and not in all; by window.")]
    contributions_written: Annotated[int, Meta(description="Parts of windows that were stored.")]
    contributions_read: Annotated[int, Meta(description="Parts of windows that were read to be combined.")]
    incomplete: Annotated[int, Meta(description="Times that windows got no rows, for parts may be forgotten: lost.")]
    last_incomplete_window: str | None


class Status(Struct, frozen=True, kw_only=True):
    """The worker at one moment."""

    format: Annotated[int, Meta(description="The version of this shape.")] = FORMAT
    at: Time
    worker: Worker
    attention: Annotated[list[Attention], Meta(description="What to look at, errors first; empty if all is well.")]
    start: Annotated[list[Step], Meta(description="The steps of the start, in order.")]
    totals: Totals
    shards: list[Shard]
    windows: list[Window]
    global_windows: Annotated[
        GlobalWindows | None, Meta(description="null without such windows, and before it was read.")
    ]
    commits: Commits
    sinks: list[Sink]
    dead_letters: list[DeadLetter]


def with_attention(status: Status, attention: list[Attention]) -> Status:
    """Return the status with what to look at."""
    return msgspec.structs.replace(status, attention=attention)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of `/status`."""
    (found,), definitions = msgspec.json.schema_components([Status], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The status of a Streamgauge worker",
        **found,
        "$defs": definitions,
    }


def schema_text() -> str:
    """Return the schema as the text of a file."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
