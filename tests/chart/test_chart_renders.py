"""The chart as Helm 3 and Helm 4 see it: lint, golden renders, refusals. Run by `make chart-test`."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.chart.chart_rig import (
    CHART,
    GOLDEN,
    HELMS,
    PIPELINE,
    RELEASE,
    SETS,
    arguments,
    manifests,
    of_kind,
    render,
    run_helm,
    the,
    tools,
)
from tests.chart.test_chart_values import BAD

pytestmark = pytest.mark.chart

REFUSED = {
    "no pipeline": ([], "there is no pipeline: --set-file pipeline=FILE"),
    "two pipelines": (["--set-file", f"pipeline={PIPELINE}", "--set", "existingConfigMap.name=a"], "are both set"),
    "a map": (["--set", "pipeline.pipeline=shop"], "pipeline must be text"),
    "a file's name": (["--set", "pipeline=shop.yaml"], "`--set-file pipeline=FILE` takes what the file holds"),
    "no YAML": (["--set", "pipeline=a: [b"], "pipeline is no YAML"),
    "a grace too short": (
        ["--set-file", f"pipeline={PIPELINE}", "--set", "terminationGracePeriodSeconds=59"],
        "a worker may take 60 s to stop (shutdownGraceMillis, 45000, and 15 s more): set it to 60 at least",
    ),
    "a grace too short for another file": (
        ["--set", "existingConfigMap.name=a,existingConfigMap.shutdownGraceMillis=60001"],
        "set it to 76 at least",
    ),
    "a grace that cannot be read": (
        ["--set-string", r"pipeline=worker: {kcl: {shutdownGraceMillis: '${GRACE}'}}"],
        'worker.kcl.shutdownGraceMillis of the pipeline file is "${GRACE}"',
    ),
    "any free port": (["--set-string", "pipeline=worker: {metrics_port: 0}"], "probes and Prometheus need a port"),
    "one name for all": (
        ["--set-string", "pipeline=worker: {identifier: shop}"],
        "worker.identifier of the pipeline file would be the same in all pods",
    ),
    "a stream that KEDA cannot know": (
        ["--set-string", "pipeline=source: {stream: '${STREAM}'}", "--set", "autoscaling.kind=keda"],
        "set autoscaling.keda.stream",
    ),
    "a region that KEDA cannot know": (
        ["--set-file", f"pipeline={PIPELINE}", "--set", "autoscaling.kind=keda"],
        "set aws.region",
    ),
    "nothing to scale by": (
        ["--set-file", f"pipeline={PIPELINE}", "--set", "autoscaling.kind=hpa,autoscaling.hpa.cpuUtilization=0"],
        "there is nothing to scale by",
    ),
    "more at least than at most": (
        ["--set-file", f"pipeline={PIPELINE}", "--set", "autoscaling.kind=hpa,autoscaling.minReplicas=9"],
        "autoscaling.minReplicas, 9, is above autoscaling.maxReplicas, 4",
    ),
}
"""What values alone cannot tell: arguments, and what the refusal says."""


@pytest.fixture(params=HELMS, scope="module")
def helm(request: pytest.FixtureRequest) -> Path:
    name: str = request.param
    return tools(name) / name


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_chart_lints_without_a_warning(helm: Path, name: str) -> None:
    said = run_helm(helm, "lint", "--strict", str(CHART), *arguments(name)).stdout
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "WARNING" not in said


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_render_is_the_golden_one(helm: Path, name: str) -> None:
    wanted = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    assert render(helm, name) == wanted, "if it should be so: python -m tests.chart.goldens, and look at the difference"


@pytest.mark.parametrize("reason", sorted(REFUSED))
def test_what_cannot_work_is_refused_with_a_remedy(helm: Path, reason: str) -> None:
    given, says = REFUSED[reason]
    done = run_helm(helm, "template", RELEASE, str(CHART), *given, check=False)
    assert done.returncode != 0
    assert says in done.stderr


@pytest.mark.parametrize("path", sorted(BAD))
def test_helm_refuses_a_bad_value_with_its_place(helm: Path, path: str, tmp_path: Path) -> None:
    value, place = BAD[path]
    values: object = value
    for key in reversed(path.split(".")):
        values = {key: values}
    file = tmp_path / "values.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(values, stream)
    given = ["--set-file", f"pipeline={PIPELINE}"] if path != "pipeline" else []
    done = run_helm(helm, "template", RELEASE, str(CHART), "--values", str(file), *given, check=False)
    assert done.returncode != 0
    assert "don't meet the specifications of the schema" in done.stderr
    assert f"'/{place}'" in done.stderr or not place


def test_a_changed_pipeline_file_changes_the_pods_and_a_comment_in_values_does_not(helm: Path, tmp_path: Path) -> None:
    changed = tmp_path / "shop.yaml"
    changed.write_text(PIPELINE.read_text(encoding="utf-8").replace("tumbling: 1m", "tumbling: 2m"), encoding="utf-8")
    before, same, after = (
        the(manifests(run_helm(helm, "template", RELEASE, str(CHART), "--set-file", f"pipeline={file}", *more).stdout),
            "StatefulSet")["spec"]["template"]
        for file, more in ((PIPELINE, ()), (PIPELINE, ("--set", "replicas=3")), (changed, ()))
    )  # fmt: skip
    assert before == same
    assert before != after


def test_a_long_name_is_cut_so_that_its_pods_can_have_labels(helm: Path) -> None:
    said = run_helm(helm, "template", "r" * 53, str(CHART), "--set-file", f"pipeline={PIPELINE}").stdout
    for kind in ("StatefulSet", "Service"):
        assert len(the(manifests(said), kind)["metadata"]["name"]) <= 52
    (test,) = of_kind(manifests(said), "Pod")
    assert len(test["metadata"]["name"]) <= 63
