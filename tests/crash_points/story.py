"""What happens between the points: five shards, merged and split, each served in two leases, and what must hold.

The first two begin empty. The second one's rows are left unsent when its lease row is lost, so that the child of both
has them to send. Every lease begins with INIT; in between are commits, merges of entries, ends, and tidying. The story
with global windows is in global_story.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

from consumer.core.processor import Processor
from consumer.errors import RetryableError
from consumer.records import DEAD_LETTER, LATE, HashRange, Position, Record
from consumer.runtime.shard import ShardRunner
from consumer.runtime.surroundings import Retention, ShardOrigin, Surroundings
from consumer.sinks.base import Failure, Router
from consumer.sources.reading import Behind
from consumer.state.base import Application, StateStore, is_orphan
from consumer.state.dynamodb import DynamoStore
from consumer.state.items import EXPIRES_AT
from consumer.testing.fake_state_aws import FakeDynamo, FakeStateS3
from tests.crash_points.durable import Commit, Durable
from tests.crash_points.global_story import RETENTION_MS
from tests.crash_points.scene import Scene, count_of
from tests.crash_points.variants import Stage, Variant
from tests.crash_points.wire import READS, WRITES, Call, Died, Harm, Strike, StruckClient, Wire
from tests.random_streams import START_MS
from tests.runtime.test_resharding import GENERATIONS, ORIGINS
from tests.runtime.world import FAILOVER_SECONDS, STREAM_CREATED_MS, Clock, FakeDaemon, World

ABANDONED = "high"
"""It ends, and is lost from the lease table before it has sent its last rows."""
HOUR_MS = 3_600_000


class StoryWorld:
    """One process after another over what is durable."""

    silences = None
    batch_size = 4

    def __init__(self, variant: Variant, seed: int, durable: Durable, plan: Mapping[int, Strike]) -> None:
        self.scene = Scene.of(seed, combines=variant.combines)
        self.durable = durable
        self.clock = Clock()
        self.clock.seconds = durable.seconds
        self._combines = variant.combines
        self._global = {window.name for window in self.scene.program.pipeline.windows if window.buckets is not None}
        self.wire = Wire(plan, durable.calls)
        self.application = Application(0, 0, GENERATIONS[0], self.scene.program.definitions, STREAM_CREATED_MS)
        self.bucket = "bucket" if variant.bucket else None
        self.plain_store = self._store(FakeDynamo(durable.aws), FakeStateS3(durable.aws))
        self.plain_store.create_application(self.application)
        self.shard = ""
        self.records: Sequence[Record] = ()
        self.checkpoint: Position | str = ""
        self.ended = False

    def _store(self, dynamodb: Any, s3: Any) -> StateStore:
        return DynamoStore(dynamodb, s3, table="table", bucket=self.bucket, pipeline="p")

    def serve(self, stage: Stage) -> bool:
        """Serve a shard for one lease; Died where the plan, or the story, has it. Return whether that is enough."""
        self.shard = stage.shard
        if self._combines:
            self._forget(stage.hours)
        lease = self.durable.leases[stage.shard]
        self.records, self.checkpoint, self.ended = self.scene.by_shard[self.shard], lease.checkpoint, lease.ended
        daemon = StoryDaemon(self, stage)
        lines = cast("BinaryIO", daemon)
        try:
            ShardRunner(self._surroundings(), failover_seconds=FAILOVER_SECONDS).run(lines, lines)
        finally:
            lease.checkpoint, lease.ended = self.checkpoint, self.ended
            self.durable.seconds, self.durable.calls = self.clock.seconds, self.wire.number
        if stage.ends:
            return lease.ended  # else the daemon was gone, or the shard was refused
        return not self._combines or (not daemon.is_gone and self._is_settled(stage))

    def _is_settled(self, stage: Stage) -> bool:
        return not stage.settles or self.scene.due(stage) <= set(self.durable.rows)

    def _forget(self, hours: int) -> None:
        """Set the clock on the wall, which stands still during a lease, and forget what has expired."""
        self.clock.origin_ms, self.clock.ms_per_second = START_MS + hours * HOUR_MS, 0
        items = self.durable.aws.items
        for key in [key for key, item in items.items() if EXPIRES_AT in item]:
            if int(items[key][EXPIRES_AT]["N"]) * 1000 < self.clock.now_ms():
                del items[key]

    def _surroundings(self) -> Surroundings:
        aws, program = self.durable.aws, self.scene.program
        outputs = [*(window.name for window in program.pipeline.windows), LATE, DEAD_LETTER]
        sink = _Sink(self)
        return Surroundings(
            program=program,
            application=self.application,
            store=_StoryStore(
                self, StruckClient(FakeDynamo(aws), self.wire), StruckClient(FakeStateS3(aws), self.wire)
            ),
            router=Router({output: [sink] for output in outputs}),
            lineage=_StruckLineage(self),
            telemetry=self.scene.telemetry,
            clock=self.clock,
            pause=self._pause,
            retention=Retention(RETENTION_MS, self._behind) if self._combines else None,
        )

    def _behind(self, *_: object) -> Behind:
        """Tell who looks after a long stop that nothing has expired."""
        behind: Behind = self.wire.make(_Listing(lambda: Behind(None)))
        return behind

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

    def outbox(self, shard: str) -> dict[bytes, Commit]:
        """Return the rows that a shard's last commit holds as not surely sent."""
        claim = self.plain_store.read(shard)
        if claim is None or claim.state is None:
            return {}
        state = claim.state
        entries = [self.plain_store.get_object(each) for each in state.manifest]
        if state.inline is not None:
            entries = [state.inline]
        range_ = HashRange(*map(int, state.hash_range))
        _, rows = Processor.restore(self.scene.program, shard, 0, entries, hash_range=range_)
        return dict.fromkeys((row.data for row in rows), Commit(shard, state.commit_no))

    def commits_of(self, rows: Sequence[bytes]) -> list[Commit]:
        """Return the commit that holds each of some rows, or contributions, which are about to be sent."""
        stored: dict[bytes, Commit] = {}
        for shard in (self.shard, *ORIGINS[self.shard].parents):
            stored |= self.outbox(shard)
        assert stored.keys() >= set(rows), "what was sent is held by no commit"
        return [stored[row] for row in rows]

    def take_rows(self, rows: Sequence[bytes]) -> None:
        """Let the sink have rows."""
        for row, holder in zip(rows, self.commits_of(rows), strict=True):
            told = json.loads(row)
            if told.get("window") in self._global and "final" in told:  # no late event of it
                self._check_combined(row, holder)
        self.durable.rows += rows

    def _check_combined(self, row: bytes, holder: Commit) -> None:
        assert self.scene.rows.get(json.loads(row)["id"]) == row, "a global window was combined of other parts"
        assert self.durable.combined.setdefault(row, holder) == holder, "a global window was combined twice"

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


