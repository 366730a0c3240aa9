"""What a shard has taken of its stream: the position, what is skipped by it, and what goes on from it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Outcome, Processor
from consumer.records import HashRange, Position, Record, hash_key
from tests.core.rule_stories import pipeline

SHARD = "shard"
LEFT, RIGHT = HashRange(0, 2**127 - 1), HashRange(2**127, 2**128 - 1)
WHOLE = HashRange(0, 2**128 - 1)
TEN = "w: {tumbling: 10ms, by: [user], select: {c: count(), l: last(n), f: first(n), all: 'collect(n, 9)'}}"
PROGRAM = compile_pipeline(pipeline(TEN, bound="0ms"), keys_required=False)


def _record(sequence: int | None, time: int, user: str = "a", *, sub: int = 0, value: int = 0) -> Record:
    data = json.dumps({"user": user, "at": time, "n": value}).encode()
    return Record(data, user, None if sequence is None else str(sequence), sub, 1_000 + time)


def _processor(rows_max: int = 10_000) -> Processor:
    return Processor(PROGRAM, SHARD, rows_max=rows_max)


def _columns(outcome: Outcome, *names: str) -> list[tuple[object, ...]]:
    rows = [json.loads(row.data) for row in outcome.rows]
    return [tuple(row[name] for name in names) for row in rows]


def _restored(processor: Processor) -> Processor:
    return Processor.restore(PROGRAM, SHARD, 0, [processor.freeze([], base=True)])[0]


def test_the_position_is_the_last_records_and_so_is_the_time_of_arrival() -> None:
    processor = _processor()
    assert processor.position is None
    assert processor.last_arrival_ms is None
    processor.apply([_record(7, 5), _record(8, 3, sub=2)])
    for each in (processor, _restored(processor)):
        assert each.position == Position(8, 2)
        assert each.last_arrival_ms == 1_003
        assert each.watermark_ms == 5
        assert each.totals.received == 2
    assert _restored(_processor()).watermark_ms is None


def test_sequence_numbers_are_compared_as_numbers() -> None:
    processor = _processor()
    processor.apply([_record(9, 1)])
    assert processor.apply([_record(10, 2)]).counts.replayed == 0
    assert processor.apply([_record(9, 1)]).counts.replayed == 1


@pytest.mark.parametrize(
    ("batch", "replayed"),
    [
        ([(4, 0), (5, 0), (5, 1)], 3),
        ([(5, 0), (5, 1), (5, 2), (6, 0)], 2),
        ([(5, 1), (5, 2)], 1),
        ([(5, 2), (6, 0)], 0),
        ([(4, 9)], 1),
        ([(6, 0)], 0),
        ([], 0),
    ],
)
def test_what_is_at_or_before_the_position_is_skipped_and_nothing_else(
    batch: Sequence[tuple[int, int]], replayed: int
) -> None:
    processor = _processor()
    processor.apply([_record(5, 1, sub=0), _record(5, 1, sub=1)])
    outcome = processor.step([_record(sequence, 1, sub=sub) for sequence, sub in batch])
    assert outcome.counts.replayed == processor.totals.replayed == replayed
    assert processor.totals.received == 2 + len(batch)
    assert outcome.counts.received == outcome.taken == len(batch)
    fresh = len(batch) - replayed
    assert (outcome.size_bytes > 0) == (fresh > 0)
    assert processor.position == (Position(*batch[-1]) if fresh else Position(5, 1))
    assert _columns(processor.close_all(), "c") == [(2 + fresh,)]


def test_a_restored_shard_skips_what_was_counted() -> None:
    processor = _processor()
    batch = [_record(number, 1) for number in range(1, 6)]
    processor.apply(batch)
    restored = _restored(processor)
    assert restored.apply([*batch, _record(6, 1)]).counts.replayed == 5
    assert _columns(restored.close_all(), "c") == [(6,)]


def test_records_without_sequence_numbers_are_never_skipped() -> None:
    processor = _processor()
    processor.apply([_record(1, 1)])
    outcome = processor.apply([_record(None, 1), _record(None, 1)])
    assert outcome.counts.replayed == 0
    assert processor.position == Position(1, 0)
    assert _columns(processor.close_all(), "c") == [(3,)]


def test_of_equal_times_the_position_decides_whatever_the_batches() -> None:
    """Also where the shard was restored in between."""
    records = [_record(number, 5, value=number) for number in range(1, 8)]
    together, apart, restored = _processor(), _processor(), _processor()
    together.apply(records)
    for record in records:
        apart.apply([record])
    restored.apply(records[:4])
    restored = _restored(restored)
    for record in records[4:]:
        restored.apply([record])
    for processor in (together, apart, restored):
        assert _columns(processor.close_all(), "f", "l", "c", "all") == [(1, 7, 7, [1, 2, 3, 4, 5, 6, 7])]


@pytest.mark.parametrize("time", [9, 20])
def test_a_step_that_only_closes_takes_no_record(time: int) -> None:
    """The windows end at 10: an event at 9, their last instant, makes them due where nothing is out of order."""
    processor = _processor(rows_max=1)
    ending = "user1" if time == 9 else "other"
    first = processor.step([_record(number, 1, f"user{number}") for number in range(1, 5)] + [_record(5, time, ending)])
    assert (first.taken, len(first.rows)) == (5, 1)
    later = _record(6, 21)
    outcomes = []
    while processor.closing:
        outcomes.append(processor.step([later]))
    assert [(outcome.taken, outcome.size_bytes, len(outcome.rows)) for outcome in outcomes] == [
        (0, 0, 1),
        (0, 0, 1),
        (1, len(later.data), 1),
    ]
    assert processor.position == Position(6, 0)
    assert processor.totals.received == 6


@pytest.mark.parametrize("is_restored", [False, True])
def test_of_equal_values_in_two_panes_the_position_decides_whatever_the_batches(*, is_restored: bool) -> None:
    windows = "w: {sliding: {size: 10ms, every: 5ms}, by: [user], select: {least: 'min_by(n, x)'}}"
    program = compile_pipeline(pipeline(windows, bound="20ms"), keys_required=False)
    processor = Processor(program, SHARD)
    for number, time in enumerate((7, 3, 8, 2), 1):
        data = json.dumps({"user": "a", "at": time, "n": number, "x": 1.5}).encode()
        processor.apply([Record(data, "a", str(number), 0, 1_000)])
        if is_restored:
            processor, _ = Processor.restore(program, SHARD, 0, [processor.freeze([], base=True)])
    assert _columns(processor.close_all(), "window_start", "least")[1] == ("1970-01-01T00:00:00.000Z", 1)


def test_a_step_stops_behind_the_record_that_leaves_windows_to_be_closed() -> None:
    processor = _processor(rows_max=1)
    records = [_record(number, 1, f"user{number}") for number in range(1, 5)]
    records += [_record(number, 15 + number) for number in range(5, 200)]
    outcome = processor.step(records)
    assert (outcome.taken, len(outcome.rows), processor.closing) == (5, 1, True)
    assert processor.position == Position(5, 0)
    assert outcome.counts.received == 5


def test_all_is_taken_and_closed_at_once_where_nobody_waits() -> None:
    """However small the portions are: the outcome is that of all steps together."""
    records = [_record(number, 1, f"user{number}") for number in range(1, 5)]
    records += [_record(5, 20), _record(6, 21), _record(7, 40), _record(8, 41)]
    whole, portions = _processor().apply(records), _processor(rows_max=1).apply(records)
    assert portions == whole
    assert (portions.taken, len(portions.rows)) == (8, 5)
    assert portions.size_bytes == sum(len(record.data) for record in records)
    assert portions.counts.results == {"w": 5}


def test_what_a_shard_waits_for_is_told() -> None:
    processor = _processor()
    assert processor.next_due_ms is None
    processor.apply([_record(1, 13)])
    assert processor.next_due_ms == 19
    assert [processor.idle_closes(now_ms) for now_ms in (18, 19)] == [False, True]


def _merged(rows_max: int = 10_000) -> Processor:
    """Return a child of two shards at 15 and 35: the right one's floor is the higher one."""
    parents = [Processor(PROGRAM, str(half), hash_range=half) for half in (LEFT, RIGHT)]
    for parent, time in zip(parents, (15, 35), strict=True):
        user = next(name for name in map(str, range(99)) if (parent is parents[0]) == LEFT.holds(hash_key(name)))
        parent.apply([_record(1, time, user)])
    child = Processor.inherit(PROGRAM, SHARD, 0, hash_range=WHOLE, parents=parents)
    child._core._rows_max = rows_max
    return child


def test_floors_are_dropped_when_the_watermark_has_passed_them() -> None:
    child = _merged()
    restored, _ = Processor.restore(PROGRAM, SHARD, 0, [child.freeze([], base=True)], hash_range=WHOLE)
    assert list(restored.floors()) == list(child.floors())
    assert [tuple(floor) for floor in child.floors()] == [(RIGHT, 35)]
    left = next(name for name in map(str, range(99)) if LEFT.holds(hash_key(name)))
    child.apply([_record(2, 34, left)])
    assert [floor.watermark_ms for floor in child.floors()] == [35]
    child.apply([_record(3, 35, left)])
    assert not list(child.floors())


def test_floors_stay_while_windows_that_they_have_passed_are_being_closed() -> None:
    child = _merged(rows_max=1)
    left = [name for name in map(str, range(99)) if LEFT.holds(hash_key(name))][:3]
    assert child.apply([_record(2 + number, 16, user) for number, user in enumerate(left)]).counts.late == {}
    outcome = child.step([_record(9, 60, left[0])])
    assert outcome.taken == 1
    while child.closing:
        assert [floor.watermark_ms for floor in child.floors()] == [35]
        child.step([])
    child.step([_record(10, 60, left[0])])
    assert not list(child.floors())
