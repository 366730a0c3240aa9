"""Runs mutants: picks them, orders the tests that may kill each, and tells what has survived."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import TextIO

from tests.mutation import places
from tests.mutation.equivalents import EQUIVALENTS
from tests.mutation.mutants import Mutant
from tests.mutation.suite import (
    EXIT_INVALID,
    EXIT_SAME,
    KILLED,
    KILLED_BY_TIME,
    LIVE,
    NO_PROGRAM,
    SURVIVED,
    UNREACHED,
    Suite,
    Verdict,
    forked,
)

NAMED = 5.0
"""How much likelier tests kill that are named after a module."""
PIPE_BYTES = 65536
"""What a pipe holds: more than the numbers of all tests."""


def sample(found: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return so many of the mutants, each module's share by its size, in an order of chance."""
    random = Random(seed)
    by_path: dict[str, list[Mutant]] = defaultdict(list)
    for each in found:
        by_path[each.path].append(each)
    picked = []
    for path in sorted(by_path):
        its = by_path[path]
        share = count * len(its) / len(found)
        whole = int(share) + (random.random() < share - int(share))
        picked += random.sample(its, min(whole, len(its)))
    random.shuffle(picked)
    return picked


def _instances(functions: Sequence[str]) -> list[int]:
    """Return which instance of its function, counted from 1, each test is."""
    seen: Counter[str] = Counter()
    numbers = []
    for function in functions:
        seen[function] += 1
        numbers.append(seen[function])
    return numbers


class Run:
    """One run over some mutants. `seconds_max`: of tests a mutant, as they took unchanged."""

    def __init__(self, suite: Suite, out: TextIO, *, jobs: int, seconds_max: float) -> None:
        self._suite = suite
        self._out = out
        self._jobs = jobs
        self._seconds_max = seconds_max
        self._kills: Counter[tuple[str, int]] = Counter()
        self.verdicts: dict[Mutant, Verdict] = {}

    def all(self, mutants: Sequence[Mutant], deadline: float) -> None:
        """Try mutants until all are done or the time (`time.monotonic`) has come."""
        begun: dict[int, tuple[int, int, float]] = {}

        def starts() -> Iterator[Callable[[], int]]:
            for number, mutant in enumerate(mutants):
                if time.monotonic() > deadline:
                    return
                receiver, sender = os.pipe()
                begun[number] = receiver, sender, time.monotonic()
                yield partial(self._suite.try_mutant, mutant, self._ordered(mutant), partial(_tell, sender))

        for number, status in forked(starts(), self._jobs):
            receiver, sender, started = begun.pop(number)
            told = _told(receiver, sender)
            self._note(mutants[number], status, told, time.monotonic() - started)

    def _ordered(self, mutant: Mutant) -> list[int]:
        """Return the tests to run, no more than allowed: first those that have killed near by, then quick ones.

        Of a test with many parameters the first instances come first, so that every test has its turn.
        Where nothing may survive all may run that run the place, so that it does not hang on how long tests took.
        """
        suite, kills = self._suite, self._kills
        near = f"{mutant.path}::{mutant.function}"
        covering = suite.covering(mutant)
        instances = _instances([suite.function_of(number) for number in covering])
        instance_of = dict(zip(covering, instances, strict=True))

        def worth(number: int) -> float:
            named = NAMED if suite.is_named_after(number, mutant.path) else 1
            score = 200 * kills[near, number] + 20 * kills[mutant.path, number] + named / instance_of[number]
            return score / (suite.seconds[number] + 0.01)

        held = places.held(mutant.path, mutant.function) and mutant.name not in EQUIVALENTS
        left, chosen = math.inf if held else self._seconds_max, []
        for number in sorted(covering, key=lambda number: (-worth(number), number)):
            if suite.seconds[number] <= left:
                left -= suite.seconds[number]
                chosen.append(number)
        return chosen

    def _note(self, mutant: Mutant, status: int, told: int | None, seconds: float) -> None:
        if os.WIFSIGNALED(status):
            by_time = os.WTERMSIG(status) in {signal.SIGXCPU, signal.SIGALRM}
            outcome = KILLED_BY_TIME if by_time else KILLED
        else:
            code = os.WEXITSTATUS(status)
            unreached = told is None and code == 0
            outcome = {0: SURVIVED, EXIT_INVALID: NO_PROGRAM, EXIT_SAME: NO_PROGRAM}.get(code, KILLED)
            outcome = UNREACHED if unreached else outcome
        test = None
        if outcome in {KILLED, KILLED_BY_TIME} and told is not None:
            test = told if told >= 0 else -1 - told
            self._kills[f"{mutant.path}::{mutant.function}", test] += 1
            self._kills[mutant.path, test] += 1
        self.verdicts[mutant] = Verdict(outcome, test, seconds)
        if outcome in LIVE:
            print(
                f"{len(self.verdicts):5d} {outcome}: {mutant.path}:{mutant.line} [{mutant.kind}] {mutant.changed}",
                file=self._out,
                flush=True,
            )


def _tell(sender: int, test: int) -> None:
    os.write(sender, f"{test}\n".encode())


def _told(receiver: int, sender: int) -> int | None:
    """Return the last that a child has told, which has ended; other children may hold the same pipe."""
    os.write(sender, b"\n")
    told = os.read(receiver, PIPE_BYTES).split()
    os.close(receiver)
    os.close(sender)
    return int(told[-1]) if told else None
