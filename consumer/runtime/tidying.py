"""What may be thrown away, and when: objects that no state refers to, and the states of ended parents. Never early.

Nothing here is needed for the results to be right, so what does not work now is told and left for later. A crash
between any two lines leaves garbage that the next owner finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from consumer.errors import StreamgaugeError
from consumer.runtime.surroundings import Surroundings
from consumer.state.base import Claim, Entry, FenceRefusedError, is_orphan

_FIRST_WAIT_SECONDS = 5.0
_WAIT_SECONDS_MAX = 600.0
_LEFT_MAX = 1000
"""How many objects that could not be deleted are tried again: the rest is left for the next owner."""


class Tidying:
    """What the owner of a shard tidies up. `parents` are those whose state it has taken over."""

    def __init__(self, around: Surroundings, shard: str, parents: Sequence[str]) -> None:
        self._around = around
        self._shard = shard
        self._parents = set(parents)
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._next_try = around.clock.monotonic()

    def delete(self, entries: Sequence[Entry]) -> list[Entry]:
        """Delete objects that a commit has superseded; return those to be tried again with the next ones."""
        if entries:
            with self._left_for_later():
                self._around.store.delete_objects(entries)
                return []
        return list(entries[-_LEFT_MAX:])

    def collect_orphans(self) -> None:
        """Delete what crashed owners of this shard have left."""
        with self._left_for_later():
            self._collect(self._shard)

    def retire_parents(self) -> None:
        """Make tombstones of the parents that all their children have left behind. Called after a commit beyond 0."""
        now = self._around.clock.monotonic()
        if not self._parents or now < self._next_try:
            return
        self._next_try, self._wait_seconds = now + self._wait_seconds, min(2 * self._wait_seconds, _WAIT_SECONDS_MAX)
        with self._left_for_later():
            for parent in sorted(self._parents):
                if self._retire(parent):
                    self._parents.discard(parent)

    def _retire(self, parent: str) -> bool:
        """Return whether a parent is a tombstone now, without objects."""
        store = self._around.store
        claim = store.read(parent)
        assert claim is not None, "items are never deleted"
        if not claim.retired:
            if not self._is_left_behind(parent, claim):
                return False
            try:
                store.retire(parent, claim.epoch)
            except FenceRefusedError:  # a late owner of the parent, or another child, has claimed it
                return False
            self._around.telemetry.parent_retired(shard=self._shard, parent=parent)
        self._collect(parent)
        return True

    def _is_left_behind(self, parent: str, claim: Claim) -> bool:
        """Tell whether children that fill the parent's range have all made a commit beyond 0, and do not need it."""
        if claim.state is None:
            return False
        first, last = map(int, claim.state.hash_range)
        for child, range_ in sorted(self._around.lineage.children(parent).items(), key=lambda item: item[1]):
            if not self._has_left_behind(child):
                return False
            if range_.first <= first:
                first = max(first, range_.last + 1)
        return first > last

    def _has_left_behind(self, child: str) -> bool:
        claim = self._around.store.read(child)
        if claim is None:
            return False
        return claim.retired or (claim.state is not None and claim.state.commit_no > 0)

    def _collect(self, shard: str) -> None:
        """Delete the orphans of a shard: list first, then read, then decide."""
        store = self._around.store
        found = store.list_objects(shard, self._around.application.generation)
        if not found:
            return
        claim = store.read(shard)
        assert claim is not None, "items are never deleted"
        orphans = [one.entry for one in found if is_orphan(one, claim)]
        if orphans:
            store.delete_objects(orphans)
            self._around.telemetry.orphans_deleted(shard=shard, objects=len(orphans))

    @contextmanager
    def _left_for_later(self) -> Iterator[None]:
        try:
            yield
        except StreamgaugeError as error:
            self._around.telemetry.commit_retry(shard=self._shard, step="delete", error=error, wait_seconds=0)
