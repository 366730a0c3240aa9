"""What happens between the points: five shards, merged and split, each served in two leases, and what must hold.

The first two begin empty. The second one's rows are left unsent when its lease row is lost, so that the child of both
has them to send. Every lease begins with INIT; in between are commits, merges of entries, ends, and tidying.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, BinaryIO, NamedTuple, cast
from unittest.mock import patch

from prometheus_client import CollectorRegistry

from consumer.core.compile import Program, compile_pipeline
from consumer.core.processor import Processor
from consumer.errors import RetryableError
from consumer.pipeline.definitions import window_hash
from consumer.records import DEAD_LETTER, LATE, HashRange, Position, Record, hash_key
from consumer.runtime import commit, compaction, tidying
from consumer.runtime.shard import ShardRunner
from consumer.runtime.surroundings import ShardOrigin, Surroundings
from consumer.sinks.base import Failure, Router
from consumer.state import chunks
from consumer.state.base import Application, StateStore, is_orphan
from consumer.state.dynamodb import DynamoStore
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics
from consumer.testing.fake_state_aws import FakeDynamo, FakeStateS3, StoredAws
from consumer.testing.reference import DeadLetter, ReferenceShard, reference_lineage
from tests.crash_points.wire import READS, WRITES, Call, Died, Harm, Strike, StruckClient, Wire
from tests.random_streams import records
from tests.runtime.test_resharding import GENERATIONS, ORIGINS
from tests.runtime.world import FAILOVER_SECONDS, STREAM_CREATED_MS, Clock, FakeDaemon, World, random_pipeline

ABANDONED = "high"
"""It ends, and is lost from the lease table before it has sent its last rows."""
ROUNDS_MAX = 4
"""So many leases a stage may take: a first one, and one more for each death."""


class Variant(NamedTuple):
    """Where snapshots are kept; without a bucket, entries larger than an item's worth are cut into chunks."""

    name: str
    bucket: bool
    inline_bytes_max: int
    chunk_bytes: int = chunks.CHUNK_BYTES

    def limits(self) -> AbstractContextManager[object]:
        """Let few records meet everything: deltas, merged entries, several chunks, parents given up."""
        stack = ExitStack()
        for module, name, value in (
            (commit, "INLINE_BYTES_MAX", self.inline_bytes_max),
            (commit, "SMALL_STATE_GROUPS", -1),
            (compaction, "RUN_MIN", 2),
            (compaction, "MANIFEST_ENTRIES_MAX", 4),
            (tidying, "_FIRST_WAIT_SECONDS", 0.0),
            (chunks, "CHUNK_BYTES", self.chunk_bytes),
        ):
            stack.enter_context(patch.object(module, name, value))
        return stack


VARIANTS = (
    Variant("inline", bucket=False, inline_bytes_max=8192),
    Variant("bucket", bucket=True, inline_bytes_max=0),
    Variant("table", bucket=False, inline_bytes_max=0, chunk_bytes=600),
)


class Stage(NamedTuple):
    """One lease of a shard if nobody dies: all its records, or the first half of them and then a hand-over."""

    shard: str
    to_the_end: bool


STAGES = tuple(Stage(shard, to_the_end) for shard in ORIGINS for to_the_end in (False, True))


@dataclass
class Lease:
    """What the source knows of a shard."""

    checkpoint: Position | str = "TRIM_HORIZON"
    ended: bool = False


@dataclass
class Durable:
    """All that is left when a process is gone."""

    aws: StoredAws = field(default_factory=StoredAws)
    rows: list[bytes] = field(default_factory=list)
    leases: dict[str, Lease] = field(default_factory=lambda: {shard: Lease() for shard in ORIGINS})
    stage: int = 0
    seconds: float = 1000.0
    calls: int = 0

    def copy(self) -> Durable:
        """Return another one that goes its own way."""
        leases = {shard: dataclasses.replace(lease) for shard, lease in self.leases.items()}
        return dataclasses.replace(self, aws=self.aws.copy(), rows=self.rows.copy(), leases=leases)

    def fingerprint(self) -> int:
        """Return the same number for what differs only in time and in how it came about. A ledger decides nothing."""
        leases = tuple((lease.checkpoint, lease.ended) for lease in self.leases.values())
        items = frozenset(
            (key, repr(sorted((name, value) for name, value in item.items() if name != "committed_at_ms")))
            for key, item in self.aws.items.items()
            if key[1] != "ledger"
        )
        return hash((self.stage, leases, frozenset(self.rows), items, frozenset(self.aws.objects.items())))


