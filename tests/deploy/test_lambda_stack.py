"""The template, deployed onto moto as CloudFormation: what is there then, read back by boto3.

What moto's CloudFormation leaves out is looked at in the template itself (test_lambda.py): the function's architecture
and log group, the table's encryption and recovery, whether the mapping is enabled, that a tick is not tried again. It
knows no alarms: they are made
here of the template's properties, by the call that CloudFormation makes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from consumer.pipeline.load import load
from consumer.pipeline.model import SqsSink
from consumer.sources.mapping import check_mapping
from consumer.state.dynamodb import check_table
from consumer.telemetry.emf import NAMESPACE
from consumer.telemetry.metrics import DEFINITIONS, PREFIX
from deploy.iam.policy import render
from tests.deploy.stack_rig import ACCOUNT, REGION, Stack, by_sid, client, deploy_template

pytestmark = pytest.mark.filterwarnings(
    "ignore:Tried to parse AWS..(CloudWatch|Logs..MetricFilter|Lambda..EventInvokeConfig):UserWarning"
)
TEMPLATE = Path(__file__).parents[2] / "deploy" / "lambda" / "template.yaml"
STREAM = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/clicks"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"
DELIVERY = f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/rows"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:rare"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key"
OBJECTS = "arn:aws:s3:::results/rows*"
NEEDED = {"CodeBucket": "code", "CodeKey": "function.zip", "PipelineName": "clickstream", "StreamArn": STREAM}
PIPELINE = """\
pipeline: clickstream
source: {stream: clicks, partition_key: user}
events: {fields: {user: string, at: timestamp}, time: at, out_of_orderness: 10s, idle_after: 1m}
windows: {views: {tumbling: 1m, by: [user], select: {views: count()}}}
sinks: [{firehose: {stream: rows}}]
dead_letter: {sqs: {queue_url: "${DEAD_LETTER_QUEUE_URL}"}}
state: {table: streamgauge-state}
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    with mock_aws():
        client("s3").create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": REGION})
        with io.BytesIO() as data:
            with zipfile.ZipFile(data, "w") as archive:
                archive.writestr("function.py", "")
            client("s3").put_object(Bucket="code", Key="function.zip", Body=data.getvalue())
        client("kinesis").create_stream(StreamName="clicks", ShardCount=1)
        yield


def deploy(name: str, **parameters: str) -> Stack:
    return deploy_template(TEMPLATE, name, NEEDED | {"StateTableName": f"{name}-state"} | parameters)


@pytest.fixture(scope="module")
def stack(aws: None) -> Stack:
    """Return a stack with everything there is."""
    return deploy(
        "full",
        StateBucketName="snapshots",
        DeliveryStreamArns=DELIVERY,
        ObjectArns=OBJECTS,
        QueueArns=QUEUE,
        StreamKeyArn=f"{KEY}/stream",
        KeyArns=f"{KEY}/bucket",
        DeadLetterQueue="true",
        AlarmTopicArn=TOPIC,
        Runtime="python3.12",
        MemorySize="512",
    )


@pytest.fixture(scope="module")
def bare(aws: None) -> Stack:
    """Return a stack with nothing but what it must have."""
    return deploy("bare", DeliveryStreamArns=f"{DELIVERY},{DELIVERY}-late")


