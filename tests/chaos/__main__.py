"""Chaos: real workers with real daemons on the embedded AWS, killed, paused, resharded, and cut off at random.

`python -m tests.chaos --kills 10 --pauses 2 --reshards 2 --seed N`. All through it events are sent; in the end every
row that arrived is compared with an independent recount of the stream. Exit status 0 only if nothing is missing or
wrong, every event is in one place, and no worker refused a shard or ended in a way that nobody foresaw.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from consumer.emulator.server import Emulator
from consumer.entrypoints.demo.processes import Children, DemoError
from consumer.entrypoints.demo.recount import Recount
from consumer.runtime import clock
from tests.chaos.fault_proxy import FAIR, FaultProxy, Weather
from tests.chaos.fleet import Fleet

WEATHERS = (
    FAIR,
    FAIR,
    Weather(latency_seconds=0.2),
    Weather(reset=0.02),
    Weather(cut=0.02),
    Weather(latency_seconds=0.05, reset=0.01, cut=0.01),
    Weather(black_hole=True),
)
_STEP_SECONDS = (0.5, 4.0)
"""Least and most between two deeds."""
_FIRST_ROWS_SECONDS = 60.0


def main() -> int:
    """Run; return the exit status."""
    options = _parser().parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="streamgauge-chaos-") as temporary,
        Emulator() as emulator,
        FaultProxy("127.0.0.1", urlsplit(emulator.endpoint).port or 0, options.seed) as proxy,
        Children(options.logs or Path(temporary)) as children,
    ):
        fleet = Fleet(emulator, proxy.endpoint, Path(temporary), children, workers=options.workers, seed=options.seed)
        try:
            return _run(options, fleet, proxy)
        except DemoError as error:
            _tell(f"chaos: FAILED: {error}")
            for line in fleet.left():
                _tell(line)
            return 1


def _run(options: argparse.Namespace, fleet: Fleet, proxy: FaultProxy) -> int:
    started = clock.monotonic()
    fleet.start_all()
    fleet.produce(options.rate)
    deeds: list[Callable[[], None]] = [
        *[fleet.kill] * options.kills,
        *[fleet.pause] * options.pauses,
        *[fleet.reshard] * options.reshards,
    ]
    goals = {"kills": options.kills, "pauses past the lease": options.pauses, "reshards": options.reshards}
    random = Random(options.seed)
    _settle(fleet, _FIRST_ROWS_SECONDS)
    while deeds and clock.monotonic() - started < options.seconds_max:
        proxy.weather = random.choice(WEATHERS)
        random.choice(deeds)()
        _settle(fleet, random.uniform(*_STEP_SECONDS))
        proxy.weather = FAIR if proxy.weather.black_hole else proxy.weather
        deeds = [deed for deed in deeds if _done(fleet, _NAMES[deed.__name__]) < goals[_NAMES[deed.__name__]]]
    proxy.weather = FAIR
    fleet.stop_producing()
    fleet.calm_down()
    fleet.drain()
    counted = fleet.count_again()
    fleet.wait_for_combined(counted)
    drained = clock.monotonic()
    fleet.stop()
    return _audit(fleet, proxy, fleet.recount(counted), deeds, seconds=drained - started)


_NAMES = {"kill": "kills", "pause": "pauses past the lease", "reshard": "reshards"}


def _done(fleet: Fleet, name: str) -> int:
    return fleet.counts["splits"] + fleet.counts["merges"] if name == "reshards" else fleet.counts[name]


def _settle(fleet: Fleet, seconds: float) -> None:
    """Let time pass, and look after the workers meanwhile."""
    until = clock.monotonic() + seconds
    while clock.monotonic() < until:
        fleet.look_after()
        clock.sleep(0.2)


def _audit(
    fleet: Fleet, proxy: FaultProxy, counted: Recount, undone: list[Callable[[], None]], *, seconds: float
) -> int:
    figures = {
        **fleet.counts,
        **proxy.counts,
        "shards": len(fleet.cloud.shards()),
        "rows expected": counted.results.expected + counted.late.expected + counted.dead_letters.expected,
        "duplicates before dedupe": counted.duplicates,
        "missing": counted.missing,
        "wrong": counted.wrong,
    }
    for name, value in sorted(figures.items()):
        _tell(f"{name}: {value:,}")
    _tell(f"seconds: {seconds:.0f}")
    parked = fleet.parked()
    problems = [
        *([f"not all was done in time: {len(undone)} deeds are left"] if undone else []),
        *([] if counted.is_right else [f"not right: {counted}"]),
        *parked[:5],
    ]
    for problem in problems:
        _tell(problem)
    _tell("chaos: " + ("FAILED" if problems else "every row is there and right"))
    return 1 if problems else 0


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Makes trouble, and counts again.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pauses", type=int, default=100)
    parser.add_argument("--reshards", type=int, default=50)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0, help="events a second (%(default)s)")
    parser.add_argument("--seconds-max", type=float, default=5400.0, help="give up after so long (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--logs", type=Path, help="keep the workers' logs in this directory")
    return parser


if __name__ == "__main__":
    sys.exit(main())
