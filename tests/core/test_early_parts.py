"""Parts of groups that were emitted early, where more rows are due than windows give at once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.pipeline.load import load_text
from consumer.records import Record, Row

SHARD = "shardId-000000000000"
PIPELINE = """\
pipeline: early
source: {stream: s, partition_key: user}
events: {fields: {user: string, at: timestamp}, time: at, max_future: off}
where: user != "clock"
windows:
  slow: {tumbling: 20s, by: [user], where: user == "k", select: {events: count()}}
  quick: {tumbling: 10s, by: [user], where: user != "k", select: {events: count()}}
sinks: [{stdout: {}}]
state: {table: early-state}
limits: {groups: 3, policy: emit_early}
"""
PROGRAM = compile_pipeline(load_text(PIPELINE, "early.yaml", {}))


def _records() -> list[Record]:
    """Return events of more users than there may be groups, and one that ends all windows and is in none.

    The first row that is due then is of another window than the one of which a group was emitted early.
    """
    times = [*((user, 1_000) for user in "kabca"), ("clock", 60_000)]
    return [
        Record(json.dumps({"user": user, "at": at_ms}).encode(), user, str(number), 0, at_ms)
        for number, (user, at_ms) in enumerate(times, 1)
    ]


def _told(rows: Sequence[Row]) -> list[tuple[str, int, object]]:
    found = [json.loads(row.data) for row in rows]
    return [(row["user"], row["events"], row.get("part")) for row in found]


def test_a_row_tells_its_part_however_many_rows_are_given_at_once() -> None:
    wanted = [("a", 1, 0), ("b", 1, 0), ("k", 1, None), ("a", 1, 1), ("c", 1, None)]
    assert _told(Processor(PROGRAM, SHARD).apply(_records()).rows) == wanted
    assert _told(Processor(PROGRAM, SHARD, rows_max=1).apply(_records()).rows) == wanted


@pytest.mark.parametrize("steps", [1, 2])
def test_a_row_tells_its_part_after_a_restore_in_the_midst_of_closing(steps: int) -> None:
    wanted = Processor(PROGRAM, SHARD).apply(_records()).rows
    processor, records, rows = Processor(PROGRAM, SHARD, rows_max=1), _records(), []
    outcome = processor.step(records)
    rows += outcome.rows
    assert outcome.taken == len(records)
    for _ in range(steps - 1):
        rows += processor.step(()).rows
    restored, _ = Processor.restore(PROGRAM, SHARD, 0, [processor.freeze([], base=True)])
    rows += restored.apply(()).rows
    assert sorted(_told(rows), key=str) == sorted(_told(wanted), key=str)
