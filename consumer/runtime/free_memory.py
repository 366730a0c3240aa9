"""How much memory this process and its children may still take: the machine's, or less in a control group."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MACHINE = Path("/proc/meminfo")
_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


class _Files(NamedTuple):
    """What a version of control groups calls its files, and the line of `stat` for pages that were not read lately."""

    limit: str
    used: str
    stat: str
    spare: str


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file")
_VERSION_2 = _Files("memory.max", "memory.current", "memory.stat", "inactive_file")


def free_bytes(machine: Path = _MACHINE, membership: Path = _MEMBERSHIP, groups: Path = _GROUPS) -> int:
    """Return what can be taken without taking it from others, in bytes; 0 where it is not known.

    `machine` is /proc/meminfo, `membership` tells the groups of this process, `groups` is where they are mounted.
    """
    return min([_machine_free(machine), *_groups_free(membership, groups)])


def _machine_free(path: Path) -> int:
    try:
        return _numbers(path)["MemAvailable:"] * 1024
    except (OSError, ValueError, KeyError):
        return 0


def _groups_free(membership: Path, groups: Path) -> Iterator[int]:
    """Return what is free in each group with a limit that this process is in: its own and those above it."""
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _free_upwards(groups, path, _VERSION_2)
            elif "memory" in controllers.split(","):
                yield from _free_upwards(groups / "memory", path, _VERSION_1)


def _free_upwards(root: Path, path: str, files: _Files) -> Iterator[int]:
    # In a container the path may be that of the host, where only its root can be seen.
    group = root / path.lstrip("/")
    for directory in (group, *group.parents):
        if directory.is_relative_to(root):
            with contextlib.suppress(OSError, ValueError, KeyError):
                yield _free(directory, files)


def _free(group: Path, files: _Files) -> int:
    limit = int((group / files.limit).read_text())  # ValueError without a limit: it says "max"
    used = int((group / files.used).read_text())
    # Pages of files that were not read lately are given back before anything is refused.
    return max(0, limit - used + _numbers(group / files.stat)[files.spare])


def _numbers(path: Path) -> dict[str, int]:
    """Return the first number of each line by its first word."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
