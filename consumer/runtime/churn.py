"""Owners that fence one another again and again: told, and slowed down, before the epochs of a shard are burnt through.

Twins with one identifier take each other's leases, and so do workers whose leases flap: every time the shard is
claimed and restored, and what one has begun the other undoes. A worker that begins with a shard for the fifth time
within five minutes therefore waits first, longer each time. Who finds then that another owner has claimed the shard
meanwhile leaves it to that one: so of two that wait, one gets to work.

A worker's own beginnings are counted, not the epochs: those of an orderly roll-out of many workers are each another
worker's. In AWS Lambda nobody waits: there it is usual that containers take turns.
"""

from __future__ import annotations

import threading
from collections import deque

from consumer.errors import FencedError
from consumer.runtime.retry import StoppedError
from consumer.runtime.surroundings import Surroundings

CALM_CLAIMS = 4
"""So many times within CHURN_SECONDS a worker begins with a shard without waiting."""
CHURN_SECONDS = 300.0
WAIT_SECONDS = 2.0
"""The longest that the first wait takes; each further one is twice as long."""
WAIT_SECONDS_MAX = 20.0
"""The daemon waits for the answer meanwhile, and renews the lease; it is well within three fail-over times."""


class ClaimPace:
    """When the shards of a worker were begun with. Used by the threads of all shards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun_at: dict[str, deque[float]] = {}

    def enter(self, around: Surroundings, shard: str) -> None:
        """Take note that a shard is about to be claimed; wait if that was too often.

        FencedError if another owner has claimed it while this one waited; StoppedError if the worker is stopping.
        """
        begun = self._begun(shard, around.clock.monotonic())
        if begun <= CALM_CLAIMS:
            return
        longest = min(WAIT_SECONDS_MAX, WAIT_SECONDS * 2.0 ** (begun - CALM_CLAIMS - 1))
        wait_seconds = longest * (1 + around.clock.random()) / 2
        around.telemetry.epoch_churn(shard=shard, claims=begun, within_seconds=CHURN_SECONDS, wait_seconds=wait_seconds)
        before = _epoch(around, shard)
        if around.pause(wait_seconds):
            raise StoppedError(f"{shard} has not been claimed yet")
        after = _epoch(around, shard)
        if after != before:
            raise FencedError(f"{shard} was claimed by another owner", epoch=before, seen_epoch=after)

    def _begun(self, shard: str, now_seconds: float) -> int:
        """Count this time, and those before it that are not long ago."""
        with self._lock:
            times = self._begun_at.setdefault(shard, deque())
            times.append(now_seconds)
            while now_seconds - times[0] > CHURN_SECONDS:
                times.popleft()
            return len(times)


def _epoch(around: Surroundings, shard: str) -> int:
    claim = around.retrying(shard, "load", lambda: around.store.read(shard))
    return 0 if claim is None else claim.epoch
