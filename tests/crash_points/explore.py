"""Goes through all points: a run without harm, then one for each harm, then one for each harm that follows another.

Runs begin where a process began, not at the beginning of the story. A run ends as soon as all that could still harm it
is over and a new process finds what another run that came out right has left: the same will come of it. Two deaths that
leave the same behind are one for what may follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from tests.crash_points.durable import Durable
from tests.crash_points.story import Abandoned, StoryWorld
from tests.crash_points.variants import Variant
from tests.crash_points.wire import DEADLY, Died, Point, Strike

Plan = Mapping[int, Strike]
"""What happens to which calls, by their numbers."""


class Failure(NamedTuple):
    """A plan that did not come out right; `text` tells how to run it again."""

    plan: Plan
    text: str


@dataclass
class Run:
    """What was met: the points from the call `begin` on, and what was durable where each process began."""

    begin: int
    points: list[Point] = field(default_factory=list)
    beginnings: list[Durable] = field(default_factory=list)
    recovered_at: int = 0
    """The number of the first call after the stage in which the last harm came."""

    def before(self, number: int) -> Durable:
        """Return what was durable where the process of a call began."""
        return max((each for each in self.beginnings if each.calls <= number), key=lambda each: each.calls)

    def point(self, number: int) -> Point:
        """Return a call."""
        return self.points[number - self.begin]


class Explorer:
    """The story of one variant and seed."""

    def __init__(self, variant: Variant, seed: int) -> None:
        self.variant = variant
        self.seed = seed
        self._comes_out_right: set[int] = set()
        self._followed: set[int] = set()
        self.base = self._run(Durable(), {})

    def singles(self, numbers: Iterable[int] | None = None) -> Iterator[Plan]:
        """Yield every harm at every point, or at some points."""
        for number in range(len(self.base.points)) if numbers is None else numbers:
            for strike in self.base.point(number).strikes:
                yield {number: strike}

    def play(self, plan: Plan) -> Run:
        """Run a plan; what does not hold is raised."""
        return self._run(self.base.before(min(plan)), plan)

    def tried(self, plan: Plan) -> Failure | None:
        """Run a plan."""
        return self._tried(self.base.before(min(plan)), plan, plan)

    def follow(self, first: Plan) -> Iterator[Failure | None]:
        """Run a plan of one harm, then all that follow: the same harm, and another one until it is recovered from."""
        run = self._run_or_fail(self.base.before(min(first)), first, first, until_recovered=True)
        if isinstance(run, Failure):
            yield run
            return
        yield None
        if self._is_known(first, run):
            return
        for number in range(max(first) + 1, run.recovered_at):
            for strike in run.point(number).strikes:
                yield self._second(run, {**first, number: strike})

    def random_pair(self, random: Random) -> Failure | None:
        """Run a harm at random, and one at random that follows."""
        first = random.choice(list(self.singles()))
        run = self._run_or_fail(self.base.before(min(first)), first, first, until_recovered=True)
        if isinstance(run, Failure):
            return run
        numbers = range(max(first) + 1, run.recovered_at)
        if not numbers:
            return None
        number = random.choice(numbers)
        return self._second(run, {**first, number: random.choice(run.point(number).strikes)})

    def _second(self, run: Run, plan: Plan) -> Failure | None:
        """Run a plan of two harms from where the process of the second one began."""
        beginning = run.before(max(plan))
        return self._tried(beginning, {at: strike for at, strike in plan.items() if at >= beginning.calls}, plan)

    def _is_known(self, first: Plan, run: Run) -> bool:
        """Tell whether another death has left the same, and all that may follow was run."""
        ((number, strike),) = first.items()
        if strike.harm not in DEADLY:
            return False
        left = run.before(number + 1).fingerprint()
        known = left in self._followed
        self._followed.add(left)
        return known

    def _tried(self, beginning: Durable, rest: Plan, plan: Plan) -> Failure | None:
        result = self._run_or_fail(beginning, rest, plan)
        return result if isinstance(result, Failure) else None

    def _run_or_fail(
        self, beginning: Durable, rest: Plan, plan: Plan, *, until_recovered: bool = False
    ) -> Run | Failure:
        try:
            return self._run(beginning, rest, until_recovered=until_recovered)
        except Exception as error:  # noqa: BLE001 - whatever a process ends with is a failure of the plan
            strikes = ",".join(f"{number}:{strike.harm}:{strike.parts}" for number, strike in plan.items())
            command = f"python -m tests.crash_points --variant {self.variant.name} --seed {self.seed}"
            return Failure(plan, f"{command} --plan '{strikes}': {type(error).__name__}: {error}")

    def _run(self, beginning: Durable, plan: Plan, *, until_recovered: bool = False) -> Run:
        with self.variant.limits():
            return self._play(beginning.copy(), plan, until_recovered=until_recovered)

    def _play(self, durable: Durable, plan: Plan, *, until_recovered: bool) -> Run:
        run, passed = Run(durable.calls), []
        last_harm, deaths = max(plan, default=-1), 0
        while durable.stage < len(self.variant.stages):
            run.beginnings.append(durable.copy())
            if durable.calls > last_harm:
                fingerprint = durable.fingerprint()
                if fingerprint in self._comes_out_right and (run.recovered_at or not until_recovered):
                    break
                passed.append(fingerprint)
            stage = durable.stage
            deaths += self._serve(durable, plan, run)
            assert deaths <= len(plan), "no end was reached although nothing was harmed any more"
            if durable.stage > stage and not run.recovered_at and durable.calls > last_harm:
                run.recovered_at = durable.calls
        else:
            StoryWorld(self.variant, self.seed, durable, {}).assert_exact()
        self._comes_out_right.update(passed)
        return run

    def _serve(self, durable: Durable, plan: Plan, run: Run) -> bool:
        """Serve a lease, and turn to the next stage if it came to its end; return whether it did not.

        After one that did not, the shard beside comes first.
        """
        world = StoryWorld(self.variant, self.seed, durable, plan)
        stage = self.variant.stages[durable.stage]
        beside = self.variant.beside(durable) if durable.died else None
        durable.died = False
        try:
            is_over = world.serve(beside or stage)
        except Abandoned:
            is_over = True
        except Died:
            is_over = False
        finally:
            run.points += world.wire.points
        if is_over and beside is None:
            durable.stage += 1
        durable.died = self.variant.combines and not is_over and beside is None
        return not is_over
