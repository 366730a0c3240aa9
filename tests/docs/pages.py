"""Reads the pages of docs/: their blocks of code, tables and pictures, in the order in which they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = "```"
_IMAGE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<path>[^)]+)\)")


@dataclass(frozen=True)
class Code:
    """A fenced block."""

    language: str
    text: str


@dataclass(frozen=True)
class Table:
    """A table: its header, and its rows as mappings from header to cell."""

    header: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Image:
    """A picture: what it is said to show, and its path from docs/."""

    text: str
    path: str


Part = Code | Table | Image


def parts(page: str) -> Iterator[Part]:
    """Yield the blocks, tables and pictures of a page of docs/."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    place = 0
    while place < len(lines):
        line = lines[place]
        taken = 1
        if line.lstrip().startswith(_FENCE):
            taken = 2 + next(n for n, each in enumerate(lines[place + 1 :]) if each.strip() == _FENCE)
            indent = len(line) - len(line.lstrip())
            text = "\n".join(each[indent:] for each in lines[place + 1 : place + taken - 1])
            yield Code(line.strip().removeprefix(_FENCE), text + "\n")
        elif line.startswith("|"):
            taken = next((n for n, each in enumerate(lines[place:]) if not each.startswith("|")), len(lines) - place)
            yield _table(lines[place : place + taken])
        elif match := _IMAGE.fullmatch(line.strip()):
            yield Image(match["text"], match["path"])
        place += taken


def _table(lines: list[str]) -> Table:
    header, _, *rows = [_cells(line) for line in lines]
    return Table(tuple(header), tuple(dict(zip(header, row, strict=True)) for row in rows))


def _cells(line: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
