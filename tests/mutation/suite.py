"""The tests that may kill: collected once, run in forked children, one mutant a child.

A child ends at the first test that fails. One that takes far more processor time than the test did, or waits for ever,
is ended by the kernel's timers: the mutant is killed by time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.implant import Implants
from tests.mutation.mutants import Mutant

FACTOR = 8
SPARE_SECONDS = 3
"""A test is ended after `FACTOR` times what it, and the longest of its file, took unchanged, and this: it may be the
first to need what the file's tests share."""
WAIT_SECONDS = 60
"""And after ten times as long, and this, of waiting: the machine may be busy."""
EXIT_INVALID = 77
EXIT_SAME = 78

KILLED = "killed"
KILLED_BY_TIME = "killed by time"
SURVIVED = "survived"
UNREACHED = "run by no test"
NO_PROGRAM = "no program"
COUNTED = (KILLED, KILLED_BY_TIME, SURVIVED, UNREACHED)
LIVE = (SURVIVED, UNREACHED)


@dataclass
class Verdict:
    """What became of a mutant, and the number of the test that has killed it."""

    outcome: str
    test: int | None = None
    seconds: float = 0.0


class Suite:
    """Collected tests, and which of them run which lines."""

    def __init__(self, items: Sequence[pytest.Item], implants: Implants, root: Path, paths: list[str]) -> None:
        self.items = items
        self.seconds: dict[int, float] = {}
        self._longest: dict[Path, float] = defaultdict(float)
        self._implants = implants
        self._root = root
        self._paths = paths
        self._by_line: dict[tuple[str, int], set[int]] = defaultdict(set)

    # The map

    def measure(self, jobs: int, kept: Path | None = None) -> list[int]:
        """Run every test once, unchanged, and note what lines it runs and how long it takes; return those that fail.

        `kept`: a folder where what was found is kept for the next time, as long as neither code nor tests change.
        """
        groups: dict[Path, list[int]] = defaultdict(list)
        for number, item in enumerate(self.items):
            groups[item.path].append(number)
        failed: list[int] = []
        with tempfile.TemporaryDirectory(prefix="streamgauge-mutants-") as folder:
            names = {self._digest(path, numbers): numbers for path, numbers in groups.items()}
            files = {name: (kept or Path(folder)) / f"{name}.json" for name in names}
            missing = sorted((name for name, file in files.items() if not file.exists()), key=lambda n: -len(names[n]))
            deeds = (partial(self._measure_file, names[name], files[name]) for name in missing)
            for number, status in forked(deeds, jobs):
                if status:
                    raise RuntimeError(f"{self.items[names[missing[number]][0]].path}: not measured, status {status}")
            for name, file in files.items():
                failed += self._take(json.loads(file.read_text()), names[name])
        for number in failed:
            self.seconds.pop(number, None)
        return failed

    def _digest(self, path: Path, numbers: list[int]) -> str:
        """Return a name for what a file's tests do: another one wherever code, the file or the choice has changed."""
        code = hashlib.sha256()
        for module in sorted((self._root / "consumer").rglob("*.py")):
            code.update(module.read_bytes())
        code.update(path.read_bytes())
        for number in numbers:
            code.update(self.items[number].nodeid.encode())
        return f"{path.stem}-{code.hexdigest()[:16]}"

    def _take(self, found: dict[str, Any], numbers: list[int]) -> list[int]:
        for at, seconds in found["seconds"]:
            path = self.items[numbers[at]].path
            self.seconds[numbers[at]] = seconds
            self._longest[path] = max(self._longest[path], seconds)
        for path, lines in found["lines"].items():
            for line, its in lines.items():
                self._by_line[path, int(line)].update(numbers[at] for at in its)
        return [numbers[at] for at in found["failed"]]

    def _measure_file(self, numbers: list[int], out: Path) -> None:
        """Run the tests of one file, in a child. What a fixture runs counts for all of the file's tests."""
        coverage = importlib.import_module("coverage")  # installed by `make mutants` alone
        cover = coverage.Coverage(
            data_file=None, config_file=False, include=[str(self._root / path) for path in self._paths]
        )
        cover.set_option("run:disable_warnings", ["no-data-collected"])  # a file may be about other modules
        cover.start()
        seconds, failed = [], []
        for at, (number, following) in enumerate(_with_next(numbers)):
            self._implants.forget()
            before = time.process_time()
            reports = self._run(number, following, partial(_enter, cover, at))
            seconds.append((at, time.process_time() - before))
            if any(report.failed for report in reports):
                failed.append(at)
        cover.stop()
        data = cover.get_data()
        lines: dict[str, dict[int, list[int]]] = {}
        for path in self._paths:
            by_line = data.contexts_by_lineno(str(self._root / path))
            lines[path] = {line: _numbers(contexts, len(numbers)) for line, contexts in by_line.items()}
        out.write_text(json.dumps({"seconds": seconds, "failed": failed, "lines": lines}))

    def _run(
        self, number: int, following: int | None, entered: Callable[[str], object] = lambda _: None
    ) -> list[pytest.TestReport]:
        item = self.items[number]
        watch = _Phases(entered)
        item.config.pluginmanager.register(watch)
        try:
            return runtestprotocol(item, log=False, nextitem=None if following is None else self.items[following])
        finally:
            item.config.pluginmanager.unregister(watch)

    # Mutants

    def covering(self, mutant: Mutant) -> list[int]:
        """Return the tests that run one of the mutant's lines."""
        first, last = mutant.lines
        numbers = set().union(*(self._by_line.get((mutant.path, line), ()) for line in range(first, last + 1)))
        return sorted(number for number in numbers if number in self.seconds)

    def function_of(self, number: int) -> str:
        """Return the name of a test, whatever its parameters."""
        return self.items[number].nodeid.partition("[")[0]

    def is_named_after(self, number: int, path: str) -> bool:
        """Tell whether a test's file has the name of a module in its own."""
        return Path(path).stem in self.items[number].path.stem

    def try_mutant(self, mutant: Mutant, tests: Sequence[int], report: Callable[[int], None]) -> int:
        """Be the mutant, in a child, and run tests up to the first that fails, which is reported; return the status."""
        try:
            changed = self._implants.put(mutant)
        except (SyntaxError, ValueError):
            return EXIT_INVALID
        if not changed:
            return EXIT_SAME
        for number, following in _with_next(tests):
            report(-1 - number)  # what kills the child from here on is this test
            _limit(self.seconds[number] + self._longest[self.items[number].path])
            if any(each.failed for each in self._run(number, following)):
                report(number)
                return 1
        return 0