class StoryDaemon(FakeDaemon):
    """The daemon's side of a lease. A cut answer to a checkpoint is its end."""

    def __init__(self, world: StoryWorld, stage: Stage) -> None:
        super().__init__(cast("World", world), script=self._messages(stage))
        self._story = world
        self.is_gone = False

    def _messages(self, stage: Stage) -> Iterator[dict[str, Any]]:
        yield self.initialize()
        world = self.world
        share = world.records[: count_of(world.records, stage.share)]
        left = [record for record in share if not self._is_done(record)]
        for at in range(0, len(left), world.batch_size):
            world.clock.seconds += 1.1
            yield self.batch(left[at : at + world.batch_size])
        yield from self.silence(stage.silent_reads)
        if stage.ends:
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


class _StoryStore(DynamoStore):
    """A store at the end of the wire."""

    def __init__(self, world: StoryWorld, dynamodb: Any, s3: Any) -> None:
        super().__init__(dynamodb, s3, table="table", bucket=world.bucket, pipeline="p")
        self._world = world

    def put_contributions(self, rows: Sequence[bytes]) -> None:
        """Write them, unless the process is gone at this moment of the story."""
        if self._world.is_abandoned():
            raise Abandoned
        self._world.commits_of(rows)
        super().put_contributions(rows)


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
