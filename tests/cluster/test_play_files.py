"""The pipeline files and figures of the cluster test, without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.pipeline.load import load
from tests.chart.chart_rig import ROOT
from tests.cluster.figures import BEGIN, END, PAGE, markdown
from tests.cluster.play import ADDED, Act, Watch, write_changed, write_first
from tests.cluster.site import Audit


@pytest.fixture
def first(tmp_path: Path) -> Path:
    path = tmp_path / "first.yaml"
    write_first(ROOT / "config" / "clickstream.yaml", path)
    return path


def test_the_first_file_foresees_the_window_that_the_changed_one_adds(first: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.yaml"
    write_changed(first, changed)
    before, after = load(first, {}), load(changed, {})
    assert [window.name for window in after.windows] == [*(window.name for window in before.windows), ADDED]
    assert dict(before.state.removed_windows) == {ADDED: "drop"}
    assert dict(after.state.removed_windows) == {}


def test_a_pause_is_the_longest_time_between_two_batches_of_a_shard() -> None:
    watch = Watch(None, 9102, rises={"a": [1.0, 2.0, 9.5, 10.0], "b": [1.0, 1.5], "c": [3.0]})  # type: ignore[arg-type] # looks at nothing
    assert watch.pauses() == {"a": 7.5, "b": 0.5}


def test_the_section_tells_the_pauses_and_each_act_once() -> None:
    acts = [
        Act("helm install", 30.0, Audit(10, 0)),
        Act("restart", 40.0, Audit(20, 1)),
        Act("restart", 41.0, Audit(30, 2)),
    ]
    text = markdown("2026-11-22", [5.0, 6.0, 9.0], acts)
    assert "for 6.0 s in the median, 9.0 s at most (3 shards)" in text
    assert "| restart | 40, 41 | 20, 30 | 1, 2 | 0, 0 |" in text


def test_the_page_has_a_place_for_the_section() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.index(BEGIN) < page.index(END)
