"""Python's cyclic garbage collector and a large state: the one place that tells it what not to look at.

A full collection visits every container object, and each open group is one: with a million of them it stops all
shards of the process for half a second to a second, and finds nothing, because no group refers to what refers to it;
it is freed when it is dropped. `gc.freeze` takes all that exists at a moment out of the collector's sight. So after
each commit what has come since the one before is visited once and then frozen: milliseconds, for it was encoded just
before. All that comes is treated so, not only what makes the state grow, because a state of one size may hold other
groups every hour.

What is frozen and later becomes part of a cycle that nobody refers to is not freed: a client's request that another
thread was in the midst of, or the whole state of a shard that leaves, whose windows know functions that know them. So
now and then all is thawed and visited, after a commit, never within a batch; and when a shard leaves.

What is made while a state is loaded or encoded is kept, or goes by itself: the collector waits until that is done.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LARGE_STATE_GROUPS = 50_000
"""A state below this makes no collection noticeably longer, and is left to the collector."""
THAW_EVERY = 2000
"""Of so many commits of large states one thaws, and costs what is held: at five seconds each, every three hours."""


class StateHeap:
    """What a process does about its collector. Of all shards' threads; to lose a count now and then harms nothing."""

    def __init__(self) -> None:
        self._settled = 0
        self._paused = 0
        self._lock = threading.Lock()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the collector away, in all threads, while a state is loaded or encoded; of several shards, of all."""
        with self._lock:
            self._paused += 1
            gc.disable()
        try:
            yield
        finally:
            with self._lock:
                self._paused -= 1
                if not self._paused:
                    gc.enable()

    def loaded(self, groups: int) -> None:
        """Freeze what is there without a look at it: a state of so many groups has just been loaded."""
        if groups >= LARGE_STATE_GROUPS:
            gc.freeze()

    def settle(self, groups: int) -> None:
        """Freeze what is there: a state of so many groups was committed.

        Where nothing is committed: about every 50,000 records.
        """
        if groups < LARGE_STATE_GROUPS:
            return
        self._settled += 1
        if self._settled % THAW_EVERY == 0:
            gc.unfreeze()
        gc.collect()
        gc.freeze()

    def release(self) -> None:
        """Let the next full collection find a state that is about to be given up. Other states freeze again soon."""
        gc.unfreeze()


STATE_HEAP = StateHeap()
"""The process's own."""
