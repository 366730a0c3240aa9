"""Which shards speak for the whole stream, and what is complete by them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from random import Random

import pytest

from consumer.core.completion import (
    LAST_HASH_KEY,
    NAME_DIGITS,
    Completion,
    Progress,
    Stretch,
    completion,
    cover,
    extended,
)
from consumer.core.windows import LONG_AGO_MS

HALF, QUARTER = 2**127, 2**126


def told(shard: str, first: int, last: int, watermark_ms: int | None = 0, *parents: str) -> Progress:
    return Progress(shard, 0, parents, (str(first), str(last)), watermark_ms, epoch=1, commit_no=1)


LOW, HIGH = told("low", 0, HALF - 1, 10), told("high", HALF, LAST_HASH_KEY, 20)
MERGED = told("merged", 0, LAST_HASH_KEY, 30, "low", "high")
LEFT, RIGHT = told("left", 0, HALF - 1, 40, "merged"), told("right", HALF, LAST_HASH_KEY, 50, "merged")


def names(members: Sequence[Progress]) -> list[str]:
    return [member.shard for member in members]


@pytest.mark.parametrize(
    ("seen", "members"),
    [
        ([LOW, HIGH], ["low", "high"]),
        ([LOW], []),
        ([HIGH], []),
        ([LOW, HIGH, MERGED], ["merged"]),
        ([MERGED], ["merged"]),
        ([MERGED, LEFT], ["merged"]),
        ([MERGED, LEFT, RIGHT], ["left", "right"]),
        ([LOW, HIGH, MERGED, LEFT, RIGHT], ["left", "right"]),
        ([LOW, HIGH, MERGED, RIGHT], ["merged"]),
        ([LOW, MERGED, RIGHT], ["merged"]),
        # What a read in the middle of a merge and a split can see; that the names were read twice is the caller's part.
        ([LOW, HIGH, LEFT], []),
        ([LEFT, RIGHT], ["left", "right"]),
    ],
)
def test_the_cover(seen: list[Progress], members: list[str]) -> None:
    for order in itertools.permutations(seen):
        assert names(cover(order)) == members


def test_a_grandchild_ends_what_its_grandparent_says() -> None:
    first = told("first", 0, QUARTER - 1, 60, "left")
    assert cover([MERGED, LEFT, first]) == []
    assert names(cover([MERGED, LEFT, first, RIGHT])) == ["left", "right"]


def test_ranges_that_overlap_are_no_cover() -> None:
    assert cover([LOW, HIGH, told("other", 5, 9)]) == []
    assert cover([told("all", 0, LAST_HASH_KEY), HIGH]) == []


def test_the_lowest_watermark_counts_and_its_shard_is_named() -> None:
    reached = completion([LOW, HIGH], 0)
    assert (reached.watermark_ms, reached.highest_ms, reached.held_back_by) == (10, 20, "low")


def test_a_shard_that_has_seen_nothing_holds_everything_back() -> None:
    reached = completion([LOW, told("high", HALF, LAST_HASH_KEY, None)], 0)
    assert (reached.watermark_ms, reached.highest_ms, reached.held_back_by) == (None, 10, "high")


def test_without_a_cover_nothing_is_complete() -> None:
    reached = completion([LOW], 0)
    assert (reached.watermark_ms, reached.highest_ms, reached.held_back_by) == (None, 10, None)
    assert Completion().watermark_ms is None


def test_what_has_expired_is_not_there() -> None:
    ended = Progress("low", 0, (), ("0", str(LAST_HASH_KEY)), 5, 1, 1, ended=True, expires_ms=100)
    assert completion([ended], 99).watermark_ms == 5
    assert completion([ended], 100).told == ()


def test_a_window_that_was_added_counts_from_when_all_count_it() -> None:
    def began(shard: Progress, *since: tuple[str, int]) -> Progress:
        return Progress(shard.shard, 0, (), shard.hash_range, 0, 1, 1, began=since)

    both = Completion(members=(began(LOW, ("w" * NAME_DIGITS, 7)), began(HIGH, ("w" * NAME_DIGITS, 9), ("other", 1))))
    assert both.began_ms("w" * 64) == 9
    assert both.began_ms("other") is None
    assert Completion().began_ms("w" * 64) is None


def test_what_may_be_forgotten() -> None:
    stretches = Stretch(100, 50), Stretch(110, 90)
    seen = Completion(told=(Progress("low", 0, (), ("0", "1"), 90, 1, 1, stretches=stretches),))
    assert seen.forgotten_ms(99) == LONG_AGO_MS
    assert seen.forgotten_ms(100) == 50
    assert seen.forgotten_ms(110) == 90


def test_stretches_never_promise_too_much_and_stay_few() -> None:
    """Whatever was contributed at a time, the stretches say that it may be forgotten not later than it is."""
    random, kept_ms = Random(5), 1_600
    stretches: tuple[Stretch, ...] = ()
    made: list[tuple[int, int]] = []
    now_ms = watermark_ms = 0
    for _ in range(3_000):
        now_ms += random.choice((1, 5, 40, 40, 300))
        watermark_ms += random.choice((0, 1, 10, 500))
        stretches = extended(stretches, now_ms, Stretch(now_ms + kept_ms, watermark_ms))
        made.append((now_ms, watermark_ms))
        seen = Completion(told=(Progress("x", 0, (), ("0", "1"), 0, 1, 1, stretches=stretches),))
        forgotten_ms = seen.forgotten_ms(now_ms)
        before = [due_ms for at_ms, due_ms in made if at_ms + kept_ms <= now_ms]
        assert not before or before[-1] <= forgotten_ms
        # What was contributed in the last half of that time is never called forgotten.
        recent = next(due_ms for at_ms, due_ms in made if at_ms + kept_ms // 2 > now_ms)
        assert forgotten_ms <= recent or len(made) == 1
        assert len(stretches) <= 11


def _replaced(shards: dict[str, Progress], random: Random, number: int) -> None:
    """Split or merge shards that are alive, as a stream does; `shards` are all that ever were."""
    alive = sorted(_alive(shards.values()), key=lambda shard: shard.range)
    at = random.randrange(len(alive))
    if random.random() < 0.5 and at + 1 < len(alive):
        one, other = alive[at], alive[at + 1]
        shards[f"s{number}"] = told(f"s{number}", one.range.first, other.range.last, 0, one.shard, other.shard)
    else:
        one = alive[at]
        middle = (one.range.first + one.range.last) // 2
        shards[f"s{number}a"] = told(f"s{number}a", one.range.first, middle, 0, one.shard)
        shards[f"s{number}b"] = told(f"s{number}b", middle + 1, one.range.last, 0, one.shard)


def _alive(shards: Iterable[Progress]) -> list[Progress]:
    known = list(shards)
    parents = {parent for shard in known for parent in shard.parents}
    return [shard for shard in known if shard.shard not in parents]


@pytest.mark.parametrize("seed", range(30))
def test_a_cover_is_a_cut_through_the_lineage(seed: int) -> None:
    """Of shards that began one by one, at any moment, the cover has an ancestor, or itself, of all that come after."""
    random = Random(seed)
    shards = {shard.shard: shard for shard in (LOW, HIGH)}
    for number in range(random.randint(1, 8)):
        _replaced(shards, random, number)
    begun: list[Progress] = []
    waiting = list(shards.values())
    covers = 0
    while waiting:
        ready = [each for each in waiting if all(parent in names(begun) for parent in each.parents)]
        begun.append(random.choice(ready))
        waiting.remove(begun[-1])
        members = cover(begun)
        covers += bool(members)
        for each in waiting if members else ():
            assert _descends_of_members_alone(each, shards, set(names(members)))
    assert cover(list(shards.values())) == sorted(_alive(list(shards.values())), key=lambda shard: shard.range)
    assert covers


def _descends_of_members_alone(shard: Progress, shards: dict[str, Progress], members: set[str]) -> bool:
    """Tell whether every way back from a shard meets a member of the cover."""
    if not shard.parents:
        return False
    return all(
        parent in members or _descends_of_members_alone(shards[parent], shards, members) for parent in shard.parents
    )
