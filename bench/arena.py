"""Where the workers run, one after the other: embedded AWSs in processes of their own, with streams that are full."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.check import check_processed, check_product
from bench.measure import usage_by_part, usage_of
from bench.processors.settings import IDENTIFIER
from bench.report import Run
from bench.stream import SHARDS, Recipe, now_ms, put
from bench.variants import Counting, Product, Variant, free_port, pipeline_copy
from consumer.entrypoints.demo.clients import client
from consumer.entrypoints.demo.cloud import Cloud, environment_for
from consumer.entrypoints.demo.processes import Child, Children, wait_until
from consumer.environment import environment
from consumer.errors import StreamgaugeError
from consumer.pipeline.load import load
from consumer.pipeline.model import FirehoseSink, Pipeline, SinkTarget
from consumer.runtime import clock
from consumer.sources import leases

VARIANTS = ("product", "nothing", "kclpy")

_START_SECONDS_MAX = 120.0
_SECONDS_A_MILLION_MAX = 300.0
_STOP_SECONDS_MAX = 90.0
_LEASE_POLL_SECONDS = 0.8
"""Between looks at the lease table, beside the pause that `wait_until` makes."""
_SETTLE_SECONDS = 2.0
"""From the last checkpoint to the measurement: what the product does after a delivery belongs to its cost."""
_ENDPOINT = re.compile(r"listens on (http://\S+?);")


class BenchError(StreamgaugeError):
    """A run failed or does not count."""


def measure(recipe: Recipe, sizes: Sequence[int], names: Sequence[str], rounds: int) -> Iterator[Run]:
    """Fill a stream with each number of records, and in every round run the named workers on each of them.

    StreamgaugeError if a run fails, or its result is not what it must be.
    """
    with tempfile.TemporaryDirectory(prefix="streamgauge-bench-") as name, Children(Path(name)) as children:
        arenas = [_open(recipe, records, rounds, Path(name), children) for records in sizes]
        for number in range(1, rounds + 1):
            for arena in arenas:
                for variant in rotated(names, number):
                    yield arena.run(variant, number)


def rotated(names: Sequence[str], number: int) -> Sequence[str]:
    """Return the names in the order of a round (from 1), so that nobody is always first or last."""
    first = (number - 1) % len(names)
    return [*names[first:], *names[:first]]


def _open(recipe: Recipe, records: int, rounds: int, parent: Path, children: Children) -> Arena:
    directory = parent / str(records)
    directory.mkdir()
    emulator = children.start("embedded AWS", ["consumer", "emulator", "--port", "0"], environment())
    wait_until(
        lambda: _ENDPOINT.search(emulator.output()) is not None,
        "its endpoint",
        seconds_max=_START_SECONDS_MAX,
        alive=[emulator],
    )
    found = _ENDPOINT.search(emulator.output())
    assert found is not None, "it was there"
    environ = environment_for(found[1], environment())
    port = free_port()
    files = [pipeline_copy(directory, port, number) for number in range(1, rounds + 1)]
    clouds = [Cloud(load(file, environ), environ) for file in files]
    clouds[0].prepare(SHARDS, IDENTIFIER)
    for cloud in clouds[1:]:
        cloud.create_delivery_streams()
    tell(f"putting {records:,} records into a stream of {SHARDS} shards")
    shards = clouds[0].shards()
    last = put(found[1], clouds[0].pipeline.source.stream, recipe.records(records, shards, now_ms()))
    return Arena(records, directory, children, emulator, clouds, files, port, last)


@dataclass(frozen=True, slots=True)
class Arena:
    """A full stream. `last` are the sequence numbers of the last record of each shard.

    In each round the product runs with a pipeline, state and sinks of its own: `clouds` and `files`, one a round.
    """

    records: int
    directory: Path
    children: Children
    emulator: Child
    clouds: Sequence[Cloud]
    files: Sequence[Path]
    metrics_port: int
    last: Mapping[str, str]

    def run(self, name: str, number: int) -> Run:
        """Run a worker in a round until it has checkpointed every shard at its last record; measure and stop it."""
        tell(f"round {number}: {name}, {self.records:,} records")
        cloud, variant = self.clouds[number - 1], self._variant(name, number)
        database = client("dynamodb", cloud.environ)
        leases.prepare(database, variant.application, cloud.shards(), IDENTIFIER, None)
        emulator_before_s = usage_of(self.emulator.pid).cpu_s
        started_s = clock.monotonic()
        worker = self.children.start(variant.name, variant.arguments(), cloud.environ)
        alive = [self.emulator, worker]
        first_s: list[float] = []

        def first_is_known() -> bool:
            first_s[:] = filter(None, [variant.first_record_s()])
            return bool(first_s)

        wait_until(first_is_known, "the first record", seconds_max=_START_SECONDS_MAX, alive=alive)
        wait_until(
            lambda: self._checkpoints(database, variant.application) == self.last,
            "the last checkpoint",
            seconds_max=_START_SECONDS_MAX + _SECONDS_A_MILLION_MAX * self.records / 1e6,
            alive=alive,
            meanwhile=lambda: clock.sleep(_LEASE_POLL_SECONDS),
        )
        elapsed_s = clock.monotonic() - started_s
        clock.sleep(_SETTLE_SECONDS)
        usage = usage_by_part(worker.pid)
        emulator_cpu_s = usage_of(self.emulator.pid).cpu_s - emulator_before_s
        checkpoints, rows = self._check(variant, cloud)
        self._stop(worker)
        return Run(
            variant=variant.name,
            records=self.records,
            round=number,
            usage=usage,
            emulator_cpu_s=emulator_cpu_s,
            first_record_s=first_s[0] - started_s,
            elapsed_s=elapsed_s,
            checkpoints=checkpoints,
            rows=rows,
        )

    def _checkpoints(self, database: object, application: str) -> Mapping[str, str]:
        answer = database.scan(TableName=application)  # type: ignore[attr-defined]  # a client of any service
        return {item["leaseKey"]["S"]: item["checkpoint"]["S"] for item in answer["Items"]}

    def _variant(self, name: str, number: int) -> Variant:
        pipeline = self.clouds[number - 1].pipeline
        if name == "product":
            return Product(pipeline.worker.application, self.files[number - 1], self.metrics_port)
        module = "bench.processors.nothing" if name == "nothing" else "bench.processors.kclpy_daemon"
        return Counting(name, module, pipeline.source.stream, self.directory, number)

    def _check(self, variant: Variant, cloud: Cloud) -> tuple[int, int]:
        """Return the numbers of checkpoints and result rows; BenchError if the run does not count."""
        if isinstance(variant, Product):
            metrics = variant.metrics()
            rows = cloud.delivered()
            problems = check_product(self.records, SHARDS, metrics, rows, delivery_streams(cloud.pipeline))
            numbers = round(metrics["commits"]["ok"]), round(sum(metrics["results_emitted"].values()))
        else:
            assert isinstance(variant, Counting)
            tally = variant.tally()
            problems = check_processed(variant.name, tally.records, self.records)
            numbers = tally.checkpoints, tally.results
        if found := list(problems):
            raise BenchError("; ".join(found))
        return numbers

    def _stop(self, worker: Child) -> None:
        worker.terminate()
        wait_until(lambda: worker.status is not None, f"the end of {worker.name}", seconds_max=_STOP_SECONDS_MAX)
        if worker.status not in _GOOD_ENDS:
            raise BenchError(f"{worker.name} ended with status {worker.status}:\n{worker.output()[-2000:]}")


_GOOD_ENDS = (0, 143)
"""143 is what Java itself ends with after SIGTERM."""


def delivery_streams(pipeline: Pipeline) -> dict[str, str]:
    """Return the names of the delivery streams of results, late events and dead letters."""
    targets = {"results": pipeline.sinks[0].target, "late": pipeline.late, "dead letters": pipeline.dead_letter}
    return {kind: _firehose(target) for kind, target in targets.items()}


def _firehose(target: SinkTarget | None) -> str:
    assert isinstance(target, FirehoseSink), "the demo's pipeline delivers all of its rows to Firehose"
    return target.stream


def tell(text: str) -> None:
    """Tell a person what is going on."""
    sys.stderr.write(f"bench: {text}\n")
