from __future__ import annotations

import hashlib
from itertools import islice

import msgspec
import pytest

from bench.stream import Recipe, ends, widened
from consumer.core.times import parse_time
from consumer.entrypoints.demo.clickstream import Message
from consumer.sources.kinesis import ShardInfo

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
RECIPE = Recipe(scenario_events=500, events_an_hour=1_000)
HASHES = 1 << 128


def shards(number: int) -> list[ShardInfo]:
    size = HASHES // number
    return [ShardInfo(f"shard-{i}", None, None, (str(i * size), str((i + 1) * size - 1)), False) for i in range(number)]


def times_ms(messages: list[Message]) -> list[int]:
    """Return the event times of what is an event, those of broken clocks left out."""
    times = []
    for _, data in messages:
        try:
            time_ms = parse_time(msgspec.json.decode(data)["event_time"])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        assert time_ms is not None
        if time_ms < NOW_MS + HOUR_MS:
            times.append(time_ms)
    return times


def test_there_are_as_many_records_as_asked_for() -> None:
    assert sum(1 for _ in RECIPE.records(1_234, shards(3), NOW_MS)) == 1_234


def test_the_same_recipe_gives_the_same_records() -> None:
    first, second = (list(RECIPE.records(1_100, shards(2), NOW_MS)) for _ in range(2))
    assert first == second


def test_more_records_are_more_of_the_same_kind_and_not_the_same_ones() -> None:
    messages = list(RECIPE.records(1_504, shards(4), NOW_MS))
    parts = [messages[start : start + 500] for start in (0, 500, 1_000)]
    assert len({data for part in parts for _, data in part}) > 1_490
    means = [sum(times_ms(part)) / len(times_ms(part)) for part in parts]
    # Half an hour of event time each, one after the other.
    assert [means[1] - means[0], means[2] - means[1]] == pytest.approx([HOUR_MS / 2] * 2, rel=0.1)


def test_every_event_but_the_ends_is_more_than_an_hour_old() -> None:
    messages = list(RECIPE.records(1_504, shards(4), NOW_MS))
    assert max(times_ms(messages[:-4])) < NOW_MS - HOUR_MS
    assert times_ms(messages[-4:]) == [NOW_MS] * 4


def test_each_shard_gets_one_end_with_a_key_of_its_own() -> None:
    for number, (key, data) in enumerate(ends(shards(7), NOW_MS)):
        digest = int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest(), "big")
        assert digest * 7 // HASHES == number
        assert msgspec.json.decode(data)["user_id"] == key


def test_records_have_the_size_of_real_click_events() -> None:
    sizes = [len(data) for _, data in islice(RECIPE.records(2_000, shards(4), NOW_MS), 1_990)]
    assert 174 <= sum(sizes) / len(sizes) <= 250
    assert max(sizes) <= 275


def test_what_is_no_object_is_not_widened() -> None:
    before = [Message("u", b'{"a":1}'), Message("u", b'{"a":')]
    after = list(widened(before))
    assert msgspec.json.decode(after[0].data)["a"] == 1
    assert len(after[0].data) > 100
    assert after[1] == before[1]
