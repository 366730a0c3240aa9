"""What is open and when it ends, for every kind of window, against what was put in."""

from __future__ import annotations

import json
from random import Random

import pytest

from consumer.core.compile import compile_pipeline
from consumer.core.open_windows import OpenWindows
from consumer.core.processor import Processor
from consumer.records import HashRange, Record, hash_key
from tests.core.rule_stories import pipeline

WINDOWS = """
tumbling: {tumbling: 10ms, by: [user], select: {c: count()}}
sliding: {sliding: {size: 10ms, every: 5ms}, by: [user], select: {c: count()}}
session: {session: 7ms, by: [user], select: {c: count()}}
stagger: {stagger: 20ms, by: [user], select: {c: count()}}
parts: {tumbling: 100ms, combine: false, select: {c: count()}}
"""
SHARD = "shard"


def told(processor: Processor) -> dict[str, tuple[int, int | None, int | None]]:
    return {each.window: each[2:] for each in processor.open_windows() if each.origin == SHARD}


def fed(policy: str, times: list[tuple[int, str]]) -> Processor:
    """Return a processor of all kinds of windows, after these events: time and user."""
    program = compile_pipeline(pipeline(WINDOWS, bound="1s", limits=f"groups: 1000, policy: {policy}"))
    processor = Processor(program, SHARD, hash_range=HashRange(0, 2**128 - 1))
    records = [
        Record(json.dumps({"user": user, "at": time}).encode(), user, str(number), 0, 10_000)
        for number, (time, user) in enumerate(times, 1)
    ]
    assert not processor.apply(records).counts.dead_letters
    return processor


@pytest.mark.parametrize("policy", ["reject", "emit_early"])
def test_what_is_open_ends_when_its_events_say(policy: str) -> None:
    assert set(told(fed(policy, [])).values()) == {(0, None, None)}
    found = told(fed(policy, [(3, "a"), (9, "a"), (44, "a"), (12, "b")]))
    assert found == {
        "tumbling": (3, 10, 50),
        "sliding": (2 * 4 - 1, 5, 50),
        "session": (3, 16, 51),
        "stagger": (3, 23, 64),
        "parts": (1, 100, 100),
    }


def test_a_restored_state_tells_the_same_and_another_generation_changes_nothing() -> None:
    processor = fed("reject", [(3, "a"), (9, "a"), (44, "b")])
    before = processor.open_windows()
    processor.begin_generation(4)
    data = processor.freeze([], base=True)
    restored, _ = Processor.restore(processor._program, SHARD, 4, [data], hash_range=HashRange(0, 2**128 - 1))
    assert restored.open_windows() == before
    assert not restored.floors()


@pytest.mark.parametrize("policy", ["reject", "emit_early"])
def test_active_keys_are_those_of_the_fullest_start(policy: str) -> None:
    """User a at 1 and 11, b at 2, c at 12: tumbling has a, b in the first window, a, c in the second."""
    processor = fed(policy, [(1, "a"), (2, "b"), (11, "a"), (12, "c"), (13, "d")])
    keys = processor.active_keys()
    assert keys == {"tumbling": 3, "sliding": 3, "session": 4, "stagger": 4, "parts": 1}
    assert all(number <= processor.open_groups()[window] for window, number in keys.items())
    processor.freeze([], base=True)
    assert processor.active_keys() == keys, "what is stored is active all the same"
    processor.close_all()
    assert not any(processor.active_keys().values())


def test_parts_of_other_shards_are_told_by_their_origin() -> None:
    parent = fed("reject", [(3, "a"), (4, "b")])
    child = Processor.inherit(parent._program, "child", 0, hash_range=HashRange(0, 2**128 - 1), parents=[parent])
    assert hash_key("a") != hash_key("b")
    assert OpenWindows("parts", SHARD, 1, 100, 100) in child.open_windows()
    assert OpenWindows("parts", "child", 0, None, None) in child.open_windows()
    assert OpenWindows("tumbling", "child", 2, 10, 10) in child.open_windows()


@pytest.mark.parametrize("policy", ["reject", "emit_early"])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_counted_as_open_is_what_a_restored_state_has(seed: int, policy: str) -> None:
    """However windows came, merged, closed and were emitted early: the count decides when there is no more room."""
    random = Random(seed)
    program = compile_pipeline(pipeline(WINDOWS, bound="5ms", limits=f"groups: 24, policy: {policy}"))
    whole = HashRange(0, 2**128 - 1)
    processor = Processor(program, SHARD, hash_range=whole, rows_max=random.choice([1, 3, 10_000]))
    for number in range(1, 80):
        user, time = random.choice("abcd"), max(0, number * 2 + random.randrange(-12, 12))
        data = json.dumps({"user": user, "at": time}).encode()
        processor.step([Record(data, user, str(number), 0, 10_000)])
        restored, _ = Processor.restore(program, SHARD, 0, [processor.freeze([], base=True)], hash_range=whole)
        assert processor.open_groups() == restored.open_groups()
        assert processor.room() == restored.room()
        assert [each[:3] for each in processor.open_windows()] == [each[:3] for each in restored.open_windows()]
    processor.close_all()
    assert not any(processor.open_groups().values())
