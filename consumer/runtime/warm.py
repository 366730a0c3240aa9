"""The owners that a container keeps from one invocation to the next.

A mapping hands batches to whichever container is free, so each one meets every shard in time, and a state that another
container has gone on with is of no more use. So few are kept, and not for long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from consumer.runtime.commit import ShardOwner
from consumer.runtime.heap import STATE_HEAP

KEPT_MAX = 4
"""Owners that are kept: those used last."""
KEPT_MS = 300_000
"""For how long an owner is kept that no batch has used: as long as a mapping may gather one."""


class _Warm(NamedTuple):
    owner: ShardOwner
    used_ms: int


class WarmOwners:
    """Owners of shards, the least recently used first."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._owners: dict[str, _Warm] = {}

    def take(self, shard: str) -> ShardOwner | None:
        """Return the owner of a shard, and keep it no more: after what goes wrong nobody may go on with it."""
        warm = self._owners.pop(shard, None)
        return None if warm is None else warm.owner

    def keep(self, owner: ShardOwner) -> None:
        """Keep an owner, all of whose work is committed."""
        now_ms, before = self._now_ms(), len(self._owners)
        others = [*self._owners.items()][1 - KEPT_MAX :]
        self._owners = {shard: warm for shard, warm in others if now_ms - warm.used_ms <= KEPT_MS}
        if len(self._owners) < before:
            STATE_HEAP.release()
        self._owners[owner.shard] = _Warm(owner, now_ms)

    def drop(self, shard: str) -> None:
        """Keep the owner of a shard no more."""
        if self._owners.pop(shard, None) is not None:
            STATE_HEAP.release()

    def shards(self) -> set[str]:
        """Return the shards whose owners are kept."""
        return set(self._owners)

    def clear(self) -> None:
        """Keep none."""
        self._owners.clear()
        STATE_HEAP.release()
