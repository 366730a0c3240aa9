"""docs/pipeline.md is the reference: its file loads, and it leaves nothing out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from consumer.pipeline.aggregate_rules import AGGREGATES
from consumer.pipeline.expressions import RESERVED_WORDS
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Type
from consumer.pipeline.schema import json_schema
from consumer.pipeline.semantics import ROW_KEYS
from consumer.pipeline.typing_rules import ARITHMETIC, EQUALITY, FUNCTIONS, LOGIC, ORDERING

REFERENCE = (Path(__file__).parents[2] / "docs" / "pipeline.md").read_text(encoding="utf-8")


def test_its_file_loads() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)
    pipeline = load_text(text, "docs/pipeline.md", {})
    assert [window.name for window in pipeline.windows] == ["page_views", "daily", "trend", "visits", "bursts"]


def test_what_it_calls_a_default_is_one() -> None:
    """Leaving out every line that is commented as a default gives the same pipeline."""
    (text,) = re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not re.search(r"# default(;|$)", line)]
    assert len(kept) == len(lines) - 13
    assert load_text("".join(kept), "p.yaml", {}) == load_text(text, "p.yaml", {})


def keys() -> set[str]:
    parts = [json_schema(), *json_schema()["$defs"].values()]
    mappings = [each for part in parts for each in (part, *part.get("anyOf", []))]
    return {key for mapping in mappings for key in mapping.get("properties", {})}


def choices(part: Any) -> set[str]:
    """Return the words that the schema lets users choose from."""
    if isinstance(part, dict):
        return set(part.get("enum", ())).union(*(choices(each) for each in part.values()))
    return set().union(*(choices(each) for each in part)) if isinstance(part, list) else set()


@pytest.mark.parametrize(
    "word",
    sorted(
        {
            *keys(),
            *(choice.removesuffix("?") for choice in choices(json_schema())),
            *FUNCTIONS,
            *AGGREGATES,
            *ROW_KEYS,
            *Type,
            *RESERVED_WORDS,
            *ARITHMETIC,
            *EQUALITY,
            *ORDERING,
            *LOGIC,
        }
    ),
)
def test_it_names(word: str) -> None:
    code = " ".join(re.findall(r"```.*?```|`[^`]+`", REFERENCE, re.DOTALL))
    assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", code), word


def test_the_mistakes_it_shows_are_printed_like_this() -> None:
    shown = re.findall(r"^shop\.yaml:\d+:\d+: \S+: .*$", REFERENCE, re.MULTILINE)
    known = (Path(__file__).parent / "test_load_mistakes.py").read_text(encoding="utf-8")
    assert len(shown) == 2
    for line in shown:
        assert line.removeprefix("shop.yaml:") in known
