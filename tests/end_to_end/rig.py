"""A worker as a real process, with the real daemon, on an embedded AWS of its own."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import psutil

from consumer.emulator.server import Emulator
from consumer.entrypoints.demo.clickstream import Scenario
from consumer.entrypoints.demo.cloud import Cloud, environment_for
from consumer.entrypoints.demo.lineage import Together, count_stream
from consumer.entrypoints.demo.processes import Child, Children, wait_until
from consumer.entrypoints.demo.producer import Producer
from consumer.entrypoints.demo.recount import Recount, are_combined, recount
from consumer.entrypoints.demo.runtime_api import LambdaFunction, tick_until
from consumer.environment import environment
from consumer.errors import EXIT_USAGE, RetryableError
from consumer.pipeline.load import load
from consumer.records import Position, Record
from consumer.testing.reference import Idle
from tests.docs.pages import DOCS

CONFIG = Path(__file__).parents[2] / "config" / "clickstream.yaml"
OWNER = "worker-0"
SECONDS_MAX = 180.0
"""Far more than anything takes: the machine may be busy with other things."""
START_MS = 1_767_225_600_000
_FAST = "\n  application: rig\n  kcl: {idleTimeBetweenReadsInMillis: 250, leaseAssignmentIntervalMillis: 2000}\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Rig:
    """One pipeline, its stream and its workers."""

    def __init__(self, emulator: Emulator, directory: Path, *, shards: int = 4, idle_after: str = "never") -> None:
        self.emulator = emulator
        self.port = free_port()
        self.file = directory / "clickstream.yaml"
        text = CONFIG.read_text().replace("commit_interval: 5s", "commit_interval: 1s")
        text = text.replace("idle_after: never", f"idle_after: {idle_after}")
        self.file.write_text(text.replace("metrics_port: 9102", f"metrics_port: {self.port}{_FAST}"))
        self.environ = {**environment_for(emulator.endpoint, environment()), "POD_NAME": OWNER}
        self.pipeline = load(self.file, self.environ)
        self.cloud = Cloud(self.pipeline, self.environ)
        self.cloud.prepare(shards, OWNER)
        self.children = Children(directory)
        self._workers: list[Child] = []

    def close(self) -> None:
        """End all workers, and see that each line of their logs is what docs/logs.md says."""
        self.children.__exit__(None, None, None)
        for worker in self._workers:
            if worker.status != EXIT_USAGE:  # it says so in words, before there is a log
                check_log(worker.output())

    def put(self, events: int, seed: int = 1, *, offset_ms: int = 0) -> None:
        """Put a scenario of the demo into the stream, as fast as it goes."""
        scenario = Scenario(events, START_MS + offset_ms, 3_600_000, 9_000, seed)
        Producer(self.emulator.client("kinesis"), self.pipeline.source.stream).send(scenario.messages(), lambda _: None)

    def start(self) -> Child:
        arguments = ["consumer", "run", str(self.file), "--metrics-host", "127.0.0.1", "--quick-start"]
        return self._started(self.children.start("worker", arguments, self.environ))

    def start_another(self, identifier: str) -> Child:
        """Start one more worker on the same stream, under a name of its own."""
        file = self.file.with_name(f"{identifier}.yaml")
        file.write_text(self.file.read_text().replace(f"metrics_port: {self.port}", f"metrics_port: {free_port()}"))
        arguments = ["consumer", "run", str(file), "--metrics-host", "127.0.0.1", "--quick-start"]
        return self._started(self.children.start(identifier, arguments, self.environ | {"POD_NAME": identifier}))

    def _started(self, worker: Child) -> Child:
        self._workers.append(worker)
        return worker

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def ends(self) -> dict[str, Position]:
        """Return the position of each open shard's last record."""
        records = {shard.id: self.cloud.records(shard.id) for shard in self.cloud.shards() if not shard.closed}
        return {shard: Position.of(stored[-1]) for shard, stored in records.items() if stored}

    def wait_until_told(self, worker: Child, event: str) -> None:
        """Wait until the worker's log has an event."""
        wait_until(lambda: event in worker.output(), event, seconds_max=SECONDS_MAX, alive=[worker])

    def wait_until_read(self, worker: Child, seconds_max: float = SECONDS_MAX) -> None:
        ends = self.ends()
        closed = [shard.id for shard in self.cloud.shards() if shard.closed]

        def read() -> bool:
            try:
                positions = self.cloud.positions(list(ends))
                ended = all(map(self.cloud.ended, closed))
            except RetryableError:
                return False  # a fault that was meant for the worker
            return ended and all(positions.get(shard, Position(0, 0)) >= end for shard, end in ends.items())

        wait_until(read, "everything to be counted", seconds_max=seconds_max, alive=[worker])

    def wait_until_started(self, worker: Child) -> None:
        shards = [shard.id for shard in self.cloud.shards()]
        wait_until(
            lambda: len(self.cloud.positions(shards)) == len(shards),
            "every shard to have a position",
            seconds_max=SECONDS_MAX,
            alive=[worker],
        )

    def stop(self, worker: Child, seconds_max: float = SECONDS_MAX) -> int:
        worker.terminate()
        return self.wait_until_ended(worker, seconds_max)

    def wait_until_ended(self, worker: Child, seconds_max: float = SECONDS_MAX) -> int:
        wait_until(lambda: worker.status is not None, "the worker to end", seconds_max=seconds_max)
        assert worker.status is not None
        return worker.status

    def recount(self, *, idle: bool = False) -> Recount:
        """Recount the stream; `idle`: the shards were found idle behind their last records."""
        return recount(self.pipeline, self._counted(idle=idle), self.cloud.delivered())

    def wait_until_combined(self, worker: Child, *, idle: bool = False) -> None:
        """Wait until global windows that are complete by all that is in the stream have their rows."""
        counted = self._counted(idle=idle)
        assert counted.combined.rows
        wait_until(
            lambda: are_combined(self.pipeline, counted, self.cloud.delivered()),
            "global windows to be combined",
            seconds_max=SECONDS_MAX,
            alive=[worker],
        )

    def tick_until_combined(self, function: LambdaFunction) -> None:
        """Tick until global windows that are complete by all that is in the stream have their rows."""
        tick_until_combined(self.cloud, function, self._counted(idle=False))

    def _counted(self, *, idle: bool) -> Together:
        return count_stream(self.pipeline, self.cloud.shards(), 0, lambda shard: self._inputs(shard, idle=idle))

    def _inputs(self, shard: str, *, idle: bool) -> list[Record | Idle]:
        records = self.cloud.records(shard)
        if not idle:
            return [*records]
        claim = self.cloud._store().read(shard)
        assert claim is not None
        assert claim.state is not None
        assert claim.state.watermark_ms is not None
        return [*records, Idle(claim.state.watermark_ms + self.pipeline.events.out_of_orderness_ms)]


