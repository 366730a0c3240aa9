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
"""

from __future__ import annotations

import gc

LARGE_STATE_GROUPS = 50_000
"""A state below this makes no collection noticeably longer, and is left to the collector."""
THAW_EVERY = 200
"""Of so many commits of large states one thaws: at five seconds each, once in a quarter of an hour."""


class StateHeap:
    """What a process does about its collector. Of all shards' threads; to lose a count now and then harms nothing."""

    def __init__(self) -> None:
        self._settled = 0

    def settle(self, groups: int) -> None:
        """Freeze what is there: a state of so many groups was loaded or committed.

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
