"""The files that a run writes: complete, or not there.

Rule 1: a regular file gets its rows under another name, in a directory beside it, and its own name when the whole run
has succeeded; a run that failed leaves the file as it was, or absent.
Rule 2: standard output, pipes and devices are written at once, batch by batch: nothing can be taken back there.
Rule 3: `--output` is renamed last, so where it is there, the others are.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from consumer.errors import StreamgaugeError
from consumer.records import DEAD_LETTER, LATE, Row

STDOUT = "-"
_BUFFER_BYTES = 1024 * 1024


class OutputError(StreamgaugeError):
    """A file of rows cannot be written; the message names it."""


class _Target(Protocol):
    """Somewhere lines go."""

    def write(self, lines: bytes) -> None:
        """Take lines."""

    def finish(self) -> None:
        """Make what was written visible; called once, and only if the run has succeeded."""

    def close(self) -> None:
        """Let go; without `finish` nothing may look complete."""


class Outputs:
    """Takes rows and passes each to its file. A context manager: `finish` before its end keeps what was written."""

    def __init__(self, output: str, late: str | None, dead_letter: str | None, stdout: BinaryIO) -> None:
        """Open the files; equal names share one. `-` is `stdout`, a stream without a buffer.

        OutputError if a file cannot be opened; nothing is left behind then.
        """
        self._targets: dict[str, _Target] = {}
        self._stdout = stdout
        with ExitStack() as stack:
            self._routes = {
                name: self._open(path, stack)
                for name, path in ((DEAD_LETTER, dead_letter), (LATE, late))
                if path is not None
            }
            self._results = self._open(output, stack)
            self._stack = stack.pop_all()

    def _open(self, path: str, stack: ExitStack) -> _Target:
        key = path if path == STDOUT else os.path.realpath(path)
        if key not in self._targets:
            target = _open_target(path, self._stdout)
            stack.callback(target.close)
            self._targets[key] = target
        # Of a shared file the last place counts: results are opened last, and so finished last.
        self._targets[key] = self._targets.pop(key)
        return self._targets[key]

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows in order; OutputError, or BrokenPipeError where a reader has gone."""
        lines_of: dict[int, tuple[_Target, list[bytes]]] = {}
        for row in rows:
            target = self._routes.get(row.output, self._results)
            lines_of.setdefault(id(target), (target, []))[1].append(row.data)
        for target, lines in lines_of.values():
            lines.append(b"")
            target.write(b"\n".join(lines))

    def finish(self) -> None:
        """Give the files their names."""
        for target in self._targets.values():
            target.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


def _open_target(path: str, stdout: BinaryIO) -> _Target:
    if path == STDOUT:
        return _Stream("standard output", stdout, owned=False)
    try:
        if _is_special(path):
            return _Stream(path, Path(path).open("wb", buffering=0), owned=True)
        return _File(Path(os.path.realpath(path)))
    except OSError as error:
        raise _refusal(path, error) from error


def _is_special(path: str) -> bool:
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    return not stat.S_ISREG(mode)


class _Stream:
    """Standard output, a pipe or a device."""

    def __init__(self, name: str, stream: BinaryIO, *, owned: bool) -> None:
        self._name = name
        self._stream = stream
        self._owned = owned

    def write(self, lines: bytes) -> None:
        left = memoryview(lines)
        try:
            while left:
                # A stream without a buffer may take less than it is given.
                left = left[self._stream.write(left) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _refusal(self._name, error) from error

    def finish(self) -> None:
        pass

    def close(self) -> None:
        if self._owned:
            self._stream.close()


class _File:
    """A regular file, written in a directory beside it until it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with ExitStack() as stack:
            directory = TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
            self._written = Path(stack.enter_context(directory)) / path.name
            self._file = stack.enter_context(self._written.open("wb", buffering=_BUFFER_BYTES))
            self._stack = stack.pop_all()

    def write(self, lines: bytes) -> None:
        try:
            self._file.write(lines)
        except OSError as error:
            raise _refusal(str(self._path), error) from error

    def finish(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._written.replace(self._path)
        except OSError as error:
            raise _refusal(str(self._path), error) from error

    def close(self) -> None:
        # What is not finished is thrown away, so a full disk has nothing more to say here.
        with suppress(OSError):
            self._stack.close()


def _refusal(name: str, error: OSError) -> OutputError:
    return OutputError(f"cannot write {name}: {error.strerror or error}")