def tick_until_combined(cloud: Cloud, function: LambdaFunction, counted: Together) -> None:
    assert counted.combined.rows

    def done() -> bool:
        return are_combined(cloud.pipeline, counted, cloud.delivered())

    tick_until(done, function.invoke, seconds_max=SECONDS_MAX)
    assert done()


def processes_of(worker: Child) -> list[psutil.Process]:
    """Return the worker's process and all its descendants: Python, Java, relays."""
    try:
        top = psutil.Process(worker.pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


LOG_SCHEMA = jsonschema.Draft202012Validator(json.loads((DOCS / "log.schema.json").read_text(encoding="utf-8")))


def check_log(output: str) -> None:
    """Hold every line against the schema; the last one only if it is whole, for the worker may have been killed."""
    for line in output.splitlines(keepends=True):
        if line.endswith("\n"):
            LOG_SCHEMA.validate(json.loads(line))


KINDS = ("java", "python", "relay")


def kill_one(kind: str, processes: Sequence[psutil.Process]) -> str:
    """Kill one of the worker's processes: of that kind, or Python if there is none yet. Return the kind."""
    found = {_kind(process): process for process in processes}
    kind = kind if kind in found else "python"
    found[kind].kill()
    return kind


def _kind(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
    except psutil.NoSuchProcess:
        return "gone"
    if any("MultiLangDaemon" in argument for argument in command):
        return "java"
    return "relay" if any(Path(argument).name == "relay.py" for argument in command) else "python"
