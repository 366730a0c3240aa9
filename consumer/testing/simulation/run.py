"""Runs plans, with the product's limits set low for each."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from consumer.core.processor import Processor
from consumer.runtime import commit, compaction
from consumer.testing.simulation.plan import Limits, Plan
from consumer.testing.simulation.world import Tell, World


@dataclass(frozen=True)
class Result:
    """What came of a run. `error` None: everything held. `trace` is a hash of the trace, 0 without one."""

    plan: Plan
    error: BaseException | None
    counts: Counter[str]
    trace: int
    fingerprint: str


def run(plan: Plan, tell: Tell | None = None) -> Result:
    """Run a plan. What a worker raises and no worker may raise is an error of the run, as is what does not hold."""
    error: BaseException | None = None
    with _limits(plan.limits):
        world = World(plan, tell)
        try:
            world.run()
        except Exception as raised:  # noqa: BLE001 - it is what the run found
            error = raised
    scheduler = world.scheduler
    fingerprint = f"{scheduler.steps} {scheduler.now!r} {world.random.random()!r} {sorted(world.counts.items())}"
    return Result(plan, error, world.counts, world.trace_hash, fingerprint)


_MODULES: dict[str, ModuleType] = {
    "small_state_groups": commit,
    "inline_bytes_max": commit,
    "pending_bytes_max": commit,
    "manifest_entries_max": compaction,
    "crowded": compaction,
    "run_min": compaction,
    "commits_max": compaction,
}


@contextmanager
def _limits(limits: Limits) -> Iterator[None]:
    """Set the limits for a run, and switch the collector off: a run is short."""
    options = Processor.__init__.__kwdefaults__
    assert options is not None
    rows_max, collects = options["rows_max"], gc.isenabled()
    before = {name: getattr(module, name.upper()) for name, module in _MODULES.items()}
    try:
        gc.disable()
        options["rows_max"] = limits.rows_max
        for name, module in _MODULES.items():
            setattr(module, name.upper(), getattr(limits, name))
        yield
    finally:
        options["rows_max"] = rows_max
        for name, module in _MODULES.items():
            setattr(module, name.upper(), before[name])
        if collects:
            gc.enable()
