"""A child that closes what its parent left: it may come late, and another child of that parent may be quicker."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random

import pytest

from consumer.errors import RefusedError
from consumer.runtime import commit
from consumer.runtime.commit import ShardOwner
from consumer.state.memory import MemoryStore
from tests.random_streams import records
from tests.runtime.test_resharding import ORIGINS, Family, _before, _end_unsent, _serve_all
from tests.runtime.world import random_pipeline

PARENT, HEIR, SIBLING = "merged", "split-2", "split-1"
SEED = 11


class Rivals(Family):
    """Shards up to two children of one parent; something may happen just before a step, when it is first come to."""

    def __init__(self) -> None:
        pipeline = random_pipeline(SEED)
        state = dataclasses.replace(pipeline.state, on_gap="continue")
        super().__init__(dataclasses.replace(pipeline, state=state), list(records(Random(SEED), 60)))
        self._awaited: tuple[str, Callable[[], None]] | None = None
        _serve_all(self, {each: ORIGINS[each] for each in _before(PARENT)})

    def just_before(self, step: str, act: Callable[[], None]) -> None:
        self._awaited = f"before {step}", act

    def step(self, name: str) -> None:
        if self._awaited is not None and self._awaited[0] == name:
            act, self._awaited = self._awaited[1], None
            act()
        super().step(name)

    def begin(self, shard: str) -> None:
        ShardOwner(self.surroundings(), shard).initialise(None)

    def give_up_the_parent(self) -> None:
        """Have both children go on for so long that nobody needs their parent: the heir has another owner by now."""
        self.begin(SIBLING)
        MemoryStore(self.memory).retire(PARENT, self.memory.items[PARENT].epoch)

    def owner_of_the_parent(self) -> ShardOwner:
        self.turn_to(PARENT)
        self.steps.clear()
        return ShardOwner(self.surroundings(), PARENT)


def _ended_unsent() -> Rivals:
    family = Rivals()
    _end_unsent(family, PARENT)
    return family


def _not_ended() -> Rivals:
    """Its lease says that it has ended."""
    family = Rivals()
    family.serve(PARENT, end="shutdown")
    return family


def test_what_a_sibling_has_sent_and_acknowledged_is_not_sent_again() -> None:
    family = _ended_unsent()
    left = family.state(PARENT).outbox_rows
    sent = len(family.sink.rows)
    owner = family.owner_of_the_parent()
    family.just_before("claim", lambda: family.begin(SIBLING))
    assert owner.close_ended(heir=HEIR)
    assert left > 0
    assert len(family.sink.rows) == sent + left
    _serve_all(family)
    family.assert_exact()


@pytest.mark.parametrize("step", ["claim", "advance"])
def test_a_sibling_ends_the_parent_first(step: str) -> None:
    family = _not_ended()
    owner = family.owner_of_the_parent()
    family.just_before(step, lambda: family.begin(SIBLING))
    assert owner.close_ended(heir=HEIR)
    assert family.state(PARENT).ended
    assert owner.processor.position == family.state(PARENT).position
    rows = family.unique_rows().keys()
    family.begin(HEIR)
    assert family.unique_rows().keys() == rows, "the parent left nothing more"


@pytest.mark.parametrize("left", [_ended_unsent, _not_ended])
def test_a_parent_that_is_given_up_meanwhile_leaves_nothing(left: Callable[[], Rivals]) -> None:
    family = left()
    owner = family.owner_of_the_parent()
    family.just_before("claim", family.give_up_the_parent)
    with pytest.raises(RefusedError, match="was given up after other shards had taken it over"):
        owner.close_ended(heir=HEIR)


def test_the_state_of_a_parent_is_loaded_once_when_its_rows_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be large."""
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    family = _ended_unsent()
    entries = len(family.state(PARENT).manifest)
    assert family.owner_of_the_parent().close_ended(heir=HEIR)
    assert family.steps.count("before get_object") == entries > 0


@pytest.mark.parametrize("left", [_ended_unsent, _not_ended])
def test_a_parent_that_the_stream_knows_no_more_leaves_what_its_state_has(left: Callable[[], Rivals]) -> None:
    family = left()
    family.unknown = {PARENT}
    family.begin(HEIR)
    assert family.state(HEIR).parents == (PARENT,)
