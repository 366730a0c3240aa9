"""What the demo says at its end, and its exit status."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from consumer.entrypoints import demo as demo_package
from consumer.entrypoints.demo import demo
from consumer.entrypoints.demo.processes import DemoError
from consumer.entrypoints.demo.recount import Comparison, Recount, WindowSums
from consumer.entrypoints.demo.screen import Outcome, Screen


def outcome(*, missing: int = 0, wrong: int = 0, late: int = 7) -> Outcome:
    sums = WindowSums("visits", received=2_000, closed=1_900, still_open=80, late=late, dead_letters=5, filtered=8)
    results = Comparison(expected=1_234, delivered=1_300, duplicates=66, missing=missing, wrong=wrong)
    if missing:
        results.examples.append("abc is missing")
    counted = Recount(results, Comparison(7, 7), Comparison(5, 5), (sums,), {"visits": 42})
    return Outcome(counted, 2_000, 4, True, False, 2_000, 61.4, "http://127.0.0.1:1", "http://127.0.0.1:9102/metrics")


class FakePlay:
    """Plays nothing."""

    outcome = outcome()
    kept = False

    def __init__(self, *_: Any) -> None: ...

    def run(self) -> Outcome:
        return type(self).outcome

    def keep_running(self) -> None:
        type(self).kept = True


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> type[FakePlay]:
    class Fresh(FakePlay):
        pass

    monkeypatch.setattr(demo_package, "Play", Fresh)
    return Fresh


def shown(result: Outcome) -> str:
    text = io.StringIO()
    Screen(quiet=False, console=Console(file=text, width=120)).result(result)
    return text.getvalue()


def test_the_tables_tell_everything() -> None:
    text = shown(outcome())
    for figure in ("2,000", "1,900", "80", "1,234", "1,300", "66", "42", "adds up", "every row is there and right"):
        assert figure in text


def test_what_is_wrong_stands_out() -> None:
    text = shown(outcome(missing=3, wrong=2, late=6))
    assert "3 rows missing, 2 wrong" in text
    assert "1,999: does not" in text
    assert "abc is missing" in text
    assert "there and right" not in text


def test_steps_are_told_as_text() -> None:
    text = io.StringIO()
    Screen(quiet=False, console=Console(file=text, width=200)).step("Killing [it]:", "now")
    assert text.getvalue() == "• Killing [it]: now\n"


@pytest.mark.parametrize(
    ("result", "status"),
    [(outcome(), 0), (outcome(missing=1), 1), (outcome(wrong=1), 1), (outcome(late=8), 1)],
)
def test_the_status_is_0_only_if_all_is_there_and_adds_up(play: type[FakePlay], result: Outcome, status: int) -> None:
    play.outcome = result
    assert demo(json_output=True) == status


def test_json_is_one_object_and_nothing_else(play: type[FakePlay], capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(json_output=True) == 0
    output = capsys.readouterr()
    figures: Mapping[str, Any] = json.loads(output.out)
    assert output.err == ""
    assert figures["ok"] is True
    assert figures["rows"]["results"] == {
        "expected": 1234,
        "delivered": 1300,
        "duplicates_removed": 66,
        "missing": 0,
        "wrong": 0,
    }
    assert figures["windows"]["visits"]["adds_up"] is True
    assert figures["windows"]["visits"]["open_windows"] == 42


def test_keep_goes_on_after_the_recount(play: type[FakePlay]) -> None:
    assert demo(json_output=True) == 0
    assert not play.kept
    assert demo(json_output=True, keep=True) == 0
    assert play.kept


def test_a_step_that_fails_is_told(
    play: type[FakePlay], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: FakePlay) -> Outcome:
        raise DemoError("waited 5 s in vain for the worker")

    monkeypatch.setattr(play, "run", run)
    assert demo(json_output=True) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "waited 5 s in vain for the worker" in output.err


def test_an_interrupted_demo_has_failed(
    play: type[FakePlay], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: FakePlay) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(play, "run", run)
    assert demo(json_output=True) == 1
    assert "interrupted" in capsys.readouterr().err


def test_nonsense_is_refused() -> None:
    assert demo(events=0, json_output=True) == 2
    assert demo(shards=0, json_output=True) == 2
