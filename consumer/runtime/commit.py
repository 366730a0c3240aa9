"""One owner of one shard's state: INIT and COMMIT, each a numbered list.

The promise: state is exactly-once; every row is sent at least once, with the same id and the same bytes.

Why no crash loses or doubles anything: what is sent was first stored, in the outbox of a commit (steps 1-3 before
step 4); what was stored but perhaps not sent is sent again by the next owner (INIT 4); the source's checkpoint comes
last (step 5), so it never leads the state, and what it repeats is skipped by position (INIT 5). Of two owners only the
later one can commit: each claims by adding 1 to the epoch, and every commit is conditional on the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from consumer.core.processor import Outcome, Processor
from consumer.errors import ApplicationRefusedError, CorruptStateError, FencedError, RefusedError, RetryableError
from consumer.records import HashRange, Position, Record, Row
from consumer.runtime import gaps
from consumer.runtime.carrying import carried_over, left_to
from consumer.runtime.compaction import Compaction
from consumer.runtime.global_part import GlobalPart, awaited_ms
from consumer.runtime.heap import STATE_HEAP
from consumer.runtime.ledger import LedgerKeeper
from consumer.runtime.mode import Checkpoint, Mode
from consumer.runtime.sending import send
from consumer.runtime.surroundings import ShardOrigin, Surroundings, check_application
from consumer.runtime.tidying import Tidying
from consumer.state.base import FORMAT_VERSION, INLINE_BYTES_MAX, Entry, FenceRefusedError, ShardState, latest_ms

SMALL_STATE_GROUPS = 1000
"""Up to this many open groups a commit writes a base: no delta would be worth its object."""
PENDING_BYTES_MAX = 8 * 1024 * 1024
DIRTY_GROUPS_MAX = 200_000
"""Rows and changed groups beyond these are committed at once: they would make too large an entry."""


class ShardOwner:
    """Owns a shard's state from INIT on, as one epoch."""

    def __init__(self, around: Surroundings, shard: str) -> None:
        self.shard = shard
        self.mode = Mode.PARKED
        self.behind_ms = 0  # how far the end of the shard is, as the source has said last
        self._around = around
        self._retrying = partial(around.retrying, shard)
        self._origin = ShardOrigin(HashRange(0, 0), ())
        self._generation = around.application.generation
        self._processor = Processor(around.program, shard, self._generation)
        self._epoch = 0
        self._commit_no = -1
        self._manifest: tuple[Entry, ...] = ()
        self._state_bytes = 0
        self._superseded: list[Entry] = []
        self._parents: tuple[str, ...] = ()
        self._tidying = Tidying(around, shard, ())
        self._ledger = LedgerKeeper(around, shard)
        self._global = GlobalPart(around, shard)
        self._compaction = Compaction(around, shard, lambda: self.mode is Mode.ACTIVE)
        self._pending: list[Row] = []
        self._pending_since: float | None = None
        self._pending_bytes = 0
        self._unacknowledged = False
        self._changed = False
        self._caught_up_ms: int | None = None
        self._delivered: Position | None = None
        self._last_commit = around.clock.monotonic()

    # INIT

    def initialise(self, checkpoint: Position | None) -> None:
        """Take the shard over. `checkpoint` is the source's position, None where it has none.

        RefusedError: nothing is processed (PARKED). FencedError: a later owner has the state already.
        """
        try:
            self._initialise(checkpoint)
        except RefusedError:
            # A later owner may have gone on meanwhile: its commits delete objects, and retire parents.
            if self._epoch:
                self._check_epoch()
            raise

    def _initialise(self, checkpoint: Position | None) -> None:
        started = self._around.clock.monotonic()
        # 1. The pipeline is checked before anything is written: a wrong worker must not fence a healthy owner.
        self._check_application()
        # The claim fences every earlier owner; 2. its answer is the item.
        claim = self._retrying("claim", lambda: self._around.store.claim(self.shard))
        self._epoch = claim.epoch
        # 3. Retired, new, or to be restored.
        if claim.retired:
            self.mode = Mode.FROZEN
            return
        if claim.state is None:
            self._start(checkpoint)
        else:
            outbox = self._restore(claim.state, checkpoint)
            self._ledger.committed(self._epoch, claim.state, self._processor)
            # 4. What was stored is sent again: the same ids, the same bytes.
            self._resend(outbox, ended=claim.state.ended)
            # A state of earlier definitions becomes one of today's, before any record is processed (carrying.py).
            if self.mode is Mode.ACTIVE:
                self._carry_over()
        self._tidying = Tidying(self._around, self.shard, self._parents)
        self._tidying.collect_orphans()
        self._around.telemetry.shard_initialised(
            shard=self.shard,
            epoch=self._epoch,
            commit_no=self._commit_no,
            groups=self._open_count(),
            state_bytes=self._state_bytes,
            position=self._processor.position,
            groups_limit=self._around.program.pipeline.limits.groups,
            seconds=self._around.clock.monotonic() - started,
            started="resumed" if claim.state is not None else "inherited" if self._parents else "empty",
        )
        STATE_HEAP.loaded(self._open_count())

    def _check_application(self) -> None:
        stored = self._retrying("load", self._around.store.read_application)
        if stored is None:
            raise ApplicationRefusedError("the application item has disappeared from the state table; restore it")
        check_application(stored, self._around.application, self._around.program.pipeline.name)
        self._around = replace(self._around, application=stored)  # of earlier definitions it may know more

    def _start(self, checkpoint: Position | None) -> None:
        """Make commit 0: a root starts empty, every other shard with what its parents leave. Nothing else starts."""
        gaps.check_begins(self.shard, checkpoint)
        # Only a beginning needs the stream's word: a shard that has a state may be gone from the stream.
        self._origin = self._retrying("load", lambda: self._around.lineage.origin(self.shard))
        program, range_, rows = self._around.program, self._origin.hash_range, list[Row]()
        self._processor = Processor(program, self.shard, self._generation, hash_range=range_)
        if self.shard not in self._around.application.roots:
            gaps.check_has_parents(self.shard, self._origin)
            owners = [ShardOwner(self._around, parent) for parent in self._origin.parents]
            ended = [owner for owner in owners if owner.close_ended(heir=self.shard)]
            self._parents = tuple(owner.shard for owner in ended)
            self._caught_up_ms = latest_ms(*(owner.counted_until_ms for owner in ended))
            left = [left_to(self._around, self.shard, range_, owner.processor) for owner in ended]
            rows = [row for _, flushed in left for row in flushed]
            parents = [parent for parent, _ in left]
            if parents:
                self._processor = Processor.inherit(
                    program, self.shard, self._generation, hash_range=range_, parents=parents
                )
        self.mode = Mode.ACTIVE
        self._commit_at_init(rows)

    def _carry_over(self) -> None:
        for processor, rows in carried_over(self._around, self.shard, self._processor):
            self._processor = processor
            self._commit_at_init(rows)

    def _commit_at_init(self, rows: Sequence[Row]) -> None:
        """Make a commit, and send the rows of windows that were removed: a later commit records that."""
        rows = self._global.outbox(self._processor, rows)
        self._write_commit(rows, ended=False)
        if rows:
            send(self._around, self.shard, rows)
            self._unacknowledged = True
        self._tell()

    def close_ended(self, *, heir: str) -> bool:
        """Restore the state of an ended shard for a child, when all its rows have been sent.

        RefusedError if it has not ended, or has no state; where the file lets the child go on all the same, it ends
        where it is, or, if the stream has it no more and it was never begun, this is False. Its epoch is not touched
        unless it ends here, or rows are left: its owner may be about to checkpoint its end.
        """
        try:
            while True:
                claim = self._retrying("load", partial(self._around.store.read, self.shard))
                state = gaps.state_left(self._around, self.shard, claim, heir)
                if state is None and gaps.is_gone(self._around, self.shard):
                    return False
                try:
                    if self._close(state):
                        return True
                except FencedError:  # by another child of it, which has the same to do
                    pass
        finally:
            self._around.telemetry.shard_released(shard=self.shard)

    def _close(self, state: ShardState | None) -> bool:
        """Restore an ended state when its rows have been sent; return False if it is to be looked at again."""
        if state is None or not state.ended:
            self.initialise(None)
            if self.mode is Mode.ACTIVE:
                gaps.end_early(self)
            return False
        outbox = self._restore(state, None)
        if not outbox:
            self._tell(ended=True)
            return True
        claim = self._retrying("claim", partial(self._around.store.claim, self.shard))
        if claim.state is None or claim.state.commit_no != state.commit_no:
            return False
        self._epoch = claim.epoch
        self._resend(outbox, ended=True)
        return True

    def _restore(self, state: ShardState, checkpoint: Position | None) -> Sequence[Row]:
        gaps.check_state(self._around, self.shard, state, checkpoint)
        get = self._around.store.get_object
        entries = [self._retrying("load", partial(get, entry)) for entry in state.manifest]
        entries = entries if state.inline is None else [state.inline]
        if hashlib.sha256(entries[-1]).hexdigest() != state.sha256:
            raise CorruptStateError(f"the snapshot of {self.shard} does not match the hash in its state item")
        range_ = HashRange(*map(int, state.hash_range))
        around = self._around
        program = around.programs.of(state.definitions, around.application, around.program)
        with STATE_HEAP.paused():
            self._processor, outbox = Processor.restore(
                program, self.shard, self._generation, entries, hash_range=range_
            )
        if self._processor.position != state.position:
            raise RefusedError(f"the snapshot of {self.shard} is not at the position its state item names")
        self._commit_no, self._manifest, self._parents = state.commit_no, state.manifest, state.parents
        self._caught_up_ms = state.caught_up_ms
        self._origin = ShardOrigin(range_, self._origin.parents)
        self._state_bytes = sum(map(len, entries))
        self.mode = Mode.ACTIVE
        return outbox

    def _resend(self, outbox: Sequence[Row], *, ended: bool) -> None:
        if outbox:
            send(self._around, self.shard, outbox)
            self._around.telemetry.outbox_resent(shard=self.shard, rows=len(outbox))
            self._unacknowledged = True
        self._tell(ended=ended)
        if ended:
            # 6. An ended state is frozen: its outbox is sent and acknowledged, and nothing else.
            if outbox:
                self._write_commit([], ended=True, was_ended=True)
            self.mode = Mode.FROZEN

    # Records

    def step(self, records: Sequence[Record]) -> Outcome:
        """Take records of a batch, so many as may be at once (INIT 5: those up to the stored position are skipped).

        Go on with those not taken, and while the processor is `closing`. A commit may be made after every step: what
        is left to be closed is due by the stored watermark, and a restored state goes on with it.
        """
        assert self.mode is Mode.ACTIVE
        outcome = self._processor.step(records)
        if records:
            last = Position.of(records[-1])
            self._delivered = last if self._delivered is None else max(self._delivered, last)
            # Also where all of them were skipped: the checkpoint has to follow.
            self._changed = True
        self._keep(outcome.rows)
        return outcome

    def idle(self) -> Outcome | None:
        """Decide that the shard is idle (rule 8), and close what may be closed at once; None if it is left undecided.

        The decision counts from the next commit on, which holds it, as the watermark, together with the rows that come
        of it: until then nothing is sent, and who restores the state before it decides anew. Without an open window,
        and if no other shard waits for this one to go on, no decision is taken: nobody waits for a row, all that a
        watermark could do is to make a straggler late, and an idle shard would commit for ever.
        """
        assert self.mode is Mode.ACTIVE
        self._ledger.look()  # for decisions before this one: perhaps nothing is left that would lead to a commit
        processor, before_ms = self._processor, self._processor.watermark_ms
        now_ms, waited_ms = self._around.clock.now_ms(), awaited_ms(self._around, before_ms)
        if waited_ms is None and not self._open_count():
            return None
        if waited_ms is not None and not processor.idle_closes(now_ms):
            now_ms = waited_ms + self._around.program.pipeline.events.out_of_orderness_ms
        outcome = processor.idle(now_ms)
        if processor.watermark_ms is None or processor.watermark_ms == before_ms:
            return None  # the events are ahead of the clock
        self._changed = True
        self._keep(outcome.rows)
        self._ledger.decided(processor)
        self._around.telemetry.idle_advanced(
            shard=self.shard, watermark_ms=processor.watermark_ms, position=processor.position
        )
        return outcome

    def idle_closes(self) -> bool:
        """Tell whether an idle decision now would close something, or lets others do so: a no is certain."""
        closes = self._processor.idle_closes(self._around.clock.now_ms())
        return closes or awaited_ms(self._around, self._processor.watermark_ms) is not None

    def combine(self) -> bool:
        """Put rows of complete global windows, this shard's to combine, into the next commit; False: not yet all."""
        rows, moved, done = self._global.combine(self._processor, self.hash_range)
        self._changed |= moved
        self._keep(rows)
        return done

    def caught_up(self, at_ms: int) -> None:
        """Hear that all that had arrived at an instant was given to this owner; now and then a commit says so."""
        if gaps.is_to_be_noted(self._around, self.counted_until_ms):
            self._caught_up_ms, self._changed = at_ms, True

    def _keep(self, rows: list[Row]) -> None:
        """Keep rows for the next commit."""
        if not rows:
            return
        if self._pending_since is None:
            self._pending_since = self._around.clock.monotonic()
        self._pending += rows
        self._pending_bytes += sum(len(row.data) for row in rows)

    @property
    def hash_range(self) -> HashRange:
        """Return the shard's hash keys, known from INIT on."""
        return self._origin.hash_range

    @property
    def counted_until_ms(self) -> int | None:
        """Return a time before which all that had arrived was counted; None if none is known."""
        return latest_ms(self._processor.last_arrival_ms, self._caught_up_ms)

    @property
    def processor(self) -> Processor:
        """Return the shard's processor, for what it can tell."""
        return self._processor

    def commit_is_due(self) -> bool:
        """Return whether a result has waited long enough, anything else for `commit_interval`, or it is much."""
        if self._pending_bytes > PENDING_BYTES_MAX or self._processor.dirty_groups() > DIRTY_GROUPS_MAX:
            return True
        state, now = self._around.program.pipeline.state, self._around.clock.monotonic()
        wait_ms = state.row_wait_ms(self.behind_ms)
        if self._pending_since is not None and (now - self._pending_since) * 1000 >= wait_ms:
            return True
        since_commit_ms = (now - self._last_commit) * 1000
        if self._changed:
            return since_commit_ms >= state.commit_interval_ms
        return self._unacknowledged and since_commit_ms >= wait_ms

    # COMMIT

    def commit(self, checkpoint: Checkpoint, *, ended: bool = False) -> None:
        """Commit at a record boundary. With `ended` the state is frozen, its rows sent and acknowledged.

        FencedError: another owner has the state. DeliveryStopped: the worker stops while a sink is down; the rows
        are stored and the next owner sends them.
        """
        outbox, since = self._global.outbox(self._processor, self._pending), self._pending_since
        # 1-3.
        self._write_commit(outbox, ended=ended)
        self._pending, self._pending_since, self._pending_bytes = [], None, 0
        # 4. Send; only rows that failed are tried again.
        if outbox:
            started = self._around.clock.monotonic()
            send(self._around, self.shard, outbox)
            self._unacknowledged = True
            now = self._around.clock.monotonic()
            self._around.telemetry.delivered(
                shard=self.shard,
                commit_no=self._commit_no,
                rows=len(outbox),
                seconds=now - started,
                emit_delay_seconds=now - (started if since is None else since),
            )
        self._tell(ended=ended)
        # 5. The source's checkpoint may lag the state, never lead it, nor what this lease was given.
        position = self._processor.position
        if not ended and position is not None and self._delivered is not None:
            self._changed = not checkpoint(min(position, self._delivered))
        # 6. The next commit records that the outbox was delivered; an ended state does so now.
        if ended and outbox:
            self._write_commit([], ended=True, was_ended=True)
        # Nothing below is needed for the results. What no state refers to is deleted; entries may be merged from here.
        unused = self._compaction.unused(self._manifest, commit_no=self._commit_no)
        self._superseded = self._tidying.delete([*self._superseded, *unused])
        self._tidying.retire_parents()
        if not ended:
            self._compaction.start(self._manifest, epoch=self._epoch, commit_no=self._commit_no)
        STATE_HEAP.settle(self._open_count())

    def finish(self, checkpoint: Checkpoint) -> None:
        """Commit what is left, and that it was delivered, before the lease goes. What is due may stay for the next."""
        if self._changed or self._pending:
            self.commit(checkpoint)
        if self._unacknowledged:
            self.commit(checkpoint)
        self._ledger.flush()

    def _write_commit(self, outbox: Sequence[Row], *, ended: bool, was_ended: bool = False) -> None:
        """Do steps 1 to 3. Commit 0 is an ordinary commit with another condition."""
        around, started = self._around, self._around.clock.monotonic()
        commit_no = self._commit_no + 1
        # 1. Freeze: everything since the last commit, and the rows to be sent, become one entry.
        base = not self._manifest or (not was_ended and self._base_is_due())
        changed_groups = self._processor.dirty_groups()
        with STATE_HEAP.paused():
            data = self._processor.freeze(outbox, base=base)
        # 2. Write it under a name nobody else can have. Older entries that were merged since are taken up as one.
        inline = base and len(data) <= INLINE_BYTES_MAX
        older = self._manifest
        if not (base or was_ended):
            older = self._taking_up(older, commit_no)
        manifest: tuple[Entry, ...] = ()
        if not inline:
            entry = self._retrying(
                "snapshot",
                lambda: around.store.put_object(self.shard, self._generation, self._epoch, commit_no, data),
            )
            manifest = (entry,) if base else (*older, entry)
        state = ShardState(
            commit_no=commit_no,
            ended=ended,
            position=self._processor.position,
            last_arrival_ms=self._processor.last_arrival_ms,
            watermark_ms=self._processor.watermark_ms,
            hash_range=(str(self._origin.hash_range.first), str(self._origin.hash_range.last)),
            parents=self._parents,
            stream_created_ms=around.application.stream_created_ms,
            definitions=self._processor.program.definitions,
            generation=self._generation,
            format_version=FORMAT_VERSION,
            inline=data if inline else None,
            manifest=manifest,
            sha256=hashlib.sha256(data).hexdigest(),
            committed_at_ms=around.clock.now_ms(),
            outbox_rows=len(outbox),
            due_ms=self._processor.next_due_ms,
            caught_up_ms=self._caught_up_ms,
        )
        # 3. Fence.
        self._fence(state, was_ended=was_ended)
        self._superseded += [entry for entry in self._manifest if entry not in manifest]
        self._commit_no, self._manifest = commit_no, manifest
        self._state_bytes = len(data) if inline else sum(entry.size for entry in manifest)
        self._changed = self._unacknowledged = False
        self._last_commit = around.clock.monotonic()
        self._ledger.committed(self._epoch, state, self._processor)
        around.telemetry.committed(
            shard=self.shard,
            commit_no=commit_no,
            seconds=self._last_commit - started,
            size_bytes=len(data),
            state_bytes=self._state_bytes,
            rows=len(outbox),
            groups=changed_groups,
        )

    def _open_count(self) -> int:
        return sum(self._processor.open_groups().values())

    def _base_is_due(self) -> bool:
        """Tell whether to write everything: a small state, or one whose stored entries nothing can follow."""
        return self._open_count() <= SMALL_STATE_GROUPS or self._processor.needs_base

    def _fence(self, state: ShardState, *, was_ended: bool) -> None:
        """Replace the state item, or find out for sure that another owner has it."""

        def advance() -> None:
            try:
                self._around.store.advance(self.shard, self._epoch, state, ended=was_ended)
            except FenceRefusedError:
                self._conclude(state, refused=True)
            except RetryableError:
                self._conclude(state, refused=False)

        self._retrying("fence", advance)

    def _taking_up(self, older: tuple[Entry, ...], commit_no: int) -> tuple[Entry, ...]:
        try:
            return self._compaction.take_up(older, epoch=self._epoch, commit_no=commit_no)
        except CorruptStateError:
            self._check_epoch()  # a later owner has deleted what it had merged
            raise

    def _check_epoch(self) -> None:
        """FencedError if another owner has claimed the shard since."""
        claim = self._retrying("load", partial(self._around.store.read, self.shard))
        if claim is not None and claim.epoch != self._epoch:
            raise FencedError(f"{self.shard} has another owner", epoch=self._epoch, seen_epoch=claim.epoch)

    def _conclude(self, state: ShardState, *, refused: bool) -> None:
        """Read before concluding: the client may have repeated a write of ours whose answer was lost.

        My epoch and my hash: it is done. My epoch and the commit before, after no answer: it was not done, or not
        yet; the same write again is harmless. Anything else: fenced.
        """
        claim = self._around.store.read(self.shard)
        if claim is not None and claim.epoch == self._epoch:
            stored = claim.state
            if stored is not None and (stored.commit_no, stored.sha256) == (state.commit_no, state.sha256):
                return
            before = -1 if stored is None else stored.commit_no
            if not refused and before == state.commit_no - 1:
                raise RetryableError("no answer to a commit, and it is not there")
        seen_epoch = 0 if claim is None else claim.epoch
        raise FencedError(f"{self.shard} has another owner", epoch=self._epoch, seen_epoch=seen_epoch)

    def _tell(self, *, ended: bool = False) -> None:
        """Tell other shards how far this one is, after all that its last commit holds was sent."""
        told_by = {"epoch": self._epoch, "commit_no": self._commit_no}
        self._global.tell(self._processor, self.hash_range, self._parents, **told_by, ended=ended)
