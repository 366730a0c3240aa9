"""Figures: computed from the runs, printed one a line, and written into bench/results.json and docs/performance.md.

Every figure is the median over the rounds, with the lowest and the highest. A ratio is taken within each round, of
workers that ran minutes apart, so that a machine that becomes slower does so for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

import msgspec

from bench.measure import Part, Usage, slope

BEGIN = "<!-- figures: written by bench/end_to_end.py, do not edit -->"
END = "<!-- end of figures -->"

GOALS = {"nothing": 1.35, "kclpy": 0.65}
"""The product's CPU seconds for a further million records, at most so many times those of the other."""

TOTAL, EMULATOR = "total", "emulator"
_PARTS = (*(part.value for part in Part), TOTAL)
_OURS = (Part.PYTHON.value, Part.RELAYS.value)
_MIB = 1 << 20
_TITLES = {"product": "Streamgauge", "nothing": "does nothing", "kclpy": "usual kclpy"}
_VERDICTS = {"met": "met", "met_in_the_median": "met in the median, not in every round", "not_met": "**not met**"}


class Run(msgspec.Struct):
    """One worker on one stream in one round, measured when every record had been processed and checkpointed.

    Rounds are counted from 1. `first_record_s` counts from the start of the worker's first process, `elapsed_s` to
    the last checkpoint.
    """

    variant: str
    records: int
    round: int
    usage: dict[Part, Usage]
    emulator_cpu_s: float
    first_record_s: float
    elapsed_s: float
    checkpoints: int
    rows: int

    def used(self, part: str) -> Usage:
        """Return what a part of the worker has used; TOTAL is all of them, without the EMULATOR."""
        if part == TOTAL:
            return sum(self.usage.values(), Usage())
        return Usage(self.emulator_cpu_s) if part == EMULATOR else self.usage[Part(part)]


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of output. What was measured in several rounds has its lowest and highest value."""

    name: str
    value: float | str
    unit: str
    lowest: float | None = None
    highest: float | None = None

    def __str__(self) -> str:
        if isinstance(self.value, str):
            return f"{self.name} {self.value} {self.unit}"
        return f"{self.name} {self.value:.3f} {self.unit} {self.spread('.3f')}".rstrip()

    def spread(self, form: str) -> str:
        """Return lowest and highest in that format, nothing for a single value."""
        if self.lowest is None or self.highest is None:
            return ""
        return f"{self.lowest:{form}}..{self.highest:{form}}"


class Results(msgspec.Struct):
    """What is written to bench/results.json."""

    measured_at: str
    machine: dict[str, str | int]
    settings: dict[str, str | int]
    figures: list[Figure]
    runs: list[Run]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return all figures of the runs; in each round, each variant has run with the same numbers of records."""
    found = [figure for name in _names(runs) for figure in _of_variant(name, _of(name, runs))]
    shared_java = _across("cpu_slope_java_of_all", slopes(runs, Part.JAVA), "cpu_s_per_million_records")
    found.append(shared_java)
    assert isinstance(shared_java.value, float)
    for other in GOALS:
        if {"product", other} <= set(_names(runs)):
            found += _ratios(_of("product", runs), _of(other, runs), shared_java.value)
    return found


def slopes(runs: Sequence[Run], part: str) -> list[float]:
    """Return the CPU seconds for a further million records, one value a variant and round, in the order of rounds."""
    pairs = sorted({(run.round, run.variant) for run in runs})
    return [slope(_points([run for run in runs if (run.round, run.variant) == pair], part)) for pair in pairs]


def _points(runs: Iterable[Run], part: str) -> list[tuple[int, float]]:
    return sorted((run.records, run.used(part).cpu_s) for run in runs)


def _across(name: str, values: Sequence[float], unit: str) -> Figure:
    """Return the figure of values of the same kind, one a round or run."""
    if len(values) == 1:
        return Figure(name, float(values[0]), unit)
    return Figure(name, float(median(values)), unit, float(min(values)), float(max(values)))


def _of_variant(name: str, runs: Sequence[Run]) -> Iterator[Figure]:
    sizes = _sizes(runs)
    for size in sizes:
        of_size = [run for run in runs if run.records == size]
        for part in (*_PARTS, EMULATOR):
            values = [run.used(part).cpu_s for run in of_size]
            yield _across(f"{name}_cpu_{part}_{size}_records", values, "cpu_s")
        yield _across(f"{name}_elapsed_{size}_records", [run.elapsed_s for run in of_size], "s")
        yield _across(f"{name}_checkpoints_{size}_records", [run.checkpoints for run in of_size], "checkpoints")
    for part in (*_PARTS, EMULATOR):
        yield _across(f"{name}_cpu_slope_{part}", slopes(runs, part), "cpu_s_per_million_records")
    largest = [run for run in runs if run.records == sizes[-1]]
    for part in _PARTS:
        used = [run.used(part) for run in largest]
        yield _across(f"{name}_memory_peak_{part}", [one.peak_bytes / _MIB for one in used], "MiB")
        yield _across(f"{name}_memory_pss_{part}", [one.pss_bytes / _MIB for one in used], "MiB")
    yield _across(f"{name}_first_record", [run.first_record_s for run in runs], "s")


