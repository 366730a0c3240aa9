"""How long a shard stands still when a worker is killed, leaves, or is started again.

Run as `python -m bench.recovery`; see bench/README.md. Real workers with the real daemon and the settings that ship,
on an embedded AWS; every run ends with a recount of all that was sent. Prints one line a figure, `name value unit`;
what it is doing goes to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.core_report import tell
from bench.recovery_report import SCENARIOS, Run, figures, write
from bench.recovery_stage import SECONDS_MAX, Recovery, Stage
from consumer.entrypoints.demo.processes import Children, wait_until
from consumer.environment import environment
from consumer.errors import EXIT_FAILURE, EXIT_OK, StreamgaugeError
from consumer.runtime import clock
from consumer.runtime.class_archive import find_archive
from consumer.runtime.jars import find_jars
from consumer.runtime.java import find_java

SHARDS = 4
RUNS: Mapping[str, tuple[int, int]] = {
    "same_identifier": (1, 6),
    "same_identifier_children": (1, 5),
    "other_worker": (4, 1),
    "leader_lost": (1, 1),
    "release": (3, 1),
    "release_leader": (3, 1),
    "rolling_restart": (1, 4),
}
"""By scenario: how many stages, and how often the same thing is done on each."""
SETTLE_SECONDS = 8.0
"""Before something is done: longer than a commit and a renewal of all leases take."""

Deed = Callable[[Stage, int], list[Recovery]]
"""Does it once, for that number of the time; returns the shards' recoveries in seconds."""


def main() -> int:
    """Measure, print, write; EXIT_OK whatever the figures are, EXIT_FAILURE if a run failed or does not count."""
    options = _parser().parse_args()
    try:
        archive_classes()
        runs = [run for name in options.only or SCENARIOS for run in measure(name, options)]
    except StreamgaugeError as error:
        tell(str(error))
        return EXIT_FAILURE
    for figure in figures(runs):
        print(figure)
    if options.only or options.quick:
        tell("nothing was written: this was not all of it")
    else:
        write(runs)
    return EXIT_OK


def archive_classes() -> None:
    """Have a worker make the archive of Java's classes, as is so wherever one has run for a minute before."""
    environ = environment()
    archive = find_archive(find_java(environ), find_jars(), environ)
    if archive is None or archive.path.exists():
        return
    tell("a worker makes the archive of Java's classes")
    with (
        tempfile.TemporaryDirectory(prefix="streamgauge-recovery-") as temporary,
        Children(Path(temporary)) as children,
    ):
        stage = _stage("same_identifier", children, Path(temporary))
        wait_until(archive.path.exists, "the archive of Java's classes", seconds_max=SECONDS_MAX)
        stage.close()


def measure(name: str, options: argparse.Namespace) -> Iterator[Run]:
    """Yield what each stage of a scenario brought."""
    stages, times = (1, 1) if options.quick else RUNS[name]
    for number in range(stages):
        tell(f"{name}, {number + 1} of {stages}, {load_average()}")
        with tempfile.TemporaryDirectory(prefix="streamgauge-recovery-") as temporary:
            directory = Path(options.logs or temporary) / f"{name}-{number + 1}"
            directory.mkdir(parents=True)
            with Children(directory) as children:
                yield _run(name, number, times, _stage(name, children, directory))


def _stage(name: str, children: Children, directory: Path) -> Stage:
    workers = 1 if name.startswith("same_identifier") else 2
    on_stop = "release" if name.startswith("release") else "keep"
    return Stage(children, directory, workers=workers, shards=SHARDS, on_stop=on_stop)


def _run(name: str, number: int, times: int, stage: Stage) -> Run:
    recoveries: list[Recovery] = []
    for time in range(times):
        stage.settle(SETTLE_SECONDS + (number + time) % 5)  # the daemon's own intervals are met at different places
        found = _DEEDS[name](stage, time)
        tell(", ".join(f"{one.processed_s:.1f}/{one.committed_s:.1f}" for one in found))
        recoveries += found
    closed = stage.close()
    return Run(
        scenario=name,
        processed_s=[one.processed_s for one in recoveries],
        committed_s=[one.committed_s for one in recoveries],
        rows=closed.rows,
        duplicates=closed.duplicates,
        stops_s=list(closed.stops_s),
        load_average=load_average(),
    )


