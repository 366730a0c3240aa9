"""`python -m consumer.testing.simulation`: many seeds and what they met, or one seed and all that happened."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from consumer.testing.simulation.pipelines import FILES
from consumer.testing.simulation.plan import RECORDS, Fault, Plan
from consumer.testing.simulation.run import Result, run
from consumer.testing.simulation.shrink import shrink

_SEEDS_OF_JOB = 10


class Verdict(NamedTuple):
    """What is told of a seed."""

    seed: int
    error: str | None
    counts: Counter[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if everything held."""
    options = _parser().parse_args(arguments)
    if options.seed is not None:
        return _one(_changed(Plan.of(options.seed), options), trace=options.trace, shrinks=not options.keep)
    first, last = options.seeds
    return _many(range(first, last + 1), options.jobs, shrinks=not options.keep)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m consumer.testing.simulation",
        description="Simulate several workers through crashes, lost leases, resharding and faults; a seed is a run.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", type=_range, metavar="A..B", help="run these seeds and tell what they met")
    which.add_argument("--seed", type=int, metavar="N", help="run one seed")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes for --seeds")
    parser.add_argument("--keep", action="store_true", help="leave a plan that fails as large as it is")
    one = parser.add_argument_group("with --seed")
    one.add_argument("--trace", action="store_true", help="print every step")
    one.add_argument("--salt", type=int, metavar="N", help="other chances for the same plan")
    one.add_argument("--pipeline", choices=list(FILES))
    one.add_argument("--records", type=int, metavar="N", help=f"without it {RECORDS}")
    one.add_argument("--seconds", type=float, metavar="N", help="how long records come")
    one.add_argument("--shards", type=int, metavar="N")
    one.add_argument("--reshards", type=int, metavar="N", help="how many splits and merges")
    one.add_argument("--orderly", action="store_true", help="no silences and no disorder beyond the usual")
    one.add_argument("--workers", type=int, metavar="N")
    one.add_argument("--only", type=_faults, metavar="FAULT,…", help=f"of {', '.join(Fault)}; '' for none")
    one.add_argument("--plain", action="store_true", help="the product's own limits")
    return parser


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("..")
    return int(first), int(last or first)


def _faults(text: str) -> list[Fault]:
    return [Fault(name) for name in text.split(",") if name]


def _changed(plan: Plan, options: argparse.Namespace) -> Plan:
    """Return the plan as the options want it."""
    load = plan.load
    for name in ("records", "seconds", "shards", "reshards"):
        if getattr(options, name) is not None:
            load = load._replace(**{name: getattr(options, name)})
    if options.orderly:
        load = load._replace(silences=0, disorder=0.0)
    plan = replace(plan, load=load)
    for name in ("salt", "pipeline", "workers"):
        if getattr(options, name) is not None:
            plan = replace(plan, **{name: getattr(options, name)})
    if options.only is not None:
        plan = replace(plan, strength={fault: plan.strength.get(fault, 0.5) for fault in options.only})
    return plan.plain() if options.plain else plan


def command(plan: Plan) -> str:
    """Return how to run a plan."""
    usual, load = Plan.of(plan.seed), plan.load
    words = ["python -m consumer.testing.simulation", f"--seed {plan.seed}"]
    words += [f"--{name} {getattr(plan, name)}" for name in ("salt", "workers") if _differs(plan, usual, name)]
    for name in ("records", "seconds", "shards", "reshards"):
        words += [f"--{name} {getattr(load, name)}"] if _differs(load, usual.load, name) else []
    words += ["--orderly"] if (load.silences, load.disorder) != (usual.load.silences, usual.load.disorder) else []
    words += [f"--only '{','.join(plan.strength)}'"] if plan.strength != usual.strength else []
    words += ["--plain"] if plan.limits != usual.limits else []
    return " ".join(words)


def _differs(one: object, other: object, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _one(plan: Plan, *, trace: bool, shrinks: bool) -> int:
    result = run(plan, _tell if trace else None)
    if result.error is None:
        _tell_counts(result.counts)
        _tell(f"seed {plan.seed}: everything held" + (f"; trace {result.trace:08x}" if trace else ""))
        return 0
    _tell("".join(traceback.format_exception(result.error)))
    if shrinks:
        _tell_small(result)
    return 1


def _tell_small(result: Result) -> None:
    assert result.error is not None
    small = shrink(result.plan, result.error, lambda plan: run(plan).error)
    _tell(f"the same, smaller: {command(small)} --keep --trace")
    _tell(f"  {run(small).error}")


def _many(seeds: Sequence[int], jobs: int, *, shrinks: bool) -> int:
    counts: Counter[str] = Counter()
    failed: list[int] = []
    for verdict in _verdicts(seeds, jobs):
        counts += verdict.counts
        if verdict.error is not None:
            failed.append(verdict.seed)
            _tell(f"seed {verdict.seed} failed: {verdict.error}\n  {command(Plan.of(verdict.seed))}")
    _tell_counts(counts)
    _tell(f"{len(seeds)} seeds, {len(failed)} failed")
    if failed and shrinks:
        _tell_small(run(Plan.of(failed[0])))
    return 1 if failed else 0


def _verdicts(seeds: Sequence[int], jobs: int) -> Iterator[Verdict]:
    if jobs == 1:
        yield from map(_judge, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_judge, seeds, chunksize=_SEEDS_OF_JOB)


def _judge(seed: int) -> Verdict:
    result = run(Plan.of(seed))
    error = None if result.error is None else f"{type(result.error).__name__}: {result.error}"
    return Verdict(seed, error, result.counts)


def _tell_counts(counts: Counter[str]) -> None:
    width = max(map(len, counts), default=0)
    for name, number in sorted(counts.items()):
        _tell(f"{name:{width}} {number:10,}")


if __name__ == "__main__":
    sys.exit(main())
