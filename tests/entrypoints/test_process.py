"""`streamgauge process`, as a real command."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumer.cli import main
from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.entrypoints.offline import with_rows
from consumer.pipeline.load import load
from consumer.records import DEAD_LETTER, LATE, Record

PIPELINE = """
pipeline: clicks
source: {stream: clicks, partition_key: user}
events:
  compression: none
  fields: {user: string, ts: timestamp, page: "string?", n: "int?"}
  time: ts
  idle_after: never
  out_of_orderness: 5s
where: n is null or n >= 0
windows:
  views: {tumbling: 10s, by: [page], combine: false, select: {views: count(), n: sum(n)}}
  visits: {session: {gap: 20s}, by: [user], select: {events: count(), last: last(page)}}
sinks: [{stdout: {}}]
state: {table: state, bucket: snapshots}
"""
RICH = (
    PIPELINE[: PIPELINE.index("windows:")]
    + """
windows:
  local:
    tumbling: {size: 1h, timezone: Europe/Berlin}
    by: [page]
    combine: false
    select: {views: count(), pages: "collect(page, 3)"}
    allowed_lateness: 20s
  trend: {sliding: {size: 10s, every: 3s}, by: [user], select: {n: sum(n), pages: count_distinct(page)}}
  once: {tumbling: 10s, by: [user], select: {best: "max_by(page, n)"}, allowed_lateness: 10s, emit: final}
  visits:
    session: {gap: 20s, max_length: 1m}
    by: [user]
    select: {events: count(), top: "top(page, 2)"}
    allowed_lateness: 15s
  near: {stagger: 15s, by: [user], where: n == 1, select: {events: count()}}
