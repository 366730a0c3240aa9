"""The template and the zip file of the Lambda function."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deploy" / "lambda" / "template.yaml"


@pytest.fixture(scope="module")
def resources() -> Any:
    loader = YAML(typ="rt")  # which keeps the functions' tags, and asks nothing of them
    return loader.load(TEMPLATE)["Resources"]


def test_cfn_lint_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), TEMPLATE], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_what_moto_leaves_out_of_a_stack_is_said(resources: Any) -> None:
    """The rest of the template is deployed: test_lambda_stack.py."""
    function, table, queue = (resources[name]["Properties"] for name in ("Function", "StateTable", "DeadLetters"))
    assert _text(function["Architectures"][0]) == "!Ref Architecture"
    assert _text(function["LoggingConfig"]["LogGroup"]) == "!Ref LogGroup"
    assert _text(resources["Mapping"]["Properties"]["Enabled"]) == "!Ref MappingEnabled"
    tick = resources["TickOnce"]["Properties"]
    assert (tick["MaximumRetryAttempts"], tick["MaximumEventAgeInSeconds"]) == (0, 60)
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert queue["SqsManagedSseEnabled"] is True
    for name in ("StateTable", "DeadLetters"):
        assert resources[name]["DeletionPolicy"] == resources[name]["UpdateReplacePolicy"] == "Retain"


def _text(tagged: Any) -> str:
    return f"{tagged.tag.value} {tagged.value}"


@pytest.mark.deep
def test_the_zip_file_is_the_same_each_time_and_has_no_boto3(tmp_path: Path) -> None:
    script, pipeline = ROOT / "deploy" / "lambda" / "package.py", ROOT / "config" / "clickstream.yaml"
    for place in ("first", "second"):
        arguments = ["--out", str(tmp_path / place), "--pipeline", str(pipeline)]
        done = subprocess.run([sys.executable, str(script), *arguments], check=True, capture_output=True, text=True)
        assert f"for python3.{sys.version_info.minor} on x86_64" in done.stdout
    for architecture in ("arm64", "x86_64"):
        name = f"streamgauge-lambda-{architecture}.zip"
        first, second = (tmp_path / place / name for place in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size <= 15 * 1024 * 1024
        with zipfile.ZipFile(first) as archive:
            names = archive.namelist()
        assert "consumer/entrypoints/lambda_handler.py" in names
        assert "pipeline.yaml" in names
        assert not [each for each in names if each.startswith(("boto", "consumer/emulator", "consumer/testing"))]
        assert [each for each in names if each.endswith(".pyc")]
