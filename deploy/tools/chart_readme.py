"""Writes the table of values in helm/streamgauge/README.md, made of values.yaml and its comments.

Run as `python deploy/tools/chart_readme.py`. A comment stands right above its key; `## Title` begins a section. A map
with a comment is one row, one without is as many rows as it has values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CHART = Path(__file__).parents[2] / "helm" / "streamgauge"
BEGIN = "<!-- values: written by deploy/tools/chart_readme.py, do not edit -->\n"
END = "<!-- end of values -->\n"

_KEY = re.compile(r"( *)([A-Za-z0-9_.-]+):(?: |$)")
_COMMENT = re.compile(r" *# (.*)$")
_TITLE = re.compile(r"## (.*)$")


@dataclass(frozen=True, slots=True)
class Row:
    """A value: its section's title, the path of its keys, its default and what the comment says."""

    section: str
    path: tuple[str, ...]
    default: Any
    meaning: str


@dataclass(frozen=True, slots=True)
class _Key:
    path: tuple[str, ...]
    section: str
    meaning: str


def rows(text: str) -> list[Row]:
    """Return the values of a values.yaml in its order."""
    values = YAML(typ="safe").load(text)
    found: list[Row] = []
    for key in _keys(text):
        inside = any(key.path[: len(row.path)] == row.path for row in found)
        default = _at(values, key.path)
        if not inside and (key.meaning or not default or not isinstance(default, dict)):
            found.append(Row(key.section, key.path, default, key.meaning))
    return found


def _keys(text: str) -> Iterator[_Key]:
    """Yield every key of a map; what is inside a list is not one."""
    section, comment, path = "", list[str](), list[tuple[int, str]]()
    for line in text.splitlines():
        if title := _TITLE.match(line):
            section, comment = title[1], []
        elif said := _COMMENT.match(line):
            comment.append(said[1])
        elif key := _KEY.match(line):
            indent = len(key[1])
            path = [*(one for one in path if one[0] < indent), (indent, key[2])]
            yield _Key(tuple(name for _, name in path), section, " ".join(comment))
            comment = []
        elif not line.strip():
            comment = []


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        # A key below an item of a list is found by the lines, but not in the values: it belongs to its list.
        values = values.get(name) if isinstance(values, dict) else None
    return values


def table(text: str) -> str:
    """Return the tables of values, one a section."""
    lines: list[str] = []
    section = None
    for row in rows(text):
        if row.section != section:
            section = row.section
            lines += ["", f"### {section}", "", "| value | default | meaning |", "|---|---|---|"]
        default = json.dumps(row.default, ensure_ascii=False)
        lines.append(f"| `{'.'.join(row.path)}` | `{default}` | {row.meaning.replace('|', chr(92) + '|')} |")
    return "\n".join([*lines[1:], ""])


def with_table(readme: str, text: str) -> str:
    """Return the page with the tables made anew."""
    head, rest = readme.split(BEGIN)
    return f"{head}{BEGIN}\n{table(text)}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    page = CHART / "README.md"
    page.write_text(with_table(page.read_text(encoding="utf-8"), (CHART / "values.yaml").read_text(encoding="utf-8")))
