from __future__ import annotations

import io
import json
from pathlib import Path

from consumer.entrypoints.check import check
from consumer.pipeline.explain import explain
from consumer.pipeline.load import load

CONFIG = Path(__file__).parents[2] / "config"


def run(path: str | None, *, show_schema: bool = False) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = check(path, {}, show_schema=show_schema, out=out, err=err)
    return status, out.getvalue(), err.getvalue()


def test_a_good_file_is_explained() -> None:
    path = CONFIG / "clickstream.yaml"
    assert run(str(path)) == (0, explain(load(path, {})), "")


def test_mistakes_are_listed_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    text = (CONFIG / "clickstream.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("pipeline: clickstream", "pipeline: Clicks").replace("1m", "1w", 1), encoding="utf-8")
    status, out, err = run(str(path))
    assert (status, out) == (2, "")
    first, second, last = err.splitlines()
    assert first.startswith(f"{path}:")
    assert "pipeline: must be" in first
    assert "windows.page_views.tumbling" in second
    assert last == f"2 mistakes in {path}"


def test_a_missing_file_is_one_mistake(tmp_path: Path) -> None:
    status, _, err = run(str(tmp_path / "none.yaml"))
    assert status == 2
    assert "cannot be read: No such file or directory" in err
    assert err.splitlines()[-1].startswith("1 mistake in ")


def test_the_schema_needs_no_file() -> None:
    status, out, err = run(None, show_schema=True)
    assert (status, err) == (0, "")
    assert json.loads(out)["title"] == "Streamgauge pipeline"
