from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumer.pipeline.explain import explain, memory_per_group
from consumer.pipeline.load import load, load_text
from consumer.pipeline.model import Pipeline

CONFIG = Path(__file__).parents[2] / "config"

TEXT = """\
pipeline: explained
source: {stream: clicks, partition_key: user, start: 2026-01-31T12:00:00Z}
events:
  compression: none
  idle_after: never
  fields: {user: string, at: timestamp, page: "string?"}
  time: at
  out_of_orderness: 10s
windows:
  views:
    tumbling: {size: 1h, offset: 15m}
    by: [page]
    combine: false
    select: {views: count()}
  visits:
    session: 30m
    by: [user]
    select: {first_page: first(page)}
sinks:
  - firehose: {stream: a}
    windows: [visits]
  - file: {path: rows.jsonl}
state: {table: explained-state, bucket: explained-bucket}
"""


def explained(text: str) -> str:
    """Return the explanation with its line breaks undone."""
    return " ".join(explain(load_text(text, "p.yaml", {})).split())


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) == 1
    return explained(TEXT.replace(old, new))


@pytest.mark.parametrize(
    "sentence",
    [
        "Reads the Kinesis stream clicks, from 2026-01-31T12:00:00.000Z.",
        "Producers partition by user, so all events of one user are in one shard.",
        "Each record is one JSON object of at most 1 MiB",
        "page string or null",
        "The time of an event is its at, not its arrival.",
        "the highest event time seen there minus 10 seconds",
        "more than 1 hour ahead of its arrival is a dead letter",
        "every event counts",
        "Tumbling windows of 1 hour, side by side in UTC, shifted by 15 minutes.",
        "One row for each window, page and shard: views count() int",
        "Partial: rows are not by user, the partition key, so events of one group lie in several shards.",
        "A window closes when an event of its shard is at least 10 seconds past its end",
        "Sessions: events at most 30 minutes apart belong together.",
        "One row for each session and user: first_page first(page) string or null",
        "Aligned: rows are by user, the partition key",
        "A session closes when an event of its shard is at least 10 seconds past its end",
        "bytes for each open session;",
        "the Firehose stream a takes visits",
        "the file rows.jsonl takes all windows",
        "Late events are only counted: the file names no sink for them (`late`).",
        "Dead letters are only counted: the file names no sink for them (`dead_letter`).",
        "Kept in the DynamoDB table explained-state",
        "in the S3 bucket explained-bucket",
        "Committed every 5 seconds. A row is sent when it is committed: it waits at most 1 second for that.",
        "Leases of shards are in the DynamoDB table explained.",
        "Metrics and health are on port 9102.",
    ],
)
def test_it_says(sentence: str) -> None:
    assert sentence in explained(TEXT)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("start: 2026-01-31T12:00:00Z", "start: latest", "from the instant at which the application first starts."),
        ("start: 2026-01-31T12:00:00Z", "start: trim_horizon", "from the oldest record it holds."),
        ("  time: at\n", "", "The time of an event is its arrival in Kinesis."),
        ("10s", "0s", "A window closes when an event of its shard is at its end or past it"),
        ("10s", "0s", "The watermark of a shard is the highest event time seen there."),
        ("10s", "10s\n  max_future: off", "events.max_future is off."),
        ("10s", "10s\n  max_future: 0s", "An event whose time is later than its arrival is a dead letter"),
        ("10s", "10s\n  max_bytes: 2048", "at most 2 KiB,"),
        ("10s", "10s\n  max_bytes: 1000", "at most 1000 bytes,"),
        ("    by: [page]\n", "", "One row for each window and shard, over all events: views"),
        ("windows:\n", "where: page != 'x'\nwindows:\n", "for which this is true: page != 'x'"),
        ("windows:\n", "let: {n: length(page)}\nwindows:\n", "n = length(page) int or null"),
        ("state:", "late: {stdout: {}}\nstate:", "Late events are counted, and go to standard output."),
        ("-bucket}", "-bucket, emit_delay: 0s}", "it waits no time at all for that."),
        ("state:", "worker: {metrics_port: 0, identifier: w-1}\nstate:", "The worker's name is w-1."),
        ("state:", "worker: {metrics_port: 0}\nstate:", "Metrics and health are on any free port."),
        ("state:", "worker: {kcl: {maxRecords: 5}}\nstate:", "Extra properties of the daemon: maxRecords 5"),
    ],
)
def test_it_follows_the_file(old: str, new: str, sentence: str) -> None:
    assert sentence in changed(old, new)


def test_without_a_partition_key() -> None:
    text = TEXT.replace("partition_key: user, ", "").replace("session: 30m", "session: 30m\n    combine: false")
    assert "Nothing is known about the partition keys of its records." in explained(text)
    assert "Partial: source.partition_key is not given" in explained(text)


def configs() -> list[Pipeline]:
    return [load(path, {}) for path in sorted(CONFIG.glob("*.yaml"))]


def test_the_example_files_load_without_any_variable() -> None:
    assert [pipeline.name for pipeline in configs()] == ["clickstream", "iot", "payments"]


def test_lines_fit_a_screen() -> None:
    for pipeline in configs():
        for line in explain(pipeline).splitlines():
            assert len(line) <= 100 or re.match(" {4}", line), line
            assert line == line.rstrip()


def test_more_columns_take_more_memory() -> None:
    pipeline = load(CONFIG / "clickstream.yaml", {})
    sizes = {window.name: memory_per_group(window) for window in pipeline.windows}
    assert sizes["page_views"] < sizes["revenue"] < sizes["visits"] < 2_000


def test_the_clickstream_example_is_what_its_readers_expect() -> None:
    """The demo recounts it, and the README shows it."""
    pipeline = load(CONFIG / "clickstream.yaml", {"STATE_BUCKET": "my-bucket"})
    assert (pipeline.source.stream, pipeline.source.partition_key) == ("clicks", "user_id")
    assert {field.name: (str(field.type), field.nullable) for field in pipeline.events.fields} == {
        "user_id": ("string", False),
        "event_time": ("timestamp", False),
        "page": ("string", True),
        "country": ("string", True),
        "amount": ("float", True),
        "quantity": ("int", True),
    }
    assert [(window.name, window.aligned) for window in pipeline.windows] == [
        ("page_views", False),
        ("revenue", False),
        ("visits", True),
    ]
    assert pipeline.state.bucket == "my-bucket"
