from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench import commit, core_report
from bench.commit import FULL, QUICK, Found, figures, goals, markdown
from bench.commit_run import Shard, bare_decoding, bare_encoding, commits, merging, restoring
from consumer.testing.entries import whole_entry

ROOT = Path(__file__).parents[2]
HELD = 1_500


@pytest.fixture(scope="module")
def shard() -> Shard:
    return Shard(HELD)


def test_a_commit_writes_what_changed(shard: Shard) -> None:
    shard.change(40)
    shard.commit()
    (groups,) = whole_entry(shard.entry(-1)).windows
    assert len(groups[1]) == 40
    measured = commits(shard, 40, 3)
    assert 400 < measured["bytes"] < len(shard.entry(0)) / 10
    assert measured["ratio"] > 0


def test_merges_are_done_between_the_commits_that_are_measured(shard: Shard) -> None:
    commits(shard, 10, 12)
    assert not shard.merges
    assert len(shard.manifest()) < 12


def test_the_whole_state_is_measured(shard: Shard) -> None:
    assert restoring(shard)["bytes"] == sum(map(len, shard.entries()))
    assert 0 < merging(shard)["longest"] <= merging(shard)["seconds"] * 100
    assert bare_encoding(shard.entry(0)) > 0
    assert bare_decoding(shard.entries()) > 0


def test_a_measurement_runs_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "bench.commit_run", "1100", "1", "100"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100)
    assert set(msgspec.json.decode(done.stdout)) == {"100", "restore", "merge"}


def found() -> Found:
    """Return what a run may have found."""
    small = {"seconds": 0.001, "ratio": 2.0, "bytes": 14_000.0}
    whole = {"restore": {"seconds": 3.0, "ratio": 3.5, "bytes": 8e6}, "merge": {"seconds": 2.0, "longest": 0.02}}
    return {1_000: {"1000": small, **whole}, 1_000_000: {"1000": small, "10000": small, **whole}}


def test_the_largest_state_is_judged() -> None:
    reached = {name: (value, most) for name, value, most in goals(found())}
    assert reached == {
        "commit_1000000_held_1000_changed_ratio": (2.0, 3.0),
        "restore_1000000_ratio": (3.5, 3.0),
        "merge_1000000_longest": (20.0, 50.0),
    }
    verdicts = {figure.name: figure.value for figure in figures(found())}
    assert verdicts["commit_1000000_held_1000_changed_ratio_goal"] == "met"
    assert verdicts["restore_1000000_ratio_goal"] == "not_met"
    assert verdicts["commit_1000_held_1000_changed"] == 1.0


def test_the_tables_say_what_is_not_met() -> None:
    text = markdown(found(), "2030-01-31T10:00:00+00:00", {"cores": 2})
    assert "| held | 1,000 changed | 10,000 changed |" in text
    assert "| 1,000 | 1.0 ms, 2.0 x, 14 kB |  |" in text
    assert "| 1,000,000 | 8,000 kB | 3,000 ms, 3.5 x | 2,000 ms | 20 ms |" in text
    assert "A restore of 1,000,000 groups, in bare decodings: 3.5; wanted: at most 3, **not met**." in text


def test_a_quick_run_writes_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(commit, "run", lambda held, _: found()[1_000_000] if held else {})
    monkeypatch.setattr(sys, "argv", ["commit", "--quick"])
    monkeypatch.setattr(commit, "write", None)
    assert commit.main() == 0
    assert "commit_10000_held_1000_changed 1.000 cpu_ms\n" in capsys.readouterr().out


def test_a_failure_ends_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise subprocess.CalledProcessError(1, ["x"], stderr="MemoryError")

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(sys, "argv", ["commit", "--quick"])
    assert commit.main() == 1
    assert "MemoryError" in capsys.readouterr().err


def test_what_is_written_has_a_place() -> None:
    assert all(mark in core_report.PAGE.read_text(encoding="utf-8") for mark in core_report.marks("commit"))
    assert set(QUICK.changed) <= set(FULL.changed)
