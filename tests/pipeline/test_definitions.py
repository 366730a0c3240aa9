"""Hashes of meaning: fixed for ever for a given meaning, and changed by whatever changes results."""

from __future__ import annotations

import pytest

from consumer.pipeline.definitions import definitions_hash, window_hash
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline

TEXT = """\
pipeline: golden
source: {stream: clicks, partition_key: user, start: trim_horizon}
events:
  compression: none
  idle_after: never
  fields:
    user: string
    at: timestamp
    page: string?
    amount: float?
    quantity: int?
    spare: bool?
  time: at
  out_of_orderness: 10s
  max_future: 5m
let:
  price: amount * coalesce(quantity, 1)
  gross: price * 1.19
  label: if(spare, 'é\\n', "it's")
where: amount >= 0 and not (page is null)
windows:
  views:
    tumbling: {size: 1h, offset: 15m}
    by: [page]
    combine: false
    select:
      views: count()
      revenue: sum(gross)
  visits:
    session: 30m
    by: [user]
    select: {first_page: first(page), best: max(quantity / 2)}
sinks: [{stdout: {}}]
state: {table: golden-state, bucket: golden-bucket}
"""

DEFINITIONS = "1a3c5e042be1091e5bfc5331d2f431d02a7103e9422e5f0a89371835997e70fb"
VIEWS = "d39b4ceff1ec7fa3ae49c401cfc53512ef7a8ec70024176340c8fa0292894f7a"
VISITS = "43d4f3f0dec9d3499eec8f6caf2d3c0ec8fe359dbc0bde915df1617768d641a4"


def loaded(text: str) -> Pipeline:
    return load_text(text, "p.yaml", {})


def hashes(text: str) -> tuple[str, str, str]:
    pipeline = loaded(text)
    views, visits = (window_hash(pipeline, window) for window in pipeline.windows)
    return definitions_hash(pipeline), views, visits


def test_golden() -> None:
    """A change here makes every stored state unusable and gives every result another id: never by accident."""
    assert hashes(TEXT) == (DEFINITIONS, VIEWS, VISITS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("stream: clicks", "stream: other"),
        ("start: trim_horizon", "start: latest"),
        ("[{stdout: {}}]", "[{firehose: {stream: x}}]\nlate: {stdout: {}}\ndead_letter: {stdout: {}}"),
        ("bucket: golden-bucket", "bucket: other, commit_interval: 1s, emit_delay: 0s"),
        ("state:", "worker: {application: other, metrics_port: 1, identifier: x, kcl: {maxRecords: 5}}\nstate:"),
        ("session: 30m", "session: {gap: 1800s}"),
        ("where: amount >= 0 and not (page is null)", "where: (amount>=0) and (not page is null)  # as before"),
        ("size: 1h", "size: 60m"),
    ],
)
def test_what_does_not_change_results_changes_no_hash(old: str, new: str) -> None:
    assert TEXT.count(old) == 1
    assert hashes(TEXT.replace(old, new)) == (DEFINITIONS, VIEWS, VISITS)


@pytest.mark.parametrize(
    ("old", "new", "views_change", "visits_change"),
    [
        ("pipeline: golden", "pipeline: other", False, False),
        ("partition_key: user", "partition_key: user2", False, True),
        ("user: string", "user: int", False, True),
        ("page: string?", "page: string", True, True),
        ("quantity: int?", "quantity: int", True, True),
        ("spare: bool?", "spare: bool", False, False),
        ("    spare: bool?\n", "    spare: bool?\n    more: int?\n", False, False),
        ("  time: at\n", "", True, True),
        ("out_of_orderness: 10s", "out_of_orderness: 11s", True, True),
        ("max_future: 5m", "max_future: off", True, True),
        ("max_future: 5m", "max_future: 5m\n  max_bytes: 5", False, False),
        ("price: amount *", "price: 2 * amount *", True, False),
        ("gross: price * 1.19", "gross: price * 1.07", True, False),
        ("'é", "'e", False, False),
        ("where: amount >= 0", "where: amount > 0", True, True),
        ("where: amount >= 0 and not (page is null)\n", "", True, True),
        ("  views:\n", "  looks:\n", True, False),
        ("size: 1h", "size: 2h", True, False),
        ("offset: 15m", "offset: 10m", True, False),
        ("session: 30m", "session: 31m", False, True),
        ("session: 30m", "tumbling: 30m", False, True),
        ("by: [page]", "by: [page, at]", True, False),
        ("by: [page]", "by: []", True, False),
        ("views: count()", "views: count(page)", True, False),
        ("      views: count()", "      count: count()", True, False),
        ("sum(gross)", "avg(gross)", True, False),
        ("max(quantity / 2)", "max(quantity / 3)", False, True),
    ],
)
def test_what_changes_results_changes_hashes(old: str, new: str, *, views_change: bool, visits_change: bool) -> None:
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new)
    if "user2" in new:
        text = text.replace("    user: string\n", "    user2: string\n").replace("by: [user]", "by: [user2]")
    definitions, views, visits = hashes(text)
    assert definitions != DEFINITIONS
    assert (views != VIEWS) == views_change
    assert (visits != VISITS) == visits_change


def test_a_window_is_not_changed_by_its_neighbours() -> None:
    other = TEXT.replace(
        "  visits:\n", "  more:\n    tumbling: 1s\n    combine: false\n    select: {n: count()}\n  visits:\n"
    )
    pipeline = loaded(other)
    assert window_hash(pipeline, pipeline.windows[0]) == VIEWS
    assert window_hash(pipeline, pipeline.windows[2]) == VISITS


def test_alignment_is_part_of_a_window() -> None:
    partial = TEXT.replace(", partition_key: user", "").replace("session: 30m", "session: 30m\n    combine: false")
    definitions, views, visits = hashes(partial)
    assert definitions != DEFINITIONS
    assert (views, visits != VISITS) == (VIEWS, True)
