"""What is due in the middle of a batch is closed there: a batch gives the rows that its records give one by one."""

from __future__ import annotations

import json
from random import Random

import pytest

from consumer.core.compile import Program, compile_pipeline
from consumer.core.loop_code import CHUNK
from consumer.core.processor import Processor
from consumer.records import HashRange, Record, Row
from tests.core.rule_stories import pipeline

KINDS = {
    "tumbling": ("tumbling: 10ms", "tumbling: 7ms"),
    "sliding": ("sliding: {size: 10ms, every: 5ms}", "sliding: {size: 6ms, every: 3ms}"),
    "session": ("session: 4ms", "session: {gap: 6ms, max_length: 9ms}"),
    "stagger": ("stagger: 10ms", "stagger: 6ms"),
}
LIMITS = {
    "reject": "groups: 1000, policy: reject",
    "few": "groups: 28, policy: reject",
    "early": "groups: 9, policy: emit_early",
}
LATENESS = ("", "allowed_lateness: 8ms, ", "allowed_lateness: 8ms, emit: final, ")


def _records(random: Random, count: int) -> list[Record]:
    made, time_ms = [], 1000
    for number in range(count):
        time_ms += random.choice([0, 1, 1, 2, 5, 11, -3, -9])
        user = random.choice("abc")
        data = json.dumps({"user": user, "at": time_ms, "n": number}).encode()
        made.append(Record(data, user, str(number), 0, time_ms))
    return made


def _rows(processor: Processor, records: list[Record], size: int) -> list[Row]:
    rows = []
    for first in range(0, len(records), size):
        rows += processor.apply(records[first : first + size]).rows
    return rows


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("lateness", LATENESS)
@pytest.mark.parametrize("kinds", [*((each, each) for each in KINDS), ("session", "sliding"), ("sliding", "tumbling")])
def test_rows_do_not_depend_on_batches(kinds: tuple[str, str], lateness: str, limits: str) -> None:
    windows = "\n".join(
        f"{name}: {{{KINDS[kind][place]}, by: [user], {lateness}select: {{c: count(), l: last(n)}}}}"
        for place, (name, kind) in enumerate(zip("vw", kinds, strict=True))
    )
    program = compile_pipeline(pipeline(windows, bound="2ms", limits=LIMITS[limits]))
    records = _records(Random(3), 60)
    alone = Processor(program, "shard", 0)
    expected = _rows(alone, records, 1)
    assert limits == "few" or {row.output for row in expected} >= {"v", "w"}
    for size in (2, 7, 60):
        processor = Processor(program, "shard", 0)
        assert _rows(processor, records, size) == expected
        assert (processor.totals, processor.room()) == (alone.totals, alone.room())
        assert processor.open_windows() == alone.open_windows()


def _merged(program: Program) -> Processor:
    """Return the child of two shards: one has seen user a at 1030, the other user b at 1001."""
    halves = [HashRange(0, 2**127 - 1), HashRange(2**127, 2**128 - 1)]
    parents = [Processor(program, f"parent-{number}", 0, hash_range=half) for number, half in enumerate(halves)]
    for parent, user, time_ms in zip(parents, "ab", (1030, 1001), strict=True):
        data = json.dumps({"user": user, "at": time_ms, "n": 0}).encode()
        assert not parent.apply([Record(data, user, "1", 0, time_ms)]).counts.dead_letters
    return Processor.inherit(program, "shard", 0, hash_range=HashRange(0, 2**128 - 1), parents=parents)


@pytest.mark.parametrize("lateness", LATENESS)
@pytest.mark.parametrize("kind", KINDS)
def test_nor_do_they_above_floors(kind: str, lateness: str) -> None:
    """Neighbours may be late by the floors of their keys, and may not be."""
    windows = f"v: {{{KINDS[kind][0]}, by: [user], {lateness}select: {{c: count(), l: last(n)}}}}"
    program = compile_pipeline(pipeline(windows, bound="2ms", limits=LIMITS["reject"]))
    records = []
    for number, (user, time_ms) in enumerate(
        [("b", 1003), ("a", 1004), ("b", 1005), ("a", 1012), ("b", 1006), ("b", 1013), ("a", 1013), ("a", 1031)] * 2
    ):
        data = json.dumps({"user": user, "at": time_ms + number // 8, "n": number}).encode()
        records.append(Record(data, user, str(10 + number), 0, time_ms))
    alone, together = _merged(program), _merged(program)
    assert _rows(together, records, 16) == _rows(alone, records, 1)
    assert (together.totals, together.room()) == (alone.totals, alone.room())
    assert together.totals.late
    assert together.close_all().rows == alone.close_all().rows


@pytest.mark.parametrize("size", [2, CHUNK + 40])
@pytest.mark.parametrize("kind", KINDS)
def test_nor_on_how_many_windows_may_close_at_once(kind: str, size: int) -> None:
    """Where they close in portions no record is taken before the last of them, nor left out after it."""
    windows = "\n".join(
        f"{name}: {{{KINDS[kind][place]}, by: [user], allowed_lateness: 8ms, select: {{c: count(), l: last(n)}}}}"
        for place, name in enumerate("vw")
    )
    program = compile_pipeline(pipeline(windows, bound="2ms", limits=LIMITS["reject"]))
    records = _records(Random(5), CHUNK + 200)
    expected = _rows(Processor(program, "shard", 0), records, CHUNK)
    processor, rows = Processor(program, "shard", 0, rows_max=2), []
    for first in range(0, len(records), size):
        left = records[first : first + size]
        while left or processor.closing:
            waits = processor.closing
            outcome = processor.step(left)
            assert not waits or outcome.taken or len(outcome.rows) <= 2
            rows += outcome.rows
            left = left[outcome.taken :]
    assert rows == expected
