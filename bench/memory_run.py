"""One measurement of the memory benchmark, in a process of its own: `python -m bench.memory_run NAME ARGUMENT...`.

Prints one JSON object. Sizes are those of the process, as the kernel counts them; times are CPU seconds where they
are not said to be on the wall.
"""

from __future__ import annotations

import gc
import random
import resource
import sys
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec

from bench.measure import parse_kilobytes
from bench.memory_stream import BATCH, START_MS, batches, record, window
from consumer.core.compile import compile_pipeline
from consumer.core.processor import Outcome, Processor
from consumer.core.windows import END_MS
from consumer.pipeline.memory import memory_per_group, memory_per_group_at_most
from consumer.pipeline.model import Pipeline
from consumer.records import Record
from consumer.runtime.heap import STATE_HEAP

SHARD = "shardId-000000000000"

Found = dict[str, float]

_STATUS = Path("/proc/self/status")
_HOUR_MS = 3_600_000
_SIZE_MS = 2 * _HOUR_MS
"""Sessions' gap and windows' size where all groups are to stay open."""
_UNLIMITED = "limits: {groups: 20000000}\n"
_COMMIT_BATCHES = 500
"""Batches between commits, where batches are measured."""
_LIMITED_MS = 60_000
_LIMITED_COMMIT_BATCHES = 50
_LIMITED = {"reject": (f"session: {{gap: {_LIMITED_MS}ms}}", 8.0), "emit_early": (f"tumbling: {_LIMITED_MS}ms", 1.5)}
"""For each policy the window, and how many times the limit would be open without one."""


def resident_bytes() -> int:
    """Return the size of this process now, after what can be freed has been."""
    gc.collect()
    return parse_kilobytes(_STATUS.read_text(encoding="ascii"), "VmRSS")


def peak_bytes() -> int:
    """Return the largest size of this process since it began, or forgot."""
    return parse_kilobytes(_STATUS.read_text(encoding="ascii"), "VmHWM")


def forget_peak() -> None:
    """Let the peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def blocks() -> int:
    """Return how many pieces of memory Python's objects have."""
    gc.collect()
    return sys.getallocatedblocks()


class _Result(msgspec.Struct):
    events: int
    early: bool = False


_decode = msgspec.json.Decoder(_Result).decode