@dataclass(frozen=True)
class Scene:
    """What is the same for all runs of a seed: a random pipeline, random records, and the rows they must lead to."""

    program: Program
    by_shard: Mapping[str, Sequence[Record]]
    rows: Mapping[str, bytes]
    dead_letters: Mapping[str, DeadLetter]
    telemetry: Telemetry

    @staticmethod
    @cache
    def of(seed: int) -> Scene:
        """Make it, once."""
        program, by_shard = compile_pipeline(random_pipeline(seed)), _distributed(seed)
        shards = [
            ReferenceShard(shard, origin.hash_range, origin.parents, by_shard[shard])
            for shard, origin in ORIGINS.items()
        ]
        expected = reference_lineage(program.pipeline, 0, shards, window_hash).values()
        return Scene(
            program,
            by_shard,
            {json.loads(row.data)["id"]: row.data for each in expected for row in [*each.rows, *each.late]},
            {letter.id: letter for each in expected for letter in each.dead_letters},
            _telemetry(program),
        )


def _telemetry(program: Program) -> Telemetry:
    """Return one that keeps nothing."""
    clock = Clock()
    return Telemetry(
        metrics=Metrics(CollectorRegistry(), stream="clicks"),
        logger=configure_logging(level="error", now_ms=clock.now_ms, stream=io.StringIO()),
        health=Health(clock.monotonic),
        windows=[window.name for window in program.pipeline.windows],
        monotonic=clock.monotonic,
        now_ms=clock.now_ms,
    )


