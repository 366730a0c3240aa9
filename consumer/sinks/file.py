"""A file, or standard output: one row a line."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from consumer.errors import SinkError
from consumer.sinks.base import Failure

_HOPELESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What only a person can change. A full disk, in contrast, may be emptied."""
_TAIL_BYTES = 64 * 1024
_FILE_MODE = 0o644


class FileSink:
    """Appends rows to a file that no other process writes; an advisory lock holds that.

    A row is in the file whole or not at all: a torn last line, left by a crash or a full disk, is cut off,
    for its row will be sent again. What `put` reports as taken is on the disk (fsync).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._fd = self._open()
        self._torn_from: int | None = None
        """Length in bytes to cut the file to before the next row, where an attempt left torn rows behind."""

    @property
    def name(self) -> str:
        """Return `file:` and the path."""
        return f"file:{self._path}"

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        """Append all rows, or none of them."""
        if not rows:
            return []
        lines = b"\n".join([*rows, b""])
        with self._lock:
            try:
                self._cut_torn_rows()
                self._append(lines)
            except OSError as error:
                if error.errno in _HOPELESS:
                    raise self._refusal(error) from error
                return [Failure(index, "unavailable") for index in range(len(rows))]
        return []

    def close(self) -> None:
        """Close the file, which also unlocks it. Every row taken is already on the disk."""
        with self._lock:
            os.close(self._fd)

    def _open(self) -> int:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        except OSError as error:
            raise self._refusal(error) from error
        try:
            self._prepare(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _prepare(self, fd: int) -> None:
        """Lock the file, cut a torn last line off, and make sure that its name survives a crash."""
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SinkError(f"{self._path} is not a regular file. Name one, or use the stdout sink.")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, _whole_lines_bytes(fd))
            _sync_directory(self._path.parent)
        except BlockingIOError as error:
            raise SinkError(
                f"{self._path} is being written by another sink or process. Give each its own file."
            ) from error
        except OSError as error:
            raise self._refusal(error) from error

    def _append(self, lines: bytes) -> None:
        """Write and sync; on any error leave the file as it was, or remember that it is not."""
        self._torn_from = os.fstat(self._fd).st_size
        try:
            _write_all(self._fd, lines)
            os.fsync(self._fd)
        except OSError:
            with suppress(OSError):  # the next attempt cuts again, and reports it if it can't
                self._cut_torn_rows()
            raise
        self._torn_from = None

    def _cut_torn_rows(self) -> None:
        if self._torn_from is not None:
            os.ftruncate(self._fd, self._torn_from)
            self._torn_from = None

    def _refusal(self, error: OSError) -> SinkError:
        return SinkError(
            f"cannot write {self._path}: {error.strerror}. "
            "Its directory must exist, and this user must be allowed to write there."
        )


class StdoutSink:
    """Writes rows to a binary stream, standard output as a rule. Threads don't tear each other's rows."""

    name = "stdout"

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        """Write and flush all rows. Whatever goes wrong is final: what was written can't be taken back."""
        if not rows:
            return []
        lines = b"\n".join([*rows, b""])
        with self._lock:
            try:
                self._stream.write(lines)
                self._stream.flush()
            except OSError as error:
                raise SinkError(
                    f"cannot write to standard output: {error.strerror or error}. "
                    "What reads it must stay until the end."
                ) from error
        return []

    def close(self) -> None:
        """Do nothing: each put flushes, and the stream belongs to the process."""


def _whole_lines_bytes(fd: int) -> int:
    """Return the length of the file up to and with its last newline."""
    end = os.fstat(fd).st_size
    while end:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _write_all(fd: int, data: bytes) -> None:
    """Write everything: the system may take less than it is given."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
