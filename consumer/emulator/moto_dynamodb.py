"""A quicker way for moto's DynamoDB to write items: moto looks for each of the ten types of every attribute by name.

Importing this imports moto, which takes most of a second.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import MutableMapping
from typing import Any

from moto.core.serialize import SERVICE_SPECIFIC_SERIALIZERS, JSONSerializer


class DynamoSerializer(JSONSerializer):
    """Writes attributes as they are, and all else as moto does."""

    def _serialize(self, serialized: MutableMapping[str, Any], value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue":
            serialized[key] = _plain(value)
        else:
            super()._serialize(serialized, value, shape, key)


def install() -> None:
    """Have moto's DynamoDB answer with it."""
    SERVICE_SPECIFIC_SERIALIZERS["dynamodb"] = {"json": DynamoSerializer}


def _plain(attribute: dict[str, Any]) -> dict[str, Any]:
    """Return {type: value} as JSON has it: bytes as base64."""
    ((kind, value),) = attribute.items()
    if kind == "B":
        value = _base64(value)
    elif kind == "BS":
        value = [_base64(each) for each in value]
    elif kind == "L":
        value = [_plain(each) for each in value]
    elif kind == "M":
        value = {name: _plain(each) for name, each in value.items()}
    return {kind: value}


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
