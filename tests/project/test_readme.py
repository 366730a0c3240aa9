"""The README is true: its file loads, its commands exist, its picture of the demo is the demo's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from consumer import errors
from consumer.pipeline.load import load_text

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_pipeline_file_loads() -> None:
    (text,) = _blocks("yaml")
    assert load_text(text, "README.md", {}).name == "shop"


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"make ([a-z][a-z-]*)", README))
    assert {"demo", "test"} <= targets
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^\$ streamgauge ([a-z]+)", README, re.MULTILINE))))
def test_the_commands_exist(command: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "consumer", command, "--help"], cwd=ROOT, capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_the_options_of_the_demo_exist() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "consumer", "demo", "--help"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    named = set(re.findall(r"`(?:make demo ARGS=\")?(--[a-z-]+)", README))
    assert {"--keep", "--events"} <= named
    assert all(option in run.stdout for option in named)


def test_the_demo_s_steps_are_the_ones_shown() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "consumer" / "entrypoints" / "demo").glob("*.py"))
    steps = re.findall(r"^• ([^:\n]+?)(?::| a stream)", README, re.MULTILINE)
    assert len(steps) > 5
    assert all(step in source for step in steps), steps


def test_the_exit_statuses_are_the_constants() -> None:
    told = [int(status) for status in re.findall(r"^\| (\d) \|", README, re.MULTILINE)]
    assert told == sorted(value for name, value in vars(errors).items() if name.startswith("EXIT_"))


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
