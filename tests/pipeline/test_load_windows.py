"""Kinds of windows, as the file has them and as the model does."""

from __future__ import annotations

import random

import pytest

from consumer.pipeline import model
from consumer.pipeline.load import PipelineError, load_text
from consumer.pipeline.rules import timezones

TEXT = """\
pipeline: kinds
source: {stream: clicks}
events: {fields: {user: string, page: string?}}
windows:
  one:
    KIND
    combine: false
    select: {events: count()}
sinks: [{stdout: {}}]
state: {table: kinds-state, bucket: kinds-bucket}
"""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def window(kind: str, extra: str = "") -> model.Window:
    text = TEXT.replace("string?", "'string?'").replace("KIND", kind) + extra
    return load_text(text, "p.yaml", {}).windows[0]


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("tumbling: 1m", model.Tumbling(60_000, 0)),
        ("tumbling: {size: 1m}", model.Tumbling(60_000, 0)),
        ("tumbling: {size: 1h, offset: 59m}", model.Tumbling(HOUR_MS, 59 * 60_000)),
        ("tumbling: {size: 1d, timezone: Europe/Berlin}", model.Tumbling(DAY_MS, 0, "Europe/Berlin")),
        (
            "tumbling: {size: 7d, offset: 4d, timezone: Asia/Kolkata}",
            model.Tumbling(7 * DAY_MS, 4 * DAY_MS, "Asia/Kolkata"),
        ),
        ("tumbling: {size: 1h, timezone: UTC}", model.Tumbling(HOUR_MS, 0, "UTC")),
        ("sliding: {size: 10s, every: 2s}", model.Sliding(10_000, 2_000)),
        ("sliding: {size: 10s, every: 3s}", model.Sliding(10_000, 3_000)),
        ("sliding: {size: 10s, every: 10s}", model.Sliding(10_000, 10_000)),
        ("sliding: {size: 10s, every: 1ms}", model.Sliding(10_000, 1)),
        ("session: 30m", model.Session(1_800_000)),
        ("session: {gap: 30m, max_length: 12h}", model.Session(1_800_000, 12 * HOUR_MS)),
        ("session: {gap: 30m, max_length: 1ms}", model.Session(1_800_000, 1)),
        ("stagger: 10m", model.Stagger(600_000)),
        ("stagger: {size: 10m}", model.Stagger(600_000)),
    ],
)
def test_kinds(written: str, kind: model.Kind) -> None:
    assert window(written).kind == kind


@pytest.mark.parametrize("kind", ["tumbling: 1m", "sliding: {size: 1m, every: 10s}", "session: 1m", "stagger: 1m"])
def test_what_every_kind_may_have(kind: str) -> None:
    found = window(f"{kind}\n    where: page != 'x'\n    allowed_lateness: 30s\n    emit: final\n    by: [page]")
    assert found.where is not None
    assert (found.allowed_lateness_ms, found.emit) == (30_000, "final")


@pytest.mark.parametrize("kind", ["tumbling: 1m", "session: 1m", "stagger: 1m"])
def test_count_distinct_may_reject_where_a_group_is_in_one_place(kind: str) -> None:
    text = TEXT.replace("string?", "'string?'").replace("KIND", kind)
    load_text(text.replace("count()", "\"count_distinct(page, 5, 'reject')\""), "p.yaml", {})


@pytest.mark.parametrize("policy", ["reject", "emit_early"])
@pytest.mark.parametrize("kind", ["tumbling: 1m", "sliding: {size: 1m, every: 10s}", "session: 1m", "stagger: 1m"])
def test_every_kind_may_have_either_policy(kind: str, policy: str) -> None:
    window(kind, f"limits: {{groups: 6, policy: {policy}}}\n")


def test_a_limit_may_be_below_what_an_event_opens_where_groups_are_emitted_early() -> None:
    window("sliding: {size: 1m, every: 10s}", "limits: {groups: 1, policy: emit_early}\n")


def test_any_ratio_of_sliding_windows_within_reason() -> None:
    random_ = random.Random(4)
    for _ in range(50):
        every_ms = random_.randint(1, 100_000)
        size_ms = every_ms + random_.randint(0, every_ms * 9_999)
        assert window(f"sliding: {{size: {size_ms}ms, every: {every_ms}ms}}").kind == model.Sliding(size_ms, every_ms)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("berlin", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("europe/paris", "Europe/Paris"),
        ("utc", "UTC"),
        ("Asia/Kolkatta", "Asia/Kolkata"),
        ("Mars/Olympus", None),
        ("", None),
    ],
)
def test_zones_that_are_meant(written: str, meant: str | None) -> None:
    with pytest.raises(PipelineError) as caught:
        window(f"tumbling: {{size: 1d, timezone: {written!r}}}")
    (problem,) = caught.value.problems
    assert problem.path == "windows.one.tumbling.timezone"
    assert ("did you mean" in problem.message) == (meant is not None)
    assert meant is None or f"(did you mean `{meant}`?)" in problem.message


def test_the_zones_are_those_of_the_package() -> None:
    assert {"Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "UTC"} <= timezones()
    assert "Europe/Nowhere" not in timezones()
