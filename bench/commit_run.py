"""One state of the commit benchmark, in a process of its own: `python -m bench.commit_run HELD REPEATS CHANGED...`.

Prints one JSON object. Times are CPU seconds of the thread that commits; everything is in memory.
"""

from __future__ import annotations

import gc
import io
import random
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec
from prometheus_client import CollectorRegistry

from bench.memory_stream import BATCH, START_MS, batches, record, window
from consumer.core import snapshot
from consumer.core.compile import compile_pipeline
from consumer.core.merging import merge
from consumer.core.processor import Processor
from consumer.records import HashRange, Record
from consumer.runtime import clock
from consumer.runtime.commit import ShardOwner
from consumer.runtime.heap import STATE_HEAP
from consumer.runtime.surroundings import ShardOrigin, Surroundings
from consumer.sinks.base import Router
from consumer.state.base import Application, Entry
from consumer.state.memory import Memory, MemoryStore
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics

SHARD = "shardId-000000000000"
KIND = "session: {gap: 2h}"
_UNLIMITED = "limits: {groups: 20000000}\n"
_LEVEL = 1
"""Of zlib, as the state has it."""
_ALL = HashRange(0, 2**128 - 1)


class _Lineage:
    def origin(self, _: str) -> ShardOrigin:
        return ShardOrigin(_ALL, ())

    def children(self, _: str) -> Mapping[str, HashRange]:
        return {}


class Shard:
    """A shard that holds so many open sessions, with an owner that commits to a store in memory."""

    def __init__(self, held: int) -> None:
        self.held = held
        self.memory = Memory()
        self.merges: list[Callable[[], None]] = []
        self.program = compile_pipeline(window(KIND, rest=_UNLIMITED))
        application = Application(0, 0, (SHARD,), self.program.definitions, 0)
        store = MemoryStore(self.memory)
        store.create_application(application)
        self.owner = ShardOwner(
            Surroundings(
                program=self.program,
                application=application,
                store=store,
                router=Router({}),
                lineage=_Lineage(),
                telemetry=_telemetry(),
                clock=clock,
                pause=lambda _: True,
                in_background=self.merges.append,
            ),
            SHARD,
        )
        self.owner.initialise(None)
        self._sequence = 10**20
        self._chance = random.Random(1)
        for batch in batches(range(held), 10):
            self.apply(batch)
        self.commit()

    def apply(self, records: Sequence[Record]) -> None:
        """Process records of open sessions, or of new ones."""
        for number, each in enumerate(records):
            each.sequence_number = str(self._sequence + number)
        self._sequence += len(records)
        assert not self.owner.step(records).rows

    def change(self, groups: int) -> None:
        """Change so many sessions."""
        users = self._chance.sample(range(self.held), groups)
        for first in range(0, groups, BATCH):
            self.apply([record(user, START_MS + self.held // 100) for user in users[first : first + BATCH]])

    def commit(self) -> float:
        """Commit; return the CPU seconds."""
        begin = time.thread_time()
        self.owner.commit(lambda _: True)
        return time.thread_time() - begin

    def merge(self) -> None:
        """Do the merges that the owner has left for the background."""
        while self.merges:
            self.merges.pop()()

    def manifest(self) -> tuple[Entry, ...]:
        """Return the manifest, empty if the state is inline."""
        state = self.memory.items[SHARD].state
        assert state is not None
        return state.manifest

    def entry(self, number: int) -> bytes:
        """Return the bytes of an entry of the manifest."""
        return self.memory.objects[self.manifest()[number].key]

    def entries(self) -> list[bytes]:
        """Return the bytes of all entries."""
        return [self.memory.objects[entry.key] for entry in self.manifest()]


def _telemetry() -> Telemetry:
    return Telemetry(
        metrics=Metrics(CollectorRegistry(), stream="bench"),
        logger=configure_logging(level="info", now_ms=clock.now_ms, stream=io.StringIO()),
        health=Health(clock.monotonic),
        windows=["bench"],
        monotonic=clock.monotonic,
        now_ms=clock.now_ms,
    )


def commits(shard: Shard, changed: int, repeats: int) -> dict[str, float]:
    """Measure commits with so many changed sessions; the median of all. Merges are done in between."""
    seconds: list[float] = []
    ratios: list[float] = []
    sizes: list[int] = []
    for _ in range(repeats):
        shard.change(changed)
        gc.collect()
        seconds.append(shard.commit())
        data = shard.entry(-1)
        sizes.append(len(data))
        ratios.append(seconds[-1] / bare_encoding(data))
        shard.merge()
    return {"seconds": median(seconds), "ratio": median(ratios), "bytes": median(sizes)}


def bare_encoding(data: bytes) -> float:
    """Return what it costs to encode and compress what an entry holds: the median of three."""
    document = [msgspec.msgpack.decode(zlib.decompress(block)) for block in blocks(data)]
    return median(_seconds(lambda: zlib.compress(msgspec.msgpack.encode(document), _LEVEL)) for _ in range(3))


def bare_decoding(entries: Sequence[bytes]) -> float:
    """Return what it costs to decompress and decode entries, keeping what comes of it."""

    def decode() -> Any:
        return [[msgspec.msgpack.decode(zlib.decompress(block)) for block in blocks(data)] for data in entries]

    return _seconds(decode)


def blocks(data: bytes) -> list[bytes]:
    """Return an entry's compressed blocks."""
    return msgspec.msgpack.decode(data, type=list[Any])[1:]


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.thread_time()
    result = call()
    seconds = time.thread_time() - begin
    del result
    return seconds


def restoring(shard: Shard) -> dict[str, float]:
    """Measure restoring what is stored, beside decoding it, as Python does it when nothing else is said."""
    entries = shard.entries()
    gc.collect()
    gc.freeze()
    bare = bare_decoding(entries)
    gc.collect()

    def restore() -> Processor:
        with STATE_HEAP.paused():
            processor, _ = Processor.restore(shard.program, SHARD, 0, entries, hash_range=_ALL)
        STATE_HEAP.loaded(shard.held)
        return processor

    seconds = _seconds(restore)
    return {"seconds": seconds, "ratio": seconds / bare, "bytes": sum(map(len, entries))}


def merging(shard: Shard) -> dict[str, float]:
    """Measure making one entry of all: the seconds, and the longest stretch in which no other thread gets a turn.

    Whoever compresses or decompresses lets others have theirs.
    """
    turns = [time.thread_time()]

    def turning(call: Callable[..., bytes]) -> Callable[..., bytes]:
        def turn(*arguments: Any) -> bytes:
            turns.append(time.thread_time())
            return call(*arguments)

        return turn

    zlib_ = SimpleNamespace(compress=turning(zlib.compress), decompress=turning(zlib.decompress), error=zlib.error)
    with mock.patch.object(snapshot, "zlib", zlib_):
        seconds = _seconds(lambda: merge(shard.entries()))
    longest = max(after - before for before, after in pairwise(turns))
    return {"seconds": seconds, "longest": longest}


def main() -> None:
    """Measure a state of so many groups."""
    held, repeats, *changed = map(int, sys.argv[1:])
    shard = Shard(held)
    found = {str(each): commits(shard, each, repeats) for each in changed}
    found["merge"] = merging(shard)
    found["restore"] = restoring(shard)
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
