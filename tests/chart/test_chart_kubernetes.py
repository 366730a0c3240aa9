"""The golden renders against Kubernetes' own schemas, strictly, in four versions. Run by `make chart-test`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tests.chart.chart_rig import SETS, golden

pytestmark = pytest.mark.chart

VERSIONS = ("1.27", "1.30", "1.33", "1.36")
"""The oldest that the chart takes, the one that the cluster test runs, and two between."""
NOT_KUBERNETES = {"monitoring.coreos.com/v1", "keda.sh/v1alpha1"}


@pytest.fixture(scope="module")
def kubernetes_validate() -> Any:
    """Return the package, which `make chart-test` installs."""
    return import_module("kubernetes_validate")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(SETS))
def test_kubernetes_knows_every_key(name: str, version: str, kubernetes_validate: Any) -> None:
    for manifest in golden(name):
        if manifest["apiVersion"] not in NOT_KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_validation_is_strict(kubernetes_validate: Any) -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIPs": None, "port": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)
