"""Writes terraform_schema.json: the arguments that the AWS provider's resources take, of those that are used here.

The provider itself cannot be had where the project is built and tested. Its resources, with all their arguments and
blocks by the same names, are in the Python package cdktf-cdktf-provider-aws, which was generated from the provider:

    pip download --no-deps cdktf-cdktf-provider-aws==21.22.1
    python tests/deploy/terraform_schema.py cdktf_cdktf_provider_aws-21.22.1-py3-none-any.whl
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_suffix(".json")
RESOURCES = (
    "dynamodb_table",
    "iam_role",
    "iam_role_policy",
    "kinesis_firehose_delivery_stream",
    "kinesis_stream",
    "s3_bucket",
    "s3_bucket_public_access_block",
)
DATA = ("caller_identity", "iam_policy_document", "partition", "region")
_OF_TERRAFORM = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners"}
"""Arguments of every resource."""

Schema = dict[str, Any]
"""By argument: whether it is `required`; and of a block, what it takes: `block`."""


def main(wheel: str) -> None:
    """Read the wheel, write the file."""
    with zipfile.ZipFile(wheel) as package:
        (metadata,) = [name for name in package.namelist() if name.endswith("/METADATA")]
        (version,) = re.findall(r"hashicorp/aws provider version (\S+)", package.read(metadata).decode())
        schema = {
            "provider": version,
            "resource": {f"aws_{name}": _schema(package, name) for name in RESOURCES},
            "data": {f"aws_{name}": _schema(package, f"data_aws_{name}") for name in DATA},
        }
    TARGET.write_text(json.dumps(schema, separators=(",", ":")).replace('"aws_', '\n"aws_') + "\n")


def _schema(package: zipfile.ZipFile, module: str) -> Schema:
    tree = ast.parse(package.read(f"cdktf_cdktf_provider_aws/{module}/__init__.py"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    name = "".join(part.capitalize() for part in module.split("_"))
    return {argument: each for argument, each in _arguments(classes, name).items() if argument not in _OF_TERRAFORM}


def _arguments(classes: dict[str, ast.ClassDef], name: str) -> Schema:
    (constructor,) = [
        node for node in classes[name].body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    arguments = zip(constructor.args.kwonlyargs, constructor.args.kw_defaults, strict=True)
    return {argument.arg: _argument(classes, argument, default) for argument, default in arguments}


def _argument(classes: dict[str, ast.ClassDef], argument: ast.arg, default: ast.expr | None) -> Schema:
    assert argument.annotation is not None
    blocks = [each for each in re.findall(r"'(\w+)'", ast.unparse(argument.annotation)) if each in classes]
    schema: Schema = {"required": default is None}
    if blocks:
        schema["block"] = _arguments(classes, blocks[0])
    return schema


if __name__ == "__main__":
    main(sys.argv[1])
