"""`streamgauge process` over several files with global windows: each file is a shard, and their parts are combined."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from consumer.entrypoints.offline import with_rows
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.load import load
from consumer.records import Record, Row
from consumer.testing.reference import Expected, complete_until, reference, reference_combined
from tests.entrypoints.test_process import PIPELINE, events, rows, streamgauge, write

WINDOWS = """
windows:
  all: {tumbling: 10s, combine: true, buckets: 3, by: [page], select: {views: count(), last: last(user), n: sum(n)}}
  visits: {session: {gap: 20s}, by: [user], select: {events: count(), last: last(page)}}
  trend: {sliding: {size: 10s, every: 3s}, combine: true, select: {n: sum(n), users: count_distinct(user)}}
  late: {tumbling: 1m, combine: true, allowed_lateness: 20s, select: {views: count()}}
sinks: [{stdout: {}}]
state: {table: state, bucket: snapshots}
"""
FILES = ("b.jsonl", "a.jsonl", "c.jsonl")


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE[: PIPELINE.index("windows:")] + WINDOWS)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    numbers = {"b.jsonl": (3, 400), "a.jsonl": (4, 250), "c.jsonl": (5, 300)}
    return {name: write(tmp_path / name, events(*number)) for name, number in numbers.items()}


def reference_rows(path: Path, files: dict[str, Path], *, close: bool) -> list[Row]:
    """Return what the interpreter says: the shards' own rows, then those of global windows."""
    pipeline = with_rows(load(path, {}), late=False, dead_letter=False)
    expected: list[Expected] = []
    for name, file in files.items():
        records = [Record(line, None, None, n) for n, line in enumerate(file.read_bytes().splitlines(), 1) if line]
        expected.append(reference(pipeline, name, 0, records, window_hash, close_all=close, keys_required=False))
    own = [row for each in expected for row in each.rows]
    if close:
        return own + reference_combined(pipeline, 0, expected, window_hash).rows
    until_ms = complete_until(expected)
    return own + reference_combined(pipeline, 0, expected, window_hash, until_ms=until_ms).rows


@pytest.mark.parametrize("close", [True, False])
def test_the_rows_are_the_interpreter_s(pipeline: Path, files: dict[str, Path], *, close: bool) -> None:
    options = [] if close else ["--no-close"]
    run = streamgauge("process", pipeline, *files.values(), *options)
    assert run.returncode == 0, run.stderr
    expected = reference_rows(pipeline, files, close=close)
    assert run.stdout.splitlines() == [row.data for row in expected]
    assert {row.output for row in expected} == {"all", "visits", "trend", "late"}


def test_global_windows_come_last_in_order(pipeline: Path, files: dict[str, Path]) -> None:
    found = rows(streamgauge("process", pipeline, *files.values()).stdout)
    windows = [name for name, _ in itertools.groupby(row["window"] for row in found)]
    assert windows == ["visits", "all", "trend", "late"]
    for name in ("all", "trend", "late"):
        places = [
            (row["window_end"], row["window_start"], row.get("page") or "") for row in found if row["window"] == name
        ]
        assert places == sorted(places)
    assert all(
        row["final"] and row["revision"] == 0 and "shard" not in row for row in found if row["window"] != "visits"
    )


def test_neither_batches_nor_the_order_of_files_change_them(pipeline: Path, files: dict[str, Path]) -> None:
    runs = [
        streamgauge("process", pipeline, *(files[name] for name in order), "--batch-size", size)
        for order, size in zip(itertools.permutations(FILES), ("1", "2", "7", "100", "1000", "100000"), strict=True)
    ]
    combined = [[line for line in run.stdout.splitlines() if b'"window":"visits"' not in line] for run in runs]
    assert combined[0]
    assert all(each == combined[0] for each in combined)
    assert len({run.stderr for run in runs}) == 1


def test_what_is_not_complete_in_all_files_is_told_as_open(pipeline: Path, files: dict[str, Path]) -> None:
    """The shorter file has not come as far as the others."""
    closed, open_ = (streamgauge("process", pipeline, *files.values(), *more) for more in ([], ["--no-close"]))
    counts = [{line.split("  ")[1]: line for line in run.stderr.decode().splitlines()[1:]} for run in (closed, open_)]
    assert "still open" not in counts[0]
    for name in ("all", "trend", "late"):
        assert f"{name} " in counts[1]["still open"]
        assert f"{name} " in counts[0]["rows"]
    assert len(rows(open_.stdout)) < len(rows(closed.stdout))


def test_a_file_without_events_completes_nothing_unless_all_is_closed(
    pipeline: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    empty = write(tmp_path / "empty.jsonl", [])
    with_empty = streamgauge("process", pipeline, *files.values(), empty, "--no-close")
    assert {row["window"] for row in rows(with_empty.stdout)} == {"visits"}
    closed = streamgauge("process", pipeline, *files.values(), empty)
    assert closed.stdout == streamgauge("process", pipeline, *files.values()).stdout
