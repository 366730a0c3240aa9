"""From an event as a test writes it, field by field, to the bytes that a producer would send."""

from __future__ import annotations

import gzip
import json
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from consumer.pipeline.model import Events, Field

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CSV_QUOTED = re.compile(r'[",\r\n]')


class EncodingProblem(ValueError):  # noqa: N818 - what is wrong with a file, not with the program
    """The format has no way to say this; the message names the field."""


def encode_event(events: Events, values: Mapping[str, Any]) -> bytes:
    """Return the record's bytes. Fields that are not named are absent.

    `values` are None, bool, int, float, str, list and dict, of the field's type or not: a test may well send what the
    pipeline refuses. EncodingProblem if the format cannot carry a value.
    """
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise EncodingProblem(
                f"{name}: no format has {value}; write the record's own bytes, with `raw` or `base64`"
            )
    return _compress(events.compression, _ENCODERS[events.format](events.fields, values))


def _compress(compression: str, data: bytes) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    return zstd.compress(data) if compression == "zstd" else data


def _json(fields: tuple[Field, ...], values: Mapping[str, Any]) -> bytes:
    return json.dumps(_document(fields, values), ensure_ascii=False, separators=(",", ":")).encode()


def _msgpack(fields: tuple[Field, ...], values: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.msgpack.encode(_document(fields, values))
    except OverflowError as error:
        raise EncodingProblem(f"msgpack: {error}") from error


def _document(fields: tuple[Field, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object in which every value stands at its field's path."""
    document: dict[str, Any] = {}
    for field in fields:
        if field.name in values:
            _put(document, field.path, values[field.name])
    return document


def _put(container: Any, path: tuple[str | int, ...], value: Any) -> None:
    step, *rest = path
    if isinstance(step, int):
        container.extend([None] * (step + 1 - len(container)))
    if not rest:
        container[step] = value
        return
    inner = container[step] if isinstance(step, int) else container.get(step)
    if inner is None:
        inner = container[step] = [] if isinstance(rest[0], int) else {}
    _put(inner, tuple(rest), value)


def _csv(fields: tuple[Field, ...], values: Mapping[str, Any]) -> bytes:
    header = [field.path[0] for field in fields if isinstance(field.path[0], str)]
    places: list[str | int] = [*header] or [*range(1 + max(int(field.path[0]) for field in fields))]
    texts = {field.path[0]: _csv_text(field.name, values.get(field.name)) for field in fields}
    lines = [list(map(_csv_quoted, header))] if header else []
    lines.append([texts.get(place, "") for place in places])
    return "\r\n".join(",".join(line) for line in lines).encode()


def _csv_text(name: str, value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return _csv_quoted(value)
    raise EncodingProblem(f"{name}: csv has no mappings and no lists")


def _csv_quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _CSV_QUOTED.search(text) else text


_ENCODERS = {"json": _json, "msgpack": _msgpack, "csv": _csv}
