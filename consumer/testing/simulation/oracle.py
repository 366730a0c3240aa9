"""What must hold, checked while it happens. The numbers are those of the design's invariants.

I3 one id has one content for ever; I4 nothing is sent that no committed outbox holds; I5 commit number, position and
watermark of a shard never go back; I6 only the latest epoch commits; the source's checkpoint never leads the state; and
nothing is thrown away that a state needs. I8, when troubles have ended all is read soon and no outbox has a row left,
is asked of `what_is_left`. The rest is for the end: recount.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from consumer.core.snapshot import Header, Reader
from consumer.records import Position, Row
from consumer.state.base import Claim, Entry, ShardState
from consumer.state.marks import Ledger, Mark
from consumer.testing.entries import whole_entry
from consumer.testing.simulation.combined import what_is_left

if TYPE_CHECKING:
    from consumer.testing.simulation.world import World


class _Id(msgspec.Struct):
    id: str


_decode = msgspec.json.Decoder(_Id).decode


def id_of(row: bytes) -> str:
    """Return a row's id."""
    return _decode(row).id


Decision = tuple[Position | None, int]
"""After which record a shard was found idle, and the watermark that came of it."""


class Oracle:
    """Watches one run.

    `states` are the last ones of all shards, `decisions` those on idleness that commits hold, in order, `shelves` the
    rows of each sink by id.
    """

    def __init__(self, world: World) -> None:
        self.states: dict[str, ShardState] = {}
        self.decisions: dict[str, list[Decision]] = {}
        self.shelves: dict[str, dict[str, bytes]] = {}
        self._world = world
        self._epochs: dict[str, int] = {}
        self._undecoded: dict[str, list[bytes]] = {}
        self._committed: set[bytes] = set()
        self._seen: dict[str, set[bytes]] = {}
        self._retired: set[str] = set()
        self._ends: dict[str, list[bytes]] = {}

    # State

    def epoch(self, shard: str) -> int:
        """Return the latest epoch of a shard."""
        return self._epochs.get(shard, 0)

    def claimed(self, shard: str, claim: Claim) -> None:
        """Note that a shard has another owner."""
        assert claim.epoch > self.epoch(shard), f"{shard}: an epoch was given twice"
        self._epochs[shard] = claim.epoch
        if claim.state is not None and claim.state.ended:
            self._world.counts["late inits"] += 1

    def advanced(self, shard: str, epoch: int, state: ShardState, decisions: Sequence[Decision]) -> None:
        """Note a commit that has had its effect, and the idle decisions that it holds."""
        world = self._world
        world.counts["commits"] += 1
        world.counts["deltas"] += len(state.manifest) > 1
        assert epoch == self.epoch(shard), f"I6: {shard}: epoch {epoch} commits after {self.epoch(shard)} has claimed"
        before = self.states.get(shard)
        assert state.commit_no == (0 if before is None else before.commit_no + 1), f"I5: commit number of {shard}"
        if before is not None:
            assert not _is_back(before.position, state.position), f"I5: {shard}: the position goes back"
            assert not _is_back(before.watermark_ms, state.watermark_ms), f"I5: {shard}: the watermark goes back"
            assert state.ended or not before.ended, f"{shard}: an end was taken back"
            assert not before.ended or state.position == before.position, f"{shard}: an ended state is not frozen"
        self.states[shard] = state
        self.decisions.setdefault(shard, []).extend(decisions)
        world.counts["idle decisions"] += len(decisions)
        self._undecoded.setdefault(shard, []).append(self._newest_entry(state))

        if state.ended:
            self._ends[shard] = self._entries(state)

    def _newest_entry(self, state: ShardState) -> bytes:
        if state.inline is not None:
            return state.inline
        return self._world.memory_store.get_object(state.manifest[-1])

    def _entries(self, state: ShardState) -> list[bytes]:
        store = self._world.memory_store
        return [state.inline] if state.inline is not None else [store.get_object(each) for each in state.manifest]

    def header(self, shard: str) -> Header:
        """Return what a shard's last state says of itself."""
        return Reader(self._newest_entry(self.states[shard])).header

    def last_entries(self, shard: str) -> list[bytes]:
        """Return the snapshot of a shard's last state, of one that was given up too."""
        return self._ends.get(shard) or self._entries(self.states[shard])

    def marked(self, shard: str, ledger: Ledger) -> None:
        """Hold a ledger against what was committed: no mark is ahead of it, each idle decision is one that counts."""
        state, decisions = self.states.get(shard), self.decisions.get(shard, [])
        assert state is not None, f"{shard}: a mark before any commit"
        self._world.counts["ledgers written"] += 1
        before: Mark | None = None
        for mark in ledger.marks:
            assert mark.commit_no <= state.commit_no, f"{shard}: a mark of a commit that was not made"
            assert not _is_back(mark.position, state.position), f"{shard}: a mark ahead of the state"
            assert not _is_back(mark.watermark_ms, state.watermark_ms), f"{shard}: a mark ahead of the state"
            assert not mark.idle or (mark.position, mark.watermark_ms) in decisions, f"{shard}: a mark of no decision"
            if before is not None:
                assert mark.commit_no >= before.commit_no, f"{shard}: marks out of order"
                assert not _is_back(before.position, mark.position), f"{shard}: marks out of order"
                assert not _is_back(before.watermark_ms, mark.watermark_ms), f"{shard}: marks out of order"
            before = mark

    def retired(self, shard: str) -> None:
        """Note a tombstone: only of a shard whose children have all made a commit beyond 0."""
        if shard in self._retired:
            return
        self._retired.add(shard)
        self._world.counts["parents retired"] += 1
        children = self._world.stream.shards[shard].children
        early = [child for child in children if child not in self.states or self.states[child].commit_no < 1]
        assert children, f"{shard} was given up, and has no children"
        assert not early, f"{shard} was given up before {early} had made a commit"

    def deleted(self, entries: Sequence[Entry]) -> None:
        """Hold objects that were deleted against the states that are current: none may miss one."""
        keys = {entry.key for entry in entries}
        self._world.counts["objects deleted"] += len(keys)
        for shard, state in self.states.items():
            if shard not in self._retired:
                assert not any(entry.key in keys for entry in state.manifest), f"{shard}: its state was deleted"

    def checkpointed(self, shard: str, position: Position | None) -> None:
        """Hold a checkpoint against the state: it may lag, never lead."""
        state = self.states.get(shard)
        assert state is not None, f"{shard}: a checkpoint before any commit"
        if position is None:
            assert state.ended, f"{shard}: its end was checkpointed before it was committed"
            assert not self._outbox(shard), f"{shard}: its end was checkpointed before its rows were acknowledged"
        else:
            assert state.position is not None, f"{shard}: a checkpoint without a position"
            assert position <= state.position, f"{shard}: the checkpoint leads the state"

    def _outbox(self, shard: str) -> Sequence[Row]:
        if shard in self._retired:
            return ()
        return whole_entry(self._newest_entry(self.states[shard])).outbox

    # Rows

    def is_sent(self, rows: Sequence[bytes]) -> None:
        """Hold rows that are about to be sent against the committed outboxes: I4."""
        missing = [row for row in rows if row not in self._committed]
        if missing:
            owns = self._world.scheduler.current.owns
            undecoded = self._undecoded.get("" if owns is None else owns[0], [])
            while undecoded and any(row not in self._committed for row in missing):
                self._committed.update(row.data for row in whole_entry(undecoded.pop()).outbox)
            assert all(row in self._committed for row in missing), "I4: a row is sent that no commit holds"

    def taken(self, sink: str, rows: Sequence[bytes]) -> None:
        """Note rows that have reached a sink: I3."""
        seen, shelf = self._seen.setdefault(sink, set()), self.shelves.setdefault(sink, {})
        self._world.counts["rows delivered"] += len(rows)
        for row in rows:
            if row in seen:
                self._world.counts["duplicates before dedupe"] += 1
            else:
                seen.add(row)
                row_id = id_of(row)
                assert row_id not in shelf, f"I3: two contents of one id: {row!r} and {shelf[row_id]!r}"
                shelf[row_id] = row

    # The end

    def what_is_left(self) -> list[str]:
        """Return what is not done yet: records not read, ends not committed, rows not acknowledged."""
        left = []
        for shard in self._world.stream.shards.values():
            state = self.states.get(shard.id)
            if state is None:
                left.append(f"{shard.id} has no state")
            elif shard.positions and state.position != shard.positions[-1]:
                left.append(f"{shard.id} is at {state.position} of {shard.positions[-1]}")
            elif shard.closed_at is not None and not self._is_ended(shard.id):
                left.append(f"{shard.id} has not ended")
            elif self._outbox(shard.id):
                left.append(f"{shard.id} has rows that are not acknowledged")
        return left or what_is_left(self._world)

    def _is_ended(self, shard: str) -> bool:
        row = self._world.table.rows.get(shard)
        return self.states[shard].ended and (row is None or row.ended)


def _is_back(before: Position | int | None, after: Position | int | None) -> bool:
    if before is None:
        return False
    return after is None or after < before  # type: ignore[operator]  # both of one kind
