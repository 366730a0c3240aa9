"""The workflow files: that what they run is there, and that they may do little. actionlint reads them besides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(file)
    return found


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in FILES:
        for name, job in read(file)["jobs"].items():
            yield f"{file.name}: {name}", job


def steps() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, job in jobs():
        for step in job["steps"]:
            yield name, job, step


def made(job: dict[str, Any], command: str) -> set[str]:
    """Return the targets that a step makes, of each entry of the job's matrix."""
    choices = job.get("strategy", {}).get("matrix", {})
    command = re.sub(
        r"\$\{\{ matrix\.(\w+) \}\}", lambda match: " ".join(map(str, choices.get(match[1], [match[0]]))), command
    )
    lines = re.findall(r"^\s*make ([a-z][a-z -]*)", command, re.MULTILINE)
    return {target for line in lines for target in line.split()}


def test_there_are_workflows() -> None:
    assert {file.stem for file in FILES} == {"ci", "nightly", "release", "security"}


def test_they_make_targets_that_are_there() -> None:
    found = {target for _, job, step in steps() for target in made(job, step.get("run", ""))}
    assert found - TARGETS == set()
    assert {"test", "image-test", "chart-test", "cluster-test", "docs", "dist", "terraform-check"} <= found


@pytest.mark.parametrize("command", ["make tset", "make ${{ matrix.what }}"])
def test_a_target_that_is_not_there_would_be_found(command: str) -> None:
    assert made({"strategy": {"matrix": {"what": ["tset"]}}}, command) == {"tset"}
    assert "tset" not in TARGETS


def test_actions_are_of_one_version() -> None:
    used = {step["uses"] for _, _, step in steps() if "uses" in step}
    assert [each for each in used if not re.fullmatch(r"[\w.-]+(/[\w.-]+)+@v\d+(\.\d+)*", each)] == []
    names = [each.partition("@")[0] for each in used]
    assert len(names) == len(set(names)), "one version of each"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_may_only_read_unless_a_job_says_more(file: Path) -> None:
    assert read(file)["permissions"] == {"contents": "read"}


def test_a_checkout_leaves_no_credentials_behind() -> None:
    checkouts = [step for _, _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_texts_of_others_are_not_put_into_commands() -> None:
    """A branch's or a pull request's name in a command would be run."""
    commands = [step["run"] for _, _, step in steps() if "run" in step]
    assert [each for each in commands if re.search(r"\$\{\{ *github\.(event|head_ref)", each)] == []


def test_each_command_with_secrets_is_of_the_release() -> None:
    told = {name for name, _, step in steps() if "secrets." in str(step)}
    assert all(name.startswith("release.yml") for name in told)
