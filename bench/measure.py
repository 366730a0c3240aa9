"""What processes have used, as the Linux kernel counts it, summed up by what they are for.

CPU seconds are user and system time of a process and of the children that it has reaped; living children count for
themselves. `peak_bytes` is the largest resident size a process ever had (VmHWM), `pss_bytes` its share of the memory
that is mapped now, pages shared with other processes divided among them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 1, 11, 12, 13, 14
"""Places in /proc/PID/stat, counted from the state, which follows the name."""


class Part(StrEnum):
    """What a process is for."""

    JAVA = "java"
    PYTHON = "python"
    RELAYS = "relays"


class Stat(NamedTuple):
    """One line of /proc/PID/stat, as far as it is wanted."""

    parent: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process, or several together, have used."""

    cpu_s: float = 0.0
    peak_bytes: int = 0
    pss_bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of both."""
        return Usage(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Usage)))


def parse_stat(line: str) -> Stat:
    """Read a line of /proc/PID/stat; the name of the process, in parentheses, may hold blanks and parentheses."""
    values = line.rpartition(")")[2].split()
    ticks = sum(int(values[place]) for place in (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM))
    return Stat(int(values[_PARENT]), ticks / _TICKS_A_SECOND)


def parse_kilobytes(text: str, name: str) -> int:
    """Return the bytes that a line `NAME:   123 kB` tells; KeyError without such a line."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise KeyError(name)


def usage_of(pid: int, processes: Path = PROC) -> Usage:
    """Return what one process has used; OSError if it is gone."""
    directory = processes / str(pid)
    return Usage(
        cpu_s=parse_stat((directory / "stat").read_text()).cpu_s,
        peak_bytes=parse_kilobytes((directory / "status").read_text(), "VmHWM"),
        pss_bytes=parse_kilobytes((directory / "smaps_rollup").read_text(), "Pss"),
    )


def family_of(root: int, processes: Path = PROC) -> list[int]:
    """Return a process and all its living descendants."""
    parents = dict(_parents(processes))
    family = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        if not more:
            return sorted(family)
        family |= more


def part_of(command: Sequence[str]) -> Part:
    """Tell what a process is for by its command line."""
    if Path(command[0]).name == "java":
        return Part.JAVA
    if any(Path(argument).name == "relay.py" for argument in command[1:]):
        return Part.RELAYS
    return Part.PYTHON


def usage_by_part(root: int, processes: Path = PROC) -> dict[Part, Usage]:
    """Return what a process and its descendants have used, for all parts."""
    found = dict.fromkeys(Part, Usage())
    for pid in family_of(root, processes):
        command = (processes / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
        found[part_of(command)] += usage_of(pid, processes)
    return found


def slope(points: Iterable[tuple[int, float]]) -> float:
    """Return the rise from the first to the last of (records, value), for a million records."""
    (first_records, first), *_, (last_records, last) = points
    return (last - first) / (last_records - first_records) * 1e6


def _parents(processes: Path) -> Iterable[tuple[int, int]]:
    for directory in processes.glob("[0-9]*"):
        try:
            line = (directory / "stat").read_text()
        except OSError:
            continue  # it has just ended
        yield int(directory.name), parse_stat(line).parent
