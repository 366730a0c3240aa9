"""Several workers on one stream, each a real process with a real daemon, and all that can be done to them."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from threading import Event, Thread

import psutil

from consumer.emulator.server import Emulator
from consumer.entrypoints.demo.clickstream import Scenario
from consumer.entrypoints.demo.cloud import Cloud, environment_for
from consumer.entrypoints.demo.lineage import Together, count_stream
from consumer.entrypoints.demo.processes import Child, Children, wait_until
from consumer.entrypoints.demo.producer import Producer
from consumer.entrypoints.demo.recount import Recount, are_combined, recount
from consumer.environment import environment
from consumer.errors import EXIT_DAEMON, EXIT_ENVIRONMENT, EXIT_FENCED, EXIT_OK
from consumer.pipeline.load import load
from consumer.runtime import clock
from consumer.sources import leases
from tests.end_to_end.rig import CONFIG, START_MS, free_port, processes_of

SHARDS = 4
SHARDS_MIN, SHARDS_MAX = 3, 6
SECONDS_MAX = 300.0
FAILOVER_MS = 3_000
_KCL = {
    "failoverTimeMillis": FAILOVER_MS,
    "leaseAssignmentIntervalMillis": 2_000,
    "workerMetricsReporterFreqInMillis": 600,
    "idleTimeBetweenReadsInMillis": 250,
    "shutdownGraceMillis": 10_000,
}
_FORESEEN = {EXIT_OK, EXIT_DAEMON, EXIT_ENVIRONMENT, EXIT_FENCED, -signal.SIGKILL}
"""How a worker may end in all this; what nobody foresaw fails the run."""


@dataclass
class Worker:
    """A place for a worker: its identifier and file stay when its process is started again."""

    identifier: str
    file: Path
    environ: dict[str, str]
    process: Child | None = None
    paused_until: float | None = None
    """When to let it go on, by the monotonic clock."""

    def processes(self) -> list[psutil.Process]:
        return [] if self.process is None else processes_of(self.process)


class Fleet:
    """A stream, its workers, a producer that never rests, and counts of what was done to them."""

    def __init__(
        self, emulator: Emulator, endpoint: str, directory: Path, children: Children, *, workers: int, seed: int
    ) -> None:
        self._random = Random(seed)
        self.counts: Counter[str] = Counter()
        self._children = children
        self._emulator = emulator
        environ = environment_for(endpoint, environment())
        self.workers = [self._worker(directory, environ, number) for number in range(workers)]
        first = self.workers[0]
        self._pipeline = load(first.file, first.environ)
        self.cloud = Cloud(self._pipeline, environment_for(emulator.endpoint, environment()))
        self.cloud.prepare(SHARDS, first.identifier)
        self._enough = Event()
        self._producing: Thread | None = None

    def _worker(self, directory: Path, environ: dict[str, str], number: int) -> Worker:
        identifier = f"worker-{number}"
        file = directory / f"{identifier}.yaml"
        settings = ", ".join(f"{name}: {value}" for name, value in _KCL.items())
        text = CONFIG.read_text(encoding="utf-8").replace("commit_interval: 5s", "commit_interval: 1s")
        worker = f"metrics_port: {free_port()}\n  application: chaos\n  kcl: {{{settings}}}\n"
        file.write_text(text.replace("metrics_port: 9102", worker), encoding="utf-8")
        return Worker(identifier, file, environ | {"POD_NAME": identifier})

    # The load

    def produce(self, rate: float) -> None:
        """Start sending events, in a thread, until `stop_producing`."""
        self._producing = Thread(target=self._produce, args=(rate,), daemon=True)
        self._producing.start()

    def _produce(self, rate: float) -> None:
        events = 10_000
        producer = Producer(self._emulator.client("kinesis"), self._pipeline.source.stream, rate)
        number = 0
        while not self._enough.is_set():
            scenario = Scenario(events, START_MS + number * 600_000, 600_000, 9_000, number)
            producer.send((message for message in scenario.messages() if not self._enough.is_set()), lambda _: None)
            number += 1
        self.counts["events"] = producer.sent

    def stop_producing(self) -> None:
        self._enough.set()
        assert self._producing is not None
        self._producing.join(SECONDS_MAX)
        assert not self._producing.is_alive()

    # The workers

    def start_all(self) -> None:
        for worker in self.workers:
            self._start(worker)

    def _start(self, worker: Worker) -> None:
        arguments = ["consumer", "run", str(worker.file), "--metrics-host", "127.0.0.1", "--quick-start"]
        worker.process = self._children.start(worker.identifier, arguments, worker.environ)

    def look_after(self) -> None:
        """Let paused workers go on whose time has come; start those again that have ended."""
        for worker in self.workers:
            if worker.paused_until is not None and clock.monotonic() >= worker.paused_until:
                self._signal(worker, signal.SIGCONT)
                worker.paused_until = None
            if worker.process is not None and worker.process.status is not None:
                self.counts[f"ended with status {worker.process.status}"] += 1
                assert worker.process.status in _FORESEEN, worker.process.output()[-5000:]
                self._start(worker)

    def kill(self) -> None:
        """Kill one process of one worker: Python, Java or a relay."""
        worker = self._random.choice(self.workers)
        processes = worker.processes()
        if processes and worker.paused_until is None:
            victim = processes[0] if self._random.random() < 0.6 else self._random.choice(processes)
            with suppress(psutil.NoSuchProcess):
                victim.kill()
                self.counts["kills"] += 1

    def pause(self) -> None:
        """Stop all processes of a worker for longer than its leases last."""
        worker = self._random.choice(self.workers)
        if worker.paused_until is None and worker.processes() and sum(w.paused_until is None for w in self.workers) > 1:
            self._signal(worker, signal.SIGSTOP)
            worker.paused_until = clock.monotonic() + FAILOVER_MS / 1000 * self._random.uniform(1.5, 4)
            self.counts["pauses past the lease"] += 1

    def _signal(self, worker: Worker, number: signal.Signals) -> None:
        for process in worker.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def reshard(self) -> None:
        """Split a shard or merge two."""
        shards = sorted((one for one in self.cloud.shards() if not one.closed), key=lambda one: int(one.hash_range[0]))
        splits = len(shards) < SHARDS_MAX and (len(shards) <= SHARDS_MIN or self._random.random() < 0.5)
        if splits:
            self.cloud.split(self._random.choice(shards))
            self.counts["splits"] += 1
        else:
            place = self._random.randrange(len(shards) - 1)
            self.cloud.merge(shards[place], shards[place + 1])
            self.counts["merges"] += 1

    def calm_down(self) -> None:
        """Let all workers go on, and start those that have ended."""
        for worker in self.workers:
            if worker.paused_until is not None:
                worker.paused_until = 0.0
        self.look_after()

    # The audit

    def drain(self) -> None:
        """Wait until all that is in the stream is counted; workers that end meanwhile are started again."""
        shards = self.cloud.shards()
        ends = {one.id: records[-1] for one in shards if not one.closed and (records := self.cloud.records(one.id))}

        def undone() -> set[str]:
            positions = self.cloud.positions(list(ends))
            behind = {
                shard
                for shard, last in ends.items()
                if shard not in positions or positions[shard].sequence < int(last.sequence_number or 0)
            }
            return behind | {one.id for one in shards if one.closed and not self.cloud.ended(one.id)}

        # A chain of reshards is counted link by link: what may not take long is to get on.
        left = undone()
        while left:
            wait_until(
                partial(lambda before: undone() != before, left),
                f"one of {len(left)} shards to be counted",
                seconds_max=SECONDS_MAX,
                meanwhile=self.look_after,
            )
            left = undone()

    def left(self) -> list[str]:
        """Return what is not drained: the shards, who has their leases, and what its process says of them."""
        rows = leases.read(self._emulator.client("dynamodb"), "chaos") or {}
        lines = []
        for shard in self.cloud.shards():
            if shard.closed and self.cloud.ended(shard.id):
                continue
            lease = rows.get(shard.id)
            lines.append(f"{shard.id}: closed {shard.closed}, {lease}, {self.cloud.positions([shard.id])}")
            owner = next((one for one in self.workers if lease is not None and one.identifier == lease.owner), None)
            if owner is not None and owner.process is not None:
                lines += [line for line in owner.process.output().splitlines() if shard.id in line][-5:]
        return lines

    def stop(self) -> None:
        processes = [worker.process for worker in self.workers if worker.process is not None]
        for process in processes:
            process.terminate()
        wait_until(
            lambda: all(process.status is not None for process in processes),
            "the workers to stop",
            seconds_max=SECONDS_MAX,
        )
        assert all(process.status in _FORESEEN for process in processes)

    def count_again(self) -> Together:
        """Return what an independent recount of all shards says."""
        return count_stream(self._pipeline, self.cloud.shards(), 0, self.cloud.records)

    def wait_for_combined(self, counted: Together) -> None:
        """Wait until global windows that are complete have their rows; workers that end are started again."""
        wait_until(
            lambda: are_combined(self._pipeline, counted, self.cloud.delivered()),
            "global windows to be combined",
            seconds_max=SECONDS_MAX,
            meanwhile=self.look_after,
        )

    def recount(self, counted: Together) -> Recount:
        """Compare what arrived with the recount."""
        return recount(self._pipeline, counted, self.cloud.delivered())

    def parked(self) -> list[str]:
        """Return the lines of workers that refused a shard."""
        return [
            line for child in self._children.all for line in child.output().splitlines() if '"shard_refused"' in line
        ]
