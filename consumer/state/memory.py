"""The state store in memory: for tests and simulations. It behaves as `base.py` says, and forgets at exit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from consumer.core import contributions
from consumer.core.completion import Progress
from consumer.core.contributions import Contribution
from consumer.errors import CorruptStateError
from consumer.state.base import (
    Application,
    Claim,
    Entry,
    FenceRefusedError,
    Found,
    ShardState,
    assert_storable,
    find,
    folder_of,
    new_entry,
    verify,
)
from consumer.state.marks import Ledger

Bucket = tuple[int, str, int]
"""Generation, hash of a window's definition, number of the bucket."""
Place = tuple[int, int, str, int]
"""Of a contribution in its bucket: end, start, origin, chunk."""


@dataclass
class Memory:
    """What is stored. Several stores over one Memory are several owners of the same shards."""

    pipeline: str = "memory"
    application: Application | None = None
    items: dict[str, Claim] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    contributions: dict[Bucket, dict[Place, Contribution]] = field(default_factory=dict)
    progress: dict[tuple[int, str], Progress] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class MemoryStore:
    """One owner's access to a Memory. Thread-safe."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def read_application(self) -> Application | None:
        """Return the application item, if any."""
        with self._memory.lock:
            return self._memory.application

    def create_application(self, application: Application) -> Application:
        """Store the item unless there is one; return the stored one."""
        with self._memory.lock:
            if self._memory.application is None:
                self._memory.application = application
            return self._memory.application

    def reset(self, application: Application) -> Application:
        """Replace the application item and clear the shards' items, under the lock."""
        new = msgspec.structs.replace(application, generation=application.generation + 1)
        with self._memory.lock:
            stored = self._memory.application
            if stored != new and (stored is None or stored.generation != application.generation):
                raise FenceRefusedError(f"generation {application.generation} is not the stored one")
            self._memory.application = new
            for shard, claim in self._memory.items.items():
                if claim.state is None or claim.state.generation != new.generation:
                    self._memory.items[shard] = Claim(claim.epoch + 1, None)
                    self._memory.ledgers.pop(shard, None)
            for name in [name for name in self._memory.progress if name[0] == application.generation]:
                del self._memory.progress[name]
        return new

    def adopt(self, before: Application, after: Application) -> Application:
        """Compare and replace under the lock."""
        with self._memory.lock:
            stored = self._memory.application
            assert stored is not None, "the item is never deleted"
            if _identity(stored) == _identity(before):
                self._memory.application = stored = after
            return stored

    def claim(self, shard: str) -> Claim:
        """Add 1 to the epoch of the shard's item; 1 is the first."""
        with self._memory.lock:
            old = self._memory.items.get(shard, Claim(0, None))
            claim = Claim(old.epoch + 1, old.state, old.retired)
            self._memory.items[shard] = claim
            return claim

    def read(self, shard: str) -> Claim | None:
        """Return the shard's item, if any."""
        with self._memory.lock:
            return self._memory.items.get(shard)

    def list_shards(self) -> Mapping[str, Claim]:
        """Return all items."""
        with self._memory.lock:
            return dict(sorted(self._memory.items.items()))

    def shard_names(self) -> Sequence[str]:
        """Return the names of all items."""
        with self._memory.lock:
            return sorted(self._memory.items)

    def put_object(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
        """Store the bytes unless they are there; nothing is ever overwritten."""
        entry = new_entry(self._memory.pipeline, shard, generation, epoch=epoch, commit_no=commit_no, data=data)
        with self._memory.lock:
            self._memory.objects.setdefault(entry.key, bytes(data))
        return entry

    def get_object(self, entry: Entry) -> bytes:
        """Return verified bytes."""
        with self._memory.lock:
            data = self._memory.objects.get(entry.key)
        if data is None:
            raise CorruptStateError(f"the state's object {entry.key} is missing.")
        verify(entry, data)
        return data

    def delete_objects(self, entries: Sequence[Entry]) -> None:
        """Forget the objects that are there."""
        with self._memory.lock:
            for entry in entries:
                self._memory.objects.pop(entry.key, None)

    def list_objects(self, shard: str, generation: int) -> Sequence[Found]:
        """Return the shard's objects of a generation."""
        folder = folder_of(self._memory.pipeline, shard, generation)
        with self._memory.lock:
            sizes = {key: len(data) for key, data in self._memory.objects.items() if key.startswith(folder)}
        found = (find(folder, key.removeprefix(folder), sizes[key]) for key in sorted(sizes))
        return [one for one in found if one is not None]

    def advance(self, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        """Compare and replace under the lock."""
        assert_storable(state)
        with self._memory.lock:
            item = self._memory.items.get(shard)
            if item is None or item.epoch != epoch or not self._follows(item, state, ended=ended):
                raise FenceRefusedError(f"{shard}: epoch {epoch}, commit {state.commit_no}")
            self._memory.items[shard] = Claim(epoch, state)

    def _follows(self, item: Claim, state: ShardState, *, ended: bool) -> bool:
        """Tell whether the item is as this commit expects it."""
        stored, application = item.state, self._memory.application
        if state.commit_no == 0:
            generation = None if application is None else application.generation
            return stored is None and not item.retired and generation == state.generation
        return stored is not None and stored.commit_no == state.commit_no - 1 and stored.ended == ended

    def retire(self, shard: str, epoch: int) -> None:
        """Compare and replace under the lock."""
        with self._memory.lock:
            item = self._memory.items.get(shard)
            if item is not None and item.retired:
                return
            if item is None or item.epoch != epoch or item.state is None or not item.state.ended:
                raise FenceRefusedError(f"{shard}: epoch {epoch}, to be retired")
            self._memory.items[shard] = Claim(epoch, None, retired=True)

    def read_ledger(self, shard: str) -> Ledger | None:
        """Return the shard's ledger, if any."""
        with self._memory.lock:
            return self._memory.ledgers.get(shard)

    def write_ledger(self, shard: str, ledger: Ledger) -> None:
        """Compare the epochs and replace under the lock."""
        with self._memory.lock:
            stored = self._memory.ledgers.get(shard)
            if stored is None or stored.epoch <= ledger.epoch:
                self._memory.ledgers[shard] = ledger

    def put_contributions(self, rows: Sequence[bytes]) -> None:
        """Store all of them at once."""
        decoded = [contributions.decode(row) for row in rows]
        with self._memory.lock:
            for each in decoded:
                bucket = self._memory.contributions.setdefault((each.generation, each.window_hash, each.bucket), {})
                bucket[each.end_ms, each.start_ms, each.origin, each.chunk] = each

    def read_contributions(
        self, generation: int, window_hash: str, bucket: int, *, after_end_ms: int | None, until_end_ms: int
    ) -> Iterator[Contribution]:
        """Yield what is there when the first one is asked for."""
        with self._memory.lock:
            stored = sorted(self._memory.contributions.get((generation, window_hash, bucket), {}).items())
        for (end_ms, *_), contribution in stored:
            if (after_end_ms is None or end_ms > after_end_ms) and end_ms <= until_end_ms:
                yield contribution

    def write_progress(self, progress: Progress) -> None:
        """Compare the commits and replace under the lock."""
        name = progress.generation, progress.shard
        with self._memory.lock:
            stored = self._memory.progress.get(name)
            if stored is None or stored.commit_no <= progress.commit_no:
                self._memory.progress[name] = progress

    def read_progress(self, generation: int) -> Sequence[Progress]:
        """Return all of a generation's."""
        with self._memory.lock:
            stored = sorted(self._memory.progress.items())
        return [progress for (its_generation, _), progress in stored if its_generation == generation]


def _identity(application: Application) -> tuple[int, str, int, str]:
    """Return what an adoption is conditional on."""
    return application.generation, application.definitions, application.adoptions, application.runs_in