limits: {groups: 40, policy: reject}
sinks: [{stdout: {}}]
state: {table: state, bucket: snapshots}
"""
)
ROOT = Path(__file__).parents[2]
START_MS = 1_767_225_600_000


Run = subprocess.CompletedProcess[bytes]


def streamgauge(*arguments: str | Path, stdin: bytes = b"") -> Run:
    """Run the command in this process: its own line, standard streams that are files, no start of an interpreter."""
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as out, io.StringIO() as err:
        given.buffer.write(stdin)
        given.seek(0)
        with pytest.MonkeyPatch.context() as patch:
            for name, stream in (("stdin", given), ("stdout", out), ("stderr", err)):
                patch.setattr(sys, name, stream)
            status = main_status([*map(str, arguments)])
        out.seek(0)
        return Run([], status, bytes(out.buffer.read()), err.getvalue().encode())


def main_status(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


def real_streamgauge(*arguments: str | Path, stdin: bytes = b"") -> Run:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "consumer", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60, cwd=ROOT)


def events(seed: int, number: int) -> list[bytes]:
    """Return lines: sound, late, filtered and broken ones."""
    chance = random.Random(seed)
    lines = []
    for index in range(number):
        event = {
            "user": f"u{chance.randrange(8)}",
            "ts": START_MS + index * 300 - chance.choice([0, 0, 1_000, 4_000, 20_000]),
            "page": chance.choice(["/", "/cart", None]),
            "n": chance.choice([1, 2, None, -1, "x"] if chance.random() < 0.1 else [1, 2]),
        }
        lines.append(json.dumps(event).encode() if chance.random() < 0.97 else b'{"user": ')
    return lines


def enveloped(lines: Sequence[bytes], **members: Any) -> list[bytes]:
    """Return envelopes with positions and the partition keys that the events ask for."""
    made = []
    for number, line in enumerate(lines, 1):
        key = json.loads(line)["user"] if line.endswith(b"}") else "u0"
        envelope = {
            "data": base64.b64encode(line).decode(),
            "partition_key": key,
            "sequence_number": str(10**50 + number // 3),
            "sub_sequence_number": number % 3,
            "arrival_time": START_MS + number * 300,
        }
        made.append(json.dumps(envelope | members).encode())
    return made


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return path


def write(path: Path, lines: Sequence[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def rows(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("envelope", [False, True])
def test_the_output_is_the_same_for_every_batch_size(pipeline: Path, tmp_path: Path, *, envelope: bool) -> None:
    lines = events(1, 400)
    path = write(tmp_path / "x.jsonl", enveloped(lines) if envelope else lines)
    command: list[str | Path] = [
        "process",
        pipeline,
        path,
        "--late",
        "-",
        "--dead-letter",
        "-",
        *(["--envelope"] if envelope else []),
    ]
    runs = [
        real_streamgauge(*command),
        *(streamgauge(*command, "--batch-size", size) for size in ("1", "2", "7", "399", "1000000")),
    ]
    assert {run.returncode for run in runs} == {0}, runs[0].stderr
    assert len({(run.stdout, run.stderr) for run in runs}) == 1
    reasons = Counter(row.get("reason") for row in rows(runs[0].stdout))
    assert {None, "late", "invalid_json", "wrong_type"} <= set(reasons)


def test_windows_of_all_kinds_do_not_see_batches(pipeline: Path, tmp_path: Path) -> None:
    pipeline.write_text(RICH)
    path = write(tmp_path / "x.jsonl", events(12, 600))
    runs = [
        streamgauge("process", pipeline, path, "--late", "-", "--dead-letter", "-", "--batch-size", size)
        for size in ("1", "3", "250", "1000")
    ]
    assert {run.returncode for run in runs} == {0}, runs[0].stderr
    assert len({(run.stdout, run.stderr) for run in runs}) == 1
    found = rows(runs[0].stdout)
    assert {row["window"] for row in found if "window" in row} == {"local", "trend", "once", "visits", "near"}
    assert {row.get("reason") for row in found} >= {None, "late", "state_limit"}
    assert any(row.get("revision") for row in found)


def test_csv_lines_are_records(pipeline: Path, tmp_path: Path) -> None:
    pipeline.write_text(PIPELINE.replace("compression: none", "format: csv"))
    path = write(tmp_path / "x.csv", [b'u1,2026-01-01T00:00:00Z,"a,b",2\r', b"", b"u1,2026-01-01T00:00:01Z,,\r"])
    found = rows(streamgauge("process", pipeline, path).stdout)
    assert [(row.get("page"), row.get("n")) for row in found if row["window"] == "views"] == [(None, None), ("a,b", 2)]


@pytest.mark.parametrize("format_", ["msgpack", "csv", "json"])
def test_binary_records_come_in_envelopes(pipeline: Path, format_: str) -> None:
    fields = '{user: string, ts: timestamp, page: "string?", n: "int?"}'
    header = '{user: {type: string, column: u}, ts: {type: timestamp, column: t}, page: "string?", n: "int?"}'
    text = PIPELINE.replace("compression: none", f"format: {format_}\n  compression: gzip")
    pipeline.write_text(text.replace(fields, header) if format_ == "csv" else text)
    event = {"user": "u1", "ts": START_MS}
    data = {
        "msgpack": msgspec.msgpack.encode(event),
        "json": json.dumps(event).encode(),
        "csv": b"t,u\n%d,u1" % START_MS,
    }[format_]
    line = json.dumps({"data": base64.b64encode(gzip.compress(data)).decode(), "partition_key": "u1"}).encode()
    run = streamgauge("process", pipeline, "--envelope", "--dead-letter", "-", stdin=line)
    assert [(row.get("reason"), row.get("views") or row.get("events")) for row in rows(run.stdout)] == [(None, 1)] * 2


def test_files_are_shards_in_order_and_the_rows_are_the_core_s(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = {"b.jsonl": events(3, 200), "a.jsonl": [b"", *events(4, 200)], "none.jsonl": [], "stdin": events(5, 50)}
    for name in ("b.jsonl", "a.jsonl", "none.jsonl"):
        write(tmp_path / name, lines[name])
    run = streamgauge(
        *("process", pipeline, "b.jsonl", "--output", "out", tmp_path / "a.jsonl", "none.jsonl", "-"),
        *("--late", "late", "--dead-letter", "dead"),
        stdin=b"\n".join(lines["stdin"]),
    )
    assert (run.returncode, run.stdout) == (0, b""), run.stderr

    program = compile_pipeline(with_rows(load(pipeline, {}), late=True, dead_letter=True), keys_required=False)
    files: dict[str, list[bytes]] = {"out": [], "late": [], "dead": []}
    for shard, shard_lines in lines.items():
        processor = Processor(program, shard, 0)
        records = [Record(line, None, None, number) for number, line in enumerate(shard_lines, 1) if line]
        for row in [*processor.apply(records).rows, *processor.close_all().rows]:
            files[{LATE: "late", DEAD_LETTER: "dead"}.get(row.output, "out")].append(row.data)
    assert all(files.values())
    for name, expected in files.items():
        assert (tmp_path / name).read_bytes().splitlines() == expected


def test_raw_lines_have_no_position_and_their_ids_still_differ(pipeline: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [b"{", b"", b"{"])
    run = streamgauge("process", pipeline, path, "--output", os.devnull, "--dead-letter", "-")
    first, second = rows(run.stdout)
    assert first["id"] != second["id"]
    for row in (first, second):
        assert row["data"] == base64.b64encode(b"{").decode()
        assert row["shard"] == "x.jsonl"
        unknown = ("partition_key", "sequence_number", "sub_sequence_number", "arrival_time")
        assert [row[name] for name in unknown] == [None] * 4
    assert run.stderr.decode().splitlines()[3].split() == ["dead", "letters", "2", "invalid_json", "2"]


def test_partition_keys_are_checked_where_there_are_any(pipeline: Path, tmp_path: Path) -> None:
    line = b'{"user": "u1", "ts": "2026-01-01T00:00:00Z"}'
    lines = [b for key in ("u1", "u2", None) for b in enveloped([line], partition_key=key, sequence_number=None)]
    run = streamgauge("process", pipeline, "--envelope", "--dead-letter", "-", stdin=b"\n".join(lines))
    found = rows(run.stdout)
    assert [(row["reason"], row["partition_key"]) for row in found if "reason" in row] == [("misrouted", "u2")]
    assert [row["events"] for row in found if row.get("window") == "visits"] == [2]


def test_arrival_times_of_envelopes_are_looked_at(pipeline: Path) -> None:
    line = b'{"user": "u1", "ts": "2027-01-01T00:00:00Z"}'
    envelopes = enveloped([line], sequence_number=None)
    run = streamgauge("process", pipeline, "--envelope", "--dead-letter", "-", stdin=b"\n".join(envelopes))
    (row,) = rows(run.stdout)
    assert (row["reason"], row["arrival_time"]) == ("future_timestamp", "2026-01-01T00:00:00.300Z")


def test_repeated_records_are_counted_and_skipped(pipeline: Path) -> None:
    lines = enveloped(events(6, 90))
    once = streamgauge("process", pipeline, "--envelope", stdin=b"\n".join(lines))
    again = streamgauge("process", pipeline, "--envelope", stdin=b"\n".join([*lines[:50], *lines[20:]]))
    assert once.stdout == again.stdout != b""
    assert b"clicks: 90 events in 1 shard\n" in once.stderr
    assert b"clicks: 120 events in 1 shard\n" in again.stderr
    assert b"  repeated               30   at or before an earlier position, skipped\n" in again.stderr


def test_the_summary_counts_every_event_once(pipeline: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", events(7, 500))
    run = streamgauge("process", pipeline, path)
    lines = re.findall(r"^  (\w[\w ]+?) +([\d,]+)", run.stderr.decode(), re.MULTILINE)
    counts = {label: int(number.replace(",", "")) for label, number in lines}
    assert counts["accepted"] + counts["filtered out"] + counts["dead letters"] == 500
    assert counts["rows"] == len(rows(run.stdout))
    assert min(counts.values()) > 0


def test_windows_may_be_left_open(pipeline: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", events(8, 100))
    closed, left = (streamgauge("process", pipeline, path, *options) for options in ([], ["--no-close"]))
    assert closed.stdout.startswith(left.stdout)
    assert 0 < len(left.stdout) < len(closed.stdout)
    assert b"still open" in left.stderr
    assert b"still open" not in closed.stderr


def test_a_malformed_envelope_ends_it_with_its_file_and_line(pipeline: Path, tmp_path: Path) -> None:
    lines = enveloped(events(9, 200))
    path = write(tmp_path / "x.jsonl", [*lines[:150], b"{}", *lines[150:]])
    runs = [
        streamgauge("process", pipeline, path, "--envelope", "--late", tmp_path / "late", "--batch-size", size)
        for size in ("1", "1000")
    ]
    assert {(run.returncode, run.stderr, run.stdout) for run in runs} == {
        (
            1,
            f"streamgauge: {path}:151: the envelope is malformed: Object missing required field `data`\n".encode(),
            runs[0].stdout,
        )
    }
    assert rows(runs[0].stdout)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pipeline.yaml", "x.jsonl"]


def test_a_reader_that_has_seen_enough_ends_it_without_a_word(pipeline: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", events(10, 20_000))
    command = [sys.executable, "-m", "consumer", "process", str(pipeline), str(path), "--late", str(tmp_path / "late")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        assert (process.wait(timeout=30), told) == (1, b"")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pipeline.yaml", "x.jsonl"]


def test_memory_does_not_grow_with_the_input(pipeline: Path, tmp_path: Path) -> None:
    """Events go on in time, so windows come and go; an input twelve times as large needs no more memory."""
    blob = b"x" * 900
    line = b'{"user": "u", "ts": %d, "unused": "%s"}'
    inputs = [
        write(tmp_path / str(number), [line % (START_MS + index * 20_000, blob) for index in range(number)])
        for number in (2_000, 24_000)
    ]
    command = [sys.executable, "-c", PEAKS, str(pipeline), *map(str, inputs)]
    run = subprocess.run(command, capture_output=True, check=True, timeout=60, cwd=ROOT, text=True)
    small_kib, large_kib = map(int, run.stderr.splitlines())
    assert inputs[1].stat().st_size > 20 * 1024 * 1024
    assert large_kib - small_kib < 6 * 1024


PEAKS = """
import resource, sys
from consumer.entrypoints.process import *
for path in sys.argv[2:]:
    with open("/dev/null", "w") as quiet:
        process(Path(sys.argv[1]), {}, Options([path], "/dev/null"), stdin=None, stdout=None, err=quiet)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("change", "inputs", "said"),
    [
        (("compression: none", "compression: gzip"), [], "compressed with gzip are binary, and no record a line"),
        (("compression: none", "compression: zstd"), [], "compressed with zstd are binary"),
        (("compression: none", "compression: none\n  format: msgpack"), [], "msgpack is binary, and no record a line"),
        (
            ("compression: none", "compression: none\n  format: csv"),
            ['{user: string, ts: timestamp, page: {type: "string?", column: p}, n: "int?"}'],
            "the csv records have a header line each",
        ),
        (("  time: ts\n", ""), [], "goes by arrival times"),
    ],
)
def test_what_a_line_cannot_hold_is_refused(
    pipeline: Path, change: tuple[str, str], inputs: list[str], said: str
) -> None:
    text = PIPELINE.replace(*change)
    for fields in inputs:
        text = text.replace('{user: string, ts: timestamp, page: "string?", n: "int?"}', fields)
    assert text != PIPELINE
    pipeline.write_text(text)
    run = streamgauge("process", pipeline)
    assert (run.returncode, run.stdout) == (2, b"")
    assert said in run.stderr.decode()
    assert run.stderr.decode().rstrip().endswith("say --envelope")


