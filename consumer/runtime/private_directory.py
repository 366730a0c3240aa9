"""Directories that nobody else can enter, for files that are wanted as long as their owner, a process, lives.

Rules
1. In each directory is a file that the owner keeps locked. The kernel gives the lock back with the process, whatever
   way that ends; a process id would say less: ids come again, and those of another container mean nothing here.
2. What an owner that was killed has left is removed by the next one: a directory of our name, of this user and of mode
   0700, that has such a file, not locked. Links are never followed. All else stays as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "streamgauge-"
OWNER = "owner.lock"

_MODE = 0o700
_UNLOCKED_OWNER = "owner.new"
"""The name while nobody has locked it yet, lest somebody else does."""


@dataclass(frozen=True, slots=True)
class PrivateDirectory:
    """A directory of this process. `lock` is the descriptor of the owner's file."""

    path: Path
    lock: int

    def remove(self) -> None:
        """Delete the directory with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make_private_directory(parent: str) -> PrivateDirectory:
    """Make a new directory in `parent`, of a random name; OSError if that is not possible there."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        return PrivateDirectory(path, _locked_owner(path))
    except OSError:
        shutil.rmtree(path, ignore_errors=True)
        raise


def remove_stale_directories(parent: str) -> None:
    """Remove what owners that are dead have left in `parent`; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        for path in Path(parent).iterdir():
            if path.name.startswith(PREFIX):
                _remove_if_stale(path)


def _locked_owner(directory: Path) -> int:
    unlocked = directory / _UNLOCKED_OWNER
    owner = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(directory / OWNER)
    except OSError:
        os.close(owner)
        raise
    return owner


def _remove_if_stale(path: Path) -> None:
    with (
        contextlib.suppress(OSError),  # no directory, no owner's file, an owner that lives, or gone in the meantime
        _opened(path, os.O_RDONLY | os.O_DIRECTORY) as directory,
    ):
        if not _is_ours(directory):
            return
        with _opened(OWNER, os.O_RDWR | os.O_NONBLOCK, within=directory) as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # By descriptor: whatever the path leads to by now. The owner's file last: without it nothing is stale.
            with os.scandir(directory) as entries:
                names = sorted((entry.name for entry in entries), key=OWNER.__eq__)
            for name in names:
                os.unlink(name, dir_fd=directory)
        path.rmdir()


def _is_ours(directory: int) -> bool:
    found = os.fstat(directory)
    return found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == _MODE


@contextlib.contextmanager
def _opened(path: Path | str, flags: int, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
