"""A pipeline with its stream, state and leases in the embedded AWS, worked on shard by shard without a daemon."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from prometheus_client import CollectorRegistry

from consumer.cli import main
from consumer.core.compile import compile_pipeline
from consumer.emulator.server import Emulator
from consumer.entrypoints.beginning import begin, start_seconds
from consumer.entrypoints.footing import Shards
from consumer.pipeline.load import load
from consumer.records import DEAD_LETTER, LATE, Position, Record
from consumer.runtime import clock
from consumer.runtime.adoption import adopt, former_windows
from consumer.runtime.commit import ShardOwner
from consumer.runtime.mode import Mode
from consumer.runtime.surroundings import Surroundings
from consumer.sinks.base import Failure, Router
from consumer.sources import kinesis, leases
from consumer.state import dynamodb
from consumer.state.base import Application, Claim, ShardState
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
FIRST, SECOND, LOW, HIGH = (f"shardId-{number:012d}" for number in range(4))
PIPELINE = """\
pipeline: {name}
source: {{stream: {name}, partition_key: user}}
events:
  fields: {{user: string, at: timestamp, page: string}}
  time: at
  out_of_orderness: 10s
  idle_after: never
windows:
  views: {{tumbling: 1m, by: [page], combine: false, select: {{views: count()}}}}
  visits: {{session: {{gap: 5m}}, by: [user], select: {{events: count(), first_page: first(page)}}}}
sinks: [{{stdout: {{}}}}]
state: {{table: {name}-state, bucket: {name}-bucket}}
worker: {{application: {name}-leases}}
"""


class World:
    """The time that all of it has: it passes when somebody waits, or a test says so."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = int
        """What happens while somebody sleeps."""

    def __call__(self) -> int:
        return self.now_ms

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.meanwhile()
        self.now_ms += round(seconds * 1000)


@dataclass
class RowsSink:
    """Keeps rows; where it `crashes`, the worker does before it has sent any."""

    name: str = "rows"
    rows: list[bytes] = field(default_factory=list)
    crashes: bool = False

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        if self.crashes:
            raise Crashed
        self.rows += rows
        return []

    def close(self) -> None:
        return


class Crashed(BaseException):
    """The worker is gone."""


