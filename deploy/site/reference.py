"""Writes docs/pipeline-reference.md from the JSON Schema of pipeline files: `python -m deploy.site.reference`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from consumer.pipeline.schema import json_schema

PAGE = Path(__file__).parents[2] / "docs" / "pipeline-reference.md"
PLACES: Mapping[str, str] = {
    "": "the file",
    "SourcePart": "source",
    "EventsPart": "events",
    "FieldPart": "events.fields.NAME",
    "WindowPart": "windows.NAME",
    "TumblingPart": "windows.NAME.tumbling",
    "SlidingPart": "windows.NAME.sliding",
    "SessionPart": "windows.NAME.session",
    "StaggerPart": "windows.NAME.stagger",
    "SinkPart": "sinks[]",
    "TargetPart": "late, dead_letter",
    "FirehosePart": "a sink's firehose",
    "SqsPart": "a sink's sqs",
    "S3Part": "a sink's s3",
    "FilePart": "a sink's file",
    "StdoutPart": "a sink's stdout",
    "StatePart": "state",
    "LimitsPart": "limits",
    "WorkerPart": "worker",
}
"""Where each part stands in the file, in the order of the page."""

_HEAD = """\
# Pipeline reference

<!-- written by deploy/site/reference.py from the JSON Schema: do not edit -->

Every key of the pipeline file; [its page](pipeline.md) explains them with examples. `streamgauge check --schema` prints
the JSON Schema that this page is made of, for editors. A value may be an environment variable, `${NAME}` or
`${NAME:-default}`.

A duration is a number with a unit, or several: `10s`, `1h30m`, `500ms`, `7d`.
"""
_DURATION = "([0-9]+d)?([0-9]+h)?"
_VARIABLE = r"|\$\{"
_UNTOLD = ({"type": "null"}, {"type": "string", "pattern": _VARIABLE.removeprefix("|")})
"""Forms of a value: none, as if it were left out; and a variable, which every value may be."""

Schema = Mapping[str, Any]


def page() -> str:
    """Return the page."""
    schema = json_schema()
    definitions: Schema = schema["$defs"]
    assert set(definitions) == set(PLACES) - {""}, "each part has its place on the page"
    sections = (_section(place, definitions.get(part, schema)) for part, place in PLACES.items())
    return _HEAD + "".join(sections)


def _section(place: str, schema: Schema) -> str:
    mapping = next(form for form in schema.get("anyOf", [schema]) if "additionalProperties" in form)
    lines = [
        f"\n## {place}\n",
        mapping["description"].partition(".")[0] + "." + _short_form(schema) + _exactly_one(mapping),
    ]
    if mapping.get("properties"):
        required = mapping.get("required", ())
        rows = (_row(key, each, required=key in required) for key, each in mapping["properties"].items())
        lines += ["\n| key | what | default | meaning |\n|---|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _short_form(schema: Schema) -> str:
    if "anyOf" not in schema:
        return ""
    return f" May be written short: {_type(schema['anyOf'][0])} in place of the mapping."


def _exactly_one(mapping: Schema) -> str:
    if "oneOf" not in mapping:
        return ""
    names = ", ".join(f"`{each['required'][0]}`" for each in mapping["oneOf"])
    return f" Exactly one of {names}."


def _row(key: str, schema: Schema, *, required: bool) -> str:
    cells = (f"`{key}`", _type(schema), _default(schema, required=required), schema["description"])
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _default(schema: Schema, *, required: bool) -> str:
    if required:
        return "required"
    default = schema.get("default")
    if not default or isinstance(default, dict):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _type(schema: Schema) -> str:
    """Return in words what a value may be."""
    if "$ref" in schema:
        return _link(schema["$ref"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(form) for form in schema["anyOf"] if form not in _UNTOLD))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return ", ".join(f"`{each if isinstance(each, str) else json.dumps(each)}`" for each in values)
    kind = schema["type"]
    return "expression" if isinstance(kind, list) else _OF_KIND[kind](schema)


def _mapping(schema: Schema) -> str:
    return f"mapping of names to {_type(schema['additionalProperties'])}"


def _list(schema: Schema) -> str:
    return f"list of {_type(schema['items'])}" if "items" in schema else "list"


def _text(schema: Schema) -> str:
    pattern = schema.get("pattern", "").removesuffix(_VARIABLE)
    if _DURATION in pattern:
        words = [f"`{word}`" for word in re.findall(r"\|\^(\w+)\$", pattern)]
        return " or ".join(["duration", *words])
    return "text"


def _range(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f", {least} to {most}"
    return "" if least is None else f", at least {least}"


def _number(schema: Schema) -> str:
    return f"whole number{_range(schema)}"


def _truth(_schema: Schema) -> str:
    return "`true` or `false`"


_OF_KIND = {"object": _mapping, "array": _list, "string": _text, "integer": _number, "boolean": _truth}


def _link(reference: str) -> str:
    place = PLACES[reference.rpartition("/")[2]]
    return f"[{place}](#{''.join(_anchor(place))})"


def _anchor(place: str) -> Iterator[str]:
    """Return the anchor of a heading as the site and GitHub make it."""
    for character in place.lower():
        if character == " ":
            yield "-"
        elif character.isalnum() or character in "_-":
            yield character


if __name__ == "__main__":
    PAGE.write_text(page())
