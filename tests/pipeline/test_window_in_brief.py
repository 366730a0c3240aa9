"""A window in a few words, as the status page shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.pipeline.explain_windows import window_in_brief
from consumer.pipeline.load import load
from consumer.pipeline.model import Session, Sliding, Stagger, Tumbling, Window

CLICKSTREAM = Path(__file__).parents[2] / "config" / "clickstream.yaml"


def test_the_windows_of_a_file() -> None:
    windows = load(CLICKSTREAM, {}).windows
    assert {window.name: window_in_brief(window) for window in windows} == {
        "page_views": "tumbling 1m by page, a part for each shard",
        "all_views": "tumbling 1m by page, over all shards",
        "revenue": "tumbling 1m by country, a part for each shard",
        "visits": "session, gap 30m by user_id",
    }


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Tumbling(3_600_000, 0), "tumbling 1h"),
        (Tumbling(86_400_000, 0, "Europe/Berlin"), "tumbling 1d in Europe/Berlin"),
        (Sliding(300_000, 60_000), "sliding 5m every 1m"),
        (Session(5_400_000, 43_200_000), "session, gap 1h30m"),
        (Stagger(90_000), "stagger 1m30s"),
    ],
)
def test_every_kind(kind: Tumbling | Sliding | Session | Stagger, text: str) -> None:
    assert window_in_brief(Window("w", kind, (), (), aligned=True)) == text


@pytest.mark.parametrize(
    ("aligned", "buckets", "text"),
    [(True, None, ""), (False, None, ", a part for each shard"), (False, 2, ", over all shards")],
)
def test_whose_events_are_in_a_row(*, aligned: bool, buckets: int | None, text: str) -> None:
    window = Window("w", Tumbling(60_000, 0), (), (), aligned=aligned, buckets=buckets)
    assert window_in_brief(window) == f"tumbling 1m{text}"
