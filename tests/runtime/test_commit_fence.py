"""What an owner concludes of the stored item when a commit was refused or not answered: done, not yet, or fenced."""

from __future__ import annotations

import msgspec
import pytest

from consumer.errors import FencedError, RetryableError
from consumer.runtime.commit import ShardOwner
from consumer.state.base import Claim, ShardState
from tests.core.rule_stories import pipeline
from tests.runtime.world import SHARD, World

TEN = "w: {tumbling: 10ms, by: [user], select: {c: count()}}"
MINE, ANOTHERS = 1, 2
"""Epochs."""


def _owner() -> tuple[World, ShardOwner, ShardState]:
    """Return an owner of epoch 1 and commit 0, and the state that it tries to store as commit 1."""
    world = World(pipeline(TEN, bound="0ms"), [])
    owner = ShardOwner(world.surroundings(), SHARD)
    owner.initialise(None)
    before = world.memory.items[SHARD].state
    assert before is not None
    return world, owner, msgspec.structs.replace(before, commit_no=1, sha256="a" * 64)


def _concluded(commit_no: int | None, *, epoch: int = MINE, is_mine: bool = True, refused: bool) -> str:
    """Return what is concluded when that is stored; no commit is stored if `commit_no` is None."""
    world, owner, tried = _owner()
    sha256 = tried.sha256 if is_mine else "b" * 64
    stored = None if commit_no is None else msgspec.structs.replace(tried, commit_no=commit_no, sha256=sha256)
    world.memory.items[SHARD] = Claim(epoch, stored)
    return _conclusion(owner, tried, refused=refused)


def _conclusion(owner: ShardOwner, tried: ShardState, *, refused: bool) -> str:
    try:
        owner._conclude(tried, refused=refused)
    except FencedError as error:
        return f"fenced by {error.seen_epoch}"
    except RetryableError:
        return "to be tried again"
    return "done"


@pytest.mark.parametrize("refused", [True, False])
def test_my_epoch_with_my_number_and_hash_is_done_whatever_was_answered(*, refused: bool) -> None:
    assert _concluded(1, refused=refused) == "done"


def test_my_epoch_with_the_commit_before_is_not_done_yet_if_nothing_was_answered() -> None:
    assert _concluded(0, is_mine=False, refused=False) == "to be tried again"
    assert _concluded(0, is_mine=False, refused=True) == "fenced by 1"


@pytest.mark.parametrize("refused", [True, False])
def test_my_epoch_with_another_commit_of_that_number_or_a_later_one_is_a_twin(*, refused: bool) -> None:
    assert _concluded(1, is_mine=False, refused=refused) == "fenced by 1"
    assert _concluded(2, is_mine=False, refused=refused) == "fenced by 1"
    assert _concluded(2, refused=refused) == "fenced by 1"
    assert _concluded(None, refused=refused) == "fenced by 1"


@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("commit_no", [None, 0, 1, 2])
def test_another_epoch_is_fenced_even_if_my_commit_was_done_before(commit_no: int | None, *, refused: bool) -> None:
    assert _concluded(commit_no, epoch=ANOTHERS, refused=refused) == "fenced by 2"
    assert _concluded(commit_no, epoch=ANOTHERS, is_mine=False, refused=refused) == "fenced by 2"


@pytest.mark.parametrize("refused", [True, False])
def test_without_an_item_the_owner_is_fenced(*, refused: bool) -> None:
    world, owner, tried = _owner()
    del world.memory.items[SHARD]
    assert _conclusion(owner, tried, refused=refused) == "fenced by 0"


def test_commit_0_that_was_not_answered_is_tried_again_where_none_is_stored() -> None:
    world, owner, tried = _owner()
    first = msgspec.structs.replace(tried, commit_no=0)
    world.memory.items[SHARD] = Claim(MINE, None)
    assert _conclusion(owner, first, refused=False) == "to be tried again"
    assert _conclusion(owner, first, refused=True) == "fenced by 1"


def test_the_epoch_is_looked_at_before_anything_is_called_corrupt() -> None:
    world, owner, _ = _owner()
    owner._check_epoch()
    world.memory.items[SHARD] = Claim(ANOTHERS, None)
    with pytest.raises(FencedError) as fenced:
        owner._check_epoch()
    assert fenced.value.seen_epoch == ANOTHERS
    del world.memory.items[SHARD]
    owner._check_epoch()
