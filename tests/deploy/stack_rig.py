"""A CloudFormation template that is deployed onto moto, and what is there then."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.parsing import clean_json

ACCOUNT, REGION = "123456789012", "eu-west-1"


@dataclass(frozen=True)
class Stack:
    """A stack that was created."""

    name: str
    outputs: Mapping[str, str]
    ids: Mapping[str, str]
    """By the names of the resources in the template."""

    def resolved(self, resource: str) -> dict[str, Any]:
        """Return a resource's properties in the template, with the values of this stack."""
        backend = cloudformation_backends[ACCOUNT][REGION]
        stack = backend.get_stack(self.name)
        properties: dict[str, Any] = clean_json(
            stack.template_dict["Resources"][resource]["Properties"], stack.resource_map
        )
        return properties

    def statements(self, policy: str) -> dict[str, dict[str, Any]]:
        """Return what the role named Role may do by a policy, by Sid; actions and resources as lists."""
        answer = client("iam").get_role_policy(RoleName=self.ids["Role"], PolicyName=policy)
        # moto answers with Python's text for it, and None where a condition takes a statement away.
        document = literal_eval(str(answer["PolicyDocument"]))
        return by_sid({"Statement": [each for each in document["Statement"] if each]})


def by_sid(policy: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a policy's statements by Sid; actions and resources as lists."""
    return {each["Sid"]: {name: _listed(name, value) for name, value in each.items()} for each in policy["Statement"]}


def _listed(name: str, value: Any) -> Any:
    return [value] if name in {"Action", "Resource"} and isinstance(value, str) else value


def client(service: str) -> Any:
    """Return a client in the region of the stacks."""
    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]  # any service


def deploy_template(template: Path, name: str, parameters: Mapping[str, str]) -> Stack:
    """Create a stack, and return when it is there."""
    cloud = client("cloudformation")
    cloud.create_stack(
        StackName=name,
        TemplateBody=template.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = cloud.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    resources = cloud.list_stack_resources(StackName=name)["StackResourceSummaries"]
    return Stack(
        name,
        {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]},
        {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in resources},
    )
