"""What a run has shown: a table by module, and what is wrong."""

from __future__ import annotations

import math
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
    yield "| where | changes | killed | of these by time | survived | alike | killed, % |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for path in sorted(by_path):
        yield _line(f"`{path}`", by_path[path])
    for place, counts in by_place.items():
        yield _line(f"of these, {place}", counts)
    elsewhere = _elsewhere(verdicts)
    yield _line("elsewhere", elsewhere)
    yield _line("all", sum(by_path.values(), Counter()))
    low, high = interval(elsewhere)
    yield ""
    yield f"Elsewhere {rate(elsewhere):.1f} % were killed; if it is a sample, {low:.1f} to {high:.1f} % of all (95 %)."


def _elsewhere(verdicts: Mapping[Mutant, Verdict]) -> Counter[str]:
    """Count the outcomes where something may survive."""
    return Counter(
        outcome_of(mutant, verdict)
        for mutant, verdict in verdicts.items()
        if places.held(mutant.path, mutant.function) is None
    )


def rate(counts: Counter[str]) -> float:
    """Return what percentage was killed, of those that count."""
    total = sum(counts[each] for each in COUNTED)
    return 100 * (counts[KILLED] + counts[KILLED_BY_TIME]) / total if total else 100.0


def interval(counts: Counter[str]) -> tuple[float, float]:
    """Return between which percentages the rate of all lies, if these are a sample: Wilson's interval, 95 %."""
    total = sum(counts[each] for each in COUNTED)
    if not total:
        return 0.0, 100.0
    share, z = rate(counts) / 100, 1.96
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return 100 * (middle - spread) / (1 + z * z / total), 100 * (middle + spread) / (1 + z * z / total)


def _line(name: str, counts: Counter[str]) -> str:
    total = sum(counts[each] for each in COUNTED)
    live = sum(counts[each] for each in LIVE)
    by_time = counts[KILLED_BY_TIME]
    return f"| {name} | {total} | {total - live} | {by_time} | {live} | {counts[ALIKE]} | {rate(counts):.1f} |"


def judge(verdicts: Mapping[Mutant, Verdict], left: Sequence[Mutant], bar: float) -> list[str]:
    """Return what is wrong: survivors where there may be none, and a rate below the bar everywhere else.

    `left` are mutants for which there was no time: of the places where nothing may survive none may be left. What a
    test has killed may not be called alike.
    """
    troubles = []
    for mutant, verdict in verdicts.items():
        place = places.held(mutant.path, mutant.function)
        if place is not None and outcome_of(mutant, verdict) in LIVE:
            troubles.append(f"survived in {place}: {mutant.path}:{mutant.line} {mutant.changed}")
        if verdict.outcome == KILLED and mutant.name in EQUIVALENTS:
            troubles.append(f"killed, so not alike: {mutant.path}:{mutant.line} {mutant.changed}")
    elsewhere = rate(_elsewhere(verdicts))
    if elsewhere < bar:
        troubles.append(f"{elsewhere:.1f} % of the others were killed, {bar:g} % are wanted")
    untried = sum(places.held(mutant.path, mutant.function) is not None for mutant in left)
    if untried:
        troubles.append(f"there was no time for {untried} mutants where nothing may survive")
    return troubles
