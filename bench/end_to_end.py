"""What the worker costs from stream to sink, beside a worker that does nothing and the usual kclpy processor.

Run as `python -m bench.end_to_end`. One daemon, one embedded AWS, one stream, the same flags; see bench/README.md.
Prints one line a figure, `name value unit` and the spread over the rounds; what it is doing goes to standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench import report
from bench.arena import VARIANTS, measure, tell
from bench.processors.settings import KCL
from bench.stream import SHARDS, Recipe
from consumer.environment import environment
from consumer.errors import EXIT_FAILURE, EXIT_OK, StreamgaugeError
from consumer.runtime import clock
from consumer.runtime.jars import DISTRIBUTION
from consumer.runtime.java import JvmOptions, find_java

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
FULL = (500_000, 2_000_000)
QUICK = (100_000, 400_000)
ROUNDS = 3
EVENTS_AN_HOUR = 1_000_000


def main() -> int:
    """Measure, print, write; EXIT_OK whatever the figures are, EXIT_FAILURE if a run failed or does not count."""
    options = _parser().parse_args()
    sizes = sorted(QUICK if options.quick else options.records)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    recipe = Recipe(sizes[0], options.events_an_hour)
    names = options.only or VARIANTS
    try:
        runs = list(measure(recipe, sizes, names, rounds))
    except (StreamgaugeError, OSError) as error:
        tell(str(error))
        return EXIT_FAILURE
    results = report.Results(
        measured_at=dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC).isoformat(timespec="seconds"),
        machine=machine(),
        settings=settings(options.events_an_hour, rounds),
        figures=report.figures(runs),
        runs=runs,
    )
    for figure in results.figures:
        print(figure)
    if options.quick or set(names) != set(VARIANTS):
        tell("nothing was written: that takes all workers and larger streams")
    else:
        write(results)
    return EXIT_OK


def write(results: report.Results) -> None:
    """Write bench/results.json, and its figures into docs/performance.md."""
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(report.replace_section(page, report.markdown(results)), encoding="utf-8")
    tell(f"wrote {RESULTS.name} and {PAGE.name}")


def machine() -> dict[str, str | int]:
    """Return what the figures depend on."""
    return {
        "cores": os.cpu_count() or 0,
        "processor": next(_processor_names(), platform.machine()),
        "Linux": platform.release(),
        "Python": platform.python_version(),
        "Java": find_java(environment()).version,
        DISTRIBUTION: importlib.metadata.version(DISTRIBUTION),
    }


def settings(events_an_hour: int, rounds: int) -> dict[str, str | int]:
    """Return how it was measured."""
    return {
        "rounds": rounds,
        "shards": SHARDS,
        "events in an hour of event time": events_an_hour,
        "JVM": " ".join(JvmOptions().flags()),
        "daemon": " ".join(f"{name}={value}" for name, value in KCL),
    }


def _processor_names() -> Iterator[str]:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 1:
        raise ValueError(text)
    return rounds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measures the worker beside two others.")
    parser.add_argument("--records", type=int, nargs=2, default=FULL, help="the two sizes (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"sizes {QUICK}, one round: for a first impression")
    parser.add_argument("--rounds", type=_rounds, help=f"how often everything is run (default: {ROUNDS})")
    parser.add_argument(
        "--events-an-hour",
        type=int,
        default=EVENTS_AN_HOUR,
        help="how fast the events' own clock goes: fewer events an hour are more windows (default: %(default)s)",
    )
    parser.add_argument("--only", choices=VARIANTS, nargs="+", help="leave the other workers out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
