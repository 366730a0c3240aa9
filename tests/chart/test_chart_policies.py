"""What must hold in every golden render, whatever the values are."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ruamel.yaml import YAML

from consumer.pipeline.load import load
from consumer.pipeline.model import Pipeline
from consumer.runtime.daemon_files import setting_ms
from consumer.runtime.supervisor import STOP_MARGIN_SECONDS
from tests.chart.chart_rig import (
    GOLDEN,
    PIPELINE,
    SETS,
    Manifest,
    golden,
    manifests,
    of_kind,
    pod_specs,
    read_yaml,
    the,
)

OURS = {"worker", "doctor", "workers"}
SCALERS = {"HorizontalPodAutoscaler", "ScaledObject"}
TEXTS = {"labels", "annotations", "matchLabels", "nodeSelector", "data"}
"""Maps of which Kubernetes wants texts."""

every_set = pytest.mark.parametrize("name", sorted(SETS))


def pipeline_text(name: str) -> str | None:
    """Return the pipeline file that the chart installs; None where it is somebody else's."""
    found = [one for one in of_kind(golden(name), "ConfigMap") if "pipeline.yaml" in one["data"]]
    return found[0]["data"]["pipeline.yaml"] if found else None


@pytest.fixture
def pipeline(name: str, tmp_path_factory: pytest.TempPathFactory) -> Pipeline | None:
    text = pipeline_text(name)
    if text is None:
        return None
    path = tmp_path_factory.mktemp("pipeline") / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, {"POD_NAME": "shop-0"})


def containers(name: str) -> Iterator[Mapping[str, Any]]:
    for spec in pod_specs(golden(name)):
        yield from (*spec.get("initContainers", ()), *spec["containers"])


def worker(name: str) -> Mapping[str, Any]:
    return next(one for one in containers(name) if one["name"] == "worker")


def test_every_value_set_has_a_golden_render_and_no_other_is_there() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(SETS)
    assert len(SETS) == 12


@every_set
def test_a_pod_may_take_longer_to_stop_than_its_worker(name: str, pipeline: Pipeline | None) -> None:
    grace_ms = (
        setting_ms(pipeline.worker.kcl, "shutdownGraceMillis")
        if pipeline
        else read_yaml(SETS[name])["existingConfigMap"]["shutdownGraceMillis"]
    )
    spec = the(golden(name), "StatefulSet")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > math.ceil(grace_ms / 1000) + STOP_MARGIN_SECONDS


@every_set
def test_the_port_is_that_of_the_pipeline_file(name: str, pipeline: Pipeline | None) -> None:
    port = pipeline.worker.metrics_port if pipeline else read_yaml(SETS[name])["existingConfigMap"]["metricsPort"]
    assert worker(name)["ports"] == [{"name": "metrics", "containerPort": port, "protocol": "TCP"}]
    assert the(golden(name), "Service")["spec"]["ports"][0]["port"] == port
    assert {one["httpGet"]["port"] for key, one in worker(name).items() if key.endswith("Probe")} == {"metrics"}


def test_the_pipeline_file_is_installed_byte_by_byte() -> None:
    assert pipeline_text("minimal") == PIPELINE.read_text(encoding="utf-8")