class StateRig:
    """`name` is that of the pipeline, its stream, and all else."""

    def __init__(self, emulator: Emulator, world: World, directory: Path, name: str, *, shards: int = 2) -> None:
        self.emulator = emulator
        self.world = world
        self.name = name
        world.now_ms, world.meanwhile = START_MS, int
        world.slept.clear()
        self.file = directory / f"{name}.yaml"
        self.file.write_text(PIPELINE.format(name=name))
        self.pipeline = load(self.file, {})
        self.program = compile_pipeline(self.pipeline)
        self.sink = RowsSink()
        emulator.kinesis.create_stream(name, shards)
        session = boto3.Session()
        self.database: Any = session.client("dynamodb")
        self.buckets: Any = session.client("s3")
        self.streams: Any = session.client("kinesis")
        self.lineage = Shards(self.streams, name)
        dynamodb.create_table(self.database, f"{name}-state")
        self.buckets.create_bucket(Bucket=f"{name}-bucket")
        self.store = dynamodb.DynamoStore(
            self.database, self.buckets, table=f"{name}-state", bucket=f"{name}-bucket", pipeline=name
        )

    def start(self) -> Application:
        """Make the application item if there is none, and leases of worker-0, as at a first start."""
        streams = self.streams
        info = kinesis.describe(streams, self.name)
        application = self.store.create_application(
            begin(self.pipeline, streams, info, generation=0, now_ms=clock.now_ms())
        )
        shards = kinesis.list_shards(streams, self.name)
        leases.prepare(
            self.database,
            f"{self.name}-leases",
            shards,
            "worker-0",
            start_seconds(self.pipeline, application.started_at_ms),
        )
        return application

    def change(self, *replaced: tuple[str, str]) -> Application:
        """Let the coming workers have a file in which texts were replaced, as a start has them adopt it."""
        for old, new in replaced:
            text = self.file.read_text()
            assert old in text
            self.file.write_text(text.replace(old, new))
        self.pipeline = load(self.file, {})
        stored = self.store.read_application()
        assert stored is not None
        application = adopt(stored, self.pipeline, self.store.adopt)
        self.program = compile_pipeline(self.pipeline, incarnations=dict(application.incarnations))
        return application

    def put(self, user: str, *, at_seconds: int, page: str = "/") -> None:
        """Put an event into the stream."""
        event = {"user": user, "at": START_MS + at_seconds * 1000, "page": page}
        self.emulator.kinesis.put_record(self.name, user, json.dumps(event).encode())

    def records(self, shard: str) -> list[Record]:
        """Return what the stream has of a shard."""
        return [
            Record(each.data, each.partition_key, each.sequence_number, 0, each.arrival_ms)
            for each in self.emulator.kinesis.records(self.name, shard)
        ]

    def owner(self, shard: str) -> ShardOwner:
        """Return an owner that has done INIT by what the lease table says."""
        lease = self.leases().get(shard)
        owner = ShardOwner(self._around(), shard)
        known = lease is not None and lease.checkpoint.isdigit()
        owner.initialise(Position(int(lease.checkpoint), lease.sub_sequence) if lease and known else None)
        return owner

    def put_minutes(self, first: int, last: int, *, users: int = 6) -> None:
        """Put an event of one of the users every second, from one minute to another; let that time pass."""
        for second in range(first * 60, last * 60):
            self.world.now_ms = START_MS + second * 1000
            self.put(f"user-{second % users}", at_seconds=second, page=f"/{second % 3}")
        self.world.now_ms = START_MS + last * 60_000

    def work(self, shard: str, *, ended: bool = False, crash_before_send: bool = False) -> ShardOwner:
        """Take all records of a shard and commit, and then that all was sent; with `ended`, its end."""
        owner = self.owner(shard)
        records: Sequence[Record] = self.records(shard)
        while owner.mode is Mode.ACTIVE and (records or owner.processor.closing):
            records = records[owner.step(records).taken :]

        def checkpoint(position: Position) -> bool:
            return self.checkpoint(shard, str(position.sequence))

        if crash_before_send:
            self.sink.crashes = True
        if owner.mode is Mode.ACTIVE:
            if not ended:
                owner.combine()
            try:
                owner.commit(checkpoint, ended=ended)
            except Crashed:
                self.sink.crashes = False
                return owner
            if not ended:
                owner.commit(checkpoint)
        if ended:
            self.checkpoint(shard, "SHARD_END")
        return owner

    def checkpoint(self, shard: str, checkpoint: str, *, owner: str = "worker-0") -> bool:
        """Write a checkpoint to the lease, as the daemon does."""
        self.database.update_item(
            TableName=f"{self.name}-leases",
            Key={"leaseKey": {"S": shard}},
            UpdateExpression=(
                "SET checkpoint = :checkpoint, checkpointSubSequenceNumber = :zero, leaseOwner = :owner "
                "ADD leaseCounter :one"
            ),
            ExpressionAttributeValues={
                ":checkpoint": {"S": checkpoint},
                ":owner": {"S": owner},
                ":zero": {"N": "0"},
                ":one": {"N": "1"},
            },
        )
        return True

    def empty_table(self) -> None:
        """Lose the state table, as in a disaster."""
        self.database.delete_table(TableName=f"{self.name}-state")
        dynamodb.create_table(self.database, f"{self.name}-state")

    def leases(self) -> dict[str, leases.Lease]:
        return dict(leases.read(self.database, f"{self.name}-leases") or {})

    def claim(self, shard: str) -> Claim:
        claim = self.store.read(shard)
        assert claim is not None
        return claim

    def state(self, shard: str) -> ShardState:
        state = self.claim(shard).state
        assert state is not None
        return state

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that were sent."""
        return [json.loads(row) for row in self.sink.rows]

    def told(self) -> list[str]:
        """Return the rows that were sent without what names their generation and pipeline, each once, in order."""
        rows = {row["id"]: row for row in self.rows()}
        for row in rows.values():
            del row["id"], row["pipeline"]
        return sorted(map(json.dumps, rows.values()))

    def stored(self) -> object:
        """Return all that is stored: to see that nothing was changed."""
        return self.store.read_application(), self.store.list_shards(), self.leases(), self.objects()

    def objects(self) -> list[str]:
        """Return the keys of the bucket."""
        answer = self.buckets.list_objects_v2(Bucket=f"{self.name}-bucket")
        return [each["Key"] for each in answer.get("Contents", ())]

    def _around(self) -> Surroundings:
        application = self.store.read_application()
        assert application is not None
        windows = [window.name for window in self.pipeline.windows]
        outputs = [*windows, *former_windows(application)]
        telemetry = Telemetry(
            metrics=Metrics(CollectorRegistry(), stream=self.name),
            logger=configure_logging(level="error", now_ms=clock.now_ms, stream=io.StringIO()),
            health=Health(clock.monotonic),
            windows=windows,
            monotonic=clock.monotonic,
            now_ms=clock.now_ms,
        )
        return Surroundings(
            program=self.program,
            application=application,
            store=self.store,
            router=Router({output: [self.sink] for output in [*outputs, LATE, DEAD_LETTER]}),
            lineage=self.lineage,
            telemetry=telemetry,
            clock=clock,
            pause=lambda _: False,
        )


def combining(rig: StateRig) -> StateRig:
    """Give the rig's pipeline a global window, as docs/state.md has it."""
    total = "  total: {tumbling: 1m, combine: true, buckets: 2, by: [page], select: {views: count()}}\n"
    rig.file.write_text(rig.file.read_text().replace("sinks:", f"{total}sinks:"))
    rig.pipeline = load(rig.file, {})
    rig.program = compile_pipeline(rig.pipeline)
    return rig