def test_the_function_is_there(stack: Stack) -> None:
    found = client("lambda").get_function_configuration(FunctionName=stack.outputs["FunctionName"])
    assert found["Handler"] == "consumer.entrypoints.lambda_handler.handler"
    assert (found["Runtime"], found["MemorySize"], found["Timeout"]) == ("python3.12", 512, 120)
    role = client("iam").get_role(RoleName=stack.ids["Role"])["Role"]
    assert found["Role"] == role["Arn"]
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert (trusted["Principal"], trusted["Action"]) == ({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")
    groups = client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/full")["logGroups"]
    assert [(each["logGroupName"], each["retentionInDays"]) for each in groups] == [("/aws/lambda/full", 30)]


def test_the_function_takes_its_mapping(stack: Stack, bare: Stack) -> None:
    for each in (stack, bare):
        # By its name: AWS takes the ARN as well, moto does not.
        name = each.outputs["FunctionName"]
        check_mapping(client("lambda"), function=name, stream_arn=STREAM, start="trim_horizon")
        mapping = client("lambda").get_event_source_mapping(UUID=each.outputs["MappingId"])
        assert (mapping["BatchSize"], mapping["MaximumBatchingWindowInSeconds"]) == (10_000, 2)
        said = {"MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "ParallelizationFactor", "FunctionResponseTypes"}
        assert said <= set(mapping), "said plainly, not left to a default"


def test_the_tick_comes_once_a_minute_and_may(stack: Stack) -> None:
    rule = client("events").describe_rule(Name=stack.ids["Tick"])
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    (target,) = client("events").list_targets_by_rule(Rule=stack.ids["Tick"])["Targets"]
    name = stack.outputs["FunctionName"]
    assert target["Arn"] == client("lambda").get_function_configuration(FunctionName=name)["FunctionArn"]
    (allowed,) = json.loads(client("lambda").get_policy(FunctionName=name)["Policy"])["Statement"]
    assert (allowed["Principal"], allowed["Action"]) == ({"Service": "events.amazonaws.com"}, "lambda:InvokeFunction")
    assert allowed["Condition"] == {"ArnLike": {"AWS:SourceArn": rule["Arn"]}}


def test_a_function_that_is_not_fed_does_not_tick(aws: None) -> None:
    stack = deploy("unfed", MappingEnabled="false")
    assert client("events").describe_rule(Name=stack.ids["Tick"])["State"] == "DISABLED"


def test_it_takes_the_table_that_workers_had(aws: None) -> None:
    client("dynamodb").create_table(
        TableName="moved-state",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    stack = deploy("moved", CreateStateTable="false", DeliveryStreamArns=DELIVERY)
    assert "StateTable" not in stack.ids
    assert stack.outputs["StateTableName"] == "moved-state"
    policy = render("lambda", arns("moved", DELIVERY), {"firehose"}, "")
    assert stack.statements("function") == by_sid(policy)


def test_the_store_takes_the_table(stack: Stack) -> None:
    assert stack.outputs["StateTableName"] == "full-state"
    check_table(client("dynamodb"), "full-state")
    table = client("dynamodb").describe_table(TableName="full-state")["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_the_pipeline_file_finds_the_queue_of_dead_letters(stack: Stack, bare: Stack, tmp_path: Path) -> None:
    found = client("lambda").get_function_configuration(FunctionName=stack.outputs["FunctionName"])
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE)
    pipeline = load(file, found["Environment"]["Variables"])
    assert pipeline.dead_letter == SqsSink(stack.outputs["DeadLetterQueueUrl"])
    attributes = client("sqs").get_queue_attributes(QueueUrl=pipeline.dead_letter.queue_url, AttributeNames=["All"])
    assert attributes["Attributes"]["MessageRetentionPeriod"] == str(14 * 24 * 3600)
    assert stack.statements("function")["SendDeadLetters"]["Resource"] == [attributes["Attributes"]["QueueArn"]]
    assert "DeadLetterQueueUrl" not in bare.outputs
    assert "DeadLetters" not in bare.ids


def test_the_role_has_the_policy_of_deploy_iam_and_nothing_else(stack: Stack, bare: Stack) -> None:
    statements = stack.statements("function")
    (queue,) = statements.pop("SendDeadLetters")["Resource"]
    assert queue.endswith(stack.ids["DeadLetters"].rpartition("/")[2])
    assert statements == by_sid(render("lambda", arns("full", DELIVERY), FEATURES, ""))
    policy = render("lambda", arns("bare", DELIVERY, f"{DELIVERY}-late"), {"firehose"}, "")
    assert bare.statements("function") == by_sid(policy)


FEATURES = {"firehose", "keys", "s3", "sqs", "state_bucket", "stream_key"}
"""Of the full stack."""


def arns(name: str, *delivery_streams: str) -> dict[str, list[str]]:
    return {
        "Everything": ["*"],
        "Stream": [STREAM],
        "StreamKey": [f"{KEY}/stream"],
        "Keys": [f"{KEY}/bucket"],
        "LogGroup": [f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{name}"],
        "StateTable": [f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}-state"],
        "StateBucket": ["arn:aws:s3:::snapshots"],
        "StateObjects": ["arn:aws:s3:::snapshots/clickstream/*"],
        "DeliveryStreams": [*delivery_streams],
        "Objects": [OBJECTS],
        "Queues": [QUEUE],
    }


ALARMS = ("IteratorAgeAlarm", "ThrottlesAlarm", "ErrorsAlarm", "DeadLettersAlarm")


def test_alarms_are_on_metrics_that_exist(stack: Stack) -> None:
    watch = client("cloudwatch")
    for name in ALARMS:
        watch.put_metric_alarm(AlarmName=name, **stack.resolved(name))
    found = {each["AlarmName"]: each for each in watch.describe_alarms()["MetricAlarms"]}
    assert set(found) == set(ALARMS)
    for alarm in found.values():
        assert alarm["AlarmActions"] == [TOPIC]
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    dimensions = [{"Name": "FunctionName", "Value": stack.outputs["FunctionName"]}]
    age, throttles, errors, letters = (found[name] for name in ALARMS)
    assert (age["MetricName"], age["Threshold"], age["Dimensions"]) == ("IteratorAge", 30_000, dimensions)
    assert (throttles["MetricName"], throttles["Threshold"], throttles["Dimensions"]) == ("Throttles", 0, dimensions)
    assert {each["Id"] for each in errors["Metrics"]} == {"share", "errors", "invocations"}
    assert errors["Threshold"] == 1
    assert letters["Namespace"] == NAMESPACE
    assert letters["MetricName"].removeprefix(PREFIX) in DEFINITIONS
    assert letters["Dimensions"] == [{"Name": "pipeline", "Value": "clickstream"}]


def test_nobody_is_told_where_there_is_no_topic(bare: Stack) -> None:
    assert "AlarmActions" not in bare.resolved("IteratorAgeAlarm")
