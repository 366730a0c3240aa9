from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from ruamel.yaml import YAML

from bench import core_report, recovery, recovery_report, recovery_stage
from bench.recovery_report import PAGE, SCENARIOS, Run, Spread, figures, markdown, rows_of, spreads, verdict, write
from bench.recovery_stage import Recovery, Worker, parse_received
from consumer.pipeline.load import load
from consumer.runtime.daemon_files import DEFAULTS


def run(scenario: str, *seconds: float, duplicates: int = 0) -> Run:
    return Run(
        scenario=scenario,
        processed_s=list(seconds),
        committed_s=[each + 1.5 for each in seconds],
        rows=100,
        duplicates=duplicates,
        stops_s=[2.0],
        load_average=1.5,
    )


def test_the_99th_percentile_is_a_value_that_was_measured() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == (2.0, 3.0, 3.0, 3)
    assert Spread.of([float(each) for each in range(1, 201)]) == (100.5, 198.0, 200.0, 200)
    assert Spread.of([7.0]) == (7.0, 7.0, 7.0, 1)


def test_stages_of_a_scenario_are_taken_together() -> None:
    runs = [run("release", 1.0, 2.0), run("other_worker", 14.0), run("release", 6.0, duplicates=3)]
    assert spreads(runs, "processed_s") == {"release": (2.0, 6.0, 6.0, 3), "other_worker": (14.0, 14.0, 14.0, 1)}
    assert spreads(runs, "committed_s")["release"].most == 7.5
    assert rows_of("release", runs) == (200, 3)


def test_what_is_wanted_must_hold_for_every_shard() -> None:
    assert verdict(Spread.of([7.0, 8.0]), 8.0) == "met"
    assert verdict(Spread.of([7.0, 7.0, 8.1]), 8.0) == "met_in_the_median"
    assert verdict(Spread.of([9.0]), 8.0) == "not_met"


def test_every_figure_has_a_name_a_value_and_a_unit() -> None:
    lines = [
        str(figure) for figure in figures([run("same_identifier", 6.5, 7.5, duplicates=4), run("leader_lost", 120.0)])
    ]
    assert "recovery_same_identifier_processed_p50 7.000 s" in lines
    assert "recovery_same_identifier_committed_max 9.000 s" in lines
    assert "recovery_same_identifier_goal met at_most_8" in lines
    assert "recovery_same_identifier_duplicates 4.000 rows" in lines
    assert not [line for line in lines if line.startswith("recovery_leader_lost_goal")], "nothing is wanted of it"


def test_the_table_says_what_is_missed() -> None:
    text = markdown([run("same_identifier", 9.0, 10.0), run("leader_lost", 121.0)], "2030-01-31T10:00:00", {"cores": 2})
    assert "| 8, **not met** | 9.5 | 10.0 | 10.0 | 11.0, 11.5 | 2 |" in text
    assert "| the kill | - | 121.0 | 121.0 | 121.0 | 122.5, 122.5 | 1 | 120 |" in text
    assert "Measured on 2030-01-31: cores 2; load average 1.5 to 1.5." in text


def test_what_is_written_has_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(recovery_report, "JSON", tmp_path / "recovery.json")
    monkeypatch.setattr(recovery_report, "PAGE", page)
    write([run("release", 2.0)])
    begin, end = core_report.marks("recovery")
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    section, _, after = rest.partition(end)
    assert "| 10, met | 2.0 |" in section
    assert before.startswith("# Reliability")
    assert "What is not promised" in after
    stored = msgspec.json.decode((tmp_path / "recovery.json").read_bytes())
    assert stored["runs"][0]["processed_s"] == [2.0]
    assert stored["settings"]["failoverTimeMillis"] == DEFAULTS["failoverTimeMillis"]


def test_the_settings_are_those_that_ship(tmp_path: Path) -> None:
    path, port = recovery_stage.pipeline_copy(tmp_path, "worker-1", "release")
    pipeline = load(path, {})
    assert pipeline.worker.kcl == ()
    assert (pipeline.worker.identifier, pipeline.worker.on_stop) == ("worker-1", "release")
    assert YAML().load(path)["worker"]["metrics_port"] == port


PAGE_OF_METRICS = """# HELP streamgauge_records_received_total Records
streamgauge_records_received_total{shard="shardId-000000000000",stream="clicks"} 120.0
streamgauge_records_received_total{stream="clicks",shard="shardId-000000000001"} 0.0
streamgauge_records_received_created{shard="shardId-000000000000",stream="clicks"} 1.7e+09
"""


def test_a_shard_has_gone_on_when_more_was_received(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_received(PAGE_OF_METRICS) == {"shardId-000000000000": 120.0, "shardId-000000000001": 0.0}
    worker = Worker("worker-0", Path("file"), 1, None)  # type: ignore[arg-type] # no process is needed
    pages = iter([PAGE_OF_METRICS, PAGE_OF_METRICS, PAGE_OF_METRICS.replace("} 0.0", "} 7.0")])
    monkeypatch.setattr(recovery_stage, "scrape", lambda _: next(pages))
    for _ in range(3):
        worker.look()
    assert {shard: len(moments) for shard, moments in worker.rises.items()} == {
        "shardId-000000000000": 1,
        "shardId-000000000001": 1,
    }
    worker.started(None)  # type: ignore[arg-type] # the same
    monkeypatch.setattr(recovery_stage, "scrape", lambda _: PAGE_OF_METRICS)
    worker.look()
    assert len(worker.rises["shardId-000000000000"]) == 2, "a new process counts from 0"


def test_a_worker_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> str:
        raise ConnectionRefusedError

    monkeypatch.setattr(recovery_stage, "scrape", refuse)
    worker = Worker("worker-0", Path("file"), 1, None)  # type: ignore[arg-type] # no process is needed
    worker.look()
    assert worker.rises == {}


def test_moments_are_counted_from_when_it_began() -> None:
    assert recovery._since(100.0, {"a": Recovery(104.5, 106.0)}) == [Recovery(4.5, 6.0)]


def test_all_scenarios_can_be_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(SCENARIOS) == set(recovery.RUNS) == set(recovery._DEEDS)
    monkeypatch.setattr(recovery, "archive_classes", lambda: None)
    monkeypatch.setattr(recovery, "measure", lambda name, _: iter([run(name, 2.0)]))
    monkeypatch.setattr(recovery, "write", None)
    monkeypatch.setattr(sys, "argv", ["recovery", "--quick"])
    assert recovery.main() == 0
    assert "recovery_rolling_restart_processed_p50 2.000 s\n" in capsys.readouterr().out
