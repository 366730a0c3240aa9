"""A stream under steady load, an embedded AWS of its own, and workers with the settings that ship; and what they do."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from bench.measure import family_of
from bench.variants import PIPELINE, free_port
from consumer.entrypoints.demo.clients import client
from consumer.entrypoints.demo.cloud import Cloud, environment_for
from consumer.entrypoints.demo.lineage import count_stream
from consumer.entrypoints.demo.processes import Child, Children, DemoError, wait_until
from consumer.entrypoints.demo.recount import are_combined, recount
from consumer.environment import environment
from consumer.pipeline.load import load
from consumer.records import Position
from consumer.runtime import clock
from consumer.sources import leases
from consumer.sources.leases import Lease

APPLICATION = "recovery"
EVENTS_PER_S = 200
SECONDS_MAX = 300.0
"""Far more than anything takes, a lost leader included."""

_HOST = "127.0.0.1"
_ENDPOINT = re.compile(r"listens on (http://\S+?);")
_RECEIVED = re.compile(r'^streamgauge_records_received_total\{.*shard="([^"]+)".*\} (\S+)$', re.MULTILINE)
_START_MS = 1_767_225_600_000
_EVENTS_A_SCENARIO = 20_000
_SPAN_MS = 1_200_000
_DISORDER_MS = 9_000
_SCRAPE_SECONDS_MAX = 2.0
_POLL_SECONDS = 0.1
_READ_SECONDS = 0.3
"""Between readings of the stored positions, which cost the embedded AWS more than a metrics page costs a worker."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Moments of a shard, by the monotonic clock: a batch with new records was done; one of them was committed."""

    processed_s: float
    committed_s: float


class Closed(NamedTuple):
    """The end of a stage: rows that had to come, rows that came twice, and the seconds that each stop took."""

    rows: int
    duplicates: int
    stops_s: Sequence[float]


@dataclass
class Worker:
    """A place for a worker. Its identifier, file and port stay when its process is started again.

    `rises`: by shard, the moments at which more records had been received than at the look before.
    """

    identifier: str
    file: Path
    port: int
    process: Child
    rises: dict[str, list[float]] = field(default_factory=dict)
    _received: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Read the metrics page, and note the shards that have gone on."""
        try:
            text = scrape(self.port)
        except OSError:
            return
        now = clock.monotonic()
        for shard, received in parse_received(text).items():
            if received > self._received.get(shard, 0.0):
                self.rises.setdefault(shard, []).append(now)
            self._received[shard] = received

    def started(self, process: Child) -> None:
        """Take a new process, which counts from 0."""
        self.process = process
        self._received = {}

    def kill(self) -> None:
        """End Python, Java and the relays with SIGKILL, as the end of a container does."""
        for pid in family_of(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()


def scrape(port: int) -> str:
    """Return a worker's metrics page; OSError while it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{_HOST}:{port}/metrics", timeout=_SCRAPE_SECONDS_MAX) as answer:
        text: str = answer.read().decode()
    return text


def parse_received(page: str) -> Mapping[str, float]:
    """Return how many records of each shard a metrics page says were received."""
    return {shard: float(value) for shard, value in _RECEIVED.findall(page)}


class Stage:
    """Use it in a `with Children(...)` block, which ends all that it starts."""

    def __init__(self, children: Children, directory: Path, *, workers: int, shards: int, on_stop: str) -> None:
        self._children = children
        self._environ = environment_for(self._emulator(), environment())
        files = [pipeline_copy(directory, f"worker-{number}", on_stop) for number in range(workers)]
        self.cloud = Cloud(load(files[0][0], self._environ), self._environ)
        self.cloud.prepare(shards, "worker-0")
        self._database = client("dynamodb", self._environ)
        self._divide(workers)
        self._producer = self._produce()
        self.workers = [
            Worker(f"worker-{number}", file, port, self._run(f"worker-{number}", file))
            for number, (file, port) in enumerate(files)
        ]

    def _emulator(self) -> str:
        emulator = self._children.start("embedded AWS", ["consumer", "emulator", "--port", "0"], environment())
        wait_until(
            lambda: _ENDPOINT.search(emulator.output()) is not None, "its endpoint", seconds_max=60, alive=[emulator]
        )
        found = _ENDPOINT.search(emulator.output())
        assert found is not None, "it was there"
        return found[1]

    def _divide(self, workers: int) -> None:
        """Give each worker its share of the leases, as they are after a while of balancing."""
        for number, shard in enumerate(self.cloud.shards()):
            self._database.update_item(
                TableName=APPLICATION,
                Key={"leaseKey": {"S": shard.id}},
                UpdateExpression="SET leaseOwner = :owner",
                ExpressionAttributeValues={":owner": {"S": f"worker-{number % workers}"}},
            )

    def _produce(self) -> Child:
        scenario = {"events": _EVENTS_A_SCENARIO, "start-ms": _START_MS, "span-ms": _SPAN_MS}
        options = {"stream": self.cloud.pipeline.source.stream, **scenario, "disorder-ms": _DISORDER_MS}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        module = "consumer.entrypoints.demo.producer"
        pace = ["--rate", str(EVENTS_PER_S), "--endless"]
        return self._children.start("producer", [module, *arguments, *pace], self._environ)

    def _run(self, identifier: str, file: Path) -> Child:
        arguments = ["consumer", "run", str(file), "--metrics-host", _HOST]
        return self._children.start(identifier, arguments, self._environ)

    def start(self, worker: Worker) -> None:
        """Start a worker's process again."""
        worker.started(self._run(worker.identifier, worker.file))

    # What is going on

    def leases(self) -> Mapping[str, Lease]:
        """Return the lease table."""
        return leases.read(self._database, APPLICATION) or {}

    def shards_of(self, worker: Worker) -> list[str]:
        """Return the open shards whose leases a worker has."""
        held = self.leases()
        return [shard for shard in self.open_shards() if shard in held and held[shard].owner == worker.identifier]

    def open_shards(self) -> list[str]:
        """Return the shards that are not closed."""
        return [shard.id for shard in self.cloud.shards() if not shard.closed]

    def leader(self) -> Worker:
        """Return the worker that hands out the leases."""
        key = {"key": {"S": "Leader"}}
        row = self._database.get_item(TableName=f"{APPLICATION}-CoordinatorState", Key=key, ConsistentRead=True)["Item"]
        return next(worker for worker in self.workers if worker.identifier == row["ownerName"]["S"])

    def settle(self, seconds: float) -> None:
        """Wait until all shards are being read and have been committed, and then for so long."""
        shards = self.open_shards()
        self.wait_for(shards, {}, self.workers, clock.monotonic())
        self.watch_for(seconds)

    def watch_for(self, seconds: float) -> None:
        """Let so much time pass, and note what goes on."""
        until = clock.monotonic() + seconds
        while clock.monotonic() < until:
            self._look()
            clock.sleep(_POLL_SECONDS)

    def stop(self, worker: Worker) -> float:
        """Stop a worker with SIGTERM; return how many seconds that took."""
        since_s = clock.monotonic()
        worker.process.terminate()
        wait_until(
            lambda: worker.process.status is not None,
            f"the end of {worker.identifier}",
            seconds_max=SECONDS_MAX,
            meanwhile=self._look,
        )
        return clock.monotonic() - since_s

    def positions(self, shards: Sequence[str]) -> Mapping[str, Position]:
        """Return the committed positions."""
        return self.cloud.positions(shards)

    def wait_for(
        self, shards: Sequence[str], before: Mapping[str, Position], workers: Iterable[Worker], since_s: float
    ) -> Mapping[str, Recovery]:
        """Wait until one of the workers has read on in each shard since then, and it was committed beyond `before`.

        DemoError if that takes very long.
        """
        processed: dict[str, float] = {}
        committed: dict[str, float] = {}
        deadline = since_s + SECONDS_MAX
        next_read_s = since_s
        while len(committed) < len(shards):
            if clock.monotonic() > deadline:
                raise DemoError(f"waited in vain for {set(shards) - set(committed)}: {self.leases()}")
            self._look()
            for shard in shards:
                rises = [at for worker in workers for at in worker.rises.get(shard, ()) if at >= since_s]
                if shard not in processed and rises:
                    processed[shard] = min(rises)
            if clock.monotonic() >= next_read_s:
                left = [shard for shard in processed if shard not in committed]
                now = self.positions(left)
                committed |= {one: clock.monotonic() for one in now if one not in before or now[one] > before[one]}
                next_read_s = clock.monotonic() + _READ_SECONDS
            clock.sleep(_POLL_SECONDS)
        return {shard: Recovery(processed[shard], committed[shard]) for shard in shards}

    def _look(self) -> None:
        for worker in self.workers:
            worker.look()

    # The end

    def close(self) -> Closed:
        """End the load, let everything be counted, stop the workers. DemoError if a row is missing or wrong."""
        self._producer.terminate()
        wait_until(lambda: self._producer.status is not None, "the end of the load", seconds_max=SECONDS_MAX)
        wait_until(self._drained, "everything to be counted", seconds_max=SECONDS_MAX)
        everything = count_stream(self.cloud.pipeline, self.cloud.shards(), 0, self.cloud.records)
        wait_until(
            lambda: are_combined(self.cloud.pipeline, everything, self.cloud.delivered()),
            "global windows to be combined",
            seconds_max=SECONDS_MAX,
        )
        stops_s = [self.stop(worker) for worker in self.workers if worker.process.status is None]
        counted = recount(self.cloud.pipeline, everything, self.cloud.delivered())
        if not counted.is_right:
            raise DemoError(f"rows are missing or wrong: {counted}")
        rows = counted.results.expected + counted.late.expected + counted.dead_letters.expected
        return Closed(rows, counted.duplicates, stops_s)

    def _drained(self) -> bool:
        shards = self.cloud.shards()
        if not all(self.cloud.ended(shard.id) for shard in shards if shard.closed):
            return False
        ends = {one.id: records[-1] for one in shards if not one.closed and (records := self.cloud.records(one.id))}
        positions = self.positions(list(ends))
        return all(shard in positions and positions[shard] >= Position.of(record) for shard, record in ends.items())


def pipeline_copy(directory: Path, identifier: str, on_stop: str) -> tuple[Path, int]:
    """Write the demo's pipeline for a worker, the daemon's settings left as they ship; return it and its port."""
    yaml = YAML()
    document: Any = yaml.load(PIPELINE)
    port = free_port()
    settings = {"identifier": identifier, "metrics_port": port, "application": APPLICATION, "on_stop": on_stop}
    document.setdefault("worker", {}).update(settings)
    path = directory / f"{identifier}.yaml"
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    return path, port
