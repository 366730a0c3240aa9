"""The figures of `bench.recovery`: printed one a line, written to bench/recovery.json and docs/reliability.md."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from bench.core_report import facts, tell, write_between
from bench.report import Figure
from consumer.environment import environment
from consumer.runtime import clock
from consumer.runtime.daemon_files import DEFAULTS
from consumer.runtime.java import find_java

JSON = Path(__file__).with_name("recovery.json")
PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
SETTINGS = (
    "failoverTimeMillis",
    "leaseAssignmentIntervalMillis",
    "workerMetricsReporterFreqInMillis",
    "shardConsumerDispatchPollIntervalMillis",
    "parentShardPollIntervalMillis",
    "idleTimeBetweenReadsInMillis",
)


class Scenario(NamedTuple):
    """What is done, from when on it counts, what is wanted at most (seconds), and what KCL is known for."""

    title: str
    since: str
    wanted_s: float | None
    kcl: str


_ASSIGNMENT_S = 10.0
"""One interval between two assignments of leases, when that goal was set; what ships now is shorter."""

SCENARIOS: Mapping[str, Scenario] = {
    "same_identifier": Scenario("SIGKILL, started again under its name", "the new process starts", 8.0, ""),
    "same_identifier_children": Scenario(
        "the same just after a split or a merge: the child shards", "the new process starts", 8.0, "122"
    ),
    "other_worker": Scenario("SIGKILL for good, another worker takes over", "the kill", 25.0, "52 to 55"),
    "leader_lost": Scenario("the same, and it was the leader", "the kill", None, "120"),
    "release": Scenario("a worker leaves, `on_stop: release`", "the end of its process", _ASSIGNMENT_S, ""),
    "release_leader": Scenario("the same, and it was the leader", "the end of its process", _ASSIGNMENT_S, ""),
    "rolling_restart": Scenario("SIGTERM, started again under its name", "the shard's last batch", None, ""),
}


class Run(msgspec.Struct, frozen=True):
    """What one stage brought: seconds of each shard each time, and the recount at its end.

    `stops_s` are the seconds that stops at the end took, `load_average` how many processes wanted a core then.
    """

    scenario: str
    processed_s: list[float]
    committed_s: list[float]
    rows: int
    duplicates: int
    stops_s: list[float]
    load_average: float


class Spread(NamedTuple):
    """What many values come to."""

    p50: float
    p99: float
    most: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the median, the value that 99 of 100 do not exceed, the largest and the number of values."""
        ordered = sorted(values)
        return cls(median(ordered), ordered[math.ceil(0.99 * len(ordered)) - 1], ordered[-1], len(ordered))


def spreads(runs: Sequence[Run], kind: str) -> dict[str, Spread]:
    """Return the spread of `processed_s`, `committed_s` or `stops_s` of each scenario that was run."""
    found: dict[str, list[float]] = {}
    for run in runs:
        found.setdefault(run.scenario, []).extend(getattr(run, kind))
    return {name: Spread.of(values) for name, values in found.items() if values}


def figures(runs: Sequence[Run]) -> Iterator[Figure]:
    """Yield all figures."""
    for kind in ("processed", "committed", "stops"):
        for name, spread in spreads(runs, f"{kind}_s").items():
            yield Figure(f"recovery_{name}_{kind}_p50", spread.p50, "s")
            yield Figure(f"recovery_{name}_{kind}_p99", spread.p99, "s")
            yield Figure(f"recovery_{name}_{kind}_max", spread.most, "s")
            yield Figure(f"recovery_{name}_{kind}_n", spread.n, "shards" if kind != "stops" else "stops")
    for name, spread in spreads(runs, "processed_s").items():
        wanted = SCENARIOS[name].wanted_s
        if wanted is not None:
            yield Figure(f"recovery_{name}_goal", verdict(spread, wanted), f"at_most_{wanted:g}")
        rows, duplicates = rows_of(name, runs)
        yield Figure(f"recovery_{name}_rows", rows, "rows")
        yield Figure(f"recovery_{name}_duplicates", duplicates, "rows")


def verdict(spread: Spread, wanted: float) -> str:
    """Tell whether that was reached: always, in the median, or not."""
    if spread.most <= wanted:
        return "met"
    return "met_in_the_median" if spread.p50 <= wanted else "not_met"


def rows_of(name: str, runs: Sequence[Run]) -> tuple[int, int]:
    """Return how many rows had to come in a scenario, and how many of them came again."""
    mine = [run for run in runs if run.scenario == name]
    return sum(run.rows for run in mine), sum(run.duplicates for run in mine)


def write(runs: Sequence[Run]) -> None:
    """Write bench/recovery.json and the section of docs/reliability.md."""
    measured_at = dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC).isoformat(timespec="seconds")
    machine = facts("amazon-kclpy") | {"Java": find_java(environment()).version}
    content = {
        "measured_at": measured_at,
        "machine": machine,
        "settings": {name: DEFAULTS[name] for name in SETTINGS},
        "figures": list(figures(runs)),
        "runs": runs,
    }
    JSON.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    write_between(PAGE, "recovery", markdown(runs, measured_at, machine))
    tell(f"wrote {JSON.name} and {PAGE.name}")


def markdown(runs: Sequence[Run], measured_at: str, machine: Mapping[str, str | int]) -> str:
    """Return the table."""
    processed, committed = spreads(runs, "processed_s"), spreads(runs, "committed_s")
    loads = [run.load_average for run in runs]
    conditions = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [
        f"Measured on {measured_at[:10]}: {conditions}; load average {min(loads):g} to {max(loads):g}.",
        "",
        "Seconds until a shard's first new record was processed, and until one was committed:",
        "",
        "| what | from | wanted | p50 | p99 | most | committed, p50 and most | shards | KCL alone |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [_row(name, spread, committed[name]) for name, spread in processed.items()]
    lines += ["", *_stops(runs), "", *_duplicates(runs)]
    return "\n".join(lines)


_VERDICTS = {"met": "met", "met_in_the_median": "met in the median", "not_met": "**not met**"}


def _row(name: str, processed: Spread, committed: Spread) -> str:
    scenario = SCENARIOS[name]
    wanted = "-"
    if scenario.wanted_s is not None:
        wanted = f"{scenario.wanted_s:g}, {_VERDICTS[verdict(processed, scenario.wanted_s)]}"
    times = " | ".join(f"{value:.1f}" for value in (processed.p50, processed.p99, processed.most))
    return (
        f"| {scenario.title} | {scenario.since} | {wanted} | {times} | {committed.p50:.1f}, {committed.most:.1f} "
        f"| {processed.n} | {scenario.kcl} |"
    )


def _stops(runs: Sequence[Run]) -> Iterator[str]:
    seconds = [each for run in runs for each in run.stops_s]
    if seconds:
        spread = Spread.of(seconds)
        yield f"From SIGTERM to the end of a worker: {spread.p50:.1f} s, at most {spread.most:.1f} ({spread.n} stops)."


def _duplicates(runs: Sequence[Run]) -> Iterator[str]:
    rows, again = sum(run.rows for run in runs), sum(run.duplicates for run in runs)
    yield f"Of {rows:,} rows, {again:,} came again, with the same id and bytes; none was missing or wrong."
