"""docs/windows.md is true: every worked table is what the core does, and the pictures are drawn from the tables."""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
from typing import Any

import pytest

from consumer.pipeline.aggregate_rules import AGGREGATES
from tests.docs.pages import DOCS, Code, Image, Table, parts
from tests.docs.pictures import pictures
from tests.docs.worked_tables import PAGE, ROWS_OUT, Example, examples, play, shown

EXAMPLES = list(examples())
TEXT = (DOCS / PAGE).read_text(encoding="utf-8")


def test_all_worked_tables_are_found() -> None:
    tables = [part for part in parts(PAGE) if isinstance(part, Table) and ROWS_OUT in part.header]
    assert len(EXAMPLES) == len(tables) > 15
    assert TEXT.count(f"{ROWS_OUT} |\n") == len(tables)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_core_does_what_the_table_says(example: Example) -> None:
    said, came = (
        [" | ".join(line.values()).replace("<br>", "\n    ") for line in lines]
        for lines in (example.table.rows, play(example).lines)
    )
    assert said == came, "\n".join(difflib.ndiff("\n".join(said).splitlines(), "\n".join(came).splitlines()))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_records_are_numbered_in_their_order(example: Example) -> None:
    numbers = [line["#"] for line in example.table.rows if line["#"]]
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]


def test_the_pictures_are_those_of_the_tables() -> None:
    """To draw them again: python -m tests.docs.pictures."""
    drawn = pictures()
    there = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "images").glob("windows-*.svg")}
    assert sorted(there) == sorted(drawn)
    assert [name for name in drawn if there[name] != drawn[name]] == []


def test_every_picture_belongs_to_a_table() -> None:
    shown_ones = [part.path for part in parts(PAGE) if isinstance(part, Image)]
    assert shown_ones == [example.image.path for example in EXAMPLES if example.image is not None]
    assert len(shown_ones) == len(set(shown_ones)) > 10


def test_the_row_that_is_shown_whole_is_the_last_of_its_table() -> None:
    (block,) = [part for part in parts(PAGE) if isinstance(part, Code) and part.language == "json"]
    row = _partial_rows()[-1]
    assert list(json.loads(block.text).items()) == list((row | {"id": "…"}).items())


def test_the_query_adds_the_parts_up() -> None:
    """Also where rows were delivered twice."""
    found = list(parts(PAGE))
    (place,) = [n for n, part in enumerate(found) if isinstance(part, Code) and part.language == "sql"]
    query, table = found[place], found[place + 1]
    assert isinstance(query, Code)
    assert isinstance(table, Table)
    rows = _partial_rows()
    answer = _query(query.text, [*rows, rows[0], rows[-1]])
    expected = [tuple(row.values()) for row in table.rows]
    assert [(shown(start), page, *map(str, more)) for start, page, *more in answer] == expected


def _partial_rows() -> list[dict[str, Any]]:
    of_shards = [each for each in EXAMPLES if "shard" in each.table.header]
    (example,) = [each for each in of_shards if not any(window.combined for window in each.pipeline.windows)]
    return play(example).rows


def _query(query: str, rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = list(rows[0])
    with sqlite3.connect(":memory:") as database:
        database.execute(f"create table pages ({', '.join(names)})")
        marks = ", ".join("?" * len(names))
        database.executemany(f"insert into pages values ({marks})", [tuple(row.values()) for row in rows])  # noqa: S608 - nothing but question marks
        answer = database.execute(query).fetchall()
    database.close()
    return answer


def test_it_says_of_every_aggregate_how_parts_are_put_together() -> None:
    (table,) = [part for part in parts(PAGE) if isinstance(part, Table) and part.header[0] == "aggregate"]
    named = {name for row in table.rows for name in re.findall(r"`(\w+)`", row["aggregate"])}
    assert named == set(AGGREGATES)


def test_headings_that_links_lead_to_are_there() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
