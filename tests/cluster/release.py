"""A release of the chart on a cluster, by one of the Helms."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chart.chart_rig import CHART, helm_environment
from tests.cluster.plane import ClusterError, ControlPlane

HELMS = ("helm3", "helm4")
_SECONDS_MAX = 400.0
_WAIT = ("--wait", "--timeout", "5m")

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
"""Labels of a namespace that takes no pod with a privilege."""

_OTHERS_KINDS = (
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    ("monitoring.coreos.com", "v1", "PodMonitor"),
    ("monitoring.coreos.com", "v1", "PrometheusRule"),
    ("keda.sh", "v1alpha1", "ScaledObject"),
    ("keda.sh", "v1alpha1", "TriggerAuthentication"),
)


@dataclass(frozen=True, slots=True)
class Release:
    """A release. Each call returns when it is done, and the pods are ready; ClusterError if that fails."""

    plane: ControlPlane
    helm: Path
    namespace: str
    name: str = "shop"

    @property
    def full_name(self) -> str:
        """The name of all that the chart makes."""
        return f"{self.name}-streamgauge"

    def install(self, *arguments: str) -> str:
        """Install the chart."""
        return self._run("install", self.name, str(CHART), *_WAIT, *arguments)

    def upgrade(self, *arguments: str) -> str:
        """Upgrade to these values, and no others."""
        return self._run("upgrade", self.name, str(CHART), *_WAIT, *arguments)

    def rollback(self, revision: int) -> None:
        """Go back to a revision."""
        self._run("rollback", self.name, str(revision), *_WAIT)

    def test(self) -> str:
        """Run the release's test; return what its pod says."""
        self._run("test", self.name, "--timeout", "5m")
        return self.plane.kubectl("-n", self.namespace, "logs", f"{self.full_name}-test", "--all-containers")

    def uninstall(self) -> None:
        """Remove the release."""
        self._run("uninstall", self.name, *_WAIT)

    def workers(self) -> list[Any]:
        """Return the workers' pods, by their names."""
        selector = f"app.kubernetes.io/instance%3D{self.name},app.kubernetes.io/component%3Dworker"
        found = self.plane.get(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={selector}")
        return sorted(found["items"] if found else (), key=lambda pod: str(pod["metadata"]["name"]))

    def left(self) -> str:
        """Return the names of all that is there of the release, but for the pod of its test: it stays to be read."""
        kinds = "all,configmap,serviceaccount,poddisruptionbudget,networkpolicy,secret,pod"
        selector = f"app.kubernetes.io/instance={self.name}"
        found = self.plane.kubectl("-n", self.namespace, "get", kinds, "-l", selector, "-o", "name").split()
        return " ".join(name for name in found if name != f"pod/{self.full_name}-test")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.helm, f"--kubeconfig={self.plane.kubeconfig}", f"--namespace={self.namespace}", *arguments],
            capture_output=True,
            text=True,
            env=helm_environment(self.helm),
            timeout=_SECONDS_MAX,
            check=False,
        )
        if done.returncode != 0:
            raise ClusterError(f"{self.helm.name} {' '.join(arguments)}: {done.stderr.strip()} {done.stdout[-2000:]}")
        return done.stdout


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod is ready, and not about to go."""
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def prepare_namespace(plane: ControlPlane, name: str) -> None:
    """Make a namespace with the strictest rules, and wait until pods can be made there."""
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    plane.kubectl("-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=60s")


def install_others_kinds(plane: ControlPlane) -> None:
    """Make the kinds of the Prometheus operator and of KEDA known, with nothing behind them."""
    plane.apply(*(_definition(*one) for one in _OTHERS_KINDS))
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


def _definition(group: str, version: str, kind: str) -> Mapping[str, Any]:
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }
