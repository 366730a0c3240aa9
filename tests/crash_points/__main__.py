"""`python -m tests.crash_points`: every harm at every point, or every ordered pair of them; or one plan.

A pair is a harm, and a second one at any point of the recovery from it: up to the end of the shard's lease that the
first one has struck, or of the lease that took its place.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import NamedTuple

from tests.crash_points.explore import Explorer, Plan
from tests.crash_points.variants import VARIANTS
from tests.crash_points.wire import Harm, Strike

SEED = 11
"""The pipeline and records of which all pairs are run."""
_POINTS_MAX = 10**6


class Work(NamedTuple):
    """Points of a variant, one after the other."""

    variant: int
    seed: int
    numbers: range


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if everything held."""
    options = _parser().parse_args(arguments)
    variants = [number for number, each in enumerate(VARIANTS) if options.variant in {None, each.name}]
    if options.plan is not None:
        return _one(_explorer(variants[0], options.seed), _plan(options.plan))
    return max(_all(number, options.seed, options.jobs, pairs=options.pairs) for number in variants)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash_points", description=__doc__)
    parser.add_argument("--pairs", action="store_true", help="each harm and every one that can follow it")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help="the pipeline and the records")
    parser.add_argument("--variant", choices=[variant.name for variant in VARIANTS], help="only this one")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--plan", metavar="CALL:HARM:PARTS,…", help="run this one alone, as a failure prints it")
    return parser


def _plan(text: str) -> Plan:
    strikes = (strike.split(":") for strike in text.split(","))
    return {int(number): Strike(Harm(harm), int(parts)) for number, harm, parts in strikes}


def _one(explorer: Explorer, plan: Plan) -> int:
    """Run a plan, and let what does not hold be seen with its traceback."""
    explorer.play(plan)
    return 0


def _all(variant: int, seed: int, jobs: int, *, pairs: bool) -> int:
    started, points = time.monotonic(), min(_POINTS_MAX, len(_explorer(variant, seed).base.points))
    work = [Work(variant, seed, range(at, min(at + 8, points))) for at in range(0, points, 8)]
    plans, failures = 0, 0
    for done, failed in _results(work, jobs, pairs=pairs):
        plans += done
        failures += len(failed)
        sys.stdout.writelines(f"{text}\n" for text in failed)
    what = "plans, of one harm and of two" if pairs else "plans"
    sys.stdout.write(
        f"{VARIANTS[variant].name}: {points} points, {plans:,} {what}, {failures} failed, "
        f"{time.monotonic() - started:.0f} s\n"
    )
    sys.stdout.flush()
    return 1 if failures else 0


def _results(work: Sequence[Work], jobs: int, *, pairs: bool) -> Iterator[tuple[int, list[str]]]:
    if jobs == 1:
        yield from map(partial(_do, pairs=pairs), work)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(_do, pairs=pairs), work)


def _do(work: Work, *, pairs: bool) -> tuple[int, list[str]]:
    """Run all plans that begin at some points; return how many they were, and what is to be told of those that fail."""
    explorer = _explorer(work.variant, work.seed)
    plans, failures = 0, []
    for plan in explorer.singles(work.numbers):
        for failure in explorer.follow(plan) if pairs else [explorer.tried(plan)]:
            plans += 1
            if failure is not None:
                failures.append(failure.text)
    return plans, failures


@cache
def _explorer(variant: int, seed: int) -> Explorer:
    return Explorer(VARIANTS[variant], seed)


if __name__ == "__main__":
    sys.exit(main())
