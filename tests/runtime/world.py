"""A shard's world: its stream, its lease, a state store, a sink, and a daemon that speaks the protocol.

Every call that leaves the process is a step; a run can be made to die before or after any of them.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, BinaryIO, TypeVar, cast

from prometheus_client import CollectorRegistry

from consumer.core.compile import Program, compile_pipeline
from consumer.core.processor import Processor
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline, StdoutSink
from consumer.records import DEAD_LETTER, LATE, HashRange, Position, Record
from consumer.runtime.shard import ShardRunner
from consumer.runtime.surroundings import ShardOrigin, Surroundings
from consumer.sinks.base import Failure, Router
from consumer.state.base import Application, StateStore
from consumer.state.memory import Memory, MemoryStore
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics
from consumer.testing.reference import Idle, reference
from tests.random_pipelines import PipelineMaker

SHARD = "shardId-000000000000"
RANGE = HashRange(0, 2**128 - 1)
STREAM_CREATED_MS = 1_700_000_000_000
FAILOVER_SECONDS = 10.0

T = TypeVar("T")


class Died(BaseException):
    """The process is gone: nothing of it runs any more."""


class Clock:
    """Time that passes when somebody waits, or the world says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.origin_ms = STREAM_CREATED_MS
        self.ms_per_second = 1000.0
        """What a second is on the wall: random events are milliseconds apart, reads are seconds apart."""

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return self.origin_ms + round(self.seconds * self.ms_per_second)

    def random(self) -> float:
        return 0.5


class SteppedStore:
    """A store whose every call is two steps: before its effect and after it."""

    def __init__(self, store: StateStore, step: Callable[[str], None]) -> None:
        self._store = store
        self._step = step

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self._step(f"before {name}")
            result = getattr(self._store, name)(*arguments, **options)
            self._step(f"after {name}")
            return result

        return call


@dataclass
class WorldSink:
    """Keeps rows; refuses those not in a committed outbox."""

    world: World
    rows: list[bytes] = field(default_factory=list)
    down: int = 0

    @property
    def name(self) -> str:
        return "world"

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        self.world.step("before put")
        if self.down:
            self.down -= 1
            return [Failure(index, "unavailable") for index in range(len(rows))]
        stored = self.world.stored_outbox()
        assert all(row in stored for row in rows), "a row was sent that no commit holds"
        self.rows += rows
        self.world.step("after put")
        return []

    def close(self) -> None:
        return


