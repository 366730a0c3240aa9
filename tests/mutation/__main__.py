"""Mutation testing: small changes to the core, the state stores and the commit, each of which should make a test fail.

`python -m tests.mutation` changes everything (hours); `--sample 60 --seed 7` so many at random, and all of the places
where nothing may survive; `core/processor state/` modules by a part of their names. Exit status 1 if something survives
in one of these places, or fewer than `--bar` percent of the others are killed.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TextIO

import pytest

from tests.mutation import places
from tests.mutation.implant import Implants
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.report import judge, table
from tests.mutation.run import Run, sample
from tests.mutation.suite import LIVE, Suite, Verdict

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run; return the exit status."""
    options = _parser().parse_args()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        mutation = Mutation(options, out)
        arguments = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-o", "timeout=0", "--no-summary"]
        arguments += ["-m", "not deep and not daemon", f"--rootdir={ROOT}"]
        status = pytest.main([*arguments, *(str(ROOT / each) for each in options.killers)], plugins=[mutation])
    return mutation.status if mutation.status is not None else int(status) or 1


class Mutation:
    """Takes over when pytest has collected."""

    def __init__(self, options: argparse.Namespace, out: TextIO) -> None:
        self._options = options
        self._out = out
        self.status: int | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep so many instances of each test with seeds as may be, and all others."""
        seen: Counter[str] = Counter()
        kept = []
        for item in items:
            name = item.nodeid.partition("[")[0]
            seen[name] += "seed" in getattr(getattr(item, "callspec", None), "params", ())
            if seen[name] <= self._options.seeds and not places.LEFT_OUT.search(item.nodeid):
                kept.append(item)
        items[:] = kept

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do the work instead of running the tests."""
        self.status = self._work(session)
        return True

    def _tell(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)

    def _work(self, session: pytest.Session) -> int:
        options, started = self._options, time.monotonic()
        paths = places.modules(ROOT)
        for path in paths:
            importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        implants = Implants(ROOT, paths)
        gc.collect()
        gc.freeze()
        suite = Suite(session.items, implants, ROOT, paths)
        self._tell(f"{len(session.items)} tests")
        failed = suite.measure(options.jobs, options.keep)
        self._tell(f"measured in {time.monotonic() - started:.0f} s, {sum(suite.seconds.values()):.0f} s of tests")
        for number in failed:
            self._tell(f"fails unchanged: {session.items[number].nodeid}")
        picked = self._picked([each for path in paths for each in mutants(ROOT, path)])
        self._tell(f"{len(picked)} mutants")
        run = Run(suite, self._out, jobs=options.jobs, seconds_max=options.seconds)
        run.all(picked, started + options.minutes * 60)
        _report(run.verdicts, session.items, options.out)
        for line in table(run.verdicts):
            self._tell(line)
        left = [mutant for mutant in picked if mutant not in run.verdicts]
        troubles = judge(run.verdicts, left, options.bar)
        self._tell(f"{time.monotonic() - started:.0f} s; {len(left)} mutants were left when the time was over")
        for trouble in troubles:
            self._tell(trouble)
        return int(bool(troubles))

    def _picked(self, found: list[Mutant]) -> list[Mutant]:
        options = self._options
        if options.modules:
            found = [each for each in found if any(part in f"{each.path}::{each.function}" for part in options.modules)]
        if options.again:
            rows = json.loads(options.again.read_text(encoding="utf-8"))
            live = {row["name"] for row in rows if row["outcome"] in LIVE}
            return [each for each in found if each.name in live]
        if options.sample is None:
            return found
        held = [each for each in found if places.held(each.path, each.function)]
        return held + sample([each for each in found if each not in set(held)], options.sample, options.seed)


def _report(verdicts: dict[Mutant, Verdict], items: list[pytest.Item], out: Path | None) -> None:
    rows = [
        {
            "name": each.name,
            "line": each.line,
            "kind": each.kind,
            "outcome": verdict.outcome,
            "seconds": round(verdict.seconds, 2),
            "test": None if verdict.test is None else items[verdict.test].nodeid,
        }
        for each, verdict in verdicts.items()
    ]
    if out is not None:
        out.write_text(json.dumps(rows, indent=0), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="parts of module names; all of MODULES if there are none")
    parser.add_argument("--sample", type=int, help="about so many at random, and all where nothing may survive")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600.0, help="end after so long")
    parser.add_argument(
        "--bar", type=float, default=90.0, help="percent that must be killed where something may survive"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of tests a mutant")
    parser.add_argument("--seeds", type=int, default=10_000, help="of each test that has seeds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write every verdict here, as JSON")
    parser.add_argument("--again", type=Path, help="only those that survived in the run that wrote this with --out")
    parser.add_argument("--keep", type=Path, help="a folder to keep measurements in from run to run")
    parser.add_argument("--killers", nargs="+", default=places.KILLERS, help="the tests' folders or files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
