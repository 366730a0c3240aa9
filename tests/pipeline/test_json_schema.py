"""The JSON Schema that editors use says what the loader says, as far as a schema can."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from consumer.pipeline.schema import EXAMPLES, LATER_KEYS, json_schema

CONFIG = Path(__file__).parents[2] / "config"
FILES = {path.name: YAML(typ="safe", pure=True).load(path) for path in sorted(CONFIG.glob("*.yaml"))}


VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def errors(data: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(data)]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("name", FILES)
def test_the_example_files_fit(name: str) -> None:
    assert errors(FILES[name]) == []


def put(data: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    at = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["windows", "page_views", "tumbling"], {"size": "1m", "offset": "10s"}),
        (["windows", "visits", "session"], "30m"),
        (["worker", "metrics_port"], "${PORT}"),
        (["worker", "identifier"], None),
        (["source", "start"], "2026-01-31T00:00:00Z"),
        (["events", "max_future"], "off"),
        (["where"], True),
        (["sinks"], [{"stdout": {}, "windows": ["visits"]}, {"file": {"path": "x"}}]),
    ],
)
def test_other_forms_fit(path: list[str], value: Any) -> None:
    assert errors(put(FILES["clickstream.yaml"], path, value)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["pipeline"], "Clicks"),
        (["limits"], {"groups": 5}),
        (["where"], None),
        (["source", "start"], "yesterday"),
        (["events", "compression"], "auto"),
        (["events", "idle_after"], "1m"),
        (["events", "fields", "page"], "text"),
        (["events", "fields", "a-b"], "int"),
        (["events", "out_of_orderness"], 10),
        (["events", "out_of_orderness"], ""),
        (["events", "out_of_orderness"], "10"),
        (["windows", "page_views", "tumbling"], 60),
        (["windows", "page_views", "tumbling"], None),
        (["windows", "page_views", "session"], "5m"),
        (["windows", "page_views", "sliding"], {"size": "1m"}),
        (["windows", "page_views", "combine"], True),
        (["windows", "page_views", "select"], {}),
        (["windows", "page_views", "allowed_lateness"], "5s"),
        (["sinks"], []),
        (["sinks"], [{"stdout": {}, "file": {"path": "x"}}]),
        (["sinks"], [{"s3": {"bucket": "x"}}]),
        (["late"], {"stdout": {}, "windows": ["visits"]}),
        (["state", "bucket"], "B"),
        (["worker", "metrics_port"], 70_000),
        (["worker", "kcl"], {"maxRecords": 0}),
    ],
)
def test_mistakes_do_not_fit(path: list[str], value: Any) -> None:
    assert errors(put(FILES["clickstream.yaml"], path, value)) != []


@pytest.mark.parametrize("path", [path for path in EXAMPLES if "*" not in path])
def test_what_is_required_is_required_here_too(path: str) -> None:
    data = copy.deepcopy(FILES["clickstream.yaml"])
    at = data
    *parents, last = path.split(".")
    for step in parents:
        at = at[step]
    del at[last]
    assert errors(data) == [f"{last!r} is a required property"]


def test_what_is_to_come_is_not_in_it() -> None:
    text = json.dumps(json_schema())
    for path in LATER_KEYS:
        assert f'"{path.split(".")[-1]}": {{' not in text.replace('"where": {', "", 1), path


def test_defaults_stand_as_they_are_written() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["StatePart"]["properties"]["commit_interval"]["default"] == "5s"
    assert definitions["EventsPart"]["properties"]["max_future"]["default"] == "1h"
    assert definitions["WorkerPart"]["properties"]["metrics_port"]["default"] == 9102
