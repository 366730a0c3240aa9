"""One owner of one shard's state: INIT and COMMIT, each a numbered list.

The promise: state is exactly-once; every row is sent at least once, with the same id and the same bytes.

Why no crash loses or doubles anything: what is sent was first stored, in the outbox of a commit (steps 1-3 before
step 4); what was stored but perhaps not sent is sent again by the next owner (INIT 4); the source's checkpoint comes
last (step 5), so it never leads the state, and what it repeats is skipped by position (INIT 5). Of two owners only the
later one can commit: each claims by adding 1 to the epoch, and every commit is conditional on the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from consumer.core.compile import Program
from consumer.core.processor import Outcome, Processor
from consumer.errors import CorruptStateError, FencedError, RefusedError, RetryableError, StreamgaugeError
from consumer.records import Position, Record, Row
from consumer.runtime.heap import STATE_HEAP
from consumer.runtime.retry import until_done
from consumer.sinks.base import Router
from consumer.state.base import (
    FORMAT_VERSION,
    INLINE_BYTES_MAX,
    MANIFEST_ENTRIES_MAX,
    Application,
    Claim,
    Entry,
    FenceRefusedError,
    ShardState,
    StateStore,
)
from consumer.telemetry.events import CommitStep, Telemetry

SMALL_STATE_GROUPS = 1000
"""Up to this many open groups a commit writes a base: no delta would be worth its object."""
PENDING_BYTES_MAX = 8 * 1024 * 1024
DIRTY_GROUPS_MAX = 200_000
"""Rows and changed groups beyond these are committed at once: they would make too large an entry."""
RETRY_SECONDS_MAX = 300.0
"""How long a call to the state store is tried again before the process gives up."""

T = TypeVar("T")


class Clock(Protocol):
    """Time, waiting and chance, as `runtime/clock.py` has them; tests bring their own."""

    def now_ms(self) -> int:
        """Return the wall clock in epoch milliseconds."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


