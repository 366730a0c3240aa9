"""Alarms and dashboard of the Lambda template: made of their source, and of metrics that the function tells."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from moto import mock_aws
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from consumer.telemetry.emf import NAMESPACE, EmbeddedMetrics
from consumer.telemetry.metrics import DEFINITIONS, Kind, Metrics
from deploy.observability.alerts import ALERTS as ALERTS_OF_WORKERS
from deploy.observability.cloudwatch import (
    ALARMS,
    LAMBDA,
    OF_THE_LOG,
    WIDGETS,
    WRITTEN_BY_HAND,
    Metric,
    with_ours,
)
from deploy.observability.generate import TEMPLATE
from tests.telemetry.test_events import EVENTS

OF_LAMBDA = {"Duration", "Errors", "Invocations", "IteratorAge", "Throttles"}
_ACTIONS = {"ActionsEnabled", "AlarmActions"}
METRICS = [
    *(metric for alarm in ALARMS for metric in alarm.metrics.values()),
    *(metric for widget in WIDGETS for metric in widget.metrics.values()),
]


@pytest.fixture(scope="module")
def resources() -> Any:
    return YAML(typ="rt").load(TEMPLATE)["Resources"]


@pytest.fixture(scope="module")
def told() -> dict[str, set[tuple[str, ...]]]:
    """Return the metrics that lines of the function's log can have, each with the sets of dimensions."""
    registry, out = CollectorRegistry(), io.StringIO()
    metrics = Metrics(registry, stream="clicks")
    for name, definition in DEFINITIONS.items():
        labels = {label: "s" for label in definition.labels if label != "stream"}
        if definition.kind is Kind.COUNTER:
            metrics.counter(name, **labels).inc()
        elif definition.kind is Kind.GAUGE:
            metrics.gauge(name, **labels).set(1)
        else:
            metrics.histogram(name, **labels).observe(1)
    EmbeddedMetrics(registry, pipeline="demo", now_ms=lambda: 0).flush(out, shard="s")
    found: dict[str, set[tuple[str, ...]]] = {}
    for line in map(json.loads, out.getvalue().splitlines()):
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                found.setdefault(metric["Name"], set()).update(tuple(sorted(each)) for each in directive["Dimensions"])
    return found


def test_the_template_has_what_its_source_gives() -> None:
    """If this fails: python -m deploy.observability.generate --rules."""
    text = TEMPLATE.read_text(encoding="utf-8")
    assert with_ours(text) == text


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric.name))
def test_a_metric_is_really_told(metric: Metric, told: dict[str, set[tuple[str, ...]]]) -> None:
    if metric.namespace == NAMESPACE:
        assert ("pipeline",) in told[metric.name]
    elif metric.namespace == LAMBDA:
        assert metric.name in OF_LAMBDA
    else:
        assert metric.namespace == OF_THE_LOG


def test_a_line_is_drawn_for_dimensions_that_are_told(told: dict[str, set[tuple[str, ...]]]) -> None:
    searched = [(metric, widget.by) for widget in WIDGETS if widget.by for metric in widget.metrics.values()]
    assert searched
    for metric, by in searched:
        assert tuple(sorted(("pipeline", "stream", *by))) in told[metric.name]


def test_the_log_has_what_the_filter_looks_for(resources: Any) -> None:
    properties = resources["RowsRejectedFilter"]["Properties"]
    (event,) = re.findall(r'\$\.event = "(\w+)"', properties["FilterPattern"])
    assert event in EVENTS
    assert properties["MetricTransformations"][0]["MetricValue"] == "$.rows"


def test_the_dashboard_is_json_of_what_is_in_the_template(resources: Any) -> None:
    text = str(resources["Dashboard"]["Properties"]["DashboardBody"].value)
    names = set(re.findall(r"\$\{(\w+)\}", text))
    assert names <= {*resources, "PipelineName"}
    widgets = json.loads(re.sub(r"\$\{[^}]*\}", "x", text))["widgets"]
    assert len(widgets) == len(WIDGETS) + 1
    alarms = {*WRITTEN_BY_HAND, *(alarm.name for alarm in ALARMS)}
    assert set(re.findall(r":alarm:\$\{(\w+)\}", text)) == alarms
    assert alarms == {name for name, made in resources.items() if made["Type"] == "AWS::CloudWatch::Alarm"}


def test_a_function_that_is_not_fed_calls_nobody(resources: Any) -> None:
    """Its pipeline was handed over to workers: that it is silent is no news."""
    silent = [alarm.name for alarm in ALARMS if alarm.silence == "breaching"]
    assert silent == ["SilentAlarm"]
    for name in silent:
        enabled = resources[name]["Properties"]["ActionsEnabled"]
        assert (enabled.tag.value, enabled.value) == ("!Ref", "MappingEnabled")


def test_every_alarm_has_a_twin_whose_page_says_what_to_do() -> None:
    assert {alarm.twin for alarm in ALARMS} <= {alert.name for alert in ALERTS_OF_WORKERS}


@mock_aws
@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: str(alarm.name))
def test_an_alarm_is_one_that_is_taken(alarm: Any, resources: Any) -> None:
    import boto3  # noqa: PLC0415 - of the embedded AWS

    properties = _plain(resources[alarm.name]["Properties"])
    client = boto3.client("cloudwatch", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    client.put_metric_alarm(AlarmName=alarm.name, **properties)
    (made,) = client.describe_alarms()["MetricAlarms"]
    assert sum(each.get("ReturnData", True) for each in made["Metrics"]) == 1
    assert made["TreatMissingData"] == alarm.silence
    (expression,) = [each["Expression"] for each in made["Metrics"] if "Expression" in each]
    used = set(re.findall(r"\b[a-z]+\b", expression))
    assert used == {each["Id"] for each in made["Metrics"] if "Expression" not in each}


def _plain(value: Any) -> Any:
    """Return a part of the template with a text in the place of each function."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if name not in _ACTIONS}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if getattr(value, "tag", None) is not None and value.tag.value:
        return re.sub(r"\$\{[^}]*\}", "24", str(value.value)) if value.tag.value == "!Sub" else "x"
    return value
