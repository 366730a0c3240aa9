"""What a run has shown: a table by module, and what is wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.mutation import places
from tests.mutation.equivalents import EQUIVALENTS
from tests.mutation.mutants import Mutant
from tests.mutation.suite import COUNTED, KILLED, KILLED_BY_TIME, LIVE, Verdict

ALIKE = "alike"
"""No test can tell the mutant from the original; somebody has looked, and said why."""


def outcome_of(mutant: Mutant, verdict: Verdict) -> str:
    """Return what became of a mutant; one that is known to be alike is no survivor."""
    return ALIKE if verdict.outcome in LIVE and mutant.name in EQUIVALENTS else verdict.outcome


def table(verdicts: Mapping[Mutant, Verdict]) -> Iterator[str]:
    """Yield the lines of a table by module, in Markdown, and one for each place where nothing may survive."""
    by_path: dict[str, Counter[str]] = defaultdict(Counter)
    by_place: dict[str, Counter[str]] = {place: Counter() for place in places.HELD}
    for mutant, verdict in verdicts.items():
        outcome = outcome_of(mutant, verdict)
        by_path[mutant.path.removeprefix("consumer/")][outcome] += 1
        place = places.held(mutant.path, mutant.function)
        if place is not None:
            by_place[place][outcome] += 1
    yield "| module | mutants | killed | survived | alike | killed, % |"
    yield "|---|---:|---:|---:|---:|---:|"
    for path in sorted(by_path):
        yield _line(f"`{path}`", by_path[path])
    for place, counts in by_place.items():
        yield _line(f"of these, {place}", counts)
    yield _line("all", sum(by_path.values(), Counter()))


def rate(counts: Counter[str]) -> float:
    """Return what percentage was killed, of those that count."""
    total = sum(counts[each] for each in COUNTED)
    return 100 * (counts[KILLED] + counts[KILLED_BY_TIME]) / total if total else 100.0


def _line(name: str, counts: Counter[str]) -> str:
    total = sum(counts[each] for each in COUNTED)
    live = sum(counts[each] for each in LIVE)
    return f"| {name} | {total} | {total - live} | {live} | {counts[ALIKE]} | {rate(counts):.1f} |"


def judge(verdicts: Mapping[Mutant, Verdict], left: Sequence[Mutant], bar: float) -> list[str]:
    """Return what is wrong: survivors where there may be none, and a rate below the bar everywhere else.

    `left` are mutants for which there was no time: of the places where nothing may survive none may be left.
    """
    rest: Counter[str] = Counter()
    troubles = []
    for mutant, verdict in verdicts.items():
        outcome = outcome_of(mutant, verdict)
        place = places.held(mutant.path, mutant.function)
        if place is None:
            rest[outcome] += 1
        elif outcome in LIVE:
            troubles.append(f"survived in {place}: {mutant.path}:{mutant.line} {mutant.changed}")
    if rate(rest) < bar:
        troubles.append(f"{rate(rest):.1f} % of the others were killed, {bar:g} % are wanted")
    untried = sum(places.held(mutant.path, mutant.function) is not None for mutant in left)
    if untried:
        troubles.append(f"there was no time for {untried} mutants where nothing may survive")
    return troubles