def _ratios(product: Sequence[Run], other: Sequence[Run], shared_java: float) -> Iterator[Figure]:
    """Yield the three ratios to another variant, and the verdicts on those that there is a goal for."""
    name = f"product_to_{other[0].variant}"
    goal = GOALS[other[0].variant]
    ours, theirs = _slopes_of_ours(product), _slopes_of_ours(other)
    whole = _quotients(slopes(product, TOTAL), slopes(other, TOTAL))
    equal = _quotients([shared_java + one for one in ours], [shared_java + one for one in theirs])
    for kind, values in ((name, whole), (f"{name}_equal_java", equal)):
        yield _across(kind, values, "ratio")
        yield Figure(f"{kind}_goal", _verdict(values, goal), f"at_most_{goal}")
    yield _across(f"{name}_python_and_relays", _quotients(ours, theirs), "ratio")


def _slopes_of_ours(runs: Sequence[Run]) -> list[float]:
    return [sum(of_round) for of_round in zip(*(slopes(runs, part) for part in _OURS), strict=True)]


def _quotients(values: Sequence[float], by: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(values, by, strict=True)]


def _verdict(ratios: Sequence[float], goal: float) -> str:
    if max(ratios) <= goal:
        return "met"
    return "met_in_the_median" if median(ratios) <= goal else "not_met"


def _of(name: str, runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.variant == name]


def _names(runs: Iterable[Run]) -> list[str]:
    return list(dict.fromkeys(run.variant for run in runs))


def _sizes(runs: Iterable[Run]) -> list[int]:
    return sorted({run.records for run in runs})


def markdown(results: Results) -> str:
    """Return the figures as the tables of docs/performance.md."""
    by_name = {figure.name: figure for figure in results.figures}
    names, sizes = _names(results.runs), _sizes(results.runs)
    parts = {"Java": "java", "Python": "python", "relays": "relays", "**all of the worker**": TOTAL}
    lines = [
        f"Measured on {results.measured_at[:10]}: {_facts(results.machine)}; {_facts(results.settings)}.",
        *_reading(results.runs),
        "",
        f"CPU seconds for a further million records (the difference between {sizes[-1]:,} and {sizes[0]:,} records):",
        "",
        *_table(names, {title: f"cpu_slope_{part}" for title, part in parts.items()}, by_name, ".2f"),
        *_table_row("*the embedded AWS, not counted*", names, "cpu_slope_emulator", by_name, ".2f"),
        "",
        *(line for other in GOALS for line in _compared(other, by_name)),
        "",
        f"Memory with {sizes[-1]:,} records (largest resident size in MiB, processes of a kind together), and start:",
        "",
        *_table(names, {title: f"memory_peak_{part}" for title, part in parts.items()}, by_name, ".0f"),
        *_table_row("seconds to the first record", names, "first_record", by_name, ".1f"),
        "",
        "CPU seconds from the start of the worker to the last checkpoint:",
        "",
        *_table(names, {f"{size:,} records": f"cpu_total_{size}_records" for size in sizes}, by_name, ".1f"),
    ]
    return "\n".join(lines)


def replace_section(document: str, section: str) -> str:
    """Return the document with the text between the two marks replaced; ValueError without the marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks {BEGIN if not begin else END}")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def _reading(runs: Iterable[Run]) -> Iterator[str]:
    rounds = max(run.round for run in runs)
    if rounds > 1:
        yield f"Each figure is the median of {rounds} rounds, with the lowest and the highest in brackets."


def _facts(facts: Mapping[str, str | int]) -> str:
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in facts.items()
    )


def _table(names: Sequence[str], rows: Mapping[str, str], by_name: Mapping[str, Figure], form: str) -> Iterator[str]:
    yield f"| | {' | '.join(_TITLES[name] for name in names)} |"
    yield f"|---|{'---:|' * len(names)}"
    for title, key in rows.items():
        yield from _table_row(title, names, key, by_name, form)


def _table_row(title: str, names: Sequence[str], key: str, by_name: Mapping[str, Figure], form: str) -> Iterator[str]:
    yield f"| {title} | {' | '.join(_cell(by_name[f'{name}_{key}'], form) for name in names)} |"


def _cell(figure: Figure, form: str) -> str:
    spread = figure.spread(form)
    return f"{figure.value:{form}}" + (f" ({spread})" if spread else "")


def _compared(other: str, by_name: Mapping[str, Figure]) -> Iterator[str]:
    name = f"product_to_{other}"
    whole, equal, ours = (_cell(by_name[f"{name}{kind}"], ".2f") for kind in ("", "_equal_java", "_python_and_relays"))
    first, second = (_VERDICTS[str(by_name[f"{name}{kind}_goal"].value)] for kind in ("", "_equal_java"))
    yield f"- Streamgauge costs {whole} times what *{_TITLES[other]}* costs; wanted: at most {GOALS[other]}, {first}."
    yield f"  With the same share of Java for both: {equal} times, {second}. Python and relays alone: {ours} times."
