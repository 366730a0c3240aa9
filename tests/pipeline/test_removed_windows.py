"""What the file says of windows that it has no more, and how two texts of definitions are told to differ by windows."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from consumer.pipeline.definitions import definitions_hash, definitions_text
from consumer.pipeline.differences import WindowChanges, window_changes, window_names
from consumer.pipeline.explain import explain
from consumer.pipeline.load import PipelineError, load_text
from consumer.pipeline.model import Limits, Pipeline, SinkRoute, StdoutSink
from consumer.pipeline.schema import json_schema

TEXT = """\
pipeline: shop
source: {stream: shop}
events: {fields: {user: string}}
windows:
  views: {tumbling: 1m, combine: false, select: {n: count()}}
  visits: {session: 5m, by: [user], combine: false, select: {n: count()}}
  trend: {sliding: {size: 10s, every: 2s}, combine: false, select: {n: count()}}
sinks: [{stdout: {}}]
state: {table: shop-state, bucket: shop-bucket}
"""


def _load(state: str = "", sinks: str = "[{stdout: {}}]") -> Pipeline:
    text = TEXT.replace("shop-bucket}", f"shop-bucket{state}}}").replace("[{stdout: {}}]", sinks)
    return load_text(text, "p.yaml", {})


def _problem(state: str, sinks: str = "[{stdout: {}}]") -> str:
    with pytest.raises(PipelineError) as refused:
        _load(state, sinks)
    (problem,) = refused.value.problems
    return f"{problem.path}: {problem.message}"


def test_what_becomes_of_removed_windows_is_told_by_name() -> None:
    assert _load().state.removed_windows == ()
    told = _load(", removed_windows: {long: flush, old-one: drop}")
    assert told.state.removed_windows == (("long", "flush"), ("old-one", "drop"))
    assert definitions_hash(told) == definitions_hash(_load()), "it may change at any time"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("{long: keep}", 'state.removed_windows.long: must be one of flush, drop, and is "keep"'),
        ("flush", 'state.removed_windows: must be a mapping (`key: value` lines), and is "flush"'),
        (
            "{views: drop}",
            (
                "state.removed_windows.views: the window is not removed, it stands in `windows`: take it out here, or "
                "there"
            ),
        ),
        (
            "{1st: drop}",
            (
                "state.removed_windows.1st: must be a name of letters, digits, _ and -, no digit first, and not longer "
                "than 64"
            ),
        ),
    ],
)
def test_mistakes_are_told(state: str, message: str) -> None:
    assert _problem(f", removed_windows: {state}") == message


def test_sinks_may_name_removed_windows_and_must_take_what_is_flushed() -> None:
    sinks = "[{stdout: {}, windows: [views, visits, trend]}, {file: {path: rows}, windows: [long]}]"
    routes = _load(", removed_windows: {long: flush, old: drop}", sinks).sinks
    assert routes[1].windows == ("long",)
    assert _problem("", sinks).startswith("sinks[1].windows[0]: there is no window `long`")
    sinks = "[{stdout: {}, windows: [views, visits, trend]}]"
    assert _load(", removed_windows: {long: drop}", sinks).sinks == (
        SinkRoute(StdoutSink(), ("views", "visits", "trend")),
    )
    assert _problem(", removed_windows: {long: flush}", sinks) == (
        "state.removed_windows.long: no sink takes what is flushed of this window: name it in `windows` of a sink, or "
        "give one without"
    )


def test_they_are_explained_and_editors_know_them() -> None:
    told = re.sub(r"\s+", " ", explain(_load(", removed_windows: {long: flush, old: drop}")))
    assert "Of a window that is not in the file any more, what is open is emitted as it is: long." in told
    assert "Of a window that is not in the file any more, what is open is thrown away: old." in told
    schema = json_schema()["$defs"]["StatePart"]["properties"]["removed_windows"]
    assert schema["additionalProperties"]["anyOf"][0] == {"enum": ["flush", "drop"]}


# Differences by windows


def test_windows_that_were_added_and_removed_are_told_apart_from_other_changes() -> None:
    whole = _load()
    views, visits, trend = whole.windows
    before = definitions_text(replace(whole, windows=(views, visits)))
    cases = {
        (views, visits): WindowChanges((), ()),
        (views,): WindowChanges((), ("visits",)),
        (trend, views, visits): WindowChanges(("trend",), ()),
        (trend,): WindowChanges(("trend",), ("views", "visits")),
        (replace(views, name="other"), visits): WindowChanges(("other",), ("views",)),
        (visits, views): None,
        (replace(views, allowed_lateness_ms=1), visits): None,
        (replace(views, allowed_lateness_ms=1), visits, trend): None,
    }
    for windows, changes in cases.items():
        after = definitions_text(replace(whole, windows=windows))
        assert window_changes(before, after) == changes
        assert window_names(after) == [window.name for window in windows]
    assert window_changes(before, definitions_text(replace(whole, limits=Limits(5, "reject")))) is None
