"""Files that are right: what they mean, defaults, variables, places."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.pipeline import model
from consumer.pipeline.load import PipelineError, load, load_text
from consumer.pipeline.model import Aggregate, Apply, Literal, Name, Type

SMALL = """\
pipeline: small
source: {stream: clicks}
events:
  fields: {user: string}
windows:
  all:
    tumbling: 1m
    combine: false
    select: {events: count()}
sinks: [{stdout: {}}]
state: {table: small-state, bucket: small-bucket}
"""


def change(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new)


def loaded(text: str, **environ: str) -> model.Pipeline:
    return load_text(text, "p.yaml", environ)


def test_state_without_a_bucket_is_all_in_the_table() -> None:
    pipeline = loaded(change(", bucket: small-bucket", ""))
    assert pipeline.state == model.State("small-state", None, 5_000, 1_000)


def test_defaults() -> None:
    assert loaded(SMALL) == model.Pipeline(
        name="small",
        source=model.Source("clicks", None, "trim_horizon"),
        events=model.Events(
            format="json",
            compression="auto",
            fields=(model.Field("user", Type.STRING, nullable=False, path=("user",)),),
            time=None,
            out_of_orderness_ms=0,
            idle_after_ms=60_000,
            max_future_ms=3_600_000,
            max_bytes=1_048_576,
        ),
        lets=(),
        where=None,
        windows=(
            model.Window(
                "all",
                model.Tumbling(60_000, 0),
                (),
                (Aggregate("events", "count", (), (), Type.INT, nullable=False),),
                aligned=False,
            ),
        ),
        sinks=(model.SinkRoute(model.StdoutSink(), None),),
        late=None,
        dead_letter=None,
        state=model.State("small-state", "small-bucket", 5_000, 1_000),
        limits=model.Limits(1_000_000, "reject"),
        worker=model.Worker("small", None, 9102, "keep", ()),
    )


def test_everything_said() -> None:
    pipeline = loaded(
        """\
pipeline: all-of-it
source:
  stream: arn:aws:kinesis:eu-central-1:123456789012:stream/clicks
  partition_key: user
  start: 2026-01-31T12:00:00.5+01:00
events:
  format: json
  compression: none
  fields:
    user: {type: int, path: who.id}
    at:
      type: timestamp
      unit: s
    amount: float?
    'no': bool
    on: {type: "string?", path: "items[0].on"}
  time: at
  out_of_orderness: 1m30s
  idle_after: never
  max_future: off
  max_bytes: 10485760
let:
  twice: amount * 2
  more: twice + user
where: no and amount is not null
windows:
  by-hour:
    tumbling: {size: 1h, offset: 15m}
    by: [on, user, more]
    select:
      mean: avg(more)
      last: last(on)
    allowed_lateness: 30s
    emit: final
  visits:
    session: {gap: 30m, max_length: 12h}
    where: twice > 0
    by:
      - user
    select: {n: count(twice)}
  parts:
    session: 10s
    combine: false
    select: {n: "count(if(no, 1, null))"}
sinks:
  - firehose: {stream: a}
    windows: [visits, by-hour]
  - file: {path: out dir/rows.jsonl}
  - stdout: {}
    windows: [parts]
  - s3: {bucket: results, prefix: a/b-}
  - sqs: {queue_url: 'http://127.0.0.1:4566/000000000000/rows'}
late: {file: {path: late.jsonl}}
dead_letter: {firehose: {stream: dead}}
state: {table: t-1, bucket: b.1, commit_interval: 250ms, emit_delay: 0s, on_gap: refuse}
limits: {groups: 5000, policy: emit_early}
worker:
  application: leases
  identifier: pod-1
  metrics_port: 0
  on_stop: keep
  kcl: {maxRecords: 100, validateSequenceNumberBeforeCheckpointing: true, retrievalMode: FANOUT}
