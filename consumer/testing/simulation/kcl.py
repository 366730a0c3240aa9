"""The Kinesis Client Library of one worker: which leases it has, what it reads, what it says to the shards' runners.

What is true of the real one and matters: a lease is lost when somebody else wrote its row, which is found out at the
next renewal, or by a checkpoint, and until then batches go on being delivered. A worker takes what has not been renewed
for the fail-over time by its own clock, takes from workers that have more, by force or by asking, and picks up whatever
bears its name; so two workers of one name share their leases. Reads run ahead of the deliveries. The real one writes
the counter with each checkpoint, and drops a lease whose checkpoint was refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from consumer.errors import LeaseLostError, RetryableError
from consumer.records import Position, Record
from consumer.sources.multilang import (
    Channel,
    Initialize,
    LeaseLost,
    Message,
    ProcessRecords,
    ShardEnded,
    ShutdownRequested,
)
from consumer.testing.simulation.leases import SHARD_END, TRIM_HORIZON, Checkpoint, Held, Row
from consumer.testing.simulation.plan import Fault

if TYPE_CHECKING:
    from consumer.testing.simulation.stream import Shard
    from consumer.testing.simulation.worker import Worker
    from consumer.testing.simulation.world import World

FAILOVER_SECONDS = 10.0
RENEWAL_SECONDS = FAILOVER_SECONDS / 3 - 0.1
ASSIGNMENT_SECONDS = 5.0
HAND_OVER_SECONDS = 30.0
"""When a lease that was asked for is taken by force."""
PREFETCHED_MAX = 4
_BETWEEN_FULL_READS_SECONDS = 0.2
_GHOST_BATCHES_MAX = 4


class Library:
    """The library in one worker."""

    def __init__(self, world: World, worker: Worker) -> None:
        self.held: dict[str, Held] = {}
        self.conversations: dict[str, Conversation] = {}
        self._world = world
        self._worker = worker
        self._seen: dict[str, tuple[int, float]] = {}
        self._asked: dict[str, float] = {}
        self._ghosts = 0

    def start(self) -> None:
        """Begin: take what bears the worker's name, then look for more."""
        self._tick(self._renew, RENEWAL_SECONDS, first=self._world.random.uniform(0.1, 1))
        self._tick(self._assign, ASSIGNMENT_SECONDS, first=self._world.random.uniform(0.2, 3))

    @property
    def idle(self) -> bool:
        """Tell whether no shard is being talked about."""
        return not self.conversations

    def _tick(self, call: object, seconds: float, *, first: float) -> None:
        assert callable(call)
        scheduler, worker = self._world.scheduler, self._worker

        def tick() -> None:
            if not worker.alive:
                return
            paused_until = max(worker.paused_until, worker.jvm_paused_until)
            if paused_until > scheduler.now:
                scheduler.at(paused_until, tick)
                return
            call()
            scheduler.after(seconds * self._world.random.uniform(0.9, 1.1), tick)

        scheduler.after(first, tick)

    # Renewal

    def _renew(self) -> None:
        world, worker = self._world, self._worker
        now = worker.clock.monotonic()
        fails = world.chance(Fault.RENEWAL)
        for held in list(self.held.values()):
            row = world.table.rows.get(held.shard)
            if held.lost or row is None or row.owner != worker.identifier or now - held.renewed > FAILOVER_SECONDS:
                self.lose(held, "not renewed in time")
            elif fails:
                world.counts["renewals failed"] += 1
            elif row.counter in {held.counter, held.counter + 1}:
                # One more is taken for an own write whose answer was lost: so a twin's renewal is not noticed.
                if row.counter == held.counter:
                    row.counter += 1
                held.counter, held.renewed = row.counter, now
                held.hand_over = held.hand_over or row.wanted_by is not None
            else:
                self.lose(held, "somebody wrote it")
        if not worker.stopping:
            self._converse()

    def lose(self, held: Held, why: str) -> None:
        """Forget a lease."""
        if not held.lost:
            held.lost = True
            self._world.counts["leases lost"] += 1
            self._world.note(self._worker, f"loses {held.shard}: {why}")
        if self.held.get(held.shard) is held:
            del self.held[held.shard]

    # Assignment

    def _assign(self) -> None:
        if self._worker.stopping:
            return
        world, me = self._world, self._worker.identifier
        world.sync_shards()
        rows = [row for row in world.table.rows.values() if not row.ended]
        now = self._worker.clock.monotonic()
        for row in rows:
            seen = self._seen.get(row.shard)
            if seen is None or seen[0] != row.counter:
                self._seen[row.shard] = (row.counter, now)
        free = [row for row in rows if row.owner is None or (row.owner != me and self._is_expired(row, now))]
        owners = {row.owner for row in rows if row not in free and row.owner is not None} | {me}
        mine = sum(row.owner == me for row in rows)
        target = -(-len(rows) // len(owners))
        world.random.shuffle(free)
        for row in free[: max(0, target - mine)] if len(owners) > 1 else free:
            self._take(row, "free")
            mine += 1
        if mine < target and not free:
            self._take_from_others(rows, target, now)
        self._force(rows, now)
        self._discover(rows)
        self._converse()

    def _is_expired(self, row: Row, now: float) -> bool:
        return now - self._seen[row.shard][1] > FAILOVER_SECONDS

    def _take_from_others(self, rows: Sequence[Row], target: int, now: float) -> None:
        world, me = self._world, self._worker.identifier
        numbers: dict[str, int] = {}
        for row in rows:
            if row.owner is not None:
                numbers[row.owner] = numbers.get(row.owner, 0) + 1
        rich = [row for row in rows if row.owner not in {None, me} and numbers[str(row.owner)] >= target]
        if not rich:
            return
        row = world.random.choice(rich)
        if world.chance(Fault.STEAL):
            world.counts["leases stolen"] += 1
            self._take(row, "stolen")
        elif row.wanted_by is None and world.chance(Fault.HANDOVER):
            world.counts["hand-overs asked for"] += 1
            row.wanted_by = me
            self._asked[row.shard] = now

    def _force(self, rows: Sequence[Row], now: float) -> None:
        for row in rows:
            asked = self._asked.get(row.shard)
            if row.wanted_by == self._worker.identifier and asked is not None and now - asked > HAND_OVER_SECONDS:
                self._world.counts["hand-overs forced"] += 1
                self._take(row, "forced")

    def _take(self, row: Row, why: str) -> None:
        self._world.note(self._worker, f"takes {row.shard} of {row.owner}: {why}")
        row.take(self._worker.identifier)

    def _discover(self, rows: Sequence[Row]) -> None:
        """Pick up every lease that bears the worker's name."""
        now = self._worker.clock.monotonic()
        for row in rows:
            if row.owner == self._worker.identifier and row.shard not in self.held:
                self.held[row.shard] = Held(row.shard, row.counter, now)

    # Conversations

    def _converse(self) -> None:
        """Begin with every lease whose turn it is."""
        for held in list(self.held.values()):
            row = self._world.table.rows.get(held.shard)
            ready = row is not None and not row.ended and self._world.table.parents_have_ended(row)
            if ready and held.shard not in self.conversations:
                self._begin(held.shard, held)

    def _begin(self, name: str, held: Held) -> None:
        conversation = Conversation(self._world, self._worker, self, held)
        self.conversations[name] = conversation

        def done() -> None:
            del self.conversations[name]

        self._world.run_shard(self._worker, conversation, done)

    def haunt(self, row: Row) -> None:
        """Begin with a lease that was lost a moment ago, from a checkpoint of the past."""
        checkpoint = self._world.random.choice([TRIM_HORIZON, *row.history[-3:], row.checkpoint])
        if checkpoint == SHARD_END:
            checkpoint = TRIM_HORIZON
        self._ghosts += 1
        held = Held(row.shard, -2, self._worker.clock.monotonic(), stale=True, checkpoint=checkpoint)
        self._begin(f"ghost {self._ghosts}", held)


class _Batch(NamedTuple):
    """What a read brought. `behind_ms` None: the shard is closed, and this was its end."""

    records: Sequence[Record]
    behind_ms: int | None


class Reader:
    """Reads a shard ahead of the deliveries, as the clock goes."""

    def __init__(self, world: World, shard: Shard, checkpoint: Checkpoint) -> None:
        self._world = world
        self._shard = shard
        self._next = shard.after(checkpoint if isinstance(checkpoint, Position) else None)
        self._due = world.scheduler.now
        self._read: deque[_Batch] = deque()

    def take(self) -> _Batch | None:
        """Return the next batch, None where none was read yet."""
        now = self._world.scheduler.now
        while len(self._read) < PREFETCHED_MAX and self._due <= now:
            self._read.append(self._read_at(self._due))
        if not self._read:
            return None
        self._due = max(self._due, now) if len(self._read) == PREFETCHED_MAX else self._due
        return self._read.popleft()

    def wait_seconds(self) -> float:
        """Return how long nothing will come."""
        return max(0.001, self._due - self._world.scheduler.now)

    def _read_at(self, time: float) -> _Batch:
        shard, plan = self._shard, self._world.plan
        end = shard.read(self._next, plan.batch_max, time)
        records, self._next = shard.records[self._next : end], end
        more = end < len(shard.records) and shard.arrivals[end] <= time
        if not records and shard.closed_at is not None and shard.closed_at <= time and end == len(shard.records):
            self._due = float("inf")
            return _Batch((), None)
        seconds = _BETWEEN_FULL_READS_SECONDS if more else plan.read_seconds
        self._due = time + seconds * self._world.random.uniform(0.8, 1.2)
        return _Batch(records, max(1, round((time - shard.arrivals[end]) * 1000)) if more else 0)


class Conversation(Channel):
    """One lease of a shard, as its runner sees it: a Channel without the pipes."""

    def __init__(self, world: World, worker: Worker, library: Library, held: Held) -> None:
        # No `super().__init__`: there are no files to speak through.
        self.shard = held.shard
        self.held = held
        self.refused = False
        self._world = world
        self._worker = worker
        self._library = library
        self._reader: Reader | None = None
        self._delivered: Position | None = None
        self._checkpointed = False
        self._last: Position | None = None
        self._asked_to_stop = False
        self._over = False
        self._ending: _Batch | None = None
        self._left = world.random.randint(0, _GHOST_BATCHES_MAX)

    def receive(self) -> Message | None:
        """Return what the library says next."""
        self._step("receive")
        message = self._next()
        if message is not None and not isinstance(message, ProcessRecords):
            self._world.note(self._worker, f"hears {type(message).__name__} {self.shard}")
        return message

    def _next(self) -> Message | None:
        if self._over:
            return None
        if self._reader is None:
            return self._initialise()
        while True:
            stop = self._stop()
            if stop is not None:
                return stop
            batch = self._ending or self._reader.take()
            if batch is not None and batch.behind_ms is None and not self._world.may_end(self.shard):
                self._ending = batch
                self._world.scheduler.sleep(1.0)
                continue
            if batch is not None:
                return self._deliver(batch)
            self._world.scheduler.sleep(self._reader.wait_seconds())
            self._wait_for_jvm()

    def _initialise(self) -> Initialize:
        row = self._world.table.rows.get(self.shard)
        checkpoint = self.held.checkpoint or (TRIM_HORIZON if row is None else row.checkpoint)
        self._delivered = None
        self._reader = Reader(self._world, self._world.stream.shards[self.shard], checkpoint)
        self._world.note(self._worker, f"begins {self.shard} at {checkpoint}")
        if isinstance(checkpoint, Position):
            self._last = checkpoint
            return Initialize(self.shard, str(checkpoint.sequence), checkpoint.sub_sequence)
        return Initialize(self.shard, TRIM_HORIZON, 0)

    def _stop(self) -> Message | None:
        """Return what ends the conversation, if it is to end."""
        if self.held.stale and self._left <= 0:
            self.held.lost = True
        if self.held.lost or self._asked_to_stop:
            self._over = True
            self._hand_over()
            return LeaseLost()
        if self._worker.stopping or self.held.hand_over:
            self._asked_to_stop = True
            return ShutdownRequested()
        return None

    def _hand_over(self) -> None:
        row = self._world.table.rows.get(self.shard)
        if self.held.hand_over and row is not None and self._is_mine(row) and row.wanted_by is not None:
            row.take(row.wanted_by)
            self._world.counts["hand-overs"] += 1
        self._library.lose(self.held, "given up")

    def _deliver(self, batch: _Batch) -> Message:
        self._left -= 1
        if batch.behind_ms is None:
            self._over = True
            self._world.begin_children(self.shard)
            return ShardEnded()
        if batch.records:
            last = Position.of(batch.records[-1])
            self._delivered = last
        return ProcessRecords(list(batch.records), batch.behind_ms)

    def answer(self, message: Message) -> None:
        """Go on; a shard must not end without its checkpoint."""
        if isinstance(message, ShardEnded):
            row = self._world.table.rows.get(self.shard)
            held = row is not None and self._is_mine(row) and not self.held.lost
            if held and not self._checkpointed:
                self._world.wedged(self.shard, refused=self.refused)
            self._library.lose(self.held, "ended")

    def checkpoint(self, position: Position | None) -> None:
        """Store a checkpoint on the conditions of the library."""
        world = self._world
        self._step("checkpoint")
        if world.chance(Fault.CHECKPOINT_THROTTLED):
            raise RetryableError("the checkpoint failed with ThrottlingException")
        row = world.table.rows.get(self.shard)
        if self.held.lost or row is None or not self._is_mine(row):
            world.counts["checkpoints refused"] += 1
            self._library.lose(self.held, "a checkpoint was refused")
            raise LeaseLostError("ShutdownException")
        self._check_range(position)
        row.write(SHARD_END if position is None else position)
        self._checkpointed = position is None
        world.oracle.checkpointed(self.shard, position)
        world.note(self._worker, f"checkpointed {self.shard} {position}")
        if world.chance(Fault.CHECKPOINT_UNANSWERED):
            raise RetryableError("the checkpoint failed with KinesisClientLibDependencyException")
        self.held.counter = row.counter
        self._step("checkpoint")

    def _is_mine(self, row: Row) -> bool:
        return row.owner == self._worker.identifier and row.counter == self.held.counter

    def _check_range(self, position: Position | None) -> None:
        if position is None:
            assert self._over, "the end of a shard was checkpointed before it was told"
            return
        assert self._delivered is not None, "a checkpoint before anything was delivered"
        assert position <= self._delivered, "a checkpoint beyond what this lease was given"
        assert self._last is None or self._last <= position, "a checkpoint went back"
        self._last = position

    def _step(self, name: str) -> None:
        self._world.step(self._worker, name, self._world.random.random() * 0.02)
        self._wait_for_jvm()

    def _wait_for_jvm(self) -> None:
        while self._worker.jvm_paused_until > self._world.scheduler.now:
            self._world.scheduler.sleep(self._worker.jvm_paused_until - self._world.scheduler.now)
