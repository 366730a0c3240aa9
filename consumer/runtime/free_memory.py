"""How much memory this process and its children may still take: the machine's, and the container's where it is less."""

from __future__ import annotations

import contextlib
from pathlib import Path

_MACHINE = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")


def free_bytes(machine: Path = _MACHINE, container: Path = _CONTAINER) -> int:
    """Return what can be taken without taking it from others, in bytes; 0 where it is not known.

    `container` is a control group (version 2) as it is seen from within.
    """
    free = _machine_free(machine)
    with contextlib.suppress(OSError, ValueError, KeyError):
        used = int((container / "memory.current").read_text())
        # Pages of files that were not read lately are given back before anything is refused.
        spare = _numbers(container / "memory.stat")["inactive_file"]
        limit = int((container / "memory.max").read_text())  # ValueError without a limit: it says "max"
        free = min(free, max(0, limit - used + spare))
    return free


def _machine_free(path: Path) -> int:
    try:
        return _numbers(path)["MemAvailable:"] * 1024
    except (OSError, ValueError, KeyError):
        return 0


def _numbers(path: Path) -> dict[str, int]:
    """Return the first number of each line by its first word."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
