"""Properties of the loader: whatever the file, it is loaded or refused, with places inside the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.pipeline.explain import explain
from consumer.pipeline.load import PipelineError, load, load_text
from consumer.pipeline.model import Pipeline

ROOT = Path(__file__).parents[2]
CONFIGS = [path for path in sorted((ROOT / "config").glob("*.yaml")) if not path.name.endswith(".test.yaml")]
(REFERENCE,) = re.findall(
    r"```yaml\n(.*?)```", (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8"), flags=re.DOTALL
)
"""The file of the reference page has everything in it."""
TEXTS = [*(path.read_text(encoding="utf-8") for path in CONFIGS), REFERENCE]
LINES = sorted({line for text in TEXTS for line in text.splitlines(keepends=True)})

PIECES = [
    *"[]{}:,#&*!|>'\"%@`?-=()$\\\t\n \r\x00\x85\u2028é\U0001f600\ufeff",
    "${",
    "${NOBODY}",
    "${HOME:-}",
    ": ",
    "- ",
    "\n  ",
    "null",
    "true",
    "1",
    "1e5",
    ".inf",
    "not",
    "count()",
    "if(",
    "<<: ",
    "&a ",
    "*a",
    "!!int ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    '"\\ud800"',
    '"\\U00110000"',
    '"\\x0a"',
    "? ",
    "|2-\n",
    ">+\n",
]


def check(text: str) -> Pipeline | None:
    """Load a text; hold every problem to lie inside it, and to be one line."""
    try:
        pipeline = load_text(text, "p.yaml", {"HOME": "h"})
    except PipelineError as error:
        problems = error.problems
    else:
        assert explain(pipeline).endswith("\n")
        return pipeline
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert problems
    for problem in problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert str(problem).isprintable()
    return None


edits = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 12),
        st.sampled_from(PIECES) | st.text(max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(TEXTS), edits)
def test_a_file_with_typing_errors(text: str, changes: list[tuple[str, float, int, str]]) -> None:
    for what, where, length, piece in changes:
        at = int(where * len(text))
        cut = 0 if what == "insert" else length
        text = text[:at] + ("" if what == "delete" else piece) + text[at + cut :]
    check(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=30).map("".join))
def test_a_file_of_lines_in_any_order(text: str) -> None:
    check(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=15).map("".join))
def test_a_file_of_anything(text: str) -> None:
    check(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=30), st.floats(0, 1, exclude_max=True))
def test_bytes_of_any_kind(tmp_path_factory: pytest.TempPathFactory, data: bytes, where: float) -> None:
    whole = TEXTS[0].encode()
    at = int(where * len(whole))
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(whole[:at] + data + whole[at:])
    try:
        load(path, {})
    except PipelineError as error:
        assert all(problem.line >= 1 for problem in error.problems)  # noqa: PT017 - one of two good outcomes


scalars = st.sampled_from(
    ["x", "1m", "60", "-1", "true", "null", "[]", "{}", "[a]", "{a: b}", "''", "count()", "0s", "none", "1.5", "latest"]
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TEXTS), st.floats(0, 1, exclude_max=True), scalars)
def test_a_value_of_another_kind(text: str, where: float, value: str) -> None:
    """Whatever value a key has, nothing is reported of other keys' shape, and nothing fails."""
    lines = text.splitlines(keepends=True)
    number = int(where * len(lines))
    key, colon, _ = lines[number].partition(": ")
    if colon and "#" not in key:
        lines[number] = f"{key}: {value}\n"
    check("".join(lines))


@pytest.mark.parametrize("text", TEXTS)
def test_every_cut_file_is_refused_with_a_place(text: str) -> None:
    for end in range(0, len(text), 97):
        check(text[:end])
