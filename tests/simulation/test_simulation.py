"""Two hundred seeds through crashes, zombies, resharding and faults; and that they would find what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from consumer.testing.simulation.__main__ import command, main
from consumer.testing.simulation.pipelines import GLOBAL_FILES
from consumer.testing.simulation.plan import EVENTS, RATES, Fault, Plan
from consumer.testing.simulation.run import Result, run
from consumer.testing.simulation.shrink import shrink, signature
from tests.simulation.planted import BUGS, Bug, no_skip
from tests.simulation.planted_global import GLOBAL_BUGS

SEEDS = 200
CHUNK = 10
SEEN_IN_A_CHUNK = (
    "commits of zombies",
    "deltas",
    "duplicates before dedupe",
    "fences",
    "idle decisions",
    "ledgers written",
    "late rows",
    "dead letters",
    "leases lost",
    "merges",
    "objects deleted",
    "outboxes resent",
    "parents retired",
    "records replayed",
    "runs interpreted",
    "splits",
)
"""What every ten seeds meet; the rest is asked of more of them."""
SEEN_IN_ALL = (
    "attempts at a sink that is down",
    "checkpoints refused",
    "hand-overs",
    "hand-overs forced",
    "late inits",
    "late writes refused",
    "leases stolen",
    "merges of entries",
    "processes ended by FencedError",
    "refusals",
    *(f"fault {fault}" for fault in Fault),
)


def _run(plan: Plan) -> Result:
    result = run(plan)
    if result.error is not None:
        raise AssertionError(f"run it again: {command(plan)}") from result.error
    return result


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_whatever_happens_the_rows_are_those_of_a_recount(first: int) -> None:
    counts = sum((_run(Plan.of(seed)).counts for seed in range(first, first + CHUNK)), Counter[str]())
    assert counts["records"] == CHUNK * 2_000
    assert not [name for name in SEEN_IN_A_CHUNK if not counts[name]]


def test_every_kind_of_trouble_is_met() -> None:
    """Ten seeds with everything on are enough for what is rare otherwise."""
    counts: Counter[str] = Counter()
    for seed in range(1, 11):
        plan = Plan.of(seed)
        counts += _run(replace(plan, strength=dict.fromkeys(Fault, 1.0))).counts
    assert not [name for name in (*SEEN_IN_A_CHUNK, *SEEN_IN_ALL) if not counts[name]]


def test_every_kind_of_trouble_has_a_rate_or_a_number() -> None:
    assert RATES.keys() | EVENTS.keys() == set(Fault)
    assert not RATES.keys() & EVENTS.keys()


def test_without_trouble_nothing_is_sent_twice() -> None:
    counts = _run(replace(Plan.of(5), strength={})).counts
    assert counts["rows"] > 0
    assert not counts["fences"]
    assert not counts["duplicates before dedupe"]


# -- the simulation itself


def _trace(seed: int) -> tuple[str, int, str]:
    lines: list[str] = []
    result = run(Plan.of(seed, records=500), lines.append)
    assert result.error is None
    assert len(lines) > 500
    return result.fingerprint, result.trace, lines[-1]


def test_a_run_is_a_function_of_its_seed() -> None:
    assert _trace(3) == _trace(3)
    assert _trace(3) != _trace(4)


def test_it_is_the_same_in_another_process() -> None:
    """With another seed of Python's hashes: no order of a set may decide anything."""
    program = "from consumer.testing.simulation.plan import Plan\nfrom consumer.testing.simulation.run import run\n"
    program += "print(run(Plan.of(3, records=500), lambda _: None).trace)"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, check=True)
    assert int(done.stdout) == _trace(3)[1]


@pytest.mark.parametrize("bug", GLOBAL_BUGS, ids=lambda bug: bug.plant.__name__)
def test_a_planted_bug_of_global_windows_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    plans = (replace(Plan.of(seed), interprets=bug.interprets) for seed in range(bug.first, 10 * SEEDS))
    for plan in islice((plan for plan in plans if plan.pipeline in GLOBAL_FILES), SEEDS):
        error = run(plan).error
        if error is not None:
            assert re.search(bug.finding, str(error)), error
            return
    pytest.fail(f"not found in {SEEDS} runs with global windows")


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.plant.__name__)
def test_a_planted_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    for seed in range(bug.first, bug.first + SEEDS):
        plan = replace(Plan.of(seed), interprets=bug.interprets)
        if bug.needs is not None:
            plan = replace(plan, strength={**plan.strength, bug.needs: 1.0})
        error = run(plan).error
        if error is not None:
            assert re.search(bug.finding, str(error)), error
            return
    pytest.fail(f"not found in {SEEDS} seeds")


def test_a_failing_plan_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    no_skip(monkeypatch)
    monkeypatch.setattr("consumer.testing.simulation.shrink.RUNS_MAX", 100)
    plan = Plan.of(1, records=400)
    error = run(plan).error
    assert error is not None
    small = shrink(plan, error, lambda smaller: run(smaller).error)
    assert small.load.records <= plan.load.records // 4
    assert len(small.strength) < len(plan.strength)
    again = run(small).error
    assert again is not None
    assert signature(again) == signature(error)


def test_the_command_runs_a_small_plan_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan.of(2)
    small = replace(
        plan,
        salt=3,
        workers=1,
        strength={Fault.CRASH: 0.5},
        load=plan.load._replace(records=50, silences=0, disorder=0.0),
    ).plain()
    words = command(small).replace("'", "").split()[3:]
    assert main([*words, "--trace"]) == 0
    told = capsys.readouterr().out.splitlines()
    lines: list[str] = []
    assert told[-1].endswith(f"{run(small, lines.append).trace:08x}")
    assert told[: len(lines)] == lines


def test_the_command_tells_of_many_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "1..2"]) == 0
    told = capsys.readouterr().out
    assert "2 seeds, 0 failed" in told
    assert re.search(r"^records +4,000$", told, re.MULTILINE)