@every_set
def test_the_pods_are_rolled_by_the_pipeline_files_checksum(name: str) -> None:
    text = pipeline_text(name)
    wanted = hashlib.sha256(text.encode()).hexdigest() if text else "3f1c"
    annotations = the(golden(name), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["checksum/pipeline"] == wanted


@every_set
def test_every_worker_has_a_name_that_stays(name: str) -> None:
    named = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    assert named in worker(name)["env"]
    assert the(golden(name), "StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"


@every_set
def test_the_token_is_mounted(name: str) -> None:
    assert all(spec["automountServiceAccountToken"] is True for spec in pod_specs(golden(name)))
    accounts = of_kind(golden(name), "ServiceAccount")
    assert all(one["automountServiceAccountToken"] is True for one in accounts)
    names = {one["metadata"]["name"] for one in accounts} or {"null"}
    assert {spec["serviceAccountName"] for spec in pod_specs(golden(name))} == names


@every_set
def test_replicas_are_set_unless_something_else_sets_them(name: str) -> None:
    scalers = [one for one in golden(name) if one["kind"] in SCALERS]
    spec = the(golden(name), "StatefulSet")["spec"]
    assert ("replicas" in spec) == (not scalers)
    assert len(scalers) == (1 if name in {"hpa", "keda", "keda-lag"} else 0)
    for one in scalers:
        assert one["spec"]["scaleTargetRef"]["name"] == the(golden(name), "StatefulSet")["metadata"]["name"]


@pytest.mark.parametrize("name", ["hpa", "keda", "keda-lag"])
def test_workers_are_taken_away_slowly(name: str) -> None:
    (scaler,) = (one["spec"] for one in golden(name) if one["kind"] in SCALERS)
    behavior = scaler.get("behavior") or scaler["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] > behavior["scaleUp"]["stabilizationWindowSeconds"]
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 900}]


@every_set
def test_nothing_has_a_privilege(name: str) -> None:
    for spec in pod_specs(golden(name)):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert not any("hostPath" in volume for volume in spec["volumes"])
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    for one in containers(name):
        if one["name"] in OURS:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert one["resources"]["requests"]["memory"]
            assert one["resources"]["limits"]["memory"]


@every_set
def test_nothing_but_tmp_can_be_written_to(name: str) -> None:
    mounts = [mount for one in containers(name) if one["name"] in OURS for mount in one.get("volumeMounts", ())]
    assert {mount["mountPath"] for mount in mounts if not mount.get("readOnly")} <= {"/tmp"}  # noqa: S108 - in the pod


@every_set
def test_there_are_no_secrets(name: str) -> None:
    assert of_kind(golden(name), "Secret") == []
    names = {variable["name"] for one in containers(name) for variable in one.get("env", ())}
    assert not {one for one in names if "SECRET" in one or "ACCESS_KEY" in one or "TOKEN" in one}


@every_set
def test_liveness_is_progress_and_readiness_is_reading(name: str) -> None:
    one = worker(name)
    paths = {key: one[key]["httpGet"]["path"] for key in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/readyz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


@every_set
def test_selectors_find_the_workers_and_not_the_test(name: str) -> None:
    found = golden(name)
    pods = the(found, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    test = the(found, "Pod")["metadata"]["labels"]
    for selector in (one for manifest in found for one in selectors(manifest)):
        assert selector.items() <= pods.items()
        assert not selector.items() <= test.items()


def selectors(manifest: Manifest) -> Iterator[Mapping[str, str]]:
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        yield spec["selector"]
    elif manifest["kind"] in {"StatefulSet", "PodDisruptionBudget", "ServiceMonitor", "PodMonitor"}:
        yield spec["selector"]["matchLabels"]
    elif manifest["kind"] == "NetworkPolicy":
        yield spec["podSelector"]["matchLabels"]
    if manifest["kind"] == "StatefulSet":
        for rule in spec["template"]["spec"].get("topologySpreadConstraints", ()):
            yield rule["labelSelector"]["matchLabels"]


@every_set
def test_the_service_is_the_statefulsets_and_tells_of_pods_that_are_not_ready(name: str) -> None:
    service = the(golden(name), "Service")
    assert service["metadata"]["name"] == the(golden(name), "StatefulSet")["spec"]["serviceName"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True


@every_set
def test_texts_are_texts_for_every_reader_of_yaml(name: str) -> None:
    """Kubernetes reads YAML 1.1, where `on`, `yes` and `0123` without quotes are no texts."""
    text = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    as_read = [read_as_1_1(one) for one in re.split(r"^---$", text, flags=re.MULTILINE) if one.strip()]
    assert [one for manifest in as_read for one in not_texts(manifest, "")] == []
    assert as_read == manifests(text)


def read_as_1_1(text: str) -> Any:
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    return reader.load(text)


def not_texts(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from not_texts(inner, f"{path}[{number}]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in TEXTS and isinstance(inner, dict):
                yield from (f"{path}.{key}.{one}" for one, text in inner.items() if not isinstance(text, str))
            elif key in {"name", "serviceAccountName"} and not isinstance(inner, str):
                yield f"{path}.{key}"
            yield from not_texts(inner, f"{path}.{key}")


@every_set
def test_all_that_is_made_says_what_it_belongs_to(name: str) -> None:
    wanted = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"}
    ours = [one for one in golden(name) if one["metadata"]["name"] not in {"shop-extra", "shop-streamgauge-text"}]
    assert all(wanted <= set(one["metadata"]["labels"]) for one in ours)


def test_the_network_lets_dns_https_and_the_identity_agent_out_and_metrics_in() -> None:
    spec = the(golden("locked-network"), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    tests, others = rule["from"]
    assert tests["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"
    assert others["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    everywhere, agent, own = spec["egress"]
    assert "to" not in everywhere
    assert [(one["port"], one["protocol"]) for one in everywhere["ports"]] == [(53, "UDP"), (53, "TCP"), (443, "TCP")]
    assert agent["to"][0] == {"ipBlock": {"cidr": "169.254.170.23/32"}}
    assert own["ports"] == [{"port": 3128, "protocol": "TCP"}]


def test_keda_asks_for_the_shards_of_the_pipelines_stream_and_for_the_lag() -> None:
    shards, lag = the(golden("keda"), "ScaledObject")["spec"]["triggers"]
    assert shards["metadata"] == {"streamName": "clicks", "shardCount": "4", "awsRegion": "eu-central-1"}
    assert lag["metadata"]["query"] == (
        'max(streamgauge_iterator_age_seconds{namespace="data",pod=~"shop-streamgauge-[0-9]+"})'
    )
    authentication = the(golden("keda"), "TriggerAuthentication")
    assert shards["authenticationRef"]["name"] == authentication["metadata"]["name"]
    (only,) = the(golden("keda-lag"), "ScaledObject")["spec"]["triggers"]
    assert only["metadata"]["query"] == 'max(streamgauge_iterator_age_seconds{cluster="1",job="shop"})'
    assert of_kind(golden("keda-lag"), "TriggerAuthentication") == []
