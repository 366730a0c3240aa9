"""The shards of a stream in AWS Lambda, one invocation at a time: batches of a mapping, and the tick of a schedule.

The rules beside those of `commit.py`:
1. No success is told while a row is unsent: what is committed is sent, and that it was sent is committed, before an
   invocation ends. What did not come so far is told as failed, and comes again.
2. A shard's state may stay in memory between invocations. Each one that succeeds has committed on the state's epoch,
   so memory that was out of date has been found out; and whatever goes wrong between, the memory is thrown away.
3. A batch that begins behind records which the state has not seen is refused (state.on_gap): nothing is lost
   silently. That is looked up unless the batch before was here a moment ago.
4. No one tells that a shard has ended. A child's first owner reads its parents to their ends, and ends them.
5. The tick acts on a shard only if no invocation can be at work on it: nothing was committed for as long as one may
   take and, where time is to pass (windows are to close, a child is to begin), nothing is left to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from consumer.errors import FencedError, RefusedError, RetryableError
from consumer.records import HashRange, Position, Record
from consumer.runtime.commit import Mode, ShardOwner
from consumer.runtime.misrouting import MisroutingWatch
from consumer.runtime.retry import StoppedError
from consumer.runtime.surroundings import ShardOrigin, Surroundings, meet_gap
from consumer.runtime.work import Work
from consumer.sinks.base import DeliveryStopped
from consumer.sources.kpl import Packets
from consumer.sources.reading import Behind
from consumer.state.base import Claim, ShardState

PORTION = 500
"""Records that are worked through between two looks at the time left."""
TRUSTED_MS = 10_000
"""How soon after a batch the next one is taken to follow it. No mapping is made anew, or gives up, that fast."""


class Budget(Protocol):
    """The time that the present invocation has."""

    def is_spent(self) -> bool:
        """Tell whether it is time to commit what has been done."""

    def timeout_ms(self) -> int:
        """Return how long any invocation may take."""


class Stream(Protocol):
    """Reads of the stream. RetryableError if it cannot be asked; StoppedError when the time is over."""

    def behind(self, shard: str, position: Position | None, hash_range: HashRange, /) -> Behind:
        """Return what a shard holds behind a position; None is where the application started."""

    def origins(self) -> Mapping[str, ShardOrigin]:
        """Return all shards of the stream."""


class _Warm(NamedTuple):
    owner: ShardOwner
    since_ms: int


class Invocations:
    """What one container does. `budget` is always of the present invocation."""

    def __init__(
        self, around: Surroundings, stream: Stream, budget: Budget, misrouting: MisroutingWatch | None = None
    ) -> None:
        self._misrouting = misrouting
        self._around = around
        self._stream = stream
        self._budget = budget
        self._warm: dict[str, _Warm] = {}

    # A batch

    def batch(self, shard: str, records: Sequence[Record]) -> str | None:
        """Process a batch; return the sequence number from which it must come again, None if it is done with.

        Raises what a person must see (RefusedError, SetupError, SinkError), and RetryableError.
        """
        for last_try in (False, True):
            try:
                return self._batch(shard, records)
            except FencedError as error:  # by the tick, or by another container: its state is the one to go on with
                self._around.telemetry.fenced(shard=shard, epoch=error.epoch, seen_epoch=error.seen_epoch)
                if last_try:
                    break
            except (DeliveryStopped, StoppedError):
                break
        return records[0].sequence_number

    def _batch(self, shard: str, records: Sequence[Record]) -> str | None:
        owner = self._take_warm(shard, records) or self._begin(shard, records)
        if owner.mode is Mode.FROZEN:
            self._check_end(owner, records[-1])
            return None
        again = self._process(owner, records)
        owner.finish(_no_checkpoint)
        self._warm[shard] = _Warm(owner, self._around.clock.now_ms())
        return again

    def _take_warm(self, shard: str, records: Sequence[Record]) -> ShardOwner | None:
        warm = self._warm.pop(shard, None)
        if warm is None:
            return None
        if self._around.clock.now_ms() - warm.since_ms > TRUSTED_MS:
            self._check_gap(warm.owner, records)
        return warm.owner

    def _process(self, owner: ShardOwner, records: Sequence[Record]) -> str | None:
        """Process as much as there is time for; return the sequence number of the first record left over."""
        work, packets = Work(self._around.clock), Packets(owner.hash_range)
        newest_ms = None
        try:
            for first in range(0, len(records), PORTION):
                if first and self._budget.is_spent():
                    return records[first].sequence_number
                portion = records[first : first + PORTION]
                work.through(owner, list(packets.unpack(portion)), partial(self._commit_if_due, owner))
                newest_ms = portion[-1].arrival_ms
            return None
        finally:
            work.tell(self._around.telemetry, owner, newest_arrival_ms=newest_ms, millis_behind=None)
            if self._misrouting is not None:
                self._misrouting.look(owner.shard, work.counts)
            if packets.left_out:
                self._around.telemetry.packets_left_out(shard=owner.shard, records=packets.left_out)

    def _commit_if_due(self, owner: ShardOwner) -> None:
        if owner.commit_is_due():
            owner.commit(_no_checkpoint)

    def _begin(self, shard: str, records: Sequence[Record]) -> ShardOwner:
        self._end_parents(shard)
        owner = self._owner(shard)
        if owner.mode is Mode.ACTIVE:
            self._check_gap(owner, records)
        return owner

    def _owner(self, shard: str) -> ShardOwner:
        owner = ShardOwner(self._around, shard)
        try:
            owner.initialise(None)
        except RefusedError as error:
            self._around.telemetry.shard_refused(shard=shard, error=error)
            raise
        return owner

    def _check_gap(self, owner: ShardOwner, records: Sequence[Record]) -> None:
        """Meet a gap if there are records that the state has not seen, and the batch begins behind them."""
        position = owner.processor.position
        first = next(map(Position.of, Packets(owner.hash_range).unpack(records)), None)
        if first is None or (position is not None and first <= position) or self._begins_anywhere(owner):
            return
        seen = self._behind(owner.shard, position, owner.hash_range).first
        if seen is None:
            raise RetryableError(f"{owner.shard} does not show yet what was delivered of it")
        if seen < first:
            meet_gap(
                self._around,
                owner.shard,
                position,
                first,
                f"the batch of {owner.shard} begins at {first.sequence}, but the record at {seen.sequence} before it "
                "was never delivered: the mapping has given records up, or started behind them. Make a new mapping "
                "from TRIM_HORIZON, with endless retries and record age; records already counted are skipped",
            )

    def _begins_anywhere(self, owner: ShardOwner) -> bool:
        """Tell whether a shard's first record is whichever comes first."""
        if owner.processor.position is not None or self._around.program.pipeline.source.start != "latest":
            return False
        return owner.shard in self._around.application.roots

    def _check_end(self, owner: ShardOwner, last: Record) -> None:
        position = owner.processor.position
        if position is not None and int(last.sequence_number or 0) > position.sequence:
            raise RefusedError(f"{owner.shard} has ended at {position.sequence}, and yet a record behind that came")

    # Shards that end

    def _end_parents(self, shard: str) -> None:
        """See to it that the parents of a shard without state have ended."""
        claim = self._read(shard)
        if shard in self._around.application.roots or (claim is not None and (claim.retired or claim.state)):
            return
        for parent in self._around.retrying(shard, "load", lambda: self._around.lineage.origin(shard)).parents:
            self._end(parent)

    def _end(self, shard: str) -> None:
        """End a shard, all of whose records have been processed; RetryableError if some have not."""
        self._warm.pop(shard, None)
        claim = self._read(shard)
        if claim is not None and (claim.retired or (claim.state is not None and claim.state.ended)):
            return
        self._end_parents(shard)
        origin = self._around.retrying(shard, "load", lambda: self._around.lineage.origin(shard))
        position = None if claim is None or claim.state is None else claim.state.position
        self._require_end(shard, position, origin.hash_range)
        owner = self._owner(shard)
        if owner.mode is Mode.ACTIVE:
            if owner.processor.position != position:
                self._require_end(shard, owner.processor.position, origin.hash_range)
            Work(self._around.clock).through(owner, (), partial(self._commit_if_due, owner))
            owner.commit(_no_checkpoint, ended=True)
        self._around.telemetry.shard_ended(shard=shard)

    def _require_end(self, shard: str, position: Position | None, hash_range: HashRange) -> None:
        behind = self._behind(shard, position, hash_range)
        if behind.first is not None or not behind.ended:
            raise RetryableError(f"{shard} has records that are to come before those of its children")

    # The tick

    def tick(self) -> int:
        """Do what no batch will do; return on how many shards.

        A shard that is refused keeps none of the others waiting: RefusedError comes after them.
        """
        claims = self._around.retrying("", "load", self._around.store.list_shards)
        waiting = [partial(self._tick, shard, claim) for shard, claim in claims.items()]
        waiting += [partial(self._begin_child, shard) for shard in self._children_to_begin(claims)]
        acted, refused = 0, []
        for task in waiting:
            if self._budget.is_spent():
                break
            try:
                acted += task()
            except FencedError as error:
                shard = task.args[0]
                self._around.telemetry.fenced(shard=shard, epoch=error.epoch, seen_epoch=error.seen_epoch)
            except RetryableError as error:
                self._around.telemetry.tick_postponed(shard=task.args[0], error=error)
            except RefusedError as error:
                refused.append(error)
            except (DeliveryStopped, StoppedError):
                break
        if refused:
            raise refused[0]
        return acted

    def _tick(self, shard: str, claim: Claim) -> bool:
        state = claim.state
        if state is None or not self._is_quiet(state):
            return False
        if state.outbox_rows:
            self._send_outbox(shard)
            return True
        return self._is_idle(shard, state) and self._let_time_pass(shard, state)

    def _is_quiet(self, state: ShardState) -> bool:
        """Tell whether every invocation that may have been at work at the last commit is over."""
        return self._around.clock.now_ms() - state.committed_at_ms > self._budget.timeout_ms()

    def _send_outbox(self, shard: str) -> None:
        owner = self._owner(shard)
        if owner.mode is Mode.ACTIVE:
            owner.finish(_no_checkpoint)
        self._warm.pop(shard, None)

    def _is_idle(self, shard: str, state: ShardState) -> bool:
        """Tell whether time would close a window, and no record has come for `idle_after`: none is unread."""
        events = self._around.program.pipeline.events
        now_ms = self._around.clock.now_ms()
        if state.ended or events.idle_after_ms is None or state.due_ms is None:
            return False
        if now_ms - state.committed_at_ms < events.idle_after_ms or now_ms - events.out_of_orderness_ms < state.due_ms:
            return False
        behind = self._behind(shard, state.position, _hash_range(state))
        return behind.first is None and not behind.ended

    def _let_time_pass(self, shard: str, state: ShardState) -> bool:
        owner = self._owner(shard)
        self._warm.pop(shard, None)
        if owner.mode is not Mode.ACTIVE or owner.processor.position != state.position:
            return False
        work = Work(self._around.clock)
        outcome = owner.idle()
        if outcome is not None:
            work.add(outcome, 0.0)
            work.through(owner, (), partial(self._commit_if_due, owner))
            work.tell(self._around.telemetry, owner, newest_arrival_ms=None, millis_behind=0)
        owner.finish(_no_checkpoint)
        return outcome is not None

    def _children_to_begin(self, claims: Mapping[str, Claim]) -> Sequence[str]:
        """Return the shards without a state whose parents have one to leave to them."""
        found = []
        for shard, origin in self._around.retrying("", "load", self._stream.origins).items():
            claim = claims.get(shard)
            if shard in self._around.application.roots or (claim is not None and (claim.retired or claim.state)):
                continue
            parents = [claims[parent].state for parent in origin.parents if parent in claims]
            if any(parents) and all(state is None or self._is_quiet(state) for state in parents):
                found.append(shard)
        return found

    def _begin_child(self, shard: str) -> bool:
        """Begin a shard of which nothing was delivered because nothing is in it."""
        origin = self._around.retrying(shard, "load", lambda: self._around.lineage.origin(shard))
        if self._behind(shard, None, origin.hash_range).first is not None:
            return False
        self._end_parents(shard)
        self._owner(shard).finish(_no_checkpoint)
        return True

    def _behind(self, shard: str, position: Position | None, hash_range: HashRange) -> Behind:
        return self._around.retrying(shard, "load", lambda: self._stream.behind(shard, position, hash_range))

    def _read(self, shard: str) -> Claim | None:
        return self._around.retrying(shard, "load", lambda: self._around.store.read(shard))


def _no_checkpoint(_position: Position) -> bool:
    """Take a checkpoint as made: a mapping goes by the answer to its invocation."""
    return True


def _hash_range(state: ShardState) -> HashRange:
    return HashRange(*map(int, state.hash_range))
