"""values.yaml, its schema and its page say the same, and the schema refuses what is wrong, with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft7Validator

from consumer import __version__
from consumer.pipeline.load import load
from consumer.runtime.daemon_files import DEFAULTS
from consumer.runtime.supervisor import STOP_MARGIN_SECONDS
from deploy.observability.alerts import ALERTS
from deploy.tools.chart_readme import rows, with_table
from tests.chart.chart_rig import CHART, PIPELINE, SETS, read_yaml

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")
VALUES = read_yaml(CHART / "values.yaml")

BAD: Mapping[str, tuple[Any, str]] = {
    "replica": (3, ""),
    "replicas": ("3", "replicas"),
    "replicas ": (2, ""),
    "pipeline": (["a"], "pipeline"),
    "existingConfigMap": ("shop", "existingConfigMap"),
    "existingConfigMap.name": ("Shop_1", "existingConfigMap/name"),
    "existingConfigMap.metricsPort": (0, "existingConfigMap/metricsPort"),
    "existingConfigMap.keys": ("a", "existingConfigMap"),
    "aws.region": ("Frankfurt", "aws/region"),
    "logLevel": ("INFO", "logLevel"),
    "metricsHost": ("all", "metricsHost"),
    "autoscaling.enabled": (True, "autoscaling"),
    "autoscaling.kind": ("vpa", "autoscaling/kind"),
    "autoscaling.minReplicas": (0, "autoscaling/minReplicas"),
    "autoscaling.scaleDown.periodSeconds": (1801, "autoscaling/scaleDown/periodSeconds"),
    "autoscaling.keda.prometheusAddress": ("prometheus:9090", "autoscaling/keda/prometheusAddress"),
    "autoscaling.keda.stream": ("a/b", "autoscaling/keda/stream"),
    "resources.limits.memory": ("1.5 GB", "resources/limits/memory"),
    "resources.limit": ({}, "resources"),
    "terminationGracePeriodSeconds": ("75s", "terminationGracePeriodSeconds"),
    "minReadySeconds": (-1, "minReadySeconds"),
    "probes.liveness.httpGet": ({"path": "/readyz"}, "probes/liveness"),
    "probes.readiness.failureThreshold": (0, "probes/readiness/failureThreshold"),
    "image.tag": (0.1, "image/tag"),
    "image.digest": ("sha256:12", "image/digest"),
    "image.pullPolicy": ("always", "image/pullPolicy"),
    "image.pullSecrets": (["registry"], "image/pullSecrets/0"),
    "serviceAccount.automount": (False, "serviceAccount"),
    "serviceAccount.annotations.a": (1, "serviceAccount/annotations/a"),
    "securityContext": ({"privileged": True}, ""),
    "podSecurityContext": ({}, ""),
    "podDisruptionBudget.maxUnavailable": ("half", "podDisruptionBudget/maxUnavailable"),
    "topologySpreadConstraints": ([{"topologyKey": "a"}], "topologySpreadConstraints/0"),
    "networkPolicy.extraEgress": ({}, "networkPolicy/extraEgress"),
    "monitor.kind": ("Probe", "monitor/kind"),
    "monitor.interval": ("15", "monitor/interval"),
    "alerts.disabled": (["StreamgaugeNoSuchAlert"], "alerts/disabled/0"),
    "dashboards.labels.grafana_dashboard": (1, "dashboards/labels/grafana_dashboard"),
    "fullnameOverride": ("Shop", "fullnameOverride"),
    "commonLabels.paid": (True, "commonLabels/paid"),
    "nodeSelector.gpu": (True, "nodeSelector/gpu"),
    "extraEnv": ([{"value": "a"}], "extraEnv/0"),
    "extraContainers": ({"name": "a"}, "extraContainers"),
    "extraObjects": ([1], "extraObjects/0"),
}
"""By key: a value that must be refused, and the place that the refusal names."""


def errors(values: object) -> list[tuple[str, str]]:
    found = Draft7Validator(SCHEMA).iter_errors(values)
    return [("/".join(map(str, one.absolute_path)), one.message) for one in found]


def with_value(path: str, value: object) -> dict[str, Any]:
    values: dict[str, Any] = deepcopy(VALUES)
    *above, last = path.split(".")
    at = values
    for key in above:
        at = at[key]
    at[last] = value
    return values


def closed_objects(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key that the schema names."""
    for key, inner in schema.get("properties", {}).items():
        yield (*path, key)
        yield from closed_objects(resolved(inner), (*path, key))


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref", "")
    found: Mapping[str, Any] = SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else schema
    return found


def keys(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from keys(value, (*path, key))


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(SCHEMA)


def test_the_defaults_fit_the_schema() -> None:
    assert errors(VALUES) == []


def test_every_value_has_a_place_in_the_schema() -> None:
    named = set(closed_objects(SCHEMA))
    free = {path for path in keys(VALUES) if path not in named and path[:-1] not in named}
    assert free == set()
    assert {path[0] for path in named} - {"global"} == set(VALUES)


def test_every_map_of_the_schema_that_names_keys_refuses_others() -> None:
    def look(schema: Mapping[str, Any], path: str) -> None:
        if "properties" in schema and path != "#/definitions/named/items":
            assert schema.get("additionalProperties") is False, path
        for key, inner in schema.items():
            if isinstance(inner, dict):
                look(inner, f"{path}/{key}")

    look(SCHEMA, "#")


@pytest.mark.parametrize("path", sorted(BAD))
def test_a_bad_value_is_refused_with_its_place(path: str) -> None:
    value, place = BAD[path]
    found = errors(with_value(path, value))
    assert {where for where, _ in found} == {place}


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_value_sets_fit_the_schema(name: str) -> None:
    assert errors(read_yaml(SETS[name])) == []


def test_the_alerts_that_can_be_left_out_are_those_there_are() -> None:
    disabled = SCHEMA["properties"]["alerts"]["properties"]["disabled"]
    assert disabled["items"]["enum"] == [alert.name for alert in ALERTS]


def test_the_page_of_values_is_the_generated_one() -> None:
    page = (CHART / "README.md").read_text(encoding="utf-8")
    assert with_table(page, TEXT) == page, "run python deploy/tools/chart_readme.py"


def test_every_value_is_explained() -> None:
    assert [row.path for row in rows(TEXT) if not row.meaning] == []


def test_every_value_is_in_the_page() -> None:
    told = [row.path for row in rows(TEXT)]
    missing = [
        path for path in keys(VALUES) if not any(path[: len(row)] == row or row[: len(path)] == path for row in told)
    ]
    assert missing == []


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = read_yaml(CHART / "Chart.yaml")
    assert chart["version"] == chart["appVersion"] == __version__


def test_the_defaults_of_the_worker_are_known_to_the_chart() -> None:
    pipeline = load(PIPELINE, {})
    helpers = (CHART / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    assert f"$worker.metrics_port {pipeline.worker.metrics_port} " in helpers
    assert f"$kcl.shutdownGraceMillis {DEFAULTS['shutdownGraceMillis']} " in helpers
    assert VALUES["existingConfigMap"]["metricsPort"] == pipeline.worker.metrics_port
    assert VALUES["existingConfigMap"]["shutdownGraceMillis"] == int(DEFAULTS["shutdownGraceMillis"])
    assert "$needed := add 15 " in helpers
    assert STOP_MARGIN_SECONDS < 15
