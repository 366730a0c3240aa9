"""What the tests of the chart share: its files, the value sets, their golden renders, and Helm."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "streamgauge"
PIPELINE = Path(__file__).with_name("shop.yaml")
GOLDEN = Path(__file__).with_name("golden")
SETS = {path.stem: path for path in sorted(Path(__file__).with_name("values").glob("*.yaml"))}
HELMS = ("helm3", "helm4")
RELEASE, NAMESPACE = "shop", "data"
_SECONDS_MAX = 60

Manifest = Mapping[str, Any]


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def manifests(text: str) -> list[Manifest]:
    """Return the manifests of a render."""
    return [one for one in YAML(typ="safe").load_all(text) if one is not None]


@cache
def golden(name: str) -> list[Manifest]:
    """Return the manifests of a golden render."""
    return manifests((GOLDEN / f"{name}.yaml").read_text(encoding="utf-8"))


def of_kind(found: Sequence[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of a kind."""
    return [one for one in found if one["kind"] == kind]


def the(found: Sequence[Manifest], kind: str) -> Manifest:
    """Return the only manifest of a kind."""
    (one,) = of_kind(found, kind)
    return one


def pod_specs(found: Sequence[Manifest]) -> Iterator[Mapping[str, Any]]:
    """Yield the specs of all pods, those of the test included."""
    yield from (one["spec"]["template"]["spec"] for one in of_kind(found, "StatefulSet"))
    yield from (one["spec"] for one in of_kind(found, "Pod"))


def arguments(name: str) -> list[str]:
    """Return Helm's arguments for a value set: a set without a pipeline file gets the tests'."""
    values = read_yaml(SETS[name])
    own = "pipeline" in values or "existingConfigMap" in values
    return ["--values", str(SETS[name]), *([] if own else ["--set-file", f"pipeline={PIPELINE}"])]


def tools(*names: str) -> Path:
    """Return the folder of tools that deploy/tools/build makes, these among them."""
    command = [str(ROOT / "deploy" / "tools" / "build"), *names]
    built = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Path(built.stdout.strip())


def helm_environment(helm: Path) -> dict[str, str]:
    """Return variables by which Helm has a home of its own."""
    return {"PATH": os.environ["PATH"], "HOME": str(helm.parent / "home")}


def run_helm(helm: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Helm away from this machine's own settings."""
    environ = helm_environment(helm) | {"KUBECONFIG": os.devnull}
    done = subprocess.run(
        [helm, *arguments], check=False, capture_output=True, text=True, env=environ, timeout=_SECONDS_MAX
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def render(helm: Path, name: str) -> str:
    """Return the render of a value set, without the blank lines that Helm 4 puts between manifests."""
    text = run_helm(helm, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *arguments(name)).stdout
    return re.sub(r"\n+---\n", "\n---\n", text.rstrip("\n") + "\n")