def _same_identifier(stage: Stage, _time: int) -> list[Recovery]:
    worker = stage.workers[0]
    return _kill_and_start(stage, stage.shards_of(worker))


def _same_identifier_children(stage: Stage, time: int) -> list[Recovery]:
    """Split a shard, or merge what was split, and kill the worker up to three seconds later."""
    shards = [shard for shard in stage.cloud.shards() if not shard.closed]
    if time % 2 == 0:
        stage.cloud.split(shards[0])
    else:
        stage.cloud.merge(*shards[-2:])
    known = {shard.id for shard in shards}
    clock.sleep(time % 4)
    return _kill_and_start(stage, [shard for shard in stage.open_shards() if shard not in known])


def _kill_and_start(stage: Stage, shards: Sequence[str]) -> list[Recovery]:
    worker = stage.workers[0]
    worker.kill()
    before = stage.positions(shards)
    since_s = clock.monotonic()
    stage.start(worker)
    return _since(since_s, stage.wait_for(shards, before, [worker], since_s))


def _other_worker(stage: Stage, _time: int) -> list[Recovery]:
    leader = stage.leader()
    return _kill_for_good(stage, next(index for index, one in enumerate(stage.workers) if one is not leader))


def _leader_lost(stage: Stage, _time: int) -> list[Recovery]:
    return _kill_for_good(stage, stage.workers.index(stage.leader()))


def _kill_for_good(stage: Stage, victim: int) -> list[Recovery]:
    worker = stage.workers[victim]
    shards = stage.shards_of(worker)
    since_s = clock.monotonic()
    worker.kill()
    before = stage.positions(shards)
    survivors = [one for one in stage.workers if one is not worker]
    return _since(since_s, stage.wait_for(shards, before, survivors, since_s))


def _release(stage: Stage, _time: int) -> list[Recovery]:
    leader = stage.leader()
    return _leave(stage, next(index for index, one in enumerate(stage.workers) if one is not leader))


def _release_leader(stage: Stage, _time: int) -> list[Recovery]:
    return _leave(stage, stage.workers.index(stage.leader()))


def _leave(stage: Stage, leaver: int) -> list[Recovery]:
    worker = stage.workers[leaver]
    shards = stage.shards_of(worker)
    stage.stop(worker)
    since_s = clock.monotonic()
    before = stage.positions(shards)
    stayers = [one for one in stage.workers if one is not worker]
    return _since(since_s, stage.wait_for(shards, before, stayers, since_s))


def _rolling_restart(stage: Stage, time: int) -> list[Recovery]:
    """Stop one of the two and start it again at once: the pause is from a shard's last batch to its next one."""
    worker = stage.workers[time % len(stage.workers)]
    shards = stage.shards_of(worker)
    stage.stop(worker)
    last_s = {shard: worker.rises[shard][-1] for shard in shards}
    before = stage.positions(shards)
    since_s = clock.monotonic()
    stage.start(worker)
    recovered = stage.wait_for(shards, before, stage.workers, since_s)
    return [found for shard, one in recovered.items() for found in _since(last_s[shard], {shard: one})]


def _since(since_s: float, recovered: Mapping[str, Recovery]) -> list[Recovery]:
    return [Recovery(one.processed_s - since_s, one.committed_s - since_s) for one in recovered.values()]


_DEEDS: Mapping[str, Deed] = {
    "same_identifier": _same_identifier,
    "same_identifier_children": _same_identifier_children,
    "other_worker": _other_worker,
    "leader_lost": _leader_lost,
    "release": _release,
    "release_leader": _release_leader,
    "rolling_restart": _rolling_restart,
}


def load_average() -> float:
    """Return how many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measures how long shards stand still.")
    parser.add_argument("--quick", action="store_true", help="everything once: less exact, nothing is written")
    parser.add_argument("--only", nargs="+", choices=list(RUNS), help="these alone; nothing is written")
    parser.add_argument("--logs", type=Path, help="keep the workers' logs in this directory")
    return parser


if __name__ == "__main__":
    sys.exit(main())
