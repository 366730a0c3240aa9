"""How much memory is free, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.runtime.free_memory import free_bytes

MIB = 1024 * 1024
NO_LIMIT_1 = 2**63 - 4096


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(
        "MemTotal:        4194304 kB\nMemFree:          524288 kB\nMemAvailable:    2097152 kB\nHugePages:\n"
    )
    return path


def member(tmp_path: Path, line: str) -> Path:
    path = tmp_path / "cgroup"
    path.write_text(f"9:cpu,cpuacct:/elsewhere\n{line}\n")
    return path


def group_2(path: Path, limit: str) -> None:
    """Make a group of version 2 that uses 700 MiB, 100 of them for files that are not read any more."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "memory.max").write_text(f"{limit}\n")
    (path / "memory.current").write_text(f"{700 * MIB}\n")
    (path / "memory.stat").write_text(f"anon {600 * MIB}\ninactive_file {100 * MIB}\nactive_file 0\n")


def group_1(path: Path, limit: int) -> None:
    """Make a group of version 1 that uses as much."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (path / "memory.usage_in_bytes").write_text(f"{700 * MIB}\n")
    (path / "memory.stat").write_text(f"inactive_file {1 * MIB}\ntotal_inactive_file {100 * MIB}\n")


@pytest.mark.parametrize(
    ("limit", "free"),
    [(str(1024 * MIB), 424 * MIB), (str(500 * MIB), 0), (str(9_000 * MIB), 2_048 * MIB), ("max", 2_048 * MIB)],
)
def test_a_container_may_have_less_than_the_machine(tmp_path: Path, machine: Path, limit: str, free: int) -> None:
    groups = tmp_path / "groups"
    group_2(groups, limit)
    assert free_bytes(machine, member(tmp_path, "0::/"), groups) == free


def test_the_least_of_a_group_and_those_above_it_counts(tmp_path: Path, machine: Path) -> None:
    groups = tmp_path / "groups"
    group_2(groups / "slice" / "unit", str(1024 * MIB))
    assert free_bytes(machine, member(tmp_path, "0::/slice/unit"), groups) == 424 * MIB
    group_2(groups / "slice", str(800 * MIB))
    assert free_bytes(machine, member(tmp_path, "0::/slice/unit"), groups) == 200 * MIB


@pytest.mark.parametrize("controllers", ["memory", "cpuset,memory"])
def test_groups_of_version_1(tmp_path: Path, machine: Path, controllers: str) -> None:
    groups = tmp_path / "groups"
    group_1(groups / "memory", NO_LIMIT_1)
    assert free_bytes(machine, member(tmp_path, f"4:{controllers}:/unit"), groups) == 2_048 * MIB
    group_1(groups / "memory" / "unit", 900 * MIB)
    assert free_bytes(machine, member(tmp_path, f"4:{controllers}:/unit"), groups) == 300 * MIB


def test_in_a_container_the_path_may_be_the_host_s(tmp_path: Path, machine: Path) -> None:
    groups = tmp_path / "groups"
    group_1(groups / "memory", 1024 * MIB)
    assert free_bytes(machine, member(tmp_path, "4:memory:/docker/0a1b"), groups) == 424 * MIB


def test_without_a_group_the_machine_s_counts(tmp_path: Path, machine: Path) -> None:
    assert free_bytes(machine, tmp_path / "nowhere", tmp_path) == 2_048 * MIB
    assert free_bytes(machine, member(tmp_path, "0::/"), tmp_path / "nowhere") == 2_048 * MIB


@pytest.mark.parametrize("text", ["", "MemTotal: 4194304 kB\n", "MemAvailable: unknown\n"])
def test_nothing_counts_as_free_where_nothing_is_known(tmp_path: Path, text: str) -> None:
    path = tmp_path / "meminfo"
    path.write_text(text)
    assert free_bytes(path, tmp_path / "nowhere") == 0
    assert free_bytes(tmp_path / "missing", tmp_path / "nowhere") == 0


def test_this_machine_tells_it() -> None:
    assert free_bytes() > 0