def combining_shop(aws: tuple[Emulator, World], directory: Path) -> None:
    """Make the pipeline that pages of docs/ show, with a global window for which one shard waits."""
    rig = combining(StateRig(*aws, directory, "shop"))
    rig.start()
    rig.put_minutes(0, 2)
    rig.work(FIRST)
    rig.work(SECOND)
    rig.put_minutes(2, 4)
    rig.work(FIRST)


@dataclass
class Said:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def give(rig: StateRig, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Said:
    """Give the command `streamgauge state ARGUMENTS FILE`."""
    capsys.readouterr()
    status = main(["state", *map(str, arguments), str(rig.file)])
    said = capsys.readouterr()
    return Said(status, said.out, said.err)


def use(emulator: Emulator, world: World, patch: pytest.MonkeyPatch) -> None:
    """Have every command use the embedded AWS and the world's time."""
    for name, value in emulator.environment.items():
        patch.setenv(name, value)
    # One for all: making clients takes longer than anything a test does with them.
    session = boto3.Session()
    patch.setattr(session, "client", cache(session.client))
    patch.setattr(boto3, "Session", lambda **_: session)
    patch.setattr(clock, "now_ms", world)
    patch.setattr(clock, "sleep", world.sleep)


@contextmanager
def embedded_aws() -> Iterator[tuple[Emulator, World]]:
    """Serve an embedded AWS in the world's time, which every command uses."""
    world = World()
    with Emulator(clock=world) as emulator, pytest.MonkeyPatch.context() as patch:
        use(emulator, world, patch)
        yield emulator, world


_numbers = count(1)


def new_rig(aws: tuple[Emulator, World], directory: Path) -> StateRig:
    """Return a rig of a name that no other one has."""
    return StateRig(*aws, directory, f"pipeline-{next(_numbers)}")
