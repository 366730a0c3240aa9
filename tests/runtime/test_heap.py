"""What the garbage collector is told about a large state."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from random import Random

import pytest

from consumer.runtime import heap
from consumer.runtime.heap import LARGE_STATE_GROUPS, THAW_EVERY, StateHeap
from tests.random_streams import records
from tests.runtime.world import FakeDaemon, World, random_pipeline


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    gc.unfreeze()
    gc.collect()
    yield
    gc.unfreeze()


class Cycle:
    """Garbage that only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_a_small_state_is_left_to_the_collector() -> None:
    StateHeap().settle(LARGE_STATE_GROUPS - 1)
    assert gc.get_freeze_count() == 0


def test_a_large_state_is_visited_once_and_frozen() -> None:
    groups = [[number] for number in range(1000)]
    lost = weakref.ref(Cycle())
    StateHeap().settle(LARGE_STATE_GROUPS)
    assert gc.get_freeze_count() > len(groups)
    assert lost() is None, "what is garbage already is not frozen"
    assert len(gc.get_objects()) < len(groups), "the collector sees little more than nothing"


def test_what_became_garbage_when_frozen_is_found_some_time() -> None:
    state_heap = StateHeap()
    request = Cycle()
    lost = weakref.ref(request)
    state_heap.settle(LARGE_STATE_GROUPS)
    del request
    for _ in range(THAW_EVERY - 2):
        state_heap.settle(LARGE_STATE_GROUPS)
    assert lost() is not None
    state_heap.settle(LARGE_STATE_GROUPS)
    assert lost() is None


def test_the_state_of_a_shard_that_leaves_is_found() -> None:
    state_heap = StateHeap()
    state = Cycle()
    lost = weakref.ref(state)
    state_heap.settle(LARGE_STATE_GROUPS)
    state_heap.release()
    del state
    gc.collect()
    assert lost() is None


def test_the_collector_waits_until_all_that_is_being_loaded_is_there() -> None:
    state_heap = StateHeap()
    with state_heap.paused():
        assert not gc.isenabled()
        with state_heap.paused():
            pass
        assert not gc.isenabled(), "another shard is still being loaded"
    assert gc.isenabled()


def test_a_large_state_that_was_loaded_is_frozen_unseen() -> None:
    state_heap = StateHeap()
    state_heap.loaded(LARGE_STATE_GROUPS - 1)
    assert gc.get_freeze_count() == 0
    cycle = Cycle()
    lost = weakref.ref(cycle)
    del cycle
    state_heap.loaded(LARGE_STATE_GROUPS)
    assert gc.get_freeze_count() > 0
    assert lost() is not None, "nothing was visited"


def test_a_shard_settles_after_its_commits_and_is_released_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "LARGE_STATE_GROUPS", 0)
    world = World(random_pipeline(11), records(Random(11), 60))
    daemon = FakeDaemon(world)
    looks: list[int] = []
    script = daemon._usual("shutdown")

    def watched() -> Iterator[dict[str, object]]:
        for message in script:
            looks.append(gc.get_freeze_count())
            yield message

    daemon._script = watched()
    world.run(daemon)
    assert looks[0] == 0
    assert min(looks[1:]) > 0, "from INIT on"
    assert gc.get_freeze_count() == 0
    world.assert_exact()
