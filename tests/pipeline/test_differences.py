"""What differs between two definitions, in the words of the file: every change is told, and nothing else."""

from __future__ import annotations

import pytest

from consumer.pipeline.definitions import definitions_hash, definitions_text
from consumer.pipeline.differences import differences, global_window_names
from consumer.pipeline.load import load_text
from tests.pipeline.test_definitions import TEXT, test_what_changes_results_changes_hashes

CHANGES = [change[:2] for change in vars(test_what_changes_results_changes_hashes)["pytestmark"][0].args[1]]
MORE = "  more: {tumbling: 1s, combine: false, select: {n: count()}}\n"


def meaning(text: str) -> str:
    return definitions_text(load_text(text, "p.yaml", {}))


def replaced(old: str, new: str) -> list[str]:
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new)
    if "user2" in new:
        text = text.replace("    user: string\n", "    user2: string\n").replace("by: [user]", "by: [user2]")
    return differences(meaning(TEXT), meaning(text))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("pipeline: golden", "pipeline: other", "pipeline: was golden, is now other"),
        ("out_of_orderness: 10s", "out_of_orderness: 90s", "events.out_of_orderness: was 10s, is now 1m30s"),
        ("idle_after: 2m", "idle_after: never", "events.idle_after: was 2m, is now never"),
        ("  time: at\n", "", "events.time: was at, is now nothing"),
        (
            "spare: bool?",
            "spare: bool",
            "events.fields.spare: was bool? at spare, unit ms, is now bool at spare, unit ms",
        ),
        (
            "    spare: bool?\n",
            "    spare: bool?\n    more: int?\n",
            "events.fields.more: was nothing, is now int? at more, unit ms",
        ),
        ("price * 1.19", "price * 1.07", "let.gross: was price * 1.19 (float?), is now price * 1.07 (float?)"),
        (
            "where: amount >= 0 and not (page is null)\n",
            "",
            "where: was amount >= 0 and not page is null, is now nothing",
        ),
        ("state:", "limits: {groups: 5000}\nstate:", "limits.groups: was 1000000, is now 5000"),
        ("windows:\n", f"windows:\n{MORE}", "windows.more: is new"),
        (
            "offset: 15m",
            "offset: 10m, timezone: UTC",
            "windows.views: was tumbling size 1h, offset 15m, is now tumbling size 1h, offset 10m, timezone UTC",
        ),
        ("session: 30m", "stagger: 30m", "windows.visits: was session gap 30m, is now stagger size 30m"),
        ("where: quantity > 0", "where: quantity > 1", "windows.visits.where: was quantity > 0, is now quantity > 1"),
        ("    emit: final\n", "", "windows.trend.emit: was final, is now updates"),
        ("by: [page]", "by: []", "windows.views.by: was [page (string?)], is now []"),
        (
            "top(page, 3)",
            "top(page, 4)",
            "windows.calm.select.best: was top(page, 3) (string), is now top(page, 4) (string)",
        ),
        (
            "      views: count()\n      revenue: sum(gross)\n",
            "      revenue: sum(gross)\n      views: count()\n",
            "windows.views.select (their order): was views, revenue, is now revenue, views",
        ),
    ],
)
def test_a_change_is_told_in_the_words_of_the_file(old: str, new: str, told: str) -> None:
    assert replaced(old, new) == [told]


def test_a_renamed_window_is_one_removed_and_one_added() -> None:
    assert replaced("  views:\n", "  looks:\n") == ["windows.views: was there, is now removed", "windows.looks: is new"]


def test_windows_in_another_order_are_told_of() -> None:
    first, _ = TEXT[TEXT.index("  views:\n") :].split("  visits:\n")
    moved = TEXT.replace(f"{first}  visits:\n", "  visits:\n").replace("sinks:", f"{first}sinks:")
    assert differences(meaning(TEXT), meaning(moved)) == ["windows: their order was views, visits, trend, calm"]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_whatever_changes_the_hash_is_told(old: str, new: str) -> None:
    assert replaced(old, new)


def test_the_hash_is_of_the_text() -> None:
    pipeline = load_text(TEXT, "p.yaml", {})
    assert differences(definitions_text(pipeline), definitions_text(pipeline)) == []
    other = load_text(TEXT.replace("gap", "gap"), "q.yaml", {})
    assert (definitions_hash(pipeline), definitions_text(pipeline)) == (
        definitions_hash(other),
        definitions_text(other),
    )


def test_a_window_that_becomes_global_and_its_buckets_are_told() -> None:
    assert replaced("    combine: false", "    combine: true\n    buckets: 4") == [
        "windows.views.emit: was updates, is now final",
        "windows.views.combine: was not true, is now true, buckets: 4",
    ]
    one, eight = (TEXT.replace("combine: false", f"combine: true\n    buckets: {n}") for n in (1, 8))
    assert differences(meaning(one), meaning(eight)) == [
        "windows.views.combine: was true, buckets: 1, is now true, buckets: 8"
    ]


def test_the_names_of_global_windows() -> None:
    assert global_window_names(meaning(TEXT)) == []
    assert global_window_names(meaning(TEXT.replace("combine: false", "combine: true"))) == ["views"]
