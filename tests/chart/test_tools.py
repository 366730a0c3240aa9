"""deploy/tools/build says what it has, and what it lacks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.chart.chart_rig import ROOT

BUILD = ROOT / "deploy" / "tools" / "build"


def build(*names: str, cache: Path, path: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": path, "HOME": str(cache), "XDG_CACHE_HOME": str(cache)}
    return subprocess.run([str(BUILD), *names], env=environ, capture_output=True, text=True, check=False, timeout=20)


@pytest.fixture
def without_go(tmp_path: Path) -> str:
    """Return a PATH that has what the script itself needs, and no Go."""
    for program in ("bash", "env", "cat", "dirname"):
        found = shutil.which(program)
        assert found is not None
        (tmp_path / program).symlink_to(found)
    return str(tmp_path)


def test_every_tool_has_a_version(tmp_path: Path, without_go: str) -> None:
    listed = build(cache=tmp_path, path=without_go).stdout.splitlines()
    versions = dict(line.split(" ") for line in listed)
    assert {"helm3", "helm4", "promtool", "kube-apiserver", "kubelet", "etcd", "kwok"} <= set(versions)
    assert all(versions.values())
    assert versions["kubelet"] == versions["kube-apiserver"] == versions["kubectl"]


def test_a_tool_that_is_not_there_is_refused_before_anything_is_built(tmp_path: Path, without_go: str) -> None:
    done = build("helm4", "helm5", cache=tmp_path, path=without_go)
    assert done.returncode != 0
    assert "there is no tool helm5" in done.stderr


def test_without_go_it_says_what_to_install(tmp_path: Path, without_go: str) -> None:
    done = build("helm4", cache=tmp_path, path=without_go)
    assert done.returncode != 0
    assert "helm4" in done.stderr
    assert "install Go" in done.stderr


def test_what_is_built_already_needs_no_go(tmp_path: Path, without_go: str) -> None:
    tools = tmp_path / "streamgauge" / "tools"
    tools.mkdir(parents=True)
    (tools / "helm4").write_text("#!/bin/sh\n")
    (tools / "helm4").chmod(0o700)
    listed = build(cache=tmp_path, path=without_go).stdout
    version = next(line.split(" ")[1] for line in listed.splitlines() if line.startswith("helm4 "))
    (tools / "helm4.version").write_text(f"{version}\n")
    assert build("helm4", cache=tmp_path, path=without_go).stdout.strip() == str(tools)
    (tools / "helm4.version").write_text("v4.0.0\n")
    assert build("helm4", cache=tmp_path, path=without_go).returncode != 0
