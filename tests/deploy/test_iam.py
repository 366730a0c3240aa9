"""The policies of deploy/iam: what each statement must say, and what a pipeline gets of them.

That the templates have the same is tested with each of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.errors import EXIT_USAGE
from consumer.pipeline.load import load
from consumer.pipeline.model import Pipeline
from deploy.iam.page import PAGE, page
from deploy.iam.policy import FEATURES, ROLES, Home, main, policy_for, statements_of
from tests.deploy.stack_rig import ACCOUNT, REGION

ROOT = Path(__file__).parents[2]
HOME = Home(ACCOUNT, REGION)
PIPELINE = """\
pipeline: shop
source: {stream: clicks, partition_key: user}
events: {fields: {user: string, at: timestamp}, time: at}
windows: {views: {tumbling: 1m, by: [user], select: {views: count()}}}
sinks: [SINKS]
state: {table: states BUCKET}
worker: {application: leases, kcl: {KCL}}
"""


def pipeline(directory: Path, *, sinks: str = "{stdout: {}}", bucket: str = "", kcl: str = "") -> Pipeline:
    file = directory / "pipeline.yaml"
    file.write_text(PIPELINE.replace("SINKS", sinks).replace("BUCKET", bucket).replace("KCL", kcl))
    return load(file, {})


@pytest.mark.parametrize("role", ROLES)
def test_each_statement_says_why_and_names_single_actions(role: str) -> None:
    sids = [each["Sid"] for each in statements_of(role)]
    assert len(sids) == len(set(sids))
    for each in statements_of(role):
        assert each["Action"] == sorted(each["Action"])
        assert not [action for action in each["Action"] if "*" in action]
        assert each["Why"]
        assert each.get("When") in {None, *FEATURES}
        assert set(each.get("Unseen", ())) <= set(each["Action"])
        assert all(each.get("Unseen", {"": "said"}).values())


def sids_of(policy: dict[str, Any]) -> set[str]:
    return {each["Sid"] for each in policy["Statement"]}


ALWAYS = {"ReadStream", "KeepLeases", "FindOwnLeases", "ElectLeader", "ReportAlive", "KeepState"}


@pytest.mark.parametrize(
    ("parts", "home", "more"),
    [
        ({}, HOME, set()),
        ({"bucket": ", bucket: snapshots"}, HOME, {"KeepSnapshots", "ListSnapshots"}),
        ({"sinks": "{firehose: {stream: rows}}"}, HOME, {"SendToFirehose"}),
        ({"sinks": "{s3: {bucket: results}}"}, HOME, {"SendToS3"}),
        ({"sinks": "{sqs: {queue_url: 'https://sqs/1/q'}}"}, HOME, {"SendToSqs"}),
        ({"kcl": "retrievalMode: FANOUT"}, HOME, {"ReadByFanOut", "ReceiveByFanOut"}),
        ({"kcl": "metricsLevel: DETAILED"}, HOME, {"PublishDaemonMetrics"}),
        (
            {},
            Home(ACCOUNT, REGION, create_lease_tables=True, stream_key="arn:k", keys=("arn:b",)),
            {"CreateLeaseTables", "IndexLeaseTable", "DecryptStream", "UseKeys"},
        ),
    ],
)
def test_a_pipeline_gets_what_it_needs(parts: dict[str, str], home: Home, more: set[str], tmp_path: Path) -> None:
    assert sids_of(policy_for("worker", pipeline(tmp_path, **parts), home)) == ALWAYS | more


def test_resources_are_those_that_the_file_names(tmp_path: Path) -> None:
    made = pipeline(
        tmp_path,
        sinks="{s3: {bucket: results, prefix: rows}}, {s3: {bucket: results, prefix: rare/}}, {firehose: {stream: b}}, "
        "{firehose: {stream: a}}, {sqs: {queue_url: 'https://sqs.us-west-2.amazonaws.com/111122223333/q'}}",
        bucket=", bucket: snapshots",
        kcl="metricsLevel: SUMMARY",
    )
    policy = policy_for("worker", made, HOME)
    resources = {each["Sid"]: each["Resource"] for each in policy["Statement"]}
    assert resources["SendToS3"] == ["arn:aws:s3:::results/rare/*", "arn:aws:s3:::results/rows/*"]
    assert resources["SendToFirehose"] == [HOME.arn("firehose", f"deliverystream/{name}") for name in "ab"]
    assert resources["SendToSqs"] == ["arn:aws:sqs:us-west-2:111122223333:q"]
    assert resources["KeepSnapshots"] == ["arn:aws:s3:::snapshots/shop/*"]
    assert resources["FindOwnLeases"] == [HOME.arn("dynamodb", "table/leases/index/LeaseOwnerToLeaseKeyIndex")]
    assert policy["Statement"][-1]["Condition"] == {"StringEquals": {"cloudwatch:namespace": "leases"}}


def test_a_stream_by_its_arn_may_be_in_another_account(tmp_path: Path) -> None:
    arn = "arn:aws:kinesis:us-west-2:111122223333:stream/clicks"
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE.replace("stream: clicks", f"stream: '{arn}'").replace("SINKS", "{stdout: {}}"))
    file.write_text(file.read_text().replace("BUCKET", "").replace("KCL", ""))
    assert policy_for("worker", load(file, {}), HOME)["Statement"][0]["Resource"] == [arn]


def test_the_command_prints_the_policy_of_a_file() -> None:
    file = ROOT / "config" / "clickstream.yaml"
    command = [sys.executable, "deploy/iam/policy.py", str(file), "--account", ACCOUNT, "--region", REGION]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == policy_for("worker", load(file, {}), HOME)


def test_the_command_refuses_an_account_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["shop.yaml", "--account", "12345", "--region", REGION])
    assert ended.value.code == EXIT_USAGE
    assert "12345 is no account's number" in capsys.readouterr().err


def test_the_page_has_the_tables_of_the_files() -> None:
    """If not: python -m deploy.iam.page."""
    text = PAGE.read_text()
    assert page(text) == text
