"""The story with global windows: the shards' parts of them are contributed, told, combined, sent, and forgotten.

The shards of a generation are served in turns: first halves, then second ones. When a process dies, the shard beside
its own is served before it comes back, and combines what it believes to be complete. The last two shards do not end.
Both are as far in the middle, and are served until all that is due there is combined; then days go by, all parts and
all progress of ended shards are forgotten, and the other halves follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline
from consumer.records import Record

PIPELINE = """
pipeline: story
source: {stream: clicks, partition_key: user}
events:
  fields:
    user: string
    at: timestamp
    s: "string?"
    i: int
    f: float
    b: "bool?"
  time: at
  out_of_orderness: 5ms
  idle_after: never
windows:
  parts:
    tumbling: 40ms
    by: [b]
    combine: true
    buckets: 3
    select: {events: count(), total: sum(f), last: last(s), some: "collect(i, 3)"}
  whole:
    sliding: {size: 60ms, every: 30ms}
    combine: true
    allowed_lateness: 20ms
    select: {events: count(), least: min(f), users: count_distinct(user)}
  own: {tumbling: 50ms, by: [user], select: {events: count(), first: first(i)}}
sinks: [{stdout: {}}]
late: {stdout: {}}
dead_letter: {stdout: {}}
state: {table: state, commit_interval: 5s, emit_delay: 1s}
"""
RETENTION_MS = 24 * 3_600_000
GAP_MS = 100
"""So much later all windows are closed."""


def pipeline() -> Pipeline:
    """Return the pipeline: two global windows, the buckets of each generation with both of its shards, and another."""
    return load_text(PIPELINE, "story.yaml", {})


def closed(by_shard: Mapping[str, Sequence[Record]], last: Mapping[str, str]) -> dict[str, list[Record]]:
    """Return the records with two more in each of the last shards, whose partition keys `last` has.

    One is in the middle and one at the end. They close all windows of what was before, in both shards at the same
    time; what was behind the middle comes as much later.
    """
    told = {shard: list(records) for shard, records in by_shard.items()}
    halves = {shard: len(by_shard[shard]) // 2 for shard in last}
    middle_ms = (
        _latest_ms(record for shard, records in told.items() for record in records[: halves.get(shard)]) + GAP_MS
    )
    for shard, key in last.items():
        first, second = told[shard][: halves[shard]], told[shard][halves[shard] :]
        told[shard] = [*first, _event(key, middle_ms), *(_later(record) for record in second)]
    end_ms = _latest_ms(record for records in told.values() for record in records) + GAP_MS
    for shard, key in last.items():
        told[shard].append(_event(key, end_ms))
    return {shard: _numbered(records) for shard, records in told.items()}


def _latest_ms(records: Iterable[Record]) -> int:
    return max(max(_time_ms(record) or 0, record.arrival_ms or 0) for record in records)


def _later(record: Record) -> Record:
    time_ms = _time_ms(record)
    if time_ms is None:
        return record
    data = json.dumps(json.loads(record.data) | {"at": time_ms + GAP_MS}).encode()
    return msgspec.structs.replace(record, data=data)


def _time_ms(record: Record) -> int | None:
    """Return the time of an event; None of what is no event."""
    try:
        event = json.loads(record.data)
    except ValueError:
        return None
    time_ms = event.get("at") if isinstance(event, dict) else None
    return time_ms if isinstance(time_ms, int) else None


def _event(user: str, time_ms: int) -> Record:
    data = json.dumps({"user": user, "at": time_ms, "i": 1, "f": 0.5}).encode()
    return Record(data, user, arrival_ms=time_ms)


def _numbered(records: Iterable[Record]) -> list[Record]:
    return [
        msgspec.structs.replace(record, sequence_number=str(10**55 + number // 2), sub_sequence_number=number % 2)
        for number, record in enumerate(records)
    ]
