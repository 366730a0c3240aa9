"""Alert rules and dashboards by what they say; `make observability-test` evaluates them in a real Prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from consumer.telemetry.metrics import DEFINITIONS, PREFIX
from deploy.observability.alerts import ALERTS, THRESHOLDS, with_defaults
from deploy.observability.boards import BOARDS
from deploy.observability.generate import CHART_RULES, DASHBOARDS, PLAIN_RULES, ROOT, rule_files
from deploy.observability.scope import labels_of, metrics_in, scoped

RUNBOOKS = ROOT / "docs" / "runbooks"
CASES = Path(__file__).with_name("alerts_test.yaml")
HEADINGS = ["What it means", "What to look at", "What to do", "False alarms"]
OF_A_TARGET = {"namespace", "job", "pod", "instance"}
"""Labels that Prometheus gives."""
NAMES = sorted(alert.name for alert in ALERTS)
IN_LAMBDA_ALONE = {"batches_returned_total", "records_left_out_total"}
EXPRESSIONS = {
    **{alert.name: alert.expression for alert in ALERTS},
    **{
        f"{board.name}: {panel.title} {number}": query.expression
        for board in BOARDS
        for panel in board.panels
        for number, query in enumerate(panel.queries)
    },
}


def _yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", rule_files(), ids=lambda path: str(path.name))
def test_the_rules_are_those_of_the_source(path: Path) -> None:
    """If this fails: python -m deploy.observability.generate --rules."""
    assert path.read_text(encoding="utf-8") == rule_files()[path]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: str(board.name))
def test_a_dashboard_asks_what_its_source_does(board: Any) -> None:
    """The whole file is compared where Grafana's library is: by `make observability-test`."""
    committed = json.loads((DASHBOARDS / f"{board.name}.json").read_text(encoding="utf-8"))
    panels = [panel for row in committed["panels"] for panel in [row, *row.get("panels", [])] if panel["type"] != "row"]
    asked = [(panel["title"], [target["expr"] for target in panel["targets"]]) for panel in panels]
    assert asked == [(panel.title, [query.scoped for query in panel.queries]) for panel in board.panels]
    for panel in panels:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    names = [variable["name"] for variable in committed["templating"]["list"]]
    assert names == ["datasource", "namespace", "job", "stream", "runbooks"]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: str(board.name))
def test_panels_lie_beside_one_another(board: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((DASHBOARDS / f"{board.name}.json").read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_no_dashboard_is_left_over() -> None:
    assert {path.stem for path in DASHBOARDS.iterdir()} == {board.name for board in BOARDS}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_uses_metrics_and_labels_that_exist(name: str) -> None:
    metrics = metrics_in(EXPRESSIONS[name])
    assert metrics
    known = {"le", "what", *OF_A_TARGET}
    for metric, matched in metrics:
        assert matched <= {*labels_of(metric)} | OF_A_TARGET, metric
        known |= {*labels_of(metric)}
    grouped = re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", EXPRESSIONS[name])
    assert {label.strip() for labels in grouped for label in labels.split(",") if label.strip()} <= known


def test_a_metric_or_label_that_does_not_exist_is_found() -> None:
    with pytest.raises(KeyError):
        labels_of("streamgauge_no_such_total")
    with pytest.raises(KeyError):
        labels_of("streamgauge_commit_bytes")
    assert metrics_in('streamgauge_commits_total{result=~"x"}[5m]') == [
        ("streamgauge_commits_total", frozenset({"result"}))
    ]


def test_matchers_come_into_every_metric() -> None:
    text = 'rate(streamgauge_commits_total{result="ok"}[5m]) and streamgauge_build_info'
    made = scoped(text, {"namespace": '="n"', "stream": '="s"'})
    expected = 'rate(streamgauge_commits_total{result="ok", namespace="n", stream="s"}[5m])'
    assert made == f'{expected} and streamgauge_build_info{{namespace="n"}}'


def test_everything_that_is_measured_is_shown() -> None:
    shown = {metric.removeprefix(PREFIX) for text in EXPRESSIONS.values() for metric, _ in metrics_in(text)}
    parts = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {*DEFINITIONS} - shown - parts == IN_LAMBDA_ALONE


def test_a_panel_links_to_the_pages_of_its_alerts() -> None:
    linked = {alert for board in BOARDS for panel in board.panels for alert in panel.alerts}
    assert sorted(linked) == NAMES


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md")) == sorted([*NAMES, "README"])


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_it_must(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^#+ .*$", text, flags=re.MULTILINE)[2:])
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (RUNBOOKS / target).is_file(), target


def test_the_index_names_every_alert_with_its_severity() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \| \S", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert rows == [(alert.name, alert.severity) for alert in ALERTS]


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = [test for case in _yaml(CASES)["tests"] for test in case["alert_rule_test"]]
    assert sorted({test["alertname"] for test in cases if test["exp_alerts"]}) == NAMES
    assert sorted({test["alertname"] for test in cases if not test["exp_alerts"]}) == NAMES


def test_the_files_have_every_alert_with_what_it_says() -> None:
    (group,) = _yaml(PLAIN_RULES)["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [alert.name for alert in ALERTS]
    for rule, alert in zip(group["rules"], ALERTS, strict=True):
        assert rule["expr"] == with_defaults(alert.expression)
        assert "<" not in rule["expr"]
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{alert.name}.md")
        assert {*rule["annotations"]} == {"summary", "description", "runbook_url"}


def test_the_chart_has_the_thresholds_and_looks_at_its_release_alone() -> None:
    values = _yaml(ROOT / "helm" / "streamgauge" / "values.yaml")["alerts"]
    assert values["thresholds"] == {name: threshold.value for name, threshold in THRESHOLDS.items()}
    schema = json.loads((ROOT / "helm" / "streamgauge" / "values.schema.json").read_text())["properties"]["alerts"]
    assert {*schema["properties"]} == {*values}
    assert {*schema["properties"]["thresholds"]["properties"]} == {*THRESHOLDS}
    template = CHART_RULES.read_text(encoding="utf-8")
    for metric in metrics_in(re.sub(r"\{\{.*?\}\}", "", template)):
        assert {"namespace", "pod"} <= metric[1], metric
    assert set(re.findall(r"\$thresholds\.(\w+)", template)) == {*THRESHOLDS}
