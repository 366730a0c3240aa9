"""How long a batch takes beside a large state, and what the cyclic garbage collector adds to it.

    python bench/pauses.py [--sessions 1000000] [--batches 1000]

A million open sessions, then batches of 1,000 events: half of them belong to an open session, half open one. Every 25
batches a commit encodes what changed. Each way runs in a process of its own: with the collector left alone, and with
`StateHeap.settle` after each commit, as the worker calls it. All figures are milliseconds of CPU: of `Processor.step`,
of the longest collection wherever it came, and of `settle`.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from random import Random

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.pipeline.load import load_text
from consumer.records import Record
from consumer.runtime.heap import StateHeap

BATCH = 1_000
NEW_OF_BATCH = BATCH // 2
OPENING = 10_000
COMMIT_EVERY = 25
GAP_MS = 1_800_000
START_MS = 1_700_000_000_000

PIPELINE = """\
pipeline: pauses
source: {stream: clicks, partition_key: user}
events: {fields: {user: string, at: timestamp, amount: float}, time: at, out_of_orderness: 0s, max_future: off}
windows:
  visits:
    session: {gap: 30m}
    by: [user]
    select: {events: count(), revenue: sum(amount), last: max(at)}
sinks: [{stdout: {}}]
state: {table: table, bucket: bucket}
limits: {groups: 10000000}
"""


class Events:
    """The users who came last are there; in the time of a session's gap as many come as are there at first."""

    def __init__(self, sessions: int) -> None:
        self._random = Random(7)
        self._sessions = sessions
        self._users = 0
        self._number = 0

    def new(self, count: int) -> list[Record]:
        """Return events of users who were never there."""
        self._users += count
        return [self._event(user, user) for user in range(self._users - count, self._users)]

    def batch(self) -> list[Record]:
        """Return a batch."""
        there = range(self._users - self._sessions, self._users)
        old = [self._event(self._random.choice(there), self._users) for _ in range(BATCH - NEW_OF_BATCH)]
        return old + self.new(NEW_OF_BATCH)

    def _event(self, user: int, newest_user: int) -> Record:
        self._number += 1
        at_ms = START_MS + newest_user * GAP_MS // self._sessions
        data = b'{"user":"user-%d","at":%d,"amount":1.5}' % (user, at_ms)
        return Record(data, f"user-{user}", str(self._number), 0, at_ms)


class Collections:
    """Measures the collector."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self._started = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _info: Mapping[str, int]) -> None:
        if phase == "start":
            self._started = time.thread_time()
        else:
            self.longest_ms = max(self.longest_ms, _ms_since(self._started))


def measure(sessions: int, batches: int, *, spared: bool) -> dict[str, float]:
    """Return the figures of one way."""
    processor, events, state_heap = _opened(sessions)
    if spared:
        state_heap.settle(sessions)
    collections = Collections()
    steps_ms, settles_ms = [], [0.0]
    for number in range(batches):
        records = events.batch()
        started = time.thread_time()
        processor.step(records)
        steps_ms.append(_ms_since(started))
        if number % COMMIT_EVERY == COMMIT_EVERY - 1:
            processor.freeze([], base=False)
            if spared:
                started = time.thread_time()
                state_heap.settle(sum(processor.open_groups().values()))
                settles_ms.append(_ms_since(started))
    return {
        **{f"p{share:g}": _percentile(steps_ms, share) for share in (50, 99, 99.9)},
        "max": max(steps_ms),
        "longest collection": collections.longest_ms,
        "settle at most": max(settles_ms),
    }


def _opened(sessions: int) -> tuple[Processor, Events, StateHeap]:
    processor = Processor(compile_pipeline(load_text(PIPELINE, "pauses.yaml", {})), "shard", 0)
    events = Events(sessions)
    for _ in range(0, sessions, OPENING):
        processor.apply(events.new(OPENING))
    processor.freeze([], base=True)
    return processor, events, StateHeap()


def _ms_since(started: float) -> float:
    return (time.thread_time() - started) * 1000


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share / 100))]


def main() -> None:
    """Run both ways and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--way", choices=["alone", "spared"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.way is not None:
        print(json.dumps(measure(chosen.sessions, chosen.batches, spared=chosen.way == "spared")))
        return
    for way in ("alone", "spared"):
        size = ["--sessions", str(chosen.sessions), "--batches", str(chosen.batches)]
        output = subprocess.run([sys.executable, __file__, *size, "--way", way], check=True, stdout=subprocess.PIPE)
        figures = json.loads(output.stdout)
        told = "  ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        print(f"{way:7} {told}  p99.9/p50 {figures['p99.9'] / figures['p50']:.1f}")


if __name__ == "__main__":
    main()
