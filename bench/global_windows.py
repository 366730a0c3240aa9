"""What global windows ask of DynamoDB, what that costs, and how late their rows are.

Run as `python -m bench.global_windows`; see bench/README.md. Each load is run in a process of its own, in simulated
time. Prints one line a figure, `name value unit`; what it is doing goes to standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench.core_report import facts, tell, write_json, write_section
from bench.global_meter import Meter, Traffic
from bench.global_run import COMMIT_INTERVAL_SECONDS, RETENTION_MS, SHARDS_A_WORKER, Load, Measured, Stream
from bench.report import Figure
from consumer.core.completion import Progress, completion
from consumer.errors import EXIT_FAILURE, EXIT_OK
from consumer.runtime import clock
from consumer.runtime.global_part import RETENTIONS_KEPT

WRITE_DOLLARS, READ_DOLLARS = 0.625, 0.125
"""For a million units on demand, us-east-1, Standard table class; list prices of November 2024."""
STORAGE_DOLLARS = 0.25
"""For a GB and month."""
MINUTES_A_MONTH = 30 * 24 * 60
KEY_UNITS_A_SECOND = 1_000
"""What one partition key can take, in write units."""
LATENCY_MAX = 3.0
"""Commit intervals from the last shard's watermark to the row."""

FULL = (
    Load(10, 1, 1, minutes=20),
    Load(10, 100, 1, minutes=5),
    Load(10, 10_000, 16),
    Load(100, 1, 1, minutes=2),
    Load(100, 100, 1),
    Load(100, 10_000, 16),
    Load(1_000, 1, 1, poll_seconds=2.5),
    Load(1_000, 100, 1, poll_seconds=2.5),
    Load(1_000, 10_000, 16, poll_seconds=2.5),
)
QUICK = (Load(2, 1, 1), Load(30, 10, 2))

Found = Mapping[Load, Measured]


def main() -> int:
    """Measure, print, write; EXIT_OK whatever the figures are, EXIT_FAILURE if a measurement failed."""
    options = _parser().parse_args()
    try:
        found = {load: run(load, options.keep) for load in (QUICK if options.quick else FULL)}
    except subprocess.CalledProcessError as error:
        tell(f"{error.cmd} failed:\n{error.stderr}")
        return EXIT_FAILURE
    for figure in figures(found):
        print(figure)
    if options.quick:
        tell("nothing was written: these were small loads")
    else:
        write(found)
    return EXIT_OK


def run(load: Load, keep: Path | None = None) -> Measured:
    """Measure one load, or return what is kept of it; CalledProcessError if that fails."""
    kept = None if keep is None else keep / f"{load.shards}-{load.groups}.json"
    if kept is not None and kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=Measured)
    tell(f"{load.shards} shards, {load.groups} groups")
    command = [sys.executable, "-m", "bench.global_run", msgspec.json.encode(load).decode()]
    done = subprocess.run(command, capture_output=True, check=True)
    if kept is not None:
        kept.write_bytes(done.stdout)
    return msgspec.json.decode(done.stdout, type=Measured)


def figures(found: Found) -> Iterator[Figure]:
    """Yield all figures."""
    for load, measured in found.items():
        name = f"global_{load.shards}_shards_{load.groups}_groups"
        for what, traffic in kinds(measured.meter).items():
            yield Figure(f"{name}_{what}", traffic.requests / load.minutes, "requests_a_minute")
            yield Figure(f"{name}_{what}_bytes", traffic.size_bytes / load.minutes, "bytes_a_minute")
        yield Figure(f"{name}_dollars", dollars(load, measured), "a_month")
        yield Figure(f"{name}_stored", stored_bytes(load, measured) / 1e9, "GB")
        yield Figure(f"{name}_fullest_key", fullest_key(load, measured), "write_units_a_minute")
        yield _across(f"{name}_latency", [each / COMMIT_INTERVAL_SECONDS for each in measured.latencies])
    worst = longest(found)
    yield Figure("global_latency_goal", "met" if worst <= LATENCY_MAX else "not_met", f"at_most_{LATENCY_MAX:g}")
    yield Figure("global_completion_1000_shards", completion_ms(1_000), "cpu_ms")


def _across(name: str, values: Sequence[float]) -> Figure:
    return Figure(name, median(values), "commit_intervals", min(values), max(values))


def kinds(meter: Meter) -> Mapping[str, Traffic]:
    """Return the traffic by what it was for."""
    return {
        "contributions_written": meter.contributions_written,
        "contributions_read": meter.contributions_read,
        "progress_written": meter.progress_written,
        "progress_read": meter.progress_read,
    }


def dollars(load: Load, measured: Measured) -> float:
    """Return what a month costs: requests, and what is stored."""
    meter = measured.meter
    written = meter.contributions_written.units + meter.progress_written.units
    read = meter.contributions_read.units + meter.progress_read.units
    requests = (written * WRITE_DOLLARS + read * READ_DOLLARS) / 1e6 / load.minutes * MINUTES_A_MONTH
    return requests + stored_bytes(load, measured) / 1e9 * STORAGE_DOLLARS


