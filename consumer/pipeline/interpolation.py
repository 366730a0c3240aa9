"""`${NAME}` and `${NAME:-default}` in the values of a pipeline file.

`${NAME:-default}` stands for the default if the variable is not set or empty, as in a shell; `$${` is a literal
`${`. The result never becomes structure: it stays one value, unquoted ones are read again (`9102` is a number).
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Environ

from consumer.pipeline import tree
from consumer.pipeline.problems import Path, ProblemList
from consumer.pipeline.wording import shorten

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)(?P<end>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


class _ReferenceError(Exception):
    """What is wrong with a reference at character `offset`."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def interpolate(root: tree.Node, environ: Environ[str, str], problems: ProblemList) -> None:
    """Replace the references in all values of the tree; what cannot be replaced is reported and marked broken."""
    for path, node in tree.walk(root):
        if isinstance(node, tree.Scalar) and "${" in node.text and not node.broken:
            _interpolate_scalar(node, path, environ, problems)


def _interpolate_scalar(scalar: tree.Scalar, path: Path, environ: Environ[str, str], problems: ProblemList) -> None:
    text: list[str] = []
    indexes: list[int] = []
    offset = 0
    for match in _REFERENCE.finditer(scalar.text):
        text.append(scalar.text[offset : match.start()])
        indexes.extend(scalar.indexes[offset : match.start()])
        try:
            value = _value(match, environ)
        except _ReferenceError as error:
            problems.add(scalar.index(error.offset), path, error.message)
            scalar.broken = True
            return
        text.append(value)
        indexes.extend([scalar.index(match.start())] * len(value))
        offset = match.end()
    scalar.text = "".join((*text, scalar.text[offset:]))
    scalar.indexes = (*indexes, *scalar.indexes[offset:])
    if scalar.plain:
        _strip(scalar)


def _value(match: re.Match[str], environ: Environ[str, str]) -> str:
    if match["body"] is None:
        return "${"
    body = _BODY.fullmatch(match["body"])
    if body is None or not match["end"]:
        raise _ReferenceError(
            "write ${NAME} or ${NAME:-default}, and $${ where a text holds `${` itself", match.start()
        )
    name, default = body["name"], body["default"]
    value = environ.get(name)
    if default is not None:
        value = value or default
    if value is None:
        raise _ReferenceError(
            f"the environment variable {name} is not set: set it, or give a default, ${{{name}:-default}}",
            match.start(),
        )
    if not value.isprintable():
        raise _ReferenceError(
            f"the environment variable {name} holds a character that cannot be printed: {shorten(value)}",
            match.start(),
        )
    return value


def _strip(scalar: tree.Scalar) -> None:
    """Drop the blanks around an unquoted value, as YAML does."""
    stripped = scalar.text.strip()
    begin = scalar.text.find(stripped)
    scalar.indexes = scalar.indexes[begin : begin + len(stripped) + 1]
    scalar.text = stripped
