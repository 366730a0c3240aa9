"""Prints the policy that a pipeline needs: `python deploy/iam/policy.py PIPELINE --account ID --region NAME`.

`worker.yaml` and `lambda.yaml` beside this file say what is needed, by names of resources; here the names become ARNs,
and statements that this pipeline does not need are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from consumer.errors import EXIT_USAGE
from consumer.pipeline.load import load
from consumer.pipeline.model import FirehoseSink, Pipeline, S3Sink, SinkTarget, SqsSink
from consumer.pipeline.problems import PipelineError

FOLDER = Path(__file__).parent
ROLES = ("worker", "lambda")
FEATURES = (
    "create_lease_tables",
    "daemon_metrics",
    "fan_out",
    "firehose",
    "keys",
    "s3",
    "sqs",
    "state_bucket",
    "stream_key",
)
"""What a statement's `When` may name."""

Arns = Mapping[str, list[str]]
"""What the names of resources stand for."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where the pipeline runs; your keys of KMS by ARN, that of the stream, and those of buckets and queues."""

    account: str
    region: str
    partition: str = "aws"
    create_lease_tables: bool = False
    stream_key: str | None = None
    keys: tuple[str, ...] = ()
    log_group: str = ""

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


def statements_of(role: str) -> list[dict[str, Any]]:
    """Return the statements of a role's file as they are there."""
    document: dict[str, Any] = YAML(typ="safe").load(FOLDER / f"{role}.yaml")
    return list(document["Statements"])


def render(role: str, arns: Arns, features: Iterable[str], application: str) -> dict[str, Any]:
    """Return the policy document of a role: the statements that these features need, for these resources."""
    chosen = frozenset(features)
    needed = [each for each in statements_of(role) if each.get("When") in {None, *chosen}]
    return {"Version": "2012-10-17", "Statement": [_statement(each, arns, application) for each in needed]}


def _statement(written: Mapping[str, Any], arns: Arns, application: str) -> dict[str, Any]:
    condition = json.dumps(written.get("Condition", {})).replace("{Application}", application)
    return {
        "Sid": written["Sid"],
        "Effect": "Allow",
        "Action": written["Action"],
        "Resource": [arn for name in written["Resource"] for arn in arns[name]],
        **({"Condition": json.loads(condition)} if "Condition" in written else {}),
    }


def policy_for(role: str, pipeline: Pipeline, home: Home) -> dict[str, Any]:
    """Return the policy document that a role needs for a pipeline."""
    return render(role, arns_of(pipeline, home), features_of(pipeline, home), pipeline.worker.application)


def features_of(pipeline: Pipeline, home: Home) -> set[str]:
    """Return what a pipeline and its home have of FEATURES."""
    targets = list(_targets(pipeline))
    kcl = dict(pipeline.worker.kcl)
    has = {
        "create_lease_tables": home.create_lease_tables,
        "daemon_metrics": kcl.get("metricsLevel", "NONE").upper() != "NONE",
        "fan_out": kcl.get("retrievalMode", "POLLING").upper() != "POLLING",
        "firehose": any(isinstance(target, FirehoseSink) for target in targets),
        "keys": bool(home.keys),
        "s3": any(isinstance(target, S3Sink) for target in targets),
        "sqs": any(isinstance(target, SqsSink) for target in targets),
        "state_bucket": pipeline.state.bucket is not None,
        "stream_key": home.stream_key is not None,
    }
    return {name for name, here in has.items() if here}


