"""The pipeline file to a `Pipeline`, or to everything that is wrong with it.

In this order, each step going on as far as the ones before allow:
1. text to a tree of nodes with places (tree), `${NAME}` replaced (interpolation);
2. shape, types, defaults and limits of single values (schema, checks);
3. names, expressions, and what concerns several values at once (semantics).
No network, no environment but the one given, no clock.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path

from consumer.pipeline import tree
from consumer.pipeline.build import build
from consumer.pipeline.checks import check_schema
from consumer.pipeline.interpolation import interpolate
from consumer.pipeline.model import Pipeline
from consumer.pipeline.problems import PipelineError, Problem, ProblemList
from consumer.pipeline.schema import PipelineFile
from consumer.pipeline.semantics import check_semantics

SIZE_MAX = 256 * 1024
"""Bytes of a file; far beyond any pipeline, and read in a second or two."""

__all__ = ["PipelineError", "Problem", "load", "load_text"]


def load(path: Path, environ: Mapping[str, str]) -> Pipeline:
    """Read and check a pipeline file; PipelineError holds everything that is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise PipelineError([_whole_file(path, f"cannot be read: {error.strerror}")]) from error
    if len(data) > SIZE_MAX:
        raise PipelineError([_whole_file(path, f"is larger than {SIZE_MAX // 1024} KiB")])
    return load_text(_decode(data, str(path)), str(path), environ)


def load_text(text: str, source_name: str, environ: Mapping[str, str]) -> Pipeline:
    """Check the text of a pipeline file; `source_name` stands for the file in messages."""
    problems = ProblemList(source_name, text)
    root = tree.parse_tree(text, problems)
    if root is None or (isinstance(root, tree.Scalar) and root.plain and not root.text):
        if not problems:
            problems.add(0, (), "is empty: a pipeline file begins with `pipeline: NAME`")
        problems.raise_if_any()
    assert root is not None
    if isinstance(root, tree.Mapping) and "tests" in root.entries:
        problems = ProblemList(source_name, text)
        problems.add(0, (), "is a file of tests, for `streamgauge test`; a pipeline file has no `tests`")
        problems.raise_if_any()
    interpolate(root, environ, problems)
    _refuse_nulls(root, problems)
    data = tree.to_plain(root)
    explained = check_schema(root, data, problems)
    meaning = check_semantics(root, data, problems, explained)
    problems.raise_if_any()
    return build(PipelineFile.model_validate(data), meaning)


def _decode(data: bytes, source_name: str) -> str:
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        problems = ProblemList(source_name, before)
        problems.add(len(before), (), f"is not UTF-8: the byte 0x{data[error.start]:02x} stands here")
        raise PipelineError(problems) from error


def _refuse_nulls(root: tree.Node, problems: ProblemList) -> None:
    """Refuse a key with nothing behind it; only `worker.identifier` may be empty, so a variable may be."""
    for path, node in tree.walk(root):
        if path == ("worker", "identifier") or not isinstance(node, tree.Scalar) or node.broken:
            continue
        if path and node.plain and tree.resolve(node.text) is None:
            problems.add(tree.key_index(root, path), path, _nothing(path))
            node.broken = True


def _nothing(path: tuple[str | int, ...]) -> str:
    if path[-1] == "stdout":
        return "nothing stands here: write `stdout: {}`"
    return "nothing stands here: give a value, or leave the key out"


def _whole_file(path: Path, message: str) -> Problem:
    return Problem(str(path), 1, 1, "", message)
