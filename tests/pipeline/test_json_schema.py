"""The JSON Schema that editors use says what the loader says, as far as a schema can."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from consumer.pipeline.schema import EXAMPLES, json_schema

CONFIG = Path(__file__).parents[2] / "config"
FILES = {
    path.name: YAML(typ="safe", pure=True).load(path)
    for path in sorted(CONFIG.glob("*.yaml"))
    if not path.name.endswith(".test.yaml")
}


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
        (["sinks"], [{"s3": {"bucket": "results", "prefix": "a/"}}, {"s3": {"bucket": "results"}}]),
        (["late"], {"sqs": {"queue_url": "https://sqs.eu-central-1.amazonaws.com/123456789012/late"}}),
        (["limits"], {"groups": 5}),
        (["limits"], {"groups": "${GROUPS}", "policy": "emit_early"}),
        (["events", "format"], "csv"),
        (["events", "compression"], "auto"),
        (["events", "compression"], "${COMPRESSION:-none}"),
        (["events", "idle_after"], "1m"),
        (["events", "idle_after"], "never"),
        (["events", "fields", "page"], {"type": "string?", "path": "items[0].page"}),
        (["events", "fields", "page"], {"type": "timestamp", "unit": "us"}),
        (["events", "fields", "page"], {"type": "string", "column": 3}),
        (["events", "fields", "page"], {"type": "string", "column": "page"}),
        (["windows", "page_views", "tumbling"], {"size": "1d", "offset": "6h", "timezone": "America/Argentina/Salta"}),
        (["windows", "visits", "session"], {"gap": "30m", "max_length": "12h"}),
        (["windows", "w"], {"sliding": {"size": "10s", "every": "3s"}, "select": {"n": "count()"}}),
        (["windows", "w"], {"stagger": "10m", "select": {"n": "count()"}}),
        (["windows", "w"], {"stagger": {"size": "10m"}, "select": {"n": "count()"}}),
        (["windows", "page_views", "allowed_lateness"], "5s"),
        (["windows", "page_views", "emit"], "final"),
        (["windows", "page_views", "where"], "page != 'x'"),
    ],
)
def test_other_forms_fit(path: list[str], value: Any) -> None:
    assert errors(put(FILES["clickstream.yaml"], path, value)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["pipeline"], "Clicks"),
        (["limits"], {"groups": 0}),
        (["limits"], {"policy": "drop"}),
        (["limits"], 5),
        (["where"], None),
        (["source", "start"], "yesterday"),
        (["events", "compression"], "lz4"),
        (["events", "format"], "xml"),
        (["events", "idle_after"], "off"),
        (["events", "idle_after"], 60),
        (["events", "fields", "page"], "text"),
        (["events", "fields", "page"], {"path": "a.b"}),
        (["events", "fields", "page"], {"type": "string", "path": 5}),
        (["events", "fields", "page"], {"type": "string", "unit": "minutes"}),
        (["events", "fields", "page"], {"type": "string", "column": 0}),
        (["events", "fields", "page"], {"type": "string", "name": "x"}),
        (["events", "fields", "a-b"], "int"),
        (["events", "out_of_orderness"], 10),
        (["events", "out_of_orderness"], ""),
        (["events", "out_of_orderness"], "10"),
        (["windows", "page_views", "tumbling"], 60),
        (["windows", "page_views", "tumbling"], None),
        (["windows", "page_views", "session"], "5m"),
        (["windows", "page_views", "sliding"], {"size": "1m", "every": "10s"}),
        (["windows", "w"], {"sliding": {"size": "1m"}, "select": {"n": "count()"}}),
        (["windows", "w"], {"sliding": "1m", "select": {"n": "count()"}}),
        (["windows", "w"], {"select": {"n": "count()"}}),
        (["windows", "page_views", "tumbling"], {"size": "1d", "timezone": 2}),
        (["windows", "page_views", "emit"], "once"),
        (["windows", "visits", "session"], {"gap": "30m", "max_lenght": "12h"}),
        (["windows", "page_views", "combine"], "all"),
        (["windows", "page_views", "buckets"], 0),
        (["windows", "page_views", "buckets"], 257),
        (["windows", "page_views", "select"], {}),
        (["windows", "page_views", "allowed_lateness"], 5),
        (["sinks"], []),
        (["sinks"], [{"stdout": {}, "file": {"path": "x"}}]),
        (["sinks"], [{"s3": {"prefix": "x"}}]),
        (["sinks"], [{"sqs": {"url": "x"}}]),
        (["late"], {"sqs": {"queue_url": "late"}}),
        (["late"], {"stdout": {}, "windows": ["visits"]}),
        (["state", "bucket"], "B"),
        (["worker", "metrics_port"], 70_000),
        (["worker", "kcl"], {"maxRecords": 0}),
    ],
)
def test_mistakes_do_not_fit(path: list[str], value: Any) -> None:
    assert errors(put(FILES["clickstream.yaml"], path, value)) != []


def stands(path: str) -> bool:
    """Tell whether the file that is changed here has the key."""
    at: Any = FILES["clickstream.yaml"]
    for step in path.split("."):
        if step not in at:
            return False
        at = at[step]
    return True


@pytest.mark.parametrize("path", [path for path in EXAMPLES if stands(path)])
def test_what_is_required_is_required_here_too(path: str) -> None:
    data = copy.deepcopy(FILES["clickstream.yaml"])
    at = data
    *parents, last = path.split(".")
    for step in parents:
        at = at[step]
    del at[last]
    assert errors(data) == [f"{last!r} is a required property"]


def test_defaults_stand_as_they_are_written() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["StatePart"]["properties"]["commit_interval"]["default"] == "5s"
    assert definitions["EventsPart"]["properties"]["max_future"]["default"] == "1h"
    assert definitions["EventsPart"]["properties"]["idle_after"]["default"] == "1m"
    assert definitions["EventsPart"]["properties"]["compression"]["default"] == "auto"
    assert definitions["LimitsPart"]["properties"]["groups"]["default"] == 1_000_000
    assert definitions["WorkerPart"]["properties"]["metrics_port"]["default"] == 9102
