"""`streamgauge check FILE --show-code`, and the command lines of the offline commands."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.cli import main
from consumer.core.compile import compile_pipeline
from consumer.pipeline.load import load

ROOT = Path(__file__).parents[2]
CLICKSTREAM = ROOT / "config" / "clickstream.yaml"


def test_the_code_that_is_shown_is_the_code_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(CLICKSTREAM), "--show-code"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (compile_pipeline(load(CLICKSTREAM, {})).source, "")
    functions = {node.name for node in ast.walk(ast.parse(shown.out)) if isinstance(node, ast.FunctionDef)}
    assert "apply" in functions


def test_a_file_with_mistakes_has_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("pipeline: p\n")
    assert main(["check", str(path), "--show-code"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments", [["check"], ["check", "p.yaml", "--schema", "--show-code"], ["process"], ["test"]]
)
def test_a_command_line_that_cannot_be_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert f"streamgauge {arguments[0]}: " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--schema"], [str(CLICKSTREAM)]], ids=["long", "short"])
def test_a_reader_that_has_seen_enough_of_any_command_ends_it_without_a_word(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "consumer", "check", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1
