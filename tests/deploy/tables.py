"""The tables that deploy/ecs makes, as requests of CreateTable; and what of a table two must have alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

TEMPLATE = Path(__file__).parents[2] / "deploy" / "ecs" / "template.yaml"
_OF_THE_TEMPLATE_ALONE = ("PointInTimeRecoverySpecification", "TimeToLiveSpecification")


def tables_of_ecs(application: str, state_table: str) -> dict[str, dict[str, Any]]:
    """Return a request of CreateTable for each table, by name."""
    names = {"ApplicationName": application, "StateTableName": state_table}
    resources = YAML(typ="rt").load(TEMPLATE)["Resources"]
    tables = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::DynamoDB::Table"]
    return {name: _request(name, table) for table in tables for name in [_name(table["TableName"], names)]}


def _name(tagged: Any, names: dict[str, str]) -> str:
    text: str = tagged.value if tagged.tag.value == "!Sub" else f"${{{tagged.value}}}"
    for parameter, value in names.items():
        text = text.replace(f"${{{parameter}}}", value)
    return text


def _request(name: str, table: Any) -> dict[str, Any]:
    request = {key: _plain(value) for key, value in table.items() if key not in _OF_THE_TEMPLATE_ALONE}
    request["TableName"] = name
    if "SSESpecification" in request:
        request["SSESpecification"] = {"Enabled": table["SSESpecification"]["SSEEnabled"]}
    return request


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def shape(table: dict[str, Any]) -> dict[str, Any]:
    """Return what of a table must be so: its attributes, its key, its indexes."""
    return {
        "attributes": sorted((each["AttributeName"], each["AttributeType"]) for each in table["AttributeDefinitions"]),
        "key": [(each["AttributeName"], each["KeyType"]) for each in table["KeySchema"]],
        "indexes": {
            each["IndexName"]: (
                [(part["AttributeName"], part["KeyType"]) for part in each["KeySchema"]],
                each["Projection"],
            )
            for each in table.get("GlobalSecondaryIndexes", ())
        },
    }
