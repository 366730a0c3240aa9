"""deploy/ecs: the template, deployed onto moto; task and service as the requests that ECS takes, by botocore's shapes.

Nothing here is Fargate: that the task starts, and stops as it should, is tested with the image alone (tests/image).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from moto import mock_aws

from consumer.entrypoints.worker import SINK_GRACE_SECONDS
from consumer.runtime.daemon_files import DEFAULTS
from consumer.state.dynamodb import check_table
from deploy.iam.policy import Home, render
from tests.deploy.stack_rig import ACCOUNT, REGION, Stack, by_sid, client, deploy_template

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deploy" / "ecs" / "template.yaml"
HOME = Home(ACCOUNT, REGION)
STREAM = HOME.arn("kinesis", "stream/clicks")
BARE = {
    "PipelineName": "shop",
    "ApplicationName": "leases",
    "StreamArn": STREAM,
    "StateTableName": "states",
    "Image": "image@sha256:0",
    "RepositoryArn": HOME.arn("ecr", "repository/streamgauge"),
    "Cluster": "workers",
}
FULL = BARE | {
    "StateBucketName": "snapshots",
    "DeliveryStreamArns": HOME.arn("firehose", "deliverystream/rows"),
    "ObjectArns": "arn:aws:s3:::results/rows/*",
    "QueueArns": HOME.arn("sqs", "rare"),
    "StreamKeyArn": HOME.arn("kms", "key/stream"),
    "KeyArns": HOME.arn("kms", "key/bucket"),
    "FanOut": "true",
    "DaemonMetrics": "true",
    "CreateTables": "false",
    "Architecture": "X86_64",
}


@pytest.fixture(scope="module")
def network() -> Iterator[dict[str, str]]:
    """Return the parameters for what must be there, in an AWS of moto's."""
    with mock_aws():
        client("ecs").create_cluster(clusterName="workers")
        vpc = client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = client("ec2").create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        group = client("ec2").create_security_group(GroupName="workers", Description="workers", VpcId=vpc)["GroupId"]
        yield {"Subnets": subnet, "SecurityGroups": group}


@pytest.fixture(scope="module")
def bare(network: dict[str, str]) -> Stack:
    return deploy_template(TEMPLATE, "bare", BARE | network)


@pytest.fixture(scope="module")
def full(network: dict[str, str]) -> Stack:
    return deploy_template(TEMPLATE, "full", FULL | network)


