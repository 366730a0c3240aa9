"""Makes a plan that fails smaller, as long as it fails in the same way: a short trace tells more than a long one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from consumer.testing.simulation.plan import USUAL, Fault, Plan

RUNS_MAX = 300
SALTS = 4
"""How many chances a smaller plan gets: other steps meet other troubles."""
_RECORDS_MIN = 10
_SECONDS_MIN = 20.0


def signature(error: BaseException) -> str:
    """Return what two failures of one cause have in common."""
    return f"{type(error).__name__} {re.split('[:0-9]', str(error))[0]}"


def shrink(plan: Plan, error: BaseException, run: Callable[[Plan], BaseException | None]) -> Plan:
    """Return the smallest plan that was found to fail like `plan`; `run` returns a plan's failure."""
    wanted, runs = signature(error), 0
    found = True
    while found and runs < RUNS_MAX:
        found = False
        for smaller in _smaller(plan):
            for salt in range(SALTS):
                candidate, runs = replace(smaller, salt=salt), runs + 1
                failure = run(candidate)
                if failure is not None and signature(failure) == wanted:
                    plan, found = candidate, True
                    break
            if found or runs >= RUNS_MAX:
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    load = plan.load
    if load.records >= 2 * _RECORDS_MIN:
        yield replace(plan, load=load._replace(records=load.records // 2))
    if load.seconds >= 2 * _SECONDS_MIN:
        yield replace(plan, load=load._replace(seconds=load.seconds / 2, records=load.records // 2))
    for fault in plan.strength:
        yield replace(plan, strength=_without(plan, fault))
    if load.reshards:
        yield replace(plan, load=load._replace(reshards=load.reshards - 1))
    if plan.workers > 1:
        yield replace(plan, workers=plan.workers - 1)
    if load.shards > 1:
        yield replace(plan, load=load._replace(shards=load.shards - 1))
    if load.silences or load.disorder:
        yield replace(plan, load=load._replace(silences=0, disorder=0.0))
    if plan.limits != USUAL:
        yield plan.plain()


def _without(plan: Plan, fault: Fault) -> dict[Fault, float]:
    return {other: strength for other, strength in plan.strength.items() if other is not fault}
