"""How far all shards are, as one worker sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from consumer.core.completion import LAST_HASH_KEY, Progress
from consumer.errors import RefusedError, RetryableError
from consumer.records import HashRange
from consumer.runtime.global_view import GlobalView
from consumer.runtime.surroundings import Surroundings
from tests.runtime.test_global_part import RANGES, Two


class Scripted:
    """A store whose reads of progress are told beforehand."""

    def __init__(self, *reads: Sequence[Progress] | Exception) -> None:
        self.reads = list(reads)

    def read_progress(self, _: int) -> Sequence[Progress]:
        read = self.reads.pop(0)
        if isinstance(read, Exception):
            raise read
        return read


def told(shard: str, range_: HashRange, watermark_ms: int, *parents: str) -> Progress:
    return Progress(shard, 0, parents, (str(range_.first), str(range_.last)), watermark_ms, 1, 1)


LOW, HIGH = told("low", RANGES["low"], 100), told("high", RANGES["high"], 50)
MERGED = told("merged", HashRange(0, LAST_HASH_KEY), 50, "low", "high")
RIGHT = told("right", RANGES["high"], 60, "merged")


def _looks(*reads: Sequence[Progress] | Exception) -> tuple[Two, Surroundings, Scripted]:
    world, store = Two(), Scripted(*reads)
    around = dataclasses.replace(world.around, view=GlobalView(), store=store)  # type: ignore[arg-type]  # all it asks
    return world, around, store


def test_a_read_in_the_midst_of_a_merge_and_a_split_is_not_believed() -> None:
    """Low was read before the merge, right after the split: they fill the hash keys, and high is behind both."""
    mixed = [LOW, RIGHT]
    whole = [LOW, HIGH, MERGED, RIGHT]
    world, around, _ = _looks(mixed, whole, whole, whole)
    assert around.view.look(around).watermark_ms is None
    world.clock.seconds += 6
    assert around.view.look(around).watermark_ms == 50


def test_progress_is_read_once_an_interval() -> None:
    world, around, store = _looks([LOW, HIGH], [LOW, HIGH], [LOW, HIGH])
    for _ in range(3):
        assert around.view.look(around).watermark_ms == 50
    assert len(store.reads) == 1
    world.clock.seconds += 5
    around.view.look(around)
    assert store.reads == []


@pytest.mark.parametrize("error", [RetryableError("throttled"), RefusedError("progress of a newer version")])
def test_what_was_complete_stays_so_while_progress_cannot_be_read(error: Exception) -> None:
    world, around, _ = _looks([LOW, HIGH], [LOW, HIGH], error)
    around.view.look(around)
    world.clock.seconds += 5
    assert around.view.look(around).watermark_ms == 50
    assert [line["step"] for line in world.told("commit_retry")] == ["tell"]
    # Nor does a shard without a name stand still from there on, for which the worker would be killed.
    assert "" not in around.telemetry.health.report().shards
