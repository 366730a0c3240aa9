"""What a real worker, Python and Java, asks of AWS: each call as the permission that it needs, and on what.

The worker signs with a key of its own, so that its calls can be told from those of the test; they are noted where they
reach the embedded AWS.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs

import pytest

from consumer.emulator.application import Application
from consumer.emulator.http import Answer, Request
from consumer.emulator.moto_service import service_of

WORKER_KEY = "WORKER"
ACCOUNT, REGION = "123456789012", "us-east-1"

Permission = tuple[str, str]
"""An action and the ARN that it is for."""


@contextmanager
def noted_calls(stream: str) -> Iterator[set[Permission]]:
    """Note what the worker calls of every embedded AWS that is started here; `stream` is the one that it reads."""
    noted: set[Permission] = set()
    answer = Application.answer

    async def noting(self: Application, request: Request) -> Answer | None:
        if f"Credential={WORKER_KEY}/" in request.header("authorization"):
            noted.update(permissions_of(self, request, stream))
        return await answer(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Application, "answer", noting)
        yield noted


def granted(policy: Mapping[str, Any]) -> set[Permission]:
    """Return what a policy document allows: pairs of an action and a pattern of ARNs."""
    return {
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


def grants(grant: Permission, call: Permission) -> bool:
    """Tell whether a grant is what a call needs."""
    return grant[0] == call[0] and fnmatchcase(call[1], grant[1])


def permissions_of(application: Application, request: Request, stream: str) -> set[Permission]:
    """Return what must be allowed for a call."""
    service = service_of(request)
    if service == "kinesis":
        operation = request.header("x-amz-target").rpartition(".")[2]
        return {(f"kinesis:{operation}", _arn("kinesis", f"stream/{stream}"))}
    if service == "dynamodb":
        return _of_tables(request)
    if service == "s3":
        call = application.others.prepare(request)
        return _of_objects(call.operation, call.coordinates, request.body)
    return _of_others(service, request)


def _of_tables(request: Request) -> set[Permission]:
    operation, body = request.header("x-amz-target").rpartition(".")[2], json.loads(request.body)
    if operation == "TransactWriteItems":
        writes = [(kind, write) for item in body["TransactItems"] for kind, write in item.items()]
        kinds = {
            "Put": "PutItem",
            "Update": "UpdateItem",
            "Delete": "DeleteItem",
            "ConditionCheck": "ConditionCheckItem",
        }
        return {(f"dynamodb:{kinds[kind]}", _arn("dynamodb", f"table/{write['TableName']}")) for kind, write in writes}
    index = f"/index/{body['IndexName']}" if "IndexName" in body else ""
    tables = [body["TableName"]] if "TableName" in body else [*body["RequestItems"]]
    return {(f"dynamodb:{operation}", _arn("dynamodb", f"table/{table}{index}")) for table in tables}


_OF_BUCKETS = {"HeadBucket": "ListBucket", "ListObjectsV2": "ListBucket"}
_OF_KEYS = {"HeadObject": "GetObject"}


def _of_objects(operation: str, coordinates: str, body: bytes) -> set[Permission]:
    bucket, _, key = coordinates.partition("/")
    if operation == "DeleteObjects":
        keys = re.findall(rb"<Key>([^<]+)</Key>", body)
        return {("s3:DeleteObject", f"arn:aws:s3:::{bucket}/{each.decode()}") for each in keys}
    action = _OF_BUCKETS.get(operation) or _OF_KEYS.get(operation, operation)
    return {(f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}")}


def _of_others(service: str, request: Request) -> set[Permission]:
    operation = request.header("x-amz-target").rpartition(".")[2] or _by_form(request)
    if service == "firehose":
        name = json.loads(request.body)["DeliveryStreamName"]
        return {(f"firehose:{operation}", _arn("firehose", f"deliverystream/{name}"))}
    if service == "sqs":
        queue = json.loads(request.body)["QueueUrl"].rpartition("/")[2]
        return {(f"sqs:{operation.removesuffix('Batch')}", _arn("sqs", queue))}
    return {(f"{_PREFIXES.get(service, service)}:{operation}", "*")}


_PREFIXES = {"monitoring": "cloudwatch"}


def _by_form(request: Request) -> str:
    """Return the operation of a call by form, or by a path as `/service/NAME/operation/NAME`."""
    if "/operation/" in request.path:
        return request.path.rpartition("/")[2]
    body = gzip.decompress(request.body) if request.header("content-encoding") == "gzip" else request.body
    form: dict[str, Any] = parse_qs(body.decode())
    operation: str = form["Action"][0]
    return operation


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"
