"""The demo's steps one by one: what they make, send and say. Workers in containers use them (tests/image)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from consumer.emulator.server import Emulator
from consumer.entrypoints.demo import PIPELINE_FILE, steps
from consumer.entrypoints.demo.cloud import Cloud, environment_for
from consumer.entrypoints.demo.lineage import Counted
from consumer.entrypoints.demo.processes import DemoError
from consumer.entrypoints.demo.recount import Comparison, Recount
from consumer.errors import EXIT_FAILURE, EXIT_OK
from consumer.pipeline.load import load
from consumer.pipeline.model import Pipeline
from consumer.runtime import clock
from consumer.state.base import Application
from consumer.testing.reference import Expected


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load(PIPELINE_FILE, {})


@pytest.fixture(scope="module")
def aws() -> Iterator[Emulator]:
    with Emulator() as aws:
        yield aws


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody really wait."""
    seconds = [0.0]

    def sleep(some: float) -> None:
        seconds[0] += some

    monkeypatch.setattr(clock, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(clock, "sleep", sleep)


def test_everything_is_made_once_then_events_are_sent(aws: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    def step(*arguments: str) -> list[str]:
        assert steps.main(["--endpoint", aws.endpoint, *arguments, str(PIPELINE_FILE)]) == EXIT_OK
        return capsys.readouterr().out.splitlines()

    assert step("prepare", "--shards", "2", "--owner", "w-0") == ["made"]
    assert step("prepare", "--shards", "2") == ["there already"]
    assert json.loads(step("produce", "--events", "700", "--rate", "100000")[-1]) == {"sent": 700, "resent": 0}
    cloud = Cloud(load(PIPELINE_FILE, {}), environment_for(aws.endpoint, {}))
    assert sum(len(cloud.records(shard.id)) for shard in cloud.shards()) == 700


def test_without_an_endpoint_or_a_worker_it_is_told(
    aws: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert steps.main(["recount", str(PIPELINE_FILE)]) == EXIT_FAILURE
    assert "AWS_ENDPOINT_URL" in capsys.readouterr().err
    assert steps.main(["--endpoint", "http://127.0.0.1:1", "--seconds", "3", "prepare", str(PIPELINE_FILE)]) == 1
    assert "waited 3 s for the embedded AWS" in capsys.readouterr().err


@dataclass
class _Cloud:
    """Shards that are done after so many looks, and what has arrived, a bit more at each look."""

    pipeline: Pipeline
    looks: int = 0
    arrivals: Iterator[Recount] = field(default_factory=lambda: iter(()))

    def is_done(self, _counted: Counted) -> bool:
        self.looks -= 1
        return self.looks < 0

    def delivered(self) -> None:
        return None

    def application(self) -> Application:
        return Application(0, 0, (), "", 0)


def _found(missing: int, wrong: int = 0) -> Recount:
    return Recount(Comparison(9, missing=missing, wrong=wrong), Comparison(0), Comparison(0), (), {})


@pytest.fixture
def audited(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> _Cloud:
    cloud = _Cloud(pipeline)
    one = Counted(cast("Expected", None), None, closed=False)
    monkeypatch.setattr(steps, "_counted", lambda *_: [one])
    monkeypatch.setattr(steps, "together", lambda *_: None)
    monkeypatch.setattr(steps, "recount", lambda *_: next(cloud.arrivals))
    return cloud


def _audit(cloud: _Cloud) -> Recount:
    return steps.audit(cast("Cloud", cloud), seconds_max=5)


def test_rows_that_are_on_their_way_are_waited_for(audited: _Cloud) -> None:
    audited.looks = 2
    audited.arrivals = iter([_found(3), _found(1), _found(0)])
    assert _audit(audited).is_right


def test_rows_that_do_not_come_are_missing_in_the_end(audited: _Cloud) -> None:
    audited.arrivals = iter([_found(2)] * 20)
    assert _audit(audited).missing == 2
    assert len(list(audited.arrivals)) > 5, "it does not look for ever"


def test_wrong_rows_are_not_waited_for(audited: _Cloud) -> None:
    audited.arrivals = iter([_found(2, wrong=1)])
    assert not _audit(audited).is_right


def test_workers_that_do_not_come_to_the_end_are_told_of(audited: _Cloud) -> None:
    audited.looks = 1_000
    with pytest.raises(DemoError, match="waited 5 s for the workers to read the stream to its end"):
        _audit(audited)


def test_what_is_printed_names_what_is_not_right() -> None:
    found = _found(1)
    found.results.examples.append("row 7 is missing")
    printed = steps.as_json(found)
    assert (printed["right"], printed["expected"], printed["missing"]) == (False, 9, 1)
    assert printed["examples"] == ["row 7 is missing"]


def test_a_file_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert steps.main(["--endpoint", "http://127.0.0.1:1", "recount", str(tmp_path / "none.yaml")]) == EXIT_FAILURE
    assert "none.yaml" in capsys.readouterr().err
