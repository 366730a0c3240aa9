"""Every harm at every point; some of the pairs (all: `python -m tests.crash_points --pairs`); and that it can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from random import Random
from typing import Any

import pytest

from consumer.state.table import Table
from consumer.telemetry.events import Telemetry
from tests.crash_points import planted_combining
from tests.crash_points.__main__ import main
from tests.crash_points.durable import Durable
from tests.crash_points.explore import Explorer, Plan
from tests.crash_points.story import ABANDONED, Abandoned, StoryWorld
from tests.crash_points.variants import VARIANTS, Stage, Variant
from tests.crash_points.wire import DEADLY, Harm
from tests.runtime.test_resharding import GENERATIONS, ORIGINS
from tests.seeds import deep_only
from tests.simulation import planted, planted_global

PARTS = 4
"""The singles of a variant are as many tests, so that they can run side by side."""
SEED = 11
INLINE, BUCKET, TABLE, GLOBAL = VARIANTS


def _name(value: object) -> str:
    return value.name if isinstance(value, Variant) else getattr(value, "__name__", "")


@cache
def _explorer(variant: Variant, seed: int = SEED) -> Explorer:
    return Explorer(variant, seed)


def _singles(explorer: Explorer, part: int) -> Iterator[Plan]:
    return explorer.singles(range(part, len(explorer.base.points), PARTS))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("variant", [INLINE, BUCKET, TABLE, deep_only(GLOBAL)], ids=_name)
def test_every_harm_at_every_point(variant: Variant, part: int) -> None:
    explorer = _explorer(variant)
    assert [failure for failure in map(explorer.tried, _singles(explorer, part)) if failure] == []


@pytest.mark.parametrize("part", range(PARTS))
def test_every_death_with_global_windows_and_some_other_harms(part: int) -> None:
    explorer, random = _explorer(GLOBAL), Random(part)
    plans = [plan for plan in _singles(explorer, part) if _is_deadly(plan) or random.random() < 0.1]
    assert [failure for failure in map(explorer.tried, plans) if failure] == []


def _is_deadly(plan: Plan) -> bool:
    return any(strike.harm in DEADLY for strike in plan.values())


@pytest.mark.parametrize("seed", [SEED, 5, 24])
@pytest.mark.parametrize("variant", VARIANTS, ids=_name)
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
        (GLOBAL, {"batch_write_item", "checkpoint", "list_shards", "put", "put_item", "query"}),
    ],
    ids=_name,
)
def test_the_story_meets_all_there_is(variant: Variant, met: set[str]) -> None:
    points = _explorer(variant).base.points
    assert {point.name for point in points} >= met
    batches = {"put", "put_object", "delete_objects", "batch_write_item"} & {point.name for point in points}
    torn = {point.name for point in points if any(strike.harm is Harm.TORN for strike in point.strikes)}
    assert torn == batches


@pytest.mark.parametrize("variant", VARIANTS, ids=_name)
def test_the_story_leaves_nothing_and_has_left_something_in_between(variant: Variant) -> None:
    durable, left = Durable(), set[bytes]()
    with variant.limits():
        for world, stage in _told(variant, durable):
            if stage.shard == ABANDONED and stage.ends:
                left |= world.outbox(stage.shard).keys()
        assert left, "what the parent did not send is the child's to send"
        assert world.garbage() == []
        items = world.plain_store.list_shards()
        assert [shard for shard in ORIGINS if items[shard].retired] == ["low", "high", "merged"]
        world.assert_exact()


def _told(variant: Variant, durable: Durable) -> Iterator[tuple[StoryWorld, Stage]]:
    """Yield what there is after each stage of a story without harm."""
    for stage in variant.stages:
        world = StoryWorld(variant, SEED, durable, {})
        with suppress(Abandoned):
            assert world.serve(stage)
        yield world, stage
        durable.stage += 1


def test_the_story_with_global_windows_has_all_that_can_happen_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    left_out: list[object] = []
    monkeypatch.setattr(Telemetry, "global_windows_incomplete", lambda _, **what: left_out.append(what))
    durable, left, in_chunks = Durable(), set[bytes](), False
    items: dict[Stage, dict[str, int]] = {}
    with GLOBAL.limits():
        for world, stage in _told(GLOBAL, durable):
            if stage.shard == ABANDONED and stage.ends:
                left |= {row for row in world.outbox(stage.shard) if not row.startswith(b"{")}
            items[stage] = {kind: _items(durable, kind) for kind in ("global", "progress")}
            in_chunks |= any(key[1].endswith("#00001") for key in durable.aws.items)
    assert left, "contributions that a parent did not send are the child's to send"
    assert {commit.shard for commit in durable.combined.values()} == set(ORIGINS)
    before, after = (items[stage] for stage in GLOBAL.stages if stage.settles)
    assert before["progress"] == len(ORIGINS)
    assert after["progress"] == len(GENERATIONS[-1]), "of shards that ended days ago nothing is kept"
    assert before["global"] > after["global"] > 0
    assert in_chunks
    assert not left_out, "of what was forgotten everything had been combined"


def _items(durable: Durable, kind: str) -> int:
    return sum(f"/{kind}/" in key[0] for key in durable.aws.items)


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
    (planted_global.progress_told_before_it_is_sent, GLOBAL),
    (planted_global.whoever_is_there_is_the_cover, GLOBAL),
    (planted_combining.noted_a_commit_late, GLOBAL),
    (planted_combining.removed_before_the_commit, GLOBAL),
)


@pytest.mark.parametrize(("plant", "variant"), BUGS, ids=_name)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    try:
        explorer = Explorer(variant, SEED)
    except AssertionError:
        return  # it shows without any harm
    plans = filter(_is_deadly, explorer.singles()) if variant is GLOBAL else explorer.singles()
    assert any(map(explorer.tried, plans))


def test_the_command_runs_all_and_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.crash_points.__main__._POINTS_MAX", 3)
    assert main(["--variant", "inline", "--pairs"]) == 0
    assert "inline: 3 points" in capsys.readouterr().out
    assert main(["--variant", "bucket", "--plan", "4:refused:0,9:dies after:0"]) == 0
    assert main(["--variant", "global", "--plan", "30:dies torn:1,60:dies before:0"]) == 0


def test_a_plan_that_fails_tells_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = Explorer(INLINE, SEED)
    planted.no_resend(monkeypatch)
    failure = next(filter(None, map(explorer.tried, explorer.singles())))
    (number,) = failure.plan
    assert failure.text.startswith("python -m tests.crash_points --variant inline --seed 11 --plan '")
    assert str(number) in failure.text