def arns_of(pipeline: Pipeline, home: Home) -> Arns:
    """Return the ARNs of all that a pipeline names."""
    name, table = pipeline.source.stream, f"table/{pipeline.worker.application}"
    stream = name if name.startswith("arn:") else home.arn("kinesis", f"stream/{name}")
    bucket = f"arn:{home.partition}:s3:::{pipeline.state.bucket}"
    targets = list(_targets(pipeline))
    return {
        "Everything": ["*"],
        "Stream": [stream],
        "StreamConsumers": [f"{stream}/consumer/*"],
        "StreamKey": [home.stream_key or ""],
        "Keys": _sorted(home.keys),
        "LeaseTable": [home.arn("dynamodb", table)],
        "LeaseTableIndex": [home.arn("dynamodb", f"{table}/index/LeaseOwnerToLeaseKeyIndex")],
        "CoordinatorTable": [home.arn("dynamodb", f"{table}-CoordinatorState")],
        "WorkersTable": [home.arn("dynamodb", f"{table}-WorkerMetricStats")],
        "StateTable": [home.arn("dynamodb", f"table/{pipeline.state.table}")],
        "StateBucket": [bucket],
        "StateObjects": [f"{bucket}/{pipeline.name}/*"],
        "DeliveryStreams": _sorted(
            home.arn("firehose", f"deliverystream/{each.stream}") for each in targets if isinstance(each, FirehoseSink)
        ),
        "Objects": _sorted(_objects(each, home) for each in targets if isinstance(each, S3Sink)),
        "Queues": _sorted(_queue(each, home) for each in targets if isinstance(each, SqsSink)),
        "LogGroup": [home.arn("logs", f"log-group:{home.log_group}:*")],
    }


def _targets(pipeline: Pipeline) -> Iterator[SinkTarget]:
    yield from (route.target for route in pipeline.sinks)
    yield from (target for target in (pipeline.late, pipeline.dead_letter) if target is not None)


def _sorted(arns: Iterable[str]) -> list[str]:
    return sorted(set(arns))


def _objects(sink: S3Sink, home: Home) -> str:
    folder = sink.prefix if not sink.prefix or sink.prefix.endswith("/") else f"{sink.prefix}/"
    return f"arn:{home.partition}:s3:::{sink.bucket}/{folder}*"


def _queue(sink: SqsSink, home: Home) -> str:
    """Return a queue's ARN: its URL ends with account and name, and its host may name another region."""
    account, name = sink.queue_url.split("/")[-2:]
    host = sink.queue_url.split("/")[2].split(".")
    region = host[1] if host[0] == "sqs" and len(host) > 2 else home.region  # noqa: PLR2004 - sqs.REGION.…
    return f"arn:{home.partition}:sqs:{region}:{account}:{name}"


def main(arguments: list[str]) -> int:
    """Print the policy as JSON."""
    chosen = _parser().parse_args(arguments)
    try:
        pipeline = load(chosen.pipeline, os.environ)
    except PipelineError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    home = Home(
        chosen.account,
        chosen.region,
        partition=chosen.partition,
        create_lease_tables=chosen.create_lease_tables,
        stream_key=chosen.stream_key,
        keys=tuple(chosen.key),
        log_group=chosen.log_group,
    )
    print(json.dumps(policy_for(chosen.role, pipeline, home), indent=2))
    return 0


def _account(text: str) -> str:
    if not re.fullmatch("[0-9]{12}", text):
        raise argparse.ArgumentTypeError(f"{text} is no account's number, which has twelve digits")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Prints the least-privilege policy that a pipeline file needs.")
    parser.add_argument("pipeline", type=Path, help="the pipeline file")
    parser.add_argument("--role", choices=ROLES, default="worker")
    parser.add_argument("--account", required=True, type=_account, help="the account's number, twelve digits")
    parser.add_argument("--region", required=True, help="of the stream and all else, such as eu-central-1")
    parser.add_argument("--partition", default="aws", help="aws-cn, aws-us-gov")
    parser.add_argument("--create-lease-tables", action="store_true", help="the daemon is to make its tables itself")
    parser.add_argument("--stream-key", help="ARN of your key that the stream is encrypted by")
    parser.add_argument(
        "--key", action="append", default=[], help="ARN of your key that a bucket or queue is encrypted by"
    )
    parser.add_argument("--log-group", default="/aws/lambda/streamgauge", help="of the Lambda function")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
