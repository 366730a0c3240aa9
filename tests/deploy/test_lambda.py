"""The template and the zip file of the Lambda function."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from consumer.sources.mapping import check_mapping
from consumer.state.dynamodb import _KEY_SCHEMA, _KEY_TYPES
from consumer.telemetry.emf import NAMESPACE
from consumer.telemetry.metrics import DEFINITIONS, PREFIX

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deploy" / "lambda" / "template.yaml"
STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks"


@pytest.fixture(scope="module")
def resources() -> Any:
    loader = YAML(typ="rt")  # which keeps the functions' tags, and asks nothing of them
    return loader.load(TEMPLATE)["Resources"]


def test_cfn_lint_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), TEMPLATE], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_the_function_takes_the_mapping_of_the_template(resources: Any) -> None:
    properties = dict(resources["Function"]["Properties"]["Events"]["Stream"]["Properties"])
    mapping = properties | {"EventSourceArn": STREAM, "StartingPosition": "TRIM_HORIZON"}
    answer = {"EventSourceMappings": [mapping]}

    class Client:
        def list_event_source_mappings(self, *_: Any, **__: Any) -> Any:
            return answer

    check_mapping(Client(), function="f", stream_arn=STREAM, start="trim_horizon")
    needed = {"MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "ParallelizationFactor", "FunctionResponseTypes"}
    assert needed <= set(properties), "said plainly, not left to a default"


def test_the_table_has_the_key_of_the_store(resources: Any) -> None:
    properties = resources["StateTable"]["Properties"]
    assert [dict(each) for each in properties["KeySchema"]] == _KEY_SCHEMA
    assert [dict(each) for each in properties["AttributeDefinitions"]] == _KEY_TYPES
    assert resources["StateTable"]["DeletionPolicy"] == "Retain"


def test_alarms_are_on_metrics_that_exist(resources: Any) -> None:
    alarms = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    ours = [each for each in alarms if each.get("Namespace") == NAMESPACE]
    assert ours
    assert len(alarms) >= 4
    for alarm in ours:
        assert alarm["MetricName"].removeprefix(PREFIX) in DEFINITIONS
        assert [each["Name"] for each in alarm["Dimensions"]] == ["pipeline"]


@pytest.mark.deep
def test_the_zip_file_is_the_same_each_time_and_has_no_boto3(tmp_path: Path) -> None:
    script, pipeline = ROOT / "deploy" / "lambda" / "package.py", ROOT / "config" / "clickstream.yaml"
    for place in ("first", "second"):
        arguments = ["--out", str(tmp_path / place), "--pipeline", str(pipeline)]
        subprocess.run([sys.executable, str(script), *arguments], check=True, capture_output=True)
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
