"""The site of docs/, as far as it is told without mkdocs: `make docs` builds it, with every link and anchor checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML

from consumer import __version__
from consumer.pipeline.meanings import MEANINGS
from consumer.pipeline.schema import json_schema
from deploy.site import hooks, reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def config() -> dict[str, Any]:
    text = (ROOT / "mkdocs.yml").read_text().replace("!!python/object/apply:pymdownx.slugs.slugify", "")
    found: dict[str, Any] = YAML(typ="safe").load(text)
    return found


def pages(nav: Any) -> Iterator[str]:
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [value] if isinstance(value, str) else pages(value)


def test_every_page_is_in_the_navigation_once() -> None:
    nav = hooks.on_config({"nav": config()["nav"], "docs_dir": str(DOCS)})["nav"]
    found = list(pages(nav))
    assert len(found) == len(set(found))
    assert set(found) == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


def test_a_link_that_nobody_can_follow_is_an_error_and_nothing_is_loaded_from_elsewhere() -> None:
    settings = config()
    assert settings["validation"] == {
        "nav": {"omitted_files": "warn", "not_found": "warn", "absolute_links": "warn"},
        "links": {"not_found": "warn", "anchors": "warn", "absolute_links": "warn", "unrecognized_links": "warn"},
    }
    assert settings["theme"]["font"] is False
    assert "mkdocs build --strict" in (ROOT / "Makefile").read_text()


def led(markdown: str, page: str = "index.md") -> str:
    place = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    return hooks.on_page_markdown(markdown, page=place, config={"repo_url": "https://forge"}, files=None)


def test_links_that_leave_the_pages_lead_to_the_repository() -> None:
    version = f"v{__version__}"
    assert led("[a](../Makefile), [b](../deploy/iam)") == (
        f"[a](https://forge/blob/{version}/Makefile), [b](https://forge/tree/{version}/deploy/iam)"
    )
    assert led("[a](../state.md#list)", "runbooks/README.md") == "[a](../state.md#list)"
    assert led("[a](../../README.md#more)", "runbooks/README.md") == f"[a](https://forge/blob/{version}/README.md#more)"


def test_a_link_to_a_file_that_is_not_there_ends_the_build() -> None:
    with pytest.raises(SystemExit, match="deploy/nowhere, which is not there"):
        led("[a](../deploy/nowhere)")


@pytest.mark.parametrize(
    "html",
    ['<script src="https://cdn/x.js">', "<img src=//cdn/x.png>", '<link rel="stylesheet" href="https://fonts/x.css">'],
)
def test_a_page_that_loads_from_elsewhere_ends_the_build(html: str) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    with pytest.raises(SystemExit, match="loads from elsewhere"):
        hooks.on_post_page(html, page=page, config=None)
    kept = '<script src="assets/x.js"></script><a href="https://forge">x</a>'
    assert hooks.on_post_page(kept, page=page, config=None) == kept


def test_the_reference_is_that_of_the_schema() -> None:
    """If not: python -m deploy.site.reference."""
    assert reference.PAGE.read_text() == reference.page()


def test_each_key_has_a_meaning_and_no_other_has() -> None:
    definitions = {"PipelineFile": json_schema()} | json_schema()["$defs"]
    told = {
        part: {key for form in schema.get("anyOf", [schema]) for key in form.get("properties", ())}
        for part, schema in definitions.items()
    }
    told["SinkPart"] -= told["TargetPart"]
    assert {part: keys for part, keys in told.items() if keys} == {part: set(keys) for part, keys in MEANINGS.items()}


def test_the_quick_start_gives_what_it_says(tmp_path: Path) -> None:
    text = (DOCS / "quick-start.md").read_text()
    (pipeline,), (row,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("yaml", "json"))
    (tmp_path / "shop.yaml").write_text(pipeline)
    (tmp_path / "events.jsonl").write_text("".join(re.findall(r'^\{"user".*\n', text, re.MULTILINE)))
    command = [sys.executable, "-m", "consumer", "process", "shop.yaml", "events.jsonl"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True, text=True)
    assert row in done.stdout.splitlines(keepends=True)


def test_the_pages_of_the_repository_s_root_link_to_what_is_there() -> None:
    for page in ROOT.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (ROOT / PurePosixPath(target)).exists(), f"{page.name}: {target}"
