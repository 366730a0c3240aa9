"""Which mutants are picked, what is told of them, and what is wrong."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.mutation import places, report, suite
from tests.mutation.equivalents import EQUIVALENTS
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.report import judge, table
from tests.mutation.run import sample
from tests.mutation.suite import KILLED, KILLED_BY_TIME, SURVIVED, UNREACHED, Verdict, forked

ROOT = Path(__file__).parents[2]
PANES, COMMIT = "consumer/core/panes.py", "consumer/runtime/commit.py"


def _mutant(number: int, path: str = PANES, function: str = "f") -> Mutant:
    return Mutant(path, function, "test", number, (number, number), 0, 0, "", f"change {number}")


def test_a_sample_is_of_all_modules_by_their_size_and_the_same_for_a_seed() -> None:
    found = [*(_mutant(number) for number in range(300)), *(_mutant(number, COMMIT) for number in range(100))]
    picked = sample(found, 40, 5)
    assert Counter(each.path for each in picked) == {PANES: 30, COMMIT: 10}
    assert picked == sample(found, 40, 5) != sample(found, 40, 6)
    assert len(sample(found, 4000, 1)) == 400


def test_the_table_counts_what_is_alike_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EQUIVALENTS, _mutant(4).name, "because")
    outcomes = [KILLED, KILLED_BY_TIME, SURVIVED, UNREACHED, SURVIVED]
    lines = list(table({_mutant(number): Verdict(outcome) for number, outcome in enumerate(outcomes)}))
    assert lines[2] == "| `core/panes.py` | 4 | 2 | 2 | 1 | 50.0 |"
    assert lines[-1] == "| all | 4 | 2 | 2 | 1 | 50.0 |"


def test_nothing_may_survive_or_be_left_in_the_held_places(monkeypatch: pytest.MonkeyPatch) -> None:
    held = _mutant(1, COMMIT, "ShardOwner.commit")
    verdicts = {held: Verdict(SURVIVED)} | {_mutant(number): Verdict(KILLED) for number in range(100)}
    assert judge(verdicts, [], 90) == [f"survived in the order of the commit: {COMMIT}:1 change 1"]
    monkeypatch.setitem(EQUIVALENTS, held.name, "because")
    assert not judge(verdicts, [_mutant(200)], 90)
    assert judge(verdicts, [held], 90) == ["there was no time for 1 mutants where nothing may survive"]


def test_fewer_killed_than_wanted_is_told_whatever_the_held_places_add() -> None:
    verdicts = {_mutant(number): Verdict(KILLED if number < 89 else SURVIVED) for number in range(100)}
    verdicts |= {_mutant(number, COMMIT, "ShardOwner.commit"): Verdict(KILLED) for number in range(100)}
    assert not judge(verdicts, [], 89)
    assert judge(verdicts, [], 90) == ["89.0 % of the others were killed, 90 % are wanted"]


def test_every_held_function_exists() -> None:
    functions = {f"{each.path}::{each.function}" for path in places.modules(ROOT) for each in mutants(ROOT, path)}
    for pattern in places.HELD.values():
        assert any(pattern.search(function) for function in functions)


def test_every_mutant_that_is_called_alike_exists_and_has_a_reason() -> None:
    paths = {name.partition("::")[0] for name in EQUIVALENTS}
    names = {each.name for path in paths for each in mutants(ROOT, path)}
    assert not [name for name in EQUIVALENTS if name not in names]
    assert all(len(reason) > 10 for reason in EQUIVALENTS.values())


def test_children_tell_how_they_end_and_are_as_many_as_may_be() -> None:
    def killed() -> None:
        os.kill(os.getpid(), signal.SIGXCPU)

    ends = dict(forked([lambda: 0, lambda: 3, killed, lambda: 0], 2))
    assert [os.waitstatus_to_exitcode(ends[number]) for number in range(4)] == [0, 3, -signal.SIGXCPU, 0]


def test_a_test_that_computes_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "SPARE_SECONDS", 0.1)

    def endless() -> None:
        suite._limit(0)
        while True:
            time.monotonic()

    ((_, status),) = forked([endless], 1)
    assert os.WTERMSIG(status) == signal.SIGXCPU


def test_outcomes_are_told_apart() -> None:
    assert report.outcome_of(_mutant(1), Verdict(UNREACHED)) == UNREACHED
