"""How many events a second the core takes on one core, beside code by hand, Bytewax and polars.

Run as `python -m bench.core`, with the packages of requirements/bench.txt installed; see bench/README.md. Prints one
line a figure, `name value unit`; what it is doing goes to standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from bench import core_report
from bench.core_contestants import Contest
from bench.core_events import HEADLINE_BYTES, Recipe
from bench.core_jobs import HEADLINE, JOBS
from bench.core_measure import compare, sliding_curve
from bench.core_report import Measured, tell
from consumer.errors import EXIT_FAILURE, EXIT_OK, StreamgaugeError
from consumer.runtime import clock


class Scale(NamedTuple):
    """Events of each cell of the table, by their size; those of the headline and of the curve; repeats of both."""

    table: Mapping[int, int]
    table_repeats: int
    headline: int
    headline_repeats: int


FULL = Scale({100: 20_000, 500: 20_000, 5_000: 8_000}, 3, 50_000, 5)
QUICK = Scale({100: 2_000, 500: 2_000, 5_000: 1_000}, 1, 5_000, 2)

TABLE = ("streamgauge", "dicts", "bytewax", "polars")
HEADLINE_NAMES = (*TABLE, "streamgauge_lines", "lines_alone")


def main() -> int:
    """Measure, print, write; EXIT_OK whatever the figures are, EXIT_FAILURE if the results differ."""
    options = _parser().parse_args()
    try:
        measured = measure(QUICK if options.quick else FULL)
    except StreamgaugeError as error:
        tell(str(error))
        return EXIT_FAILURE
    for figure in core_report.figures(measured):
        print(figure)
    if options.quick:
        tell("nothing was written: these were few events")
    else:
        write(measured)
    return EXIT_OK


def measure(scale: Scale) -> Measured:
    """Measure everything; StreamgaugeError if those who are compared come to different results."""
    table = {}
    for size, events in scale.table.items():
        tell(f"{len(JOBS)} jobs with events of {size} bytes")
        records = Recipe(events, size).records()
        table[size] = {job.name: compare(Contest(job, records), TABLE, scale.table_repeats) for job in JOBS}
    tell("the headline")
    contest = Contest(HEADLINE, Recipe(scale.headline, HEADLINE_BYTES).records())
    headline = compare(contest, HEADLINE_NAMES, scale.headline_repeats)
    tell("sliding windows")
    return Measured(table, headline, sliding_curve(scale.headline, scale.headline_repeats))


def write(measured: Measured) -> None:
    """Write bench/core.json, the plots, and the section of docs/performance.md."""
    measured_at = dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC).isoformat(timespec="seconds")
    machine = core_report.facts("msgspec", "bytewax", "polars")
    figures = list(core_report.figures(measured))
    content = {"measured_at": measured_at, "machine": machine, "figures": figures, **msgspec.to_builtins(measured)}
    core_report.write_json("core", content)
    core_report.write_plots(measured)
    core_report.write_section("core", core_report.markdown(measured, measured_at, machine))
    tell(f"wrote {core_report.JSON.name}, {core_report.PAGE.name} and the plots")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measures the core beside code by hand, Bytewax and polars.")
    parser.add_argument(
        "--quick", action="store_true", help="few events: half a minute, less exact, nothing is written"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
