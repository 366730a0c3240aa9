"""What is wrong with a pipeline file: all of it, each with its place."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from consumer.errors import EXIT_USAGE, StreamgaugeError
from consumer.pipeline.wording import printable

Path = tuple[str | int, ...]
"""Keys and indexes from the top of the file to a value."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_PLAIN_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. Lines and columns count from 1; `path` such as `sinks[0].firehose.streem` is "" for the file."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: "
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"


class PipelineError(StreamgaugeError):
    """The pipeline file cannot be used; `problems` holds everything that is wrong with it, in order of place."""

    exit_status = EXIT_USAGE

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.column, p.path, p.message)))
        assert self.problems
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ProblemList:
    """Collects the problems of one file; places are given as character indexes into its text."""

    def __init__(self, source_name: str, text: str) -> None:
        self._source_name = source_name
        self._text = text
        self._problems: dict[Problem, None] = {}
        self._line_starts = [0, *(end.end() for end in _LINE_END.finditer(text))]

    def add(self, index: int, path: Path, message: str) -> None:
        """Add a mistake at a character of the text; what a message quotes is made printable here."""
        line, column = self.place(index)
        self._problems[Problem(self._source_name, line, column, format_path(path), printable(message))] = None

    def raise_if_any(self) -> None:
        """Raise PipelineError with everything that was added, if anything was."""
        if self._problems:
            raise PipelineError(self)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems)

    def __bool__(self) -> bool:
        return bool(self._problems)

    def place(self, index: int) -> tuple[int, int]:
        """Return line and column, from 1, of a character; what lies beyond the end is the end."""
        index = min(index, len(self._text))
        line = bisect_right(self._line_starts, index)
        return line, index - self._line_starts[line - 1] + 1


def format_path(path: Path) -> str:
    """Return a path as users read it: `windows.visits.by[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + _format_key(step)
    return text


def _format_key(key: str) -> str:
    if key and _PLAIN_KEY.issuperset(key):
        return key
    return '"' + printable(key).replace('"', '\\"') + '"'
