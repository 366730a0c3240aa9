"""The figures of the core's benchmark: printed one a line, written to bench/core.json and docs/performance.md."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench import plot
from bench.core_events import HEADLINE_BYTES
from bench.core_measure import PANES, Timing
from bench.report import Figure

JSON = Path(__file__).with_name("core.json")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
SPEED_PLOT = PAGE.parent / "images" / "core-speed.svg"
SLIDING_PLOT = PAGE.parent / "images" / "core-sliding.svg"

GOALS = {
    "bytewax": ("streamgauge", "bytewax", 10.0),
    "dicts": ("streamgauge", "dicts", 2.5),
    "lines_alone": ("streamgauge_lines", "lines_alone", 0.4),
}
"""In the headline's job: whose events a second are divided by whose, and at least what is wanted."""

GROWTH_MAX = 1.25
"""What an event may cost at most in windows of many panes, compared with few: the rest is the closing of windows."""

NAMES = {
    "streamgauge": "Streamgauge",
    "dicts": "by hand",
    "bytewax": "Bytewax",
    "polars": "polars",
    "streamgauge_lines": "Streamgauge, from the daemon's lines",
    "lines_alone": "decoding these lines and events alone",
}

Table = Mapping[int, Mapping[str, Mapping[str, Timing]]]
"""Timings by size of events, job and contestant."""


class Measured(msgspec.Struct):
    """All that was measured."""

    table: Table
    headline: Mapping[str, Timing]
    sliding: Mapping[str, Mapping[int, Timing]]


def figures(measured: Measured) -> Iterator[Figure]:
    """Yield all figures, each the median of the repeats, with the lowest and the highest."""
    for size, jobs in measured.table.items():
        for job, timings in jobs.items():
            for name, timing in timings.items():
                yield _across(f"core_{job}_{size}B_{name}", timing.speeds, "events_per_s")
    for name, timing in measured.headline.items():
        yield _across(f"core_headline_{name}", timing.speeds, "events_per_s")
    for name, ratios, least in ratios_of(measured.headline):
        yield _across(f"core_headline_to_{name}", ratios, "ratio")
        yield Figure(f"core_headline_to_{name}_goal", _verdict(met=median(ratios) >= least), f"at_least_{least:g}")
    for name, curve in measured.sliding.items():
        for panes, timing in curve.items():
            yield _across(f"core_sliding_{panes}_panes_{name}", timing.costs, "us_per_event")
    growth = growth_of(measured.sliding["streamgauge"])
    yield _across("core_sliding_growth", growth, "ratio")
    yield Figure("core_sliding_growth_goal", _verdict(met=median(growth) <= GROWTH_MAX), f"at_most_{GROWTH_MAX}")


def _across(name: str, values: Sequence[float], unit: str) -> Figure:
    return Figure(name, median(values), unit, min(values), max(values))


def ratios_of(headline: Mapping[str, Timing]) -> Iterator[tuple[str, list[float], float]]:
    """Yield what is compared: the name of the other, the ratios, and what is wanted at least."""
    for name, (ours, other, least) in GOALS.items():
        yield name, headline[ours].ratios_to(headline[other]), least


def growth_of(curve: Mapping[int, Timing]) -> list[float]:
    """Return how many times as much an event costs with the most panes as with the fewest."""
    return curve[min(PANES)].ratios_to(curve[max(PANES)])


def _verdict(*, met: bool) -> str:
    return "met" if met else "not_met"


def facts(*packages: str) -> dict[str, str | int]:
    """Return what figures depend on: the machine, Python, and the versions of packages."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count() or 0,
        "processor": models[0] if models else platform.machine(),
        "Linux": platform.release(),
        "Python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def tell(text: str) -> None:
    """Tell a person what is going on."""
    sys.stderr.write(f"bench: {text}\n")


def write_json(part: str, content: Mapping[str, Any]) -> None:
    """Replace one part of bench/core.json."""
    document = msgspec.json.decode(JSON.read_bytes(), type=dict[str, Any]) if JSON.exists() else {}
    document[part] = content
    JSON.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def write_section(part: str, section: str) -> None:
    """Replace this part's section of docs/performance.md; ValueError if it has none."""
    write_between(PAGE, part, section)