class World:
    """Everything that survives a process."""

    def __init__(self, pipeline: Pipeline, records: Sequence[Record]) -> None:
        self.shard = SHARD
        self.program: Program = compile_pipeline(pipeline)
        self.records = list(records)
        self.memory = Memory()
        self.sink = WorldSink(self)
        self.checkpoint: Position | str = "TRIM_HORIZON"
        self.ended = False
        self.steps: list[str] = []
        self.die_at: int | None = None
        self.clock = Clock()
        self.stopping = False
        self.log = io.StringIO()
        self.batch_size = 5
        self.silences: Random | None = None
        """Whether batches have reads without records between them, now and then enough to be idle."""
        self.decisions: list[tuple[Position | None, Idle]] = []
        """The idle decisions that a commit holds, each with the record after which it was taken."""
        self._undecided_from = 0
        self.application = Application(0, 0, (SHARD,), self.program.definitions, STREAM_CREATED_MS)
        MemoryStore(self.memory).create_application(self.application)

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name == "after advance":
            self._count_decisions()
        if self.die_at is not None and len(self.steps) - 1 == self.die_at:
            raise Died

    def _count_decisions(self) -> None:
        """Note the decisions that were taken since the last commit: there is another one now."""
        bound_ms = self.program.pipeline.events.out_of_orderness_ms
        for line in map(json.loads, self.log.getvalue()[self._undecided_from :].splitlines()):
            if line["event"] == "idle_advanced":
                now_ms = _milliseconds(line["watermark"]) + bound_ms
                self.decisions.append((_position(line["position"]), Idle(now_ms)))
        self._undecided_from = len(self.log.getvalue())

    def inputs(self) -> list[Record | Idle]:
        """Return all that counts: the records, and the decisions where they were taken."""
        inputs: list[Record | Idle] = [idle for position, idle in self.decisions if position is None]
        for record in self.records:
            inputs.append(record)
            inputs += [idle for position, idle in self.decisions if position == Position.of(record)]
        return inputs

    def stored_outbox(self) -> set[bytes]:
        store = MemoryStore(self.memory)
        claim = store.read(self.shard)
        assert claim is not None
        state = claim.state
        assert state is not None
        entries = [state.inline] if state.inline is not None else [store.get_object(e) for e in state.manifest]
        _, outbox = Processor.restore(self.program, self.shard, state.generation, entries)
        return {row.data for row in outbox}

    def surroundings(self, store: StateStore | None = None) -> Surroundings:
        outputs = [window.name for window in self.program.pipeline.windows] + [LATE, DEAD_LETTER]
        telemetry = Telemetry(
            metrics=Metrics(CollectorRegistry(), stream="clicks"),
            logger=configure_logging(level="debug", now_ms=self.clock.now_ms, stream=self.log),
            health=Health(self.clock.monotonic),
            windows=outputs[:-2],
            monotonic=self.clock.monotonic,
            now_ms=self.clock.now_ms,
        )
        return Surroundings(
            program=self.program,
            application=self.application,
            store=store or cast("StateStore", SteppedStore(MemoryStore(self.memory), self.step)),
            router=Router({output: [self.sink] for output in outputs}),
            lineage=self,
            telemetry=telemetry,
            clock=self.clock,
            pause=self.pause,
        )

    def pause(self, seconds: float) -> bool:
        self.clock.seconds += seconds
        return self.stopping

    def runner(self, store: StateStore | None = None) -> ShardRunner:
        return ShardRunner(self.surroundings(store), failover_seconds=FAILOVER_SECONDS)

    def origin(self, _: str) -> ShardOrigin:
        return ShardOrigin(RANGE, ("parent-1",))

    def children(self, _: str) -> dict[str, HashRange]:
        return {}

    def run(self, daemon: FakeDaemon | None = None, store: StateStore | None = None) -> FakeDaemon:
        """Run one process from initialize to the end of the conversation, or to its death."""
        daemon = daemon or FakeDaemon(self)
        self._undecided_from = len(self.log.getvalue())
        self.runner(store).run(cast("BinaryIO", daemon), cast("BinaryIO", daemon))
        return daemon

    def run_until_death(self, die_at: int, end: str = "shutdown") -> bool:
        """Return whether the process died at that step."""
        self.steps.clear()
        self.die_at = die_at
        try:
            self.run(FakeDaemon(self, end=end))
        except Died:
            return True
        finally:
            self.die_at = None
        return False

    def unique_rows(self) -> dict[str, bytes]:
        """Return the sink's rows by id; equal ids must have equal bytes."""
        unique: dict[str, bytes] = {}
        for row in self.sink.rows:
            row_id = json.loads(row)["id"]
            assert unique.setdefault(row_id, row) == row, "one id, two contents"
        return unique

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of an event."""
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"] == event]

    def assert_exact(self) -> None:
        """Every row of the recount is there once, with its bytes, and nothing else."""
        expected = reference(self.program.pipeline, SHARD, 0, self.inputs(), window_hash)
        rows = self.unique_rows()
        dead = {letter.id: letter for letter in expected.dead_letters}
        wanted = {json.loads(row.data)["id"]: row.data for row in [*expected.rows, *expected.late]}
        assert rows.keys() == wanted.keys() | dead.keys()
        assert all(rows[row_id] == data for row_id, data in wanted.items())
        assert all(letter.matches(rows[row_id]) for row_id, letter in dead.items())


class FakeDaemon:
    """The daemon's side of one lease, both its output and its input.

    `script` yields messages; the default delivers everything after the checkpoint in batches, a second apart, then
    some empty ones, then stops the worker (`shutdown`), takes the lease (`lost`) or ends the shard (`end`).
    """

    def __init__(
        self,
        world: World,
        *,
        end: str = "shutdown",
        script: Iterator[dict[str, Any]] | None = None,
        behind_ms: int | None = 0,
    ) -> None:
        self.world = world
        self._behind_ms = behind_ms
        self.delivered: Position | None = None
        self.checkpoints: list[Position | None] = []
        self.checkpoint_errors: list[str] = []
        self.statuses: list[str] = []
        self._answers: list[dict[str, Any]] = []
        self._script = script or self._usual(end)

    def _usual(self, end: str) -> Iterator[dict[str, Any]]:
        yield self.initialize()
        world = self.world
        left = [record for record in world.records if not self._is_done(record)]
        for at in range(0, len(left), world.batch_size):
            world.clock.seconds += 1.1
            yield self.batch(left[at : at + world.batch_size])
            yield from self.silence(0 if world.silences is None else world.silences.choice([0, 0, 4, 6]))
        yield from self.silence(3)
        if end == "shutdown":
            yield {"action": "shutdownRequested"}
        if end == "end":
            yield {"action": "shardEnded"}
        else:
            yield {"action": "leaseLost"}

    def silence(self, reads: int, *, seconds: float = 6) -> Iterator[dict[str, Any]]:
        """Yield so many reads without records, each so long after what was before."""
        for _ in range(reads):
            self.world.clock.seconds += seconds
            yield self.batch([])

    def _is_done(self, record: Record) -> bool:
        return isinstance(self.world.checkpoint, Position) and Position.of(record) <= self.world.checkpoint

    def initialize(self) -> dict[str, Any]:
        at = self.world.checkpoint
        sequence, sub = (str(at.sequence), at.sub_sequence) if isinstance(at, Position) else (at, 0)
        return {
            "action": "initialize",
            "shardId": self.world.shard,
            "sequenceNumber": sequence,
            "subSequenceNumber": sub,
        }

    def batch(self, records: Sequence[Record]) -> dict[str, Any]:
        if records:
            self.delivered = Position.of(records[-1])
        return {
            "action": "processRecords",
            "millisBehindLatest": self._behind_ms,
            "records": [_wire(record) for record in records],
        }

    def readline(self) -> bytes:
        message = self._answers.pop(0) if self._answers else next(self._script, None)
        return b"" if message is None else json.dumps(message).encode() + b"\n"

    def write(self, line: bytes) -> None:
        message = json.loads(line)
        if message["action"] == "status":
            self.statuses.append(message["responseFor"])
        else:
            self._answers.append(self._checkpoint(message))

    def flush(self) -> None:
        return

    def _checkpoint(self, message: dict[str, Any]) -> dict[str, Any]:
        answer = {"action": "checkpoint", "sequenceNumber": message["sequenceNumber"], "error": None}
        if self.checkpoint_errors:
            return answer | {"error": self.checkpoint_errors.pop(0)}
        self.world.step("before checkpoint")
        if message["sequenceNumber"] is None:
            self.world.ended = True
            self.checkpoints.append(None)
        else:
            position = Position(int(message["sequenceNumber"]), message["subSequenceNumber"])
            assert self.delivered is not None
            assert position <= self.delivered, "a checkpoint beyond what this lease was given"
            before = self.world.checkpoint
            assert not isinstance(before, Position) or position >= before, "the checkpoint went back"
            self.world.checkpoint = position
            self.checkpoints.append(position)
        self.world.step("after checkpoint")
        return answer


def _wire(record: Record) -> dict[str, Any]:
    return {
        "action": "record",
        "data": base64.b64encode(record.data).decode(),
        "partitionKey": record.partition_key,
        "sequenceNumber": record.sequence_number,
        "subSequenceNumber": record.sub_sequence_number,
        "approximateArrivalTimestamp": record.arrival_ms,
    }


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def _position(text: str | None) -> Position | None:
    return None if text is None else Position(*map(int, text.split(":")))


def random_pipeline(seed: int) -> Pipeline:
    """Return a random pipeline that keeps late events and dead letters."""
    pipeline = PipelineMaker(Random(seed)).pipeline()
    return dataclasses.replace(pipeline, late=StdoutSink(), dead_letter=StdoutSink())
