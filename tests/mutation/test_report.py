"""Which mutants are picked, what is told of them, and what is wrong."""

from __future__ import annotations

import io
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from tests.mutation import places, report, suite
from tests.mutation.equivalents import EQUIVALENTS
from tests.mutation.implant import Implants
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.report import judge, table
from tests.mutation.run import Run, sample
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
    assert lines[2] == "| `core/panes.py` | 4 | 2 | 1 | 2 | 1 | 50.0 |"
    assert lines[-4:-2] == ["| elsewhere | 4 | 2 | 1 | 2 | 1 | 50.0 |", "| all | 4 | 2 | 1 | 2 | 1 | 50.0 |"]
    assert lines[-1].endswith("15.0 to 85.0 % of all (95 %).")


def test_how_sure_a_rate_is_depends_on_how_many_were_tried() -> None:
    assert report.interval(Counter()) == (0.0, 100.0)
    few, many = (report.interval(Counter({KILLED: 9 * number, SURVIVED: number})) for number in (1, 100))
    assert [round(bound, 1) for bound in few] == [59.6, 98.2]
    assert [round(bound, 1) for bound in many] == [88.0, 91.7]


def test_what_a_test_has_killed_may_not_be_called_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EQUIVALENTS, _mutant(4).name, "because")
    assert judge({_mutant(4): Verdict(KILLED)}, [], 90) == [f"killed, so not alike: {PANES}:4 change 4"]
    assert not judge({_mutant(4): Verdict(KILLED_BY_TIME)}, [], 90)


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


def test_every_mutant_that_is_called_alike_is_a_single_one_and_has_a_reason() -> None:
    paths = {name.partition("::")[0] for name in EQUIVALENTS}
    names = Counter(each.name for path in paths for each in mutants(ROOT, path))
    assert {name: names[name] for name in EQUIVALENTS if names[name] != 1} == {}
    assert all(len(reason) > 10 for reason in EQUIVALENTS.values())


def test_children_tell_how_they_end_and_are_as_many_as_may_be() -> None:
    def killed() -> None:
        os.kill(os.getpid(), signal.SIGXCPU)

    ends = dict(forked([lambda: 0, lambda: 3, killed, lambda: 0], 2))
    assert [os.waitstatus_to_exitcode(ends[number]) for number in range(4)] == [0, 3, -signal.SIGXCPU, 0]


@dataclass
class _Item:
    nodeid: str

    @property
    def path(self) -> Path:
        return Path(self.nodeid.partition("::")[0])


def _run(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], *, seconds_max: float) -> Run:
    """Return a run where these tests run every mutant."""
    tests = suite.Suite(cast("list[pytest.Item]", list(map(_Item, seconds))), Implants(ROOT, []), ROOT, [])
    tests.seconds = dict(enumerate(seconds.values()))
    monkeypatch.setattr(tests, "covering", lambda _mutant: list(range(len(seconds))))
    return Run(tests, io.StringIO(), jobs=1, seconds_max=seconds_max)


def test_every_test_has_its_turn_before_more_instances_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["test_a.py::a[1]", "test_a.py::a[2]", "test_a.py::a[3]", "test_a.py::b", "test_panes_more.py::c"]
    run = _run(monkeypatch, dict(zip(names, [0.1, 0.1, 0.1, 0.15, 0.4], strict=True)), seconds_max=10)
    assert run._ordered(_mutant(1)) == [4, 0, 3, 1, 2]


def test_where_nothing_may_survive_all_tests_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(monkeypatch, {"test_a.py::a": 5.0, "test_a.py::b": 1.0, "test_a.py::c": 3.0}, seconds_max=4)
    held = _mutant(1, COMMIT, "ShardOwner.commit")
    assert [run._ordered(each) for each in (_mutant(1), held)] == [[1, 2], [1, 2, 0]]
    monkeypatch.setitem(EQUIVALENTS, held.name, "because")
    assert run._ordered(held) == [1, 2]


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
