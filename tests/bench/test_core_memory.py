from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import memory
from bench.memory import FULL, GROUPS, KINDS, POLICIES, QUICK, adds_up, figures, markdown
from bench.memory_run import Shard, busy, group_bytes, sessions
from bench.memory_stream import BATCH, START_MS, batches, record, window
from consumer.core.compile import compile_pipeline

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> dict[str, float]:
    """Return what a measurement in a process of its own finds."""
    command = [sys.executable, "-m", "bench.memory_run", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=250)
    return msgspec.json.decode(done.stdout, type=dict[str, float])


def found() -> dict[str, dict[str, float]]:
    """Return what a run may have found."""
    limited: dict[str, float] = {"groups": 50, "received": 10, "rows": 8, "early": 1, "events": 8, "dead_letters": 2}
    percentiles = {"p50": 0.002, "p99": 0.004, "p999": 0.014}
    batch = {f"batch{on}_{part}": value for on in ("", "_wall") for part, value in percentiles.items()}
    closing = {"closing_longest": 0.3, "closing_median": 0.15, "closing_total": 9.0, "closing_more_bytes": 2.0**20}
    session: dict[str, float] = {"open_first": 400e6, "committed_first": 460e6}
    session |= {f"left_{what}{turn}": 1000 for what in ("", "blocks_") for turn in ("first", "second")}
    return {
        "sessions": session,
        **{f"busy {kind}": {**batch, **closing, "commit": 1.0} for kind in KINDS},
        **{f"limited {policy}": {**limited, "peak": 100 * 2.0**20} for policy in POLICIES},
        **{f"group {name}": {"measured": 250.0, "estimate": 300.0} for name in GROUPS},
    }


def values() -> dict[str, Any]:
    return {figure.name: figure.value for figure in figures(found(), FULL)}


def test_keys_have_one_size_and_batches_as_well() -> None:
    made = list(batches(range(2 * BATCH + 1), 2_000))
    assert [len(batch) for batch in made] == [BATCH, BATCH, 1]
    assert {len(each.partition_key or "") for batch in made for each in batch} == {13}
    assert made[-1][0] == record(2 * BATCH, START_MS + 4 * BATCH)


def test_a_shard_counts_rows_and_the_events_in_them() -> None:
    shard = Shard(window("session: {gap: 2h}"))
    assert (shard.rows, shard.events, shard.open_groups()) == (BATCH, BATCH, 0)
    shard.fill(300)
    shard.fill(200)
    assert shard.open_groups() == 300
    shard.close(START_MS * 2)
    assert (shard.rows, shard.events, shard.open_groups()) == (BATCH + 300, BATCH + 500, 0)


def test_sessions_are_opened_and_closed_twice() -> None:
    measured = sessions(3_000)
    assert measured["key_bytes"] == 62
    assert measured["left_blocks_second"] < 1_000


@pytest.mark.parametrize("kind", KINDS.values())
def test_closing_takes_as_many_steps_as_there_are_rows_for(kind: str) -> None:
    measured = busy(kind, 12_000, 3)
    assert measured["closing_steps"] == 2
    assert measured["closing_longest"] >= measured["closing_median"] > 0
    assert measured["batch_p999"] >= measured["batch_p50"] > 0


def test_the_groups_of_a_window_are_measured() -> None:
    measured = group_bytes("sliding: {size: 2h, every: 30m}", "user", "events: count()", 500)
    assert measured["groups"] == 2_000
    assert measured["estimate"] > 100


def test_all_windows_that_are_measured_can_be_made() -> None:
    for kind, by, select in GROUPS.values():
        compile_pipeline(window(kind, by, select))


@pytest.mark.parametrize("policy", POLICIES)
def test_more_keys_than_the_limit_add_up(policy: str) -> None:
    measured = run("limited", policy, 30_000, 400, 1)
    assert measured["received"] == 30_000 + 30 + BATCH
    assert adds_up(measured)
    assert measured["groups"] < 5_000
    assert bool(measured["early"]) == (policy == "emit_early")
    assert bool(measured["dead_letters"]) == (policy == "reject")


def test_a_process_with_too_little_memory_fails() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run("limited", "reject", 100_000, 40, 39)
    assert "MemoryError" in failed.value.stderr


@pytest.mark.deep
@pytest.mark.parametrize(
    ("policy", "keys", "memory_mib", "state_mib"), [("reject", 1_000_000, 160, 64), ("emit_early", 250_000, 96, 8)]
)
def test_very_many_keys_stay_within_the_limit(policy: str, keys: int, memory_mib: int, state_mib: int) -> None:
    measured = run("limited", policy, keys, memory_mib, state_mib)
    assert adds_up(measured)
    assert measured["early"] + measured["dead_letters"] > keys * 0.3


def test_what_was_aimed_for_is_judged() -> None:
    found_values = values()
    assert found_values["memory_session_open"] == 400.0
    assert found_values["memory_session_goal"] == "not_met"
    assert found_values["memory_session_left_goal"] == "met"
    assert found_values["memory_session_pause"] == pytest.approx(7.0)
    assert found_values["memory_session_pause_goal"] == "not_met"
    assert found_values["memory_tumbling_closing_goal"] == "met"
    assert found_values["memory_limit_reject_adds_up"] == "met"
    assert found_values["memory_group_tumbling_3_aggregates_estimate"] == pytest.approx(1.2)


def test_the_tables_say_what_is_not_met() -> None:
    text = markdown(found(), FULL, "2030-01-31T10:00:00+00:00", {"cores": 2})
    assert "1,000,000 open sessions" in text
    assert "**400 bytes** each, 460 after a commit; wanted: at most 450, **not met**" in text
    assert "- session: the p99.9 of a batch is 7.0 medians; wanted: 3, **not met**." in text
    assert "| reject | 50 | 256 MiB | 100 MiB | 8 | 1 | 2 | yes |" in text


def test_a_failure_ends_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise subprocess.CalledProcessError(1, ["x"], stderr="MemoryError")

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(sys, "argv", ["memory", "--quick"])
    assert memory.main() == 1
    assert "MemoryError" in capsys.readouterr().err
    assert QUICK.groups < FULL.groups