class _Phases:
    """Tells which part of a test begins."""

    def __init__(self, entered: Callable[[str], object]) -> None:
        self._entered = entered

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        self._entered("file")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        self._entered("test")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        self._entered("test")


def _enter(cover: Any, at: int, phase: str) -> None:
    """Let what runs from here on count for a phase of a file's test."""
    cover.switch_context(f"{phase} {at}")


def _numbers(contexts: Iterable[str], count: int) -> list[int]:
    """Return which of a file's tests contexts are about."""
    found = set()
    for context in contexts:
        phase, _, number = context.partition(" ")
        if phase != "test":
            return list(range(count))
        found.add(int(number))
    return sorted(found)


def _with_next(numbers: Sequence[int]) -> list[tuple[int, int | None]]:
    return [(number, numbers[at + 1] if at + 1 < len(numbers) else None) for at, number in enumerate(numbers)]


def _limit(seconds: float) -> None:
    """Let the kernel end this process if a test takes too long, computing or waiting."""
    used = time.process_time()
    resource.setrlimit(
        resource.RLIMIT_CPU, (math.ceil(used + SPARE_SECONDS + FACTOR * seconds), resource.RLIM_INFINITY)
    )
    signal.setitimer(signal.ITIMER_REAL, WAIT_SECONDS + 10 * FACTOR * seconds)


def forked(deeds: Iterable[Callable[[], object]], jobs: int) -> Iterable[tuple[int, int]]:
    """Do each deed in a child of its own, so many at once; yield the deed's number and the child's wait status."""
    running: dict[int, int] = {}
    for number, deed in enumerate(deeds):
        running[_fork(deed)] = number
        if len(running) >= jobs:
            yield _reap(running)
    while running:
        yield _reap(running)


def _fork(deed: Callable[[], object]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # the child does the same: whoever comes first
            os.setpgid(pid, pid)
        return pid
    status = 70
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        result = deed()
        status = result if isinstance(result, int) else 0
    except BaseException:  # noqa: BLE001 - a child must end here, whatever has happened
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def _reap(running: dict[int, int]) -> tuple[int, int]:
    """Wait for a child, and end what it has left."""
    pid, status = os.wait()
    while pid not in running:
        pid, status = os.wait()
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    return running.pop(pid), status