@dataclass(frozen=True, slots=True)
class ShardOrigin:
    """What the stream says of a shard: its hash range (decimal text, both ends included) and its parents."""

    hash_range: tuple[str, str]
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all shards of a worker share. `pause(seconds)` waits and returns True when trying must end."""

    program: Program
    application: Application
    store: StateStore
    router: Router
    telemetry: Telemetry
    clock: Clock
    pause: Callable[[float], bool]


class Mode(Enum):
    """What an owner may do. Only an ACTIVE one processes; the others answer the daemon and nothing else."""

    ACTIVE = "active"
    FROZEN = "frozen"
    """The shard ended and everything was sent: its end may be checkpointed."""
    PARKED = "parked"
    """INIT refused the shard; a person is needed."""
    SILENT = "silent"
    """Another owner has the state, or the worker stops while a sink is down."""


Checkpoint = Callable[[Position], bool]
"""Checkpoints at the source; False means that it did not work now and must be tried again later."""


class ShardOwner:
    """Owns a shard's state from INIT on, as one epoch."""

    def __init__(self, around: Surroundings, shard: str, origin: Callable[[str], ShardOrigin]) -> None:
        self.shard = shard
        self.mode = Mode.PARKED
        self._around = around
        self._find_origin = origin
        self._origin = ShardOrigin(("0", "0"), ())
        self._generation = around.application.generation
        self._processor = Processor(around.program, shard, self._generation)
        self._epoch = 0
        self._commit_no = -1
        self._manifest: tuple[Entry, ...] = ()
        self._state_bytes = 0
        self._superseded: list[Entry] = []
        self._pending: list[Row] = []
        self._pending_since: float | None = None
        self._pending_bytes = 0
        self._unacknowledged = False
        self._changed = False
        self._delivered: Position | None = None
        self._last_commit = around.clock.monotonic()

    # INIT

    def initialise(self, checkpoint: Position | None) -> None:
        """Take the shard over. `checkpoint` is the source's position, None where it has none.

        RefusedError: nothing is processed (PARKED).
        """
        started = self._around.clock.monotonic()
        # 1. The pipeline is checked before anything is written: a wrong worker must not fence a healthy owner.
        self._check_application()
        self._origin = self._retrying("load", lambda: self._find_origin(self.shard))
        # The claim fences every earlier owner; 2. its answer is the item.
        claim = self._retrying("claim", lambda: self._around.store.claim(self.shard))
        self._epoch = claim.epoch
        # 3. Retired, new, or to be restored.
        if claim.retired:
            self.mode = Mode.FROZEN
            return
        if claim.state is None:
            self._start_empty(checkpoint)
        else:
            outbox = self._restore(claim.state, checkpoint)
            # 4. What was stored is sent again: the same ids, the same bytes.
            self._resend(outbox, ended=claim.state.ended)
        self._around.telemetry.shard_initialised(
            shard=self.shard,
            epoch=self._epoch,
            commit_no=self._commit_no,
            groups=self._open_count(),
            state_bytes=self._state_bytes,
            position=self._processor.position,
            groups_limit=self._around.program.pipeline.limits.groups,
            seconds=self._around.clock.monotonic() - started,
            resumed=claim.state is not None,
        )
        STATE_HEAP.settle(self._open_count())

    def _check_application(self) -> None:
        stored = self._retrying("load", self._around.store.read_application)
        if stored is None:
            raise RefusedError("the application item has disappeared from the state table; restore it")
        check_application(stored, self._around.application, self._around.program.pipeline.name)

    def _start_empty(self, checkpoint: Position | None) -> None:
        if self.shard not in self._around.application.roots:
            raise RefusedError(self._not_a_root())
        if checkpoint is not None:
            raise RefusedError(
                f"the lease table says that {self.shard} was processed up to {checkpoint.sequence}, but there is no "
                "state for it; restore the state table, or give the pipeline a new name to start afresh"
            )
        self.mode = Mode.ACTIVE
        self._write_commit([], ended=False)

    def _not_a_root(self) -> str:
        parents = " and ".join(self._origin.parents) or "unknown parents"
        return (
            f"{self.shard} came from a split or merge ({parents}), and taking over the state of a parent is not "
            "supported yet: its records wait in the stream. Give the pipeline a new name (and worker.application) to "
            "start afresh, from all shards that exist then"
        )

    def _restore(self, state: ShardState, checkpoint: Position | None) -> Sequence[Row]:
        self._check_state(state, checkpoint)
        entries = [state.inline] if state.inline is not None else [self._read(e) for e in state.manifest]
        if hashlib.sha256(entries[-1]).hexdigest() != state.sha256:
            raise CorruptStateError(f"the snapshot of {self.shard} does not match the hash in its state item")
        self._processor, outbox = Processor.restore(self._around.program, self.shard, self._generation, entries)
        if self._processor.position != state.position:
            raise RefusedError(f"the snapshot of {self.shard} is not at the position its state item names")
        self._commit_no, self._manifest = state.commit_no, state.manifest
        self._state_bytes = sum(map(len, entries))
        self.mode = Mode.ACTIVE
        return outbox

    def _read(self, entry: Entry) -> bytes:
        return self._retrying("load", lambda: self._around.store.get_object(entry))

    def _check_state(self, state: ShardState, checkpoint: Position | None) -> None:
        application = self._around.application
        if state.format_version != FORMAT_VERSION:
            raise RefusedError(
                f"the state of {self.shard} has format {state.format_version}; this version reads {FORMAT_VERSION}"
            )
        if state.definitions != application.definitions or state.generation != application.generation:
            raise RefusedError(f"the state of {self.shard} belongs to another definition or generation")
        if state.stream_created_ms != application.stream_created_ms:
            raise RefusedError(f"the state of {self.shard} belongs to another stream of the same name")
        if checkpoint is not None and (state.position is None or checkpoint > state.position):
            raise RefusedError(
                f"the lease table is ahead of the state of {self.shard}: records between the two are possibly lost. "
                "Set the lease's checkpoint back to TRIM_HORIZON (records already counted are skipped)"
            )

    def _resend(self, outbox: Sequence[Row], *, ended: bool) -> None:
        if outbox:
            self._send(outbox)
            self._around.telemetry.outbox_resent(shard=self.shard, rows=len(outbox))
            self._unacknowledged = True
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
        of it: until then nothing is sent, and who restores the state before it decides anew. Without an open window no
        decision is taken: nobody waits for a row, all that a watermark could do is to make a straggler late, and an
        idle shard would commit for ever.
        """
        assert self.mode is Mode.ACTIVE
        processor, before_ms = self._processor, self._processor.watermark_ms
        if not self._open_count():
            return None
        outcome = processor.idle(self._around.clock.now_ms())
        if processor.watermark_ms is None or processor.watermark_ms == before_ms:
            return None  # the events are ahead of the clock
        self._changed = True
        self._keep(outcome.rows)
        self._around.telemetry.idle_advanced(
            shard=self.shard, watermark_ms=processor.watermark_ms, position=processor.position
        )
        return outcome

    def _keep(self, rows: list[Row]) -> None:
        """Keep rows for the next commit."""
        if not rows:
            return
        if self._pending_since is None:
            self._pending_since = self._around.clock.monotonic()
        self._pending += rows
        self._pending_bytes += sum(len(row.data) for row in rows)

    @property
    def processor(self) -> Processor:
        """Return the shard's processor, for what it can tell."""
        return self._processor

    def commit_is_due(self) -> bool:
        """Return whether a result has waited for `emit_delay`, anything else for `commit_interval`, or it is much."""
        if self._pending_bytes > PENDING_BYTES_MAX or self._processor.dirty_groups() > DIRTY_GROUPS_MAX:
            return True
        state = self._around.program.pipeline.state
        now = self._around.clock.monotonic()
        if self._pending_since is not None and (now - self._pending_since) * 1000 >= state.emit_delay_ms:
            return True
        since_commit_ms = (now - self._last_commit) * 1000
        if self._changed:
            return since_commit_ms >= state.commit_interval_ms
        return self._unacknowledged and since_commit_ms >= state.emit_delay_ms

    # COMMIT

    def commit(self, checkpoint: Checkpoint, *, ended: bool = False) -> None:
        """Commit at a record boundary. With `ended` the state is frozen, its rows sent and acknowledged.

        FencedError: another owner has the state. DeliveryStopped: the worker stops while a sink is down; the rows
        are stored and the next owner sends them.
        """
        outbox, since = self._pending, self._pending_since
        # 1-3.
        self._write_commit(outbox, ended=ended)
        self._pending, self._pending_since, self._pending_bytes = [], None, 0
        # 4. Send; only rows that failed are tried again.
        if outbox:
            started = self._around.clock.monotonic()
            self._send(outbox)
            self._unacknowledged = True
            now = self._around.clock.monotonic()
            self._around.telemetry.delivered(
                shard=self.shard,
                commit_no=self._commit_no,
                rows=len(outbox),
                seconds=now - started,
                emit_delay_seconds=now - (started if since is None else since),
            )
        # 5. The source's checkpoint may lag the state, never lead it, nor what this lease was given.
        position = self._processor.position
        if not ended and position is not None and self._delivered is not None:
            done = checkpoint(min(position, self._delivered))
            self._changed = self._changed or not done
        # 6. The next commit records that the outbox was delivered; an ended state does so now.
        if ended and outbox:
            self._write_commit([], ended=True, was_ended=True)
        self._delete_superseded()
        STATE_HEAP.settle(self._open_count())

    def finish(self, checkpoint: Checkpoint) -> None:
        """Commit what is left, and that it was delivered, before the lease goes. What is due may stay for the next."""
        if self._changed or self._pending:
            self.commit(checkpoint)
        if self._unacknowledged:
            self.commit(checkpoint)

    def _write_commit(self, outbox: Sequence[Row], *, ended: bool, was_ended: bool = False) -> None:
        """Do steps 1 to 3. Commit 0 is an ordinary commit with another condition."""
        around, started = self._around, self._around.clock.monotonic()
        commit_no = self._commit_no + 1
        # 1. Freeze: everything since the last commit, and the rows to be sent, become one entry.
        base = not self._manifest or (not was_ended and self._base_is_due())
        changed_groups = self._processor.dirty_groups()
        data = self._processor.freeze(outbox, base=base)
        # 2. Write it under a name nobody else can have.
        inline = base and len(data) <= INLINE_BYTES_MAX
        manifest: tuple[Entry, ...] = ()
        if not inline:
            entry = self._retrying(
                "snapshot",
                lambda: around.store.put_object(self.shard, self._generation, self._epoch, commit_no, data),
            )
            manifest = (entry,) if base else (*self._manifest, entry)
        state = ShardState(
            commit_no=commit_no,
            ended=ended,
            position=self._processor.position,
            last_arrival_ms=self._processor.last_arrival_ms,
            watermark_ms=self._processor.watermark_ms,
            hash_range=self._origin.hash_range,
            stream_created_ms=around.application.stream_created_ms,
            definitions=around.application.definitions,
            generation=self._generation,
            format_version=FORMAT_VERSION,
            inline=data if inline else None,
            manifest=manifest,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        # 3. Fence.
        self._fence(state, was_ended=was_ended)
        self._superseded += [entry for entry in self._manifest if entry not in manifest]
        self._commit_no, self._manifest = commit_no, manifest
        self._state_bytes = len(data) if inline else sum(entry.size for entry in manifest)
        self._changed = self._unacknowledged = False
        self._last_commit = around.clock.monotonic()
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
        """Tell whether to write everything: a delta pays only on a base that is larger than all its deltas."""
        if len(self._manifest) >= MANIFEST_ENTRIES_MAX - 1:  # one place is kept for the last commit of an ended state
            return True
        if self._open_count() <= SMALL_STATE_GROUPS:
            return True
        base, *deltas = self._manifest
        return sum(delta.size for delta in deltas) > base.size

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

    def _conclude(self, state: ShardState, *, refused: bool) -> None:
        """Read before concluding: the client may have repeated a write of ours whose answer was lost.

        My epoch and my hash: it is done. My epoch and the commit before, after no answer: it was not done, or not
        yet; the same write again is harmless. Anything else: fenced.
        """
        claim = self._around.store.read(self.shard)
        if claim is not None and claim.epoch == self._epoch:
            if _is_mine(claim, state):
                return
            before = -1 if claim.state is None else claim.state.commit_no
            if not refused and before == state.commit_no - 1:
                raise RetryableError("no answer to a commit, and it is not there")
        seen_epoch = 0 if claim is None else claim.epoch
        raise FencedError(f"{self.shard} has another owner", epoch=self._epoch, seen_epoch=seen_epoch)

    def _delete_superseded(self) -> None:
        """Tidy up; what cannot be deleted is an orphan, harmless and found by its name."""
        entries, self._superseded = self._superseded, []
        if not entries:
            return
        try:
            self._around.store.delete_objects(entries)
        except StreamgaugeError as error:
            self._around.telemetry.commit_retry(shard=self.shard, step="delete", error=error, wait_seconds=0)

    def _send(self, rows: Sequence[Row]) -> None:
        around = self._around
        around.router.send(
            rows,
            pause=around.pause,
            observer=around.telemetry.delivery(self.shard),
            random=around.clock.random,
            clock=around.clock.monotonic,
        )

    def _retrying(self, step: CommitStep, call: Callable[[], T]) -> T:
        """Call until it works; RetryableError after RETRY_SECONDS_MAX, StoppedError when the worker stops."""
        around, told = self._around, self._around.telemetry

        def on_retry(error: RetryableError, wait_seconds: float) -> None:
            told.commit_retry(shard=self.shard, step=step, error=error, wait_seconds=wait_seconds)

        try:
            return until_done(
                call, clock=around.clock, pause=around.pause, seconds_max=RETRY_SECONDS_MAX, on_retry=on_retry
            )
        except RetryableError as error:
            told.commit_failed(shard=self.shard, step=step, error=error)
            raise


def _is_mine(claim: Claim, state: ShardState) -> bool:
    stored = claim.state
    return stored is not None and (stored.commit_no, stored.sha256) == (state.commit_no, state.sha256)


def check_application(stored: Application, mine: Application, pipeline: str) -> None:
    """Refuse to work on the state of another stream or of other definitions."""
    if stored.stream_created_ms != mine.stream_created_ms:
        raise RefusedError(
            f"the state of pipeline {pipeline} belongs to a stream that was deleted and created again under the same "
            "name; give the pipeline a new name (and worker.application) to start afresh"
        )
    if stored.definitions != mine.definitions:
        raise RefusedError(
            f"the definitions of pipeline {pipeline} (events, let, where or windows) have changed since its state was "
            "made; go back to the file as it was, or give the pipeline a new name (and worker.application) to start "
            "afresh"
        )
    if stored.generation != mine.generation:
        raise RefusedError("the state was reset while this worker was running; start the worker again")