class StoryWorld:
    """One process after another over what is durable."""

    silences = None
    batch_size = 4

    def __init__(self, variant: Variant, seed: int, durable: Durable, plan: Mapping[int, Strike]) -> None:
        self.scene = Scene.of(seed)
        self.durable = durable
        self.clock = Clock()
        self.clock.seconds = durable.seconds
        self.wire = Wire(plan, durable.calls)
        self.application = Application(0, 0, GENERATIONS[0], self.scene.program.definitions, STREAM_CREATED_MS)
        self._bucket = "bucket" if variant.bucket else None
        self.plain_store = self._store(FakeDynamo(durable.aws), FakeStateS3(durable.aws))
        self.plain_store.create_application(self.application)
        self.shard = ""
        self.records: Sequence[Record] = ()
        self.checkpoint: Position | str = ""
        self.ended = False

    def _store(self, dynamodb: Any, s3: Any) -> StateStore:
        return DynamoStore(dynamodb, s3, table="table", bucket=self._bucket, pipeline="p")

    def serve(self, stage: Stage) -> None:
        """Serve a shard for one lease; Died where the plan, or the story, has it."""
        self.shard = stage.shard
        lease = self.durable.leases[stage.shard]
        self.records, self.checkpoint, self.ended = self.scene.by_shard[self.shard], lease.checkpoint, lease.ended
        daemon = cast("BinaryIO", StoryDaemon(self, to_the_end=stage.to_the_end))
        try:
            ShardRunner(self._surroundings(), failover_seconds=FAILOVER_SECONDS).run(daemon, daemon)
        finally:
            lease.checkpoint, lease.ended = self.checkpoint, self.ended
            self.durable.seconds, self.durable.calls = self.clock.seconds, self.wire.number

    def _surroundings(self) -> Surroundings:
        aws, program = self.durable.aws, self.scene.program
        outputs = [*(window.name for window in program.pipeline.windows), LATE, DEAD_LETTER]
        sink = _Sink(self)
        return Surroundings(
            program=program,
            application=self.application,
            store=self._store(StruckClient(FakeDynamo(aws), self.wire), StruckClient(FakeStateS3(aws), self.wire)),
            router=Router({output: [sink] for output in outputs}),
            lineage=_StruckLineage(self),
            telemetry=self.scene.telemetry,
            clock=self.clock,
            pause=self._pause,
        )

    def _pause(self, seconds: float) -> bool:
        self.clock.seconds += seconds
        return False

    def is_abandoned(self) -> bool:
        """Tell whether the shard is the one whose lease is lost, and this the moment."""
        if self.shard != ABANDONED:
            return False
        claim = self.plain_store.read(self.shard)
        return claim is not None and claim.state is not None and claim.state.ended

    # What must hold at every moment

    def outbox(self, shard: str) -> set[bytes]:
        """Return the rows that a shard's last commit holds as not surely sent."""
        claim = self.plain_store.read(shard)
        if claim is None or claim.state is None:
            return set()
        state = claim.state
        entries = [self.plain_store.get_object(each) for each in state.manifest]
        if state.inline is not None:
            entries = [state.inline]
        range_ = HashRange(*map(int, state.hash_range))
        return {row.data for row in Processor.restore(self.scene.program, shard, 0, entries, hash_range=range_)[1]}

    def take_rows(self, rows: Sequence[bytes]) -> None:
        """Let the sink have rows."""
        stored = set().union(*map(self.outbox, ORIGINS))
        assert stored.issuperset(rows), "a row was sent that no commit holds"
        self.durable.rows += rows

    def take_checkpoint(self, position: Position | None) -> None:
        """Let the source have a checkpoint, None at the shard's end."""
        claim = self.plain_store.read(self.shard)
        assert claim is not None
        if position is None:
            assert claim.retired or (claim.state is not None and claim.state.ended)
            assert not self.outbox(self.shard), "the end is told before all was sent"
            self.ended = True
            return
        assert claim.state is not None
        assert claim.state.position is not None
        assert position <= claim.state.position, "the checkpoint leads the state"
        assert not isinstance(self.checkpoint, Position) or position >= self.checkpoint, "the checkpoint went back"
        self.checkpoint = position

    # What must hold in the end

    def assert_exact(self) -> None:
        """All rows are those of the recount; nothing is left to be sent, and nothing lies about."""
        rows: dict[str, bytes] = {}
        for row in self.durable.rows:
            assert rows.setdefault(json.loads(row)["id"], row) == row, "one id, two contents"
        scene = self.scene
        assert rows.keys() == scene.rows.keys() | scene.dead_letters.keys()
        assert all(rows[row_id] == data for row_id, data in scene.rows.items())
        assert all(letter.matches(rows[row_id]) for row_id, letter in scene.dead_letters.items())
        assert not any(map(self.outbox, ORIGINS))

    def garbage(self) -> list[str]:
        """Return the keys of objects that no state refers to."""
        store, garbage = self.plain_store, []
        for shard, claim in store.list_shards().items():
            garbage += [one.entry.key for one in store.list_objects(shard, 0) if is_orphan(one, claim)]
        return garbage


_RECORDS = 48


