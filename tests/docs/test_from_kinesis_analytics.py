"""docs/from-kinesis-analytics.md is true: its examples run, and give the rows that lie beside them."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from pathlib import Path

import pytest

from consumer.cli import main
from tests.docs.pages import DOCS, ROOT, Code, parts

PAGE = "from-kinesis-analytics.md"
FOLDER = ROOT / "config" / "from-kinesis-analytics"
FILES = sorted(FOLDER.glob("*.yaml"))
TEXT = (DOCS / PAGE).read_text(encoding="utf-8")


def process(file: Path, output: Path) -> None:
    """Run `streamgauge process` as the page says, its standard input empty."""
    with pytest.MonkeyPatch.context() as patch, Path(os.devnull).open(encoding="utf-8") as nothing:
        patch.setattr(sys, "stdin", nothing)
        assert main(["process", str(file), str(file.with_suffix(".jsonl")), "--output", str(output)]) == 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_gives_its_rows(file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """To write them anew: streamgauge process NAME.yaml NAME.jsonl --output NAME.expected.jsonl."""
    process(file, tmp_path / "rows.jsonl")
    came = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    expected = file.with_suffix(".expected.jsonl").read_text(encoding="utf-8").splitlines()
    assert came == expected, "\n".join(difflib.ndiff(expected, came))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_explained_by_check(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 0
    assert capfd.readouterr().out.startswith(f"Pipeline {file.stem}\n")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_on_the_page(file: Path) -> None:
    assert f"\n[{file.name}](../config/{FOLDER.name}/{file.name})\n" in TEXT
    assert json.loads(file.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()[0])


def test_examples_are_complete() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert len(FILES) > 5
    assert names == {file.stem + suffix for file in FILES for suffix in (".yaml", ".jsonl", ".expected.jsonl")}


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("language", ["yaml", "sql"])
def test_what_the_page_shows_stands_in_a_file(language: str) -> None:
    """Comments left out, and the SQL in comments: the lines of a block are lines of one file, one after another."""
    shown = [_lines(part.text) for part in parts(PAGE) if isinstance(part, Code) and part.language == language]
    texts = [file.read_text(encoding="utf-8") for file in FILES]
    if language == "sql":
        texts = ["\n".join(line.removeprefix("#   ") for line in text.splitlines()) for text in texts]
    assert len(shown) > 5
    for block in shown:
        assert any("\n".join(block) in "\n".join(_lines(text)) for text in texts), "\n".join(block)


def test_the_summary_that_is_shown_is_the_command_s(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (block,) = [part.text for part in parts(PAGE) if isinstance(part, Code) and part.language == "console"]
    (name,) = re.findall(r"process (\S+)\.yaml \1\.jsonl --output rows\.jsonl$", block, re.MULTILINE)
    process(FOLDER / f"{name}.yaml", tmp_path / "rows.jsonl")
    summary = "".join(line for line in block.splitlines(keepends=True) if not line.startswith("$"))
    assert capfd.readouterr().err == summary


def test_headings_that_links_lead_to_are_there() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
