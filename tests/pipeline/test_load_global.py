"""Global windows in the file: what is accepted, and what is refused by name."""

from __future__ import annotations

import pytest

from consumer.pipeline.load import load_text
from consumer.pipeline.model import Window
from tests.pipeline.test_load_mistakes import GOOD, problems_of

VIEWS = GOOD[GOOD.index("    tumbling: 1m") : GOOD.index("      revenue: sum(double)")]
"""What the window `views` is, up to its second column."""


def written(window: str, more: str = "") -> str:
    assert GOOD.count(VIEWS) == 1
    return GOOD.replace(VIEWS, window) + more


def views(window: str) -> Window:
    return load_text(written(window), "p.yaml", {}).windows[0]


GLOBAL = "    tumbling: 1m\n    by: [page]\n    combine: true\n    select:\n      views: count()\n"


@pytest.mark.parametrize(
    "kind", ["tumbling: 1m", "tumbling: {size: 1d, timezone: Asia/Tokyo}", "sliding: {size: 10s, every: 3s}"]
)
@pytest.mark.parametrize("by", ["", "    by: []\n", "    by: [page, vip]\n"])
@pytest.mark.parametrize("buckets", ["", "    buckets: 1\n", "    buckets: 256\n"])
def test_what_is_global(kind: str, by: str, buckets: str) -> None:
    window = views(f"    {kind}\n{by}    combine: true\n{buckets}    select:\n      views: count()\n")
    assert window.combined
    assert not window.aligned
    assert window.buckets == (256 if "256" in buckets else 1)
    assert window.emit == "final"


@pytest.mark.parametrize("emit", ["", "    emit: final\n"])
def test_its_rows_are_final_whether_it_is_said_or_not(emit: str) -> None:
    window = views(GLOBAL.replace("    select", f"{emit}    allowed_lateness: 5m\n    select"))
    assert (window.emit, window.allowed_lateness_ms) == ("final", 300_000)


def test_without_a_partition_key_as_well() -> None:
    text = GOOD.replace("  partition_key: user\n", "").replace(
        "    session: {gap: 30m}", "    tumbling: 1d\n    combine: true"
    )
    pipeline = load_text(text, "p.yaml", {})
    assert [(each.combined, each.aligned) for each in pipeline.windows] == [(False, False), (True, False)]


def test_no_other_window_is_global() -> None:
    assert [(each.combined, each.buckets) for each in load_text(GOOD, "p.yaml", {}).windows] == [(False, None)] * 2


EARLY = "limits: {policy: emit_early}\n"
CHOOSE = "19:3: windows.views: `by` lacks the partition key `user`, so "
REJECTS = "      views: count_distinct(user, 5, 'reject')\n"


@pytest.mark.parametrize(
    ("window", "more", "expected"),
    [
        (
            GLOBAL.replace("tumbling", "session"),
            "",
            (
                "22:14: windows.views.combine: a session window cannot be combined over shards, as events in other "
                "shards may join two sessions of one: write `combine: false`, for one row a shard, or make the window "
                "tumbling or sliding"
            ),
        ),
        (
            GLOBAL.replace("tumbling", "stagger"),
            "",
            (
                "22:14: windows.views.combine: a stagger window cannot be combined over shards, as it begins with an "
                "event, in each shard with another one: write `combine: false`, for one row a shard, or make the "
                "window tumbling or sliding"
            ),
        ),
        (
            GLOBAL.replace("    select", "    emit: updates\n    select"),
            "",
            (
                "23:11: windows.views.emit: a global window gives final rows alone, which `allowed_lateness` delays: "
                "write `emit: final`, or leave it out"
            ),
        ),
        (
            GLOBAL.replace("      views: count()\n", REJECTS),
            "",
            (
                "24:14: windows.views.select.views: count_distinct with 'reject' cannot be in a global window, whose "
                "parts are put together only when it has ended: write 'approximate', or leave it out"
            ),
        ),
        (
            GLOBAL.replace("tumbling: 1m", "sliding: {size: 1m, every: 1s}").replace("      views: count()\n", REJECTS),
            "",
            (
                "24:14: windows.views.select.views: count_distinct with 'reject' cannot be in a sliding window, whose "
                "parts are put together only when it ends: write 'approximate', or leave it out"
            ),
        ),
        (
            GLOBAL,
            EARLY,
            (
                "36:18: limits.policy: of global windows (`views`) only whole ones are combined, so nothing of them "
                "can be emitted early: write `reject`, or `combine: false` there"
            ),
        ),
        (
            VIEWS.replace("combine: false", "combine: false\n    buckets: 2"),
            "",
            (
                "23:5: windows.views.buckets: only global windows are combined in buckets: write `combine: true`, or "
                "leave it out"
            ),
        ),
        (
            VIEWS.replace("[page]", "[page, user]").replace("    combine: false\n", "    buckets: 1\n"),
            "",
            "22:5: windows.views.buckets: only global windows are combined in buckets: leave it out",
        ),
        (
            GLOBAL.replace("[page]", "[user]"),
            "",
            (
                "22:14: windows.views.combine: `by` holds the partition key `user`, so one shard sees all events of a "
                "group and there is nothing to combine: leave `combine` out"
            ),
        ),
        (
            GLOBAL.replace("combine: true", "combine: true\n    buckets: 0"),
            "",
            "23:14: windows.views.buckets: must be a whole number from 1 to 256, and is the number 0",
        ),
        (
            GLOBAL.replace("combine: true", "combine: true\n    buckets: 257"),
            "",
            "23:14: windows.views.buckets: must be a whole number from 1 to 256, and is the number 257",
        ),
        (
            GLOBAL.replace("combine: true", "combine: all\n    buckets: 2"),
            "",
            '22:14: windows.views.combine: must be true or false, and is "all"',
        ),
        (
            VIEWS.replace("combine: false", "buckets: 2"),
            "",
            CHOOSE + "events of one group lie in several shards and no shard sees all of them: write `combine: true` "
            "for one row over all shards, `combine: false` for one row a shard, marked partial; or add user to `by`, "
            "so that one shard holds the whole group",
        ),
        (
            VIEWS.replace("    combine: false\n", "").replace("tumbling", "session"),
            "",
            CHOOSE + "events of one group lie in several shards and no shard sees all of them: write `combine: false` "
            "for one row a shard, marked partial; or add user to `by`, so that one shard holds the whole group",
        ),
    ],
)
def test_what_is_refused(window: str, more: str, expected: str) -> None:
    assert [str(problem) for problem in problems_of(written(window, more))] == [f"p.yaml:{expected}"]


def test_groups_may_be_emitted_early_where_nothing_is_global() -> None:
    assert load_text(GOOD + EARLY, "p.yaml", {}).limits.policy == "emit_early"