def _distributed(seed: int) -> dict[str, list[Record]]:
    """Return the records of each shard: those of its time whose partition keys hash into its range."""
    by_shard: dict[str, list[Record]] = {shard: [] for shard in ORIGINS}
    for number, record in enumerate(records(Random(seed), _RECORDS)):
        shards = GENERATIONS[number * len(GENERATIONS) // _RECORDS]
        hashed = hash_key(record.partition_key or "")
        by_shard[next(shard for shard in shards if ORIGINS[shard].hash_range.holds(hashed))].append(record)
    return by_shard


class StoryDaemon(FakeDaemon):
    """The daemon's side of a lease. A cut answer to a checkpoint is its end."""

    def __init__(self, world: StoryWorld, *, to_the_end: bool) -> None:
        super().__init__(cast("World", world), script=self._messages(to_the_end=to_the_end))
        self._story = world
        self.is_gone = False

    def _messages(self, *, to_the_end: bool) -> Iterator[dict[str, Any]]:
        yield self.initialize()
        world = self.world
        half = len(world.records) // 2
        left = [record for record in world.records[: None if to_the_end else half] if not self._is_done(record)]
        for at in range(0, len(left), world.batch_size):
            world.clock.seconds += 1.1
            yield self.batch(left[at : at + world.batch_size])
        if to_the_end:
            yield {"action": "shardEnded"}
        else:
            yield {"action": "shutdownRequested"}
            yield {"action": "leaseLost"}

    def readline(self) -> bytes:
        """Return the next message, or a part of one and then nothing."""
        line = super().readline()
        if self.is_gone:
            return line[: len(line) // 2]
        return line

    def _checkpoint(self, message: dict[str, Any]) -> dict[str, Any]:
        sequence = message["sequenceNumber"]
        position = None if sequence is None else Position(int(sequence), message["subSequenceNumber"])
        error = self._story.wire.make(_Checkpoint(self, self._story, position))
        return {"action": "checkpoint", "sequenceNumber": sequence, "error": error}


class _Checkpoint(Call):
    """A checkpoint. Its answer is the name of the daemon's exception, if any."""

    name = "checkpoint"
    harms = WRITES

    def __init__(self, daemon: StoryDaemon, world: StoryWorld, position: Position | None) -> None:
        self._daemon, self._world, self._position = daemon, world, position

    def do(self) -> None:
        if self._position is not None:
            assert self._daemon.delivered is not None
            assert self._position <= self._daemon.delivered, "a checkpoint beyond what this lease was given"
        self._world.take_checkpoint(self._position)

    def refused(self) -> str:
        return "ThrottlingException"

    def lost(self) -> str:
        return "KinesisClientLibDependencyException"

    def cut(self, _: None) -> None:
        self._daemon.is_gone = True


class _Sink:
    """A sink at the end of the wire."""

    name = "story"

    def __init__(self, world: StoryWorld) -> None:
        self._world = world

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        if self._world.is_abandoned():
            raise Abandoned
        failures: Sequence[Failure] = self._world.wire.make(_Put(self._world, rows))
        return failures

    def close(self) -> None:
        return


class Abandoned(Died):
    """The process is gone, and so is its lease."""


class _Put(Call):
    """An attempt to hand rows over. Its answer is the failures."""

    name = "put"
    harms = tuple(harm for harm in WRITES if harm is not Harm.CUT)  # the sink tells it as lost

    def __init__(self, world: StoryWorld, rows: Sequence[bytes]) -> None:
        self._world, self._rows = world, rows
        self.parts = len(rows)

    def do(self) -> Sequence[Failure]:
        self._world.take_rows(self._rows)
        return []

    def do_part(self, parts: int) -> None:
        self._world.take_rows(self._rows[:parts])

    def refused(self) -> Sequence[Failure]:
        return [Failure(index, "unavailable") for index in range(len(self._rows))]

    def lost(self) -> Sequence[Failure]:
        return [Failure(index, "timeout") for index in range(len(self._rows))]

    def torn(self, parts: int) -> Sequence[Failure]:
        self.do_part(parts)
        return [Failure(index, "throttled") for index in range(parts, len(self._rows))]


class _StruckLineage:
    """What the stream says of its shards, over the wire."""

    def __init__(self, world: StoryWorld) -> None:
        self._wire = world.wire

    def origin(self, shard: str) -> ShardOrigin:
        origin: ShardOrigin = self._wire.make(_Listing(lambda: ORIGINS[shard]))
        return origin

    def children(self, parent: str) -> Mapping[str, HashRange]:
        found = {shard: origin.hash_range for shard, origin in ORIGINS.items() if parent in origin.parents}
        children: Mapping[str, HashRange] = self._wire.make(_Listing(lambda: found))
        return children


class _Listing(Call):
    """A list of shards."""

    name = "list_shards"
    harms = READS

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read

    def do(self) -> Any:
        return self._read()

    def refused(self) -> Any:
        raise RetryableError("throttled")

    def lost(self) -> Any:
        raise RetryableError("no answer")

    def cut(self, _: Any) -> Any:
        raise RetryableError("cut")
