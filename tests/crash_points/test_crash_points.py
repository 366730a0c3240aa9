"""Every harm at every point; some of the pairs (all: `python -m tests.crash_points --pairs`); and that it can fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import pytest

from consumer.state.table import Table
from tests.crash_points.__main__ import main
from tests.crash_points.explore import Explorer
from tests.crash_points.story import STAGES, VARIANTS, Abandoned, Durable, StoryWorld, Variant
from tests.crash_points.wire import Harm
from tests.runtime.test_resharding import ORIGINS
from tests.simulation import planted

PARTS = 4
"""The singles of a variant are as many tests, so that they can run side by side."""
SEED = 11
INLINE, BUCKET, TABLE = VARIANTS


@cache
def _explorer(variant: Variant, seed: int = SEED) -> Explorer:
    return Explorer(variant, seed)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_harm_at_every_point(variant: Variant, part: int) -> None:
    explorer = _explorer(variant)
    numbers = range(part, len(explorer.base.points), PARTS)
    assert [failure for failure in map(explorer.tried, explorer.singles(numbers)) if failure] == []


@pytest.mark.parametrize("seed", [SEED, 5, 24])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_pairs_at_random(variant: Variant, seed: int) -> None:
    """Of the same story and of others: another pipeline, other records."""
    explorer, random = _explorer(variant, seed), Random(seed)
    assert [failure for failure in (explorer.random_pair(random) for _ in range(20)) if failure] == []


@pytest.mark.parametrize(
    ("variant", "met"),
    [
        (INLINE, {"get_item", "list_shards", "put", "put_item", "query", "transact_write_items", "update_item"}),
        (BUCKET, {"checkpoint", "delete_objects", "get_object", "list_objects_v2", "put_object"}),
        (TABLE, {"batch_write_item", "checkpoint"}),
    ],
    ids=lambda value: value.name if isinstance(value, Variant) else "",
)
def test_the_story_meets_all_there_is(variant: Variant, met: set[str]) -> None:
    points = _explorer(variant).base.points
    assert {point.name for point in points} >= met
    batches = {"put", "put_object", "delete_objects", "batch_write_item"} & {point.name for point in points}
    torn = {point.name for point in points if any(strike.harm is Harm.TORN for strike in point.strikes)}
    assert torn == batches


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_story_leaves_nothing_and_has_left_something_in_between(variant: Variant) -> None:
    durable, left = Durable(), set[bytes]()
    with variant.limits():
        for stage in STAGES:
            world = StoryWorld(variant, SEED, durable, {})
            try:
                world.serve(stage)
            except Abandoned:
                left |= world.outbox(stage.shard)
            durable.stage += 1
        assert left, "what the parent did not send is the child's to send"
        assert world.garbage() == []
        items = world.plain_store.list_shards()
        assert [shard for shard in ORIGINS if items[shard].retired] == ["low", "high", "merged"]
        world.assert_exact()


def _cut_answers_are_answers(patch: pytest.MonkeyPatch) -> None:
    def get(self: Table, key: Any) -> Any:
        return self._client.get_item(TableName=self._name, Key=key, ConsistentRead=True).get("Item")

    patch.setattr(Table, "get", get)


BUGS: tuple[tuple[Callable[[pytest.MonkeyPatch], None], Variant], ...] = (
    (planted.sent_before_commit, BUCKET),
    (planted.outbox_not_stored, TABLE),
    (planted.checkpoint_before_commit, INLINE),
    (planted.end_checkpointed_before_it_is_sent, INLINE),
    (planted.failed_rows_are_dropped, INLINE),
    (planted.no_resend, BUCKET),
    (planted.other_bytes_on_resend, INLINE),
    (planted.no_skip, TABLE),
    (planted.refused_is_taken_for_done, INLINE),
    (planted.ended_state_not_frozen, INLINE),
    (planted.child_starts_empty, INLINE),
    (planted.parents_retired_early, TABLE),
    (planted.superseded_deleted_before_the_fence, BUCKET),
    (_cut_answers_are_answers, INLINE),
)


@pytest.mark.parametrize(("plant", "variant"), BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    try:
        explorer = Explorer(variant, SEED)
    except AssertionError:
        return  # it shows without any harm
    assert any(map(explorer.tried, explorer.singles()))


def test_the_command_runs_all_and_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.crash_points.__main__._POINTS_MAX", 3)
    assert main(["--variant", "inline", "--pairs"]) == 0
    assert "inline: 3 points" in capsys.readouterr().out
    assert main(["--variant", "bucket", "--plan", "4:refused:0,9:dies after:0"]) == 0


def test_a_plan_that_fails_tells_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = Explorer(INLINE, SEED)
    planted.no_resend(monkeypatch)
    failure = next(filter(None, map(explorer.tried, explorer.singles())))
    (number,) = failure.plan
    assert failure.text.startswith("python -m tests.crash_points --variant inline --seed 11 --plan '")
    assert str(number) in failure.text