def test_usage_errors_are_told_before_anything_is_written(pipeline: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", events(11, 5))
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "x.jsonl", [])
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    before = sorted(tmp_path.rglob("*"))
    for arguments, said in (
        ([path, tmp_path / "folder" / "x.jsonl"], "two inputs have the base name x.jsonl"),
        (["-", "-"], "two inputs have the base name stdin"),
        ([tmp_path / "x.jsonl.gz"], "x.jsonl.gz |`, and name `-`"),
        ([tmp_path / "none"], "none cannot be read: No such file or directory"),
        ([tmp_path / "folder"], "folder is a directory"),
        ([path, "--output", path], "x.jsonl is an input"),
        ([path, "--late", tmp_path / "folder" / ".." / "x.jsonl"], "x.jsonl is an input"),
        ([path, "--batch-size", "0"], "--batch-size: must be at least 1"),
        ([path, "--bogus", path], "unrecognized arguments: --bogus"),
    ):
        run = streamgauge("process", pipeline, *arguments, "--dead-letter", tmp_path / "dead")
        assert (run.returncode, run.stdout) == (2, b""), arguments
        assert said in run.stderr.decode()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_cannot_be_written_is_told(pipeline: Path, tmp_path: Path) -> None:
    run = streamgauge("process", pipeline, "--output", tmp_path / "none" / "out")
    assert (run.returncode, run.stdout) == (1, b"")
    assert b"out: No such file or directory\n" in run.stderr
