"""deploy/terraform, read as text: what `terraform validate` would look at, which needs the AWS provider.

Arguments and blocks are compared with what the provider's resources take (terraform_schema.py), tables with those of
deploy/ecs, which are compared with what the daemon makes. `make terraform-check` runs Terraform itself, as far as it
goes without the provider.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
from ruamel.yaml import YAML

from consumer.state.items import EXPIRES_AT
from deploy.iam.policy import FEATURES, ROLES, statements_of
from tests.deploy.tables import shape, tables_of_ecs

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "deploy" / "terraform"
SCHEMA = json.loads(Path(__file__).with_name("terraform_schema.json").read_text())
OF_TERRAFORM = {"count", "depends_on", "for_each", "lifecycle", "provider"}


def read(folder: Path) -> dict[str, list[Any]]:
    """Return all blocks of a module by kind, without the quotes that the parser leaves."""
    merged: dict[str, list[Any]] = {}
    for file in sorted(folder.glob("*.tf")):
        for kind, blocks in plain(hcl2.loads(file.read_text())).items():
            merged.setdefault(kind, []).extend(blocks)
    return merged


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {unquoted(key): plain(each) for key, each in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return unquoted(value) if isinstance(value, str) else value


def unquoted(text: str) -> str:
    return text[1:-1] if text.startswith('"') and text.endswith('"') else text


BLOCKS = read(MODULE)


def resources(kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield type, name and body of each resource (or data)."""
    for block in BLOCKS[kind]:
        for type_, named in block.items():
            for name, body in named.items():
                yield type_, name, body


def problems(body: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Yield what the provider would refuse."""
    body = {name: each for name, each in body.items() if name not in OF_TERRAFORM}
    for dynamic in body.pop("dynamic", ()):
        for name, each in dynamic.items():
            body.setdefault(name, []).extend(each["content"])
    yield from (f"lacks {name}" for name, each in schema.items() if each["required"] and name not in body)
    for name, value in body.items():
        if name not in schema:
            yield f"has no {name}"
        elif "block" in schema[name]:
            for each in value:
                yield from (f"{name}: {problem}" for problem in problems(each, schema[name]["block"]))


@pytest.mark.parametrize("kind", ["resource", "data"])
def test_the_provider_s_resources_take_what_is_written(kind: str) -> None:
    found = [
        f"{type_}.{name}: {problem}"
        for type_, name, body in resources(kind)
        for problem in problems(body, SCHEMA[kind][type_])
    ]
    assert found == []


def test_what_a_resource_does_not_take_is_found() -> None:
    table = SCHEMA["resource"]["aws_dynamodb_table"]
    body = {"nane": "x", "attribute": [{"name": "pk"}], "ttl": [{"attribut_name": "x"}]}
    assert set(problems(body, table)) == {
        "lacks name",
        "has no nane",
        "attribute: lacks type",
        "ttl: has no attribut_name",
    }


def test_the_provider_is_one_whose_arguments_are_known() -> None:
    (needed,) = [block["required_providers"][0]["aws"]["version"] for block in BLOCKS["terraform"]]
    assert needed == ">= 6.0, < 7.0"
    assert SCHEMA["provider"].startswith("6.")


def test_each_name_that_is_used_is_there() -> None:
    text = "\n".join(file.read_text() for file in MODULE.glob("*.tf"))
    variables = [name for block in BLOCKS["variable"] for name in block]
    assert set(re.findall(r"\bvar\.(\w+)", text)) == set(variables), "and no other"
    assert set(re.findall(r"\blocal\.(\w+)", text)) == {name for block in BLOCKS["locals"] for name in block}
    assert set(re.findall(r"\bmodule\.(\w+)", text)) == {name for block in BLOCKS["module"] for name in block}
    used = set(re.findall(r"\b(data\.)?(aws_\w+)\.(\w+)", text))
    made = {("", type_, name) for type_, name, _ in resources("resource")}
    assert used <= made | {("data.", type_, name) for type_, name, _ in resources("data")}


def test_variables_say_what_they_are() -> None:
    assert [name for block in BLOCKS["variable"] for name, each in block.items() if "description" not in each] == [
        "tags"
    ]


def test_the_tables_are_those_of_deploy_ecs() -> None:
    written = {
        body["name"]: as_request(body) for type_, _, body in resources("resource") if type_ == "aws_dynamodb_table"
    }
    expected = tables_of_ecs("${local.application}", "${var.state_table}")
    assert {name: shape(each) for name, each in written.items()} == {
        name: shape(each) for name, each in expected.items()
    }
    assert {each["BillingMode"] for each in (*written.values(), *expected.values())} == {"PAY_PER_REQUEST"}


def test_the_tables_of_states_forget_what_expires() -> None:
    """By what the store writes; moto's CloudFormation would not notice."""
    (state,) = [body for _, name, body in resources("resource") if name == "state" and "ttl" in body]
    assert state["ttl"] == [{"attribute_name": EXPIRES_AT, "enabled": True}]
    for template in ("ecs", "lambda"):
        made = YAML(typ="rt").load(MODULE.parent / template / "template.yaml")["Resources"]["StateTable"]["Properties"]
        assert made["TimeToLiveSpecification"] == {"AttributeName": EXPIRES_AT, "Enabled": True}


def as_request(body: dict[str, Any]) -> dict[str, Any]:
    """Return a table as a request of CreateTable has it."""
    return {
        "BillingMode": body["billing_mode"],
        "AttributeDefinitions": [
            {"AttributeName": each["name"], "AttributeType": each["type"]} for each in body["attribute"]
        ],
        "KeySchema": key(body),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": each["name"],
                "KeySchema": key(each),
                "Projection": {"ProjectionType": each["projection_type"]},
            }
            for each in body.get("global_secondary_index", ())
        ],
    }


def key(body: dict[str, Any]) -> list[dict[str, str]]:
    parts = [("HASH", body.get("hash_key")), ("RANGE", body.get("range_key"))]
    return [{"AttributeName": name, "KeyType": kind} for kind, name in parts if name is not None]


def test_the_policy_knows_every_feature_and_every_resource() -> None:
    (has,) = [block["has"] for block in read(MODULE / "policy")["locals"]]
    assert set(has) == {"always", *FEATURES}
    (module,) = [block["policy"] for block in BLOCKS["module"]]
    named = {name for role in ROLES for each in statements_of(role) for name in each["Resource"]}
    assert set(module["arns"]) == named