def test_cfn_lint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([linter, TEMPLATE], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def arns() -> dict[str, list[str]]:
    table = HOME.arn("dynamodb", "table/leases")
    return {
        "Everything": ["*"],
        "Stream": [STREAM],
        "StreamConsumers": [f"{STREAM}/consumer/*"],
        "StreamKey": [FULL["StreamKeyArn"]],
        "Keys": [FULL["KeyArns"]],
        "LeaseTable": [table],
        "LeaseTableIndex": [f"{table}/index/LeaseOwnerToLeaseKeyIndex"],
        "CoordinatorTable": [f"{table}-CoordinatorState"],
        "WorkersTable": [f"{table}-WorkerMetricStats"],
        "StateTable": [HOME.arn("dynamodb", "table/states")],
        "StateBucket": ["arn:aws:s3:::snapshots"],
        "StateObjects": ["arn:aws:s3:::snapshots/shop/*"],
        "DeliveryStreams": [FULL["DeliveryStreamArns"]],
        "Objects": [FULL["ObjectArns"]],
        "Queues": [FULL["QueueArns"]],
    }


FEATURES = {"daemon_metrics", "fan_out", "firehose", "keys", "s3", "sqs", "state_bucket", "stream_key"}
"""Of the full stack."""


def test_the_role_has_the_policy_of_deploy_iam_and_nothing_else(bare: Stack, full: Stack) -> None:
    assert bare.statements("worker") == by_sid(render("worker", arns(), set(), "leases"))
    assert full.statements("worker") == by_sid(render("worker", arns(), FEATURES, "leases"))


def test_the_tables_are_there_beforehand(bare: Stack, full: Stack) -> None:
    """That they are as the daemon makes them: test_worker_permissions.py."""
    check_table(client("dynamodb"), "states")
    tables = {each for each in bare.ids if each.endswith("Table")}
    assert {bare.ids[each] for each in tables} == {
        "states",
        "leases",
        "leases-CoordinatorState",
        "leases-WorkerMetricStats",
    }
    assert not [each for each in full.ids if each.endswith("Table")]


def test_ecs_takes_task_and_service_by_the_shapes_of_botocore(bare: Stack) -> None:
    task, service = request(bare, "TaskDefinition"), request(bare, "Service")
    assert problems("RegisterTaskDefinition", task) == ""
    assert problems("CreateService", service | {"serviceName": "bare"}) == ""
    assert "stopTimeouts" in problems("RegisterTaskDefinition", {**task, "containerDefinitions": [{"stopTimeouts": 1}]})
    registered = client("ecs").register_task_definition(**task)["taskDefinition"]
    found = client("ecs").describe_task_definition(taskDefinition=registered["taskDefinitionArn"])["taskDefinition"]
    assert found["containerDefinitions"][0]["image"] == "image@sha256:0"
    created = client("ecs").create_service(**service | {"serviceName": "again"})["service"]
    assert (created["launchType"], created["desiredCount"]) == ("FARGATE", 1)


def problems(operation: str, given: dict[str, Any]) -> str:
    """Return what botocore says against a request, members that it does not know included."""
    shape = botocore.session.get_session().get_service_model("ecs").operation_model(operation).input_shape
    assert shape is not None
    return str(ParamValidator().validate(given, shape).generate_report())


def request(stack: Stack, resource: str) -> dict[str, Any]:
    """Return a resource of the template as a request of ECS: the names of its members begin small there."""
    made: dict[str, Any] = small(stack.resolved(resource))
    return made


NUMBERS, TEXTS = {"desiredCount", "containerPort"}, {"cpu", "memory", "value"}
"""What CloudFormation makes numbers and texts of, whatever they are in the template."""


def small(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        if name == "options":  # the log driver's own names
            return value
        small_names = {key: key[0].lower() + key[1:] for key in value}
        return {small_names[key]: small(each, small_names[key]) for key, each in value.items()}
    if isinstance(value, list):
        return [small(each) for each in value]
    if name in TEXTS:
        return str(value)
    return int(value) if name in NUMBERS else value


@pytest.fixture
def container(bare: Stack) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = request(bare, "TaskDefinition")["containerDefinitions"]
    return found


def test_a_stop_has_longer_than_the_worker_takes_at_most(container: dict[str, Any]) -> None:
    grace_seconds = int(DEFAULTS["shutdownGraceMillis"]) / 1000 + SINK_GRACE_SECONDS
    assert grace_seconds < container["stopTimeout"] <= 120


def test_the_container_may_do_little(container: dict[str, Any]) -> None:
    assert container["readonlyRootFilesystem"] is True
    assert container["user"] == "10001:10001"
    assert "privileged" not in container
    assert container["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    assert container["linuxParameters"]["tmpfs"] == [
        {"containerPath": "/tmp", "size": 256, "mountOptions": ["rw", "nosuid", "nodev", "mode=1777"]}  # noqa: S108 - in the task
    ]
    assert "secrets" not in container
    assert {each["name"] for each in container["environment"]} == {"AWS_REGION", "STREAMGAUGE_METRICS_PORT"}


def test_the_container_is_asked_for_its_health_as_the_image_would_be(container: dict[str, Any]) -> None:
    check = container["healthCheck"]
    (said,) = re.findall(r"^HEALTHCHECK --.*\\\n +(CMD) (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert check["command"] == [said[0], *json.loads(said[1])]
    assert check["interval"] * check["retries"] <= 60


def test_a_worker_that_a_person_must_look_after_is_not_started_again_in_its_task(container: dict[str, Any]) -> None:
    assert container["restartPolicy"] == {"enabled": True, "ignoredExitCodes": [0, 2, 3], "restartAttemptPeriod": 60}


def test_the_service_starts_new_workers_before_it_stops_old_ones(bare: Stack, full: Stack) -> None:
    service = request(bare, "Service")
    deployment = service["deploymentConfiguration"]
    assert (deployment["minimumHealthyPercent"], deployment["maximumPercent"]) == (100, 200)
    assert deployment["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    for stack, architecture in ((bare, "ARM64"), (full, "X86_64")):
        assert request(stack, "TaskDefinition")["runtimePlatform"]["cpuArchitecture"] == architecture