def write_between(page: Path, part: str, section: str) -> None:
    """Replace the section of a page that stands between this part's marks; ValueError without them."""
    begin, end = marks(part)
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page.name} lacks {end if found else begin}")
    page.write_text(f"{before}{begin}\n\n{section}\n\n{end}{after}", encoding="utf-8")


def marks(part: str) -> tuple[str, str]:
    """Return the lines before and after a part's section."""
    return f"<!-- {part}: written by bench/{part}.py, do not edit -->", f"<!-- end of {part} -->"


def markdown(measured: Measured, measured_at: str, machine: Mapping[str, str | int]) -> str:
    """Return the tables."""
    lines = [f"Measured on {measured_at[:10]}: {', '.join(f'{name} {value}' for name, value in machine.items())}.", ""]
    lines += ["Thousands of events a second, on one core:", "", *_table(measured.table), ""]
    lines += [f"![Events a second](images/{SPEED_PLOT.name})", "", *_headline(measured.headline), ""]
    lines += [*_sliding(measured.sliding), "", f"![Sliding windows](images/{SLIDING_PLOT.name})"]
    return "\n".join(lines)


def _table(table: Table) -> Iterator[str]:
    names = list(next(iter(next(iter(table.values())).values())))
    yield f"| event | job | {' | '.join(NAMES[name] for name in names)} |"
    yield f"|---:|---|{'---:|' * len(names)}"
    for size, jobs in table.items():
        for job, timings in jobs.items():
            cells = (f"{median(timings[name].speeds) / 1000:,.0f}" for name in names)
            yield f"| {size:,} B | {job} | {' | '.join(cells)} |"


def _headline(headline: Mapping[str, Timing]) -> Iterator[str]:
    job = "a filter, a derived value, tumbling windows and sessions with five aggregates each"
    yield f"The headline: {job}, events of {HEADLINE_BYTES} B:"
    yield ""
    yield "| | events a second | lowest | highest | µs an event |"
    yield "|---|---:|---:|---:|---:|"
    for name, timing in headline.items():
        speeds = timing.speeds
        cells = " | ".join(f"{each:,.0f}" for each in (median(speeds), min(speeds), max(speeds)))
        yield f"| {NAMES[name]} | {cells} | {median(timing.costs):.2f} |"
    yield ""
    for name, ratios, least in ratios_of(headline):
        ours = NAMES[GOALS[name][0]]
        verdict = "met" if median(ratios) >= least else "**not met**"
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        yield (
            f"- {ours}: {median(ratios):.2f} times ({spread}) as many events a second as {NAMES[name]}; "
            f"wanted: at least {least:g}, {verdict}."
        )


def _sliding(sliding: Mapping[str, Mapping[int, Timing]]) -> Iterator[str]:
    yield "Sliding windows, µs an event by the number of panes, which is the number of windows that an event is in:"
    yield ""
    yield f"| | {' | '.join(map(str, PANES))} |"
    yield f"|---|{'---:|' * len(PANES)}"
    for name, curve in sliding.items():
        yield f"| {NAMES[name]} | {' | '.join(f'{median(curve[panes].costs):.2f}' for panes in PANES)} |"
    growth = median(growth_of(sliding["streamgauge"]))
    verdict = "met" if growth <= GROWTH_MAX else "**not met**"
    yield ""
    yield (
        f"- From {min(PANES)} panes to {max(PANES)}, an event costs {growth:.2f} times as much; "
        f"wanted: at most {GROWTH_MAX}, {verdict}."
    )


def write_plots(measured: Measured) -> None:
    """Write the SVG files."""
    panels = {
        f"events of {size:,} B": {
            job: {name: median(timing.speeds) for name, timing in timings.items()} for job, timings in jobs.items()
        }
        for size, jobs in measured.table.items()
    }
    names = next(iter(next(iter(measured.table.values())).values()))
    SPEED_PLOT.parent.mkdir(exist_ok=True)
    speed = plot.bars("Events a second on one core", panels, {name: NAMES[name] for name in names}, "events a second")
    SPEED_PLOT.write_text(speed, encoding="utf-8")
    curves = {
        NAMES[name]: {panes: median(timing.costs) for panes, timing in curve.items()}
        for name, curve in measured.sliding.items()
    }
    sliding = plot.lines("What an event costs in sliding windows", curves, "panes a window", "µs an event")
    SLIDING_PLOT.write_text(sliding, encoding="utf-8")
