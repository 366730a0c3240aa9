"""docs/formats.md is true: every record of its tables becomes what it says, and all reasons are there."""

from __future__ import annotations

import difflib
import gzip
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from consumer.core.compile import compile_pipeline
from consumer.core.faults import REASONS
from consumer.core.processor import Processor
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline
from consumer.records import DEAD_LETTER, Record, Row
from tests.docs.pages import Code, Table, parts
from tests.docs.worked_tables import examples, instant_ms

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PAGE = "formats.md"
BECOMES = "becomes"
SHARD = "shardId-000000000001"
DEEP = ("[[[…]]]", "[" * 100 + "]" * 100)

_RECORD = re.compile(r"(?:(?P<how>\w+) (?:of )?)?(?P<lines>`[^`]*`(?: ↵ `[^`]*`)*)(?P<cut>, cut short)?(?: \(.*\))?")
_HOW: dict[str | None, Callable[[str], bytes]] = {
    None: str.encode,
    "bytes": bytes.fromhex,
    "gzip": lambda text: gzip.compress(text.encode()),
    "zstd": lambda text: zstd.compress(text.encode()),
    "msgpack": lambda text: msgspec.msgpack.encode(json.loads(text)),
}


@dataclass(frozen=True)
class Records:
    """A table of records, and the pipeline that reads them."""

    pipeline: Pipeline
    table: Table


def tables() -> Iterator[Records]:
    """Yield the tables of the page, each with the pipeline of the block before it."""
    block: dict[str, Any] = {}
    for part in parts(PAGE):
        if isinstance(part, Code) and part.language == "yaml":
            block = YAML(typ="safe", pure=True).load(part.text)
        elif isinstance(part, Table) and part.header[-1] == BECOMES:
            yield Records(_pipeline(block), part)


def _pipeline(block: Mapping[str, Any]) -> Pipeline:
    """Return a pipeline whose rows hold what was read: groups are by all fields."""
    fields = list(block["events"]["fields"])
    window: dict[str, Any] = {"tumbling": "1m", "by": fields, "select": {"events": "count()"}}
    if "source" not in block:
        window["combine"] = False
    file = {
        "pipeline": "formats",
        "source": {"stream": "clicks"},
        **block,
        "windows": {"read": window},
        "sinks": [{"stdout": {}}],
        "dead_letter": {"stdout": {}},
        "state": {"table": "streamgauge-state", "bucket": "my-bucket"},
    }
    return load_text(json.dumps(file), PAGE, {})


def become(pipeline: Pipeline, line: Mapping[str, str]) -> Row:
    """Return the row that arises from the record of a line alone."""
    processor = Processor(compile_pipeline(pipeline), SHARD, 0)
    record = Record(_data(line["record"]), line.get("partition key", "ann"), "1", 0, instant_ms("12:00"))
    (row,) = [*processor.apply([record]).rows, *processor.close_all().rows]
    return row


def _data(cell: str) -> bytes:
    match = _RECORD.fullmatch(cell)
    assert match is not None, cell
    data = _HOW[match["how"]]("\n".join(re.findall("`([^`]*)`", match["lines"])).replace(*DEEP))
    return data[:-3] if match["cut"] else data


def told(pipeline: Pipeline, row: Row) -> str:
    """Return a row as the page tells it."""
    data = json.loads(row.data)
    if row.output == DEAD_LETTER:
        return f"`{data['reason']}`: {data['detail']}"
    values = {field.name: data[field.name] for field in pipeline.events.fields}
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


TABLES = list(tables())


@pytest.mark.parametrize("records", TABLES, ids=[str(number) for number in range(1, len(TABLES) + 1)])
def test_records_become_what_the_page_says(records: Records) -> None:
    said = [line[BECOMES] for line in records.table.rows]
    came = [told(records.pipeline, become(records.pipeline, line)) for line in records.table.rows]
    assert said == came, "\n".join(difflib.ndiff(said, came))


def test_all_tables_are_found() -> None:
    assert len(TABLES) > 10
    assert sum(len(records.table.rows) for records in TABLES) > 50


def test_every_reason_is_explained() -> None:
    (table,) = [part for part in parts(PAGE) if isinstance(part, Table) and part.header[0] == "reason"]
    assert sorted(row["reason"].strip("`") for row in table.rows) == sorted(REASONS)


def test_every_reason_has_an_example() -> None:
    """Here, or among those of the rules of windows."""
    here = " ".join(line[BECOMES] for records in TABLES for line in records.table.rows)
    there = " ".join(cell for example in examples() for line in example.table.rows for cell in line.values())
    shown = {*re.findall(r"`(\w+)`: ", here), *re.findall(r"dead letter: (\w+)", there)}
    assert shown == set(REASONS)


def test_the_dead_letter_that_is_shown_is_one() -> None:
    (block,) = [part for part in parts(PAGE) if isinstance(part, Code) and part.language == "json"]
    records = TABLES[0]
    (line,) = [line for line in records.table.rows if line["record"] == '`{"n": 5}`']
    row = json.loads(become(records.pipeline, line).data)
    assert list(json.loads(block.text).items()) == list((row | {"id": "…"}).items())