class Shard:
    """One shard; it has seen a few events and closed their windows, so that everything is loaded.

    Counts the rows of results, those that came early, and the events in them. `steps` has what each step took.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.processor = Processor(compile_pipeline(pipeline), SHARD)
        self.rows = self.early = self.events = 0
        self.steps = array("d")
        for batch in batches(range(BATCH), 1, START_MS - 20 * _HOUR_MS):
            self.apply(batch)
        self.close(START_MS - 10 * _HOUR_MS)
        self.commit()

    def apply(self, batch: Sequence[Record]) -> None:
        """Process a batch as a worker does, step by step."""
        while batch or self.processor.closing:
            batch = batch[self._step(partial(self.processor.step, batch)) :]

    def close(self, time_ms: int) -> None:
        """Let all windows end, as they do in a shard that is idle at a time, step by step."""
        self._step(partial(self.processor.idle, time_ms))
        self.apply([])

    def _step(self, step: Callable[[], Outcome]) -> int:
        """Measure a step, count its rows, and return how many records it took."""
        begin = time.process_time()
        outcome = step()
        self.steps.append(time.process_time() - begin)
        for row in outcome.rows:
            result = _decode(row.data)
            self.rows += 1
            self.early += result.early
            self.events += result.events
        return outcome.taken

    def fill(self, groups: int, start_ms: int = START_MS) -> None:
        """Open so many groups, a thousand in a second of event time."""
        for batch in batches(range(groups), 1000, start_ms):
            self.apply(batch)

    def commit(self) -> float:
        """Encode what has changed, as a worker does to store it; return the CPU seconds that it took."""
        begin = time.process_time()
        self.processor.freeze([], base=False)
        STATE_HEAP.settle(self.open_groups())
        return time.process_time() - begin

    def open_groups(self) -> int:
        """Return how many groups are open."""
        return sum(self.processor.open_groups().values())


def sessions(groups: int) -> Found:
    """Open so many sessions, close them, and do it again; what is left must not grow."""
    shard = Shard(_keyed(f"session: {{gap: {_SIZE_MS}ms}}"))
    before, blocks_before = resident_bytes(), blocks()
    found: Found = {"key_bytes": sys.getsizeof(record(0, START_MS).partition_key)}
    for turn, start_ms in (("first", START_MS), ("second", START_MS + 10 * _HOUR_MS)):
        shard.fill(groups, start_ms)
        found[f"open_{turn}"] = resident_bytes() - before
        shard.commit()
        found[f"committed_{turn}"] = resident_bytes() - before
        assert shard.open_groups() == groups
        shard.close(start_ms + 5 * _HOUR_MS)
        shard.commit()
        assert not shard.open_groups()
        shard.processor.step([])  # the processor keeps the rows of its last step
        found[f"left_{turn}"] = resident_bytes() - before
        found[f"left_blocks_{turn}"] = blocks() - blocks_before
    return found


def busy(kind: str, groups: int, count: int) -> Found:
    """Measure so many batches whose groups are all open, commits between them, and the closing of all at once."""
    shard = Shard(_keyed(kind))
    shard.fill(groups)
    shard.commit()
    chance = random.Random(1)
    prepared = batches((chance.randrange(groups) for _ in range(count * BATCH)), 10, START_MS + groups)
    shard.steps, walls, commits = array("d"), array("d"), []
    while some := list(islice(prepared, _COMMIT_BATCHES)):
        for batch in some:
            begin = time.perf_counter()
            shard.apply(batch)
            walls.append(time.perf_counter() - begin)
        commits.append(shard.commit())
    assert shard.open_groups() == groups
    return {
        **_percentiles("batch", shard.steps),
        **_percentiles("batch_wall", walls),
        "commit": max(commits),
        **_closing(shard),
    }


def _percentiles(name: str, seconds: Sequence[float]) -> Found:
    ordered = sorted(seconds)
    parts = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {f"{name}_{part}": ordered[int(share * (len(ordered) - 1))] for part, share in parts.items()}


def _closing(shard: Shard) -> Found:
    open_bytes, groups, rows_before = resident_bytes(), shard.open_groups(), shard.rows
    forget_peak()
    shard.steps = array("d")
    shard.close(START_MS + 9 * _HOUR_MS)
    assert shard.rows - rows_before == groups, shard.rows
    ordered = sorted(shard.steps)
    return {
        "closing_longest": ordered[-1],
        "closing_median": ordered[len(ordered) // 2],
        "closing_total": sum(ordered),
        "closing_steps": len(ordered),
        "closing_more_bytes": peak_bytes() - open_bytes,
    }


def group_bytes(kind: str, by: str, select: str, groups: int) -> Found:
    """Measure a group of a window, each of one event, and compare what pipeline/memory.py estimates."""
    pipeline = window(kind, by, select, _UNLIMITED)
    shard = Shard(pipeline)
    before = resident_bytes()
    shard.fill(groups)
    (definition,) = pipeline.windows
    return {
        "groups": shard.open_groups(),
        "measured": (resident_bytes() - before) / shard.open_groups(),
        "estimate": memory_per_group(definition),
        "estimate_at_most": memory_per_group_at_most(definition),
    }


def limited(policy: str, keys: int, memory_mib: int, state_mib: int) -> Found:
    """Process so many distinct keys with so much memory; `check` tells of `state_mib` for the groups of the limit.

    Some times more groups would be open than may be. Where they are rejected, they are sessions, and one more key has
    an event in each batch: a rejected event moves no watermark, and one of an open session needs no room.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mib << 20, memory_mib << 20))
    kind, excess = _LIMITED[policy]
    groups = (state_mib << 20) // memory_per_group_at_most(window(kind).windows[0])
    shard = Shard(window(kind, rest=f"limits: {{groups: {groups}, policy: {policy}}}\n"))
    every_us = int(_LIMITED_MS * 1000 / (excess * groups))
    for number, batch in enumerate(batches(range(keys), every_us)):
        shard.apply([record(keys, START_MS + number * BATCH * every_us // 1000), *batch])
        if number % _LIMITED_COMMIT_BATCHES == 0:
            shard.commit()
    shard.close(END_MS)
    totals = shard.processor.totals
    return {
        "groups": groups,
        "received": totals.received,
        "rows": shard.rows,
        "early": shard.early,
        "events": shard.events,
        "dead_letters": sum(totals.dead_letters.values()),
        "peak": peak_bytes(),
    }


def _keyed(kind: str) -> Pipeline:
    return window(kind, rest=_UNLIMITED)


MEASUREMENTS: Mapping[str, Callable[..., Found]] = {
    "sessions": sessions,
    "busy": busy,
    "group_bytes": group_bytes,
    "limited": limited,
}


def main() -> None:
    """Take one measurement; arguments that are numbers are passed as such."""
    name, *arguments = sys.argv[1:]
    found = MEASUREMENTS[name](*(int(each) if each.isdigit() else each for each in arguments))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