"""
    )
    assert pipeline.source.start == 1_769_857_200_500
    assert pipeline.source.stream == "arn:aws:kinesis:eu-central-1:123456789012:stream/clicks"
    assert pipeline.events == model.Events(
        format="json",
        compression="none",
        fields=(
            model.Field("user", Type.INT, nullable=False, path=("who", "id")),
            model.Field("at", Type.TIMESTAMP, nullable=False, path=("at",), unit=model.TimeUnit.SECONDS),
            model.Field("amount", Type.FLOAT, nullable=True, path=("amount",)),
            model.Field("no", Type.BOOL, nullable=False, path=("no",)),
            model.Field("on", Type.STRING, nullable=True, path=("items", 0, "on")),
        ),
        time="at",
        out_of_orderness_ms=90_000,
        idle_after_ms=None,
        max_future_ms=None,
        max_bytes=10_485_760,
    )
    amount = Name("amount", Type.FLOAT, nullable=True)
    twice = Apply("*", (amount, Literal(2, Type.INT, nullable=False)), Type.FLOAT, nullable=True)
    assert pipeline.lets[0] == model.Let("twice", twice)
    assert pipeline.lets[1].expression.type is Type.FLOAT
    assert pipeline.where == Apply(
        "and",
        (
            Name("no", Type.BOOL, nullable=False),
            Apply("is_not_null", (amount,), Type.BOOL, nullable=False),
        ),
        Type.BOOL,
        nullable=False,
    )
    by_hour, visits, parts = pipeline.windows
    assert by_hour.kind == model.Tumbling(3_600_000, 900_000)
    assert by_hour.by == (
        Name("on", Type.STRING, nullable=True),
        Name("user", Type.INT, nullable=False),
        Name("more", Type.FLOAT, nullable=True),
    )
    assert [(c.name, c.function, c.type, c.nullable) for c in by_hour.select] == [
        ("mean", "avg", Type.FLOAT, True),
        ("last", "last", Type.STRING, True),
    ]
    assert (by_hour.aligned, visits.aligned, parts.aligned) == (True, True, False)
    assert (visits.kind, parts.kind) == (model.Session(1_800_000, 43_200_000), model.Session(10_000))
    assert (by_hour.allowed_lateness_ms, by_hour.emit, by_hour.where) == (30_000, "final", None)
    assert (visits.allowed_lateness_ms, visits.emit) == (0, "updates")
    zero = Literal(0, Type.INT, nullable=False)
    assert visits.where == Apply(">", (Name("twice", Type.FLOAT, nullable=True), zero), Type.BOOL, nullable=True)
    assert parts.by == ()
    assert pipeline.sinks == (
        model.SinkRoute(model.FirehoseSink("a"), ("visits", "by-hour")),
        model.SinkRoute(model.FileSink("out dir/rows.jsonl"), None),
        model.SinkRoute(model.StdoutSink(), ("parts",)),
        model.SinkRoute(model.S3Sink("results", "a/b-"), None),
        model.SinkRoute(model.SqsSink("http://127.0.0.1:4566/000000000000/rows"), None),
    )
    assert pipeline.limits == model.Limits(5_000, "emit_early")
    assert (pipeline.late, pipeline.dead_letter) == (model.FileSink("late.jsonl"), model.FirehoseSink("dead"))
    assert pipeline.state == model.State("t-1", "b.1", 250, 0)
    assert pipeline.worker == model.Worker(
        "leases",
        "pod-1",
        0,
        "keep",
        (("maxRecords", "100"), ("validateSequenceNumberBeforeCheckpointing", "true"), ("retrievalMode", "FANOUT")),
    )


@pytest.mark.parametrize(
    ("written", "start"),
    [
        ("trim_horizon", "trim_horizon"),
        ("latest", "latest"),
        ("1970-01-01", 0),
        ("2026-01-31T12:00:00Z", 1_769_860_800_000),
        ("2026-01-31 12:00", 1_769_860_800_000),
        ("2026-01-31t12:00:00.123999z", 1_769_860_800_123),
        ("2026-01-31T12:00:00-0130", 1_769_866_200_000),
    ],
)
def test_start(written: str, start: str | int) -> None:
    assert loaded(change("clicks}", f"clicks, start: {written!r}}}")).source.start == start


def test_a_key_that_is_only_copied_does_not_align() -> None:
    text = change("clicks}", "clicks, partition_key: user}").replace("windows:", "let: {copy: user}\nwindows:")
    pipeline = loaded(text.replace("tumbling: 1m", "tumbling: 1m\n    by: [copy]"))
    assert not pipeline.windows[0].aligned


@pytest.mark.parametrize("written", ["${PORT}", "'${PORT}'", "1${REST}", "${NOBODY:-9200}", "${EMPTY:-9200}"])
def test_variables_are_read_again_as_values_where_they_are_not_quoted(written: str) -> None:
    text = SMALL + f"worker:\n  metrics_port: {written}\n"
    environ = {"PORT": "9200", "REST": "0", "EMPTY": ""}
    if written.startswith("'"):
        with pytest.raises(PipelineError, match="must be a whole number"):
            loaded(text, **environ)
    else:
        assert loaded(text, **environ).worker.metrics_port in (9200, 10)


def test_variables_stand_anywhere_in_a_value_and_never_become_structure() -> None:
    text = change("bucket: small-bucket", "bucket: '${WHO}-bucket-${WHO}'").replace(
        "select: {events: count()}", "select:\n      events: count(if(user == '${TEXT}', 1, null))"
    )
    pipeline = loaded(text, WHO="team", TEXT="a: [b], {c} # d")
    assert pipeline.state.bucket == "team-bucket-team"
    (argument,) = pipeline.windows[0].select[0].arguments
    assert isinstance(argument, Apply)
    comparison = argument.arguments[0]
    assert isinstance(comparison, Apply)
    assert comparison.arguments[1] == Literal("a: [b], {c} # d", Type.STRING, nullable=False)


def test_a_literal_dollar_brace_is_written_with_two_dollars() -> None:
    text = SMALL + "let: {}\nwhere: user != '$${NOBODY}' and user != '$x{'\n"
    where = loaded(text).where
    assert isinstance(where, Apply)
    first = where.arguments[0]
    assert isinstance(first, Apply)
    assert first.arguments[1] == Literal("${NOBODY}", Type.STRING, nullable=False)


@pytest.mark.parametrize("written", ["${POD_NAME:-}", '""', "'${POD_NAME:-}'"])
def test_an_empty_identifier_is_none(written: str) -> None:
    assert loaded(SMALL + "worker: {identifier: pod}\n").worker.identifier == "pod"
    assert loaded(SMALL + f"worker:\n  identifier: {written}\n").worker.identifier is None


@pytest.mark.parametrize("where", ["true", "1 < 2", "\"user == 'true'\"", ">\n  user\n  == 'x'", "|\n  user == 'x'"])
def test_where_in_any_style(where: str) -> None:
    assert loaded(SMALL + f"where: {where}\n").where is not None


def test_yaml_is_12_core() -> None:
    """`no`, `on`, dates, times and underscores are texts; 0o17 and 0x1F are numbers."""
    text = change("events: count()", "no: count(), 'null_': count()").replace(
        "fields: {user: string}", "fields: {user: string, on: bool, no: int}"
    )
    assert [field.name for field in loaded(text).events.fields] == ["user", "on", "no"]
    assert loaded(SMALL + "worker: {metrics_port: 0x1F}").worker.metrics_port == 31
    assert loaded(SMALL + "worker: {metrics_port: 0o17}").worker.metrics_port == 15
    for word in ("no", "on", "off", "12:30:00", "1_000", "0b1"):
        with pytest.raises(PipelineError, match=f'metrics_port: must be .* is "{word}"'):
            loaded(SMALL + f"worker: {{metrics_port: {word}}}")


def test_a_byte_order_mark_and_other_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load(path, {}) == loaded(SMALL)


def test_the_name_of_a_file_stands_before_each_problem(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(change("1m", "1w").replace("small-bucket", "B"))
    with pytest.raises(PipelineError) as caught:
        load(path, {})
    assert [problem.file for problem in caught.value.problems] == [str(path)] * 2
    assert str(caught.value).startswith(f"{path}:7:15: windows.all.tumbling: `1w`: there is no unit `w`")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (None, (1, 1), "cannot be read: No such file or directory"),
        (b"", (1, 1), "is empty"),
        (b"pipeline: p.yaml\ntests: [{nme: x}]\n", (1, 1), "is a file of tests, for `streamgauge test`"),
        (b"# only a comment\n", (1, 1), "is empty"),
        (b"pipeline: a\xff\n", (1, 12), "is not UTF-8: the byte 0xff"),
        (b"a: 1\nb: \xc3\xa9\xc3", (2, 5), "is not UTF-8: the byte 0xc3"),
        (b" " * 300_000, (1, 1), "is larger than 256 KiB"),
    ],
)
def test_files_that_are_none(tmp_path: Path, data: bytes | None, place: tuple[int, int], message: str) -> None:
    path = tmp_path / "p.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(PipelineError) as caught:
        load(path, {})
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == place
    assert message in problem.message
