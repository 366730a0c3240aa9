"""The demo, one step a call, for workers that somebody else starts and stops: in containers, in a cluster.

    python -m consumer.entrypoints.demo.steps prepare FILE     makes in the embedded AWS what the pipeline file names
    python -m consumer.entrypoints.demo.steps produce FILE     sends events, as many as --events says
    python -m consumer.entrypoints.demo.steps recount FILE     waits for the workers, and compares with a recount

The embedded AWS is at --endpoint, else at AWS_ENDPOINT_URL. `recount` prints one JSON object; the exit status is 0 if
no row is missing or wrong. Nothing may be sent meanwhile; workers may run, and must have come to the end of the stream.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from botocore.exceptions import BotoCoreError

from consumer.entrypoints.demo.clickstream import Scenario
from consumer.entrypoints.demo.clients import client
from consumer.entrypoints.demo.cloud import Cloud, count, environment_for
from consumer.entrypoints.demo.lineage import Counted, families, together
from consumer.entrypoints.demo.play import Plan
from consumer.entrypoints.demo.processes import DemoError
from consumer.entrypoints.demo.producer import Producer, scenarios
from consumer.entrypoints.demo.recount import Recount, recount
from consumer.environment import environment
from consumer.errors import EXIT_FAILURE, EXIT_OK, StreamgaugeError
from consumer.pipeline.load import load
from consumer.runtime import clock

NOBODY = "nobody"
"""Owner of leases that the workers hand out among themselves."""
REPORT_SECONDS = 10.0
_POLL_SECONDS = 1.0
_LIVE_SPAN_MS = 60_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one step; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.step(options, _cloud(options))
    except StreamgaugeError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILURE
    return status


def wait_for(what: str, ready: Callable[[], bool], seconds_max: float) -> None:
    """Wait until something is so; DemoError if it is not in time."""
    deadline = clock.monotonic() + seconds_max
    while not ready():
        if clock.monotonic() > deadline:
            raise DemoError(f"waited {seconds_max:.0f} s for {what}")
        clock.sleep(_POLL_SECONDS)


def prepare(cloud: Cloud, *, shards: int, owner: str, seconds_max: float) -> bool:
    """Make everything as soon as the embedded AWS answers; False if the stream is there already."""
    streams = client("kinesis", cloud.environ)
    names: list[str] = []

    def answers() -> bool:
        try:
            names[:] = streams.list_streams()["StreamNames"]
        except BotoCoreError:
            return False
        return True

    wait_for("the embedded AWS", answers, seconds_max)
    if cloud.pipeline.source.stream in names:
        return False
    cloud.prepare(shards, owner)
    return True


def audit(cloud: Cloud, *, seconds_max: float) -> Recount:
    """Count the stream again, wait until the workers have worked through it, and compare.

    DemoError if they have not in time. What is still missing then is looked for until the time is over: rows of the
    last commit may still be on their way, and those of global windows come some commits after it.
    """
    deadline = clock.monotonic() + seconds_max
    generation = cloud.application().generation
    counted = _counted(cloud, generation)
    left = deadline - clock.monotonic()
    wait_for("the workers to read the stream to its end", lambda: all(map(cloud.is_done, counted)), left)
    everything = together(cloud.pipeline, counted, generation)
    while True:
        found = recount(cloud.pipeline, everything, cloud.delivered())
        if found.wrong or not found.missing or clock.monotonic() > deadline:
            return found
        clock.sleep(_POLL_SECONDS)


def as_json(found: Recount) -> Mapping[str, object]:
    """Return what is printed: counts of rows, and the first examples of what is not right."""
    kinds = {"results": found.results, "late": found.late, "dead_letters": found.dead_letters}
    return {
        "right": found.is_right,
        "events": max((sums.received for sums in found.sums), default=0),
        "expected": sum(kind.expected for kind in kinds.values()),
        "missing": found.missing,
        "wrong": found.wrong,
        "duplicates": found.duplicates,
        "adds_up": all(sums.adds_up for sums in found.sums),
        "kinds": {name: {"expected": kind.expected, "missing": kind.missing} for name, kind in kinds.items()},
        "examples": list(chain.from_iterable(kind.examples for kind in kinds.values())),
    }


def _counted(cloud: Cloud, generation: int) -> list[Counted]:
    tasks = [(cloud.pipeline, cloud.environ, family, generation) for family in families(cloud.shards())]
    processes = min(len(tasks), os.cpu_count() or 1)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(chain.from_iterable(pool.starmap(count, tasks, chunksize=1)))


def _prepare(options: argparse.Namespace, cloud: Cloud) -> int:
    made = prepare(cloud, shards=options.shards, owner=options.owner, seconds_max=options.seconds)
    print("made" if made else "there already", flush=True)  # noqa: T201 - what the command says
    return EXIT_OK


def _produce(options: argparse.Namespace, cloud: Cloud) -> int:
    producer = Producer(client("kinesis", cloud.environ), cloud.pipeline.source.stream, options.rate)
    report = _Report()
    for scenario in scenarios(_scenario(options, cloud), endless=options.live):
        producer.send(scenario.messages(), report.note)
    report.tell(producer)
    return EXIT_OK


def _scenario(options: argparse.Namespace, cloud: Cloud) -> Scenario:
    pipeline, now_ms = cloud.pipeline, clock.now_ms()
    if options.live:
        events = max(1, round(options.rate * _LIVE_SPAN_MS / 1000))
        return Scenario(events, now_ms, _LIVE_SPAN_MS, pipeline.events.out_of_orderness_ms * 9 // 10, options.seed)
    plan = Plan(pipeline, options.file, options.events, 0, kill=False, reshard=False)
    past = plan.scenario(now_ms)
    return Scenario(past.events, past.start_ms, past.span_ms, past.disorder_ms, options.seed)


class _Report:
    """Tells how much is sent, now and then."""

    def __init__(self) -> None:
        self._told_at = clock.monotonic()

    def note(self, producer: Producer) -> None:
        if clock.monotonic() - self._told_at >= REPORT_SECONDS:
            self.tell(producer)

    def tell(self, producer: Producer) -> None:
        self._told_at = clock.monotonic()
        print(json.dumps({"sent": producer.sent, "resent": producer.resent}), flush=True)  # noqa: T201 - its output


def _recount(options: argparse.Namespace, cloud: Cloud) -> int:
    found = audit(cloud, seconds_max=options.seconds)
    print(json.dumps(as_json(found)), flush=True)  # noqa: T201 - what the command says
    return EXIT_OK if found.is_right else EXIT_FAILURE


def _cloud(options: argparse.Namespace) -> Cloud:
    environ = environment()
    endpoint = options.endpoint or environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        raise DemoError("where is the embedded AWS? Say --endpoint URL, or set AWS_ENDPOINT_URL")
    environ = environment_for(endpoint, environ)
    return Cloud(load(options.file, environ), environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Does one step of the demo, for workers that run elsewhere.")
    parser.add_argument("--endpoint", help="URL of the embedded AWS (default: AWS_ENDPOINT_URL)")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long to wait for others (%(default)s)")
    steps = parser.add_subparsers(title="steps", metavar="STEP", required=True)
    preparing = steps.add_parser("prepare", help="make what the pipeline file names")
    preparing.add_argument("--shards", type=int, default=4)
    preparing.add_argument("--owner", default=NOBODY, help="identifier of a worker that starts alone: it starts sooner")
    preparing.set_defaults(step=_prepare)
    producing = steps.add_parser("produce", help="send events")
    producing.add_argument("--events", type=int, default=20_000, help="how many (%(default)s)")
    producing.add_argument("--rate", type=float, default=1_000.0, help="events a second (%(default)s)")
    producing.add_argument("--live", action="store_true", help="events of this moment, until stopped")
    producing.add_argument("--seed", type=int, default=1, help="other seeds are other events")
    producing.set_defaults(step=_produce)
    counting = steps.add_parser("recount", help="compare what was delivered with a recount")
    counting.set_defaults(step=_recount)
    for step in (preparing, producing, counting):
        step.add_argument("file", type=Path, metavar="FILE", help="the pipeline file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
