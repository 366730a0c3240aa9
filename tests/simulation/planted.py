"""Bugs that are planted on purpose, each a small patch in memory: the simulation must find every one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from consumer.core import loop_state
from consumer.core.loop_state import Core
from consumer.core.processor import Processor
from consumer.core.resharding import Floors
from consumer.records import HashRange, Position, Row
from consumer.runtime import gaps
from consumer.runtime.commit import ShardOwner
from consumer.runtime.mode import Checkpoint, Mode
from consumer.runtime.sending import send
from consumer.runtime.shard import ShardRunner
from consumer.runtime.surroundings import Surroundings
from consumer.runtime.tidying import Tidying
from consumer.sinks import base as sinks
from consumer.state.base import Claim, FenceRefusedError, ShardState
from consumer.state.memory import Memory, MemoryStore
from consumer.testing.simulation.plan import Fault

Plant = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """`finding` is what the run must fail with; `interprets`: the core itself is wrong, so a recount would be too.

    `needs` is a fault without which it does no harm: then every run has it. `first` is the seed to begin with: of
    those before it none finds the bug, and looking at them again each time takes long.
    """

    plant: Plant
    finding: str
    interprets: bool = False
    needs: Fault | None = None
    first: int = 1


# The fence


def _advance_if(condition: Callable[[MemoryStore, Claim, int, ShardState, bool], bool]) -> Any:
    def advance(self: MemoryStore, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        memory: Memory = self._memory
        item = memory.items[shard]
        if not condition(self, item, epoch, state, ended):
            raise FenceRefusedError
        memory.items[shard] = Claim(item.epoch, state)

    return advance


def no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "advance", _advance_if(lambda *_: True))


def fence_on_the_epoch_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "advance", _advance_if(lambda _, item, epoch, *__: item.epoch == epoch))


def fence_on_the_number_alone(patch: pytest.MonkeyPatch) -> None:
    def follows(self: MemoryStore, item: Claim, _: int, state: ShardState, ended: bool) -> bool:  # noqa: FBT001 - as called
        return self._follows(item, state, ended=ended)

    patch.setattr(MemoryStore, "advance", _advance_if(follows))


def epoch_not_raised(patch: pytest.MonkeyPatch) -> None:
    def claim(self: MemoryStore, shard: str) -> Claim:
        old = self._memory.items.get(shard, Claim(1, None))
        self._memory.items[shard] = old
        return old

    patch.setattr(MemoryStore, "claim", claim)


def refused_is_taken_for_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ShardOwner, "_conclude", lambda *_, **__: None)


# The order of a commit


def checkpoint_before_commit(patch: pytest.MonkeyPatch) -> None:
    committed = ShardOwner.commit

    def checkpoint_first(self: ShardOwner, checkpoint: Checkpoint, *, ended: bool = False) -> None:
        if not ended and self.processor.position is not None and self._delivered is not None:
            checkpoint(min(self.processor.position, self._delivered))
        committed(self, checkpoint, ended=ended)

    patch.setattr(ShardOwner, "commit", checkpoint_first)


def checkpoint_beyond_what_was_delivered(patch: pytest.MonkeyPatch) -> None:
    committed = ShardOwner.commit

    def far(self: ShardOwner, checkpoint: Checkpoint, *, ended: bool = False) -> None:
        self._delivered = self.processor.position if self._delivered is not None else None
        committed(self, checkpoint, ended=ended)

    patch.setattr(ShardOwner, "commit", far)


def sent_before_commit(patch: pytest.MonkeyPatch) -> None:
    write = ShardOwner._write_commit

    def send_first(self: ShardOwner, outbox: Sequence[Row], **options: Any) -> None:
        send(self._around, self.shard, outbox)
        write(self, outbox, **options)

    patch.setattr(ShardOwner, "_write_commit", send_first)


def outbox_not_stored(patch: pytest.MonkeyPatch) -> None:
    freeze = Processor.freeze
    patch.setattr(Processor, "freeze", lambda self, _, *, base: freeze(self, [], base=base))


def end_checkpointed_before_it_is_sent(patch: pytest.MonkeyPatch) -> None:
    end = ShardRunner._end

    def early(self: ShardRunner, channel: Any, owner: ShardOwner) -> None:
        self._retry_checkpoint(channel, owner, None)
        end(self, channel, owner)

    patch.setattr(ShardRunner, "_end", early)


def failed_rows_are_dropped(patch: pytest.MonkeyPatch) -> None:
    attempt = sinks._attempt

    def once(*arguments: Any) -> Any:
        attempt(*arguments)
        return []

    patch.setattr(sinks, "_attempt", once)


# INIT


def no_resend(patch: pytest.MonkeyPatch) -> None:
    resend = ShardOwner._resend
    patch.setattr(ShardOwner, "_resend", lambda self, _, *, ended: resend(self, [], ended=ended))


def other_bytes_on_resend(patch: pytest.MonkeyPatch) -> None:
    resend = ShardOwner._resend

    def other(self: ShardOwner, rows: Sequence[Row], *, ended: bool) -> None:
        resend(self, [Row(row.output, row.data.replace(b'"id":"', b'"id":"f')) for row in rows], ended=ended)

    patch.setattr(ShardOwner, "_resend", other)


def no_skip(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Processor, "_replayed", lambda *_: 0)


def sub_sequence_forgotten(patch: pytest.MonkeyPatch) -> None:
    def replayed(self: Processor, records: Sequence[Any]) -> int:
        position = self.position
        if position is None:
            return 0
        return sum(Position.of(record).sequence <= position.sequence for record in records)

    patch.setattr(Processor, "_replayed", replayed)


def ended_state_not_frozen(patch: pytest.MonkeyPatch) -> None:
    resend = ShardOwner._resend

    def thaw(self: ShardOwner, rows: Sequence[Row], *, ended: bool) -> None:
        resend(self, rows, ended=ended)
        self.mode = Mode.ACTIVE

    patch.setattr(ShardOwner, "_resend", thaw)
    follows = MemoryStore._follows

    def whatever(self: MemoryStore, item: Claim, state: ShardState, *, ended: bool) -> bool:
        return follows(self, item, state, ended=ended if item.state is None else item.state.ended)

    patch.setattr(MemoryStore, "_follows", whatever)


# Resharding


def parents_need_not_have_ended(patch: pytest.MonkeyPatch) -> None:
    left = gaps.state_left

    def any_state(around: Surroundings, shard: str, claim: Claim | None, heir: str) -> ShardState | None:
        if claim is None or claim.state is None:
            return left(around, shard, claim, heir)
        return msgspec.structs.replace(claim.state, ended=True)

    patch.setattr(gaps, "state_left", any_state)


def highest_watermark(patch: pytest.MonkeyPatch) -> None:
    inherit = Core.inherit

    def highest(self: Core, parents: Sequence[Core], hash_range: HashRange) -> None:
        inherit(self, parents, hash_range)
        self.watermark_ms = max(parent.watermark_ms for parent in parents)

    patch.setattr(Core, "inherit", highest)


def no_floors(patch: pytest.MonkeyPatch) -> None:
    inherit = Core.inherit

    def flat(self: Core, parents: Sequence[Core], hash_range: HashRange) -> None:
        inherit(self, parents, hash_range)
        self.floors = Floors()

    patch.setattr(Core, "inherit", flat)


def floors_not_inherited(patch: pytest.MonkeyPatch) -> None:
    leaves = Core.leaves_floors

    def own_only(self: Core, heir: HashRange) -> Any:
        self.floors = Floors()
        return leaves(self, heir)

    patch.setattr(Core, "leaves_floors", own_only)


def both_children_take_a_group(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop_state, "_hashes_into", lambda *_: lambda _: True)


def child_starts_empty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Core, "_take_over", lambda *_: iter(()))


# Tidying


def late_owner_blames_the_state(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ShardOwner, "_check_epoch", lambda _: None)


def parents_retired_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tidying, "_is_left_behind", lambda *_: True)


def superseded_deleted_before_the_fence(patch: pytest.MonkeyPatch) -> None:
    fence = ShardOwner._fence

    def delete_first(self: ShardOwner, state: ShardState, *, was_ended: bool) -> None:
        self._tidying.delete([entry for entry in self._manifest if entry not in state.manifest])
        fence(self, state, was_ended=was_ended)

    patch.setattr(ShardOwner, "_fence", delete_first)


BUGS = [
    Bug(no_fence, "I5|I6"),
    Bug(fence_on_the_epoch_alone, "I5"),
    Bug(fence_on_the_number_alone, "I6"),
    Bug(epoch_not_raised, "an epoch was given twice"),
    Bug(refused_is_taken_for_done, "I4|leads the state|I5|a mark"),
    Bug(checkpoint_before_commit, "leads the state|before any commit|without a position"),
    Bug(checkpoint_beyond_what_was_delivered, "beyond what this lease was given"),
    Bug(sent_before_commit, "I4"),
    Bug(outbox_not_stored, "I4"),
    Bug(end_checkpointed_before_it_is_sent, "its end was checkpointed before"),
    Bug(failed_rows_are_dropped, "I2: (all|some): .* missing"),
    Bug(no_resend, "I2: (all|some): .* missing"),
    Bug(other_bytes_on_resend, "I4"),
    Bug(no_skip, "I5|I3|I1|I2"),
    Bug(sub_sequence_forgotten, "I1|I2|I8"),
    Bug(ended_state_not_frozen, "not frozen|taken back|I5", first=5),
    Bug(parents_need_not_have_ended, "I1|I2|I3|I7|what is due by a parent|is missing", needs=Fault.LOST_ROW, first=85),
    Bug(highest_watermark, "the interpreter", interprets=True),
    Bug(no_floors, "the interpreter|I3|I2", interprets=True),
    Bug(floors_not_inherited, "the interpreter|I3|I2", interprets=True, first=6),
    Bug(both_children_take_a_group, "I2|I3", interprets=True),
    Bug(child_starts_empty, "the interpreter|I1|I2|I3", interprets=True),
    Bug(parents_retired_early, "was given up before"),
    Bug(late_owner_blames_the_state, "is missing|was given up|refused", first=41),
    Bug(superseded_deleted_before_the_fence, "its state was deleted|is missing"),
]
