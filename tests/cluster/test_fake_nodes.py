"""The chart on a real API server with nodes that only pretend. Run by `make chart-test`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.chart_rig import CHART, GOLDEN, PIPELINE, SETS, tools
from tests.cluster import nodes
from tests.cluster.plane import TOOLS, ControlPlane, Processes
from tests.cluster.release import HELMS, RESTRICTED, Release, install_others_kinds, is_ready, prepare_namespace

pytestmark = [pytest.mark.chart, pytest.mark.xdist_group("cluster")]
WATCHED = ("--values", str(SETS["service-monitor"]), "--set", "replicas=2,dashboards.enabled=true,minReadySeconds=0")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("cluster")
    with Processes(directory) as processes:
        found = ControlPlane(processes, directory, tools(*TOOLS, *nodes.FAKE_TOOLS))
        found.start()
        nodes.fake_nodes(found, 2)
        install_others_kinds(found)
        yield found


def checksums(release: Release) -> set[str]:
    return {pod["metadata"]["annotations"]["checksum/pipeline"] for pod in release.workers()}


@pytest.mark.parametrize("helm", HELMS)
def test_install_upgrade_roll_back_uninstall(plane: ControlPlane, helm: str, tmp_path: Path) -> None:
    prepare_namespace(plane, helm)
    release = Release(plane, tools(helm) / helm, helm)
    said = release.install(*WATCHED, "--set-file", f"pipeline={PIPELINE}")
    assert "Streamgauge 0.1.0 is installed: shop" in said
    assert [pod["metadata"]["name"] for pod in release.workers()] == ["shop-streamgauge-0", "shop-streamgauge-1"]
    assert all(map(is_ready, release.workers()))
    assert len({pod["spec"]["nodeName"] for pod in release.workers()}) == 2, "spread over nodes"
    dashboards = plane.get(f"/api/v1/namespaces/{helm}/configmaps/shop-streamgauge-dashboards")["data"]
    assert dashboards == {path.name: path.read_text(encoding="utf-8") for path in (CHART / "dashboards").iterdir()}
    first = checksums(release)

    changed = tmp_path / "changed.yaml"
    changed.write_text(PIPELINE.read_text(encoding="utf-8") + "  commit_interval: 2s\n", encoding="utf-8")
    said = release.upgrade(*WATCHED, "--set-file", f"pipeline={changed}")
    assert "Streamgauge 0.1.0 is upgraded: shop" in said
    assert len(checksums(release)) == 1
    assert checksums(release) != first

    release.rollback(1)
    assert checksums(release) == first
    release.uninstall()
    assert release.left() == ""


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_server_takes_every_value_set(plane: ControlPlane, name: str) -> None:
    """Strictly, and with the namespace's rules; what a set adds of its own may break those."""
    labels = {**RESTRICTED, "set": name}
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    for account in ("shop-streamgauge", "null"):
        plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}})
    file = str(GOLDEN / f"{name}.yaml")
    said = plane.kubectl("-n", name, "create", "--dry-run=server", "--validate=strict", "-f", file, check=False)
    # The account is there already: it has to be, for the test's pod.
    complaints = [line for line in said.splitlines() if "created" not in line and "AlreadyExists" not in line]
    if name == "extras":
        assert all("would violate PodSecurity" in line and '"wait", "proxy"' in line for line in complaints)
    else:
        assert complaints == []
    assert "statefulset.apps" in said
    assert "pod/" in said