def stored_bytes(load: Load, measured: Measured) -> float:
    """Return what is kept of contributions at a time."""
    kept_minutes = RETENTIONS_KEPT * RETENTION_MS / 60_000
    return measured.meter.contributions_written.size_bytes / load.minutes * kept_minutes


def fullest_key(load: Load, measured: Measured) -> float:
    """Return how many write units a minute the partition key gets that gets most."""
    return max(measured.meter.key_units.values()) / load.minutes


def longest(found: Found) -> float:
    """Return the longest latency of all, in commit intervals."""
    return max(max(measured.latencies) for measured in found.values()) / COMMIT_INTERVAL_SECONDS


def completion_ms(shards: int) -> float:
    """Return the CPU milliseconds that it takes to find out how far all shards are."""
    ranges = Stream(Load(shards, 1, 1)).ranges
    told = [
        Progress(name, 0, (), (str(each.first), str(each.last)), number, 1, 1)
        for number, (name, each) in enumerate(ranges.items())
    ]
    times = []
    for _ in range(10):
        started = time.process_time()
        assert completion(told, 0).watermark_ms == 0
        times.append(time.process_time() - started)
    return min(times) * 1000


def write(found: Found) -> None:
    """Write the part of bench/core.json and of docs/performance.md."""
    measured_at = dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC).isoformat(timespec="seconds")
    machine = facts("msgspec")
    content = {"measured_at": measured_at, "machine": machine, "figures": list(figures(found))}
    write_json("global_windows", content)
    write_section("global_windows", markdown(found, measured_at))
    tell("wrote core.json and performance.md")


def markdown(found: Found, measured_at: str) -> str:
    """Return the tables."""
    begin = f"Counted on {measured_at[:10]}, with {SHARDS_A_WORKER} shards a worker."
    return "\n".join([begin, "", *_requests(found), "", *_money(found), "", *_latency(found)])


def _requests(found: Found) -> Iterator[str]:
    yield "Requests a minute, and kilobytes written or read (`BatchWriteItem` and `PutItem` write, `Query` reads):"
    yield ""
    heads = ("shards", "groups", "buckets", "contributions written", "progress written", "progress read")
    yield f"| {' | '.join(heads)} | contributions read |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    for load, measured in found.items():
        meter = measured.meter
        order = (meter.contributions_written, meter.progress_written, meter.progress_read, meter.contributions_read)
        cells = (f"{each.requests / load.minutes:,.0f}, {_kilobytes(each, load)} kB" for each in order)
        yield f"| {load.shards:,} | {load.groups:,} | {load.buckets} | {' | '.join(cells)} |"


def _kilobytes(traffic: Traffic, load: Load) -> str:
    return f"{traffic.size_bytes / load.minutes / 1000:,.0f}"


def _money(found: Found) -> Iterator[str]:
    yield (
        "Units a minute, what is stored, and dollars a month of 30 days (on demand, us-east-1: "
        f"${WRITE_DOLLARS} a million write units, ${READ_DOLLARS} a million read units, ${STORAGE_DOLLARS} a GB and "
        "month). The fullest key is the partition key that gets most: it can take "
        f"{KEY_UNITS_A_SECOND:,} write units a second, so a window's contributions need so many seconds at least:"
    )
    yield ""
    yield "| shards | groups | buckets | write units | read units | stored | a month | fullest key |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for load, measured in found.items():
        meter, minutes = measured.meter, load.minutes
        written = (meter.contributions_written.units + meter.progress_written.units) / minutes
        read = (meter.contributions_read.units + meter.progress_read.units) / minutes
        stored = f"{stored_bytes(load, measured) / 1e9:,.2f} GB"
        key = f"{fullest_key(load, measured) / KEY_UNITS_A_SECOND:,.1f} s"
        yield (
            f"| {load.shards:,} | {load.groups:,} | {load.buckets} | {written:,.0f} | {read:,.0f} | {stored} "
            f"| ${dollars(load, measured):,.2f} | {key} |"
        )


def _latency(found: Found) -> Iterator[str]:
    yield "From the watermark of the last shard to the last row of the window, in commit intervals:"
    yield ""
    yield "| shards | groups | windows | median | longest |"
    yield "|---:|---:|---:|---:|---:|"
    for load, measured in found.items():
        values = [each / COMMIT_INTERVAL_SECONDS for each in measured.latencies]
        cells = f"{len(values)} | {median(values):.1f} | {max(values):.1f}"
        yield f"| {load.shards:,} | {load.groups:,} | {cells} |"
    yield ""
    worst = longest(found)
    verdict = "met" if worst <= LATENCY_MAX else "**not met**"
    yield f"The longest of all: {worst:.1f}; wanted: at most {LATENCY_MAX:g}, {verdict}."
    yield f"To find out how far 1,000 shards are takes {completion_ms(1_000):.1f} ms of a worker's CPU an interval."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.global_windows", description="Counts what is asked for.")
    parser.add_argument("--quick", action="store_true", help="small loads: to see that it works; nothing is written")
    parser.add_argument("--keep", type=Path, help="a directory: loads whose results are there are not run again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
