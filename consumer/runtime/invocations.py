"""The shards of a stream in AWS Lambda, one invocation at a time: batches of a mapping, and the tick of a schedule.

The rules beside those of `commit.py`:
1. No success is told while a row is unsent: what is committed is sent, and that it was sent is committed, before an
   invocation ends. What did not come so far is told as failed, and comes again.
2. A shard's state may stay in memory between invocations. Each one that succeeds has committed on the state's epoch,
   so memory that was out of date has been found out; and whatever goes wrong between, the memory is thrown away.
3. A batch that begins behind records which the state has not seen is refused (state.on_gap): nothing is lost
   silently. Each batch is looked at, with two reads of the stream: what became of a batch that another container had
   in between, nobody here knows. So are the ends of parents, and silent shards now and then (`gaps.py`).
4. No one tells that a shard has ended. A child's first owner reads its parents to their ends, and ends them.
5. The tick acts on a shard only if no invocation can be at work on it: nothing was committed for as long as one may
   take and, where time is to pass (windows are to close, a child is to begin), nothing is left to be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, Protocol

from consumer.core.combining import buckets
from consumer.errors import FencedError, RefusedError, RetryableError
from consumer.records import HashRange, Position, Record
from consumer.runtime.commit import ShardOwner
from consumer.runtime.gaps import check_expired, end_early, is_to_be_noted, may_have_expired, meet_gap
from consumer.runtime.global_part import awaited_ms
from consumer.runtime.heap import STATE_HEAP
from consumer.runtime.misrouting import MisroutingWatch
from consumer.runtime.mode import Mode
from consumer.runtime.retry import StoppedError
from consumer.runtime.surroundings import ShardOrigin, Surroundings
from consumer.runtime.warm import WarmOwners
from consumer.runtime.work import Work
from consumer.sinks.base import DeliveryStopped
from consumer.sources.kpl import Packets
from consumer.sources.reading import Behind
from consumer.state.base import Claim, ShardState
from consumer.state.reading import claims_or_why_not

PORTION = 500
"""Records that are worked through between two looks at the time left."""


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


class _Gap(NamedTuple):
    goes_on: Position
    found: Behind


class Invocations:
    """What one container does. `budget` is always of the present invocation."""

    def __init__(
        self, around: Surroundings, stream: Stream, budget: Budget, misrouting: MisroutingWatch | None = None
    ) -> None:
        self._misrouting = misrouting
        self._around = around
        self._stream = stream
        self._budget = budget
        self._warm = WarmOwners(around.clock.now_ms)
        self._combined_ms: dict[str, int | None] = {}

    def close(self) -> None:
        """Forget what is in memory."""
        self._warm.clear()

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
        is_kept = False
        try:
            owner = self._warm.take(shard)
            if owner is not None and self._gap_before(owner, records):
                owner = None  # what is in memory may be out of date
                STATE_HEAP.release()
            if owner is None:
                owner = self._begin(shard, records)
            if owner.mode is Mode.FROZEN:
                self._check_end(owner, records[-1])
                return None
            again = self._process(owner, records)
            owner.combine()
            owner.finish(_no_checkpoint)
            self._warm.keep(owner)
            is_kept = True
            return again
        finally:
            if not is_kept:
                STATE_HEAP.release()

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
        self._end_parents(shard, is_delivered=True)
        owner = self._owner(shard)
        if owner.mode is Mode.ACTIVE and (gap := self._gap_before(owner, records)):
            self._meet(owner, gap)
        return owner

    @contextmanager
    def _visiting(self, shard: str) -> Iterator[ShardOwner]:
        """Take a shard over for a moment; nobody here goes on with it."""
        self._warm.drop(shard)
        try:
            yield self._owner(shard)
        finally:
            STATE_HEAP.release()

    def _owner(self, shard: str) -> ShardOwner:
        owner = ShardOwner(self._around, shard)
        try:
            owner.initialise(None)
        except RefusedError as error:
            self._around.telemetry.shard_refused(shard=shard, error=error)
            raise
        return owner

    def _gap_before(self, owner: ShardOwner, records: Sequence[Record]) -> _Gap | None:
        """Return the gap if records before the batch's first are there, or may have been, which are not counted."""
        position = owner.processor.position
        first = next(map(Position.of, Packets(owner.hash_range).unpack(records)), None)
        if first is None or (position is not None and first <= position) or self._precedes_start(owner, records[0]):
            return None
        found = self._behind(owner.shard, position, owner.hash_range)
        if found.first is None:
            raise RetryableError(f"{owner.shard} does not show yet what was delivered of it")
        if found.first < first or may_have_expired(self._around, owner.counted_until_ms, found):
            return _Gap(first, found)
        return None

    def _meet(self, owner: ShardOwner, gap: _Gap) -> None:
        shard, position, unread = owner.shard, owner.processor.position, gap.found.first
        if unread is None or unread >= gap.goes_on:
            check_expired(self._around, shard, position, owner.counted_until_ms, gap.found)
            return
        meet_gap(
            self._around,
            shard,
            position,
            gap.goes_on,
            f"the batch of {shard} begins at {gap.goes_on.sequence}, but the record at {unread.sequence} before it was "
            "never delivered: the mapping has given records up, or started behind them. Make a new mapping from "
            "TRIM_HORIZON, with endless retries and record age; records already counted are skipped",
        )

    def _precedes_start(self, owner: ShardOwner, first: Record) -> bool:
        """Tell whether a shard's first batch reaches back behind the application's start.

        Where it starts at the latest record, the mapping was there before the function that it invoked first.
        """
        if owner.processor.position is not None or self._around.program.pipeline.source.start != "latest":
            return False
        application = self._around.application
        return owner.shard in application.roots and (first.arrival_ms or 0) < application.started_at_ms

    def _check_end(self, owner: ShardOwner, last: Record) -> None:
        position = owner.processor.position
        if position is not None and int(last.sequence_number or 0) > position.sequence:
            raise RefusedError(f"{owner.shard} has ended at {position.sequence}, and yet a record behind that came")

    # Shards that end

    def _end_parents(self, shard: str, *, is_delivered: bool) -> None:
        """See to it that the parents of a shard without state have ended.

        `is_delivered`: a batch of the shard came, before which all batches of its parents should have.
        """
        claim = self._read(shard)
        if shard in self._around.application.roots or (claim is not None and (claim.retired or claim.state)):
            return
        for parent in self._around.retrying(shard, "load", lambda: self._around.lineage.origin(shard)).parents:
            self._end(parent, is_delivered=is_delivered)

    def _end(self, shard: str, *, is_delivered: bool) -> None:
        """End a shard, all of whose records have been processed; RetryableError, or a gap, if some have not."""
        self._warm.drop(shard)
        claim = self._read(shard)
        state = None if claim is None else claim.state
        if claim is not None and (claim.retired or (state is not None and state.ended)):
            return
        if state is None:
            if shard not in self._around.retrying(shard, "load", self._stream.origins):
                return  # and never had a state: whoever begins its child meets the gap
            self._end_parents(shard, is_delivered=is_delivered)
        else:  # before it is taken over: its owner may be at work
            reached = (state.position, state.counted_until_ms)
            self._require_end(shard, *reached, _hash_range(state), is_delivered=is_delivered)
        with self._visiting(shard) as owner:
            if owner.mode is Mode.ACTIVE:
                if state is None or owner.processor.position != state.position:
                    reached = (owner.processor.position, owner.counted_until_ms)
                    self._require_end(shard, *reached, owner.hash_range, is_delivered=is_delivered)
                end_early(owner)
        self._around.telemetry.shard_ended(shard=shard)

    def _require_end(
        self,
        shard: str,
        position: Position | None,
        counted_until_ms: int | None,
        hash_range: HashRange,
        *,
        is_delivered: bool,
    ) -> None:
        found = self._behind(shard, position, hash_range)
        if found.first is None and found.ended:
            check_expired(self._around, shard, position, counted_until_ms, found)
            return
        unread = f"{shard} has records that are to come before those of its children"
        if found.first is None or not is_delivered:
            raise RetryableError(unread)
        meet_gap(
            self._around,
            shard,
            position,
            None,
            f"{unread}, and yet such came: the mapping has given records up, or started behind them, at "
            f"{found.first.sequence}. Make a new mapping from TRIM_HORIZON, with endless retries and record age; "
            "records already counted are skipped",
        )

    # The tick

    def tick(self) -> int:
        """Do what no batch will do; return on how many shards.

        A shard that is refused keeps none of the others waiting: RefusedError comes after them.
        """
        found = claims_or_why_not(self._around.store, partial(self._around.retrying, "", "load"))
        claims = {shard: claim for shard, claim in found.items() if isinstance(claim, Claim)}
        refused = [error for error in found.values() if isinstance(error, RefusedError)]
        waiting = [partial(self._tick, shard, claim) for shard, claim in claims.items()]
        waiting += [
            partial(self._begin_empty, shard)
            for shard in self._to_begin(claims)
            if shard in claims or shard not in found
        ]
        acted = 0
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
        closes = self._closes_by_time(state)
        acted = (closes or self._is_long_silent(state)) and self._let_time_pass(shard, state, closes=closes)
        return acted or (not state.ended and self._combine(shard, _hash_range(state)))

    def _combine(self, shard: str, hash_range: HashRange) -> bool:
        """Combine the buckets of a shard of which no batch comes, if something is complete since the last time here."""
        watermark_ms, before_ms = self._around.view.look(self._around).watermark_ms, self._combined_ms.get(shard)
        program = self._around.program
        if not program.passes_combined(before_ms, watermark_ms) or not buckets(program, hash_range):
            return False
        with self._visiting(shard) as owner:
            if owner.mode is not Mode.ACTIVE:
                return False
            done = owner.combine()
            owner.finish(_no_checkpoint)
        if done:
            self._combined_ms[shard] = watermark_ms
        return True

    def _is_quiet(self, state: ShardState) -> bool:
        """Tell whether every invocation that may have been at work at the last commit is over."""
        return self._around.clock.now_ms() - state.committed_at_ms > self._budget.timeout_ms()

    def _send_outbox(self, shard: str) -> None:
        with self._visiting(shard) as owner:
            if owner.mode is Mode.ACTIVE:
                owner.finish(_no_checkpoint)

    def _is_long_silent(self, state: ShardState) -> bool:
        return not state.ended and is_to_be_noted(self._around, state.counted_until_ms)

    def _closes_by_time(self, state: ShardState) -> bool:
        """Tell whether time would close a window, and nothing was counted for `idle_after`."""
        events = self._around.program.pipeline.events
        now_ms = self._around.clock.now_ms()
        if state.ended or events.idle_after_ms is None or now_ms - _silent_since_ms(state) < events.idle_after_ms:
            return False
        if state.due_ms is not None and now_ms - events.out_of_orderness_ms >= state.due_ms:
            return True
        return awaited_ms(self._around, state.watermark_ms) is not None

    def _let_time_pass(self, shard: str, state: ShardState, *, closes: bool) -> bool:
        """Note that nothing is unread, if so it is, and close what time closes."""
        looked_ms = self._around.clock.now_ms()
        found = self._behind(shard, state.position, _hash_range(state))
        if found.first is not None or found.ended:
            return False
        check_expired(self._around, shard, state.position, state.counted_until_ms, found)
        with self._visiting(shard) as owner:
            if owner.mode is not Mode.ACTIVE or owner.processor.position != state.position:
                return False
            owner.caught_up(looked_ms)
            acted = closes and self._close_by_time(owner)
            owner.finish(_no_checkpoint)
        return acted

    def _close_by_time(self, owner: ShardOwner) -> bool:
        work = Work(self._around.clock)
        outcome = owner.idle()
        if outcome is None:
            return False
        work.add(outcome, 0.0)
        work.through(owner, (), partial(self._commit_if_due, owner))
        work.tell(self._around.telemetry, owner, newest_arrival_ms=None, millis_behind=0)
        return True

    def _to_begin(self, claims: Mapping[str, Claim]) -> Sequence[str]:
        """Return the shards without a state whose parents have one to leave to them.

        And roots, where there are global windows: these wait for every shard, also for one that never gets a record.
        """
        found = []
        for shard, origin in self._around.retrying("", "load", self._stream.origins).items():
            claim = claims.get(shard)
            if claim is not None and (claim.retired or claim.state):
                continue
            parents = [claims[parent].state for parent in origin.parents if parent in claims]
            begins = any(parents) and all(state is None or self._is_quiet(state) for state in parents)
            if shard in self._around.application.roots:
                begins = bool(self._around.program.combined)
            if begins:
                found.append(shard)
        return found

    def _begin_empty(self, shard: str) -> bool:
        """Begin a shard of which nothing was delivered because nothing is in it."""
        origin = self._around.retrying(shard, "load", lambda: self._around.lineage.origin(shard))
        if self._behind(shard, None, origin.hash_range).first is not None:
            return False
        self._end_parents(shard, is_delivered=False)
        with self._visiting(shard) as owner:
            owner.finish(_no_checkpoint)
        return True

    def _behind(self, shard: str, position: Position | None, hash_range: HashRange) -> Behind:
        return self._around.retrying(shard, "load", lambda: self._stream.behind(shard, position, hash_range))

    def _read(self, shard: str) -> Claim | None:
        return self._around.retrying(shard, "load", lambda: self._around.store.read(shard))


def _no_checkpoint(_position: Position) -> bool:
    """Take a checkpoint as made: a mapping goes by the answer to its invocation."""
    return True


def _silent_since_ms(state: ShardState) -> int:
    """Return since when nothing came: the last commit, or if that has but noted so, the arrival before."""
    arrival_ms = state.last_arrival_ms
    return state.committed_at_ms if arrival_ms is None or arrival_ms == state.counted_until_ms else arrival_ms


def _hash_range(state: ShardState) -> HashRange:
    return HashRange(*map(int, state.hash_range))
