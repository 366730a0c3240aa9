"""Figures: computed from the runs, printed one a line, and written into bench/results.json and docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from bench.measure import Part, Usage, slope

BEGIN = "<!-- figures: written by bench/end_to_end.py, do not edit -->"
END = "<!-- end of figures -->"

GOALS = {"nothing": 1.35, "kclpy": 0.65}
"""The product's CPU seconds for a further million records, at most so many times those of the other."""

_MIB = 1 << 20
_TITLES = {"product": "Streamgauge", "nothing": "does nothing", "kclpy": "usual kclpy"}


class Run(msgspec.Struct):
    """One worker on one stream, measured when every record had been processed and checkpointed.

    `first_record_s` counts from the start of the worker's first process, `elapsed_s` to the last checkpoint.
    """

    variant: str
    records: int
    usage: dict[Part, Usage]
    emulator_cpu_s: float
    first_record_s: float
    elapsed_s: float
    checkpoints: int
    rows: int

    @property
    def total(self) -> Usage:
        """What all processes of the worker have used, the emulator's not."""
        return sum(self.usage.values(), Usage())


class Figure(NamedTuple):
    """One line of output."""

    name: str
    value: float | str
    unit: str

    def __str__(self) -> str:
        value = f"{self.value:.3f}" if isinstance(self.value, float) else self.value
        return f"{self.name} {value} {self.unit}"


class Results(msgspec.Struct):
    """What is written to bench/results.json."""

    measured_at: str
    machine: dict[str, str | int]
    settings: dict[str, str | int]
    figures: list[Figure]
    runs: list[Run]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return all figures of the runs; each variant has run with the same numbers of records."""
    found: list[Figure] = []
    for name in _names(runs):
        found += _of_variant(name, [run for run in runs if run.variant == name])
    values = {figure.name: figure.value for figure in found}
    for other, goal in GOALS.items():
        if not {"product_cpu_slope_total", f"{other}_cpu_slope_total"} <= values.keys():
            continue
        ratio = float(values["product_cpu_slope_total"]) / float(values[f"{other}_cpu_slope_total"])
        found.append(Figure(f"product_to_{other}", ratio, "ratio"))
        found.append(Figure(f"product_to_{other}_goal", "met" if ratio <= goal else "not_met", f"at_most_{goal}"))
    return found


def _of_variant(name: str, runs: Sequence[Run]) -> Iterator[Figure]:
    for run in runs:
        for part, usage in _parts(run):
            yield Figure(f"{name}_cpu_{part}_{run.records}_records", usage.cpu_s, "cpu_s")
        yield Figure(f"{name}_cpu_emulator_{run.records}_records", run.emulator_cpu_s, "cpu_s")
        yield Figure(f"{name}_elapsed_{run.records}_records", run.elapsed_s, "s")
        yield Figure(f"{name}_checkpoints_{run.records}_records", run.checkpoints, "checkpoints")
    by_part = [dict(_parts(run)) for run in runs]
    for part in by_part[0]:
        points = [(run.records, parts[part].cpu_s) for run, parts in zip(runs, by_part, strict=True)]
        yield Figure(f"{name}_cpu_slope_{part}", slope(points), "cpu_s_per_million_records")
    emulator = slope([(run.records, run.emulator_cpu_s) for run in runs])
    yield Figure(f"{name}_cpu_slope_emulator", emulator, "cpu_s_per_million_records")
    for part, usage in by_part[-1].items():
        yield Figure(f"{name}_memory_peak_{part}", usage.peak_bytes / _MIB, "MiB")
        yield Figure(f"{name}_memory_pss_{part}", usage.pss_bytes / _MIB, "MiB")
    yield Figure(f"{name}_first_record", min(run.first_record_s for run in runs), "s")


def _parts(run: Run) -> Iterator[tuple[str, Usage]]:
    yield from ((part.value, run.usage[part]) for part in Part)
    yield "total", run.total


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.variant for run in runs))


def markdown(results: Results) -> str:
    """Return the figures as the tables of docs/performance.md."""
    values = {figure.name: figure.value for figure in results.figures}
    names = _names(results.runs)
    sizes = sorted({run.records for run in results.runs})
    slope_rows = {"Java": "java", "Python": "python", "relays": "relays", "**all of the worker**": "total"}
    lines = [
        f"Measured on {results.measured_at[:10]}: {_facts(results.machine)}; {_facts(results.settings)}.",
        "",
        f"CPU seconds for a further million records (the difference between {sizes[-1]:,} and {sizes[0]:,} records):",
        "",
        *_table(names, {title: f"cpu_slope_{part}" for title, part in slope_rows.items()}, values, ".2f"),
        *_table_row("*the embedded AWS, not counted*", names, "cpu_slope_emulator", values, ".2f"),
        "",
        *(_goal(other, values) for other in GOALS),
        "",
        f"Memory with {sizes[-1]:,} records (largest resident size in MiB, processes of a kind together), and start:",
        "",
        *_table(names, {title: f"memory_peak_{part}" for title, part in slope_rows.items()}, values, ".0f"),
        *_table_row("seconds to the first record", names, "first_record", values, ".1f"),
        "",
        "CPU seconds from the start of the worker to the last checkpoint:",
        "",
        *_table(names, {f"{size:,} records": f"cpu_total_{size}_records" for size in sizes}, values, ".1f"),
    ]
    return "\n".join(lines)


def replace_section(document: str, section: str) -> str:
    """Return the document with the text between the two marks replaced; ValueError without the marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks {BEGIN if not begin else END}")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def _facts(facts: Mapping[str, str | int]) -> str:
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in facts.items()
    )


def _table(
    names: Sequence[str], rows: Mapping[str, str], values: Mapping[str, float | str], form: str
) -> Iterator[str]:
    yield f"| | {' | '.join(_TITLES[name] for name in names)} |"
    yield f"|---|{'---:|' * len(names)}"
    for title, key in rows.items():
        yield from _table_row(title, names, key, values, form)


def _table_row(
    title: str, names: Sequence[str], key: str, values: Mapping[str, float | str], form: str
) -> Iterator[str]:
    cells = (format(float(values[f"{name}_{key}"]), form) for name in names)
    yield f"| {title} | {' | '.join(cells)} |"


def _goal(other: str, values: Mapping[str, float | str]) -> str:
    ratio, verdict = values[f"product_to_{other}"], values[f"product_to_{other}_goal"]
    words = "met" if verdict == "met" else "**not met**"
    wanted = f"wanted: at most {GOALS[other]}, {words}"
    return f"- Streamgauge costs {float(ratio):.2f} times what *{_TITLES[other]}* costs; {wanted}."
