"""The state store in memory: for tests and simulations. It behaves as `base.py` says, and forgets at exit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from consumer.errors import CorruptStateError
from consumer.state.base import (
    Application,
    Claim,
    Entry,
    FenceRefusedError,
    ShardState,
    assert_storable,
    new_entry,
    verify,
)


@dataclass
class Memory:
    """What is stored. Several stores over one Memory are several owners of the same shards."""

    pipeline: str = "memory"
    application: Application | None = None
    items: dict[str, Claim] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
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

    def advance(self, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        """Compare and replace under the lock."""
        assert_storable(state)
        with self._memory.lock:
            item = self._memory.items.get(shard)
            if item is None or item.epoch != epoch or not _follows(item.state, state, ended=ended):
                raise FenceRefusedError(f"{shard}: epoch {epoch}, commit {state.commit_no}")
            self._memory.items[shard] = Claim(epoch, state, item.retired)


def _follows(stored: ShardState | None, state: ShardState, *, ended: bool) -> bool:
    """Tell whether the stored state is the one that this commit expects to replace."""
    if state.commit_no == 0:
        return stored is None
    return stored is not None and stored.commit_no == state.commit_no - 1 and stored.ended == ended
