from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumer.pipeline.explain import explain
from consumer.pipeline.load import load, load_text
from consumer.pipeline.memory import memory_bytes_at_limit, memory_per_group, memory_per_group_at_most
from consumer.pipeline.model import Pipeline

CONFIG = Path(__file__).parents[2] / "config"

TEXT = """\
pipeline: explained
source: {stream: clicks, partition_key: user, start: 2026-01-31T12:00:00Z}
events:
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
        (
            "Each record is one JSON object of at most 1 MiB. It may be compressed with gzip or zstd, which its first "
            "bytes tell; its size is that inflated."
        ),
        "page string or null",
        "The time of an event is its at, not its arrival.",
        "the highest event time seen there minus 10 seconds, and windows close by it.",
        "nothing left to read for 1 minute, its watermark moves on to the present minus 10 seconds",
        "more than 1 hour ahead of its arrival is a dead letter",
        "every event counts",
        "Tumbling windows of 1 hour, side by side in UTC, shifted by 15 minutes.",
        "One row for each window, page and shard: views count() int",
        "Partial: rows are not by user, the partition key, so events of one group lie in several shards.",
        (
            "A window closes when an event of its shard is at least 10 seconds past its end (to be exact, 1 "
            "millisecond less), or when the shard falls silent (see Time). What comes for it after that is late."
        ),
        "Sessions: events at most 30 minutes apart belong together.",
        "One row for each session and user: first_page first(page) string or null",
        "Aligned: rows are by user, the partition key",
        "A session closes when an event of its shard is at least 10 seconds past its end",
        "bytes for each open session;",
        (
            "A shard holds at most 1,000,000 open groups, those of all windows together. A record that would open one "
            "more is a dead letter (state_limit)"
        ),
        "So a shard's open groups take at most",
        "the Firehose stream a takes visits",
        "the file rows.jsonl takes all windows",
        "Late events are only counted: the file names no sink for them (`late`).",
        "Dead letters are only counted: the file names no sink for them (`dead_letter`).",
        "Kept in the DynamoDB table explained-state",
        "in the S3 bucket explained-bucket",
        (
            "Committed every 5 seconds. A row is sent when it is committed: it waits at most 1 second for that. While "
            "its shard is behind it may be a tenth of that time, up to 5 seconds."
        ),
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
        ("10s", "0s", "The watermark of a shard is the highest event time seen there, and windows"),
        ("10s", "0s", "its watermark moves on to the present, so that"),
        ("10s", "10s\n  idle_after: 0s", "When a shard has had nothing left to read at all, its watermark"),
        ("10s", "10s\n  idle_after: 90s", "nothing left to read for 1 minute 30 seconds, its watermark"),
        ("10s", "10s\n  idle_after: never", "Only events move the watermark, no clock does"),
        ("10s", "10s\n  idle_after: never", "(to be exact, 1 millisecond less). What comes for it after that is late."),
        ("10s", "10s\n  format: msgpack", "Each record is one MessagePack map of at most 1 MiB."),
        ("10s", "10s\n  format: csv", "Each record is one line of csv (no header line) of at most 1 MiB."),
        ("10s", "10s\n  format: csv", "page string or null column 3"),
        ("10s", "10s\n  format: csv", "Other columns are ignored."),
        ("10s", "10s\n  compression: none", "It is not compressed."),
        ("10s", "10s\n  compression: zstd", "It is compressed with zstd; its size is that inflated."),
        ('page: "string?"', 'page: {type: string, path: "items[0].page"}', "page string from items[0].page"),
        ("at: timestamp", "at: {type: timestamp, unit: us}", "at timestamp numbers are microseconds since 1970"),
        ("at: timestamp", "at: {type: timestamp, unit: s, path: t}", "at timestamp from t; numbers are seconds"),
        ("-bucket}", "-bucket}\nlimits: {groups: 5}", "A shard holds at most 5 open groups"),
        ("-bucket}", "-bucket}\nlimits: {policy: emit_early}", "is emitted as it is, marked `early: true`"),
        ("10s", "10s\n  max_future: off", "events.max_future is off."),
        ("10s", "10s\n  max_future: 0s", "An event whose time is later than its arrival is a dead letter"),
        ("10s", "10s\n  max_bytes: 2048", "at most 2 KiB."),
        ("10s", "10s\n  max_bytes: 1000", "at most 1000 bytes."),
        ("    by: [page]\n", "", "One row for each window and shard, over all events: views"),
        ("windows:\n", "where: page != 'x'\nwindows:\n", "for which this is true: page != 'x'"),
        ("windows:\n", "let: {n: length(page)}\nwindows:\n", "n = length(page) int or null"),
        ("state:", "late: {stdout: {}}\nstate:", "Late events are counted, and go to standard output."),
        (
            ", bucket: explained-bucket}",
            "}",
            "table explained-state, all of it: no bucket is named. A snapshot larger than 8 KB is written as items of",
        ),
        ("-bucket}", "-bucket, emit_delay: 0s}", "it waits no time at all for that."),
        ("state:", "worker: {metrics_port: 0, identifier: w-1}\nstate:", "The worker's name is w-1."),
        ("state:", "worker: {metrics_port: 0}\nstate:", "Metrics and health are on any free port."),
        ("state:", "worker: {kcl: {maxRecords: 5}}\nstate:", "Extra properties of the daemon: maxRecords 5"),
    ],
)
def test_it_follows_the_file(old: str, new: str, sentence: str) -> None:
    assert sentence in changed(old, new)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "tumbling: {size: 1d, offset: 6h, timezone: Europe/Berlin}",
            (
                "Tumbling windows of 1 day, side by side by the clock in Europe/Berlin, shifted by 6 hours. Where that "
                "clock is put forward or back, a window is shorter or longer."
            ),
        ),
        (
            "sliding: {size: 10s, every: 2s}",
            "Sliding windows of 10 seconds; one begins every 2 seconds, in UTC, so each event is in 5 windows.",
        ),
        ("sliding: {size: 10s, every: 3s}", "so each event is in 3 or 4 windows."),
        ("sliding: {size: 10s, every: 10s}", "so each event is in 1 window."),
        (
            "session: {gap: 30m, max_length: 12h}",
            (
                "From its first to its last event are at most 12 hours: an event that does not fit any more begins the "
                "next session."
            ),
        ),
        (
            "stagger: 10m",
            (
                "Stagger windows of 10 minutes: an event of a group that has no open window for it opens one, from its "
                "own time on; the events of the following 10 minutes belong to it."
            ),
        ),
        (
            "tumbling: 1m\n    where: page != 'x'",
            "Only events count here for which this is true: page != 'x'. One row for each",
        ),
        (
            "tumbling: 1m\n    allowed_lateness: 30s",
            (
                "at least 10 seconds past its end (to be exact, 1 millisecond less), or when the shard falls silent "
                "(see Time). It then gives its first row, revision 0. It is kept for another 30 seconds of allowed "
                "lateness: each event that still comes for it gives a whole new row with the next revision"
            ),
        ),
        ("tumbling: 1m\n    allowed_lateness: 30s", "Rows for each window, page and shard:"),
        ("session: 1m\n    allowed_lateness: 30s", "the new row's `replaces` names the ids that it stands for."),
        (
            "tumbling: 1m\n    allowed_lateness: 30s\n    emit: final",
            (
                "at least 40 seconds past its end (to be exact, 1 millisecond less), or when the shard falls silent "
                "(see Time). That is with the 30 seconds of allowed lateness, in which events still count. It then "
                "gives its one row; what comes for it after that is late."
            ),
        ),
        ("tumbling: 1m\n    emit: final", "What comes for it after that is late."),
    ],
)
def test_every_kind_of_window(kind: str, sentence: str) -> None:
    assert sentence in changed("tumbling: {size: 1h, offset: 15m}", kind)


@pytest.mark.parametrize(
    ("select", "sentence"),
    [
        (
            "count_distinct(page)",
            "count_distinct(page, 10000, 'approximate') int count_distinct is exact up to its limit",
        ),
        ("approx_distinct(page)", "approx_distinct is an estimate"),
        ("quantile(length(page), 0.5)", "float or null quantile is within 0.8 % of the value at that rank."),
        ("top(page, 3)", "list of {value: string, count: int, error: int} The counts of top are too low by at most"),
        ("collect(page, 3)", "list of string"),
        ("rate('1m')", "rate('1m') float"),
    ],
)
def test_aggregates_that_need_a_word(select: str, sentence: str) -> None:
    assert sentence in changed("{views: count()}", f'{{views: "{select}"}}')


def test_sinks() -> None:
    text = TEXT.replace("firehose: {stream: a}", "s3: {bucket: rows-bucket, prefix: a/}").replace(
        "state:",
        "late: {sqs: {queue_url: 'http://localhost/1/late'}}\ndead_letter: {s3: {bucket: dead-bucket}}\nstate:",
    )
    assert "the S3 bucket rows-bucket, under a/ takes visits" in explained(text)
    assert "Late events are counted, and go to the SQS queue http://localhost/1/late." in explained(text)
    assert "Dead letters are counted, and go to the S3 bucket dead-bucket." in explained(text)


def test_a_header_line() -> None:
    text = TEXT.replace("out_of_orderness: 10s", "format: csv").replace(
        '"string?"', '{type: "string?", column: The page}'
    )
    assert "Each record is a header line and one line of csv of at most 1 MiB." in explained(text)
    assert "user string at timestamp page string or null column The page" in explained(text)


def test_without_a_partition_key() -> None:
    text = TEXT.replace("partition_key: user, ", "").replace("session: 30m", "session: 30m\n    combine: false")
    assert "Nothing is known about the partition keys of its records." in explained(text)
    assert "Partial: source.partition_key is not given" in explained(text)


GLOBAL = TEXT.replace("    combine: false\n", "    combine: true\n    buckets: 4\n")


@pytest.mark.parametrize(
    "sentence",
    [
        "One row for each window and page:",
        (
            "Global: rows are not by user, the partition key, so events of one group lie in several shards. Each shard "
            "reduces its own part, and the parts are put together, so each row is exact and final, over all shards."
        ),
        (
            "A shard closes its part of a window when an event of that shard is at least 10 seconds past its end (to "
            "be exact, 1 millisecond less), or when the shard falls silent (see Time). What comes for it after that is "
            "late, in that shard."
        ),
        (
            "The rows come when all shards have closed theirs, within three commit intervals (15 seconds) of the last "
            "one. A shard that is behind holds them back: the status page and `streamgauge state list` name it. One "
            "that has fallen silent follows the one that is ahead."
        ),
        (
            "The parts meet in the table, in 4 buckets: for each window a shard writes one item for each bucket "
            "that it has groups in (more above 300 KB), so at most some 96 a day, and each is read once."
        ),
        "for each open window and group of a shard, and as much for each of a bucket while its parts are put together",
    ],
)
def test_a_global_window(sentence: str) -> None:
    assert sentence in explained(GLOBAL)
    assert "Partial:" not in explained(GLOBAL)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("buckets: 4", "buckets: 1", "The parts meet in the table, in one bucket:"),
        (
            "buckets: 4",
            "allowed_lateness: 5m",
            (
                "at least 5 minutes 10 seconds past its end (to be exact, 1 millisecond less), or when the shard falls "
                "silent (see Time). That is with the 5 minutes of allowed lateness, in which events still count."
            ),
        ),
        (
            "out_of_orderness: 10s",
            "idle_after: never",
            "No clock moves a watermark (idle_after is never), so a shard without events holds back all rows.",
        ),
        (
            "tumbling: {size: 1h, offset: 15m}",
            "sliding: {size: 1h, every: 10s}",
            "so at most some 34,560 a day, and each is read once.",
        ),
        (
            "table: explained-state",
            "table: explained-state, commit_interval: 2s",
            "within three commit intervals (6 seconds) of the last one",
        ),
    ],
)
def test_a_global_window_follows_the_file(old: str, new: str, sentence: str) -> None:
    assert GLOBAL.count(old) == 1, old
    assert sentence in explained(GLOBAL.replace(old, new))


def configs() -> list[Pipeline]:
    return [load(path, {}) for path in sorted(CONFIG.glob("*.yaml")) if not path.name.endswith(".test.yaml")]


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
    assert [(window.name, window.aligned, window.combined) for window in pipeline.windows] == [
        ("page_views", False, False),
        ("all_views", False, True),
        ("revenue", False, False),
        ("visits", True, False),
    ]
    assert pipeline.state.bucket == "my-bucket"


def test_memory_at_the_limit() -> None:
    text = TEXT.replace("state:", "limits: {groups: 1000}\nstate:")
    pipeline = load_text(text, "p.yaml", {})
    views, visits = pipeline.windows
    assert memory_per_group(views) == memory_per_group_at_most(views)
    assert memory_bytes_at_limit(pipeline) == 1_000 * max(memory_per_group(views), memory_per_group(visits))


def select(text: str, kind: str = "tumbling: 1m") -> Pipeline:
    changed = TEXT.replace("{views: count()}", f'{{views: "{text}"}}').replace(
        "tumbling: {size: 1h, offset: 15m}", kind
    )
    return load_text(changed, "p.yaml", {})


@pytest.mark.parametrize(
    ("text", "at_least", "at_most"),
    [
        ("count_distinct(page)", 500_000, 2_000_000),
        ("count_distinct(page, 100)", 5_000, 20_000),
        ("approx_distinct(page)", 4_000, 6_000),
        ("quantile(length(page), 0.5)", 100_000, 300_000),
        ("top(page, 10)", 10_000, 50_000),
        ("collect(page, 100)", 5_000, 30_000),
    ],
)
def test_what_keeps_many_values_has_a_bound(text: str, at_least: int, at_most: int) -> None:
    window = select(text).windows[0]
    assert memory_per_group(window) < 1_000
    assert at_least < memory_per_group_at_most(window) < at_most
    assert "when all it keeps is full" in explained(TEXT.replace("{views: count()}", f'{{views: "{text}"}}'))


def test_overlapping_windows_share_their_panes() -> None:
    """With panes as long as `every`, there are no more of them than open windows; with shorter ones there are."""
    small = memory_per_group(select("count()").windows[0])
    even = memory_per_group(select("count()", "sliding: {size: 10s, every: 2s}").windows[0])
    odd = memory_per_group(select("count()", "sliding: {size: 10s, every: 3s}").windows[0])
    assert small < even < 2 * small
    assert odd > even + small
